"""The sign-state: the one fact that keeps a log from forking (invariant 4 of DESIGN.md).

A small SQLite file of its own, outside every backup: how many entries were signed, and the header bytes of the last.
It is moved on by compare-and-swap before a signature is made, so a height is signed once or, after a crash, signed
again over the same stored bytes; it is never made but by `fieldgate init`.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.core.limits import COUNTER_BLOCKS
from gateway.errors import DamagedError, HeldError, KeyFileError, NotFoundError
from gateway.place import UNKNOWN, Place
from gateway.store.database import Database, Row, Schema, create_file
from gateway.store.flushes import Flushes

SCHEMA = Schema(
    application_id=0x46475353,  # FGSS
    steps=(
        "CREATE TABLE head(one INTEGER PRIMARY KEY CHECK(one=1), vkey TEXT NOT NULL,"
        " size INTEGER NOT NULL, header BLOB)",
        "ALTER TABLE head ADD COLUMN machine TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE head ADD COLUMN filesystem TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE head ADD COLUMN counter INTEGER NOT NULL DEFAULT 0",
    ),
)


class Counter(Protocol):
    """A counter outside of this machine's files that only goes up (gateway.keys.tpm). Blocking; FieldgateError."""

    def read(self) -> int:
        """How far it has counted."""

    def move(self) -> int:
        """Counts one up; how far it has counted then."""


class Head(NamedTuple):
    """Entries signed, and the header bytes of the last (None where there is none)."""

    size: int
    header: bytes | None


NOTHING = Head(0, None)
_COLUMNS = "vkey,size,header,machine,filesystem"


def create(path: Path, vkey: str, place: Place = UNKNOWN, head: Head = NOTHING, counter: int = 0) -> None:
    """Makes the file of a log that lives at `place`. Raises StoreError where there is one.

    head: only where it is handed over from the one file that there was, which signs nothing from then on.
    counter: how far the counter that guards it has counted; 0: none does.
    """
    first = f"INSERT INTO head(one,{_COLUMNS},counter) VALUES (1,?,?,?,?,?,?)"
    create_file(path, SCHEMA, ((first, (vkey, *head, *place, counter)),))


async def handed_over(path: Path) -> tuple[str, Head, Place] | None:
    """Log key, head and place of a file of any version; None where there is no file. HeldError where they are damaged.

    No step ever changes what these columns are: a head that a newer version has moved on is all that keeps the one
    before from signing a height anew.
    """
    try:
        db = await Database.open(path, SCHEMA, read_only=True, as_found=True)
    except NotFoundError:
        return None
    except DamagedError as error:
        raise HeldError(f"the sign-state cannot be used: {error.what}", where=str(path), cure=CURE) from error
    try:
        rows = await db.read(f"SELECT {_COLUMNS} FROM head LIMIT 2")
    except DamagedError as error:
        raise HeldError(f"the sign-state is damaged: {error.what}", where=str(path), cure=CURE) from error
    finally:
        await db.close()
    if not _is_whole(rows):
        raise HeldError("the sign-state is damaged", where=str(path), cure=CURE)
    return rows[0][0], Head(*rows[0][1:3]), Place(*rows[0][3:])


async def counted(path: Path) -> int:
    """How far the counter that guards a file of this version or a newer one has counted; 0: none does."""
    db = await Database.open(path, SCHEMA, read_only=True, as_found=True)
    try:
        ((found,),) = await db.read("SELECT counter FROM head")
    finally:
        await db.close()
    return int(found)


