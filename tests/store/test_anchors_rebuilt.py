"""What was put on chains outlives a store that is made anew: where it is of this log, and its proof still holds."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import damaged, evm_blocks
from fakes.gateway_store import ORIGIN

from gateway import recover
from gateway.core import cbor, merkle
from gateway.core.anchor import Statement
from gateway.core.anchor_row import ANCHORED, FAILED, SUBMITTED, AnchorRow
from gateway.store import DATABASE, Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    asyncio.run(damaged.make(made))
    asyncio.run(fill(made))
    return made


async def fill(folder: Path) -> None:
    """An anchor that holds, one on its way, one that failed; one whose proof is damaged, and one of another log."""
    store = await Store.open(folder)
    entries = await store.blocks.entries(0, store.blocks.size)
    for size, state in ((1, ANCHORED), (2, SUBMITTED), (3, FAILED), (4, ANCHORED), (5, SUBMITTED)):
        root = merkle.root([merkle.leaf_hash(entry) for entry in entries[:size]])
        evidence = cbor.encode(evm_blocks.evidence(Statement.of(ORIGIN, size, root)))
        row = AnchorRow("spartan", size, root, "evm", "9090", 7, state, data=b"sent", ticket=b"t", why="w", cure="c")
        if state == ANCHORED:
            row = replace(row, over=True, number=1_000, hash=bytes(32), time_s=9, evidence=evidence)
        if size == 4:
            row = replace(row, evidence=evidence[:-1])
        await store.anchors.save(replace(row, root=bytes(32)) if size == 5 else row)
    await store.close()


async def anchors(folder: Path) -> list[AnchorRow]:
    store = await Store.open(folder, read_only=True)
    try:
        return await store.anchors.listed(99)
    finally:
        await store.close()


def broken(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as con:
        con.execute(sql)
        con.commit()


async def test_what_holds_is_there_again(folder: Path) -> None:
    before = {row.size: row for row in await anchors(folder)}
    await recover.rebuild(await damaged.job(folder, None))
    assert {row.size: row for row in await anchors(folder)} == {size: before[size] for size in (1, 2, 3)}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE anchor SET data='text' WHERE size=2",
        "UPDATE anchor SET state=x'00' WHERE size=2",
        "UPDATE anchor SET number='x' WHERE size=2",
        "UPDATE anchor SET size=2.5 WHERE size=2",
    ],
)
async def test_a_damaged_row_takes_nothing_along(folder: Path, sql: str) -> None:
    await asyncio.to_thread(broken, folder, sql)
    await recover.rebuild(await damaged.job(folder, None))
    assert {row.size for row in await anchors(folder)} == {1, 3}


async def test_a_store_without_the_table_is_made_anew_all_the_same(folder: Path) -> None:
    await asyncio.to_thread(broken, folder, "DROP TABLE anchor")
    await recover.rebuild(await damaged.job(folder, None))
    assert await anchors(folder) == []
