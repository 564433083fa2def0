"""What each driver's device sends, written by hand from its protocol: where the codecs' shared suites begin.

A driver joins them by being registered; one that has no recording here fails `contracts/test_codecs.py`.
"""

from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from typing import Any, NamedTuple

import msgspec

from drivers import recorded, registry
from drivers.codecs.base import Found
from drivers.codecs.modbus_rtu import crc16
from drivers.kinds import Kind
from drivers.simulators import ais, edge_node, firmware, lorawan, nmea, p1, scales, sticks


class Recording(NamedTuple):
    """One stream, or the messages (topic, payload) of one source; `options` of its driver's table."""

    options: Mapping[str, Any]
    stream: bytes = b""
    messages: tuple[tuple[str, bytes], ...] = ()

    @property
    def payloads(self) -> tuple[bytes, ...]:
        """What a mutation begins with."""
        return (self.stream, *(payload for _, payload in self.messages))


SHIP = b"".join(line for line, _ in zip(nmea.log(), range(8), strict=False))
BRIDGE = b"".join(islice(nmea.bridge(), 17)) + b"$SDDBT,7.9,f,2.4,M,1.3,F*0D\r\n$GPGGA,1\r\n"
HEARD = b"".join(islice(ais.traffic(), 7)) + ais.tagged(b"!AIVDM,1,1,,A,,0*26", s="r1", c=1_795_500_000) + b"\r\n"
NUMBER = {"values": {"n": {}}}
LINES = {
    "framing": "line",
    "format": "csv",
    "columns": ["time", "temp", "", "state"],
    "separator": ";",
    "values": {
        "temp": {"unit": "Cel", "scale": 0.1, "sentinels": [-9999, "err"], "optional": True},
        "state": {"type": "text", "unit": "mood"},
    },
    "time": {"format": "unix"},
}
CSV = b"1795500000;215;x;on\r\n1795500060;-9999;x;\xff\n\n;err;x;off\r1795500060;1;\r\n"
WEIGHT = {
    "format": "regex",
    "pattern": r"(?:ST|(?P<unstable>US)),GS,(?P<mass>[-+] *\d+)kg",
    "values": {"mass": {"unit": "kg"}},
}
JSON = {
    "values": {
        "t": {"unit": "Cel", "optional": True, "sentinels": [-99.9]},
        "s": {"type": "text", "optional": True},
        "deep": {"pointer": "/a/0/b", "optional": True},
    },
    "time": {"pointer": "/at", "format": "unix"},
}
DOCUMENTS = (b'{"t": 21.5, "s": "on", "at": 1795500000}', b'{"t": -99.9, "a": [{"b": 12345678901234567890}]}', b"[]")

TAGS = b"".join(sticks.FORMS[form](982, 199702347) for form in sticks.FORMS) + b">UP\r\nLR 0006 0000000018514243\r\n"
TICKET = {
    "begin": "WEIGHBRIDGE .*",
    "end": "-+",
    "pattern": r".*\nGROSS +(?P<gross>\d+) kg\nTARE +(?P<tare>\d+) kg\n-+",
    "values": {"gross": {"unit": "kg"}, "tare": {"unit": "kg"}},
}


def _frames(*frames: str) -> bytes:
    """RTU frames with their CRC."""
    return b"".join(bytes.fromhex(one) + crc16(bytes.fromhex(one)).to_bytes(2, "little") for one in frames)


BUS = _frames(
    *("01 03 0000 0003", "01 03 06 00d7 ff9c 7fff"),  # three registers, asked for and answered
    *("01 01 0013 0013", "01 01 03 cd6b05"),  # 19 coils, in an answer as long as a question
    *("05 06 0001 0003", "05 06 0001 0003", "05 03 0100 0001", "05 83 02"),  # a write, and an exception
)

W1 = (
    b"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
    b"50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n-10625\n"
)
SDI12 = b"CC0!\r\nC00203\r\nCD0!\r\nC+000.72+001.90\r\nCD1!\r\nC+005.20\r\n0M!00012\r\n0D0!0-9999+3.1\r\n"


def _weighed(form: str) -> bytes:
    return b"".join(scales.FORMS[form](stable, mass) for stable, mass in ((False, 900), (True, 1000), (True, 0)))


