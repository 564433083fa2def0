"""Pages that are kept up to date: what goes over the wire, how often, how many, and who is cut off."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.collector import until
from fakes.markup import Parsed
from fakes.page_sample import farm_minutes, farm_status
from fakes.status_sample import source, status
from fakes.tls import Authority

from gateway.core import limits
from gateway.web import WebServer
from gateway.web.live import Press
from gateway.web.view import Page

PATIENCE_S = 10.0


class Stream:
    """A connection that watches a page, as bytes: heads and chunks are taken apart here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status, self.head = 0, ""
        self._text = ""

    async def begin(self) -> None:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.status, self.head = int(head.split(" ")[1]), head

    async def event(self) -> tuple[str, Any]:
        """The next event; ("", None) at the end."""
        async with asyncio.timeout(PATIENCE_S):
            while "\n\n" not in self._text:
                size = int((await self.reader.readline()).strip() or b"0", 16)
                if not size:
                    return "", None
                self._text += (await self.reader.readexactly(size + 2))[:-2].decode()
        event, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        return fields["event"], json.loads(fields["data"])

    async def until(self, name: str) -> list[tuple[str, Any]]:
        """Every event up to the next of this name."""
        async with asyncio.timeout(PATIENCE_S):
            found = [await self.event()]
            while found[-1][0] not in {name, ""}:
                found.append(await self.event())
        return found


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


Watch = Callable[..., Awaitable[Stream]]


@pytest.fixture
async def watch() -> AsyncIterator[Watch]:
    async with contextlib.AsyncExitStack() as stack:

        async def begin(
            server: WebServer, target: str = "/live/", *, address: str = "127.0.0.1", more: str = "",
            tls: ssl.SSLContext | None = None, limit: int = 2**20,
        ) -> Stream:  # fmt: skip
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, local_addr=(address, 0), ssl=tls, limit=limit
            )
            stack.push_async_callback(_end, writer)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{more}\r\n".encode())
            stream = Stream(reader, writer)
            await stream.begin()
            return stream

        yield begin


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_EVERY_S", 0.03)
    monkeypatch.setattr(limits, "LIVE_BEAT_S", 0.06)


def readers(server: WebServer) -> int:
    return server._site._readers.count if server._site else 0


async def test_first_everything_then_what_changes(start, watch: Watch, hurried) -> None:
    told = status()
    stream = await watch(await start(status=lambda: told, rollup=farm_minutes()))
    assert stream.status == 200
    assert "text/event-stream" in stream.head
    assert "no-store" in stream.head
    first = await stream.until("beat")
    assert [name for name, _ in first] == ["hello", "part", "part", "part", "beat"]
    assert [data["id"] for name, data in first if name == "part"] == ["now", "sources", "rest"]
    assert first[0][1]["build"]
    assert first[0][1]["now"] == first[-1][1]["now"]
    for _, data in first[1:-1]:
        page = Parsed(data["html"])
        assert all(attrs.get("datetime") for tag, attrs in page.tags if tag == "time")
    assert [name for name, _ in await stream.until("beat")] == ["beat"]
    told["sources"]["climate"]["last"][0][2] = 22.5
    names = await stream.until("beat")
    while len(names) == 1:
        names = await stream.until("beat")
    ((_, data), _) = names
    assert data["id"] == "sources"
    assert "22.5" in data["html"]


async def test_ages_are_no_change(start, watch: Watch, hurried) -> None:
    told = status()

    def older() -> dict[str, Any]:
        told["now_ms"] += 7_000
        return told

    stream = await watch(await start(status=older))
    await stream.until("beat")
    for _ in range(3):
        assert [name for name, _ in await stream.until("beat")] == ["beat"]


