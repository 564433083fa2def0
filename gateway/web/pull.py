"""The pull API: what a configured reader may fetch from this gateway (docs/format.md, section 9)."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from gateway import httpsig
from gateway.clock import Clock, known_s
from gateway.core import body, limits, tiles
from gateway.core.note import VerifierKey
from gateway.errors import AuthError, FormatError, NotFoundError, StoreFullError
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.store.receipts import build_receipt
from gateway.web import answers
from gateway.web.listener import deny

_BLOCK = re.compile(r"/blocks/(0|[1-9][0-9]{0,14})", re.ASCII)
_RECEIPT = re.compile(r"/receipts/([a-z0-9][a-z0-9._-]{0,62})\?at=(0|[1-9][0-9]{0,14})", re.ASCII)
_BATCH = 256  # items of a cut body made in one go, in a thread


@dataclass(frozen=True, slots=True)
class BlockPath:
    """/blocks/<height>"""

    height: int


@dataclass(frozen=True, slots=True)
class ReceiptPath:
    """/receipts/<source>?at=<Unix ms>"""

    source: str
    at_ms: int


Route = tiles.TilePath | BlockPath | ReceiptPath


def parse_target(raw: str) -> Route | None:
    """What a request target names, as it was sent; None for anything but the one spelling of section 9."""
    if match := _BLOCK.fullmatch(raw):
        return BlockPath(int(match[1]))
    if match := _RECEIPT.fullmatch(raw):
        return ReceiptPath(match[1], int(match[2]))
    try:
        return tiles.parse_path(raw.removeprefix("/")) if raw.startswith("/") else None
    except FormatError:
        return None


class Reader:
    """One read key: what its holder may see, and how much it asks."""

    def __init__(self, link: NodeLink, name: str, monotonic: Callable[[], float]) -> None:
        share = link.share
        self.named = (name, link)
        self.gone = False  # the configuration names it no more, or grants it something else
        self.whole = "*" in share
        self.node = name if self.whole and link.stored_key else ""  # whose "stored" counts: it asks for what it lacks
        self._share = frozenset(share)
        self._monotonic = monotonic
        self._tokens, self._filled = float(limits.PULL_BURST), monotonic()
        self.making = asyncio.Semaphore(limits.WEB_BODIES)

    def sees(self, source: str) -> bool:
        """Whether readings of this source may be shown."""
        return self.whole or source in self._share

    def may_ask(self) -> bool:
        """Counts one request against the rate."""
        now = self._monotonic()
        self._tokens = min(float(limits.PULL_BURST), self._tokens + (now - self._filled) * limits.PULL_RATE_PER_S)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PullApi:
    """Answers signed GETs. nodes: those with a read_key may read. authorities: the host:port names of this gateway."""

    def __init__(self, nodes: Mapping[str, NodeLink], store: Store, clock: Clock, authorities: Collection[str]) -> None:
        self._store = store
        self._monotonic = clock.monotonic
        self._readers: dict[VerifierKey, Reader] = {}
        self._checker = httpsig.Checker({}, partial(known_s, clock), clock.monotonic, authorities)
        self.change(nodes)

    def change(self, nodes: Mapping[str, NodeLink]) -> None:
        """From now on these may read. One of which nothing has changed is not touched."""
        readers: dict[VerifierKey, Reader] = {}
        for name, link in nodes.items():
            if not link.read_key:
                continue
            key = VerifierKey.parse(link.read_key)
            if key in readers:
                raise FormatError("two nodes have one read key", where=f"node.{name}", cure="Each has a key of its own")
            known = self._readers.get(key)
            same = known is not None and known.named == (name, link)
            readers[key] = known if known is not None and same else Reader(link, name, self._monotonic)
        self._checker.change({httpsig.key_name(key): key for key in readers})
        before, self._readers = self._readers, readers
        for key, reader in before.items():
            reader.gone = readers.get(key) is not reader

    @staticmethod
    def knows(raw_path: str) -> bool:
        """Whether this is a path of the pull API."""
        return parse_target(raw_path) is not None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one plain GET; 401 without a body for what no reader signed, or no path of ours."""
        route = parse_target(request.raw_path)
        if route is None:
            return deny()
        path, query = httpsig.split_target(request.raw_path)
        try:
            key = self._checker.check("GET", request.headers.get("Host", ""), path, query, request.headers)
        except AuthError as error:
            return _challenged(error)
        reader = self._readers[key]
        if not reader.may_ask():
            return answers.too_many()
        try:
            answer = await self._answer(request, route, reader)
        except NotFoundError:
            return answers.missing()
        return deny() if reader.gone and not answer.prepared else answer

    async def _answer(self, request: web.BaseRequest, route: Route, reader: Reader) -> web.StreamResponse:
        if isinstance(route, BlockPath):
            async with reader.making:
                return await self._body(request, route.height, reader)
        if isinstance(route, ReceiptPath):
            if not reader.sees(route.source):
                return answers.missing()
            async with reader.making:
                receipt = await build_receipt(self._store, route.source, route.at_ms)
            return answers.small(request, receipt.encode(), answers.TEXT, answers.NO_CACHE)
        return await self._log(request, route)

    async def _log(self, request: web.BaseRequest, route: tiles.TilePath) -> web.StreamResponse:
        blocks = self._store.blocks
        if route.kind == "checkpoint":
            note = await blocks.note()
            if note is None:
                return answers.missing()
            return answers.small(request, note[1].encode(), answers.TEXT, answers.NO_CACHE)
        if route.kind == "entries":
            data = await blocks.bundle(route.n, route.width)
        else:
            data = await blocks.tile(route.level, route.n, route.width)
        if data is None:
            return answers.missing()
        cache = answers.IMMUTABLE if route.width == tiles.WIDTH else answers.NO_CACHE
        return answers.small(request, data, answers.BYTES, cache)

    async def _body(self, request: web.BaseRequest, height: int, reader: Reader) -> web.StreamResponse:
        blocks = self._store.blocks
        row = await blocks.block(height)
        if reader.node and row is not None:
            with contextlib.suppress(StoreFullError):  # it is noted with the next one
                await self._store.cosigned.wanted(reader.node, height)
        if row is None or row.secret is None:
            lost = await blocks.gone(height)
            if lost is None:
                return answers.missing()
            told = body.gone_body(height, lost.reason, lost.loss)
            return answers.small(request, told, answers.CBOR, answers.NO_CACHE)
        secret, count = row.secret, row.count

        def make() -> AsyncIterator[bytes]:
            if reader.whole:
                return _while_it_reads(reader, blocks.body_chunks(height))
            return _while_it_reads(reader, _cut(self._store, height, secret, count, reader.sees))

        return await answers.stream(request, make, answers.CBOR)


