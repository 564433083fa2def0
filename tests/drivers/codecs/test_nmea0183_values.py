"""What each sentence of NMEA 0183 says, and why one says nothing. They are written by hand from the standard."""

import inspect
import re
from functools import reduce
from itertools import pairwise
from math import isfinite
from operator import xor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import nmea0183
from drivers.api import OUT_OF_RANGE
from drivers.codecs import nmea_values
from drivers.codecs.base import Found, Refused
from drivers.codecs.nmea0183 import Nmea0183
from drivers.codecs.nmea_values import READERS, fields_of
from drivers.codecs.values import AS_TOLD
from drivers.kinds import Kind
from drivers.limits import LINE_BYTES, NMEA_DATE_S, TEXT_BYTES, XDR_TRANSDUCERS
from drivers.simulators.ais import tagged

NOW = 1_795_500_030.0  # 2026-11-24 06:00:30 UTC
CLOCK, DATE = "060020.00", "241126"
AT = "5332.4300,N,00957.9600,E"
LAT, LON = ("lat", "lat", 53.5405), ("lon", "lon", 9.966)
KNOT = 1852 / 3600


def line(body: str) -> bytes:
    return b"$%s*%02X" % (body.encode("latin-1"), reduce(xor, body.encode("latin-1"), 0))


def read(reader: Nmea0183, body: str, now: float | None = NOW) -> Found | Refused:
    (one,) = reader.read(line(body), now)
    return one


def found(body: str, **options: Any) -> Found:
    one = read(Nmea0183(**options), body)
    assert isinstance(one, Found), one
    return one


