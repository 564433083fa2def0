"""Takes bodies out of the store: rows and secret of a block go, its header stays (invariant 6 of DESIGN.md).

Each step is one transaction of bounded size, and each leaves a sound store: a block's secret goes with its first rows,
so a body is here whole or not at all; what a crash left of its rows is found by `block_here` and deleted by the next
step. The journal's newest row is never deleted: the next one is numbered after it.
"""

from typing import NamedTuple

from gateway.core import block as cose
from gateway.core import limits
from gateway.store.database import Database, Params

_ROW_BYTES = 160  # of a row beside its data, about
_FIRST = (
    "SELECT height,first_row FROM block INDEXED BY block_here WHERE (secret IS NULL)=? AND height>=? AND height<? "
    "AND first_row<=last_row ORDER BY height LIMIT 1"
)
_HERE, _LEFT = 0, 1  # with its secret; rows of a block whose secret has gone


class Stretch(NamedTuple):
    """Blocks [low, high) next to each other with all their readings here: how many, and received when, Unix ms."""

    low: int
    high: int
    readings: int
    first_ms: int
    last_ms: int
    size: int  # bytes, about


async def first_here(db: Database, low: int, high: int = 2**62) -> int | None:
    """The first block of [low, high) whose readings are here and fill any room."""
    rows = await db.read(_FIRST, (_HERE, low, high))
    return int(rows[0][0]) if rows else None


async def half_gone(db: Database) -> int | None:
    """The first block of which a crash left rows without their secret."""
    rows = await db.read(_FIRST, (_LEFT, 0, 2**62))
    return int(rows[0][0]) if rows else None


async def newest(db: Database) -> tuple[int, int]:
    """(row, height) of the journal's newest row; (0, 0) where there is none. What lies there or above stays."""
    rows = await db.read("SELECT row,height FROM journal ORDER BY row DESC LIMIT 1")
    return (rows[0][0], rows[0][1]) if rows else (0, 0)


async def last_row(db: Database, low: int, high: int) -> int:
    """The last journal row of the sealed blocks [low, high)."""
    rows = await db.read(
        "SELECT last_row FROM block WHERE height>=? AND height<? ORDER BY height DESC LIMIT 1", (low, high)
    )
    return int(rows[0][0]) if rows else 0


async def drop(db: Database, low: int, high: int) -> int:
    """Deletes some rows of the blocks [low, high), the oldest first; the bytes that they filled, 0: there are none."""
    high = min(high, (await newest(db))[1])
    for state in (_LEFT, _HERE):
        found = await db.read(_FIRST, (state, low, high))
        if found:
            height, first_row = found[0]
            return await _drop(db, height, first_row, high)
    return 0


async def _drop(db: Database, height: int, first_row: int, high: int) -> int:
    sql = "SELECT row,height,length(data)+coalesce(length(keys),0) FROM journal WHERE row>=? ORDER BY row LIMIT ?"
    size, last_row, last = 0, first_row - 1, height
    for row, at, length in await db.read(sql, (first_row, limits.PRUNE_ROWS)):
        if at >= high or (size and size + length > limits.PRUNE_BYTES):
            break
        last_row, last, size = row, at, size + length + _ROW_BYTES
    await db.transact(
        [
            (
                "UPDATE block SET secret=NULL, first_row=max(first_row, min(last_row, ?)+1) "
                "WHERE height>=? AND height<=? AND first_row<=last_row",
                (last_row, height, last),
            ),
            ("DELETE FROM journal WHERE row>=? AND row<=?", (first_row, last_row)),
        ],
        reserve=True,
    )
    return size


async def stretch(db: Database, low: int, high: int, need: int) -> Stretch | None:
    """The first blocks of [low, high) that may be lost together, of some `need` bytes.

    It begins where readings are, and ends before a block that tells of an earlier loss, or that has none left.
    """
    high = min(high, (await newest(db))[1])
    begin = low
    while (found := await first_here(db, begin, high)) is not None:
        if not await db.read("SELECT 1 FROM gone WHERE loss=? LIMIT 1", (found,)):
            return await _stretch(db, found, high, need)
        begin = found + 1
    return None


async def _stretch(db: Database, low: int, high: int, need: int) -> Stretch:
    sql = (
        "SELECT height,count,secret IS NULL,entry,(SELECT coalesce(sum(length(data)),0) FROM journal "
        "WHERE row>=first_row AND row<=last_row),(SELECT count(*) FROM gone WHERE loss=height) "
        "FROM block WHERE height>=? AND height<? ORDER BY height LIMIT 64"
    )
    readings, size, at = 0, 0, low
    first_ms: int | None = None
    last_ms = 0
    while size < need and at - low < limits.LOSS_BLOCKS and (page := await db.read(sql, (at, high))):
        for height, count, lacking, entry, data, tells in page:
            if tells or (lacking and count) or size >= need:
                return Stretch(low, height, readings, first_ms or 0, last_ms, size)
            if count:
                header = cose.parse_entry(entry).header
                first_ms, last_ms = header.first if first_ms is None else first_ms, header.last
            readings, size, at = readings + count, size + data + _ROW_BYTES, height + 1
    return Stretch(low, at, readings, first_ms or 0, last_ms, size)


def gone_statement(lost: Stretch, loss: int, reason: str) -> tuple[str, Params]:
    """Says, for good, that the blocks are lost, and that block `loss` has the reading which tells it."""
    return "INSERT INTO gone VALUES (?,?,?,?)", (lost.low, lost.high, loss, reason)


async def newest_loss(db: Database) -> tuple[int, int] | None:
    """The blocks [low, high) that were declared lost last."""
    rows = await db.read("SELECT low,high FROM gone ORDER BY loss DESC LIMIT 1")
    return (rows[0][0], rows[0][1]) if rows else None


async def older_than(db: Database, ran_s: float, low: int, high: int) -> int:
    """The first block of [low, high) that was sealed later than when the gateway had run for `ran_s`; else `high`."""
    while low < high:
        middle = (low + high) // 2
        rows = await db.read("SELECT ran_s FROM block WHERE height=?", (middle,))
        if rows and rows[0][0] <= ran_s:
            low = middle + 1
        else:
            high = middle
    return low


async def readings_in(db: Database, low: int, high: int) -> int:
    """Readings of the blocks [low, high), here or not."""
    rows = await db.read("SELECT total FROM block WHERE height IN (?,?) ORDER BY height", (low - 1, high - 1))
    return int(rows[-1][0] - (rows[0][0] if low else 0)) if low < high else 0
