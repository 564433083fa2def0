"""The MQTT driver against brokers that do what no broker should."""

import asyncio
import socket
from typing import Any

import pytest
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.mqtt_scripted import Peer, ScriptedBroker, connack, packet, publish, suback

from drivers import mqtt as mqtt_module
from drivers import mqtt_connection
from drivers.api import Link, Sample
from drivers.codecs.values import ValueMap
from drivers.limits import MQTT_PACKETS_A_TURN
from drivers.mqtt import Broker, MqttDriver, MqttOptions


def driver_at(port: int, *topics: str, **more: Any) -> MqttDriver:
    broker = Broker(**{"name": "local", "host": "127.0.0.1", "port": port, "client_id": "gateway-1", **more})
    names = topics or ("a",)
    return MqttDriver(broker, {f"s-{t}": MqttOptions(broker="local", topic=t, values={"t": ValueMap()}) for t in names})


async def test_a_broker_that_accepts_and_says_nothing() -> None:
    async with ScriptedBroker(Peer.gone) as broker:
        error = await failure(driver_at(broker.port, connect_timeout_s=0.2))
    assert "did not answer in time" in error.what


async def test_a_broker_that_does_not_speak_tls_in_time() -> None:
    async with ScriptedBroker(Peer.gone) as broker:
        error = await failure(driver_at(broker.port, tls=True, connect_timeout_s=0.2))
    assert "did not answer in time" in error.what


