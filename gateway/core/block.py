"""A block's leaves, header and entry (docs/format.md sections 2, 3 and 4). Its bodies are in `body`.

The bytes received or stored are what is hashed and verified; nothing is encoded again for it.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256

from gateway.core import cbor, ed25519
from gateway.core.limits import (
    BLOCK_LEAVES,
    ENTRY_BYTES,
    ENTRY_BYTES_SHORT_ORIGIN,
    NUMBER_MAX,
    ORIGIN_BYTES,
    PACK_BYTES,
    SHORT_ORIGIN_BYTES,
)
from gateway.core.merkle import EMPTY_ROOT, HASH_BYTES, leaf_hash
from gateway.core.note import is_origin
from gateway.errors import FormatError

SECRET_BYTES = 32
SALT_BYTES = 16
LEAF_HEAD = b"\x82\x50"
_LEAF_BYTES = len(LEAF_HEAD) + SALT_BYTES + PACK_BYTES

VERSION = 1
REASON_COUNT, REASON_AGE, REASON_STOP, REASON_HEARTBEAT, REASON_ASKED, REASON_CLOSED = range(6)
CLOCK_UNKNOWN, CLOCK_SYNCHRONISED, CLOCK_DISCIPLINED = range(3)
NO_PREV = bytes(HASH_BYTES)
"""`prev` at height 0."""

KEY_ID_BYTES = 4
EDDSA, ED25519 = -8, -19
APPLICATION_CBOR = 60
_SIGN1 = b"\xd2"  # tag 18
_ALGORITHM, _CONTENT_TYPE, _KEY_ID = 1, 3, 4

_FIELDS = {
    2: "origin",
    3: "height",
    4: "prev",
    5: "count",
    6: "root",
    7: "first",
    8: "last",
    9: "sealed",
    10: "clock",
    11: "reason",
    13: "error",
}
_OPTIONAL = ("reason", "error")
_UNKNOWN_KEYS = range(14, 32)


# Leaves (section 2)


def leaf_salt(secret: bytes, index: int) -> bytes:
    """The salt of leaf `index`, 16 bytes."""
    return hmac.digest(check_secret(secret), b"leaf" + index.to_bytes(4, "big"), "sha256")[:SALT_BYTES]


def raw_salt(secret: bytes, index: int) -> bytes:
    """The salt of the payload that travels beside leaf `index`, 16 bytes."""
    return hmac.digest(check_secret(secret), b"raw" + index.to_bytes(4, "big"), "sha256")[:SALT_BYTES]


def payload_digest(salt: bytes, payload: bytes) -> bytes:
    """`raw.sha256` of a payload apart, 32 bytes; `salt` is its raw salt."""
    return sha256(salt + payload).digest()


def leaf(secret: bytes, index: int, pack: bytes) -> bytes:
    """Leaf `index` of the block that has this secret."""
    return LEAF_HEAD + leaf_salt(secret, index) + pack


def leaf_from_salt(salt: bytes, pack: bytes) -> bytes:
    """A leaf from its salt, 16 bytes."""
    if len(salt) != SALT_BYTES:
        raise FormatError(f"a salt of {len(salt)} bytes, not {SALT_BYTES}")
    return LEAF_HEAD + salt + pack


def parse_leaf(leaf: bytes) -> tuple[bytes, bytes]:
    """(salt, pack) of a leaf. The pack itself is not looked into."""
    start = len(LEAF_HEAD) + SALT_BYTES
    if leaf[:2] != LEAF_HEAD or not start < len(leaf) <= _LEAF_BYTES:
        raise FormatError(f"a leaf of {len(leaf)} bytes is not the array of a salt and a pack")
    return leaf[2:start], leaf[start:]


def check_secret(secret: bytes) -> bytes:
    """The block's secret, if it has 32 bytes."""
    if len(secret) != SECRET_BYTES:
        raise FormatError(f"a block's secret has {len(secret)} bytes, not {SECRET_BYTES}")
    return secret


