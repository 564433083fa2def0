"""Is there room, for how long, and does what is written stay?"""

import os
from pathlib import Path
from typing import NamedTuple

from gateway.conditions import DISK_FULL, Problem
from gateway.conditions.found import (
    DISK_GOES_ON,
    DISK_NO_BARRIER,
    DISK_NO_RIGHTS,
    DISK_NOATIME,
    DISK_READ_ONLY,
    DISK_SMALL,
    DISK_SOON,
    DISK_SYNC,
    DISK_VOLATILE,
    DISK_WRITEBACK,
)
from gateway.core.block import parse_entry
from gateway.device import a_day, worn_out
from gateway.device.card import Card, options
from gateway.device.card import look as look_at
from gateway.device.mounts import MOUNTINFO, UNSAFE, VOLATILE, Mount, mount_of, mounted
from gateway.doctor.case import Case, Outcome, beside
from gateway.doctor.system import text
from gateway.errors import FieldgateError
from gateway.settings import RetentionSettings, size_bytes
from gateway.store import DATABASE, Store

_MIB = 2**20
_DAY_MS = 86_400_000
_LEAST_MS = 3_600_000  # of a log's life, before a rate can be told
_SOON_DAYS = 14
_NO_BARRIER = frozenset(("nobarrier", "barrier=0"))  # ext4(5), btrfs(5)


class Facts(NamedTuple):
    """Bytes. `a_day`: what the store has grown by; `written`: what reached the disk in a day; None: not told."""

    free: int
    total: int
    used: int
    mount: Mount | None
    card: Card = Card()
    a_day: int | None = None
    written: int | None = None


async def look(case: Case) -> Outcome:
    """The file system that holds data_dir."""
    settings = case.wanted
    folder = Path(settings.gateway.data_dir)
    facts = await beside(_facts, folder, case.root)
    keepers = sum(node.keeps for node in settings.node.values())
    return judge(facts._replace(a_day=await _a_day(folder, facts.used)), settings.retention, keepers=keepers)


def _facts(folder: Path, root: Path) -> Facts:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    told = os.statvfs(there)
    used = sum(_size(folder / f"{DATABASE}{tail}") for tail in ("", "-wal"))
    facts = Facts(told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize, used, None)
    mount = mount_of(Path(os.path.realpath(there)), mounted(root / MOUNTINFO))
    if mount is None:
        return facts
    card = look_at(mount, root)
    mount = mount._replace(options=options(mount, root))
    return facts._replace(mount=mount, card=card, written=a_day(card.written, _up_s(root)))


def _size(path: Path) -> int:
    """Bytes; a write-ahead log may go at any time."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _up_s(root: Path) -> float | None:
    """Since the machine has started."""
    try:
        return float((text(root / "proc/uptime") or "").split()[0])
    except (IndexError, ValueError):
        return None


async def _a_day(folder: Path, used: int) -> int | None:
    """What the store has grown by in a day, on average, as far as its blocks tell."""
    try:
        store = await Store.open(folder, read_only=True)
    except (FieldgateError, OSError):
        return None
    try:
        size = store.blocks.size
        if size < 2 or store.blocks.damage is not None:
            return None
        ends = [(await store.blocks.entries(height, 1))[0] for height in (0, size - 1)]
        first, last = (parse_entry(entry).header.sealed for entry in ends)
        return used * _DAY_MS // (last - first) if last - first >= _LEAST_MS else None
    except FieldgateError:
        return None
    finally:
        await store.close()


def judge(facts: Facts, settings: RetentionSettings, *, keepers: int) -> Outcome:
    """`keepers`: nodes whose word lets readings be deleted here."""
    min_free, quota = size_bytes(settings.min_free), size_bytes(settings.max_bytes)
    problems: list[Problem] = []
    if facts.free < min_free:
        problems.append(DISK_FULL.problem(free=mib(facts.free)))
    elif facts.used + facts.free - min_free < quota:
        problems.append(DISK_SMALL.problem(quota=mib(quota), room=mib(facts.used + facts.free - min_free)))
    room = max(0, min(quota - facts.used, facts.free - min_free))
    days = room // facts.a_day if facts.a_day else None
    if days is not None and days < _SOON_DAYS and not keepers:
        problems.append(DISK_SOON.problem(days=days))
    problems += _of_mount(facts.mount) if facts.mount else []
    problems += worn_out(facts.card.worn, facts.card.spare)
    return Outcome("there is room, and what is written stays", problems, _figures(facts, days))


def _of_mount(mount: Mount) -> list[Problem]:
    values = {"point": str(mount.point), "kind": mount.kind, "device": mount.device}
    problems: list[Problem] = []
    if "ro" in mount.options:
        problems.append(DISK_READ_ONLY.problem(**values))
    if mount.kind in VOLATILE:
        problems.append(DISK_VOLATILE.problem(**values))
    elif mount.kind in UNSAFE:
        problems.append(DISK_NO_RIGHTS.problem(**values))
    problems += [DISK_NO_BARRIER.problem(option=one, **values) for one in sorted(mount.options & _NO_BARRIER)]
    if "data=writeback" in mount.options:
        problems.append(DISK_WRITEBACK.problem(**values))
    if "errors=continue" in mount.options:
        problems.append(DISK_GOES_ON.problem(**values))
    if mount.options & {"sync", "dirsync"}:
        problems.append(DISK_SYNC.problem(**values))
    if mount.device.startswith("/dev/mmcblk") and not mount.options & {"noatime", "relatime"}:
        problems.append(DISK_NOATIME.problem(**values))
    return problems


def _figures(facts: Facts, days: int | None) -> dict[str, str]:
    figures = {"free": mib(facts.free), "of": mib(facts.total), "store": mib(facts.used)}
    if facts.mount:
        figures |= {"file system": facts.mount.kind, "mounted at": str(facts.mount.point)}
    if facts.a_day is not None:
        figures["grows a day"] = mib(facts.a_day)
    if days is not None:
        figures["lasts days"] = str(days)
    if facts.written is not None:
        figures["written a day, by all"] = mib(facts.written)
    figures["wear"] = "not told" if facts.card.worn is None else f"up to {facts.card.worn} %"
    return figures


def mib(size: int) -> str:
    """Bytes for a person."""
    return f"{size / _MIB:.1f} MiB"
