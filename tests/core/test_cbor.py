"""Deterministic CBOR: one value, one encoding (docs/format.md section 1)."""

import math
import struct

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core import cbor
from gateway.core.limits import CBOR_DEPTH, NUMBER_MAX
from gateway.errors import FormatError

many = settings(max_examples=8 * settings().max_examples)

integers = st.integers(-NUMBER_MAX, NUMBER_MAX)
halves = st.floats(width=16, allow_nan=False, allow_infinity=False)
singles = st.floats(width=32, allow_nan=False, allow_infinity=False)
doubles = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
keys = st.one_of(integers, texts, st.binary(max_size=30))
exact = st.one_of(integers, texts, st.binary(max_size=300), st.booleans())
scalars = st.one_of(exact, halves, singles, doubles)


def nested(leaves, width: int = 5, inside: int = CBOR_DEPTH - 1):
    """Values of at most `CBOR_DEPTH` levels."""
    levels = leaves
    for _ in range(min(inside, 3)):
        levels = st.one_of(leaves, st.lists(levels, max_size=width), st.dictionaries(keys, levels, max_size=width))
    return levels


values = nested(scalars)


def normal(value):
    """What a value is after encoding: a float without a fraction is an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    return value


def identical(a, b) -> bool:
    """Equal, and of the same types throughout: 1, 1.0 and True are three things."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[key], b[key]) for key in a)
    return a == b


@many
@given(values)
def test_round_trip(value):
    data = cbor.encode(value)
    assert identical(cbor.decode(data), normal(value))
    assert identical(cbor2.loads(data), normal(value))


@many
@given(nested(st.one_of(exact)))
def test_cbor2_writes_the_same_where_its_rules_are_the_same(value):
    if has_map(value):
        assert cbor2.loads(cbor.encode(value)) == value  # it sorts keys by length first
    else:
        assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@many
@given(st.dictionaries(st.integers(0, NUMBER_MAX), exact))
def test_cbor2_sorts_unsigned_keys_the_same(value):
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


def has_map(value) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(has_map, value)))


@many
@given(st.binary(max_size=60))
@example(bytes.fromhex("f97e00"))
@example(bytes.fromhex("a2 01 02 01 03"))
def test_what_decodes_is_what_would_have_been_written(data):
    try:
        value = cbor.decode(data)
    except FormatError:
        return
    assert cbor.encode(value) == data


@many
@given(values, st.data())
def test_a_change_is_refused_or_is_another_value_in_its_one_encoding(value, data):
    encoded = cbor.encode(value)
    at = data.draw(st.integers(0, len(encoded) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != encoded[at]))
    changed = encoded[:at] + bytes([byte]) + encoded[at + 1 :]
    try:
        other = cbor.decode(changed)
    except FormatError:
        return
    assert cbor.encode(other) == changed
    assert not identical(other, normal(value))


@many
@given(values, st.data())
def test_a_cut_or_longer_encoding_is_refused(value, data):
    encoded = cbor.encode(value)
    with pytest.raises(FormatError):
        cbor.decode(encoded[: data.draw(st.integers(0, len(encoded) - 1))])
    with pytest.raises(FormatError, match="after the CBOR item"):
        cbor.decode(encoded + data.draw(st.binary(min_size=1, max_size=9)))


# Numbers


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        (0, "00"),
        (-0.0, "00"),
        (0.0, "00"),
        (1, "01"),
        (23, "17"),
        (24, "1818"),
        (255, "18ff"),
        (256, "190100"),
        (65535, "19ffff"),
        (65536, "1a00010000"),
        (4294967295, "1affffffff"),
        (4294967296, "1b0000000100000000"),
        (NUMBER_MAX, "1b001fffffffffffff"),
        (float(NUMBER_MAX), "1b001fffffffffffff"),
        (-1, "20"),
        (-24, "37"),
        (-25, "3818"),
        (-NUMBER_MAX, "3b001ffffffffffffe"),
        (15.0, "0f"),
        (-4.0, "23"),
        (100000.0, "1a000186a0"),
        (1.5, "f93e00"),
        (-4.5, "f9c480"),
        (5.960464477539063e-8, "f90001"),
        (0.00006103515625, "f90400"),
        (65503.5, "fa477fdf80"),
        (1.401298464324817e-45, "fa00000001"),
        (1.1, "fb3ff199999999999a"),
        (21.37, "fb40355eb851eb851f"),
        (5e-324, "fb0000000000000001"),
        (float(2**53), "fa5a000000"),
        (-float(2**53), "fada000000"),
        (3.4028234663852886e38, "fa7f7fffff"),
        (1.0e300, "fb7e37e43c8800759c"),
        (1.7976931348623157e308, "fb7fefffffffffffff"),
    ],
)
def test_numbers_are_as_short_as_they_can_be(value, encoding):
    assert cbor.encode(value).hex() == encoding
    decoded = cbor.decode(bytes.fromhex(encoding))
    assert decoded == value
    assert isinstance(decoded, int) == encoding.startswith(("0", "1", "2", "3"))
    assert cbor.number(value).hex() == encoding


