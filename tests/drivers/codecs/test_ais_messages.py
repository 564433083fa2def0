"""AIS: the simulator writes the bits by hand from ITU-R M.1371, so that pyais is not asked what pyais says."""

from functools import reduce
from itertools import chain, islice, pairwise
from operator import xor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import ais
from drivers.api import OUT_OF_RANGE
from drivers.codecs.ais import Ais
from drivers.codecs.base import Found, Refused
from drivers.codecs.values import AS_TOLD
from drivers.limits import AIS_PART_S, AIS_PART_SENTENCES, AIS_PARTS, AIS_SHIPS
from drivers.simulators.ais import (
    bits,
    position,
    position_b,
    sentences,
    static,
    static_b,
    tagged,
    text,
    traffic,
)

NOW = 1_795_500_000.0
MMSI = 211_234_560
KNOT = 1852 / 3600
STATIC = static(MMSI, "ELBE TRADER", imo=9_074_729, callsign="DABC", ship_type=70, destination="HAMBURG", draught=7.4)
HERE = ("lat", "lat", 53.54), ("lon", "lon", 9.96)


def all_of(reader: Ais, lines: list[bytes], now: float | None = NOW) -> list[Found | Refused]:
    return [one for line in lines for one in reader.read(line.rstrip(), now)]


def said(message: str, **more: Any) -> Found:
    (one,) = all_of(Ais(), sentences(message, **more))
    assert isinstance(one, Found), one
    return one


def head(kind: int, mmsi: int = MMSI) -> list[tuple[str, str | None, Any]]:
    return [("mmsi", None, mmsi), ("type", None, kind)]


def reasons(found: list[Found | Refused]) -> list[str]:
    return [one.reason if isinstance(one, Refused) else "found" for one in found]


def place(lon: float = 9.96, lat: float = 53.54, scale: int = 600_000) -> tuple[tuple[int, int], tuple[int, int]]:
    return (round(lon * scale), 28), (round(lat * scale), 27)


