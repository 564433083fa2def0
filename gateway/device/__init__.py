"""The machine that a gateway runs on, as /proc and /sys tell of it: for status, and whoever looks for what is wrong."""

import asyncio
import os
import re
from math import isfinite
from pathlib import Path
from typing import Any

from gateway.conditions import DISK_SPARE, DISK_WORN, Problem
from gateway.core.text import plain
from gateway.device import card
from gateway.device.mounts import MOUNTINFO, mount_of, mounted

_EVERY_S = 5.0
_DAY_S = 86_400
_LEAST_S = 3_600.0  # that writing was counted, before a day of it is told
_IO, _STAT = "proc/self/io", "proc/self/stat"  # proc_pid_io(5), proc_pid_stat(5)
_BEGAN = 19  # of the fields behind the name: clock ticks from the machine's start to the process's
_MODELS = ("sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name")
_KIB = 1024

_SIZE = re.compile(r"^(\w+):\s+(\d{1,18}) kB$", re.MULTILINE | re.ASCII)


class Device:
    """Looks every few seconds, in a thread. root: where /proc and /sys are; data_dir: of which file system is told."""

    def __init__(self, data_dir: Path, root: Path = Path("/")) -> None:
        self._data_dir, self._root = data_dir, root
        self.told: dict[str, Any] = {}

    @property
    def problems(self) -> list[Problem]:
        """What a person has to know of."""
        return worn_out(self.told.get("worn"), self.told.get("spare"))

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
    under = _card(data_dir, root)
    up_s = uptime[0] if uptime else None
    return {
        "model": _text(root / _MODELS[0]) or _text(root / _MODELS[1]) or None,
        "uptime_s": up_s,
        "load": load or None,
        "cores": os.cpu_count(),
        "temperature": _temperature(root),
        "memory": memory.get("MemTotal"),
        "memory_free": memory.get("MemAvailable"),
        "memory_own": own.get("VmRSS"),
        "disk": disk.f_blocks * disk.f_frsize if disk else None,
        "disk_free": disk.f_bavail * disk.f_frsize if disk else None,
        "card": under.kind,
        "worn": under.worn,
        "spare": under.spare,
        "written": under.written,
        "written_a_day": a_day(under.written, up_s),
        "written_a_day_own": _own_a_day(root, up_s),
    }


def worn_out(worn: int | None, spare: int | None) -> list[Problem]:
    """What is to be told of a card that has used so many percent of its writes, and of its spare blocks."""
    problems = [DISK_WORN.problem(percent=worn)] if worn is not None and worn >= card.WORN_PERCENT else []
    return [*problems, *([DISK_SPARE.problem(percent=spare)] if spare else [])]


def a_day(size: int | None, seconds: float | None) -> int | None:
    """What comes in a day where `size` came in so many seconds; None where that was too short, or is not known."""
    return None if size is None or seconds is None or seconds < _LEAST_S else round(size * _DAY_S / seconds)


def _card(data_dir: Path, root: Path) -> card.Card:
    mount = mount_of(Path(os.path.realpath(data_dir)), mounted(root / MOUNTINFO))
    return card.look(mount, root) if mount else card.Card()


def _own_a_day(root: Path, up_s: float | None) -> int | None:
    """What the kernel has charged this process for writes."""
    lines = dict(line.partition(": ")[::2] for line in _raw(root / _IO).splitlines())
    fields = _raw(root / _STAT).rpartition(")")[2].split()
    try:
        began_s = int(fields[_BEGAN]) / os.sysconf("SC_CLK_TCK")
        return a_day(int(lines["write_bytes"]), None if up_s is None else up_s - began_s)
    except (IndexError, KeyError, ValueError):
        return None


def _raw(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


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
