"""Receipt files: one spelling, every limit, and nothing half-read."""

from dataclasses import replace

import pytest
from fakes import proofs
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import cbor, limits
from gateway.core.note import SignatureLine, b64decode, b64encode
from gateway.core.receipt import Anchor, Receipt, parse_receipt
from gateway.errors import FormatError

LOG = proofs.Log([5, 0, 9])
PLAIN = LOG.receipt(2, 0)
APART = LOG.anchored(LOG.receipt(2, 5))
EXTRA: dict[int, cbor.Encodable] = {1: b"entry", 2: b"leaf", 3: 0, 4: []}
KEYS = set(range(1, 7))  # of `extra`
hashes = st.binary(min_size=32, max_size=32)
paths = st.lists(hashes, max_size=5).map(tuple)
anchors = st.builds(
    Anchor, st.text() | st.integers(0, 9), st.integers(0, 2**53 - 1), hashes, paths, st.binary() | st.just([1, "x"])
)


def file(extra: object, index: str = "0", path: str = "") -> bytes:
    encoded = b64encode(extra if isinstance(extra, bytes) else cbor.encode(extra))  # type: ignore[arg-type]
    return f"c2sp.org/tlog-proof@v1\nextra {encoded}\nindex {index}\n{path}\n{PLAIN.note.encode()}".encode()


@pytest.mark.parametrize("receipt", [PLAIN, APART])
def test_a_receipt_comes_back(receipt: Receipt) -> None:
    text = receipt.encode()
    assert parse_receipt(text.encode()) == receipt
    assert text.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert text.endswith(receipt.note.encode())


@given(
    st.builds(
        Receipt,
        entry=st.binary(),
        leaf=st.binary(),
        index=st.integers(0, 2**53 - 1),
        path=paths,
        log_index=st.integers(0, 2**53 - 1),
        log_path=paths,
        note=st.just(PLAIN.note),
        anchors=st.lists(anchors, max_size=2).map(tuple),
        payload=st.just(None),
        raw_salt=st.just(None),
    ),
    st.none() | st.tuples(st.binary(), st.binary(min_size=16, max_size=16)),
)
def test_any_receipt_comes_back(receipt: Receipt, apart: tuple[bytes, bytes] | None) -> None:
    if apart:
        receipt = replace(receipt, payload=apart[0], raw_salt=apart[1])
    assert parse_receipt(receipt.encode().encode()) == receipt


@given(st.integers(0, len(APART.encode().encode()) - 1), st.integers(1, 255))
def test_whatever_parses_is_written_the_same(place: int, change: int) -> None:
    data = bytearray(APART.encode().encode())
    data[place] ^= change
    try:
        receipt = parse_receipt(bytes(data))
    except FormatError:
        return
    fields = cbor.decode(b64decode(data.split(b"\n")[1].decode().removeprefix("extra "), "extra"))
    assert isinstance(fields, dict)
    assert receipt.encode().encode() == data or not fields.keys() <= KEYS  # what nobody knows is not read


@given(st.integers(0, len(APART.encode().encode()) - 1))
def test_a_receipt_cut_short_is_refused_or_lacks_lines(length: int) -> None:
    try:
        receipt = parse_receipt(APART.encode().encode()[:length])
    except FormatError:
        return
    assert len(receipt.note.lines) < len(APART.note.lines)


@pytest.mark.parametrize(
    "extra",
    [
        b"\xff",
        [],
        {},
        {**EXTRA, 1: "entry"},
        {**EXTRA, 2: 7},
        {**EXTRA, 3: -1},
        {**EXTRA, 3: True},
        {**EXTRA, 3: 0.5},
        {**EXTRA, 4: b""},
        {**EXTRA, 4: [b"short"]},
        {**EXTRA, 4: ["x" * 32]},
        {**EXTRA, 5: 7},
        {**EXTRA, 5: [[]]},
        {**EXTRA, 5: [["kind", 1, bytes(32), [], 1, 1]]},
        {**EXTRA, 5: [[b"kind", 1, bytes(32), [], 1]]},
        {**EXTRA, 5: [[True, 1, bytes(32), [], 1]]},
        {**EXTRA, 5: [["kind", -1, bytes(32), [], 1]]},
        {**EXTRA, 5: [["kind", 1, bytes(31), [], 1]]},
        {**EXTRA, 5: [["kind", 1, bytes(32), b"", 1]]},
        {**EXTRA, 6: b"payload"},
        {**EXTRA, 6: [b"payload"]},
        {**EXTRA, 6: [b"payload", bytes(15)]},
        {**EXTRA, 6: [b"payload", bytes(17)]},
        {**EXTRA, 6: ["payload", bytes(16)]},
        {key: value for key, value in EXTRA.items() if key != 1},
        {key: value for key, value in EXTRA.items() if key != 4},
    ],
)
def test_a_malformed_extra_is_refused(extra: object) -> None:
    with pytest.raises(FormatError):
        parse_receipt(file(extra))