def reason(body: str) -> str:
    one = read(Nmea0183(), body)
    assert isinstance(one, Refused), one
    assert one.example == line(body)[: len(one.example)]
    return one.reason


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (
            f"GPRMC,{CLOCK},A,{AT},10.0,77.3,{DATE},15.8,W",
            [LAT, LON, ("speed", "m/s", 5.14444444444), ("course", "deg", 77.3), ("variation", "deg", -15.8)],
        ),
        (f"GNRMC,{CLOCK},A,{AT},0.25,,{DATE},,,D,V", [LAT, LON, ("speed", "m/s", 0.128611111111)]),
        (
            f"24RMC,{CLOCK},A,1929.045,S,02410.506,W,,,{DATE},,",
            [("lat", "lat", -19.4840833333), ("lon", "lon", -24.1751)],
        ),
        (
            f"GNGGA,{CLOCK},{AT},2,08,0.9,-4.5,M,43.1,M,1.2,0133",
            [LAT, LON, ("alt", "m", -4.5), ("fix_quality", None, 2), ("satellites", None, 8), ("hdop", None, 0.9)],
        ),
        (
            f"GNGNS,{CLOCK},{AT},NAD,11,1.3,168.9,39.5,,,V",
            [LAT, LON, ("alt", "m", 168.9), ("satellites", None, 11), ("hdop", None, 1.3)],
        ),
        (f"GPGLL,{AT},{CLOCK},A", [LAT, LON]),
        (f"ECGLL,{AT},{CLOCK},A,D", [LAT, LON]),
        (f"GPGLL,0000.0,S,00000.0,W,{CLOCK},A,A", [("lat", "lat", 0.0), ("lon", "lon", 0.0)]),
        (
            "GPVTG,251.3,T,248.1,M,10.0,N,18.5,K,A",
            [("course", "deg", 251.3), ("course_magnetic", "deg", 248.1), ("speed", "m/s", 5.14444444444)],
        ),
        ("GPVTG,,T,,M,,N,36,K", [("speed", "m/s", 10.0)]),
        (
            "GPVTG,054.7,034.4,10.0,18.5",
            [("course", "deg", 54.7), ("course_magnetic", "deg", 34.4), ("speed", "m/s", 5.14444444444)],
        ),
        ("GPZDA,060020.50,24,11,2026,-01,00", [("utc", "s", 1_795_500_020.5)]),
        ("GPZDA,055960,24,11,2026,,", [("utc", "s", 1_795_500_000.0)]),  # a leap second
        ("WIMWV,214.8,R,0.1,K,A", [("wind_angle", "deg", 214.8), ("wind_speed", "m/s", 0.0277777777778)]),
        ("02MWV,327.6,R,10,N", [("wind_angle", "deg", 327.6), ("wind_speed", "m/s", 5.14444444444)]),
        ("WIMWV,214.8,T,3,M,A", [("wind_angle_true", "deg", 214.8), ("wind_speed_true", "m/s", 3)]),
        ("WIMWV,,R,10,S,A", [("wind_speed", "m/s", 4.4704)]),
        (
            "WIMWD,331.7,T,330.3,M,11.5,N,5.9,M",
            [
                ("wind_direction", "deg", 331.7),
                ("wind_direction_magnetic", "deg", 330.3),
                ("wind_speed_true", "m/s", 5.9),
            ],
        ),
        ("WIMWD,,,,,10,N,,", [("wind_speed_true", "m/s", 5.14444444444)]),
        ("SDDBT,7.9,f,2.4,M,1.3,F", [("depth", "m", 2.4)]),
        ("SDDBT,10,f,,M,,F", [("depth", "m", 3.048)]),
        ("SDDBT,,f,,M,10,F", [("depth", "m", 18.288)]),
        ("SDDBS,01.9,f,0.58,M,00.3,F", [("depth_surface", "m", 0.58)]),
        ("SDDBS,,f,,M,10,F", [("depth_surface", "m", 18.288)]),
        ("SDDBK,01.9,f,0.58,M,00.3,F", [("depth_keel", "m", 0.58)]),
        ("SDDPT,5.3,-0.4,100", [("depth", "m", 5.3), ("depth_offset", "m", -0.4)]),
        ("SDDPT,5.3", [("depth", "m", 5.3)]),
        ("YXMTW,-0.8,C", [("water_temperature", "Cel", -0.8)]),
        ("HEHDT,360,T", [("heading", "deg", 360)]),
        ("HETHS,77.52,A", [("heading", "deg", 77.52)]),
        ("HCHDM,186.5,M", [("heading_magnetic", "deg", 186.5)]),
        (
            "HCHDG,101.1,1.5,E,7.1,W",
            [("heading_magnetic", "deg", 101.1), ("deviation", "deg", 1.5), ("variation", "deg", -7.1)],
        ),
        ("HCHDG,101.1,,,0.0,W", [("heading_magnetic", "deg", 101.1), ("variation", "deg", 0.0)]),
        (
            "VWVHW,234.6,T,233.2,M,-1.0,N,,K",
            [("heading", "deg", 234.6), ("heading_magnetic", "deg", 233.2), ("water_speed", "m/s", -0.514444444444)],
        ),
        ("VWVLW,2,N,1,N", [("water_distance", "m", 3704.0), ("water_distance_trip", "m", 1852.0)]),
        ("VWVLW,,N,,N,2,N,1,N", [("ground_distance", "m", 3704.0), ("ground_distance_trip", "m", 1852.0)]),
        (
            "IIXDR,C,,C,AIRTEMP,A,-3.7,D,HEEL,P,1.01325,B,BARO,H,66,P,ENV_OUT/H#2",
            [("heel", "deg", -3.7), ("baro", "Pa", 101_325.0), ("env_out_h_2", "%RH", 66)],
        ),
        ("YXXDR,C,19.5,C", [("temperature", "Cel", 19.5)]),
        (
            "YXXDR,C,1,C,A,C,2,C,A,C,3,C,a",
            [("a", "Cel", 1), ("a_2", "Cel", 2), ("a_3", "Cel", 3)],
        ),
        ("YXXDR,V,50,P,FUEL,L,7,S,SALT", [("fuel", "/", 0.5), ("salt", None, 7), ("salt.unit", None, "S")]),
    ],
)
def test_what_a_sentence_says(body: str, records: list[tuple[str, str | None, Any]]) -> None:
    one = found(body)
    assert [(name, unit) for name, unit, _ in one.records] == [(name, unit) for name, unit, _ in records]
    assert [value for _, _, value in one.records] == pytest.approx([value for _, _, value in records], abs=1e-11)
    assert one.quality == 0
    assert one.raw == line(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"GPRMC,{CLOCK},V,{AT},10.0,77.3,{DATE},,", "no_fix"),
        (f"GPRMC,{CLOCK},A,{AT},10.0,77.3,{DATE},,,N", "no_fix"),
        (f"GPRMC,{CLOCK},A,{AT},10.0,77.3,{DATE},,,S", "no_fix"),
        (f"GPRMC,{CLOCK},A,,N,,E,10.0,77.3,{DATE},,", "no_fix"),
        ("GPRMC,,V,,,,,,,,,,N", "no_fix"),
        ("GPRMC", "no_fix"),
        ("GPRMC,", "no_fix"),
        (f"GPGGA,{CLOCK},{AT},0,08,0.9,1,M,1,M,,", "no_fix"),
        (f"GPGGA,{CLOCK},{AT},8,08,0.9,1,M,1,M,,", "no_fix"),
        (f"GPGGA,{CLOCK},{AT},,08,0.9,1,M,1,M,,", "no_fix"),
        (f"GPGGA,{CLOCK},,,,,1,00,99.9,,,,,,", "no_fix"),
        (f"GNGNS,{CLOCK},{AT},NN,11,1.3,1,1,,", "no_fix"),
        (f"GNGNS,{CLOCK},{AT},,11,1.3,1,1,,", "no_fix"),
        (f"GPGLL,{AT},{CLOCK},V", "no_fix"),
        (f"GPGLL,{AT},{CLOCK},A,N", "no_fix"),
        ("GPVTG,,,,,,,,,N", "no_fix"),
        ("GPZDA,,,,,,", "no_fix"),
        (f"GPGLL,5332.4300,,00957.9600,E,{CLOCK},A", "wrong_type"),
        (f"GPGLL,5332.4300,NS,00957.9600,E,{CLOCK},A", "wrong_type"),
        (f"GPGLL,5360.0000,N,00957.9600,E,{CLOCK},A", "wrong_type"),
        (f"GPGLL,-532.4300,N,00957.9600,E,{CLOCK},A", "wrong_type"),
        (f"GPGLL,53_2.4300,N,00957.9600,E,{CLOCK},A", "wrong_type"),
        (f"GPGLL,9000.0001,N,00957.9600,E,{CLOCK},A", "out_of_range"),
        (f"GPGLL,5332.4300,N,18000.0001,E,{CLOCK},A", "out_of_range"),
        (f"GPGGA,{CLOCK},{AT},1,08,?,1,M,1,M,,", "wrong_type"),
        ("GPZDA,256060,24,11,2026,00,00", "wrong_type"),
        ("GPZDA,060061,24,11,2026,00,00", "wrong_type"),
        ("GPZDA,066020,24,11,2026,00,00", "wrong_type"),
        ("GPZDA,060020,32,11,2026,00,00", "wrong_type"),
        ("GPZDA,060020,99999999999999999999,11,2026,00,00", "wrong_type"),
        ("GPZDA,060020,24,11,02026,00,00", "wrong_type"),
        ("WIMWV,214.8,R,5,N,V", "not_valid"),
        ("HETHS,77.52,V", "not_valid"),
        ("WIMWV,214.8,X,5,N,A", "wrong_type"),
        ("WIMWV,214.8,R,5,,A", "wrong_type"),
        ("WIMWV,,R,,N,A", "missing_value"),
        ("YXMTW,,C", "missing_value"),
        ("YXMTW,8_2,C", "wrong_type"),
        ("YXMTW,46.8,F", "wrong_type"),
        ("YXMTW,nan,C", "out_of_range"),
        ("SDDPT,,0.4", "missing_value"),
        ("SDDBT,---,f,---,M,---,F", "wrong_type"),
        ("HEHDT,360.1,T", "out_of_range"),
        ("HCHDG,1,2,N,3,E", "wrong_type"),
        ("IIXDR," + ",".join(["C,1,C,A"] * (XDR_TRANSDUCERS + 1)), "too_many_values"),
        ("gprmc,1", "no_match"),
        ("GP,1", "no_match"),
        ("", "no_match"),
        ("GPRMCX,1,2", "no_match"),
        ("$GPRMC,1,2", "no_match"),
        ("IIMT\xd6,17.9,C", "no_match"),
    ],
)
def test_why_a_sentence_says_nothing(body: str, expected: str) -> None:
    assert reason(body) == expected


