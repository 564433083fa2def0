"""The journal: readings on disk, each commit one row, each row of one block.

A row's data is the zlib of its readings' items as they stand in a whole body (docs/format.md, section 7), so a body is
its head and its rows, and nothing is rewritten when a block is sealed. The first row of a block carries its secret.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple
from zlib import crc32

from gateway.core import limits
from gateway.core.block import SECRET_BYTES
from gateway.core.senml import OWN
from gateway.errors import FormatError, StoreFullError
from gateway.store.database import Database, Params, Row
from gateway.store.redeliveries import Keys, Redeliveries, is_snapshot

SCHEMA = """
CREATE TABLE journal(
    row INTEGER PRIMARY KEY,     -- in the order of durability
    height INTEGER NOT NULL,     -- the block that it belongs to
    count INTEGER NOT NULL,      -- readings in it
    bytes INTEGER NOT NULL,      -- of their items, not compressed
    first_ms INTEGER NOT NULL,   -- receipt of the first and of the last, Unix ms
    last_ms INTEGER NOT NULL,
    min_ms INTEGER NOT NULL,     -- earliest and latest base time, Unix ms
    max_ms INTEGER NOT NULL,
    mask INTEGER NOT NULL,       -- source_bit of each source in it
    secret BLOB,                 -- the block's, on its first row
    keys BLOB,                   -- redeliveries.py
    data BLOB NOT NULL
)"""

_OWN_BIT = 1 << 62  # the gateway's own events, and nothing else: they are looked up by themselves
SCHEMA_3 = f"CREATE INDEX journal_events ON journal(row) WHERE mask>={_OWN_BIT}"
EVENTS = f"journal INDEXED BY journal_events WHERE mask>={_OWN_BIT}"

_INSERT = "INSERT INTO journal(height,count,bytes,first_ms,last_ms,min_ms,max_ms,mask,secret,keys,data) VALUES "
_VALUES = "(?,?,?,?,?,?,?,?,?,?,deflate(?))"
_ROWS_A_STATEMENT = 256
_ITEMS_BYTES = limits.BODY_BYTES - 256  # of one block; the rest is its body's head
_FULL_RETRY_S = 1.0
_APART_AT_ONCE = 256  # items made on the event loop; of more the digests would hold it up
_EMPTY_BLOCKS = 64  # more than can lie between blocks with readings that are not sealed


def source_bit(source: str) -> int:
    """The bit that stands for a source in a `mask`; several may share it, so it rules out and never in."""
    bit = 1 << (crc32(source.encode()) % 62)
    return bit | _OWN_BIT if source == OWN else bit


class Waiting(NamedTuple):
    """One reading in the open batch. `item` is, or makes its item of the block's secret and the index (raw apart)."""

    item: "bytes | Callable[[bytes, int], bytes]"
    time_ms: int
    received_ms: int
    bit: int


class Batch:
    """What the next commit will hold. `done` completes when it is durable."""

    __slots__ = ("apart", "counts", "done", "keys", "last_row", "lingered", "readings", "rows", "size")

    def __init__(self, done: "asyncio.Future[None]") -> None:
        self.readings: list[Waiting] = []
        self.keys = Keys()
        self.counts: dict[str, int] = {}  # readings by source
        self.size = 0  # bytes of items
        self.apart = 0  # readings whose item is yet to be made
        self.rows = 0  # that it became
        self.last_row = 0  # of them
        self.lingered: float | None = None  # the loop's time when its linger ended it; None: something else did
        self.done = done


class OpenBlock(NamedTuple):
    """The block that the next reading goes into: its height, the readings in it, its secret once it has a row."""

    height: int
    readings: int = 0
    secret: bytes | None = None
    size: int = 0  # bytes of its items


