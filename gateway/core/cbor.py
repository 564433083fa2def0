"""Deterministic CBOR (RFC 8949 section 4.2.1; docs/format.md section 1): one encoder, one decoder as strict as it.

Whatever this encoder would not have written is refused, so a value has exactly one encoding and an encoding one value.
Map keys are integers, text or byte strings: nothing here needs others, and Python would hold True and 1 for one key.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from struct import Struct

from gateway.core.limits import CBOR_DEPTH, NUMBER_MAX
from gateway.errors import FormatError

Key = int | str | bytes
Value = int | float | str | bytes | bool | list["Value"] | dict[Key, "Value"]
Encodable = (
    int
    | float
    | str
    | bytes
    | bool
    | Sequence["Encodable"]
    | Mapping[int, "Encodable"]
    | Mapping[str, "Encodable"]
    | Mapping[Key, "Encodable"]
)
"""What `encode` takes: a Value, with tuples for lists and any mapping."""

UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
FALSE, TRUE = b"\xf4", b"\xf5"

_U8, _U16, _U32, _U64 = Struct(">BB"), Struct(">BH"), Struct(">BI"), Struct(">BQ")
_HALF, _SINGLE, _DOUBLE = Struct(">e"), Struct(">f"), Struct(">d")
_FLOATS = {25: _HALF, 26: _SINGLE, 27: _DOUBLE}
_LEAST = {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}  # the least argument that needs so many bytes
_KEYS = frozenset([int, str, bytes])  # a bool is another type
_SHORT_HEADS = tuple(tuple(bytes([major << 5 | n]) for n in range(24)) for major in range(8))


# Encoding


def head(major: int, n: int) -> bytes:
    """The shortest head of major type `major` with the argument n, 0 <= n < 2^64."""
    if n < 24:
        return _SHORT_HEADS[major][n]
    kind = major << 5
    if n < 1 << 8:
        return _U8.pack(kind | 24, n)
    if n < 1 << 16:
        return _U16.pack(kind | 25, n)
    if n < 1 << 32:
        return _U32.pack(kind | 26, n)
    return _U64.pack(kind | 27, n)


def bstr(data: bytes) -> bytes:
    """A byte string."""
    return head(BYTES, len(data)) + data


def tstr(text: str) -> bytes:
    """A text string. FormatError for a lone surrogate, which UTF-8 cannot hold."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise FormatError("text with a lone surrogate is not Unicode", cure="Send it as bytes") from None
    return head(TEXT, len(data)) + data


def integer(value: int) -> bytes:
    """An integer, |value| < 2^53."""
    if -NUMBER_MAX <= value <= NUMBER_MAX:
        return head(UINT, value) if value >= 0 else head(NEGATIVE, ~value)
    raise FormatError("an integer of 2^53 or more is no number here", cure="Send it as text")


def number(value: float) -> bytes:
    """A number: an integer where it has no fraction and is below 2^53, else the shortest float that keeps it."""
    if isinstance(value, int):
        return integer(value)
    if value.is_integer() and -NUMBER_MAX <= value <= NUMBER_MAX:
        return integer(int(value))
    if not isfinite(value):
        raise FormatError("NaN and infinities are no numbers here", cure="Leave the value out and set quality bit 8")
    double = _DOUBLE.pack(value)
    if double[5:] != b"\0\0\0":  # a single keeps 23 bits of the fraction: the lowest 29 would be 0
        return b"\xfb" + double
    for initial, form in ((b"\xf9", _HALF), (b"\xfa", _SINGLE)):
        try:
            short = form.pack(value)
        except OverflowError:
            continue
        if form.unpack(short)[0] == value:
            return initial + short
    return b"\xfb" + double


def encode(value: Encodable) -> bytes:
    """The one encoding of a value. FormatError for what the format has no place for (None, NaN, depth over 8)."""
    return _encode(value, 1)


def _encode(value: object, depth: int) -> bytes:
    if isinstance(value, bool):  # a bool is an int to isinstance: it comes first
        return TRUE if value else FALSE
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, bytes):
        return bstr(value)
    if isinstance(value, str):
        return tstr(value)
    if isinstance(value, float):
        return number(value)
    if depth > CBOR_DEPTH:
        raise FormatError(f"nesting deeper than {CBOR_DEPTH}")
    if isinstance(value, list | tuple):
        return head(ARRAY, len(value)) + b"".join([_encode(item, depth + 1) for item in value])
    if isinstance(value, Mapping):
        return _encode_map(value, depth)
    raise FormatError(f"a value of type {type(value).__name__} has no encoding here")


def _encode_map(value: Mapping[object, object], depth: int) -> bytes:
    pairs = []
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, int | str | bytes):
            raise FormatError(f"a map key of type {type(key).__name__}, not an integer, text or bytes")
        pairs.append((_encode(key, depth + 1), _encode(item, depth + 1)))
    pairs.sort()
    return head(MAP, len(pairs)) + b"".join([key + item for key, item in pairs])


# Decoding


def decode(data: bytes) -> Value:
    """The value of exactly one encoded item. FormatError for anything `encode` would not have written."""
    value, end = decode_item(data, 0)
    if end != len(data):
        raise FormatError(f"{len(data) - end} bytes after the CBOR item, at byte {end}")
    return value