def test_a_zero_has_no_sign() -> None:
    for body in ("HCHDG,101.1,,,0.0,W", f"GPGLL,0000.0,S,00000.0,W,{CLOCK},A"):
        assert "-0" not in str(found(body).records)


def test_what_is_beyond_its_range_is_left_out_and_marked() -> None:
    one = found(f"GPRMC,{CLOCK},A,{AT},10.0,655.35,{DATE},,")
    assert ([name for name, _, _ in one.records], one.quality) == (["lat", "lon", "speed"], OUT_OF_RANGE)
    assert len(found("IIXDR," + ",".join(["C,1,C,A"] * XDR_TRANSDUCERS)).records) == XDR_TRANSDUCERS


# Which sentences


def test_what_is_of_no_interest_is_nothing() -> None:
    for body in ("GPGSV,1,1,01,36,19,156,51", "GPGSA,A,1", "GPXTE,,,,,N,N", "GPGLC,9960,,,,,,,,,,,,", "CCGPQ,GGA"):
        assert Nmea0183().read(line(body), NOW) == []
    assert Nmea0183().read(b"!AIVDM,1,1,,A,,0*26", NOW) == []
    assert Nmea0183().read(b"# " + line("YXMTW,8.2,C"), NOW) == ()


def test_text_where_it_is_asked_for() -> None:
    for asked in ("TXT", "GNTXT"):
        one = found("GNTXT,01,01,02,ANTSTATUS=OK \xb0", text=[asked])
        assert one.records == [("text", None, "GNTXT,01,01,02,ANTSTATUS=OK \xb0")]
    assert Nmea0183(text=["GPTXT"]).read(line("GNTXT,1"), NOW) == []
    assert found("YXMTW,8.2,C", text=["MTW"]).records == [("text", None, "YXMTW,8.2,C")]