def _challenged(error: AuthError) -> web.Response:
    """401, with the nonce that a gateway without a clock asks for; only then does the connection stay open."""
    if error.challenge is None:
        return deny()
    headers = {"Accept-Signature": error.challenge, "Cache-Control": "no-store"}
    return web.Response(status=401, headers=headers)


async def _while_it_reads(reader: Reader, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, cut off where the reader is configured no more: nobody takes what came for the whole."""
    async for chunk in chunks:
        if reader.gone:
            raise AuthError("the configuration names this reader no more")
        yield chunk


async def _cut(
    store: Store, height: int, secret: bytes, count: int, visible: Callable[[str], bool]
) -> AsyncIterator[bytes]:
    """The cut form of a body (section 7), a batch of items at a time."""
    yield body.cut_body_head(height, count)
    batch: list[body.Item] = []
    done = 0
    async for item in store.blocks.items(height):
        batch.append(item)
        if len(batch) == _BATCH:
            yield await asyncio.to_thread(_cut_items, secret, done, batch, visible)
            done, batch = done + len(batch), []
    yield _cut_items(secret, done, batch, visible)


def _cut_items(secret: bytes, start: int, items: list[body.Item], visible: Callable[[str], bool]) -> bytes:
    return b"".join(body.cut_item(secret, index, item, visible) for index, item in enumerate(items, start))
