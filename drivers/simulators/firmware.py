"""What common firmware publishes: a Tasmota plug, Shelly devices of two generations, Zigbee2MQTT, and a device that
describes itself by Home Assistant's discovery. The shapes are theirs; the numbers are made up.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

TASMOTA, SHELLY1, SHELLY2, ESP = "cold-room", "shellyem-B9F60B", "shellyplus1pm-a8032abe54dc", "milk-tank"
SENSOR, PLUG = "0x00158d0001dc126a", "0x842e14fffe13ab51"
NAMES = {SENSOR: "barn/north wall", PLUG: "Milk pump"}
DISCOVERY = f"homeassistant/sensor/{ESP}"


class Message(NamedTuple):
    """One that is published."""

    topic: str
    payload: bytes
    retain: bool = False


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def begin(names: dict[str, str] | None = None) -> list[Message]:
    """What is retained: last wills, bridge/devices, configurations."""
    return [
        Message(f"tele/{TASMOTA}/LWT", b"Online", True),
        Message(f"shellies/{SHELLY1}/online", b"true", True),
        Message(f"{SHELLY2}/online", b"true", True),
        *(Message(f"zigbee2mqtt/{name}/availability", b'{"state":"online"}', True) for name in NAMES.values()),
        devices(names or NAMES),
        Message("zigbee2mqtt/bridge/state", b'{"state":"online"}', True),
        *configurations(),
    ]


def devices(names: dict[str, str]) -> Message:
    """Retained, and again after each rename."""
    climate = [
        {"type": "numeric", "name": "temperature", "property": "temperature", "unit": "°C", "access": 1},
        {"type": "numeric", "name": "humidity", "property": "humidity", "unit": "%", "access": 1},
        {"type": "numeric", "name": "pressure", "property": "pressure", "unit": "hPa", "access": 1},
        {"type": "numeric", "name": "battery", "property": "battery", "unit": "%", "access": 1},
        {"type": "numeric", "name": "voltage", "property": "voltage", "unit": "mV", "access": 1},
        {"type": "numeric", "name": "linkquality", "property": "linkquality", "unit": "lqi", "access": 1},
    ]
    switch = [
        {"type": "switch", "features": [{"type": "binary", "name": "state", "property": "state", "access": 7}]},
        {"type": "numeric", "name": "power", "property": "power", "unit": "W", "access": 1},
        {"type": "numeric", "name": "energy", "property": "energy", "unit": "kWh", "access": 1},
        {"type": "numeric", "name": "linkquality", "property": "linkquality", "unit": "lqi", "access": 1},
    ]
    known: list[dict[str, object]] = [
        {"ieee_address": "0x00124b0018e27b16", "type": "Coordinator", "friendly_name": "Coordinator"}
    ]
    for address, exposes in ((SENSOR, climate), (PLUG, switch)):
        definition = {"exposes": exposes}
        known.append({"ieee_address": address, "friendly_name": names[address], "definition": definition})
    return Message("zigbee2mqtt/bridge/devices", _json(known), True)


def configurations() -> list[Message]:
    """Two values and the availability of one device, with abbreviated keys; one template is a program."""
    base = {"~": f"farm/{ESP}", "dev": {"ids": [ESP], "name": "Milk tank"}, "avty_t": "~/status"}
    temperature = {"stat_t": "~/state", "unit_of_meas": "°C", "dev_cla": "temperature", **base}
    level = {"stat_t": "~/state", "unit_of_meas": "%", **base}
    stirrer = {"stat_t": "~/stirrer", "pl_on": "1", "pl_off": "0", **base}
    return [
        Message(f"{DISCOVERY}/temperature/config", _json({**temperature, "val_tpl": "{{ value_json.milk.t }}"}), True),
        Message(f"{DISCOVERY}/level/config", _json({**level, "val_tpl": "{{value_json['level']}}"}), True),
        Message(f"homeassistant/binary_sensor/{ESP}/stirrer/config", _json(stirrer), True),
        Message(f"{DISCOVERY}/rounded/config", _json({**level, "val_tpl": "{{ value_json.level | round(0) }}"}), True),
    ]


def messages(seed: int = 1, began: float = 1_795_500_000.0) -> Iterator[Message]:
    """Without end, the same for a seed: each device once a turn, a minute a turn."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    for number in count():
        at, t, p = began + 60 * number, round(rng.uniform(2, 6), 1), round(rng.uniform(0, 900), 1)
        yield Message(f"tele/{TASMOTA}/SENSOR", _tasmota(at, t, p))
        yield from _gen1(t, p)
        yield Message(f"{SHELLY2}/events/rpc", _notify(at, t, p))
        climate = {"battery": 97, "temperature": t, "humidity": 61.5, "pressure": 1013.2, "voltage": 2985}
        when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield Message(f"zigbee2mqtt/{NAMES[SENSOR]}", _json({**climate, "linkquality": 120, "last_seen": when}))
        plug = {"state": "ON", "power": p, "energy": 1.5, "linkquality": None, "last_seen": int(at * 1000)}
        yield Message(f"zigbee2mqtt/{NAMES[PLUG]}", _json(plug))
        yield Message(f"farm/{ESP}/state", _json({"milk": {"t": t}, "level": 55}))
        yield Message(f"farm/{ESP}/stirrer", b"1" if number % 2 else b"0")


def _tasmota(at: float, temperature: float, power: float) -> bytes:
    local = (datetime.fromtimestamp(at, UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    return _json(
        {
            "Time": local,
            "DS18B20-1": {"Id": "00000566CC39", "Temperature": temperature},
            "DS18B20-2": {"Id": "0000057EA1F3", "Temperature": 85},
            "ENERGY": {"TotalStartTime": "2026-01-01T00:00:00", "Total": 12.5, "Power": power, "Voltage": 231},
            "TempUnit": "C",
        }
    )


def _gen1(temperature: float, power: float) -> Iterator[Message]:
    base = f"shellies/{SHELLY1}"
    yield Message(f"{base}/relay/0", b"on")
    yield Message(f"{base}/emeter/0/power", f"{power:.2f}".encode())
    yield Message(f"{base}/emeter/0/total", b"48130.6")
    yield Message(f"{base}/ext_temperature/0", f"{temperature:.2f}".encode())
    yield Message(f"{base}/ext_temperature_f/0", b"39.20")


def _notify(at: float, temperature: float, power: float) -> bytes:
    switch = {"id": 0, "output": True, "apower": power, "aenergy": {"total": 314.8, "by_minute": [1.0, 2.0, 3.0]}}
    params = {"ts": round(at, 2), "switch:0": switch, "temperature:100": {"id": 100, "tC": temperature, "tF": 39.2}}
    return _json({"src": SHELLY2, "dst": f"{SHELLY2}/events", "method": "NotifyStatus", "params": params})
