"""Framer, format and values together: recordings of real devices, and twins that the project generates itself."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.decoding import Lines
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import UNSTABLE, Reject, Sample
from drivers.lines import LineOptions
from drivers.simulators import nmea, quay

SCALE = {"mass": {"unit": "kg"}}
TEXT = {"type": "text"}
NMEA = {"format": "regex", "pattern": r".*?[$!](?P<said>.*)", "values": {"said": TEXT}, "checksum": "nmea"}
PH = {"format": "regex", "pattern": r"(?P<ph>[\d.]+)pH (?P<water>[\d.]+)°C ATC", "encoding": "cp437"}
PH_VALUES = {"ph": {"unit": "pH"}, "water": {"unit": "Cel"}}


def options(**table: Any) -> LineOptions:
    return msgspec.convert(table, LineOptions)


def play(data: bytes, *, drop_first: bool = True, chunk: int = 97, **table: Any) -> tuple[list[Sample], list[Reject]]:
    lines = Lines("s", options(**table), drop_first=drop_first)
    items: list[Sample | Reject] = []
    for at in range(0, len(data), chunk):
        items += lines.feed(data[at : at + chunk], None)
    items += lines.end(None)
    return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Reject)]


def reasons(rejects: list[Reject]) -> dict[str, int]:
    return {reason: len(list(group)) for reason, group in itertools.groupby(sorted(one.reason for one in rejects))}


def test_a_scale_that_is_met_in_the_middle_of_a_line() -> None:
    data = b"".join(itertools.islice(quay.weighbridge(), 200))
    table = {"format": "regex", "pattern": r"(?:ST|(?P<unstable>US)),GS,(?P<mass>[-+] *\d+)kg", "values": SCALE}
    samples, rejects = play(data[5:], **table)
    assert reasons(rejects) == {"partial_line": 1}
    assert len(samples) == 199
    unstable = [sample.payload.startswith(b"US") for sample in samples]
    assert [sample.quality == UNSTABLE for sample in samples] == unstable
    assert [f"{s.records[0][2]:8d}".encode() in s.payload for s in samples] == [True] * 199


def test_a_ships_log_with_noise_in_it() -> None:
    sentences = list(itertools.islice(nmea.log(), 400))
    broken = [s.replace(b",", b";", 1) if n % 50 == 9 else s for n, s in enumerate(sentences)]
    broken[100] = b"\xff\x00\xf8 no sentence\r"
    broken[200] = b"$" + b"9" * 5000 + b"\r\n"
    samples, rejects = play(b"A,1,2*77\r\n" + b"".join(broken), **NMEA)
    assert reasons(rejects) == {"checksum": 9, "partial_line": 1, "too_long": 1}
    kept = [s for n, s in enumerate(broken) if n % 50 != 9 and n not in (100, 200)]
    assert [sample.payload for sample in samples] == [s.rstrip() for s in kept]


def test_bytes_that_are_not_utf_8_are_kept_as_they_came() -> None:
    data = b" ATC\r\n4.57pH 24.7\xf8C ATC\r\n4.58pH 24.7\xf8C ATC\r\n"
    samples, rejects = play(data, **PH, values=PH_VALUES)
    assert reasons(rejects) == {"partial_line": 1}
    assert [list(s.records) for s in samples] == [
        [("ph", "pH", 4.57), ("water", "Cel", 24.7)],
        [("ph", "pH", 4.58), ("water", "Cel", 24.7)],
    ]
    assert samples[0].payload == b"4.57pH 24.7\xf8C ATC"


def test_seven_bit_traffic_read_as_eight() -> None:
    data = bytes(byte | (0x80 if byte.bit_count() % 2 else 0) for byte in b"cut\r\n23.5\r\n24.0\r\n")  # even parity
    table = {"format": "text", "values": {"t": {"unit": "Cel"}}}
    assert play(data, **table)[0] == []
    assert [s.records[0][2] for s in play(data, mask_bit7=True, **table)[0]] == [23.5, 24.0]


def test_marked_frames_of_a_tag_reader() -> None:
    tags = [f"{number:010X}" for number in (0x010784F221, 0x01092ADE55)]
    data = b"\x02" + b"\x03\x02".join(f"{tag}51".encode() for tag in tags) + b"\x03"
    table = {
        "framing": "marked",
        "format": "regex",
        "pattern": "(?P<tag>[0-9A-F]{10})..",
        "values": {"tag": {"type": "text"}},
    }
    samples, rejects = play(data[4:] + data, **table)
    assert [s.records[0][2] for s in samples] == [tags[1], *tags]
    assert reasons(rejects) == {"noise": 1}


def test_json_lines_and_csv_with_a_saturated_sensor() -> None:
    samples, rejects = play(b'x"}\n{"t": 1}\n{"t": NaN}\n{"t": 2}\n', format="json", values={"t": {}})
    assert [s.records[0][2] for s in samples] == [1, 2]
    assert reasons(rejects) == {"invalid_json": 1, "partial_line": 1}
    table = {"format": "csv", "columns": ["", "lux"], "values": {"lux": {"unit": "lx", "sentinels": [65535]}}}
    samples, rejects = play(b"5\ra,1\rb,65535\rc\rd,2\r", **table)
    assert [(len(s.records), s.quality) for s in samples] == [(1, 0), (0, 8), (1, 0)]
    assert reasons(rejects) == {"partial_line": 1, "wrong_column_count": 1}


def test_the_last_line_of_a_file_may_lack_its_end() -> None:
    assert len(play(b"1\n2\n3", drop_first=False, format="text", values={"n": {}})[0]) == 3
    assert len(play(b"1;2;3", drop_first=False, delimiter=";", format="text", values={"n": {}})[0]) == 3


def expected(captures: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((captures / "expected.json").read_text())[name]
    return found


def test_recorded_nmea_logs(captures: Path) -> None:
    for path in sorted((captures / "nmea0183").glob("*.log")):
        samples, _ = play(path.read_bytes(), drop_first=False, **NMEA)
        assert len(samples) == expected(captures, f"nmea0183/{path.name}").get("checksum_ok", 0), path.name


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("weight_spun_text", r" *(?P<mass>[-+]? *[\d.]+) kg *(?P<unstable>\?)? *[GN]"),
        ("ohaus_defender3000_hex", r" *(?P<mass>[-+]? *[\d.]+) kg *(?P<unstable>\?)? *[GN]"),
        ("tscale_nhb", r"(?:ST|(?P<unstable>US)),(?:GS|NT) *(?P<mass>[-+]? *[\d.]+) *g *"),
        ("tscale_nhb2", r"(?:ST|(?P<unstable>US)),(?:GS|NT) *(?P<mass>[-+]? *[\d.]+) *g *"),
    ],
)
def test_recorded_scales(captures: Path, name: str, pattern: str) -> None:
    what = expected(captures, f"scale/{name}.bin")
    data = (captures / "scale" / f"{name}.bin").read_bytes()
    samples, rejects = play(data, drop_first=False, format="regex", pattern=pattern, values=SCALE)
    assert len(samples) == what["matching"]
    assert len(rejects) == what["not_matching"]
    assert sum(sample.quality == UNSTABLE for sample in samples) == what["unstable"]
    masses = [sample.records[0][2] for sample in samples]
    assert (min(masses), max(masses)) == (what["min"], what["max"])
    dropped, first = play(data, format="regex", pattern=pattern, values=SCALE)
    assert first[0].reason == "partial_line"
    assert len(samples) - len(dropped) <= 1


def test_recorded_tags(captures: Path) -> None:
    data = (captures / "rfid_uart" / "all_tags_stream.bin").read_bytes()
    table = {"format": "regex", "pattern": "\x02?(?P<tag>[0-9A-F]{10})..\x03?", "values": {"tag": {"type": "text"}}}
    tags = expected(captures, "rfid_uart/all_tags_stream.bin")["tags"]
    assert [s.records[0][2] for s in play(data, framing="marked", **table)[0]] == tags
    fixed = play(b"\x03\x02" + data, framing="fixed", start="\x02", length=14, **table)
    assert [s.records[0][2] for s in fixed[0]] == tags or reasons(fixed[1])


def test_a_recorded_ph_meter(captures: Path) -> None:
    dump = (captures / "lab_serial" / "ph_meter_hex.txt").read_text()
    pairs = [re.findall(r"\b[0-9A-F]{2}\b", line[:48]) for line in dump.splitlines()]
    data = bytes(int(pair, 16) for line in pairs for pair in line)
    samples, rejects = play(data, **PH, values=PH_VALUES)
    assert len(samples) > 12
    assert set(reasons(rejects)) <= {"partial_line", "no_match"}


def test_recorded_payloads_of_smart_plugs(captures: Path) -> None:
    for path in sorted((captures / "mqtt_shelly").glob("*.json")):
        value = {"any": {"pointer": "/" + expected(captures, f"mqtt_shelly/{path.name}")["top"][0], "optional": True}}
        lines = Lines(
            "s", options(format="json", framing="fixed", length=path.stat().st_size, values=value), drop_first=False
        )
        (item,) = lines.feed(path.read_bytes(), None)
        assert isinstance(item, Sample) or item.reason == "wrong_type", path.name


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_whatever_comes_is_samples_and_rejects(data: bytes, chunk: int) -> None:
    for table in (
        {"format": "text", "values": {"t": {}}},
        {"format": "json", "values": {"t": {"optional": True}}, "delimiter": ";"},
        {"format": "csv", "columns": ["a", "b"], "values": {"b": {"type": "text"}}, "line_bytes": 20},
        {**NMEA, "framing": "marked"},
        {"format": "text", "framing": "fixed", "length": 3, "values": {"t": {"type": "bool"}}, "mask_bit7": True},
    ):
        samples, rejects = play(data, chunk=chunk, **table)
        assert all(len(sample.payload) <= 4096 for sample in samples)
        assert all(len(reject.example) <= 512 for reject in rejects)


GOOD: dict[str, Any] = {"format": "csv", "columns": ["time", "t"], "values": {"t": {}}}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"columns": []}, "columns has no t"),
        ({"columns": ["t", "t"]}, "twice"),
        ({"columns": ["t"], "time": {}}, "columns has no time"),
        ({"format": "regex", "pattern": "(?P<t"}, "no regular expression"),
        ({"format": "regex", "pattern": "(?P<x>.)"}, "pattern has no group t"),
        ({"format": "regex"}, "pattern has no group t"),
        ({"format": "json", "values": {"t": {"pointer": "t"}}}, "JSON pointer"),
        ({"format": "text", "values": {"t": {}, "u": {}}}, "one value"),
        ({"format": "text", "time": {}}, "one value"),
        ({"framing": "fixed"}, "length"),
        ({"framing": "fixed", "length": 1, "start": "x"}, "length"),
        ({"framing": "marked", "start": "ab"}, "one character"),
        ({"framing": "marked", "start": "a", "end": "a"}, "same character"),
        ({"delimiter": "→"}, "single byte"),
        ({"line_bytes": 0}, "line_bytes"),
        ({"line_bytes": 65_537}, "line_bytes"),
        ({"colour": 1}, "colour"),
        ({"values": {}}, "values"),
    ],
)
def test_options_that_are_refused(wrong: dict[str, Any], words: str) -> None:
    options(**GOOD)
    with pytest.raises(msgspec.ValidationError, match=words):
        options(**{**GOOD, **wrong})
