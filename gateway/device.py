"""The machine that a gateway runs on, as /proc and /sys tell of it: for status, and whoever looks for what is wrong."""

import asyncio
import os
import re
from math import isfinite
from pathlib import Path
from typing import Any

from gateway.core.text import plain

_EVERY_S = 5.0
_MODELS = ("sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name")
_KIB = 1024

_SIZE = re.compile(r"^(\w+):\s+(\d{1,18}) kB$", re.MULTILINE | re.ASCII)


class Device:
    """Looks every few seconds, in a thread. root: where /proc and /sys are; data_dir: of which file system is told."""

    def __init__(self, data_dir: Path, root: Path = Path("/")) -> None:
        self._data_dir, self._root = data_dir, root
        self.told: dict[str, Any] = {}

    async def run(self) -> None:
        """Until cancelled. Never ends for what it finds."""
        while True:
            self.told = await asyncio.to_thread(look, self._data_dir, self._root)
            await asyncio.sleep(_EVERY_S)


def look(data_dir: Path, root: Path = Path("/")) -> dict[str, Any]:
    """As JSON: bytes, seconds, degrees Celsius. None for what this machine does not tell."""
    memory, own = _table(root / "proc/meminfo"), _table(root / "proc/self/status")
    uptime, load = _numbers(root / "proc/uptime", 1), _numbers(root / "proc/loadavg", 3)
    try:
        disk: os.statvfs_result | None = os.statvfs(data_dir)
    except OSError:
        disk = None
    return {
        "model": _text(root / _MODELS[0]) or _text(root / _MODELS[1]) or None,
        "uptime_s": uptime[0] if uptime else None,
        "load": load or None,
        "cores": os.cpu_count(),
        "temperature": _temperature(root),
        "memory": memory.get("MemTotal"),
        "memory_free": memory.get("MemAvailable"),
        "memory_own": own.get("VmRSS"),
        "disk": disk.f_blocks * disk.f_frsize if disk else None,
        "disk_free": disk.f_bavail * disk.f_frsize if disk else None,
    }


def _text(path: Path) -> str:
    try:
        return plain(path.read_text("utf-8", "replace").strip("\0\n "))
    except OSError:
        return ""


def _numbers(path: Path, most: int) -> list[float]:
    """The first words of a file, where they are numbers."""
    try:
        found = [float(word) for word in _text(path).split()[:most]]
    except ValueError:
        return []
    return found if all(map(isfinite, found)) else []


def _table(path: Path) -> dict[str, int]:
    """The lines `Name:  123 kB` of a file, in bytes."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}
    return {name: int(number) * _KIB for name, number in _SIZE.findall(text)}


def _temperature(root: Path) -> float | None:
    """The hottest of the machine's sensors, of those that tell a temperature that can be."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    found = [degrees / 1000 for zone in zones for degrees in _numbers(zone, 1)]
    return max((degrees for degrees in found if -50 < degrees < 150), default=None)
