"""LoRaWAN and SenML devices as their servers publish them: ChirpStack v4, The Things Stack v3, SenML packs."""

import base64
import json
import random
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

Message = tuple[str, bytes]

SOIL, TANK, WEATHER = "70b3d57ed0051a01", "0004a30b001c0530", "urn:dev:mac:0024befffe804ff1"
CHIRPSTACK_TOPIC = f"application/4c1e/device/{SOIL}/event/up"
TTS_TOPIC = "v3/farm@ttn/devices/tank-2/up"
SENML_TOPIC, SENML_CBOR_TOPIC = "senml/weather", "senml/weather-cbor"


def messages(seed: int = 1, began: float = 1_795_500_000.0) -> Iterator[Message]:
    """Topics and payloads without end, the same for a seed: one of each kind in turn, a minute a turn.

    Every fifth uplink of each network server comes twice, as where two integrations publish it; every twentieth is the
    first of a new session.
    """
    rng = random.Random(seed)  # noqa: S311  a simulation
    session = 0
    for number in count():
        at, session = began + 60 * number, session + (number % 20 == 0)
        soil = _chirpstack(rng, at, number % 20, session)
        tank = _tts(rng, at, number % 20, session)
        for topic, payload in ((CHIRPSTACK_TOPIC, soil), (TTS_TOPIC, tank)):
            yield topic, payload
            if number % 5 == 4:
                yield topic, payload
        temperature, rain = round(rng.uniform(8, 24), 1), round(rng.uniform(0, 3), 1)
        yield SENML_TOPIC, senml_json(at, temperature, rain)
        yield SENML_CBOR_TOPIC, senml_cbor(at, temperature, rain)


def _chirpstack(rng: random.Random, at: float, f_cnt: int, session: int) -> bytes:
    moisture, temperature = rng.randrange(2000, 4000), rng.randrange(80, 240)
    event = {
        "deduplicationId": f"{rng.getrandbits(128):032x}",
        "time": _time(at),
        "deviceInfo": {"tenantName": "farm", "applicationId": "4c1e", "deviceName": "soil-1", "devEui": SOIL},
        "devAddr": f"01{session:06x}",
        "dr": 5,
        "fPort": 2,
        "data": base64.b64encode(struct.pack(">HH", moisture, temperature)).decode(),
        "object": {"moisture": f"{moisture / 100} %", "temp_SOIL": f"{temperature / 10} °C", "state": "ok"},
        "rxInfo": [{"gatewayId": "0016c001f1500a01", "rssi": rng.randrange(-120, -60), "snr": 7.5}],
        "txInfo": {"frequency": 868100000, "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 7}}},
    }
    if f_cnt:
        event["fCnt"] = f_cnt
    return _json(event)


def _tts(rng: random.Random, at: float, f_cnt: int, session: int) -> bytes:
    level = rng.randrange(200, 1800)
    uplink: dict[str, object] = {
        "session_key_id": base64.b64encode(session.to_bytes(16, "big")).decode(),
        "frm_payload": base64.b64encode(struct.pack(">H", level)).decode().rstrip("="),
        "rx_metadata": [{"gateway_ids": {"gateway_id": "barn"}, "rssi": rng.randrange(-120, -60), "snr": 9.25}],
        "settings": {"data_rate": {"lora": {"spreading_factor": 9}}, "frequency": "867500000"},
        "received_at": _time(at),
    }
    if f_cnt:
        uplink["f_cnt"] = f_cnt
    ids = {"device_id": "tank-2", "application_ids": {"application_id": "farm"}, "dev_eui": TANK.upper()}
    return _json({"end_device_ids": ids, "received_at": _time(at + 0.2), "uplink_message": uplink})


def senml_json(at: float, temperature: float, rain: float) -> bytes:
    """A pack of three values, the last from a minute before."""
    return _json(
        [
            {"bn": f"{WEATHER}:", "bt": at, "n": "temp", "u": "Cel", "v": temperature},
            {"n": "open", "vb": False},
            {"n": "rain", "u": "mm", "t": -60, "v": rain},
        ]
    )


def senml_cbor(at: float, temperature: float, rain: float) -> bytes:
    """The same pack in CBOR."""
    first = b"\xa5" + b"\x21" + _text(f"{WEATHER}:") + b"\x22" + _double(at)
    first += b"\x00" + _text("temp") + b"\x01" + _text("Cel") + b"\x02" + _double(temperature)
    second = b"\xa2\x00" + _text("open") + b"\x04\xf4"
    third = b"\xa4\x00" + _text("rain") + b"\x01" + _text("mm") + b"\x06\x38\x3b\x02" + _double(rain)
    return b"\x83" + first + second + third


def _text(text: str) -> bytes:
    data = text.encode()
    return (bytes([0x60 + len(data)]) if len(data) < 24 else bytes([0x78, len(data)])) + data


def _double(value: float) -> bytes:
    return b"\xfb" + struct.pack(">d", value)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
