"""The node's SQLite file: its tables as numbered steps, how it is made, and what is asserted whenever it is opened."""

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import aiosqlite

from gateway.errors import NotFoundError, StoreError
from gateway.files import sync_folder

APPLICATION_ID: Final = 0x46474E44  # FGND
PAGE_BYTES: Final = 4096  # a sync writes many entries, a body many pages

_AT_CREATION: Final = (
    f"page_size={PAGE_BYTES}",
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "synchronous=FULL",
)
_PRAGMAS: Final = (
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    "journal_size_limit=4194304",
    "busy_timeout=5000",
    "cell_size_check=ON",
    "trusted_schema=OFF",
    "foreign_keys=ON",
    "temp_store=MEMORY",
)
_ASSERTED: Final = {"journal_mode": "wal", "synchronous": 2, "page_size": PAGE_BYTES, "auto_vacuum": 2}

STEPS: Final = (
    """
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        name BLOB NOT NULL UNIQUE,              -- SHA-256(origin)
        vkey TEXT NOT NULL,
        stored_from INTEGER NOT NULL,
        size INTEGER NOT NULL DEFAULT 0,        -- entries held
        frontier BLOB NOT NULL,                 -- hashes of the complete subtrees over them, largest first
        witnessed INTEGER NOT NULL DEFAULT 0,   -- size and root last co-signed as seen
        root BLOB NOT NULL,
        frozen TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE TABLE entry (
        log INTEGER NOT NULL REFERENCES log, height INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (log, height)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE hash (
        log INTEGER NOT NULL REFERENCES log, level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL,
        PRIMARY KEY (log, level, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE note (
        log INTEGER NOT NULL REFERENCES log, size INTEGER NOT NULL, note TEXT NOT NULL,
        seen TEXT NOT NULL DEFAULT '', seen_latest TEXT NOT NULL DEFAULT '',
        stored TEXT NOT NULL DEFAULT '', stored_latest TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (log, size)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX note_stored ON note (log, size) WHERE stored <> '';
    CREATE TABLE body (
        log INTEGER NOT NULL REFERENCES log, height INTEGER NOT NULL, form INTEGER NOT NULL, data BLOB NOT NULL,
        UNIQUE (log, height)
    ) STRICT;
    CREATE INDEX body_form ON body (log, form, height);
    CREATE TABLE want (
        log INTEGER NOT NULL REFERENCES log, low INTEGER NOT NULL, high INTEGER NOT NULL,
        PRIMARY KEY (log, low)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE source (
        id INTEGER PRIMARY KEY, log INTEGER NOT NULL REFERENCES log, name TEXT NOT NULL,
        longest_ms INTEGER NOT NULL,            -- the longest span of its readings in one block
        UNIQUE (log, name)
    ) STRICT;
    CREATE TABLE span (                         -- about 50 bytes with its index, for each source in each block
        source INTEGER NOT NULL REFERENCES source, last_ms INTEGER NOT NULL, height INTEGER NOT NULL,
        first_ms INTEGER NOT NULL, log INTEGER NOT NULL,
        PRIMARY KEY (source, last_ms, height)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX span_block ON span (log, height);
    CREATE TABLE evidence (
        id INTEGER PRIMARY KEY, log INTEGER NOT NULL REFERENCES log, kind TEXT NOT NULL, number INTEGER NOT NULL,
        held BLOB NOT NULL, sent BLOB NOT NULL, time INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE anchor (                       -- statements of many logs, on their way to a chain or there
        name TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, kind TEXT NOT NULL, chain TEXT NOT NULL,
        since_ms INTEGER NOT NULL, state TEXT NOT NULL, over INTEGER NOT NULL, data BLOB NOT NULL, ticket BLOB NOT NULL,
        number INTEGER, hash BLOB, time_s INTEGER, evidence BLOB, why TEXT NOT NULL, cure TEXT NOT NULL,
        PRIMARY KEY (name, size)
    ) STRICT;
    CREATE TABLE leaves (                       -- what stands in such a statement, one log after the other
        name TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (name, number)
    ) STRICT
    """,
)


def find_file(path: Path, *, create: bool) -> None:
    """Makes the file where `create` allows it and there is none; NotFoundError where there is none then."""
    if create and not path.exists():
        create_file(path)
    if not path.exists():
        raise NotFoundError(
            "the node's store is not there", where=str(path), cure="Restore it, or run `node init` anew"
        )


def read_only_uri(path: Path) -> str:
    """What a connection that only reads is opened with."""
    return f"{path.absolute().as_uri()}?mode=ro"


def create_file(path: Path) -> None:
    """Makes a new, complete file of mode 0600, or nothing. StoreError where it cannot be made."""
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            for pragma in (
                f"page_size={PAGE_BYTES}",
                "auto_vacuum=INCREMENTAL",
                "journal_mode=WAL",
                "synchronous=FULL",
            ):
                connection.execute(f"PRAGMA {pragma}")
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":  # where it cannot be, no error is raised
                raise StoreError(f"its journal mode stays {mode}", where=str(new), cure="Check the disk")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            for number, step in enumerate(STEPS, 1):
                connection.executescript(_transaction(step, number))
            # All of it into the file itself: its WAL is not renamed with it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
        new.rename(path)
        flush_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the store cannot be made: {error}", where=str(path), cure="Check the folder") from error


async def prepare(con: aiosqlite.Connection, path: Path) -> None:
    """Sets up a writing connection, takes missing steps, asserts. StoreError for a foreign or a newer file."""
    for pragma in _PRAGMAS:
        await con.execute(f"PRAGMA {pragma}")
    if await _pragma(con, "application_id") != APPLICATION_ID:
        raise StoreError("is not a node's store", where=str(path), cure="Name the right data_dir")
    version = await _pragma(con, "user_version")
    if version > len(STEPS):
        what = f"was written by a newer version (schema {version}, this one knows {len(STEPS)})"
        raise StoreError(what, where=str(path), cure="Install that version again, or a later one")
    for number, step in enumerate(STEPS[version:], version + 1):
        await con.executescript(_transaction(step, number))
    for name, wanted in _ASSERTED.items():
        found = await _pragma(con, name)
        if found != wanted:
            raise StoreError(f"PRAGMA {name} is {found}, not {wanted}", where=str(path), cure="Restore the file")


def _transaction(step: str, number: int) -> str:
    return f"BEGIN IMMEDIATE; {step}; PRAGMA user_version={number}; COMMIT;"


async def _pragma(con: aiosqlite.Connection, name: str) -> Any:
    return next(iter(await con.execute_fetchall(f"PRAGMA {name}")))[0]


def flush_folder(folder: Path) -> None:
    """Makes the names in it durable. StoreError where the device refuses."""
    try:
        sync_folder(folder)
    except OSError as error:
        what = f"the folder cannot be flushed to the device: {error.strerror}"
        raise StoreError(what, where=str(folder), cure="Check the disk") from error
