"""A block's body at the node: inflated within bounds, checked against its header, indexed, looked into again. Pure.

These functions cost up to some seconds for the largest body: the caller runs them in a thread.
"""

import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.core import block, body, limits, merkle, senml
from gateway.core.block import Header
from gateway.core.body import CutBody, Disclosed, GoneBody, WholeBody
from gateway.errors import FormatError, StoreFullError
from gateway.node.store import Body, Form, Span

_STEP_BYTES = 1024 * 1024
OWN = "gateway"  # the source of a gateway's own events


class Budget:
    """Bytes of bodies in memory, over all uploads together. One for a node, shared by the threads that inflate."""

    def __init__(self, limit: int = limits.NODE_UPLOAD_BYTES) -> None:
        self.left = limit
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """StoreFullError where the others leave no room: the same body may be taken later."""
        with self._lock:
            if count > self.left:
                raise StoreFullError("too many bodies are being received", cure="Try again later")
            self.left -= count

    def give(self, count: int) -> None:
        """What was taken is free again."""
        with self._lock:
            self.left += count


class Inflater:
    """Bytes as they come in, at most `most` of them. `deflate`: in the zlib format; else as they are."""

    def __init__(self, budget: Budget, *, deflate: bool, most: int = limits.BODY_BYTES) -> None:
        self._budget = budget
        self._most = most
        self._zlib = zlib.decompressobj() if deflate else None
        self._data = bytearray()
        self.over = False  # it was refused for its size

    def feed(self, chunk: bytes) -> None:
        """Takes a piece. FormatError past the bound or for what is not zlib, StoreFullError for want of memory."""
        if self._zlib is None:
            self._keep(chunk)
            return
        while chunk:
            if self._zlib.eof:
                raise FormatError("there are bytes after the compressed body")
            try:
                self._keep(self._zlib.decompress(chunk, _STEP_BYTES))
            except zlib.error as error:
                raise FormatError(f"the body is not in the zlib format: {error}") from error
            chunk = self._zlib.unconsumed_tail or self._zlib.unused_data

    def finish(self) -> bytes:
        """The whole of it. FormatError where it was cut short."""
        if self._zlib is not None:
            while not self._zlib.eof:
                more = self._zlib.decompress(self._zlib.unconsumed_tail, _STEP_BYTES)
                self._keep(more)
                if not more and not self._zlib.eof:
                    raise FormatError("the compressed body is cut short")
        return bytes(self._data)

    def close(self) -> None:
        """Gives its memory back."""
        self._budget.give(len(self._data))
        self._data = bytearray()

    def _keep(self, data: bytes) -> None:
        if len(self._data) + len(data) > self._most:
            self.over = True
            raise FormatError(f"at most {self._most} bytes are taken here, inflated")
        self._budget.take(len(data))
        self._data += data


@dataclass(frozen=True, slots=True)
class Found:
    """A reading in a body: what a receipt needs of it."""

    time_ms: int
    index: int
    leaf: bytes
    hashes: list[bytes]
    payload: bytes | None = None
    raw_salt: bytes | None = None


def check(header: Header, data: bytes) -> tuple[Body, GoneBody | None]:
    """The body to keep, verified against its header; the declaration too, where the block is declared gone.

    FormatError where it does not belong to the header. A gone body proves nothing: `tells_loss` must find its reading.
    """
    parsed = body.verify_body(header, data)
    compressed = zlib.compress(data)
    if isinstance(parsed, GoneBody):
        return Body(Form.GONE, compressed), parsed
    spans: dict[str, Span] = {}
    full = not isinstance(parsed, CutBody) or not parsed.withheld
    for pack, payload in _disclosed(parsed):
        reading = _resolve(pack)
        if reading is None:
            continue
        full &= reading.raw_sha256 is None or payload is not None
        known = spans.get(reading.source, Span(reading.source, reading.time_ms, reading.time_ms))
        first, last = min(known.first_ms, reading.time_ms), max(known.last_ms, reading.time_ms)
        spans[reading.source] = Span(reading.source, first, last)
    form = Form.CUT if not full else Form.OPEN if isinstance(parsed, CutBody) else Form.WHOLE
    return Body(form, compressed, tuple(spans.values())), None


def loss_height(data: bytes) -> int | None:
    """The block that tells the loss, by a body that says its block is gone; None for any other body."""
    parsed = body.parse_body(data)
    return parsed.loss_height if isinstance(parsed, GoneBody) else None


def inflate(data: bytes) -> bytes:
    """A kept body. FormatError where the store gives back other bytes than it was given."""
    inflater = Inflater(Budget(limits.BODY_BYTES), deflate=True)
    inflater.feed(data)
    return inflater.finish()


def find(data: bytes, source: str, at_ms: int) -> Found | None:
    """The source's last reading at or before `at_ms` in a kept body; of two at one time the later one."""
    parsed = body.parse_body(inflate(data))
    if isinstance(parsed, GoneBody):
        return None
    best: tuple[int, int] | None = None
    for index, pack in _packs(parsed):
        reading = _resolve(pack, source)
        if reading is not None and reading.time_ms <= at_ms and (best is None or reading.time_ms >= best[0]):
            best = reading.time_ms, index
    return None if best is None else _found(parsed, *best)


def _found(parsed: WholeBody | CutBody, time_ms: int, index: int) -> Found:
    if isinstance(parsed, WholeBody):
        pack, payload = parsed.items[index]
        hashes = body.leaf_hashes(parsed.secret, (pack for pack, _ in parsed.items))
        salt = None if payload is None else block.raw_salt(parsed.secret, index)
        return Found(time_ms, index, block.leaf(parsed.secret, index, pack), hashes, payload, salt)
    item = parsed.items[index]
    assert isinstance(item, Disclosed)
    hashes = [merkle.leaf_hash(one.leaf) if isinstance(one, Disclosed) else one.hash for one in parsed.items]
    return Found(time_ms, index, item.leaf, hashes, item.payload, item.raw_salt)


def tells_loss(data: bytes, height: int) -> bool:
    """Whether a kept body has a reading of the gateway's own that says that block `height` is gone.

    Such a reading has the records `event` = "gone", and `from` and `to`, the heights from <= h < to that it speaks of.
    """
    parsed = body.parse_body(inflate(data))
    if isinstance(parsed, GoneBody):
        return False
    for pack, _ in _disclosed(parsed):
        reading = _resolve(pack, OWN)
        if reading is None:
            continue
        said = {record.name: record.value for record in reading.records}
        low, high = said.get("from"), said.get("to")
        if said.get("event") == "gone" and isinstance(low, int) and isinstance(high, int) and low <= height < high:
            return True
    return False


def _disclosed(parsed: WholeBody | CutBody) -> Iterator[body.Item]:
    if isinstance(parsed, WholeBody):
        return iter(parsed.items)
    return ((block.parse_leaf(item.leaf)[1], item.payload) for item in parsed.items if isinstance(item, Disclosed))


def _packs(parsed: WholeBody | CutBody) -> Iterable[tuple[int, bytes]]:
    if isinstance(parsed, WholeBody):
        return enumerate(pack for pack, _ in parsed.items)
    numbered = enumerate(parsed.items)
    return ((index, block.parse_leaf(item.leaf)[1]) for index, item in numbered if isinstance(item, Disclosed))


def _resolve(pack: bytes, source: str | None = None) -> senml.Reading | None:
    """The reading, if it is one (section 2) and of the source, if one is named. The header signs a pack as it is."""
    try:
        if source is not None and senml.source_of(pack) != source:
            return None
        return senml.resolve(pack)
    except FormatError:
        return None
