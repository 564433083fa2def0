"""A copy of a file from before its schema steps, and the way back: the rows of a newer file in one of this version.

The copy is made beside the file by whoever is about to take a step, and nobody else writes meanwhile. It appears whole
and flushed, or not at all, and replaces an older one. It holds room like any file: `remove` gives it up.

The way back takes the rows of the *newer* file, table by table, so that nothing stored since is lost. That rests on a
law for every step to come: it may add tables, columns and indexes; what is there keeps its name and its meaning.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from gateway.core import limits
from gateway.errors import NoRoomError, Refused, StoreFullError
from gateway.files import sync_file, sync_folder
from gateway.store.database import FAULTS, become, read_only_uri, translated

_TAILS = ("", "-wal", "-shm", "-journal")


def take(path: Path, version: int, leave_free: int) -> None:
    """Copies the file as it is, of schema `version`. NoRoomError, StoreError: nothing was changed.

    leave_free: bytes that are to be free afterwards.
    """
    made = path.with_name(f"{path.name}.schema-{version}")
    part = path.with_name(f".{made.name}.part")
    _remove(part)
    try:
        _check_room(path, leave_free)
        _copy(path, part)
        sync_file(part)
        part.replace(made)
        sync_folder(path.parent)
    except FAULTS as error:
        _remove(part)
        known = translated(error, path)
        raise (_no_room(path, str(known.what)) if isinstance(known, StoreFullError) else known) from error
    except OSError as error:
        _remove(part)
        raise _no_room(path, f"{error.strerror}") from error
    for older in _all(path):
        if older != made:
            older.unlink()


def _check_room(path: Path, leave_free: int) -> None:
    found = os.statvfs(path.parent)
    free = found.f_bavail * found.f_frsize
    need = sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())
    if free < need + leave_free:
        raise _no_room(path, f"{_mib(need)} are needed, {_mib(free)} are free, and {_mib(leave_free)} of them stay so")


def _no_room(path: Path, why: str) -> NoRoomError:
    what = f"this version changes the store's schema, and the copy that is made before cannot be made: {why}"
    cure = "Nothing was changed. Free some space and start it again, or install the version before again"
    return NoRoomError(what, where=str(path), cure=cure)


def _mib(size: int) -> str:
    return f"{-(-size >> 20)} MiB"


def _copy(path: Path, part: Path) -> None:
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(sqlite3.connect(read_only_uri(path), uri=True)) as source,
        contextlib.closing(sqlite3.connect(part, isolation_level=None)) as target,
    ):
        target.execute("PRAGMA synchronous=OFF")  # whoever called flushes the file as a whole
        source.backup(target, pages=limits.SNAPSHOT_PAGES)


def newest(path: Path, most: int) -> Path | None:
    """The snapshot of the file with the highest schema up to `most`."""
    fitting = [(number, one) for one in _all(path) if (number := _version(one)) <= most]
    return max(fitting)[1] if fitting else None


def remove(path: Path) -> bool:
    """Gives up all snapshots of the file; whether there was one."""
    gone = False
    for one in _all(path):
        with contextlib.suppress(OSError):
            one.unlink()
            gone = True
    return gone


def _all(path: Path) -> list[Path]:
    return [one for one in path.parent.glob(f"{path.name}.schema-*") if _version(one)]


def _version(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _remove(path: Path) -> None:
    for tail in _TAILS:
        path.with_name(path.name + tail).unlink(missing_ok=True)


def version_of(path: Path) -> int:
    """The schema of a file, whatever it is. DamagedError where it cannot be told."""
    try:
        with contextlib.closing(sqlite3.connect(read_only_uri(path), uri=True)) as con:
            return int(con.execute("PRAGMA user_version").fetchone()[0])
    except FAULTS as error:
        raise translated(error, path) from error


def carry(newer: Path, target: Path) -> None:
    """Fills `target`, an empty file of this version's schema, with all rows of the newer file. It is not flushed.

    Refused where the newer file lacks a table or a column that this version knows; DamagedError, StoreFullError.
    """
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None, uri=True)) as con:
            become(con, target, "delete")
            become(con, target, "off")
            con.execute("PRAGMA synchronous=OFF")
            con.execute("ATTACH ? AS newer", (read_only_uri(newer),))
            con.execute("BEGIN")
            for (table,) in con.execute("SELECT name FROM main.sqlite_master WHERE type='table'").fetchall():
                _carry_table(con, newer, table)
            con.execute("COMMIT")
            con.execute("DETACH newer")
            become(con, target, "wal")
    except FAULTS as error:
        raise translated(error, newer) from error


def _carry_table(con: sqlite3.Connection, newer: Path, table: str) -> None:
    if table.startswith("sqlite_"):
        return
    columns, theirs = (
        [row[1] for row in con.execute(f'PRAGMA {schema}.table_info("{table}")')] for schema in ("main", "newer")
    )
    lacking = [name for name in columns if name not in theirs]
    if lacking:
        what = f"the newer file has no {table}.{lacking[0]}, which this version needs: its rows cannot be carried over"
        raise Refused(what, where=str(newer), cure="Nothing was changed. Install the newer version again")
    names = ",".join(f'"{name}"' for name in columns)
    con.execute(f'DELETE FROM main."{table}"')
    con.execute(f'INSERT INTO main."{table}"({names}) SELECT {names} FROM newer."{table}"')
