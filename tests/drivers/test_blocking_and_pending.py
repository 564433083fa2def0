import asyncio
import threading

import pytest
from fakes.collector import until

from drivers.api import DriverError
from drivers.blocking import BlockingCall
from drivers.pending import Pending


async def test_a_call_gives_its_result_or_its_error() -> None:
    call = BlockingCall("test")
    assert await call.run(lambda: 7, timeout_s=5, abandon=print) == 7
    with pytest.raises(KeyError):
        await call.run(lambda: {}["x"], timeout_s=5, abandon=print)
    assert await call.run(lambda: 8, timeout_s=5, abandon=print) == 8


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_result_that_comes_too_late_is_abandoned(cancelled: bool) -> None:
    call, gate, abandoned = BlockingCall("test"), threading.Event(), list[bool]()

    async def wait() -> None:
        await call.run(gate.wait, timeout_s=60 if cancelled else 0.02, abandon=abandoned.append)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    if cancelled:
        task.cancel()
    with pytest.raises((TimeoutError, asyncio.CancelledError)):
        await task
    with pytest.raises(DriverError, match="still hangs"):
        await wait()
    gate.set()
    await until(lambda: abandoned == [True])
    await wait()


def test_a_result_that_nobody_is_left_to_take_is_abandoned() -> None:
    gate, abandoned, done = threading.Event(), list[bool](), threading.Event()

    def abandon(result: bool) -> None:
        abandoned.append(result)
        done.set()

    async def leave() -> None:
        task = asyncio.create_task(BlockingCall("test").run(gate.wait, timeout_s=60, abandon=abandon))
        await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(leave())
    gate.set()
    assert done.wait(10)
    assert abandoned == [True]


async def test_pending_is_full_at_its_limits() -> None:
    loop = asyncio.get_running_loop()
    pending = Pending(3, 100)
    one, two, three = (loop.create_future() for _ in range(3))
    pending.add(one, 2, 50)
    assert not pending.full
    pending.add(two, 1, 0)
    assert pending.full
    room = asyncio.create_task(pending.room())
    one.set_result(None)
    await room
    pending.add(three, 1, 99)
    assert not pending.full
    pending.add(three, 0, 1)
    assert pending.full
    two.set_result(None)
    three.set_result(None)
    await pending.room()
    await pending.drained(5)


async def test_whoever_adds_a_callback_finds_all_of_one_commit_counted_off() -> None:
    """Also what was added after it: a driver that looks whether there is room must not find its own old messages."""
    pending = Pending(4, 100)
    one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    found = []
    pending.add(one, 1, 1)
    one.add_done_callback(lambda _: found.append((pending.full, pending._messages, pending._size)))
    for _ in range(5):
        pending.add(one, 1, 1)
    assert pending.full
    one.set_result(None)
    pending.add(one, 1, 1)  # a commit that is over: counted off at the next turn
    await pending.room()
    await asyncio.sleep(0)
    assert found == [(False, 1, 1)]
    assert (pending._messages, pending._size) == (0, 0)


async def test_drained_waits_no_longer_than_it_may() -> None:
    pending = Pending(3, 100)
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    pending.add(never, 1, 1)
    await pending.drained(0.01)
    assert not never.done()
