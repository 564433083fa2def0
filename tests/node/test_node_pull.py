"""A node follows gateways that it can reach (docs/format.md, section 9), whatever they answer."""

import asyncio
import logging
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from fakes.log_maker import LogMaker, signer
from fakes.nodes import READ, SEEN, STORED, Client, check_lines, enrolled, running
from fakes.pulled_gateway import PulledGateway

from gateway.core import limits
from gateway.node import pull
from gateway.node.store import Form, Head, Noted


@pytest.fixture
def maker() -> LogMaker:
    """A log of five blocks."""
    return LogMaker().add(5)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off, but a short one."""
    monkeypatch.setattr(limits, "PULL_BACKOFF_S", 0.1)
    monkeypatch.setattr(pull, "_AGAIN_S", 0.1)


async def reached(client: Client, maker: LogMaker, condition: Callable[[Head], bool]) -> Head:
    """The log's head once it is as wanted, at most twenty seconds from now."""
    async with asyncio.timeout(20):
        while not condition(head := await client.node.store.head(maker.id)):
            await asyncio.sleep(0.02)
    return head


async def complete(client: Client, maker: LogMaker, size: int) -> None:
    """Waits until every body is held."""
    await reached(client, maker, lambda head: head.size == size)
    async with asyncio.timeout(20):
        while await client.node.store.wants(maker.id, 1):
            await asyncio.sleep(0.02)


async def signed_as_stored(client: Client, maker: LogMaker, size: int) -> Noted:
    """Its lines over that size: it holds the last body before it signs."""
    async with asyncio.timeout(20):
        while (noted := await client.node.store.note_upto(maker.id, size)) is None or not noted.stored:
            await asyncio.sleep(0.02)
    return noted


@pytest.mark.parametrize("synchronised", [True, False])
@pytest.mark.parametrize("coding", ["deflate", ""])
async def test_everything_is_pulled_and_signed(
    tmp_path: Path, maker: LogMaker, synchronised: bool, coding: str
) -> None:
    gateway = PulledGateway(maker, READ, synchronised=synchronised)
    gateway.coding = coding
    gateway.size = 3
    async with gateway.serve(), running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}) as client:
        for size in (3, 5):
            gateway.size = size
            await complete(client, maker, size)
            noted = await signed_as_stored(client, maker, size)
            check_lines(maker, size, noted.seen, SEEN)
            check_lines(maker, size, noted.stored, STORED)
        assert (await client.sync(maker, 5)).fields[4] == 5


async def test_a_long_log_is_caught_up_in_bounded_steps(tmp_path: Path) -> None:
    maker = LogMaker().add(2 * limits.SYNC_ENTRIES + 300, readings=0)
    gateway = PulledGateway(maker, READ)
    async with (
        gateway.serve(),
        running(tmp_path, {"a": enrolled(maker, pull=gateway.url, stored_from=10**6)}) as client,
    ):
        head = await reached(client, maker, lambda head: head.witnessed.size == maker.size)
        assert head.frontier.root() == maker.root()
        assert len(gateway.asked) < 40


async def test_a_node_that_restarts_in_the_middle_goes_on(tmp_path: Path) -> None:
    maker = LogMaker().add(2 * limits.SYNC_ENTRIES + 7, readings=0)
    gateway = PulledGateway(maker, READ)
    logs = lambda: {"a": enrolled(maker, pull=gateway.url, stored_from=10**6)}  # noqa: E731
    held = asyncio.Event()

    async def only_the_first(request: web.Request) -> web.StreamResponse | None:
        if "entries/004" in request.path:
            held.set()
            await asyncio.sleep(60)
        return None

    gateway.spoil = only_the_first
    async with gateway.serve():
        async with running(tmp_path, logs()) as client:
            await held.wait()
            head = await reached(client, maker, lambda head: head.size == limits.SYNC_ENTRIES)
            assert head.witnessed.size == 0
        gateway.spoil = None
        async with running(tmp_path, logs()) as client:
            await reached(client, maker, lambda head: head.witnessed.size == maker.size)


async def test_bodies_that_are_not_there_are_asked_for_later(tmp_path: Path, maker: LogMaker) -> None:
    gateway = PulledGateway(maker, READ)
    lacking = {1, 3}
    gateway.body = lambda height: None if height in lacking else maker.blocks[height].body
    async with gateway.serve(), running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}) as client:
        async with asyncio.timeout(20):
            while await client.node.store.wants(maker.id, 9) != [(1, 2), (3, 4)]:
                await asyncio.sleep(0.02)
        lacking.clear()
        await complete(client, maker, 5)


async def test_cut_bodies_are_kept_and_stay_wanted(tmp_path: Path, maker: LogMaker) -> None:
    gateway = PulledGateway(maker, READ)
    gateway.body = lambda height: maker.blocks[height].cut("s-1")
    async with gateway.serve(), running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}) as client:
        await reached(client, maker, lambda head: head.size == 5)
        async with asyncio.timeout(20):
            while (held := await client.node.store.body(maker.id, 4)) is None:
                await asyncio.sleep(0.02)
        assert held.form is Form.CUT
        assert await client.node.store.wants(maker.id, 9) == [(0, 5)]
        assert (await client.sync(maker, 5)).fields.keys() == {1, 2, 3}  # and nothing is signed as stored


# Whatever it answers


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[web.Request], web.Response]:
    """An answer to everything."""
    return lambda request: web.Response(status=status, body=body, headers=headers)


def on(part: str, answer: Callable[[web.Request], web.Response]) -> Callable[[web.Request], web.Response | None]:
    """An answer to some paths."""
    return lambda request: answer(request) if part in request.path else None