@pytest.mark.parametrize(
    ("message", "records"),
    [
        (
            position(MMSI, 53.54, 9.96, knots=10.0, course=77.3, heading=78, status=5),
            [
                *head(1),
                *HERE,
                ("speed", "m/s", 5.14444444444),
                ("course", "deg", 77.3),
                ("heading", "deg", 78),
                ("nav_status", None, 5),
            ],
        ),
        (position(2_444_000, 91, 181, knots=102.3, course=360, status=15), head(1, 2_444_000)),
        (
            position(MMSI, -33.5, -70.25, knots=0, course=0, heading=0),
            [
                *head(1),
                ("lat", "lat", -33.5),
                ("lon", "lon", -70.25),
                ("speed", "m/s", 0.0),
                ("course", "deg", 0.0),
                ("heading", "deg", 0),
                ("nav_status", None, 0),
            ],
        ),
        (
            position_b(MMSI, 53.54, 9.96, knots=102.2, course=359.9),
            [*head(18), *HERE, ("speed", "m/s", 52.5762222222), ("course", "deg", 359.9)],
        ),
        (
            bits(
                (4, 6),
                (0, 2),
                (MMSI, 30),
                (2026, 14),
                (11, 4),
                (24, 5),
                (6, 5),
                (0, 6),
                (0, 6),
                (1, 1),
                *place(),
                (0, 34),
            ),
            [*head(4), *HERE],
        ),
        (
            bits((9, 6), (0, 2), (MMSI, 30), (303, 12), (100, 10), (1, 1), *place(), (773, 12), (0, 40)),
            [*head(9), *HERE, ("alt", "m", 303), ("speed", "m/s", 51.4444444444), ("course", "deg", 77.3)],
        ),
        (
            bits((9, 6), (0, 2), (MMSI, 30), (4095, 12), (1023, 10), (1, 1), *place(), (3600, 12), (0, 40)),
            [*head(9), *HERE],
        ),
        (
            bits(
                (27, 6), (0, 2), (MMSI, 30), (1, 1), (0, 1), (1, 4), (5_976, 18), (32_124, 17), (10, 6), (77, 9), (0, 2)
            ),
            [*head(27), *HERE, ("speed", "m/s", 5.14444444444), ("course", "deg", 77), ("nav_status", None, 1)],
        ),
        (
            bits((27, 6), (0, 2), (MMSI, 30), (0, 2), (15, 4), (108_600, 18), (54_600, 17), (63, 6), (511, 9), (0, 2)),
            head(27),
        ),
        (
            bits((19, 6), (0, 2), (MMSI, 30), (0, 8), (100, 10), (1, 1), *place(), (773, 12), (78, 9), (60, 6), (0, 4))
            + text("MOEWE", 20)
            + bits((36, 8), (0, 41)),
            [
                *head(19),
                *HERE,
                ("speed", "m/s", 5.14444444444),
                ("course", "deg", 77.3),
                ("heading", "deg", 78),
                ("name", None, "MOEWE"),
                ("ship_type", None, 36),
            ],
        ),
        (
            bits((21, 6), (0, 2), (MMSI, 30), (14, 5)) + text("ELBE 1", 20) + bits((1, 1), *place(), (0, 53)),
            [*head(21), *HERE, ("name", None, "ELBE 1"), ("aid_type", None, 14)],
        ),
        (
            bits((21, 6), (0, 2), (MMSI, 30), (0, 5))
            + text("TWENTY CHARACTERS LO", 20)
            + bits((1, 1), *place(), (0, 53))
            + text("NG@", 3),
            [*head(21), *HERE, ("name", None, "TWENTY CHARACTERS LONG")],
        ),
        (
            STATIC,
            [
                *head(5),
                ("imo", None, 9_074_729),
                ("callsign", None, "DABC"),
                ("name", None, "ELBE TRADER"),
                ("ship_type", None, 70),
                ("draught", "m", 7.4),
                ("destination", None, "HAMBURG"),
            ],
        ),
        (static(MMSI, "", imo=0, callsign="", ship_type=0, destination="", draught=0), head(5)),
        (static_b(MMSI, "MOEWE", callsign="DF1234", ship_type=36)[0], [*head(24), ("name", None, "MOEWE")]),
        (
            static_b(MMSI, "MOEWE", callsign="DF1234", ship_type=36)[1],
            [*head(24), ("callsign", None, "DF1234"), ("ship_type", None, 36)],
        ),
        (bits((14, 6), (0, 2), (MMSI, 30), (0, 2)) + text("MAYDAY", 6), head(14)),
    ],
)
def test_what_a_message_says(message: str, records: list[Any]) -> None:
    one = said(message)
    assert sorted(name for name, _, _ in one.records) == sorted(name for name, _, _ in records)
    assert {(name, unit) for name, unit, _ in one.records} == {(name, unit) for name, unit, _ in records}
    values = {name: value for name, _, value in one.records}
    for name, _, value in records:
        assert values[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
        assert type(values[name]) is not bool
    assert one.quality == 0


@pytest.mark.parametrize("kind", range(1, 29))
def test_every_type_is_told(kind: int) -> None:
    assert said(bits((kind, 6), (0, 2), (MMSI, 30), (0, 400))).records[:2] == head(kind)


@pytest.mark.parametrize("kind", [0, 29, 37, 63])
def test_a_type_that_does_not_exist(kind: int) -> None:
    assert reasons(all_of(Ais(), sentences(bits((kind, 6), (0, 2), (MMSI, 30), (0, 130))))) == ["unknown_type"]


def test_own_ship() -> None:
    one = said(position(MMSI, 53.54, 9.96, knots=1, course=1), address="AIVDO")
    assert ("own", None, True) in one.records
    assert ("own", None, True) not in said(position(MMSI, 53.54, 9.96, knots=1, course=1), address="BSVDM").records


def test_what_no_position_can_be_is_left_out_and_marked() -> None:
    one = said(position(MMSI, 95, 200, knots=10.0, course=365, heading=400))
    assert [name for name, _, _ in one.records] == ["mmsi", "type", "speed", "nav_status"]
    assert one.quality == OUT_OF_RANGE


@pytest.mark.parametrize("length", range(1, 169))
def test_a_message_that_is_cut_off_gives_only_whole_fields(length: int) -> None:
    """The library makes a number of what bits there are: half of a longitude is another place."""
    whole = position(MMSI, 53.54, 9.96, knots=10.0, course=77.3, heading=78, status=5)
    (one,) = all_of(Ais(), sentences(whole[:length]))
    if length < 6:
        assert isinstance(one, Refused)
        assert one.reason == "too_short"
        return
    assert isinstance(one, Found)
    ends = {"mmsi": 38, "type": 6, "nav_status": 42, "speed": 60, "lon": 89, "lat": 116, "course": 128, "heading": 137}
    assert {name for name, _, _ in one.records} == {name for name, end in ends.items() if end <= length}
    assert set(one.records) <= set(said(whole).records)
    assert one.quality == (OUT_OF_RANGE if length < 38 else 0)


def test_a_text_that_is_cut_off_and_one_with_an_end_mark() -> None:
    cut = said(STATIC[: 112 + 6 * 4 + 3])
    assert cut.records[-1] == ("name", None, "ELBE")
    marked = bits((24, 6), (0, 2), (MMSI, 30), (0, 2)) + text("SEA@GARBAGE", 20)
    assert said(marked).records[-1] == ("name", None, "SEA")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("AIVDM,1,1,,A,,0", "empty"),
        ("AIVDM,1,1,,A", "no_match"),
        ("AIVDM,x,1,,A,15,0", "no_match"),
        ("AIVDM,1,2,,A,15,0", "no_match"),
        ("AIVDM,10,1,,A,15,0", "no_match"),
        ("AIVDM,1,1,,A,15,9", "no_match"),
        ("AIVDM,1,1,,A," + "1" * 201 + ",0", "no_match"),
        ("AIVDM,1,1,,\xff,15M67FC000G?ufbE`FepT@3n00Sa,0", "no_match"),
        ("AIVDM,2,2,1,A,15,0", "orphan_fragment"),
    ],
)
def test_why_a_sentence_says_nothing(body: str, expected: str) -> None:
    line = b"!%s*%02X" % (body.encode("latin-1"), reduce(xor, body.encode("latin-1"), 0))
    assert reasons(all_of(Ais(), [line])) == [expected]


