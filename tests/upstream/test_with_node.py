"""A gateway's upstream against real nodes: a long log, nodes that are killed, several at once."""

import asyncio
import contextlib
import random
import signal
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.broker import free_port
from fakes.collector import until
from fakes.field import CLI, Process, fieldgate
from fakes.filled_store import make_store, publish
from fakes.log_maker import LogMaker, log_id
from fakes.nodes import SEEN, STORED, Client, enrolled
from fakes.nodes import running as node_running

from gateway.clock import SystemClock
from gateway.core import body, note
from gateway.core.note import VerifierKey
from gateway.errors import HeldError
from gateway.node.sqlite import SqliteStore
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.upstream import Upstream

CLOCK = SystemClock()
BLOCKS = 3_100
BODIES_FROM = 3_000
KILLS = 4


class Soon:
    """Jitter that hardly waits."""

    def random(self) -> float:
        return 0.05


@contextlib.asynccontextmanager
async def pushing(store: Store, name: str, link: NodeLink, forks: list[HeldError]) -> AsyncIterator[Upstream]:
    up = Upstream(name, link, store.vkey, store, CLOCK, Soon(), on_fork=forks.append)
    task = asyncio.create_task(up.run())
    try:
        yield up
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.nightly
async def test_a_long_log_reaches_a_node_that_is_killed_again_and_again(tmp_path: Path) -> None:
    log = LogMaker().add(BLOCKS, readings=2)
    store = await make_store(tmp_path / "gateway", log)
    port = free_port()
    init = ("node", "init", "--name", "node.example", "--dir", "node", "--listen", f"127.0.0.1:{port}")
    told = await fieldgate(*init, cwd=tmp_path)
    keys = {field: told.split(f'{field} = "')[1].split('"')[0] for field in ("seen_key", "stored_key")}
    with (tmp_path / "node" / "node.toml").open("a") as file:
        file.write(f'\n[gateway.hen]\nvkey = "{log.vkey}"\nstored_from = {BODIES_FROM}\n')
    node = Process("node", tmp_path, *CLI, "node", "run", "--config", "node/node.toml")
    link = NodeLink(url=f"http://127.0.0.1:{port}", **keys)
    rng, forks = random.Random(20_261_124), []
    sizes: list[int] = []
    try:
        async with pushing(store, "coop", link, forks) as up:
            for kill in range(KILLS):
                await node.start()
                # each time a little further: in the headers, between them and the bodies, in the bodies
                await until(lambda: up.status()["entries"] > (0, 1024, 2048, 3000)[kill], 60)  # noqa: B023
                await asyncio.sleep(rng.uniform(0, 0.1))
                await node.end(signal.SIGKILL)
                sizes.append(up.status()["entries"])
            await node.start()
            await until(lambda: up.status()["stored"] == BLOCKS, 60)
            await publish(store, log.add())
            await until(lambda: up.status()["stored"] == BLOCKS + 1, 30)
            assert up.status()["ok"]
        assert await node.end() == 0
    finally:
        if node.running:
            await node.end(signal.SIGKILL)
    assert forks == []
    assert len(sizes) == KILLS
    await check_node(tmp_path / "node", log)
    await check_lines(store, "coop", VerifierKey.parse(keys["seen_key"]), VerifierKey.parse(keys["stored_key"]))
    await store.close()


async def check_node(folder: Path, log: LogMaker) -> None:
    """Every entry and every wanted body is at the node, whole and right."""
    (path,) = folder.glob("**/node.sqlite")
    held = await SqliteStore.open(path)
    assert await held.entries(log_id(log.origin), 0, 5000) == log.entries
    assert await held.wants(log_id(log.origin), 10) == []
    for height in range(BODIES_FROM, log.size):
        kept = await held.body(log_id(log.origin), height)
        assert kept is not None
        assert isinstance(body.verify_body(log.blocks[height].header, zlib.decompress(kept.data)), body.WholeBody)
    await held.close()


async def check_lines(store: Store, name: str, seen: VerifierKey, stored: VerifierKey) -> None:
    """Every line that was kept verifies over the gateway's own note."""
    after, kinds = 0, set()
    while page := await store.cosigned.above(0, after):
        for cosigned in page:
            own = note.parse_note(cosigned.note)
            for line in cosigned.lines:
                key = seen if line.kind == "seen" else stored
                assert note.verify_cosignature(own.text, note.parse_line(line.line), key)
                kinds.add(line.kind)
        after = page[-1].size
    assert kinds == {"seen", "stored"}
    assert after == store.blocks.size
    assert await store.cosigned.progress(name) == (store.blocks.size, store.blocks.size)


async def test_several_nodes_at_once_each_with_its_own_cursor(tmp_path: Path) -> None:
    log = LogMaker().add(60, readings=2)
    store = await make_store(tmp_path / "gateway", log)
    forks: list[HeldError] = []
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[Client] = []
        for name in "abc":
            await asyncio.to_thread((tmp_path / name).mkdir)
            nodes.append(await stack.enter_async_context(node_running(tmp_path / name, {"hen": enrolled(log)})))
        await nodes[1].sync(log, 0, 25)  # this one is ahead of what the gateway knows
        gone = free_port()
        links = [
            NodeLink(url=f"http://127.0.0.1:{port}", seen_key=str(SEEN), stored_key=str(STORED))
            for port in (*(node.port for node in nodes), gone)
        ]
        ups = [
            await stack.enter_async_context(pushing(store, name, link, forks))
            for name, link in zip("abcd", links, strict=True)
        ]
        await until(lambda: all(up.status()["stored"] == 60 for up in ups[:3]), 30)
        await publish(store, log.add(5))
        deadline = CLOCK.monotonic() + 20
        assert await asyncio.gather(*(up.push_until(deadline) for up in ups)) == [True, True, True, False]
        await until(lambda: all(up.status()["stored"] == 65 for up in ups[:3]), 30)
        assert not ups[3].status()["ok"]
        for node in nodes:
            assert (await node.node.store.head(log.id)).size == 65
    assert forks == []
    assert {name: (await store.cosigned.progress(name)).stored for name in "abcd"} == {
        "a": 65,
        "b": 65,
        "c": 65,
        "d": 0,
    }
    await store.close()
