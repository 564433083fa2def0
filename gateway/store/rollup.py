"""The rollup behind charts: minimum, maximum, last and count a minute of each number that a source sends.

It is kept in memory by the hour. Once an hour is over, and at stop, it goes into a file of its own (hours.py), with the
rows of the journal that it was made from. What a kill took, or all of a file that is
damaged, missing or of another journal, is made anew from those rows, the newest first, in the background. Nobody waits
for any of this, and nothing that fails here stops or holds a gateway: a chart has a gap then.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gateway.clock import Clock
from gateway.conditions import CHARTS_FULL, Problem
from gateway.core import body, limits, senml
from gateway.errors import DamagedError, FieldgateError, FormatError
from gateway.store.blocks import inflate
from gateway.store.database import Database, Row
from gateway.store.hours import HoursFile, Known, Range, Write, gaps, joined
from gateway.store.minutes import HOUR_MS, Charted, Hour, Minute, Part, fold, listed
from gateway.store.series import Name, Table, Taken

log = logging.getLogger(__name__)

ROLLUP = "rollup.db"

_LOOK_S = 20.0  # between two looks at whether an hour is over
_MANY = limits.ROLLUP_HOURS // 2  # hours in memory that are not left there until theirs is over
_ROWS_A_PAGE = 4  # of the journal, of up to limits.BATCH_BYTES each
_SHARE = 20  # of the time that passes, one part in so many goes into what is made anew
_LEAST_S = 0.01
_CLOSE_S = 5.0
_ROW: Final = "SELECT row,height,bytes,last_ms FROM journal WHERE row=?"
_PAGE: Final = "SELECT row,last_ms,data FROM journal WHERE row>=? AND row<=? ORDER BY row DESC LIMIT ?"


class _Cut(NamedTuple):
    """What goes into the file: all that the first `at` commits and the rows `remade` came to.

    last: the newest row of these commits; None: not all of them are durable yet.
    """

    at: int
    taken: dict[Name, Taken]
    remade: list[Range]
    last: int | None = None


class Rollup:
    """`add`, `begin` and `committed` are for the event loop; what uses the file goes to a thread. `run` keeps it up.

    Readings are taken in before they are durable. So what goes into the file is cut off between two commits, and waits
    until those before the cut are durable and their rows known.
    """

    def __init__(self, path: Path, db: Database, clock: Clock, *, min_free: int) -> None:
        self._file = HoursFile(path, min_free)
        self._db = db  # of the journal
        self._clock = clock
        self._table = Table()
        self._table.hour = self._now_hour()
        self._begun = self._done = 0  # commits, and those of them that are durable
        self._first: int | None = None  # rows of this life from here on are not in the file; None: there is none yet
        self._last = 0  # the newest row that is durable
        self._remade: list[Range] = []  # rows from before this life that are in the table
        self._due = False  # a cut is wanted, and not made yet
        self._cut: _Cut | None = None
        self._ready = asyncio.Event()  # the cut may be written
        self._covered: list[Range] = []  # rows that are in the file
        self._missing: list[Range] | None = None  # rows to be made anew, ascending; None: not known yet
        self._looked_into = 0
        self._told = ""
        self._busy = asyncio.Lock()  # owner: whoever uses the file

    def change(self, *, min_free: int) -> None:
        """Bytes of the file system that charts leave free, from now on."""
        self._file.min_free = min_free

    # -- on the event loop --------------------------------------------------------------------------------------------

    def add(self, readings: Iterable[Charted]) -> None:
        """Takes in readings of the commit that was begun last."""
        self._table.put(fold(readings))

    def begin(self) -> None:
        """The next commit begins."""
        if self._due:
            self._cut_off()
        self._begun += 1

    def committed(self, rows: int, last_row: int) -> None:
        """The oldest commit that was not durable is: in so many rows of the journal, up to this one; 0: it had none."""
        self._done += 1
        if rows:
            self._last = last_row
            self._first = self._first or last_row - rows + 1
        if self._due and self._begun == self._done:
            self._cut_off()
        self._look_at_cut()

    def _want_cut(self) -> None:
        """Asks for a cut: at once where every commit is durable, else where the next one begins."""
        if self._cut is None:
            self._due = True
            if self._begun == self._done:
                self._cut_off()
            self._look_at_cut()

    def _cut_off(self) -> None:
        self._due = False
        self._cut = _Cut(self._begun, self._table.take(), self._remade)
        self._remade = []

    def _look_at_cut(self) -> None:
        if self._cut is not None and self._cut.last is None and self._done >= self._cut.at:
            self._cut = self._cut._replace(last=self._last)
            self._ready.set()

    def names(self, source: str) -> tuple[tuple[str, str | None], ...]:
        """(name, unit) of the numbers that a source sends, in the order first seen."""
        return self._table.names(source)

    @property
    def problems(self) -> list[Problem]:
        """What a person may want to know."""
        table = self._table
        if not table.refused_in or table.refused_in < table.hour - 1:
            return []
        return [CHARTS_FULL.problem(most=limits.ROLLUP_SERIES, of_source=limits.ROLLUP_SERIES_OF_SOURCE)]

    def _now_hour(self) -> int:
        return self._clock.now().ms // HOUR_MS

    # -- the file -----------------------------------------------------------------------------------------------------

    async def minutes(self, source: str, name: str, begin: int, end: int) -> list[Minute]:
        """Unix minutes of one value, begin <= at < end, ascending. One without a reading is absent."""
        async with self._busy:
            own = self._own((source, name))
            try:
                return await asyncio.to_thread(self._file.minutes, (source, name), own, begin, end)
            except FieldgateError as error:
                await self._failed(error)
                return list(listed(own, begin, end))

    def _own(self, series: Name) -> dict[int, Hour]:
        """Copies of a value's hours that are in memory."""
        own = self._table.hours(*series)
        cut = self._cut.taken.get(series) if self._cut is not None else None
        for number, hour in cut.hours.items() if cut is not None else ():
            if number in own:
                own[number].merge(hour, older=True)
            else:
                own[number] = hour.copy()
        return own

    async def run(self) -> None:
        """Writes hours that are over, and makes anew what is missing, until cancelled."""
        await self.load()
        while True:
            began = time.monotonic()
            more = await asyncio.shield(asyncio.ensure_future(self.turn()))
            await asyncio.sleep(max((time.monotonic() - began) * _SHARE, _LEAST_S) if more else _LOOK_S)

    async def turn(self) -> bool:
        """One look, and what follows from it. True where more is to be done soon."""
        async with self._busy:
            if await asyncio.to_thread(self._file.give_way):
                log.warning("charts: given up, the disk has no room for them")
                self._covered, self._missing = [], []
            more = await self._make_anew()
        hour = self._now_hour()
        if hour != self._table.hour or self._table.held > _MANY or (self._remade and not self._missing):
            self._table.hour = hour
            self._want_cut()
        if self._ready.is_set():
            await self._put_away()
        return more

    async def write(self) -> None:
        """All that was taken in up to now goes into the file, once it is durable. Where that fails it stays here."""
        earlier = True
        while earlier:
            earlier = self._cut is not None  # and lacks what has come since
            self._want_cut()
            await self._ready.wait()
            await self._put_away()

    async def close(self) -> None:
        """Writes what is in memory, if it is durable, and that takes no time worth speaking of."""
        if self._begun == self._done:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await asyncio.shield(asyncio.ensure_future(self.write()))

    async def load(self) -> None:
        """Learns what the file has. What it is not fit for is made anew."""
        async with self._busy:
            try:
                known = await asyncio.to_thread(self._file.load)
                if not await self._is_of_this_journal(known):
                    raise DamagedError("charts: made from another journal", where=str(self._file.path))
            except FieldgateError as error:
                await self._failed(error)
                return
        self._covered = known.covered
        for source, name, unit in known.series:
            self._table.meet(source, name, unit)

    async def _is_of_this_journal(self, known: Known) -> bool:
        if known.stands_on is None:
            return not known.covered
        return await self._db.read(_ROW, known.stands_on[:1]) == [known.stands_on]

    async def _failed(self, error: FieldgateError) -> None:
        """Says it once. What is damaged is thrown away, and made anew."""
        if str(error) != self._told:
            log.warning("%s", error)
            self._told = str(error)
        if isinstance(error, DamagedError):
            await asyncio.to_thread(self._file.throw_away)
            self._covered, self._missing = [], None

    async def _put_away(self) -> None:
        """Writes the cut. Where that fails it is in the table again."""
        async with self._busy:
            cut = self._cut
            if cut is None or cut.last is None:
                return
            live = [] if self._first is None else [(self._first, cut.last)]
            covered = joined([*self._covered, *cut.remade, *live])
            try:
                if cut.taken or cut.remade:
                    await asyncio.to_thread(self._file.write, await self._given(cut.taken, covered))
                    self._covered, self._told = covered, ""
                    self._first = cut.last + 1 if live else None
            except FieldgateError as error:
                self._table.put_back(cut.taken)
                self._remade = joined([*self._remade, *cut.remade])
                await self._failed(error)
            self._cut = None
            self._ready.clear()

    async def _given(self, taken: dict[Name, Taken], covered: list[Range]) -> Write:
        rows = await self._db.read(_ROW, (covered[-1][1],)) if covered else []
        stamp = self._clock.now()
        now = stamp.ms // HOUR_MS
        keep = (now - limits.ROLLUP_KEPT_H, now + limits.ROLLUP_KEPT_H) if stamp.synchronised else None
        return Write(taken, covered, rows[0] if rows else None, keep)

    # -- made anew ----------------------------------------------------------------------------------------------------

    async def _make_anew(self) -> bool:
        """A page of the journal's rows that are not in yet. False where there is nothing more to do for now."""
        if self._first is None or self._table.held > _MANY:
            return False
        if self._missing is None:
            cut = self._cut.remade if self._cut is not None else []
            self._missing = gaps([*self._covered, *self._remade, *cut], 1, self._first - 1)
        if not self._missing:
            return False
        low, high = self._missing[-1]
        try:
            rows = await self._db.read(_PAGE, (low, high, _ROWS_A_PAGE))
        except FieldgateError:  # whoever needs the row will say that the store is damaged
            self._missing = []
            return False
        if self._is_enough(rows):
            self._remade = joined([*self._remade, *self._missing])
            self._missing = []
            return False
        readings, parts = await asyncio.to_thread(_parts, rows)
        self._looked_into += readings
        self._table.put(parts, older=True)
        begin = rows[-1][0] if len(rows) == _ROWS_A_PAGE else low
        self._remade = joined([*self._remade, (begin, high)])
        self._missing[-1:] = [(low, begin - 1)] if low < begin else []
        return bool(self._missing)

    def _is_enough(self, rows: Sequence[Row]) -> bool:
        """What lies before these is older than charts go, or there is too much of it."""
        oldest_ms = self._clock.now().ms - limits.ROLLUP_KEPT_H * HOUR_MS
        old = [isinstance(last_ms, int) and last_ms < oldest_ms for _, last_ms, _ in rows]
        return self._looked_into > limits.ROLLUP_REMADE or (bool(old) and all(old))


def _parts(rows: Sequence[Row]) -> tuple[int, list[Part]]:
    """How many readings there are in rows of the journal, newest first, and what they come to."""
    readings: list[Charted] = []
    for _, _, data in reversed(rows):
        with contextlib.suppress(FormatError, DamagedError):
            for pack, _ in body.read_items(inflate(data)):
                one = senml.resolve(pack)
                records = [(record.name, record.unit, record.value) for record in one.records]
                readings.append((one.source, records, one.time_ms, one.received_ms))
    return len(readings), list(fold(readings))
