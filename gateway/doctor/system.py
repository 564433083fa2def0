"""What the kernel and the system tell in files, all below one root folder. Everything here blocks."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.core.limits import SYSTEM_FILE_BYTES


def text(path: Path) -> str | None:
    """The file's text without the blanks around it; None where it is not there, or does not answer."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(SYSTEM_FILE_BYTES).decode("utf-8", "replace").strip("\0 \n\t")
    except OSError:
        return None


def number(path: Path, base: int = 10) -> int | None:
    """A number; None where there is none."""
    try:
        return int(text(path) or "", base)
    except ValueError:
        return None


class Process(NamedTuple):
    """A process. `name`: at most 15 characters, as the kernel keeps it."""

    pid: int
    name: str


def processes(root: Path) -> Iterator[Process]:
    """Those there are."""
    with contextlib.suppress(OSError):
        for folder in (root / "proc").iterdir():
            if folder.name.isdecimal() and (name := text(folder / "comm")):
                yield Process(int(folder.name), name)


class User(NamedTuple):
    """Who may do what: a user with all of its groups."""

    uid: int
    gids: frozenset[int]
    name: str

    def may(self, path: Path, bits: int) -> bool:
        """Whether the mode of a file gives this user all of `bits` (4 read, 2 write, 1 execute). OSError."""
        told = path.stat()
        if not self.uid:
            return True
        shift = 6 if told.st_uid == self.uid else 3 if told.st_gid in self.gids else 0
        return (told.st_mode >> shift) & bits == bits


def user(uid: int, root: Path) -> User:
    """A user by /etc/passwd and /etc/group."""
    name, gids = str(uid), set[int]()
    for parts in _table(root / "etc/passwd"):
        if len(parts) > 3 and parts[2] == str(uid) and parts[3].isdecimal():
            name = parts[0]
            gids.add(int(parts[3]))
            break
    for parts in _table(root / "etc/group"):
        if len(parts) > 3 and name in parts[3].split(",") and parts[2].isdecimal():
            gids.add(int(parts[2]))
    return User(uid, frozenset(gids), name)


def _table(path: Path) -> list[list[str]]:
    return [line.split(":") for line in (text(path) or "").splitlines()]


def service_user(data_dir: Path, root: Path) -> User | None:
    """The gateway's user: who owns its folder. None where there is none."""
    try:
        return user(data_dir.stat().st_uid, root)
    except OSError:
        return None
