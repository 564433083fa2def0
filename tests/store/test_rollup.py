"""Minutes for charts: whatever happens to the process and to the file, they tell what a plain model tells."""

import asyncio
import contextlib
import random
import sqlite3
import tracemalloc
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fakes.clock import START_MS, FakeClock
from fakes.gateway_store import Pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.api import Sample
from gateway.core import limits
from gateway.errors import DamagedError
from gateway.store.hours import HoursFile, Write, gaps, joined
from gateway.store.minutes import Charted, Hour, Minute, fold
from gateway.store.rollup import ROLLUP, Rollup
from gateway.store.series import Table, Taken
from gateway.store.space import free_bytes

HOUR_MS, MINUTE_MS = 3_600_000, 60_000
NOW = START_MS // MINUTE_MS


class Model:
    """Every reading that is durable, and what charts must tell of them. A set where several are equally the last."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)

    def add(self, source: str, records: Sequence[Any], time_ms: int, received_ms: int) -> None:
        if abs(time_ms // HOUR_MS - received_ms // HOUR_MS) <= 1:
            for name, _, value in records:
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self.values[source, name].append((time_ms, float(value)))

    def minutes(self, series: tuple[str, str], begin: int, end: int) -> list[tuple[int, float, float, set[float], int]]:
        by_minute: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for time_ms, value in self.values[series]:
            if begin <= time_ms // MINUTE_MS < end:
                by_minute[time_ms // MINUTE_MS].append((time_ms, value))
        told = []
        for at, found in sorted(by_minute.items()):
            values, newest = [value for _, value in found], max(time_ms for time_ms, _ in found)
            last = {value for time_ms, value in found if time_ms == newest}
            told.append((at, min(values), max(values), last, len(values)))
        return told


def same(told: Sequence[Minute], wanted: Sequence[tuple[int, float, float, set[float], int]]) -> None:
    assert [(*one[:3], one.count) for one in told] == [(*one[:3], one[4]) for one in wanted]
    assert all(one.last in other[3] for one, other in zip(told, wanted, strict=True))


async def check(rollup: Rollup, model: Model, *, begin: int = 0, end: int = 2**40) -> None:
    for series in list(model.values):
        same(await rollup.minutes(*series, begin, end), model.minutes(series, begin, end))


async def settle(rollup: Rollup) -> None:
    while await rollup.turn():
        pass


# -- one hour, and what readings come to ------------------------------------------------------------------------------

VALUE = st.one_of(st.floats(-1e9, 1e9), st.integers(-(2**53) + 1, 2**53 - 1), st.booleans(), st.text(max_size=3))
RECORDS = st.lists(st.tuples(st.sampled_from("abc"), st.none(), VALUE), max_size=4)
READINGS = st.lists(
    st.tuples(st.sampled_from(["s", "t", "gateway"]), RECORDS, st.integers(-90, 180), st.integers(0, 100)), max_size=60
)


def charted(readings: Sequence[tuple[str, list[Any], int, int]]) -> list[Charted]:
    """Each with its times: minutes from a full hour."""
    base = START_MS - START_MS % HOUR_MS
    return [
        (source, records, base + time * MINUTE_MS + number * 7_919 % MINUTE_MS, base + received * MINUTE_MS)
        for number, (source, records, time, received) in enumerate(readings)
    ]


def hours_of(readings: Sequence[Charted], part: int) -> dict[tuple[str, str], dict[int, Hour]]:
    """Folded so many at a time."""
    made: dict[tuple[str, str], dict[int, Hour]] = defaultdict(dict)
    for at in range(0, len(readings), part):
        for one in fold(readings[at : at + part]):
            made[one.source, one.name].setdefault(one.when // HOUR_MS, Hour()).put(one)
    return made


@given(READINGS, st.integers(1, 20))
def test_readings_come_to_what_the_model_says(readings: list[Any], part: int) -> None:
    model, given_ = Model(), charted(readings)
    for one in given_:
        model.add(*one)
    made = hours_of(given_, part)
    assert not any(source == "gateway" for source, _ in made)
    for series in model.values:
        if series[0] != "gateway":
            told = [m for number in sorted(made[series]) for m in made[series][number].minutes(number)]
            same(told, model.minutes(series, 0, 2**40))


@given(READINGS, READINGS)
def test_hours_are_merged_and_survive_their_bytes(some: list[Any], more: list[Any]) -> None:
    together = charted(some + more)
    apart = [hours_of(part, 100) for part in (together[: len(some)], together[len(some) :])]
    for series, hours in hours_of(together, 100).items():
        for number, hour in hours.items():
            halves = [made[series].get(number, Hour()) for made in apart]
            for first, second, older in ((halves[0].copy(), halves[1], False), (halves[1].copy(), halves[0], True)):
                first.merge(second, older=older)
                assert list(first.minutes(number)) == list(hour.minutes(number))
                assert list(Hour.unpack(first.pack()).minutes(number)) == list(hour.minutes(number))


def test_of_two_at_one_millisecond_the_later_is_the_last() -> None:
    hour = Hour()
    for value, older in ((1.0, False), (2.0, False), (0.0, True)):
        for part in fold([("s", [("a", None, value)], START_MS, START_MS)]):
            hour.put(part, older=older)
    ((_, low, high, last, count),) = hour.minutes(0)
    assert (low, high, last, count) == (0.0, 2.0, 2.0, 3)


def test_bytes_that_are_no_hour() -> None:
    hour = Hour()
    for part in fold([("s", [("a", None, 1.5)], START_MS, START_MS)]):
        hour.put(part)
    good = hour.pack()
    flips = [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at in range(len(good)) for bit in (1, 4, 128)]
    for bad in (b"", b"x", good[:-1], good[:-5], good + good, *flips):
        with contextlib.suppress(ValueError):
            assert list(Hour.unpack(bad).minutes(0)) == list(hour.minutes(0)), "zlib's head says nothing of the data"
    for raw in (b"", bytes(8), b"\xff" * 8, (1 << 60).to_bytes(8, "little") + bytes(30), bytes(8) + b"x", bytes(2_000)):
        with contextlib.suppress(ValueError):
            assert not list(Hour.unpack(zlib.compress(raw)).minutes(0))


RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


@given(RANGES, st.integers(0, 30), st.integers(0, 30))
def test_ranges(ranges: list[tuple[int, int]], low: int, high: int) -> None:
    rows = {row for begin, end in ranges for row in range(begin, end + 1)}
    told = joined(ranges)
    assert {row for begin, end in told for row in range(begin, end + 1)} == rows
    assert all(before[1] + 1 < after[0] for before, after in pairwise(told))
    missing = gaps(ranges, low, high)
    assert {row for begin, end in missing for row in range(begin, end + 1)} == set(range(low, high + 1)) - rows
    assert all(before[1] + 1 < after[0] for before, after in pairwise(missing))


# -- lives, kills and damage ------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("emit"), st.integers(0, 2), st.integers(-5, 5), st.one_of(st.none(), st.integers(-130, 70))),
    st.tuples(st.just("commit")),
    st.tuples(st.just("advance"), st.sampled_from([1, 20, 61, 1_800, 3_600, 7_300])),
    st.tuples(st.just("jump"), st.sampled_from([-7_200, -100, 5_000, 90_000])),
    st.tuples(st.just("turn")),
    st.tuples(st.just("write")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("stop")),
    st.tuples(st.just("kill")),
    st.tuples(st.just("damage"), st.integers(0, 2**32)),
)


class Life:
    """A gateway's pipeline through lives, and the model of what it made durable."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.model = folder, FakeClock(), Model()
        self.waiting: list[tuple[str, list[Any], int, int]] = []
        self.number = 0
        self.writing: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        self.gateway = await Pipeline.open(self.folder, clock=self.clock, linger_s=3600, max_count=5)
        assert await self.gateway.recover() is None
        self.gateway.start()
        await self.gateway.rollup.load()
        self.gateway.intake.event("start", number=7)
        await self.commit()

    def emit(self, source: int, value: float, late_min: int | None) -> None:
        self.number += 1
        number = self.number
        records = [("a", "Cel", value + number / 8), ("n", None, number), ("on", None, True), ("t", None, "x")]
        time = None if late_min is None else (self.clock.ms + late_min * MINUTE_MS + self.number) / 1000
        self.gateway.emit([Sample(f"s-{source}", records[: 1 + self.number % 4], b"", time=time)])
        time_ms = self.clock.ms if time is None else round(time * 1000)
        self.waiting.append((f"s-{source}", records[: 1 + self.number % 4], time_ms, self.clock.ms))
        self.clock.advance(0.001)  # two at one millisecond have no order that a kill could keep

    async def commit(self) -> None:
        await self.gateway.journal.commit()
        for one in self.waiting:
            self.model.add(*one)
        self.waiting = []

    async def write(self) -> None:
        """Begun now; it ends when what waits is durable."""
        self.writing.append(asyncio.create_task(self.gateway.rollup.write()))
        await asyncio.sleep(0)

    async def written(self) -> None:
        await self.commit()
        await asyncio.gather(*self.writing)
        self.writing = []

    async def stop(self) -> None:
        await self.written()
        await self.gateway.stop()
        await self.begin()

    async def end(self) -> None:
        for task in self.writing:
            task.cancel()
        await asyncio.gather(*self.writing, return_exceptions=True)
        self.writing, self.waiting = [], []
        await self.gateway.kill()

    async def kill(self) -> None:
        await self.end()
        await self.begin()

    async def damage(self, seed: int) -> None:
        """A bit, the tail, all of it, or another file in its place, before the next start."""
        await self.end()
        path, rng = self.folder / ROLLUP, random.Random(seed)
        if path.exists():
            self.spoil(path, rng)
        await self.begin()

    def spoil(self, path: Path, rng: random.Random) -> None:
        data = bytearray(path.read_bytes())
        match rng.randrange(5):
            case 0:
                path.unlink()
            case 1:
                del data[rng.randrange(len(data) + 1) :]
                path.write_bytes(data)
            case 2:
                path.write_bytes(rng.randbytes(5_000))
            case _:
                at = rng.randrange(len(data))
                data[at] ^= 1 << rng.randrange(8)
                path.write_bytes(data)

    async def step(self, what: str, *how: Any) -> None:
        rollup = self.gateway.rollup
        match what:
            case "emit":
                self.emit(*how)
            case "advance":
                self.clock.advance(*how)
            case "jump":
                self.clock.jump(self.clock.ms + how[0] * 1000)
            case "turn":
                await rollup.turn()
            case "settle":
                await settle(rollup)
            case _:
                await getattr(self, what)(*how)


