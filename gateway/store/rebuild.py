"""A store made anew beside the old one: what can still be read of a damaged file, and how the new one is filled.

The old file is read a row at a time, because a lookup needs only the pages on its way: one damaged page hides its own
rows and no others. Nothing of it is believed here; whoever rebuilds checks it against the chain.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.core import block as cose
from gateway.core import body, limits, merkle, senml
from gateway.core.anchor_row import AnchorRow
from gateway.core.body import Item
from gateway.core.note import VerifierKey
from gateway.errors import DamagedError, FieldgateError, NotFoundError, StoreError, StoreFullError
from gateway.store import SCHEMA, create_database
from gateway.store.anchors import Anchors, salvaged
from gateway.store.blocks import BlockRow, Blocks, Plan, inflate
from gateway.store.cosigned import Cosigned, Line
from gateway.store.database import Database, Row
from gateway.store.journal import Journal, OpenBlock, Waiting, newest_keys, source_bit
from gateway.store.redeliveries import Redeliveries
from gateway.store.signstate import Head

_MISSES = 4_096  # rows in a row that cannot be read before the journal is taken to end
_ROW_BYTES = 512 * 1024  # of items put into one journal row
_ROW_ITEMS = 1_024
_FULL_LOOK_S = 1.0


class Kept(NamedTuple):
    """A row of the old journal: its place, what it says of itself, and its items; None where they are damaged."""

    row: int
    height: int
    readings: int
    first_ms: int
    last_ms: int
    secret: bytes | None
    items: list[Item] | None


@dataclass
class Lost:
    """Readings that could not be carried over: of how many rows, how many at least, received when (ms, 0: unknown)."""

    rows: int = 0
    readings: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, row: Kept) -> None:
        """One more damaged row."""
        self.rows += 1
        self.readings += row.readings
        if row.first_ms:
            self.first_ms = min(self.first_ms or row.first_ms, row.first_ms)
            self.last_ms = max(self.last_ms, row.last_ms)


class Salvage:
    """What can be read of a store's file. Every answer may be None: not there, or damaged."""

    def __init__(self, db: Database | None, *, unreadable: bool = False) -> None:
        self._db = db
        self._unreadable = unreadable  # there is a file, and nothing of it can be had

    @classmethod
    async def open(cls, path: Path) -> "Salvage":
        """Opens the file if that can be done at all."""
        try:
            return cls(await Database.open(path, SCHEMA, read_only=True, as_found=True))
        except NotFoundError:
            return cls(None)
        except DamagedError:
            return cls(None, unreadable=True)

    async def close(self) -> None:
        """Closes it."""
        if self._db is not None:
            await self._db.close()

    async def _one(self, sql: str, *params: object) -> Row | None:
        if self._db is None:
            return None
        try:
            rows = await self._db.read(sql, params)
        except StoreError:
            return None
        return rows[0] if rows else None

    async def extent(self) -> int:
        """Heights that the file has, or speaks of."""
        block = await self._one("SELECT max(height)+1 FROM block")
        note = await self._one("SELECT max(size) FROM checkpoint")
        return max((row[0] for row in (block, note) if row and isinstance(row[0], int)), default=0)

    async def lags(self, head: Head) -> bool:
        """As Blocks.lags."""
        extent = await self.extent()
        plan = await self._one("SELECT height,header FROM plan LIMIT 1")
        return head.size > extent and (plan, head.size) != ((extent, head.header), extent + 1)

    async def block(self, height: int) -> BlockRow | None:
        """The row of a block."""
        row = await self._one("SELECT height,count,first_row,last_row,secret,entry FROM block WHERE height=?", height)
        if row is None or not all(isinstance(value, int) for value in row[:4]) or not isinstance(row[5], bytes):
            return None
        number, count, first_row, last_row, secret, entry = row
        return BlockRow(number, count, first_row, last_row, secret if isinstance(secret, bytes) else None, entry)

    async def sealed_row(self) -> int:
        """The last row of the journal that is in a block, as far as blocks can be read."""
        for height in range(await self.extent() - 1, -1, -1):
            row = await self.block(height)
            if row is not None:
                return row.last_row
        return 0

    async def note(self, size: int) -> str | None:
        """The checkpoint of that size."""
        row = await self._one("SELECT note FROM checkpoint WHERE size=?", size)
        return row[0] if row and isinstance(row[0], str) else None

    async def lines(self, size: int) -> list[Line]:
        """The co-signatures over that size."""
        if self._db is None:
            return []
        try:
            rows = await self._db.read("SELECT node,kind,line FROM cosignature WHERE size=?", (size,))
        except StoreError:
            return []
        return [Line(*row) for row in rows if all(isinstance(value, str) for value in row)]

    async def anchors(self, size: int) -> list[AnchorRow]:
        """What was put on chains at that size."""
        if self._db is None:
            return []
        try:
            return await salvaged(self._db, size)
        except StoreError:
            return []

    async def gone(self) -> list[Row]:
        """What is told of blocks that were dropped: (low, high, loss, reason)."""
        if self._db is None:
            return []
        try:
            rows = await self._db.read("SELECT low,high,loss,reason FROM gone ORDER BY low")
        except StoreError:
            return []
        return [row for row in rows if all(isinstance(value, int) for value in row[:3]) and isinstance(row[3], str)]

    async def row(self, number: int) -> Kept | None:
        """A row of the journal."""
        sql = "SELECT row,height,count,first_ms,last_ms,secret,data FROM journal WHERE row=?"
        found = await self._one(sql, number)
        if found is None:
            return None
        place, height, count, first_ms, last_ms = (value if isinstance(value, int) else 0 for value in found[:5])
        secret = found[5] if isinstance(found[5], bytes) and len(found[5]) == cose.SECRET_BYTES else None
        items = await asyncio.to_thread(_items, found[6], count)
        return Kept(place, height, count, first_ms, last_ms, secret, items)

    async def rows(self, first: int, last: int) -> list[Kept]:
        """The rows first..last that can be read."""
        return [kept for number in range(first, last + 1) if (kept := await self.row(number)) is not None]

    async def rows_after(self, row: int) -> AsyncIterator[Kept]:
        """The rows behind `row`, to the end. One without items stands for each that cannot be read.

        Behind _MISSES of them in a row the next that there is is looked for, whatever number it bears: a number may be
        what is damaged. Those before the first are taken for pruned, where they are so many.
        """
        end = await self._one("SELECT max(row) FROM journal")
        last = end[0] or 0 if end and isinstance(end[0], int | None) else None
        missing, found = list[Kept](), False
        while self._db is not None and (last is None or row < last):
            row += 1
            kept = await self.row(row)
            if kept is None:
                missing.append(Kept(row, -1, 0, 0, 0, None, None))
                if len(missing) < _MISSES:
                    continue
                following = await self._one("SELECT min(row) FROM journal WHERE row>?", row)
                if not following or not isinstance(following[0], int):
                    break
                row = following[0] - 1
            if found or kept is not None:
                for gone in missing if last is not None else ():
                    yield gone
            missing.clear()
            if kept is not None:
                found = True
                yield kept
        for gone in missing if last is not None else ():
            yield gone
        if self._unreadable or (self._db is not None and last is None):
            yield Kept(row, -1, 0, 0, 0, None, None)

    async def keys(self, brokers: Sequence[str]) -> Redeliveries:
        """Which deliveries the journal knows, as far as that can be read."""
        if self._db is not None:
            try:
                return await newest_keys(self._db, brokers)
            except StoreError:
                pass
        return Redeliveries()


