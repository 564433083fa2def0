"""LoRaWAN network servers' and SenML messages over a real broker, from the simulated field."""

import base64
import itertools
import json
from collections import Counter
from typing import Any

import aiomqtt
import msgspec
import pytest
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import running

from drivers import chirpstack, registry, senml, tts
from drivers.api import STALE, Link
from drivers.mqtt import Broker
from drivers.simulators import lorawan

BEGAN = 1_795_500_000.0
TURNS = 25


def field() -> list[lorawan.Message]:
    """What the simulated devices publish in so many turns."""
    turns, made = 0, []
    for topic, payload in lorawan.messages(began=BEGAN):
        made.append((topic, payload))
        turns += topic == lorawan.SENML_CBOR_TOPIC
        if turns == TURNS:
            return made
    raise AssertionError


def driver(port: int, **sources: tuple[str, Any]) -> Any:
    broker = Broker(name="local", host="127.0.0.1", port=port, client_id="gateway")
    (made,) = registry.build(sources, {"local": broker}, now=lambda: BEGAN + 60 * TURNS)
    return made


async def publish(port: int, messages: list[lorawan.Message], *, retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=1, retain=retain)


async def test_every_device_of_the_field_is_a_source(mosquitto: Mosquitto) -> None:
    sources = {
        "soil": ("chirpstack", chirpstack.ChirpstackOptions(broker="local")),
        "ttn": ("tts", tts.TtsOptions(broker="local")),
        "air": ("senml", senml.SenmlOptions(broker="local", topic="senml/+", device_level=2)),
    }
    collector, messages = Collector(), field()
    async with running(driver(mosquitto.port, **sources), collector):
        await collector.up()
        await publish(mosquitto.port, messages)
        await until(lambda: len(collector.samples) + len(collector.rejects) == 6 * TURNS + 2 * (TURNS // 5))
    soil, tank = f"soil-{lorawan.SOIL}", f"ttn-{lorawan.TANK}"
    assert Counter(sample.source for sample in collector.samples) == {
        soil: TURNS,
        tank: TURNS,
        "air-weather": 2 * TURNS,
        "air-weather-cbor": 2 * TURNS,
    }
    assert Counter((one.source, one.reason) for one in collector.rejects) == {
        (soil, "duplicate"): TURNS // 5,
        (tank, "duplicate"): TURNS // 5,
    }
    by_source = {name: [one for one in collector.samples if one.source == name] for name in (soil, tank)}
    for name, told in ((soil, lorawan.CHIRPSTACK_TOPIC), (tank, lorawan.TTS_TOPIC)):
        sent = [payload for topic, payload in dict.fromkeys(messages) if topic == told]
        assert [sample.payload for sample in by_source[name]] == sent
        counters = [{key: value for key, _, value in one.records}["f_cnt"] for one in by_source[name]]
        assert counters == [turn % 20 for turn in range(TURNS)]
    assert [sample.time for sample in by_source[soil]] == [BEGAN + 60 * turn for turn in range(TURNS)]
    for sample in by_source[soil]:
        event = json.loads(sample.payload)
        values = {key: (unit, value) for key, unit, value in sample.records}
        assert values["temp_SOIL"] == ("Cel", float(event["object"]["temp_SOIL"].split()[0]))
        assert values["moisture"][0] == "/"
        assert values["data"] == (None, base64.b64decode(event["data"]))


async def test_json_and_cbor_of_one_pack_are_the_same_readings(mosquitto: Mosquitto) -> None:
    collector = Collector()
    one = senml.SenmlOptions(broker="local", topic="senml/#")
    async with running(driver(mosquitto.port, air=("senml", one)), collector):
        await collector.up()
        payloads = lorawan.senml_json(BEGAN, 12.5, 0.5), lorawan.senml_cbor(BEGAN, 12.5, 0.5)
        await publish(mosquitto.port, [("senml/a", payloads[0]), ("senml/b/c", payloads[1]), ("senml/x", b"<sensml/>")])
        await until(lambda: len(collector.samples) == 4 and collector.rejects)
    samples = collector.samples
    assert [(one.source, one.records, one.time) for one in samples[:2]] == [
        ("air", [(f"{lorawan.WEATHER}:temp", "Cel", 12.5), (f"{lorawan.WEATHER}:open", None, False)], BEGAN),
        ("air", [(f"{lorawan.WEATHER}:rain", None, 0.5), (f"{lorawan.WEATHER}:rain.unit", None, "mm")], BEGAN - 60),
    ]
    assert [one.records for one in samples[2:]] == [one.records for one in samples[:2]]
    evidence = [(payload, shared) for payload in payloads for shared in (False, True)]
    assert [(one.payload, one.shared) for one in samples] == evidence
    assert [(one.source, one.reason) for one in collector.rejects] == [("air", "unsupported_format")]


async def test_a_join_is_told_of_the_device_and_what_is_retained_is_stale(mosquitto: Mosquitto) -> None:
    event = {"deviceInfo": {"devEui": lorawan.SOIL}, "devAddr": "01000001"}
    base = f"application/4c1e/device/{lorawan.SOIL}/event"
    uplink = next(payload for topic, payload in lorawan.messages() if topic == lorawan.CHIRPSTACK_TOPIC)
    await publish(mosquitto.port, [(f"{base}/up", uplink)], retain=True)
    collector = Collector()
    options = chirpstack.ChirpstackOptions(broker="local", topic="application/+/device/+/event/+", id="field-{device}")
    async with running(driver(mosquitto.port, soil=("chirpstack", options)), collector):
        await collector.count(1)
        await publish(mosquitto.port, [(f"{base}/join", json.dumps(event).encode()), (f"{base}/ack", b"{}")])
        source = f"field-{lorawan.SOIL}"
        await until(lambda: any(isinstance(item, Link) and item.sources == (source,) for item in collector.items))
    assert [(one.source, one.quality) for one in collector.samples] == [(source, STALE)]
    assert not collector.rejects


def test_options_of_every_kind() -> None:
    for name, table in (("chirpstack", {}), ("tts", {}), ("senml", {"topic": "a/+"})):
        made: Any = msgspec.convert({"broker": "local", **table}, registry.options_type(name))
        assert made.filters == (made.topic,)
    for name, wrong in (
        ("chirpstack", {"units": {"t": ""}}),
        ("chirpstack", {"units": {"t" * 65: "Cel"}}),
        ("tts", {"max_behind_s": -1}),
        ("tts", {"topic": "v3/#/x"}),
        ("senml", {}),
        ("senml", {"topic": "a/+", "device_level": 3}),
        ("senml", {"topic": "a/+", "device_level": -1}),
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"broker": "local", **wrong}, registry.options_type(name))
    msgspec.convert({"broker": "local", "topic": "a/#", "device_level": 9}, registry.options_type("senml"))


def test_the_simulated_field_says_the_same_for_a_seed() -> None:
    first, again, other = (list(itertools.islice(lorawan.messages(seed), 40)) for seed in (3, 3, 4))
    assert first == again != other