def test_every_half_precision_number():
    for bits in range(1 << 16):
        data = b"\xf9" + bits.to_bytes(2, "big")
        value = struct.unpack(">e", data[1:])[0]
        if not math.isfinite(value) or value.is_integer():
            with pytest.raises(FormatError):
                cbor.decode(data)
        else:
            assert cbor.encode(value) == data
            assert cbor.decode(data) == value


@many
@given(st.one_of(doubles, singles, halves))
@example(2.0**-24)
@example(2.0**-25)
@example(2.0**-149)
@example(2.0**-150)
@example(65504.0 + 2.0**-20)
def test_no_shorter_float_would_keep_the_value(value):
    data = cbor.encode(value)
    if value.is_integer() and abs(value) < 2**53:
        assert data[0] >> 5 in (0, 1)
        return
    widths = []
    for form in ("e", "f", "d"):
        try:
            if struct.unpack(f">{form}", struct.pack(f">{form}", value))[0] == value:
                widths.append(struct.calcsize(form))
        except OverflowError:
            continue
    assert len(data) == 1 + widths[0]


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**64, -(2**64), 10**400, math.nan, -math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_by_the_encoder(value):
    with pytest.raises(FormatError, match="no number"):
        cbor.encode(value)
    with pytest.raises(FormatError, match="no number"):
        cbor.encode({1: [value]})


def test_a_nan_with_a_payload_is_refused():
    with pytest.raises(FormatError):
        cbor.encode(struct.unpack(">d", bytes.fromhex("7ff8000000abcdef"))[0])
    for data in ("fb7ff8000000abcdef", "fa7fc00001", "f97e01", "f9fe00"):
        with pytest.raises(FormatError):
            cbor.decode(bytes.fromhex(data))


# What the decoder refuses


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "ends at byte 0"),
        ("1817", "shortest"),
        ("1800", "shortest"),
        ("1900ff", "shortest"),
        ("1a0000ffff", "shortest"),
        ("1b00000000ffffffff", "shortest"),
        ("3817", "shortest"),
        ("5803616263", "shortest"),
        ("7803616263", "shortest"),
        ("9800", "shortest"),
        ("b800", "shortest"),
        ("1b0020000000000000", "2\\^53"),
        ("3b001fffffffffffff", "2\\^53"),
        ("3bffffffffffffffff", "2\\^53"),
        ("18", "within the head"),
        ("1b00000001", "within the head"),
        ("1c", "indefinite or reserved"),
        ("1f", "indefinite or reserved"),
        ("5f41ff", "indefinite"),
        ("5f4101ff", "indefinite"),
        ("7f6161ff", "indefinite"),
        ("9f01ff", "indefinite"),
        ("bf0102ff", "indefinite"),
        ("ff", "simple value"),
        ("f6", "simple value"),
        ("f7", "simple value"),
        ("e0", "simple value"),
        ("f3", "simple value"),
        ("f814", "simple value"),
        ("f818", "simple value"),
        ("f8ff", "simple value"),
        ("fc", "simple value"),
        ("c0", "tag"),
        ("c11a514b67b0", "tag"),
        ("d28443a10126a0f640", "tag"),
        ("d818456449455446", "tag"),
        ("c249010000000000000000", "tag"),
        ("f90000", "shortest form"),
        ("f98000", "shortest form"),
        ("f93c00", "shortest form"),
        ("fa3fc00000", "shortest form"),
        ("fa47c35000", "shortest form"),
        ("fb3ff8000000000000", "shortest form"),
        ("fb402e000000000000", "shortest form"),
        ("fa80000000", "shortest form"),
        ("fb8000000000000000", "shortest form"),
        ("fb433fffffffffffff", "shortest form"),
        ("fb4340000000000000", "shortest form"),
        ("f97c00", "infinity"),
        ("faff800000", "infinity"),
        ("fb7ff0000000000000", "infinity"),
        ("f9", "within the float"),
        ("62c328", "UTF-8"),
        ("61ff", "UTF-8"),
        ("63eda080", "UTF-8"),
        ("62c080", "UTF-8"),
        ("64f4908080", "UTF-8"),
        ("4261", "longer than what is left"),
        ("5b001fffffffffffff00", "longer than what is left"),
        ("5bffffffffffffffff00", "longer than what is left"),
        ("8201", "longer than what is left"),
        ("9bffffffffffffffff", "longer than what is left"),
        ("9a0fffffff00", "longer than what is left"),
        ("ba0fffffff00", "longer than what is left"),
        ("a101", "ends at byte 2"),
        ("a201020103", "twice"),
        ("a202020103", "out of order"),
        ("a2616201616101", "out of order"),
        ("a2200101 02", "out of order"),
        ("a2616101 1818 02", "out of order"),
        ("a1f50a", "map key"),
        ("a1f93e000a", "map key"),
        ("a1800a", "map key"),
        ("a1a00a", "map key"),
        ("0000", "after the CBOR item"),
        ("f400", "after the CBOR item"),
    ],
)
def test_refused_encodings(data, why):
    with pytest.raises(FormatError, match=why):
        cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize("value", [None, object(), {1, 2}, 1 + 2j, bytearray(b"x"), [None], {1: None}, range(3)])
