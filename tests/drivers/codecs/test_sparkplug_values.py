"""What a metric holds, cast by its datatype: whichever field an encoder chose."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.sparkplug_payload import (
    BOOL,
    BYTES_VALUE,
    DATASET,
    DOUBLE,
    EXTENSION,
    FLOAT,
    INT,
    LONG,
    STRING,
    TEMPLATE,
    Type,
)
from drivers.codecs.sparkplug_values import cast
from drivers.codecs.values import Unfit
from drivers.limits import SPARKPLUG_ARRAY, SPARKPLUG_VALUE_BYTES, TEXT_BYTES

SIGNED = {Type.INT8: 8, Type.INT16: 16, Type.INT32: 32}
UNSIGNED = {Type.UINT8: 8, Type.UINT16: 16, Type.UINT32: 32}


@given(st.data())
def test_integers_in_every_way_to_write_them(data: st.DataObject) -> None:
    """Bare, or with the sign (or the top bit) extended to 32 or 64 bits, in either field."""
    datatype = data.draw(st.sampled_from([*SIGNED, *UNSIGNED]))
    bits = SIGNED.get(datatype) or UNSIGNED[datatype]
    low = -(1 << bits - 1) if datatype in SIGNED else 0
    value = data.draw(st.integers(low, low + (1 << bits) - 1))
    bare = value % (1 << bits)
    extended = bare - (1 << bits) if bare >> bits - 1 else bare
    for field, held in (
        (INT, bare),
        (LONG, bare),
        (INT, extended % 2**32),
        (LONG, extended % 2**32),
        (LONG, extended % 2**64),
        (DOUBLE, float(value)),
    ):
        assert cast(datatype, (field, held)) == value


@pytest.mark.parametrize(
    ("datatype", "held", "value"),
    [
        (Type.INT16, (INT, 4294967291), -5),
        (Type.INT16, (INT, 65531), -5),
        (Type.INT16, (INT, 70000), None),
        (Type.UINT8, (INT, 300), None),
        (Type.UINT32, (LONG, 2**33), None),
        (Type.UINT32, (LONG, 2**32 - 1), 2**32 - 1),
        (Type.INT64, (LONG, 2**64 - 1), -1),
        (Type.INT64, (LONG, 2**63), str(-(2**63))),
        (Type.INT64, (INT, 7), 7),
        (Type.INT64, (LONG, 2**64 - (2**53 - 1)), -(2**53 - 1)),
        (Type.UINT64, (LONG, 2**53 - 1), 2**53 - 1),
        (Type.UINT64, (LONG, 2**53), str(2**53)),
        (Type.UINT8, (DOUBLE, 256.0), None),
        (Type.UINT8, (DOUBLE, math.nan), None),
        (Type.FLOAT, (FLOAT, -18.25), -18.25),
        (Type.FLOAT, (DOUBLE, 0.1), 0.1),
        (Type.DOUBLE, (DOUBLE, math.inf), None),
        (Type.BOOLEAN, (BOOL, False), False),
        (Type.BOOLEAN, (INT, 1), True),
        (Type.STRING, (STRING, "21 °C".encode()), "21 °C"),
        (Type.UUID, (STRING, b"a-b"), "a-b"),
        (Type.DATETIME, (LONG, 1700000000001), 1700000000001),
        (Type.BYTES, (BYTES_VALUE, b"\xff"), b"\xff"),
        (Type.FILE, (BYTES_VALUE, b"x" * SPARKPLUG_VALUE_BYTES), b"x" * SPARKPLUG_VALUE_BYTES),
        (0, (DOUBLE, 1.5), 1.5),
        (0, (FLOAT, math.nan), None),
        (0, (BOOL, True), True),
        (0, (STRING, b"on"), "on"),
        (0, (BYTES_VALUE, b"on"), b"on"),
        (Type.INT8ARRAY, (BYTES_VALUE, b"\xfb\x05"), [-5, 5]),
        (Type.UINT16ARRAY, (BYTES_VALUE, b"\x01\x02\xff\xff"), [513, 65535]),
        (Type.INT64ARRAY, (BYTES_VALUE, struct.pack("<q", -(2**60))), [str(-(2**60))]),
        (Type.FLOATARRAY, (BYTES_VALUE, struct.pack("<2f", 1.5, math.nan)), [1.5, None]),
        (Type.DOUBLEARRAY, (BYTES_VALUE, b""), []),
        (Type.DATETIMEARRAY, (BYTES_VALUE, struct.pack("<q", 5)), [5]),
        (Type.BOOLEANARRAY, (BYTES_VALUE, b"\x0a\0\0\0\x81\x40"), [True, *[False] * 6, True, False, True]),
        (Type.STRINGARRAY, (BYTES_VALUE, b"a\0\0b\0"), ["a", "", "b"]),
    ],
)
def test_cast(datatype: int, held: Any, value: Any) -> None:
    assert repr(cast(datatype, held)) == repr(value)


@pytest.mark.parametrize(
    ("datatype", "held", "reason"),
    [
        (Type.INT64, (INT, 2**31), "wrong_type"),
        (Type.INT8, (STRING, b"5"), "wrong_type"),
        (Type.INT8, (BOOL, True), "wrong_type"),
        (Type.INT8, (DOUBLE, 1.5), "wrong_type"),
        (Type.FLOAT, (INT, 5), "wrong_type"),
        (Type.BOOLEAN, (INT, 2), "wrong_type"),
        (Type.STRING, (BYTES_VALUE, b"a"), "wrong_type"),
        (Type.STRING, (STRING, b"\xff"), "invalid_utf8"),
        (Type.TEXT, (STRING, b"x" * (TEXT_BYTES + 1)), "text_too_long"),
        (Type.BYTES, (BYTES_VALUE, b"x" * (SPARKPLUG_VALUE_BYTES + 1)), "too_long"),
        (Type.DATASET, (DATASET, b""), "unsupported_type"),
        (Type.TEMPLATE, (TEMPLATE, b""), "unsupported_type"),
        (Type.PROPERTYSET, (EXTENSION, b""), "unsupported_type"),
        (35, (INT, 1), "unsupported_type"),
        (2**32 - 1, (INT, 1), "unsupported_type"),
        (0, (INT, 1), "unknown_type"),
        (0, (LONG, 1), "unknown_type"),
        (0, (DATASET, b""), "unsupported_type"),
        (Type.INT16ARRAY, (BYTES_VALUE, b"abc"), "wrong_type"),
        (Type.INT16ARRAY, (STRING, b"ab"), "wrong_type"),
        (Type.INT8ARRAY, (BYTES_VALUE, b"x" * (SPARKPLUG_ARRAY + 1)), "too_long"),
        (Type.BOOLEANARRAY, (BYTES_VALUE, b"\x09\0\0\0\xff"), "wrong_type"),
        (Type.BOOLEANARRAY, (BYTES_VALUE, b"\xff\xff\xff\xff"), "too_long"),
        (Type.STRINGARRAY, (BYTES_VALUE, b"a\0b"), "wrong_type"),
        (Type.STRINGARRAY, (BYTES_VALUE, b"\0" * (SPARKPLUG_ARRAY + 1)), "too_long"),
    ],
)
def test_what_does_not_fit_its_datatype(datatype: int, held: Any, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        cast(datatype, held)
    assert unfit.value.reason == reason


@given(st.integers(0, 40), st.integers(INT, EXTENSION), st.data())
def test_whatever_comes(datatype: int, field: int, data: st.DataObject) -> None:
    kinds = {INT: st.integers(0, 2**32 - 1), LONG: st.integers(0, 2**64 - 1), BOOL: st.booleans()}
    floats = dict.fromkeys((FLOAT, DOUBLE), st.floats())
    held = data.draw({**kinds, **floats}.get(field, st.binary(max_size=80)))
    try:
        made = cast(datatype, (field, held))
    except Unfit:
        return
    for one in made if isinstance(made, list) else [made]:
        assert one is None or isinstance(one, str | bytes | bool | int | float)
        assert not isinstance(one, float) or math.isfinite(one)
        assert not isinstance(one, int) or abs(one) < 2**53
