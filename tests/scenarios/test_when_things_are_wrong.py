"""Bad payloads, absent partners, an unplugged line, a stop: each told in words, and nothing else is harmed."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.field import Field, fieldgate
from fakes.pty_line import Line, feed

SOURCES = """
[seal]
max_age_s = 0.5
[broker.local]
url = "mqtt://127.0.0.1:{port}"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/climate"
values = {{ n = {{ pointer = "/n" }} }}
[source.open-topic]
driver = "mqtt"
broker = "local"
topic = "wild/+/x"
id = "w-{{2}}"
max_sources = 2
values = {{ n = {{ pointer = "/n" }} }}
[source.scale]
driver = "serial_line"
port = "{line}"
format = "regex"
pattern = 'W=(?P<mass>[0-9.]+)'
values = {{ mass = {{ pointer = "mass", unit = "kg" }} }}
"""

BAD = {
    "not_json": b"{",
    "not_utf8": b'{"n": "\xff"}',
    "nan": b'{"n": NaN}',
    "infinite": b'{"n": 1e999}',
    "duplicate_key": b'{"n": 1, "n": 2}',
    "wrong_type": b'{"n": [1]}',
    "missing": b'{"m": 1}',
    "deep": b'{"n":' + b"[" * 200 + b"]" * 200 + b"}",
    "empty": b"",
    "large": b'{"n": 1, "x": "' + b"x" * 300_000 + b'"}',
}


async def _settled(field: Field, source: str, received: int) -> dict[str, object]:
    async with asyncio.timeout(30):
        while True:
            state: dict[str, object] = (await field.status())["sources"].get(source, {"received": 0})
            if state["received"] == received:
                return state


async def test_bad_payloads_are_counted_shown_and_harm_nothing(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    try:
        with Line(tmp_path / "line") as line:
            field = Field(tmp_path, SOURCES.format(port=broker.port, line=tmp_path / "line"), with_node=False)
            await field.make()
            async with field.started():
                await _up(field, "climate", "scale")
                async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                    for number, bad in enumerate(BAD.values()):
                        await client.publish("farm/climate", bad, qos=1)
                        await client.publish("farm/climate", json.dumps({"n": number}), qos=1)
                    for name in ("one", "two", "three", "four", "UPPER CASE"):
                        await client.publish(f"wild/{name}/x", b'{"n":1}', qos=1)
                await feed(line, b"rest of a line\r\nW=1.5\r\nnoise\xff\r\nW=2.5\r\n")
                climate = await _settled(field, "climate", 2 * len(BAD))
                scale = await _settled(field, "scale", 4)
                state = await field.status()
                assert await field.gateway.end() == 0
    finally:
        await asyncio.to_thread(broker.stop)
    assert (climate["stored"], climate["rejected"], climate["balanced"]) == (len(BAD), len(BAD), True)
    assert isinstance(climate["rejects"], dict)
    assert len(climate["rejects"]) >= 5  # by reason, not one heap
    assert climate["example"]
    assert (scale["stored"], scale["rejected"]) == (2, 2)
    named = {name: source for name, source in state["sources"].items() if name.startswith("w-")}
    assert sorted(named) == ["w-one", "w-two"]
    assert sum(source["rejected"] for source in state["sources"].values()) == len(BAD) + 2 + 3
    assert all(source["balanced"] for source in state["sources"].values())
    readings = await field.readings()
    assert [r.records[0].value for r in readings if r.source == "climate"] == list(range(len(BAD)))
    assert [r.records[0].value for r in readings if r.source == "scale"] == [1.5, 2.5]


async def _up(field: Field, *sources: str) -> None:
    async with asyncio.timeout(30):
        while True:
            told = (await field.status())["sources"]
            if all(told[source]["up"] for source in sources):
                return


def _told(state: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["condition"], one["subject"]) for one in state["problems"]}


@pytest.mark.nightly
async def test_broker_device_and_node_away_and_back(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    line = Line(tmp_path / "line")
    field = Field(tmp_path, SOURCES.format(port=broker.port, line=tmp_path / "line"))
    await field.make()
    try:
        async with field.started():
            await _up(field, "climate", "scale")
            await field.node.end(signal.SIGKILL)
            await asyncio.to_thread(broker.kill)
            line.close()
            async with asyncio.timeout(40):
                wanted = {("broker-away", "local"), ("port-missing", "scale"), ("node-away", "node")}
                while not wanted <= _told(state := await field.status()):
                    await asyncio.sleep(0.1)
            assert all(problem["what"] and problem["cure"] for problem in state["problems"])
            await field.node.start()
            await asyncio.to_thread(broker.start)
            line = Line(tmp_path / "line")
            async with asyncio.timeout(60):
                while (state := await field.status())["problems"] or not state["nodes"]["node"]["ok"]:
                    await asyncio.sleep(0.2)
            assert state["headline"].startswith("All well")
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                await client.publish("farm/climate", b'{"n":7}', qos=1)
            await _settled(field, "climate", 1)
            assert await field.gateway.end() == 0
    finally:
        line.close()
        await asyncio.to_thread(broker.stop)
    events = [r.records[0].value for r in await field.readings() if r.source == "gateway"]
    assert events[0] == "start"
    assert events[-1] == "stop"
    assert events.count("source-lost") >= 2
    assert events.count("source-back") >= 2
    size, stored = await field.node_progress()
    assert stored == size


async def test_sigterm_drains_seals_and_pushes(tmp_path: Path) -> None:
    """What was handed over before the signal is in a sealed block at the node when the process is gone."""
    broker = Mosquitto(tmp_path / "broker")
    await asyncio.to_thread(broker.start)
    slow = SOURCES.replace("max_age_s = 0.5", "max_age_s = 3600").format(port=broker.port, line=tmp_path / "line")
    try:
        with Line(tmp_path / "line"):
            field = Field(tmp_path, slow + "\n[journal]\nlinger_ms = 5000\n")
            await field.make()
            async with field.started():
                await _up(field, "climate")
                async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                    for number in range(10):
                        await client.publish("farm/climate", json.dumps({"n": number}), qos=1)
                async with asyncio.timeout(30):
                    while (await field.status())["sources"]["climate"]["waiting"] < 10:
                        pass
                assert await field.gateway.end() == 0, field.gateway.words()
    finally:
        await asyncio.to_thread(broker.stop)
    assert [r.records[0].value for r in await field.readings() if r.source == "climate"] == list(range(10))
    size, stored = await field.node_progress()
    assert (size, stored) == (1, 1)
    told = await fieldgate("verify", "--store", "data", cwd=field.home)
    assert "1" in told


async def test_a_second_gateway_on_one_folder_is_refused(tmp_path: Path) -> None:
    field = Field(tmp_path, "", with_node=False)
    await field.make()
    async with field.started():
        await field.up()
        process = await asyncio.create_subprocess_exec(
            *field.gateway.command, cwd=field.home, stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert (await field.status())["chain"]["held"] is None
        assert await field.gateway.end() == 0
    assert process.returncode not in (0, None)
    assert b"another gateway runs" in err
    assert b"Traceback" not in err
