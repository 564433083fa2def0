"""Block bodies in their three forms (docs/format.md section 7)."""

from hashlib import sha256

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import block, body, cbor, limits, merkle, senml
from gateway.core.block import Header
from gateway.core.body import CutBody, Disclosed, GoneBody, WholeBody, Withheld
from gateway.core.limits import BLOCK_LEAVES, BODY_BYTES, BODY_KEYS, BODY_UNKNOWN_BYTES, PACK_BYTES, TEXT_BYTES
from gateway.errors import FormatError

many = settings(max_examples=150, deadline=None)

SECRET = bytes(range(32))
HEIGHT = 7
NOW = 1_700_000_000_000


def reading(index: int, source: str, payload: bytes | None) -> tuple[bytes, bytes | None]:
    """A pack, with its payload apart where one is given."""
    records = [("t", "Cel", index + 0.25)]
    if payload is None:
        return senml.build(source, records, bt_ms=NOW + index, raw=b"raw"), None
    digest = block.payload_digest(block.raw_salt(SECRET, index), payload)
    return senml.with_digest(source, records, bt_ms=NOW + index, raw_sha256=digest), payload


def header_of(items, height: int = HEIGHT) -> Header:
    count = len(items)
    return Header(
        origin="farm/1",
        height=height,
        prev=bytes(32) if height == 0 else b"\1" * 32,
        count=count,
        root=merkle.root([merkle.leaf_hash(block.leaf(SECRET, i, pack)) for i, (pack, _) in enumerate(items)]),
        first=NOW if count else NOW + 9,
        last=NOW + count if count else NOW + 9,
        sealed=NOW + 9,
        clock=1,
    )


def whole(items, height: int = HEIGHT, secret: bytes = SECRET) -> bytes:
    return body.whole_body_head(height, secret, len(items)) + b"".join(body.item(*item) for item in items)


ITEMS = [reading(0, "hen", None), reading(1, "pig", b"\0\1"), reading(2, "hen", b""), reading(3, "pig", None)]
HEADER = header_of(ITEMS)
WHOLE = whole(ITEMS)
HENS = body.cut_body(HEIGHT, SECRET, ITEMS, lambda source: source == "hen")
PIGS = body.cut_body(HEIGHT, SECRET, ITEMS, lambda source: source == "pig")
GONE = body.gone_body(HEIGHT, "the card failed", 9)

sources = st.sampled_from(["hen", "pig", "gateway"])
blocks = st.lists(st.tuples(sources, st.none() | st.binary(max_size=300)), max_size=20).map(
    lambda drafts: [reading(index, *draft) for index, draft in enumerate(drafts)]
)


# Forms


@many
@given(blocks, st.integers(0, 2**40), st.sets(sources))
def test_every_form_verifies_against_the_same_header(items, height, seen):
    header = header_of(items, height)
    assert body.verify_body(header, whole(items, height)) == WholeBody(height, SECRET, items)

    cut = body.verify_body(header, body.cut_body(height, SECRET, iter(items), seen.__contains__))
    assert isinstance(cut, CutBody)
    shown = [senml.source_of(pack) in seen for pack, _ in items]
    assert [isinstance(item, Disclosed) for item in cut.items] == shown
    assert cut.withheld == shown.count(False)
    for index, (item, (pack, payload)) in enumerate(zip(cut.items, items, strict=True)):
        leaf = block.leaf(SECRET, index, pack)
        if isinstance(item, Withheld):
            assert item.hash == merkle.leaf_hash(leaf)
        else:
            salt = None if payload is None else block.raw_salt(SECRET, index)
            assert item == Disclosed(leaf, payload, salt)

    assert body.verify_body(header, body.gone_body(height, "why", 5)) == GoneBody(height, "why", 5)


def test_forms_are_as_section_7_writes_them():
    packs = [pack for pack, _ in ITEMS]
    leaves = [block.leaf(SECRET, index, pack) for index, pack in enumerate(packs)]
    assert cbor2.loads(WHOLE) == {
        1: HEIGHT,
        2: SECRET,
        3: [packs[0], [packs[1], b"\0\1"], [packs[2], b""], packs[3]],
    }
    assert cbor2.loads(HENS) == {
        1: HEIGHT,
        3: [
            leaves[0],
            [sha256(b"\0" + leaves[1]).digest()],
            [leaves[2], b"", block.raw_salt(SECRET, 2)],
            [sha256(b"\0" + leaves[3]).digest()],
        ],
    }
    assert cbor2.loads(GONE) == {1: HEIGHT, 4: "the card failed", 5: 9}
    for data in (WHOLE, HENS, PIGS, GONE):
        assert cbor.encode(cbor.decode(data)) == data


