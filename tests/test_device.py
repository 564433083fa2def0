"""What a machine tells of itself: as a Raspberry Pi does, and where it tells nothing or nonsense."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.device import Device, look

PI = {
    "proc/meminfo": "MemTotal:  3884336 kB\nMemFree:  200 kB\nMemAvailable:    2500000 kB\nHugePages: 0\n",
    "proc/self/status": "Name:\tfieldgate\nVmRSS:\t   48400 kB\nThreads:\t4\n",
    "proc/uptime": "93723.51 351000.22\n",
    "proc/loadavg": "0.12 0.34 0.56 1/123 4567\n",
    "sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/thermal_zone1/temp": "51000\n",
    "sys/class/thermal/thermal_zone2/temp": "-274000\n",
}


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_pi(tmp_path: Path) -> None:
    told = look(tmp_path, machine(tmp_path, PI))
    cores, disk, free = told.pop("cores"), told.pop("disk"), told.pop("disk_free")
    assert told == {
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "uptime_s": 93_723.51,
        "load": [0.12, 0.34, 0.56],
        "temperature": 51.0,
        "memory": 3_884_336 * 1024,
        "memory_free": 2_500_000 * 1024,
        "memory_own": 48_400 * 1024,
    }
    assert cores > 0
    assert disk > free > 0


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    told = look(tmp_path / "missing", tmp_path)
    assert {name for name, value in told.items() if value is not None} == {"cores"}


@pytest.mark.parametrize(
    "text", ["", "\0", "x y z", "-", "1e999", "9" * 400, "kB\n" * 9, "\x1b[2J 3", "MemTotal: x kB\n"]
)
def test_a_machine_that_tells_nonsense(tmp_path: Path, text: str) -> None:
    told = look(tmp_path, machine(tmp_path, dict.fromkeys(PI, text)))
    assert told["memory"] is told["temperature"] is None
    assert all(text.isprintable() for text in [told["model"] or ""])
    json.dumps(told, allow_nan=False)


def test_this_machine(tmp_path: Path) -> None:
    told = look(tmp_path)
    assert told["memory"] > told["memory_own"] > 1_000_000
    assert told["uptime_s"] > 0


async def test_it_looks_in_a_thread_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.device._EVERY_S", 0.01)
    device = Device(tmp_path, machine(tmp_path, PI))
    assert device.told == {}
    running = asyncio.create_task(device.run())
    seen: list[Any] = []
    for degrees in (41_000, 42_000):
        await asyncio.to_thread((tmp_path / "sys/class/thermal/thermal_zone1/temp").write_text, str(degrees))
        while device.told.get("temperature") != max(48.312, degrees / 1000):
            await asyncio.sleep(0.01)
        seen.append(degrees)
    running.cancel()
    assert len(seen) == 2
