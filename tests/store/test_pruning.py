"""Pruning and losing, killed between any two of their steps; and queries that do not grow with the store."""

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.gateway_store import make_store, sample
from fakes.kept import A_BLOCK, Kept, check_sound, kept

from drivers.api import Sample
from gateway.core import limits
from gateway.errors import NotFoundError, StoreError
from gateway.store import Store, pruning

BLOCKS = 12

# The process dies just before or after its Nth transaction of deleting or telling a loss.
DYING = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from fakes.kept import kept
    from gateway.core import limits
    from gateway.store.database import Database

    folder, how, when, number = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    limits.PRUNE_ROWS, limits.PRUNE_BYTES = 3, 20_000

    async def main():
        async with kept(folder) as it:
            await it.stored("coop", 9)
            left, real = number, Database.transact

            async def transact(self, statements, **more):
                nonlocal left
                ours = any("DELETE FROM journal" in sql or "INTO gone" in sql for sql, _ in statements)
                left -= ours
                if ours and left == 0 and when == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                done = await real(self, statements, **more)
                if ours and left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            Database.transact = transact
            if how == "prune":
                await it.retention._delete((0, 9))
            else:
                await it.retention._lose(100_000)

    asyncio.run(main())
"""


async def filled(folder: Path) -> None:
    async with kept(folder) as it:
        for _ in range(BLOCKS):
            for _ in range(A_BLOCK // 4):  # four rows a block
                await it.gateway.emit([_sample(it) for _ in range(4)])
            await it.gateway.sealed()


def _sample(it: Kept) -> Sample:
    it._number += 1
    return sample(value=it._number, payload=os.urandom(500))


def die(folder: Path, how: str, when: str, number: int) -> bool:
    """Whether there were so many transactions to die at."""
    command = [sys.executable, "-c", textwrap.dedent(DYING), str(folder), how, when, str(number)]
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("how", "steps"), [("prune", (1, 2, 5)), ("lose", (1, 2, 4))])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_each_step_the_store_is_sound_and_the_next_start_finishes(
    tmp_path: Path, how: str, steps: tuple[int, ...], when: str
) -> None:
    for number in steps:
        folder = tmp_path / str(number)
        folder.mkdir()
        await filled(folder)
        assert await asyncio.to_thread(die, folder, how, when, number)
        store = await Store.open(folder, read_only=True)
        before = await check_sound(store)
        half = await pruning.half_gone(store.db)
        told = await pruning.newest_loss(store.db)
        await store.close()
        assert (told is None) == (how == "prune" or (number, when) == (1, "before"))
        if when == "after" and number > 1:
            assert half is not None or before["pruned"] or before["gone"] or told
        async with kept(folder) as it:
            await it.retention._finish()
            assert await pruning.half_gone(it.store.db) is None
            await check_sound(it.store)
            await it.fill(1)  # and the loss reading's block is sealed
            after = await check_sound(it.store)
            assert after["gone"] == (list(range(*told)) if told is not None else [])
            for height in after["gone"] + after["pruned"]:
                row = await it.store.blocks.block(height)
                assert row is not None
                assert row.first_row > row.last_row


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await make_store(tmp_path, BLOCKS)
    yield opened
    await opened.close()


async def test_a_transaction_deletes_a_bounded_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRUNE_ROWS", 3)
    await filled(tmp_path)
    async with kept(tmp_path) as it:

        async def rows() -> int:
            ((count,),) = await it.store.db.read("SELECT count(*) FROM journal")
            return int(count)

        left = await rows()
        while await pruning.drop(it.store.db, 0, 9):
            now = await rows()
            assert left - 3 <= now < left
            left = now
        monkeypatch.setattr(limits, "PRUNE_BYTES", 1)
        assert await pruning.drop(it.store.db, 0, BLOCKS) > 0
        assert await rows() == left - 1


async def test_a_body_that_is_half_pruned_while_it_is_read_has_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRUNE_ROWS", 3)
    await filled(tmp_path)
    async with kept(tmp_path) as it:
        read = it.store.blocks.body_chunks(0)
        await anext(read)  # the head
        await anext(read)  # the first of four rows
        await pruning.drop(it.store.db, 0, 1)
        assert await it.store.db.read("SELECT row FROM journal WHERE height=0") == [(4,)]
        with pytest.raises(NotFoundError, match="not here any more"):
            await anext(read)
        whole = it.store.blocks.body_chunks(1)
        await anext(whole)
        await it.store.db.transact([("DELETE FROM journal WHERE row=6", ())])
        await anext(whole)
        with pytest.raises(StoreError, match="rows of block 1 are missing"):
            await anext(whole)


async def test_nothing_of_the_block_with_the_newest_row_goes(store: Store) -> None:
    while await pruning.drop(store.db, 0, 2**40):
        pass
    assert await pruning.first_here(store.db, 0) == BLOCKS - 1
    assert await pruning.first_here(store.db, 0, BLOCKS - 1) is None


async def test_an_empty_block_is_always_here(tmp_path: Path) -> None:
    store = await make_store(tmp_path, 2, readings=0)
    try:
        await store.db.transact([("UPDATE block SET secret=NULL", ())])
        assert await check_sound(store) == {"whole": [0, 1], "pruned": [], "gone": []}
    finally:
        await store.close()


async def test_what_runs_often_scans_no_table(store: Store) -> None:
    """The plans of all queries that a running gateway asks of its larger tables."""
    asked: list[str] = []
    read = store.db.read

    async def noting(sql: str, params: object = ()) -> object:
        plan = await read("EXPLAIN QUERY PLAN " + sql, params)  # type: ignore[arg-type]
        asked.extend(f"{row[3]} | {sql}" for row in plan)
        return await read(sql, params)  # type: ignore[arg-type]

    store.db.read = noting  # type: ignore[method-assign,assignment]
    blocks = store.blocks
    await type(blocks).open(store.db)
    await blocks.find("s-0", 2**50)
    await blocks.find("s-0", 1_795_500_001_000)
    await blocks.gone(3)
    await blocks.next_here(0)
    await blocks.note()
    await store.cosigned.above(0)
    await store.cosigned.holding("coop")
    await pruning.stretch(store.db, 0, BLOCKS, 1000)
    await pruning.drop(store.db, 0, 2)
    await pruning.half_gone(store.db)
    await pruning.newest(store.db)
    await pruning.last_row(store.db, 0, 4)
    await pruning.older_than(store.db, 5, 0, BLOCKS)
    await pruning.readings_in(store.db, 0, 4)
    scans = [
        plan
        for plan in asked
        if plan.startswith("SCAN")
        and any(table in plan.split("|")[0] for table in ("block", "journal", "cosignature"))
        and "LIMIT 1" not in plan  # the first or last of an order
        and "VIRTUAL" not in plan
    ]
    assert scans == []
    assert not [plan for plan in asked if "TEMP B-TREE FOR ORDER BY" in plan and not _small(plan)]


async def test_sealing_looks_only_into_what_it_needs(store: Store) -> None:
    sql = "DELETE FROM checkpoint WHERE size=? AND size % ? AND size NOT IN (SELECT size FROM cosignature)"
    plan = [row[3] for row in await store.db.read("EXPLAIN QUERY PLAN " + sql, (5, 7))]
    assert any("SEARCH checkpoint USING INTEGER PRIMARY KEY" in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan


def _small(plan: str) -> bool:
    """Sorts the rows of one block, or blocks whose times reach over one moment."""
    return "BETWEEN first_row AND last_row" in plan or "max_ms>?" in plan