BOMB = zlib.compress(bytes(limits.BODY_BYTES + 1))
OTHER = LogMaker("barn.example/1").add(5)
NONSENSE = {
    "500": answering(500),
    "a redirect": answering(302, Location="http://127.0.0.1:1/"),
    "401 without a challenge": answering(401),
    "401 with nonsense": answering(401, **{"Accept-Signature": "x" * 5_000}),
    "no note": answering(200, b"hello"),
    "an endless note": answering(200, bytes(10 * limits.NOTE_BYTES)),
    "another log's note": answering(200, OTHER.note().encode().encode()),
    "a checkpoint that is compressed in another way": answering(200, b"x", **{"Content-Encoding": "br"}),
    "no bundle": on("entries", answering(404)),
    "a bundle that is no bundle": on("entries", answering(200, b"\xff\xff")),
    "an endless bundle": on("entries", answering(200, bytes(limits.PULL_BUNDLE_BYTES + 1))),
    "entries that are none": on("entries", answering(200, b"\0\1a" * 5)),
    "another log's entries": on("entries", answering(200, b"".join(len(e).to_bytes(2) + e for e in OTHER.entries))),
    "bodies that are none": on("blocks", answering(200, b"hello")),
    "a bomb": on("blocks", answering(200, BOMB, **{"Content-Encoding": "deflate"})),
    "not zlib": on("blocks", answering(200, b"hello", **{"Content-Encoding": "deflate"})),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_changes_nothing_and_harms_no_other(tmp_path: Path, what: str) -> None:
    maker, good = LogMaker().add(5), LogMaker("good.example/1").add(3)
    bad, fine = PulledGateway(maker, READ), PulledGateway(good, READ)
    count = 0

    async def spoil(request: web.Request) -> web.StreamResponse | None:
        nonlocal count
        answer = NONSENSE[what](request)
        count += answer is not None
        return answer

    bad.spoil = spoil
    logs = {"bad": lambda: enrolled(maker, pull=bad.url), "good": lambda: enrolled(good, pull=fine.url)}
    async with bad.serve(), fine.serve(), running(tmp_path, {name: make() for name, make in logs.items()}) as client:
        await complete(client, good, 3)
        async with asyncio.timeout(20):
            while count < 3:  # it is tried again
                await asyncio.sleep(0.02)
        head = await client.node.store.head(maker.id)
        assert (head.size, head.frozen) == (5 if "bod" in what or what in ("a bomb", "not zlib") else 0, "")
        bad.spoil = None
        await complete(client, maker, 5)
        async with asyncio.timeout(20):
            while client.node.server.budget.left != limits.NODE_UPLOAD_BYTES:  # between two looks
                await asyncio.sleep(0.001)


async def test_a_slow_gateway_holds_only_its_own_place(
    tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pull, "_STALL_S", 0.1)
    good = LogMaker("good.example/1").add(3)
    slow, fine = PulledGateway(maker, READ), PulledGateway(good, READ)

    async def crawl(request: web.Request) -> web.StreamResponse | None:
        await asyncio.sleep(60)
        return None

    slow.spoil = crawl
    async with slow.serve(), fine.serve():
        logs = {"slow": enrolled(maker, pull=slow.url), "good": enrolled(good, pull=fine.url)}
        with caplog.at_level(logging.WARNING):
            async with running(tmp_path, logs) as client:
                await complete(client, good, 3)
                async with asyncio.timeout(20):
                    while "gateway slow" not in caplog.text:
                        await asyncio.sleep(0.02)
                slow.spoil = None
                await complete(client, maker, 5)


async def test_a_gateway_that_is_not_there_is_tried_again(tmp_path: Path, maker: LogMaker) -> None:
    gateway = PulledGateway(maker, READ)
    async with gateway.serve():
        pass
    async with running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}) as client:
        assert (await client.sync(maker, 0)).status == 200  # it can still be told
        assert not client.task.done()


async def test_another_reader_is_not_let_in(tmp_path: Path, maker: LogMaker, caplog: pytest.LogCaptureFixture) -> None:
    gateway = PulledGateway(maker, signer("somebody.example/read").vkey)
    with caplog.at_level(logging.WARNING):
        async with gateway.serve(), running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}):
            async with asyncio.timeout(20):
                while "does not take our read key" not in caplog.text:
                    await asyncio.sleep(0.02)
    assert caplog.text.count("does not take our read key") == 1  # said once, not at each attempt


@pytest.mark.parametrize("size", [4, 5, 7])
async def test_a_gateway_that_shows_another_tree_is_a_fork(tmp_path: Path, maker: LogMaker, size: int) -> None:
    gateway = PulledGateway(maker.fork(3, 5), READ)
    gateway.size = size
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
    async with gateway.serve(), running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}) as client:
        head = await reached(client, maker, lambda head: bool(head.frozen))
        assert head.size == 5
        (evidence,) = await client.node.store.evidence(maker.id)
        assert evidence.held != evidence.sent


async def test_a_gateway_that_is_behind_is_no_fork(tmp_path: Path, maker: LogMaker) -> None:
    gateway = PulledGateway(maker, READ)
    gateway.size = 3
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
    async with gateway.serve(), running(tmp_path, {"a": enrolled(maker, pull=gateway.url)}) as client:
        async with asyncio.timeout(20):
            while len(gateway.asked) < 5:
                await asyncio.sleep(0.02)
        head = await client.node.store.head(maker.id)
        assert (head.size, head.frozen) == (5, "")
        gateway.size = 5
        await complete(client, maker, 5)
