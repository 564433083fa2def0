"""Protocol Buffers as far as Fabric's blocks need them (protobuf.dev, Encoding): read strictly, and written.

A message is read without its schema: varints, 64-bit, 32-bit and length-delimited values by field number. Groups,
reserved numbers, numbers of more than 64 bits and whatever is cut are refused; so is a second value of a field that is
asked for as one.
"""

from collections.abc import Sequence

from gateway.core.limits import PROTOBUF_FEW
from gateway.errors import FormatError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


class Message:
    """The fields of one message."""

    __slots__ = ("_fields", "_what")

    def __init__(self, data: bytes, what: str, most: int = PROTOBUF_FEW) -> None:
        """what: its name, for messages. FormatError where the bytes are no message, or have more fields than `most`."""
        self._what = what
        self._fields: dict[int, list[bytes | int]] = {}
        at, count = 0, 0
        while at < len(data):
            key, at = _varint(data, at, what)
            number, kind = key >> 3, key & 7
            value, at = _value(data, at, kind, what)
            count += 1
            if not 0 < number < 1 << 29 or count > most:
                raise FormatError(f"{what} has a field without a number, or more than {most} fields")
            self._fields.setdefault(number, []).append(value)

    def uint(self, number: int) -> int:
        """A number, 0 where it is not there."""
        value = self._one(number, 0)
        if not isinstance(value, int):
            raise FormatError(f"field {number} of {self._what} is no number")
        return value

    def octets(self, number: int) -> bytes:
        """Bytes, a text or a message, b"" where it is not there."""
        value = self._one(number, b"")
        if not isinstance(value, bytes):
            raise FormatError(f"field {number} of {self._what} is not made of bytes")
        return value

    def each(self, number: int) -> list[bytes]:
        """A repeated field of bytes, texts or messages."""
        values = self._fields.get(number, [])
        octets = [value for value in values if isinstance(value, bytes)]
        if len(octets) != len(values):
            raise FormatError(f"field {number} of {self._what} is not made of bytes")
        return octets

    def _one(self, number: int, default: bytes | int) -> bytes | int:
        values = self._fields.get(number, [])
        if len(values) > 1:
            raise FormatError(f"field {number} of {self._what} is there twice")
        return values[0] if values else default


def write(*fields: tuple[int, bytes | int]) -> bytes:
    """A message of these fields in this order. Numbers of 0 and empty bytes are left out, as proto3 leaves them."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            if value:
                parts += [_encoded(number << 3 | _VARINT), _encoded(value)]
        elif value:
            parts += [_encoded(number << 3 | _BYTES), _encoded(len(value)), value]
    return b"".join(parts)


def repeated(number: int, values: Sequence[bytes]) -> bytes:
    """A repeated field of bytes; an empty one among them is kept."""
    key = _encoded(number << 3 | _BYTES)
    return b"".join([key + _encoded(len(value)) + value for value in values])


def _value(data: bytes, at: int, kind: int, what: str) -> tuple[bytes | int, int]:
    if kind == _VARINT:
        return _varint(data, at, what)
    if kind == _BYTES:
        length, at = _varint(data, at, what)
        end = at + length
        if end > len(data):
            raise FormatError(f"{what} is cut at byte {at}")
        return data[at:end], end
    width = _WIDTHS.get(kind)
    if width is None or at + width > len(data):
        raise FormatError(f"{what} is cut, or has a group, at byte {at}")
    return int.from_bytes(data[at : at + width], "little"), at + width


def _varint(data: bytes, at: int, what: str) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at + place + 1
    raise FormatError(f"{what} has no number of at most 64 bits at byte {at}")


def _encoded(value: int) -> bytes:
    """A varint of a number below 2^64."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
