"""What other decoders made of other people's recordings, against `fieldgate decode`, file by file: none is forgotten.

Each file that captures/expected.json speaks of has a rule here, by its folder. The tests beside this one look closer,
and have twins on data of our own.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from drivers import recorded
from drivers.codecs.scalars import pointers
from gateway import cli

METRES = 1e-6  # of a degree, nearly


class Told(NamedTuple):
    """What the command said."""

    samples: list[dict[str, Any]]
    rejects: Counter[str]
    code: int

    def values(self, name: str) -> list[Any]:
        return [one["values"][name]["value"] for one in self.samples if name in one["values"]]


class Capture:
    """A file and what is expected of it."""

    def __init__(self, file: Path, expected: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self.expected, self._capsys = file, expected, capsys

    def decode(self, codec: str, *options: str, file: Path | None = None) -> Told:
        with pytest.raises(SystemExit) as caught:
            cli.main(["decode", codec, str(file or self.file), "--json", *options])
        *samples, counts = [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        assert counts["samples"] == len(samples)
        assert caught.value.code == (0 if samples else 1)
        return Told(samples, Counter(counts["rejects"]), int(str(caught.value.code)))


def position(one: Mapping[str, Any]) -> tuple[float, float]:
    return one["values"]["lat"]["value"], one["values"]["lon"]["value"]


def near(one: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    lat, lon = position(one)
    return abs(lat - expected["lat"]) < METRES and abs(lon - expected["lon"]) < METRES


def ais(capture: Capture) -> None:
    told, expected = capture.decode("ais", "-o", "min_interval_s=0"), capture.expected
    assert len(told.samples) == expected.get("decoded_messages", 0)
    assert Counter(map(str, told.values("type"))) == Counter(expected["by_type"])
    nameless = len(told.samples) - len(told.values("mmsi"))  # cut off within the sender, which others fill with zeros
    assert 0 <= expected["unique_mmsi"] - len(set(told.values("mmsi"))) <= nameless
    for reason in ("orphan_fragment", "unfinished_multipart"):
        assert told.rejects[reason] == expected.get(reason, 0)
    assert told.rejects["unknown_type"] == expected.get("decode_errors", 0)
    positions = [one for one in told.samples if "lat" in one["values"]]
    first = expected["first_position"]
    if first is None:
        assert not expected["by_type"] or not any(near(one, {"lat": 91, "lon": 181}) for one in positions)
    else:
        assert near(positions[0], first)
        assert [positions[0]["values"][name]["value"] for name in ("mmsi", "type")] == [first["mmsi"], first["type"]]
    if "nmea_mixed" in expected:
        sentences(capture, expected["nmea_mixed"])


def nmea0183(capture: Capture) -> None:
    sentences(capture, capture.expected)


def sentences(capture: Capture, expected: Mapping[str, Any]) -> None:
    told = capture.decode("nmea0183")
    assert told.rejects["checksum"] == expected.get("no_checksum", 0)
    positions = [one for one in told.samples if "lat" in one["values"]]
    if "first_fix" in expected:
        assert near(positions[0], expected["first_fix"])
    if "last_fix" in expected:
        assert near(positions[-1], expected["last_fix"])
    assert bool(told.samples) == bool(expected["valid_types"])
    assert len(told.samples) <= expected.get("checksum_ok", 0)


def animal_rfid(capture: Capture) -> None:
    told = capture.decode("animal-tag", "-o", "repeat_s=0")
    tags = Counter([*told.values("tag"), *told.values("industrial")])
    seen = Counter({tag.replace("_", ""): count for tag, count in tags.items()})
    assert len(seen) == capture.expected["unique_tags"]
    for tag, count in capture.expected["top_tags"].items():
        assert seen[tag.replace("_", "")] == count, tag


def rfid_uart(capture: Capture) -> None:
    told, expected = capture.decode("animal-tag", "-o", "repeat_s=0"), capture.expected
    assert told.values("em4100") == expected.get("tags", [expected.get("tag")])
    assert told.rejects.total() == 0


def chirpstack(capture: Capture) -> None:
    expected = capture.expected
    told = capture.decode("chirpstack")
    if "note" in expected:
        assert (told.samples, told.rejects) == ([], Counter({"chirpstack_v3": 1}))
    else:
        uplink(told, expected["devEui"], expected["data_hex"], expected["fCnt"], expected["fPort"])


def tts(capture: Capture) -> None:
    expected = capture.expected
    told = capture.decode("tts")
    uplink(told, expected["dev_eui"].lower(), expected["frm_payload_hex"], expected["f_cnt"], expected["f_port"])


def uplink(told: Told, device: str, data: str, count: int, port: int) -> None:
    (one,) = told.samples
    assert told.rejects.total() == 0
    assert one["source"] == device
    values = {name: value["value"] for name, value in one["values"].items()}
    assert (values["data"], values["f_cnt"], values["f_port"]) == (data, count, port)


def modbus_rtu(capture: Capture) -> None:
    expected = capture.expected
    told = capture.decode("modbus-rtu")
    assert told == capture.decode("modbus-rtu", file=capture.file.with_suffix(".bin"))
    assert told.rejects.total() == expected["exceptions"]
    assert {str(slave) for slave in told.values("slave")} <= set(expected["slave_ids"])
    assert Counter(map(str, told.values("function"))) <= Counter(expected["function_codes"])
    for frame in expected["first_frames"]:
        assert len(bytes.fromhex(frame)) >= 4
    floats = expected.get("float32_BE_ABCD_of_15reg_reads_first3")
    if floats is None:
        return
    values = ", ".join(f'v{at} = {{ register = {2 * at}, type = "float32" }}' for at in range(7))
    named = capture.decode("modbus-rtu", "-o", "slave=247", "-o", f"values={{ {values} }}")
    whole = [[one["values"][f"v{at}"]["value"] for at in range(7)] for one in named.samples if "v6" in one["values"]]
    assert len(whole) == expected["n_15reg_reads"]
    for ours, theirs in zip(whole, floats, strict=False):
        assert ours == pytest.approx(theirs, rel=1e-5)


def mqtt_shelly(capture: Capture) -> None:
    """The answers of a component, which no topic has in this form: read as JSON, every value of them."""
    (one,) = capture.decode("json").samples
    document = json.loads(capture.file.read_bytes())
    named = {name.partition("/")[0] for name in one["values"]}
    full = {name for name in document if any(value is not None for _, value in pointers(document[name]))}
    assert named == full
    assert set(capture.expected["top"]) <= set(document)
    if "shelly" in recorded.names() and capture.file.name.endswith(".GetStatus.json"):
        told = capture.decode("shelly")
        assert (len(told.samples), told.rejects) == (1, Counter())


def p1(capture: Capture) -> None:
    """Its decoder reads kilowatt hours, here they are joules. Those before version 4 have no checksum."""
    expected = capture.expected
    told = capture.decode("p1")
    values = {name: value["value"] for name, value in told.samples[0]["values"].items()}
    assert values["equipment"] == expected["equipment"]
    assert values["energy_import_tariff1"] == pytest.approx(3.6e6 * float(expected["tariff1"].removesuffix(" kWh")))
    assert told.rejects == Counter()
    required = capture.decode("p1", "-o", "checksum=required")
    assert required == (told if expected["crc"] == "ok" else Told([], Counter({"checksum": 1}), 1))


VARIANTS = {"kern": "kern", "ohaus": "ohaus", "tscale": "st-gs", "weight_qa": "kern", "weight_spun": "ohaus"}


def scale(capture: Capture) -> None:
    expected = capture.expected
    variant = next(value for key, value in VARIANTS.items() if capture.file.name.startswith(key))
    told = capture.decode("scale", "-o", f"variant={variant}")
    if "records" in expected:
        assert len(told.samples) == expected["stable"]
        read = told.rejects["in_motion"] + told.rejects["overload"] + told.rejects["underload"]
        assert read == expected["records"] - expected["stable"]
        assert told.rejects["no_match"] == bool(expected["tail"].strip("'"))
        return
    assert len(told.samples) == expected["matching"] - expected["unstable"]
    assert told.rejects == Counter({"in_motion": expected["unstable"], "no_match": expected["not_matching"]})
    grams = 1 if variant == "ohaus" else 0.001
    masses = told.values("mass")
    assert expected["min"] * grams - 1e-9 <= min(masses) <= max(masses) <= expected["max"] * grams + 1e-9
    if not expected["unstable"]:
        assert [min(masses), max(masses)] == pytest.approx([expected["min"] * grams, expected["max"] * grams])


def senml(capture: Capture) -> None:
    expected = capture.expected
    files = [capture.file]
    if capture.file.name.endswith(".gen.resolved.json"):
        files.append(capture.file.with_name(capture.file.name.replace(".gen.resolved", "")))
    for file in files:
        told = capture.decode("senml", file=file)
        values = sum(len(one["values"]) for one in told.samples)
        assert values == expected["records"] or file != capture.file
        assert values >= expected["records"]  # the resolved ones lack data values
        assert told.rejects.total() == 0
        for one, record in ((told.samples[0], expected.get("first")), (told.samples[-1], expected.get("last"))):
            if record is None or record["n"] not in one["values"]:
                assert file != capture.file or record is None
                continue
            value = one["values"][record["n"]]
            assert value["value"] == next(record[label] for label in ("v", "vb", "vs", "vd") if label in record)
            assert value["unit"] == record.get("u")
            if file == capture.file or one["time"] is not None:  # a pack without a time is of when it came
                assert one["time"] == pytest.approx(record["t"], abs=1e-3)


def sparkplug(capture: Capture) -> None:
    """A device's birth; the node's own, which it needs before it, is none of the file."""
    (one,) = capture.decode("sparkplug", "--topic", "spBv1.0/farm/DBIRTH/node/reefer").samples
    wanted = {name: value for name, _, _, value in capture.expected["metrics"] if value is not None}
    assert {name: value["value"] for name, value in one["values"].items()} == wanted


RULES: Mapping[str, Callable[[Capture], None]] = {
    "ais": ais,
    "animal_rfid": animal_rfid,
    "lorawan_chirpstack": chirpstack,
    "lorawan_tts": tts,
    "modbus_rtu": modbus_rtu,
    "mqtt_shelly": mqtt_shelly,
    "nmea0183": nmea0183,
    "p1_dsmr": p1,
    "rfid_uart": rfid_uart,
    "scale": scale,
    "senml": senml,
    "sparkplug": sparkplug,
}
NO_CODEC = {
    "epcis": "events of a supply chain, which no driver reads",
    "lab_serial": "lines of a pH meter in a hexadecimal dump: serial_line's pattern is tested in test_line_captures.py",
}
"""Folders of captures without a rule, and why."""


@pytest.mark.parametrize("folder", RULES)
def test_decode_agrees_on_every_file(folder: str, captures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = json.loads((captures / "expected.json").read_text())
    files = [name for name in expected if name.startswith(f"{folder}/")]
    assert files
    for name in files:
        try:
            RULES[folder](Capture(captures / name, expected[name], capsys))
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_every_file_has_a_rule_or_a_reason(captures: Path) -> None:
    expected = json.loads((captures / "expected.json").read_text())
    assert {name.partition("/")[0] for name in expected} <= set(RULES) | set(NO_CODEC)
    assert {path.name for path in captures.iterdir() if path.is_dir()} <= set(RULES) | set(NO_CODEC)
