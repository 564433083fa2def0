"""How often one file's writes were flushed to the device, counted from what SQLite was told to do.

In WAL mode with synchronous=FULL SQLite flushes (its wal.c, walFrames and walCheckpoint)

- the WAL once a commit that changed something, and its folder before the first of them, for the name;
- the WAL once more where a commit begins it anew, for its head: each head has a number, one more than the one before;
- at a checkpoint that folds frames, the WAL before it, and the file after it where all of them were folded.

Only the head's number cannot be told from here. It is read from the WAL when somebody asks.
"""

from pathlib import Path

from gateway.store.wal import holds_commits

_NUMBER = slice(12, 16)  # the checkpoint sequence number: sqlite.org/fileformat2.html, 4.1


class Flushes:
    """Of one file that this process alone writes, from now on."""

    def __init__(self, path: Path) -> None:
        """Blocking. OSError where the WAL is there and cannot be read."""
        self._wal = path.with_name(path.name + "-wal")
        found = self._number()
        self._empty = found is None
        self._before = self._newest = -1 if found is None else found
        self._passed = 0  # numbers passed over since the newest head
        self.commits = 0
        self._flushed = 0
        self._unfolded = holds_commits(self._wal)  # something was committed since all was folded, in a life before too
        self._folded = 0  # frames that the last checkpoint found or left folded

    def committed(self) -> None:
        """A transaction that changed something is durable."""
        self._flushed += 1 if self.commits else 2
        self.commits += 1
        self._unfolded, self._empty = True, False

    def checkpointed(self, frames: int, folded: int) -> None:
        """A checkpoint found so many frames in the WAL and left so many of them folded into the file."""
        if self._unfolded and (folded == frames or folded not in (0, self._folded)):
            self._flushed += 2 if folded == frames else 1
        self._unfolded &= folded != frames
        self._folded = folded

    def emptied(self) -> None:
        """The WAL is empty now. Where it was so before, a number is passed over: that of a head that nobody writes."""
        self._passed += self._empty
        self._empty = True

    def total(self) -> int:
        """Flushes so far, as far as can be told. Blocking: it reads the head of the WAL."""
        try:
            number = self._number()
        except OSError:  # whoever reads or writes it for its own sake says so
            number = None
        if number is not None and number != self._newest:
            self._newest, self._before, self._passed = number, self._before + self._passed, 0
        return self._flushed + self._newest - self._before

    def _number(self) -> int | None:
        """None: there is no head."""
        try:
            with self._wal.open("rb") as file:
                head = file.read(_NUMBER.stop)
        except FileNotFoundError:
            return None
        return int.from_bytes(head[_NUMBER]) if len(head) == _NUMBER.stop else None
