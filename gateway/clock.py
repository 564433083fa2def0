"""What time it is, how sure that is, and how long this machine has been up. Every other module is handed a Clock."""

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.core import limits

log = logging.getLogger(__name__)

RELEASED_MS = 1_795_392_000_000
"""The build's date (2026-11-23): no reading of this version is older (docs/format.md, section 2)."""

_ERROR_MAX_US = 16_000_000  # the kernel's own bound for "nobody disciplines this clock"
_LOOK_EVERY_MS = 1_000
_STEP_MS = 500
_WATCH_EVERY_S = 1.0
_TOGETHER_MS = 100  # two clocks that were read further apart say nothing about each other


_MS_MAX = 253_402_300_799_999  # the end of the year 9999


def day(ms: int) -> str:
    """A time for a person: the day and the minute, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(min(max(ms, 0), _MS_MAX) // 1000))


class Stamp(NamedTuple):
    """One look at the wall clock: Unix milliseconds as claimed, and what the system tells of their error."""

    ms: int
    synchronised: bool
    error_ms: int | None = None  # None: unknown


class Step(NamedTuple):
    """The wall clock jumped against the monotonic one. Unix ms: what it would read without the jump, and reads."""

    old_ms: int
    new_ms: int


class Clock(Protocol):
    """Wall time and monotonic time never mix: durations and deadlines are monotonic, claims are wall time."""

    boot_id: str

    def now(self) -> Stamp:
        """The time now. Where the wall clock reads before 2^28 s another stands in, which runs on from the floor and
        is never synchronised.
        """

    def monotonic(self) -> float:
        """Seconds that never go back, suspend included."""

    def claimed_ms(self) -> int:
        """What the machine's own clock reads, possible or not: Unix milliseconds."""

    def raise_floor(self, ms: int) -> None:
        """What stands in for an impossible clock reads at least this from now on (the last block's `sealed`)."""

    def step(self) -> Step | None:
        """The jump that `now` has noticed since the last call."""

    def offset(self) -> float:
        """Seconds by which `now` has moved against `monotonic` since this process began, as of the last `now`.

        A time told earlier, when it was `then`, reads `offset() - then` more by the clock of now.
        """


def facts(clock: Clock) -> dict[str, str | float | bool]:
    """What the gateway's own readings say of its clock (docs/format.md, section 2)."""
    return {
        "synchronised": clock.now().synchronised,
        "boot": clock.boot_id,
        "uptime": round(clock.monotonic(), 3),
        "offset": round(clock.offset(), 3),
    }


def known_s(clock: Clock) -> float | None:
    """Unix seconds, or None where nobody knows the time."""
    stamp = clock.now()
    return stamp.ms / 1000 if stamp.synchronised else None


async def watch(clock: Clock, look: Callable[[], object], woke: Callable[[], None]) -> None:
    """Until cancelled, has a `look` at the clock each second, where no reading does.

    woke: the machine slept, so that what fell due meanwhile is due at once.
    """
    loop = asyncio.get_running_loop()
    ahead = clock.monotonic() - loop.time()  # the loop's own clock stands still while the machine sleeps
    while True:
        await asyncio.sleep(_WATCH_EVERY_S)
        look()
        was, ahead = ahead, clock.monotonic() - loop.time()
        if ahead - was > _WATCH_EVERY_S:
            log.info("the machine slept for %.0f s", ahead - was)
            woke()


class _Timeval(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("usec", ctypes.c_long))


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), up to the fields that are read here, padded to its size."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _Timeval),
        ("rest", ctypes.c_byte * 128),
    )


def kernel_error_us() -> int | None:
    """The kernel's maximum error of the wall clock in microseconds (adjtimex(2), no root needed); None: not told."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = _Timex()
    if adjtimex(ctypes.byref(state)) < 0:
        return None
    return int(state.maxerror)


class SystemClock:
    """The machine's clocks. The kernel is asked at most once a second whether they are synchronised."""

    def __init__(self) -> None:
        self.boot_id = _boot_id()
        self._error_us: int | None = None
        self._looked_ms = float("-inf")
        self._stand_in_ms = RELEASED_MS - self._mono_ms()  # what stands in for an impossible clock read at boot
        self._told = False  # a stamp was given
        self._step: Step | None = None
        self._begin()

    def now(self) -> Stamp:
        """See Clock."""
        self._told = True
        while True:
            mono_ms, ms, possible = self._read()
            self._follow(mono_ms, ms)
            if not possible:
                return Stamp(ms, False)
            if mono_ms - self._looked_ms < _LOOK_EVERY_MS:
                break
            self._looked_ms = mono_ms
            self._error_us = kernel_error_us()  # of a time that was read before this it says nothing
        error = self._error_us
        if error is None or error >= _ERROR_MAX_US:
            return Stamp(ms, False)
        return Stamp(ms, True, error // 1000)

    def _follow(self, mono_ms: int, ms: int) -> None:
        """Keeps the offset; notices a jump."""
        jump_ms = ms - mono_ms - self._offset_ms
        if abs(jump_ms) > _STEP_MS:
            before_ms = self._step.new_ms - self._step.old_ms if self._step else 0
            self._step = Step(ms - jump_ms - before_ms, ms)
            self._looked_ms = float("-inf")
        self._offset_ms += jump_ms

    def _begin(self) -> None:
        mono_ms, ms, _ = self._read()
        self._begin_ms = self._offset_ms = ms - mono_ms

    def _read(self) -> tuple[int, int, bool]:
        """Both clocks, in ms, at one moment; and whether the wall clock's time is possible."""
        while True:
            mono_ms, (ms, possible) = self._mono_ms(), self._wall_ms()
            if self._mono_ms() - mono_ms < _TOGETHER_MS:  # else the process, or the machine, slept between them
                return mono_ms, ms, possible

    def _wall_ms(self) -> tuple[int, bool]:
        """What the wall clock reads, True; or what stands in for it, False."""
        ms = time.time_ns() // 1_000_000
        if ms >= limits.BASE_TIME_MIN_S * 1000:
            return ms, True
        return self._stand_in_ms + self._mono_ms(), False

    def _mono_ms(self) -> int:
        return int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        """See Clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def claimed_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def raise_floor(self, ms: int) -> None:
        """See Clock."""
        self._stand_in_ms = max(self._stand_in_ms, ms - self._mono_ms())
        if not self._told:  # nobody has seen another time yet: this is no step
            self._begin()

    def step(self) -> Step | None:
        """See Clock."""
        step, self._step = self._step, None
        return step

    def offset(self) -> float:
        """See Clock."""
        return (self._offset_ms - self._begin_ms) / 1000


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