class Journal:
    """Owner of the open batch and the open block. Intake fills the batch, `run` commits it, the sealer cuts."""

    def __init__(
        self, db: Database, block: OpenBlock, *, linger_s: float, max_count: int, monotonic: Callable[[], float]
    ) -> None:
        self._db = db
        self.linger_s = linger_s
        self.max_count = min(max_count, limits.BLOCK_LEAVES)
        self._monotonic = monotonic
        self._committing = asyncio.Lock()  # a cut never falls inside a commit
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._batch_max = min(limits.BATCH_READINGS, self.max_count * _ROWS_A_STATEMENT)
        self.block = block if block.readings < self.max_count else OpenBlock(block.height + 1)
        self.block_since = monotonic() if self.block.readings else None  # when the open block got its first reading
        self.batch = Batch(self._loop.create_future())
        self.commits = 0
        self._since: float | None = None  # when the commit began that has not ended yet
        self.full = False  # the last try found no room
        self.held = ""  # why nothing is committed until there is room
        self._reserved = False  # commits may use the reserve
        self._turned = asyncio.Event()  # either has changed
        self.grown = asyncio.Event()  # set after a commit; the sealer clears it

    def wake(self, *, now: bool = False) -> "asyncio.Future[None]":
        """Says that the batch has grown; it is committed after the linger, or at once. Returns the batch's future."""
        if now or len(self.batch.readings) >= self._batch_max or self.batch.size >= limits.BATCH_BYTES:
            self._due.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(self.linger_s, self._linger_over)
        return self.batch.done

    def _linger_over(self) -> None:
        if not self._due.is_set():
            self.batch.lingered = self._loop.time()
            self._due.set()

    async def run(self) -> None:
        """Commits what is due until cancelled. Raises StoreError when durability is lost; no future completes then."""
        while True:
            await self._due.wait()
            await self._commit()

    async def commit(self) -> None:
        """Returns when all that waits is durable. `run` makes it so: whoever gives up waiting cuts no commit short."""
        await asyncio.shield(self.wake(now=True))

    @property
    def stores(self) -> bool:
        """Whether the last commit went well, none takes longer than COMMIT_S, and none is held."""
        return not (self.full or self.held or self._slow)

    @property
    def stuck(self) -> bool:
        """Whether a commit takes longer than COMMIT_S, and not for want of room."""
        return self._slow and not (self.full or self.held)

    @property
    def _slow(self) -> bool:
        return self._since is not None and self._monotonic() - self._since > limits.COMMIT_S

    def hold(self, why: str) -> None:
        """From now on batches wait as they do where there is no room: nothing is acknowledged, and drivers pause."""
        self.held = why

    def release(self) -> None:
        """What waits is committed again."""
        self.held = ""
        self._turned.set()

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Meanwhile commits go on, held or not, and may use the reserve: something in them has to make room."""
        self._reserved = True
        self._turned.set()
        try:
            yield
        finally:
            self._reserved = False

    async def _commit(self) -> None:
        """Makes the open batch durable, then completes its future. Waits where there is no room."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self.batch = self.batch, Batch(self._loop.create_future())
        self._since = self._monotonic()
        # A batch with nothing to write (rejects, redeliveries of what earlier commits hold) is durable already.
        while batch.readings or batch.keys:
            if self.held and not self._reserved:
                await self._wait(None)
                continue
            try:
                async with self._committing:
                    await self._write(batch)
                break
            except StoreFullError:
                self.full = True
                await self._wait(_FULL_RETRY_S)
        self._since = None
        batch.done.set_result(None)

    async def _wait(self, most_s: float | None) -> None:
        """For a change of what commits may do, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._turned.wait()
        self._turned.clear()

    async def commit_alone(self, reading: Waiting, also: Callable[[int], tuple[str, Params]] | None = None) -> int:
        """Makes one reading durable before all that waits, in the reserve, in a block of its own; returns its height.

        `also(height)` is run in the same transaction. The block is closed, so that it is sealed at once.
        """
        async with self._committing:
            begun = self.block.readings or self.block.secret is not None
            block, secret = OpenBlock(self.block.height + bool(begun)), os.urandom(32)
            row, _ = _row(block, secret, [reading], _items(block, secret, [reading]), None)
            more = [also(block.height)] if also else []
            await self._db.transact([(_INSERT + _VALUES, row), *more], reserve=True)
            self.block = OpenBlock(block.height + 1)
            self.block_since = None
            self.commits += 1
        self.grown.set()
        return block.height

    async def _write(self, batch: Batch) -> None:
        """One commit: all rows of the batch, or none."""
        if batch.apart > _APART_AT_ONCE:
            rows, block = await asyncio.to_thread(self._rows, batch)
        else:
            rows, block = self._rows(batch)
        parts = [rows[at : at + _ROWS_A_STATEMENT] for at in range(0, len(rows), _ROWS_A_STATEMENT)]
        statements = [
            (_INSERT + ",".join([_VALUES] * len(part)), [value for row in part for value in row]) for part in parts
        ]
        if len(statements) == 1 and not self._reserved:
            batch.last_row = await self._db.insert(*statements[0])
        else:
            await self._db.transact(statements, reserve=self._reserved)
            ((batch.last_row,),) = await self._db.read("SELECT max(row) FROM journal")
        if not block.readings:
            self.block_since = None
        elif block.height != self.block.height or self.block_since is None:
            self.block_since = self._monotonic()
        self.block = block
        self.full = False
        self.commits += 1
        batch.rows = len(rows)
        self.grown.set()

    def _rows(self, batch: Batch) -> tuple[list[Row], OpenBlock]:
        """Splits the batch where blocks end; the redelivery keys go with the last row, in the same commit."""
        rows: list[Row] = []
        block, readings, at = self.block, batch.readings, 0
        while at < len(readings) or not rows:
            part = readings[at : at + self.max_count - block.readings]
            secret = block.secret or os.urandom(32)
            items = _items(block, secret, part)
            if part and not items:
                block = OpenBlock(block.height + 1)
                continue
            at += len(items)
            keys = batch.keys.encoded() if at == len(readings) else None
            row, block = _row(block, secret, part[: len(items)], items, keys)
            rows.append(row)
            if block.readings >= self.max_count:
                block = OpenBlock(block.height + 1)
        return rows, block

    async def cut(self) -> None:
        """Ends the open block where it stands, empty or not; what waits goes into the next."""
        async with self._committing:
            self.block = OpenBlock(self.block.height + 1)
            self.block_since = None

    async def rows_after(self, row: int, limit: int) -> list[Row]:
        """(row, height, count, first_ms, last_ms, min_ms, max_ms, mask, secret, data) of at most `limit` rows.

        None of them is of a block behind the open one, unless the file is damaged.
        """
        columns = "row,height,count,first_ms,last_ms,min_ms,max_ms,mask,secret,data"
        rows = await self._db.read(f"SELECT {columns} FROM journal WHERE row>? ORDER BY row LIMIT ?", (row, limit))
        if any(isinstance(found[1], int) and found[1] > self.block.height for found in rows):
            async with self._committing:  # a commit is seen by others before it is told to us, who move the open block
                pass
        return rows


def _items(block: OpenBlock, secret: bytes, part: list[Waiting]) -> list[bytes]:
    """The items of those readings that still fit the block's body."""
    room = _ITEMS_BYTES - block.size
    items: list[bytes] = []
    for index, waiting in enumerate(part, block.readings):
        item = waiting.item if isinstance(waiting.item, bytes) else waiting.item(secret, index)
        room -= len(item)
        if room < 0:
            break
        items.append(item)
    return items


