"""From real wires to a verified block at the node: each reading exactly once, in order within its source."""

import asyncio
import json
from pathlib import Path

import aiomqtt
import pytest
from fakes import consumer
from fakes.broker import Mosquitto
from fakes.field import Field, fieldgate, until
from fakes.pty_line import Line, feed

from drivers.simulators import nmea

MESSAGES = 300

SOURCES = """
[seal]
max_age_s = 0.5
max_count = 128
[broker.local]
url = "mqtt://127.0.0.1:{port}"
[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/climate"
values = {{ n = {{ pointer = "/n" }}, temp = {{ pointer = "/t", unit = "Cel" }} }}
[source.ship]
driver = "serial_line"
port = "{line}"
first_line = "quiet"
format = "text"
values = {{ sentence = {{ type = "text" }} }}
"""


async def _whole_way(folder: Path, log: bytes) -> None:
    broker = Mosquitto(folder / "broker")
    await asyncio.to_thread(broker.start)
    try:
        with Line(folder / "line") as line:
            field = Field(folder, SOURCES.format(port=broker.port, line=folder / "line"))
            await field.make()
            signer = consumer.enrol(field)
            async with field.started():
                await _up(field)
                await asyncio.gather(_publish(broker.port), feed(line, log))
                expected = [text for text in (part.strip(b"\r") for part in log.split(b"\n")) if text]
                await until(
                    lambda: field.journaled() >= MESSAGES + len(expected), f"all stored\n{field.gateway.words()}"
                )
                assert (await field.status())["problems"] == []
                assert await field.gateway.end() == 0
                readings = await consumer.readings(field, signer)
    finally:
        await asyncio.to_thread(broker.stop)
    assert [r.records[0].value for r in readings if r.source == "climate"] == list(range(MESSAGES))
    assert [r.raw for r in readings if r.source == "ship"] == expected


async def _up(field: Field) -> None:
    async with asyncio.timeout(30):
        while True:
            sources = (await field.status())["sources"]
            if sources["climate"]["up"] and sources["ship"]["up"]:
                break
    await asyncio.sleep(1)  # the serial line has to be quiet for half a second after it was opened


async def _publish(port: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for number in range(MESSAGES):
            await client.publish("farm/climate", json.dumps({"n": number, "t": 20.5}), qos=1)


@pytest.mark.timeout(120)
async def test_own_serial_log_and_json_messages(tmp_path: Path) -> None:
    lines = nmea.log(seed=7)
    await _whole_way(tmp_path, b"".join(next(lines) for _ in range(400)))


@pytest.mark.timeout(120)
async def test_recorded_serial_log_and_json_messages(tmp_path: Path, captures: Path) -> None:
    await _whole_way(tmp_path, (captures / "nmea0183" / "humminbird-M37.log").read_bytes())


async def test_the_first_serial_reading_is_stored_without_broker_node_dns_or_clock(tmp_path: Path) -> None:
    """Invariant 11: names do not resolve, nothing listens, and the machine's clock is not synchronised."""
    sources = SOURCES.replace("mqtt://127.0.0.1:{port}", "mqtt://nowhere.invalid:{port}")
    with Line(tmp_path / "line") as line:
        field = Field(tmp_path, sources.format(port=1883, line=tmp_path / "line"))
        await field.make()
        text = (
            (field.home / "fieldgate.toml").read_text().replace(f"127.0.0.1:{field.node_port}", "nowhere.invalid:8441")
        )
        (field.home / "fieldgate.toml").write_text(text)
        async with field.started(node=False):
            async with asyncio.timeout(30):
                while not (await field.status())["sources"]["ship"]["up"]:
                    pass
            await asyncio.sleep(1)  # quiet for half a second: the first line is a whole one
            await feed(line, b"$SDDBT,24.6,f,7.5,M,4.1,F*3E\r\n")
            async with asyncio.timeout(30):
                while not (status := await field.status())["sources"]["ship"]["stored"]:
                    pass
            told = await fieldgate("check", cwd=field.home)
            assert await field.gateway.end() == 0
    assert "good" in told
    assert status["sources"]["ship"]["stored"] == 1
    assert status["sources"]["climate"]["up"] is False
    assert "Broker local: the name nowhere.invalid has no address" in status["headline"]
    assert [r.raw for r in await field.readings() if r.source == "ship"] == [b"$SDDBT,24.6,f,7.5,M,4.1,F*3E"]
