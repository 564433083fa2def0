import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.collector import Collector, until
from fakes.driving import failure, running

from drivers.api import REPLAYED
from drivers.limits import REPLAY_LINES
from drivers.replay import ReplayDriver, ReplayOptions
from drivers.simulators import nmea


def driver_of(path: Path, **more: Any) -> ReplayDriver:
    table = {"path": str(path), "format": "text", "values": {"n": {}}, **more}
    return ReplayDriver("log", msgspec.convert(table, ReplayOptions))


def recorded(tmp_path: Path, count: int, tail: bytes = b"") -> Path:
    path = tmp_path / "log.txt"
    path.write_bytes(b"".join(b"%d\r\n" % number for number in range(count)) + tail)
    return path


def numbers(collector: Collector) -> list[Any]:
    return [sample.records[0][2] for sample in collector.samples]


async def test_a_file_is_played_to_its_end_and_marked(tmp_path: Path) -> None:
    collector = Collector()
    await driver_of(recorded(tmp_path, 5000, b"5000")).run(collector.emit)
    assert numbers(collector) == list(range(5001))
    assert {sample.quality for sample in collector.samples} == {REPLAYED}
    assert collector.links[-1].detail.endswith("to its end: 5001 lines")


async def test_each_run_begins_at_the_beginning(tmp_path: Path) -> None:
    driver, collector = driver_of(recorded(tmp_path, 3), replayed=False), Collector()
    await driver.run(collector.emit)
    await driver.run(collector.emit)
    assert numbers(collector) == [0, 1, 2, 0, 1, 2]
    assert {sample.quality for sample in collector.samples} == {0}


async def test_no_more_is_played_than_becomes_durable(tmp_path: Path) -> None:
    collector = Collector(durable=False)
    async with running(driver_of(recorded(tmp_path, 5000)), collector):
        for _ in range(3):
            seen = len(collector.samples)
            await until(lambda seen=seen: len(collector.samples) > seen)
            assert len(collector.samples) - seen <= REPLAY_LINES
            collector.commit()


async def test_a_stop_ends_nobody_elses_commit(tmp_path: Path) -> None:
    collector = Collector(durable=False)
    async with running(driver_of(recorded(tmp_path, 5)), collector):
        await collector.count(5)
        waiting = collector.emit([collector.samples[0]])
    assert not waiting.cancelled()


async def test_again_and_again(tmp_path: Path) -> None:
    collector = Collector()
    async with running(driver_of(recorded(tmp_path, 3), loop=True), collector):
        await collector.count(8)
    assert numbers(collector)[:8] == [0, 1, 2, 0, 1, 2, 0, 1]


async def test_a_pace(tmp_path: Path) -> None:
    collector = Collector()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await driver_of(recorded(tmp_path, 20), rate=200).run(collector.emit)
    assert loop.time() - began >= 19 / 200
    assert numbers(collector) == list(range(20))


async def test_a_ships_log(tmp_path: Path) -> None:
    sentences = list(itertools.islice(nmea.log(), 100))
    path = tmp_path / "ship.nmea"
    path.write_bytes(b"".join(sentences))
    collector = Collector()
    pattern = r"\$YXMTW,(?P<water>[\d.]+),C\*.."
    table = {"format": "regex", "pattern": pattern, "checksum": "nmea", "values": {"water": {"unit": "Cel"}}}
    await driver_of(path, **table).run(collector.emit)
    assert len(collector.samples) == 25
    assert {reject.reason for reject in collector.rejects} == {"no_match"}


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in (await failure(driver_of(tmp_path / "none"))).what
    assert "cannot be read" in (await failure(driver_of(tmp_path))).what


async def test_an_empty_file_is_over_at_once(tmp_path: Path) -> None:
    collector = Collector()
    async with asyncio.timeout(5):
        await driver_of(recorded(tmp_path, 0), loop=True).run(collector.emit)
    assert collector.samples == []


@pytest.mark.parametrize("wrong", [{"path": "log"}, {"rate": -1}, {"loop": 1}])
def test_options_that_are_refused(wrong: dict[str, Any]) -> None:
    good = {"path": "/log", "format": "text", "values": {"n": {}}}
    msgspec.convert(good, ReplayOptions)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**good, **wrong}, ReplayOptions)


async def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """Reading from a pipe may never return, and would hold up the gateway's stop."""
    os.mkfifo(tmp_path / "log.txt")
    options = msgspec.convert(
        {"path": str(tmp_path / "log.txt"), "format": "text", "values": {"line": {"type": "text"}}}, ReplayOptions
    )
    error = await failure(ReplayDriver("ship", options))
    assert "no regular file" in error.what
