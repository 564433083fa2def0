"""Looks at everything in a store that a signature covers, and tells what is damaged: for `verify --store`, `recover`,
and in the background of a gateway that runs.

SQLite notices a damaged page, the hash chain a changed byte; neither notices all that the other does.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.conditions import STORE_DAMAGED, Problem
from gateway.core import block, limits, merkle, note, senml
from gateway.core.body import read_items
from gateway.core.chain import BlockCheck, Chain
from gateway.core.note import VerifierKey
from gateway.errors import DamagedError, FieldgateError, FormatError, NotFoundError, StoreError
from gateway.store import Store
from gateway.store.blocks import BlockRow
from gateway.store.cosigned import CosignedSize
from gateway.store.rebuild import Salvage
from gateway.store.signstate import CURE_SEALED

log = logging.getLogger(__name__)

_SHOWN = 1_000  # bad blocks that are told one by one
_SHARE = 50  # of the time that passes, one part in so many is spent
_LEAST_S = 0.02


@dataclass
class Report:
    """What was found. `bad` has (height, what) of the first `_SHOWN` faults, `faulty` the heights of all.

    sm2, sm2_unchecked: checkpoints' SM2 lines of the keys that were given, and of others. sm2_missing: checkpoints
    without a line of those keys.
    """

    blocks: int = 0
    readings: int = 0
    pruned: int = 0
    gone: int = 0
    checkpoints: int = 0
    cosignatures: int = 0
    unchecked: int = 0
    sm2: int = 0
    sm2_unchecked: int = 0
    sm2_missing: int = 0
    faulty: set[int] = field(default_factory=set)
    bad: list[tuple[int, str]] = field(default_factory=list)

    def fault(self, height: int, what: str) -> None:
        """Something is wrong with a block, or with the log at its size."""
        self.faulty.add(height)
        if len(self.bad) < _SHOWN:
            self.bad.append((height, what))

    @property
    def first(self) -> tuple[int, str] | None:
        """The lowest bad height, and what is wrong there."""
        return min(self.bad, default=None)


class Walk:
    """From height 0 to the end, with the chain as it should be. A bad entry is taken in as it stands, and noted.

    keys: the co-signing keys that are trusted, sm2: SM2 keys of the log; lines of others are counted and not checked.
    """

    def __init__(
        self, store: Store, report: Report, keys: Collection[VerifierKey] = (), sm2: Collection[VerifierKey] = ()
    ) -> None:
        self._store = store
        self._report = report
        self._keys = keys
        self._sm2_keys = sm2
        self._sm2_name = f"{store.vkey.name.rpartition('/')[0]}/sm2"
        self._chain = Chain(store.vkey)
        self._losses: dict[int, list[tuple[int, int]] | None] = {}  # loss block -> what it tells of
        self._sum = 0  # readings up to this block

    async def blocks(self) -> AsyncIterator[int]:
        """Checks one block after another, and gives its height; then the tree. What grows meanwhile is left out."""
        blocks, size = self._store.blocks, self._store.blocks.extent
        cosigned = _cosigned(self._store, self._report)
        following = await anext(cosigned, None)
        for height in range(size):
            await self._block(height)
            await self._checkpoint(height)
            while following is not None and following.size <= height + 1:
                self._cosignatures(height, following)
                following = await anext(cosigned, None)
            self._report.blocks += 1
            yield height
        if size:
            await self._tree(size)
        if what := await unsealed(self._store):
            self._report.fault(size, what)
        if blocks.damage is not None and not self._report.bad:
            self._report.fault(max(size - 1, 0), blocks.damage.what)

    async def _tree(self, size: int) -> None:
        try:
            stored = await self._store.blocks.root(size)
        except StoreError as exc:
            self._report.fault(size - 1, exc.what)
            return
        except FieldgateError:  # not so large, as it was opened: a block of it is bad
            return
        if stored != self._chain.root():
            self._report.fault(size - 1, "the stored tree has another root than the entries lead to")

    async def _block(self, height: int) -> None:
        try:
            row = await self._store.blocks.block(height)
        except StoreError as exc:
            row = None
            self._report.fault(height, exc.what)
        else:
            if row is None:
                self._report.fault(height, "the entry is missing")
        if row is None:
            self._take_as_is(b"")
            return
        try:
            self._chain, (entry,) = self._chain.extend([row.entry])
        except FormatError as exc:
            self._report.fault(height, str(exc))
            self._take_as_is(row.entry)
            try:
                entry = block.parse_entry(row.entry)
            except FormatError:
                return
        if row.count != entry.header.count:
            self._report.fault(height, f"it is stored as one of {row.count} readings, not {entry.header.count}")
        try:
            await self._body(entry.header, row)
            await self._count(row)
        except FieldgateError as exc:
            self._report.fault(height, exc.what)

    def _take_as_is(self, entry: bytes) -> None:
        frontier = self._chain.frontier.append(merkle.leaf_hash(entry))
        self._chain = Chain(self._chain.key, frontier, block.next_prev(entry))

    async def _body(self, header: block.Header, row: BlockRow) -> None:
        if row.secret is None:
            await self._absent(row.height)
            return
        try:
            self._report.readings += await check_body(self._store, header, row)
        except NotFoundError:  # pruned while it was read
            await self._absent(row.height)
        except FieldgateError as exc:
            self._report.fault(row.height, str(exc))

    async def _absent(self, height: int) -> None:
        """A block without its readings was pruned, or it is gone, and a reading tells that where it is here itself."""
        lost = await self._store.blocks.gone(height)
        if lost is None:
            self._report.pruned += 1
            return
        self._report.gone += 1
        if lost.loss not in self._losses:
            self._losses[lost.loss] = await self._told(lost.loss)
        told = self._losses[lost.loss]
        if told is not None and not any(low <= height < high for low, high in told):
            self._report.fault(height, f"its readings are gone, and block {lost.loss} does not tell so")

    async def _told(self, height: int) -> list[tuple[int, int]] | None:
        """The ranges that the loss readings of a block tell of; None where its readings are not here."""
        ranges: list[tuple[int, int]] = []
        try:
            async for pack, _ in self._store.blocks.items(height):
                if senml.source_of(pack) != "gateway":
                    continue
                said = {record.name: record.value for record in senml.resolve(pack).records}
                low, high = said.get("from"), said.get("to")
                if said.get("event") == "gone" and isinstance(low, int) and isinstance(high, int):
                    ranges.append((low, high))
        except (NotFoundError, FormatError, StoreError):
            return None
        return ranges

    async def _count(self, row: BlockRow) -> None:
        """The count of all readings so far, which a start takes from the newest block."""
        self._sum += row.count
        kept = await self._store.blocks.total(row.height)
        if kept != self._sum:
            self._report.fault(row.height, f"the store counts {kept} readings up to here, and there are {self._sum}")
            self._sum = kept

    async def _checkpoint(self, height: int) -> None:
        try:
            kept = await self._store.blocks.note(height + 1)
            if kept is not None:
                signed = note.parse_note(kept[1])
                self._chain.check_note(signed)
                self._report.checkpoints += 1
                self._sm2(signed)
        except (FormatError, StoreError) as exc:
            self._report.fault(height, f"checkpoint: {exc}")

    def _sm2(self, signed: note.Note) -> None:
        """Its SM2 lines. That there is none is no fault: the next checkpoint that has one covers this one."""
        found = [key for key in self._sm2_keys if any(line.is_by(key) for line in signed.lines)]
        for key in found:
            note.verify_sm2(signed, key)
        self._report.sm2 += len(found)
        self._report.sm2_missing += bool(self._sm2_keys) and not found
        named = [line for line in signed.lines if line.name == self._sm2_name]
        self._report.sm2_unchecked += sum(not any(line.is_by(key) for key in found) for line in named)

    def _cosignatures(self, height: int, cosigned: CosignedSize) -> None:
        """The lines over a size; the note that they are over is checked as a checkpoint."""
        for kept in cosigned.lines:
            try:
                text = cosigned.note.rpartition("\n\n")[0] + "\n"
                line = note.parse_line(kept.line)
                key = next((key for key in self._keys if line.is_by(key)), None)
                if key is None:
                    self._report.unchecked += 1
                else:
                    note.verify_cosignature(text, line, key)
                    self._report.cosignatures += 1
            except (FormatError, AttributeError, TypeError) as exc:  # the latter two: a damaged row may hold no text
                self._report.fault(height, f"co-signature of {kept.node}: {exc}")


async def check_body(store: Store, header: block.Header, row: BlockRow) -> int:
    """Checks the readings of a block as they are stored; how many there are. FormatError, StoreError."""
    check = BlockCheck(header, row.secret or bytes(32))
    count = 0
    try:
        async for data in store.blocks.row_data(row):
            count += await asyncio.to_thread(_take, check, data)
        check.finish()
    except zlib.error as error:
        raise DamagedError(f"its readings do not inflate: {error}") from error
    return count


def _take(check: BlockCheck, data: bytes) -> int:
    items = list(read_items(data))
    for pack, payload in items:
        check.take(pack, payload)
    return len(items)


async def _cosigned(store: Store, report: Report) -> AsyncIterator[CosignedSize]:
    """Every co-signed size, ascending."""
    after = 0
    try:
        while sizes := await store.cosigned.above(0, after):
            for one in sizes:
                yield one
            after = sizes[-1].size
    except StoreError as error:
        report.fault(after, f"co-signatures: {error.what}")


async def unsealed(store: Store) -> str:
    """What is wrong with readings that are in no block yet; "" where nothing is."""
    async for row in Salvage(store.db).rows_after(store.blocks.sealed_row):
        if row.items is None:
            return f"readings that are in no block yet are damaged (journal row {row.row})"
    return ""


async def newest(store: Store) -> tuple[int, str] | None:
    """Checks the newest blocks, as far as that takes no time worth speaking of; the lowest of them that is bad."""
    left, bad = limits.START_READINGS, None
    for height in range(store.blocks.extent - 1, max(store.blocks.extent - limits.START_BLOCKS, 0) - 1, -1):
        try:
            row = await store.blocks.block(height)
            if row is None:
                raise DamagedError("the entry is missing")
            left -= row.count
            if left < 0:
                break
            if row.secret is not None or not row.count:
                await check_body(store, block.parse_entry(row.entry).header, row)
        except (DamagedError, FormatError) as error:
            bad = height, error.what
    return bad


class Scrub:
    """The background walk of a gateway that runs: slow, again and again. It keeps the lowest bad block."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: tuple[int, str] | None = None

    async def look(self) -> None:
        """At the newest blocks, before anything runs."""
        self._found = await newest(self._store)
        if self._store.lost:
            log.error("%s: %s", self._store.db.path, self._store.lost)

    @property
    def problems(self) -> list[Problem]:
        """What a person has to know of."""
        told = [f"first at block {self._found[0]}: {self._found[1]}"] if self._found is not None else []
        told += [self._store.lost] if self._store.lost else []
        return [STORE_DAMAGED.problem(what=what, cure=CURE_SEALED) for what in told]

    async def run(self) -> None:
        """Until cancelled. Never ends for what it finds. A whole walk that finds nothing clears what was found."""
        await asyncio.sleep(limits.SCRUB_AFTER_S)
        while True:
            report = Report()
            with suppress(StoreError):  # the reader cannot read at all: whoever needs it will say so
                await self._walk(report)
            self._found = report.first
            await asyncio.sleep(limits.SCRUB_EVERY_S)

    async def _walk(self, report: Report) -> None:
        told: tuple[int, str] | None = None
        began = time.monotonic()
        async for _ in Walk(self._store, report).blocks():
            if report.first is not None and report.first != told:
                told = self._found = report.first
                log.debug("block %d is damaged: %s", *told)
            await asyncio.sleep(max(_LEAST_S, (time.monotonic() - began) * _SHARE))
            began = time.monotonic()
