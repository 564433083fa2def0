"""Sealed blocks: entries, the log's tree, the gateway's own checkpoints, and the readings in them."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import decompressobj

from gateway.core import block as cose
from gateway.core import body, limits, merkle, note, senml, tiles
from gateway.errors import BugError, DamagedError, FieldgateError, FormatError, NotFoundError
from gateway.store.database import Database
from gateway.store.journal import source_bit
from gateway.store.signstate import Head

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

SCHEMA_2 = """
ALTER TABLE block ADD COLUMN total INTEGER NOT NULL DEFAULT 0;      -- readings in the blocks up to this one
ALTER TABLE block ADD COLUMN widest_ms INTEGER NOT NULL DEFAULT 0;  -- the longest of their max_ms - min_ms
ALTER TABLE block ADD COLUMN ran_s INTEGER NOT NULL DEFAULT 0;      -- how long the gateway had run, in all its lives
UPDATE block SET total=upto.total, widest_ms=upto.widest FROM (
    SELECT height AS at, sum(count) OVER upwards AS total, max(max_ms - min_ms) OVER upwards AS widest
    FROM block WINDOW upwards AS (ORDER BY height)
) AS upto WHERE upto.at=height;
CREATE INDEX block_here ON block((secret IS NULL), height) WHERE first_row <= last_row;
CREATE TABLE gone(               -- blocks [low, high) that were dropped before enough nodes held them
    low INTEGER PRIMARY KEY, high INTEGER NOT NULL,
    loss INTEGER NOT NULL,       -- the height of the block that holds the reading which tells it
    reason TEXT NOT NULL
);
CREATE INDEX gone_loss ON gone(loss)"""

# Kept: the newest checkpoints, those that are co-signed, and every SYNC_ENTRIES-th, where a node that has to catch up
# rests (upstream/session.py).
SOUND = "`fieldgate recover` tells what can be done"
_NOTES_KEPT = limits.SYNC_ENTRIES
_READ_ROWS, _READ_BYTES = 64, 262_144  # of the journal at once: many small rows, or one of limits.BATCH_BYTES
ASK_A_NODE = "Ask a node that stores them"
_BEYOND = 2**62  # any height, any time
_FALL_BACK = 2 * limits.SYNC_ENTRIES  # checkpoints tried where the newest does not fit


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
    secret: bytes | None  # None: its readings are not here any more
    entry: bytes


class Gone(NamedTuple):
    """A block is one of [low, high), which were dropped; the reading that tells it is in block `loss`."""

    low: int
    high: int
    loss: int
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A sealed reading: its place, its pack and, where it travels apart, its payload."""

    height: int
    index: int
    pack: bytes
    payload: bytes | None


