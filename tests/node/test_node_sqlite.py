"""The node's SQLite file beyond the contract: what is asserted when it is opened, and what a failure leaves."""

import asyncio
import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from gateway.errors import BugError, NotFoundError, StoreError, StoreFullError
from gateway.node import schema
from gateway.node.sqlite import SqliteStore
from gateway.node.store import Body, Form

LOG = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a new store lies."""
    path = tmp_path / "node.sqlite"
    schema.create_file(path)
    return path


def pragma(path: Path, text: str) -> object:
    """Runs a pragma on a closed file."""
    with contextlib.closing(sqlite3.connect(path)) as con, con:
        row = con.execute(f"PRAGMA {text}").fetchone()
    con.close()
    return row and row[0]


async def test_only_create_makes_a_file_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    with pytest.raises(NotFoundError, match="is not there"):
        await SqliteStore.open(path)
    assert list(tmp_path.iterdir()) == []
    store = await SqliteStore.open(path, create=True)
    await store.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pragma(path, "application_id") == schema.APPLICATION_ID
    assert pragma(path, "auto_vacuum") == 2
    assert pragma(path, "user_version") == len(schema.STEPS)


async def test_writes_wait_for_the_device(path: Path) -> None:
    store = await SqliteStore.open(path)
    rows = [list(await store._writer.execute_fetchall(f"PRAGMA {name}")) for name in ("synchronous", "journal_mode")]
    await store.close()
    assert rows == [[(2,)], [("wal",)]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("application_id=1", "is not a node's store"),
        (f"user_version={len(schema.STEPS) + 1}", "newer version"),
        ("journal_mode=DELETE", "journal_mode is delete"),
    ],
)
async def test_a_file_that_is_not_what_it_should_be_is_refused(path: Path, change: str, says: str) -> None:
    pragma(path, change)
    with pytest.raises(StoreError, match=says):
        await SqliteStore.open(path)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="not a database"):
        await SqliteStore.open(path)


async def test_missing_steps_are_taken_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (a INTEGER) STRICT"))
    store = await SqliteStore.open(path)
    await store.close()
    assert pragma(path, "user_version") == len(schema.STEPS)
    assert pragma(path, "table_info(later)") == 0


async def test_a_full_disk_changes_nothing_and_passes(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.enrol(LOG, "vkey", 0)
    await store._writer.execute("INSERT INTO entry (log, height, data) VALUES (1, 0, x'00')")
    pages = next(iter(await store._writer.execute_fetchall("PRAGMA page_count")))[0]
    await store._writer.execute(f"PRAGMA max_page_count={pages + 4}")
    big = Body(Form.WHOLE, bytes(1024 * 1024))
    with pytest.raises(StoreFullError):
        await store.take_body(LOG, 0, big)
    assert await store.body(LOG, 0) is None
    await store._writer.execute("PRAGMA max_page_count=1000000")
    assert await store.take_body(LOG, 0, big)
    await store.close()


async def test_a_cancelled_caller_does_not_split_a_transaction(path: Path) -> None:
    store = await SqliteStore.open(path)
    calls = [asyncio.create_task(store.enrol(f"{number:064x}", "vkey", 0)) for number in range(20)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    head = await store.enrol(LOG, "vkey", 1)
    assert head.stored_from == 1
    await store.close()


async def test_a_closed_store_says_so(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.close()
    with pytest.raises(BugError, match="closed"):
        await store.enrol(LOG, "vkey", 0)