async def live(folder: Path, steps: Sequence[tuple[Any, ...]]) -> None:
    life = Life(folder)
    await life.begin()
    try:
        for what, *how in steps:
            await life.step(what, *how)
        await life.written()
        await settle(life.gateway.rollup)
        await check(life.gateway.rollup, life.model)
        await check(life.gateway.rollup, life.model, begin=NOW - 45, end=NOW + 100)
    finally:
        await life.end()


@settings(max_examples=25)
@given(st.lists(STEP, max_size=25))
def test_lives_without_damage(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), [step for step in steps if step[0] != "damage"]))


@settings(max_examples=25)
@given(st.lists(STEP, max_size=25))
def test_lives_with_damage(steps: list[tuple[Any, ...]]) -> None:
    """Nothing was pruned, so all of it is made anew."""
    with TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), steps))


@contextlib.asynccontextmanager
async def living(folder: Path) -> AsyncIterator[Life]:
    life = Life(folder)
    await life.begin()
    try:
        yield life
    finally:
        await life.end()


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x55
    path.write_bytes(data)


async def test_damage_anywhere_is_found_at_a_start(tmp_path: Path) -> None:
    """Some bytes of every page: the charts are made anew, from a journal that has all of it."""
    async with living(tmp_path) as life:
        for _ in range(40):
            life.emit(0, 1.0, None)
            life.clock.advance(300)
        await life.commit()
        await life.gateway.rollup.write()
        size = (tmp_path / ROLLUP).stat().st_size
        for at in [*range(0, 110, 9), *range(110, size, 619)]:
            await life.end()
            flipped(tmp_path / ROLLUP, at)
            await life.begin()
            await settle(life.gateway.rollup)
            await check(life.gateway.rollup, life.model)


