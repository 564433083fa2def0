"""Whether a write-ahead log that lies at rest was damaged after it was written.

SQLite reads it up to the first frame that does not fit, and says nothing: all later commits are gone as if they had
never been. What a power cut leaves looks the same, but only at the very end: a commit is begun after the one before it
is on the device, so a frame that does not fit *before* another commit was whole once. sqlite.org/fileformat2.html, 4.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from gateway.core import limits

_MAGIC = 0x377F0682  # the lowest bit: words of the checksum are big-endian
_HEAD, _FRAME_HEAD = 32, 24
_DATABASE, _LOCK = "fieldgate.db", "lock"


def damage_at_rest(data_dir: Path) -> str:
    """What is wrong with the log of a store that no gateway has open; "" where nothing is, or one has."""
    try:
        descriptor = os.open(data_dir / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return damage(data_dir / f"{_DATABASE}-wal")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return damage(data_dir / f"{_DATABASE}-wal")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def damage(path: Path) -> str:
    """What is wrong with it, in words, or ""."""
    try:
        with path.open("rb") as file:
            data = file.read(limits.WAL_CHECKED_BYTES)
    except OSError:
        return ""
    if len(data) < _HEAD:
        return ""
    magic, _, page, _, salt1, salt2, *told = struct.unpack(">8I", data[:_HEAD])
    if not any(data):
        return ""
    order = ">" if magic & 1 else "<"
    sums = _sums(data[: _HEAD - 8], order, (0, 0))
    if magic & ~1 != _MAGIC or list(sums) != told or page < 512 or page & (page - 1):
        return "the write-ahead log is damaged at its beginning: the newest commits are lost"
    good = commits = 0
    sound = True
    for frame in _frames(data, page):
        _, ends, own1, own2, *told = struct.unpack(">6I", frame[:_FRAME_HEAD])
        if sound:
            following = _sums(frame[_FRAME_HEAD:], order, _sums(frame[:8], order, sums))
            sound = (own1, own2) == (salt1, salt2) and list(following) == told
            if sound:
                sums, good = following, good + 1
                continue
        if commits and (own1, own2) == (salt1, salt2):
            return f"the write-ahead log is damaged at frame {good + 1}: the commits from there on are lost"
        commits += bool(ends) and (own1, own2) == (salt1, salt2)
    return ""


def holds_commits(path: Path) -> bool:
    """Whether SQLite, when it opens the file, finds commits in its log that lies at rest. OSError."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if len(head) < _HEAD:
                return False
            page, salts = int.from_bytes(head[8:12]), head[16:24]
            while len(frame := file.read(_FRAME_HEAD)) == _FRAME_HEAD and frame[8:16] == salts:
                if any(frame[4:8]):
                    return True
                file.seek(page, os.SEEK_CUR)
    except FileNotFoundError:
        pass
    return False


def _frames(data: bytes, page: int) -> Iterator[bytes]:
    whole = _FRAME_HEAD + page
    for at in range(_HEAD, len(data) - whole + 1, whole):
        yield data[at : at + whole]


def _sums(data: bytes, order: str, before: tuple[int, int]) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    first, second = before
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second
