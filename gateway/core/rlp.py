"""Recursive length prefix (Ethereum's yellow paper, appendix B): strings of bytes and lists of items, nothing else.

The decoder takes only what the encoder writes: the shortest length, nothing after the item.
"""

from collections.abc import Sequence

from gateway.core.limits import RLP_DEPTH, RLP_ITEMS, RLP_UINT_BYTES
from gateway.errors import FormatError

Item = bytes | list["Item"]
Encodable = bytes | Sequence["Encodable"]
"""What `encode` takes: an Item, with any sequence for a list. A number goes through `uint` first."""

_STRING, _LIST = 0x80, 0xC0
_SHORT = 55  # bytes whose length is in the first byte


def uint(value: int) -> bytes:
    """A number of 0 or more as RLP's scalars are: big-endian without leading zeros, so 0 is the empty string."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def read_uint(data: bytes) -> int:
    """The number in a scalar of at most 256 bits. FormatError for more, and for a leading zero."""
    if len(data) > RLP_UINT_BYTES:
        raise FormatError(f"an RLP number of {len(data)} bytes is longer than {RLP_UINT_BYTES}")
    if data[:1] == b"\0":
        raise FormatError("an RLP number begins with a zero byte")
    return int.from_bytes(data, "big")


def encode(item: Encodable) -> bytes:
    """The one encoding of an item. FormatError where lists are nested deeper than RLP_DEPTH."""
    return _encode(item, 0)


def _encode(item: Encodable, depth: int) -> bytes:
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < _STRING else _head(_STRING, len(item)) + item
    if depth == RLP_DEPTH:
        raise FormatError(f"RLP lists nested deeper than {RLP_DEPTH}")
    content = b"".join([_encode(part, depth + 1) for part in item])
    return _head(_LIST, len(content)) + content


def _head(kind: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes([kind + length])
    size = uint(length)
    return bytes([kind + _SHORT + len(size)]) + size


def decode(data: bytes) -> Item:
    """The item that exactly these bytes hold. FormatError for what `encode` does not write, and past limits."""
    items: list[Item] = []
    _decode(data, 0, len(data), items, 0, RLP_ITEMS)
    if len(items) != 1:
        raise FormatError(f"{len(items)} RLP items where one is due")
    return items[0]


def _decode(data: bytes, at: int, end: int, into: list[Item], depth: int, left: int) -> int:
    """All items between two offsets, appended to `into`; what is left of RLP_ITEMS."""
    while at < end:
        if not left:
            raise FormatError(f"more than {RLP_ITEMS} RLP items")
        left -= 1
        kind, start, stop = _bounds(data, at, end)
        if kind == _STRING:
            into.append(data[start:stop])
        elif depth == RLP_DEPTH:
            raise FormatError(f"RLP lists nested deeper than {RLP_DEPTH} at byte {at}")
        else:
            inner: list[Item] = []
            left = _decode(data, start, stop, inner, depth + 1, left)
            into.append(inner)
        at = stop
    return left


def _bounds(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(string or list, where its content begins, where it ends) of the item at an offset."""
    first = data[at]
    if first < _STRING:
        return _STRING, at, at + 1
    kind = _LIST if first >= _LIST else _STRING
    length, start = first - kind, at + 1
    if length > _SHORT:
        width = length - _SHORT
        size = data[start : min(start + width, end)]
        if len(size) < width or size[0] == 0 or (length := int.from_bytes(size, "big")) <= _SHORT:
            raise FormatError(f"the RLP length at byte {at} is cut, or not in its shortest form")
        start += width
    if length > end - start:
        raise FormatError(f"the RLP item at byte {at} is longer than what is left")
    if kind == _STRING and length == 1 and data[start] < _STRING:
        raise FormatError(f"the byte at {start} has a length in RLP that it needs not")
    return kind, start, start + length
