"""What is kept on disk, through SQLite. Only this package holds SQL.

`fieldgate.db` holds journal, blocks, tree, checkpoints, co-signatures and anchors; `sign-state.db` is apart
(signstate.py).
"""

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path

from gateway.core import limits
from gateway.core.note import VerifierKey
from gateway.errors import (
    DamagedError,
    FormatError,
    HeldError,
    InUseError,
    NotFoundError,
    Refused,
    StoreError,
    StoreFullError,
)
from gateway.place import UNKNOWN, Place
from gateway.store import anchors, blocks, cosigned, journal, moves, signstate, snapshot, wal
from gateway.store.anchors import Anchors
from gateway.store.blocks import SOUND, Blocks
from gateway.store.cosigned import Cosigned
from gateway.store.database import Database, Quota, Schema, create_file

DATABASE, SIGN_STATE, LOCK = "fieldgate.db", "sign-state.db", "lock"
MOVED = "moved-away"
"""A file that is there once the log was handed over to another place: nobody writes here any more."""

_META = "CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK(one=1), vkey TEXT NOT NULL)"
SCHEMA = Schema(
    application_id=0x46474442,  # FGDB
    steps=(
        ";".join((_META, journal.SCHEMA, blocks.SCHEMA, cosigned.SCHEMA)),
        ";".join((blocks.SCHEMA_2, cosigned.SCHEMA_2)),
        journal.SCHEMA_3,
        anchors.SCHEMA_4,
    ),
    before=snapshot.take,
)


def create(data_dir: Path, vkey: VerifierKey, place: Place = UNKNOWN) -> None:
    """Makes the store and the sign-state of a new log in an existing folder. Raises StoreError where there is one."""
    for name in (DATABASE, SIGN_STATE):
        if (data_dir / name).exists():
            raise StoreError("is there already", where=str(data_dir / name), cure="Nothing was changed")
    create_database(data_dir / DATABASE, vkey)
    signstate.create(data_dir / SIGN_STATE, str(vkey), place)


def create_database(path: Path, vkey: VerifierKey) -> None:
    """Makes the file of a log's store. Raises StoreError where there is one."""
    create_file(path, SCHEMA, (("INSERT INTO meta VALUES (1,?)", (str(vkey),)),))


async def bring_up(data_dir: Path) -> None:
    """What opening a store does to it, where it can be opened at all: the schema steps that it lacks, and
    `forget_others` where it is an older copy.
    """
    with contextlib.suppress(DamagedError, NotFoundError):
        db = await Database.open(data_dir / DATABASE, SCHEMA)
        try:
            await _forget_if_older(db, data_dir, await _log_key(db), await Blocks.open(db))
        finally:
            await db.close()


async def forget_others(data_dir: Path) -> None:
    """An older copy of a store is put back: what it says of others was so when it was made, and may not be so any more.

    A broker's packet ids mean other messages by now, which would be taken for redeliveries, answered for and not
    stored (invariant 2). What a node said to hold it may have lost: its next word counts (invariant 6).
    """
    db = await Database.open(data_dir / DATABASE, SCHEMA)
    try:
        await db.transact([journal.forget_keys(), cosigned.FORGET_HOLDINGS])
    finally:
        await db.close()


async def _forget_if_older(db: Database, data_dir: Path, vkey: VerifierKey, blocks: Blocks) -> None:
    """Somebody may have put an older store beside the newer sign-state. It forgets others once, however often it is
    opened before a person has decided what to do.
    """
    try:
        found = await signstate.handed_over(data_dir / SIGN_STATE)
    except (HeldError, StoreError, StoreFullError):
        return  # told by whoever signs; a new epoch is the way out, and readings are journaled until then
    if found is None or found[0] != str(vkey) or not await blocks.lags(found[1]):
        return
    signed = found[1].size
    if await Cosigned(db).forgotten_at() != signed:
        await db.transact([journal.forget_keys(), cosigned.FORGET_HOLDINGS, cosigned.forgotten(signed)], reserve=True)