def test_a_cut_body_gives_away_neither_the_secret_nor_what_is_withheld():
    for data, source in ((HENS, "pig"), (PIGS, "hen")):
        assert SECRET not in data
        for index, (pack, payload) in enumerate(ITEMS):
            if senml.source_of(pack) == source:
                assert pack not in data
                assert block.leaf_salt(SECRET, index) not in data
                assert block.raw_salt(SECRET, index) not in data
                assert not payload or payload + block.raw_salt(SECRET, index) not in data


def test_an_empty_block():
    header = header_of([])
    assert body.verify_body(header, whole([])) == WholeBody(HEIGHT, SECRET, [])
    assert body.verify_body(header, body.cut_body(HEIGHT, SECRET, [], lambda _: True)) == CutBody(HEIGHT, [])


def test_a_payload_may_be_left_out_beside_its_reading():
    """It travels to those who may see it; the digest stays in the leaf."""
    bare = [(pack, None) for pack, _ in ITEMS]
    assert body.verify_body(HEADER, whole(bare)) == WholeBody(HEIGHT, SECRET, bare)


# The hot path


@many
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=40), st.integers(0, 2**16))
def test_leaf_hashes(packs, start):
    expected = [merkle.leaf_hash(block.leaf(SECRET, index, pack)) for index, pack in enumerate(packs, start)]
    assert body.leaf_hashes(SECRET, iter(packs), start) == expected


@many
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.none() | st.binary(max_size=300)), max_size=20))
def test_items_are_read_back(items):
    data = b"".join(body.item(*item) for item in items)
    assert list(body.read_items(data)) == items
    for end in range(len(data)):
        read = []
        try:
            read.extend(body.read_items(data[:end]))
        except FormatError:
            continue
        assert b"".join(body.item(*item) for item in read) == data[:end], "cut between two items only"


@pytest.mark.parametrize(
    "data",
    [
        b"\x40",
        b"\x81\x41a",
        b"\x82\x41a",
        b"\x82\x41a\x61b",
        b"\x82\x40\x41b",
        b"\x83\x41a\x41b\x41c",
        b"\x61a",
        b"\x01",
        b"\x58\x01a",
        b"\x5f\x41a\xff",
        b"\x98\x02\x41a\x41b",
        b"\xf6",
    ],
)
def test_malformed_items_are_refused(data):
    with pytest.raises(FormatError):
        list(body.read_items(data))
    for wrong in (body.whole_body_head(HEIGHT, SECRET, 1) + data, b"\xa2\x01\x07\x03\x81" + data):
        with pytest.raises(FormatError):
            body.parse_body(wrong)


# What does not fit the header


@pytest.mark.parametrize("data", [WHOLE, HENS, PIGS])
def test_height_count_root(data):
    def check(**changes):
        fields = {name: getattr(HEADER, name) for name in Header.__slots__}
        return body.verify_body(Header(**{**fields, **changes}), data)

    with pytest.raises(FormatError, match="farm/1, height 8: the body is of height 7"):
        check(height=8)
    with pytest.raises(FormatError, match="4 items, the header counts 3"):
        check(count=3)
    with pytest.raises(FormatError, match="4 items, the header counts 5"):
        check(count=5)
    with pytest.raises(FormatError, match="do not lead to the header's root"):
        check(root=bytes(32))
    assert check()


def test_a_gone_body_is_of_its_height():
    assert body.verify_body(HEADER, GONE) == GoneBody(HEIGHT, "the card failed", 9)
    with pytest.raises(FormatError, match="of height 8"):
        body.verify_body(HEADER, body.gone_body(8, "the card failed", 9))


def test_items_in_another_order_or_with_another_secret():
    for items in (ITEMS[::-1], [ITEMS[1], ITEMS[0], *ITEMS[2:]]):
        with pytest.raises(FormatError, match="root"):
            body.verify_body(HEADER, whole(items))
    with pytest.raises(FormatError, match="root"):
        body.verify_body(HEADER, whole(ITEMS, secret=bytes(32)))


def with_payload(index: int, payload: bytes) -> list:
    return [(pack, payload if i == index else old) for i, (pack, old) in enumerate(ITEMS)]


def test_a_payload_must_be_the_one_that_its_reading_names():
    for payload in (b"", b"\0\2", b"\0\1\0"):
        with pytest.raises(FormatError, match="leaf 1: the payload is not the one"):
            body.verify_body(HEADER, whole(with_payload(1, payload)))
        for data in (
            body.cut_body(HEIGHT, SECRET, with_payload(1, payload), lambda _: True),
            body.cut_body(HEIGHT, SECRET, with_payload(1, payload), lambda source: source == "pig"),
        ):
            with pytest.raises(FormatError, match="leaf 1: the payload is not the one"):
                body.verify_body(HEADER, data)


def test_a_payload_beside_a_reading_that_names_none():
    with pytest.raises(FormatError, match="leaf 0: a payload travels beside a pack that names none"):
        body.verify_body(HEADER, whole(with_payload(0, b"raw")))


