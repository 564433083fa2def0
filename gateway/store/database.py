"""One SQLite file: how it is made, opened, checked, written and read. The only place that knows pragmas.

One connection writes and one reads, each in aiosqlite's own thread. A write is one statement (`insert`) or a list of
statements (`transact`); both are durable when they return (WAL, synchronous=FULL). A lock keeps a statement from
slipping into another's transaction, where it would look durable before it is. Reads return whole bounded pages, so
no read transaction outlives one call and checkpoints are never starved.

Checkpoints are our own: SQLite's automatic ones, and the one of a closing connection, keep a failed write or fsync to
themselves and try again, and a device that fails must end the process.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import compress

import aiosqlite

from gateway.connecting import connect
from gateway.errors import BugError, DamagedError, FieldgateError, NotFoundError, StoreError, StoreFullError
from gateway.files import sync_folder
from gateway.store.flushes import Flushes

Row = tuple[Any, ...]
Params = Sequence[Any]

PAGE_BYTES: Final = 1024  # a commit of a few readings rewrites few bytes
_WAL_PAGES: Final = 200  # to be folded into the file
_BUSY_MS: Final = 5000
_PAGES_MAX: Final = 2**31 - 2
_FRAMES_A_PAGE_MIN: Final = 1 / 16
_STATEMENT_PAGES: Final = 4  # a leaf, an overflow page, the file's first page, a pointer map
FAULTS: Final = (sqlite3.Error, UnicodeDecodeError)  # the latter where a message quotes a damaged schema
# What a damaged file brings about; the last two where the schema or a text is not what it was.
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, 0}
_BACK: Final = (
    "Install that version again, or a later one. To stay with this one: stop the gateway, then `fieldgate restore "
    "--snapshot` keeps all that was stored since (docs/operations.md, Back to the version before)"
)
_ASSERTED: Final = {"journal_mode": "wal", "synchronous": 2, "page_size": PAGE_BYTES, "auto_vacuum": 2}


class Quota(NamedTuple):
    """Pages that a file may have: so many for what can wait for room, and `reserve` more for what makes room."""

    pages: int
    reserve: int


class Pages(NamedTuple):
    """Pages of a file, and how many of them are free: the next writes use them, or `give_back` hands them back."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file must be: its application id and the numbered steps that make it, forward only.

    before: called with the file, its schema and bytes that are to stay free, before a step is taken on it. A step may
    add tables, columns and indexes; what is there keeps its name and its meaning (snapshot.py).
    """

    application_id: int
    steps: tuple[str, ...]
    before: Callable[[Path, int, int], None] | None = None


def create_file(path: Path, schema: Schema, first: Sequence[tuple[str, Params]] = ()) -> None:
    """Makes a new, complete file at `path` with its first rows, or nothing. Raises StoreError where there is one."""
    if path.exists():
        raise StoreError("is there already", where=str(path), cure="Nothing was changed")
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        _fill(new, schema, first)
    except FAULTS as error:
        raise translated(error, path) from error
    new.rename(path)
    _flush_folder(path)


def _flush_folder(path: Path) -> None:
    """Makes the names beside `path` durable. StoreError where the device refuses."""
    try:
        sync_folder(path.parent)
    except OSError as error:
        what = f"its folder cannot be flushed to the device: {error.strerror}"
        raise StoreError(what, where=str(path), cure="Check the disk") from error


def _flushes(path: Path) -> Flushes:
    try:
        return Flushes(path)
    except OSError as error:
        what = f"its write-ahead log cannot be read: {error.strerror}"
        raise StoreError(what, where=str(path), cure="Check the disk") from error


def _fill(new: Path, schema: Schema, first: Sequence[tuple[str, Params]]) -> None:
    """Everything is in the file itself when this returns: its WAL is not renamed with it."""
    con = sqlite3.connect(new, isolation_level=None)
    try:
        con.execute(f"PRAGMA page_size={PAGE_BYTES}")
        con.execute("PRAGMA auto_vacuum=INCREMENTAL")
        (mode,) = con.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":  # where it cannot be, no error is raised
            raise StoreError(f"its journal mode stays {mode}", where=str(new), cure="Check the disk")
        con.execute("PRAGMA synchronous=FULL")
        con.execute(f"PRAGMA application_id={schema.application_id}")
        for number, step in enumerate(schema.steps, 1):
            con.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version={number}; COMMIT;")
        for sql, params in first:
            con.execute(sql, params)
        con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        con.close()


class Database:
    """An open file. Errors are StoreError (stop), StoreFullError (no room, nothing changed) or NotFoundError."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection | None,
        reader: aiosqlite.Connection,
        quota: Quota | None,
        flushes: Flushes | None,
        application_id: int,
    ) -> None:
        self.path = path
        self._application_id = application_id
        self._quota = quota
        self._writer = writer
        self._reader = reader
        self._writing = asyncio.Lock()  # owner: whoever is inside insert or transact
        self._written = 0  # pages put into the WAL since the last checkpoint, as `_pages` takes them to be
        self._frames_a_page = 1.0  # what the last checkpoint found for each of them
        self._lost = False  # a write failed in a way that must not be tried again
        self._flushes = flushes

    @classmethod
    async def open(
        cls,
        path: Path,
        schema: Schema,
        *,
        read_only: bool = False,
        quota: Quota | None = None,
        as_found: bool = False,
        leave_free: int = 0,
    ) -> "Database":
        """Opens an existing file and checks that it is what it should be; takes missing schema steps.

        as_found: to read it whatever it is, damaged or of another version.
        A file that is larger than its quota does not grow, and what is free in it is used.
        leave_free: bytes of the file system that what is done before a step leaves free.
        """
        if not await asyncio.to_thread(path.exists):
            raise NotFoundError("is not there", where=str(path), cure="`fieldgate init` makes a new gateway")
        writer = reader = None
        try:
            if not read_only:
                writer = await connect(path)
                await _prepare(writer)
                await _step_up(writer, path, schema, leave_free)
                # SQLite flushes the name of a new WAL, but keeps it to itself where that fails.
                await asyncio.to_thread(_flush_folder, path)
                await writer.create_function("deflate", 1, _deflate, deterministic=True)
                await _bound(writer, quota.pages if quota else None)
            reader = await connect(read_only_uri(path), uri=True)
            await reader.execute("PRAGMA query_only=ON")
            await reader.execute("PRAGMA cache_size=-1024")
            if read_only and not as_found:
                await _check_current(reader, path, schema)
            flushes = await asyncio.to_thread(_flushes, path) if writer else None
        except BaseException as error:
            for con in (writer, reader):
                if con is not None:
                    await con.close()
            if isinstance(error, FAULTS):
                raise translated(error, path) from error
            raise
        return cls(path, writer, reader, quota, flushes, schema.application_id)

    async def insert(self, sql: str, params: Params) -> int:
        """Runs one INSERT as its own transaction in one hop to the thread; durable when it returns the last row id."""
        async with self._writing:
            try:
                row = await self._write.execute_insert(sql, params)
                self.flushes.committed()
                await self._checkpoint_if_due(_pages(params))
            except FAULTS as error:
                raise self._failed(error) from error
        return int(row[0]) if row else 0

    async def transact(self, statements: Sequence[tuple[str, Params]], *, reserve: bool = False) -> list[int]:
        """Runs the statements as one transaction, all or nothing; durable when it returns the numbers of changed rows.

        Once begun it is finished even if the caller is cancelled. reserve: it may use the quota's reserve as well.
        """
        quota = self._quota if reserve else None
        task = asyncio.ensure_future(self._transact(statements, quota))
        task.add_done_callback(_asked)  # a caller that was cancelled does not
        return await asyncio.shield(task)

    async def _transact(self, statements: Sequence[tuple[str, Params]], quota: Quota | None) -> list[int]:
        async with self._writing:
            try:
                if quota is None:
                    return await self._run(statements)
                await _bound(self._write, await self._with_reserve(quota))
                try:
                    return await self._run(statements)
                finally:
                    await _bound(self._write, quota.pages)
            except FAULTS as error:
                raise self._failed(error) from error

    async def _run(self, statements: Sequence[tuple[str, Params]]) -> list[int]:
        con = self._write
        await con.execute("BEGIN IMMEDIATE")
        try:
            changed = [(await con.execute(sql, params)).rowcount for sql, params in statements]
            await con.execute("COMMIT")
        except BaseException:
            if con.in_transaction:
                await con.execute("ROLLBACK")
            raise
        if any(changed):
            self.flushes.committed()
        await self._checkpoint_if_due(sum(_pages(params) for _, params in statements))
        return changed

    async def probe(self) -> None:
        """Makes a transaction durable that changes nothing: one page, written as it is. Errors as for a write.

        Of a setting that has its value already SQLite writes the page all the same; of a row it would not.
        """
        async with self._writing:
            try:
                await self._write.execute_fetchall(f"PRAGMA application_id={self._application_id}")
                self.flushes.committed()
                await self._checkpoint_if_due(1)
            except FAULTS as error:
                raise self._failed(error) from error

    async def _with_reserve(self, quota: Quota) -> int:
        """What makes room needs some: a file that was allowed more until now still has half of the reserve."""
        pages: int
        ((pages,),) = await self._write.execute_fetchall("PRAGMA page_count")
        return max(sum(quota), pages + quota.reserve // 2)

    async def change_quota(self, quota: Quota) -> None:
        """From now on the file may have these pages. Where it has more, it does not grow."""
        async with self._writing:
            self._quota = quota
            try:
                await _bound(self._write, quota.pages)
            except FAULTS as error:
                raise self._failed(error) from error

    async def pages(self) -> Pages:
        """How large the file is, and how much of it is free."""
        sql = "SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count"
        ((total, free),) = await self.read(sql)
        return Pages(total, free)

    async def give_back(self, pages: int) -> None:
        """Takes up to so many free pages out of the file; it is shorter after the next `fold`."""
        async with self._writing:
            try:
                # A pragma of many steps: `execute` would take one of them, and free one page.
                await self._write.executescript(f"PRAGMA incremental_vacuum({pages})")
                self.flushes.committed()
                await self._checkpoint_if_due(pages)
            except FAULTS as error:
                raise self._failed(error) from error

    async def fold(self) -> bool:
        """Folds the WAL into the file and empties it. False where somebody was reading: it is not waited for."""
        async with self._writing:
            con = self._write
            await asyncio.to_thread(self.flushes.total)  # while there is a head to read
            try:
                await con.execute_fetchall("PRAGMA busy_timeout=0")
                try:
                    ((busy, frames, folded),) = await con.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    await con.execute_fetchall(f"PRAGMA busy_timeout={_BUSY_MS}")
            except FAULTS as error:
                raise self._failed(error) from error
            self.flushes.checkpointed(frames, folded)
            if not busy:
                self.flushes.emptied()
            self._written = 0 if not busy else self._written
        return not busy

    def _failed(self, error: sqlite3.Error | UnicodeDecodeError) -> FieldgateError:
        known = translated(error, self.path)
        self._lost |= isinstance(known, StoreError)
        return known

    async def _checkpoint_if_due(self, pages: int) -> None:
        self._written += pages
        if self._written * self._frames_a_page >= _WAL_PAGES:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Folds the WAL into the file. Where there is no room for that it stays as it is: what it holds is durable."""
        try:
            (row,) = await self._write.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        except FAULTS as error:
            if not isinstance(translated(error, self.path), StoreFullError):
                raise
        else:
            _, frames, folded = row
            self.flushes.checkpointed(frames, folded)
            if self._written:
                self._frames_a_page = max(frames / self._written, _FRAMES_A_PAGE_MIN)
            self._written = 0

    async def relax(self) -> None:
        """Flushes nothing from now on: for a file that nobody relies on before it was flushed as a whole and moved."""
        await self._write.execute("PRAGMA synchronous=OFF")

    async def read(self, sql: str, params: Params = ()) -> list[Row]:
        """Runs one SELECT that the caller has bounded, and returns all its rows."""
        try:
            return list(await self._reader.execute_fetchall(sql, params))  # type: ignore[arg-type]
        except FAULTS as error:
            raise translated(error, self.path) from error

    async def close(self) -> None:
        """Lets a running transaction end, folds the WAL into the file, closes. StoreError where that fails."""
        async with self._writing:
            try:
                await self._reader.close()
                if self._writer is not None and not self._lost:
                    await self._checkpoint()
            except FAULTS as error:
                raise translated(error, self.path) from error
            finally:
                if self._writer is not None:
                    await self._writer.close()
                    self._writer = None

    @property
    def flushes(self) -> Flushes:
        """How often this file was flushed. BugError where it is only read."""
        if self._flushes is None:
            raise BugError("flushes of a store that is opened for reading", where=str(self.path))
        return self._flushes

    @property
    def _write(self) -> aiosqlite.Connection:
        if self._writer is None:
            raise BugError("a write to a store that is closed or opened for reading", where=str(self.path))
        return self._writer


def become(con: sqlite3.Connection, path: Path, mode: str) -> None:
    """Another journal mode. Where a write of it fails SQLite stays in the old one, and says so in no error."""
    (found,) = con.execute(f"PRAGMA journal_mode={mode}").fetchone()
    if found != mode:
        raise StoreError(f"its journal mode stays {found}", where=str(path), cure="Check the disk")


def read_only_uri(path: Path) -> str:
    """How sqlite3 opens a file only to read it."""
    return f"{path.absolute().as_uri()}?mode=ro"


def _pages(params: Params) -> int:
    """A statement's pages in the WAL, from what is handed to it: too many where that is deflated."""
    return _STATEMENT_PAGES + sum(len(value) for value in params if isinstance(value, bytes)) // PAGE_BYTES


def _deflate(data: bytes) -> bytes:
    return compress(data, 1)


async def _prepare(con: aiosqlite.Connection) -> None:
    for pragma in (
        "synchronous=FULL",
        "wal_autocheckpoint=0",
        "journal_size_limit=1048576",
        f"busy_timeout={_BUSY_MS}",
        "cell_size_check=ON",
        "trusted_schema=OFF",
        "temp_store=MEMORY",
        "cache_size=-1024",
        "secure_delete=FAST",  # ON writes every page once more that a deletion frees
    ):
        await con.execute(f"PRAGMA {pragma}")


async def _bound(con: aiosqlite.Connection, pages: int | None) -> None:
    """The file may have so many pages, or any number. SQLite keeps this for a connection, not in the file."""
    # Fetched to the end: a statement that is not would go on holding its view of the file.
    await con.execute_fetchall(f"PRAGMA max_page_count={_PAGES_MAX if pages is None else max(pages, 1)}")


async def _pragma(con: aiosqlite.Connection, name: str) -> Any:
    rows = list(await con.execute_fetchall(f"PRAGMA {name}"))
    return rows[0][0]


async def _check(con: aiosqlite.Connection, path: Path, schema: Schema) -> int:
    """The file's schema. DamagedError, StoreError for a file that is none of these."""
    if await _pragma(con, "application_id") != schema.application_id:
        raise DamagedError("is not a file of this kind", where=str(path), cure="Name the right data_dir")
    version, known = await _pragma(con, "user_version"), len(schema.steps)
    if version > known:
        what = f"was written by a newer version (schema {version}, this one knows {known})"
        raise StoreError(what, where=str(path), cure=_BACK)
    return int(version)


async def _check_current(con: aiosqlite.Connection, path: Path, schema: Schema) -> None:
    version, known = await _check(con, path, schema), len(schema.steps)
    if version < known:
        what = f"was written by an older version (schema {version}, this one reads {known})"
        raise StoreError(what, where=str(path), cure="Start the gateway once: it brings the file up to date")


async def _step_up(con: aiosqlite.Connection, path: Path, schema: Schema, leave_free: int) -> None:
    """Takes the steps that the file lacks, all or none: what was copied before is what the version before has left."""
    version = await _check(con, path, schema)
    if lacking := schema.steps[version:]:
        if schema.before is not None:
            await asyncio.to_thread(schema.before, path, version, leave_free)
        script = ";\n".join([*lacking, f"PRAGMA user_version={len(schema.steps)}"])
        await con.executescript(f"BEGIN IMMEDIATE; {script}; COMMIT;")
    for name, wanted in _ASSERTED.items():
        found = await _pragma(con, name)
        if found != wanted:
            raise DamagedError(f"PRAGMA {name} is {found}, not {wanted}", where=str(path), cure="Restore the file")


def _asked(task: "asyncio.Task[list[int]]") -> None:
    """Takes its error, so that asyncio does not log it as one that nobody has asked for."""
    if not task.cancelled():
        task.exception()


def _why_closed(path: Path) -> str:
    """SQLite does not say it."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return str(error.strerror)
    return "the file itself can be opened, what lies beside it cannot"


def translated(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> FieldgateError:
    """One of FAULTS as an error of ours."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:  # the latter while opening
        return StoreFullError("no room left on the disk", where=str(path), cure="Free some space")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = DamagedError if code & 0xFF in _DAMAGED else StoreError
    if code == sqlite3.SQLITE_CANTOPEN:
        name = f"{name}: {_why_closed(path)}"
    return kind(f"{error} ({name})", where=str(path), cure="Check the disk; `fieldgate recover` tells what can be done")
