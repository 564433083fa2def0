"""What a node serves of one log to those who may read it (docs/format.md, sections 9 and 10)."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gateway.core import limits, merkle, tiles
from gateway.core.note import Note, VerifierKey, parse_line, parse_note
from gateway.core.receipt import Receipt
from gateway.errors import FormatError, NotFoundError
from gateway.node import bodies, tree
from gateway.node.bodies import Found
from gateway.node.ledger import Ledger
from gateway.node.store import NodeStore, Noted

T = TypeVar("T")

_AT = re.compile(r"at=(0|[1-9][0-9]{0,15})", re.ASCII)
_HEIGHT = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)

_IMMUTABLE = "private, max-age=31536000, immutable"
_CHANGING = "no-cache"
_BODY = "private, no-cache"


@dataclass(frozen=True, slots=True)
class Served:
    """A resource. etag: whether it is worth one."""

    data: bytes
    content_type: str
    cache: str
    encoding: str = ""
    etag: bool = False


def with_lines(noted: Noted, vkey: VerifierKey, lines: list[str], most: int) -> Note:
    """The log's note: its own line first, this node's after it, then the others, `most` in all."""
    note = parse_note(noted.note)
    own = [line for line in note.lines if line.is_by(vkey)]
    ours = [parse_line(line) for line in lines if line]
    return replace(note, lines=tuple(dict.fromkeys((*own, *ours, *note.lines)))[:most])


class Reader:
    """One log's resources. `places` bounds the bodies that are looked into at once, over all logs."""

    def __init__(self, ledger: Ledger, store: NodeStore, places: asyncio.Semaphore) -> None:
        self._ledger = ledger
        self._store = store
        self._places = places
        self._log = ledger.id

    async def witnessed(self) -> Served:
        """tlog-witness's monitoring: the largest checkpoint that was co-signed, with the latest line."""
        head = await self._ledger.head()
        noted = await self._store.note_upto(self._log, head.witnessed.size, "seen")
        if noted is None:
            raise NotFoundError("no checkpoint was co-signed yet")
        return self._checkpoint(noted, [noted.seen_latest])

    async def get(self, path: str, query: str, *, deflate: bool = True) -> Served:
        """The resource of section 9 under `/v1/logs/<id>/`. NotFoundError, FormatError. `deflate`: of a body."""
        folder, _, rest = path.partition("/")
        if folder == "receipts":
            return await self._receipt(rest, query)
        if query:
            raise FormatError("this resource takes no query")
        if folder == "blocks":
            return await self._block(rest, deflate=deflate)
        if path == "stored":
            return await self._stored()
        return await self._tile(tiles.parse_path(path))

    async def _tile(self, path: tiles.TilePath) -> Served:
        head = await self._ledger.head()
        if path.kind == "checkpoint":
            noted = await self._store.note_upto(self._log, head.size)
            if noted is None:
                raise NotFoundError("there is no checkpoint yet")
            return self._checkpoint(noted, [noted.seen_latest, noted.stored_latest])
        if path.size > head.size:
            raise NotFoundError("the log does not reach so far")
        if path.kind == "entries":
            data = tiles.encode_bundle(await self._store.entries(self._log, path.start, path.width))
        else:
            start = path.n * tiles.WIDTH
            data = b"".join(await tree.tile(self._store, self._log, path.level, start, path.width))
        return Served(data, "application/octet-stream", _IMMUTABLE if path.width == tiles.WIDTH else _CHANGING)

    def _checkpoint(self, noted: Noted, lines: list[str]) -> Served:
        note = with_lines(noted, self._ledger.vkey, lines, limits.NOTE_SIGNATURES)
        return Served(note.encode().encode(), "text/plain; charset=utf-8", _CHANGING)

    async def _block(self, text: str, *, deflate: bool) -> Served:
        if not _HEIGHT.fullmatch(text):
            raise FormatError("a height is a decimal without leading zeros")
        async with self._places:
            kept = await self._store.body(self._log, int(text))
            if kept is None:
                raise NotFoundError("this body is not held")
            plain = await self._look(int(text), partial(bodies.inflate, kept.data))
        if not deflate:
            return Served(plain, "application/cbor", _BODY, etag=True)
        return Served(kept.data, "application/cbor", _BODY, encoding="deflate", etag=True)

    async def _stored(self) -> Served:
        """Where "stored" begins, how far it goes, and which blocks the gateway declared gone (section 6)."""
        head = await self._ledger.head()
        noted = await self._ledger.stored()
        gone = await self._store.gone(self._log, limits.GONE_LISTED)
        told = {"from": head.stored_from, "size": noted.size if noted else None, "gone": gone}
        return Served(json.dumps(told).encode(), "application/json", _CHANGING)

    async def _receipt(self, source: str, query: str) -> Served:
        at = _AT.fullmatch(query)
        if at is None or not _SOURCE.fullmatch(source):
            raise FormatError("a receipt is asked for as receipts/<source>?at=<Unix ms>")
        async with self._places:
            height, found = await self._find(source, int(at[1]))
            text = await self._prove(height, found)
        return Served(text.encode(), "text/plain; charset=utf-8", _BODY, etag=True)

    async def _find(self, source: str, at_ms: int) -> tuple[int, Found]:
        """The last reading of the source at or before a time. Looks into at most STRADDLING_BLOCKS bodies."""
        best: tuple[int, Found] | None = None
        for height in await self._store.find(self._log, source, at_ms, limits.STRADDLING_BLOCKS):
            kept = await self._store.body(self._log, height)
            if kept is None:
                continue
            found = await self._look(height, partial(bodies.find, kept.data, source, at_ms))
            if found is not None and (best is None or (found.time_ms, height) > (best[1].time_ms, best[0])):
                best = height, found
        if best is None:
            raise NotFoundError("no reading of this source at or before this time is held")
        return best

    async def _prove(self, height: int, found: Found) -> str:
        """The receipt, under the smallest co-signed size above the height: the earliest attested time."""
        noted = await self._store.note_from(self._log, height + 1, "seen")
        if noted is None:
            raise NotFoundError("this block is not co-signed yet")
        (entry,) = await self._store.entries(self._log, height, 1)
        path = await asyncio.to_thread(merkle.inclusion_path, found.hashes, found.index)
        receipt = Receipt(
            entry=entry,
            leaf=found.leaf,
            index=found.index,
            path=tuple(path),
            log_index=height,
            log_path=tuple(await tree.inclusion(self._store, self._log, height, noted.size)),
            note=with_lines(noted, self._ledger.vkey, [noted.seen, noted.stored], limits.RECEIPT_COSIGNATURES),
            payload=found.payload,
            raw_salt=found.raw_salt,
        )
        try:
            return receipt.encode()
        except FormatError:  # RECEIPT_BYTES: the payload can be had with the block
            return replace(receipt, payload=None, raw_salt=None).encode()

    async def _look(self, height: int, work: Callable[[], T]) -> T:
        """Runs work on a kept body in a thread. A body that cannot be read any more is wanted again."""
        try:
            return await asyncio.to_thread(work)
        except FormatError as error:
            await self._ledger.lost_body(height)
            raise NotFoundError("this body is not held any more") from error
