"""Raw sockets against the gateway's port: slow, huge, malformed and many. It answers little and goes on."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.collector import until
from fakes.filled_store import publish
from fakes.log_maker import LogMaker
from fakes.readers import COOP
from fakes.tls import Authority

from gateway import httpsig
from gateway.core import limits
from gateway.store import Store
from gateway.web import WebServer, listener


class Raw:
    """A connection of bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        data = bytearray()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while chunk := await self.reader.read(65536):
                    data += chunk
        return bytes(data)


@contextlib.asynccontextmanager
async def connect(server: WebServer, *, address: str = "127.0.0.1", limit: int = 65536) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0), limit=limit)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def signed(server: WebServer, clock, target: str = "/checkpoint", *more: str) -> bytes:
    host = f"127.0.0.1:{server.port}"
    headers = httpsig.sign_now(COOP, "GET", host, target, now=clock.ms / 1000)
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items()), *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


MALFORMED = {
    "nothing HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no version": b"GET /checkpoint\r\n\r\n",
    "a bad version": b"GET /checkpoint HTTP/9.9\r\nHost: x\r\n\r\n",
    "a bad header": b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
    "a null": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a bad chunk": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no host": b"GET /checkpoint HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /checkpoint HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/1.0": b"GET /checkpoint HTTP/1.0\r\n\r\n",
    "a proxy's target": b"GET http://127.0.0.1/checkpoint HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "an expectation": b"GET /checkpoint HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_requests_get_401_without_a_body(start, data: bytes) -> None:
    server = await start()
    async with connect(server) as raw:
        await raw.send(data)
        answer = await raw.rest()
    assert status_of(answer) == 401
    assert body_of(answer) == b""
    head = answer.lower()
    for word in (b"python", b"aiohttp", b"traceback", b"\r\ncontent-type", b"100 continue"):
        assert word not in head
    assert b"server: fieldgate" in head


async def test_the_page_has_one_spelling(start) -> None:
    server = await start()
    for target, expected in (("/", 200), ("/?", 401), ("/./", 401), ("//", 401), ("/%2f", 401), ("/;", 401)):
        async with connect(server) as raw:
            host = f"127.0.0.1:{server.port}"
            await raw.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert status_of(await raw.rest()) == expected


async def test_a_body_on_a_get_is_not_read(start, clock) -> None:
    server = await start()
    for more in ("Content-Length: 1000000000", "Transfer-Encoding: chunked"):
        async with connect(server) as raw:
            await raw.send(signed(server, clock, "/checkpoint", more))
            answer = await raw.rest()
        assert (status_of(answer), body_of(answer)) == (401, b"")


@pytest.mark.parametrize("length", ["000000001999999", "1999999", "0" * 400 + "7"])
async def test_a_form_of_another_length_than_it_seems_is_not_read(start, length: str) -> None:
    server = await start()
    host = f"127.0.0.1:{server.port}"
    head = f"POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: {length}\r\n\r\n"
    async with connect(server) as raw:
        await raw.send(head.encode() + b"code=xx")
        answer = await raw.rest()
    assert (status_of(answer), body_of(answer)) == (401, b"")


async def test_a_cookie_of_any_bytes(start, caplog: pytest.LogCaptureFixture) -> None:
    server = await start()
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\nCookie: fieldgate="
    for value in (b'"\xff"', b"\xff\xfe", b'"\\377"', b"\xed\xa0\x80"):
        async with connect(server) as raw:
            await raw.send(head.encode() + value + b"\r\n\r\n")
            assert status_of(await raw.rest()) == 200  # on this machine
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_bomb_is_not_inflated(start, clock) -> None:
    import zlib

    server = await start()
    bomb = zlib.compress(bytes(20_000_000))
    async with connect(server) as raw:
        await raw.send(
            signed(server, clock, "/checkpoint", "Content-Encoding: deflate", f"Content-Length: {len(bomb)}")
        )
        with contextlib.suppress(ConnectionError):
            await raw.send(bomb)
        answer = await raw.rest()
    assert status_of(answer) in {0, 401}
    assert body_of(answer) == b""


@pytest.mark.parametrize("begin", [b"", b"G", b"GET /checkpoint HTTP/1.1\r\nHost: x\r\n"])
async def test_a_slow_head_is_cut_off(start, begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_HEAD_S", 0.3)
    server = await start()
    async with connect(server) as raw:
        await raw.send(begin)

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while begin:
                    await raw.send(b"X")
                    await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert status_of(await raw.rest()) in {0, 401}
        dripping.cancel()
    await until(lambda: server._web.listener.connections == 0)


async def test_an_idle_connection_is_closed(start, clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_HEAD_S", 0.3)
    server = await start()
    async with connect(server) as raw:
        await raw.send(signed(server, clock))
        assert status_of(await raw.rest()) == 200


async def test_connections_of_one_address_are_bounded(start, clock) -> None:
    server = await start()
    async with contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connect(server)) for _ in range(limits.WEB_CONNECTIONS_PER_ADDRESS)]
        await until(lambda: server._web.listener.connections == limits.WEB_CONNECTIONS_PER_ADDRESS)
        async with connect(server) as one_more:
            assert await one_more.rest() == b""
        async with connect(server, address="127.0.0.2") as another:
            await another.send(signed(server, clock))
            assert status_of(await another.reader.readuntil(b"\r\n")) == 200
        held[0].writer.close()
        await until(lambda: server._web.listener.connections < limits.WEB_CONNECTIONS_PER_ADDRESS)
        async with connect(server) as again:
            await again.send(signed(server, clock))
            assert status_of(await again.reader.readuntil(b"\r\n")) == 200


async def test_connections_in_all_are_bounded(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_CONNECTIONS", 6)
    server = await start()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(6):
            await stack.enter_async_context(connect(server, address=f"127.0.0.{number + 1}"))
        await until(lambda: server._web.listener.connections == 6)
        async with connect(server, address="127.0.0.99") as one_more:
            assert await one_more.rest() == b""
    await until(lambda: server._web.listener.connections == 0)


async def test_handshakes_that_never_end_count_as_connections(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_TLS_HANDSHAKE_S", 0.5)
    cert, key = Authority(tmp_path / "ca").issue("gateway")
    server = await start(cert_file=str(cert), key_file=str(key))
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(limits.WEB_CONNECTIONS_PER_ADDRESS):
            raw = await stack.enter_async_context(connect(server))
            await raw.send(b"\x16\x03\x01")
        await until(lambda: server._web.listener.connections == limits.WEB_CONNECTIONS_PER_ADDRESS)
        async with connect(server) as one_more:
            assert await one_more.rest() == b""
        await until(lambda: server._web.listener.connections == 0)


async def test_plain_http_to_a_tls_port(start, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("gateway")
    server = await start(cert_file=str(cert), key_file=str(key))
    async with connect(server) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in await raw.rest()
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(await reader.read(1000)) == 401
    writer.close()
    await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_turn(start, clock) -> None:
    server = await start()
    async with connect(server) as raw:
        await raw.send(b"".join(signed(server, clock) for _ in range(3)) + b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await raw.rest()
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"HTTP/1.1 401 ") == 1


async def test_a_reader_that_does_not_read_is_cut_off(
    start, clock, store: Store, log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEB_REQUEST_S", 1.0)
    log.append([(pack, bytes(60_000)) for pack in _packs(200)])
    await publish(store, log)
    server = await start()
    async with connect(server, limit=1000) as raw:
        await raw.send(signed(server, clock, "/blocks/5"))
        await until(lambda: server._web.listener.connections == 1)
        await until(lambda: server._web.listener.connections == 0)


def _packs(count: int) -> list[bytes]:
    from gateway.core import senml

    return [
        senml.with_digest("s-0", [], bt_ms=1_750_000_000_000 + number, raw_sha256=bytes(32)) for number in range(count)
    ]


async def test_a_reader_that_goes_away_ends_its_request(
    start, clock, store: Store, log: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([(pack, bytes(60_000)) for pack in _packs(200)])
    await publish(store, log)
    server = await start()
    for _ in range(limits.WEB_BODIES + 2):  # each place is given free again
        async with connect(server, limit=1000) as raw:
            await raw.send(signed(server, clock, "/blocks/5"))
            await raw.reader.read(100)
            raw.writer.transport.abort()
    async with connect(server) as raw:
        await raw.send(signed(server, clock, "/blocks/0", "Connection: close"))
        assert status_of(await raw.rest()) == 200


async def test_a_fault_of_ours_shows_nothing(start, clock, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await store.db.transact([("UPDATE journal SET data=substr(data, 1, 20)", ())])
    server = await start()
    async with connect(server) as raw:
        await raw.send(signed(server, clock, "/blocks/1", "Accept-Encoding: identity"))
        answer = await raw.rest()
    assert status_of(answer) == 500
    assert body_of(answer) == b""
    assert "/blocks/1" in caplog.text
