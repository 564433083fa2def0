"""A reading as a SenML pack: the fast builder against the general encoder, docs/format.md section 2 rule by rule."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import cbor, limits, senml
from gateway.core.limits import (
    BASE_TIME_MIN_S,
    NUMBER_MAX,
    PACK_BYTES,
    PACK_RECORDS,
    RAW_INLINE_BYTES,
    SOURCE_ID_BYTES,
    TEXT_BYTES,
    UNIT_BYTES,
)
from gateway.core.senml import Measured, Reading
from gateway.errors import FormatError

many = settings(max_examples=8 * settings().max_examples)

NOW = 1_700_000_000_123
LEAST = BASE_TIME_MIN_S * 1000

sources = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
names = st.from_regex(r"[A-Za-z0-9:./_-]{1,40}", fullmatch=True).filter(lambda name: name not in ("raw", "raw.sha256"))
units = st.one_of(st.none(), st.sampled_from(["Cel", "%RH", "m/s", "°"]), st.text("abc/%µ", min_size=1, max_size=20))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
numbers = st.one_of(
    st.integers(-NUMBER_MAX, NUMBER_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-100, 2000).map(lambda x: round(x, 2)),
)
values = st.one_of(numbers, texts, st.booleans(), st.binary(max_size=50))
records = st.lists(st.tuples(names, units, values), max_size=8)
times = st.integers(LEAST, NUMBER_MAX)


def general(source, records, bt_ms, rt_ms=None, quality=0, last=None) -> bytes:
    """The same pack through `cbor.encode`, as section 2 writes it."""
    rows = []
    for name, unit, value in records:
        row = {0: name}
        if unit is not None:
            row[1] = unit
        row[4 if isinstance(value, bool) else 3 if isinstance(value, str) else 8 if isinstance(value, bytes) else 2] = (
            value
        )
        rows.append(row)
    if last is not None:
        rows.append(last)
    rows[0] |= {-2: f"{source}/", -3: bt_ms / 1000}
    if rt_ms is not None:
        rows[0]["rt"] = rt_ms
    if quality:
        rows[0]["q"] = quality
    return cbor.encode(rows)


@many
@given(sources, records, times, st.none() | st.integers(0, NUMBER_MAX), st.integers(0, 31), st.none() | st.binary())
def test_the_builder_writes_what_the_general_encoder_writes(source, records, bt_ms, rt_ms, quality, raw):
    if not records and raw is None:
        raw = b""
    last = None if raw is None else {0: "raw", 8: raw}
    pack = senml.build(source, records, bt_ms=bt_ms, rt_ms=rt_ms, quality=quality, raw=raw)
    assert pack == general(source, records, bt_ms, rt_ms, quality, last)
    check_reading(senml.resolve(pack), source, records, bt_ms, rt_ms, quality, raw, None)
    assert senml.source_of(pack) == source
    assert senml.base_of(pack) == (source, senml.resolve(pack).time_ms)


@many
@given(
    sources,
    records,
    times,
    st.none() | st.integers(0, NUMBER_MAX),
    st.integers(0, 31),
    st.binary(min_size=32, max_size=32),
)
def test_the_builder_with_a_digest(source, records, bt_ms, rt_ms, quality, digest):
    pack = senml.with_digest(source, records, bt_ms=bt_ms, rt_ms=rt_ms, quality=quality, raw_sha256=digest)
    assert pack == general(source, records, bt_ms, rt_ms, quality, {0: "raw.sha256", 8: digest})
    check_reading(senml.resolve(pack), source, records, bt_ms, rt_ms, quality, None, digest)
    assert senml.digest_of(pack) == digest


def check_reading(reading, source, records, bt_ms, rt_ms, quality, raw, digest):
    # Beyond 2^43 s two milliseconds may share a double; any of them is as right.
    assert reading.time_ms == bt_ms or (bt_ms > 2**50 and reading.time_ms / 1000 == bt_ms / 1000)
    assert reading.received_ms == (reading.time_ms if rt_ms is None else rt_ms)
    assert (reading.source, reading.quality) == (source, quality)
    assert (reading.raw, reading.raw_sha256) == (raw, digest)
    assert [(m.name, m.unit, m.value) for m in reading.records] == records
    assert all(m.time_ms == reading.time_ms for m in reading.records)
    assert [type(m.value) is bool for m in reading.records] == [type(value) is bool for _, _, value in records]


def test_a_pack_byte_by_byte():
    pack = senml.build("hen", [("t", "Cel", 21.5), ("ok", None, True)], bt_ms=NOW, rt_ms=NOW + 5, quality=3, raw=b"{}")
    assert pack.hex() == (
        "83"  # three records
        "a7 00 6174 01 6343656c 02 f94d60"  # t, Cel, 21.5
        "21 6468656e2f 22 fb41d954fc4007df3b"  # hen/, the time
        "6171 03 627274 1b0000018bcfe56880"  # q, rt
        "a2 00 626f6b 04 f5"
        "a2 00 63726177 08 427b7d"
    ).replace(" ", "")


# Limits: at each, and one past it


def build(records=(("t", None, 1),), source="hen", **more):
    return senml.build(source, list(records), **{"bt_ms": NOW, **more})


ALIKE = st.sampled_from([True, 1, 1.0, False, 0, 0.0, -0.0, 2.5, -2.5, 0.1, 2.0**53, 1e300, 20.1, float(NUMBER_MAX)])


@many
@given(st.lists(st.lists(st.tuples(st.sampled_from(["t", "u"]), units, ALIKE), min_size=1, max_size=4), max_size=9))
def test_what_is_kept_of_a_measurement_is_never_anothers(packs):
    """Values that are one key to a dict, in any order and again and again: the same bytes as the general encoder's."""
    for told in packs:
        assert build(told) == general("hen", told, NOW)
        with pytest.raises(FormatError):
            build([*told, ("t", None, 2**53)])


