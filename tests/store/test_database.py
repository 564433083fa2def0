"""One SQLite file: what it must be, what a failed write leaves behind, and that a transaction is whole or not there."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from fakes.gateway_store import make_store, signer, until

from gateway import store as stores
from gateway.errors import BugError, InUseError, NotFoundError, Stop, StoreError, StoreFullError
from gateway.node.sqlite import SqliteStore
from gateway.store import DATABASE, Store
from gateway.store.database import PAGE_BYTES, Database, Schema, create_file

SCHEMA = Schema(0x46475454, ("CREATE TABLE thing(n INTEGER PRIMARY KEY, data BLOB)",))
TWO = Schema(SCHEMA.application_id, (*SCHEMA.steps, "CREATE TABLE other(n INTEGER); INSERT INTO other VALUES (7)"))
PUT = "INSERT INTO thing VALUES (?,?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_file(tmp_path / "t.db", SCHEMA)
    return tmp_path / "t.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(path, SCHEMA)
    yield opened
    await opened.close()


def stored(path: Path) -> list[int]:
    """What another process would find."""
    con = sqlite3.connect(path)
    try:
        return [n for (n,) in con.execute("SELECT n FROM thing ORDER BY n")]
    finally:
        con.close()


def change(path: Path, *statements: str) -> None:
    con = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        con.execute(statement)
    con.close()


# What is opened


async def test_a_write_waits_for_the_disk(db: Database) -> None:
    wanted = {"synchronous": 2, "journal_mode": "wal", "page_size": PAGE_BYTES, "auto_vacuum": 2}
    wanted |= {"trusted_schema": 0, "cell_size_check": 1, "wal_autocheckpoint": 0, "busy_timeout": 5000}
    found = {name: next(iter(await db._write.execute_fetchall(f"PRAGMA {name}")))[0] for name in wanted}
    assert found == wanted


def test_a_new_file_is_its_owners_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["t.db"]


def test_a_file_is_never_made_twice(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError, match="there already"):
        create_file(path, SCHEMA)
    assert path.read_bytes() == before


def test_what_a_crash_left_of_a_making_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "t.db.new").write_bytes(b"half")
    create_file(tmp_path / "t.db", SCHEMA, ((PUT, (1, b"")),))
    assert stored(tmp_path / "t.db") == [1]


def test_a_making_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such table"):
        create_file(tmp_path / "t.db", SCHEMA, (("INSERT INTO nowhere VALUES (1)", ()),))
    assert not (tmp_path / "t.db").exists()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_missing_file_is_never_made(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(NotFoundError, match="fieldgate init"):
        await Database.open(tmp_path / "t.db", SCHEMA, read_only=read_only)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("version", [2, 3, 2**31 - 1])
async def test_a_newer_schema_is_refused(path: Path, version: int, read_only: bool) -> None:
    change(path, f"PRAGMA user_version={version}")
    with pytest.raises(StoreError, match="newer version"):
        await Database.open(path, SCHEMA, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("number", [0, SCHEMA.application_id + 1])
async def test_a_file_of_another_kind_is_refused(path: Path, number: int, read_only: bool) -> None:
    change(path, f"PRAGMA application_id={number}")
    with pytest.raises(StoreError, match="not a file of this kind"):
        await Database.open(path, SCHEMA, read_only=read_only)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one" * 100])
async def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.db").write_bytes(content)
    with pytest.raises(StoreError):
        await Database.open(tmp_path / "t.db", SCHEMA)


@pytest.mark.parametrize("pragmas", [("page_size=4096",), ("page_size=1024", "auto_vacuum=NONE")])
async def test_a_file_made_with_other_pragmas_is_refused(tmp_path: Path, pragmas: tuple[str, ...]) -> None:
    fixed = ("journal_mode=WAL", f"application_id={SCHEMA.application_id}", "user_version=1")
    change(tmp_path / "t.db", *(f"PRAGMA {pragma}" for pragma in (*pragmas, *fixed)), *SCHEMA.steps)
    with pytest.raises(StoreError, match=pragmas[-1].partition("=")[0]):
        await Database.open(tmp_path / "t.db", SCHEMA)


async def test_missing_steps_are_taken_once(path: Path) -> None:
    for _ in range(2):
        db = await Database.open(path, TWO)
        assert await db.read("SELECT n FROM other") == [(7,)]
        await db.close()
    with pytest.raises(StoreError, match="newer version"):
        await Database.open(path, SCHEMA)


async def _of_a_node(folder: Path) -> SqliteStore:
    return await SqliteStore.open(folder / DATABASE)


class Slow(logging.Handler):
    """What a thread of aiosqlite logs between its steps holds it up."""

    def emit(self, _: logging.LogRecord) -> None:
        time.sleep(0.02)


@pytest.fixture
def slow_threads(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger, slow = logging.getLogger("aiosqlite"), Slow()
    caplog.set_level(logging.DEBUG, logger.name)
    logger.addHandler(slow)
    yield
    logger.removeHandler(slow)


@pytest.mark.usefixtures("slow_threads")
@pytest.mark.parametrize("opened", [Store.open, _of_a_node])
async def test_a_thread_that_could_not_open_a_file_outlives_no_loop(
    tmp_path: Path, opened: Callable[[Path], Awaitable[object]]
) -> None:
    """It tells the loop of its end; where that is closed by then Python prints a traceback."""
    (tmp_path / DATABASE).mkdir()
    with pytest.raises(StoreError):
        await opened(tmp_path)
    assert not [thread for thread in threading.enumerate() if "connection_worker" in thread.name]


async def test_why_a_file_cannot_be_opened_is_told(path: Path) -> None:
    """SQLite says no more than that it cannot."""
    await (await Database.open(path, SCHEMA, read_only=True)).close()  # whatever Python imports for it is imported
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 1, hard))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
        with pytest.raises(StoreError, match="SQLITE_CANTOPEN: Too many open files"):
            await Database.open(path, SCHEMA, read_only=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    beside = path.with_name(f"{path.name}-wal")
    beside.unlink(missing_ok=True)
    beside.mkdir()
    with pytest.raises(StoreError, match="SQLITE_CANTOPEN: the file itself can be opened"):
        await Database.open(path, SCHEMA, read_only=True)


@pytest.mark.parametrize(
    "steps", [["CREATE TABLE a(n); CREATE TABLE a(n)"], ["CREATE TABLE a(n)", "CREATE TABLE a(n)"]]
)
async def test_a_step_that_fails_changes_nothing(path: Path, steps: list[str]) -> None:
    with pytest.raises(StoreError):
        await Database.open(path, Schema(SCHEMA.application_id, (*SCHEMA.steps, *steps)))
    db = await Database.open(path, SCHEMA)
    assert await db.read("SELECT name FROM sqlite_master") == [("thing",)]
    await db.close()


async def test_nothing_stays_open_where_opening_fails(tmp_path: Path) -> None:
    await asyncio.to_thread(stores.create, tmp_path, signer().vkey)
    change(tmp_path / stores.DATABASE, "UPDATE meta SET vkey='no key'")

    def connections() -> int:
        return sum("_connection_worker" in thread.name for thread in threading.enumerate())

    before = connections()
    with pytest.raises(Exception, match="names no log"):
        await Store.open(tmp_path)
    change(tmp_path / stores.DATABASE, "DELETE FROM meta")
    for _ in range(2):  # the lock is free again, too
        with pytest.raises(StoreError, match="names no log"):
            await Store.open(tmp_path)
    await until(lambda: connections() == before)


# Transactions


async def test_a_statement_never_slips_into_another_ones_transaction(db: Database, path: Path) -> None:
    """It would be lost with that transaction after it was called durable."""
    doomed = [(PUT, (n, b"")) for n in range(20)] + [(PUT, (0, b"again"))]
    for n in range(100, 110):
        results = await asyncio.gather(
            db.transact(doomed), db.insert(PUT, (n, b"")), db.transact([(PUT, (n + 100, b""))]), return_exceptions=True
        )
        assert isinstance(results[0], StoreError)
        assert results[1:] == [n, [1]]
        assert await asyncio.to_thread(stored, path) == [*range(100, n + 1), *range(200, n + 101)]


@pytest.mark.parametrize("after", range(0, 40, 3))
async def test_a_cancelled_transaction_is_whole_or_not_there(db: Database, path: Path, after: int) -> None:
    task = asyncio.create_task(db.transact([(PUT, (n, b"")) for n in range(30)]))
    for _ in range(after):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await db.insert(PUT, (1000, b""))
    assert await asyncio.to_thread(stored, path) in ([1000], [*range(30), 1000])


async def test_closing_waits_for_a_transaction_that_nobody_waits_for(path: Path) -> None:
    db = await Database.open(path, SCHEMA)
    task = asyncio.create_task(db.transact([(PUT, (n, b"")) for n in range(30)]))
    while not db._writing.locked():
        await asyncio.sleep(0)
    task.cancel()
    await db.close()
    assert await asyncio.to_thread(stored, path) == list(range(30))


async def test_a_fault_in_the_middle_takes_all_of_it_back(db: Database, path: Path) -> None:
    with pytest.raises(StoreError, match="UNIQUE"):
        await db.transact([(PUT, (1, b"")), (PUT, (2, b"")), (PUT, (1, b""))])
    assert await asyncio.to_thread(stored, path) == []
    assert await db.transact([(PUT, (1, b"")), ("DELETE FROM thing", ())]) == [1, 1]


async def test_what_a_write_returns_is_what_others_find(db: Database, path: Path) -> None:
    for n in range(1, 50):
        assert await db.insert(PUT, (n, b"x" * 500)) == n
        assert await asyncio.to_thread(stored, path) == list(range(1, n + 1))


# What goes wrong


async def _limit(db: Database, more_pages: int | None) -> None:
    """A quota: the file may grow by so many pages, or by any number again."""
    ((pages,),) = await db.read("PRAGMA page_count")
    await db.insert(f"PRAGMA max_page_count={pages + more_pages if more_pages is not None else 2**30}", ())


async def test_no_room_changes_nothing_and_is_survived(db: Database, path: Path) -> None:
    await db.insert(PUT, (1, b""))
    await _limit(db, 4)
    for _ in range(3):
        with pytest.raises(StoreFullError):
            await db.insert(PUT, (2, bytes(20_000)))
        with pytest.raises(StoreFullError):
            await db.transact([(PUT, (2, b"")), ("DELETE FROM thing WHERE n=1", ()), (PUT, (3, bytes(20_000)))])
        assert await asyncio.to_thread(stored, path) == [1]
    await db.insert(PUT, (2, b"small"))
    await _limit(db, None)
    await db.insert(PUT, (3, bytes(20_000)))
    assert await asyncio.to_thread(stored, path) == [1, 2, 3]


CHILD = """
    import asyncio, resource, sys
    from pathlib import Path
    from gateway.errors import StoreError
    from gateway.store.database import Database, Schema

    async def main():
        db = await Database.open(Path(sys.argv[1]), Schema(0x46475454, ("",)))
        await db.insert("INSERT INTO thing VALUES (1,?)", (b"",))
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
        for write in (db.insert("INSERT INTO thing VALUES (2,?)", (bytes(200_000),)),
                      db.transact([("INSERT INTO thing VALUES (3,?)", (bytes(200_000),))])):
            try:
                await write
            except StoreError as error:
                print(error.what)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await db.close()

    asyncio.run(main())
