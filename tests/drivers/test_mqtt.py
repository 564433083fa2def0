"""The MQTT driver against a real mosquitto, with a proxy between them that sees the wire."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto, free_port
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.mqtt_proxy import DISCONNECT, PUBACK, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, MqttProxy
from fakes.tls import Authority

from drivers import mqtt as mqtt_module
from drivers.api import STALE, Sample, SessionLost
from drivers.codecs.values import ValueMap
from drivers.limits import EXAMPLE_BYTES, PAYLOAD_BYTES
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from drivers.mqtt_connection import Connection


def source(topic: str = "farm/climate", **more: Any) -> MqttOptions:
    return MqttOptions(**{"broker": "local", "topic": topic, "values": {"t": ValueMap(unit="Cel")}, **more})


def broker_at(port: int, **more: Any) -> Broker:
    return Broker(**{"name": "local", "host": "127.0.0.1", "port": port, "client_id": "gateway-1", **more})


def driver_at(port: int, sources: dict[str, MqttOptions] | None = None, **more: Any) -> MqttDriver:
    return MqttDriver(broker_at(port), sources or {"climate": source()}, **more)


def payload(number: int) -> bytes:
    return b'{"t": %d}' % number


async def publish(port: int, messages: Iterable[tuple[str, bytes]], *, qos: int = 1, **more: Any) -> None:
    async with aiomqtt.Client("127.0.0.1", port, **more) as client:
        for topic, body in messages:
            await client.publish(topic, body, qos=qos)


def values(collector: Collector) -> list[Any]:
    return [sample.records[0][2] for sample in collector.samples]


@asynccontextmanager
async def connected(driver: MqttDriver, collector: Collector) -> AsyncIterator[None]:
    async with running(driver, collector):
        await collector.up()
        yield


async def test_messages_become_samples_in_order(mosquitto: Mosquitto) -> None:
    collector = Collector()
    async with connected(driver_at(mosquitto.port), collector):
        await publish(mosquitto.port, [("farm/climate", payload(n)) for n in range(50)])
        await collector.count(50)
    assert values(collector) == list(range(50))
    sample = collector.samples[7]
    assert sample.source == "climate"
    assert sample.payload == payload(7)
    assert sample.quality == 0
    assert sample.delivery is not None
    assert sample.delivery.broker == "local"
    assert sample.delivery.digest == hashlib.sha256(b"farm/climate\0" + payload(7)).digest()[:8]
    assert not sample.delivery.dup
    assert len({s.delivery.packet_id for s in collector.samples if s.delivery}) == 50


async def test_acknowledged_when_durable_and_not_before_in_one_write(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, writes = Collector(durable=False), list[int]()
    acknowledge = Connection.acknowledge

    def recorded(connection: Connection, pubacks: bytes) -> None:
        writes.append(len(pubacks))
        acknowledge(connection, pubacks)

    monkeypatch.setattr(Connection, "acknowledge", recorded)
    async with MqttProxy(mosquitto.port) as proxy, connected(driver_at(proxy.port), collector):
        await publish(mosquitto.port, [("farm/climate", payload(n)) for n in range(6)])
        await collector.count(6)
        await publish(mosquitto.port, [("farm/climate", b"not json")])
        await until(lambda: collector.rejects)
        assert proxy.of(PUBACK, up=True) == []
        collector.commit()
        await until(lambda: len(proxy.acknowledged) == 7)
        assert [one.payload for one in proxy.acknowledged] == [*(payload(n) for n in range(6)), b"not json"]
        assert writes == [7 * 4]
    assert collector.rejects[0].reason == "invalid_json"


async def test_what_is_not_durable_at_a_cut_comes_again_marked_as_such(mosquitto: Mosquitto) -> None:
    before, after = Collector(durable=False), Collector(durable=False)
    async with MqttProxy(mosquitto.port) as proxy:
        driver = driver_at(proxy.port)
        task = asyncio.create_task(failure(driver, before))
        await before.up()
        await publish(mosquitto.port, [("farm/climate", payload(n)) for n in range(3)])
        await before.count(3)
        proxy.cut()
        assert "the connection ended" in (await task).what
        async with connected(driver, after):
            await after.count(3)
            first, again = before.samples, after.samples
            assert [s.payload for s in first] == [s.payload for s in again]
            for one, two in zip(first, again, strict=True):
                assert one.delivery and two.delivery
                assert two.delivery == one.delivery._replace(dup=True)
            before.commit()  # the old connection's commit acknowledges nothing on the new one
            await publish(mosquitto.port, [("farm/climate", payload(3))])
            await after.count(4)
            assert proxy.of(PUBACK, up=True) == []
            after.commit()
            await until(lambda: len(proxy.acknowledged) == 4)
    assert before.lost_sessions == [SessionLost("local")]  # its very first connection
    assert after.lost_sessions == []


async def test_a_broker_that_forgot_the_session_is_told_of_before_its_messages(mosquitto: Mosquitto) -> None:
    driver, first, second = driver_at(mosquitto.port), Collector(), Collector()
    task = asyncio.create_task(failure(driver, first))
    await first.up()
    await asyncio.to_thread(mosquitto.kill)
    assert (await task).cure
    await asyncio.to_thread(mosquitto.start)
    async with connected(driver, second):
        await publish(mosquitto.port, [("farm/climate", payload(1))])
        await second.count(1)
    kinds = [type(item) for item in second.items]
    assert second.items[0] == SessionLost("local")
    assert kinds.count(SessionLost) == 1
    assert kinds.index(SessionLost) < kinds.index(Sample)


async def test_nothing_is_subscribed_before_a_lost_session_is_durable(mosquitto: Mosquitto) -> None:
    collector = Collector(durable=False, sessions=False)
    async with MqttProxy(mosquitto.port) as proxy, running(driver_at(proxy.port), collector):
        await until(lambda: collector.lost_sessions)
        await asyncio.sleep(0.2)
        assert proxy.of(SUBSCRIBE, up=True) == []
        collector.commit()
        await until(lambda: proxy.of(SUBSCRIBE, up=True))


async def test_a_broker_that_kept_the_session_delivers_what_was_published_meanwhile(mosquitto: Mosquitto) -> None:
    first, second = Collector(), Collector()
    async with connected(driver_at(mosquitto.port), first):
        pass
    await publish(mosquitto.port, [("farm/climate", payload(n)) for n in range(5)])
    await asyncio.to_thread(mosquitto.stop)
    await asyncio.to_thread(mosquitto.start)
    async with connected(driver_at(mosquitto.port), second):
        await second.count(5)
    assert values(second) == list(range(5))
    assert second.lost_sessions == []


async def test_retained_values_are_stale_and_qos_0_has_no_delivery(mosquitto: Mosquitto) -> None:
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish("farm/climate", payload(1), qos=1, retain=True)
    collector = Collector()
    async with connected(driver_at(mosquitto.port), collector):
        await collector.count(1)
        await publish(mosquitto.port, [("farm/climate", payload(2))], qos=0)
        await collector.count(2)
    old, new = collector.samples
    assert (old.quality, new.quality) == (STALE, 0)
    assert old.delivery is not None
    assert new.delivery is None


async def test_a_topic_of_several_sources(mosquitto: Mosquitto) -> None:
    sources = {"one": source("farm/climate"), "all": source("farm/#"), "else": source("port/#")}
    collector = Collector()
    async with MqttProxy(mosquitto.port) as proxy, connected(driver_at(proxy.port, sources), collector):
        await publish(mosquitto.port, [("farm/climate", payload(1)), ("farm/other", payload(2))])
        await collector.count(3)
        await until(lambda: len(proxy.acknowledged) == 2)
    first, second, third = collector.samples
    assert (first.source, second.source, third.source) == ("one", "all", "all")
    assert first.shared
    assert second.shared
    assert not third.shared
    assert first.delivery is second.delivery


async def test_rejected_messages_are_told_and_acknowledged(mosquitto: Mosquitto) -> None:
    collector = Collector()
    long = b'"' + b"x" * PAYLOAD_BYTES + b'"'
    fits = b'{"t": 1, "pad": "%s"}' % (b"x" * (PAYLOAD_BYTES - len(b'{"t": 1, "pad": ""}')))
    bodies = [b"", b'{"t": NaN}', b'{"t": 1, "t": 2}', b"\xff\xfe", b"x" * 300_000, long, fits, payload(9)]
    async with MqttProxy(mosquitto.port) as proxy, connected(driver_at(proxy.port), collector):
        await publish(mosquitto.port, [("farm/climate", body) for body in bodies])
        await collector.count(2)
        await until(lambda: len(proxy.acknowledged) == len(bodies))
    assert [reject.reason for reject in collector.rejects] == [
        "empty", "invalid_json", "duplicate_key", "invalid_json", "too_long", "too_long",
    ]  # fmt: skip
    assert all(len(reject.example) <= EXAMPLE_BYTES for reject in collector.rejects)
    assert collector.rejects[4].example == b"x" * EXAMPLE_BYTES
    assert "300000" in collector.rejects[4].detail
    assert [len(sample.payload) for sample in collector.samples] == [PAYLOAD_BYTES, len(payload(9))]


async def test_wildcards_name_their_sources(mosquitto: Mosquitto) -> None:
    driver = driver_at(mosquitto.port, {"houses": source("farm/+/+", id="{2}-{3}", max_sources=2)})
    collector = Collector()
    async with connected(driver, collector):
        topics = ["farm/h1/temp", "farm/H2/temp", "farm/h3/temp", "farm/h1/temp"]
        await publish(mosquitto.port, [(topic, payload(1)) for topic in topics])
        await collector.count(3)
        await until(lambda: collector.rejects)
    assert [sample.source for sample in collector.samples] == ["h1-temp", "h2-temp", "h1-temp"]
    assert [(reject.source, reject.reason) for reject in collector.rejects] == [("houses", "too_many_sources")]
    assert driver.parents == {"h1-temp": "houses", "h2-temp": "houses"}


async def test_a_removed_topic_is_unsubscribed(mosquitto: Mosquitto, tmp_path: Path) -> None:
    memory = tmp_path / "mqtt-local.json"
    both = {"climate": source(), "feed": source("farm/feed")}
    async with connected(driver_at(mosquitto.port, both, state_file=memory), Collector()):
        assert "farm/feed" in memory.read_text()
    collector = Collector()
    async with MqttProxy(mosquitto.port) as proxy, connected(driver_at(proxy.port, state_file=memory), collector):
        await until(lambda: "farm/feed" not in memory.read_text())
        assert [one.body[4:] for one in proxy.of(UNSUBSCRIBE, up=True)] == [b"farm/feed"]
        await publish(mosquitto.port, [("farm/feed", payload(1)), ("farm/climate", payload(2))])
        await collector.count(1)
        assert [one.topic for one in proxy.of(PUBLISH, up=False)] == ["farm/climate"]
    assert collector.rejects == []


async def test_a_topic_that_no_source_wants_is_told_and_acknowledged(mosquitto: Mosquitto) -> None:
    async with connected(driver_at(mosquitto.port, {"feed": source("farm/feed")}), Collector()):
        pass
    collector = Collector()
    async with MqttProxy(mosquitto.port) as proxy, connected(driver_at(proxy.port), collector):  # remembers nothing
        await publish(mosquitto.port, [("farm/feed", payload(1))])
        await until(lambda: proxy.acknowledged)
    assert [(reject.source, reject.reason) for reject in collector.rejects] == [("mqtt-local", "unknown_topic")]


async def test_an_unreadable_memory_is_no_obstacle(mosquitto: Mosquitto, tmp_path: Path) -> None:
    memory = tmp_path / "mqtt-local.json"
    for content in (b"{", b'{"filters": 7}', b"\xff", b'{"filters": [7, "", "a/b"]}'):
        memory.write_bytes(content)
        async with connected(driver_at(mosquitto.port, state_file=memory), Collector()):
            assert "farm/climate" in memory.read_text()
    async with connected(driver_at(mosquitto.port, state_file=tmp_path / "no" / "such"), Collector()):
        pass


async def test_it_reads_no_more_than_it_may_hand_over(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", 10)
    driver, collector, total = driver_at(mosquitto.port), Collector(durable=False), 400
    pad = b" " * 8_000
    async with connected(driver, collector):
        sending = asyncio.create_task(
            publish(mosquitto.port, [("farm/climate", payload(n) + pad) for n in range(total)])
        )
        while len(collector.samples) < total:
            seen = len(collector.samples)
            await until(lambda seen=seen: len(collector.samples) >= min(seen + 10, total))
            assert len(collector.samples) - seen <= 10 + 9  # the limit, and what one more wake-up may bring
            collector.commit()
        await sending
    assert values(collector) == list(range(total))


async def test_bytes_not_yet_durable_are_limited_too(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "PENDING_BYTES", 20_000)
    driver, collector = driver_at(mosquitto.port), Collector(durable=False)
    async with connected(driver, collector):
        await publish(mosquitto.port, [("farm/climate", payload(n) + b" " * 30_000) for n in range(20)])
        await until(lambda: driver._connection and driver._connection.paused)
        assert len(collector.samples) <= 3
        collector.durable = True
        collector.commit()
        await collector.count(20)


async def test_a_pause_too_long_for_the_keepalive_closes_and_comes_back(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", 2)
    monkeypatch.setattr(mqtt_module, "TICK_S", 0.05)
    collector = Collector(durable=False)
    async with MqttProxy(mosquitto.port) as proxy:
        driver = MqttDriver(broker_at(proxy.port, keepalive_s=1), {"climate": source()})
        async with connected(driver, collector):
            await publish(mosquitto.port, [("farm/climate", payload(n)) for n in range(4)])
            await until(lambda: proxy.of(DISCONNECT, up=True))
            assert collector.links[-1].up is False
            assert proxy.of(PUBACK, up=True) == []
            collector.durable = True
            collector.commit()
            await until(lambda: len(proxy.acknowledged) == 4)
            await until(lambda: collector.links[-1].up)
    assert set(values(collector)) == set(range(4))
    assert len(collector.lost_sessions) == 1


async def test_at_a_stop_what_becomes_durable_is_still_acknowledged(mosquitto: Mosquitto) -> None:
    collector = Collector(durable=False)
    async with MqttProxy(mosquitto.port) as proxy:
        async with running(driver_at(proxy.port), collector) as task:
            await collector.up()
            await publish(mosquitto.port, [("farm/climate", payload(1))])
            await collector.count(1)
            task.cancel()
            await publish(mosquitto.port, [("farm/climate", payload(2))])
            collector.commit()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: proxy.of(DISCONNECT, up=True))
        assert [one.payload for one in proxy.acknowledged] == [payload(1)]
    assert values(collector) == [1]


async def test_a_reconnect_subscribes_to_everything_again(mosquitto: Mosquitto) -> None:
    async with MqttProxy(mosquitto.port) as proxy:
        for _ in range(2):
            async with connected(driver_at(proxy.port), Collector()):
                pass
        assert len(proxy.of(SUBSCRIBE, up=True)) == 2


async def test_two_clients_with_one_id(mosquitto: Mosquitto) -> None:
    one, two = driver_at(mosquitto.port), driver_at(mosquitto.port)
    heard = Collector()
    for attempt in range(3):
        first = asyncio.create_task(failure(one, heard))
        await until(lambda attempt=attempt: len(heard.links) == attempt + 1)
        async with connected(two, Collector()):
            error = await first
    assert "another client seems to use the client id gateway-1" in error.what
    assert "client_id" in error.cure
    assert "another client seems to use the client id gateway-1" in heard.links[-1].detail  # said while it is up, too


async def test_a_wrong_password(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "m", password=("fieldgate", "right-secret"))
    await asyncio.to_thread(broker.start)
    try:
        sources = {"climate": source()}
        wrong = broker_at(broker.port, user="fieldgate", password="wrong-secret")
        error = await failure(MqttDriver(wrong, sources))
        assert "does not accept user and password" in error.what
        assert "[broker.local]" in error.cure
        assert "secret" not in error.what + error.cure + repr(wrong)
        right = broker_at(broker.port, user="fieldgate", password="right-secret")
        async with connected(MqttDriver(right, sources), Collector()):
            pass
    finally:
        await asyncio.to_thread(broker.stop)


async def test_nobody_there() -> None:
    error = await failure(driver_at(free_port()))
    assert "nothing listens" in error.what
    error = await failure(MqttDriver(broker_at(1883, host="256.256.256.256"), {"climate": source()}))
    assert "no address" in error.what


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[tuple[Mosquitto, Authority]]:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("broker")
    extra = "require_certificate true"
    broker = Mosquitto(tmp_path / "m", max_inflight=1000, tls=(authority.ca_file, cert, key), extra=extra)
    await asyncio.to_thread(broker.start)
    yield broker, authority
    await asyncio.to_thread(broker.stop)


async def test_tls_with_a_certificate_of_its_own(encrypted: tuple[Mosquitto, Authority]) -> None:
    broker, authority = encrypted
    cert, key = authority.issue("gateway")
    files = {"ca_file": str(authority.ca_file), "cert_file": str(cert), "key_file": str(key)}
    tls = aiomqtt.TLSParameters(ca_certs=str(authority.ca_file), certfile=str(cert), keyfile=str(key))
    driver = MqttDriver(broker_at(broker.port, tls=True, **files), {"climate": source()})
    collector, pad = Collector(), b" " * 3_000  # many TLS records in one wake-up
    async with connected(driver, collector):
        await publish(broker.port, [("farm/climate", payload(n) + pad) for n in range(300)], tls_params=tls)
        await collector.count(300)
    assert values(collector) == list(range(300))


async def test_many_short_pauses_are_no_long_one(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a backlog and a slow disk it is paused whenever one looks; it reads between, and keeps its connection."""
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", 2)
    monkeypatch.setattr(mqtt_module, "TICK_S", 0.02)
    collector, total, commit_s, commits = Collector(durable=False), 90, 0.1, 0
    async with MqttProxy(mosquitto.port) as proxy:
        driver = MqttDriver(broker_at(proxy.port, keepalive_s=3), {"climate": source()})

        def reads_no_more() -> bool:
            now = driver._connection
            return now is None or now.paused or len(collector.samples) == total

        async with connected(driver, collector):
            pad = b" " * 30_000  # two of them are one read
            sending = asyncio.create_task(
                publish(mosquitto.port, [("farm/climate", payload(n) + pad) for n in range(total)])
            )
            while len(collector.samples) < total:
                await until(reads_no_more)
                await asyncio.sleep(commit_s)
                collector.commit()
                commits += 1
            await sending
            assert commits * commit_s > driver._broker.keepalive_s / 2  # so long may one pause be
            assert proxy.connections == 1
    assert values(collector) == list(range(total))