async def test_what_is_watched_is_made_once_for_all(start, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_EVERY_S", 0.2)
    monkeypatch.setattr(limits, "LIVE_BEAT_S", 0.2)
    looks = 0

    def counted() -> dict[str, Any]:
        nonlocal looks
        looks += 1
        return status()

    server = await start(status=counted)
    streams = [await watch(server) for _ in range(6)]
    beats = 4
    for stream in streams:
        for _ in range(beats):
            await stream.until("beat")
    assert looks <= 2 * beats + 2  # six readers would make 24 of them


@pytest.mark.parametrize(
    ("target", "status"), [("/live/nope", 401), ("/live", 401), ("/live//", 401), ("/live/receipt/s-0", 404)]
)
async def test_only_pages_that_change_are_watched(start, watch: Watch, target: str, status: int) -> None:
    assert (await watch(await start(), target)).status == status


async def test_a_source_that_is_not_there_is_told_so(start, watch: Watch, hurried) -> None:
    stream = await watch(await start(), "/live/source/nope")
    assert [data["id"] for name, data in await stream.until("beat") if name == "part"] == ["now", "missing"]


async def test_it_goes_on_after_the_deadline_of_a_request(start, watch: Watch, hurried, monkeypatch) -> None:
    monkeypatch.setattr(limits, "WEB_REQUEST_S", 0.1)
    stream = await watch(await start())
    for _ in range(5):
        assert (await stream.until("beat"))[-1][0] == "beat"


async def test_readers_are_bounded_by_address_and_in_all(start, watch: Watch, monkeypatch) -> None:
    monkeypatch.setattr(limits, "LIVE_READERS", 6)
    monkeypatch.setattr(limits, "LIVE_READERS_OF_ADDRESS", 4)
    server = await start(status=status, authority=["x"])
    held = [await watch(server) for _ in range(4)]
    refused = await watch(server)
    assert refused.status == 503
    assert "Retry-After" in refused.head
    held[0].writer.close()
    await until(lambda: readers(server) == 3)
    again = await watch(server)
    assert again.status == 200
    assert readers(server) == 4


async def test_the_end_of_the_server_is_the_end_of_the_stream(start, watch: Watch) -> None:
    server = await start()
    stream = await watch(server)
    await stream.until("beat")
    await server.stop()
    assert (await stream.event())[0] == ""


async def test_a_session_that_ends_ends_what_it_watches(start, watch: Watch, hurried, clock) -> None:
    server = await start()
    token = server._sessions.open()
    stream = await watch(server, address="127.0.0.2", more=f"Cookie: fieldgate={token}\r\n")
    assert stream.status == 200
    for _ in range(2):  # whoever watches uses the session
        clock.mono += limits.SESSION_IDLE_S - 1
        for _ in range(4):
            assert (await stream.until("beat"))[-1][0] == "beat"
    server._sessions.close(token)
    assert (await stream.until("gone"))[-1][0] == "gone"
    assert (await watch(server, address="127.0.0.2")).status == 401


async def _stall(server: WebServer, stream: Stream) -> None:
    stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await until(lambda: readers(server) == 1)
    await until(lambda: readers(server) == 0)


def restless() -> dict[str, Any]:
    """A snapshot whose sources are never the same, and large."""
    restless.turn += 1  # type: ignore[attr-defined]
    text = f"{restless.turn} " + "x" * 150  # type: ignore[attr-defined]
    return status(sources={f"s-{number}": source(up=False, detail=text * 2) for number in range(50)})


restless.turn = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_reader_that_does_not_read_is_cut_off(
    start, watch: Watch, hurried, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encrypted: bool
) -> None:
    monkeypatch.setattr(limits, "LIVE_STALL_S", 0.3)
    monkeypatch.setattr(limits, "LIVE_UNREAD_BYTES", 16_384)
    given, tls = {}, None
    if encrypted:
        authority = Authority(tmp_path / "ca")
        cert, key = authority.issue("gateway")
        given = {"cert_file": str(cert), "key_file": str(key)}
        tls = await asyncio.to_thread(lambda: ssl.create_default_context(cafile=str(authority.ca_file)))
    server = await start(status=restless, **given)
    stream = await watch(server, tls=tls, limit=4_096)
    await _stall(server, stream)


async def test_the_little_that_a_quiet_page_sends_counts_as_unread_too(start, hurried, monkeypatch) -> None:
    monkeypatch.setattr(limits, "LIVE_STALL_S", 0.3)
    monkeypatch.setattr(limits, "LIVE_UNREAD_BYTES", 2_048)
    server = await start(status=farm_status)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(lazy, ("127.0.0.1", server.port))
        await loop.sock_sendall(lazy, f"GET /live/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        await until(lambda: readers(server) == 1)
        await until(lambda: readers(server) == 0)


async def test_what_one_reader_does_not_read_others_do(start, watch: Watch, hurried, monkeypatch) -> None:
    monkeypatch.setattr(limits, "LIVE_UNREAD_BYTES", 16_384)
    server = await start(status=restless)
    lazy = await watch(server, limit=4_096)
    lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    stream = await watch(server)
    for _ in range(8):
        assert "sources" in [data.get("id") for _, data in await stream.until("beat")]


async def test_a_fault_while_watching_ends_the_stream(start, watch: Watch, hurried) -> None:
    turns = 0

    def breaks() -> dict[str, Any]:
        nonlocal turns
        turns += 1
        if turns > 1:
            raise ValueError("a secret of ours")
        return status()

    stream = await watch(await start(status=breaks))
    text = str(await stream.until("beat"))
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        text += str(await stream.until("never"))
    assert "secret" not in text


async def test_a_page_that_takes_long_holds_up_no_other() -> None:
    press, go = Press(), asyncio.Event()

    async def slow() -> Page:
        await go.wait()
        return Page("slow", [])

    async def quick() -> Page:
        return Page("quick", [])

    waiting = asyncio.create_task(press.page("slow", slow))
    assert (await press.page("quick", quick)).title == "quick"
    also = asyncio.create_task(press.page("slow", quick))
    await asyncio.sleep(0)
    waiting.cancel()  # one reader leaves; the other still gets it
    go.set()
    assert (await also).title == "slow"


async def test_what_failed_is_tried_again_and_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_EVERY_S", 0.0)
    press, turns = Press(), 0

    async def breaks_once() -> Page:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise ValueError("once")
        return Page(str(turns), [])

    with pytest.raises(ValueError, match="once"):
        await press.page("x", breaks_once)
    assert (await press.page("x", breaks_once)).title == "2"
    for number in range(2 * limits.PAGE_RENDERS):
        await press.page(number, breaks_once)
    assert len(press._kept) == limits.PAGE_RENDERS