def test_values_without_an_encoding_are_refused(value):
    with pytest.raises(FormatError, match="has no encoding"):
        cbor.encode(value)


@pytest.mark.parametrize("key", [True, 1.5, None, (1, 2)])
def test_other_map_keys_are_refused(key):
    with pytest.raises(FormatError, match="map key"):
        cbor.encode({key: 1})


def test_a_lone_surrogate_is_refused():
    with pytest.raises(FormatError, match="surrogate"):
        cbor.encode("\ud800")


def test_map_keys_are_sorted_by_their_encoding_and_not_by_length_first():
    pairs = {"aa": 1, "b": 2, -1: 3, 100: 4, 10: 5, b"z": 6, -30: 7}
    expected = [cbor.encode(key) for key in (10, 100, -1, -30, b"z", "b", "aa")]
    assert cbor.encode(pairs) == b"\xa7" + b"".join(
        key + cbor.encode(cbor_value) for key, cbor_value in zip(expected, (5, 4, 3, 7, 6, 2, 1), strict=True)
    )
    assert sorted(expected) == expected
    assert expected != sorted(expected, key=lambda key: (len(key), key))


# Depth


def arrays(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_at_the_limit_and_one_past():
    data = cbor.encode(arrays(CBOR_DEPTH))
    assert data == b"\x81" * (CBOR_DEPTH - 1) + b"\x80"
    assert cbor.decode(data) == arrays(CBOR_DEPTH)
    assert cbor.decode(b"\x81" * CBOR_DEPTH + b"\x01") is not None, "a number in the deepest array is not one deeper"
    for attempt in (
        lambda: cbor.encode(arrays(CBOR_DEPTH + 1)),
        lambda: cbor.decode(b"\x81" * CBOR_DEPTH + b"\x80"),
        lambda: cbor.decode(b"\xa1\x01" * CBOR_DEPTH + b"\xa0"),
        lambda: cbor.decode(b"\x81" * 1_000_000),
    ):
        with pytest.raises(FormatError, match="deeper than 8"):
            attempt()


# Pieces


@many
@given(st.sampled_from([0, 1, 2, 3, 4, 5]), st.integers(0, 2**64 - 1))
@example(0, 23)
@example(0, 24)
@example(2, 255)
@example(2, 256)
@example(4, 65535)
@example(4, 65536)
@example(5, 2**32 - 1)
@example(5, 2**32)
def test_heads(major, n):
    data = cbor.head(major, n)
    assert cbor.read_head(data, 0) == (major, n, len(data))
    assert cbor.read_head(b"xy" + data + b"z", 2) == (major, n, 2 + len(data))
    for end in range(len(data)):
        with pytest.raises(FormatError, match="CBOR ends"):
            cbor.read_head(data[:end], 0)


@many
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_joined_byte_strings_are_read_one_by_one(items):
    data = b"".join(map(cbor.bstr, items))
    offset, found = 0, []
    while offset < len(data):
        item, offset = cbor.read_bytes(data, offset)
        found.append(item)
    assert found == items
    assert offset == len(data)


def test_only_a_byte_string_is_read_as_one():
    with pytest.raises(FormatError, match="no byte string"):
        cbor.read_bytes(cbor.encode("text"), 0)


def test_an_item_ends_where_it_ends():
    assert cbor.decode_item(b"\x00\x82\x01\x02\xff", 1) == ([1, 2], 4)
