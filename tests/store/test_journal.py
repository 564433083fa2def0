"""The journal: durable when it says so, divided where blocks end, and the same after any restart."""

import asyncio
import hashlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import FakeClock
from fakes.gateway_store import Pipeline, check_chain, pipeline, sample, signer, until, values
from fakes.recorder import Recorder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from drivers.api import Delivery
from gateway.core import block, body, limits, senml
from gateway.errors import StoreError
from gateway.store import DATABASE, journal
from gateway.store.blocks import inflate
from gateway.store.database import Database, Schema, create_file
from gateway.store.journal import Journal, OpenBlock, Waiting, open_block, source_bit

APART = 5_000  # bytes: a payload that travels apart


def read(data_dir: Path, sql: str = "SELECT height,count,secret,keys,data,bytes FROM journal ORDER BY row") -> list:
    """What another process finds on disk at this moment."""
    con = sqlite3.connect(data_dir / DATABASE)
    try:
        return con.execute(sql).fetchall()
    finally:
        con.close()


def count(data_dir: Path) -> int:
    return sum(row[1] for row in read(data_dir))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_FULL_RETRY_S", 0.005)


# Durability


async def test_a_future_completes_when_a_second_connection_finds_the_readings(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=0.001) as gateway:
        seen: list[tuple[int, int]] = []
        for wanted in range(3, 63, 3):
            future = gateway.emit([sample(value=n) for n in range(3)])
            future.add_done_callback(lambda _, wanted=wanted: seen.append((wanted, count(tmp_path))))
            if wanted % 2:
                await future
        await gateway.journal.commit()
        assert [wanted for wanted, _ in seen] == list(range(3, 63, 3))
        assert all(found >= wanted for wanted, found in seen)