# Any byte


@pytest.mark.parametrize("data", [WHOLE, HENS, PIGS])
def test_every_change_of_one_byte_of_a_body_is_refused(data):
    """Of a whole or cut body no byte is left unverified: its content is hashed, its form the only one."""
    body.verify_body(HEADER, data)
    for at, old in enumerate(data):
        for byte in {old ^ 1 << bit for bit in range(8)} | {0, 0xFF} - {old}:
            with pytest.raises(FormatError):
                body.verify_body(HEADER, data[:at] + bytes([byte]) + data[at + 1 :])


def test_every_change_of_one_byte_of_a_gone_body_leaves_its_height():
    """The reason and the place of the loss are the sender's word; nothing in the header verifies them."""
    taken = 0
    for at, old in enumerate(GONE):
        for byte in set(range(256)) - {old}:
            try:
                found = body.verify_body(HEADER, GONE[:at] + bytes([byte]) + GONE[at + 1 :])
            except FormatError:
                continue
            assert isinstance(found, GoneBody)
            assert found.height == HEIGHT
            assert found != GoneBody(HEIGHT, "the card failed", 9)
            taken += 1
    assert taken


@many
@given(st.sampled_from([WHOLE, HENS, GONE]), st.data())
def test_cut_short_or_longer(data, draw):
    with pytest.raises(FormatError):
        body.parse_body(data[: draw.draw(st.integers(0, len(data) - 1))])
    with pytest.raises(FormatError, match="after the body"):
        body.parse_body(data + draw.draw(st.binary(min_size=1, max_size=5)))


@many
@given(st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(lambda tail: b"\xa2\x01\x07\x03" + tail)))
def test_any_bytes_are_refused_or_read_and_never_a_crash(data):
    try:
        found = body.parse_body(data)
    except FormatError:
        return
    assert found.height >= 0


# Refused bodies

LEAF = block.leaf(SECRET, 0, ITEMS[0][0])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "key 1"),
        ({3: []}, "key 1"),
        ({1: -1, 3: []}, "key 1"),
        ({1: True, 3: []}, "key 1"),
        ({1: "7", 3: []}, "key 1"),
        ({1: 7}, "no items"),
        ({1: 7, 2: SECRET}, "no items"),
        ({1: 7, 4: "why"}, "no items"),
        ({1: 7, 5: 9}, "no items"),
        ({1: 7, 2: SECRET, 4: "why", 5: 9}, "no items"),
        ({1: 7, 3: [], 4: "why", 5: 9}, "items and says"),
        ({1: 7, 3: [], 5: 9}, "items and says"),
        ({1: 7, 4: 5, 5: 9}, "reason"),
        ({1: 7, 4: "why", 5: -9}, "key 5"),
        ({1: 7, 4: "why", 5: "9"}, "key 5"),
        ({1: 7, 2: SECRET[:31], 3: []}, "31 bytes, not 32"),
        ({1: 7, 2: SECRET + b"\0", 3: []}, "33 bytes, not 32"),
        ({1: 7, 2: "x" * 32, 3: []}, "not a byte string"),
        ({1: 7, 3: 5}, "not an array"),
        ({1: 7, 3: b""}, "not an array"),
        ({1: 7, 3: {}}, "not an array"),
        ({1: 7, 3: [[bytes(31)]]}, "31 bytes, not 32"),
        ({1: 7, 3: [[bytes(33)]]}, "33 bytes, not 32"),
        ({1: 7, 3: [ITEMS[0][0]]}, "leaf"),
        ({1: 7, 3: [[LEAF, b"payload"]]}, "no byte string"),
        ({1: 7, 3: [[LEAF, b"payload", bytes(15)]]}, "salt of 15"),
        ({1: 7, 3: [[LEAF, b"payload", bytes(17)]]}, "salt of 17"),
        ({1: 7, 3: [[b"leaf", b"payload", bytes(16)]]}, "leaf"),
        ({1: 7, 3: [[LEAF, "payload", bytes(16)]]}, "no byte string"),
        ({1: 7, 3: [[LEAF, b"payload", bytes(16), b""]]}, "no byte string"),
        ({1: 7, 3: [[]]}, "no byte string"),
        ({1: 7, 2: SECRET, 3: [[bytes(32)]]}, "no byte string"),
        ({1: 7, 2: SECRET, 3: [[b"pack", b"payload", bytes(16)]]}, "no byte string"),
        ([1, 2], "not a map"),
        (b"", "not a map"),
    ],
)
def test_refused_bodies(fields, why):
    with pytest.raises(FormatError, match=why):
        body.parse_body(cbor.encode(fields))


