"""The sealer: cut off at each numbered step, kept from signing by a sign-state that disagrees, and its five reasons."""

import asyncio
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.clock import FakeClock
from fakes.gateway_store import Pipeline, check_chain, pipeline, sample, signer, until, values
from fakes.recorder import Recorder

from gateway.core import block, body, merkle, senml
from gateway.errors import HeldError, StoreFullError
from gateway.sealer import Sealer
from gateway.store import SIGN_STATE, signstate
from gateway.store.journal import Waiting, source_bit

STEPS = [
    "before save_plan",
    "after save_plan",
    "before swap",
    "after swap",
    "before sign",
    "before publish",
    "after publish",
]
SIGNED = STEPS.index("after swap")  # from here on the header bytes are in the sign-state


class Crash(Exception):
    """The sealer ends here, as if the power had gone."""


class Cut:
    """Wraps blocks, sign-state and key; at one step it calls `act` once."""

    def __init__(self, step: str, act: Callable[[], Any]) -> None:
        self.step, self.act = step, act

    async def _reach(self, step: str) -> None:
        if step == self.step:
            self.step = ""
            done = self.act()
            if done is not None:
                await done

    def wrap(self, real: Any) -> Any:
        cut = self

        class Wrapped:
            def __getattr__(self, name: str) -> Any:
                value = getattr(real, name)
                if name not in ("save_plan", "swap", "publish"):
                    return value

                async def call(*args: Any) -> Any:
                    await cut._reach(f"before {name}")
                    result = await value(*args)
                    await cut._reach(f"after {name}")
                    return result

                return call

        return Wrapped()

    def key(self, recorder: Recorder) -> Any:
        cut = self

        class Key:
            vkey = recorder.vkey

            def sign(self, message: bytes) -> bytes:
                if cut.step == "before sign":
                    cut.step = ""
                    raise Crash
                return recorder.sign(message)

        return Key()


def crash() -> None:
    raise Crash


async def settled() -> None:
    for _ in range(20):
        await asyncio.to_thread(lambda: None)


async def _cut_off(folder: Path, recorder: Recorder, cut: Cut) -> Pipeline:
    """A gateway with one sealed block and three readings in the next, about to be sealed."""
    gateway = await Pipeline.open(folder, wrap=cut.wrap)
    assert await gateway.recover(cut.key(recorder), wrap=cut.wrap) is None
    step, cut.step = cut.step, ""
    gateway.start()
    await gateway.emit([sample(value=n) for n in range(4)])
    await gateway.sealed()
    await gateway.emit([sample(value=n) for n in (4, 5, 6)])
    cut.step = step
    gateway.clock.advance(61)
    gateway.journal.grown.set()
    return gateway


async def _goes_on(folder: Path, recorder: Recorder, height: int) -> None:
    """The gateway starts again, goes on where it stood, and takes two more readings."""
    gateway = await Pipeline.open(folder)
    assert await gateway.recover(recorder) is None
    assert gateway.store.blocks.size == height
    assert await gateway.store.blocks.plan() is None
    gateway.start()
    await gateway.emit([sample(value=n) for n in (7, 8)])
    await gateway.stop()
    gateway = await Pipeline.open(folder)
    assert await gateway.recover(recorder) is None
    assert values(await check_chain(gateway.store)) == list(range(9))
    for at in range(gateway.store.blocks.size):
        row = await gateway.store.blocks.block(at)
        assert row is not None
        assert block.parse_entry(row.entry).header_bytes == recorder.headers[at]
    await gateway.kill()


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step(tmp_path: Path, step: str) -> None:
    recorder = Recorder(signer())
    gateway = await _cut_off(tmp_path, recorder, Cut(step, crash))
    with pytest.raises(Crash):
        await gateway.tasks[1]
    await gateway.kill()
    await _goes_on(tmp_path, recorder, 2 if STEPS.index(step) >= SIGNED else 1)


