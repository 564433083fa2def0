"""The sign-state moves by one, or it does not move; it is never made by opening it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.gateway_store import signer

from gateway.errors import HeldError, KeyFileError, StoreError
from gateway.store import signstate
from gateway.store.database import Schema, create_file
from gateway.store.signstate import Head, SignState

VKEY = str(signer().vkey)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    signstate.create(tmp_path / "s.db", VKEY)
    return tmp_path / "s.db"


@pytest.fixture
async def state(path: Path) -> AsyncIterator[SignState]:
    opened = await SignState.open(path, VKEY)
    yield opened
    await opened.close()


async def reopened(path: Path) -> Head:
    state = await SignState.open(path, VKEY)
    await state.close()
    return state.head


async def test_a_new_one_has_signed_nothing(state: SignState) -> None:
    assert state.head == Head(0, None)


async def test_a_swap_is_there_after_a_restart(state: SignState, path: Path) -> None:
    for size in range(5):
        await state.swap(size, b"header %d" % size)
        assert state.head == await reopened(path) == Head(size + 1, b"header %d" % size)


@pytest.mark.parametrize("size", [0, 1, 3, 100])
async def test_a_swap_from_another_size_changes_nothing(state: SignState, path: Path, size: int) -> None:
    await state.swap(0, b"first")
    await state.swap(1, b"second")
    with pytest.raises(HeldError, match=f"not at {size}"):
        await state.swap(size, b"another")
    assert state.head == await reopened(path) == Head(2, b"second")


async def test_of_two_swaps_at_once_one_wins(state: SignState, path: Path) -> None:
    """Also where they come from two programs: a copy of the gateway that found a way past the lock."""
    other = await SignState.open(path, VKEY)
    done = await asyncio.gather(
        state.swap(0, b"ours"), other.swap(0, b"theirs"), state.swap(0, b"again"), return_exceptions=True
    )
    assert [result is None for result in done].count(True) == 1
    assert all(result is None or isinstance(result, HeldError) for result in done)
    assert (await reopened(path)).size == 1
    await other.close()


async def test_a_cancelled_swap_is_whole_or_not_there(state: SignState, path: Path) -> None:
    for after in range(12):
        before = await reopened(path)
        task = asyncio.create_task(state.swap(before.size, b"%d" % after))
        for _ in range(after):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await state._db.transact([])  # behind it in the queue
        assert await reopened(path) in (before, Head(before.size + 1, b"%d" % after))


async def test_a_missing_one_is_held_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(HeldError, match="missing") as held:
        await SignState.open(tmp_path / "s.db", VKEY)
    assert "docs/operations.md" in held.value.cure
    assert list(tmp_path.iterdir()) == []


async def test_another_logs_is_held(path: Path) -> None:
    for other in (signer(of="another"), signer("other.example.farm/1"), signer("henhouse-3.example.farm/2")):
        with pytest.raises(HeldError, match="another log"):
            await SignState.open(path, str(other.vkey))
    assert await reopened(path) == Head(0, None)


async def test_another_kind_of_file_is_held(tmp_path: Path) -> None:
    await asyncio.to_thread(create_file, tmp_path / "s.db", Schema(1, signstate.SCHEMA.steps))
    with pytest.raises(HeldError, match="not a file of this kind"):
        await SignState.open(tmp_path / "s.db", VKEY)


def test_it_is_made_once(path: Path) -> None:
    with pytest.raises(StoreError, match="there already"):
        signstate.create(path, VKEY)


class Counting:
    """A counter that only goes up; `deaf` calls of `move` are lost on the way, as in a crash."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.deaf = False

    def read(self) -> int:
        return self.at

    def move(self) -> int:
        if self.deaf:
            raise KeyFileError("cut off", cure="Plug it in")
        self.at += 1
        return self.at


async def _guarded(path: Path, counter: Counting) -> SignState:
    return await SignState.open(path, VKEY, counter=counter)


async def test_a_counter_goes_up_at_each_start_and_every_so_many_blocks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signstate, "COUNTER_BLOCKS", 4)
    counter = Counting(7)
    state = await SignState.inspect(path, VKEY)
    await state.count_from(7)
    await state.close()
    for life in range(3):
        state = await _guarded(path, counter)
        assert counter.at == state.counted
        for size in range(state.head.size, state.head.size + 5):
            await state.swap(size, b"%d" % size)
        await state.close()
        assert counter.at == 7 + (life + 1) + state.head.size // 4


@pytest.mark.parametrize(("behind", "held"), [(-2, True), (-1, True), (0, False), (1, False), (2, True)])
async def test_a_sign_state_that_does_not_go_with_its_counter(path: Path, behind: int, held: bool) -> None:
    """One ahead of the counter: a crash between the two. Anything else is an older copy, or another counter."""
    state = await SignState.inspect(path, VKEY)
    await state.count_from(100 + behind)
    await state.close()
    counter = Counting(100)
    if not held:
        await (await _guarded(path, counter)).close()
        assert counter.at == 101
        return
    with pytest.raises(HeldError, match="older copy, or the counter is another") as caught:
        await _guarded(path, counter)
    assert "fieldgate recover" in caught.value.cure
    assert counter.at == 100


async def test_a_copy_from_before_the_counter_signs_nothing(path: Path) -> None:
    with pytest.raises(HeldError, match="before it had a counter"):
        await _guarded(path, Counting(1))


async def test_a_counter_that_fails_holds_signing_and_a_restart_goes_on(path: Path) -> None:
    state = await SignState.inspect(path, VKEY)
    await state.count_from(1)
    await state.close()
    counter = Counting(1)
    counter.deaf = True
    for _ in range(3):  # however often the crash comes between the two
        with pytest.raises(HeldError, match="cut off") as caught:
            await _guarded(path, counter)
        assert "Plug it in" in caught.value.cure
    counter.deaf = False
    state = await _guarded(path, counter)
    assert (state.counted, counter.at) == (2, 2)
    await state.close()


async def test_somebody_else_counts_with_it(path: Path) -> None:
    state = await SignState.inspect(path, VKEY)
    await state.count_from(1)
    await state.close()
    counter = Counting(1)
    counter.move = lambda: 5  # type: ignore[method-assign]
    with pytest.raises(HeldError, match="something else counts"):
        await _guarded(path, counter)