def test_what_is_kept_of_measurements_is_bounded():
    for number in range(limits.LABELS_KEPT + 10):
        build([("t", None, number + 0.5)])
    assert len(senml._measurements) <= limits.LABELS_KEPT


@pytest.mark.parametrize("raw", [None, b"x"])
def test_records(raw):
    room = PACK_RECORDS - (raw is not None)
    pack = build([("t", None, 1)] * room, raw=raw)
    assert len(senml.resolve(pack).records) == room
    with pytest.raises(FormatError, match=r"65 records.*Split"):
        build([("t", None, 1)] * (room + 1), raw=raw)
    longer = cbor.decode(pack)
    longer.insert(1, {0: "t", 2: 1})
    with pytest.raises(FormatError, match="1 to 64 records"):
        senml.resolve(cbor.encode(longer))


def test_a_pack_has_a_record():
    with pytest.raises(FormatError, match="0 records"):
        build([])
    with pytest.raises(FormatError, match="1 to 64 records"):
        senml.resolve(b"\x80")
    assert senml.resolve(build([], raw=b"?")) == Reading("hen", NOW, NOW, 0, (), b"?", None)


def test_pack_bytes():
    empty = len(build([("d", None, b"x" * 300)])) - 300
    room = PACK_BYTES - empty
    pack = build([("d", None, bytes(room))])
    assert len(pack) == PACK_BYTES
    assert senml.resolve(pack).records[0].value == bytes(room)
    with pytest.raises(FormatError, match="16385 bytes is over 16384"):
        build([("d", None, bytes(room + 1))])
    with pytest.raises(FormatError, match="16385 bytes is over 16384"):
        senml.resolve(general("hen", [("d", None, bytes(room + 1))], NOW))


