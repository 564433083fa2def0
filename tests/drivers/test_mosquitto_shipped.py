"""The shipped configuration of mosquitto, started as it is but for its port, its paths and its user."""

import asyncio
import getpass
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import running

from drivers.codecs.values import ValueMap
from drivers.mqtt import Broker, MqttDriver, MqttOptions

SHIPPED = Path(__file__).parents[2] / "deploy" / "mosquitto"
USERS = ("fieldgate", "pump", "gate", "zigbee2mqtt")


@pytest.fixture
async def shipped(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    folder = tmp_path / "mosquitto"
    broker = Mosquitto(folder)
    for name in USERS:
        new = [] if (folder / "passwd").exists() else ["-c"]
        subprocess.run(["mosquitto_passwd", *new, "-b", folder / "passwd", name, f"{name}-secret"], check=True)
    (folder / "fieldgate.acl").write_text((SHIPPED / "fieldgate.acl").read_text())
    for file in ("passwd", "fieldgate.acl"):
        (folder / file).chmod(0o600)
    text = (SHIPPED / "mosquitto.conf").read_text()
    for was, becomes in (
        ("listener 1883\n", f"listener {broker.port} 127.0.0.1\nuser {getpass.getuser()}\n"),
        ("/etc/mosquitto", str(folder)),
        ("/var/lib/mosquitto", str(folder)),
        ("log_dest syslog", "log_dest stderr"),
    ):
        assert was in text
        text = text.replace(was, becomes)
    (folder / "mosquitto.conf").write_text(text)
    await asyncio.to_thread(broker.start)
    yield broker
    await asyncio.to_thread(broker.stop)


def client(broker: Mosquitto, user: str, password: str | None = None, **more: Any) -> aiomqtt.Client:
    secret = password or f"{user}-secret"
    return aiomqtt.Client("127.0.0.1", broker.port, username=user, password=secret, **more)


def gateway(broker: Mosquitto) -> MqttDriver:
    at = Broker(
        name="local",
        host="127.0.0.1",
        port=broker.port,
        client_id="gateway",
        window=1000,
        user="fieldgate",
        password="fieldgate-secret",
    )
    values = {"n": ValueMap()}
    return MqttDriver(at, {"all": MqttOptions(broker="local", topic="#", values=values, id="", max_sources=1)})


async def publish(broker: Mosquitto, user: str, *messages: tuple[str, int]) -> None:
    async with client(broker, user) as device:
        for topic, n in messages:
            await device.publish(topic, b'{"n": %d}' % n, qos=1)


def numbers(collector: Collector) -> list[Any]:
    return [sample.records[0][2] for sample in collector.samples]


async def test_a_device_publishes_its_own_topics_only_and_the_gateway_reads_all(shipped: Mosquitto) -> None:
    collector = Collector()
    async with running(gateway(shipped), collector):
        await collector.up()
        await publish(
            shipped,
            "pump",
            ("farm/pump/power", 1),
            ("farm/gate/power", -1),
            ("farm", -2),
            ("tele/pump/SENSOR", 2),
            ("tele/gate/SENSOR", -3),
            ("zigbee2mqtt/x", -4),
            ("pump/status/switch:0", 3),
            ("pump/rpc", -5),
            ("shellies/pump/relay/0", 4),
        )
        await publish(
            shipped, "zigbee2mqtt", ("zigbee2mqtt/x", 5), ("homeassistant/sensor/x/config", 6), ("farm/x", -6)
        )
        await publish(shipped, "fieldgate", ("farm/pump/power", -7), ("spBv1.0/g/NCMD/n", 7))
        await publish(shipped, "fieldgate", ("homeassistant/sensor/x/config", -8), ("other", -9))
        await publish(shipped, "fieldgate", ("fieldgate/hen/status", 8), ("homeassistant/device/hen/config", 9))
        await publish(shipped, "gate", ("farm/gate/power", 10))
        await until(lambda: 10 in numbers(collector))
    assert numbers(collector) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


async def test_who_is_unknown_does_not_connect_and_a_device_reads_nobody_elses(shipped: Mosquitto) -> None:
    for user, password in (("stranger", "x"), ("pump", "wrong")):
        with pytest.raises(aiomqtt.MqttError):
            async with client(shipped, user, password):
                pass
    async with client(shipped, "pump") as pump:
        await pump.subscribe([("farm/gate/power", 1), ("cmnd/pump/#", 1), ("#", 1)])
        async with client(shipped, "zigbee2mqtt") as other:
            await other.subscribe("#", qos=1)  # its own alone
            await publish(shipped, "gate", ("farm/gate/power", 1), ("stat/gate/x", 2))
            await other.publish("zigbee2mqtt/last", b"x", qos=1)
            async with asyncio.timeout(10):
                assert str((await anext(aiter(other.messages))).topic) == "zigbee2mqtt/last"
        assert len(pump.messages) == 0


async def test_a_session_outlives_a_kill(shipped: Mosquitto) -> None:
    """What was acknowledged to the device and saved, while the gateway is away."""
    first, again = Collector(), Collector()
    async with running(gateway(shipped), first):
        await first.up()
    await publish(shipped, "pump", *(("farm/pump/power", 1000 + n) for n in range(50)))
    saved = shipped.folder / "mosquitto.db"
    await until(lambda: saved.exists() and b"1049" in saved.read_bytes())
    await asyncio.to_thread(shipped.kill)
    await asyncio.to_thread(shipped.start)
    async with running(gateway(shipped), again):
        await again.count(50)
    assert numbers(again) == [1000 + n for n in range(50)]
    assert not again.lost_sessions


def test_its_figures_fit_the_gateways() -> None:
    text = (SHIPPED / "mosquitto.conf").read_text()
    told = dict(re.findall(r"^([a-z_]+) (\S+)$", text, re.MULTILINE))
    assert told["autosave_interval"] == "1"
    assert told["persistence"] == "true"
    assert 0 < int(told["max_queued_messages"]) <= 1_000_000
    assert 0 < int(told["max_queued_bytes"]) <= 256 * 1024 * 1024
    assert "window = 1000" in (SHIPPED.parents[1] / "docs" / "drivers.md").read_text()
    assert told["max_inflight_messages"] == "1000"
