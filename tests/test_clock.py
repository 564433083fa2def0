"""The machine's clock, and the one that stands in for it."""

import time
from types import SimpleNamespace

import pytest
from fakes.clock import FakeClock

from gateway import clock as clocks
from gateway.clock import RELEASED_MS, Clock, Stamp, Step, SystemClock, kernel_error_us
from gateway.core import limits

FIRST_MS = limits.BASE_TIME_MIN_S * 1000  # below it, RFC 8428 would read "relative to now"


class Hands:
    """What the time module says, to be set by hand."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.mono = 100.0

    def time(self) -> float:
        return self.wall

    def time_ns(self) -> int:
        return round(self.wall * 1e9)

    def clock_gettime(self, which: int) -> float:
        assert which == self.CLOCK_BOOTTIME
        return self.mono


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands()
    monkeypatch.setattr(clocks, "time", made)
    monkeypatch.setattr(clocks, "kernel_error_us", lambda: 12_345)
    return made


def test_the_machines_own() -> None:
    """Whatever this machine says, it is between two looks of ours, and sane."""
    before = time.time_ns() // 1_000_000
    clock = SystemClock()
    stamp = clock.now()
    assert before <= stamp.ms <= time.time_ns() // 1_000_000
    assert stamp.synchronised == (stamp.error_ms is not None)
    assert stamp.error_ms is None or 0 <= stamp.error_ms < 16_000
    assert clock.boot_id
    first = clock.monotonic()
    assert 0 < first <= clock.monotonic()


def test_what_the_kernel_tells() -> None:
    error = kernel_error_us()
    assert error is None or 0 <= error <= 16_000_000


def test_no_adjtimex_is_no_error_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks.ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    assert kernel_error_us() is None
    monkeypatch.setattr(clocks.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(adjtimex=lambda _: -1))
    assert kernel_error_us() is None


@pytest.mark.parametrize(
    ("error_us", "stamp"),
    [
        (0, (True, 0)),
        (12_345, (True, 12)),
        (15_999_999, (True, 15_999)),
        (16_000_000, (False, None)),
        (None, (False, None)),
    ],
)
def test_synchronised(
    hands: Hands, monkeypatch: pytest.MonkeyPatch, error_us: int | None, stamp: tuple[bool, int | None]
) -> None:
    monkeypatch.setattr(clocks, "kernel_error_us", lambda: error_us)
    assert SystemClock().now() == Stamp(round(hands.wall * 1000), *stamp)


def test_the_kernel_is_asked_once_a_second(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(clocks, "kernel_error_us", lambda: asked.append(hands.mono))
    clock = SystemClock()
    for _ in range(40):
        clock.now()
        hands.mono += 0.25
    assert len(asked) == 10


@pytest.mark.parametrize("ms", [0, 1, FIRST_MS - 1])
def test_a_clock_below_2_28_is_replaced_by_the_floor(hands: Hands, ms: int) -> None:
    hands.wall = ms / 1000
    clock = SystemClock()
    assert clock.now() == Stamp(RELEASED_MS, False)
    clock.raise_floor(RELEASED_MS - 1)
    assert clock.now().ms == RELEASED_MS
    clock.raise_floor(RELEASED_MS + 5)
    clock.raise_floor(RELEASED_MS + 3)
    assert clock.now() == Stamp(RELEASED_MS + 5, False)


def test_a_clock_from_2_28_on_is_taken_as_it_is(hands: Hands) -> None:
    hands.wall = float(limits.BASE_TIME_MIN_S)
    clock = SystemClock()
    clock.raise_floor(RELEASED_MS + 5)
    assert clock.now() == Stamp(FIRST_MS, True, 12)


def test_the_release_is_a_time_that_a_reading_may_have() -> None:
    assert FIRST_MS <= RELEASED_MS <= limits.NUMBER_MAX


def stepped(clock: SystemClock) -> Step | None:
    clock.now()
    return clock.step()


@pytest.mark.parametrize("by", [0.51, -0.51, 3600.0, -86_400.0, 1.6e9])
def test_a_jump_is_told_once(hands: Hands, by: float) -> None:
    hands.wall = 1_700_000_000.0
    clock = SystemClock()
    hands.mono += 10
    hands.wall += 10 + by
    step = stepped(clock)
    assert step is not None
    assert step.old_ms == pytest.approx(1_700_000_010_000, abs=1)
    assert step.new_ms == pytest.approx(1_700_000_010_000 + by * 1000, abs=1)
    assert clock.offset() == pytest.approx(by, abs=0.002)
    assert stepped(clock) is None


def test_jumps_that_nobody_asked_about_are_told_as_one(hands: Hands) -> None:
    clock = SystemClock()
    for by in (3600.0, -60.0, -3000.0):
        hands.mono += 10
        hands.wall += 10 + by
        clock.now()
    step = clock.step()
    assert step is not None
    assert step.new_ms - step.old_ms == pytest.approx(540_000, abs=3)
    assert step.new_ms == round(hands.wall * 1000)
    assert clock.offset() == pytest.approx(540, abs=0.003)


def test_the_kernel_is_asked_at_once_after_a_jump(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set and synchronised in one go: the first reading with the new time says so."""
    error_us = 16_000_000
    monkeypatch.setattr(clocks, "kernel_error_us", lambda: error_us)
    clock = SystemClock()
    assert not clock.now().synchronised
    error_us = 1_000
    hands.wall += 3600
    assert clock.now() == Stamp(round(hands.wall * 1000), True, 1)


