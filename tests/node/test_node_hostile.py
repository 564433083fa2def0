"""What a stranger can send: broken, endless, slow, too much. The node answers exactly or hangs up, and goes on."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fakes.log_maker import LogMaker
from fakes.nodes import Client, enrolled, running
from fakes.tls import Authority

from gateway.core import limits
from gateway.errors import StoreError, UnreachableError


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused request is not waited for."""
    monkeypatch.setattr(limits, "NODE_LINGER_S", 0.1)


@pytest.fixture
def maker() -> LogMaker:
    """A log of two blocks."""
    return LogMaker().add(2)


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def exchange(client: Client, data: bytes) -> bytes:
    """What comes back until the node hangs up, at most ten seconds."""
    async with connected(client) as (reader, writer):
        writer.write(data)
        await writer.drain()
        received = b""
        try:
            async with asyncio.timeout(10):
                while chunk := await reader.read(65_536):
                    received += chunk
        except ConnectionError:
            pass
        return received


def status(reply: bytes) -> int:
    """The status in a raw answer."""
    assert reply.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), reply[:80]
    return int(reply[9:12])


def head(maker: LogMaker, *lines: str, path: str = "sync", method: str = "POST") -> bytes:
    """A request's head with these lines."""
    first = f"{method} /v1/logs/{maker.id}/{path} HTTP/1.1"
    return "\r\n".join([first, "Host: x", "Connection: close", *lines, "", ""]).encode()


async def alive(client: Client, maker: LogMaker) -> None:
    """The node still does its work."""
    assert (await client.sync(maker, 0)).status in (200, 409)


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "an endless line": b"GET /" + b"a" * 20_000,
    "an endless header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000,
    "too many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 200 + b"\r\n",
    "two lengths": b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": (
        b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a negative length": b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a bad chunk": b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a NUL": b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("what", BROKEN)
async def test_broken_requests_are_400_without_more_words(
    tmp_path: Path, maker: LogMaker, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        reply = await exchange(client, BROKEN[what])
        assert status(reply) == 400
        assert b"Traceback" not in reply
        assert len(reply) < 500
        assert not caplog.records  # a stranger does not fill the log
        await alive(client, maker)


async def test_a_body_past_the_limit_is_refused_before_it_is_sent(tmp_path: Path, maker: LogMaker) -> None:
    kind = "Content-Type: application/cbor"
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        length = f"Content-Length: {limits.SYNC_REQUEST_BYTES + 1}"
        assert status(await exchange(client, head(maker, kind, length))) == 413
        length = f"Content-Length: {limits.BODY_BYTES + 1}"
        assert status(await exchange(client, head(maker, length, path="blocks/0", method="PUT"))) == 413
        for coding in ("gzip", "deflate", "identity, gzip"):
            refused = head(maker, kind, "Content-Length: 10", f"Content-Encoding: {coding}")
            assert status(await exchange(client, refused)) == 415
        await alive(client, maker)


async def test_chunks_past_the_limit_are_cut_off(tmp_path: Path, maker: LogMaker) -> None:
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    chunks = chunk * (limits.SYNC_REQUEST_BYTES // 0x8000)
    start = head(maker, "Content-Type: application/cbor", "Transfer-Encoding: chunked")
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        assert status(await exchange(client, start + chunks + b"0\r\n\r\n")) == 400  # at the limit: read, and not CBOR
        assert status(await exchange(client, start + chunks + chunk)) == 413


async def test_a_slow_head_is_hung_up_on(tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NODE_HEADER_S", 0.2)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        for start in (b"", b"POST /add-checkpoint HTTP/1.1\r\nHos"):
            assert await exchange(client, start) == b""
        await alive(client, maker)


async def test_a_slow_body_is_408(tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NODE_REQUEST_S", 0.2)
    monkeypatch.setattr(limits, "NODE_STALL_S", 0.2)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        start = head(maker, "Content-Type: application/cbor", "Content-Length: 100") + b"a"
        assert status(await exchange(client, start)) == 408
        await client.sync(maker, 0)
        start = head(maker, "Content-Length: 100", path="blocks/0", method="PUT") + b"a"
        assert status(await exchange(client, start)) == 408
        assert client.node.server.budget.left == limits.NODE_UPLOAD_BYTES
        await alive(client, maker)


async def test_who_hangs_up_in_the_middle_leaves_nothing(tmp_path: Path, maker: LogMaker) -> None:
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        for start in (
            head(maker, "Content-Type: application/cbor", "Content-Length: 100") + b"a",
            head(maker, "Content-Length: 100", path="blocks/0", method="PUT") + b"a",
        ):
            async with connected(client) as (_, writer):
                writer.write(start)
                await writer.drain()
        assert (await client.put(maker, 0)).status == 204
        assert client.node.server.budget.left == limits.NODE_UPLOAD_BYTES


async def test_a_reader_that_takes_nothing_is_cut_off(
    tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NODE_SEND_S", 0.3)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0)
        path = f"/{maker.id}/checkpoint"
        asked = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with connected(client) as (reader, writer):
            reader._limit = 1  # type: ignore[attr-defined]  # so that nothing is taken off the socket
            async with asyncio.timeout(20):
                with pytest.raises(ConnectionError):
                    while True:
                        writer.write(asked * 500)
                        await writer.drain()
                        await asyncio.sleep(0)
        await alive(client, maker)


async def test_connections_past_the_limit_are_closed_as_they_come(
    tmp_path: Path, maker: LogMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "NODE_CONNECTIONS_OF_ADDRESS", 3)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        door = client.node.door
        async with connected(client), connected(client), connected(client):
            await until_connections(client, 3)
            assert await exchange(client, b"") == b""
            assert door.connections == 3
        await until_connections(client, 0)
        await alive(client, maker)


async def until_connections(client: Client, count: int) -> None:
    """Waits until so many connections are open, at most ten seconds."""
    async with asyncio.timeout(10):
        while client.node.door.connections != count:
            await asyncio.sleep(0.01)


async def test_a_store_that_fails_ends_the_node(tmp_path: Path, maker: LogMaker) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with running(tmp_path, {"a": enrolled(maker)}) as client:
            await client.sync(maker, 0)
            await client.node.store._writer.execute("DROP TABLE body")  # type: ignore[attr-defined]
            reply = await client.put(maker, 0)
            assert (reply.status, reply.data) == (500, b"this node is stopping")
            async with asyncio.timeout(10):
                await asyncio.wait([client.task])
    assert raised.group_contains(StoreError)


# TLS


async def test_tls_where_it_is_configured(tmp_path: Path, maker: LogMaker) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("node")
    async with running(tmp_path, {"a": enrolled(maker)}, cert_file=str(cert), key_file=str(key)) as client:
        trust = await asyncio.to_thread(ssl.create_default_context, cafile=authority.ca_file)
        url = f"https://127.0.0.1:{client.port}/{maker.id}/checkpoint"
        async with client.http.get(url, ssl=trust) as response:
            assert response.status == 404
        assert b"HTTP/1.1 200" not in await exchange(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with client.http.get(url, ssl=trust) as response:
            assert response.status == 404


async def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path, maker: LogMaker) -> None:
    with pytest.raises(UnreachableError, match="certificate and key"):
        async with running(tmp_path, {"a": enrolled(maker)}, cert_file=str(tmp_path / "none.pem")):
            pass


async def test_an_address_in_use_is_told(tmp_path: Path, maker: LogMaker) -> None:
    (tmp_path / "second").mkdir()
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        with pytest.raises(UnreachableError, match="cannot be listened on"):
            async with running(tmp_path / "second", {}, listen=f"127.0.0.1:{client.port}"):
                pass