async def test_tls_backpressure_leaves_nothing_behind(
    encrypted: tuple[Mosquitto, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", 5)
    broker, authority = encrypted
    cert, key = authority.issue("gateway")
    files = {"ca_file": str(authority.ca_file), "cert_file": str(cert), "key_file": str(key)}
    tls = aiomqtt.TLSParameters(ca_certs=str(authority.ca_file), certfile=str(cert), keyfile=str(key))
    driver = MqttDriver(broker_at(broker.port, tls=True, **files), {"climate": source()})
    collector = Collector(durable=False)
    async with connected(driver, collector):
        await publish(broker.port, [("farm/climate", payload(n)) for n in range(100)], tls_params=tls)
        while len(collector.samples) < 100:
            await until(lambda: driver._connection and (driver._connection.paused or len(collector.samples) == 100))
            collector.commit()
    assert values(collector) == list(range(100))


async def test_tls_that_is_not_to_be_trusted(encrypted: tuple[Mosquitto, Authority], tmp_path: Path) -> None:
    broker, authority = encrypted
    other = Authority(tmp_path / "other", "Somebody else")
    cert, key = authority.issue("gateway")
    files = {"cert_file": str(cert), "key_file": str(key)}

    async def fails(**more: Any) -> str:
        return (await failure(MqttDriver(broker_at(broker.port, **more), {"climate": source()}))).what

    assert "is not accepted" in await fails(tls=True, ca_file=str(other.ca_file), **files)
    assert "is not accepted" in await fails(tls=True, ca_file=str(authority.ca_file), host="localhost", **files)
    assert "cannot be used" in await fails(tls=True, ca_file=str(tmp_path / "none.pem"))
    assert "no MQTT 3.1.1 session" in await fails()


async def test_tls_to_a_port_without(mosquitto: Mosquitto) -> None:
    error = await failure(MqttDriver(broker_at(mosquitto.port, tls=True), {"climate": source()}))
    assert "no TLS with" in error.what or "cannot be reached" in error.what
