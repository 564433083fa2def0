"""Block bodies (docs/format.md section 7).

A body has three forms: whole (with the block's secret), cut (some readings withheld), gone. Each verifies against the
same header. An item is a pack and, where it travels apart, its payload.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from gateway.core import cbor, merkle, senml
from gateway.core.block import (
    LEAF_HEAD,
    SALT_BYTES,
    Header,
    check_secret,
    leaf,
    parse_leaf,
    payload_digest,
    raw_salt,
)
from gateway.core.limits import (
    BLOCK_LEAVES,
    BODY_BYTES,
    BODY_KEYS,
    BODY_UNKNOWN_BYTES,
    PACK_BYTES,
    TEXT_BYTES,
)
from gateway.errors import FormatError

Item = tuple[bytes, bytes | None]
"""A pack, and its payload where that travels apart."""


# Writing


def item(pack: bytes, payload: bytes | None = None) -> bytes:
    """One item of a whole body."""
    if payload is None:
        return cbor.bstr(pack)
    return b"\x82" + cbor.bstr(pack) + cbor.bstr(payload)


def whole_body_head(height: int, secret: bytes, count: int) -> bytes:
    """A whole body up to its items: `count` results of `item`, joined, complete it."""
    return (
        b"\xa3\x01"
        + cbor.integer(height)
        + b"\x02"
        + cbor.bstr(check_secret(secret))
        + b"\x03"
        + cbor.head(cbor.ARRAY, count)
    )


def cut_body(height: int, secret: bytes, items: Iterable[Item], visible: Callable[[str], bool]) -> bytes:
    """The body for a reader who may see the sources that `visible` allows, without the secret; the rest is withheld."""
    parts = [cut_item(secret, index, item, visible) for index, item in enumerate(items)]
    return cut_body_head(height, len(parts)) + b"".join(parts)


def cut_body_head(height: int, count: int) -> bytes:
    """A cut body up to its items: `count` results of `cut_item`, joined, complete it."""
    return b"\xa2\x01" + cbor.integer(height) + b"\x03" + cbor.head(cbor.ARRAY, count)


def cut_item(secret: bytes, index: int, item: Item, visible: Callable[[str], bool]) -> bytes:
    """Item `index` of a cut body: disclosed where `visible` allows its source, else withheld."""
    pack, payload = item
    disclosed = leaf(secret, index, pack)
    if not visible(senml.source_of(pack)):
        return b"\x81" + cbor.bstr(merkle.leaf_hash(disclosed))
    if payload is None:
        return cbor.bstr(disclosed)
    return b"\x83" + cbor.bstr(disclosed) + cbor.bstr(payload) + cbor.bstr(raw_salt(secret, index))


def gone_body(height: int, reason: str, loss_height: int) -> bytes:
    """The body of a block that was lost or erased; the loss is told by a reading in block `loss_height`."""
    if len(reason.encode(errors="replace")) > TEXT_BYTES:
        raise FormatError(f"the reason is over {TEXT_BYTES} bytes", cure="Shorten it")
    return cbor.encode({1: height, 4: reason, 5: loss_height})


# Reading


@dataclass(frozen=True, slots=True)
class Disclosed:
    """A reading of a cut body: its leaf, and payload with raw salt where it travels apart and may be seen."""

    leaf: bytes
    payload: bytes | None = None
    raw_salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class Withheld:
    """A reading of a cut body that the reader may not see: its leaf hash."""

    hash: bytes


@dataclass(frozen=True, slots=True)
class WholeBody:
    """A block with its secret: every reading is disclosed."""

    height: int
    secret: bytes
    items: list[Item]


@dataclass(frozen=True, slots=True)
class CutBody:
    """A block without its secret: each reading is disclosed by its own salt, or withheld."""

    height: int
    items: list[Disclosed | Withheld]

    @property
    def withheld(self) -> int:
        """How many readings are withheld. A body with any never fills a want."""
        return sum(isinstance(item, Withheld) for item in self.items)


@dataclass(frozen=True, slots=True)
class GoneBody:
    """A block that was lost or erased, why, and the height of the block that holds the reading which says so."""

    height: int
    reason: str
    loss_height: int


Body = WholeBody | CutBody | GoneBody


def read_items(data: bytes) -> Iterator[Item]:
    """The items of a whole body, joined without anything around them. FormatError where one is malformed."""
    offset, end = 0, len(data)
    while offset < end:
        pack, payload, offset = _read_item(data, offset)
        yield pack, payload


def parse_body(data: bytes) -> Body:
    """A body in any form, not yet checked against its header. Unknown keys are ignored."""
    if len(data) > BODY_BYTES:
        raise FormatError(f"a body of {len(data)} bytes is over {BODY_BYTES}")
    fields = _read_body(data)
    height = _uint(fields, 1)
    items = fields.get(3)
    if items is None:
        if fields.keys() != {1, 4, 5}:
            raise FormatError("a body has no items, and does not say that they are gone")
        return GoneBody(height, _reason(fields), _uint(fields, 5))
    if 4 in fields or 5 in fields:
        raise FormatError("a body has items and says that they are gone")
    secret = fields.get(2)
    if secret is None:
        return CutBody(height, items)  # type: ignore[arg-type]  # _read_items makes them so
    assert isinstance(secret, bytes)
    return WholeBody(height, check_secret(secret), items)  # type: ignore[arg-type]


def verify_body(header: Header, data: bytes) -> Body:
    """The body, checked against its header: height, count, root, and the digest of every payload that travels apart.

    Packs are not read, save those whose payload is beside them. FormatError says what does not fit.
    """
    body = parse_body(data)
    where = f"{header.origin}, height {header.height}"
    if body.height != header.height:
        raise FormatError(f"the body is of height {body.height}", where=where)
    if isinstance(body, GoneBody):
        return body
    if len(body.items) != header.count:
        raise FormatError(f"the body has {len(body.items)} items, the header counts {header.count}", where=where)
    if merkle.root(_item_hashes(body)) != header.root:
        raise FormatError("the body's items do not lead to the header's root", where=where)
    _check_payloads(body, where)
    return body


def leaf_hashes(secret: bytes, packs: Iterable[bytes], start: int = 0) -> list[bytes]:
    """The leaf hashes of packs `start`, `start + 1`, ... of the block that has this secret."""
    key = check_secret(secret).ljust(sha256().block_size, b"\0")
    # HMAC (RFC 2104) with the key and the label hashed once: half the time of a call for each leaf.
    inner_copy = sha256(bytes(byte ^ 0x36 for byte in key) + b"leaf").copy
    outer_copy = sha256(bytes(byte ^ 0x5C for byte in key)).copy
    before = b"\0" + LEAF_HEAD
    hashes = []
    for index, pack in enumerate(packs, start):
        inner = inner_copy()
        inner.update(index.to_bytes(4, "big"))
        outer = outer_copy()
        outer.update(inner.digest())
        hashes.append(sha256(before + outer.digest()[:SALT_BYTES] + pack).digest())
    return hashes


def _item_hashes(body: WholeBody | CutBody) -> list[bytes]:
    if isinstance(body, WholeBody):
        return leaf_hashes(body.secret, (pack for pack, _ in body.items))
    return [item.hash if isinstance(item, Withheld) else merkle.leaf_hash(item.leaf) for item in body.items]


def _check_payloads(body: WholeBody | CutBody, where: str) -> None:
    for index, one in enumerate(body.items):
        if isinstance(one, tuple):
            pack, payload = one
            salt = raw_salt(body.secret, index) if isinstance(body, WholeBody) and payload is not None else None
        elif isinstance(one, Disclosed):
            pack, payload, salt = parse_leaf(one.leaf)[1], one.payload, one.raw_salt
        else:
            continue
        if payload is not None and salt is not None:
            check_payload(pack, payload, salt, where=f"{where}, leaf {index}")


def check_payload(pack: bytes, payload: bytes, salt: bytes, *, where: str = "") -> None:
    """FormatError unless `payload` is the one whose salted digest is in the pack."""
    digest = senml.digest_of(pack)
    if digest is None:
        raise FormatError("a payload travels beside a pack that names none", where=where)
    if payload_digest(salt, payload) != digest:
        raise FormatError("the payload is not the one that its reading names", where=where)


def _read_body(data: bytes) -> dict[cbor.Key, object]:
    """The known keys of a body. Items are read one by one: their number is bounded before memory is spent on them."""
    major, pairs, offset = cbor.read_head(data, 0)
    if major != cbor.MAP or pairs > BODY_KEYS:
        raise FormatError(f"a body is not a map of at most {BODY_KEYS} pairs")
    fields: dict[cbor.Key, object] = {}
    before = b""
    for _ in range(pairs):
        start = offset
        key, offset = _read_small(data, start)
        if isinstance(key, bool) or not isinstance(key, int | str | bytes) or data[start:offset] <= before:
            raise FormatError(f"the body's key at byte {start} is out of order, twice, or no key")
        before = data[start:offset]
        if key == 3:
            fields[key], offset = _read_array(data, offset, whole=2 in fields)
            continue
        value, offset = _read_small(data, offset)
        if key in (1, 2, 4, 5):
            fields[key] = value
    if offset != len(data):
        raise FormatError(f"{len(data) - offset} bytes after the body")
    if 2 in fields and not isinstance(fields[2], bytes):
        raise FormatError("the body's secret is not a byte string")
    return fields


def _read_small(data: bytes, offset: int) -> tuple[cbor.Value, int]:
    """A key, or a value that is not the items, where it has at most `BODY_UNKNOWN_BYTES`."""
    window = data[offset : offset + BODY_UNKNOWN_BYTES]
    try:
        value, end = cbor.decode_item(window, 0, depth=2)  # inside the body's map
    except FormatError as error:
        raise FormatError(f"{error} (in the {len(window)} bytes read)", where=f"the body at byte {offset}") from None
    return value, offset + end


def _read_array(data: bytes, offset: int, *, whole: bool) -> tuple[list[Item] | list[Disclosed | Withheld], int]:
    major, count, offset = cbor.read_head(data, offset)
    if major != cbor.ARRAY or count > BLOCK_LEAVES:
        raise FormatError(f"a body's items are not an array of at most {BLOCK_LEAVES}")
    if whole:
        items: list[Item] = []
        for _ in range(count):
            pack, payload, offset = _read_item(data, offset)
            items.append((pack, payload))
        return items, offset
    cut: list[Disclosed | Withheld] = []
    for _ in range(count):
        one, offset = _read_cut_item(data, offset)
        cut.append(one)
    return cut, offset


def _read_item(data: bytes, offset: int) -> tuple[bytes, bytes | None, int]:
    """(pack, payload or None, end) of an item in the form with the secret."""
    beside = data[offset : offset + 1] == b"\x82"
    pack, offset = cbor.read_bytes(data, offset + 1 if beside else offset)
    if not 0 < len(pack) <= PACK_BYTES:
        raise FormatError(f"a pack of {len(pack)} bytes, not 1 to {PACK_BYTES}")
    if not beside:
        return pack, None, offset
    payload, offset = cbor.read_bytes(data, offset)
    return pack, payload, offset


def _read_cut_item(data: bytes, offset: int) -> tuple[Disclosed | Withheld, int]:
    initial = data[offset : offset + 1]
    if initial not in (b"\x81", b"\x83"):
        disclosed, offset = cbor.read_bytes(data, offset)
        parse_leaf(disclosed)
        return Disclosed(disclosed), offset
    first, offset = cbor.read_bytes(data, offset + 1)
    if initial == b"\x81":
        if len(first) != merkle.HASH_BYTES:
            raise FormatError(f"a withheld item has {len(first)} bytes, not {merkle.HASH_BYTES}")
        return Withheld(first), offset
    parse_leaf(first)
    payload, offset = cbor.read_bytes(data, offset)
    salt, offset = cbor.read_bytes(data, offset)
    if len(salt) != SALT_BYTES:
        raise FormatError(f"a raw salt of {len(salt)} bytes, not {SALT_BYTES}")
    return Disclosed(first, payload, salt), offset


def _uint(fields: dict[cbor.Key, object], key: int) -> int:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FormatError(f"the body's key {key} is not an unsigned integer")
    return value


def _reason(fields: dict[cbor.Key, object]) -> str:
    value = fields[4]
    if not isinstance(value, str) or len(value.encode()) > TEXT_BYTES:
        raise FormatError(f"the reason why a body is gone is not text of at most {TEXT_BYTES} bytes")
    return value