def test_proprietary_sentences_are_text() -> None:
    assert found("PERDCRJ,FREQ,GP,,").records == [("text", None, "PERDCRJ,FREQ,GP,,")]
    assert Nmea0183(proprietary=False).read(line("PERDCRJ,FREQ"), NOW) == []
    longest = "PX," + "x" * (TEXT_BYTES - 3)
    assert found(longest).records == [("text", None, longest)]
    assert reason(longest + "x") == "text_too_long"
    assert reason(longest[:-1] + "\xff") == "text_too_long", "a byte beyond ASCII takes two"


def test_only_the_sentences_that_are_named() -> None:
    reader = Nmea0183(only=["MTW", "24MWV", "PERDCRJ"])
    assert read(reader, "YXMTW,8.2,C")
    assert read(reader, "24MWV,88.8,R,0.36,N")
    assert read(reader, "PERDCRJ,1")
    for body in ("02MWV,327.6,R,1.89,N", "PERDCRQ,1", "SDDBT,7.9,f,2.4,M,1.3,F"):
        assert reader.read(line(body), NOW) == []


def test_a_bad_sentence_loses_nothing_else_in_its_line() -> None:
    three = line("YXMTW,x,C") + line("YXMTW,8.2,C") + line("YXMTW,,C")
    kinds = [getattr(one, "reason", "found") for one in Nmea0183().read(three, NOW)]
    assert kinds == ["wrong_type", "found", "missing_value"]


