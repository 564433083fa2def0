"""A node's store in one SQLite file, through aiosqlite. The node's only SQL is here and in schema.py.

One connection writes, one reads, each in aiosqlite's own thread. A write is one transaction, durable when it returns
(WAL, synchronous=FULL). Every read is one bounded statement, so no read transaction outlives one call. Checkpoints are
our own: SQLite's automatic ones keep a failed write or fsync to themselves; a device that fails must end the process.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.connecting import connect
from gateway.core import limits
from gateway.core.anchor_row import AnchorRow
from gateway.core.merkle import Frontier
from gateway.errors import BugError, ConflictError, FieldgateError, NotFoundError, StoreError, StoreFullError
from gateway.node import schema
from gateway.node.store import Body, Evidence, Form, Growth, Head, Kind, Noted, Shown, Span, Witnessed

Row = tuple[Any, ...]
Work = Callable[[aiosqlite.Connection], Awaitable[None]]

_WAL_BYTES = 4 * 1024 * 1024  # to be folded into the file
_TRANSACTION_BYTES = 4 * schema.PAGE_BYTES  # of a small one

_HEAD = """
SELECT log.id, vkey, stored_from, log.size, frontier, entry.data, witnessed, root, note.note, frozen FROM log
LEFT JOIN entry ON entry.log = log.id AND entry.height = log.size - 1
LEFT JOIN note ON note.log = log.id AND note.size = log.witnessed
WHERE name = ?
"""
_NOTED = "SELECT size, note, seen, seen_latest, stored, stored_latest FROM note WHERE log = ? AND "
_CARRIES = {None: "", "seen": " AND seen <> ''", "stored": " AND stored <> ''"}
_KEEP = {
    "seen": "UPDATE note SET seen = CASE seen WHEN '' THEN :line ELSE seen END, seen_latest = :line",
    "stored": "UPDATE note SET stored = CASE stored WHEN '' THEN :line ELSE stored END, stored_latest = :line",
}
_ANCHOR = tuple(one.name for one in fields(AnchorRow))
_NEWEST_ANCHORED = "coalesce((SELECT max(size) FROM anchor WHERE name = ? AND state = 'anchored'), -1)"
_NEWEST_MADE = "coalesce((SELECT max(size) FROM anchor WHERE name = ? AND length(data) > 0), -1)"


class SqliteStore:
    """gateway.node.store.NodeStore over one file. Owned by one event loop and one process."""

    def __init__(self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._writing = asyncio.Lock()  # owner: whoever is inside _transact
        self.commits = 0
        self._written = 0  # bytes handed to transactions since the last checkpoint
        self._lost = False  # a write failed in a way that must not be tried again
        self._ids: dict[str, int] = {}  # a log's id -> its row

    @classmethod
    async def open(cls, path: Path, *, create: bool = False) -> "SqliteStore":
        """Opens the file, takes missing schema steps and asserts its pragmas; `create` makes one where there is none.

        NotFoundError without a file, StoreError for a file of another kind or of a newer version.
        """
        await asyncio.to_thread(schema.find_file, path, create=create)
        writer = reader = None
        try:
            writer = await connect(path)
            await schema.prepare(writer, path)
            # SQLite flushes the name of a new WAL, but keeps it to itself where that fails.
            await asyncio.to_thread(schema.flush_folder, path.parent)
            reader = await connect(schema.read_only_uri(path), uri=True)
            await reader.execute("PRAGMA query_only=ON")
        except BaseException as error:
            for connection in (writer, reader):
                if connection is not None:
                    await connection.close()
            if isinstance(error, sqlite3.Error):
                raise _translated(error, path) from error
            raise
        return cls(path, writer, reader)

    async def close(self) -> None:
        """Lets a running write end, folds the WAL into the file, closes. StoreError where that fails."""
        async with self._writing:
            try:
                await self._reader.close()
                if not self._lost:
                    await self._checkpoint()
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error
            finally:
                await self._writer.close()

    async def probe(self) -> None:
        """See NodeStore.probe. Of a setting that has its value already SQLite writes the page all the same."""

        async def work(con: aiosqlite.Connection) -> None:
            await con.execute_fetchall(f"PRAGMA application_id={schema.APPLICATION_ID}")

        await self._transact(work)

    # Headers

    async def enrol(self, log: str, vkey: str, stored_from: int) -> Head:
        """See Headers.enrol."""
        sql = "INSERT OR IGNORE INTO log (name, vkey, stored_from, frontier, root) VALUES (?, ?, ?, x'', ?)"
        params = (bytes.fromhex(log), vkey, stored_from, Witnessed().root)
        await self._transact(lambda con: _run(con, (sql, params)))
        head = await self.head(log)
        if (head.vkey, head.stored_from) != (vkey, stored_from):
            what = f"the log is enrolled with the key {head.vkey} and stored_from = {head.stored_from}"
            raise ConflictError(what, size=head.size)
        return head

    async def head(self, log: str) -> Head:
        """See Headers.head."""
        rows = await self._read(_HEAD, (bytes.fromhex(log),))
        if not rows:
            raise NotFoundError("no such log is enrolled", where=log)
        row, vkey, stored_from, size, frontier, last, witnessed, root, note, frozen = rows[0]
        self._ids[log] = row
        return Head(
            vkey=vkey,
            stored_from=stored_from,
            frontier=Frontier(size, _hashes(frontier)),
            last=last or b"",
            witnessed=Witnessed(witnessed, root),
            note=note or "",
            frozen=frozen,
        )

    async def grow(self, log: str, growth: Growth) -> None:
        """See Headers.grow."""
        row = await self._id(log)
        old, size = growth.old, growth.frontier.size

        async def work(con: aiosqlite.Connection) -> None:
            await _swap_head(con, row, growth)
            if growth.note is not None:
                sql = "INSERT OR IGNORE INTO note (log, size, note) VALUES (?, ?, ?)"
                await con.execute(sql, (row, growth.note_size, growth.note))
            if not growth.entries:
                return
            heights = enumerate(growth.entries, old.size)
            entries = [(row, height, entry) for height, entry in heights]
            await con.executemany("INSERT INTO entry (log, height, data) VALUES (?, ?, ?)", entries)
            hashes = [(row, node.level, node.index, node.hash) for node in growth.hashes]
            if hashes:
                await con.executemany("INSERT INTO hash (log, level, number, hash) VALUES (?, ?, ?, ?)", hashes)
            await _want(con, row, max(old.size, old.stored_from), size)

        await self._transact(work, sum(map(len, growth.entries)))

    async def entries(self, log: str, start: int, count: int) -> list[bytes]:
        """See Headers.entries."""
        sql = "SELECT data FROM entry WHERE log = ? AND height >= ? AND height < ? ORDER BY height"
        return [data for (data,) in await self._read(sql, (await self._id(log), start, start + count))]

    async def hashes(self, log: str, level: int, start: int, count: int) -> list[bytes]:
        """See Headers.hashes."""
        sql = "SELECT hash FROM hash WHERE log = ? AND level = ? AND number >= ? AND number < ? ORDER BY number"
        return [data for (data,) in await self._read(sql, (await self._id(log), level, start, start + count))]

    # Notes

    async def keep_line(self, log: str, size: int, kind: Kind, line: str) -> None:
        """See Notes.keep_line."""
        row = await self._id(log)

        async def work(con: aiosqlite.Connection) -> None:
            kept = {"line": line, "log": row, "size": size}
            cursor = await con.execute(f"{_KEEP[kind]} WHERE log = :log AND size = :size", kept)
            if cursor.rowcount != 1:
                raise NotFoundError(f"there is no note of size {size}", where=log)

        await self._transact(work)

    async def note_upto(self, log: str, size: int, kind: Kind | None = None) -> Noted | None:
        """See Notes.note_upto."""
        sql = f"{_NOTED} size <= ?{_CARRIES[kind]} ORDER BY size DESC LIMIT 1"
        rows = await self._read(sql, (await self._id(log), size))
        return Noted(*rows[0]) if rows else None

    async def note_from(self, log: str, size: int, kind: Kind | None = None) -> Noted | None:
        """See Notes.note_from."""
        sql = f"{_NOTED} size >= ?{_CARRIES[kind]} ORDER BY size LIMIT 1"
        rows = await self._read(sql, (await self._id(log), size))
        return Noted(*rows[0]) if rows else None

    # Bodies

    async def take_body(self, log: str, height: int, body: Body) -> bool:
        """See Bodies.take_body."""
        row = await self._id(log)
        taken = False

        async def work(con: aiosqlite.Connection) -> None:
            nonlocal taken
            await _check_entry(con, row, height, log)
            sql = """INSERT INTO body (log, height, form, data) VALUES (?, ?, ?, ?) ON CONFLICT (log, height)
                     DO UPDATE SET form = excluded.form, data = excluded.data WHERE body.form < excluded.form"""
            taken = (await con.execute(sql, (row, height, int(body.form), body.data))).rowcount == 1
            if taken:
                await _index(con, row, height, body.spans)
                if body.form.fills:
                    await _unwant(con, row, height)

        await self._transact(work, len(body.data))
        return taken

    async def body(self, log: str, height: int) -> Body | None:
        """See Bodies.body."""
        sql = "SELECT form, data FROM body WHERE log = ? AND height = ?"
        rows = await self._read(sql, (await self._id(log), height))
        return Body(Form(rows[0][0]), rows[0][1]) if rows else None

    async def drop_body(self, log: str, height: int) -> None:
        """See Bodies.drop_body."""
        row = await self._id(log)

        async def work(con: aiosqlite.Connection) -> None:
            cursor = await con.execute("DELETE FROM body WHERE log = ? AND height = ?", (row, height))
            if cursor.rowcount:
                await _unindex(con, row, height)
                await _unwant(con, row, height)
                found = await con.execute_fetchall("SELECT stored_from, size FROM log WHERE id = ?", (row,))
                for first, size in found:
                    await _want(con, row, max(height, first), min(height + 1, size))

        await self._transact(work)

    async def wants(self, log: str, limit: int) -> list[tuple[int, int]]:
        """See Bodies.wants."""
        sql = "SELECT low, high FROM want WHERE log = ? ORDER BY low LIMIT ?"
        return [(low, high) for low, high in await self._read(sql, (await self._id(log), limit))]

    async def gone(self, log: str, limit: int) -> list[int]:
        """See Bodies.gone."""
        sql = "SELECT height FROM body WHERE log = ? AND form = ? ORDER BY height LIMIT ?"
        return [height for (height,) in await self._read(sql, (await self._id(log), int(Form.GONE), limit))]

    async def find(self, log: str, source: str, at_ms: int, limit: int) -> list[int]:
        """See Bodies.find. One row of the index before `at_ms`, and those after it by no more than the longest span."""
        row = await self._id(log)
        known = await self._read("SELECT id, longest_ms FROM source WHERE log = ? AND name = ?", (row, source))
        if not known:
            return []
        number, longest = known[0]
        across = """SELECT height FROM span WHERE source = ? AND last_ms > ? AND last_ms <= ? AND first_ms <= ?
                    ORDER BY height DESC LIMIT ?"""
        found = await self._read(across, (number, at_ms, at_ms + longest, at_ms, limit - 1))
        before = "SELECT height FROM span WHERE source = ? AND last_ms <= ? ORDER BY last_ms DESC, height DESC LIMIT 1"
        found += await self._read(before, (number, at_ms))
        return [height for (height,) in found]

    # Proofs

    async def accuse(self, log: str, evidence: Evidence, *, freeze: str) -> None:
        """See Proofs.accuse."""
        row = await self._id(log)
        keep = """INSERT INTO evidence (log, kind, number, held, sent, time) SELECT ?, ?, ?, ?, ?, ?
                  WHERE ? <> '' OR (SELECT count(*) FROM evidence WHERE log = ?) < ?"""
        item = (row, evidence.kind, evidence.number, evidence.held, evidence.sent, evidence.time)
        stop = "UPDATE log SET frozen = ? WHERE id = ? AND frozen = ''"
        statements = [(keep, (*item, freeze, row, limits.EVIDENCE_PER_LOG)), (stop, (freeze, row))]
        await self._transact(lambda con: _run(con, *statements))

    async def evidence(self, log: str) -> Sequence[Evidence]:
        """See Proofs.evidence."""
        sql = "SELECT kind, number, held, sent, time FROM evidence WHERE log = ? ORDER BY id"
        return [Evidence(*row) for row in await self._read(sql, (await self._id(log),))]

    # Fleets

    async def witnessed(self) -> list[Shown]:
        """See Fleets.witnessed."""
        rows = await self._read("SELECT name, witnessed, root FROM log WHERE witnessed > 0 AND frozen = ''", ())
        return list(map(Shown._make, rows))

    async def keep_leaves(self, name: str, number: int, leaves: bytes) -> None:
        """See Fleets.keep_leaves."""
        put = "INSERT OR REPLACE INTO leaves (name, number, data) VALUES (?, ?, ?)"
        kept = f"{_NEWEST_ANCHORED} AND number <> {_NEWEST_MADE}"
        drop = f"DELETE FROM leaves WHERE name = ? AND number <> ? AND number <> {kept}"
        work = ((put, (name, number, leaves)), (drop, (name, number, name, name)))
        await self._transact(lambda con: _run(con, *work), len(leaves))

    async def leaves(self, name: str, number: int) -> bytes:
        """See Fleets.leaves."""
        rows = await self._read("SELECT data FROM leaves WHERE name = ? AND number = ?", (name, number))
        return bytes(rows[0][0]) if rows else b""

    async def keep_anchor(self, row: AnchorRow) -> None:
        """See Fleets.keep_anchor."""
        put = f"INSERT OR REPLACE INTO anchor ({','.join(_ANCHOR)}) VALUES ({','.join('?' * len(_ANCHOR))})"
        newest = "(SELECT size FROM anchor WHERE name = ? ORDER BY size DESC LIMIT ?)"
        drop = f"DELETE FROM anchor WHERE name = ? AND size NOT IN {newest} AND size <> {_NEWEST_ANCHORED}"
        work = ((put, astuple(row)), (drop, (row.name, row.name, limits.FLEETS_KEPT, row.name)))
        await self._transact(lambda con: _run(con, *work), len(row.data) + len(row.evidence or b""))

    async def anchors(self, name: str) -> list[AnchorRow]:
        """See Fleets.anchors."""
        sql = f"SELECT {','.join(_ANCHOR)} FROM anchor WHERE name = ? ORDER BY size DESC"
        rows = [AnchorRow(*values) for values in await self._read(sql, (name,))]
        return [replace(row, over=bool(row.over)) for row in rows]

    # Inside

    async def _id(self, log: str) -> int:
        if log not in self._ids:
            await self.head(log)
        return self._ids[log]

    async def _read(self, sql: str, params: Sequence[Any]) -> list[Row]:
        try:
            return list(await self._reader.execute_fetchall(sql, params))  # type: ignore[arg-type]
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    async def _transact(self, work: Work, size: int = 0) -> None:
        """One transaction of some `size` bytes, all or nothing; once begun it is finished though it is cancelled."""
        await asyncio.shield(asyncio.ensure_future(self._transaction(work, size)))

    async def _transaction(self, work: Work, size: int) -> None:
        async with self._writing:
            con = self._writer
            try:
                await con.execute("BEGIN IMMEDIATE")
                try:
                    await work(con)
                    await con.execute("COMMIT")
                except BaseException:
                    if con.in_transaction:
                        await con.execute("ROLLBACK")
                    raise
                self.commits += 1
                self._written += _TRANSACTION_BYTES + size
                if self._written >= _WAL_BYTES:
                    await self._checkpoint()
            except sqlite3.Error as error:
                translated = _translated(error, self.path)
                self._lost |= isinstance(translated, StoreError)
                raise translated from error
            except ValueError as error:  # what aiosqlite says of a closed connection
                raise BugError("a write to a store that is closed", where=str(self.path)) from error

    async def _checkpoint(self) -> None:
        """Folds the WAL into the file. Where there is no room for that it stays as it is: what it holds is durable."""
        try:
            await self._writer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
            self._written = 0
        except sqlite3.Error as error:
            if not isinstance(_translated(error, self.path), StoreFullError):
                raise


async def _run(con: aiosqlite.Connection, *statements: tuple[str, Sequence[Any]]) -> None:
    for sql, params in statements:
        await con.execute(sql, params)


async def _swap_head(con: aiosqlite.Connection, row: int, growth: Growth) -> None:
    """The compare-and-swap of Headers.grow."""
    old, new = growth.old, growth.witnessed
    sql = """UPDATE log SET size = ?, frontier = ?, witnessed = ?, root = ?
             WHERE id = ? AND size = ? AND witnessed = ? AND root = ? AND frozen = ''"""
    frontier = b"".join(growth.frontier.hashes)
    after = (growth.frontier.size, frontier, new.size, new.root)
    before = (row, old.size, old.witnessed.size, old.witnessed.root)
    cursor = await con.execute(sql, after + before)
    if cursor.rowcount != 1:
        raise ConflictError("the log has changed since this was decided", size=old.size)


async def _check_entry(con: aiosqlite.Connection, row: int, height: int, log: str) -> None:
    found = await con.execute_fetchall("SELECT 1 FROM entry WHERE log = ? AND height = ?", (row, height))
    if not list(found):
        raise NotFoundError(f"there is no entry of height {height}", where=log)


async def _want(con: aiosqlite.Connection, row: int, low: int, high: int) -> None:
    """Wants the heights low <= h < high, none of which is wanted; ranges that touch become one."""
    if low >= high:
        return
    sql = "SELECT low, high FROM want WHERE log = ? AND (high = ? OR low = ?)"
    for near_low, near_high in await con.execute_fetchall(sql, (row, low, high)):
        low, high = min(low, near_low), max(high, near_high)
    await con.execute("DELETE FROM want WHERE log = ? AND low >= ? AND high <= ?", (row, low, high))
    await con.execute("INSERT INTO want (log, low, high) VALUES (?, ?, ?)", (row, low, high))


async def _unwant(con: aiosqlite.Connection, row: int, height: int) -> None:
    sql = "SELECT low, high FROM want WHERE log = ? AND low <= ? ORDER BY low DESC LIMIT 1"
    for low, high in await con.execute_fetchall(sql, (row, height)):
        if height >= high:
            return
        await con.execute("DELETE FROM want WHERE log = ? AND low = ?", (row, low))
        await _want_rest(con, row, low, height)
        await _want_rest(con, row, height + 1, high)


async def _want_rest(con: aiosqlite.Connection, row: int, low: int, high: int) -> None:
    if low < high:
        await con.execute("INSERT INTO want (log, low, high) VALUES (?, ?, ?)", (row, low, high))


async def _index(con: aiosqlite.Connection, row: int, height: int, spans: Iterable[Span]) -> None:
    """Replaces a block's part of the index by source and time."""
    await _unindex(con, row, height)
    listed = list(spans)
    sources = """INSERT INTO source (log, name, longest_ms) VALUES (?, ?, ?) ON CONFLICT (log, name)
                 DO UPDATE SET longest_ms = max(longest_ms, excluded.longest_ms)"""
    await con.executemany(sources, [(row, span.source, span.last_ms - span.first_ms) for span in listed])
    spanned = """INSERT INTO span (log, height, source, first_ms, last_ms)
                 SELECT log, ?, id, ?, ? FROM source WHERE log = ? AND name = ?"""
    await con.executemany(spanned, [(height, span.first_ms, span.last_ms, row, span.source) for span in listed])


async def _unindex(con: aiosqlite.Connection, row: int, height: int) -> None:
    await con.execute("DELETE FROM span WHERE log = ? AND height = ?", (row, height))


def _hashes(joined: bytes) -> tuple[bytes, ...]:
    return tuple(joined[i : i + 32] for i in range(0, len(joined), 32))


def _translated(error: sqlite3.Error, path: Path) -> FieldgateError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFullError("no room left on the disk", where=str(path), cure="Free some space")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreError(f"{error} ({name})", where=str(path), cure="Check the disk, or restore the file from a backup")