def _row(
    block: OpenBlock, secret: bytes, part: list[Waiting], items: list[bytes], keys: bytes | None
) -> tuple[Row, OpenBlock]:
    data = b"".join(items)
    times = [w.time_ms for w in part] or [0]
    mask = 0
    for bit in {w.bit for w in part}:
        mask |= bit
    first_ms, last_ms = (part[0].received_ms, part[-1].received_ms) if part else (0, 0)
    row = (
        block.height,
        len(part),
        len(data),
        first_ms,
        last_ms,
        min(times),
        max(times),
        mask,
        secret if block.secret is None else None,
        keys,
        data,
    )
    return row, OpenBlock(block.height, block.readings + len(part), secret, block.size + len(data))


async def open_block(db: Database, sealed_row: int, size: int, planned: int | None) -> OpenBlock:
    """The open block of a journal found at start, after `sealed_row`; `planned` is the height of a plan, if any.

    Where what it holds cannot be, it is a new block behind all of it: the sealer finds the damage when it comes there.
    """
    following = size if planned is None else planned + 1
    newest = await db.read("SELECT height FROM journal WHERE row>? ORDER BY row DESC LIMIT 1", (sealed_row,))
    if not newest or newest[0][0] < following:
        return OpenBlock(following)
    height = newest[0][0]
    ((number,),) = await db.read("SELECT count(*) FROM journal WHERE row>?", (sealed_row,))
    if not isinstance(height, int) or height > following + number + _EMPTY_BLOCKS:
        return OpenBlock(following + number + 1)
    sql = "SELECT count,secret,bytes FROM journal WHERE row>? AND height=? ORDER BY row"
    rows = await db.read(sql, (sealed_row, height))
    secret = rows[0][1]
    if not all(isinstance(row[0], int) and isinstance(row[2], int) for row in rows) or not _is_secret(secret):
        return OpenBlock(height + 1)
    return OpenBlock(height, sum(row[0] for row in rows), secret, sum(row[2] for row in rows))


def _is_secret(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == SECRET_BYTES


def forget_keys() -> tuple[str, Params]:
    """Has the next start know of no delivery: the newest row, which no pruning deletes, gets a snapshot of none."""
    return "UPDATE journal SET keys=? WHERE row=(SELECT max(row) FROM journal)", (Redeliveries().snapshot(),)


async def newest_keys(db: Database, brokers: Collection[str]) -> Redeliveries:
    """Which deliveries the journal knows, read back from its newest snapshot on (redeliveries.py).

    Damaged keys are passed over: what they would have told is stored once more if it is delivered again.
    """
    seen = Redeliveries()
    rows: list[bytes] = []
    ((newest,),) = await db.read("SELECT coalesce(max(row),0) FROM journal")
    sql = "SELECT row,keys FROM journal WHERE row<? AND keys IS NOT NULL ORDER BY row DESC LIMIT 64"
    before, snapshot = newest + 1, 0
    while not snapshot and (page := await db.read(sql, (before,))):
        for before, keys in page:
            if not isinstance(keys, bytes):
                continue
            rows.append(keys)
            if is_snapshot(keys):
                snapshot = before
                break
    for keys in reversed(rows):
        with contextlib.suppress(FormatError):
            seen.replay(keys)
    seen.rows = newest - snapshot
    seen.let_go(brokers)
    return seen