# Time


def times(reader: Nmea0183, *bodies: str, now: float | None = NOW) -> list[float | None]:
    made = [read(reader, body, now) for body in bodies]
    return [one.time if isinstance(one, Found) else -1.0 for one in made]


RMC = f"GPRMC,{CLOCK},A,{AT},,,{DATE},,"
TOLD = 1_795_500_020.0


def test_the_time_of_rmc_and_zda() -> None:
    assert times(Nmea0183(), RMC, "GPZDA,060025.25,24,11,2026,13,30") == [TOLD, TOLD + 5.25]
    assert times(Nmea0183(), RMC, now=None) == [None]
    assert times(Nmea0183(), RMC, now=AS_TOLD) == [TOLD]
    assert times(Nmea0183(), f"GPRMC,noon,A,{AT},,,{DATE},,", f"GPRMC,{CLOCK},A,{AT},,,311126,,") == [None, None]


def test_a_clock_outside_the_window_is_not_trusted() -> None:
    rolled = f"GPRMC,{CLOCK},A,{AT},,,100407,,"  # 1024 weeks back
    ahead = f"GPRMC,060131.00,A,{AT},,,{DATE},,"
    assert times(Nmea0183(), rolled, ahead, RMC, now=NOW) == [None, None, TOLD]
    assert times(Nmea0183(), rolled, now=AS_TOLD) == [TOLD - 1024 * 7 * 86_400]


def test_a_time_of_day_gets_the_date_that_came_just_before() -> None:
    gga, gll = f"GNGGA,060021.00,{AT},1,08,0.9,1,M,1,M,,", f"GPGLL,{AT},060019.50,A"
    reader = Nmea0183()
    assert times(reader, gga, RMC, gga, gll) == [None, TOLD, TOLD + 1, TOLD - 0.5]
    assert times(reader, "YXMTW,8.2,C") == [None]
    assert times(reader, gga, now=NOW + NMEA_DATE_S) == [TOLD + 1]
    assert times(reader, gga, now=NOW + NMEA_DATE_S + 0.1) == [None], "the date is too old"
    assert times(reader, f"GPGLL,{AT},060121.00,A") == [None], "too far from the dated sentence"
    assert times(Nmea0183(), RMC, gga, now=AS_TOLD) == [TOLD, TOLD + 1]


@pytest.mark.parametrize(
    ("clock", "date", "now"), [("000000.20", "251126", 1_795_564_800.0), ("235959.80", "241126", 1_795_564_799.0)]
)
def test_over_midnight(clock: str, date: str, now: float) -> None:
    """The dated sentence before it, the time of day behind it, and the other way round."""
    midnight = 1_795_564_800.0
    reader = Nmea0183()
    assert times(reader, f"GPRMC,{clock},A,{AT},,,{date},,", now=now) != [None]
    other = f"GPGLL,{AT},{'235959.00' if clock < '12' else '000001.00'},A"
    assert times(reader, other, now=now) == [midnight + (-1 if clock < "12" else 1)]


def test_no_date_from_a_receiver_without_a_fix_or_that_is_not_trusted() -> None:
    gga = f"GNGGA,060021.00,{AT},1,08,0.9,1,M,1,M,,"
    assert times(Nmea0183(), f"GPRMC,{CLOCK},V,{AT},,,{DATE},,", gga) == [-1.0, None]
    assert times(Nmea0183(), RMC, f"GPRMC,{CLOCK},A,{AT},,,100407,,", gga) == [TOLD, None, None]


def test_the_time_of_a_tag_block_where_the_sentence_has_none() -> None:
    for body, time in (("YXMTW,8.2,C", NOW - 5), ("PX,1", NOW - 5), (RMC, TOLD)):
        (one,) = Nmea0183().read(tagged(line(body), c=int(NOW) - 5), NOW)
        assert isinstance(one, Found)
        assert one.time == time