def test_a_clock_that_is_set_while_the_kernel_is_asked(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says of the new time is never said of the old one."""
    clock = SystemClock()

    def error_us() -> int:
        if hands.wall < 1_800_000_000:
            hands.wall += 3600
        return 1_000

    hands.wall -= 3600
    monkeypatch.setattr(clocks, "kernel_error_us", error_us)
    assert clock.now() == Stamp(1_800_000_000_000, True, 1)


def test_a_pause_while_it_begins_is_no_jump(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = [20.0]
    look = hands.time_ns

    def paused() -> int:
        read = look()
        seconds = pauses.pop() if pauses else 0.0
        hands.mono += seconds
        hands.wall += seconds
        return read

    monkeypatch.setattr(hands, "time_ns", paused)
    assert stepped(SystemClock()) is None


def test_a_clock_that_is_slewed_or_suspended_does_not_jump(hands: Hands) -> None:
    clock = SystemClock()
    for _ in range(1000):
        hands.mono += 1
        hands.wall += 1.0005
        assert stepped(clock) is None
    assert clock.offset() == pytest.approx(0.5, abs=0.01)
    hands.mono += 50_000  # boot time runs on while the machine sleeps
    hands.wall += 50_000
    assert stepped(clock) is None


def test_a_pause_between_two_looks_is_no_jump(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is stopped after it has read one clock and before it reads the other."""
    clock = SystemClock()
    calls = 0
    look = hands.clock_gettime

    def paused(which: int) -> float:
        nonlocal calls
        calls += 1
        read = look(which)
        if calls == 1:
            hands.mono += 20
            hands.wall += 20
        return read

    monkeypatch.setattr(hands, "clock_gettime", paused)
    assert stepped(clock) is None
    assert clock.offset() == 0


def test_what_stands_in_for_an_impossible_clock_runs_on(hands: Hands) -> None:
    hands.wall = 3.0
    clock = SystemClock()
    clock.raise_floor(RELEASED_MS + 500_000)  # the last block's, before anybody has seen a time
    assert clock.now() == Stamp(RELEASED_MS + 500_000, False)
    for _ in range(3):
        hands.wall += 7
        hands.mono += 7
        sealed = clock.now().ms
        clock.raise_floor(sealed)
        assert clock.step() is None
    assert clock.now().ms == RELEASED_MS + 521_000
    assert clock.offset() == 0
    hands.wall = 1_800_000_000.0
    assert stepped(clock) == Step(RELEASED_MS + 521_000, 1_800_000_000_000)
    assert clock.offset() == (1_800_000_000_000 - RELEASED_MS - 521_000) / 1000
    clock.raise_floor(clock.now().ms)
    hands.mono += 5
    hands.wall = 0.0  # and back again: nothing is earlier than the last block
    assert clock.now() == Stamp(1_800_000_005_000, False)
    assert clock.step() is None


def test_a_machine_without_a_boot_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(clocks.Path, "read_text", missing)
    assert SystemClock().boot_id == "unknown"


# The fake


def test_the_fake_keeps_the_same_law() -> None:
    clock: Clock = FakeClock(5)
    clock.raise_floor(9)
    clock.raise_floor(7)
    assert clock.now() == Stamp(9, False)


def test_the_fake_moves_as_it_is_told() -> None:
    clock = FakeClock()
    before, mono = clock.now().ms, clock.monotonic()
    clock.advance(1.5)
    assert (clock.now().ms, clock.monotonic()) == (before + 1500, mono + 1.5)
    clock.jump(before)
    assert clock.step() == Step(before + 1500, before)
    assert clock.step() is None
    assert clock.offset() == -1.5
    assert clock.monotonic() == mono + 1.5
