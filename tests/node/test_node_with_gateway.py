"""A node and the gateway's own pull API and upstream client, against each other."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from fakes.filled_store import make_store, publish
from fakes.log_maker import LogMaker
from fakes.nodes import READ, SEEN, STORED, Client, check_lines, enrolled, running

from gateway.clock import SystemClock
from gateway.errors import HeldError
from gateway.node.store import Form
from gateway.settings import NodeLink, WebSettings
from gateway.store import Store
from gateway.upstream import Upstream
from gateway.web import Services, WebServer


@pytest.fixture
def maker() -> LogMaker:
    """A log of five blocks."""
    return LogMaker().add(5, readings=6, sources=3)


def link(port: int = 1, **changes: object) -> NodeLink:
    """The node's table in fieldgate.toml."""
    keys = {"seen_key": str(SEEN), "stored_key": str(STORED), "read_key": str(READ)}
    return NodeLink(url=f"http://127.0.0.1:{port}", **{**keys, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def serving(store: Store, clock: SystemClock | FakeClock, **changes: object) -> AsyncIterator[str]:
    """The gateway's web server; its address."""
    server = WebServer(WebSettings(listen="127.0.0.1:0"), {"n": link(**changes)}, store, clock, Services(status=dict))
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def held(client: Client, maker: LogMaker, size: int, *, wants: int = 0) -> None:
    """Waits until the node has so many entries and lacks so many bodies."""
    store = client.node.store
    async with asyncio.timeout(20):
        while (await store.head(maker.id)).size < size or lacking(await store.wants(maker.id, 9)) != wants:
            await asyncio.sleep(0.02)


def lacking(wants: list[tuple[int, int]]) -> int:
    """Heights in a want list."""
    return sum(high - low for low, high in wants)


@pytest.mark.parametrize("synchronised", [True, False])
async def test_the_node_pulls_from_the_gateway(tmp_path: Path, maker: LogMaker, synchronised: bool) -> None:
    store = await make_store(tmp_path / "gateway", maker)
    clock: SystemClock | FakeClock = FakeClock(int(time.time() * 1000), synchronised=synchronised)
    try:
        async with serving(store, clock) as url, running(tmp_path, {"a": enrolled(maker, pull=url)}) as client:
            await held(client, maker, 5)
            maker.add(2)
            await publish(store, maker)
            await held(client, maker, 7)
            async with asyncio.timeout(20):  # the last body is held a moment before "stored" is signed
                while (noted := await client.node.store.note_upto(maker.id, 7)) is None or not noted.stored:
                    await asyncio.sleep(0.02)
            check_lines(maker, 7, noted.stored, STORED)
    finally:
        await store.close()


async def test_a_node_that_may_see_some_sources_keeps_cut_bodies(tmp_path: Path, maker: LogMaker) -> None:
    store = await make_store(tmp_path / "gateway", maker)
    try:
        clock = await asyncio.to_thread(SystemClock)
        gateway, logs = serving(store, clock, share=("s-1",)), lambda url: {"a": enrolled(maker, pull=url)}
        async with gateway as url, running(tmp_path, logs(url)) as client:
            await held(client, maker, 5, wants=5)
            async with asyncio.timeout(20):
                while (kept := await client.node.store.body(maker.id, 4)) is None:
                    await asyncio.sleep(0.02)
            assert kept.form is Form.CUT
            assert 4 not in (await client.sync(maker, 5)).fields
    finally:
        await store.close()


async def test_the_gateway_pushes_to_the_node(tmp_path: Path, maker: LogMaker) -> None:
    store = await make_store(tmp_path / "gateway", maker)
    forks: list[HeldError] = []
    try:
        async with running(tmp_path, {"a": enrolled(maker)}) as client:
            clock = await asyncio.to_thread(SystemClock)
            node = link(client.port)
            upstream = Upstream("n", node, maker.signer.vkey, store, clock, random.Random(1), on_fork=forks.append)
            task = asyncio.create_task(upstream.run())
            try:
                await held(client, maker, 5)
                maker.add(2)
                await publish(store, maker)
                await held(client, maker, 7)
                async with asyncio.timeout(20):
                    while (await store.cosigned.progress("n")).stored < 7:
                        await asyncio.sleep(0.02)
            finally:
                task.cancel()
                await asyncio.wait([task])
    finally:
        await store.close()
    assert not forks


async def test_a_fork_is_seen_from_both_sides(tmp_path: Path, maker: LogMaker) -> None:
    other = maker.fork(3, 3)
    store = await make_store(tmp_path / "gateway", other)
    forks: list[HeldError] = []
    try:
        async with running(tmp_path, {"a": enrolled(maker)}) as client:
            await client.sync(maker, 0)
            vkey = maker.signer.vkey
            clock = await asyncio.to_thread(SystemClock)
            upstream = Upstream("n", link(client.port), vkey, store, clock, random.Random(1), on_fork=forks.append)
            task = asyncio.create_task(upstream.run())
            try:
                async with asyncio.timeout(20):
                    while not forks:
                        await asyncio.sleep(0.02)
            finally:
                task.cancel()
                await asyncio.wait([task])
            assert (await client.node.store.head(maker.id)).frozen
    finally:
        await store.close()
