"""What can be read of a damaged store: every sound row of the journal, however many are gone before it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes.gateway_store import Pipeline, sample

from gateway.store import DATABASE
from gateway.store.rebuild import Salvage

pytestmark = pytest.mark.may_block
ROWS, HOLE, MISSES = 6, 5_000, 4_096


async def _rows(path: Path) -> tuple[list[int], int]:
    """Those that can be read, and how many are told that cannot."""
    old = await Salvage.open(path)
    found = [kept async for kept in old.rows_after(await old.sealed_row())]
    await old.close()
    return [kept.row for kept in found if kept.items is not None], sum(kept.items is None for kept in found)


@pytest.mark.parametrize(("change", "rows", "lost"), [
    ("row", range(1, ROWS + 1), 0),
    (f"row+{HOLE}", range(HOLE + 1, HOLE + ROWS + 1), 0),  # the older ones were pruned
    (f"row+{HOLE}*(row>3)", [1, 2, 3, *range(HOLE + 4, HOLE + ROWS + 1)], MISSES),  # so many are told
    ("row+1000000000*(row=6)", [1, 2, 3, 4, 5, 1_000_000_006], MISSES),  # a number that is damaged
    ("row+1000000000*(row=1)", [2, 3, 4, 5, 6, 1_000_000_001], MISSES + 1),
])  # fmt: skip
async def test_sound_rows_are_found_behind_any_number_that_are_gone(
    tmp_path: Path, change: str, rows: list[int], lost: int
) -> None:
    made = (await Pipeline.open(tmp_path, max_count=100)).start()
    for number in range(ROWS):
        made.emit([sample(value=number)])
        await made.journal.commit()
    await made.kill()
    with closing(sqlite3.connect(tmp_path / DATABASE)) as con:
        con.execute(f"UPDATE journal SET row=-({change})")
        con.execute("UPDATE journal SET row=-row")
        con.commit()
    assert await _rows(tmp_path / DATABASE) == (list(rows), lost)