def decode_item(data: bytes, offset: int, *, depth: int = 1) -> tuple[Value, int]:
    """One item at `offset`, itself at `depth`, and where it ends; what follows it is not looked at."""
    return _decode(data, offset, depth)


def read_head(data: bytes, offset: int) -> tuple[int, int, int]:
    """(major type, argument, end of the head) of an integer, string, array or map at `offset`.

    FormatError for a cut head, one that is not the shortest, an indefinite length, tags, floats and simple values.
    """
    try:
        initial = data[offset]
    except IndexError:
        raise FormatError(f"CBOR ends at byte {offset} where an item is due") from None
    major, info = initial >> 5, initial & 31
    if major >= TAG:
        raise FormatError(f"a tag, float or simple value at byte {offset}, where none is allowed")
    if info < 24:
        return major, info, offset + 1
    if info > 27:
        raise FormatError(f"indefinite or reserved length at byte {offset}")
    width = 1 << info - 24
    end = offset + 1 + width
    if end > len(data):
        raise FormatError(f"CBOR ends within the head at byte {offset}")
    n = int.from_bytes(data[offset + 1 : end], "big")
    if n < _LEAST[width]:
        raise FormatError(f"a length or integer at byte {offset} is not in its shortest form")
    return major, n, end


def read_bytes(data: bytes, offset: int) -> tuple[bytes, int]:
    """A byte string at `offset` and where it ends."""
    major, n, start = read_head(data, offset)
    if major != BYTES:
        raise FormatError(f"no byte string at byte {offset}")
    return _slice(data, start, n), start + n


def _decode(data: bytes, offset: int, depth: int) -> tuple[Value, int]:
    if offset < len(data):
        initial = data[offset]
        if initial >= 0xC0:
            return _decode_simple(data, offset)
        if initial < 0x18:  # an integer in one byte, a short text: most of what a pack holds
            return initial, offset + 1
        if 0x60 <= initial < 0x78 and (end := offset + initial - 0x5F) <= len(data):
            return _text(data[offset + 1 : end], offset), end
    major, n, end = read_head(data, offset)
    if major <= NEGATIVE:
        value = ~n if major else n
        if not -NUMBER_MAX <= value <= NUMBER_MAX:
            raise FormatError(f"an integer of 2^53 or more at byte {offset}")
        return value, end
    if major <= TEXT:
        string = _slice(data, end, n)
        if major == BYTES:
            return string, end + n
        return _text(string, offset), end + n
    if depth > CBOR_DEPTH:
        raise FormatError(f"nesting deeper than {CBOR_DEPTH} at byte {offset}")
    return _decode_array(data, end, n, depth) if major == ARRAY else _decode_map(data, end, n, depth)


def _text(data: bytes, offset: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError(f"text at byte {offset} is not UTF-8") from None


def _slice(data: bytes, start: int, length: int) -> bytes:
    if length > len(data) - start:
        raise FormatError(f"a string of {length} bytes at byte {start} is longer than what is left")
    return data[start : start + length]


def _decode_array(data: bytes, offset: int, n: int, depth: int) -> tuple[list[Value], int]:
    if n > len(data) - offset:
        raise FormatError(f"an array of {n} items at byte {offset} is longer than what is left")
    items = []
    for _ in range(n):
        item, offset = _decode(data, offset, depth + 1)
        items.append(item)
    return items, offset


def _decode_map(data: bytes, offset: int, n: int, depth: int) -> tuple[dict[Key, Value], int]:
    if n > len(data) - offset:
        raise FormatError(f"a map of {n} pairs at byte {offset} is longer than what is left")
    pairs: dict[Key, Value] = {}
    before = b""
    for _ in range(n):
        key, end = _decode(data, offset, depth + 1)
        if type(key) not in _KEYS:
            raise FormatError(f"the map key at byte {offset} is no integer, text or bytes")
        encoded = data[offset:end]
        if encoded <= before:  # strictly rising encodings: sorted, and no key twice
            raise FormatError(f"map keys out of order or twice at byte {offset}")
        before = encoded
        pairs[key], offset = _decode(data, end, depth + 1)  # type: ignore[index]  # one of _KEYS
    return pairs, offset


def _decode_simple(data: bytes, offset: int) -> tuple[float | bool, int]:
    initial = data[offset]
    if initial in (0xF4, 0xF5):
        return initial == 0xF5, offset + 1
    form = _FLOATS.get(initial & 31)
    if initial < 0xE0 or form is None:
        raise FormatError(f"a tag, null or other simple value at byte {offset}, where none is allowed")
    end = offset + 1 + form.size
    if end > len(data):
        raise FormatError(f"CBOR ends within the float at byte {offset}")
    value: float = form.unpack_from(data, offset + 1)[0]
    if not isfinite(value):
        raise FormatError(f"NaN or an infinity at byte {offset}")
    if form is _DOUBLE and data[end - 3 : end] != b"\0\0\0" and not value.is_integer():
        return value, end  # no single holds it
    if number(value) != data[offset:end]:
        raise FormatError(f"the number at byte {offset} is not in its shortest form")
    return value, end
