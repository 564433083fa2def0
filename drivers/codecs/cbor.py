"""CBOR as other people's encoders write it (RFC 8949): any lengths, halves, decimal fractions.

Not of use for what is hashed or signed: one value has many encodings here. Refused are what is no CBOR, a key that
stands twice in a map or is no integer and no text, and tags and simple values that SenML does not have (RFC 8428,
section 6).
"""

import struct
from typing import Any

from drivers.codecs.values import Unfit
from drivers.limits import CBOR_DEPTH, PAYLOAD_BYTES

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE = 31
_FRACTION = 4
_SELF_DESCRIBED = b"\xd9\xd9\xf7"
_BREAK = object()
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_SIMPLES: dict[int, bool | None] = {20: False, 21: True, 22: None}


def parse(payload: bytes) -> Any:
    """The one item of the payload: int, float, bool, None, bytes, str, list, dict. Unfit with the reason."""
    if len(payload) > PAYLOAD_BYTES:
        raise Unfit("too_long", f"{len(payload)} bytes")
    if not payload:
        raise Unfit("empty")
    reader = _Reader(payload.removeprefix(_SELF_DESCRIBED))
    item = reader.item(CBOR_DEPTH)
    if reader.at != len(reader.data):
        raise Unfit("invalid_cbor", f"{len(reader.data) - reader.at} bytes behind the item")
    return item


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def item(self, room: int, *, breaks: bool = False) -> Any:
        """The next item, which has `room` levels; with `breaks`, _BREAK where the break stands instead."""
        first = self._take(1)[0]
        major, info = first >> 5, first & 31
        if major == _SIMPLE:
            return self._simple(info, breaks)
        if info == _INDEFINITE:
            return self._indefinite(major, room)
        count = self._count(info)
        if major in (_UINT, _NEGATIVE):
            return count if major == _UINT else -1 - count
        if major == _BYTES:
            return self._take(count)
        if major == _TEXT:
            return _text(self._take(count))
        if room == 0:
            raise Unfit("too_deep", f"more than {CBOR_DEPTH} levels")
        if major == _ARRAY:
            return [self.item(room - 1) for _ in range(count)]
        if major == _MAP:
            return self._map(room - 1, count)
        return self._tagged(count, room - 1)

    def _take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise Unfit("invalid_cbor", "it ends in the middle of an item")
        start, self.at = self.at, self.at + count
        return self.data[start : self.at]

    def _count(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise Unfit("invalid_cbor", f"a head with the reserved value {info}")
        return int.from_bytes(self._take(1 << info - 24), "big")

    def _simple(self, info: int, breaks: bool) -> Any:
        if info in _FLOATS:
            return _FLOATS[info].unpack(self._take(_FLOATS[info].size))[0]
        if info in _SIMPLES:
            return _SIMPLES[info]
        if info == _INDEFINITE and breaks:
            return _BREAK
        raise Unfit("invalid_cbor", f"the simple value {info}, or a break where none is due")

    def _indefinite(self, major: int, room: int) -> Any:
        if major in (_BYTES, _TEXT):
            return self._chunks(major)
        if major not in (_ARRAY, _MAP):
            raise Unfit("invalid_cbor", "an indefinite length where none is due")
        if room == 0:
            raise Unfit("too_deep", f"more than {CBOR_DEPTH} levels")
        if major == _MAP:
            return self._map(room - 1, None)
        items = []
        while (found := self.item(room - 1, breaks=True)) is not _BREAK:
            items.append(found)
        return items

    def _chunks(self, major: int) -> bytes | str:
        chunks: list[bytes] = []
        while (first := self._take(1)[0]) != 0xFF:
            if first >> 5 != major or first & 31 == _INDEFINITE:
                raise Unfit("invalid_cbor", "a piece of another kind in a string")
            chunks.append(self._take(self._count(first & 31)))
        if major == _BYTES:
            return b"".join(chunks)
        return "".join(_text(chunk) for chunk in chunks)  # each piece is UTF-8 by itself: RFC 8949, section 3.2.3

    def _map(self, room: int, count: int | None) -> dict[int | str, Any]:
        members: dict[int | str, Any] = {}
        while count is None or count > 0:
            key = self.item(0, breaks=count is None)
            if key is _BREAK:
                break
            if type(key) is not int and type(key) is not str:
                raise Unfit("invalid_cbor", "a key that is no integer and no text")
            if key in members:
                raise Unfit("duplicate_key", str(key)[:80])
            members[key] = self.item(room)
            count = None if count is None else count - 1
        return members

    def _tagged(self, tag: int, room: int) -> float:
        """A decimal fraction: [exponent, mantissa]."""
        inner = self.item(room)
        if tag != _FRACTION:
            raise Unfit("invalid_cbor", f"the tag {tag}: SenML has none but {_FRACTION}")
        if type(inner) is not list or [type(one) for one in inner] != [int, int]:
            raise Unfit("invalid_cbor", "a decimal fraction is an exponent and a mantissa")
        return float(f"{inner[1]}e{inner[0]}")  # the nearest double; an infinity where there is none


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unfit("invalid_utf8", str(error)) from None
