"""Sealed blocks: entries, the log's tree, the gateway's own checkpoints, and the readings in them."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import decompressobj

from gateway.core import block as cose
from gateway.core import body, limits, merkle, senml, tiles
from gateway.errors import BugError, NotFoundError, StoreError
from gateway.store.database import Database
from gateway.store.journal import source_bit

SCHEMA = """
CREATE TABLE block(
    height INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    first_row INTEGER NOT NULL,  -- journal rows [first_row, last_row]; first_row > last_row: none
    last_row INTEGER NOT NULL,
    min_ms INTEGER NOT NULL,
    max_ms INTEGER NOT NULL,
    mask INTEGER NOT NULL,
    secret BLOB,
    entry BLOB NOT NULL
);
CREATE INDEX block_time ON block(max_ms, min_ms, mask);
CREATE TABLE tree(               -- complete subtrees of 256^level entries, level 1 and above; level 0 is the entries
    level INTEGER, n INTEGER, hash BLOB NOT NULL, PRIMARY KEY(level, n)
) WITHOUT ROWID;
CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, note TEXT NOT NULL);
CREATE TABLE plan(               -- a block on its way, at most one (sealer.py)
    height INTEGER PRIMARY KEY, count INTEGER, first_row INTEGER, last_row INTEGER,
    min_ms INTEGER, max_ms INTEGER, mask INTEGER, secret BLOB, header BLOB NOT NULL
)"""

# Kept: the newest checkpoints, those that are co-signed, and every SYNC_ENTRIES-th, where a node that has to catch up
# rests (upstream/session.py).
SOUND = "`fieldgate verify --store` tells what is sound"
_NOTES_KEPT = limits.SYNC_ENTRIES
_READ_ROWS, _READ_BYTES = 64, 262_144  # of the journal at once: many small rows, or one of limits.BATCH_BYTES


class Plan(NamedTuple):
    """A block on its way: what it holds, and the header bytes that will be signed."""

    height: int
    readings: int
    first_row: int
    last_row: int
    min_ms: int
    max_ms: int
    mask: int
    secret: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A sealed block as it is stored."""

    height: int
    count: int
    first_row: int
    last_row: int
    secret: bytes | None
    entry: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A sealed reading: its place, its pack and, where it travels apart, its payload."""

    height: int
    index: int
    pack: bytes
    payload: bytes | None


class Blocks:
    """The log as stored. `size` entries are published; the sealer alone adds to them."""

    def __init__(self, db: Database, frontier: merkle.Frontier, prev: bytes, sealed_row: int, readings: int) -> None:
        self._db = db
        self.frontier = frontier
        self.prev = prev  # what the next header's prev must be
        self.sealed_row = sealed_row  # the last journal row that is in a block
        self.readings = readings  # in all sealed blocks
        self.sealed_ms: int | None = None  # when the last block was sealed, as its header claims
        self._grown = asyncio.Event()

    @property
    def size(self) -> int:
        """Entries stored and published: the size of the log's tree."""
        return self.frontier.size

    @classmethod
    async def open(cls, db: Database) -> "Blocks":
        """Rebuilds what is kept in memory from the stored tree."""
        ((size, sealed_row, readings),) = await db.read(
            "SELECT coalesce(max(height)+1,0), coalesce(max(last_row),0), coalesce(sum(count),0) FROM block"
        )
        blocks = cls(db, merkle.Frontier(), b"\0" * 32, sealed_row, readings)
        hashes = await blocks.node_hashes(merkle.range_nodes(0, size), size=size) if size else []
        blocks.frontier = merkle.Frontier(size, tuple(hashes))
        if size:
            last = (await blocks.entries(size - 1, 1))[0]
            blocks.prev = cose.next_prev(last)
            blocks.sealed_ms = cose.parse_entry(last).header.sealed
        return blocks

    # -- the sealer's steps -------------------------------------------------------------------------------------------

    async def save_plan(self, plan: Plan) -> None:
        """Step 1: the plan, durable. A plan that was never signed is replaced."""
        await self._db.transact([("DELETE FROM plan", ()), ("INSERT INTO plan VALUES (?,?,?,?,?,?,?,?,?)", plan)])

    async def plan(self) -> Plan | None:
        """The plan found at start."""
        rows = await self._db.read("SELECT * FROM plan")
        return Plan(*rows[0]) if rows else None

    async def drop_plan(self) -> None:
        """Forgets a plan whose header was never signed; its readings stay in the journal."""
        await self._db.transact([("DELETE FROM plan", ())])

    async def publish(self, plan: Plan, entry: bytes, frontier: merkle.Frontier, note: str) -> None:
        """Step 4: entry, tree and checkpoint, durable in one transaction; then visible to everyone who waits."""
        if plan.height != self.size or frontier.size != self.size + 1:
            raise BugError(f"block {plan.height} published on a log of {self.size}", cure="Report this")
        columns = "height,count,first_row,last_row,min_ms,max_ms,mask,secret,entry"
        put = f"INSERT INTO block({columns}) VALUES (?,?,?,?,?,?,?,?,?)"
        statements: list[tuple[str, Sequence[object]]] = [(put, (*plan[:8], entry))]
        statements += [("INSERT INTO tree VALUES (?,?,?)", row) for row in await self._new_subtrees(entry)]
        statements += [
            ("INSERT OR REPLACE INTO checkpoint VALUES (?,?)", (frontier.size, note)),
            (
                "DELETE FROM checkpoint WHERE size=? AND size % ? AND size NOT IN (SELECT size FROM cosignature)",
                (frontier.size - _NOTES_KEPT, limits.SYNC_ENTRIES),
            ),
            ("DELETE FROM plan", ()),
        ]
        await self._db.transact(statements)
        self.frontier = frontier
        self.prev = cose.next_prev(entry)
        self.sealed_row = max(self.sealed_row, plan.last_row)
        self.readings += plan.readings
        self.sealed_ms = cose.decode_header(plan.header).sealed
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def _new_subtrees(self, entry: bytes) -> list[tuple[int, int, bytes]]:
        size, level, last = self.size + 1, 0, merkle.leaf_hash(entry)
        made: list[tuple[int, int, bytes]] = []
        while size % 256 == 0:
            tile = await self._hashes(level, size - 256, size - 1)
            size, level, last = size // 256, level + 1, merkle.root([*tile, last])
            made.append((level, size - 1, last))
        return made

    async def wait_beyond(self, size: int) -> None:
        """Returns when the log is larger than `size`."""
        while self.size <= size:
            await self._grown.wait()

    # -- entries, tree, checkpoints -----------------------------------------------------------------------------------

    async def entries(self, start: int, limit: int, max_bytes: int = limits.SYNC_REQUEST_BYTES) -> list[bytes]:
        """Entries from `start` on: at most `limit`, at most `max_bytes` together, but one where there is one."""
        rows = await self._db.read("SELECT entry FROM block WHERE height>=? ORDER BY height LIMIT ?", (start, limit))
        out: list[bytes] = []
        for (entry,) in rows:
            max_bytes -= len(entry)
            if max_bytes < 0 and out:
                break
            out.append(entry)
        return out

    async def block(self, height: int) -> BlockRow | None:
        """A sealed block, or None beyond the log."""
        sql = "SELECT height,count,first_row,last_row,secret,entry FROM block WHERE height=?"
        rows = await self._db.read(sql, (height,))
        return BlockRow(*rows[0]) if rows else None

    async def header(self, height: int) -> cose.Header:
        """The header of a sealed block. Raises NotFoundError beyond the log."""
        row = await self.block(height)
        if row is None:
            raise NotFoundError(f"no block {height}", cure=f"The log has {self.size}")
        return cose.parse_entry(row.entry).header

    async def note(self, size: int | None = None) -> tuple[int, str] | None:
        """The gateway's own signed checkpoint: the newest, or the one of that size where it is kept."""
        where, params = ("WHERE size=?", (size,)) if size is not None else ("ORDER BY size DESC LIMIT 1", ())
        rows = await self._db.read(f"SELECT size,note FROM checkpoint {where}", params)
        return (rows[0][0], rows[0][1]) if rows else None

    async def root(self, size: int) -> bytes:
        """The root of the log's tree at any size up to the present one."""
        if size == self.size:
            return self.frontier.root()
        return merkle.fold(await self.node_hashes(merkle.range_nodes(0, size))) if size else merkle.EMPTY_ROOT

    async def path(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The hashes of merkle.inclusion_ranges or merkle.consistency_ranges: a proof's path."""
        return [merkle.fold(await self.node_hashes(merkle.range_nodes(lo, hi))) for lo, hi in ranges]

    async def node_hashes(self, nodes: Sequence[tuple[int, int]], *, size: int | None = None) -> list[bytes]:
        """The hashes of complete subtrees, given as (binary level, index)."""
        out: list[bytes] = []
        for level, index in nodes:
            if (index + 1) << level > (self.size if size is None else size):
                raise BugError(f"subtree ({level}, {index}) of a log of {self.size}", cure="Report this")
            tile_level, height = divmod(level, 8)
            out.append(merkle.root(await self._hashes(tile_level, index << height, (index + 1) << height)))
        return out

    async def _hashes(self, level: int, start: int, end: int) -> list[bytes]:
        """Hashes [start, end) of the complete subtrees of 256^level entries; at most one tile of them."""
        if level == 0:
            sql, params = "SELECT entry FROM block WHERE height>=? AND height<? ORDER BY height", (start, end)
            out = [merkle.leaf_hash(row[0]) for row in await self._db.read(sql, params)]
        else:
            sql = "SELECT hash FROM tree WHERE level=? AND n>=? AND n<? ORDER BY n"
            out = [row[0] for row in await self._db.read(sql, (level, start, end))]
        if len(out) != end - start:
            what = f"the stored tree lacks hashes of level {level} between {start} and {end}"
            raise StoreError(what, where=str(self._db.path), cure=SOUND)
        return out

    async def tile(self, level: int, n: int, width: int = 256) -> bytes | None:
        """A tile of the log (tlog-tiles), or None where the log is not so large."""
        if not 1 <= width <= 256 or (n * 256 + width) * 256**level > self.size:
            return None
        return b"".join(await self._hashes(level, n * 256, n * 256 + width))

    async def bundle(self, n: int, width: int = 256) -> bytes | None:
        """An entry bundle of the log (tlog-tiles), or None where the log is not so large."""
        if not 1 <= width <= 256 or n * 256 + width > self.size:
            return None
        return tiles.encode_bundle(await self.entries(n * 256, width, 256 * limits.ENTRY_BYTES))

    # -- bodies and readings ------------------------------------------------------------------------------------------

    async def body_chunks(self, height: int) -> AsyncIterator[bytes]:
        """The whole body of a block (docs/format.md, section 7), uncompressed, a journal row at a time."""
        row = await self.block(height)
        if row is None or row.secret is None:
            raise NotFoundError(f"no body for block {height}", cure=f"The log has {self.size} blocks")
        yield body.whole_body_head(height, row.secret, row.count)
        async for data in self.row_data(row):
            yield data

    async def items(self, height: int) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """(pack, payload where it travels apart) of each reading of a block, in order."""
        row = await self.block(height)
        if row is None:
            raise NotFoundError(f"no block {height}", cure=f"The log has {self.size}")
        async for data in self.row_data(row):
            for item in body.read_items(data):
                yield item

    async def row_data(self, block: BlockRow) -> AsyncIterator[bytes]:
        """The items of a block (core/body.py), joined, in order: some journal rows' at a time."""
        row, limit = block.first_row - 1, 1
        sql = "SELECT row,data FROM journal WHERE row>? AND row<=? ORDER BY row LIMIT ?"
        while row < block.last_row:
            rows = await self._db.read(sql, (row, block.last_row, limit))
            if not rows:
                return
            row = rows[-1][0]
            yield await asyncio.to_thread(_inflate_all, [data for _, data in rows])
            size = sum(len(data) for _, data in rows) // len(rows)
            limit = min(max(_READ_BYTES // max(size, 1), 1), _READ_ROWS)

    async def find(self, source: str, at_ms: int) -> Found | None:
        """The last sealed reading of a source with base time <= `at_ms`; of several at that time the latest."""
        best: tuple[int, int, int] | None = None  # time, row, place in it
        chosen: tuple[int, body.Item] | None = None  # height, item
        async for height, newest_ms in self._candidates(source, at_ms):
            if best is not None and newest_ms < best[0]:
                break
            async for row, row_newest_ms in self._rows_of(height, source, at_ms):
                if best is not None and row_newest_ms < best[0]:
                    break
                for time_ms, place, item in await self._of_source(row, source):
                    if time_ms <= at_ms and (best is None or (time_ms, row, place) > best):
                        best, chosen = (time_ms, row, place), (height, item)
        if best is None or chosen is None:
            return None
        height, (pack, payload) = chosen
        sql = "SELECT sum(journal.count) FROM journal, block WHERE block.height=? AND row>=first_row AND row<?"
        ((before,),) = await self._db.read(sql, (height, best[1]))
        return Found(height, (before or 0) + best[2], pack, payload)

    async def _of_source(self, row: int, source: str) -> list[tuple[int, int, body.Item]]:
        rows = await self._db.read("SELECT data FROM journal WHERE row=?", (row,))
        return await asyncio.to_thread(_of_source, source, rows[0][0]) if rows else []

    async def _rows_of(self, height: int, source: str, at_ms: int) -> AsyncIterator[tuple[int, int]]:
        """(row, latest base time up to `at_ms`) of a block's rows that may hold the source, most promising first."""
        sql = (
            "SELECT row, min(journal.max_ms, :at) AS newest FROM journal, block WHERE block.height = :height "
            "AND row BETWEEN first_row AND last_row AND journal.mask & :bit AND journal.min_ms <= :at "
            "ORDER BY newest DESC, row DESC LIMIT 64 OFFSET :seen"
        )
        seen = 0
        params = {"height": height, "at": at_ms, "bit": source_bit(source)}
        while rows := await self._db.read(sql, {**params, "seen": seen}):  # type: ignore[arg-type]
            for row, newest in rows:
                yield row, newest
            seen += len(rows)

    async def _candidates(self, source: str, at_ms: int) -> AsyncIterator[tuple[int, int]]:
        """(height, latest base time up to `at_ms`) of blocks that may hold the source, most promising first."""
        sql = (
            "SELECT height, min(max_ms, :at) AS newest FROM block WHERE mask & :bit AND min_ms <= :at AND count > 0 "
            "ORDER BY newest DESC, height DESC LIMIT 16 OFFSET :seen"
        )
        seen = 0
        while rows := await self._db.read(sql, {"at": at_ms, "bit": source_bit(source), "seen": seen}):  # type: ignore[arg-type]
            for height, newest in rows:
                yield height, newest
            seen += len(rows)

    async def readings_between(self, source: str, from_ms: int, to_ms: int) -> AsyncIterator[bytes]:
        """Packs of a source with from_ms <= base time < to_ms, sealed or not, in the order of durability."""
        row = 0
        sql = "SELECT row,data FROM journal WHERE row>? AND mask & ? AND min_ms<? AND max_ms>=? ORDER BY row LIMIT 1"
        while rows := await self._db.read(sql, (row, source_bit(source), to_ms, from_ms)):
            row, data = rows[0]
            for time_ms, _, (pack, _) in await asyncio.to_thread(_of_source, source, data):
                if from_ms <= time_ms < to_ms:
                    yield pack


def _of_source(source: str, data: bytes) -> list[tuple[int, int, body.Item]]:
    """(base time, place, item) of each reading of a source in a journal row's data."""
    name = source.encode()
    found: list[tuple[int, int, body.Item]] = []
    for place, item in enumerate(body.read_items(inflate(data))):
        if name in item[0]:
            of, time_ms = senml.base_of(item[0])
            if of == source:
                found.append((time_ms, place, item))
    return found


def _inflate_all(rows: Sequence[bytes]) -> bytes:
    return b"".join([inflate(row) for row in rows])


def inflate(data: bytes) -> bytes:
    """The items of a journal row, bounded by what a commit may hold."""
    inflater = decompressobj()
    try:
        out = inflater.decompress(data, 2 * limits.BODY_BYTES)
    except zlib.error as error:
        raise StoreError(f"a journal row does not inflate: {error}", cure=SOUND) from error
    if not inflater.eof:
        raise StoreError("a journal row does not inflate", cure=SOUND)
    return out
