"""Blocks that were dropped or pruned, and a real node: it takes what is gone as told, and gets all that is left."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fakes.collector import until
from fakes.gateway_store import signer
from fakes.kept import Kept, check_sound, kept, settings
from fakes.log_maker import log_id
from fakes.nodes import READ, SEEN, STORED, Client
from fakes.nodes import running as node_running

from gateway.cli.verify_store import verify_store
from gateway.clock import SystemClock
from gateway.errors import HeldError
from gateway.node.store import Form
from gateway.retention import Keeper
from gateway.settings import EnrolledGateway, NodeLink, WebSettings
from gateway.store.cosigned import Holding
from gateway.upstream import Upstream
from gateway.web import Services, WebServer

CLOCK = SystemClock()
LOG = log_id(signer().vkey.name)
KEEPER = {"coop": Keeper(str(STORED), None)}


def small_blocks(folder: Path) -> contextlib.AbstractAsyncContextManager[Kept]:
    """Eight for each that Kept fills."""
    return kept(folder / "g", options={"max_count": 2})


@contextlib.asynccontextmanager
async def pushing(it: Kept, node: Client, **changes: object) -> AsyncIterator[Upstream]:
    keys = {"seen_key": str(SEEN), "stored_key": str(STORED)}
    link = NodeLink(url=f"http://127.0.0.1:{node.port}", **keys, **changes)  # type: ignore[arg-type]
    forks: list[HeldError] = []
    rng = random.Random(1)
    up = Upstream("coop", link, it.store.vkey, it.store, CLOCK, rng, on_fork=forks.append)
    task = asyncio.create_task(up.run())
    try:
        yield up
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert forks == []


def enrolled(**changes: object) -> dict[str, EnrolledGateway]:
    return {"hen": EnrolledGateway(vkey=str(signer().vkey), **changes)}  # type: ignore[arg-type]


async def lost_some(it: Kept) -> list[int]:
    """Fills it, drops the oldest 80 blocks as `oldest` does, and seals the loss."""
    await it.fill(14)
    assert await it.retention._lose(180_000)
    await it.gateway.sealed()
    found = await check_sound(it.store)
    assert len(found["gone"]) > 64, "more than one round of uploads"
    assert found["pruned"] == []
    return found["gone"]


async def forms(node: Client, size: int) -> Iterator[tuple[int, Form]]:
    store = node.node.store
    kept_there = [(height, await store.body(LOG, height)) for height in range(size)]
    return iter([(height, body.form) for height, body in kept_there if body is not None])


@pytest.mark.parametrize("pulls", [False, True])
async def test_a_node_takes_what_is_gone_as_told_and_signs_over_it(tmp_path: Path, pulls: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        it = await stack.enter_async_context(small_blocks(tmp_path))
        gone = await lost_some(it)
        changes: dict[str, object] = {}
        if pulls:
            link = NodeLink(url="http://127.0.0.1:1", seen_key=str(SEEN), stored_key=str(STORED), read_key=str(READ))
            settings = WebSettings(listen="127.0.0.1:0")
            web = WebServer(settings, {"coop": link}, it.store, CLOCK, Services(status=dict))
            await web.start()
            stack.push_async_callback(web.stop)
            changes = {"pull": f"http://127.0.0.1:{web.port}"}
        node = await stack.enter_async_context(node_running(tmp_path, enrolled(**changes)))
        up = await stack.enter_async_context(pushing(it, node, upload=not pulls))
        size = it.store.blocks.size
        await until(lambda: up.status()["stored"] == size, 30)
        assert await node.node.store.gone(LOG, 1000) == gone
        assert {height for height, form in await forms(node, size) if form is Form.WHOLE} == set(range(size)) - {*gone}
        assert await it.store.cosigned.holding("coop") == Holding(0, size)
        assert await asyncio.to_thread(verify_store, tmp_path / "g", None, verbose=False) == 0


async def test_a_node_that_wants_what_is_pruned_gets_all_the_rest(tmp_path: Path) -> None:
    async with small_blocks(tmp_path) as it:
        await it.fill(14)
        await it.stored("vet", 80)
        await it.retention._delete((0, 80))
        assert await it.here() == list(range(80, it.store.blocks.size))
        async with node_running(tmp_path, enrolled()) as node, pushing(it, node) as up:
            size = it.store.blocks.size
            store = node.node.store
            await until(lambda: "not here any more" in up.status()["detail"], 30)
            async with asyncio.timeout(30):
                while await store.wants(LOG, 10) != [(0, 80)]:
                    await asyncio.sleep(0.02)
            assert [height for height, _ in await forms(node, size)] == list(range(80, size))
            assert up.status()["stored"] == 0
            assert await it.store.cosigned.holding("coop") == Holding(0, 0)
            assert up.status()["ok"]


async def test_a_node_that_began_later_is_known_to_have(tmp_path: Path) -> None:
    async with small_blocks(tmp_path) as it:
        await it.fill(3)
        async with node_running(tmp_path, enrolled(stored_from=10)) as node, pushing(it, node) as up:
            await until(lambda: up.status()["stored"] == it.store.blocks.size, 30)
            assert await it.store.cosigned.holding("coop") == Holding(10, it.store.blocks.size)
        await it.retention._delete((0, 2))
        await it.retention.change(settings(), KEEPER)
        assert await it.retention._prunable() == [(10, it.store.blocks.size)]


async def test_what_was_said_under_its_name_by_another_key_counts_no_longer(tmp_path: Path) -> None:
    async with small_blocks(tmp_path) as it:
        await it.fill(3)
        size = it.store.blocks.size
        await it.stored("coop", size)
        assert await it.retention._prunable() == [(0, size)]
        await it.retention.change(settings(), KEEPER)
        assert await it.retention._prunable() == []
        async with node_running(tmp_path, enrolled(stored_from=4)) as node, pushing(it, node) as up:
            await until(lambda: up.status()["stored"] == size, 30)
            assert await it.retention._prunable() == [(4, size)]


async def test_a_node_that_lost_a_body_no_longer_counts(tmp_path: Path) -> None:
    async with small_blocks(tmp_path) as it:
        await it.fill(3)
        size = it.store.blocks.size
        async with node_running(tmp_path, enrolled()) as node:
            async with pushing(it, node) as up:
                await until(lambda: up.status()["stored"] == size, 30)
            assert await it.store.cosigned.holding("coop") == Holding(0, size)
            await it.retention.change(settings(), KEEPER)
            assert await it.retention._prunable() == [(0, size)]
            await node.node.store.drop_body(LOG, 0)
            async with pushing(it, node, upload=False) as up:
                await until(lambda: up.status()["last_ms"] is not None, 30)
                assert (await it.store.cosigned.holding("coop")).holds == 0
                assert await it.retention._prunable() == []
