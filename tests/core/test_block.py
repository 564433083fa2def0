"""Leaves, headers and entries (docs/format.md sections 2, 3 and 4)."""

import hmac
from dataclasses import replace
from hashlib import sha256

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from gateway.core import block, cbor, merkle
from gateway.core.block import Header
from gateway.core.limits import (
    BLOCK_LEAVES,
    ENTRY_BYTES,
    ENTRY_BYTES_SHORT_ORIGIN,
    NUMBER_MAX,
    ORIGIN_BYTES,
    PACK_BYTES,
    SHORT_ORIGIN_BYTES,
)
from gateway.errors import FormatError

many = settings(max_examples=8 * settings().max_examples)

KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
KEY_ID = b"\x01\x02\x03\x04"
SECRET = bytes(range(100, 132))
HEADER = Header(
    origin="henhouse-3.example.farm/1",
    height=7,
    prev=b"\x11" * 32,
    count=3,
    root=b"\x22" * 32,
    first=1_700_000_000_123,
    last=1_700_000_000_456,
    sealed=1_700_000_001_000,
    clock=1,
    reason=1,
    error=12,
)

uints = st.integers(0, NUMBER_MAX)
origins = st.from_regex(r"[a-z0-9./-]{1,50}/(0|[1-9][0-9]{0,10})", fullmatch=True)


@st.composite
def headers(draw) -> Header:
    height, count = draw(uints), draw(st.integers(0, BLOCK_LEAVES))
    sealed = draw(uints)
    return Header(
        origin=draw(origins),
        height=height,
        prev=draw(st.binary(min_size=32, max_size=32)) if height else block.NO_PREV,
        count=count,
        root=draw(st.binary(min_size=32, max_size=32)) if count else merkle.EMPTY_ROOT,
        first=draw(uints) if count else sealed,
        last=draw(uints) if count else sealed,
        sealed=sealed,
        clock=draw(st.integers(0, 2)),
        reason=draw(st.none() | st.integers(0, 5)),
        error=draw(st.none() | uints),
    )


def signed(header_bytes: bytes, key: SigningKey = KEY, key_id: bytes = KEY_ID) -> bytes:
    return block.entry(header_bytes, key_id, key.sign(block.to_be_signed(header_bytes, key_id)).signature)


# Leaves


@given(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=PACK_BYTES))
@settings(deadline=None)
def test_leaves(index, pack):
    salt = hmac.new(SECRET, b"leaf" + index.to_bytes(4, "big"), sha256).digest()[:16]
    leaf = block.leaf(SECRET, index, pack)
    assert block.leaf_salt(SECRET, index) == salt
    assert block.raw_salt(SECRET, index) == hmac.new(SECRET, b"raw" + index.to_bytes(4, "big"), sha256).digest()[:16]
    assert leaf == b"\x82\x50" + salt + pack == block.leaf_from_salt(salt, pack)
    assert block.parse_leaf(leaf) == (salt, pack)


def test_a_leaf_is_the_cbor_array_of_salt_and_pack():
    assert cbor2.loads(block.leaf(SECRET, 5, b"\x81\xa0")) == [block.leaf_salt(SECRET, 5), [{}]]


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"\x82",
        b"\x82\x50",
        b"\x82\x50" + bytes(16),
        b"\x82\x51" + bytes(17),
        b"\x83\x50" + bytes(17),
        b"\x82\x58\x10" + bytes(17),
        b"\x82\x50" + bytes(16) + bytes(PACK_BYTES + 1),
    ],
)
def test_other_leaves_are_refused(leaf):
    with pytest.raises(FormatError, match="leaf"):
        block.parse_leaf(leaf)
    assert block.parse_leaf(b"\x82\x50" + bytes(16) + bytes(PACK_BYTES))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_secrets_of_another_length_are_refused_and_not_shown(length):
    for attempt in (
        lambda: block.leaf_salt(b"s" * length, 0),
        lambda: block.raw_salt(b"s" * length, 0),
        lambda: block.leaf(b"s" * length, 0, b"p"),
    ):
        with pytest.raises(FormatError, match=f"{length} bytes, not 32") as caught:
            attempt()
        assert "ss" not in str(caught.value)
    with pytest.raises(FormatError, match="salt of 15"):
        block.leaf_from_salt(bytes(15), b"p")