# The stream


def stream(kind: Kind, data: bytes, *cuts: int, **options: Any) -> list[Found | Refused]:
    assert kind.codec is not None
    codec = kind.codec(kind.options(port="/dev/null", **options), drop_first=options.pop("drop_first", False))
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    found = [one for a, b in pairwise(places) for one in codec.feed(data[a:b], NOW)]
    return [*found, *codec.end(NOW)]


PIECES = st.sampled_from(
    [
        line("YXMTW,8.2,C"),
        line(RMC),
        line("GPGLL,,,,,,V"),
        b"\\c:1795500000*56\\",
        b"\r\n",
        b"\n",
        b"\r",
        b"$",
        b"!",
        b"#",
        b"*00",
        b"\x00\xff",
    ]
)


@settings(max_examples=200)
@given(st.lists(PIECES | st.binary(max_size=12), max_size=12), st.lists(st.integers(0, 600), max_size=6))
def test_any_chunking_of_whatever_comes(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    assert stream(nmea0183.KIND, data, *cuts) == stream(nmea0183.KIND, data)


ODD = (
    "|A|V|N|S|E|W|T|M|K|R|C|1|-1|53.5|5332.43|00957.96|060020.00|241126|2026|1e9|1e999|-0|nan|.|5.|\xb2| 7 |\\|\0|9999"
)
FIELDS = st.sampled_from([*ODD.split("|"), "x" * 70, "9" * 20])


@settings(max_examples=400)
@given(st.sampled_from(sorted(READERS)), st.lists(FIELDS, max_size=16), st.sampled_from([NOW, None, AS_TOLD]))
def test_a_checksum_that_fits_and_any_fields(formatter: str, fields: list[str], now: float | None) -> None:
    """A valid checksum does not mean that a sentence can be read: then it has a reason, and never an exception."""
    one = read(Nmea0183(), ",".join([f"GP{formatter}", *fields]), now)
    if isinstance(one, Refused):
        assert one.reason in REASONS
        return
    assert one.records
    assert all(isinstance(value, str) or isfinite(value) for _, _, value in one.records)
    assert one.time is None or isfinite(one.time)
    for name, low, high in (("lat", -90, 90), ("lon", -180, 180), ("course", 0, 360), ("heading", 0, 360)):
        assert all(
            low <= value <= high for told, _, value in one.records if told == name and not isinstance(value, str)
        )


REASONS = {"no_fix", "not_valid", "wrong_type", "missing_value", "out_of_range", "no_match", "checksum"}


def test_the_library_knows_the_fields_by_the_names_used_here() -> None:
    """Another version of it might call them otherwise, and a field that nobody finds is an empty one."""
    source = inspect.getsource(nmea_values)
    known = set[str]()
    for formatter in READERS:
        known |= set(fields_of(formatter, f"GP{formatter},").names)
    used = set(re.findall(r'get\("([^"]+)"\)', source))
    assert used - known == set()
    assert len(used) > 40


def test_a_line_has_a_limit() -> None:
    body = line("PX," + "x" * 500)
    whole = b" " * (LINE_BYTES - len(body)) + body
    assert isinstance(stream(nmea0183.KIND, whole + b"\n")[0], Found)
    (refused,) = stream(nmea0183.KIND, b" " + whole + b"\n")
    assert isinstance(refused, Refused)
    assert refused.reason == "too_long"


def test_the_end_of_a_datagram_ends_a_line() -> None:
    codec = nmea0183.codec(nmea0183.Nmea0183Options(udp="127.0.0.1:10110"))
    assert len(codec.feed(line("YXMTW,8.2,C") + b"\r\n" + line("YXMTW,8.3,C"), NOW)) == 2
    assert len(codec.feed(line("YXMTW,8.4,C"), NOW)) == 1