@pytest.mark.parametrize(
    "greeting",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x20\x02\x00\x01", b"\x20\x01\x00", b"\x30\x00", b"\xff" * 10],
)
async def test_what_is_no_mqtt_broker(greeting: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(greeting)
        if greeting:
            await peer.gone()

    async with ScriptedBroker(script) as broker:
        error = await failure(driver_at(broker.port, connect_timeout_s=1.0))
    assert "no MQTT 3.1.1 session" in error.what or "did not answer in time" in error.what
    assert error.cure


@pytest.mark.parametrize(
    ("code", "words"), [(2, "client id"), (3, "Server unavailable"), (4, "user and password"), (9, "refuses")]
)
async def test_refusals_in_words(code: int, words: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(connack(False, code))
        await peer.gone()

    async with ScriptedBroker(script) as broker:
        error = await failure(driver_at(broker.port))
    assert words in error.what


async def test_a_refused_topic_harms_only_its_source() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(1, 0x80, 0)
        await peer.send(publish(b"a", b'{"t": 1}', 1))
        await peer.gone()

    collector = Collector()
    async with ScriptedBroker(script) as broker, running(driver_at(broker.port, "a", "b", "c"), collector):
        await collector.count(1)
    links = {link.sources: link for link in collector.links}
    assert links[()].up
    assert not links["s-b",].up
    assert "refuses the topic b" in links["s-b",].detail
    assert links["s-c",].up
    assert "QoS 0 only" in links["s-c",].detail
    assert collector.links[0] == Link(True, f"connected to 127.0.0.1:{broker.port}")


async def test_messages_before_the_suback_and_with_the_connack_in_one_packet() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(connack(False) + publish(b"a", b'{"t": 1}', 1) + publish(b"a", b'{"t": 2}', 2))
        first = 0
        while first != 0x82:
            first, body = await peer.read()
        await peer.send(suback(int.from_bytes(body[:2], "big"), 1) + publish(b"a", b'{"t": 3}', 3))
        await peer.gone()

    collector = Collector()
    async with ScriptedBroker(script) as broker, running(driver_at(broker.port), collector):
        await collector.count(3)
    assert [type(item).__name__ for item in collector.items] == ["SessionLost", "Sample", "Sample", "Link", "Sample"]
    assert [len(call) for call in collector.calls] == [1, 2, 1, 1]


async def test_a_broker_that_never_answers_a_subscribe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "ANSWER_S", 0.2)
    monkeypatch.setattr(mqtt_module, "TICK_S", 0.05)

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(connack())
        await peer.gone()

    async with ScriptedBroker(script) as broker:
        error = await failure(driver_at(broker.port))
    assert "no answer to a SUBSCRIBE" in error.what


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        (packet(0x34, b"\0\1a\0\1x"), "QoS 2"),
        (b"\x30\xff\xff\xff\xff\xff", "remaining length"),
        (packet(0x20, b"x" * 200_000), "200000 bytes"),
        (packet(0x90, b"\0"), "Protocol error"),
        (connack(False), "a second CONNACK"),
    ],
)
async def test_nonsense_ends_the_connection_with_words(nonsense: bytes, words: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(nonsense)
        await peer.gone()

    async with ScriptedBroker(script) as broker:
        error = await failure(driver_at(broker.port))
    assert words in error.what
    assert error.cure


@pytest.mark.parametrize(
    "nonsense", [packet(0x34, b"\0\1a\0\1x"), packet(0x30, b""), connack(False), packet(0x90, b"\0")]
)
async def test_good_messages_before_the_nonsense_are_handed_over(nonsense: bytes) -> None:
    """All of them, once, in order; and no session is lost by it."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(b"".join(publish(b"a", b'{"t": %d}' % n, n + 1) for n in range(600)) + nonsense)
        await peer.gone()

    collector = Collector()
    async with ScriptedBroker(script) as broker:
        await failure(driver_at(broker.port), collector)
    assert [sample.records[0][2] for sample in collector.samples] == list(range(600))
    assert collector.lost_sessions == []


async def test_a_message_before_the_connack_is_no_message() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(publish(b"a", b'{"t": 1}', 1) + connack())
        await peer.gone()

    collector = Collector()
    async with ScriptedBroker(script) as broker:
        error = await failure(driver_at(broker.port), collector)
    assert "a message before its CONNACK" in error.what
    assert collector.items == []


async def test_of_one_wake_up_so_much_is_handed_over_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop turns between two parts, a pause between them is kept, and nothing is lost or out of order."""
    number, turns, seen = MQTT_PACKETS_A_TURN * 8, [0], list[int]()
    monkeypatch.setattr(mqtt_module, "PENDING_MESSAGES", MQTT_PACKETS_A_TURN * 3)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(b"".join(publish(b"a", b'{"t": %d}' % n, n + 1) for n in range(number)))
        await peer.gone()

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    collector = Collector(durable=False)
    plain = collector.emit

    def emit(items: Any) -> "asyncio.Future[None]":
        if isinstance(items[0], Sample):
            seen.append(turns[0])
            assert len(items) <= MQTT_PACKETS_A_TURN
        return plain(items)

    monkeypatch.setattr(collector, "emit", emit)
    async with ScriptedBroker(script) as broker, running(driver_at(broker.port), collector):
        turning = asyncio.create_task(turn())
        while len(collector.samples) < number:
            had = len(collector.samples)
            await until(lambda had=had: len(collector.samples) >= min(had + MQTT_PACKETS_A_TURN * 3, number))
            assert len(collector.samples) < had + MQTT_PACKETS_A_TURN * 4
            collector.commit()
        turning.cancel()
    assert [sample.records[0][2] for sample in collector.samples] == list(range(number))
    assert len(set(seen)) == len(seen) >= 8


async def test_a_broker_that_reads_nothing_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its acknowledgements do not pile up: beyond a limit nothing more is taken from it, until it has read them."""
    monkeypatch.setattr(mqtt_connection, "MQTT_OUT_BYTES", 8_000)
    number = 60_000  # 240 kB of acknowledgements: no window takes them
    narrow, reading = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        peer.transport.pause_reading()
        peer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await narrow.wait()
        for start in range(0, number, 100):
            await peer.send(b"".join(publish(b"a", b'{"t": 1}', 1 + n) for n in range(start, start + 100)))

    async def read_at_last(peer: Peer) -> None:
        await reading.wait()
        peer.transport.resume_reading()
        await peer.gone()

    async def both(peer: Peer) -> None:
        await asyncio.gather(script(peer), read_at_last(peer))

    collector = Collector()
    async with ScriptedBroker(both) as broker:
        driver = driver_at(broker.port)
        async with running(driver, collector):
            await collector.up()
            connection = driver._connection
            assert connection is not None
            connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            narrow.set()
            await until(lambda: not connection._listening)
            assert len(connection._out) <= 8_000 + 4 * 2 * MQTT_PACKETS_A_TURN  # and what is on its way to them
            assert not connection.lost.done()
            assert len(collector.samples) < number
            reading.set()
            await collector.count(number)
            assert len(collector.samples) == number


async def test_a_broker_that_stops_answering_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_module, "TICK_S", 0.05)

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.gone()

    async with ScriptedBroker(script) as broker:
        error = await failure(driver_at(broker.port, keepalive_s=1))
    assert "Keep alive timeout" in error.what


@pytest.mark.nightly
async def test_a_broker_that_does_not_read_acknowledgements_stops_nothing() -> None:
    """PUBACKs that the socket does not take wait in the driver, and leave when it does."""
    count = 40_000
    acknowledged = bytearray()
    reading = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        peer.transport.pause_reading()
        peer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for start in range(0, count, 1000):
            await peer.send(b"".join(publish(b"a", b'{"t": 1}', 1 + n) for n in range(start, start + 1000)))
        await reading.wait()
        peer.transport.resume_reading()
        while len(acknowledged) < 4 * count:
            first, body = await peer.read()
            assert first == 0x40
            acknowledged.extend(bytes([first, 2]) + body)
        await peer.gone()

    collector = Collector()
    async with ScriptedBroker(script) as broker:
        driver = driver_at(broker.port)
        async with running(driver, collector):
            await collector.up()
            connection = driver._connection
            assert connection is not None
            connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await collector.count(count)
            assert connection._writing
            reading.set()
            await until(lambda: len(acknowledged) == 4 * count)
            assert not connection._writing
    assert acknowledged == b"".join(b"\x40\x02" + (1 + n).to_bytes(2, "big") for n in range(count))


async def test_a_bug_on_the_way_of_a_message_is_raised_and_not_swallowed() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(publish(b"a", b'{"t": 1}', 1))
        await peer.gone()

    def emit(items: Any) -> "asyncio.Future[None]":
        if any(type(item).__name__ == "Sample" for item in items):
            raise ZeroDivisionError("a bug")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async with ScriptedBroker(script) as broker:
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(10):
                await driver_at(broker.port).run(emit)
