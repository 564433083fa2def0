"""A gateway that cannot store for long, behind a real mosquitto with a backlog: bounded here, and no storm there."""

import asyncio
import hashlib
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from fakes.broker import Mosquitto
from fakes.gateway_store import Pipeline, balanced, check_chain, pipeline, sample, until, values
from fakes.mqtt_proxy import DISCONNECT, PUBACK, PUBLISH, MqttProxy

from drivers import mqtt as mqtt_module
from drivers.api import Link
from drivers.codecs.values import ValueMap
from drivers.limits import MQTT_PACKETS_A_TURN, READ_BYTES
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from gateway.core import senml
from gateway.store import journal
from gateway.supervise import Supervisor

NUMBER, MOST = 5_000, 300


async def _full(gateway: Pipeline) -> None:
    ((now,),) = await gateway.store.db.read("PRAGMA page_count")
    await gateway.store.db.insert(f"PRAGMA max_page_count={now + 1}", ())
    gateway.emit([sample("first", payload=hashlib.shake_256(b"").digest(4_000))])
    await until(lambda: gateway.journal.full)


async def test_a_long_hold_is_no_storm_of_redeliveries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mosquitto 2.0.11 sends far beyond its window of 20 while it drains a queue. What is taken stays bounded, the
    connection is closed once and opened once, and each message is sent at most twice and stored once, in order.
    """
    monkeypatch.setattr(journal, "_FULL_RETRY_S", 0.005)
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", MOST)
    monkeypatch.setattr(mqtt_module, "TICK_S", 0.02)
    with Mosquitto(tmp_path / "broker", max_inflight=1000) as broker:
        async with (
            MqttProxy(broker.port) as proxy,
            pipeline(tmp_path, linger_s=0.02, max_count=65_536, windows={"local": 20}) as gateway,
        ):
            options = MqttOptions(broker="local", topic="t", values={"n": ValueMap()})
            at = Broker(name="local", host="127.0.0.1", port=proxy.port, client_id="g", keepalive_s=4)
            driver = MqttDriver(at, {"s": options})
            emit = gateway.intake.emitter(driver.name, {"s": "none"})
            supervisor = Supervisor(driver, emit, monotonic=gateway.clock.monotonic, rng=random.Random(1))
            running = asyncio.create_task(supervisor.run())
            tally = gateway.intake.tallies["s"]
            await until(lambda: bool(tally.up))
            publishing = asyncio.create_task(_publish(broker))
            await until(lambda: tally.stored > 0)
            await _full(gateway)
            await until(lambda: bool(proxy.of(DISCONNECT, up=True)))
            acknowledged, arrived = len(proxy.of(PUBACK, up=True)), tally.arrived
            await publishing
            await asyncio.sleep(4.0)  # twice as long as a pause may be: the hold itself is what is tested
            assert proxy.connections == 1
            assert len(proxy.of(PUBACK, up=True)) == acknowledged
            assert tally.arrived == arrived <= acknowledged + MOST + MQTT_PACKETS_A_TURN
            assert tally.up is False
            assert balanced(gateway.intake)
            before = len(proxy.of(PUBLISH, up=False))
            await gateway.store.db.insert("PRAGMA max_page_count=1000000", ())
            async with asyncio.timeout(60):
                while tally.stored < NUMBER:
                    await asyncio.sleep(0.01)
            await until(lambda: len(proxy.acknowledged) >= NUMBER)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert proxy.connections == 2
            sent = proxy.of(PUBLISH, up=False)
            assert len(sent) <= NUMBER + before - acknowledged
            stored = {one.payload for one in proxy.acknowledged if one.connection == 1}
            assert stored
            assert stored.isdisjoint(one.payload for one in sent if one.connection == 2)
            assert max(Counter(one.payload for one in sent).values()) <= 2
            assert tally.arrived == tally.stored + tally.duplicate
            assert balanced(gateway.intake)
            await gateway.age()
            packs = [pack for pack in await check_chain(gateway.store) if senml.source_of(pack) == "s"]
            assert values(packs, "n") == list(range(NUMBER))


async def _publish(broker: Mosquitto) -> None:
    lines = b"".join(b'{"n":%d}\n' % n for n in range(NUMBER))
    command = ["mosquitto_pub", "-p", str(broker.port), "-q", "1", "-t", "t", "-l"]
    await asyncio.to_thread(subprocess.run, command, input=lines, check=True, timeout=60)


async def test_a_paused_connection_holds_one_read_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much mosquitto has to send: what is not yet handed over is one read's, and no more is read."""
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", MOST)
    monkeypatch.setattr(mqtt_module, "STOP_S", 0.01)
    with Mosquitto(tmp_path / "broker", max_inflight=1000) as broker:
        driver = MqttDriver(
            Broker(name="local", host="127.0.0.1", port=broker.port, client_id="g"),
            {"s": MqttOptions(broker="local", topic="t", values={"n": ValueMap()})},
        )
        loop, taken, up = asyncio.get_running_loop(), [0], asyncio.Event()
        never: asyncio.Future[None] = loop.create_future()
        done: asyncio.Future[None] = loop.create_future()
        done.set_result(None)

        def emit(items: object) -> "asyncio.Future[None]":
            assert isinstance(items, list)
            if any(isinstance(item, Link) for item in items):
                up.set()
                return done
            taken[0] += len(items)
            return never if up.is_set() else done

        running = asyncio.create_task(driver.run(emit))
        await up.wait()
        await _publish(broker)
        await until(lambda: driver._connection is not None and driver._connection.paused)
        connection = driver._connection
        assert connection is not None
        held = connection._packets
        size = len(held._data) - held._at + held._have
        await asyncio.sleep(0.5)  # in which nothing may happen
        assert len(held._data) - held._at + held._have == size <= 2 * READ_BYTES
        assert MOST <= taken[0] < MOST + MQTT_PACKETS_A_TURN
        assert not connection._listening
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
