"""A named set of running things."""

import asyncio

import pytest

from gateway.roster import Roster


class Thing:
    """Runs until it is told to end."""

    def __init__(self, name: str, wanted: int) -> None:
        self.name, self.wanted = name, wanted
        self.running = False

    async def run(self) -> None:
        self.running = True
        try:
            if self.wanted < 0:
                raise RuntimeError(self.name)
            await asyncio.Event().wait()
        finally:
            self.running = False


async def test_its_members_run_until_it_ends() -> None:
    roster = Roster[int, Thing]("thing", Thing)
    assert roster.members == {}
    async with asyncio.TaskGroup() as tasks:
        roster.begin(tasks, {"a": 1, "b": 2})
        await asyncio.sleep(0)
        assert {name: (thing.wanted, thing.running) for name, thing in roster.members.items()} == {
            "a": (1, True),
            "b": (2, True),
        }
        assert {"thing a", "thing b"} <= {task.get_name() for task in asyncio.all_tasks()}
        await roster.end()
        assert not any(thing.running for thing in roster.members.values())


async def test_what_a_member_raises_ends_the_group() -> None:
    roster = Roster[int, Thing]("thing", Thing)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            roster.begin(tasks, {"a": 1, "b": -1})
            await asyncio.Event().wait()
    assert [str(error) for error in caught.value.exceptions] == ["b"]
    assert not roster.members["a"].running