_LINES = (
    Recording(LINES, CSV),
    Recording(WEIGHT, b"US,GS,+   900kg\r\nST,GS,+  1000kg\r\nST,GS,-     0kg\r\n"),
    Recording(
        {"framing": "marked", "trailer": 1, "format": "text", **NUMBER}, b"\x02 21\x03!\r\n\x0222\x03!x\x0223\x03!"
    ),
    Recording(
        {"framing": "fixed", "start": "AB", "length": 5, "format": "regex", "pattern": "AB(?P<n>.*)", **NUMBER},
        b"AB123xAB456A",
    ),
    Recording({"framing": "fixed", "length": 20, "format": "text", **NUMBER}, b"00000000000000000012345"),
    Recording({"delimiter": "<>", "format": "text", **NUMBER}, b"1<>2<<>3<>>4<>5<>"),
    Recording({"format": "json", **JSON}, b"\n".join(DOCUMENTS) + b"\n"),
    Recording({"checksum": "nmea", "format": "regex", "pattern": r"\$..MTW,(?P<n>[\d.]+),C.*", **NUMBER}, SHIP),
)
FIELD = tuple(islice(lorawan.messages(), 30))
MEASURED = {"units": {"battery": "mV"}}
DECODED = b"""{"deviceInfo": {"devEui": "0011223344556677"}, "time": "2026-11-24T06:00:00Z", "data": "AAE", "object": {
 "a": "1 ppm", "a.unit": 2, "": {"_": [true, null, 12345678901234567890, "NaN", "9e+999"]}, "raw": "x", "rssi": 1}}"""


