"""Our reader of protobuf against the protobuf package, with a description of the Payload written here."""

import math
import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.codecs import sparkplug_payload as ours
from drivers.codecs.protobuf_wire import fields
from drivers.codecs.sparkplug_payload import BOOL, BYTES_VALUE, DOUBLE, FLOAT, INT, LONG, STRING, Metric, Payload
from drivers.codecs.values import Unfit

_KIND = descriptor_pb2.FieldDescriptorProto
_U32, _U64, _BOOL = _KIND.TYPE_UINT32, _KIND.TYPE_UINT64, _KIND.TYPE_BOOL
_FLOAT, _DOUBLE, _BYTES = _KIND.TYPE_FLOAT, _KIND.TYPE_DOUBLE, _KIND.TYPE_BYTES
_VALUES = [("i", _U32), ("l", _U64), ("f", _FLOAT), ("d", _DOUBLE), ("b", _BOOL), ("s", _BYTES)]


def _payload_class() -> Any:
    """Text is bytes here: proto2 checks none of it, and so its bytes can be compared."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package="sp", syntax="proto2")

    def add(name: str, plain: list[tuple[str, int, Any]], repeated: dict[str, tuple[int, Any]], oneof: int = 0) -> None:
        made = file.message_type.add(name=name)
        if oneof:
            made.oneof_decl.add(name="value")
        for field, number, kind in plain:
            one = made.field.add(name=field, number=number, label=1)
            one.type = _KIND.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                one.type_name = f".sp.{kind}"
            if oneof and number >= oneof:
                one.oneof_index = 0
        for field, (number, kind) in repeated.items():
            one = made.field.add(name=field, number=number, label=3)
            one.type = _KIND.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                one.type_name = f".sp.{kind}"

    add("Property", [("type", 1, _U32), *((n, at, k) for at, (n, k) in enumerate(_VALUES, 3))], {}, oneof=3)
    add("Properties", [], {"keys": (1, _BYTES), "values": (2, "Property")})
    plain = [("name", 1, _BYTES), ("alias", 2, _U64), ("time", 3, _U64), ("type", 4, _U32)]
    flags = [("historical", 5, _BOOL), ("null", 7, _BOOL), ("properties", 9, "Properties")]
    values = [*_VALUES, ("blob", _BYTES), ("dataset", _BYTES), ("template", _BYTES), ("extension", _BYTES)]
    add("Metric", [*plain, *flags, *((n, at, k) for at, (n, k) in enumerate(values, 10))], {}, oneof=10)
    add("Payload", [("time", 1, _U64), ("seq", 3, _U64), ("uuid", 4, _BYTES)], {"metrics": (2, "Metric")})
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sp.Payload"))


THEIRS = _payload_class()


def as_ours(payload: Any) -> Payload:
    """What the package read, in our words."""
    return Payload(
        payload.time if payload.HasField("time") else None,
        payload.seq,
        tuple(_metric(one) for one in payload.metrics),
        payload.uuid,
    )


def _metric(metric: Any) -> Metric:
    def maybe(name: str) -> Any:
        return getattr(metric, name) if metric.HasField(name) else None

    properties = tuple(
        (key, held)
        for key, value in zip(metric.properties.keys, metric.properties.values, strict=False)
        if (held := _held(value, 7)) is not None
    )
    flags = metric.historical, metric.null
    return Metric(maybe("name"), maybe("alias"), maybe("time"), metric.type, *flags, _held(metric), properties)


def _held(message: Any, shift: int = 0) -> Any:
    name = message.WhichOneof("value")
    if name is None:
        return None
    return message.DESCRIPTOR.fields_by_name[name].number + shift, getattr(message, name)


def plain(payload: Payload) -> str:
    """Comparable: NaN is one value."""
    return repr(payload)


NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 127, 128, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
SINGLES = st.floats(width=32)
HELD = st.one_of(
    st.tuples(st.just(INT), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(LONG), NUMBERS),
    st.tuples(st.just(FLOAT), SINGLES),
    st.tuples(st.just(DOUBLE), st.floats()),
    st.tuples(st.just(BOOL), st.booleans()),
    st.tuples(st.just(STRING), st.binary(max_size=20)),
)
METRICS = st.builds(
    Metric,
    name=st.none() | st.binary(max_size=20),
    alias=st.none() | NUMBERS,
    time=st.none() | NUMBERS,
    type=st.integers(0, 2**32 - 1),
    historical=st.booleans(),
    null=st.booleans(),
    value=st.none() | HELD | st.tuples(st.just(BYTES_VALUE), st.binary(max_size=20)),
    properties=st.lists(st.tuples(st.binary(max_size=8), HELD), max_size=3).map(tuple),
)
PAYLOADS = st.builds(
    Payload, time=st.none() | NUMBERS, seq=NUMBERS, metrics=st.lists(METRICS, max_size=4).map(tuple), uuid=st.binary()
)


@given(PAYLOADS)
def test_what_we_write_both_read(payload: Payload) -> None:
    data = ours.write(payload)
    assert plain(ours.read(data)) == plain(payload)
    assert plain(as_ours(THEIRS.FromString(data))) == plain(payload)
    assert plain(ours.read(THEIRS.FromString(data).SerializeToString())) == plain(payload)


@settings(max_examples=500)
@given(st.binary(max_size=60) | st.tuples(PAYLOADS, st.data()).map(lambda drawn: _spoilt(*drawn)))
def test_of_any_bytes_we_say_what_the_package_says(data: bytes) -> None:
    try:
        read = ours.read(data)
    except Unfit as unfit:
        assert unfit.reason == "invalid_protobuf"
        if "wire type 3" not in unfit.detail:  # a group, which the package skips
            with pytest.raises(DecodeError):
                THEIRS.FromString(data)
    else:
        assert plain(as_ours(THEIRS.FromString(data))) == plain(read)


def _spoilt(payload: Payload, data: st.DataObject) -> bytes:
    whole = bytearray(ours.write(payload))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole)))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    return bytes(whole)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x08" + b"\xff" * 9 + b"\x01", [(1, 0, 2**64 - 1)]),
        (b"\x88\x00\x05", [(1, 0, 5)]),
        (b"\x12\x00\x1d\x01\x02\x03\x04\x21" + b"8" * 8, [(2, 2, b""), (3, 5, b"\x01\x02\x03\x04"), (4, 1, b"8" * 8)]),
    ],
)
def test_fields(data: bytes, found: list[Any]) -> None:
    assert list(fields(data)) == found


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08" + b"\xff" * 10 + b"\x01",
        b"\x12\x02a",
        b"\x12\xff\xff\xff\xff\xff\x01",
        b"\x00\x01",
        b"\x0b\x0c",
        b"\x0e\x01",
        b"\x0f",
        b"\x1d\x01\x02\x03",
        b"\xf8\xff\xff\xff\x1f\x05",
        b"\x88\x80\x80\x80\x80\x00\x05",
    ],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(Unfit, match="invalid_protobuf"):
        list(fields(data))


def test_a_field_of_another_wire_type_is_one_we_do_not_know() -> None:
    metric = b"\x51" + struct.pack("<d", 1.0) + b"\x5d\x01\x02\x03\x04" + b"\x68\x05" + b"\x0d1234" + b"\x10\x07"
    assert ours.read(b"\x12" + bytes([len(metric)]) + metric + b"\x0d1234").metrics == (Metric(alias=7),)


def test_a_payload_with_metrics_inside_metrics_is_not_followed_down() -> None:
    inner = b""
    for _ in range(200):
        inner = b"\x92\x01" + _length(len(inner)) + inner
    (metric,) = ours.read(b"\x12" + _length(len(inner)) + inner).metrics
    assert metric.value is not None
    assert metric.value[0] == ours.TEMPLATE


def _length(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


def test_a_command_has_no_sequence() -> None:
    for time in (None, 5):
        read = THEIRS.FromString(ours.command("Node Control/Rebirth", True, time))
        assert not read.HasField("seq")
        assert read.HasField("time") == (time is not None)
        assert [(one.name, one.type, one.b) for one in read.metrics] == [(b"Node Control/Rebirth", 11, True)]


def test_a_single_precision_value_is_what_it_is_in_double() -> None:
    held = ours.read(ours.write(Payload(None, 0, (Metric(value=(FLOAT, 21.3)),)))).metrics[0].value
    assert held is not None
    assert held[1] == struct.unpack("<f", struct.pack("<f", 21.3))[0] != 21.3
    assert math.isclose(held[1], 21.3, rel_tol=1e-6)
