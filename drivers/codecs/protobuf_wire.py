"""The wire format of Protocol Buffers, as far as a message of plain fields needs it (protobuf.dev, Encoding).

Fields come as they stand, the last one of a number counts; what a message means is its reader's to say. Groups, which
nobody writes any more, are refused.
"""

import struct
from collections.abc import Iterator

from drivers.codecs.values import Unfit

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""The wire types."""

Wire = int | bytes
Field = tuple[int, int, Wire]
"""Number, wire type, and value: of VARINT an unsigned number of 64 bits, of the others their bytes."""

_U64 = (1 << 64) - 1
_TAG_BYTES, _VARINT_BYTES = 5, 10


def fields(data: bytes) -> Iterator[Field]:
    """The fields of one message, in order. Unfit (invalid_protobuf) where the bytes are none."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at, _TAG_BYTES)
        number, kind = tag >> 3, tag & 7
        if not number or tag >> 32:
            raise _unfit(at, "a tag that names no field")
        value: Wire
        if kind == VARINT:
            value, at = _varint(data, at, _VARINT_BYTES)
        else:
            if kind == BYTES:
                size, at = _varint(data, at, _TAG_BYTES)
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
            else:
                raise _unfit(at, f"wire type {kind}")
            if size > end - at:
                raise _unfit(at, "a field that is longer than its message")
            value = data[at : at + size]
            at += size
        yield number, kind, value


def _varint(data: bytes, at: int, most: int) -> tuple[int, int]:
    """An unsigned number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    for byte in data[at : at + most]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
        shift += 7
    raise _unfit(at, "a number without its end")


def _unfit(at: int, what: str) -> Unfit:
    return Unfit("invalid_protobuf", f"at byte {at}: {what}")


def float32(value: bytes) -> float:
    """Of a FIXED32 field."""
    number: float = struct.unpack("<f", value)[0]
    return number


def float64(value: bytes) -> float:
    """Of a FIXED64 field."""
    number: float = struct.unpack("<d", value)[0]
    return number


# Writing


def varint_field(number: int, value: int) -> bytes:
    """A field of a number from 0 to 2^64 - 1, a bool or an enum."""
    return _number(number << 3 | VARINT) + _number(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return _number(number << 3 | BYTES) + _number(len(value)) + value


def fixed_field(number: int, value: bytes) -> bytes:
    """A field of 4 or 8 bytes."""
    return _number(number << 3 | (FIXED32 if len(value) == 4 else FIXED64)) + value


def _number(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
