"""Tasmota, Shelly, Zigbee2MQTT and Home Assistant's discovery over a real broker, from the simulated devices."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import running

from drivers import registry
from drivers.api import OUT_OF_RANGE, STALE, Link
from drivers.limits import DESCRIPTION_BYTES, FILTERS, PAYLOAD_BYTES
from drivers.mqtt import Broker
from drivers.simulators import firmware
from drivers.simulators.firmware import ESP, NAMES, PLUG, SENSOR, SHELLY1, SHELLY2, TASMOTA, Message

BEGAN = 1_795_500_000.0
TURN = 11  # messages
TURNS = 4
DISCOVERED = ["farm/#"]


def driver(port: int, folder: Path | None = None, **tables: dict[str, Any]) -> Any:
    broker = Broker(name="local", host="127.0.0.1", port=port, client_id="gateway")
    sources = {
        name: (name, msgspec.convert({"broker": "local", **table}, registry.options_type(name)))
        for name, table in tables.items()
    }
    (made,) = registry.build(sources, {"local": broker}, state_dir=folder, now=lambda: BEGAN + 60 * TURNS)
    return made


async def publish(port: int, messages: Iterable[Message]) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for one in messages:
            await client.publish(one.topic, one.payload, qos=1, retain=one.retain)


def values(sample: Any) -> dict[str, tuple[str | None, Any]]:
    return {name: (unit, value) for name, unit, value in sample.records}


async def test_every_device_is_a_source_with_units_times_and_states(mosquitto: Mosquitto) -> None:
    collector = Collector()
    tables = {"tasmota": {}, "shelly": {}, "zigbee2mqtt": {}, "homeassistant": {"more_topics": DISCOVERED}}
    await publish(mosquitto.port, firmware.begin())
    async with running(driver(mosquitto.port, **tables), collector):
        await until(lambda: any(one.reason == "unsupported_template" for one in collector.rejects))
        await publish(mosquitto.port, islice(firmware.messages(), TURN * TURNS))
        await collector.count((TURN - 1) * TURNS)
        await publish(
            mosquitto.port, [Message(f"tele/{TASMOTA}/LWT", b"Offline"), Message(f"farm/{ESP}/status", b"offline")]
        )
        down = {f"tasmota-{TASMOTA}", f"homeassistant-{ESP}"}
        await until(lambda: {one for link in collector.links if not link.up for one in link.sources} == down)
    by_source = Counter(sample.source for sample in collector.samples)
    assert by_source == {
        f"tasmota-{TASMOTA}": TURNS,
        f"shelly-{SHELLY1.lower()}": 4 * TURNS,
        f"shelly-{SHELLY2}": TURNS,
        f"zigbee2mqtt-{SENSOR}": TURNS,
        f"zigbee2mqtt-{PLUG}": TURNS,
        f"homeassistant-{ESP}": 2 * TURNS,
    }
    assert {one.reason for one in collector.rejects} == {"unsupported_template"}
    first = {sample.source: sample for sample in reversed(collector.samples)}
    tasmota = first[f"tasmota-{TASMOTA}"]
    sent = json.loads(tasmota.payload)
    assert (tasmota.time, tasmota.quality) == (None, OUT_OF_RANGE)  # local time; the second DS18B20 says 85
    assert values(tasmota)["ds18b20_1_temperature"] == ("Cel", sent["DS18B20-1"]["Temperature"])
    assert values(tasmota)["ds18b20_2_id"] == (None, "0000057EA1F3")
    assert "ds18b20_2_temperature" not in values(tasmota)
    assert first[f"shelly-{SHELLY2}"].time == BEGAN
    climate = first[f"zigbee2mqtt-{SENSOR}"]
    assert (climate.time, climate.quality) == (BEGAN, 0)
    assert values(climate)["pressure"] == ("Pa", 101_320.0)
    assert first[f"zigbee2mqtt-{PLUG}"].time == BEGAN
    assert values(first[f"homeassistant-{ESP}"])["temperature"][0] == "Cel"


def test_the_simulated_devices_say_the_same_for_a_seed() -> None:
    first, again, other = (list(islice(firmware.messages(seed), 3 * TURN)) for seed in (3, 3, 4))
    assert first == again != other
    assert len({one.topic for one in first}) == TURN


async def test_what_waited_at_the_broker_has_the_names_of_its_time(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """A device is renamed while the gateway is away: its messages before that have the old name."""
    await publish(mosquitto.port, firmware.begin())
    before, after = Collector(), Collector()
    async with running(driver(mosquitto.port, tmp_path, zigbee2mqtt={}), before):
        learnt = tmp_path / "learnt-zigbee2mqtt.json"
        await until(learnt.exists)
        await until(lambda: SENSOR.encode() in learnt.read_bytes())
    renamed = {**NAMES, SENSOR: "cold/room", PLUG: NAMES[SENSOR]}
    await publish(
        mosquitto.port,
        [
            Message(f"zigbee2mqtt/{NAMES[SENSOR]}", b'{"temperature": 1}'),
            firmware.devices(renamed),
            Message("zigbee2mqtt/cold/room", b'{"temperature": 2}'),
            Message(f"zigbee2mqtt/{NAMES[SENSOR]}", b'{"power": 3}'),
        ],
    )
    async with running(driver(mosquitto.port, tmp_path, zigbee2mqtt={}), after):
        await after.count(3)
    assert [(one.source, one.records) for one in after.samples] == [
        (f"zigbee2mqtt-{SENSOR}", [("temperature", "Cel", 1)]),
        (f"zigbee2mqtt-{SENSOR}", [("temperature", "Cel", 2)]),
        (f"zigbee2mqtt-{PLUG}", [("power", "W", 3)]),
    ]
    assert not after.rejects


async def test_a_description_longer_than_any_reading_is_taken(mosquitto: Mosquitto) -> None:
    told = json.loads(firmware.devices(NAMES).payload)
    told[1]["definition"]["description"] = "x" * (PAYLOAD_BYTES * 2)
    over = Message("zigbee2mqtt/bridge/devices", b" " * (DESCRIPTION_BYTES + 1))
    long = Message(f"zigbee2mqtt/{NAMES[PLUG]}", b'{"power": 1, "x": "%s"}' % (b"x" * PAYLOAD_BYTES))
    collector = Collector()
    async with running(driver(mosquitto.port, zigbee2mqtt={}), collector):
        await collector.up()
        await publish(mosquitto.port, [Message("zigbee2mqtt/bridge/devices", json.dumps(told).encode()), over, long])
        await publish(mosquitto.port, [Message(f"zigbee2mqtt/{NAMES[PLUG]}", b'{"power": 1}')])
        await collector.count(1)
    assert collector.samples[0].source == f"zigbee2mqtt-{PLUG}"
    assert [one.reason for one in collector.rejects] == ["too_long", "too_long"]


async def test_retained_values_are_stale_and_a_bridge_that_is_away_is_told(mosquitto: Mosquitto) -> None:
    collector = Collector()
    await publish(mosquitto.port, [Message(f"tele/{TASMOTA}/SENSOR", b'{"AM": {"Humidity": 1}}', True)])
    async with running(driver(mosquitto.port, tasmota={}, zigbee2mqtt={}), collector):
        await collector.count(1)
        await publish(mosquitto.port, [Message("zigbee2mqtt/bridge/state", b'{"state":"offline"}')])
        told = {"detail": "Zigbee2MQTT says offline"}
        gone = Link(False, told["detail"], ("zigbee2mqtt",), condition="device-away", values=told)
        await until(lambda: gone in collector.links)
    assert collector.samples[0].quality == STALE


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("zigbee2mqtt", {"topic": "zigbee2mqtt/+"}),
        ("zigbee2mqtt", {"topic": "+/zigbee2mqtt/#"}),
        ("homeassistant", {"topic": "homeassistant"}),
        ("homeassistant", {"more_topics": ["a/#/b"]}),
        ("tasmota", {"more_topics": ["a"] * (FILTERS + 1)}),
        ("tasmota", {"id": "{1}"}),
        ("shelly", {"max_ahead_s": -1}),
        ("shelly", {"topic": ""}),
    ],
)
def test_options_that_are_refused(name: str, wrong: dict[str, Any]) -> None:
    kind = registry.options_type(name)
    made: Any = msgspec.convert({"broker": "local", "more_topics": ["a"] * FILTERS}, kind)
    assert made.filters == (made.topic, *["a"] * FILTERS)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"broker": "local", **wrong}, kind)
