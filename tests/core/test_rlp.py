"""RLP: the yellow paper's examples, both ways for any item, and whatever is not the one encoding is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import rlp
from gateway.core.limits import RLP_DEPTH, RLP_ITEMS
from gateway.errors import FormatError

LOREM = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"
EXAMPLES = [
    (b"", "80"),
    (b"\0", "00"),
    (b"\x7f", "7f"),
    (b"\x80", "8180"),
    (b"dog", "83646f67"),
    (LOREM, "b838" + LOREM.hex()),
    ([], "c0"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    ([LOREM], "f83ab838" + LOREM.hex()),
    (bytes(1024), "b90400" + bytes(1024).hex()),
]
REFUSED = {
    "nothing": "",
    "two items": "0000",
    "a length for a byte that is its own": "8101",
    "a long length for a short string": "b801ff",
    "a long length of 55": "b837" + bytes(55).hex(),
    "a length with a leading zero": "b90038" + bytes(56).hex(),
    "a cut length": "b9ff",
    "no length at all": "ff",
    "a length beyond the end": "83646f",
    "a list beyond the end": "c283",
    "an item beyond its list": "c2836f676f",
    "a length of 2^64 - 1": "bf" + "ff" * 8,
}

items = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@pytest.mark.parametrize(("item", "encoded"), EXAMPLES)
def test_examples(item, encoded):
    assert rlp.encode(item).hex() == encoded
    assert rlp.decode(bytes.fromhex(encoded)) == item


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises(FormatError):
        rlp.decode(bytes.fromhex(REFUSED[name]))


@given(items)
def test_both_ways(item):
    assert rlp.decode(rlp.encode(item)) == item


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_what_is_taken_is_the_one_encoding(data):
    try:
        item = rlp.decode(data)
    except FormatError:
        return
    assert rlp.encode(item) == data


@given(st.integers(0, 2**256 - 1))
def test_numbers(value):
    assert rlp.read_uint(rlp.uint(value)) == value


def test_a_number_has_no_leading_zero():
    assert rlp.uint(0) == b""
    assert rlp.uint(1024) == b"\x04\x00"
    with pytest.raises(FormatError, match="zero"):
        rlp.read_uint(b"\0\1")


def test_a_number_has_at_most_256_bits():
    """Python refuses to write out far larger ones."""
    with pytest.raises(FormatError, match="longer than 32"):
        rlp.read_uint(b"\1" * 33)


def nested(depth):
    item = []
    for _ in range(depth - 1):
        item = [item]
    return item


def test_limits():
    assert rlp.decode(rlp.encode(nested(RLP_DEPTH))) == nested(RLP_DEPTH)
    with pytest.raises(FormatError, match="deeper"):
        rlp.encode(nested(RLP_DEPTH + 1))
    with pytest.raises(FormatError, match="deeper"):
        rlp.decode(bytes([0xC0 + RLP_DEPTH - at for at in range(RLP_DEPTH + 1)]))
    assert len(rlp.decode(rlp.encode([b""] * (RLP_ITEMS - 1)))) == RLP_ITEMS - 1
    with pytest.raises(FormatError, match="more than"):
        rlp.decode(rlp.encode([b""] * RLP_ITEMS))
