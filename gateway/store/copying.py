"""A copy of a store that somebody writes to: the log as it was at the beginning, and the readings behind it.

It is made of short reads, a page of rows each. A log only grows, so no read transaction has to hold still what is
copied, and none keeps the gateway from folding its write-ahead log (docs/adr/0036).

What grows meanwhile is left out by its number. What goes meanwhile is pruned: rows of the journal are read before those
of the blocks, so a block that is still here then has all its rows in the copy; one that has gone is left as a crash in
the middle of its deletion leaves it, and the next start ends that.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import compress

from gateway.core import limits
from gateway.core.block import SECRET_BYTES
from gateway.core.note import parse_checkpoint, parse_note
from gateway.errors import DamagedError
from gateway.store import Store, create_database
from gateway.store.blocks import SOUND
from gateway.store.database import FAULTS, Database, Row, become, translated

_ROWS = 64  # in one page at most
_LEFT_OUT = ("meta", "plan")  # the first is made with the file; a plan is nothing before it is signed
_FIRST = "journal"
_HALF_GONE = (
    "UPDATE block SET first_row=(SELECT min(row) FROM journal WHERE journal.height=block.height) "
    "WHERE secret IS NULL AND EXISTS (SELECT 1 FROM journal WHERE journal.height=block.height)"
)
_CUT_OFF = (  # readings that were sealed, sent and pruned meanwhile, up to somewhere within a block
    "DELETE FROM journal WHERE height>=:size AND height NOT IN "
    "(SELECT height FROM journal WHERE height>=:size AND secret IS NOT NULL)"
)
_NUMBERED = (  # the next row is numbered after the newest, which no pruning deletes but this one may have lost
    "INSERT INTO journal(row,height,count,bytes,first_ms,last_ms,min_ms,max_ms,mask,secret,data) "
    "SELECT last+1,:size,0,0,0,0,0,0,0,:secret,:nothing FROM (SELECT max(last_row) AS last FROM block) "
    "WHERE last>(SELECT coalesce(max(row),0) FROM journal)"
)
_CLAMPED = "UPDATE progress SET seen=min(seen,:size), stored=min(stored,:size), holds=min(holds,:size)"


class Copied(NamedTuple):
    """What a copy holds: blocks, the root of their tree, and readings in no block yet."""

    size: int
    root: bytes
    unsealed: int


async def copy(store: Store, target: Path) -> Copied:
    """Makes `target`, a file of the same log, flushed by nobody yet. DamagedError, StoreFullError, StoreError."""
    db, size = store.db, store.blocks.size
    kept = await store.blocks.note(size) if size else None
    if store.blocks.damage is not None or (size and kept is None):
        raise DamagedError("the store is damaged: it is not copied", where=str(db.path), cure=SOUND)
    ((last,),) = await db.read("SELECT coalesce(max(row),0) FROM journal")
    await asyncio.to_thread(create_database, target, store.vkey)
    tables = [name for (name,) in await db.read("SELECT name FROM sqlite_master WHERE type='table'")]
    with contextlib.closing(sqlite3.connect(target, isolation_level=None, check_same_thread=False)) as con:
        await asyncio.to_thread(_prepare, con, target)
        copying = _Copying(db, con, target, size, last)
        for table in sorted(set(tables) - set(_LEFT_OUT), key=lambda name: name != _FIRST):
            await copying.table(table)
        given = {"size": size, "secret": os.urandom(SECRET_BYTES), "nothing": compress(b"")}
        ends: list[tuple[str, dict[str, object]]] = [(_HALF_GONE, {}), (_CLAMPED, given), (_CUT_OFF, given)]
        ends.append((_NUMBERED, given))
        if kept is not None:
            ends.append(("INSERT OR IGNORE INTO checkpoint VALUES (:size,:note)", {"size": size, "note": kept[1]}))
        unsealed = await asyncio.to_thread(copying.end, ends)
    root = parse_checkpoint(parse_note(kept[1]).text).root if kept is not None else await store.blocks.root(0)
    return Copied(size, root, unsealed)


def _prepare(con: sqlite3.Connection, target: Path) -> None:
    try:
        become(con, target, "delete")
        become(con, target, "off")
        con.execute("PRAGMA synchronous=OFF")
        con.execute("BEGIN")
    except FAULTS as error:
        raise translated(error, target) from error


class _Copying:
    """One copy under way."""

    def __init__(self, db: Database, con: sqlite3.Connection, target: Path, size: int, last: int) -> None:
        self._db, self._con, self._target = db, con, target
        self._size, self._last = size, last

    async def table(self, table: str) -> None:
        """All rows of a table that belong to the log as it was, in the order of its key."""
        columns = await self._db.read(f'SELECT name,pk FROM pragma_table_info("{table}")')
        names = [str(name) for name, _ in columns]
        key = [name for name, pk in sorted(columns, key=lambda one: one[1]) if pk]
        put = f'INSERT INTO "{table}"({",".join(names)}) VALUES ({",".join("?" * len(names))})'
        limit, after = 1, None
        while page := await self._page(table, names, key, after, limit):
            await asyncio.to_thread(self._put, put, page)
            after = [page[-1][names.index(name)] for name in key]
            size = sum(len(value) for row in page for value in row if isinstance(value, bytes | str)) // len(page)
            limit = min(max(limits.COPY_BYTES // max(size, 1), 1), _ROWS)

    async def _page(
        self, table: str, names: Sequence[str], key: Sequence[str], after: Sequence[object] | None, limit: int
    ) -> list[Row]:
        wanted, params = self._wanted(table, names)
        if after is not None:
            wanted.append(f"({','.join(key)})>({','.join('?' * len(key))})")
            params = [*params, *after]
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        sql = f'SELECT {",".join(names)} FROM "{table}" {where} ORDER BY {",".join(key)} LIMIT ?'
        return await self._db.read(sql, [*params, limit])

    def _wanted(self, table: str, names: Sequence[str]) -> tuple[list[str], list[object]]:
        """Which rows of a table were there: by their number, or by the size of the log that they speak of."""
        if table == "journal":
            return ["row<=?"], [self._last]
        if table == "block":
            return ["height<?"], [self._size]
        if table == "tree":
            return ["((n+1) << (8*level))<=?"], [self._size]
        if table == "gone":
            return ["loss<?"], [self._size]
        return (["size<=?"], [self._size]) if "size" in names else ([], [])

    def _put(self, sql: str, rows: list[Row]) -> None:
        try:
            self._con.executemany(sql, rows)
        except FAULTS as error:
            raise translated(error, self._target) from error

    def end(self, statements: Sequence[tuple[str, dict[str, object]]]) -> int:
        """What is left to do; how many readings are in no block."""
        con = self._con
        try:
            for sql, params in statements:
                con.execute(sql, params)
            con.execute("COMMIT")
            become(con, self._target, "wal")
            sql = "SELECT coalesce(sum(count),0) FROM journal WHERE row>(SELECT coalesce(max(last_row),0) FROM block)"
            return int(con.execute(sql).fetchone()[0])
        except FAULTS as error:
            raise translated(error, self._target) from error