def test_other_sentences_are_nothing_and_a_checksum_is_needed() -> None:
    assert all_of(Ais(), [b"$YXMTW,8.2,C*28", _part("AIABM,1,1,0,,,,,"), b"# comment"]) == []
    assert reasons(all_of(Ais(), [b"!AIVDM,1,1,,A,,0", b"!AIVDM,1,1,,A,,0*27", b"x"])) == [
        "checksum",
        "checksum",
        "noise",
    ]
    assert reasons(all_of(Ais(), [b'# "18/05/2012" ' + sentences(STATIC)[0]])) == []


# Messages in parts


def test_parts_are_joined_by_sequence_and_channel() -> None:
    one, two = sentences(STATIC, sequence=1), sentences(STATIC, sequence=1, channel="B")
    three = sentences(STATIC, sequence=2, address="AIVDO")
    reader = Ais()
    found = all_of(reader, [one[0], two[0], three[0], two[1], one[1], three[1]])
    assert reasons(found) == ["found"] * 3
    assert [one.raw for one in found if isinstance(one, Found)] == [
        b"\n".join(part.rstrip() for part in parts) for parts in (two, one, three)
    ]
    assert reader.unfinished() == []


def test_parts_that_do_not_fit() -> None:
    first, second = sentences(STATIC, sequence=3)
    again = sentences(static(MMSI, "OTHER", imo=1, callsign="X", ship_type=1, destination="Y", draught=1), sequence=3)
    reader = Ais()
    assert reasons(all_of(reader, [second])) == ["orphan_fragment"]
    assert reasons(all_of(reader, [first, again[0], again[1]])) == ["unfinished_multipart", "found"]
    assert reasons(all_of(reader, [second])) == ["orphan_fragment"], "each part is used once"
    three = [_part(f"AIVDM,3,{n},3,A,{'1' * 10},0") for n in (1, 2, 3)]
    assert reasons(all_of(reader, [three[0], three[2], three[1]])) == [
        "unfinished_multipart",
        "orphan_fragment",
        "orphan_fragment",
    ]
    assert reasons(all_of(reader, [three[0], second])) == ["unfinished_multipart", "orphan_fragment"]
    (left,) = [all_of(reader, [first]), reader.unfinished()][1]
    assert (left.reason, left.example, left.detail) == ("unfinished_multipart", first.rstrip(), "1 of 2")


def _part(body: str) -> bytes:
    return b"!%s*%02X" % (body.encode(), reduce(xor, body.encode(), 0))


def test_parts_age_by_the_clock_and_by_what_is_heard() -> None:
    first, second = sentences(STATIC, sequence=4)
    other = sentences(position(MMSI, 1, 1, knots=1, course=1))[0]
    for now, found in (
        (NOW + AIS_PART_S, ["found"]),
        (NOW + AIS_PART_S + 0.1, ["unfinished_multipart", "orphan_fragment"]),
    ):
        reader = Ais()
        assert all_of(reader, [first]) == []
        assert reasons(all_of(reader, [second], now)) == found
    for heard, found in (
        (AIS_PART_SENTENCES - 1, ["found"]),
        (AIS_PART_SENTENCES, ["unfinished_multipart", "orphan_fragment"]),
    ):
        reader = Ais()
        all_of(reader, [first, *[other] * heard], None)
        assert reasons(all_of(reader, [second], None)) == found


