"""Which process holds a device, as far as this one may see: Linux shows the open files of each in /proc."""

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from drivers.limits import HOLDER_S, HOLDERS

PROC = Path("/proc")


class Holder(NamedTuple):
    """A process that has a file open."""

    pid: int
    name: str


def holders(path: str, proc: Path = PROC) -> list[Holder]:
    """Blocking, for about HOLDER_S at most. Those who have the file open, as far as this process may see."""
    device, deadline = os.path.realpath(path), time.monotonic() + HOLDER_S
    found: list[Holder] = []
    with contextlib.suppress(OSError):
        for process in proc.iterdir():
            if time.monotonic() > deadline or len(found) == HOLDERS:
                break
            if process.name.isdecimal() and _has_open(process, device):
                found.append(Holder(int(process.name), _name(process)))
    return found


def holder(path: str, proc: Path = PROC) -> str:
    """Blocking, as `holders`. Who has the device open, in words for "in use by ..."."""
    found = [words(one) for one in holders(path, proc)]
    if found:
        return " and ".join(found)
    return "a process of another user" if os.geteuid() else "another program"


def words(one: Holder) -> str:
    """For a person."""
    return "this gateway itself" if one.pid == os.getpid() else f"{one.name} (process {one.pid})"


def _has_open(process: Path, device: str) -> bool:
    """Asks only where the links lead, never what is there: a file of a network that is away would hold us up."""
    with contextlib.suppress(OSError):  # another user's, or it has ended
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(fd.readlink()) == device:
                    return True
    return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a program"
