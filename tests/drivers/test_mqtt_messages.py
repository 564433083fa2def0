"""Sources whose messages a MessageCodec reads: devices, several samples of one message, states, what is asked for."""

import asyncio
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.mqtt_proxy import PUBACK, MqttProxy
from fakes.words import Two, Words

from drivers.api import STALE, UNSTABLE, Delivery, Heard, Link, Reject, Sample
from drivers.codecs.values import ValueMap
from drivers.conditions import DEVICE_AWAY
from drivers.limits import EXAMPLE_BYTES, PAYLOAD_BYTES
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from drivers.mqtt_findings import Message, read
from drivers.mqtt_routes import Reader, Refusal, Routes


def options(**more: Any) -> Two:
    return Two(**{"broker": "local", **more})


def reader(**more: Any) -> Reader:
    return Routes("mqtt-local", {"w": options(**more)}, {"w": Words}).readers[0]


def said(payload: bytes, *, retained: bool = False, shared: bool = False, by: Reader | None = None) -> list[Any]:
    delivery = Delivery("local", 1, b"d", False)
    return list(read(by or reader(), Message("w/1", payload, retained, delivery, shared), 9.0)[0])


def test_samples_of_one_message_have_one_delivery_and_one_of_them_the_payload() -> None:
    one, two = said(b"=1 =2")
    assert one == Sample("w", [("t", None, 1)], b"=1 =2", 5.0, UNSTABLE, Delivery("local", 1, b"d", False))
    assert two == one._replace(records=[("t", None, 2)], shared=True)
    assert one.delivery is two.delivery
    assert [item.shared for item in said(b"a=1 a=2 a=3")] == [False, True, True]
    assert [item.shared for item in said(b"a=1 b=2")] == [True, True]
    assert [item.shared for item in said(b"a=1 b=2", by=reader(id=""))] == [False, True]
    assert [item.shared for item in said(b"a=1", shared=True)] == [True]
    assert [(item.payload, item.shared) for item in said(b"a=1own b=2own")] == [(b"own", False)] * 2
    assert [item.shared for item in said(b"a=1own b=2")] == [False, False]


def test_each_device_is_a_source_of_its_own() -> None:
    by = reader(max_sources=2)
    assert [item.source for item in said("Küche/Süd=1 a=2 =3".encode(), by=by)] == ["w-k-che-s-d", "w-a", "w"]
    assert [item.source for item in said(b"b=1", by=by)] == ["w"]
    full, taken = said(b"b=1 A=1", by=by)
    assert (full.source, full.reason, taken.reason) == ("w", "too_many_sources", "source_id_taken")
    assert by.source("---") == Refusal("source_id_taken", "'w----' makes w, which is another's")
    assert said(b"a=1", by=reader(id="{device}"))[0].source == "a"
    assert said(b"w=1", by=reader(id="{device}"))[0].reason == "source_id_taken"
    assert said(("x" * 70 + "=1").encode())[0].reason == "bad_source_id"


def test_states_refusals_and_what_is_unfit() -> None:
    up, down, refused = said(b"a? b! a-why")
    assert (up, down[:3]) == (Link(True, "it says so", ("w-a",)), (False, "it says so", ("w-b",)))
    assert (down.condition, down.values) == (DEVICE_AWAY, {"detail": "it says so"})
    assert refused == Reject("w-a", "why", b"example", "w/1", Delivery("local", 1, b"d", False))
    assert said(b"unfit") == [Reject("w", "wrong_type", b"unfit", "unfit", Delivery("local", 1, b"d", False))]
    assert said(b"a=1", retained=True)[0].quality == UNSTABLE | STALE
    delivery = Delivery("local", 1, b"d", False)
    assert said(b"") == [Heard(delivery)]  # it frees its packet id all the same
    assert said(b"a?")[1:] == [Heard(delivery)]


def test_topics_of_all_filters_once_and_what_they_share() -> None:
    plain = MqttOptions(broker="local", topic="w/#", values={"t": ValueMap()})
    routes = Routes("mqtt-local", {"w": options(second="w/#"), "plain": plain}, {"w": Words})
    targets, readers, shared, topic = routes.find(b"w/1")
    assert (len(targets), len(readers), shared, topic) == (1, 1, True, "w/1")
    assert routes.find(b"x")[0][0].source == "mqtt-local"
    assert not Routes("m", {"w": options()}, {"w": Words}).find(b"other/a")[2]


@pytest.mark.parametrize("wrong", [{"id": "{1}"}, {"id": "{source}"}, {"id": "A{device}"}, {"second": "a/#/b"}])
def test_options_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"device|topic"):
        options(**wrong)