# Headers


@many
@given(headers())
def test_headers_round_trip(header):
    data = header.encode()
    assert block.decode_header(data) == header
    fields = cbor2.loads(data)
    assert fields[1] == 1
    assert (fields[2], fields[3], fields[5], fields[9]) == (header.origin, header.height, header.count, header.sealed)
    assert (11 in fields, 13 in fields) == (header.reason is not None, header.error is not None)


@many
@given(headers())
def test_every_header_fits_an_entry(header):
    entry = signed(header.encode())
    assert len(entry) <= (ENTRY_BYTES_SHORT_ORIGIN if len(header.origin) <= SHORT_ORIGIN_BYTES else ENTRY_BYTES)
    assert block.parse_entry(entry).header == header


def test_the_longest_entry_of_each_kind():
    most = replace(
        HEADER,
        height=NUMBER_MAX,
        count=BLOCK_LEAVES,
        first=NUMBER_MAX,
        last=NUMBER_MAX,
        sealed=NUMBER_MAX,
        reason=5,
        error=NUMBER_MAX,
    )
    for length, limit in ((SHORT_ORIGIN_BYTES, 256), (ORIGIN_BYTES, 290)):
        assert len(signed(replace(most, origin="a" * (length - 2) + "/1").encode())) in range(limit - 8, limit + 1)


@pytest.mark.parametrize(
    "origin", ["a/0", "a/1", "a/10", "./9", "-/1", "a/b/7", "0/0", "x" * (ORIGIN_BYTES - 2) + "/1"]
)
def test_origins(origin):
    assert block.decode_header(replace(HEADER, origin=origin).encode()).origin == origin


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "/1",
        "a",
        "a/",
        "a/01",
        "a/00",
        "a/1/",
        "a/x",
        "a/-1",
        "A/1",
        "a_b/1",
        "a b/1",
        "a/1\n",
        "é/1",
        "a/٣",
        5,
        b"a/1",
        "x" * (ORIGIN_BYTES - 1) + "/1",
    ],
)
def test_other_origins_are_refused(origin):
    with pytest.raises(FormatError, match="no origin"):
        replace(HEADER, origin=origin)
    with pytest.raises(FormatError, match="no origin"):
        block.decode_header(cbor.encode({**fields_of(HEADER), 2: origin}))


def fields_of(header: Header) -> dict:
    fields = cbor.decode(header.encode())
    assert isinstance(fields, dict)
    return fields


WRONG = [
    (1, 2, "version 2"),
    (1, 0, "version 0"),
    (1, True, "version True"),
    (1, "1", "version '1'"),
    (3, -1, "height"),
    (3, True, "height"),
    (3, "7", "height"),
    (3, 1.5, "height"),
    (4, bytes(31), "prev"),
    (4, bytes(33), "prev"),
    (4, "x" * 32, "prev"),
    (5, BLOCK_LEAVES + 1, "65537 leaves is over"),
    (5, -1, "count"),
    (5, False, "count"),
    (6, bytes(31), "root"),
    (6, [], "root"),
    (7, -1, "first"),
    (7, 0.5, "first"),
    (8, -1, "last"),
    (8, [1], "last"),
    (9, -1, "sealed"),
    (9, b"", "sealed"),
    (10, 3, "clock is 3"),
    (10, -1, "clock"),
    (10, True, "clock"),
    (11, 6, "reason is 6"),
    (11, -1, "reason"),
    (11, False, "reason"),
    (13, -1, "error"),
    (13, "1", "error"),
    (0, 1, "key 0"),
    (12, 1, "key 12"),
    (32, 1, "key 32"),
    (1000, 1, "key 1000"),
    (-1, 1, "key -1"),
    (-15, 1, "key -15"),
    ("x", 1, "key 'x'"),
    (b"x", 1, "key b'x'"),
]