@pytest.mark.parametrize("step", [step for step in STEPS if "sign" not in step])
async def test_a_cancellation_at_any_step(tmp_path: Path, step: str) -> None:
    recorder, reached = Recorder(signer()), asyncio.Event()

    def stay() -> Any:
        reached.set()
        return asyncio.Event().wait()

    gateway = await _cut_off(tmp_path, recorder, Cut(step, stay))
    async with asyncio.timeout(10):
        await reached.wait()
    await gateway.kill()
    await _goes_on(tmp_path, recorder, 2 if STEPS.index(step) >= SIGNED else 1)


async def test_the_same_header_bytes_are_signed_again(tmp_path: Path) -> None:
    """Also where clock and key file changed meanwhile: nothing is rebuilt."""
    recorder = Recorder(signer())
    gateway = await _cut_off(tmp_path, recorder, Cut("before publish", crash))
    with pytest.raises(Crash):
        await gateway.tasks[1]
    await gateway.kill()
    header = recorder.headers[1]
    clock = FakeClock(FakeClock().ms + 10**9, synchronised=False)
    gateway = await Pipeline.open(tmp_path, clock=clock, max_count=1)
    assert await gateway.recover(recorder) is None
    row = await gateway.store.blocks.block(1)
    assert row is not None
    assert block.parse_entry(row.entry).header_bytes == header
    assert block.decode_header(header).count == 3
    await gateway.kill()


@pytest.mark.parametrize("times", [2, 3])
async def test_a_crash_while_recovering(tmp_path: Path, times: int) -> None:
    recorder = Recorder(signer())
    gateway = await _cut_off(tmp_path, recorder, Cut("after swap", crash))
    with pytest.raises(Crash):
        await gateway.tasks[1]
    await gateway.kill()
    for _ in range(times):
        cut = Cut("before publish", crash)
        gateway = await Pipeline.open(tmp_path, wrap=cut.wrap)
        with pytest.raises(Crash):
            await gateway.recover(recorder, wrap=cut.wrap)
        await gateway.kill()
    await _goes_on(tmp_path, recorder, 2)


# What stands against signing


async def _sealed(folder: Path, blocks: int) -> None:
    async with pipeline(folder, max_count=1) as gateway:
        for n in range(blocks):
            await gateway.emit([sample(value=n)])
        await gateway.sealed()


def _swap(folder: Path, state: Path) -> None:
    for old in folder.glob(f"{SIGN_STATE}*"):
        old.unlink()
    if state.exists():
        shutil.copy(state, folder / SIGN_STATE)


async def _held(folder: Path, match: str) -> None:
    """Readings are journaled and acknowledged, nothing is signed, and the page can say which cure there is."""
    recorder = Recorder(signer())
    gateway = await Pipeline.open(folder, max_count=2)
    size = gateway.store.blocks.size
    held = await gateway.recover(recorder)
    assert held is not None
    assert match in str(held)
    assert held.cure
    gateway.start()
    for n in range(5):
        await gateway.emit([sample(value=n)])
    gateway.clock.advance(10_000)
    gateway.journal.grown.set()
    await settled()
    assert gateway.sealer.held is held
    assert gateway.intake.tallies["climate"].stored == 5
    await gateway.stop()
    assert recorder.headers == {}
    gateway = await Pipeline.open(folder)
    assert gateway.store.blocks.size == size
    ((stored,),) = await gateway.store.db.read("SELECT sum(count) FROM journal")
    assert stored == size + 5
    await gateway.kill()


async def test_a_sign_state_that_is_missing(tmp_path: Path) -> None:
    await _sealed(tmp_path, 2)
    (tmp_path / SIGN_STATE).unlink()
    await _held(tmp_path, "missing")
    assert not (tmp_path / SIGN_STATE).exists()


async def test_a_sign_state_that_is_new(tmp_path: Path) -> None:
    """It knows of no block, and would sign height 0 again."""
    await _sealed(tmp_path, 2)
    new = tmp_path / "new"
    await asyncio.to_thread(signstate.create, new, str(signer().vkey))
    _swap(tmp_path, new)
    await _held(tmp_path, "has signed 0 blocks, the store holds 2")


