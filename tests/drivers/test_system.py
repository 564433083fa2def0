"""The computer's own state, from folders like the kernel's and from this computer's."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.collector import Collector, until
from fakes.driving import running

from drivers import registry
from drivers.codecs.units import PRIMARY


async def one(**table: Any) -> Collector:
    """The first poll."""
    options = msgspec.convert({"every_s": 0.1, **table}, registry.options_type("system"))
    (driver,) = await asyncio.to_thread(registry.build, {"gateway-pi": ("system", options)}, {})
    collector = Collector()
    async with running(driver, collector):
        await until(lambda: collector.links)
    return collector


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


async def test_a_raspberry_pi(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/temp": "48312\n",
            "sys/class/thermal/thermal_zone1/temp": "51000\n",
            "sys/class/thermal/thermal_zone2/temp": "999000\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            "proc/meminfo": "MemTotal:  900000 kB\nMemAvailable:     512000 kB\n",
            "proc/uptime": "93784.55 300000.00\n",
            "proc/loadavg": "0.52 0.40 0.31 1/123 4567\n",
        },
    )
    collector = await one(path=str(tmp_path), disk=str(tmp_path))
    values = {name: (value, unit) for name, unit, value in collector.samples[0].records}
    free, used = values.pop("disk_free"), values.pop("disk_used")
    assert values == {
        "temperature": (51.0, "Cel"),
        "undervoltage": (True, None),
        "frequency_capped": (False, None),
        "throttled": (True, None),
        "undervoltage_since_boot": (True, None),
        "memory_available": (512000 * 1024, "B"),
        "uptime": (93784.55, "s"),
        "load": (0.52, None),
    }
    assert free[0] > 0
    assert 0 <= float(used[0]) <= 1
    assert b"throttled 50005" in collector.samples[0].payload


@pytest.mark.parametrize(("text", "expected"), [("1\n", True), ("0\n", False)])
async def test_the_hardware_monitor_where_there_is_no_firmware_file(
    tmp_path: Path, text: str, *, expected: bool
) -> None:
    write(tmp_path, {"sys/class/hwmon/hwmon1/in0_lcrit_alarm": text})
    collector = await one(path=str(tmp_path), disk=str(tmp_path / "nowhere"))
    assert collector.samples[0].records == [("undervoltage", None, expected)]


async def test_what_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/temp": "hot",
            "sys/devices/platform/soc/x/get_throttled": "?",
            "sys/class/hwmon/hwmon0/in0_lcrit_alarm": "maybe",
            "proc/meminfo": "MemAvailable: lots kB",
            "proc/uptime": "",
            "proc/loadavg": "nan 1 2",
        },
    )
    collector = await one(path=str(tmp_path), disk=str(tmp_path / "nowhere"))
    assert not collector.samples
    assert not collector.links[0].up


async def test_this_computer() -> None:
    collector = await one()
    names = {name for name, _, _ in collector.samples[0].records}
    assert {"disk_free", "uptime", "load", "memory_available"} <= names
    assert all(unit is None or unit in PRIMARY for _, unit, _ in collector.samples[0].records)
