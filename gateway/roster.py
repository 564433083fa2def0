"""A named set of running things: drivers, nodes."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar


class Runs(Protocol):
    """What a roster keeps running."""

    async def run(self) -> None:
        """Until cancelled, or to its end. What it raises ends the gateway."""


W = TypeVar("W")
T = TypeVar("T", bound=Runs)


class _Member(NamedTuple, Generic[T]):
    thing: T
    task: "asyncio.Task[None]"


class Roster(Generic[W, T]):
    """Owner of the tasks of its members, which run in the group that `begin` is given.

    kind: what each is, for names of tasks. make(name, wanted): one as it is wanted.
    """

    def __init__(self, kind: str, make: Callable[[str, W], T]) -> None:
        self._kind, self._make = kind, make
        self._members: dict[str, _Member[T]] = {}

    @property
    def members(self) -> Mapping[str, T]:
        """Those that were begun and not ended, by name."""
        return {name: member.thing for name, member in self._members.items()}

    def begin(self, tasks: asyncio.TaskGroup, wanted: Mapping[str, W]) -> None:
        """Makes and starts them."""
        for name, one in wanted.items():
            thing = self._make(name, one)
            task = tasks.create_task(thing.run(), name=f"{self._kind} {name}")
            self._members[name] = _Member(thing, task)

    async def end(self) -> None:
        """Ends all of them."""
        await end(*(member.task for member in self._members.values()))


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels the tasks and waits until they are gone."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