def _items(data: object, count: int) -> list[Item] | None:
    """The readings of a row, if all of them are sound: readings by section 2, with a digest where one is needed."""
    if not isinstance(data, bytes):
        return None
    try:
        items = list(body.read_items(inflate(data)))
        for pack, payload in items:
            senml.resolve(pack)
            if payload is not None and senml.digest_of(pack) != pack[-merkle.HASH_BYTES :]:
                return None
    except (FieldgateError, zlib.error):
        return None
    return items if len(items) == count else None


class Rebuilt:
    """The new file while it is filled: blocks first, in order, then what is in no block yet."""

    def __init__(self, db: Database, blocks: Blocks) -> None:
        self._db = db
        self.blocks = blocks
        self.cosigned = Cosigned(db)
        self.anchors = Anchors(db)

    @classmethod
    async def create(cls, path: Path, vkey: VerifierKey) -> "Rebuilt":
        """Makes the file of a log."""
        await asyncio.to_thread(create_database, path, vkey)
        db = await Database.open(path, SCHEMA)
        await db.relax()
        return cls(db, await Blocks.open(db))

    async def close(self) -> None:
        """Closes it. Whoever moves it into place flushes it first."""
        await self._db.close()

    async def add(self, entry: bytes, secret: bytes | None, items: list[Item] | None, note: str | None) -> None:
        """The next block, checked by the caller. items None: its readings are not here."""
        header = cose.parse_entry(entry).header
        rows = await asyncio.to_thread(_rows, self.blocks.sealed_row, header.height, secret, items or [])
        if rows:
            await self._db.transact([(_PUT, row) for row in rows])
        first, last = self.blocks.sealed_row + 1, self.blocks.sealed_row + len(rows)
        min_ms, max_ms, mask = 0, 0, 0
        if rows:
            min_ms, max_ms = min(row[6] for row in rows), max(row[7] for row in rows)
            for row in rows:
                mask |= row[8]
        kept = secret if items is not None else None if header.count else bytes(cose.SECRET_BYTES)
        facts = (header.height, header.count, first, last, min_ms, max_ms, mask)
        plan = Plan(*facts, kept, cose.parse_entry(entry).header_bytes)  # type: ignore[arg-type]  # no secret: no body
        frontier = self.blocks.frontier.append(merkle.leaf_hash(entry))
        await self.blocks.publish(plan, entry, frontier, note or "")

    async def add_damaged(self, entry: bytes, secret: bytes | None, rows: Sequence[Kept], note: str | None) -> None:
        """The next block with those of its rows that can be read: what is sound of them stays readable."""
        sound = [item for row in rows for item in row.items or ()]
        await self.add(entry, secret, sound if sound and secret else None, note)

    async def tell_gone(self, rows: Sequence[Row]) -> None:
        """What was told of blocks that were dropped stays told."""
        if rows:
            await self._db.transact([("INSERT OR IGNORE INTO gone VALUES (?,?,?,?)", row) for row in rows])

    async def carry(
        self,
        readings: AsyncIterator[Item],
        keys: Redeliveries,
        height: int,
        max_count: int,
        first: Sequence[bytes] = (),
    ) -> int:
        """Journals readings that are in no block, in new blocks from `height` on, with all redelivery keys.

        first: packs that come before them. How many readings there were. The next writer flushes the file.
        """
        block = OpenBlock(height)
        journal = Journal(self._db, block, linger_s=0, max_count=max_count, monotonic=time.monotonic)
        running = asyncio.create_task(journal.run())
        count = 0
        try:
            journal.batch.keys.stand_on(keys.snapshot())
            for pack in first:
                _put(journal, (pack, None))
            async for item in readings:
                _put(journal, item)
                count += 1
                if journal.batch.size >= limits.BATCH_BYTES or len(journal.batch.readings) >= limits.BATCH_READINGS:
                    await _commit(journal, running)
            await _commit(journal, running)
        finally:
            running.cancel()
            await asyncio.wait({running})
        return count