class Blocks:
    """The log as stored. `size` entries are published; the sealer alone adds to them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.frontier = merkle.Frontier()
        self.prev = cose.NO_PREV  # what the next header's prev must be
        self.sealed_row = 0  # the last journal row that is in a block
        self.readings = 0  # in all sealed blocks
        self._widest_ms = 0  # no block's base times are further apart
        self._ran_s = 0.0  # how long the gateway had run when `_monotonic` read `_since`
        self._since = 0.0
        self._monotonic: Callable[[], float] = lambda: 0.0
        self.sealed_ms: int | None = None  # when the last block was sealed, as its header claims
        self.extent = 0  # heights in the file; more than `size` only where it is damaged
        self.damage: FieldgateError | None = None  # found while opening; only what is sound before it is shown
        self._grown = asyncio.Event()

    @property
    def size(self) -> int:
        """Entries stored and published: the size of the log's tree."""
        return self.frontier.size

    @classmethod
    async def open(cls, db: Database) -> "Blocks":
        """Rebuilds what is kept in memory from the stored tree, which must lead to the newest checkpoint's root."""
        blocks = cls(db)
        newest = await db.read("SELECT height+1,last_row FROM block ORDER BY height DESC LIMIT 1")
        if not newest:
            return blocks
        blocks.extent, blocks.sealed_row = _whole_numbers(newest[0])
        try:
            await blocks._check_newest()
            await blocks._stand_at(blocks.extent)
        except (DamagedError, FormatError) as error:
            blocks.damage = error
            await blocks._fall_back()
        return blocks

    async def _check_newest(self) -> None:
        """The newest block follows the one before it, as far as its row can tell."""
        columns = "height,count,first_row,last_row,total,widest_ms,ran_s"
        sql = f"SELECT {columns} FROM block WHERE height>=? ORDER BY height DESC"
        rows = [_whole_numbers(row) for row in await self._db.read(sql, (self.extent - 2,))]
        height, count, first_row, last_row, self.readings, self._widest_ms, self._ran_s = rows[0]
        before, _, _, row_before, total, *_ = rows[1] if len(rows) > 1 else (-1, 0, 0, 0, 0)
        ((newest,),) = await self._db.read("SELECT coalesce(max(row),0) FROM journal")
        whole = before == height - 1 and total + count == self.readings and row_before < first_row <= last_row + 1
        if not whole or not row_before <= last_row <= newest:
            self.sealed_row = min(max(row_before, last_row), newest)
            what = f"the row of block {height} does not follow the one before it"
            raise DamagedError(what, where=str(self._db.path), cure=SOUND)

    async def _stand_at(self, size: int) -> None:
        """Takes the log at this size for the whole of it, if the tree leads to the root of its checkpoint."""
        if size == 0:
            return
        frontier = merkle.Frontier(size, tuple(await self.node_hashes(merkle.range_nodes(0, size), size=size)))
        kept = await self.note(size)
        if kept is None or note.parse_checkpoint(note.parse_note(kept[1]).text).root != frontier.root():
            what = f"the stored tree of {size} blocks does not lead to its checkpoint"
            raise DamagedError(what, where=str(self._db.path), cure=SOUND)
        last = (await self.entries(size - 1, 1))[0]
        self.sealed_ms = cose.parse_entry(last).header.sealed
        self.frontier, self.prev = frontier, cose.next_prev(last)

    async def _fall_back(self) -> None:
        """Shows the log up to the newest checkpoint to which the stored tree leads."""
        with contextlib.suppress(DamagedError):
            sizes = await self._db.read("SELECT size FROM checkpoint ORDER BY size DESC LIMIT ?", (_FALL_BACK,))
            for (size,) in sizes:
                with contextlib.suppress(DamagedError, FormatError):
                    await self._stand_at(size)
                    return

    def measure(self, monotonic: Callable[[], float]) -> None:
        """From now on the gateway runs, by this clock."""
        self._ran_s, self._since, self._monotonic = self.ran_s, monotonic(), monotonic

    @property
    def ran_s(self) -> float:
        """Seconds that the gateway has run on this store, in all its lives: what no setting of a clock can change.

        What came after the last block of each life is left out, so it is rather too little.
        """
        return self._ran_s + self._monotonic() - self._since

    # -- the sealer's steps -------------------------------------------------------------------------------------------

    async def save_plan(self, plan: Plan) -> None:
        """Step 1: the plan, durable. A plan that was never signed is replaced."""
        put = "INSERT INTO plan VALUES (?,?,?,?,?,?,?,?,?)"
        await self._db.transact([("DELETE FROM plan", ()), (put, plan)], reserve=True)

    async def plan(self) -> Plan | None:
        """The plan found at start."""
        rows = await self._db.read("SELECT * FROM plan LIMIT 1")
        with contextlib.suppress(DamagedError):  # a damaged one is as good as none: the sign-state has the header
            for row in rows:
                return Plan(*_whole_numbers(row[:7]), *map(_bytes, row[7:]))  # type: ignore[arg-type]
        return None

    async def lags(self, head: Head) -> bool:
        """Whether more was signed than a crash between two steps (sealer.py) explains: this store is an older copy.

        One that is damaged, and has a row of every block that was signed, is none.
        """
        plan = await self.plan()
        planned = plan is not None and Head(plan.height + 1, plan.header) == head and plan.height == self.extent
        return head.size > self.extent and not planned

    async def drop_plan(self) -> None:
        """Forgets a plan whose header was never signed; its readings stay in the journal."""
        await self._db.transact([("DELETE FROM plan", ())], reserve=True)

    async def publish(self, plan: Plan, entry: bytes, frontier: merkle.Frontier, note: str) -> None:
        """Step 4: entry, tree and checkpoint, durable in one transaction; then visible to everyone who waits.

        An empty note, which is not kept, only while a store is rebuilt.
        """
        if plan.height != self.size or frontier.size != self.size + 1:
            raise BugError(f"block {plan.height} published on a log of {self.size}", cure="Report this")
        columns = "height,count,first_row,last_row,min_ms,max_ms,mask,secret,entry,total,widest_ms,ran_s"
        put = f"INSERT INTO block({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
        readings, widest_ms = self.readings + plan.readings, max(self._widest_ms, plan.max_ms - plan.min_ms)
        row = (*plan[:8], entry, readings, widest_ms, int(self.ran_s))
        statements: list[tuple[str, Sequence[object]]] = [(put, row)]
        statements += [("INSERT INTO tree VALUES (?,?,?)", row) for row in await self._new_subtrees(entry)]
        if note != "":
            statements.append(("INSERT OR REPLACE INTO checkpoint VALUES (?,?)", (frontier.size, note)))
        statements += [
            (
                "DELETE FROM checkpoint WHERE size=? AND size % ? AND size NOT IN (SELECT size FROM cosignature)",
                (frontier.size - _NOTES_KEPT, limits.SYNC_ENTRIES),
            ),
            ("DELETE FROM plan", ()),
        ]
        await self._db.transact(statements, reserve=True)
        self.frontier, self.extent = frontier, frontier.size
        self.prev = cose.next_prev(entry)
        self.sealed_row = max(self.sealed_row, plan.last_row)
        self.readings, self._widest_ms = readings, widest_ms
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
            max_bytes -= len(_bytes(entry))
            if max_bytes < 0 and out:
                break
            out.append(entry)
        return out

    async def block(self, height: int) -> BlockRow | None:
        """A sealed block, or None beyond the log. An empty one has nothing to hide and nothing to lose."""
        sql = (
            "SELECT height,count,first_row,last_row,coalesce(secret,CASE count WHEN 0 THEN zeroblob(32) END),entry "
            "FROM block WHERE height=?"
        )
        rows = await self._db.read(sql, (height,))
        if not rows:
            return None
        height, count, first_row, last_row = _whole_numbers(rows[0][:4])
        secret, entry = rows[0][4:]
        return BlockRow(height, count, first_row, last_row, None if secret is None else _bytes(secret), _bytes(entry))

    async def gone(self, height: int) -> Gone | None:
        """What is told of a block that was dropped, once the block that tells it is sealed; None for any other."""
        sql = "SELECT low,high,loss,reason FROM gone WHERE low<=? ORDER BY low DESC LIMIT 1"
        rows = await self._db.read(sql, (height,))
        row = await self.block(height) if rows else None
        if row is None or row.secret is not None:
            return None
        low, high, loss = _whole_numbers(rows[0][:3])
        found = Gone(low, high, loss, str(rows[0][3]))
        return found if height < found.high and found.loss < self.size else None

    async def total(self, height: int) -> int:
        """Readings in the blocks up to this one, as they were counted when it was sealed."""
        rows = await self._db.read("SELECT total FROM block WHERE height=?", (height,))
        return _whole_numbers(rows[0])[0] if rows else 0

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
        if rows and not isinstance(rows[0][1], str):
            raise DamagedError("a checkpoint is damaged", where=str(self._db.path), cure=SOUND)
        return (rows[0][0], rows[0][1]) if rows else None

    async def closed(self) -> bool:
        """Whether the last block says that none follows (docs/format.md, section 3)."""
        last = await self.entries(self.size - 1, 1) if self.size else []
        return bool(last) and cose.parse_entry(last[0]).header.reason == cose.REASON_CLOSED

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
            out = [merkle.leaf_hash(_bytes(row[0])) for row in await self._db.read(sql, params)]
        else:
            sql = "SELECT hash FROM tree WHERE level=? AND n>=? AND n<? ORDER BY n"
            out = [_bytes(row[0]) for row in await self._db.read(sql, (level, start, end))]
        if len(out) != end - start:
            what = f"the stored tree lacks hashes of level {level} between {start} and {end}"
            raise DamagedError(what, where=str(self._db.path), cure=SOUND)
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
            raise self._not_here(height)
        yield body.whole_body_head(height, row.secret, row.count)
        async for data in self.row_data(row):
            yield data

    async def told_chunks(self, height: int) -> AsyncIterator[bytes]:
        """The whole body, or the gone form of a block that was dropped. NotFoundError where there is neither."""
        lost = await self.gone(height)
        if lost is not None:
            yield body.gone_body(height, lost.reason, lost.loss)
            return
        async for data in self.body_chunks(height):
            yield data

    async def next_here(self, height: int) -> int:
        """The first block from `height` on that can be told whole or as gone; the log's size where there is none."""
        here = (
            "SELECT height FROM block INDEXED BY block_here WHERE (secret IS NULL)=0 AND height>=? "
            "AND first_row<=last_row ORDER BY height LIMIT 1"
        )
        lost = (
            "SELECT max(low, :at) FROM gone WHERE low>=coalesce((SELECT max(low) FROM gone WHERE low<=:at), :at) "
            "AND high>:at AND +loss<:size ORDER BY low LIMIT 1"
        )
        rows = await self._db.read(here, (height,))
        rows += await self._db.read(lost, {"at": height, "size": self.size})  # type: ignore[arg-type]
        return min([self.size, *(int(row[0]) for row in rows)])

    async def items(self, height: int, start: int = 0) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """(pack, payload where it travels apart) of each reading of a block, in order, from number `start` on."""
        row = await self.block(height)
        if row is None or row.secret is None:
            raise self._not_here(height)
        first_row, skipped = await self._row_with(row, start) if start else (row.first_row, 0)
        async for data in self.row_data(row, first_row):
            for item in body.read_items(data):
                if skipped >= start:
                    yield item
                skipped += 1

    async def _row_with(self, block: BlockRow, number: int) -> tuple[int, int]:
        """The row of a block that holds a reading, and how many there are before it."""
        sql = (
            "SELECT row,before FROM (SELECT row, sum(count) OVER (ORDER BY row)-count AS before FROM journal "
            "WHERE row>=? AND row<=?) WHERE before<=? ORDER BY row DESC LIMIT 1"
        )
        rows = await self._db.read(sql, (block.first_row, block.last_row, number))
        return rows[0] if rows else (block.first_row, 0)

    def _not_here(self, height: int) -> NotFoundError:
        if height >= self.size:
            return NotFoundError(f"no block {height}", cure=f"The log has {self.size}")
        return NotFoundError(f"the readings of block {height} are not here any more", cure=ASK_A_NODE)

    async def row_data(self, block: BlockRow, first_row: int = 0) -> AsyncIterator[bytes]:
        """The items of a block (core/body.py), joined, in order: some journal rows' at a time, from `first_row` on.

        Raises NotFoundError where the block is pruned meanwhile, DamagedError where a row is lacking.
        """
        row, limit = max(block.first_row, first_row) - 1, 1
        sql = "SELECT row,data FROM journal WHERE row>? AND row<=? ORDER BY row LIMIT ?"
        while row < block.last_row:
            rows = await self._db.read(sql, (row, block.last_row, limit))
            if [number for number, _ in rows] != list(range(row + 1, row + 1 + len(rows))) or not rows:
                raise await self._lacking(block.height)
            row = rows[-1][0]
            yield await asyncio.to_thread(_inflate_all, [data for _, data in rows])
            size = sum(len(data) for _, data in rows) // len(rows)
            limit = min(max(_READ_BYTES // max(size, 1), 1), _READ_ROWS)

    async def _lacking(self, height: int) -> FieldgateError:
        """Rows of a block were not found: they were pruned while they were read, or the store is damaged."""
        now = await self.block(height)
        if now is None or now.secret is None:
            return self._not_here(height)
        return DamagedError(f"rows of block {height} are missing", where=str(self._db.path), cure=SOUND)

    async def find(self, source: str, at_ms: int) -> Found | None:
        """The last sealed reading of a source with base time <= `at_ms`; of several at that time the latest.

        Raises NotFoundError where it may be in a block whose readings are not here any more.
        """
        best: tuple[int, int, int] | None = None  # time, row, place in it
        chosen: tuple[int, body.Item] | None = None  # height, item
        async for height, newest_ms in self._candidates(source, at_ms):
            if best is not None and newest_ms < best[0]:
                break
            block = await self.block(height)
            if block is None or block.secret is None:
                raise self._not_here(height)
            async for row, row_newest_ms in self._rows_of(height, source, at_ms):
                if best is not None and row_newest_ms < best[0]:
                    break
                for time_ms, place, item in await self._of_source(height, row, source):
                    if time_ms <= at_ms and (best is None or (time_ms, row, place) > best):
                        best, chosen = (time_ms, row, place), (height, item)
        if best is None or chosen is None:
            return None
        height, (pack, payload) = chosen
        sql = "SELECT sum(journal.count) FROM journal, block WHERE block.height=? AND row>=first_row AND row<?"
        ((before,),) = await self._db.read(sql, (height, best[1]))
        return Found(height, (before or 0) + best[2], pack, payload)

    async def _of_source(self, height: int, row: int, source: str) -> list[tuple[int, int, body.Item]]:
        rows = await self._db.read("SELECT data FROM journal WHERE row=?", (row,))
        if not rows:
            raise await self._lacking(height)
        return await asyncio.to_thread(_of_source, source, rows[0][0])

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
        bit, height = source_bit(source), _BEYOND
        across = (
            "SELECT height FROM block WHERE max_ms>? AND max_ms<=? AND min_ms<=? AND mask & ? AND height<? "
            "ORDER BY height DESC LIMIT 16"
        )
        while rows := await self._db.read(across, (at_ms, at_ms + self._widest_ms, at_ms, bit, height)):
            for (height,) in rows:
                yield height, at_ms
        newest_ms, height = at_ms, _BEYOND
        before = (
            "SELECT height,max_ms FROM block WHERE max_ms<=? AND (max_ms<? OR height<?) AND mask & ? "
            "ORDER BY max_ms DESC, height DESC LIMIT 16"
        )
        while rows := await self._db.read(before, (newest_ms, newest_ms, height, bit)):
            for height, newest_ms in rows:
                yield height, newest_ms

    async def readings_between(self, source: str, from_ms: int, to_ms: int) -> AsyncIterator[bytes]:
        """Packs of a source with from_ms <= base time < to_ms, sealed or not, in the order of durability."""
        row = 0
        sql = "SELECT row,data FROM journal WHERE row>? AND mask & ? AND min_ms<? AND max_ms>=? ORDER BY row LIMIT 1"
        while rows := await self._db.read(sql, (row, source_bit(source), to_ms, from_ms)):
            row, data = rows[0]
            for time_ms, _, (pack, _) in await asyncio.to_thread(_of_source, source, data):
                if from_ms <= time_ms < to_ms:
                    yield pack


def _whole_numbers(values: Sequence[object]) -> list[int]:
    """What a sound row has in these columns; a damaged one may hold anything."""
    if not all(isinstance(value, int) for value in values):
        raise DamagedError("a row holds something else than numbers", cure=SOUND)
    return list(values)  # type: ignore[arg-type]


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise DamagedError("a row holds something else than bytes", cure=SOUND)
    return value


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
        out = inflater.decompress(_bytes(data), 2 * limits.BODY_BYTES)
    except zlib.error as error:
        raise DamagedError(f"a journal row does not inflate: {error}", cure=SOUND) from error
    if not inflater.eof:
        raise DamagedError("a journal row does not inflate", cure=SOUND)
    return out