@pytest.mark.parametrize(("key", "value", "why"), WRONG)
def test_refused_header_fields(key, value, why):
    with pytest.raises(FormatError, match=why):
        block.decode_header(cbor.encode({**fields_of(HEADER), key: value}))


@pytest.mark.parametrize("key", range(2, 11))
def test_no_field_may_be_missing(key):
    fields = fields_of(HEADER)
    del fields[key]
    with pytest.raises(FormatError, match="the header has no"):
        block.decode_header(cbor.encode(fields))
    with pytest.raises(FormatError, match="version None"):
        block.decode_header(b"\xa0")
    with pytest.raises(FormatError, match="not a map"):
        block.decode_header(b"\x80")


@pytest.mark.parametrize("key", range(14, 32))
def test_unknown_keys_from_14_to_31_are_ignored_and_stay_in_the_bytes(key):
    data = cbor.encode({**fields_of(replace(HEADER, origin="a/1")), key: 1})
    assert block.decode_header(data) == replace(HEADER, origin="a/1")
    parsed = block.parse_entry(signed(data))
    parsed.verify(PUBLIC)
    assert parsed.header_bytes == data != parsed.header.encode()


def test_limits_of_a_header_at_and_one_past():
    assert block.decode_header(replace(HEADER, count=BLOCK_LEAVES).encode()).count == BLOCK_LEAVES
    for name in ("height", "first", "last", "sealed", "error"):
        assert getattr(block.decode_header(replace(HEADER, **{name: NUMBER_MAX}).encode()), name) == NUMBER_MAX
        with pytest.raises(FormatError, match=name):
            replace(HEADER, **{name: NUMBER_MAX + 1})


def test_a_block_of_no_leaves():
    empty = replace(HEADER, count=0, root=merkle.EMPTY_ROOT, first=5, last=5, sealed=5)
    assert block.decode_header(empty.encode()) == empty
    for change in ({"root": bytes(32)}, {"first": 4}, {"last": 4}, {"sealed": 6}):
        with pytest.raises(FormatError, match="no leaves"):
            replace(empty, **change)
        fields = {
            **fields_of(empty),
            **{{"root": 6, "first": 7, "last": 8, "sealed": 9}[k]: v for k, v in change.items()},
        }
        with pytest.raises(FormatError, match="no leaves"):
            block.decode_header(cbor.encode(fields))


def test_the_first_block_names_none_before_it():
    assert replace(HEADER, height=0, prev=block.NO_PREV).prev == bytes(32)
    with pytest.raises(FormatError, match="prev"):
        replace(HEADER, height=0)
    with pytest.raises(FormatError, match="prev"):
        block.decode_header(cbor.encode({**fields_of(HEADER), 3: 0}))


def test_times_may_go_back():
    back = replace(HEADER, first=9, last=8, sealed=7)
    assert block.decode_header(back.encode()) == back


# Entries


def test_an_entry_is_a_tagged_cose_sign1():
    header_bytes = HEADER.encode()
    entry = signed(header_bytes)
    tagged = cbor2.loads(entry)
    assert tagged.tag == 18
    protected, unprotected, payload, signature = tagged.value
    assert cbor2.loads(protected) == {1: -8, 3: 60, 4: KEY_ID}
    assert (unprotected, payload) == ({}, header_bytes)
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", payload])
    assert block.to_be_signed(header_bytes, KEY_ID) == to_be_signed
    KEY.verify_key.verify(to_be_signed, signature)

    parsed = block.parse_entry(entry)
    assert (parsed.header, parsed.header_bytes, parsed.key_id) == (HEADER, header_bytes, KEY_ID)
    assert (parsed.signature, parsed.signed, parsed.raw) == (signature, to_be_signed, entry)
    parsed.verify(PUBLIC)