"""


def test_an_input_output_error_stops(path: Path) -> None:
    """In a process of its own: a limit on the size of files makes the kernel refuse a write."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("SQLITE_IOERR") == 2, done
    assert stored(path) == [1]


async def test_a_corrupt_file_stops(path: Path) -> None:
    db = await Database.open(path, SCHEMA)
    for n in range(100):
        await db.insert(PUT, (n, b"x" * 900))
    await db.close()
    data = bytearray(path.read_bytes())
    data[PAGE_BYTES * 2 :] = b"\xa5" * (len(data) - PAGE_BYTES * 2)
    path.write_bytes(data)
    with pytest.raises(StoreError):
        db = await Database.open(path, SCHEMA)
        try:
            await db.read("SELECT n,data FROM thing")
        finally:
            await db.close()


def test_these_errors_end_the_process() -> None:
    """They are Stop; no room is not."""
    assert issubclass(StoreError, Stop)
    assert not issubclass(StoreFullError, Stop)


# Two at once


async def test_a_reader_beside_a_writer(db: Database, path: Path) -> None:
    reader = await Database.open(path, SCHEMA, read_only=True)
    await db.insert(PUT, (1, b""))
    assert await reader.read("SELECT n FROM thing") == [(1,)]
    for write in (reader.insert(PUT, (2, b"")), reader.transact([(PUT, (2, b""))])):
        with pytest.raises(BugError, match="opened for reading"):
            await write
    with pytest.raises(StoreError, match="readonly"):
        await reader.read("INSERT INTO thing VALUES (3, x'') RETURNING n")
    await reader.close()
    assert await db.read("SELECT n FROM thing") == [(1,)]


