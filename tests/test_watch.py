"""What the log is told of conditions: hours of an outage pass in no time, and its lines are counted."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable

import pytest
from fakes import virtual_loop
from hypothesis import given
from hypothesis import strategies as st

from gateway import conditions, logs
from gateway.conditions import DISK_FULL, NODE_AWAY, PAGE_AWAY, SOURCE_AWAY, Problem
from gateway.core import limits
from gateway.logs.limit import Limiter
from gateway.logs.lines import OneLine
from gateway.watch import HOUR_S, Line, Teller, Watch

LINES_AN_HOUR = limits.CONDITION_TOLD_ALL + 1  # of one condition: those, and their sum


def away(source: str = "climate", detail: str = "unplugged") -> Problem:
    return SOURCE_AWAY.problem(source, detail=detail, cure="Plug it in")


def test_a_condition_is_told_when_it_begins_and_when_it_is_over() -> None:
    teller = Teller()
    (begun,) = teller.look([away()], 0)
    assert begun.level == logging.ERROR
    assert begun.text == "Source climate is away: unplugged. Plug it in"
    assert begun.told.holds
    assert begun.told.message_id == SOURCE_AWAY.message_id
    assert begun.told.values == {"subject": "climate", "detail": "unplugged", "cure": "Plug it in"}
    for second in range(1, 100):
        assert not teller.look([away(detail=f"unplugged for {second} s")], second)
    (over,) = teller.look([], 100)
    assert (over.level, over.told.holds) == (logging.INFO, False)
    assert over.text == "It is over: Source climate is away: unplugged for 99 s"
    assert not teller.look([], 101)


def test_levels_follow_severity() -> None:
    problems = [DISK_FULL.problem(free="0 bytes"), PAGE_AWAY.problem(what="taken", cure="x")]
    assert [line.level for line in Teller().look(problems, 0)] == [logging.ERROR, logging.WARNING]


def test_subjects_are_told_apart() -> None:
    teller = Teller()
    assert len(teller.look([away("a"), away("b"), NODE_AWAY.problem("a", detail="d", url="u")], 0)) == 3
    (line,) = teller.look([away("b"), NODE_AWAY.problem("a", detail="d", url="u")], 1)
    assert (line.told.condition, line.told.subject) == ("source-away", "a")


def flap(teller: Teller, hours: float, subjects: Iterable[str], every_s: float = 1.0) -> list[Line]:
    """The subjects come and go together."""
    lines: list[Line] = []
    for step in range(int(hours * HOUR_S / every_s)):
        held = [away(subject) for subject in subjects] if step % 2 == 0 else []
        lines += teller.look(held, step * every_s)
    return lines


def test_one_that_comes_and_goes_is_damped() -> None:
    """A loose plug for a day: some lines an hour, and what was not told stands in a sum."""
    lines = flap(Teller(), 24, ["climate"])
    assert len(lines) <= 24 * (2 * limits.CONDITION_TOLD + 1)
    sums = [line for line in lines if "were not told" in line.text]
    assert len(sums) == 23
    changes = sum(int(line.text.split(": ")[1].split()[0]) for line in sums)
    told = len(lines) - len(sums)
    assert told + changes == pytest.approx(24 * HOUR_S, rel=0.05)  # the last hour's sum is still to come
    assert "for the rest of the hour" in lines[2 * limits.CONDITION_TOLD - 1].text
    assert sums[0].told.subject == "climate"
    assert sums[0].told.message_id == SOURCE_AWAY.message_id


def test_an_outage_of_hundreds_of_sources_is_bounded() -> None:
    """A broker goes for eight hours with 500 sources, coming back for a moment each minute."""
    subjects = [f"source-{number}" for number in range(500)]
    lines = flap(Teller(), 8, subjects, every_s=30)
    assert len(lines) <= 8 * LINES_AN_HOUR
    named = [line for line in lines if "were not told" in line.text]
    assert named
    assert all(len(line.text) < 500 for line in lines)
    assert "and 492 more" in named[0].text


def test_a_sum_says_what_holds_now() -> None:
    teller = Teller()
    for step in range(100):
        teller.look([away()] if step % 2 == 0 else [], step)
    (line,) = teller.look([away()], HOUR_S + 1)
    assert line.text.endswith("Now it holds for climate")
    assert line.level == logging.ERROR
    assert line.told.holds
    (line,) = teller.look([], 2 * HOUR_S + 3)  # a new hour: told as at first
    assert line.text.startswith("It is over")


@given(st.lists(st.sets(st.sampled_from("abc")), max_size=200), st.floats(1, 2000))
def test_the_last_word_of_each_is_true_within_an_hour(looks: list[set[str]], every_s: float) -> None:
    """Whatever comes and goes: when an hour has passed without a change, the log says how it is."""
    teller, said = Teller(), defaultdict[str, bool](bool)
    for step, held in enumerate(looks):
        _hear(teller.look([away(one) for one in sorted(held)], step * every_s), said)
    end = len(looks) * every_s
    last = looks[-1] if looks else set()
    _hear(teller.look([away(one) for one in sorted(last)], end + HOUR_S), said)
    assert {subject for subject, holds in said.items() if holds} == last


def _hear(lines: list[Line], said: dict[str, bool]) -> None:
    for line in lines:
        if "were not told" not in line.text:
            said[line.told.subject] = line.told.holds
            continue
        _, _, now = line.text.partition("Now it ")
        for subject in "abc":
            said[subject] = subject in now.removeprefix("holds for ").split(", ") if "holds" in now else False


def test_message_ids_never_change() -> None:
    """They stand in journals for years: an id of a condition makes the same one for ever."""
    assert conditions.find("disk-full").message_id == "f58752381827529c8cef1851b55c2155"
    assert conditions.find("signing-held").message_id == "6f4a852f65ce5b758b1344dcc84745f9"
    ids = [one.message_id for one in conditions.conditions()]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)


def test_the_watch_logs_and_measures(caplog: pytest.LogCaptureFixture) -> None:
    held: list[Problem] = []

    async def main(loop: virtual_loop.VirtualLoop) -> None:
        loop.busy = lambda: False
        watch = Watch(lambda: held)
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(1.5)
        held.append(away())
        await asyncio.sleep(2)
        loop.now += 5  # something holds the loop up
        await asyncio.sleep(3)
        vitals = watch.vitals({})
        assert vitals.lag_max_s == pytest.approx(4.5)
        assert vitals.lag_s < 4.5
        await asyncio.sleep(100)
        assert watch.vitals({}).lag_max_s == pytest.approx(0)
        task.cancel()

    with caplog.at_level(logging.INFO):
        virtual_loop.run(main)
    (record,) = caplog.records
    assert record.message == "Source climate is away: unplugged. Plug it in"
    assert record.told == Teller().look(held, 0)[0].told


def test_lines_that_were_left_out_are_told_in_the_end() -> None:
    """Also where no further line of that kind ever comes."""
    now = 1000.0
    records = logs.Log(logging.NullHandler(), Limiter(lambda: now), OneLine())
    loud = logging.Logger("drivers.x")
    loud.addHandler(records)
    for number in range(50):
        loud.warning("number %d", number)
    now += 61

    async def main(loop: virtual_loop.VirtualLoop) -> None:
        loop.busy = lambda: False
        task = asyncio.create_task(Watch(list, records).run())
        await asyncio.sleep(0.1)
        task.cancel()

    virtual_loop.run(main)
    texts = [one["text"] for one in records.ring.after(0)["records"]]
    assert len(texts) == limits.LOG_AT_ONCE + 1
    assert texts[-1] == f"{50 - limits.LOG_AT_ONCE} more lines were left out: number %d"
    assert records.left_out == 50 - limits.LOG_AT_ONCE
