"""The gateway's own events, the newest first, however many readings lie between them; blocks and readings in pages."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes.gateway_store import Pipeline, make_store, pipeline, sample, values
from fakes.log_maker import LogMaker

from gateway import store as stores
from gateway.core import senml
from gateway.errors import NotFoundError
from gateway.store import DATABASE, Store, events, pruning
from gateway.store.events import Event
from gateway.store.journal import source_bit
from gateway.store.lists import newest_blocks, readings


async def all_events(store: Store, page: int) -> list[Event]:
    found: list[Event] = []
    while more := await events.newest(store, page, found[-1].place if found else None):
        assert len(more) <= page
        found += more
    return found


def told(found: list[Event]) -> list[Any]:
    return [dict(event.details).get("n", event.what) for event in found]


@pytest.mark.parametrize("page", [1, 3, 7, 100])
async def test_the_newest_first_in_pages(tmp_path: Path, page: int) -> None:
    async with pipeline(tmp_path, max_count=5, linger_s=3600) as gateway:
        wanted: list[int] = []
        for n in range(40):
            gateway.intake.event("test", n=n, text="x")
            wanted.append(n)
            if n % 3 == 0:
                gateway.emit([sample(f"s-{m}", m) for m in range(n % 5)])
            if n % 4 == 0:
                await gateway.journal.commit()
        await gateway.journal.commit()
        found = await all_events(gateway.store, page)
        assert told(found) == wanted[::-1]
        assert found[0].what == "test"
        assert dict(found[0].details) == {"n": 39, "text": "x"}
        assert found[0].at_ms == gateway.clock.ms
        await gateway.sealed()
        heights = Counter(event.height for event in await all_events(gateway.store, page))
        for height in range(gateway.store.blocks.size):
            packs = [pack async for pack, _ in gateway.store.blocks.items(height)]
            assert heights.pop(height, 0) == sum(senml.source_of(pack) == "gateway" for pack in packs)
        assert set(heights) <= {None}, "in a block that is not sealed yet"


async def test_only_rows_with_events_are_read(tmp_path: Path) -> None:
    """Also where sources share the bit of `gateway`, and of a million readings one row is looked at."""
    twin = next(name for n in range(10_000) if source_bit(name := f"s-{n}") & source_bit("gateway"))
    async with pipeline(tmp_path, max_count=64, linger_s=3600) as gateway:
        gateway.intake.event("test", n=1)
        for n in range(300):
            gateway.emit([sample(twin, n)])
            await gateway.journal.commit()
        gateway.intake.event("test", n=2)
        await gateway.journal.commit()
        plan = await gateway.store.db.read(f"EXPLAIN QUERY PLAN {events._NEWEST}", (1,))
        assert "USING INDEX journal_events" in plan[0][3]
        reads, here = 0, asyncio.current_task()
        read = gateway.store.db.read

        async def counted(sql: str, params: Any = ()) -> Any:
            nonlocal reads
            reads += asyncio.current_task() is here  # the gateway's own tasks read, too
            return await read(sql, params)

        gateway.store.db.read = counted  # type: ignore[method-assign]
        assert told(await events.newest(gateway.store, 10)) == [2, 1]
        assert reads == 3


async def test_a_damaged_row_hides_its_own_events_alone(tmp_path: Path) -> None:
    made = await Pipeline.open(tmp_path, linger_s=3600)
    made.start()
    for n in range(5):
        made.intake.event("test", n=n)
        await made.journal.commit()
    await made.kill()
    with sqlite3.connect(tmp_path / DATABASE) as con:
        con.execute("UPDATE journal SET data=zeroblob(30) WHERE row=3")
        con.execute("UPDATE journal SET data='text' WHERE row=2")
    con.close()
    store = await Store.open(tmp_path, read_only=True)
    try:
        assert told(await all_events(store, 2)) == [4, 3, 0]
    finally:
        await store.close()


async def test_a_store_of_an_older_version(tmp_path: Path) -> None:
    """It gets the index; events of before it are found by export alone."""
    await asyncio.to_thread(stores.create, tmp_path, LogMaker().signer.vkey)
    with sqlite3.connect(tmp_path / DATABASE) as con:
        con.execute("DROP TABLE anchor")
        con.execute("DROP INDEX journal_events")
        con.execute("PRAGMA user_version=2")
    con.close()
    store = await Store.open(tmp_path)
    try:
        assert await events.newest(store, 5) == []
    finally:
        await store.close()


# -- blocks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Seven blocks of three readings; one of none at the end."""
    made = await make_store(tmp_path, 7)
    await made.close()
    again = await Pipeline.open(tmp_path)
    await again.recover()
    again.start()
    await again.age()
    await again.kill()
    opened = await Store.open(tmp_path)
    yield opened
    await opened.close()


async def test_the_newest_blocks_first_in_pages(store: Store) -> None:
    found = await newest_blocks(store, 3)
    assert [one.height for one in found] == [7, 6, 5]
    while more := await newest_blocks(store, 3, found[-1].height):
        found += more
    assert [one.height for one in found] == list(range(8))[::-1]
    assert [one.header for one in found] == [await store.blocks.header(height) for height in reversed(range(8))]
    assert {one.place for one in found} == {"here"}
    assert found[0].size == 0
    assert all(one.size > 50 for one in found[1:])
    assert await newest_blocks(store, 5, 100) == await newest_blocks(store, 5)


async def test_where_the_readings_of_a_block_are(store: Store) -> None:
    await pruning.drop(store.db, 0, 1)
    await pruning.drop(store.db, 1, 2)
    lost = pruning.Stretch(1, 2, 3, 0, 0, 0)
    await store.db.transact([pruning.gone_statement(lost, 3, "test")])
    await store.db.transact(
        [("UPDATE block SET entry=x'00' WHERE height=2", ()), ("UPDATE block SET entry='t' WHERE height=3", ())]
    )
    found = {one.height: one for one in await newest_blocks(store, 100)}
    assert [found[height].place for height in range(8)] == ["pruned", "gone", "damaged", "damaged", *["here"] * 4]
    assert found[2].header is None
    assert found[0].size == found[1].size == 0


async def test_readings_in_pages(tmp_path: Path) -> None:
    made = await Pipeline.open(tmp_path, max_count=50, linger_s=3600)
    await made.recover()
    made.start()
    for n in range(50):
        made.emit([sample(value=n, payload=b"x" * (6_000 if n % 7 == 0 else 3))])
        if n % 3 == 0:
            await made.journal.commit()
    await made.journal.commit()
    await made.sealed()
    try:
        for limit in (1, 4, 7, 50, 100):
            for start in (0, 1, 3, 17, 48, 49, 50, 90):
                page = await readings(made.store, 0, limit, start)
                wanted = list(range(50))[start : start + limit]
                assert values([pack for pack, _ in page]) == wanted
                assert [len(payload or b"") for _, payload in page] == [6_000 if n % 7 == 0 else 0 for n in wanted]
    finally:
        await made.kill()


async def test_readings_that_are_not_here(store: Store) -> None:
    await pruning.drop(store.db, 0, 1)
    for height in (0, 8):
        with pytest.raises(NotFoundError):
            await readings(store, height, 1)
    assert await readings(store, 7, 1) == []
    assert senml.resolve((await readings(store, 1, 1))[0][0]).source == "s-0"
