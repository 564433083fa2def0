"""A receipt: one reading with everything that proves it, as a C2SP `tlog-proof` file (docs/format.md, section 10).

The file's `extra` line is a CBOR map::

    { 1: entry, 2: leaf, 3: index in the block, 4: [hash, ...], ? 5: [anchor, ...], ? 6: [payload, raw salt] }

Parsing checks the form alone; `gateway.verify` checks what it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from gateway.core import cbor
from gateway.core.limits import (
    BLOCK_PATH_HASHES,
    LOG_PATH_HASHES,
    RECEIPT_ANCHORS,
    RECEIPT_BYTES,
    RECEIPT_COSIGNATURES,
)
from gateway.core.note import Note, b64decode, b64encode, decimal, parse_note
from gateway.errors import FormatError

MAGIC = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Anchor:
    """A digest put on another chain: the log's root at a size, the path from the entry to it, the kind's evidence."""

    kind: int | str
    size: int
    root: bytes
    path: tuple[bytes, ...]
    evidence: cbor.Value


@dataclass(frozen=True, slots=True)
class Receipt:
    """The parts of a receipt. `index` and `path` are the leaf's in its block, `log_index` and `log_path` the entry's.

    `payload` and `raw_salt` are there together or not at all: the bytes as they arrived, where they travel apart.
    """

    entry: bytes
    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    log_index: int
    log_path: tuple[bytes, ...]
    note: Note
    anchors: tuple[Anchor, ...] = ()
    payload: bytes | None = None
    raw_salt: bytes | None = None

    def extra(self) -> bytes:
        """The CBOR of the `extra` line."""
        fields: dict[int, cbor.Encodable] = {1: self.entry, 2: self.leaf, 3: self.index, 4: self.path}
        if self.anchors:
            fields[5] = [[a.kind, a.size, a.root, a.path, cast(cbor.Encodable, a.evidence)] for a in self.anchors]
        if self.payload is not None and self.raw_salt is not None:
            fields[6] = [self.payload, self.raw_salt]
        return cbor.encode(fields)

    def encode(self) -> str:
        """The file. FormatError where it would be larger than receipts may be: then leave the payload out."""
        lines = [MAGIC, f"extra {b64encode(self.extra())}", f"index {self.log_index}", *map(b64encode, self.log_path)]
        text = "\n".join(lines) + "\n\n" + self.note.encode()
        parse_receipt(text.encode())  # the limits that a reader will hold it to
        return text


def parse_receipt(data: bytes) -> Receipt:
    """The receipt in a file of at most RECEIPT_BYTES. Unknown keys of `extra` are ignored."""
    if len(data) > RECEIPT_BYTES:
        raise FormatError(f"a receipt of {len(data)} bytes is longer than {RECEIPT_BYTES}")
    head, empty, checkpoint = data.partition(b"\n\n")
    if not empty:
        raise FormatError("a receipt is a proof, an empty line and a checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise FormatError("the proof has a byte outside ASCII before its checkpoint") from None
    if lines[0] != MAGIC:
        raise FormatError(f"the first line is not {MAGIC}", cure="This file is no receipt, or of another version")
    if len(lines) < 3 or not lines[1].startswith("extra ") or not lines[2].startswith("index "):
        raise FormatError("a receipt has a line `extra` and then a line `index`")
    fields = cbor.decode(b64decode(lines[1].removeprefix("extra "), "the line `extra`"))
    if not isinstance(fields, dict):
        raise FormatError("the line `extra` does not hold a CBOR map")
    payload, salt = _parse_payload(fields[6]) if 6 in fields else (None, None)
    return Receipt(
        entry=_bytes(fields.get(1), "entry"),
        leaf=_bytes(fields.get(2), "leaf"),
        index=_uint(fields.get(3), "index in the block"),
        path=_hashes(_list(fields.get(4), "path in the block"), BLOCK_PATH_HASHES),
        log_index=decimal(lines[2].removeprefix("index "), "the entry's index"),
        log_path=_hashes([b64decode(line, "a hash of the log path") for line in lines[3:]], LOG_PATH_HASHES),
        note=_note(checkpoint),
        anchors=_parse_anchors(fields[5]) if 5 in fields else (),
        payload=payload,
        raw_salt=salt,
    )


def _parse_anchors(value: cbor.Value) -> tuple[Anchor, ...]:
    listed = _list(value, "list of anchors")
    if len(listed) > RECEIPT_ANCHORS:
        raise FormatError(f"{len(listed)} anchors are more than {RECEIPT_ANCHORS}")
    return tuple(_parse_anchor(item) for item in listed)


def _parse_anchor(value: cbor.Value) -> Anchor:
    parts = _list(value, "anchor")
    if len(parts) != 5:
        raise FormatError(f"an anchor has 5 parts, not {len(parts)}")
    kind, size, root, path, evidence = parts
    if isinstance(kind, bool) or not isinstance(kind, int | str):
        raise FormatError("an anchor's kind is a number or a text")
    (anchored,) = _hashes([root], 1)
    return Anchor(
        kind, _uint(size, "anchor's size"), anchored, _hashes(_list(path, "anchor's path"), LOG_PATH_HASHES), evidence
    )


def _parse_payload(value: cbor.Value) -> tuple[bytes, bytes]:
    parts = _list(value, "payload apart")
    if len(parts) != 2:
        raise FormatError("a payload apart is the payload and its salt")
    payload, salt = _bytes(parts[0], "payload"), _bytes(parts[1], "raw salt")
    if len(salt) != 16:
        raise FormatError(f"a raw salt has 16 bytes, not {len(salt)}")
    return payload, salt


def _note(checkpoint: bytes) -> Note:
    note = parse_note(checkpoint)
    if len(note.lines) > RECEIPT_COSIGNATURES:
        raise FormatError(f"a receipt's checkpoint has at most {RECEIPT_COSIGNATURES} lines, not {len(note.lines)}")
    return note


def _bytes(value: cbor.Value | None, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise FormatError(f"a receipt's {what} is missing or not a byte string")
    return value


def _uint(value: cbor.Value | None, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FormatError(f"a receipt's {what} is missing or not an unsigned integer")
    return value


def _list(value: cbor.Value | None, what: str) -> list[cbor.Value]:
    if not isinstance(value, list):
        raise FormatError(f"a receipt's {what} is missing or not an array")
    return value


def _hashes(values: Sequence[cbor.Value], most: int) -> tuple[bytes, ...]:
    if len(values) > most:
        raise FormatError(f"a path of {len(values)} hashes is longer than {most}")
    hashes = tuple(value for value in values if isinstance(value, bytes) and len(value) == 32)
    if len(hashes) != len(values):
        raise FormatError("a hash is a byte string of 32 bytes")
    return hashes
