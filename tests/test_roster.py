"""A named set of running things: what is wanted as before is not touched, and all else ends before anything begins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import NamedTuple

import pytest
from fakes.collector import until
from hypothesis import given
from hypothesis import strategies as st

from gateway import roster as roster_module
from gateway.roster import Roster


class Want(NamedTuple):
    """kind: those of one kind can go on as another. stays: it does not end when it is told to, until it is let go."""

    kind: str
    number: int = 0
    stays: bool = False


class Thing:
    """Runs until it is told to end, and perhaps longer."""

    log: list[str]

    def __init__(self, name: str, want: Want) -> None:
        self.name, self.want = name, want
        self.running = False
        self.let_go = asyncio.Event()
        self.wants = [want]

    async def run(self) -> None:
        self.log.append(f"+{self.name}")
        self.running = True
        try:
            if self.want.kind == "broken":
                raise RuntimeError(self.name)
            if self.want.kind == "short":
                return
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.want.stays:
                await self.let_go.wait()
            raise
        finally:
            self.running = False
            self.log.append(f"-{self.name}")


class Bench:
    """A roster with what happened to it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.gone: list[str] = []
        self.made: list[Thing] = []
        self.roster = Roster[Want, Thing]("thing", self._make, change=self._change, gone=self.gone.append)

    def _make(self, name: str, want: Want) -> Thing:
        thing = Thing(name, want)
        thing.log = self.log
        self.made.append(thing)
        return thing

    async def _change(self, thing: Thing, was: Want, want: Want) -> bool:
        await asyncio.sleep(3600 if want.kind == "slow" else 0)
        assert thing.wants[-1] == was
        if was.kind != want.kind or want.stays != was.stays:
            return False
        thing.wants.append(want)
        return True

    @property
    def running(self) -> dict[str, Want]:
        return {name: thing.wants[-1] for name, thing in self.roster.members.items() if thing.running}

    async def keep(self, wanted: dict[str, Want]) -> None:
        await self.roster.keep(wanted)
        await asyncio.sleep(0)


@asynccontextmanager
async def bench(wanted: dict[str, Want]) -> AsyncIterator[Bench]:
    made = Bench()
    async with asyncio.TaskGroup() as tasks:
        made.roster.begin(tasks, wanted)
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            for thing in made.made:
                thing.let_go.set()
            await made.roster.end()
    assert not any(thing.running for thing in made.made)


async def test_its_members_run_until_it_ends() -> None:
    wanted = {"a": Want("x"), "b": Want("y")}
    async with bench(wanted) as it:
        assert it.running == wanted
        assert {"thing a", "thing b"} <= {task.get_name() for task in asyncio.all_tasks()}


async def test_what_a_member_raises_ends_the_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with bench({"a": Want("x"), "b": Want("broken")}):
            await asyncio.Event().wait()
    assert [str(error) for error in caught.value.exceptions] == ["b"]


async def test_what_is_wanted_as_before_is_not_touched() -> None:
    async with bench({"same": Want("x"), "live": Want("x"), "anew": Want("x"), "old": Want("x")}) as it:
        before = dict(it.roster.members)
        it.log.clear()
        await it.keep({"new": Want("x"), "same": Want("x"), "live": Want("x", 1), "anew": Want("y")})
        after = it.roster.members
        assert after["same"] is before["same"]
        assert before["same"].wants == [Want("x")]
        assert after["live"] is before["live"]
        assert before["live"].wants == [Want("x"), Want("x", 1)]
        assert after["anew"] is not before["anew"]
        assert it.log == ["-anew", "-old", "+new", "+anew"] or it.log == ["-old", "-anew", "+new", "+anew"]
        assert it.gone == ["old"]
        assert it.roster.wanted == it.running


async def test_one_that_came_to_its_end_is_left_so_until_something_else_is_wanted() -> None:
    async with bench({"short": Want("short")}) as it:
        await it.keep({"short": Want("short"), "more": Want("x")})
        assert it.running == {"more": Want("x")}
        await it.keep({"short": Want("short", 1)})
        assert it.log == ["+short", "-short", "+more", "-more", "+short", "-short"]
        await it.keep({})
        assert sorted(it.gone) == ["more", "short"]


async def test_one_that_takes_too_long_to_change_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "END_S", 0.01)
    async with bench({"a": Want("slow")}) as it:
        await it.keep({"a": Want("slow", 1)})
        assert len(it.made) == 2
        assert it.running == {"a": Want("slow", 1)}


async def test_one_that_does_not_end_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "END_S", 0.01)
    stubborn = {"stays": Want("x", stays=True)}
    async with bench({**stubborn, "goes": Want("x")}) as it:
        (first, _) = it.made
        await it.keep({"stays": Want("y"), "new": Want("x")})
        assert list(it.roster.late) == ["stays"]
        assert it.running == {**stubborn, "new": Want("x")}
        await it.keep({"stays": Want("y", 7), "new": Want("x")})  # the last word counts
        await it.keep({"stays": Want("y", 8), "new": Want("x")})
        assert it.roster.members["stays"] is first
        first.let_go.set()
        await until(lambda: it.running == {"stays": Want("y", 8), "new": Want("x")})
        assert list(it.roster.late) == []
        assert it.gone == ["goes"]


async def test_one_that_does_not_end_and_is_wanted_no_more_is_gone_when_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "END_S", 0.01)
    async with bench({"stays": Want("x", stays=True)}) as it:
        await it.keep({})
        assert it.gone == []
        await it.keep({"stays": Want("y")})
        await it.keep({})
        it.made[0].let_go.set()
        await until(lambda: not it.roster.members)
        assert it.gone == ["stays"]
        assert len(it.made) == 1


async def test_nothing_begins_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in the middle of a change: what was to come does not."""
    monkeypatch.setattr(roster_module, "END_S", 30)
    async with bench({"stays": Want("x", stays=True)}) as it:
        keeping = asyncio.create_task(it.keep({"stays": Want("y"), "new": Want("x")}))
        await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert [thing.name for thing in it.made] == ["stays"]


async def test_what_was_late_at_the_end_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "END_S", 0.01)
    async with bench({"stays": Want("x", stays=True)}) as it:
        await it.keep({"stays": Want("y")})
    assert len(it.made) == 1


WANTS = st.builds(Want, st.sampled_from(["x", "y"]), st.integers(0, 2), st.just(value=False))


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), WANTS), min_size=1, max_size=6))
async def test_any_changes_end_in_what_was_wanted_last(steps: list[dict[str, Want]]) -> None:
    async with bench(steps[0]) as it:
        for was, wanted in pairwise(steps):
            before, made = dict(it.roster.members), len(it.made)
            await it.keep(wanted)
            assert it.running == it.roster.wanted == wanted
            touched = {name for name in wanted if was.get(name) != wanted[name]}
            assert {name for name in wanted if it.roster.members[name] is not before.get(name)} <= touched
            assert all(before[name].wants[-1] == was[name] for name in was if name not in touched)
            assert {thing.name for thing in it.made[made:]} <= touched
            assert set(was) - set(wanted) <= set(it.gone)