_COLUMNS = "row,height,count,bytes,first_ms,last_ms,min_ms,max_ms,mask,secret,data"
_PUT = f"INSERT INTO journal({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,deflate(?))"


def _rows(after: int, height: int, secret: bytes | None, items: list[Item]) -> list[Row]:
    """The journal rows of a block's readings."""
    rows: list[Row] = []
    for part in _parts(items):
        readings = [senml.resolve(pack) for pack, _ in part]
        times = [reading.time_ms for reading in readings]
        mask = 0
        for reading in readings:
            mask |= source_bit(reading.source)
        data = b"".join(body.item(*item) for item in part)
        received = readings[0].received_ms, readings[-1].received_ms
        facts = (after + len(rows) + 1, height, len(part), len(data), *received, min(times), max(times), mask)
        rows.append((*facts, None if rows else secret, data))
    return rows


def _parts(items: list[Item]) -> Iterator[list[Item]]:
    part: list[Item] = []
    size = 0
    for item in items:
        part.append(item)
        size += len(item[0]) + len(item[1] or b"")
        if size >= _ROW_BYTES or len(part) == _ROW_ITEMS:
            yield part
            part, size = [], 0
    if part:
        yield part


def _put(journal: Journal, item: Item) -> None:
    pack, payload = item
    reading = senml.resolve(pack)
    made = body.item(pack) if payload is None else _salted(pack, payload)
    bit = source_bit(reading.source)
    journal.batch.readings.append(Waiting(made, reading.time_ms, reading.received_ms, bit))
    journal.batch.size += len(pack) + len(payload or b"")


def _salted(pack: bytes, payload: bytes) -> Callable[[bytes, int], bytes]:
    """The item in another place: the digest, the pack's last bytes, is salted with the block and the index."""

    def item(secret: bytes, index: int) -> bytes:
        digest = cose.payload_digest(cose.raw_salt(secret, index), payload)
        return body.item(pack[: -merkle.HASH_BYTES] + digest, payload)

    return item


async def _commit(journal: Journal, running: "asyncio.Task[None]") -> None:
    done = asyncio.ensure_future(journal.commit())
    while not done.done():
        await asyncio.wait({done, running}, timeout=_FULL_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            done.cancel()
            await running
        if journal.full:
            done.cancel()
            raise StoreFullError("no room for a second copy of the store", cure="Free some space, and try again")