async def test_the_reading_half_of_a_writer_writes_nothing(db: Database) -> None:
    with pytest.raises(StoreError, match="readonly"):
        await db.read("INSERT INTO thing VALUES (3, x'') RETURNING n")


async def test_a_closed_file_takes_no_write(path: Path) -> None:
    db = await Database.open(path, SCHEMA)
    await db.close()
    with pytest.raises(BugError):
        await db.insert(PUT, (1, b""))


async def test_two_writers_are_refused(tmp_path: Path) -> None:
    first = await make_store(tmp_path, 1)
    with pytest.raises(InUseError, match="another gateway runs"):
        await Store.open(tmp_path)
    reader = await Store.open(tmp_path, read_only=True)
    assert reader.blocks.size == 1
    await reader.close()
    with pytest.raises(InUseError, match="another gateway runs"):
        await Store.open(tmp_path)
    await first.close()
    await (await Store.open(tmp_path)).close()


async def test_no_folder_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await Store.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_store_is_made_whole_or_not(tmp_path: Path) -> None:
    stores.create(tmp_path, signer().vkey)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(StoreError, match="Nothing was changed"):
        stores.create(tmp_path, signer(of="another").vkey)
    (tmp_path / stores.DATABASE).unlink()
    with pytest.raises(StoreError, match="Nothing was changed"):
        stores.create(tmp_path, signer(of="another").vkey)
    before.pop(stores.DATABASE)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


