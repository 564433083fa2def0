"""The quota, the reserve, the ballast, and pages that go back to the file system."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest
from fakes.gateway_store import Pipeline, until
from fakes.kept import kept, settings
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.errors import HeldError, StoreFullError
from gateway.settings import RetentionSettings, size_bytes
from gateway.store import SIGN_STATE, database, opening, space
from gateway.store.database import PAGE_BYTES, Database, Quota, Schema, create_file
from gateway.store.opening import open_store

SCHEMA = Schema(0x46475454, ("CREATE TABLE thing(n INTEGER PRIMARY KEY, data BLOB)",))
PUT = "INSERT INTO thing VALUES (?,?)"
QUOTA = Quota(200, 100)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    await asyncio.to_thread(create_file, tmp_path / "t.db", SCHEMA)
    opened = await Database.open(tmp_path / "t.db", SCHEMA, quota=QUOTA)
    yield opened
    await opened.close()


async def fill(db: Database) -> int:
    number = 0
    with contextlib.suppress(StoreFullError):
        while True:
            await db.insert(PUT, (number, bytes(5000)))
            number += 1
    return number


@pytest.mark.parametrize(
    ("text", "size"), [("1 KiB", 1024), ("1.5MiB", 3 << 19), ("8 GiB", 8 << 30), ("2 TiB", 2 << 40), ("0 KiB", 0)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@given(st.integers(1, 2**20))
def test_the_whole_of_a_quota_is_within_max_bytes(mib: int) -> None:
    quota = space.quota_of(RetentionSettings(max_bytes=f"{mib} MiB"))
    if mib << 20 >= limits.STORE_BYTES_MIN:
        assert sum(quota) * PAGE_BYTES + limits.WAL_BYTES <= mib << 20
        assert quota.reserve * PAGE_BYTES >= limits.RESERVE_BYTES
        assert quota.pages * PAGE_BYTES >= 2 * limits.BATCH_BYTES


async def test_what_can_wait_stops_at_the_quota_and_the_rest_at_the_reserve(db: Database) -> None:
    number = await fill(db)
    assert QUOTA.pages - 10 <= (await db.pages()).total <= QUOTA.pages
    with pytest.raises(StoreFullError):
        await db.transact([(PUT, (number, bytes(5000)))])
    await db.transact([(PUT, (number, bytes(5000)))], reserve=True)
    with pytest.raises(StoreFullError):
        await db.insert(PUT, (number + 1, bytes(5000)))  # the reserve ends with its transaction
    with pytest.raises(StoreFullError):
        await db.transact([(PUT, (n, bytes(5000))) for n in range(1000, 1040)], reserve=True)
    assert (await db.pages()).total <= sum(QUOTA)
    with pytest.raises(StoreFullError):
        await db.insert(PUT, (number + 1, bytes(5000)))
    ((count,),) = await db.read("SELECT count(*) FROM thing")
    assert count == number + 1


async def test_the_quota_holds_at_each_open(tmp_path: Path, db: Database) -> None:
    await fill(db)
    await db.close()
    again = await Database.open(tmp_path / "t.db", SCHEMA, quota=Quota(50, 10))  # less than there is
    with pytest.raises(StoreFullError):
        await again.insert(PUT, (9000, bytes(5000)))
    await again.transact([("DELETE FROM thing WHERE n<5", ())], reserve=True)
    await again.insert(PUT, (9000, bytes(5000)))  # what is free in it is used
    await again.close()


async def test_pages_go_back_and_the_file_shrinks(tmp_path: Path, db: Database) -> None:
    await fill(db)
    await db.fold()
    before = (tmp_path / "t.db").stat()
    await db.transact([("DELETE FROM thing WHERE n%2=0", ())], reserve=True)
    free = (await db.pages()).free
    assert free > 50
    await db.give_back(7)
    assert (await db.pages()).free == free - 7
    await db.give_back(free)
    assert (await db.pages()).free == 0
    assert await db.fold()
    after = (tmp_path / "t.db").stat()
    assert after.st_size <= before.st_size - free * PAGE_BYTES
    assert after.st_blocks < before.st_blocks
    assert (tmp_path / "t.db-wal").stat().st_size == 0
    ((sound,),) = await db.read("PRAGMA integrity_check")
    assert sound == "ok"


async def test_folding_waits_for_no_reader(tmp_path: Path, db: Database) -> None:
    await db.insert(PUT, (1, bytes(100)))
    reader = await Database.open(tmp_path / "t.db", SCHEMA, read_only=True)
    await reader._reader.execute("BEGIN")
    await reader.read("SELECT n FROM thing")
    await db.insert(PUT, (2, bytes(100)))
    assert not await db.fold()
    await reader._reader.execute("ROLLBACK")
    await reader.close()
    assert await db.fold()


def test_the_ballast_is_made_whole_given_up_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ballast = tmp_path / space.BALLAST
    assert not space.give_ballast(tmp_path, 0)
    space.make_ballast(tmp_path)
    made = ballast.stat()
    assert made.st_size == limits.BALLAST_BYTES <= made.st_blocks * 512, "blocks of its own"
    assert made.st_mode & 0o777 == 0o600
    assert not space.give_ballast(tmp_path, 0), "there is room"
    monkeypatch.setattr(space, "free_bytes", lambda _: 0)
    for leave in (limits.BALLAST_BYTES // 2, 0):
        assert space.give_ballast(tmp_path, leave)
        assert ballast.stat().st_size == leave
        assert not space.give_ballast(tmp_path, leave)
    space.make_ballast(tmp_path)
    assert ballast.stat().st_blocks * 512 >= limits.BALLAST_BYTES


async def test_the_ballast_is_kept_only_where_there_is_plenty(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        await it.retention.turn()
        assert (tmp_path / space.BALLAST).stat().st_size == limits.BALLAST_BYTES
    (tmp_path / space.BALLAST).unlink()
    async with kept(tmp_path, min_free="900000 TiB") as it:
        await it.retention.turn()
        assert not (tmp_path / space.BALLAST).exists()
        assert "min_free" in it.gateway.journal.held
        assert it.retention.status()["cure"].startswith("Free some space")


def test_free_is_what_a_user_without_root_has(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    assert abs(space.free_bytes(tmp_path) - found.f_bavail * found.f_frsize) < 1 << 26


# At a start


async def test_a_store_that_finds_no_room_is_opened_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await Pipeline.open(tmp_path)).kill()
    await asyncio.to_thread(space.make_ballast, tmp_path)
    monkeypatch.setattr(space, "free_bytes", lambda _: 0)
    check, tries = database._check, 0

    async def full(con: aiosqlite.Connection, path: Path, schema: Schema) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreFullError("no room")
        return await check(con, path, schema)

    monkeypatch.setattr(database, "_check", full)
    monkeypatch.setattr(opening, "_ROOM_RETRY_S", 0.01)

    store = await open_store(tmp_path, settings(), asyncio.Event())
    assert store is not None
    assert tries == 3
    assert (tmp_path / space.BALLAST).stat().st_size == 0, "given up for it"
    await store.close()


async def test_a_gateway_that_waits_for_room_stops_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await Pipeline.open(tmp_path)).kill()

    async def full(*_: object, **__: object) -> None:
        raise StoreFullError("no room")

    monkeypatch.setattr(database, "_check", full)
    monkeypatch.setattr(opening, "_ROOM_RETRY_S", 3600)

    stopping = asyncio.Event()
    waiting = asyncio.create_task(open_store(tmp_path, settings(), stopping))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    stopping.set()
    assert await waiting is None


async def test_signing_begins_when_there_is_room_for_the_sign_state(tmp_path: Path) -> None:
    async with kept(tmp_path) as it:
        sealer = it.gateway.sealer
        state = it.gateway.state
        assert state is not None
        sealer.wait_for_room(StoreFullError("no room", where=SIGN_STATE))
        assert isinstance(sealer.held, HeldError)
        assert "by itself" in sealer.held.cure
        assert sealer.full
        size = it.store.blocks.size
        filling = asyncio.create_task(it.fill(1))
        await until(lambda: it.gateway.journal.block.height > size)
        assert it.store.blocks.size == size
        signer = sealer._signer
        assert signer is not None
        await sealer.recover(signer, state)
        it.gateway.journal.grown.set()
        await filling
        assert it.store.blocks.size > size
        assert not sealer.full
