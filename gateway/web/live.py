"""Pages that are kept up to date: server-sent events (WHATWG HTML, 9.2), one connection for each page that is watched.

`hello` says which program this is, `part` brings a section that has changed, `beat` says that the page is still right,
`gone` that it must be asked for anew. What many watch is made once a second for all of them.
"""

import asyncio
import contextlib
import json
import socket
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any

from aiohttp import web

from gateway.core import limits
from gateway.web.listener import Endless
from gateway.web.view import Page

Make = Callable[[], Coroutine[Any, Any, Page]]


class Press:
    """Makes pages for those who watch, each at most once in PAGE_EVERY_S; one that takes long holds up no other."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[float, asyncio.Task[Page]]] = OrderedDict()

    async def page(self, key: Hashable, make: Make) -> Page:
        """The page under this key, as it was begun less than PAGE_EVERY_S ago, or is begun now."""
        now = asyncio.get_running_loop().time()
        begun, making = self._kept.get(key, (now, None))
        if making is None or (making.done() and now - begun >= limits.PAGE_EVERY_S * 0.9):
            making = asyncio.create_task(make(), name=f"page {key}")
            making.add_done_callback(_look_at)
            self._kept[key] = (now, making)
            self._kept.move_to_end(key)
            while len(self._kept) > limits.PAGE_RENDERS:
                self._kept.popitem(last=False)
        return await asyncio.shield(making)


def _look_at(made: "asyncio.Task[Page]") -> None:
    """A fault is told to whoever waits; where nobody does any more, it is nobody's."""
    if not made.cancelled():
        made.exception()


class Latest:
    """A snapshot that several pages are made from: at most half of PAGE_EVERY_S old."""

    def __init__(self, take: Callable[[], dict[str, Any]]) -> None:
        self._take = take
        self._taken = float("-inf")
        self._told: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """The snapshot."""
        now = asyncio.get_running_loop().time()
        if now - self._taken >= limits.PAGE_EVERY_S / 2:
            self._told, self._taken = self._take(), now
        return self._told


class Readers:
    """How many watch, and the end of all of them."""

    def __init__(self) -> None:
        self._by: Counter[str] = Counter()
        self.ended = asyncio.Event()

    def room(self, address: str) -> bool:
        """Whether one more from this address may watch."""
        return self._by.total() < limits.LIVE_READERS and self._by[address] < limits.LIVE_READERS_OF_ADDRESS

    @contextlib.contextmanager
    def one(self, address: str) -> Any:
        """Counts a reader while it is there."""
        self._by[address] += 1
        try:
            yield
        finally:
            self._by[address] -= 1
            self._by += Counter()  # without those at zero

    @property
    def count(self) -> int:
        """Those who watch now."""
        return self._by.total()


class Live(Endless):
    """The answer to one reader."""

    def __init__(
        self,
        readers: Readers,
        address: str,
        look: Callable[[], Awaitable[Page | None]],
        hello: Callable[[], dict[str, Any]],
        headers: dict[str, str],
    ) -> None:
        super().__init__(headers=headers | {"Content-Type": "text/event-stream; charset=utf-8"})
        self._readers, self._address, self._look, self._hello = readers, address, look, hello
        self._sent: dict[str, str] = {}

    async def feed(self, request: web.BaseRequest) -> None:
        """Sends what changes until the reader leaves, does not read, may not look any more, or the server stops."""
        if not self._readers.room(self._address):  # others came in the meantime
            return
        _bound(request)
        with self._readers.one(self._address):
            text, since_beat = f"retry: 1000\n{_event('hello', self._hello())}", 0.0
            while True:
                page = await self._look()
                text += _event("gone", {}) if page is None else self._changes(page)
                if text or since_beat >= limits.LIVE_BEAT_S:
                    text += _event("beat", self._hello())
                    since_beat = 0.0
                    if not await self._send(request, text):
                        return
                if page is None or await self._ended():
                    return
                text, since_beat = "", since_beat + limits.PAGE_EVERY_S

    def _changes(self, page: Page) -> str:
        changed = [part for part in page.parts if self._sent.get(part.id) != part.markup]
        self._sent |= {part.id: part.markup for part in changed}
        return "".join([_event("part", {"id": part.id, "html": part.markup}) for part in changed])

    async def _send(self, request: web.BaseRequest, text: str) -> bool:
        """False where the reader does not take it."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(limits.LIVE_STALL_S):
                await self.write(text.encode())
                await request.writer.drain()
            return True
        if request.transport is not None:
            request.transport.abort()
        return False

    async def _ended(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.PAGE_EVERY_S):
                await self._readers.ended.wait()
        return self._readers.ended.is_set()


def _bound(request: web.BaseRequest) -> None:
    """What the kernel holds for a reader that does not read is little."""
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.LIVE_UNREAD_BYTES)


def _event(name: str, told: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"