def driver_at(port: int, folder: Path | None = None, **more: Any) -> MqttDriver:
    broker = Broker(name="local", host="127.0.0.1", port=port, client_id="gateway-1")
    state_file = folder / "mqtt-local.json" if folder else None
    return MqttDriver(broker, {"w": options(**more)}, codecs={"w": Words}, state_file=state_file)


async def publish(port: int, *messages: tuple[str, bytes], retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic, body in messages:
            await client.publish(topic, body, qos=1, retain=retain)


async def test_what_says_nothing_is_acknowledged_in_its_place_when_that_is_durable(mosquitto: Mosquitto) -> None:
    collector = Collector(durable=False)
    async with MqttProxy(mosquitto.port) as proxy, running(driver_at(proxy.port), collector):
        await collector.up()
        await publish(mosquitto.port, ("w/1", b" "))
        await until(lambda: any(isinstance(item, Heard) for item in collector.items))
        await publish(mosquitto.port, ("w/1", b"a=1"))
        await collector.count(1)
        await publish(mosquitto.port, ("other/x", b" "), ("w/1", b"learn:x"))
        await publish(mosquitto.port, ("w/1", b"a=2"))
        await collector.count(2)
        assert proxy.of(PUBACK, up=True) == []
        collector.commit()
        await until(lambda: len(proxy.acknowledged) == 5)
    assert [one.payload for one in proxy.acknowledged] == [b" ", b"a=1", b" ", b"learn:x", b"a=2"]


async def test_what_a_codec_asks_for_is_published_on_the_same_connection(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with running(driver_at(mosquitto.port), collector), aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await collector.up()
        await client.subscribe("asked/#", qos=1)
        await client.publish("w/1", b">asked/a a=1 >asked/b", qos=1)
        async with asyncio.timeout(10):
            got = [await anext(aiter(client.messages)) for _ in range(2)]
        assert [(str(one.topic), one.payload, one.qos) for one in got] == [
            ("asked/a", b"please", 0),
            ("asked/b", b"please", 0),
        ]
        await collector.count(1)


async def test_retained_ones_are_stale_and_long_ones_are_read_where_the_driver_wants_them(mosquitto: Mosquitto) -> None:
    await publish(mosquitto.port, ("w/1", b"a=1"), retain=True)
    collector = Collector()
    long = b"a=2" + b" " * (2 * PAYLOAD_BYTES - 3)
    async with running(driver_at(mosquitto.port), collector):
        await collector.count(1)
        await publish(mosquitto.port, ("w/1", long), ("w/1", long + b" "), ("w/1", b"a=3"))
        await collector.count(3)
    assert [sample.quality & STALE for sample in collector.samples] == [STALE, 0, 0]
    assert [(len(sample.payload), sample.shared) for sample in collector.samples[1:]] == [(len(long), True), (3, False)]
    (reject,) = collector.rejects
    assert (reject.source, reject.reason, len(reject.example)) == ("w", "too_long", EXAMPLE_BYTES)


async def test_a_device_that_is_away_is_not_taken_for_back_with_the_connection(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with MqttProxy(mosquitto.port) as proxy:
        driver = driver_at(proxy.port)
        for wanted, payload in ((("w", "w-b"), b"a! b=1"), (("w", "w-a", "w-b"), b"a?")):
            running_ = asyncio.create_task(failure(driver, collector))
            await until(lambda: any("connected" in link.detail for link in collector.links))
            await publish(mosquitto.port, ("w/1", payload))
            await until(lambda: any(link.sources == ("w-a",) for link in collector.links))
            proxy.cut()
            await running_
            collector.items.clear()
            async with running(driver, collector):
                await until(lambda: any("connected" in link.detail for link in collector.links))
            up = next(link for link in collector.links if "connected" in link.detail)
            assert (up.sources or ("w", "w-a", "w-b")) == wanted
            collector.items.clear()


async def test_what_a_codec_learnt_is_there_at_once_on_the_next_connection_and_after_a_restart(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async def told(driver: MqttDriver, *messages: bytes) -> Any:
        collector = Collector()
        async with running(driver, collector):
            await collector.up()
            await publish(mosquitto.port, *(("w/1", one) for one in messages), ("w/1", b"told"))
            await collector.count(1)
        return collector.samples[0].records[0][2]

    file = tmp_path / "learnt-w.json"
    driver = driver_at(mosquitto.port, tmp_path)
    assert await told(driver, b"learn:names") == "names"
    assert await told(driver) == "names"
    collector = Collector()
    async with running(driver, collector):
        await until(lambda: file.exists() and file.read_bytes() == b"names")
    assert await told(driver_at(mosquitto.port, tmp_path)) == "names"
    assert await told(driver_at(mosquitto.port)) == ""
