"""A simulated edge node, a real broker, and the driver between: what was missed is asked for, and comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiomqtt
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import running
from fakes.mqtt_proxy import MqttProxy

from drivers.codecs.sparkplug_payload import read
from drivers.mqtt import Broker, MqttDriver
from drivers.simulators import edge_node
from drivers.sparkplug import KIND, SparkplugOptions

BOTH = {"plant-plant-press-1", "plant-plant-press-1-pump"}
MS = 1_795_500_000_000


def driver_at(mosquitto: Mosquitto, **more: Any) -> MqttDriver:
    broker = Broker(name="local", host="127.0.0.1", port=mosquitto.port, client_id="gateway")
    return MqttDriver(broker, {"plant": SparkplugOptions(broker="local", **more)}, codecs={"plant": KIND.codec})


@asynccontextmanager
async def node(mosquitto: Mosquitto, *, port: int = 0, **more: Any) -> AsyncIterator[list[str]]:
    """The topics that a simulated node has published."""
    topics: list[str] = []
    task = asyncio.create_task(
        edge_node.run(
            "127.0.0.1",
            port or mosquitto.port,
            every_s=0.01,
            on_published=lambda topic, _: topics.append(topic),
            **more,
        )
    )
    try:
        yield topics
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def told(collector: Collector, *, up: bool) -> set[str]:
    """The sources that a message put up, or down."""
    return {source for link in collector.links if link.up == up for source in link.sources}


def strokes(collector: Collector) -> list[Any]:
    return [
        value
        for sample in collector.samples
        if sample.source == "plant-plant-press-1-pump"
        for name, _, value in sample.records
        if name == "Strokes"
    ]


async def test_a_gateway_that_comes_late_asks_for_births_and_then_reads_aliases(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as other, node(mosquitto) as topics:
        await other.subscribe("spBv1.0/plant/DDATA/#")
        async with asyncio.timeout(10):
            await anext(aiter(other.messages))  # what was published may be on its way for a while
        async with running(driver_at(mosquitto), collector):
            await until(lambda: len(strokes(collector)) >= 3)
    kinds = [topic.split("/")[2] for topic in topics]
    assert kinds.count("NBIRTH") == kinds.count("DBIRTH") == 2
    assert {reject.reason for reject in collector.rejects} == {"unknown_alias"}
    assert {reject.source for reject in collector.rejects} == {"plant-plant-press-1-pump"}
    assert strokes(collector)[:3] == list(range(strokes(collector)[0], strokes(collector)[0] + 3))
    sample = next(one for one in collector.samples if one.source == "plant-plant-press-1-pump")
    assert [(name, unit) for name, unit, _ in sample.records] == [("Motor/Temperature", "Cel"), ("Strokes", None)]
    assert sample.time is not None


async def test_a_lost_message_makes_a_rebirth_and_loses_no_other(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with running(driver_at(mosquitto), collector):
        await collector.up()
        async with node(mosquitto, skip_every=7) as topics:
            await until(lambda: len(strokes(collector)) >= 10)
            await until(lambda: sum("NBIRTH" in topic for topic in topics) == 2)
    assert strokes(collector)[:10] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert not collector.rejects


async def test_one_that_may_not_publish_asks_for_nothing(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with running(driver_at(mosquitto, rebirth=False), collector):
        await collector.up()
        async with node(mosquitto, skip_every=3) as topics:
            await until(lambda: len(strokes(collector)) >= 10)
    assert sum("NBIRTH" in topic for topic in topics) == 1


async def test_the_will_of_a_node_puts_it_and_its_pump_down(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with (
        running(driver_at(mosquitto), collector),
        MqttProxy(mosquitto.port) as proxy,
        node(mosquitto, port=proxy.port),
    ):
        await until(lambda: told(collector, up=True) >= BOTH)
        proxy.cut()  # no DISCONNECT: the broker publishes the will
        await until(lambda: told(collector, up=False) == BOTH)


async def test_a_node_that_dies_before_its_pump_is_born_again_takes_it_with_it(mosquitto: Mosquitto) -> None:
    """So it is, too, where the births were asked for, and the death comes between them."""
    collector, speaker = Collector(), edge_node.EdgeNode()
    births, again = [*speaker.births(MS)], [*speaker.births(MS)]
    async with running(driver_at(mosquitto), collector), aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await collector.up()
        for message in (*births, again[0], speaker.will()):
            await client.publish(*message, qos=1)
        await until(lambda: told(collector, up=False) == BOTH)


async def test_a_node_that_dies_while_the_gateway_is_away_takes_its_pump_with_it(mosquitto: Mosquitto) -> None:
    driver, speaker = driver_at(mosquitto), edge_node.EdgeNode()
    collector, later = Collector(), Collector()
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        async with running(driver, collector):
            await collector.up()
            for message in speaker.births(MS):
                await client.publish(*message, qos=1)
            await until(lambda: told(collector, up=True) >= BOTH)
        await client.publish(*speaker.will(), qos=1)
        async with running(driver, later):
            await until(lambda: told(later, up=False) == BOTH)


async def test_the_command_is_what_a_node_of_the_standard_obeys(mosquitto: Mosquitto) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.subscribe("spBv1.0/plant/NCMD/#")
        async with running(driver_at(mosquitto), collector := Collector()):
            await collector.up()
            await client.publish(*edge_node.EdgeNode().data(MS))
            async with asyncio.timeout(10):
                command = await anext(aiter(client.messages))
    assert (str(command.topic), command.qos, command.retain) == ("spBv1.0/plant/NCMD/press-1", 0, False)
    assert isinstance(command.payload, bytes)
    assert [one.name for one in read(command.payload).metrics] == [b"Node Control/Rebirth"]