def test_unknown_keys_of_extra_are_ignored() -> None:
    parsed = parse_receipt(file({**EXTRA, 7: "later", 31: [1]}))
    assert (parsed.entry, parsed.leaf, parsed.index, parsed.path) == (b"entry", b"leaf", 0, ())


@pytest.mark.parametrize(
    "index", ["", "00", "01", "-1", "+1", "1 ", " 1", "0x1", "1.0", "٣", str(limits.NUMBER_MAX + 1)]
)
def test_a_malformed_index_is_refused(index: str) -> None:
    with pytest.raises(FormatError):
        parse_receipt(file(EXTRA, index))


def test_the_lines_of_the_proof_are_in_order() -> None:
    text = PLAIN.encode()
    magic, extra, index, rest = text.split("\n", 3)
    for wrong in (
        text.replace("@v1", "@v2", 1),
        "\n" + text,
        f"{magic}\n{index}\n{extra}\n{rest}",
        f"{magic}\n{index}\n{rest}",
        f"{magic}\n{extra}\n{rest}",
        f"{magic}\n{extra}\n{extra}\n{index}\n{rest}",
        text.replace("\n\n", "\n", 1),
        text.replace("\n", "\r\n"),
        text.replace("index", "índex", 1),
        text.split("\n\n")[0] + "\n\n",
    ):
        with pytest.raises(FormatError):
            parse_receipt(wrong.encode())


def test_the_limits_of_a_receipt() -> None:
    def with_lines(count: int) -> Receipt:
        lines = tuple(SignatureLine(f"n{i}", bytes(4), b"x") for i in range(count))
        return replace(PLAIN, note=replace(PLAIN.note, lines=lines))

    many = bytes(32)
    anchor = APART.anchors[0]
    at_limit = [
        with_lines(limits.RECEIPT_COSIGNATURES),
        replace(PLAIN, path=(many,) * limits.BLOCK_PATH_HASHES),
        replace(PLAIN, log_path=(many,) * limits.LOG_PATH_HASHES),
        replace(PLAIN, anchors=(anchor,) * limits.RECEIPT_ANCHORS),
        replace(PLAIN, anchors=(replace(anchor, path=(many,) * limits.LOG_PATH_HASHES),)),
    ]
    for receipt in at_limit:
        assert parse_receipt(receipt.encode().encode()) == receipt
    past = [
        with_lines(limits.RECEIPT_COSIGNATURES + 1),
        replace(PLAIN, path=(many,) * (limits.BLOCK_PATH_HASHES + 1)),
        replace(PLAIN, log_path=(many,) * (limits.LOG_PATH_HASHES + 1)),
        replace(PLAIN, anchors=(anchor,) * (limits.RECEIPT_ANCHORS + 1)),
        replace(PLAIN, anchors=(replace(anchor, path=(many,) * (limits.LOG_PATH_HASHES + 1)),)),
    ]
    for receipt in past:
        with pytest.raises(FormatError):
            receipt.encode()


def test_the_size_of_a_receipt_has_a_limit() -> None:
    def sized(payload: int) -> Receipt:
        return replace(PLAIN, payload=bytes(payload), raw_salt=bytes(16))

    spare = limits.RECEIPT_BYTES - len(sized(60_000).encode().encode())
    largest = 60_000 + spare // 4 * 3
    while len(sized(largest - 1).encode().encode()) == len(sized(largest).encode().encode()):
        largest -= 1
    text = PLAIN.encode()
    room = limits.RECEIPT_BYTES - len(text.encode())
    padded = text.replace("@v1\n", "@v1\n" + "x" * room, 1).encode()
    assert len(padded) == limits.RECEIPT_BYTES
    with pytest.raises(FormatError, match="`extra`"):
        parse_receipt(padded)
    with pytest.raises(FormatError, match="longer than"):
        parse_receipt(padded + b"x")
    assert sized(largest).encode()
    with pytest.raises(FormatError, match="longer than"):
        sized(largest + 6).encode()
