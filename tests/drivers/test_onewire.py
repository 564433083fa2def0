"""1-Wire sensors as files, like those of the kernel."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.collector import Collector, until
from fakes.driving import failure, running

from drivers import registry
from drivers.api import Reject, Sample
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.onewire import NEAR_K, Thermometer
from drivers.codecs.values import Unfit
from drivers.framing import LineFramer
from drivers.limits import SYSFS_BYTES
from drivers.polls import PollDriver

A, B = "28-0316a2795bff", "28-0316a2795c00"
GOOD = b"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
POWERED_UP = b"50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
MEASURED = POWERED_UP.replace(b"0c 10 1c", b"10 10 b6").replace(b"crc=1c", b"crc=b6")
SHORTED = b"00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n"


def said(*texts: bytes) -> list[Any]:
    """Degrees, or why there are none."""
    sensor, found = Thermometer(), list[Any]()
    for text in texts:
        try:
            found.append(sensor.reading(text).records[0][2])
        except Unfit as unfit:
            found.append(unfit.reason)
    return found


def plain(degrees: float) -> bytes:
    return b"%d\n" % round(degrees * 1000)


def test_what_the_kernel_writes() -> None:
    assert said(GOOD, b"23125\n", b"-10625", b"0") == [23.125, 23.125, -10.625, 0.0]
    assert said(GOOD.replace(b"YES", b"NO")) == ["checksum"]
    assert said(SHORTED) == ["bus_error"]
    assert said(plain(127.687), plain(-127), plain(125.001), plain(-55.001)) == ["bus_error"] * 4
    assert said(plain(125), plain(-55)) == [125.0, -55.0]
    assert said(b"", b"x", b"YES", b"1\n2\n", GOOD[:-10], b"\xff") == ["no_match"] * 6


def test_85_degrees_after_power_up_is_no_reading_and_85_degrees_in_a_dryer_are() -> None:
    assert said(POWERED_UP, plain(85), GOOD, POWERED_UP) == [
        "power_on_value",
        "power_on_value",
        23.125,
        "power_on_value",
    ]
    assert said(MEASURED, POWERED_UP) == [85.0, 85.0]
    assert said(plain(85 - NEAR_K), plain(85), plain(85), plain(85 + NEAR_K), plain(85)) == [
        80.0,
        85.0,
        85.0,
        90.0,
        85.0,
    ]
    assert said(plain(85 - NEAR_K - 0.001), plain(85)) == [79.999, "power_on_value"]
    assert said(plain(84.937), plain(85.062)) == [84.937, 85.062]


def test_recorded_lines() -> None:
    made = Framed(LineFramer(), Thermometer())
    found = made.feed(GOOD + b"21000\n" + GOOD.split(b"\n")[0] + b"\n" + POWERED_UP + b"junk\n", None)
    assert [one.records[0][2] if isinstance(one, Found) else one.reason for one in found] == [
        23.125,
        21.0,
        "incomplete",
        "power_on_value",
        "no_match",
    ]
    assert isinstance(found[0], Found)
    assert found[0].raw == GOOD.strip()
    assert isinstance(found[2], Refused)


def build(folder: Path, **tables: dict[str, Any]) -> PollDriver:
    options = registry.options_type("onewire")
    base = {"path": str(folder), "every_s": 0.05, "timeout_s": 0.3}
    made = {name: ("onewire", msgspec.convert({**base, **table}, options)) for name, table in tables.items()}
    (driver,) = registry.build(made, {})
    assert isinstance(driver, PollDriver)
    return driver


def put(folder: Path, sensor: str, text: bytes, file: str = "w1_slave") -> None:
    """As at once as the kernel does it."""
    (folder / sensor).mkdir(exist_ok=True, parents=True)
    (folder / sensor / "new").write_bytes(text)
    (folder / sensor / "new").rename(folder / sensor / file)


@asynccontextmanager
async def polled(folder: Path, **tables: dict[str, Any]) -> AsyncIterator[Collector]:
    collector = Collector()
    async with running(await asyncio.to_thread(build, folder, **tables), collector):
        yield collector


async def test_one_sensor_and_all_the_others(tmp_path: Path) -> None:
    put(tmp_path, A, GOOD)
    put(tmp_path, B, b"-1500\n", "temperature")
    (tmp_path / "w1_bus_master1").mkdir()
    async with polled(tmp_path, tank={"sensor": A}, rest={}) as collector:
        await collector.count(4)
    assert {sample.source for sample in collector.samples} == {"tank", f"rest-{B}"}
    assert next(one for one in collector.samples if one.source == "tank") == Sample(
        "tank", [("temperature", "Cel", 23.125)], GOOD
    )


async def test_a_sensor_that_fails_and_one_that_goes_away(tmp_path: Path) -> None:
    put(tmp_path, A, POWERED_UP)
    put(tmp_path, B, GOOD)
    async with polled(tmp_path, silo={}) as collector:
        await collector.count(2)
        (tmp_path / B / "w1_slave").unlink()
        (tmp_path / B).rmdir()
        await until(lambda: not collector.links[-1].up)
        put(tmp_path, B, GOOD)
        await until(lambda: collector.links[-1].up)
    assert {(one.source, one.reason) for one in collector.rejects} == {(f"silo-{A}", "power_on_value")}
    assert isinstance(collector.rejects[0], Reject)
    assert f"{B} is not there" in collector.links[1].detail


async def test_a_read_that_hangs_is_given_up(tmp_path: Path) -> None:
    (tmp_path / A).mkdir()
    os.mkfifo(tmp_path / A / "w1_slave")
    collector = Collector()
    driver = await asyncio.to_thread(build, tmp_path, tank={"sensor": A, "timeout_s": 0.1})
    error = await failure(driver, collector)
    assert "still hangs" in error.what
    assert "does not answer within 0.1 s" in collector.links[0].detail
    with (tmp_path / A / "w1_slave").open("wb"):
        pass


async def test_only_the_beginning_of_a_long_file_is_read(tmp_path: Path) -> None:
    put(tmp_path, A, b"1000" + b" " * (SYSFS_BYTES - 4))
    put(tmp_path, B, b"1000" + b" " * (SYSFS_BYTES - 4) + b"x")
    async with polled(tmp_path, silo={}) as collector:
        await collector.count(2)
    assert all(len(sample.payload) == SYSFS_BYTES for sample in collector.samples)


async def test_no_one_wire_at_all(tmp_path: Path) -> None:
    driver = await asyncio.to_thread(build, tmp_path / "none", tank={"sensor": A})
    error = await failure(driver)
    assert "is not there" in error.what
    assert "w1-gpio" in error.cure


async def test_no_sensor(tmp_path: Path) -> None:
    async with polled(tmp_path, silo={}) as collector:
        await until(lambda: collector.links)
    assert "no temperature sensor" in collector.links[0].detail


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError):
        build(tmp_path, tank={"sensor": "../../etc"})
