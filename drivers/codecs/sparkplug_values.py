"""From what a metric holds to what a reading says, by the datatype of its birth (Sparkplug 3.0.0, section 6.4.16)."""

import struct
from collections.abc import Callable
from math import isfinite

from drivers.api import Value
from drivers.codecs.sparkplug_payload import BOOL, BYTES_VALUE, DOUBLE, FLOAT, INT, LONG, STRING, Held, Type
from drivers.codecs.values import Unfit
from drivers.limits import INTEGER_MAX, SPARKPLUG_ARRAY, SPARKPLUG_VALUE_BYTES, TEXT_BYTES

Cast = Value | None | list[Value | None]
"""A value, None for one that is none (NaN, out of its type's range), or the elements of an array."""

_BITS = {
    Type.INT8: 8,
    Type.INT16: 16,
    Type.INT32: 32,
    Type.INT64: 64,
    Type.UINT8: 8,
    Type.UINT16: 16,
    Type.UINT32: 32,
    Type.UINT64: 64,
    Type.DATETIME: 64,
}
_SIGNED = frozenset((Type.INT8, Type.INT16, Type.INT32, Type.INT64))
_TEXTS = frozenset((Type.STRING, Type.TEXT, Type.UUID))
_BLOBS = frozenset((Type.BYTES, Type.FILE))
_UNSUPPORTED = frozenset((Type.DATASET, Type.TEMPLATE, Type.PROPERTYSET, Type.PROPERTYSETLIST))
_ELEMENTS = {
    Type.INT8ARRAY: "b",
    Type.INT16ARRAY: "h",
    Type.INT32ARRAY: "i",
    Type.INT64ARRAY: "q",
    Type.UINT8ARRAY: "B",
    Type.UINT16ARRAY: "H",
    Type.UINT32ARRAY: "I",
    Type.UINT64ARRAY: "Q",
    Type.FLOATARRAY: "f",
    Type.DOUBLEARRAY: "d",
    Type.DATETIMEARRAY: "q",
}


def cast(datatype: int, held: Held) -> Cast:
    """What `held` says as `datatype`, 0 where nobody told it: then only what speaks for itself is read.

    Unfit: unsupported_type, unknown_type (of a number without its datatype), wrong_type, too_long, text_too_long,
    invalid_utf8. DateTime is ms since 1970, as the device sent it.
    """
    field, value = held
    if datatype == 0:
        return _plain(field, value)
    if datatype in _BITS:
        return _integer(Type(datatype), field, value)
    if datatype in (Type.FLOAT, Type.DOUBLE):
        if field in (FLOAT, DOUBLE) and isinstance(value, float):
            return value if isfinite(value) else None
    elif datatype == Type.BOOLEAN:
        if field == BOOL or (field in (INT, LONG) and value in (0, 1)):
            return bool(value)
    elif datatype in _TEXTS:
        if field == STRING and isinstance(value, bytes):
            return _text(value)
    elif datatype in _BLOBS:
        if field == BYTES_VALUE and isinstance(value, bytes):
            return _blob(value)
    elif datatype in _UNSUPPORTED:
        raise Unfit("unsupported_type", Type(datatype).name.lower())
    else:
        return _array(datatype, field, value)
    raise _wrong(datatype, field)


def _wrong(datatype: int, field: int) -> Unfit:
    return Unfit("wrong_type", f"{Type(datatype).name.lower()} in value field {field}")


def _plain(field: int, value: object) -> Cast:
    if field in (FLOAT, DOUBLE) and isinstance(value, float):
        return value if isfinite(value) else None
    if field == BOOL:
        return bool(value)
    if isinstance(value, bytes) and field in (STRING, BYTES_VALUE):
        return _text(value) if field == STRING else _blob(value)
    if field in (INT, LONG):
        raise Unfit("unknown_type", "an integer without its datatype may be negative or not")
    raise Unfit("unsupported_type", f"value field {field}")