# Headers (section 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A block's header. Times are Unix ms, `error` is ms; FormatError where section 3 does not allow what it says."""

    origin: str
    height: int
    prev: bytes
    count: int
    root: bytes
    first: int
    last: int
    sealed: int
    clock: int
    reason: int | None = None
    error: int | None = None

    def __post_init__(self) -> None:
        check_origin(self.origin)
        for name in ("height", "count", "first", "last", "sealed", "clock", "reason", "error"):
            _check_uint(name, getattr(self, name))
        for name in ("prev", "root"):
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != HASH_BYTES:
                raise FormatError(f"the header's {name} is not {HASH_BYTES} bytes")
        self._check_meaning()

    def _check_meaning(self) -> None:
        if self.count > BLOCK_LEAVES:
            raise FormatError(f"a block of {self.count} leaves is over {BLOCK_LEAVES}")
        if self.count == 0 and not (self.root == EMPTY_ROOT and self.first == self.last == self.sealed):
            raise FormatError("a block of no leaves has the empty root, and one time for first, last and sealed")
        if self.height == 0 and self.prev != NO_PREV:
            raise FormatError("the first block's prev is not zero bytes")
        if self.clock > CLOCK_DISCIPLINED:
            raise FormatError(f"the header's clock is {self.clock}, not 0 to {CLOCK_DISCIPLINED}")
        if self.reason is not None and self.reason > REASON_CLOSED:
            raise FormatError(f"the header's reason is {self.reason}, not 0 to {REASON_CLOSED}")

    def encode(self) -> bytes:
        """The header's bytes: what is signed, stored and hashed."""
        fields: dict[int, cbor.Encodable] = {1: VERSION}
        for key, name in _FIELDS.items():
            value = getattr(self, name)
            if value is not None:
                fields[key] = value
        return cbor.encode(fields)


def _check_uint(name: str, value: int | None) -> None:
    if value is None and name in _OPTIONAL:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= NUMBER_MAX:
        raise FormatError(f"the header's {name} is not an unsigned integer below 2^53")


def check_origin(origin: str) -> str:
    """The origin, if section 5 allows it: a name, "/" and the epoch, 1 to 64 bytes of a-z 0-9 . / -."""
    if not isinstance(origin, str) or not is_origin(origin):
        raise FormatError(
            f"{str(origin)[:80]!r} is no origin",
            cure=f"Use a name of a-z 0-9 . / -, then / and the epoch, {ORIGIN_BYTES} bytes in all",
        )
    return origin


def decode_header(data: bytes) -> Header:
    """The header in its bytes. Unknown keys 14..31 are ignored, others refused; FormatError as `Header` raises it."""
    fields = cbor.decode(data)
    if not isinstance(fields, dict):
        raise FormatError("a header is not a map")
    version = fields.get(1)
    if isinstance(version, bool) or version != VERSION:
        raise FormatError(f"a header of version {version!r}, not {VERSION}", cure="Use a newer release to read it")
    for key in fields:
        if key != 1 and key not in _FIELDS and key not in _UNKNOWN_KEYS:
            raise FormatError(f"the header's key {key!r} is not allowed")
    values = {name: fields[key] for key, name in _FIELDS.items() if key in fields}
    missing = [name for name in _FIELDS.values() if name not in values and name not in _OPTIONAL]
    if missing:
        raise FormatError(f"the header has no {', '.join(missing)}")
    return Header(**values)  # type: ignore[arg-type]  # __post_init__ checks every type


# Entries (section 4)


def to_be_signed(header_bytes: bytes, key_id: bytes) -> bytes:
    """What the log key signs: the Sig_structure of RFC 9052 section 4.4 over the header."""
    return _sig_structure(_protected(key_id), header_bytes)


def entry(header_bytes: bytes, key_id: bytes, signature: bytes) -> bytes:
    """The entry: a tagged COSE_Sign1 with the header attached. FormatError past a limit of section 4."""
    raw = _SIGN1 + cbor.encode([_protected(key_id), {}, header_bytes, signature])
    parse_entry(raw)
    return raw