async def test_a_sign_state_of_another_key(tmp_path: Path) -> None:
    await _sealed(tmp_path, 2)
    new = tmp_path / "new"
    await asyncio.to_thread(signstate.create, new, str(signer(of="another").vkey))
    _swap(tmp_path, new)
    await _held(tmp_path, "another log")


@pytest.mark.parametrize("older", ["store", "sign-state"])
async def test_one_of_the_two_is_older(tmp_path: Path, older: str) -> None:
    """A backup was put back over one of them."""
    live, backup = tmp_path / "live", tmp_path / "backup"
    live.mkdir()
    await _sealed(live, 2)
    shutil.copytree(live, backup)
    await _sealed(live, 1)
    name = SIGN_STATE if older == "sign-state" else "fieldgate.db"
    for old in live.glob(f"{name}*"):
        old.unlink()
    shutil.copy(backup / name, live / name)
    await _held(live, "has signed")


async def test_both_are_of_one_size_and_disagree(tmp_path: Path) -> None:
    live, other = tmp_path / "live", tmp_path / "other"
    for folder in (live, other):
        folder.mkdir()
        await _sealed(folder, 2)
    _swap(live, other / SIGN_STATE)
    await _held(live, "disagree about block 1")


async def test_a_head_without_its_plan(tmp_path: Path) -> None:
    gateway = await _cut_off(tmp_path, Recorder(signer()), Cut("after swap", crash))
    with pytest.raises(Crash):
        await gateway.tasks[1]
    await gateway.store.blocks.drop_plan()
    await gateway.kill()
    recorder = Recorder(signer())
    gateway = await Pipeline.open(tmp_path)
    held = await gateway.recover(recorder)
    assert held is not None
    assert "has signed 2 blocks, the store holds 1" in str(held)
    assert recorder.headers == {}
    await gateway.kill()


async def test_a_plan_that_is_not_what_the_head_says(tmp_path: Path) -> None:
    """Of the right height, with other header bytes: signing it would be a second header for that height."""
    gateway = await _cut_off(tmp_path, Recorder(signer()), Cut("after swap", crash))
    with pytest.raises(Crash):
        await gateway.tasks[1]
    plan = await gateway.store.blocks.plan()
    assert plan is not None
    header = dataclasses.replace(block.decode_header(plan.header), sealed=1).encode()
    await gateway.store.blocks.save_plan(plan._replace(header=header))
    await gateway.kill()
    recorder = Recorder(signer())
    gateway = await Pipeline.open(tmp_path)
    held = await gateway.recover(recorder)
    assert held is not None
    assert recorder.headers == {}
    assert gateway.store.blocks.size == 1
    await gateway.kill()


async def test_nothing_is_signed_before_it_has_begun(tmp_path: Path) -> None:
    gateway = (await Pipeline.open(tmp_path)).start()
    await gateway.emit([sample(value=n) for n in range(9)])
    gateway.clock.advance(3600)
    await settled()
    assert gateway.store.blocks.size == 0
    assert gateway.sealer.held is not None
    await gateway.stop()


async def test_a_fork_holds_a_block_that_is_on_its_way(tmp_path: Path) -> None:
    recorder = Recorder(signer())
    cut = Cut("after save_plan", lambda: gateway.sealer.hold(HeldError("a node shows a fork")))
    gateway = await _cut_off(tmp_path, recorder, cut)
    await until(lambda: gateway.sealer.held is not None)
    await settled()
    assert gateway.store.blocks.size == 1
    assert 1 not in recorder.headers
    await gateway.kill()
    await _goes_on(tmp_path, recorder, 1)


