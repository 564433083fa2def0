"""The task that keeps one chain told, on a little chain: what it writes down, and what befalls it on the way."""

import asyncio
import contextlib
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.gateway_store import ORIGIN, Pipeline, pipeline, sample, until
from fakes.little_chain import KIND, NAME, Block, LittleChain, World, check

from gateway.anchors.api import Chain, GoneError, LieError, Place, RefusedError, ShutError, Sight, Submission
from gateway.anchors.of_log import OfLog
from gateway.anchors.task import Anchoring
from gateway.core import cbor, limits
from gateway.core.anchor import Statement
from gateway.core.anchor_row import ANCHORED, FAILED, IN_BLOCK, SUBMITTED, WAITING, AnchorRow
from gateway.errors import BugError, FieldgateError, StoreFullError, UnreachableError
from gateway.settings import AnchorSettings
from gateway.store import DATABASE, Store

SETTINGS = AnchorSettings(kind=KIND, every_s=0.0, confirmations=3, look_s=0.002, late_s=1_000.0)

Opener = Callable[[], AbstractAsyncContextManager[Chain]]


def opener(world: World, made: Callable[[World], Any] = LittleChain) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Chain]:
        yield made(world)

    return opened


@asynccontextmanager
async def anchoring(
    pipe: Pipeline, world: World, made: Callable[[World], Any] = LittleChain, *, final: bool = False, **changed: Any
) -> AsyncIterator[Anchoring]:
    """The task runs; what ends it ends the test."""
    settings = AnchorSettings(**{name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__} | changed)
    rng = random.Random(1)
    task = Anchoring("coop", settings, NAME, opener(world, made), OfLog(pipe.store), pipe.clock, rng, final=final)
    running = asyncio.create_task(task.run())
    try:
        yield task
        if running.done():
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def grow(pipe: Pipeline, blocks: int = 1) -> None:
    for _ in range(blocks):
        size = pipe.store.blocks.size
        pipe.emit([sample()])
        await pipe.journal.commit()
        await pipe.running(pipe.store.blocks.wait_beyond(size))


@pytest.fixture
async def pipe(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(tmp_path, max_count=1) as made:
        await grow(made, 2)
        yield made


async def state_is(task: Anchoring, state: str, size: int | None = None) -> None:
    await until(lambda: task.status()["state"] == state and size in (None, task.status()["size"]))


async def row_of(store: Store) -> AnchorRow:
    row = await store.anchors.newest("coop")
    assert row is not None
    return row


def statement(row: AnchorRow) -> Statement:
    return Statement.of(ORIGIN, row.size, row.root)


def proved(row: AnchorRow) -> None:
    """The evidence that was kept verifies."""
    assert row.evidence is not None
    found = check(statement(row), cbor.decode(row.evidence), ())
    assert (found.number, found.hash, found.time_s) == (row.number, row.hash, row.time_s)


async def anchored(task: Anchoring, world: World, size: int) -> None:
    """The chain goes on until that size is anchored."""
    async with asyncio.timeout(10):
        while task.status()["anchored"] < size:
            world.mine()
            await asyncio.sleep(0.004)


async def test_a_checkpoint_becomes_an_anchor_and_each_state_is_told(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, IN_BLOCK)
        told = task.status()
        assert (told["block"], told["confirmed"], told["confirmations"]) == (1, 1, 3)
        world.mine()
        await until(lambda: task.status()["confirmed"] == 2)
        world.mine()
        await state_is(task, ANCHORED)
        told = task.status()
        assert (told["size"], told["anchored"], told["confirmed"], told["why"]) == (2, 2, 3, "")
        assert task.problems == []
    row = await row_of(pipe.store)
    assert row.root == pipe.store.blocks.frontier.root()
    proved(row)
    assert world.stands(statement(row)) == 1


async def test_on_a_chain_that_keeps_its_blocks_one_is_enough_and_stays(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world, final=True) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, ANCHORED, 2)
        assert (task.status()["confirmed"], task.status()["confirmations"]) == (1, 1)
        world.reorganise(1)  # what it says it never does: nothing is sent again for it
        await grow(pipe)
        await state_is(task, SUBMITTED, 3)
        world.mine()
        await state_is(task, ANCHORED, 3)
    assert len(set(world.sent)) == 2


