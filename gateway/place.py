"""Where a log lives: this machine and this file system, so that a cloned or restored card is noticed (invariant 4).

Neither needs root. What cannot be told is "", and what is not known on both sides never counts as a change.
"""

import ctypes
import fcntl
import os
import re
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

MACHINE_ID = Path("/etc/machine-id")
_BY_UUID = Path("/dev/disk/by-uuid")

_GETFSUUID = 0x8011_1500  # FS_IOC_GETFSUUID, linux/fs.h: _IOR(0x15, 0, u8 length and 16 bytes), since Linux 6.9
_EXT4, _TMPFS = 0xEF53, 0x0102_1994  # statfs(2)
_MACHINE = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Place(NamedTuple):
    """`machine`: /etc/machine-id. `filesystem`: its UUID, or 16 hex digits made of it. "" where it cannot be told."""

    machine: str = ""
    filesystem: str = ""

    def changed(self, now: "Place") -> str:
        """What is another now, in words; "" where nothing is, as far as both are known."""
        if self.machine and now.machine and self.machine != now.machine:
            return f"the machine is another (machine id {now.machine}, it was {self.machine})"
        if self.filesystem and now.filesystem and _folded(self.filesystem) != _folded(now.filesystem):
            return f"the file system is another (UUID {now.filesystem}, it was {self.filesystem})"
        return "where it lives is not settled yet" if self == NOWHERE else ""

    def completed(self, now: "Place") -> "Place":
        """This place with what was not known taken from `now`."""
        return Place(self.machine or now.machine, self.filesystem or now.filesystem)


UNKNOWN = Place()
NOWHERE = Place("none yet", "none yet")
"""Where nothing lives: wherever that is looked at from, it is another place."""


def find(folder: Path, machine_id: Path = MACHINE_ID) -> Place:
    """The place of a folder that exists, as far as the system tells."""
    return Place(_machine(machine_id), _filesystem(folder))


def in_memory(folder: Path) -> bool:
    """Whether what is written there is gone when the machine is switched off."""
    return _kind(folder) == _TMPFS


def _machine(path: Path) -> str:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _MACHINE.fullmatch(text) else ""  # "uninitialized" on an image that has not booted yet


def _filesystem(folder: Path) -> str:
    kind = _kind(folder)
    if kind == _TMPFS:  # its UUID is new at each boot
        return ""
    told = _asked(folder)
    if told is not None:
        return told
    return _linked(folder) or (_summed(folder) if kind == _EXT4 else "")


def _kind(folder: Path) -> int:
    """f_type of statfs(2), its first word; 0 where it is not told."""
    told = (ctypes.c_long * 64)()
    try:
        if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), told) == 0:
            return int(told[0])
    except (OSError, AttributeError):
        pass
    return 0


def _asked(folder: Path) -> str | None:
    """As the kernel tells it; "" where the file system has none, None where the kernel does not tell."""
    told = bytearray(17)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, _GETFSUUID, told)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return str(UUID(bytes=bytes(told[1:]))) if told[0] == 16 and any(told[1:]) else ""


def _linked(folder: Path) -> str:
    """As udev names the device that holds the folder."""
    try:
        device = folder.stat().st_dev
        for link in _BY_UUID.iterdir():
            if link.stat().st_rdev == device:
                return link.name.lower()
    except OSError:
        pass
    return ""


def _summed(folder: Path) -> str:
    """f_fsid, which ext4 makes of its UUID alone (others of a device number): both halves, one upon the other."""
    try:
        return f"{os.statvfs(folder).f_fsid:016x}"
    except OSError:
        return ""


def _folded(filesystem: str) -> str:
    """A UUID as `_summed` would tell it, so that a newer kernel that tells more is no change."""
    try:
        data = UUID(filesystem).bytes
    except ValueError:
        return filesystem
    halves = int.from_bytes(data[:8], "little") ^ int.from_bytes(data[8:], "little")
    return f"{halves:016x}"
