"""What a machine tells of itself: as a Raspberry Pi does, and where it tells nothing or nonsense."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.device import Device, a_day, look

PI = {
    "proc/meminfo": "MemTotal:  3884336 kB\nMemFree:  200 kB\nMemAvailable:    2500000 kB\nHugePages: 0\n",
    "proc/self/status": "Name:\tfieldgate\nVmRSS:\t   48400 kB\nThreads:\t4\n",
    "proc/uptime": "93723.51 351000.22\n",
    "proc/loadavg": "0.12 0.34 0.56 1/123 4567\n",
    "sys/firmware/devicetree/base/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/thermal_zone1/temp": "51000\n",
    "sys/class/thermal/thermal_zone2/temp": "-274000\n",
    "proc/self/mountinfo": "22 1 179:2 / / rw,noatime - ext4 /dev/root rw\n",
    "proc/self/io": "rchar: 1\nwrite_bytes: 5000\n",
    "proc/self/stat": f"7 (a) b) S {' '.join(map(str, range(1, 19)))} 372351 9\n",
    "sys/dev/block/179:2/stat": " 1 2 3 4 5 6 1953125 8 9 10 11\n",
    "sys/dev/block/179:2/device/type": "SD\n",
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
        "card": "SD",
        "worn": None,
        "spare": None,
        "written": 1_000_000_000,
        "written_a_day": round(1_000_000_000 * 86_400 / 93_723.51),
        "written_a_day_own": 4_800,  # from a process that began 3,723.51 s after the start, so it is 90,000 s old
    }
    assert cores > 0
    assert disk > free > 0


@pytest.mark.parametrize(
    ("life", "spare", "told"),
    [
        ("0x01 0x01", "0x01", []),
        ("0x08 0x02", "0x01", []),
        ("0x09 0x02", "0x01", ["disk-worn"]),
        ("0x02 0x0b", "0x01", ["disk-worn"]),
        ("0x00 0x00", "0x00", []),
        ("0x01 0x01", "0x02", ["disk-spare"]),
        ("0x0a 0x0a", "0x03", ["disk-worn", "disk-spare"]),
        ("x", "-1", []),
    ],
)
async def test_an_emmc_near_its_end_is_told_of(tmp_path: Path, life: str, spare: str, told: list[str]) -> None:
    folder = "sys/dev/block/179:2/device"
    files = {f"{folder}/life_time": life, f"{folder}/pre_eol_info": spare, f"{folder}/type": "MMC\n"}
    device = Device(tmp_path, machine(tmp_path, PI | files))
    device.told = await asyncio.to_thread(look, tmp_path, tmp_path)
    assert device.told["card"] == "MMC"
    assert [one.condition for one in device.problems] == told


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
    assert a_day(told["written"], told["uptime_s"]) == told["written_a_day"]


@pytest.mark.parametrize(
    ("size", "seconds", "found"), [(1_000, 3_600.0, 24_000), (1_000, 3_599.0, None), (None, 1e9, None), (1, None, None)]
)
def test_a_day_is_told_after_an_hour(size: int | None, seconds: float | None, found: int | None) -> None:
    assert a_day(size, seconds) == found


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
