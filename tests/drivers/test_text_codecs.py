from typing import Any

import pytest
from fakes.decoding import decode
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import OUT_OF_RANGE, UNSTABLE, Reject, Sample
from drivers.codecs.text import Csv, Plain, Regex, nmea_checksum_fits
from drivers.codecs.values import Codec, TimeMap, ValueMap, number

NOW = 1_767_225_600.0
CSV = Csv(
    ["time", "temp", "", "lux"],
    {"temp": ValueMap(unit="Cel"), "lux": ValueMap(unit="lx", sentinels=(65535.0,), optional=True)},
    time=TimeMap(format="unix"),
)
SCALE = Regex(r"(?:ST|(?P<unstable>US)),GS,(?P<mass>[-+] *[0-9.]+)kg", {"mass": ValueMap(unit="kg")})


def read(codec: Codec, payload: bytes) -> Sample | Reject:
    return decode(codec, "s", payload, NOW)


def good(codec: Codec, payload: bytes) -> Any:
    got = read(codec, payload)
    assert isinstance(got, Sample), got
    assert got.payload == payload
    return got.records, got.time, got.quality


def reason(codec: Codec, payload: bytes) -> str:
    got = read(codec, payload)
    assert isinstance(got, Reject), got
    return got.reason


def test_csv_columns() -> None:
    assert good(CSV, b"1767225590, 21.5 ,x,120") == ([("temp", "Cel", 21.5), ("lux", "lx", 120)], NOW - 10, 0)


def test_csv_sentinel_is_no_value() -> None:
    assert good(CSV, b"1767225590,21.5,x,65535") == ([("temp", "Cel", 21.5)], NOW - 10, OUT_OF_RANGE)
    assert good(CSV, b"1767225590,nan,x,1") == ([("lux", "lx", 1)], NOW - 10, OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1767225590,21.5,x", "wrong_column_count"),
        (b"1767225590,21.5,x,1,2", "wrong_column_count"),
        (b"1767225590,,x,1", "missing_value"),
        (b"1767225590,21.5C,x,1", "wrong_type"),
        (b"1767225590,2_1,x,1", "wrong_type"),
        ("1767225590,２１,x,1".encode(), "wrong_type"),
        (b"1767225590,1\x00,x,1", "wrong_type"),
    ],
)
def test_csv_faults(line: bytes, expected: str) -> None:
    assert reason(CSV, line) == expected


def test_csv_empty_optional_field() -> None:
    assert good(CSV, b"0,21.5,,") == ([("temp", "Cel", 21.5)], None, 0)


def test_regex_groups_and_the_unstable_flag() -> None:
    assert good(SCALE, b"ST,GS,+   4.876kg") == ([("mass", "kg", 4.876)], None, 0)
    assert good(SCALE, b"US,GS,-   4.876kg") == ([("mass", "kg", -4.876)], None, UNSTABLE)
    assert reason(SCALE, b"ST,GS,+   4.876kg ?") == "no_match"
    assert reason(SCALE, b"OL") == "no_match"


def test_regex_alternatives_leave_groups_out() -> None:
    codec = Regex(
        r"\$..MTW,(?P<water>[0-9.]+),C\*..|\$..DBT,[^,]*,f,(?P<depth>[0-9.]*),M,.*",
        {"water": ValueMap(unit="Cel", optional=True), "depth": ValueMap(unit="m", optional=True)},
    )
    assert good(codec, b"$YXMTW,8.2,C*13") == ([("water", "Cel", 8.2)], None, 0)
    assert good(codec, b"$SDDBT,24.6,f,7.5,M,4.1,F*0F") == ([("depth", "m", 7.5)], None, 0)
    assert reason(codec, b"$SDDBT,,f,,M,,F*28") == "missing_value"


def test_plain_text() -> None:
    assert good(Plain("t", ValueMap(unit="Cel")), b" 21.5 ") == ([("t", "Cel", 21.5)], None, 0)
    assert good(Plain("door", ValueMap(type="bool")), b"ON") == ([("door", None, True)], None, 0)
    assert good(Plain("state", ValueMap(type="text")), b"idle \xf8") == ([("state", None, "idle \xf8")], None, 0)
    assert reason(Plain("t", ValueMap()), b"") == "empty"
    assert reason(Plain("t", ValueMap()), b"  ") == "missing_value"
    assert reason(Plain("door", ValueMap(type="bool")), b"ajar") == "wrong_type"
    assert reason(Plain("t", ValueMap(type="text"), encoding="utf-8"), b"\xf8") == "invalid_text"
    assert reason(Plain("t", ValueMap(type="text")), b"x" * 1025) == "text_too_long"


def test_sentinels_as_text() -> None:
    codec = Plain("level", ValueMap(sentinels=("ERR", -9999.0)))
    assert good(codec, b"ERR") == ([], None, OUT_OF_RANGE)
    assert good(codec, b"-9999.00") == ([], None, OUT_OF_RANGE)
    assert good(codec, b"-9998") == ([("level", None, -9998)], None, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("+007.12", 7.12),
        ("-  1.640", -1.64),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("", None),
        ("-", "-"),
        (".", "."),
        ("1 000", "1 000"),
        ("1.2.3", "1.2.3"),
        ("0x10", "0x10"),
        ("9" * 65, "9" * 65),
    ],
)
def test_numbers(text: str, expected: Any) -> None:
    assert number(text) == expected


def test_a_decimal_comma() -> None:
    assert number("12,5", ",") == 12.5
    assert number("1.234", ",") == "1.234"  # a thousand and more, there
    assert number("1.234,5", ",") == "1.234,5"
    assert number("12,5") == "12,5"


def test_nmea_checksum() -> None:
    whole = b"$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76"
    assert nmea_checksum_fits(whole)
    assert nmea_checksum_fits(b"\\s:gps*11\\" + whole)  # what stands before the sentence is not summed
    assert not nmea_checksum_fits(whole.replace(b"5321", b"5322"))
    for broken in (whole[:-3], whole[:-1], whole + b"x", b"GPGGA*00", b"", b"$", b"*00", b"$*"):
        assert not nmea_checksum_fits(broken)


CODECS = [CSV, SCALE, Plain("t", ValueMap(scale=2.0)), Plain("b", ValueMap(type="bool"), encoding="ascii")]


@settings(deadline=None)
@given(
    st.sampled_from(CODECS),
    st.binary(max_size=200) | st.text(alphabet="0123456789+-.,eE naif", max_size=40).map(str.encode),
)
def test_whatever_comes_is_a_sample_or_a_reject(codec: Codec, payload: bytes) -> None:
    assert isinstance(read(codec, payload), Sample | Reject)
    nmea_checksum_fits(payload)