class SignState:
    """The open sign-state of one log. Its only writer is the sealer."""

    def __init__(self, db: Database, head: Head, place: Place, counted: int) -> None:
        self._db = db
        self._counter: Counter | None = None
        self.counted = counted  # what the counter has counted, or is about to; 0: there is none
        self.head = head
        self.place = place  # where the log lives, as far as it was ever known

    @classmethod
    async def open(cls, path: Path, vkey: str, here: Place = UNKNOWN, counter: Counter | None = None) -> "SignState":
        """Opens it and checks that it is of this log and lives where it did. HeldError where signing must wait.

        What was not known of its place is taken from `here`. counter: moved now and every COUNTER_BLOCKS blocks.
        """
        state = await cls.inspect(path, vkey)
        try:
            if moved := state.place.changed(here):
                what = f"{moved}: the card was cloned, copied or restored"
                raise HeldError(what, where=str(path), cure=CURE_MOVED)
            if state.place.completed(here) != state.place:
                await state.settle(state.place.completed(here))
            if counter is not None:
                await state._guard(counter)
        except BaseException:
            await state.close()
            raise
        return state

    @classmethod
    async def inspect(cls, path: Path, vkey: str, *, read_only: bool = False) -> "SignState":
        """Opens it wherever it lives. HeldError where it is missing, damaged or of another log."""
        try:
            db = await Database.open(path, SCHEMA, read_only=read_only)
        except NotFoundError as error:
            raise HeldError("the sign-state is missing", where=str(path), cure=CURE) from error
        except DamagedError as error:
            cure = f"{error.cure}. {CURE}" if error.cure else CURE
            raise HeldError(f"the sign-state cannot be used: {error.what}", where=str(path), cure=cure) from error
        try:
            rows = await db.read(f"SELECT {_COLUMNS},counter FROM head LIMIT 2")
            if not _is_whole(rows):
                raise HeldError("the sign-state is damaged", where=str(path), cure=CURE)
            if rows[0][0] != vkey:
                raise HeldError("the sign-state is of another log", where=str(path), cure=CURE)
        except DamagedError as error:
            await db.close()
            raise HeldError(f"the sign-state is damaged: {error.what}", where=str(path), cure=CURE) from error
        except BaseException:
            await db.close()
            raise
        return cls(db, Head(rows[0][1], rows[0][2]), Place(*rows[0][3:5]), rows[0][5])

    async def settle(self, place: Place) -> None:
        """The log lives at `place` from now on, durable."""
        await self._db.transact([("UPDATE head SET machine=?, filesystem=? WHERE one=1", tuple(place))])
        self.place = place

    @property
    def guarded(self) -> bool:
        """Whether a counter goes with it."""
        return self._counter is not None

    async def count_from(self, counted: int) -> None:
        """From now on it is guarded by a counter that has counted so far, durable."""
        await self._db.transact([("UPDATE head SET counter=? WHERE one=1", (counted,))])
        self.counted = counted

    async def _guard(self, counter: Counter) -> None:
        """HeldError where this file is behind the counter: an older copy of it. Else a start is counted.

        The file goes first, so it is one ahead after a crash between the two.
        """
        found = await _asked(counter.read)
        self.compare(found)
        self.counted = found
        await self._count(counter)
        self._counter = counter

    def compare(self, found: int) -> None:
        """HeldError where the counter, which has counted so far, does not go with this file."""
        where = str(self._db.path)
        if not self.counted:
            raise HeldError("the sign-state is from before it had a counter", where=where, cure=CURE_UNCOUNTED)
        if not self.counted - 1 <= found <= self.counted:
            what = f"the counter of the TPM is at {found}, the sign-state was written at {self.counted}"
            raise HeldError(f"{what}: it is an older copy, or the counter is another", where=where, cure=CURE)

    async def _count(self, counter: Counter) -> None:
        await self.count_from(self.counted + 1)
        if (found := await _asked(counter.move)) != self.counted:
            what = f"the counter of the TPM went to {found} in place of {self.counted}: something else counts with it"
            raise HeldError(what, where=str(self._db.path), cure=CURE)

    async def swap(self, size: int, header: bytes) -> None:
        """Step 2: moves the head from `size` to `size + 1` with these header bytes, durable, or raises HeldError."""
        if self._counter is not None and (size + 1) % COUNTER_BLOCKS == 0:
            await self._count(self._counter)
        sql = "UPDATE head SET size=?, header=? WHERE one=1 AND size=?"
        (changed,) = await self._db.transact([(sql, (size + 1, header, size))])
        if changed != 1:
            raise HeldError(f"the sign-state is not at {size}", where=str(self._db.path), cure=CURE)
        self.head = Head(size + 1, header)

    @property
    def flushes(self) -> Flushes:
        """Commits and flushes of the file."""
        return self._db.flushes

    async def close(self) -> None:
        """Closes the file."""
        await self._db.close()


async def _asked(ask: Callable[[], int]) -> int:
    try:
        return await asyncio.to_thread(ask)
    except KeyFileError as error:
        raise HeldError(error.what, where=error.where, cure=f"Readings are still journaled. {error.cure}") from error


def _is_whole(rows: list[Row]) -> bool:
    """Whether the file holds one row of the right types: header bytes where something was signed, and only there."""
    if len(rows) != 1:
        return False
    vkey, size, header, machine, filesystem, *counted = rows[0]
    typed = isinstance(vkey, str) and isinstance(size, int) and all(isinstance(one, int) for one in counted)
    typed = typed and isinstance(machine, str) and isinstance(filesystem, str)
    return typed and (isinstance(header, bytes) and size > 0 if header is not None else size == 0)


CURE = "Readings are still journaled. `fieldgate recover` tells what to do (docs/operations.md, Signing is held)"
CURE_MOVED = (
    "Readings are still journaled. If no other copy of this log is in use: stop the gateway, then "
    "`fieldgate recover --only-copy` (docs/operations.md, Signing is held)"
)
CURE_DAMAGED = (
    "Readings are still journaled. Stop the gateway, then `fieldgate recover --drop-damaged` keeps everything that is "
    "sound (docs/operations.md, Signing is held)"
)
CURE_UNCOUNTED = (
    "Readings are still journaled. If sign-state.db was put back, put back the newest one. If an older version of this "
    "program ran in between: name the copy of the key, and `fieldgate key seal --tpm` again. Else `fieldgate recover`"
)
CURE_CLOSED = (
    "Readings are still journaled. When the nodes have all of it, stop the gateway and run `fieldgate key rotate` "
    "again: the next log takes its place, with these readings first (docs/operations.md, Keys)"
)
CURE_SEALED = (
    "What is sound stays readable. Stop the gateway, then `fieldgate recover --from NODE` fetches the rest from a node "
    "(docs/operations.md, Signing is held)"
)
