"""The computer that the gateway runs on: temperature, supply, disk, load, memory. What is not there is left out."""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from drivers.api import Record
from drivers.blocking import BlockingCall
from drivers.codecs.base import Found
from drivers.kinds import Kind
from drivers.limits import SYSFS_BYTES
from drivers.polls import Answer, Every, PollDriver, PolledOptions

READ_S = 10.0
_THROTTLED = {"undervoltage": 0, "frequency_capped": 1, "throttled": 2, "undervoltage_since_boot": 16}
"""Bits of the Raspberry Pi's get_throttled."""

WholePath = Annotated[str, Meta(pattern=r"^/[^\x00-\x1f\x7f]*\Z", description="a whole path, from / on")]


class SystemOptions(PolledOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "system"."""

    every_s: Every = 60
    disk: Annotated[WholePath, Meta(title="A folder on the file system whose free room is told")] = "/"
    path: Annotated[WholePath, Meta(title="Below which sys and proc are")] = "/"


class SystemBus:
    """The Bus of this computer."""

    def __init__(self, name: str, members: Mapping[str, SystemOptions]) -> None:
        self._members = members
        self._call = BlockingCall(name)

    async def open(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""

    async def poll(self, source: str, *, brief: bool) -> Answer:
        """All that there is."""
        options = self._members[source]
        reading = functools.partial(_reading, Path(options.path), options.disk)
        try:
            found = await self._call.run(reading, timeout_s=READ_S, abandon=lambda _: None)
        except TimeoutError:
            return Answer([], False, f"{options.disk} does not answer within {READ_S:g} s. Check the disk", silent=True)
        if not found.records:
            return Answer([], False, f"{options.path} has neither sys nor proc. Correct path")
        return Answer([found], True, f"reads {len(found.records)} values")


def _reading(root: Path, disk: str) -> Found:
    """Blocking. raw: what the kernel wrote, a line each."""
    records: list[Record] = []
    raw: list[str] = []
    for part in (_temperature, _supply, _memory, _uptime, _load):
        for text, made in part(root):
            raw.append(text)
            records += made
    try:
        room = os.statvfs(disk)
    except OSError:
        pass
    else:
        free, size = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        raw.append(f"disk {free} {size}")
        records.append(("disk_free", "B", free))
        if size:
            records.append(("disk_used", "/", float(f"{1 - free / size:.6g}")))
    return Found(records, raw="\n".join(raw).encode())


Part = list[tuple[str, list[Record]]]


def _text(path: Path) -> str:
    """ "" where it is not there, or says nothing."""
    try:
        with path.open("rb", buffering=0) as file:
            return (file.read(SYSFS_BYTES) or b"").decode("latin-1").strip()
    except OSError:
        return ""


def _found(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []


def _temperature(root: Path) -> Part:
    """The hottest zone."""
    texts = [_text(path) for path in _found(root, "sys/class/thermal/thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in texts if text.lstrip("-").isdecimal() and text.isascii()]
    plausible = [one for one in degrees if -60 <= one <= 150]
    return [(f"temp {' '.join(texts)}", [("temperature", "Cel", max(plausible))])] if plausible else []


def _supply(root: Path) -> Part:
    """What a Raspberry Pi says of its supply: its firmware, or its hardware monitor."""
    for path in _found(root, "sys/devices/platform/soc/*/get_throttled"):
        text = _text(path)
        try:
            bits = int(text, 16)
        except ValueError:
            continue
        return [(f"throttled {text}", [(name, None, bool(bits >> bit & 1)) for name, bit in _THROTTLED.items()])]
    for path in _found(root, "sys/class/hwmon/hwmon*/in0_lcrit_alarm"):
        if (text := _text(path)) in ("0", "1"):
            return [(f"in0_lcrit_alarm {text}", [("undervoltage", None, text == "1")])]
    return []


def _memory(root: Path) -> Part:
    for line in _text(root / "proc/meminfo").splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "MemAvailable:" and words[1].isdecimal() and words[1].isascii():
            return [(line, [("memory_available", "B", int(words[1]) * 1024)])]
    return []


def _uptime(root: Path) -> Part:
    return _first(root / "proc/uptime", "uptime", "s")


def _load(root: Path) -> Part:
    return _first(root / "proc/loadavg", "load", None)


def _first(path: Path, name: str, unit: str | None) -> Part:
    """The first word of a file, a number."""
    text = _text(path)
    word = text.split(" ", 1)[0]
    plain = word.replace(".", "", 1).isdecimal() and word.isascii()
    return [(f"{name} {text}", [(name, unit, float(word))])] if plain else []


def _driver(members: Mapping[str, SystemOptions], *, now: Callable[[], float | None] | None = None) -> PollDriver:
    name = f"system-{next(iter(members))}"
    return PollDriver(name, members, SystemBus(name, members))


def _computer(options: SystemOptions) -> str:
    return options.path


KIND = Kind(
    "system",
    "this computer itself",
    "poll",
    SystemOptions,
    driver=_driver,
    bus=_computer,
    examples={"gateway-box": {"disk": "/var/lib/fieldgate"}},
)
