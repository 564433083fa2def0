"""The sign-state: the one fact that keeps a log from forking (invariant 4 of DESIGN.md).

A small SQLite file of its own, outside every backup: how many entries were signed, and the header bytes of the last.
It is moved on by compare-and-swap before a signature is made, so a height is signed once or, after a crash, signed
again over the same stored bytes; it is never made but by `fieldgate init`.
"""

from pathlib import Path
from typing import NamedTuple

from gateway.errors import HeldError, NotFoundError
from gateway.store.database import Database, Schema, create_file

SCHEMA = Schema(
    application_id=0x46475353,  # FGSS
    steps=(
        "CREATE TABLE head(one INTEGER PRIMARY KEY CHECK(one=1), vkey TEXT NOT NULL,"
        " size INTEGER NOT NULL, header BLOB)",
    ),
)


class Head(NamedTuple):
    """Entries signed, and the header bytes of the last (None where there is none)."""

    size: int
    header: bytes | None


def create(path: Path, vkey: str) -> None:
    """Makes the file for a new log. Raises StoreError where there is one."""
    create_file(path, SCHEMA, (("INSERT INTO head VALUES (1,?,0,NULL)", (vkey,)),))


class SignState:
    """The open sign-state of one log. Its only writer is the sealer."""

    def __init__(self, db: Database, head: Head) -> None:
        self._db = db
        self.head = head

    @classmethod
    async def open(cls, path: Path, vkey: str) -> "SignState":
        """Opens it and checks that it is of this log. Raises HeldError where signing must wait for a person."""
        try:
            db = await Database.open(path, SCHEMA)
        except NotFoundError as error:
            raise HeldError("the sign-state is missing", where=str(path), cure=CURE) from error
        try:
            rows = await db.read("SELECT vkey,size,header FROM head")
            if not rows or rows[0][0] != vkey:
                raise HeldError("the sign-state is of another log", where=str(path), cure=CURE)
        except BaseException:
            await db.close()
            raise
        return cls(db, Head(rows[0][1], rows[0][2]))

    async def swap(self, size: int, header: bytes) -> None:
        """Step 2: moves the head from `size` to `size + 1` with these header bytes, durable, or raises HeldError."""
        sql = "UPDATE head SET size=?, header=? WHERE one=1 AND size=?"
        (changed,) = await self._db.transact([(sql, (size + 1, header, size))])
        if changed != 1:
            raise HeldError(f"the sign-state is not at {size}", where=str(self._db.path), cure=CURE)
        self.head = Head(size + 1, header)

    async def close(self) -> None:
        """Closes the file."""
        await self._db.close()


CURE = (
    "Readings are still journaled. Put the newest sign-state.db back, or begin a new epoch: "
    "`fieldgate init --epoch N` with a new data_dir (docs/operations.md, Signing is held)"
)