async def test_damage_under_a_gateway_that_runs(tmp_path: Path) -> None:
    """Whatever it is, nobody gets more than a gap, and the next start makes it good."""
    async with living(tmp_path) as life:
        rollup = life.gateway.rollup
        for at in range(0, 24_000, 337):
            life.emit(0, 1.0, None)
            life.clock.advance(600)
            await life.commit()
            await rollup.write()
            flipped(tmp_path / ROLLUP, at)
            await rollup.minutes("s-0", "a", 0, 2**40)
            await settle(rollup)
        await life.stop()
        await settle(life.gateway.rollup)
        await check(life.gateway.rollup, life.model)


async def test_what_is_damaged_is_made_anew_while_it_runs(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        rollup = life.gateway.rollup
        for _ in range(12):
            life.emit(0, 1.0, None)
            life.clock.advance(50)
            await life.commit()
            await rollup.write()
            await check(rollup, life.model)
        await settle(rollup)
        (tmp_path / ROLLUP).write_bytes(b"no file of charts" * 1_000)
        assert await rollup.minutes("s-0", "a", 0, 2**40) == []
        await settle(rollup)
        await check(rollup, life.model)


def test_a_changed_name_or_row_is_damage(tmp_path: Path) -> None:
    """What SQLite itself takes for sound."""
    file = HoursFile(tmp_path / ROLLUP, 0)
    for change in (
        "UPDATE series SET name='b'",
        "UPDATE covered SET high=high+1",
        "UPDATE stands_on SET last_ms=1",
        "UPDATE hour SET place=place+1",
        "DELETE FROM hour",
        "UPDATE hour SET data=zeroblob(99)",
    ):
        written(file, 1_000, None)
        file.load()
        with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as con:
            con.execute(change)
        with pytest.raises(DamagedError):
            file.load()
        file.throw_away()


def test_a_log_without_its_file_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    file = HoursFile(tmp_path / ROLLUP, 0)
    log = tmp_path / f"{ROLLUP}-wal"
    written(file, 1_000, None)
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as con:
        con.execute("UPDATE series SET name='old'")
        stale = log.read_bytes()
    assert stale
    for again in (file.throw_away, file.path.unlink):
        again()
        log.write_bytes(stale)
        file = HoursFile(tmp_path / ROLLUP, 0)
        file.throw_away()
        assert not log.exists()
        log.write_bytes(stale)
        written(file, 1_001, None)
        assert file.load().series == [("s", "a0", None)]
        assert kept(file) == [1_001]


async def test_the_last_of_one_millisecond_stays_the_last(tmp_path: Path) -> None:
    """Over a kill, and over hours that were written."""
    async with living(tmp_path) as life:
        at = life.clock.ms / 1000
        for value in (3.0, 1.0, 2.0):
            life.gateway.emit([Sample("s", [("a", None, value)], b"", time=at)])
            await life.gateway.journal.commit()
        await life.kill()
        await settle(life.gateway.rollup)
        assert [one.last for one in await life.gateway.rollup.minutes("s", "a", 0, 2**40)] == [2.0]
        life.gateway.emit([Sample("s", [("a", None, 0.0)], b"", time=at)])
        await life.gateway.journal.commit()
        await life.gateway.rollup.write()
        assert [one.last for one in await life.gateway.rollup.minutes("s", "a", 0, 2**40)] == [0.0]
        life.gateway.emit([Sample("s", [("a", None, 5.0)], b"", time=at)])
        await life.gateway.journal.commit()
        await life.kill()
        life.gateway.emit([Sample("s", [("a", "Cel", 4.0)], b"", time=at)])
        await life.gateway.journal.commit()
        await settle(life.gateway.rollup)
        assert [one.last for one in await life.gateway.rollup.minutes("s", "a", 0, 2**40)] == [4.0]
        assert life.gateway.rollup.names("s") == (("a", "Cel"),), "the unit is the newest, too"


# -- what is in the way -----------------------------------------------------------------------------------------------


async def test_a_file_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is in memory stays there, it is said once, and it is written when that can be done again."""
    async with living(tmp_path) as life:
        rollup = life.gateway.rollup
        (tmp_path / ROLLUP).mkdir()
        for _ in range(3):
            life.emit(0, 1.0, None)
            await life.commit()
            await rollup.write()
            await check(rollup, life.model)
        assert len([line for line in caplog.messages if "charts" in line]) <= 2
        (tmp_path / ROLLUP).rmdir()
        await rollup.write()
        await check(rollup, life.model)
        await life.kill()
        await settle(life.gateway.rollup)
        await check(life.gateway.rollup, life.model)


async def test_what_was_made_anew_and_could_not_be_written(tmp_path: Path) -> None:
    """It is neither lost nor counted twice."""
    async with living(tmp_path) as life:
        for _ in range(9):
            life.emit(0, 1.0, None)
            await life.commit()
        await life.kill()
        (tmp_path / ROLLUP).mkdir()
        await settle(life.gateway.rollup)
        await settle(life.gateway.rollup)
        await check(life.gateway.rollup, life.model)
        (tmp_path / ROLLUP).rmdir()
        await life.gateway.rollup.write()
        await life.kill()
        await settle(life.gateway.rollup)
        await check(life.gateway.rollup, life.model)


async def test_damage_while_hours_wait_for_a_commit(tmp_path: Path) -> None:
    """What was made anew, and is cut off and not written yet, is not made anew once more."""
    async with living(tmp_path) as life:
        for _ in range(3):
            life.emit(0, 1.0, None)
            await life.commit()
        await life.gateway.rollup.write()
        for _ in range(3):
            life.emit(0, 1.0, None)
            await life.commit()
        await life.kill()
        rollup, journal = life.gateway.rollup, life.gateway.journal
        journal.hold("no room")
        life.emit(0, 1.0, None)
        await settle(rollup)
        held = journal.wake(now=True)
        while journal.batch.done is held:
            await asyncio.sleep(0)
        life.emit(0, 1.0, None)
        assert rollup._cut is not None
        assert rollup._cut.remade
        assert [one.count for one in await rollup.minutes("s-0", "a", 0, 2**40)] == [8]
        (tmp_path / ROLLUP).write_bytes(b"no file of charts" * 1_000)
        await rollup.minutes("s-0", "a", 0, 2**40)
        await settle(rollup)
        assert [one.count for one in await rollup.minutes("s-0", "a", 0, 2**40)] == [8]
        journal.release()
        await life.commit()
        await rollup.write()
        await settle(rollup)
        await check(rollup, life.model)


async def test_an_older_copy_in_its_place(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        rollup, path = life.gateway.rollup, tmp_path / ROLLUP
        life.emit(0, 1.0, None)
        await life.commit()
        await rollup.write()
        older = path.read_bytes()
        for _ in range(2):
            life.emit(0, 1.0, None)
            await life.commit()
            await rollup.write()
            path.write_bytes(older)
        await settle(rollup)
        await rollup.write()
        await settle(rollup)
        life.emit(0, 1.0, None)
        await life.commit()
        await rollup.write()
        await settle(rollup)
        await check(rollup, life.model)


async def test_a_clock_that_nobody_vouches_for_deletes_nothing(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        rollup = life.gateway.rollup
        life.emit(0, 1.0, None)
        await life.commit()
        await rollup.write()
        life.clock.synchronised = False
        life.clock.jump(life.clock.ms + 90 * 24 * HOUR_MS)
        life.emit(0, 1.0, None)
        await life.commit()
        await rollup.write()
        await check(rollup, life.model)
        life.clock.synchronised = True
        life.emit(0, 1.0, None)
        await life.commit()
        await rollup.write()
        ((at, *_),) = await rollup.minutes("s-0", "a", 0, 2**40)
        assert at == life.clock.ms // MINUTE_MS


async def test_a_disk_without_room(tmp_path: Path) -> None:
    """Charts are given up before readings wait for room, and begin again when there is some."""
    async with living(tmp_path) as life:
        rollup = life.gateway.rollup
        life.emit(0, 1.0, None)
        await life.commit()
        await rollup.write()
        assert (tmp_path / ROLLUP).exists()
        free = await asyncio.to_thread(free_bytes, tmp_path)
        rollup._file.min_free = free * 4
        life.emit(0, 2.0, None)
        await life.commit()
        await settle(rollup)
        assert not (tmp_path / ROLLUP).exists()
        await rollup.write()
        assert not (tmp_path / ROLLUP).exists()
        ((_, low, high, _, count),) = await rollup.minutes("s-0", "a", 0, 2**40)
        assert (count, low) == (1, high), "what was not written stays"
        rollup._file.min_free = 0
        await rollup.write()
        assert (tmp_path / ROLLUP).exists()


async def test_another_journal(tmp_path: Path) -> None:
    """Rows of a store that was made anew are other rows: nothing is counted twice, nothing is left out."""
    for name in "ab":
        (tmp_path / name).mkdir()
    async with living(tmp_path / "a") as first, living(tmp_path / "b") as second:
        for life in (first, second):
            for _ in range(5):
                life.emit(0, 1.0, None)
                life.clock.advance(70)
            await life.commit()
            await life.gateway.rollup.write()
        first.emit(0, 9.0, None)
        await first.commit()
        await first.stop()
        await second.end()
        (tmp_path / "b" / ROLLUP).write_bytes((tmp_path / "a" / ROLLUP).read_bytes())
        await second.begin()
        await settle(second.gateway.rollup)
        await check(second.gateway.rollup, second.model)


# -- limits -----------------------------------------------------------------------------------------------------------


def many(sources: int, names: int, *, hour: int = 0, value: float = 1.0) -> list[Charted]:
    at = START_MS + hour * HOUR_MS
    return [(f"m-{n}", [(f"v{i}", None, value + i) for i in range(names)], at, at) for n in range(sources)]


def filled(sources: int, names: int) -> Table:
    table = Table()
    table.hour = START_MS // HOUR_MS
    table.put(fold(many(sources, names)))
    return table


def test_so_many_values_and_no_more() -> None:
    at_limit = limits.ROLLUP_SERIES // 64
    table = filled(at_limit, 64)
    assert not table.refused_in
    assert table.held == limits.ROLLUP_SERIES
    table.put(fold([("one-more", [("a", None, 1.0)], START_MS, START_MS)]))
    assert table.names("one-more") == ()
    assert table.refused_in == table.hour
    assert len(table.names("m-0")) == 64, "those that are known go on"
    table.put(fold(many(1, 64, value=9.0)))
    assert next(table.hours("m-0", "v0")[table.hour].minutes(table.hour)).count == 2


def test_so_many_values_of_one_source() -> None:
    table = filled(1, limits.ROLLUP_SERIES_OF_SOURCE)
    assert not table.refused_in
    table.put(fold(many(1, limits.ROLLUP_SERIES_OF_SOURCE + 1)))
    assert len(table.names("m-0")) == limits.ROLLUP_SERIES_OF_SOURCE
    assert table.refused_in
    table.put(fold([("other", [("a", None, 1.0)], START_MS, START_MS)]))
    assert table.names("other") == (("a", None),)


def test_silent_values_make_room() -> None:
    table = filled(limits.ROLLUP_SERIES // 64, 64)
    taken = table.take()
    table.put(fold([("early", [("a", None, 1.0)], START_MS, START_MS)]))
    assert table.names("early") == (), "they were all heard in this hour"
    table.hour += 2
    table.put(fold(many(1, 64, hour=2)))
    table.put(fold([("one-more", [("a", "Cel", 1.0)], START_MS + 2 * HOUR_MS, START_MS + 2 * HOUR_MS)]))
    assert table.names("one-more") == (("a", "Cel"),)
    assert len(table.names("m-0")) == 64
    assert table.names("m-1") == ()
    table.put_back(taken)
    assert table.held <= limits.ROLLUP_HOURS
    assert sorted(table.hours("m-0", "v0")) == [table.hour - 2, table.hour]


def test_so_many_hours_and_no_more() -> None:
    table = Table()
    for hour in range(limits.ROLLUP_HOURS // 64 + 1):
        table.put(fold(many(1, 64, hour=hour)))
    assert table.held == limits.ROLLUP_HOURS
    assert sum(len(one.hours) for one in table.take().values()) == limits.ROLLUP_HOURS


def test_memory_at_the_limit() -> None:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        table = Table()
        for hour in range(limits.ROLLUP_HOURS // limits.ROLLUP_SERIES):
            table.put(fold(many(limits.ROLLUP_SERIES // 64, 64, hour=hour)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.held == limits.ROLLUP_HOURS
    assert held - before < 12 * 2**20


async def test_more_values_than_are_charted_are_told(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        rollup = life.gateway.rollup
        records = [(f"v{n}", None, float(n)) for n in range(limits.ROLLUP_SERIES_OF_SOURCE + 1)]
        life.gateway.emit([Sample("s", records, b"")])
        await life.gateway.journal.commit()
        (problem,) = rollup.problems
        assert (problem.condition, problem.severity) == ("charts-full", "note")
        life.clock.advance(3 * 3_600)
        await rollup.turn()
        assert rollup.problems == []


async def test_what_is_written_is_cut_between_two_commits(tmp_path: Path) -> None:
    """Readings of the open commit wait for it; those of the next one are not among them, whoever is killed when."""
    async with living(tmp_path) as life:
        life.emit(0, 1.0, None)
        await life.write()
        life.emit(0, 2.0, None)
        await asyncio.sleep(0.02)
        assert not (tmp_path / ROLLUP).exists(), "nothing of it is durable yet"
        durable = life.gateway.journal.wake(now=True)
        while life.gateway.journal.batch.done is durable:
            await asyncio.sleep(0)
        for one in life.waiting:
            life.model.add(*one)
        life.waiting = []
        life.emit(0, 3.0, None)
        await asyncio.gather(*life.writing)
        assert (tmp_path / ROLLUP).exists()
        await life.kill()
        await settle(life.gateway.rollup)
        await check(life.gateway.rollup, life.model)
        ((_, _, _, _, count),) = await life.gateway.rollup.minutes("s-0", "a", 0, 2**40)
        assert count == 2


async def test_a_commit_that_nobody_makes_durable_holds_nothing_up(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.emit(0, 1.0, None)
        await life.commit()
        life.gateway.journal.hold("no room")
        life.emit(0, 2.0, None)
        life.clock.advance(3_600)
        rollup = life.gateway.rollup
        assert not await rollup.turn()
        assert not await rollup.turn()
        tasks = asyncio.all_tasks()
        await rollup.close()
        assert asyncio.all_tasks() == tasks, "nobody waits for it"
        assert not (tmp_path / ROLLUP).exists()
        ((_, low, high, _, count),) = await rollup.minutes("s-0", "a", 0, 2**40)
        assert (low, high, count) == (1.125, 2.25, 2), "what was taken in is told all the same"
        life.gateway.journal.release()
        await life.commit()
        await rollup.turn()
        assert (tmp_path / ROLLUP).exists()
        await check(rollup, life.model)


async def test_an_hour_that_is_over_is_written(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        life.emit(0, 1.0, None)
        await life.commit()
        await settle(life.gateway.rollup)
        assert not (tmp_path / ROLLUP).exists(), "an hour that is not over is in memory only"
        life.clock.advance(3_600)
        await life.gateway.rollup.turn()
        assert (tmp_path / ROLLUP).stat().st_mode & 0o777 == 0o600
        assert life.gateway.rollup._table.held == 0
        await check(life.gateway.rollup, life.model)


def written(file: HoursFile, hour: int, keep: tuple[int, int] | None, *, values: int = 1, seed: int = 0) -> None:
    rng, taken = random.Random(seed or hour), {}
    for n in range(values):
        made = Hour()
        for minute in range(60):
            at = hour * HOUR_MS + minute * MINUTE_MS
            for part in fold(
                [("s", [("a", None, rng.random())], at, at), ("s", [("a", None, rng.random())], at + 1, at)]
            ):
                made.put(part)
        taken["s", f"a{n}"] = Taken(None, {hour: made})
    file.write(Write(taken, [(1, hour)], (hour, 0, 0, 0), keep))


def kept(file: HoursFile) -> list[int]:
    return sorted({one.at // 60 for one in file.minutes(("s", "a0"), {}, 0, 2**40)})


def test_what_is_older_than_eight_days_goes(tmp_path: Path) -> None:
    file = HoursFile(tmp_path / ROLLUP, 0)
    for hour in (1_000, 1_001, 5_000):
        written(file, hour, None)
    assert kept(file) == [1_000, 1_001, 5_000]
    written(file, 1_002, (1_001, 1_400))
    assert kept(file) == [1_001, 1_002], "also what a wrong clock put far ahead"
    assert file.load().series == [("s", "a0", None)]


def test_values_that_have_gone_leave_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ROLLUP_SERIES", 4)
    file = HoursFile(tmp_path / ROLLUP, 0)
    written(file, 1_000, None, values=9)
    written(file, 2_000, (1_900, 2_100), values=2)
    assert {name for _, name, _ in file.load().series} == {"a0", "a1"}


def test_the_file_keeps_to_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest hours go; what comes is never refused for want of room."""
    monkeypatch.setattr(limits, "ROLLUP_BYTES", 1024 * 1024)
    file = HoursFile(tmp_path / ROLLUP, 0)
    for hour in range(1_000, 1_060):
        written(file, hour, None, values=20)
        assert file.path.stat().st_size <= limits.ROLLUP_BYTES
    hours = kept(file)
    assert hours == list(range(hours[0], 1_060))
    assert 10 < len(hours) < 55


async def test_what_is_too_much_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest readings come first, and there is an end to it, which a restart does not begin again."""
    async with living(tmp_path) as life:
        for n in range(20):
            life.emit(0, float(n), None)
            life.clock.advance(70)
            await life.commit()
        await life.kill()
        monkeypatch.setattr(limits, "ROLLUP_REMADE", 6)
        rollup = life.gateway.rollup
        await settle(rollup)
        told = await rollup.minutes("s-0", "a", 0, 2**40)
        assert 6 < len(told) < 15
        assert told[-1].at == max(at for at, *_ in life.model.minutes(("s-0", "a"), 0, 2**40))
        await life.kill()
        await settle(life.gateway.rollup)
        assert await life.gateway.rollup.minutes("s-0", "a", 0, 2**40) == told


async def test_readings_older_than_charts_go_are_not_made_anew(tmp_path: Path) -> None:
    async with living(tmp_path) as life:
        for _ in range(12):
            life.emit(0, 1.0, None)
            await life.commit()
        life.clock.advance((limits.ROLLUP_KEPT_H + 1) * 3_600)
        for _ in range(6):
            life.emit(0, 1.0, None)
            await life.commit()
        await life.kill()
        await settle(life.gateway.rollup)
        told = await life.gateway.rollup.minutes("s-0", "a", 0, 2**40)
        recent = [one for one in told if one.at // 60 == life.clock.ms // HOUR_MS]
        assert sum(one.count for one in recent) == 6
        assert len(told) - len(recent) <= 4, "a page that begins with what is recent may end with what is not"
