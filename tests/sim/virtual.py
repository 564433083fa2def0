"""Virtual time, and processes that can be killed at any step: the simulation and the store's model stand on it.

`VirtualLoop` is asyncio's own loop with a clock of its own: when nothing is ready it jumps to the next timer. What the
code under test would do in a thread is done on the loop, between two turns of it, so that one seed gives one run.

A `Process` owns the tasks that began in its context and the SQLite connections that they opened. Each piece of work of
a connection's thread and each step of a node's memory is a numbered step; at step `dies_at` the process is gone, before
the work or after it and before its answer: transactions end where they stand, and the files are what a kill leaves.
"""

import asyncio
import contextlib
import contextvars
import functools
import gc
import logging
import os
import random
import selectors
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import aiosqlite.core

from gateway.store import Store

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("PROCESS", default=None)
MEMORY = Path("/dev/shm")  # where a flush costs nothing
_TURN_S = 1e-6  # that a turn of a loop takes, so that time never stands still
_TURNS = 2_000_000  # of a loop, after which it is going round in circles


class _Timeless(selectors.BaseSelector):
    """Nothing ever comes from outside: to wait is to move the clock."""

    def __init__(self) -> None:
        self.map: dict[Any, selectors.SelectorKey] = {}
        self.now = 0.0
        self.turns = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self.map[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.map.pop(fileobj)

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self.map

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if timeout is None or self.turns > _TURNS:
            raise RuntimeError("nothing can happen any more" if timeout is None else "it goes round in circles")
        self.now += max(_TURN_S, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is virtual and whose executor is the loop itself."""

    def __init__(self) -> None:
        self.virtual = _Timeless()
        super().__init__(self.virtual)
        self.set_task_factory(_in_its_process)

    def time(self) -> float:
        return self.virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        future = self.create_future()
        self.call_soon(_run, future, func, *args)
        return future


def _run(future: "asyncio.Future[Any]", func: Callable[..., Any], *args: Any) -> None:
    try:
        result = func(*args)
    except BaseException as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


def _in_its_process(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> "asyncio.Task[Any]":
    task = asyncio.Task(coro, loop=loop, **kwargs)
    context = kwargs.get("context")
    process = PROCESS.get() if context is None else context.get(PROCESS)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(process.done)
    return task


class Process:
    """What a kill ends. `on_death` is called once, at the very step, while the files are as they are then."""

    def __init__(self, name: str, rng: random.Random, on_death: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.dead = False
        self.steps = 0
        self.dies_at: int | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.refuses: Callable[[Any], BaseException | None] = lambda function: None  # the disk's own faults
        self._rng = rng
        self._on_death = on_death
        self._connections: list[LoopConnection] = []
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begins a task of this process."""
        return asyncio.get_running_loop().create_task(coro, context=self._context.copy())

    def spawn_on(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """As `spawn`, while the loop does not run."""
        return loop.create_task(coro, context=self._context.copy())

    def within(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function of this process."""
        return self._context.copy().run(function, *args)

    def done(self, task: "asyncio.Task[Any]") -> None:
        """A task has ended."""
        self.tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever awaits it deals with it; in a dead process nobody does

    def adopt(self, connection: "LoopConnection") -> None:
        """A connection was opened in this process."""
        self._connections.append(connection)

    def pause(self) -> float:
        """Seconds that one step takes."""
        return 0.0 if self._rng.random() < 0.8 else self._rng.random() * 0.02

    def counts(self) -> bool:
        """One step. True where the process died at it."""
        self.steps += 1
        if self.steps == self.dies_at and not self.dead:
            self.kill()
        return self.dead

    async def step(self) -> None:
        """A step of what has no SQLite under it."""
        if self.dead:
            raise asyncio.CancelledError
        await asyncio.sleep(self.pause())
        if self.counts():
            raise asyncio.CancelledError

    def kill(self) -> None:
        """Ends it here and now. `gone` returns when nothing of it runs any more."""
        if self.dead:
            return
        self.dead = True
        self._on_death()
        for connection in self._connections:
            connection.abandon()
        for task in list(self.tasks):
            task.cancel()

    async def gone(self) -> None:
        """Returns when all tasks of a killed process have ended."""
        while self.tasks:
            for task in list(self.tasks):
                task.cancel()
            await asyncio.wait(list(self.tasks), timeout=1)


class _Tape:
    """Stands in for the queue to a connection's thread: the work is done in order, each piece a step of its process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._work: deque[tuple[Any, Callable[[], Any]]] = deque()

    def put_nowait(self, work: tuple[Any, Callable[[], Any]]) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._plan()

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._process.pause()
        if pause:
            loop.call_later(pause, self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._process.counts():  # before the work
            return
        future, function = self._work[0]
        refused = self._process.refuses(function)
        answer = functools.partial(_throw, refused) if refused else _once(function)
        if self._process.counts():  # after it, before its answer
            return
        self._work.popleft()
        if future is not None:
            _run(future, answer)
        if self._work:
            self._plan()


def _once(function: Callable[[], Any]) -> Callable[[], Any]:
    """Does the work now; what is returned tells what came of it."""
    try:
        result = function()
    except BaseException as error:
        return functools.partial(_throw, error)
    return lambda: result


def _throw(error: BaseException) -> None:
    raise error


class _NoThread:
    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


class LoopConnection(aiosqlite.core.Connection):
    """aiosqlite's connection, whose thread is the loop."""

    every: ClassVar[list["LoopConnection"]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        process = PROCESS.get()
        assert process is not None, "a store is opened by a process"
        self._tx = _Tape(process)  # type: ignore[assignment]
        self._thread = _NoThread()  # type: ignore[assignment]
        process.adopt(self)
        self._process = process
        self.every.append(self)

    def stop(self) -> "asyncio.Future[Any] | None":
        """In a dead process there is no thread whose end could be waited for."""
        return None if self._process.dead else super().stop()

    def abandon(self) -> None:
        """Nobody will ever use it again; what was not committed is not there."""
        raw, self._connection = self._connection, None
        self._running = False
        if raw is not None:
            raw.close()


def leave_behind(folder: Path, fresh: Path) -> None:
    """Copies the files of a store as they are at this moment: what a kill leaves to the next process."""
    fresh.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.endswith("-shm"):
            shutil.copyfile(path, fresh / path.name)


def unlock(store: Store) -> None:
    """What the kernel does when a process is gone: its lock is free."""
    if store._lock is not None:
        os.close(store._lock)
        store._lock = None


@contextlib.contextmanager
def virtual(seed: int | str) -> Iterator[VirtualLoop]:
    """A loop in virtual time, with random numbers of this seed for everybody, and nothing logged."""
    numbers = random.Random(f"{seed} urandom")
    logged = logging.root.manager.disable
    collected = gc.isenabled()
    loop = VirtualLoop()
    logging.disable(logging.CRITICAL)
    gc.disable()  # what ends by chance ends at another place in each run
    try:
        with (
            mock.patch.object(aiosqlite.core, "Connection", LoopConnection),
            mock.patch.object(os, "urandom", numbers.randbytes),
        ):
            yield loop
    finally:
        if collected:
            gc.enable()
        logging.disable(logged)
        for connection in LoopConnection.every:
            connection.abandon()
        LoopConnection.every.clear()
        loop.close()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory where there is one."""
    with tempfile.TemporaryDirectory(prefix="fieldgate-", dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path)


def full_disk(function: Any) -> sqlite3.Error | None:
    """What SQLite says of a statement that writes where there is no room."""
    words = [str(arg) for arg in getattr(function, "args", ())[:1]]
    if not words or words[0].lstrip()[:6].upper() not in ("INSERT", "UPDATE", "DELETE", "COMMIT"):
        return None
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    error.sqlite_errorname = "SQLITE_FULL"
    return error
