"""The disk under a file system, as /sys tells of it: what was written to it, and how worn it says it is.

An eMMC tells its wear (JEDEC JESD84-B51: DEVICE_LIFE_TIME_EST, PRE_EOL_INFO). An SD card does not: of that only what
is written to it can be told.
"""

from pathlib import Path
from typing import Final, NamedTuple

from gateway.device.mounts import Mount

WORN_PERCENT: Final = 90  # up to which an eMMC is used when it is told of
SPARE_USED: Final = {2: 80, 3: 90}  # PRE_EOL_INFO: percent of its spare blocks; 1 is normal
_STEP_PERCENT: Final = 10  # of DEVICE_LIFE_TIME_EST, which counts from 1 to 11; the last: more than was promised
_SECTOR: Final = 512  # of block/stat, whatever the device's own are
_WRITTEN: Final = 6  # Documentation/block/stat: sectors written


class Card(NamedTuple):
    """A disk. kind: "SD" or "MMC", None for what is no card. None: not told.

    worn: up to how many percent of the writes that its maker promises are used. spare: of its spare blocks the percent
    that is used, 0 where there are enough. written: bytes since the machine has started.
    """

    kind: str | None = None
    worn: int | None = None
    spare: int | None = None
    written: int | None = None


def look(mount: Mount, root: Path) -> Card:
    """Blocking. The disk that holds a file system; nothing of one that has none."""
    disk = _disk(mount, root)
    if disk is None:
        return Card()
    kind = _text(disk / "device/type")
    stat = _text(disk / "stat").split()
    written = int(stat[_WRITTEN]) * _SECTOR if len(stat) > _WRITTEN and _is_number(stat[_WRITTEN]) else None
    return Card(kind if kind in {"SD", "MMC"} else None, _worn(disk), _spare(disk), written)


def options(mount: Mount, root: Path) -> frozenset[str]:
    """Blocking. With what a file system is mounted; of ext4 also what is so without being said."""
    name = _name(mount, root)
    told = _text(root / "proc/fs/ext4" / name / "options") if name and mount.kind == "ext4" else ""
    return mount.options | frozenset(told.split())


def _name(mount: Mount, root: Path) -> str:
    """As the kernel calls the device or partition; "" where it has none."""
    link = root / "sys/dev/block" / mount.number
    return link.resolve().name if mount.number and link.exists() else ""


def _disk(mount: Mount, root: Path) -> Path | None:
    """Its folder in /sys; of a partition that of the whole."""
    link = root / "sys/dev/block" / mount.number
    if not mount.number or not link.exists():
        return None
    folder = link.resolve()
    return folder.parent if (folder / "partition").exists() else folder


def _worn(disk: Path) -> int | None:
    """The worse of its two estimates, for blocks of either kind."""
    parts = _text(disk / "device/life_time").split()
    steps = max((int(part, 16) for part in parts if _is_number(part, 16)), default=0)
    return min(steps * _STEP_PERCENT, 100) or None


def _spare(disk: Path) -> int | None:
    part = _text(disk / "device/pre_eol_info")
    told = int(part, 16) if _is_number(part, 16) else 0
    return SPARE_USED.get(told, 0) if 1 <= told <= 3 else None


def _is_number(text: str, base: int = 10) -> bool:
    try:
        return 0 <= int(text, base) < 2**63
    except ValueError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
