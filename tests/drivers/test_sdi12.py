"""SDI-12 on real pseudo-terminals, as behind an adapter that makes the break."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.pty_line import Line

from drivers import registry
from drivers.api import OUT_OF_RANGE
from drivers.limits import SDI12_LINE_BYTES, SDI12_WAIT_S
from drivers.polls import PollDriver
from drivers.simulators import sdi12
from drivers.simulators.sdi12 import Probe

VALUES = {"vwc": {"index": 1, "unit": "/", "scale": 0.01}, "temp": {"index": 4, "unit": "Cel"}}


def build(**tables: dict[str, Any]) -> PollDriver:
    base = {"values": VALUES, "every_s": 0.05, "timeout_s": 0.3, "address": "0"}
    options = registry.options_type("sdi12")
    made = {name: ("sdi12", msgspec.convert({**base, **table}, options)) for name, table in tables.items()}
    (driver,) = registry.build(made, {})
    assert isinstance(driver, PollDriver)
    return driver


@asynccontextmanager
async def polled(probes: dict[str, Probe], *, echo: bool = False, **tables: dict[str, Any]) -> AsyncIterator[Collector]:
    collector = Collector()
    with Line() as line:
        made = {name: {"port": str(line.path), **table} for name, table in tables.items()}
        driver = await asyncio.to_thread(build, **made)
        async with sdi12.on(line, probes, echo=echo), running(driver, collector):
            yield collector


@pytest.mark.parametrize("command", ["M", "MC", "C", "CC", "M1", "MC2"])
@pytest.mark.parametrize("echo", [False, True])
async def test_a_measurement_in_two_answers(command: str, *, echo: bool) -> None:
    probe = Probe(["+31.40", "-0.5", "+1", "-2.75"])
    async with polled({"0": probe}, soil={"command": command}, echo=echo) as collector:
        await collector.count(1)
    assert collector.samples[0].records == [("vwc", "/", 0.314), ("temp", "Cel", -2.75)]
    first, *data = collector.samples[0].payload.split(b"\n")
    assert first == (b"000004" if command[0] == "C" else b"00004")
    assert [line[:2] for line in data] == [b"0+", b"0-"]
    assert probe.asked[:3] == [command, "D0", "D1"]
    assert collector.rejects == []
    assert [(link.up, link.sources) for link in collector.links] == [(True, ("soil",))]


async def test_a_sensor_that_needs_its_time_asks_for_service() -> None:
    """It announces 60 s, and is ready before: nobody waits for them."""
    async with polled({"0": Probe(["+1"] * 4, seconds=60)}, soil={}) as collector:
        await collector.count(1)


async def test_a_measurement_that_takes_too_long_is_not_waited_for() -> None:
    probes = {"0": Probe(["+1"] * 4, seconds=int(SDI12_WAIT_S)), "1": Probe(["+1"] * 4, seconds=int(SDI12_WAIT_S) + 1)}
    async with polled(probes, longest={}, longer={"address": "1", "retries": 0}) as collector:
        await until(lambda: len(collector.links) == 2)
    assert {link.sources: link.up for link in collector.links} == {("longest",): True, ("longer",): False}
    assert "at most 120 are waited for" in next(link.detail for link in collector.links if not link.up)


async def test_a_line_without_an_end_is_no_answer() -> None:
    class Babbling(Probe):
        def answer(self, address: str, command: str) -> str | None:
            return address + "\n".join(["9" * SDI12_LINE_BYTES] * 20)

    async with polled({"0": Babbling(["+1"])}, soil={"retries": 0}) as collector:
        await until(lambda: collector.rejects)
    assert not collector.samples
    assert all(len(reject.example) <= SDI12_LINE_BYTES for reject in collector.rejects)


async def test_a_wrong_crc_is_counted_and_the_measurement_made_again() -> None:
    probe = Probe(["+1", "+2", "+3", "+4"], spoils=1)
    async with polled({"0": probe}, soil={"command": "MC"}) as collector:
        await collector.count(1)
    assert [reject.reason for reject in collector.rejects][:1] == ["checksum"]
    assert probe.asked[:3] == ["MC", "D0", "MC"]


async def test_an_answer_without_the_crc_that_was_asked_for_is_none() -> None:
    class Plain(Probe):
        def answer(self, address: str, command: str) -> str | None:
            return super().answer(address, command.replace("C", ""))

    async with polled({"0": Plain(["+1"] * 4)}, soil={"command": "MC", "retries": 0}) as collector:
        await until(lambda: collector.rejects)
    assert {reject.reason for reject in collector.rejects} <= {"checksum", "no_match"}
    assert not collector.samples


async def test_sentinels_and_too_few_values() -> None:
    async with polled({"0": Probe(["-9999", "+1", "+1", "+20"])}, soil={}) as collector:
        await collector.count(1)
    assert collector.samples[0].records == [("temp", "Cel", 20.0)]
    assert collector.samples[0].quality == OUT_OF_RANGE
    async with polled({"0": Probe(["+1"])}, soil={"retries": 0}) as collector:
        await until(lambda: collector.rejects)
    assert collector.rejects[0].reason == "missing_value"
    assert not collector.samples


async def test_a_dead_sensor_beside_a_live_one() -> None:
    probes = {"0": Probe(["+1"] * 4), "1": Probe(["+1"] * 4, away=True)}
    async with polled(probes, live={}, dead={"address": "1", "timeout_s": 0.05, "retries": 0}) as collector:
        await until(lambda: any(not link.up for link in collector.links))
        await collector.count(10)
        probes["1"].away = False
        await until(lambda: any(sample.source == "dead" for sample in collector.samples))
    states = [(link.sources, link.up) for link in collector.links]
    assert states == [(("live",), True), (("dead",), False), (("dead",), True)]
    assert "sensor 1: no answer to 1M! within 0.05 s" in collector.links[1].detail


async def test_a_port_that_is_gone() -> None:
    with Line() as line:
        driver = await asyncio.to_thread(build, soil={"port": str(line.path)})
        collector = Collector()
        async with sdi12.on(line, {"0": Probe(["+1"] * 4)}):
            task = asyncio.create_task(failure(driver, collector))
            await collector.count(1)
        line.close()
        assert "is gone" in (await task).what


@pytest.mark.parametrize("table", [{"address": "?"}, {"address": "12"}, {"command": "D0"}, {"values": {}}])
def test_what_cannot_be(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        build(soil={"port": "/dev/ttyS0", **table})
