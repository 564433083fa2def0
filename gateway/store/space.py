"""How much room there is, and the ballast: room that is kept for a disk that others have filled.

On a disk that is truly full SQLite can neither delete nor fold its WAL, so there is a quota for the file (readings wait
before it is full), room of the file system that readings leave free (`min_free`), and last a file of dead weight.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from gateway.core import limits
from gateway.settings import RetentionSettings, size_bytes
from gateway.store.database import PAGE_BYTES, Database, Quota

BALLAST = "ballast"


def quota_of(settings: RetentionSettings) -> Quota:
    """What of `max_bytes` readings may fill, and what is kept for blocks, co-signatures and pruning.

    The WAL is within `max_bytes`, too: it holds a commit or two before it is folded into the file.
    """
    whole = max(size_bytes(settings.max_bytes) - limits.WAL_BYTES, PAGE_BYTES)
    reserve = min(max(whole // 64, limits.RESERVE_BYTES), whole // 2)
    return Quota((whole - reserve) // PAGE_BYTES, reserve // PAGE_BYTES)


class Room(NamedTuple):
    """One look, in bytes: what the store's file holds of what it may, and what of the file system is free for us."""

    used: int
    quota: int
    free: int
    min_free: int

    @property
    def missing(self) -> int:
        """More than 0: it is time to prune, and so many bytes would do."""
        return max(self.used - self.quota // 8 * 7, self.min_free // 4 * 5 - self.free, 0)

    @property
    def short(self) -> bool:
        """Whether it is the disk that has too little, not the store that has too much."""
        return self.free < self.min_free // 4 * 5

    @property
    def lacking(self) -> int:
        """Bytes to make free before there is plenty again; pruning, once begun, goes on until it is 0."""
        return max(self.used - self.quota // 4 * 3, self.min_free // 2 * 3 - self.free, 0)

    @property
    def out(self) -> bool:
        """No reading may be stored any more."""
        return self.used > self.quota // 64 * 63 or self.free < self.min_free

    @property
    def enough(self) -> bool:
        """Readings may be stored again. It is some more than `out`, so that the two do not take turns."""
        return self.used <= self.quota // 16 * 15 and self.free >= self.min_free // 8 * 9


class Space:
    """The room of one store, and its ballast. Its owner is retention."""

    def __init__(self, db: Database, data_dir: Path, settings: RetentionSettings) -> None:
        self._db = db
        self._dir = data_dir
        self._min_free = size_bytes(settings.min_free)
        self._quota = quota_of(settings).pages * PAGE_BYTES

    async def look(self) -> Room:
        """The room there is now. `free` is what a user without root has: the file system may keep some for root."""
        pages = await self._db.pages()
        free = await asyncio.to_thread(free_bytes, self._dir)
        return Room((pages.total - pages.free) * PAGE_BYTES, self._quota, free, self._min_free)

    async def keep_ballast(self, room: Room) -> None:
        """Makes the ballast where there is plenty of room and it is not there, or not whole."""
        if room.free >= self._min_free // 2 * 3 + limits.BALLAST_BYTES:
            await asyncio.to_thread(make_ballast, self._dir)

    async def give_ballast(self, leave: int) -> bool:
        """Gives up the ballast down to `leave` bytes on a disk that has less free than it; True where it helped."""
        return await asyncio.to_thread(give_ballast, self._dir, leave)


def free_bytes(folder: Path) -> int:
    """What of the file system is free for this user."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def make_ballast(folder: Path) -> None:
    """Fills the ballast up to its size with blocks of its own, or gives up what there is no room for."""
    path = folder / BALLAST
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == limits.BALLAST_BYTES:
            return
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, limits.BALLAST_BYTES)
    except OSError:
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def give_ballast(folder: Path, leave: int) -> bool:
    """Cuts the ballast to `leave` bytes where less than its size is free; True where there was more of it."""
    path = folder / BALLAST
    try:
        if path.stat().st_size <= leave or free_bytes(folder) >= limits.BALLAST_BYTES:
            return False
        os.truncate(path, leave)
    except OSError:  # not there, or a file system that cannot even do this
        return False
    return True
