"""The way between a gateway and a node: HTTP without sockets, which loses, delays, repeats, reorders, cuts and lies.

`Wire` is to gateway/upstream/client.py what aiohttp's ClientSession is, as far as the client uses one.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from gateway.core import cbor, limits
from gateway.errors import FormatError
from gateway.node.ledger import CBOR, TEXT, Answer
from gateway.node.log import SIZE_TYPE

Serve = Callable[[str, str, bytes, Callable[[Answer], None]], bool]
"""Hands method, path and body to a node, and a way to answer; False where no node listens."""


@dataclass
class Faults:
    """How bad a network is: probabilities for one message, and the longest delay in seconds."""

    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    late_s: float = 0.0
    lie: float = 0.0


class Wire:
    """One gateway's way to one node. `cut_to`, `cut_back`: nothing comes through in that direction."""

    def __init__(self, name: str, serve: Serve, rng: random.Random, note: Callable[..., None]) -> None:
        self.name = name
        self.faults = Faults()
        self.cut_to = self.cut_back = False
        self._serve = serve
        self._rng = rng
        self._note = note
        self._old: list[Answer] = []  # answers that were given, for a liar to repeat

    # What aiohttp's ClientSession offers

    def post(self, url: str, *, data: bytes, **_: Any) -> "_Exchange":
        return _Exchange(self, "POST", url, data)

    def get(self, url: str, **_: Any) -> "_Exchange":
        return _Exchange(self, "GET", url, b"")

    def put(self, url: str, *, data: AsyncIterator[bytes], **_: Any) -> "_Exchange":
        return _Exchange(self, "PUT", url, data)

    async def close(self) -> None:
        pass

    # What happens in between

    async def exchange(self, method: str, path: str, data: bytes) -> Answer:
        """One request and its answer, or what aiohttp raises."""
        loop, rng = asyncio.get_running_loop(), self._rng
        answer: asyncio.Future[Answer] = loop.create_future()
        self._note(self.name, method, path[-12:], len(data))
        for _ in range(1 + (rng.random() < self.faults.twice)):
            if rng.random() >= self.faults.loss:
                loop.call_later(self._delay(), self._arrive, method, path, data, answer)
            elif rng.random() < 0.5:
                loop.call_later(self._delay(), self._reset, answer)
        async with asyncio.timeout(limits.UPSTREAM_REQUEST_S):
            return await answer

    def _delay(self) -> float:
        if self._rng.random() < self.faults.late:
            return self._rng.random() * self.faults.late_s
        return 0.01 + self._rng.random() * 0.1

    def _arrive(self, method: str, path: str, data: bytes, answer: "asyncio.Future[Answer]") -> None:
        if self.cut_to:
            return
        if not self._serve(method, path, data, lambda given: self._back(given, answer)):
            self._reset(answer)

    def _reset(self, answer: "asyncio.Future[Answer]") -> None:
        if not answer.done():
            answer.set_exception(aiohttp.ClientConnectionError("reset"))
            answer.exception()  # perhaps nobody waits for it any more

    def _back(self, given: Answer, answer: "asyncio.Future[Answer]") -> None:
        self._old = [*self._old[-3:], given]
        if self._rng.random() < self.faults.lie:
            given = self._lie(given)
        self._note(self.name, given.status, len(given.body))
        if self.cut_back or self._rng.random() < self.faults.loss:
            return
        asyncio.get_running_loop().call_later(self._delay(), _settle, answer, given)

    def _lie(self, given: Answer) -> Answer:
        """Another answer that a client must bear. A fork is not claimed: that holds signing until a person comes."""
        rng = self._rng
        kind = rng.randrange(7)
        if kind == 0:
            return Answer(rng.choice([500, 503, 429, 302, 403, 404]), b"no", TEXT)
        if kind == 1:
            return Answer(409, b"%d\n" % rng.choice([0, 1, 7, 10**6, 2**53 - 1]), SIZE_TYPE)
        if kind == 2:
            return Answer(200, rng.randbytes(rng.randrange(64)), CBOR)
        if kind == 3:
            return Answer(given.status, given.body[: rng.randrange(1 + len(given.body))], given.content_type)
        if kind == 4:
            return rng.choice(self._old)
        try:
            fields = cbor.decode(given.body)
        except FormatError:
            return given
        if given.status != 200 or not isinstance(fields, dict):
            return given
        if kind == 5:
            fields[rng.choice([2, 4])] = rng.randrange(40)
        else:
            low = rng.randrange(20)
            fields[3] = [[low, low + 1 + rng.randrange(5)]]
        return Answer(200, cbor.encode(fields), CBOR)  # type: ignore[arg-type]


def _settle(answer: "asyncio.Future[Answer]", given: Answer) -> None:
    if not answer.done():
        answer.set_result(given)


class _Exchange:
    """A request's context manager, and its response."""

    def __init__(self, wire: Wire, method: str, url: str, data: Any) -> None:
        self._wire, self._method, self._url, self._data = wire, method, url, data
        self.content = self
        self.headers: dict[str, str] = {}
        self.status, self.content_type, self._body = 0, "", b""

    async def __aenter__(self) -> "_Exchange":
        data = self._data
        if not isinstance(data, bytes):
            try:
                data = b"".join([chunk async for chunk in self._data])
            except Exception as error:
                raise aiohttp.ClientError from error
        answer = await self._wire.exchange(self._method, self._url, data)
        self.status, self.content_type, self._body = answer.status, answer.content_type.split(";")[0], answer.body
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None:
        pass
