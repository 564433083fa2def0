"""The MQTT driver serves other sources while it runs: over a real mosquitto, with a proxy that sees the wire."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.mqtt_proxy import SUBSCRIBE, UNSUBSCRIBE, MqttProxy, Seen
from fakes.mqtt_scripted import Peer, ScriptedBroker, packet, suback
from fakes.words import Two, Words

from drivers.api import STALE, Changing
from drivers.codecs.values import ValueMap
from drivers.kinds import Kind
from drivers.limits import PAYLOAD_BYTES
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from drivers.mqtt_memory import FilterMemory
from drivers.mqtt_sources import SubscribedOptions
from drivers.registry import kind

Sources = Mapping[str, SubscribedOptions]


def source(topic: str, unit: str = "Cel", **more: Any) -> MqttOptions:
    return MqttOptions(**{"broker": "local", "topic": topic, "values": {"t": ValueMap(unit=unit)}, **more})


class Wire(MqttProxy):
    """A proxy, and the driver that speaks over it."""

    def __init__(self, broker_port: int, state_file: Path | None = None) -> None:
        super().__init__(broker_port)
        self.state_file = state_file
        self.durable_sessions = True

    def driver(self, sources: Sources, **more: Any) -> MqttDriver:
        broker = Broker(**{"name": "local", "host": "127.0.0.1", "port": self.port, "client_id": "gateway-1", **more})
        return MqttDriver(broker, sources, codecs=dict.fromkeys(sources, Words), state_file=self.state_file)

    @property
    def subscribed(self) -> list[set[str]]:
        """The filters of each SUBSCRIBE."""
        return [_filters(one, 1) for one in self.of(SUBSCRIBE, up=True)]

    @property
    def unsubscribed(self) -> list[set[str]]:
        return [_filters(one, 0) for one in self.of(UNSUBSCRIBE, up=True)]


async def settled(driver: MqttDriver) -> None:
    """Returns when the broker has answered what it was asked."""
    await until(lambda: not driver._subscriptions._asked)


def _filters(packet: Seen, behind: int) -> set[str]:
    """Of the body of a SUBSCRIBE or an UNSUBSCRIBE (sections 3.8.3 and 3.10.3)."""
    found, at = set(), 2
    while at < len(packet.body):
        end = at + 2 + int.from_bytes(packet.body[at : at + 2], "big")
        found.add(packet.body[at + 2 : end].decode())
        at = end + behind
    return found


@asynccontextmanager
async def served(wire: Wire, sources: Sources, **more: Any) -> AsyncIterator[tuple[MqttDriver, Collector]]:
    driver, collector = wire.driver(sources, **more), Collector()
    async with running(driver, collector):
        await collector.up()
        yield driver, collector


async def publish(mosquitto: Mosquitto, *messages: tuple[str, str | bytes], retain: bool = False) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        for topic, body in messages:
            await client.publish(topic, body, qos=1, retain=retain)


def unsuback(packet_id: int) -> bytes:
    return packet(0xB0, packet_id.to_bytes(2, "big"))


def remembered(memory: Path) -> set[str]:
    return set(json.loads(memory.read_text())["filters"])


def told(collector: Collector) -> list[tuple[str, Any]]:
    return [(sample.source, sample.records[0][2]) for sample in collector.samples]


async def test_sources_come_and_go_beside_one_that_receives(mosquitto: Mosquitto) -> None:
    """Not one reconnect, nothing lost and nothing twice of the source that stays, whatever is done beside it."""
    stays = {"stays": source("farm/stays")}
    others: list[Sources] = [
        {**stays, "new": source("farm/new")},
        {"wide": source("farm/#"), **stays},  # covers what stays: its filter is asked for in place of it
        {**stays, "wide": source("farm/+"), "new": source("farm/new", qos=0)},
        {"new": source("farm/new", unit="K"), **stays},
        stays,
    ]
    sent = itertools.count()
    ending = asyncio.Event()

    async def send() -> None:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            while not ending.is_set():
                await client.publish("farm/stays", b'{"t": %d}' % next(sent), qos=1)

    async with Wire(mosquitto.port) as wire, served(wire, stays) as (driver, collector):
        sending = asyncio.create_task(send())
        for sources in itertools.chain.from_iterable(itertools.repeat(others, 3)):
            count = len(collector.samples)
            assert await driver.take_over(wire.driver(sources))
            await settled(driver)
            assert dict(driver.sources) == dict(sources)
            await collector.count(count + 20)
        ending.set()
        await sending
        total = next(sent)
        received = [value for name, value in told(collector) if name == "stays"]
        await until(lambda: [value for name, value in told(collector) if name == "stays"][-1] == total - 1)
        received = [value for name, value in told(collector) if name == "stays"]
        assert received == list(range(total))
        assert wire.connections == 1
        assert {reject.source for reject in collector.rejects} <= {"mqtt-local"}
        assert wire.subscribed[0] == {"farm/stays"}


async def test_a_new_source_is_served_and_a_removed_one_is_unsubscribed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    memory = tmp_path / "mqtt-local.json"
    a, b, c = source("farm/a"), source("farm/b"), source("farm/c")
    async with Wire(mosquitto.port, memory) as wire, served(wire, {"a": a, "b": b}) as (driver, collector):
        assert isinstance(driver, Changing)
        assert await driver.take_over(wire.driver({"a": a, "c": c}))
        await settled(driver)
        assert (wire.subscribed, wire.unsubscribed) == ([{"farm/a", "farm/b"}, {"farm/c"}], [{"farm/b"}])
        await publish(mosquitto, ("farm/b", b'{"t": 1}'), ("farm/c", b'{"t": 2}'), ("farm/a", b'{"t": 3}'))
        await collector.count(2)
        assert told(collector) == [("c", 2), ("a", 3)]
        assert collector.rejects == []
        await until(lambda: remembered(memory) == {"farm/a", "farm/c"})


async def test_all_sources_may_go(mosquitto: Mosquitto) -> None:
    async with Wire(mosquitto.port) as wire, served(wire, {"a": source("farm/a")}) as (driver, _):
        assert await driver.take_over(wire.driver({}))
        await settled(driver)
        assert wire.unsubscribed == [{"farm/a"}]


# A crash between the steps of a change


class Died(Exception):
    """The process is gone."""


class Dying(FilterMemory):
    """Dies at the Nth save: before it is on disk, or after."""

    left = 0
    after = False

    def save(self, filters: Any) -> None:
        type(self).left -= 1
        if self.left == 0 and not self.after:
            raise Died
        super().save(filters)
        if self.left == 0:
            raise Died


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("save", [1, 2, None])
@pytest.mark.parametrize("then", ["old", "new"])
async def test_after_a_crash_the_session_holds_what_is_configured(
    mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: int | None, after: bool, then: str
) -> None:
    """save 1 is step 1, save 2 is step 3; None: the connection is cut, and what was asked for has not come anywhere."""
    old = {"stays": source("farm/stays"), "goes": source("farm/goes")}
    new = {"stays": source("farm/stays"), "comes": source("farm/comes")}
    memory = tmp_path / "mqtt-local.json"
    monkeypatch.setattr("drivers.mqtt_subscriptions.FilterMemory", Dying)
    monkeypatch.setattr("drivers.mqtt.TICK_S", 0.02)
    async with Wire(mosquitto.port, memory) as wire:
        driver, collector = wire.driver(old), Collector()
        task = asyncio.create_task(driver.run(collector.emit))
        await collector.up()
        monkeypatch.setattr(Dying, "left", save or 0)
        monkeypatch.setattr(Dying, "after", after)
        if save is None:
            wire.stall(up=True)
        with suppress(Died):
            await driver.take_over(wire.driver(new))
            await asyncio.wait({task}, timeout=10 if save else 0.1)  # some ticks of its
        assert save or wire.stalled
        wire.cut()
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)
        wire.flow()
        sources = old if then == "old" else new
        async with served(wire, sources) as (_, again):
            await until(lambda: remembered(memory) == {one.topic for one in sources.values()})
            await publish(mosquitto, *((f"farm/{name}", b'{"t": 1}') for name in ("goes", "comes", "stays")))
            await again.count(2)
            assert sorted(name for name, _ in told(again)) == sorted(sources)
            assert again.rejects == []


# What is asked for


async def test_what_the_broker_retains_comes_to_a_new_source_and_to_no_other_filter(mosquitto: Mosquitto) -> None:
    await publish(mosquitto, ("farm/a", b'{"t": 1}'), ("barn/b", b'{"t": 2}'), retain=True)
    before = {"farm": source("farm/#"), "barn": source("barn/#")}
    async with Wire(mosquitto.port) as wire, served(wire, before) as (driver, collector):
        await collector.count(2)
        collector.items.clear()
        assert await driver.take_over(wire.driver({**before, "new": source("farm/a", unit="K")}))
        await collector.count(2)
        assert wire.subscribed == [{"farm/#", "barn/#"}, {"farm/#"}]
        assert sorted(told(collector)) == [("farm", 1), ("new", 1)]
        assert {sample.quality for sample in collector.samples} == {STALE}


async def test_another_qos_is_asked_for(mosquitto: Mosquitto) -> None:
    async with (
        Wire(mosquitto.port) as wire,
        served(wire, {"a": source("a", qos=0), "b": source("b")}) as (driver, collector),
    ):
        assert await driver.take_over(wire.driver({"a": source("a"), "b": source("b")}))
        await settled(driver)
        assert wire.subscribed[1:] == [{"a"}]
        await publish(mosquitto, ("a", b'{"t": 1}'))
        await collector.count(1)
        assert collector.samples[0].delivery is not None


async def test_what_is_the_same_asks_the_broker_nothing(mosquitto: Mosquitto) -> None:
    same = {"a": source("farm/a"), "b": source("farm/#")}
    async with Wire(mosquitto.port) as wire, served(wire, same) as (driver, collector):
        assert await driver.take_over(wire.driver(dict(reversed(same.items()))))
        await publish(mosquitto, ("farm/a", b'{"t": 1}'))
        await collector.count(1)  # on the same connection, after whatever it would have been asked
        assert (len(wire.subscribed), wire.unsubscribed) == (1, [])


async def test_a_topic_that_is_refused_is_told_of_its_new_source_alone() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(1)
        for code, answer in ((0x80, suback), (None, unsuback), (1, suback)):
            _, body = await peer.read()
            packet_id = int.from_bytes(body[:2], "big")
            await peer.send(answer(packet_id, *([] if code is None else [code])))
        await peer.gone()

    a, b, c = source("farm/a"), source("barn/b"), source("farm/c")
    async with (
        ScriptedBroker(script) as broker,
        Wire(broker.port) as wire,
        served(wire, {"a": a}) as (driver, collector),
    ):
        assert await driver.take_over(wire.driver({"a": a, "b": b}))
        await until(lambda: not collector.links[-1].up)
        assert [(link.up, link.sources) for link in collector.links[-2:]] == [(True, ()), (False, ("b",))]
        assert "refuses the topic barn/b" in collector.links[-1].detail
        assert await driver.take_over(wire.driver({"a": a}))
        await settled(driver)
        assert await driver.take_over(wire.driver({"a": a, "c": c}))
        await settled(driver)
        assert (collector.links[-1].up, collector.links[-1].sources) == (True, ())


# What has been named and learnt


async def test_ids_stay_whose_they_are(mosquitto: Mosquitto) -> None:
    houses, barns = source("farm/+", id="{2}", max_sources=2), source("barn/+", id="{2}")
    async with Wire(mosquitto.port) as wire, served(wire, {"houses": houses, "barns": barns}) as (driver, collector):
        parents = driver.parents
        await publish(mosquitto, ("farm/h1", b'{"t": 1}'), ("farm/h2", b'{"t": 2}'), ("barn/b1", b'{"t": 3}'))
        await collector.count(3)
        assert parents == {"h1": "houses", "h2": "houses", "b1": "barns"}
        assert await driver.take_over(wire.driver({"houses": houses, "h1": source("port")}))  # h1 is another's now
        assert driver.parents is parents
        assert parents == {"h2": "houses"}
        await settled(driver)
        await publish(
            mosquitto, *((topic, b'{"t": 4}') for topic in ("farm/h1", "farm/H2", "farm/h2", "port", "farm/h3"))
        )
        await collector.count(6)
        assert told(collector)[3:] == [("h2", 4), ("h1", 4), ("h3", 4)]
        assert [reject.reason for reject in collector.rejects] == ["source_id_taken", "source_id_taken"]


async def test_a_codec_stays_where_its_source_does_and_recalls_where_it_does_not(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    stays, changes = Two(broker="local"), Two(broker="local", topic="x/+", second="more/#")
    memory = tmp_path / "mqtt-local.json"
    both = {"stays": stays, "changes": changes}
    async with Wire(mosquitto.port, memory) as wire, served(wire, both) as (driver, collector):
        await publish(mosquitto, ("w/1", b"learn:old dev=1"), ("x/1", b"learn:what dev=1 dev!"))
        await until(lambda: collector.links[-1][:3] == (False, "it says so", ("changes-dev",)))
        codecs = {reader.name: reader.codec for reader in driver._routes.readers}
        other = Two(broker="local", topic="y/+", second="more/#")
        assert await driver.take_over(
            wire.driver({"stays": stays, "changes": other, "new": Two(broker="local", topic="z")})
        )
        await settled(driver)
        assert collector.links[-1].sources == ()  # the one that was away is not known any more
        now = {reader.name: reader.codec for reader in driver._routes.readers}
        assert now["stays"] is codecs["stays"]
        assert now["changes"] is not codecs["changes"]
        await publish(mosquitto, ("w/1", b"told"), ("y/1", b"told"), ("z", b"told dev=3"), ("w/2", b"dev=2"))
        await collector.count(7)
        assert told(collector)[2:] == [
            ("stays", "old"), ("changes", "what"), ("new", ""), ("new-dev", 3), ("stays-dev", 2),
        ]  # fmt: skip
        assert driver.parents == {"stays-dev": "stays", "new-dev": "new"}
        assert await driver.take_over(wire.driver({"stays": stays, "stays-dev": source("port")}))
        await settled(driver)
        await publish(mosquitto, ("w/1", b"dev=4"))
        await until(lambda: collector.rejects)
        assert (collector.rejects[0].source, collector.rejects[0].reason) == ("stays", "source_id_taken")


async def test_longer_messages_are_taken_as_soon_as_a_source_wants_them(mosquitto: Mosquitto) -> None:
    long = b"dev=1 " + b" " * (PAYLOAD_BYTES + 20_000) + b"dev=2"
    farm = {"a": source("farm/a")}
    async with Wire(mosquitto.port) as wire, served(wire, farm) as (driver, collector):
        assert await driver.take_over(wire.driver({**farm, "two": Two(broker="local")}))
        await settled(driver)
        await publish(mosquitto, ("w/1", long))
        await collector.count(2)
        assert told(collector) == [("two-dev", 1), ("two-dev", 2)]


# When nothing is connected


async def test_what_is_taken_over_before_it_runs_is_asked_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    memory = tmp_path / "mqtt-local.json"
    async with Wire(mosquitto.port, memory) as wire:
        driver, collector = wire.driver({"a": source("farm/a")}), Collector()
        assert await driver.take_over(wire.driver({"b": source("farm/b")}))
        async with running(driver, collector):
            await collector.up()
            assert wire.subscribed == [{"farm/b"}]
            await until(lambda: remembered(memory) == {"farm/b"})


@pytest.mark.parametrize("how", ["cut", "closed"])
async def test_what_is_taken_over_while_the_broker_is_away_is_asked_for_when_it_is_back(
    mosquitto: Mosquitto, how: str
) -> None:
    async with Wire(mosquitto.port) as wire:
        driver, first, second = wire.driver({"a": source("farm/a")}), Collector(), Collector()
        task = asyncio.create_task(driver.run(first.emit))
        await first.up()
        if how == "cut":
            wire.cut()
        else:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await driver.take_over(wire.driver({"b": source("farm/b")}))
        assert len(wire.subscribed) == 1
        async with running(driver, second):
            await second.up()
            assert wire.subscribed[1:] == [{"farm/b"}]
            await publish(mosquitto, ("farm/b", b'{"t": 5}'))
            await second.count(1)


async def test_nothing_is_asked_for_before_a_lost_session_is_durable(mosquitto: Mosquitto) -> None:
    collector = Collector(durable=False, sessions=False)
    async with Wire(mosquitto.port) as wire:
        driver = wire.driver({"a": source("farm/a")})
        async with running(driver, collector):
            await until(lambda: collector.lost_sessions)
            assert await driver.take_over(wire.driver({"b": source("farm/b")}))
            await asyncio.sleep(0.05)
            assert wire.subscribed == []
            collector.durable = True
            collector.commit()
            await collector.up()
            assert wire.subscribed == [{"farm/b"}]


async def test_a_broker_that_does_not_answer_is_left(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.mqtt.ANSWER_S", 0.1)
    monkeypatch.setattr("drivers.mqtt.TICK_S", 0.02)
    async with Wire(mosquitto.port) as wire:
        driver, collector = wire.driver({"a": source("farm/a")}), Collector()
        task = asyncio.create_task(failure(driver, collector))
        await collector.up()
        wire.stall(down=True)
        assert await driver.take_over(wire.driver({"b": source("farm/b")}))
        assert "no answer to a SUBSCRIBE" in (await task).what


# What it cannot take over


async def test_another_broker_is_another_driver(mosquitto: Mosquitto) -> None:
    async with Wire(mosquitto.port) as wire, served(wire, {"a": source("farm/a")}) as (driver, collector):
        assert not await driver.take_over(wire.driver({"a": source("farm/b")}, password="another"))
        replay: Kind = kind("system")
        assert replay.driver is not None
        assert not await driver.take_over(replay.driver({"box": replay.options()}))
        assert list(driver.sources) == ["a"]
        await publish(mosquitto, ("farm/a", b'{"t": 1}'))
        await collector.count(1)
        assert len(wire.subscribed) == 1