async def test_a_nodes_word_holds_for_as_long_as_it_is_configured(tmp_path: Path) -> None:
    """It comes when a plan was made that nobody has signed: another of the same height takes its place."""
    recorder = Recorder(signer())
    cut = Cut("after save_plan", lambda: gateway.sealer.hold(HeldError("a fork"), node="coop"))
    gateway = await _cut_off(tmp_path, recorder, cut)
    try:
        await until(lambda: gateway.sealer.held is not None)
        gateway.sealer.hold(HeldError("another fork"), node="vet")
        assert str(gateway.sealer.held) == "a fork"
        gateway.sealer.release("coop")
        gateway.sealer.release("nobody")
        await settled()
        assert str(gateway.sealer.held) == "another fork"
        assert gateway.store.blocks.size == 1
        gateway.sealer.release("vet")
        await until(lambda: gateway.store.blocks.size == 2)
        assert gateway.sealer.held is None
    finally:
        await gateway.kill()
    await _goes_on(tmp_path, recorder, 2)


async def test_other_reasons_stand_when_a_node_is_gone(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        gateway.sealer.hold(HeldError("a fork"), node="coop")
        gateway.sealer.hold(HeldError("a proof"))
        gateway.sealer.release("coop")
        assert str(gateway.sealer.held) == "a proof"
        gateway.clock.advance(3600)
        gateway.journal.grown.set()
        await settled()
        assert gateway.store.blocks.size == 0


async def test_a_nodes_word_is_not_forgotten_by_a_beginning(tmp_path: Path) -> None:
    """Where there was no room for the sign-state, a node may speak before signing begins."""
    gateway = await Pipeline.open(tmp_path)
    try:
        gateway.sealer.hold(HeldError("a fork"), node="coop")
        assert str(gateway.sealer.held) == "a fork"
        assert await gateway.recover() is None
        assert str(gateway.sealer.held) == "a fork"
        gateway.sealer.release("coop")
        assert gateway.sealer.held is None
    finally:
        await gateway.kill()


async def test_other_ages_count_at_once(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_age_s=3600, heartbeat_s=86_400) as gateway:
        await gateway.emit([sample()])
        gateway.clock.advance(60)
        await settled()
        assert gateway.store.blocks.size == 0
        gateway.sealer.change(max_age_s=30, heartbeat_s=86_400)
        await until(lambda: gateway.store.blocks.size == 1)
        gateway.clock.advance(60)
        gateway.sealer.change(max_age_s=30, heartbeat_s=50)
        await until(lambda: gateway.store.blocks.size == 2)


async def test_a_swap_that_another_program_won_is_held(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        assert gateway.state is not None
        other = await signstate.SignState.open(tmp_path / SIGN_STATE, str(signer().vkey))
        await other.swap(0, b"theirs")
        await other.close()
        await gateway.emit([sample(value=n) for n in range(4)])
        await until(lambda: gateway.sealer.held is not None)
        assert gateway.store.blocks.size == 0
        await gateway.emit([sample()])


# No room


@pytest.mark.parametrize("step", ["before save_plan", "before swap", "before publish"])
async def test_no_room_at_any_step_is_waited_for(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sealer._RETRY_S", 0.005)
    recorder, room = Recorder(signer()), asyncio.Event()

    class Full(Cut):
        async def _reach(self, reached: str) -> None:
            if reached == self.step and not room.is_set():
                raise StoreFullError("no room left on the disk")

    gateway = await _cut_off(tmp_path, recorder, Full(step, lambda: None))
    await until(lambda: gateway.sealer.full)
    await gateway.emit([sample(value=7)])
    assert gateway.sealer.held is None
    assert gateway.store.blocks.size == 1
    room.set()
    await until(lambda: gateway.store.blocks.size >= 2 and not gateway.sealer.full)
    await gateway.stop()
    gateway = await Pipeline.open(tmp_path)
    assert values(await check_chain(gateway.store)) == list(range(8))
    await gateway.kill()


async def test_a_stop_does_not_wait_for_room(tmp_path: Path) -> None:
    recorder = Recorder(signer())

    class Full(Cut):
        async def _reach(self, reached: str) -> None:
            if reached == self.step:
                raise StoreFullError("no room left on the disk")

    gateway = await _cut_off(tmp_path, recorder, Full("before publish", lambda: None))
    await until(lambda: gateway.sealer.full)
    async with asyncio.timeout(10):
        await gateway.stop()
    await _goes_on(tmp_path, recorder, 2)


async def _without_room(folder: Path, recorder: Recorder, room: asyncio.Event) -> Pipeline:
    """Started again with a block that the sign-state alone has signed; there is no room for it until `room` is set."""
    gateway = await _cut_off(folder, recorder, Cut("after swap", crash))
    with pytest.raises(Crash):
        await gateway.tasks[1]
    await gateway.kill()

    class Full(Cut):
        async def _reach(self, reached: str) -> None:
            if reached == "before publish" and not room.is_set():
                raise StoreFullError("no room left on the disk")

    full = Full("", lambda: None)
    gateway = await Pipeline.open(folder, wrap=full.wrap)
    assert await gateway.recover(recorder, wrap=full.wrap) is None
    return gateway


async def test_no_room_at_the_start_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.sealer._RETRY_S", 0.005)
    recorder, room = Recorder(signer()), asyncio.Event()
    gateway = await _without_room(tmp_path, recorder, room)
    assert gateway.sealer.full
    gateway.start()
    room.set()
    await until(lambda: gateway.store.blocks.size == 2)
    await gateway.kill()
    await _goes_on(tmp_path, recorder, 2)


async def _farewell(gateway: Pipeline) -> int:
    now_ms = gateway.clock.ms
    pack = senml.build(senml.OWN, [("event", None, "next-vkey")], bt_ms=now_ms)
    return await gateway.journal.commit_alone(Waiting(body.item(pack), now_ms, now_ms, source_bit(senml.OWN)))


async def test_a_log_is_closed_once_there_is_room(tmp_path: Path) -> None:
    """What a crash left signed by the sign-state alone comes first, also if there was no room for it at the start."""
    recorder, room = Recorder(signer()), asyncio.Event()
    gateway = await _without_room(tmp_path, recorder, room)
    height = await _farewell(gateway)
    for _ in range(2):
        with pytest.raises(StoreFullError):
            await gateway.sealer.close()
    assert gateway.store.blocks.size == 1
    room.set()
    await gateway.sealer.close()
    assert gateway.store.blocks.size == height + 1
    assert (await gateway.store.blocks.header(height)).reason == block.REASON_CLOSED
    await gateway.kill()


@pytest.mark.parametrize("step", ["before save_plan", "before swap", "before publish"])
async def test_a_log_that_finds_no_room_while_it_is_closed_is_closed_by_the_next_try(tmp_path: Path, step: str) -> None:
    recorder, room = Recorder(signer()), asyncio.Event()

    class Full(Cut):
        async def _reach(self, reached: str) -> None:
            if reached == step and not room.is_set():
                raise StoreFullError("no room left on the disk")

    full = Full("", lambda: None)
    gateway = await Pipeline.open(tmp_path, wrap=full.wrap)
    assert await gateway.recover(recorder, wrap=full.wrap) is None
    height = await _farewell(gateway)
    for _ in range(2):
        with pytest.raises(StoreFullError):
            await gateway.sealer.close()
    room.set()
    await gateway.sealer.close()
    assert gateway.store.blocks.size == height + 1
    assert (await gateway.store.blocks.header(height)).reason == block.REASON_CLOSED
    await gateway.kill()


async def test_a_log_that_was_being_closed_is_closed_once(tmp_path: Path) -> None:
    """There is no room in one life, none at the start of the next, and some when that closes it: again, it thinks."""
    recorder, room = Recorder(signer()), asyncio.Event()

    class Full(Cut):
        async def _reach(self, reached: str) -> None:
            if reached == "before publish" and not room.is_set():
                raise StoreFullError("no room left on the disk")

    full = Full("", lambda: None)
    for life in range(2):
        gateway = await Pipeline.open(tmp_path, wrap=full.wrap)
        assert await gateway.recover(recorder, wrap=full.wrap) is None
        await _farewell(gateway)
        if life:
            room.set()
            await gateway.sealer.close()
        else:
            with pytest.raises(StoreFullError):
                await gateway.sealer.close()
            await gateway.kill()
    reasons = [(await gateway.store.blocks.header(height)).reason for height in range(gateway.store.blocks.size)]
    assert reasons == [block.REASON_CLOSED]
    await gateway.kill()


# Reasons


async def _header(gateway: Pipeline, height: int) -> block.Header:
    async with asyncio.timeout(10):
        await gateway.store.blocks.wait_beyond(height)
    return await gateway.store.blocks.header(height)


async def test_a_full_block_is_sealed_by_count(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as gateway:
        await gateway.emit([sample(value=n) for n in range(9)])
        for height in range(2):
            header = await _header(gateway, height)
            assert (header.reason, header.count) == (block.REASON_COUNT, 4)
        assert gateway.journal.block.readings == 1


async def test_an_old_block_is_sealed_by_age(tmp_path: Path) -> None:
    """Counted from its first reading; the ones that follow do not make it younger."""
    async with pipeline(tmp_path, max_age_s=60) as gateway:
        first_ms = gateway.clock.ms
        await gateway.emit([sample()])
        gateway.clock.advance(59.9)
        await gateway.emit([sample()])
        await settled()
        assert gateway.store.blocks.size == 0
        gateway.clock.advance(0.2)
        gateway.journal.grown.set()
        header = await _header(gateway, 0)
        assert (header.reason, header.count) == (block.REASON_AGE, 2)
        assert (header.first, header.last, header.sealed) == (first_ms, first_ms + 59_900, gateway.clock.ms)


async def test_a_silent_log_gets_an_empty_block(tmp_path: Path) -> None:
    async with pipeline(tmp_path, heartbeat_s=600) as gateway:
        for height in range(3):
            gateway.clock.advance(599)
            gateway.journal.grown.set()
            await settled()
            assert gateway.store.blocks.size == height
            gateway.clock.advance(1)
            gateway.journal.grown.set()
            header = await _header(gateway, height)
            assert (header.reason, header.count) == (block.REASON_HEARTBEAT, 0)
            assert header.root == merkle.EMPTY_ROOT
            assert header.first == header.last == header.sealed == gateway.clock.ms
        await check_chain(gateway.store)


async def test_readings_put_the_heartbeat_off(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_age_s=60, heartbeat_s=100) as gateway:
        gateway.clock.advance(90)
        await gateway.emit([sample()])
        gateway.clock.advance(30)
        gateway.journal.grown.set()
        await settled()
        assert gateway.store.blocks.size == 0
        gateway.clock.advance(30)
        gateway.journal.grown.set()
        assert (await _header(gateway, 0)).reason == block.REASON_AGE
        gateway.clock.advance(99)
        gateway.journal.grown.set()
        await settled()
        assert gateway.store.blocks.size == 1


@pytest.mark.parametrize("readings", [0, 1, 4, 5])
async def test_a_stop_seals_what_is_open(tmp_path: Path, readings: int) -> None:
    gateway = await Pipeline.open(tmp_path)
    await gateway.recover()
    gateway.start()
    if readings:
        await gateway.emit([sample(value=n) for n in range(readings)])
    await gateway.stop()
    gateway = await Pipeline.open(tmp_path)
    headers = [await gateway.store.blocks.header(height) for height in range(gateway.store.blocks.size)]
    full, rest = divmod(readings, 4)
    expected = [(block.REASON_COUNT, 4)] * full + [(block.REASON_STOP, rest)] * bool(rest)
    assert [(header.reason, header.count) for header in headers] == expected
    assert values(await check_chain(gateway.store)) == list(range(readings))
    await gateway.kill()


@pytest.mark.parametrize(("synchronised", "error_ms"), [(True, 7), (True, None), (False, None)])
async def test_the_header_says_how_sure_the_clock_is(tmp_path: Path, synchronised: bool, error_ms: int | None) -> None:
    clock = FakeClock(synchronised=synchronised, error_ms=error_ms)
    async with pipeline(tmp_path, clock=clock, max_count=1) as gateway:
        await gateway.emit([sample()])
        header = await _header(gateway, 0)
        assert (header.clock, header.error) == (int(synchronised), error_ms)


async def test_a_clock_that_goes_back_is_claimed_as_it_is(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_count=1) as gateway:
        for back_ms in (0, 10_000, 5_000_000):
            gateway.clock.ms -= back_ms
            await gateway.emit([sample()])
        await gateway.sealed()
        sealed = [(await gateway.store.blocks.header(height)).sealed for height in range(3)]
        assert sealed == sorted(sealed, reverse=True)
        await check_chain(gateway.store)


async def test_an_impossible_clock_begins_where_the_last_block_ended(tmp_path: Path) -> None:
    async with pipeline(tmp_path, max_count=1) as gateway:
        await gateway.emit([sample()])
        await gateway.sealed()
        sealed_ms = gateway.sealer.last_sealed_ms
    assert sealed_ms == FakeClock().ms
    async with pipeline(tmp_path, clock=FakeClock(1000), max_count=1) as gateway:
        assert gateway.sealer.last_sealed_ms == sealed_ms
        await gateway.emit([sample()])
        header = await _header(gateway, 1)
        assert (header.first, header.sealed, header.clock) == (sealed_ms, sealed_ms, 0)


async def test_more_rows_than_a_page(tmp_path: Path) -> None:
    """Each commit is a row; a block of 50 rows is gathered in several reads."""
    async with pipeline(tmp_path, max_count=100) as gateway:
        for n in range(50):
            await gateway.emit([sample(value=n)])
        for n in range(16):  # of the next block, right behind
            if n == 0:
                await gateway.journal.cut()
            await gateway.emit([sample(value=50 + n)])
        gateway.journal.grown.set()
        await _header(gateway, 0)
        await gateway.age()
        assert values(await check_chain(gateway.store)) == list(range(66))
        assert [(await gateway.store.blocks.header(height)).count for height in range(2)] == [50, 16]


async def test_a_sealer_needs_no_key_to_be_made(tmp_path: Path) -> None:
    gateway = await Pipeline.open(tmp_path)
    made = Sealer(gateway.store.blocks, gateway.journal, gateway.clock, max_age_s=1, heartbeat_s=1)
    assert made.held is not None
    await gateway.kill()


class _Late:
    """A database whose commits are on disk, seen by everybody, before its writer is told so."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.told = asyncio.Event()
        self.durable = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def insert(self, *args: Any) -> Any:
        done = await self._db.insert(*args)
        self.durable += 1
        await self.told.wait()
        return done


async def test_rows_of_a_commit_that_is_just_being_made_are_no_damage(tmp_path: Path) -> None:
    made = await Pipeline.open(tmp_path, max_count=2)
    try:
        await made.recover()
        made.start()
        sealing = made.tasks.pop()
        sealing.cancel()
        made.emit([sample(value=number) for number in range(2)])
        await made.journal.commit()
        late = made.journal._db = _Late(made.journal._db)  # type: ignore[assignment]
        done = made.emit([sample(value=number) for number in range(2, 9)])
        made.journal.wake(now=True)
        await until(lambda: late.durable == 1)
        assert made.journal.block.height == 1  # and rows up to block 4 are on disk
        made.tasks.append(asyncio.create_task(made.sealer.run()))
        reads = asyncio.create_task(made.journal.rows_after(0, 64))
        await asyncio.sleep(0.05)
        assert not reads.done()
        late.told.set()
        await done
        assert [row[1] for row in await reads] == [0, 1, 2, 3, 4]
        await made.sealed()
        assert made.sealer.held is None
        assert made.store.blocks.size == 4
    finally:
        await made.kill()
