"""A named set of running things, kept in step with what is wanted: drivers, nodes, witnesses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

END_S = 5.0  # for one to end, or to go on otherwise; what comes after one that does not end waits until it does


class Runs(Protocol):
    """What a roster keeps running."""

    async def run(self) -> None:
        """Until cancelled, or to its end. What it raises ends the gateway."""


W = TypeVar("W")
T = TypeVar("T", bound=Runs)


@dataclass(slots=True)
class _Member(Generic[W, T]):
    wanted: W
    thing: T
    task: "asyncio.Task[None]"


async def _never(_: object, __: object, ___: object) -> bool:
    return False


class Roster(Generic[W, T]):
    """Owner of the tasks of its members, which run in the group that `begin` is given.

    kind: what each is, for names of tasks. make(name, wanted): one as it is wanted. change(thing, was, wanted): it goes
    on as it is wanted now; False: another has to be made. gone(name): none of that name is wanted, and it has ended.
    """

    def __init__(
        self,
        kind: str,
        make: Callable[[str, W], T],
        *,
        change: Callable[[T, W, W], Awaitable[bool]] = _never,
        gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._kind, self._make, self._change, self._gone = kind, make, change, gone
        self._members: dict[str, _Member[W, T]] = {}
        self._late: dict[str, W | None] = {}  # members that were told to end and have not, and what comes after each
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def members(self) -> Mapping[str, T]:
        """Those that run, came to their end by themselves, or have not ended yet, by name."""
        return {name: member.thing for name, member in self._members.items()}

    @property
    def wanted(self) -> Mapping[str, W]:
        """What each of them was made for."""
        return {name: member.wanted for name, member in self._members.items()}

    @property
    def late(self) -> Iterable[str]:
        """Those that were told to end and have not."""
        return self._late.keys()

    def begin(self, tasks: asyncio.TaskGroup, wanted: Mapping[str, W]) -> None:
        """Makes and starts them."""
        self._tasks = tasks
        self._start(wanted)

    def _start(self, wanted: Mapping[str, W]) -> None:
        for name, one in wanted.items():
            if self._tasks is not None and name not in self._members:
                thing = self._make(name, one)
                task = self._tasks.create_task(thing.run(), name=f"{self._kind} {name}")
                self._members[name] = _Member(one, thing, task)

    async def keep(self, wanted: Mapping[str, W]) -> None:
        """Brings about what is wanted. Members of which the same is wanted as before are not touched.

        All that have to end have done so before any starts: it may need what they hold. One that does not end within
        END_S keeps its name until it does, and what is wanted in its place begins then.
        """
        for name in self._late:
            self._late[name] = wanted.get(name)
        ending = [name for name in self._members if name not in wanted and name not in self._late]
        ending += await self._change_some(wanted)
        await self._end_some(ending, wanted)
        self._start(wanted)
        for name in ending:
            if name not in self._members:
                self._gone(name)

    async def _change_some(self, wanted: Mapping[str, W]) -> list[str]:
        """Those that go on otherwise do so; the names of those that cannot."""
        others: list[str] = []
        for name, one in wanted.items():
            member = self._members.get(name)
            if member is None or name in self._late or member.wanted == one:
                continue
            if await self._goes_on(member, one):
                member.wanted = one
            else:
                others.append(name)
        return others

    async def _goes_on(self, member: _Member[W, T], wanted: W) -> bool:
        """Whether it does as it is wanted now, within END_S."""
        try:
            async with asyncio.timeout(END_S):
                return not member.task.done() and await self._change(member.thing, member.wanted, wanted)
        except TimeoutError:
            return False

    async def _end_some(self, names: Iterable[str], wanted: Mapping[str, W]) -> None:
        tasks = {name: self._members[name].task for name in names}
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=END_S)
        for name, task in tasks.items():
            if task.done():
                del self._members[name]
            else:
                log.error("%s %s does not end within %.0f s", self._kind, name, END_S)
                self._late[name] = wanted.get(name)
                task.add_done_callback(partial(self._ended_late, name))

    def _ended_late(self, name: str, _: "asyncio.Task[None]") -> None:
        del self._members[name]
        after = self._late.pop(name)
        if after is None:
            self._gone(name)
        else:
            self._start({name: after})

    async def end(self) -> None:
        """Ends all of them."""
        self._tasks = None
        await end(*(member.task for member in self._members.values()))


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels the tasks and waits until they are gone."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
