"""P1 telegrams: what is framed, what is believed, and that dsmr-parser reads the same."""

from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser
from hypothesis import given
from hypothesis import strategies as st

from drivers import p1
from drivers.codecs.base import Found, Refused
from drivers.codecs.modbus_rtu import crc16
from drivers.codecs.p1 import TelegramFramer
from drivers.codecs.values import AS_TOLD
from drivers.framing import Broken
from drivers.limits import EXAMPLE_BYTES, P1_TELEGRAM_BYTES
from drivers.simulators.p1 import BEGIN, meter, old_meter, telegram

NOW = BEGIN.timestamp() + 2
POWER = "1-0:1.7.0(00.244*kW)"
GAS = "0-1:24.2.1(260302065500W)(00000.107*m3)"


def decoded(data: bytes, now: float | None = NOW, *, drop_first: bool = False, **options: Any) -> list[Found | Refused]:
    codec = p1.codec(p1.P1Options(port="/dev/null", **options), drop_first=drop_first)
    return [*codec.feed(data, now), *codec.end(now)]


def samples(data: bytes, now: float | None = NOW, **options: Any) -> list[Found]:
    found = decoded(data, now, **options)
    assert all(isinstance(one, Found) for one in found), found
    return [one for one in found if isinstance(one, Found)]


def reasons(data: bytes, **options: Any) -> list[str]:
    return [one.reason if isinstance(one, Refused) else "" for one in decoded(data, **options)]


def values(found: Found) -> dict[str, Any]:
    return {name: value for name, _, value in found.records}


def test_a_whole_telegram() -> None:
    data = next(meter())
    electricity, gas, water = samples(data)
    said = values(electricity)
    assert electricity.raw == data.rstrip()
    assert electricity.time == BEGIN.timestamp()
    assert said["energy_import_tariff2"] == 1_435_706 * 3_600
    assert (said["energy_export_tariff1"], said["energy_export_tariff2"]) == (0, 44_442_000)
    assert (said["tariff"], said["power_failures"], said["long_power_failures"], said["voltage_sags_l1"]) == (
        1,
        15,
        7,
        2,
    )
    assert said["equipment"] == "4B42524E30303031"
    assert said["power_import"] == sum(said[f"power_import_l{phase}"] for phase in (1, 2, 3)) > 0
    for phase in (1, 2, 3):
        assert 224 <= said[f"voltage_l{phase}"] <= 236
        assert abs(said[f"voltage_l{phase}"] * said[f"current_l{phase}"] - said[f"power_import_l{phase}"]) < 130
        assert said[f"power_export_l{phase}"] == 0
    units = {name: unit for name, unit, _ in electricity.records}
    assert [
        units[name] for name in ("energy_import_tariff1", "power_import", "voltage_l1", "current_l3", "tariff")
    ] == [*("J", "W", "V", "A", None)]
    assert gas.records == [("gas", "m3", 981.447), ("gas_equipment", None, "47415330303031"), ("gas_channel", None, 1)]
    assert gas.raw is not None
    assert gas.raw.split(b"\r\n") == [line for line in data.split(b"\r\n") if line.startswith(b"0-1:")]
    assert water.records[0] == ("water", "m3", 12.5)


def test_what_is_older_than_its_crc() -> None:
    electricity, gas = samples(next(old_meter()), AS_TOLD)
    assert values(electricity)["energy_export_tariff1"] == 1_001 * 3_600
    assert values(electricity)["equipment"] == "00000000000000"
    assert (electricity.time, gas.time) == (None, None)
    assert gas.records == [("gas", "m3", 1.001), ("gas_equipment", None, "000000000000"), ("gas_channel", None, 1)]
    assert reasons(next(old_meter()), checksum="required") == ["checksum"]
    assert reasons(next(old_meter()).replace(b"*kWh)", b"*k", 1)) == ["no_match"]


@pytest.mark.parametrize("version", [telegram_specifications.V4, telegram_specifications.V5])
def test_dsmr_parser_reads_the_same(version: dict[str, Any]) -> None:
    for data in islice(meter(seed=7), 0, 900, 90):
        compare(data, version)


def test_dsmr_parser_reads_the_same_of_captures(captures: Path) -> None:
    for file in sorted((captures / "p1_dsmr").iterdir()):
        old = file.read_bytes().rstrip().endswith(b"!")
        compare(file.read_bytes(), telegram_specifications.V3 if old else telegram_specifications.V5)


