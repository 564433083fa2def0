"""Which process holds a device, as far as this one may see: Linux shows the open files of each in /proc."""

import contextlib
import os
import time
from pathlib import Path

from drivers.limits import HOLDER_S, HOLDERS

PROC = Path("/proc")


def holder(path: str, proc: Path = PROC) -> str:
    """Blocking, for about HOLDER_S at most. Who has the device open, in words for "in use by ..."."""
    device, deadline = os.path.realpath(path), time.monotonic() + HOLDER_S
    found: list[str] = []
    with contextlib.suppress(OSError):
        for process in proc.iterdir():
            if time.monotonic() > deadline or len(found) == HOLDERS:
                break
            if process.name.isdecimal() and _has_open(process, device):
                found.append(_words(process))
    if found:
        return " and ".join(found)
    return "a process of another user" if os.geteuid() else "another program"


def _has_open(process: Path, device: str) -> bool:
    """Asks only where the links lead, never what is there: a file of a network that is away would hold us up."""
    with contextlib.suppress(OSError):  # another user's, or it has ended
        for fd in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if str(fd.readlink()) == device:
                    return True
    return False


def _words(process: Path) -> str:
    if process.name == str(os.getpid()):
        return "this gateway itself"
    try:
        name = (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        name = "a program"
    return f"{name} (process {process.name})"