async def test_the_counts_are_right_before_anybody_acknowledges(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        future = gateway.emit([sample()])
        seen: list[int] = []
        future.add_done_callback(lambda _: seen.append(gateway.intake.tallies["climate"].stored))
        await future
        await until(lambda: bool(seen))
        assert seen == [1]


async def test_whoever_is_cancelled_while_it_waits_takes_the_commit_from_nobody(tmp_path: Path) -> None:
    """A driver that is stopped while it awaits its future must not make another one acknowledge."""
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        acknowledged: list[int] = []
        other = gateway.intake.emitter("other", {})
        first, second = gateway.emit([sample(value=1)]), other([sample(value=2)])
        second.add_done_callback(lambda _: acknowledged.append(count(tmp_path)))
        task = asyncio.create_task(asyncio.wait_for(first, 3600))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert first.cancelled()
        assert not second.done()
        assert gateway.intake.tallies["climate"].stored == 0
        await gateway.journal.commit()
        await second
        assert acknowledged == [2]
        assert gateway.intake.tallies["climate"].stored == 2


async def test_whoever_gives_up_waiting_cuts_no_commit_short(tmp_path: Path) -> None:
    for after in range(8):
        folder = tmp_path / str(after)
        folder.mkdir()
        async with pipeline(folder, linger_s=3600) as gateway:
            future = gateway.emit([sample(value=n, payload=b"p" * APART) for n in range(3)])
            giving_up = asyncio.create_task(gateway.journal.commit())
            for _ in range(after):
                await asyncio.sleep(0)
            giving_up.cancel()
            gateway.emit([sample(value=3)])
            await gateway.journal.commit()
            await future
            await gateway.age()
            assert values(await check_chain(gateway.store)) == [0, 1, 2, 3]


async def test_where_nothing_is_to_be_written_the_future_completes_all_the_same(tmp_path: Path) -> None:
    """Else a driver that saw only noise, or only redeliveries, would wait for ever."""
    async with pipeline(tmp_path) as gateway:
        for _ in range(3):
            async with asyncio.timeout(10):
                await gateway.journal.wake()
                await gateway.journal.commit()
        assert gateway.journal.commits == 0
        assert read(tmp_path) == []


async def test_an_error_of_the_store_completes_no_future(tmp_path: Path) -> None:
    gateway = (await Pipeline.open(tmp_path, linger_s=3600)).start()
    await gateway.store.db.transact([("ALTER TABLE journal RENAME TO elsewhere", ())])
    future = gateway.emit([sample()])
    commit = asyncio.create_task(gateway.journal.commit())
    with pytest.raises(StoreError):
        await gateway.tasks[0]
    assert not future.done()
    assert not commit.done()
    assert gateway.intake.tallies["climate"].stored == 0
    commit.cancel()
    await asyncio.gather(commit, return_exceptions=True)
    await gateway.kill()


# When a commit is made


async def _settled() -> None:
    """Long enough for a commit that is due: many turns of the loop, and of a thread."""
    for _ in range(20):
        await asyncio.to_thread(lambda: None)


@pytest.mark.parametrize("window", [1, 3, 20])
async def test_a_full_window_is_committed_at_once(tmp_path: Path, window: int) -> None:
    async with pipeline(tmp_path, linger_s=3600, windows={"local": window}) as gateway:
        for again in range(3):
            futures = []
            for n in range(window):
                await _settled()
                assert not any(future.done() for future in futures)
                delivery = Delivery("local", again * window + n + 1, bytes(8), dup=False)
                futures.append(gateway.emit([sample(delivery=delivery)]))
            await asyncio.gather(*futures)
            assert gateway.journal.commits == again + 1


async def test_the_window_is_each_brokers_own(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600, windows={"local": 3, "other": 3}) as gateway:
        for n, broker in enumerate(["local", "local", "other", "other", "unnamed", "unnamed", "unnamed"], 1):
            gateway.emit([sample(delivery=Delivery(broker, n, bytes(8), dup=False))])
        await _settled()
        assert gateway.journal.commits == 0
        await gateway.emit([sample(delivery=Delivery("other", 9, bytes(8), dup=False))])
        assert count(tmp_path) == 8


async def test_samples_of_one_message_count_once_against_the_window(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600, windows={"local": 2}) as gateway:
        delivery = Delivery("local", 1, bytes(8), dup=False)
        gateway.emit([sample(f"s-{n}", delivery=delivery) for n in range(5)])
        await _settled()
        assert gateway.journal.commits == 0


async def test_the_linger_gathers_what_comes_together(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=0.02) as gateway:
        futures = [gateway.emit([sample(value=n)]) for n in range(50)]
        await asyncio.gather(*futures)
        assert gateway.journal.commits == 1
        await gateway.emit([sample()])
        assert gateway.journal.commits == 2


async def test_what_arrives_during_a_commit_is_in_the_next(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600) as gateway:
        first = gateway.emit([sample(value=0)])
        commit = asyncio.create_task(gateway.journal.commit())
        while not gateway.journal._committing.locked():
            await asyncio.sleep(0)
        second = gateway.emit([sample(value=1)])
        await commit
        assert first.done()
        assert not second.done()
        await gateway.journal.commit()
        assert second.done()
        assert [row[1] for row in read(tmp_path)] == [1, 1]


@pytest.mark.parametrize(("number", "size"), [(limits.BATCH_READINGS, 10), (8, limits.BATCH_BYTES // 8)])
async def test_a_large_batch_does_not_linger(tmp_path: Path, number: int, size: int) -> None:
    async with pipeline(tmp_path, linger_s=3600, max_count=4_096) as gateway:
        item = body.item(senml.build("s", [("a", None, 1)], bt_ms=FakeClock().ms), bytes(size - 3))
        one = Waiting(item, FakeClock().ms, FakeClock().ms, 1)
        batch = gateway.journal.batch
        for n in range(1, number + 1):
            batch.readings.append(one)
            batch.size += size
            future = gateway.journal.wake()
            if n == number - 1:
                await _settled()
                assert gateway.journal.commits == 0
        await future
        assert gateway.journal.commits == 1


# Where blocks end


@pytest.mark.parametrize("number", [journal._APART_AT_ONCE, journal._APART_AT_ONCE + 1])
async def test_the_items_of_many_payloads_apart_are_made_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    threads = set()
    made = journal._items

    def recorded(*args: Any) -> list[bytes]:
        threads.add(threading.current_thread())
        return made(*args)

    monkeypatch.setattr(journal, "_items", recorded)
    async with pipeline(tmp_path, linger_s=3600, max_count=100) as gateway:
        gateway.emit([sample(value=n, payload=b"p" * APART) for n in range(number)])
        await gateway.journal.commit()
        await gateway.age()
        assert values(await check_chain(gateway.store)) == list(range(number))
    assert (threads == {threading.main_thread()}) is (number == journal._APART_AT_ONCE)
    assert len(threads) == 1


def waiting(n: int, apart: bool) -> Waiting:
    """Reading `n`; apart, its item tells with which secret and index it was made."""
    pack = senml.build("s", [("n", None, n)], bt_ms=FakeClock().ms + n)

    def item(secret: bytes, index: int) -> bytes:
        return body.item(pack, block.payload_digest(block.raw_salt(secret, index), b"%d" % n))

    return Waiting(item if apart else body.item(pack), FakeClock().ms + n, n, source_bit("s"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose journal each example empties first."""
    folder = tmp_path_factory.mktemp("journal")
    create_file(folder / DATABASE, JOURNAL_ALONE)
    return folder


JOURNAL_ALONE = Schema(7, (journal.SCHEMA,))

batches = st.lists(st.lists(st.booleans(), min_size=1, max_size=23), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=batches, max_count=st.integers(1, 9), already=st.integers(0, 8))
def test_every_reading_is_in_its_place(scratch: Path, told: list[list[bool]], max_count: int, already: int) -> None:
    """Each block holds exactly `max_count`; a payload apart is salted with its own block's secret and its own index."""

    async def run() -> OpenBlock:
        db = await Database.open(scratch / DATABASE, JOURNAL_ALONE)
        await db.transact([("DELETE FROM journal", ())])
        made = Journal(db, OpenBlock(5), linger_s=3600, max_count=max_count, monotonic=lambda: 0.0)
        task = asyncio.create_task(made.run())
        n = 0
        for batch in [[False] * already, *told]:
            for apart in batch:
                made.batch.readings.append(waiting(n, apart))
                n += 1
            await made.commit()
            found = await open_block(db, 0, 5, None)
            if made.block.readings:
                assert found == made.block
            else:
                again = Journal(db, found, linger_s=0, max_count=max_count, monotonic=lambda: 0.0)
                assert again.block == made.block
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await db.close()
        return made.block

    now = asyncio.run(run())
    apart = [False] * already + [one for batch in told for one in batch]
    blocks: dict[int, list[bytes]] = {}
    secrets: dict[int, list[bytes]] = {}
    for height, number, secret, _, data, size in read(scratch):
        plain = inflate(data)
        assert size == len(plain)
        items = list(body.read_items(plain))
        assert number == len(items)
        before = blocks.setdefault(height, [])
        secrets.setdefault(height, []).append(secret)
        for index, (pack, payload) in enumerate(items, len(before)):
            (record,) = senml.resolve(pack).records
            assert isinstance(record.value, int)
            assert (payload is not None) == apart[record.value]
            if payload is not None:
                salt = block.raw_salt(secrets[height][0], index)
                assert payload == block.payload_digest(salt, b"%d" % record.value)
        before += [pack for pack, _ in items]
    assert values([pack for height in sorted(blocks) for pack in blocks[height]], "n") == list(range(len(apart)))
    full, rest = divmod(len(apart), max_count)
    assert [len(blocks[height]) for height in sorted(blocks)] == [max_count] * full + [rest] * bool(rest)
    assert sorted(blocks) == list(range(5, 5 + len(blocks)))
    assert (now.height, now.readings) == (5 + full, rest)
    for kept in secrets.values():
        assert len(kept[0]) == 32
        assert set(kept[1:]) <= {None}
    assert len({kept[0] for kept in secrets.values()}) == len(blocks)


async def test_a_batch_over_many_blocks_is_one_commit(tmp_path: Path) -> None:
    """More rows than one statement takes: they are there all, or none."""
    async with pipeline(tmp_path, linger_s=3600, max_count=1) as gateway:
        future = gateway.emit([sample(value=n) for n in range(700)])
        found: set[int] = set()
        while not future.done():
            found.add(await asyncio.to_thread(count, tmp_path))
            gateway.journal.wake(now=True)
        assert found <= {0, 700}
        assert count(tmp_path) == 700
        assert gateway.journal.block == OpenBlock(700)


async def test_a_block_ends_where_its_body_would_be_too_large(tmp_path: Path) -> None:
    """A body has at most 64 MiB (docs/format.md, section 7), however few readings that are."""
    payload, number = bytes(65_536), limits.BODY_BYTES // 65_536 + 3
    async with pipeline(tmp_path, max_count=limits.BLOCK_LEAVES) as gateway:
        for n in range(0, number, 50):
            await gateway.emit([sample(value=v, payload=payload) for v in range(n, min(n + 50, number))])
        await gateway.age()
        assert gateway.store.blocks.size == 2
        for height in range(2):
            data = b"".join([chunk async for chunk in gateway.store.blocks.body_chunks(height)])
            assert len(data) <= limits.BODY_BYTES
            if height == 0:
                assert len(data) > limits.BODY_BYTES - 2 * len(payload)
        assert values(await check_chain(gateway.store)) == list(range(number))


async def test_a_block_that_is_just_full_leaves_nothing_to_grow_old(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_count=4, max_age_s=60, heartbeat_s=600) as gateway:
        await gateway.emit([sample()])
        await gateway.emit([sample() for _ in range(3)])
        await gateway.sealed()
        assert gateway.journal.block == OpenBlock(1)
        gateway.clock.advance(61)
        gateway.journal.grown.set()
        await _settled()
        assert gateway.store.blocks.size == 1
        await gateway.emit([sample()])
        gateway.clock.advance(59)
        gateway.journal.grown.set()
        await _settled()
        assert gateway.store.blocks.size == 1
        gateway.clock.advance(2)
        gateway.journal.grown.set()
        await gateway.store.blocks.wait_beyond(1)
        assert (await gateway.store.blocks.header(1)).count == 1


async def test_a_cut_never_falls_inside_a_commit(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600, max_count=100) as gateway:
        for n in range(20):
            gateway.emit([sample(value=n, payload=b"p" * APART)])
            commit = asyncio.create_task(gateway.journal.commit())
            for _ in range(n % 7):
                await asyncio.sleep(0)
            await asyncio.gather(commit, gateway.journal.cut())
        await gateway.journal.cut()
        gateway.journal.grown.set()
        await gateway.sealed()
        assert values(await check_chain(gateway.store)) == list(range(20))


async def test_keys_alone_are_written_and_belong_to_the_block(tmp_path: Path) -> None:
    async with pipeline(tmp_path, linger_s=3600, max_count=2) as gateway:
        gateway.journal.batch.keys.lost("local")
        await gateway.journal.commit()
        assert [(row[0], row[1], row[3]) for row in read(tmp_path)] == [(0, 0, b"\x05local\0\0")]
        assert gateway.journal.block_since is None
        gateway.emit([sample(value=n, payload=b"p" * APART) for n in range(3)])
        await gateway.journal.commit()
        await gateway.age()
        assert values(await check_chain(gateway.store)) == [0, 1, 2]


# Whether it stores


async def test_a_commit_that_takes_too_long_is_known(tmp_path: Path) -> None:
    """A card that hangs: at the limit and one past it, by the time that passes and no clock that is set."""
    go_on = threading.Event()

    def item(secret: bytes, index: int) -> bytes:
        assert go_on.wait(60)
        return body.item(senml.build("climate", [("n", None, index)], bt_ms=1_800_000_000_000, quality=0))

    async with pipeline(tmp_path) as gateway:
        assert gateway.journal.stores
        batch = gateway.journal.batch
        batch.readings += [Waiting(item, 1_800_000_000_000, 1_800_000_000_000, 1)] * 257
        batch.apart = len(batch.readings)  # so many are made in a thread
        durable = gateway.journal.wake(now=True)
        await until(lambda: gateway.journal.batch is not batch)
        gateway.clock.mono += limits.COMMIT_S
        assert gateway.journal.stores
        gateway.clock.mono += 0.1
        assert not gateway.journal.stores
        go_on.set()
        await durable
        assert gateway.journal.stores


async def test_a_journal_that_is_held_does_not_store(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        gateway.journal.hold("the store is full")
        assert not gateway.journal.stores
        gateway.journal.release()
        assert gateway.journal.stores


# No room


async def _quota(gateway: Pipeline, pages: int) -> None:
    ((now,),) = await gateway.store.db.read("PRAGMA page_count")
    await gateway.store.db.insert(f"PRAGMA max_page_count={now + pages}", ())


async def test_where_there_is_no_room_what_waits_stays_waiting(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_count=100) as gateway:
        await gateway.emit([sample(value=0, payload=b"p" * APART)])
        await _quota(gateway, 4)
        noise = hashlib.shake_256(b"").digest(APART)
        futures = [gateway.emit([sample(value=n, payload=noise) for n in (1, 2, 3)])]
        await until(lambda: gateway.journal.full)
        assert not gateway.journal.stores
        futures.append(gateway.emit([sample(value=4, payload=noise)]))
        await asyncio.wait_for(gateway.journal.cut(), 10)  # is not kept waiting, and moves the readings on
        await _settled()
        assert not any(future.done() for future in futures)
        assert count(tmp_path) == 1
        await _quota(gateway, 10_000)
        await asyncio.gather(*futures)
        assert not gateway.journal.full
        assert gateway.journal.stores
        await gateway.age()
        assert values(await check_chain(gateway.store)) == [0, 1, 2, 3, 4]
        assert [(await gateway.store.blocks.header(height)).count for height in range(2)] == [1, 4]


# Any restart


class Crash(Exception):
    """The sealer ends here, as if the power had gone."""


class _Failing:
    """Blocks, or a sign-state, whose next call of `where` fails before or after it was done."""

    def __init__(self, real: object, where: dict[str, str]) -> None:
        self._real, self._where = real, where

    def __getattr__(self, name: str) -> object:
        value = getattr(self._real, name)
        if name not in ("save_plan", "swap", "publish"):
            return value

        async def call(*args: object) -> object:
            if self._where.pop(f"before {name}", None):
                raise Crash
            result = await value(*args)
            if self._where.pop(f"after {name}", None):
                raise Crash
            return result

        return call


STEPS = [f"{when} {step}" for step in ("save_plan", "swap", "publish") for when in ("before", "after")]


class JournalAndSealer(RuleBasedStateMachine):
    """Whatever happens, wherever it is cut off: each reading once, in order, in verified blocks, one header each."""

    folder: Path  # of the test; each run has its own inside

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        JournalAndSealer.runs = getattr(JournalAndSealer, "runs", 0) + 1
        self.dir = self.folder / str(JournalAndSealer.runs)
        self.dir.mkdir()
        self.clock = FakeClock()
        self.key = Recorder(signer())
        self.where: dict[str, str] = {}
        self.next = 0
        self.durable: list[int] = []  # acknowledged, or found after a crash
        self.pending: list[tuple[asyncio.Future[None], list[int]]] = []

    @initialize(max_count=st.integers(1, 5))
    def begin(self, max_count: int) -> None:
        self.runner.run(self._open(max_count))

    async def _open(self, max_count: int) -> None:
        self.where.clear()
        self.gateway = await Pipeline.open(
            self.dir, clock=self.clock, max_count=max_count, linger_s=0.001, wrap=lambda b: _Failing(b, self.where)
        )
        held = await self.gateway.recover(self.key, wrap=lambda s: _Failing(s, self.where))
        assert held is None
        await check_chain(self.gateway.store)
        self.gateway.start()

    @rule(number=st.integers(1, 7), size=st.sampled_from([10, APART]), wait=st.booleans())
    def send(self, number: int, size: int, wait: bool) -> None:
        self.runner.run(self._send(number, size, wait))

    async def _send(self, number: int, size: int, wait: bool) -> None:
        new = list(range(self.next, self.next + number))
        self.next += number
        self.clock.advance(0.5)
        assert self.gateway.journal.block.height >= self.gateway.store.blocks.size
        self.pending.append((self.gateway.emit([sample(value=n, payload=b"%d" % n * size) for n in new]), new))
        if wait:
            await self.gateway.running(self.gateway.journal.commit())
        await asyncio.sleep(0)
        self._acknowledged()

    def _acknowledged(self) -> None:
        while self.pending and self.pending[0][0].done():
            self.durable += self.pending.pop(0)[1]

    @rule()
    def grow_old(self) -> None:
        if not self.gateway.tasks[1].done():
            self.runner.run(self.gateway.age())
            self._acknowledged()

    @rule(step=st.sampled_from(STEPS), max_count=st.integers(1, 5))
    def crash_while_sealing(self, step: str, max_count: int) -> None:
        self.runner.run(self._crash_while_sealing(step))
        self.runner.run(self._restart(max_count))

    async def _crash_while_sealing(self, step: str) -> None:
        self.where[step] = step
        self.clock.advance(3600)
        self.gateway.journal.grown.set()
        with pytest.raises(Crash):
            await self.gateway.tasks[1]

    @rule(turns=st.integers(0, 12), max_count=st.integers(1, 5))
    def crash(self, turns: int, max_count: int) -> None:
        self.runner.run(self._crash(turns))
        self.runner.run(self._restart(max_count))

    async def _crash(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    @rule(max_count=st.integers(1, 5))
    def stop_and_start(self, max_count: int) -> None:
        self.runner.run(self._stop_and_start(max_count))

    async def _stop_and_start(self, max_count: int) -> None:
        await self.gateway.stop()
        self._acknowledged()
        assert not self.pending
        await self._open(max_count)

    async def _restart(self, max_count: int) -> None:
        await self.gateway.kill()
        self._acknowledged()
        found = await asyncio.to_thread(self._found)
        assert found[: len(self.durable)] == self.durable
        # What nobody acknowledged is there whole, in order, or not at all.
        rest = found[len(self.durable) :]
        for _, new in self.pending:
            if rest[: len(new)] == new:
                del rest[: len(new)]
        assert rest == []
        self.durable, self.pending = found, []
        await self._open(max_count)

    def _found(self) -> list[int]:
        items = [item for row in read(self.dir) for item in body.read_items(inflate(row[4]))]
        return values([pack for pack, _ in items])  # type: ignore[return-value]

    def teardown(self) -> None:
        try:
            if hasattr(self, "gateway"):
                self.runner.run(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        await self.gateway.stop()
        self._acknowledged()
        self.gateway = await Pipeline.open(self.dir)
        try:
            assert values(await check_chain(self.gateway.store)) == self.durable
            for height in range(self.gateway.store.blocks.size):
                row = await self.gateway.store.blocks.block(height)
                assert row is not None
                assert self.key.headers[height] == block.parse_entry(row.entry).header_bytes
        finally:
            await self.gateway.kill()


def test_any_restart(tmp_path: Path) -> None:
    machine = type("Machine", (JournalAndSealer,), {"folder": tmp_path})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))
