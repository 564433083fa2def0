"""How many lines an outage writes: hours pass in no time, on a clock of the test's."""

import logging
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.logs.limit import Limiter
from gateway.logs.told import Told

HOUR_S = 3600.0


class Time:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def record(
    message: str, *args: object, logger: str = "drivers.mqtt", level: int = logging.WARNING
) -> logging.LogRecord:
    return logging.LogRecord(logger, level, __file__, 1, message, args, None)


def test_an_outage_of_hours_writes_a_bounded_number_of_lines() -> None:
    """Twenty sources fail ten times a second for eight hours, each with words of its own in one template."""
    time, written, told = Time(), 0, 0
    limiter = Limiter(time)
    hours = 8
    for step in range(int(hours * HOUR_S / 10)):
        time.now += 10
        for source in range(20):
            out = limiter.admit(record("source %s failed: %s", source, step))
            written += out is not None
            told += out or 0
    assert limits.LOG_AT_ONCE <= written <= limits.LOG_AT_ONCE + hours * 60 * limits.LOG_A_MINUTE
    assert written + told <= hours * HOUR_S / 10 * 20
    time.now += 60
    (rest,) = limiter.left_out()
    assert written + told + rest.lines == hours * HOUR_S / 10 * 20  # nothing is left out in silence
    assert rest[:2] == ("drivers.mqtt", "source %s failed: %s")
    assert not limiter.left_out()


def test_lines_that_are_all_different_are_bounded_together() -> None:
    """Whatever forms its text before it logs makes a kind of each line: they share what all kinds may write."""
    time, written = Time(), 0
    limiter = Limiter(time)
    minutes = 240
    for number in range(minutes * 100):
        time.now += 60 / 100
        written += limiter.admit(record(f"task {number} went wrong")) is not None
    assert written <= limits.LOG_ALL_AT_ONCE + minutes * limits.LOG_ALL_A_MINUTE + 1
    assert len(limiter._kinds) == limits.LOG_KINDS
    lines = sum(one.lines for one in limiter.left_out())
    for _ in range(minutes * 10):
        time.now += 60
        lines += sum(one.lines for one in limiter.left_out())
    assert written + lines == minutes * 100


def test_kinds_do_not_take_each_others_lines() -> None:
    limiter = Limiter(Time())
    for _ in range(50):
        limiter.admit(record("loud"))
    assert limiter.admit(record("quiet")) == 0
    assert limiter.admit(record("loud", logger="another")) == 0


def test_the_limit_and_one_past_it() -> None:
    time = Time()
    limiter = Limiter(time)
    assert [limiter.admit(record("x")) for _ in range(limits.LOG_AT_ONCE)] == [0] * limits.LOG_AT_ONCE
    assert limiter.admit(record("x")) is None
    time.now += 60 / limits.LOG_A_MINUTE - 0.001
    assert limiter.admit(record("x")) is None
    time.now += 0.001
    assert limiter.admit(record("x")) == 2


def test_what_is_asked_for_and_what_is_damped_elsewhere_is_not_limited() -> None:
    limiter = Limiter(Time())
    condition = record("%s")
    condition.told = Told("disk-full", "error", "", "0" * 32, True, {})
    for _ in range(1000):
        assert limiter.admit(record("x", level=logging.DEBUG)) == 0
        assert limiter.admit(condition) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 400)), max_size=300))
def test_every_line_is_written_or_counted(steps: list[tuple[int, float]]) -> None:
    time = Time()
    limiter = Limiter(time)
    fate: Counter[str] = Counter()
    for kind, wait in steps:
        time.now += wait
        fate["said"] += 1
        out = limiter.admit(record(f"kind {kind}"))
        fate["written"] += out is not None
        fate["told"] += out or 0
        if kind == 3:
            fate["told"] += sum(one.lines for one in limiter.left_out())
    time.now += 1e6
    fate["told"] += sum(one.lines for one in limiter.left_out())
    assert fate["written"] + fate["told"] == fate["said"]
