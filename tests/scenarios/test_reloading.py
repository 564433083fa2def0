"""A technician changes the configuration of a gateway that runs: by the command, and by the signal."""

import asyncio
import hashlib
import itertools
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.configs import vkey
from fakes.field import Field, fieldgate, ran, until
from fakes.mqtt_proxy import SUBACK, MqttProxy

from gateway.core import senml

CLIMATE = """
[seal]
max_age_s = 0.3
[broker.local]
url = "mqtt://127.0.0.1:{port}"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/climate"
values = {{ n = {{ pointer = "/n" }} }}
"""
WATER = """
[source.water]
driver = "mqtt"
broker = "local"
topic = "farm/water"
values = { n = { pointer = "/n" } }
"""
BOX = """
[seal]
max_age_s = 0.2
heartbeat_s = 0.3
[source.box]
driver = "system"
every_s = 1
"""


def facts(reading: senml.Reading) -> dict[str, object]:
    return {record.name: record.value for record in reading.records}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", max_inflight=20) as made:
        yield made


async def test_a_source_comes_and_goes_beside_one_that_receives(tmp_path: Path, broker: Mosquitto) -> None:
    sent = itertools.count()
    ending = asyncio.Event()

    async def publish() -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            while not ending.is_set():
                await client.publish("farm/climate", json.dumps({"n": next(sent)}), qos=1)
                await asyncio.sleep(0.002)

    async with MqttProxy(broker.port) as proxy:
        field = Field(tmp_path, CLIMATE.format(port=proxy.port), with_node=False)
        await field.make()
        path, home = field.home / "fieldgate.toml", field.home
        lean = path.read_text()
        async with field.started():
            await until(lambda: bool(proxy.of(SUBACK, up=False)), "a subscription")
            publishing = asyncio.create_task(publish())
            await until(lambda: len(proxy.acknowledged) > 20, "readings")

            path.write_text(lean + WATER)
            code, out, _ = await ran("reload", cwd=home)
            assert (code, out.split()) == (0, ["source", "water", "started"])
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                await client.publish("farm/water", '{"n": 7}', qos=1)
            await until(lambda: any(one.topic == "farm/water" for one in proxy.acknowledged), "water")

            path.write_text(lean + WATER.replace("topic", "topc").replace("local", "locl"))
            code, out, err = await ran("reload", cwd=home)
            assert (code, out) == (2, "")
            assert len(err.splitlines()) >= 3
            assert "Did you mean topic?" in err
            assert "Traceback" not in err
            code, out, _ = await ran("status", cwd=home)
            assert code == 0
            assert "The changed configuration is refused" in out
            code, out, _ = await ran("reload", "--json", cwd=home)
            assert (code, json.loads(out)["taken_over"]) == (2, False)
            path.write_text("[gateway\n")
            code, _, err = await ran("reload", cwd=home)
            assert code == 2
            assert "not TOML" in err
            os.kill(field.gateway.pid, signal.SIGHUP)
            await until(lambda: "not TOML" in field.gateway.words(), "the log says it")

            path.write_text(lean.replace('name = "field.example"', 'name = "other.example"'))
            os.kill(field.gateway.pid, signal.SIGHUP)
            await until(lambda: "wait for a restart: gateway.name" in field.gateway.words(), "what waits is named")
            path.write_text(lean)
            code, out, _ = await ran("reload", cwd=home)
            assert (code, out) == (0, "nothing has changed\n")
            state = await field.status()
            assert set(state["sources"]) == {"gateway", "climate"}
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert state["configuration"]["files"] == [["fieldgate.toml", digest]]
            assert state["problems"] == []

            await until(lambda: len(proxy.acknowledged) > 200, "more readings")
            ending.set()
            await publishing
            total = next(sent)
            await until(lambda: len(proxy.acknowledged) == total + 1, "all of it, and the water")
            assert proxy.connections == 1
            assert await field.gateway.end() == 0
    readings = await field.readings()
    climate = [facts(one)["n"] for one in readings if one.source == "climate"]
    assert climate == list(range(total))
    assert [facts(one)["n"] for one in readings if one.source == "water"] == [7]
    events = [facts(one) for one in readings if one.source == "gateway"]
    assert [one["event"] for one in events if one["event"] not in ("source-lost", "source-back")] == [
        "start", "configuration", "configuration", "source-removed", "configuration", "configuration", "stop",
    ]  # fmt: skip
    assert [one["asked"] for one in events if one["event"] == "configuration"] == ["start", *["reload"] * 3]
    assert "all good" in await fieldgate("verify", "--store", "data", cwd=field.home)


async def test_a_node_comes_is_wrong_is_right_and_goes(tmp_path: Path) -> None:
    field = Field(
        tmp_path, '[seal]\nmax_age_s = 0.2\nheartbeat_s = 0.3\n[source.box]\ndriver = "system"\nevery_s = 1\n'
    )
    await field.make()
    path, home = field.home / "fieldgate.toml", field.home
    whole = path.read_text()
    lean, _, link = whole.partition("[node.node]")
    link = f"[node.node]{link}"
    path.write_text(lean)
    async with field.started():
        await field.up()
        assert "nobody to ask" in (await ran("sync", "now", cwd=home))[1]
        path.write_text(lean + link)
        code, out, _ = await ran("reload", cwd=home)
        assert (code, out.split()) == (0, ["node", "node", "started"])
        await _node(field, ok=True)

        seen = next(line for line in link.splitlines() if line.startswith("seen_key"))
        wrong = vkey("other.example")
        path.write_text(lean + link.replace(seen, f'seen_key = "{wrong}"'))
        assert (await ran("reload", cwd=home))[1].split() == ["node", "node", "changed"]
        await _node(field, ok=False)
        path.write_text(lean + link)
        assert (await ran("reload", cwd=home))[0] == 0
        code, out, _ = await ran("sync", "now", cwd=home)
        assert (code, "asked: node" in out) == (0, True)
        await _node(field, ok=True)

        path.write_text(lean)
        assert (await ran("reload", cwd=home))[1].split() == ["node", "node", "stopped"]
        state = await field.status()
        assert (state["nodes"], state["chain"]["held"]) == ({}, None)
        assert await field.gateway.end() == 0
    code, _, err = await ran("reload", cwd=home)
    assert code == 3
    assert "not running" in err


async def _node(field: Field, *, ok: bool) -> None:
    """Returns when the node stores all blocks, or is told to be away."""
    async with asyncio.timeout(30):
        while True:
            state = await field.status()
            told = state["nodes"]["node"]
            if told["stored"] >= state["chain"]["size"] - 1 > 0 if ok and told["ok"] else not ok and not told["ok"]:
                return
