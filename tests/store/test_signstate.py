"""The sign-state moves by one, or it does not move; it is never made by opening it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fakes.gateway_store import signer

from gateway.errors import HeldError, StoreError
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
