"""What a driver meets is told under its id, with every value that goes with it: real ports, networks and brokers."""

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.broker import Mosquitto, free_port
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.mqtt_scripted import Peer, ScriptedBroker, connack, suback
from fakes.tls import Authority

from drivers import network, onewire, replay, serial_port
from drivers.api import Driver, DriverError, Link
from drivers.codecs.values import ValueMap
from drivers.conditions import OF_BROKER, VALUES
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from drivers.serial_line import KIND, SerialLineOptions
from drivers.simulators.quay import Line


def stream(**table: Any) -> Driver:
    assert KIND.driver
    fields = {"format": "text", "values": {"n": {}}}
    return KIND.driver("line", msgspec.convert({**fields, **table}, SerialLineOptions))


def subscribed(port: int, *topics: str, host: str = "127.0.0.1", **more: Any) -> MqttDriver:
    broker = Broker(name="local", host=host, port=port, client_id="gateway-1", **more)
    options = {f"s-{t}": MqttOptions(broker="local", topic=t, values={"t": ValueMap()}) for t in topics or ("a",)}
    return MqttDriver(broker, options)


def told(one: DriverError | Link, condition: str, **values: str) -> None:
    """It says this condition, with all of its values, and these among them."""
    assert one.condition == condition
    assert set(VALUES[condition]) == set(one.values)
    assert dict(one.values) | values == dict(one.values)
    assert all(one.values.values()), "a value is never empty"
    assert condition not in OF_BROKER or one.values["broker"] == "local"


# -- ports ------------------------------------------------------------------------------------------------------------


async def test_a_port_that_is_not_there_and_one_that_goes(tmp_path: Path) -> None:
    collector = Collector()
    with Line(tmp_path / "line") as line:
        async with running(stream(port=str(tmp_path / "line")), collector):
            await collector.up()
            line.close()
            await until(lambda: not collector.links[-1].up)
            told(collector.links[-1], "port-missing", port=str(tmp_path / "line"))
    absent = Collector()
    async with running(stream(port=str(tmp_path / "none")), absent):
        await until(lambda: absent.links)
    told(absent.links[0], "port-missing", port=str(tmp_path / "none"))


async def test_a_port_that_says_nothing(tmp_path: Path) -> None:
    collector = Collector()
    with Line(tmp_path / "line"):
        async with running(stream(port=str(tmp_path / "line"), silence_s=0.05), collector):
            await until(lambda: collector.links and not collector.links[-1].up)
    told(collector.links[-1], "port-silent", port=str(tmp_path / "line"), seconds="0.05")


@pytest.mark.parametrize(
    ("number", "condition"),
    [
        (errno.ENOENT, "port-missing"),
        (errno.EACCES, "port-permission"),
        (errno.EPERM, "port-permission"),
        (errno.EBUSY, "port-busy"),
        (errno.EAGAIN, "port-busy"),
        (errno.EINVAL, "port-failed"),
    ],
)
def test_why_a_port_does_not_open(number: int, condition: str) -> None:
    told(serial_port._not_opened("/dev/ttyS99", OSError(number, "why")), condition, port="/dev/ttyS99")


# -- networks and files -----------------------------------------------------------------------------------------------


async def test_nobody_listens_no_such_name_and_an_end() -> None:
    port = free_port()
    told(
        await failure(stream(tcp=f"127.0.0.1:{port}")), "network-away", at=f"127.0.0.1:{port}", detail="nothing listens"
    )
    told(await failure(stream(tcp="no-such-host.invalid:1")), "network-name", host="no-such-host.invalid")

    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(end, "127.0.0.1", 0) as server:
        at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        told(await failure(stream(tcp=at)), "network-away", at=at)


async def test_a_udp_port_that_is_taken_or_not_ours() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{other.getsockname()[1]}"
        told(await failure(stream(udp=at)), "network-listen", at=at)
    told(await failure(stream(udp="192.0.2.1:5000")), "network-listen", at="192.0.2.1:5000")
    for number in (errno.EACCES, errno.ENOMEM):
        told(network._not_bound("0.0.0.0:80", 80, OSError(number, "why")), "network-listen")


async def test_a_network_that_says_nothing() -> None:
    collector, at = Collector(), f"127.0.0.1:{free_port()}"
    async with running(stream(udp=at, silence_s=0.05), collector):
        await until(lambda: collector.links and not collector.links[-1].up)
    told(collector.links[-1], "network-silent", at=at)