async def test_on_a_chain_that_keeps_its_blocks_a_missing_one_is_a_lie(pipe: Pipeline) -> None:
    class Unproved(LittleChain):
        async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
            raise UnreachableError("not now")

    world = World()
    async with anchoring(pipe, world, Unproved, final=True) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, IN_BLOCK)
        world.reorganise(1)
        await until(lambda: bool(task.problems) and "keeps its blocks" in str(task.problems))
        assert task.status()["state"] == IN_BLOCK


async def test_cost_hangs_on_time_and_not_on_readings(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world, every_s=3_600.0) as task:
        await anchored(task, world, 2)
        await grow(pipe, 20)
        await asyncio.sleep(0.05)
        assert len(world.sent) == 1
        pipe.clock.advance(3_601)
        await grow(pipe)
        await anchored(task, world, pipe.store.blocks.size)
    assert len(set(world.sent)) == 2


async def test_so_many_blocks_are_as_good_as_time(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world, every_s=3_600.0, every_blocks=5) as task:
        await anchored(task, world, 2)
        await grow(pipe, 4)
        await asyncio.sleep(0.03)
        assert task.status()["size"] == 2
        await grow(pipe)
        await anchored(task, world, 7)


async def test_nothing_is_anchored_twice_where_the_log_stands_still(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await anchored(task, world, 2)
        await asyncio.sleep(0.05)
    async with anchoring(pipe, world):
        await asyncio.sleep(0.05)
    assert len(world.sent) == 1


def on_disk(folder: Path) -> list[bytes]:
    with contextlib.closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as other:
        return [data for (data,) in other.execute("SELECT data FROM anchor")]


async def test_the_exact_bytes_are_on_disk_before_they_are_sent(pipe: Pipeline, tmp_path: Path) -> None:
    world, seen = World(), list[bytes]()

    class Looking(LittleChain):
        async def send(self, submission: Submission) -> bytes:
            seen.extend(await asyncio.to_thread(on_disk, tmp_path))
            assert seen == [submission.data]
            return await super().send(submission)

    async with anchoring(pipe, world, Looking) as task:
        await anchored(task, world, 2)
    assert seen


class Killed(BaseException):
    """A kill: nothing handles it."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(7))
async def test_killed_around_any_call_it_goes_on_and_stands_there_once(tmp_path: Path, at: int, *, after: bool) -> None:
    """The process ends just before or just after a call took effect, and another goes on with what is on disk."""
    world, calls = World(), iter(range(1_000_000))

    class Killing(LittleChain):
        async def _maybe(self, call: Any) -> Any:
            mine = next(calls)
            if mine == at and not after:
                call.close()
                raise Killed
            found = await call
            if mine == at:
                raise Killed
            world.mine()
            return found

        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            return bytes(await self._maybe(super().make(statement, former)))

        async def send(self, submission: Submission) -> bytes:
            return bytes(await self._maybe(super().send(submission)))

        async def look(self, submission: Submission) -> Sight:
            found: Sight = await self._maybe(super().look(submission))
            return found

        async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
            found: cbor.Value = await self._maybe(super().prove(submission, place, confirmations))
            return found

    async with pipeline(tmp_path, max_count=1) as pipe:
        await grow(pipe, 2)
        task = Anchoring(
            "coop", SETTINGS, NAME, opener(world, Killing), OfLog(pipe.store), pipe.clock, random.Random(1)
        )
        with contextlib.suppress(Killed, TimeoutError):
            async with asyncio.timeout(0.3):
                await task.run()
    async with pipeline(tmp_path, max_count=1) as pipe:
        async with anchoring(pipe, world) as other:
            await anchored(other, world, 2)
        row = await row_of(pipe.store)
        proved(row)
        assert world.stands(statement(row)) == 1
        assert set(world.sent) == {row.data}


def noted(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """State and reason of each row, as it is written down from now on."""
    states, save = list[tuple[str, str]](), pipe.store.anchors.save

    async def saved(row: AnchorRow) -> None:
        states.append((row.state, row.why))
        await save(row)

    monkeypatch.setattr(pipe.store.anchors, "save", saved)
    return states


async def test_a_reorganisation_puts_it_back_to_waiting_and_the_same_bytes_are_sent(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        world.mine(2)
        await state_is(task, IN_BLOCK)
        states = noted(pipe, monkeypatch)
        world.reorganise(2)
        await until(lambda: len(states) >= 2)
        assert states[:2] == [(WAITING, "a reorganisation of the chain took block 1 away"), (SUBMITTED, "")]
        await anchored(task, world, 2)
    row = await row_of(pipe.store)
    proved(row)
    assert set(world.sent) == {row.data}
    assert world.stands(statement(row)) == 1


async def test_a_late_reorganisation_is_seen_before_the_next_anchor(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await anchored(task, world, 2)
        first = await row_of(pipe.store)
        world.reorganise(len(world.blocks) - 1)
        assert world.stands(statement(first)) == 0
        await grow(pipe)
        await anchored(task, world, 3)
        again = next(row for row in await pipe.store.anchors.listed(9) if row.size == 2)
        proved(again)
        assert again.data == first.data
        assert again.hash != first.hash
        assert world.stands(statement(first)) == 1


async def given_up(task: Anchoring, pipe: Pipeline) -> None:
    """One answer is not enough for that."""
    async with asyncio.timeout(10):
        while "it is given up" not in task.status()["why"]:
            pipe.clock.advance(limits.ANCHOR_RESEND_S + 1)
            task.ask()
            await asyncio.sleep(0.004)


SHUT = ShutError("the key ran out", cure="Write another")


def letting_in(shut: list[bool], error: FieldgateError) -> Callable[[World], LittleChain]:
    """A chain's server that answers with the error while there is anything in `shut`."""

    class Shut(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            if shut:
                raise error
            return await super().look(submission)

        async def send(self, submission: Submission) -> bytes:
            if shut:
                raise error
            return await super().send(submission)

    return Shut


async def test_a_chain_that_lets_nobody_in_takes_no_anchor_away(pipe: Pipeline) -> None:
    """Before the next anchor the last one is looked at again: that it cannot be is no word about it."""
    world, shut = World(), list[bool]()
    async with anchoring(pipe, world, letting_in(shut, RefusedError("the key has expired", cure="Write"))) as task:
        await anchored(task, world, 2)
        before = await row_of(pipe.store)
        shut.append(True)
        await grow(pipe)
        await until(lambda: [one.condition for one in task.problems] == ["anchor-failed"])
        assert await pipe.store.anchors.covering(0) == [before]
        shut.clear()
        await anchored(task, world, 3)
    assert len(set(world.sent)) == 2


async def test_an_anchor_that_can_never_stand_there_again_gives_way_to_the_next(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await anchored(task, world, 2)
        world.reorganise(len(world.blocks) - 1)
        world.pool.append(b"no " + world.sent[0])
        world.mine()
        await grow(pipe)
        await state_is(task, FAILED, 2)
        assert task.status()["anchored"] == 0
        assert await pipe.store.anchors.covering(0) == []
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await anchored(task, world, 3)


async def all_rows(pipe: Pipeline) -> list[AnchorRow]:
    return await pipe.store.anchors.listed(99)


@pytest.mark.parametrize("error", [UnreachableError("not here"), GoneError("its nonce is taken"), RefusedError("no")])
async def test_what_cannot_be_looked_at_again_stays_and_holds_nothing_up_for_ever(
    pipe: Pipeline, error: FieldgateError
) -> None:
    """One after the other were taken away once, by a server that had forgotten them."""
    world, lost = World(), list[bool]()

    class Forgetful(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            if lost and submission.statement.size < 5:
                raise error
            return await super().look(submission)

    async with anchoring(pipe, world, Forgetful) as task:
        for size in (2, 3, 4):
            await grow(pipe, size - pipe.store.blocks.size)
            await anchored(task, world, size)
        before = await all_rows(pipe)
        assert [row.state for row in before] == [ANCHORED] * 3
        lost.append(True)
        await grow(pipe)
        await until(lambda: bool(task.problems))
        await asyncio.sleep(0.05)
        assert await all_rows(pipe) == before
        pipe.clock.advance(limits.ANCHOR_HELD_UP_S + 1)
        await anchored(task, world, 5)
        assert (await all_rows(pipe))[1:] == before


async def test_evidence_is_kept_until_there_is_another(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await anchored(task, world, 2)
        first = await row_of(pipe.store)
        pipe.clock.advance(SETTINGS.late_s * 5)
        world.reorganise(len(world.blocks) - 1)
        await grow(pipe)
        await state_is(task, SUBMITTED, 2)
        await asyncio.sleep(0.05)
        assert task.status()["state"] == SUBMITTED, "it is not given up for the time that it stood there"
        assert (await row_of(pipe.store)).evidence == first.evidence
        assert await pipe.store.anchors.covering(0) == [], "no receipt carries it meanwhile"
        await anchored(task, world, 2)
        proved(next(row for row in await all_rows(pipe) if row.size == 2))


class Misdated(LittleChain):
    """Its blocks are of 1970."""

    async def look(self, submission: Submission) -> Sight:
        sight = await super().look(submission)
        return sight if sight.place is None else replace(sight, place=replace(sight.place, time_s=7))


@pytest.mark.parametrize(
    ("apart_s", "taken"), [(-13 * 3_600, False), (-11 * 3_600, True), (0, True), (43_000, True), (44_000, False)]
)
async def test_a_block_of_another_time_is_refused(pipe: Pipeline, apart_s: int, *, taken: bool) -> None:
    """A server can make up blocks where nobody signs them, but not long ago any more."""
    world = World()

    class Dated(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            sight = await super().look(submission)
            time_s = pipe.clock.ms // 1000 + apart_s
            return sight if sight.place is None else replace(sight, place=replace(sight.place, time_s=time_s))

    async with anchoring(pipe, world, Dated, confirmations=9) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        if taken:
            await state_is(task, IN_BLOCK)
            return
        await until(lambda: [one.condition for one in task.problems] == ["anchor-answer"])
        assert "block 1 is dated 2026-11-2" in task.problems[0].what
        assert (await row_of(pipe.store)).number is None


async def test_where_nobody_knows_the_time_no_block_is_judged_by_it(pipe: Pipeline) -> None:
    world = World()
    pipe.clock.synchronised = False
    async with anchoring(pipe, world, Misdated, confirmations=9) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, IN_BLOCK)


async def test_a_clock_that_ran_ahead_and_was_set_right_refuses_nothing(pipe: Pipeline) -> None:
    world = World()
    pipe.clock.jump(30 * 86_400_000)
    async with anchoring(pipe, world, confirmations=9) as task:
        await state_is(task, SUBMITTED)
        pipe.clock.jump(-30 * 86_400_000)
        world.mine()
        await state_is(task, IN_BLOCK)


def fallen(blocks: list[Block]) -> list[Block]:
    return blocks[:1]


def unlinked(blocks: list[Block]) -> list[Block]:
    return [*blocks[:-1], blocks[-1]._replace(parent=bytes(32))]


@pytest.mark.parametrize("lie", [fallen, unlinked])
async def test_a_lie_is_told_and_nothing_is_taken_over(
    pipe: Pipeline, lie: Callable[[list[Block]], list[Block]]
) -> None:
    world = World()
    async with anchoring(pipe, world, confirmations=9) as task:
        await state_is(task, SUBMITTED)
        world.mine(2)
        await state_is(task, IN_BLOCK)
        before = await row_of(pipe.store)
        world.lie = lie
        await until(lambda: [one.condition for one in task.problems] == ["anchor-answer"])
        assert await row_of(pipe.store) == before
        world.lie = list
        await until(lambda: not task.problems)
        await anchored(task, world, 2)


async def test_a_server_that_is_away_is_waited_for(pipe: Pipeline) -> None:
    world = World(down=True)
    async with anchoring(pipe, world) as task:
        await until(lambda: [one.condition for one in task.problems] == ["anchor-away"])
        assert task.status()["state"] == WAITING
        world.down = False
        await anchored(task, world, 2)
        assert task.problems == []


async def test_what_the_chain_does_not_take_fails_until_a_person_has_helped(pipe: Pipeline) -> None:
    world = World(poor=True)
    async with anchoring(pipe, world) as task:
        await state_is(task, FAILED)
        told = task.status()
        assert (told["why"], told["cure"]) == ("the account is empty", "Fill it")
        (problem,) = task.problems
        assert (problem.condition, problem.cure[:8]) == ("anchor-failed", "Fill it.")
        world.poor = False
        await anchored(task, world, 2)
        assert task.status()["why"] == ""
    assert len(set(world.sent)) == 1


async def test_what_is_refused_for_too_long_is_given_up(pipe: Pipeline) -> None:
    """The same bytes are tried again, but a price that was bid once too low would be refused for ever."""
    world = World(poor=True)
    async with anchoring(pipe, world) as task:
        await state_is(task, FAILED, 2)
        pipe.clock.advance(SETTINGS.late_s * 4 + 1)
        await given_up(task, pipe)
        assert task.status()["cure"] == "Fill it"
        world.poor = False
        await grow(pipe)
        await anchored(task, world, 3)
    assert (await row_of(pipe.store)).data.startswith(b"1 "), "made with the one that it has to exclude"


async def test_what_can_never_stand_there_gives_way_to_the_next(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        world.pool = [b"no " + data for data in world.pool]
        world.mine()
        await state_is(task, FAILED)
        assert task.status()["why"] == "it was refused for good"
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await grow(pipe)
        await anchored(task, world, 3)
        assert await pipe.store.anchors.counts("coop") == (1, 1)


@pytest.mark.parametrize("paid", [True, False])
async def test_what_failed_is_followed_sooner_unless_a_block_took_it(pipe: Pipeline, paid: bool) -> None:
    """`every_s` bounds what it costs also where every anchor fails."""
    world = World()

    class Refusing(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            sight = await super().look(submission)
            if sight.place is not None:
                raise GoneError("the contract refused it", place=sight.place if paid else None)
            return sight

    async with anchoring(pipe, world, Refusing, every_s=3_600.0) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, FAILED, 2)
        assert task.status()["block"] == (1 if paid else None)
        await grow(pipe)
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        task.ask()
        if paid:
            await asyncio.sleep(0.05)
            assert task.status()["size"] == 2
            pipe.clock.advance(3_600)
            task.ask()
        await state_is(task, SUBMITTED, 3)


async def test_a_proof_that_is_too_long_was_paid_for(pipe: Pipeline) -> None:
    world = World()

    class Long(LittleChain):
        async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
            return bytes(limits.ANCHOR_EVIDENCE_BYTES)

    async with anchoring(pipe, world, Long, every_s=3_600.0, confirmations=1) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, FAILED, 2)
        await grow(pipe)
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        task.ask()
        await asyncio.sleep(0.05)
        assert len(set(world.sent)) == 1


@pytest.mark.parametrize("grows", [True, False])
async def test_of_what_was_never_sent_the_newest_takes_the_place(pipe: Pipeline, grows: bool) -> None:
    """The account is empty for days: nothing is sent for what was due then, and nothing is sent twice."""
    world, poor = World(), [True]

    class Poor(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            if poor:
                raise RefusedError("the account is empty", cure="Fill it")
            return await super().make(statement, former)

    async with anchoring(pipe, world, Poor, every_s=3_600.0) as task:
        await state_is(task, FAILED, 2)
        for _ in range(5):
            await grow(pipe, 1 if grows else 0)
            pipe.clock.advance(SETTINGS.late_s * 5)
            task.ask()
            await asyncio.sleep(0.01)
        assert (task.status()["size"], task.status()["why"]) == (2, "the account is empty")
        assert "anchor-late" in [one.condition for one in task.problems]
        poor.clear()
        task.ask()
        await state_is(task, SUBMITTED)
        await asyncio.sleep(0.05)
        assert task.problems == [], "its bytes are not given up for the time before they were made"
        await anchored(task, world, 7 if grows else 2)
    assert len(set(world.sent)) == 1
    states = [(row.size, row.state, row.why[:16]) for row in await all_rows(pipe)]
    assert states == ([(7, ANCHORED, ""), (2, FAILED, "nothing was sent")] if grows else [(2, ANCHORED, "")])


async def test_what_no_block_takes_is_told_as_late_and_then_given_up(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        pipe.clock.advance(SETTINGS.late_s + 1)
        assert [one.condition for one in task.problems] == ["anchor-late"]
        pipe.clock.advance(SETTINGS.late_s * 4)
        await given_up(task, pipe)
        former = await row_of(pipe.store)
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await grow(pipe)
        await state_is(task, SUBMITTED, 3)
    assert (await row_of(pipe.store)).data.startswith(b"1 "), "made with the one that it has to exclude"
    assert former.data.startswith(b"0 ")


async def test_one_answer_gives_nothing_up(pipe: Pipeline) -> None:
    """It stands in a block, there was no network for days, and the server that answers first lags behind."""
    world, away, behind = World(), list[bool](), list[bool]()

    class Behind(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            if away:
                raise UnreachableError("no network")
            sight = await super().look(submission)
            return Sight(sight.height, None) if behind and behind.pop() else sight

    async with anchoring(pipe, world, Behind) as task:
        await state_is(task, SUBMITTED)
        await asyncio.sleep(0.02)
        away.append(True)
        await until(lambda: bool(task.problems))
        world.mine()
        pipe.clock.advance(SETTINGS.late_s * 5)
        behind.append(True)
        away.clear()
        await until(lambda: not behind)
        await anchored(task, world, 2)
    assert len(set(world.sent)) == 1


async def test_one_answer_gives_nothing_up_that_was_begun_since(pipe: Pipeline) -> None:
    """What is said of one anchor is not held against the next, which nobody could look at for a while."""
    world, away, looks = World(), list[bool](), list[bool]()

    class Away(LittleChain):
        async def send(self, submission: Submission) -> bytes:
            if submission.statement.size == 3:
                away.append(True)
            return await super().send(submission)

        async def look(self, submission: Submission) -> Sight:
            looks.append(bool(away))
            if away:
                raise UnreachableError("no network")
            return await super().look(submission)

    async with anchoring(pipe, world, Away, late_s=60.0) as task:
        await state_is(task, SUBMITTED)
        await given_up(task, pipe)
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await grow(pipe)
        await state_is(task, SUBMITTED, 3)
        await until(lambda: looks[-1])
        pipe.clock.advance(60.0 * 5)
        away.clear()
        task.ask()
        await until(lambda: looks[-3:] == [False] * 3)
        assert task.status()["state"] == SUBMITTED


async def test_what_was_given_up_and_comes_after_all_is_not_paid_for_twice(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        pipe.clock.advance(SETTINGS.late_s * 4)
        await given_up(task, pipe)
        world.mine()
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await grow(pipe)
        await anchored(task, world, 2)
        proved(next(row for row in await all_rows(pipe) if row.size == 2))
        await anchored(task, world, 3)
    assert len(set(world.sent)) == 2


async def test_a_server_that_lets_nobody_in_gives_nothing_up(pipe: Pipeline) -> None:
    """Its key ran out for days, while the anchor stood in a block."""
    world, shut = World(), list[bool]()
    async with anchoring(pipe, world, letting_in(shut, SHUT)) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, IN_BLOCK)
        shut.append(True)
        await state_is(task, FAILED)
        for _ in range(3):
            pipe.clock.advance(SETTINGS.late_s * 5)
            task.ask()
            await asyncio.sleep(0.02)
        assert (task.status()["why"], task.status()["cure"]) == ("the key ran out", "Write another")
        shut.clear()
        await anchored(task, world, 2)
    assert len(set(world.sent)) == 1


async def test_what_a_server_shut_out_before_a_block_took_it_is_on_its_way_again(pipe: Pipeline) -> None:
    world, shut = World(), list[bool]()
    async with anchoring(pipe, world, letting_in(shut, SHUT)) as task:
        await state_is(task, SUBMITTED)
        shut.append(True)
        await state_is(task, FAILED)
        shut.clear()
        task.ask()
        await state_is(task, SUBMITTED)
        assert task.status()["why"] == ""
        await anchored(task, world, 2)


async def test_what_cannot_be_proved_as_things_are_is_told_once_and_sent_once(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, few = World(), [True]

    class Few(LittleChain):
        async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
            if few:
                raise RefusedError("more than half of 5 signers cannot have sealed 2 blocks", cure="Write more")
            return await super().prove(submission, place, confirmations)

    states = noted(pipe, monkeypatch)
    async with anchoring(pipe, world, Few, confirmations=1) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, FAILED)
        for _ in range(20):
            task.ask()
            await asyncio.sleep(0.004)
            assert [one.condition for one in task.problems] == ["anchor-failed"]
        assert [state for state, _ in states] == [WAITING, WAITING, SUBMITTED, IN_BLOCK, FAILED]
        few.clear()
        task.ask()
        await anchored(task, world, 2)
    assert len(world.sent) == 1


@asynccontextmanager
async def given_up_while_it_is_dear(
    pipe: Pipeline, world: World
) -> AsyncIterator[tuple[Anchoring, dict[int, int | None], list[bool]]]:
    """Size 2 may be out there, for size 3 there was nothing to send, size 4 is due. Formers by size; dear: it is."""
    dear, formers = list[bool](), dict[int, int | None]()

    class Dear(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            formers[statement.size] = former and former.statement.size
            if dear:
                raise RefusedError("it is dear now", cure="Wait")
            return await super().make(statement, former)

    async with anchoring(pipe, world, Dear, every_s=3_600.0) as task:
        await state_is(task, SUBMITTED)
        dear.append(True)
        pipe.clock.advance(SETTINGS.late_s * 4)
        await given_up(task, pipe)
        await grow(pipe)
        pipe.clock.advance(3_601)
        task.ask()
        await state_is(task, FAILED, 3)
        await grow(pipe)
        pipe.clock.advance(3_601)
        yield task, formers, dear


async def test_the_last_that_may_be_out_there_is_what_the_next_excludes(pipe: Pipeline) -> None:
    async with given_up_while_it_is_dear(pipe, World()) as (task, formers, dear):
        dear.clear()
        task.ask()
        await state_is(task, SUBMITTED, 4)
    assert formers == {2: None, 3: 2, 4: 2}


async def test_what_comes_after_all_is_shown_though_one_was_begun_since(pipe: Pipeline) -> None:
    world = World()
    async with given_up_while_it_is_dear(pipe, world) as (task, _, dear):
        world.mine()
        dear.clear()
        task.ask()
        await state_is(task, IN_BLOCK, 2)
        assert task.status()["why"] == ""
        await anchored(task, world, 2)


async def test_a_lie_about_what_was_given_up_holds_the_next_up_for_a_while(pipe: Pipeline) -> None:
    world, lies = World(), list[bool]()

    class Liar(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            if lies and submission.statement.size == 2:
                block = self._world.blocks[0]
                return Sight(50, Place(0, block.hash, block.time_s - 100_000))
            return await super().look(submission)

    async with anchoring(pipe, world, Liar) as task:
        await state_is(task, SUBMITTED)
        pipe.clock.advance(SETTINGS.late_s * 4)
        await given_up(task, pipe)
        lies.append(True)
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await grow(pipe)
        await until(lambda: [one.condition for one in task.problems] == ["anchor-answer"])
        assert (await row_of(pipe.store)).state == FAILED
        pipe.clock.advance(limits.ANCHOR_HELD_UP_S + 1)
        task.ask()
        await anchored(task, world, 3)


@pytest.mark.parametrize("error", [UnreachableError("a request was lost"), LieError("its height fell")])
async def test_a_server_that_fails_now_and_then_keeps_nothing_for_ever(pipe: Pipeline, error: FieldgateError) -> None:
    world, looks = World(), itertools.count(1)

    class Flaky(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            pipe.clock.advance(15)
            if next(looks) % 5 == 0:
                raise error
            return await super().look(submission)

    async with anchoring(pipe, world, Flaky) as task:
        await state_is(task, SUBMITTED)
        pipe.clock.advance(SETTINGS.late_s * 4)
        async with asyncio.timeout(10):
            while task.status()["state"] != FAILED:
                assert next(looks) < 1_000
                task.ask()
                await asyncio.sleep(0.002)
        assert "no block took it" in task.status()["why"]


async def test_a_refusal_after_a_reorganisation_is_told_and_tried_again(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        world.mine()
        await state_is(task, IN_BLOCK)
        world.poor = True
        world.reorganise(1)
        await state_is(task, FAILED)
        tries = len(world.sent)
        while len(world.sent) < tries + 3:
            task.ask()
            await asyncio.sleep(0.004)
            assert task.status()["state"] == FAILED
            assert [one.condition for one in task.problems] == ["anchor-failed"]
        world.poor = False
        task.ask()
        await anchored(task, world, 2)


async def test_a_slow_server_and_a_short_time_send_all_the_same(pipe: Pipeline) -> None:
    world, made = World(), list[int]()

    class Slow(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            made.append(statement.size)
            pipe.clock.advance(2)
            await grow(pipe)
            return await super().make(statement, former)

    async with anchoring(pipe, world, Slow, every_s=1.0) as task:
        await anchored(task, world, 2)
    assert made[0] == 2


async def test_what_the_pool_forgot_is_sent_again(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
        world.pool.clear()
        pipe.clock.advance(limits.ANCHOR_RESEND_S + 1)
        await until(lambda: len(world.sent) == 2)
        await anchored(task, world, 2)
    assert len(set(world.sent)) == 1


async def test_a_call_without_an_end_is_ended(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANCHOR_CALL_S", 0.02)
    world, hangs = World(), asyncio.Event()

    class Hanging(LittleChain):
        async def look(self, submission: Submission) -> Sight:
            if not hangs.is_set():
                await asyncio.sleep(3_600)
            return await super().look(submission)

    async with anchoring(pipe, world, Hanging) as task:
        await until(lambda: [one.values["detail"] for one in task.problems] == ["it did not answer in time"])
        hangs.set()
        await anchored(task, world, 2)


async def test_a_bug_of_a_kind_harms_nothing_but_itself(pipe: Pipeline) -> None:
    world, broken = World(), [True]

    class Broken(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            if broken[0]:
                raise ZeroDivisionError
            return await super().make(statement, former)

    async with anchoring(pipe, world, Broken) as task:
        await until(lambda: [one.condition for one in task.problems] == ["anchor-fault"])
        assert "ZeroDivisionError" in task.problems[0].what
        broken[0] = False
        await anchored(task, world, 2)


async def test_a_chain_that_cannot_be_opened_is_tried_again(pipe: Pipeline) -> None:
    world, tries = World(), iter([StoreFullError("no room"), OSError("no"), None])

    def opened(world: World) -> LittleChain:
        error = next(tries)
        if error is not None:
            raise error
        return LittleChain(world)

    async with anchoring(pipe, world, opened) as task:
        await anchored(task, world, 2)


async def test_a_fault_of_ours_ends_it(pipe: Pipeline) -> None:
    class Broken(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            raise BugError("an invariant does not hold")

    task = Anchoring("coop", SETTINGS, NAME, opener(World(), Broken), OfLog(pipe.store), pipe.clock, random.Random(1))
    with pytest.raises(BugError):
        await task.run()


async def test_what_is_too_long_to_be_kept_harms_nothing_else(pipe: Pipeline) -> None:
    """A server has a say in both, so neither may end the process."""
    world, cured = World(), list[bool]()

    class Long(LittleChain):
        async def make(self, statement: Statement, former: Submission | None) -> bytes:
            if statement.size == 2:
                return bytes(limits.ANCHOR_DATA_BYTES + 1)
            return await super().make(statement, former)

        async def send(self, submission: Submission) -> bytes:
            ticket = await super().send(submission)
            return ticket if cured else ticket + bytes(limits.ANCHOR_TICKET_BYTES)

    async with anchoring(pipe, world, Long) as task:
        await state_is(task, FAILED, 2)
        assert f"{limits.ANCHOR_DATA_BYTES + 1} bytes" in task.status()["why"]
        pipe.clock.advance(limits.ANCHOR_BACKOFF_S + 1)
        await grow(pipe)
        await until(lambda: [one.condition for one in task.problems] == ["anchor-answer"])
        assert (await row_of(pipe.store)).ticket == b""
        cured.append(True)
        await anchored(task, world, 3)


async def test_another_chain_under_the_same_name_begins_anew(pipe: Pipeline) -> None:
    world = World()
    async with anchoring(pipe, world) as task:
        await state_is(task, SUBMITTED)
    other = Anchoring("coop", SETTINGS, "two", opener(world), OfLog(pipe.store), pipe.clock, random.Random(1))
    running = asyncio.create_task(other.run())
    try:
        await state_is(other, FAILED, 2)
        assert other.status()["why"] == "[anchor.NAME] was changed to another chain"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_of_each_chain_that_a_table_had_the_first_covers(pipe: Pipeline) -> None:
    """What one chain's server made up does not hide what another chain has."""
    anchors = pipe.store.anchors
    for size, chain in ((3, "made up"), (5, "made up"), (7, NAME), (9, NAME)):
        await anchors.save(AnchorRow("coop", size, bytes(32), KIND, chain, 0, ANCHORED, over=True, time_s=size))
    assert [(row.size, row.chain) for row in await anchors.covering(2)] == [(3, "made up"), (7, NAME)]
    assert [row.size for row in await anchors.covering(5)] == [7]
    assert await anchors.covering(9) == []


async def test_rows_are_bounded_and_every_entry_stays_covered(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANCHORS_KEPT", 8)
    monkeypatch.setattr(limits, "ANCHORS_FAILED_KEPT", 2)
    anchors = pipe.store.anchors
    for size in range(1, 80):
        row = AnchorRow("coop", size, bytes(32), KIND, NAME, size, ANCHORED, over=True, evidence=b"", time_s=size)
        await anchors.save(row)
        await anchors.save(replace(row, name="other", state=FAILED, evidence=None))
        assert (await anchors.counts("coop")).anchored <= 8
        assert (await anchors.counts("other")).failed <= 2
    for height in range(79):
        (covering,) = await anchors.covering(height)
        assert covering.size > height
    assert (await anchors.covering(78))[0].size == 79
    assert await anchors.covering(79) == []