async def test_the_wal_is_folded_into_the_file_as_it_grows(db: Database) -> None:
    wal = db.path.with_name(db.path.name + "-wal")
    for n in range(300):
        await db.insert(PUT, (n, bytes([n % 251]) * 3_000))
    for n in range(300, 400):
        await db.transact([(PUT, (n, bytes(3_000)))])
    assert wal.stat().st_size < 400 * (PAGE_BYTES + 24)
    assert db.path.stat().st_size > 1_000 * PAGE_BYTES, "not all of it waits in the WAL"
    assert stored(db.path) == list(range(400))


async def test_small_commits_are_not_folded_one_by_one(db: Database) -> None:
    before = db.path.stat().st_size
    for n in range(20):
        await db.insert(PUT, (n, b""))
    assert db.path.stat().st_size == before


# A probe


def frames_of(path: Path) -> int:
    """Pages in the WAL."""
    return (path.with_name(path.name + "-wal").stat().st_size - 32) // (24 + PAGE_BYTES)


async def test_a_probe_writes_one_page_and_changes_nothing(db: Database, path: Path) -> None:
    await db.insert(PUT, (1, b"one"))
    watcher = sqlite3.connect(path, isolation_level=None)
    (version,) = watcher.execute("PRAGMA data_version").fetchone()
    dump = list(watcher.iterdump())
    frames, commits = frames_of(path), db.flushes.commits
    await db.probe()
    assert watcher.execute("PRAGMA data_version").fetchone() != (version,), "a transaction was made durable"
    assert frames_of(path) == frames + 1
    assert db.flushes.commits == commits + 1
    assert list(watcher.iterdump()) == dump
    watcher.close()
    reopened = await Database.open(path, SCHEMA)
    assert await reopened.read("SELECT data FROM thing") == [(b"one",)]
    await reopened.close()


async def test_probes_for_ever_fill_no_disk(db: Database, path: Path) -> None:
    for _ in range(1_000):
        await db.probe()
    assert frames_of(path) < 500
    assert (await db.pages()).total < 20


async def test_a_probe_of_what_is_only_read_is_a_bug(path: Path) -> None:
    reader = await Database.open(path, SCHEMA, read_only=True)
    with pytest.raises(BugError):
        await reader.probe()
    await reader.close()


async def test_a_write_whose_caller_was_cancelled_fails_in_silence(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is finished all the same; its error is of no account to anybody any more."""
    db = await Database.open(path, SCHEMA)
    writing = asyncio.create_task(db.transact([(PUT, (1, b"")), (PUT, (1, b""))]))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await db.transact([(PUT, (2, b""))])  # behind it
    gc.collect()
    await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text
    assert await db.read("SELECT n FROM thing") == [(2,)]
    await db.close()
