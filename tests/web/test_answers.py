"""Answers that fail half way, over a real socket: a reader must never take part of a body for the whole."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from gateway.core import limits
from gateway.errors import StoreError
from gateway.web import answers
from gateway.web.listener import Listener, Served, neighbourhood, serve

Make = Callable[[], AsyncIterator[bytes]]


async def served(make: Make) -> Served:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await answers.stream(request, make, answers.CBOR)

    listener = Listener(socket.AF_INET, most=4, most_by_one=4)
    listener.bind(("127.0.0.1", 0))
    return await serve(listener, handle)


async def fetch(server: Served) -> bytes:
    host, port = server.listener.getsockname()
    headers = {"Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(headers=headers) as http, http.get(f"http://{host}:{port}/") as response:
        return await response.read()


def twice(first: list[bytes], second: list[bytes | Exception]) -> Make:
    """Gives one stream while it is measured and another while it is sent."""
    passes = iter([first, second])

    async def make() -> AsyncIterator[bytes]:
        for chunk in next(passes):
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    return make


PART = bytes(600_000)
CHANGED: dict[str, list[bytes | Exception]] = {
    "other bytes": [PART, PART[:-1] + b"x"],
    "fewer bytes": [PART, PART[:-1]],
    "more bytes": [PART, PART, b"x"],
    "an error": [PART, StoreError("the disk is broken")],
    "an error at once": [StoreError("the disk is broken")],
}


@pytest.mark.parametrize("second", CHANGED.values(), ids=CHANGED)
async def test_a_body_that_changes_while_it_is_sent_is_never_whole(second: list[bytes | Exception]) -> None:
    server = await served(twice([PART, PART], second))
    try:
        with pytest.raises(aiohttp.ClientError):
            await fetch(server)
    finally:
        await server.stop()


async def test_a_body_at_the_limit_is_made_once_and_one_past_it_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_BODY_KEPT_BYTES", 1000)
    for length, times in ((1000, 1), (1001, 2)):
        passes = []

        async def make(length: int = length, passes: list[int] = passes) -> AsyncIterator[bytes]:
            passes.append(1)
            for at in range(0, length, 100):
                yield bytes(range(100))[: length - at]

        host, port = (server := await served(make)).listener.getsockname()
        async with (
            aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as http,
            http.get(f"http://{host}:{port}/") as response,
        ):
            assert len(await response.read()) == length
        assert len(passes) == times
        await server.stop()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", neighbourhood("2001:db8::2")),
        ("fe80::1%eth0", neighbourhood("fe80::2%eth1")),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, expected: str) -> None:
    assert neighbourhood(address) == expected
    assert neighbourhood("2001:db8::1") != neighbourhood("2001:db8:0:1::1")


async def test_a_server_that_stops_ends_an_answer_under_way() -> None:
    async def make() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    server = await served(make)
    asking = asyncio.create_task(fetch(server))
    while not server.listener.connections:
        await asyncio.sleep(0.01)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(8):
            await server.stop()
    with pytest.raises(aiohttp.ClientError):
        await asking