def _field(*topics: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((topic, payload) for topic, payload in FIELD if topic in topics)


HOME = [*firmware.begin(), *islice(firmware.messages(), 22)]
STATUS = b"""{"id": 1, "src": "shelly-1", "result": {"switch:0": {"id": 0, "output": false, "errors": ["overtemp"]},
 "em:0": {"a_act_power": 12.5, "total_current": 1e-3}, "sys": {"unixtime": 1795500000, "mac": "AB"}}}"""
BUTTON = b"""{"src": "shelly-1", "method": "NotifyEvent", "params": {"ts": 1795500000.5, "events": [
 {"component": "input:0", "id": 0, "event": "single_push", "ts": 1795500000.5}, {"component": "sys", "event": "x"}]}}"""
ANSWER = b'{"StatusSNS": {"Epoch": 1795500000, "AM": {"Pressure": [1]}, "PressureUnit": "mmHg"}}'


def _plant() -> tuple[tuple[str, bytes], ...]:
    node, ms = edge_node.EdgeNode(), 1_795_500_000_000
    lost = node.data(ms)
    births = tuple(node.births(ms))
    return (
        lost,
        *births,
        *(node.data(ms + 1_000 * n) for n in range(4)),
        node.will(),
        ("spBv1.0/STATE/scada", b"ONLINE"),
    )


def _home(*beginnings: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((one.topic, one.payload) for one in HOME if one.topic.startswith(beginnings))


RECORDINGS: Mapping[str, tuple[Recording, ...]] = {
    "animal_tag": (
        Recording({"repeat_s": 0, "allow_test": True}, TAGS),
        Recording({}, TAGS),
    ),
    "ais": (Recording({}, HEARD), Recording({"min_interval_s": 60}, HEARD)),
    "chirpstack": (
        Recording({}, messages=_field(lorawan.CHIRPSTACK_TOPIC)),
        Recording(MEASURED, messages=((lorawan.CHIRPSTACK_TOPIC, DECODED),)),
    ),
    "tts": (Recording(MEASURED, messages=_field(lorawan.TTS_TOPIC)),),
    "senml": (
        Recording({"topic": "senml/+"}, messages=_field(lorawan.SENML_TOPIC, lorawan.SENML_CBOR_TOPIC)),
        Recording({"topic": "senml/+", "device_level": 2}, messages=_field(lorawan.SENML_CBOR_TOPIC)),
    ),
    "sparkplug": (Recording({}, messages=_plant()), Recording({"rebirth": False}, messages=_plant())),
    "tasmota": (
        Recording({}, messages=_home("tele/")),
        Recording({"topic": "stat/a/b/STATUS8"}, messages=(("stat/a/b/STATUS8", ANSWER),)),
    ),
    "shelly": (
        Recording({}, messages=_home("shelly", "shellies")),
        Recording({"fahrenheit": True}, messages=(("shellies/ht/sensor/temperature", b"70.1"),)),
        Recording(
            {}, messages=(("s/events/rpc", STATUS), ("s/events/rpc", BUTTON), ("s/status/switch:0", b'{"voltage": 1}'))
        ),
    ),
    "zigbee2mqtt": (Recording({}, messages=_home("zigbee2mqtt/")),),
    "homeassistant": (Recording({"more_topics": ["farm/#"]}, messages=_home("homeassistant/", "farm/")),),
    "modbus_rtu": (
        Recording({}, BUS),
        Recording(
            {"slave": 1, "values": {"t": {"register": 2, "type": "int16"}, "on": {"register": 19, "kind": "coil"}}}, BUS
        ),
    ),
    "mqtt": (
        Recording(JSON, messages=tuple(("farm/3/climate", one) for one in DOCUMENTS)),
        Recording({"payload": "text", **NUMBER}, messages=(("farm/3/t", b"-  21.5"), ("farm/3/t", b"on"))),
    ),
    "onewire": (Recording({}, W1),),
    "scale": (
        *(Recording({"variant": form, "unit": "kg"}, _weighed(form)) for form in scales.FORMS if form != "ticket"),
        Recording({"variant": "mt-continuous", "checksum": True, "keep_motion": True}, _weighed("mt-continuous")),
        Recording({"variant": "ticket", **TICKET}, _weighed("ticket")),
    ),
    "nmea0183": (Recording({}, BRIDGE), Recording({"checksum": "optional", "text": ["GSA"]}, BRIDGE)),
    "p1": (
        Recording({}, b"".join(islice(p1.meter(), 3))),
        Recording({}, b"".join(islice(p1.old_meter(), 3))),
        Recording({"checksum": "required", "min_interval_s": 10}, next(p1.meter())),
    ),
    "sdi12": (
        Recording({}, SDI12),
        Recording({"values": {"ec": {"index": 2, "unit": "S/m", "scale": 0.1}}}, SDI12),
    ),
    "serial_line": _LINES,
}


def kinds() -> list[Kind]:
    """Every driver that has a codec."""
    return [kind for kind in map(registry.kind, registry.names()) if kind.codec is not None]


def of(kind: Kind) -> tuple[Recording, ...]:
    """Its recordings; for a driver that has none yet, one without any bytes."""
    return RECORDINGS.get(kind.name, (Recording({}),))


def options(kind: Kind, recording: Recording) -> Any:
    """The options of its table, checked by its own type."""
    table = recorded.plan(kind, recording.options).table
    return msgspec.convert(table, kind.options)


def codec(kind: Kind, recording: Recording, *, drop_first: bool = False) -> Any:
    """A new codec for it."""
    assert kind.codec is not None
    made = options(kind, recording)
    return kind.codec(made) if kind.shape == "subscribe" else kind.codec(made, drop_first=drop_first)


def findings(
    kind: Kind, recording: Recording, now: float | None, data: bytes | None = None, cuts: tuple[int, ...] = ()
) -> list[recorded.Finding]:
    """What a new codec finds in the recording, or in `data` in its place, which for a stream is cut into chunks."""
    made = codec(kind, recording)
    if hasattr(made, "feed"):
        whole = recording.stream if data is None else data
        places = [0, *sorted(cut for cut in cuts if cut <= len(whole)), len(whole)]
        found = [one for a, b in pairwise(places) for one in made.feed(whole[a:b], now)]
        return [*found, *made.end(now)]
    messages = recording.messages if data is None else [(topic, data) for topic in topics(kind, recording)]
    return [one for topic, payload in messages for one in recorded.message(made, topic, payload, now)]


def topics(kind: Kind, recording: Recording) -> list[str]:
    """Those of the recording, and what a topic can also be."""
    return list(dict.fromkeys([*(topic for topic, _ in recording.messages), kind.topic or "a/b", "x"]))


def found(findings: list[recorded.Finding]) -> Iterator[Found]:
    """The samples among them."""
    return (one for one in findings if isinstance(one, Found))