def cose(
    header_bytes: bytes = HEADER.encode(), protected: object = None, unprotected: object = None, **changes
) -> bytes:
    """An entry put together by hand, signed over what it holds."""
    fields = {1: -8, 3: 60, 4: KEY_ID} if protected is None else protected
    protected_bytes = fields if isinstance(fields, bytes) else cbor.encode(fields)
    signature = KEY.sign(cbor2.dumps(["Signature1", protected_bytes, b"", header_bytes])).signature
    parts = [protected_bytes, {} if unprotected is None else unprotected, header_bytes, signature]
    for at, part in changes.get("parts", {}).items():
        parts[at] = part
    return changes.get("tag", b"\xd2") + cbor.encode(parts[: changes.get("length", 4)] + changes.get("more", []))


@pytest.mark.parametrize("algorithm", [-8, -19])
def test_both_numbers_of_ed25519_are_taken(algorithm):
    parsed = block.parse_entry(cose(protected={1: algorithm, 3: 60, 4: KEY_ID}))
    parsed.verify(PUBLIC)
    assert parsed.header == HEADER


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        *[
            (cose(protected={1: alg, 3: 60, 4: KEY_ID}), "algorithm")
            for alg in (-7, -9, -18, -20, -35, -50, 0, 8, "EdDSA")
        ],
        (cose(protected={1: -8, 3: 61, 4: KEY_ID}), "content type"),
        (cose(protected={1: -8, 3: "application/cbor", 4: KEY_ID}), "content type"),
        (cose(protected={1: -8, 3: 60, 4: KEY_ID[:3]}), "key id"),
        (cose(protected={1: -8, 3: 60, 4: KEY_ID + b"\0"}), "key id"),
        (cose(protected={1: -8, 3: 60, 4: "abcd"}), "key id"),
        (cose(protected={1: -8, 3: 60}), "protected header"),
        (cose(protected={1: -8, 4: KEY_ID}), "protected header"),
        (cose(protected={3: 60, 4: KEY_ID}), "protected header"),
        (cose(protected={1: -8, 2: [3], 3: 60, 4: KEY_ID}), "protected header"),
        (cose(protected={1: -8, 3: 60, 4: KEY_ID, 15: {}}), "protected header"),
        (cose(protected={}), "protected header"),
        (cose(protected=[]), "protected header"),
        (cose(protected=b""), "CBOR ends"),
        (cose(protected=b"\xa3\x03\x18\x3c\x01\x27\x04\x44" + KEY_ID), "out of order"),
        (cose(protected=b"\xa3\x01\x38\x07\x03\x18\x3c\x04\x44" + KEY_ID), "shortest"),
        (cose(unprotected={1: -8}), "unprotected"),
        (cose(unprotected=[]), "unprotected"),
        (cose(unprotected=b""), "unprotected"),
        (cose(parts={0: {1: -8, 3: 60, 4: KEY_ID}}), "not byte strings"),
        (cose(parts={2: "text"}), "not byte strings"),
        (cose(parts={3: 5}), "not byte strings"),
        (cose(parts={3: bytes(63)}), "63 bytes, not 64"),
        (cose(parts={3: bytes(65)}), "65 bytes, not 64"),
        (cose(parts={2: b""}), "CBOR ends"),
        (cose(length=3), "array of four"),
        (cose(more=[0]), "array of four"),
        (cose(tag=b""), "tag 18"),
        (cose(tag=b"\xd1"), "tag 18"),
        (cose(tag=b"\xd8\x12"), "tag 18"),
        (cose(tag=b"\xd2\xd2"), "tag"),
        (cose() + b"\0", "after the CBOR item"),
        (b"", "tag 18"),
        (b"\xd2", "CBOR ends"),
        (b"\xd2\xf6", "simple"),
    ],
)
def test_refused_entries(entry, why):
    with pytest.raises(FormatError, match=why):
        block.parse_entry(entry)