async def test_files_and_folders_that_are_not_there(tmp_path: Path) -> None:
    options = replay.ReplayOptions(path=str(tmp_path / "none"), format="text", values={"n": ValueMap()})
    told(await failure(replay.ReplayDriver("r", options)), "file-unreadable", path=str(tmp_path / "none"))
    folder = str(tmp_path / "w1")
    told(await failure(onewire._driver({"t": onewire.OneWireOptions(path=folder)})), "file-unreadable", path=folder)


# -- brokers ----------------------------------------------------------------------------------------------------------


async def test_a_broker_that_is_not_there() -> None:
    port = free_port()
    told(await failure(subscribed(port)), "broker-away", at=f"127.0.0.1:{port}")
    told(await failure(subscribed(1883, host="no-such-host.invalid")), "broker-name", host="no-such-host.invalid")
    async with ScriptedBroker(Peer.gone) as scripted:
        told(await failure(subscribed(scripted.port, connect_timeout_s=0.2)), "broker-unreachable")


async def test_a_broker_that_wants_another_password(tmp_path: Path) -> None:
    made = await asyncio.to_thread(Mosquitto, tmp_path / "b", password=("fieldgate", "right"))
    await asyncio.to_thread(made.start)
    try:
        told(await failure(subscribed(made.port, user="fieldgate", password="wrong")), "broker-login")
        told(await failure(subscribed(made.port)), "broker-login")
    finally:
        await asyncio.to_thread(made.stop)


async def test_tls_that_does_not_come_about(tmp_path: Path) -> None:
    ours = await asyncio.to_thread(Authority, tmp_path / "ca")
    pair = await asyncio.to_thread(ours.issue, "broker")
    made = await asyncio.to_thread(lambda: Mosquitto(tmp_path / "b", tls=(ours.ca_file, *pair)))
    plain = await asyncio.to_thread(Mosquitto, tmp_path / "plain")
    await asyncio.to_thread(made.start)
    await asyncio.to_thread(plain.start)
    try:
        told(await failure(subscribed(made.port, tls=True)), "broker-tls")
        told(await failure(subscribed(made.port, tls=True, ca_file=str(tmp_path / "none"))), "broker-tls")
        told(await failure(subscribed(plain.port, tls=True, ca_file=str(ours.ca_file))), "broker-tls")
        told(await failure(subscribed(made.port)), "broker-protocol")
    finally:
        await asyncio.to_thread(made.stop)
        await asyncio.to_thread(plain.stop)


@pytest.mark.parametrize(
    ("code", "condition"), [(2, "broker-refused"), (3, "broker-refused"), (4, "broker-login"), (5, "broker-login")]
)
async def test_refusals(code: int, condition: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(connack(False, code))
        await peer.gone()

    async with ScriptedBroker(script) as scripted:
        told(await failure(subscribed(scripted.port)), condition)


async def test_a_password_that_cannot_be_had() -> None:
    lacking = ("/etc/fieldgate/mqtt.password: is not there", "Put it back")
    error = await failure(subscribed(free_port(), lacking=lacking))
    told(error, "broker-secret", detail=lacking[0])
    assert "Put it back. Then: fieldgate reload" in error.cure


async def test_a_connection_that_ends_and_a_fight_over_the_client_id() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()

    async with ScriptedBroker(script) as scripted:
        driver = subscribed(scripted.port)
        told(await failure(driver), "broker-lost")
        errors = [await failure(driver) for _ in range(5)]
    told(errors[-1], "broker-takeover", client_id="gateway-1")


async def test_topics_that_are_refused_or_granted_less() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(connack(False))
        _, body = await peer.read()
        await peer.send(suback(int.from_bytes(body[:2], "big"), 0x80, 0, 1))
        await peer.gone()

    collector = Collector()
    async with ScriptedBroker(script) as scripted, running(subscribed(scripted.port, "a", "b", "c"), collector):
        await until(lambda: len(collector.links) >= 3)
    whole, refused, lesser = collector.links
    assert (whole.up, whole.condition) == (True, "")
    assert (refused.up, refused.sources, lesser.up, lesser.sources) == (False, ("s-a",), True, ("s-b",))
    told(refused, "broker-topic", topic="a")
    told(lesser, "broker-qos0", topic="b")
