"""`fieldgate decode`: what becomes a sample, what is rejected, its exit codes and what it imports."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.command import FIELDGATE, Done, fieldgate

from drivers import recorded
from drivers.simulators import nmea
from gateway import cli

SHIP = b"".join(line for line, _ in zip(nmea.log(), range(8), strict=False))
WEIGHT = "pattern=(?:ST|(?P<unstable>US)),GS,(?P<mass>[-+] *[0-9]+)kg"


def decoded(tmp_path: Path, data: bytes, codec: str, *args: str) -> tuple[Done, list[dict[str, Any]], dict[str, Any]]:
    """How it ended, the samples and the counts."""
    file = tmp_path / "recorded"
    file.write_bytes(data)
    done = fieldgate("decode", codec, file, "--json", *args, cwd=tmp_path)
    *samples, counts = [json.loads(line) for line in done.out.splitlines()]
    return done, samples, counts


def test_every_value_of_json_without_being_told_which(tmp_path: Path) -> None:
    document = b'{"t": 21.5, "on": true, "a": [{"b/c": "x"}, null], "id": 12345678901234567890}'
    done, (sample,), counts = decoded(tmp_path, document, "json")
    assert done.code == 0
    assert sample == {
        "source": "json",
        "time": None,
        "values": {
            "t": {"value": 21.5, "unit": None},
            "on": {"value": True, "unit": None},
            "a/0/b/c": {"value": "x", "unit": None},
            "id": {"value": "12345678901234567890", "unit": None},
        },
    }
    assert counts == {"samples": 1, "rejects": {}}


def test_json_with_values_and_a_device_time(tmp_path: Path) -> None:
    options = [
        *("--option", 'values={ temp = { pointer = "/t", unit = "Cel" }, p = { pointer = "/p", unit = "bar" } }'),
        *("--option", 'time={ pointer = "/at", format = "unix" }'),
    ]
    document = b'{"t": 21.5, "p": 1.5, "at": 1795500000}'
    values = {"temp": {"value": 21.5, "unit": "Cel"}, "p": {"value": 1.5, "unit": "bar"}}
    for more, time in (
        ([], 1795500000.0),
        (["--now", "1795500060"], 1795500000.0),
        (["--now", "1895500000"], None),
    ):
        _, (sample,), _ = decoded(tmp_path, document, "json", *options, *more)
        assert sample == {"source": "json", "time": time, "values": values}


@pytest.mark.parametrize(
    ("args", "first"),
    [
        ([], {"column1": "$GPRMC", "column2": 60000.0}),
        (["-o", "format=csv", "-o", f"columns={json.dumps(['kind', 'at', *[''] * 11])}"], {"kind": "$GPRMC"}),
        (["-o", "format=regex", "-o", r"pattern=\$..MTW,(?P<water>[0-9.]+),C.*"], {"water": 8.2}),
        (["-o", "format=text", "-o", "checksum=nmea"], {"value": SHIP.split(b"\r\n")[0].decode()}),
    ],
)
def test_every_value_of_lines(tmp_path: Path, args: list[str], first: dict[str, Any]) -> None:
    done, samples, counts = decoded(tmp_path, SHIP, "line", *args)
    assert done.code == 0
    for name, value in first.items():
        assert samples[0]["values"][name]["value"] == (pytest.approx(value, abs=0.1) if name == "water" else value)
    assert counts["samples"] == len(samples)
    assert counts["samples"] + sum(counts["rejects"].values()) == 8


def test_rejects_are_told_by_reason_with_an_example(tmp_path: Path) -> None:
    lines = b"ST,GS,+ 1000kg\r\nUS,GS,+  900kg\r\nBANNER\r\n\x80\x01\xff\r\nBANNER 2\r\n"
    (tmp_path / "scale").write_bytes(lines)
    options = ["-o", "format=regex", "-o", WEIGHT, "-o", 'values={ mass = { unit = "kg" } }']
    done = fieldgate("decode", "line", "scale", *options, cwd=tmp_path)
    assert done.code == 0
    assert [re.sub(" +", " ", line) for line in done.out.splitlines()] == [
        "- line mass 1000 kg",
        "- line mass 900 kg (unstable)",
        "2 samples, 3 rejected",
        " no_match 3: BANNER",
    ]


def test_messages_a_line_each_and_a_document_as_it_is(tmp_path: Path) -> None:
    lines = b'{"t": 1}\n\n{"t": nan}\n{"t": 2}\n'
    _, samples, counts = decoded(tmp_path, lines, "json")
    assert [one["values"]["t"]["value"] for one in samples] == [1, 2]
    assert counts["rejects"] == {"invalid_json": 1}
    _, (one,), _ = decoded(tmp_path, b'[{"t": 1},\n{"t": 2}]\n', "json")
    assert {name: value["value"] for name, value in one["values"].items()} == {"0/t": 1, "1/t": 2}
    _, (one,), _ = decoded(tmp_path, b"-  21.5", "json", "-o", "payload=text")
    assert one["values"]["value"]["value"] == -21.5


def test_messages_with_their_topics(tmp_path: Path) -> None:
    lines = b"""{"tst":"2026-11-24T04:00:00.1Z","topic":"a/b","qos":1,"retain":1,"payloadlen":8,"payload":{"t": 1.50}}
{"topic":"a/c","payload":"{\\"t\\": 2}"}
"""
    (tmp_path / "heard").write_bytes(lines)
    done = fieldgate("decode", "json", "heard", cwd=tmp_path)
    assert [re.sub(" +", " ", line) for line in done.out.splitlines()] == [
        "- json t 1.5 (stale)",
        "- json t 2",
        "2 samples, 0 rejected",
    ]
    _, samples, _ = decoded(tmp_path, lines + b"{}\n", "json")
    assert samples[0]["values"]["topic"]["value"] == "a/b", "not all lines have a topic: they are documents"


def test_where_nothing_is_decoded(tmp_path: Path) -> None:
    done, samples, counts = decoded(tmp_path, b"\x01\x02", "json")
    assert (done.code, samples, counts) == (1, [], {"samples": 0, "rejects": {"invalid_json": 1}})
    assert decoded(tmp_path, b"", "line")[2] == {"samples": 0, "rejects": {}}


def test_bytes_are_shown_as_hexadecimal_digits(capsys: pytest.CaptureFixture[str]) -> None:
    from drivers.codecs.base import Found
    from gateway.cli import decode

    found = Found([("data", None, b"\x00\xff"), ("p", None, 1), ("p.unit", None, "bar"), ("t.unit", None, "x")], 1e9)
    assert decode.values(found) == {
        "data": {"value": "00ff", "unit": None},
        "p": {"value": 1, "unit": "bar"},
        "t.unit": {"value": "x", "unit": None},
    }
    assert decode.sample_line(found, "s") == '2001-09-09T01:46:40.000Z  s  data "00ff"  p 1 bar  t.unit "x"'


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["jsn", "-"], "Did you mean json?"),
        (["replay", "-"], "there is no codec 'replay'"),
        (["line", "-", "-o", "framing=sentence"], 'framing: is "sentence". Write one of "line", "marked", "fixed"'),
        (["line", "-", "-o", "framng=line"], "Did you mean framing?"),
        (["line", "-", "-o", "framing=fixed"], "framing fixed needs length"),
        (["line", "-", "-o", "format=regex", "-o", "pattern=("], "pattern is no regular expression"),
        (["line", "-", "-o", "line_bytes=0"], "line_bytes: is 0"),
        (["json", "-", "-o", "values"], "NAME=VALUE"),
    ],
)
def test_a_wrong_option(tmp_path: Path, args: list[str], told: str) -> None:
    done = fieldgate("decode", *args, cwd=tmp_path)
    assert done.code == 2
    assert told in done.err


def test_a_text_that_looks_like_a_number_stays_one(tmp_path: Path) -> None:
    _, samples, counts = decoded(tmp_path, b"102203", "line", "-o", "delimiter=0", "-o", "format=text")
    assert [one["values"]["value"]["value"] for one in samples] == [1, 22, 3]
    assert counts["rejects"] == {}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert fieldgate("decode", "json", "nowhere", cwd=tmp_path).code == 3


def test_frames_with_the_time_of_each_end_in_a_silence(tmp_path: Path) -> None:
    frames = b"".join(b'{"t_us": %d, "hex": "%s"}\n' % (at, one.hex().encode()) for at, one in enumerate((b"1", b"23")))
    _, samples, counts = decoded(tmp_path, frames, "line", "-o", "framing=fixed", "-o", "length=2", "-o", "format=text")
    assert [one["values"]["value"]["value"] for one in samples] == [23]
    assert counts == {"samples": 1, "rejects": {"partial_line": 1}}


def test_a_long_file_is_read_in_a_little_memory(tmp_path: Path) -> None:
    """64 MiB through a process that may use no more than it needs for 1 MiB, and 40 MiB."""

    def peak(mib: int) -> int:
        code = f"""
