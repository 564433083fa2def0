"""What is mounted where, as proc_pid_mountinfo(5) and fstab(5) tell it; which file systems are none for readings."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from gateway.core.limits import SYSTEM_FILE_BYTES

MOUNTINFO: Final = Path("proc/self/mountinfo")
FSTAB: Final = Path("etc/fstab")

VOLATILE: Final = frozenset({"tmpfs", "ramfs", "overlay", "aufs", "squashfs"})
"""What is written there may be gone after a restart."""
UNSAFE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk", "fuse.exfat"}
)
"""They do not keep what a flush has promised, or know no owners and modes."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A file system that is mounted. kind: its type as the kernel calls it; number: MAJOR:MINOR of its device."""

    point: Path
    kind: str
    device: str = ""
    number: str = ""
    options: frozenset[str] = frozenset()


def mounted(path: Path = "/" / MOUNTINFO) -> list[Mount]:
    """Blocking. All of a mountinfo file, in the order in which they were mounted; none where it cannot be read."""
    rows = [row.split(" ") for row in _lines(path)]
    return [_mount(row, row.index("-", 6)) for row in rows if "-" in row[6:-2]]


def _mount(row: list[str], hyphen: int) -> Mount:
    """Third field: MAJOR:MINOR; fifth: the mount point; sixth: its options. The file system's own: after the hyphen."""
    kind, device, *more = row[hyphen + 1 :]
    options = frozenset(",".join([row[5], *more[:1]]).split(","))
    return Mount(Path(_unescaped(row[4])), kind, _unescaped(device), row[2], options)


def mount_of(folder: Path, mounts: Iterable[Mount]) -> Mount | None:
    """The one that holds a folder: the longest mount point above it, of several over each other the last."""
    found: Mount | None = None
    for one in mounts:
        under = folder.is_relative_to(one.point)
        if under and (found is None or len(one.point.parts) >= len(found.point.parts)):
            found = one
    return found


def wanted(path: Path = "/" / FSTAB) -> list[Path]:
    """Blocking. The mount points of an fstab file, but for those that are not mounted by themselves, and the root."""
    rows = [row.split() for row in _lines(path) if not row.lstrip().startswith("#")]
    found = [Path(_unescaped(row[1])) for row in rows if len(row) >= 4 and "noauto" not in row[3].split(",")]
    return [point for point in found if point.is_absolute() and point != Path("/")]


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(SYSTEM_FILE_BYTES).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
