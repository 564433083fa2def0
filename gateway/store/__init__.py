"""What is kept on disk, through SQLite. Only this package holds SQL.

`fieldgate.db` holds journal, blocks, tree, checkpoints and co-signatures; `sign-state.db` is apart (signstate.py).
"""

import asyncio
import fcntl
import os
from pathlib import Path

from gateway.core.note import VerifierKey
from gateway.errors import InUseError, StoreError
from gateway.store import blocks, cosigned, journal, signstate
from gateway.store.blocks import Blocks
from gateway.store.cosigned import Cosigned
from gateway.store.database import Database, Quota, Schema, create_file

DATABASE, SIGN_STATE, LOCK = "fieldgate.db", "sign-state.db", "lock"

_META = "CREATE TABLE meta(one INTEGER PRIMARY KEY CHECK(one=1), vkey TEXT NOT NULL)"
SCHEMA = Schema(
    application_id=0x46474442,  # FGDB
    steps=(
        ";".join((_META, journal.SCHEMA, blocks.SCHEMA, cosigned.SCHEMA)),
        ";".join((blocks.SCHEMA_2, cosigned.SCHEMA_2)),
    ),
)


def create(data_dir: Path, vkey: VerifierKey) -> None:
    """Makes the store and the sign-state of a new log in an existing folder. Raises StoreError where there is one."""
    for name in (DATABASE, SIGN_STATE):
        if (data_dir / name).exists():
            raise StoreError("is there already", where=str(data_dir / name), cure="Nothing was changed")
    create_file(data_dir / DATABASE, SCHEMA, (("INSERT INTO meta VALUES (1,?)", (str(vkey),)),))
    signstate.create(data_dir / SIGN_STATE, str(vkey))


class Store:
    """An open store. One process at a time may write to it."""

    def __init__(self, db: Database, data_dir: Path, vkey: VerifierKey, sealed: Blocks, lock: int | None) -> None:
        self.db = db
        self.data_dir = data_dir
        self.vkey = vkey  # of the log that is kept here; its name is the origin
        self.blocks = sealed
        self.cosigned = Cosigned(db)
        self._lock = lock

    @classmethod
    async def open(cls, data_dir: Path, *, read_only: bool = False, quota: Quota | None = None) -> "Store":
        """Opens the store of a data_dir, to write (and then alone) or to read beside a running gateway."""
        lock = None if read_only else await asyncio.to_thread(_take_lock, data_dir / LOCK)
        db = None
        try:
            db = await Database.open(data_dir / DATABASE, SCHEMA, read_only=read_only, quota=quota)
            rows = await db.read("SELECT vkey FROM meta")
            if not rows:
                raise StoreError("names no log", where=str(db.path), cure="Restore the file")
            return cls(db, data_dir, VerifierKey.parse(rows[0][0]), await Blocks.open(db), lock)
        except BaseException:
            if db is not None:
                await db.close()
            if lock is not None:
                os.close(lock)
            raise

    async def close(self) -> None:
        """Closes the file and gives the folder free."""
        await self.db.close()
        if self._lock is not None:
            os.close(self._lock)


def _take_lock(path: Path) -> int | None:
    """Holds the folder; None where there is none."""
    if not path.parent.is_dir():
        return None
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        what = "another gateway runs on this folder"
        raise InUseError(what, where=str(path.parent), cure="Stop it first: `fieldgate status` tells of it") from error
    return fd