class Store:
    """An open store. One process at a time may write to it."""

    def __init__(self, db: Database, data_dir: Path, vkey: VerifierKey, sealed: Blocks, lock: int | None) -> None:
        self.db = db
        self.data_dir = data_dir
        self.vkey = vkey  # of the log that is kept here; its name is the origin
        self.blocks = sealed
        self.cosigned = Cosigned(db)
        self.anchors = Anchors(db)
        self.lost = ""  # newest commits that a damaged write-ahead log took along, in words
        self._lock = lock

    @classmethod
    async def open(
        cls, data_dir: Path, *, read_only: bool = False, quota: Quota | None = None, leave_free: int = 0
    ) -> "Store":
        """Opens the store of a data_dir, to write (and then alone) or to read beside a running gateway.

        leave_free: bytes of the file system that a snapshot before a schema step leaves free.
        """
        lock = None if read_only else await asyncio.to_thread(take_lock, data_dir)
        db = None
        try:
            lost = "" if lock is None else await asyncio.to_thread(_before_opening, data_dir)
            path = data_dir / DATABASE
            db = await Database.open(path, SCHEMA, read_only=read_only, quota=quota, leave_free=leave_free)
            store = cls(db, data_dir, await _log_key(db), await Blocks.open(db), lock)
            store.lost = lost
            if not read_only and store.blocks.damage is None and await asyncio.to_thread(_is_small, db.path):
                for what in await store.file_damage():
                    store.blocks.damage = DamagedError(what, where=str(db.path), cure=SOUND)
            if not read_only and store.blocks.damage is None:
                await _forget_if_older(db, data_dir, store.vkey, store.blocks)
            return store
        except BaseException:
            if db is not None:
                await db.close()
            if lock is not None:
                os.close(lock)
            raise

    async def file_damage(self) -> list[str]:
        """What SQLite itself finds wrong with the file. It reads all of it."""
        try:
            rows = await self.db.read(f"PRAGMA quick_check({limits.FILE_FAULTS})")
        except DamagedError as error:
            return [error.what]
        return [str(row[0]) for row in rows if row[0] != "ok"]

    async def close(self) -> None:
        """Closes the file and gives the folder free."""
        await self.db.close()
        if self._lock is not None:
            os.close(self._lock)


async def log_key_of(path: Path) -> VerifierKey:
    """The log of a store's file, of any version. DamagedError, NotFoundError."""
    db = await Database.open(path, SCHEMA, read_only=True, as_found=True)
    try:
        return await _log_key(db)
    finally:
        await db.close()


async def _log_key(db: Database) -> VerifierKey:
    rows = await db.read("SELECT vkey FROM meta")
    try:
        return VerifierKey.parse(str(rows[0][0]))
    except (IndexError, FormatError) as error:
        raise DamagedError("names no log", where=str(db.path), cure=SOUND) from error


def _before_opening(data_dir: Path) -> str:
    """Finishes a recover that was interrupted; tells what a damaged write-ahead log loses, which SQLite never says."""
    moves.finish(data_dir)
    if (data_dir / MOVED).exists():
        raise Refused(MOVED_AWAY, where=str(data_dir), cure=CURE_MOVED_AWAY)
    return wal.damage(data_dir / f"{DATABASE}-wal")


MOVED_AWAY = "this log was handed over to another place, and goes on there"
CURE_MOVED_AWAY = (
    "If that backup is lost, `fieldgate backup --move FILE` writes it again. If the move is off, and no other copy is "
    "in use, `fieldgate recover --only-copy` opens this one again (docs/operations.md, New hardware)"
)


def finish_moves(data_dir: Path) -> bool:
    """Finishes what was interrupted while a new store took its place; whether there was anything. InUseError.

    It may have changed the configuration: whoever has read that reads it again.
    """
    if not (data_dir / moves.DECIDED).exists():
        return False
    lock = take_lock(data_dir)
    try:
        moves.finish(data_dir)
    finally:
        if lock is not None:
            os.close(lock)
    return True


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= limits.QUICK_CHECK_BYTES


def take_lock(data_dir: Path) -> int | None:
    """Holds the folder for this process: the descriptor to close. None where there is no folder; InUseError."""
    path = data_dir / LOCK
    if not data_dir.is_dir():
        return None
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        what = "another gateway runs on this folder"
        raise InUseError(what, where=str(path.parent), cure="Stop it first: `fieldgate status` tells of it") from error
    return fd