def test_keys_out_of_order_or_twice():
    for data in (b"\xa2\x03\x80\x01\x07", b"\xa3\x01\x07\x03\x80\x03\x80", b"\xa3\x01\x07\x01\x07\x03\x80"):
        with pytest.raises(FormatError, match="out of order"):
            body.parse_body(data)
    with pytest.raises(FormatError, match="no key"):
        body.parse_body(b"\xa3\x01\x07\x03\x80\xf5\x00")


# Limits: at each, and one past it


def test_unknown_keys_are_ignored():
    fields = {1: 7, 2: SECRET, 3: [pack for pack, _ in ITEMS]}
    plain = body.verify_body(HEADER, cbor.encode(fields))
    for more in ({0: 1}, {6: [1, {"x": b"y"}]}, {-1: "x"}, {"later": True}, {b"k": 1.5}):
        assert body.verify_body(HEADER, cbor.encode({**fields, **more})) == plain
    assert body.parse_body(cbor.encode({1: 7, 4: "why", 5: 9, 6: 1})) == GoneBody(7, "why", 9)
    many_keys = {**fields, **{f"k{i}": i for i in range(BODY_KEYS - 3)}}
    assert body.verify_body(HEADER, cbor.encode(many_keys)) == plain
    with pytest.raises(FormatError, match="at most 32"):
        body.parse_body(cbor.encode({**many_keys, "one": 1}))


def test_unknown_values_are_bounded():
    fields = {1: 7, 3: []}
    room = BODY_UNKNOWN_BYTES - 3
    assert body.parse_body(cbor.encode({**fields, 6: bytes(room)})) == CutBody(7, [])
    assert body.parse_body(cbor.encode({**fields, 6: bytes(room), 7: [0] * room})) == CutBody(7, [])
    for value in (bytes(room + 1), [0] * (room + 1), [b""] * 1_000_000):
        with pytest.raises(FormatError, match="4096 bytes"):
            body.parse_body(cbor.encode({**fields, 6: value}))


def test_reason_bytes():
    assert body.parse_body(body.gone_body(7, "é" * (TEXT_BYTES // 2), 9)) == GoneBody(7, "é" * (TEXT_BYTES // 2), 9)
    with pytest.raises(FormatError, match="over 1024"):
        body.gone_body(7, "x" * (TEXT_BYTES + 1), 9)
    with pytest.raises(FormatError, match="1024"):
        body.parse_body(cbor.encode({1: 7, 4: "x" * (TEXT_BYTES + 1), 5: 9}))


def test_leaves():
    full = body.parse_body(cbor.encode({1: 7, 2: SECRET, 3: [b"p"] * BLOCK_LEAVES}))
    assert isinstance(full, WholeBody)
    assert len(full.items) == BLOCK_LEAVES
    for fields in ({1: 7, 2: SECRET}, {1: 7}):
        with pytest.raises(FormatError, match="at most 65536"):
            body.parse_body(cbor.encode({**fields, 3: [b"p"] * (BLOCK_LEAVES + 1)}))
    for claimed in (b"\x9b\x00\x0f" + bytes(6), b"\x9b" + b"\xff" * 8):
        with pytest.raises(FormatError, match="at most 65536"):
            body.parse_body(b"\xa2\x01\x07\x03" + claimed)


def test_pack_bytes():
    most = bytes(PACK_BYTES)
    assert list(body.read_items(body.item(most))) == [(most, None)]
    assert body.parse_body(cbor.encode({1: 7, 3: [block.leaf_from_salt(bytes(16), most)]}))
    with pytest.raises(FormatError, match="16385 bytes"):
        list(body.read_items(body.item(most + b"\0")))
    with pytest.raises(FormatError, match="leaf"):
        body.parse_body(cbor.encode({1: 7, 3: [block.leaf_from_salt(bytes(16), most + b"\0")]}))


def test_body_bytes():
    head = body.whole_body_head(0, SECRET, 1)
    pack, _ = ITEMS[0]
    start = head + b"\x82" + cbor.bstr(pack)
    payload = bytes(BODY_BYTES - len(start) - 5)
    digest = block.payload_digest(block.raw_salt(SECRET, 0), payload)
    pack = senml.with_digest("hen", [("t", "Cel", 0.25)], bt_ms=NOW, raw_sha256=digest)
    start = head + b"\x82" + cbor.bstr(pack)
    payload = payload[: BODY_BYTES - len(start) - 5]
    digest = block.payload_digest(block.raw_salt(SECRET, 0), payload)
    pack = senml.with_digest("hen", [("t", "Cel", 0.25)], bt_ms=NOW, raw_sha256=digest)
    data = whole([(pack, payload)], 0)
    assert len(data) == BODY_BYTES == limits.BODY_BYTES
    found = body.verify_body(header_of([(pack, payload)], 0), data)
    assert isinstance(found, WholeBody)
    with pytest.raises(FormatError, match="67108865 bytes is over 67108864"):
        body.parse_body(data + b"\0")
