"""Transponders of animals: the forms of several makers by hand, and logs of real readers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.streaming import play, reasons, same_for_any_chunking, values
from hypothesis import given
from hypothesis import strategies as st

from drivers.animal_tag import AnimalTagOptions, codec
from drivers.codecs.base import Found, Refused, StreamCodec
from drivers.codecs.iso11784 import COUNTRIES, ID_MAX, Tag, of_bits
from drivers.limits import LINE_BYTES, TAGS_REMEMBERED
from drivers.simulators import sticks

NOW = 1_767_225_600.0


def make(*, drop_first: bool = False, **more: Any) -> StreamCodec:
    return codec(msgspec.convert({"port": "/dev/null", **more}, AnimalTagOptions), drop_first=drop_first)


ALLFLEX = {"tag": "982000001088420", "manufacturer": 982, "id": 1088420}
READS: list[tuple[bytes, dict[str, Any]]] = [
    (b"LA 982 000001088420", {**ALLFLEX, "animal": True}),
    (b"LA982000001088420", {**ALLFLEX, "animal": True}),
    (b"#A,982,000001088420", {**ALLFLEX, "animal": True}),
    (b"LA 00000 0 982 000001088420", {**ALLFLEX, "animal": True, "retagging": 0}),
    (b"LA 10240 0 982 000001088420", {**ALLFLEX, "animal": True, "retagging": 5}),
    (b"982 000001088420", ALLFLEX),
    (b"982000001088420 ", ALLFLEX),
    (b"A  900_226000584318", {"tag": "900226000584318", "manufacturer": 900, "id": 226000584318, "animal": True}),
    (b"276 099900123456", {"tag": "276099900123456", "country": 276, "id": 99900123456}),
    (b"LR 0006 0000000018514243", {"industrial": "0006_0000000018514243"}),
    (b"R 0000_0000000181177640", {"industrial": "0000_0000000181177640"}),
    (b"3D9.1BF1A2B3C4", {"tag": "985120018088900", "manufacturer": 985, "id": 120018088900}),
    (b"\x02010784F22151\x03", {"em4100": "010784F221"}),
    (b"\x02010784f22151\r\n\x03", {"em4100": "010784F221"}),
    (  # its first digit is no letter of Allflex
        b"A400000000210001",
        {"tag": "528000000000037", "country": 528, "id": 37, "animal": True, "retagging": 0},
    ),
    (
        b"D2ECE7D001AF0001",
        {"tag": "982000199702347", "manufacturer": 982, "id": 199702347, "animal": True, "retagging": 0},
    ),
    (
        b"D,2021-01-19,08:10:17.77,00:00:00.20,HA,900_226000923049,3,2",
        {
            "tag": "900226000923049",
            "manufacturer": 900,
            "id": 226000923049,
            "animal": True,
            "kind": "HDX",
            "stamp": "2021-01-19 08:10:17.77",
        },
    ),
    (
        b"S\t2019-05-17 04:50:52.800\tG\t00:00:00.200\tW\t0000_000000005972\tAAA\t4\t0.7",
        {"industrial": "0000_000000005972", "stamp": "2019-05-17 04:50:52.800"},
    ),
    (
        b"S  2021-07-30 20:53:49.400 G      00:00:09.300   A        900_226000980040 CY2      84    0.7  ",
        {
            "tag": "900226000980040",
            "manufacturer": 900,
            "id": 226000980040,
            "animal": True,
            "stamp": "2021-07-30 20:53:49.400",
        },
    ),
]


@pytest.mark.parametrize(("line", "expected"), READS)
def test_a_read(line: bytes, expected: dict[str, Any]) -> None:
    (found,) = play(make(), line + b"\r\n")
    assert values([found]) == [expected]
    assert isinstance(found, Found)
    assert found.time is None  # a stamp of local time is not trusted
    assert found.raw == line.strip(b"\x02\x03\r\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b">UP", "no_match"),
        (b"UP", "no_match"),
        (b"Upload #9", "no_match"),
        (b"DTY\tARR\tTRF\tDUR\tTTY\tTAG\tSCD\tNCD\tEFA", "no_match"),
        (b'E,2021-01-19,08:06:31.07,"upload 8 complete"', "no_match"),
        (b"Allflex Panel Reader V4.6", "no_match"),
        (b"LA 982 00000108842", "no_match"),
        (b"LR 982 000001088420", "no_match"),
        (b"LA 0006 0000000018514243", "no_match"),
        ("LA 982 00000108842٣".encode(), "no_match"),
        (b"LA 999 000001088420", "test_code"),
        (b"3E7.0000001D07", "test_code"),
        (b"LA 000 000001088420", "unknown_country"),
        (b"LA 001 000001088420", "unknown_country"),
        (b"LA 899 000001088420", "unknown_country"),
        (b"LA 982 274877906944", "bad_id"),
        (b"982999999999999", "bad_id"),
        (b"3FF.0000001D07", "bad_id"),
        (b"3D9.FFFFFFFFFF", "bad_id"),
        (b"\x02010784F22152\x03", "checksum"),
        (b"0000000000000000", "unknown_country"),
    ],
)
def test_what_is_no_read(line: bytes, reason: str) -> None:
    (found,) = play(make(), line + b"\r\n")
    assert isinstance(found, Refused)
    assert found.reason == reason


def test_the_largest_number_and_the_codes_at_the_ends() -> None:
    for code in (4, 894, 900, 998):
        assert values(play(make(), b"LA %03d %012d\n" % (code, ID_MAX)))[0]["tag"] == f"{code:03d}274877906943"
    assert values(play(make(allow_test=True), b"LA 999 000001088420\n"))[0]["manufacturer"] == 999


def test_the_table_of_countries() -> None:
    assert len(COUNTRIES) == 249 + 3
    assert {36, 56, 208, 250, 276, 372, 528, 554, 710, 724, 756, 826, 840} <= COUNTRIES
    assert {891, 736, 530} <= COUNTRIES
    assert not COUNTRIES & {0, 1, 280, 890, 899, 900, 999}


def test_all_64_bits() -> None:
    assert of_bits(0x8000F5800BE7374B) == Tag(982, 199702347, True, 0)
    assert of_bits(0) == Tag(0, 0, False, 0)
    assert of_bits(2**64 - 1) == Tag(1023, ID_MAX, True, 7)
    assert of_bits(0b101 << 60).retagging == 0b101 & 0b111
    assert of_bits(1 << 63 | 0b110 << 60).retagging == 0b110


@given(st.sampled_from(sorted(sticks.FORMS)), st.sampled_from([276, 528, 982]), st.integers(0, ID_MAX))
def test_each_form_says_the_same_animal(form: str, code: int, number: int) -> None:
    (found,) = values(play(make(), sticks.FORMS[form](code, number)))
    if form == "rdm630":
        assert found == {"em4100": f"{number:010X}"}
    else:
        assert found["tag"] == f"{code:03d}{number:012d}"


def test_a_tag_that_lies_before_the_reader_is_one_reading_until_it_is_told_again() -> None:
    stream, line = make(repeat_s=30), b"LA 982 000001088420\r\n"
    said = [stream.feed(line, NOW + second) for second in range(0, 61, 10)]
    assert [reasons(found) for found in said] == [
        {},
        {"repeat": 1},
        {"repeat": 1},
        {},
        {"repeat": 1},
        {"repeat": 1},
        {},
    ]
    assert len(values(stream.feed(b"LA 982 000001088421\r\n", NOW + 60))) == 1
    assert len(values(stream.feed(line, NOW - 3600))) == 1  # the clock was set back
    (again,) = stream.feed(b"982000001088420\r\n", NOW - 3590)
    assert isinstance(again, Refused)
    assert (again.reason, again.detail) == ("repeat", "982000001088420")


def test_without_a_clock_or_a_window_nothing_is_a_repeat() -> None:
    line = b"LA 982 000001088420\r\n" * 3
    assert len(values(play(make(), line))) == 3
    assert len(values(play(make(repeat_s=0), line, now=NOW))) == 3


def test_what_is_refused_is_not_remembered() -> None:
    stream = make()
    assert reasons(stream.feed(b"LA 999 000001088420\n" * 2, NOW)) == {"test_code": 2}


def test_rows_of_a_log_are_never_repeats() -> None:
    row = b"S\t2019-05-17 04:50:52.800\tG\t00:00:00.200\tA\t900_228000004988\tAAA\t4\t0.7\n"
    assert len(values(play(make(), row * 3, now=NOW))) == 3


def test_the_tags_that_are_remembered_are_bounded() -> None:
    def line(number: int) -> bytes:
        return b"LA 982 %012d\n" % number

    stream = make(repeat_s=3600)
    for number in range(TAGS_REMEMBERED):
        stream.feed(line(number), NOW)
    assert reasons(stream.feed(line(0), NOW)) == {"repeat": 1}
    stream.feed(line(TAGS_REMEMBERED), NOW)
    assert reasons(stream.feed(line(1), NOW)) == {"repeat": 1}
    assert reasons(stream.feed(line(0), NOW)) == {}
    assert reasons(stream.feed(line(2), NOW + 3600)) == {}  # read anew: now the one read last
    stream.feed(line(TAGS_REMEMBERED + 1), NOW + 3600)
    assert reasons(stream.feed(line(2), NOW + 3600)) == {"repeat": 1}


def test_frames_in_marks_and_in_lines_on_one_wire() -> None:
    data = b"84F22151\x03\x02010784F22151\x03\x0201092ADE55A9\x03\r\nLA 982 000001088420\r\n"
    found = same_for_any_chunking(lambda: make(drop_first=True), data, (1, 4, 11))
    assert reasons(found) == {"partial_line": 1}
    assert [next(iter(one.values())) for one in values(found)] == ["010784F221", "01092ADE55", "982000001088420"]


def test_a_line_without_an_end_is_bounded() -> None:
    stream = make()
    found = [one for _ in range(50) for one in stream.feed(b"9" * 1000, None)]
    assert reasons(found) == {"too_long": 1}
    assert LINE_BYTES < 50_000


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([line for line, _ in READS]), max_size=8),
    st.integers(1, 30),
)
def test_whatever_comes_is_found_or_refused(lines: list[bytes], chunk: int) -> None:
    found = same_for_any_chunking(make, b"\r\n".join(lines), (chunk,))
    assert all(one.records for one in found if isinstance(one, Found))


def test_recorded_logs_of_readers(captures: Path) -> None:
    known = json.loads((captures / "expected.json").read_text())
    for path in sorted((captures / "animal_rfid").glob("*.txt")):
        expected = known[f"animal_rfid/{path.name}"]
        found = values(play(make(), path.read_bytes(), chunk=4096, now=NOW))
        tags = Counter(str(one.get("tag", one.get("industrial"))) for one in found)
        assert len(tags) == expected["unique_tags"], path.name
        for tag, count in expected["top_tags"].items():
            printed = tag.replace("_", "") if tag.index("_") == 3 else tag
            assert tags[printed] == count, (path.name, tag)


def test_recorded_em4100_chips(captures: Path) -> None:
    known = json.loads((captures / "expected.json").read_text())
    for path in sorted((captures / "rfid_uart").glob("*.bin")):
        expected = known[f"rfid_uart/{path.name}"]
        found = values(play(make(), path.read_bytes(), chunk=5))
        assert [one["em4100"] for one in found] == expected.get("tags", [expected.get("tag")]), path.name