def compare(data: bytes, version: dict[str, Any]) -> None:
    theirs = TelegramParser(version).parse(data.decode("ascii"), throw_ex=True)
    electricity, *mbus = samples(data, AS_TOLD)
    said = values(electricity)
    names = {
        "ELECTRICITY_USED_TARIFF_1": ("energy_import_tariff1", 3.6e6),
        "ELECTRICITY_USED_TARIFF_2": ("energy_import_tariff2", 3.6e6),
        "ELECTRICITY_DELIVERED_TARIFF_1": ("energy_export_tariff1", 3.6e6),
        "ELECTRICITY_DELIVERED_TARIFF_2": ("energy_export_tariff2", 3.6e6),
        "CURRENT_ELECTRICITY_USAGE": ("power_import", 1e3),
        "CURRENT_ELECTRICITY_DELIVERY": ("power_export", 1e3),
        "SHORT_POWER_FAILURE_COUNT": ("power_failures", 1),
        "LONG_POWER_FAILURE_COUNT": ("long_power_failures", 1),
        "VOLTAGE_SAG_L1_COUNT": ("voltage_sags_l1", 1),
    }
    for phase in (1, 2, 3):
        names[f"INSTANTANEOUS_VOLTAGE_L{phase}"] = (f"voltage_l{phase}", 1)
        names[f"INSTANTANEOUS_CURRENT_L{phase}"] = (f"current_l{phase}", 1)
        names[f"INSTANTANEOUS_ACTIVE_POWER_L{phase}_POSITIVE"] = (f"power_import_l{phase}", 1e3)
        names[f"INSTANTANEOUS_ACTIVE_POWER_L{phase}_NEGATIVE"] = (f"power_export_l{phase}", 1e3)
    compared = 0
    for their_name, (name, scale) in names.items():
        their = getattr(theirs, their_name, None)
        if their is not None and their.value is not None:
            assert said[name] == pytest.approx(float(their.value) * scale, rel=1e-11), name
            compared += 1
    assert compared >= 4
    assert said["equipment"] == theirs.EQUIPMENT_IDENTIFIER.value
    assert said["tariff"] == int(theirs.ELECTRICITY_ACTIVE_TARIFF.value)
    if hasattr(theirs, "P1_MESSAGE_TIMESTAMP"):
        assert electricity.time == theirs.P1_MESSAGE_TIMESTAMP.value.timestamp()
    meters = [one for one in getattr(theirs, "MBUS_DEVICES", []) if getattr(one, "MBUS_METER_READING", None)]
    for ours, their in zip(mbus, meters, strict=False):
        assert ours.records[0][2] == float(their.MBUS_METER_READING.value)
        assert ours.time == their.MBUS_METER_READING.datetime.timestamp()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("260302070000W", (2026, 3, 2, 6, 0, 0)),
        ("260702070000S", (2026, 7, 2, 5, 0, 0)),
        ("261025023000S", (2026, 10, 25, 0, 30, 0)),  # the hour that comes twice
        ("261025023000W", (2026, 10, 25, 1, 30, 0)),
    ],
)
def test_summer_and_winter(text: str, utc: tuple[int, ...]) -> None:
    moment = datetime(*utc, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]
    data = telegram(f"0-0:1.0.0({text})", POWER)
    assert [one.time for one in samples(data, moment + 5)] == [moment]
    assert [one.time for one in samples(data, AS_TOLD)] == [moment]
    assert [one.time for one in samples(data, moment - 61)] == [None]
    assert [one.time for one in samples(data, moment + 604_801)] == [None]
    assert [one.time for one in samples(data, moment + 604_801, max_behind_s=700_000)] == [moment]
    assert [one.time for one in samples(data, None)] == [None]


@pytest.mark.parametrize(
    "text", ["", "260302070000", "261302070000W", "260230070000W", "26030207000W", "260302246000X"]
)
def test_a_time_that_is_none(text: str) -> None:
    (one,) = samples(telegram(f"0-0:1.0.0({text})", POWER), AS_TOLD)
    assert (one.time, one.quality) == (None, 0)


def test_an_mbus_value_that_was_never_read() -> None:
    """Its time is no date; or it has no unit; or no digits."""
    _, gas = samples(telegram(POWER, "0-1:24.1.0(003)", "0-1:24.2.1(632525252525S)(00000.000*m3)"))
    assert (gas.records, gas.quality) == ([("gas_channel", None, 1)], 8)
    for value in ("(260302065500W)(00000000)", "(260302065500W)()", "()"):
        assert len(samples(telegram(POWER, f"0-1:24.2.1{value}"))) == 1


def test_other_meters_behind_it() -> None:
    kinds = {"003": "gas", "012": "heat", "007": "water", "006": "hot_water", "099": "mbus", "": "mbus_2"}
    lines = [f"0-{at}:24.1.0({kind})" for at, kind in enumerate(kinds, 1)]
    lines += [f"0-{at}:24.2.1(260302065500W)(00012.345*{'GJ' if at == 2 else 'm3'})" for at in range(1, 7)]
    _, *found = samples(telegram(POWER, *lines))
    assert [one.records[0][0] for one in found] == list(kinds.values())
    assert [one.records[0][1:] for one in found[:3]] == [("m3", 12.345), ("J", 12_345_000_000), ("m3", 12.345)]
    assert {one.time for one in found} == {BEGIN.timestamp() - 300}


def test_a_changed_byte_is_found_out() -> None:
    data = next(meter())
    for at in range(1, len(data) - 2, 7):
        spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert "" not in reasons(spoilt), spoilt
    assert reasons(data[: data.index(b"!") + 1] + b"\r\n") == ["checksum"], "a CRC that was cut off"
    assert reasons(telegram(POWER, checksum=False)) == [""]
    assert reasons(telegram("1-3:0.2.8(50)", POWER, checksum=False)) == ["checksum"]