def _protected(key_id: bytes) -> bytes:
    return cbor.encode({_ALGORITHM: EDDSA, _CONTENT_TYPE: APPLICATION_CBOR, _KEY_ID: key_id})


def _sig_structure(protected: bytes, payload: bytes) -> bytes:
    return b"\x84\x6aSignature1" + cbor.bstr(protected) + b"\x40" + cbor.bstr(payload)


@dataclass(frozen=True, slots=True)
class Entry:
    """A parsed entry: `signed` is what the signature is over, `raw` the entry's own bytes."""

    header: Header
    header_bytes: bytes
    key_id: bytes
    signature: bytes
    signed: bytes
    raw: bytes

    def verify(self, public: bytes) -> None:
        """FormatError unless `public` (32 bytes, pinned by whoever asks) signed it."""
        if not ed25519.verify(public, self.signed, self.signature):
            raise FormatError("the entry's signature does not verify", where=_place(self.header))


def parse_entry(data: bytes) -> Entry:
    """The entry in its bytes, its signature not yet verified. FormatError for whatever section 4 does not allow."""
    if len(data) > ENTRY_BYTES:
        raise FormatError(f"an entry of {len(data)} bytes is over {ENTRY_BYTES}")
    if data[:1] != _SIGN1:
        raise FormatError("an entry does not begin with tag 18")
    parts = cbor.decode(data[1:])
    if not isinstance(parts, list) or len(parts) != 4:
        raise FormatError("an entry is not an array of four")
    protected, unprotected, payload, signature = parts
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise FormatError("an entry's protected header, payload and signature are not byte strings")
    if unprotected != {}:
        raise FormatError("an entry's unprotected header is not the empty map")
    if len(signature) != ed25519.SIGNATURE_BYTES:
        raise FormatError(f"an entry's signature has {len(signature)} bytes, not {ed25519.SIGNATURE_BYTES}")
    header = decode_header(payload)
    if len(header.origin) <= SHORT_ORIGIN_BYTES and len(data) > ENTRY_BYTES_SHORT_ORIGIN:
        raise FormatError(f"an entry of {len(data)} bytes is over {ENTRY_BYTES_SHORT_ORIGIN}", where=_place(header))
    return Entry(header, payload, _parse_protected(protected), signature, _sig_structure(protected, payload), data)


def _parse_protected(protected: bytes) -> bytes:
    """The key id, of a protected header that is as section 4 has it."""
    fields = cbor.decode(protected)
    if not isinstance(fields, dict) or set(fields) != {_ALGORITHM, _CONTENT_TYPE, _KEY_ID}:
        raise FormatError("an entry's protected header is not the map of algorithm, content type and key id")
    if fields[_ALGORITHM] not in (EDDSA, ED25519):
        raise FormatError(f"an entry's algorithm is {fields[_ALGORITHM]!r}, not {EDDSA} or {ED25519}")
    if fields[_CONTENT_TYPE] != APPLICATION_CBOR:
        raise FormatError(f"an entry's content type is {fields[_CONTENT_TYPE]!r}, not {APPLICATION_CBOR}")
    key_id = fields[_KEY_ID]
    if not isinstance(key_id, bytes) or len(key_id) != KEY_ID_BYTES:
        raise FormatError(f"an entry's key id is not {KEY_ID_BYTES} bytes")
    return key_id


def next_prev(entry_bytes: bytes) -> bytes:
    """`prev` of the block after this entry: its leaf hash in the log."""
    return leaf_hash(entry_bytes)


def check_successor(entry: Entry, prev: bytes, origin: str, height: int) -> None:
    """FormatError unless the entry is number `height` of `origin`'s log and names `prev` (`NO_PREV` at height 0)."""
    header = entry.header
    if header.origin != origin:
        raise FormatError(f"the entry is of {header.origin}", where=f"{origin}, height {height}")
    if header.height != height:
        raise FormatError(f"the entry is of height {header.height}", where=f"{origin}, height {height}")
    if header.prev != prev:
        raise FormatError("the entry does not name the entry before it", where=f"{origin}, height {height}")


def _place(header: Header) -> str:
    return f"{header.origin}, height {header.height}"