def _integer(datatype: Type, field: int, value: object) -> Value | None:
    """Two's complement: some encoders extend the sign to 32 or 64 bits, others leave the upper bits 0."""
    if isinstance(value, float):
        if not isfinite(value):
            return None
        if value != int(value):
            raise _wrong(datatype, field)
        return _within(datatype, int(value))
    if field not in (INT, LONG) or not isinstance(value, int):
        raise _wrong(datatype, field)
    if datatype == Type.INT64 and field == INT and value >> 31:
        raise Unfit("wrong_type", "int64 in 32 bits: negative or not")
    bits = _BITS[datatype]
    top, sign = 1 << bits, 1 << bits - 1
    if value >= top:
        whole = 1 << (32 if field == INT else 64)
        if field == LONG and (1 << 32) - sign <= value < 1 << 32:
            whole = 1 << 32
        if value < whole - sign:
            return None
        value &= top - 1
    return _within(datatype, value - top if datatype in _SIGNED and value & sign else value)


def _within(datatype: Type, value: int) -> Value | None:
    """The number; text where no double holds it; None where its type does not."""
    bits = _BITS[datatype]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if datatype in _SIGNED else (0, (1 << bits) - 1)
    return _number(value) if low <= value <= high else None


def _number(value: int) -> Value:
    return value if -INTEGER_MAX <= value <= INTEGER_MAX else str(value)


def _text(value: bytes) -> str:
    if len(value) > TEXT_BYTES:
        raise Unfit("text_too_long", f"a text of more than {TEXT_BYTES} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unfit("invalid_utf8", "a text that is none") from None


def _blob(value: bytes) -> bytes:
    if len(value) > SPARKPLUG_VALUE_BYTES:
        raise Unfit("too_long", f"{len(value)} bytes, over {SPARKPLUG_VALUE_BYTES}")
    return value


def _array(datatype: int, field: int, value: object) -> Cast:
    """Packed little-endian elements in the bytes field; of Booleans a count and bits, of strings each with its NUL."""
    if datatype not in _ELEMENTS and datatype not in (Type.BOOLEANARRAY, Type.STRINGARRAY):
        raise Unfit("unsupported_type", f"datatype {datatype}")
    if field != BYTES_VALUE or not isinstance(value, bytes):
        raise _wrong(datatype, field)
    split: Callable[[bytes], list[Value | None]]
    if datatype == Type.BOOLEANARRAY:
        split = _booleans
    elif datatype == Type.STRINGARRAY:
        split = _strings
    else:
        return _elements(_ELEMENTS[Type(datatype)], value)
    return split(value)


def _elements(code: str, value: bytes) -> list[Value | None]:
    size = struct.calcsize(f"<{code}")
    count = _count(len(value) // size)
    if len(value) % size:
        raise Unfit("wrong_type", f"{len(value)} bytes are no array of {size} each")
    found = struct.unpack(f"<{count}{code}", value)
    return [(one if isfinite(one) else None) if isinstance(one, float) else _number(one) for one in found]


def _booleans(value: bytes) -> list[Value | None]:
    """The first element is the top bit of the first byte."""
    count = _count(int.from_bytes(value[:4], "little"))
    if len(value) != 4 + (count + 7) // 8:
        raise Unfit("wrong_type", f"{len(value)} bytes are no array of {count} Booleans")
    return [bool(value[4 + at // 8] & 0x80 >> at % 8) for at in range(count)]


def _strings(value: bytes) -> list[Value | None]:
    if value and not value.endswith(b"\0"):
        raise Unfit("wrong_type", "an array of strings whose last one has no end")
    _count(value.count(b"\0"))
    return [_text(one) for one in value.split(b"\0")[:-1]]


def _count(elements: int) -> int:
    if elements > SPARKPLUG_ARRAY:
        raise Unfit("too_long", f"an array of {elements} elements, over {SPARKPLUG_ARRAY}")
    return elements