def test_so_many_messages_wait_and_no_more() -> None:
    firsts = [
        _part(f"{talker}VDM,2,1,{n},{channel},15,0") for talker in ("AI", "BS") for channel in "AB" for n in range(10)
    ]
    reader = Ais()
    found = all_of(reader, firsts[: AIS_PARTS + 1])
    assert reasons(found) == ["unfinished_multipart"]
    assert isinstance(found[0], Refused)
    assert found[0].example == firsts[0], "the oldest"
    assert len(reader.unfinished()) == AIS_PARTS


def test_the_time_of_the_station() -> None:
    first, second = sentences(STATIC, sequence=5)
    told = int(NOW) - 100
    tags = {"s": "r1", "c": told}
    for lines in ([tagged(first, **tags), second], [first, tagged(second, **tags)]):
        (one,) = all_of(Ais(), lines)
        assert isinstance(one, Found)
        assert one.time == told
        assert one.raw == b"\n".join(line.rstrip() for line in lines)
    single = tagged(sentences(position(MMSI, 1, 1, knots=1, course=1))[0], **tags)
    times = [
        (one.time,)
        for now in (NOW, None, NOW + 8 * 86_400, AS_TOLD)
        for one in all_of(Ais(), [single], now)
        if isinstance(one, Found)
    ]
    assert times == [(told,), (None,), (None,), (told,)]


# Thinning


def test_positions_of_a_ship_are_thinned() -> None:
    reader = Ais(min_interval_s=10)
    mine, other = (sentences(position(mmsi, 1, 1, knots=1, course=1)) for mmsi in (MMSI, MMSI + 1))
    counts = [len(all_of(reader, mine + other, NOW + seconds)) for seconds in (0, 9.9, 10, 19, 20.5)]
    assert counts == [2, 0, 2, 0, 2]
    assert reasons(all_of(reader, sentences(STATIC) * 2, NOW + 20.6)) == ["found"] * 2, "who they are is not"
    assert len(all_of(reader, mine, NOW - 1000)) == 1, "a clock that went back holds nothing back"
    assert len(all_of(reader, mine * 2, None)) == len(all_of(reader, mine * 2, AS_TOLD)) == 2


def test_so_many_ships_are_remembered() -> None:
    def heard(mmsi: int, now: float = NOW) -> bool:
        return bool(all_of(reader, sentences(position(mmsi, 1, 1, knots=1, course=1)), now))

    reader = Ais(min_interval_s=60)
    assert all(heard(mmsi) for mmsi in range(AIS_SHIPS))
    assert heard(0, NOW + 60)
    assert heard(AIS_SHIPS, NOW + 59)
    assert not heard(0, NOW + 61)
    assert not heard(2, NOW + 59)
    assert heard(1, NOW + 59), "taken longest ago, and forgotten"


# The stream


def stream(data: bytes, cuts: list[int], now: float | None = NOW) -> list[Found | Refused]:
    codec = ais.codec(ais.AisOptions(port="/dev/null"))
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [*chain.from_iterable(codec.feed(data[a:b], now) for a, b in pairwise(places)), *codec.end(now)]


HEARD = list(islice(traffic(), 40))


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(HEARD) | st.binary(max_size=20), max_size=20), st.lists(st.integers(0, 2_000), max_size=8)
)
def test_any_chunking_of_whatever_comes(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(lines)
    assert stream(data, cuts) == stream(data, [])


@settings(max_examples=300)
@given(st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVW`abcdefghijklmnopqrstuvw", max_size=120), st.integers(0, 7))
def test_any_payload(payload: str, fill: int) -> None:
    for one in all_of(Ais(), [_part(f"AIVDM,1,1,,A,{payload},{fill}")]):
        if isinstance(one, Refused):
            assert one.reason in ("empty", "too_short", "unknown_type", "undecodable", "no_match")


def test_the_traffic_before_a_quay() -> None:
    found = stream(b"".join(islice(traffic(), 18 * 22)), [])
    assert set(reasons(found)) == {"found"}
    values = [{name: value for name, _, value in one.records} for one in found if isinstance(one, Found)]
    assert {one["type"] for one in values} == {1, 5, 18, 24}
    assert {one.get("name") for one in values} == {None, "ELBE TRADER", "MOEWE"}
    assert all(("lat" in one) == (one["mmsi"] != 2_444_000 and one["type"] in (1, 18)) for one in values)


def test_what_waits_for_its_end_when_the_file_is_over() -> None:
    first, second = sentences(STATIC, sequence=6)
    assert reasons(stream(first, [])) == ["unfinished_multipart"]
    assert reasons(stream(first + second.rstrip(), [])) == ["found"]
