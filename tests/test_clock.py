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


@pytest.mark.parametrize("by", [0.51, -0.51, 3600.0, -86_400.0, 1.6e9])
def test_a_jump_is_told_once(hands: Hands, by: float) -> None:
    hands.wall = 1_700_000_000.0
    clock = SystemClock()
    hands.mono += 10
    hands.wall += 10 + by
    step = clock.step()
    assert step is not None
    assert step.old_ms == pytest.approx(1_700_000_010_000, abs=1)
    assert step.new_ms == pytest.approx(1_700_000_010_000 + by * 1000, abs=1)
    assert clock.step() is None


def test_a_clock_that_is_slewed_or_suspended_does_not_jump(hands: Hands) -> None:
    clock = SystemClock()
    for _ in range(1000):
        hands.mono += 1
        hands.wall += 1.0005
        assert clock.step() is None
    hands.mono += 50_000  # boot time runs on while the machine sleeps
    hands.wall += 50_000
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
    assert clock.monotonic() == mono + 1.5