def test_a_crc_may_lack_its_zeros_and_be_small() -> None:
    for number in range(40_000):
        body = f"/X\r\n\r\n1-0:1.7.0({number:09.3f}*kW)\r\n!".encode()
        if crc16(body, 0) < 0x1000:
            break
    assert reasons(body + f"{crc16(body, 0):x}\r\n".encode()) == [""]
    assert reasons(body + f"{crc16(body, 0):04X}".encode()) == [""]


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        (["1-0:1.7.0(00.244*kWh)"], "wrong_type"),
        (["1-0:1.7.0(00,244*kW)"], "wrong_type"),
        (["1-0:32.7.0(nan*V)"], "wrong_type"),
        (["1-0:32.7.0(230)"], "wrong_type"),
        (["0-0:96.14.0(x)", POWER], "wrong_type"),
        ([POWER, "0-1:24.2.1(260302065500W)(00000.107*kW)"], "wrong_type"),
        (["1-0:1.7.0()", "0-0:96.1.1(12)"], "missing_value"),
        (["0-0:96.13.0(3132)"], "missing_value"),
        ([], "missing_value"),
        ([POWER, POWER], "duplicate_key"),
    ],
)
def test_what_the_crc_covers_may_not_fit(objects: list[str], reason: str) -> None:
    assert reasons(telegram(*objects)) == [reason]


def test_an_empty_value_and_a_line_unknown_are_nothing() -> None:
    (one,) = samples(telegram(POWER, "1-0:32.7.0()", "0-0:96.1.1()", "what is this", "9-9:9.9.9(x*y)"))
    assert values(one) == {"power_import": 244}


def test_the_first_is_most_often_the_rest_of_one() -> None:
    first, second = islice(meter(), 2)
    assert Counter(reasons(first[200:] + second, drop_first=True)) == {"partial_line": 1, "": 3}
    assert Counter(reasons(first[200:] + second)) == {"noise": 1, "": 3}
    assert Counter(reasons(first + second, drop_first=True)) == {"": 6}, "a telegram says where it begins"


def test_a_telegram_that_is_torn_costs_itself_alone() -> None:
    first, second = islice(meter(), 2)
    assert reasons(first[:300] + second) == ["partial_line", "", "", ""]
    assert reasons(second + first[:300]) == ["", "", "", "partial_line"]
    assert reasons(first.rstrip()) == ["", "", ""]
    assert reasons(next(old_meter()).rstrip()) == ["", ""]


def test_the_fourth_digit_ends_a_telegram() -> None:
    """A datagram may lack its line end."""
    codec = p1.codec(p1.P1Options(udp="127.0.0.1:4001"))
    assert [len(codec.feed(data.rstrip(), NOW)) for data in islice(meter(), 2)] == [3, 3]


def test_a_silence_within_a_telegram_ends_nothing() -> None:
    data = next(meter())
    codec = p1.codec(p1.P1Options(port="/dev/null"))
    found = []
    for at in range(0, len(data), 100):
        found += [*codec.feed(data[at : at + 100], NOW), *codec.gap(NOW)]
    assert found == decoded(data)


def test_memory_has_a_limit() -> None:
    framer = TelegramFramer(limit=50)
    assert framer.feed(b"/" + 49 * b"x") == []
    assert framer.feed(b"x") == [Broken("too_long", b"/" + 49 * b"x")]
    assert framer.feed(9_000 * b"x" + b"!ABCD\r\n/A\r\n!") == []
    assert framer.feed(b"\r\n") == [b"/A\r\n!"]
    assert reasons(b"/" + P1_TELEGRAM_BYTES * b"x" + b"!\r\n" + telegram(POWER)) == ["too_long", ""]
    (noise,) = TelegramFramer().feed(90_000 * b"U")
    assert noise == Broken("noise", EXAMPLE_BYTES * b"U")


@given(st.lists(st.sampled_from([b"/", b"!", b"6EEE", b"\r", b"\n", b"x", 60 * b"y", b"\0"]), max_size=30))
def test_any_chunking_frames_the_same(pieces: list[bytes]) -> None:
    whole = TelegramFramer(limit=50).feed(b"".join(pieces))
    framer = TelegramFramer(limit=50)
    assert [frame for byte in b"".join(pieces) for frame in framer.feed(bytes([byte]))] == whole
    framer = TelegramFramer(limit=50)
    assert [frame for piece in pieces for frame in framer.feed(piece)] == whole


def test_telegrams_are_thinned() -> None:
    codec = p1.codec(p1.P1Options(port="/dev/null", min_interval_s=10))
    heard = [bool(codec.feed(data, NOW + second)) for second, data in enumerate(islice(meter(), 25))]
    assert [second for second, taken in enumerate(heard) if taken] == [0, 10, 20]
    assert codec.feed(telegram(POWER), NOW - 3_600), "the clock was set back"
    assert codec.feed(telegram(POWER), None)