@pytest.mark.parametrize("text", ["x" * TEXT_BYTES, "é" * (TEXT_BYTES // 2), "🐔" * (TEXT_BYTES // 4)])
def test_text_bytes(text):
    assert senml.resolve(build([("s", None, text)])).records[0].value == text
    for attempt in (
        lambda: build([("s", None, text + "x")]),
        lambda: senml.resolve(general("hen", [("s", None, text + "x")], NOW)),
    ):
        with pytest.raises(FormatError, match="over 1024"):
            attempt()


@pytest.mark.parametrize("unit", ["x" * UNIT_BYTES, "µ" * (UNIT_BYTES // 2)])
def test_unit_bytes(unit):
    assert senml.resolve(build([("s", unit, 1)])).records[0].unit == unit
    for wrong in (unit + "x", ""):
        for attempt in (
            lambda wrong=wrong: build([("s", wrong, 1)]),
            lambda wrong=wrong: senml.resolve(general("hen", [("s", wrong, 1)], NOW)),
        ):
            with pytest.raises(FormatError, match="no unit"):
                attempt()


def test_name_bytes():
    assert senml.resolve(build([("n" * TEXT_BYTES, None, 1)])).records[0].name == "n" * TEXT_BYTES
    for attempt in (
        lambda: build([("n" * (TEXT_BYTES + 1), None, 1)]),
        lambda: senml.resolve(general("hen", [("n" * (TEXT_BYTES + 1), None, 1)], NOW)),
    ):
        with pytest.raises(FormatError, match="over 1024"):
            attempt()


def test_payload_bytes():
    raw = bytes(RAW_INLINE_BYTES)
    assert senml.resolve(build(raw=raw)).raw == raw
    for attempt in (
        lambda: build(raw=raw + b"\0"),
        lambda: senml.resolve(general("hen", [("t", None, 1)], NOW, last={0: "raw", 8: raw + b"\0"})),
    ):
        with pytest.raises(FormatError, match="4097 bytes is over 4096"):
            attempt()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_digest_bytes(length):
    with pytest.raises(FormatError, match="digest"):
        senml.with_digest("hen", [("t", None, 1)], bt_ms=NOW, raw_sha256=bytes(length))
    with pytest.raises(FormatError, match="digest"):
        senml.resolve(general("hen", [("t", None, 1)], NOW, last={0: "raw.sha256", 8: bytes(length)}))


@pytest.mark.parametrize("source", ["a", "0", "gateway", "hen-1.b_c", "z" * SOURCE_ID_BYTES])
def test_source_ids(source):
    assert senml.resolve(build(source=source)).source == source == senml.source_of(build(source=source))


@pytest.mark.parametrize("source", ["", "-a", ".a", "_a", "A", "a b", "a/b", "é", "a\n", "a" * (SOURCE_ID_BYTES + 1)])
def test_other_source_ids_are_refused(source):
    pack = general(source, [("t", None, 1)], NOW)
    for attempt in (lambda: build(source=source), lambda: senml.resolve(pack), lambda: senml.source_of(pack)):
        with pytest.raises(FormatError, match="no source id"):
            attempt()


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "a\n", "a+b", "a%", "\0"])
def test_other_names_are_refused(name):
    for attempt in (lambda: build([(name, None, 1)]), lambda: senml.resolve(general("hen", [(name, None, 1)], NOW))):
        with pytest.raises(FormatError, match="no name"):
            attempt()


@pytest.mark.parametrize("name", ["raw", "raw.sha256"])
def test_the_payloads_names_are_kept_for_it(name):
    with pytest.raises(FormatError, match="payload's own"):
        build([(name, None, b"x")])
    with pytest.raises(FormatError, match="not last"):
        senml.resolve(general("hen", [(name, None, bytes(32)), ("t", None, 1)], NOW))
    with pytest.raises(FormatError, match="not last"):
        senml.resolve(general("hen", [(name, None, bytes(32))], NOW, last={0: name, 8: bytes(32)}))
    for row in ({0: name, 2: 1}, {0: name, 3: "x"}, {0: name, 1: "m", 8: bytes(32)}, {0: name, 6: 1, 8: bytes(32)}):
        with pytest.raises(FormatError, match="no unit and no time"):
            senml.resolve(general("hen", [("t", None, 1)], NOW, last=row))


@pytest.mark.parametrize("value", [None, [1], {1: 1}, float("nan"), float("inf"), 2**53, "\ud800"])
def test_other_values_are_refused(value):
    with pytest.raises(FormatError):
        build([("t", None, value)])


# Time


@pytest.mark.parametrize("bt_ms", [LEAST, LEAST + 1, NOW, 253402300799999, 2**50])
def test_times(bt_ms):
    assert senml.resolve(build(bt_ms=bt_ms)).time_ms == bt_ms


def test_the_last_time():
    assert senml.resolve(build(bt_ms=NUMBER_MAX)).time_ms / 1000 == NUMBER_MAX / 1000


@pytest.mark.parametrize("bt_ms", [LEAST - 1, 0, -NOW, NUMBER_MAX + 1])
def test_times_out_of_range(bt_ms):
    with pytest.raises(FormatError, match="out of range"):
        build(bt_ms=bt_ms)
    with pytest.raises(FormatError, match="not an absolute time"):
        senml.resolve(general("hen", [("t", None, 1)], bt_ms))


@many
@given(st.integers(LEAST, 2**50))
def test_milliseconds_survive_the_double(bt_ms):
    assert senml.resolve(build(bt_ms=bt_ms)).time_ms == bt_ms


@pytest.mark.parametrize("seconds", [1700000000.1234, 1700000000.0000002, True, "1700000000", b"1", [1], float(2**60)])
def test_a_base_time_of_another_kind_is_refused(seconds):
    with pytest.raises(FormatError, match="base time"):
        senml.resolve(cbor.encode([{0: "t", 2: 1, -2: "hen/", -3: seconds}]))


@pytest.mark.parametrize(
    ("offset", "ms"),
    [(0, 0), (1, 1000), (-2.5, -2500), (0.0004, 0), (0.0006, 1), (-0.0006, -1), (1.0625, 1063), (-1.0625, -1062)],
)
def test_a_records_own_time(offset, ms):
    pack = cbor.encode([{0: "t", 2: 1, -2: "hen/", -3: NOW / 1000}, {0: "u", 2: 2, 6: offset}])
    assert senml.resolve(pack).records == (Measured("t", None, 1, NOW), Measured("u", None, 2, NOW + ms))


@pytest.mark.parametrize("offset", [True, "1", -1.7e9, 1e300, -1e300, NUMBER_MAX])
def test_a_records_own_time_out_of_range(offset):
    with pytest.raises(FormatError, match="time"):
        senml.resolve(cbor.encode([{0: "t", 2: 1, 6: offset, -2: "hen/", -3: NOW / 1000}]))


def test_quality_and_receipt_are_unsigned():
    for wrong in (-1, NUMBER_MAX + 1):
        with pytest.raises(FormatError):
            build(quality=wrong)
        with pytest.raises(FormatError):
            build(rt_ms=wrong)
    assert senml.resolve(build(rt_ms=0, quality=NUMBER_MAX)).received_ms == 0


# What the reader takes and refuses, label by label


def pack_of(first: dict, *rest) -> bytes:
    return cbor.encode([{-2: "hen/", -3: NOW / 1000, **first}, *rest])


def test_a_record_needs_no_name():
    assert senml.resolve(pack_of({2: 5})).records == (Measured("", None, 5, NOW),)


def test_unknown_text_labels_are_ignored():
    pack = pack_of(
        {0: "t", 2: 5, "x": [1, {"y": b"z"}], "later": True}, {0: "u", 3: "s", "x": 1}, {0: "raw", 8: b"p", "y": 0}
    )
    assert senml.resolve(pack) == senml.resolve(pack_of({0: "t", 2: 5}, {0: "u", 3: "s"}, {0: "raw", 8: b"p"}))
    assert senml.source_of(pack) == "hen"


@pytest.mark.parametrize(
    ("pack", "why"),
    [
        (pack_of({0: "t", 2: 5, "must_": 1}), "asks not to be ignored"),
        (pack_of({0: "t", 2: 5, "_": 1}), "asks not to be ignored"),
        (pack_of({0: "t", 2: 5}, {0: "u", 2: 5, "must_": 1}), "record 1.*asks not to be ignored"),
        (pack_of({0: "t", 2: 5, "v": 6}), "as text"),
        (pack_of({0: "t", 2: 5, "bn": "pig/"}), "as text"),
        (pack_of({0: "t", 2: 5, 5: 6}), "label 5"),
        (pack_of({0: "t", 2: 5, 7: 6}), "label 7"),
        (pack_of({0: "t", 2: 5, 9: 6}), "label 9"),
        (pack_of({0: "t", 2: 5, -1: 10}), "label -1"),
        (pack_of({0: "t", 2: 5, -4: "Cel"}), "label -4"),
        (pack_of({0: "t", 2: 5, b"x": 1}), "label b'x'"),
        (pack_of({0: "t", 2: 5}, {0: "u", 2: 1, -2: "hen/"}), "record 1.*label -2"),
        (pack_of({0: "t", 2: 5}, {0: "u", 2: 1, -3: NOW / 1000}), "record 1.*label -3"),
        (pack_of({0: "t", 2: 5}, {0: "u", 2: 1, "rt": 1}), "record 1.*'rt' belongs in the first"),
        (pack_of({0: "t", 2: 5}, {0: "u", 2: 1, "q": 1}), "record 1.*'q' belongs in the first"),
        (pack_of({0: "t", 2: 5, "q": 0}), '"q" is 0'),
        (pack_of({0: "t", 2: 5, "q": -1}), "'q' is not an unsigned"),
        (pack_of({0: "t", 2: 5, "q": True}), "'q' is not an unsigned"),
        (pack_of({0: "t", 2: 5, "q": "1"}), "'q' is not an unsigned"),
        (pack_of({0: "t", 2: 5, "rt": 1.5}), "'rt' is not an unsigned"),
        (pack_of({0: "t"}), "exactly one value"),
        (pack_of({}), "exactly one value"),
        (pack_of({0: "t", 2: 5, 3: "5"}), "exactly one value"),
        (pack_of({0: "t", 4: True, 8: b"5"}), "exactly one value"),
        (pack_of({0: "t", 2: True}), "not a number"),
        (pack_of({0: "t", 2: "5"}), "not a number"),
        (pack_of({0: "t", 3: 5}), "another type"),
        (pack_of({0: "t", 3: b"5"}), "another type"),
        (pack_of({0: "t", 4: 1}), "another type"),
        (pack_of({0: "t", 8: "5"}), "another type"),
        (pack_of({0: 5, 2: 5}), "not text"),
        (pack_of({0: "t", 1: 5, 2: 5}), "unit is not text"),
        (cbor.encode([{0: "t", 2: 5, -3: NOW / 1000}]), "base name"),
        (cbor.encode([{0: "t", 2: 5, -2: "hen", -3: NOW / 1000}]), "base name"),
        (cbor.encode([{0: "t", 2: 5, -2: b"hen/", -3: NOW / 1000}]), "base name"),
        (cbor.encode([{0: "t", 2: 5, -2: "hen//", -3: NOW / 1000}]), "no source id"),
        (cbor.encode([{0: "t", 2: 5, -2: "hen/"}]), "base time"),
        (cbor.encode([5]), "not a map"),
        (cbor.encode([[{0: "t"}]]), "not a map"),
        (cbor.encode({0: "t", 2: 5, -2: "hen/", -3: NOW / 1000}), "not an array"),
        (cbor.encode("x"), "not an array"),
        (b"", "CBOR ends"),
        (pack_of({0: "t", 2: 5}) + b"\0", "after the CBOR item"),
        (b"\x9f" + pack_of({0: "t", 2: 5})[1:] + b"\xff", "indefinite"),
    ],
)
def test_refused_packs(pack, why):
    with pytest.raises(FormatError, match=f"(?s){why}"):
        senml.resolve(pack)


def test_every_change_of_one_byte_is_refused_or_another_reading():
    records = [("t", "Cel", 21.37), ("s", None, "warm"), ("b", None, True)]
    pack = build(records, rt_ms=NOW + 5, quality=2, raw=b"raw")
    reading = senml.resolve(pack)
    read = 0
    for at, old in enumerate(pack):
        for byte in range(256):
            changed = pack[:at] + bytes([byte]) + pack[at + 1 :]
            try:
                other = senml.resolve(changed)
            except FormatError:
                continue
            read += 1
            assert (other == reading) is (byte == old)
            assert senml.source_of(changed) == other.source
    assert read > len(pack)


@many
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data):
    for read in (senml.resolve, senml.source_of, senml.base_of, senml.digest_of):
        try:
            read(data)
        except FormatError:
            continue


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xa0", b"\x81\x01", b"\x81\xa0", b"\x9a", b"\x81\xa1\x21\x01"])
def test_a_source_is_read_from_a_pack_only(data):
    with pytest.raises(FormatError):
        senml.source_of(data)


# Splitting


@many
@given(st.lists(st.tuples(names, units, values), max_size=150), st.integers(1, PACK_RECORDS))
def test_split_keeps_all_in_order_and_each_part_fits(records, room):
    parts = senml.split(records, room)
    assert [record for part in parts for record in part] == records
    for part in parts:
        assert 1 <= len(part) <= room
        raw = bytes(RAW_INLINE_BYTES) if len(part) < PACK_RECORDS else None
        senml.build("s" * SOURCE_ID_BYTES, part, bt_ms=NUMBER_MAX, rt_ms=NUMBER_MAX, quality=31, raw=raw)


def test_split_counts_bytes_too():
    records = [(f"{i}", None, "x" * TEXT_BYTES) for i in range(64)]
    parts = senml.split(records)
    assert len(parts) > 4
    for part in parts:
        senml.build(
            "s" * SOURCE_ID_BYTES, part, bt_ms=NUMBER_MAX, rt_ms=NUMBER_MAX, quality=31, raw=bytes(RAW_INLINE_BYTES)
        )
    assert senml.split([]) == []


def test_split_leaves_a_record_too_large_to_be_refused_by_build():
    parts = senml.split([("a", None, 1), ("d", None, bytes(PACK_BYTES)), ("b", None, 2)])
    assert [len(part) for part in parts] == [1, 1, 1]
    with pytest.raises(FormatError, match="over 16384"):
        senml.build("hen", parts[1], bt_ms=NOW)
