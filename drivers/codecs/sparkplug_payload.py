"""The payload of Sparkplug B: metrics as they stand on the wire (Sparkplug 3.0.0, section 6.4).

Of each metric the last value field counts, whatever its datatype calls for: encoders differ in which they use. Writers
that leave out what is 0 (protobuf 3) are taken as what they mean.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from drivers.codecs.protobuf_wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Wire,
    bytes_field,
    fields,
    fixed_field,
    float32,
    float64,
    varint_field,
)


class Type(IntEnum):
    """Datatypes of metrics and properties (section 6.4.16)."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    DATASET = 16
    BYTES = 17
    FILE = 18
    TEMPLATE = 19
    PROPERTYSET = 20
    PROPERTYSETLIST = 21
    INT8ARRAY = 22
    INT16ARRAY = 23
    INT32ARRAY = 24
    INT64ARRAY = 25
    UINT8ARRAY = 26
    UINT16ARRAY = 27
    UINT32ARRAY = 28
    UINT64ARRAY = 29
    FLOATARRAY = 30
    DOUBLEARRAY = 31
    BOOLEANARRAY = 32
    STRINGARRAY = 33
    DATETIMEARRAY = 34


INT, LONG, FLOAT, DOUBLE, BOOL, STRING, BYTES_VALUE, DATASET, TEMPLATE, EXTENSION = range(10, 20)
"""A metric's value fields."""
_PROPERTY = 7
"""So much lower stand a property's value fields, which are the first six kinds."""

_WIRE = {
    INT: VARINT,
    LONG: VARINT,
    FLOAT: FIXED32,
    DOUBLE: FIXED64,
    BOOL: VARINT,
    STRING: BYTES,
    BYTES_VALUE: BYTES,
    DATASET: BYTES,
    TEMPLATE: BYTES,
    EXTENSION: BYTES,
}

Value = int | float | bool | bytes
Held = tuple[int, Value]
"""Which value field, and what it holds: an unsigned number, a float, a bool, or bytes (text too)."""


class Metric(NamedTuple):
    """One metric; times in ms, text as its bytes."""

    name: bytes | None = None
    alias: int | None = None
    time: int | None = None
    type: int = 0  # Type, or what a later version has
    historical: bool = False
    null: bool = False
    value: Held | None = None
    properties: tuple[tuple[bytes, Held], ...] = ()


class Payload(NamedTuple):
    """One message. An absent `seq` is 0, an absent `time` None."""

    time: int | None
    seq: int
    metrics: tuple[Metric, ...]
    uuid: bytes = b""


def read(data: bytes) -> Payload:
    """The payload. Unfit (invalid_protobuf) where these bytes are none; fields of no interest are skipped."""
    time, seq, uuid = None, 0, b""
    metrics: list[Metric] = []
    for number, kind, value in fields(data):
        if isinstance(value, int):
            if number == 1:
                time = value
            elif number == 3:
                seq = value
        elif kind == BYTES:
            if number == 2:
                metrics.append(_metric(value))
            elif number == 4:
                uuid = value
    return Payload(time, seq, tuple(metrics), uuid)


def _metric(data: bytes) -> Metric:
    name: bytes | None = None
    numbers: dict[int, int] = {}
    held: Held | None = None
    properties: list[tuple[bytes, Held]] = []
    for number, kind, value in fields(data):
        if number >= INT:
            if _WIRE.get(number) == kind:
                held = number, _value(number, value)
        elif isinstance(value, int):
            numbers[number] = value
        elif kind == BYTES:
            if number == 1:
                name = value
            elif number == 9:
                properties += _properties(value)
    get = numbers.get
    datatype = get(4, 0) & 0xFFFF_FFFF
    return Metric(name, get(2), get(3), datatype, bool(get(5)), bool(get(7)), held, tuple(properties))


def _value(field: int, value: Wire) -> Value:
    if isinstance(value, int):
        return value & 0xFFFF_FFFF if field == INT else bool(value) if field == BOOL else value
    return float32(value) if field == FLOAT else float64(value) if field == DOUBLE else value


def _properties(data: bytes) -> list[tuple[bytes, Held]]:
    """The properties of a set that have a plain value: keys and values are two lists of one order."""
    keys: list[bytes] = []
    values: list[Held | None] = []
    for number, _, value in fields(data):
        if isinstance(value, bytes):
            if number == 1:
                keys.append(value)
            elif number == 2:
                values.append(_property(value))
    return [(key, value) for key, value in zip(keys, values, strict=False) if value is not None]


def _property(data: bytes) -> Held | None:
    held: Held | None = None
    for number, kind, value in fields(data):
        field = number + _PROPERTY
        if INT <= field <= STRING and _WIRE[field] == kind:
            held = field, _value(field, value)
    return held


def write(payload: Payload) -> bytes:
    """The payload in protobuf; what is None is left out."""
    parts = [varint_field(1, payload.time)] if payload.time is not None else []
    parts += [bytes_field(2, _metric_bytes(metric)) for metric in payload.metrics]
    parts.append(varint_field(3, payload.seq))
    if payload.uuid:
        parts.append(bytes_field(4, payload.uuid))
    return b"".join(parts)


def command(name: str, value: bool, time: int | None) -> bytes:
    """A command of one Boolean metric: without a `seq`, which commands do not have."""
    metric = Metric(name=name.encode(), time=time, type=Type.BOOLEAN, value=(BOOL, value))
    head = varint_field(1, time) if time is not None else b""
    return head + bytes_field(2, _metric_bytes(metric))


def _metric_bytes(metric: Metric) -> bytes:
    parts = [bytes_field(1, metric.name)] if metric.name is not None else []
    numbers = (2, metric.alias), (3, metric.time), (4, metric.type or None), (5, metric.historical), (7, metric.null)
    parts += [varint_field(number, value) for number, value in numbers if value is not None and value is not False]
    if metric.properties:
        parts.append(bytes_field(9, _properties_bytes(metric.properties)))
    if metric.value is not None:
        parts.append(_held_bytes(metric.value[0], metric.value))
    return b"".join(parts)


def _properties_bytes(properties: Sequence[tuple[bytes, Held]]) -> bytes:
    types = {INT: Type.INT32, LONG: Type.INT64, FLOAT: Type.FLOAT, DOUBLE: Type.DOUBLE, BOOL: Type.BOOLEAN}
    keys = [bytes_field(1, key) for key, _ in properties]
    values = [
        bytes_field(2, varint_field(1, types.get(held[0], Type.STRING)) + _held_bytes(held[0] - _PROPERTY, held))
        for _, held in properties
    ]
    return b"".join([*keys, *values])


def _held_bytes(number: int, held: Held) -> bytes:
    value = held[1]
    if isinstance(value, float):
        return fixed_field(number, struct.pack("<f" if held[0] == FLOAT else "<d", value))
    return varint_field(number, value) if isinstance(value, int) else bytes_field(number, value)