def padded(origin: str, size: int) -> bytes:
    """A signed entry of exactly `size` bytes, filled under a key that is ignored."""
    fields = fields_of(replace(HEADER, origin=origin))
    for fill in range(size):
        entry = cose(cbor.encode({**fields, 14: bytes(fill)}))
        if len(entry) == size:
            return entry
    raise AssertionError


@pytest.mark.parametrize(
    ("origin", "limit"),
    [
        ("a" * (SHORT_ORIGIN_BYTES - 2) + "/1", ENTRY_BYTES_SHORT_ORIGIN),
        ("a" * (SHORT_ORIGIN_BYTES - 1) + "/1", ENTRY_BYTES),
    ],
)
def test_entry_bytes(origin, limit):
    block.parse_entry(padded(origin, limit)).verify(PUBLIC)
    with pytest.raises(FormatError, match=f"over {limit}"):
        block.parse_entry(padded(origin, limit + 1))


def test_our_own_entry_is_checked_before_it_is_used():
    header_bytes = HEADER.encode()
    with pytest.raises(FormatError, match="key id"):
        block.entry(header_bytes, b"abc", bytes(64))
    with pytest.raises(FormatError, match="not 64"):
        block.entry(header_bytes, KEY_ID, bytes(63))
    with pytest.raises(FormatError):
        block.entry(header_bytes + b"\0", KEY_ID, bytes(64))


ENTRY = signed(HEADER.encode())


def test_every_change_of_one_byte_of_an_entry_is_refused():
    """Of an entry no byte is left unverified: protected header and payload are signed, the rest has one form."""
    for at, old in enumerate(ENTRY):
        for byte in {old ^ 1 << bit for bit in range(8)} | {0, 0xFF} - {old}:
            with pytest.raises(FormatError):
                block.parse_entry(ENTRY[:at] + bytes([byte]) + ENTRY[at + 1 :]).verify(PUBLIC)


@many
@given(st.integers(0, len(ENTRY)), st.integers(0, len(ENTRY)), st.binary(max_size=20))
def test_any_other_bytes_than_the_entry_are_refused(start, end, put):
    changed = ENTRY[:start] + put + ENTRY[end:]
    if changed != ENTRY:
        with pytest.raises(FormatError):
            block.parse_entry(changed).verify(PUBLIC)


@many
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_never_a_crash(data):
    for read in (block.parse_entry, block.decode_header, block.parse_leaf):
        try:
            read(data)
        except FormatError:
            continue


def test_another_key_does_not_verify():
    other = SigningKey(bytes(32))
    with pytest.raises(FormatError, match=r"henhouse-3\.example\.farm/1, height 7: the entry's signature"):
        block.parse_entry(ENTRY).verify(bytes(other.verify_key))
    with pytest.raises(FormatError):
        block.parse_entry(ENTRY).verify(b"")


def test_successors():
    first = signed(replace(HEADER, height=0, prev=block.NO_PREV).encode())
    block.check_successor(block.parse_entry(first), block.NO_PREV, HEADER.origin, 0)
    prev = block.next_prev(first)
    assert prev == sha256(b"\0" + first).digest()
    second = block.parse_entry(signed(replace(HEADER, height=1, prev=prev).encode()))
    block.check_successor(second, prev, HEADER.origin, 1)
    for arguments, why in (
        ((block.NO_PREV, HEADER.origin, 1), "entry before it"),
        ((prev, "other/1", 1), f"is of {HEADER.origin}"),
        ((prev, HEADER.origin, 2), "is of height 1"),
        ((prev, HEADER.origin, 0), "is of height 1"),
    ):
        with pytest.raises(FormatError, match=why):
            block.check_successor(second, *arguments)
