import math
import struct
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.cbor import parse
from drivers.codecs.values import Unfit
from drivers.limits import CBOR_DEPTH, PAYLOAD_BYTES

SCALAR = (
    st.booleans() | st.none() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
)
ITEM = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, list | tuple):
        return isinstance(two, list | tuple) and len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, float) and math.isnan(one):
        return isinstance(two, float) and math.isnan(two)
    return type(one) is type(two) and one == two


@given(ITEM, st.booleans())
def test_it_reads_what_a_library_writes(item: Any, canonical: bool) -> None:
    assert same(parse(cbor2.dumps(item, canonical=canonical)), cbor2.loads(cbor2.dumps(item, canonical=canonical)))


@given(st.binary(min_size=1, max_size=60))
def test_whatever_comes_is_refused_in_words_or_read_as_a_library_does(data: bytes) -> None:
    try:
        got = parse(data)
    except Unfit as unfit:
        assert unfit.reason in {"invalid_cbor", "invalid_utf8", "too_deep", "duplicate_key"}
    else:
        if b"\xc4" not in data:
            assert same(cbor2.loads(data), got)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("1800", 0),
        ("1b0000000000000001", 1),
        ("3b ffffffffffffffff", -(2**64)),
        ("f93c00", 1.0),
        ("f90001", 5.960464477539063e-08),
        ("fa47c35000", 100000.0),
        ("f97c00", math.inf),
        ("5f 4101 420203 ff", b"\x01\x02\x03"),
        ("7f 6161 61 62 ff", "ab"),
        ("5f ff", b""),
        ("9f 01 8102 ff", [1, [2]]),
        ("bf 00 01 6161 9fff ff", {0: 1, "a": []}),
        ("c4 82 21 19 6ab3", 273.15),
        ("c4 82 00 05", 5.0),
        ("c4 82 3b ffffffffffffffff 01", 0.0),
        ("c4 82 1b ffffffffffffffff 01", math.inf),
        ("d9d9f7 81 01", [1]),
        ("f6", None),
    ],
)
def test_known_encodings(data: str, value: Any) -> None:
    got = parse(bytes.fromhex(data))
    assert same(got, value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "empty"),
        ("18", "invalid_cbor"),
        ("0000", "invalid_cbor"),
        ("1c", "invalid_cbor"),
        ("1f", "invalid_cbor"),
        ("ff", "invalid_cbor"),
        ("81ff", "invalid_cbor"),
        ("9f01", "invalid_cbor"),
        ("bf00ff", "invalid_cbor"),
        ("bf0001", "invalid_cbor"),
        ("9b7fffffffffffffff", "invalid_cbor"),
        ("bbffffffffffffffff", "invalid_cbor"),
        ("5b7fffffffffffffff00", "invalid_cbor"),
        ("5f6161ff", "invalid_cbor"),
        ("5f5f4101ffff", "invalid_cbor"),
        ("61ff", "invalid_utf8"),
        ("7f 61c3 61a9 ff", "invalid_utf8"),
        ("f7", "invalid_cbor"),
        ("f820", "invalid_cbor"),
        ("e0", "invalid_cbor"),
        ("a1f501", "invalid_cbor"),
        ("a1f93c0001", "invalid_cbor"),
        ("a2 00 01 00 02", "duplicate_key"),
        ("bf 6161 01 6161 01 ff", "duplicate_key"),
        ("c100", "invalid_cbor"),
        ("c24101", "invalid_cbor"),
        ("c48100", "invalid_cbor"),
        ("c482f93c0001", "invalid_cbor"),
        ("81d9d9f700", "invalid_cbor"),
    ],
)
def test_every_fault_has_its_reason(data: str, reason: str) -> None:
    with pytest.raises(Unfit) as unfit:
        parse(bytes.fromhex(data))
    assert unfit.value.reason == reason


@pytest.mark.parametrize("level", [b"\x81", b"\x9f", b"\xa1\x00", b"\xbf\x00", b"\xc4"])
def test_as_deep_as_the_limit_and_one_deeper(level: bytes) -> None:
    with pytest.raises(Unfit) as unfit:
        parse(level * (CBOR_DEPTH + 1) + b"\x00")
    assert unfit.value.reason == "too_deep"
    inner: Any = parse(b"\x81" * CBOR_DEPTH + b"\x00")
    for _ in range(CBOR_DEPTH):
        (inner,) = inner
    assert inner == 0


def test_as_long_as_the_limit_and_one_longer() -> None:
    head = b"\x5a" + struct.pack(">I", PAYLOAD_BYTES - 5)
    assert len(parse(head + bytes(PAYLOAD_BYTES - 5))) == PAYLOAD_BYTES - 5
    with pytest.raises(Unfit) as unfit:
        parse(head + bytes(PAYLOAD_BYTES - 4))
    assert unfit.value.reason == "too_long"