import resource, subprocess, sys
feeder = subprocess.Popen([sys.executable, "-c", "import sys\\nfor _ in range({mib}): sys.stdout.write('x' * 2**20)"],
                          stdout=subprocess.PIPE)
subprocess.run([*{FIELDGATE!r}, "decode", "line", "-"], stdin=feeder.stdout, stdout=subprocess.DEVNULL)
feeder.wait()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert resource.getpagesize()
    assert peak(64) < peak(1) + 40 * 1024


def test_messages_are_held_whole_and_so_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "RECORDED_BYTES", 10)
    (tmp_path / "at").write_bytes(b"[1,2,3,45]")
    (tmp_path / "past").write_bytes(b"[1,2,3,456]")
    for name, code in (("at", 0), ("past", 1)):
        with pytest.raises(SystemExit) as caught:
            cli.main(["decode", "json", str(tmp_path / name)])
        assert caught.value.code == code


def test_the_help_lists_every_codec_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["decode", "--help"])
    told = capsys.readouterr().out
    for name in recorded.names():
        assert f"\n{name}: {recorded.kind(name).title}" in told
    assert "framing=" in told
    assert "baud=" not in told


def test_one_codec_loads_no_other_driver(tmp_path: Path) -> None:
    code = (
        "import sys; from gateway import cli\n"
        "try: cli.main(['decode', 'json', '/dev/null'])\n"
        "except SystemExit: print(sorted({'serial', 'pymodbus', 'pyais', 'dsmr_parser', 'aiosqlite'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
