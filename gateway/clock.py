"""What time it is, how sure that is, and how long this machine has been up. Every other module is handed a Clock."""

import ctypes
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.core import limits

RELEASED_MS = 1_795_392_000_000
"""The build's date (2026-11-23): no reading of this version is older (docs/format.md, section 2)."""

_ERROR_MAX_US = 16_000_000  # the kernel's own bound for "nobody disciplines this clock"
_LOOK_EVERY_S = 1.0
_STEP_S = 0.5


class Stamp(NamedTuple):
    """One look at the wall clock: Unix milliseconds as claimed, and what the system tells of their error."""

    ms: int
    synchronised: bool
    error_ms: int | None = None  # None: unknown


class Step(NamedTuple):
    """The wall clock jumped against the monotonic one: what it read before and after, Unix milliseconds."""

    old_ms: int
    new_ms: int


class Clock(Protocol):
    """Wall time and monotonic time never mix: durations and deadlines are monotonic, claims are wall time."""

    boot_id: str

    def now(self) -> Stamp:
        """The time now. A clock that reads before 2^28 s is replaced by `floor_ms` and not synchronised."""

    def monotonic(self) -> float:
        """Seconds that never go back, suspend included."""

    def raise_floor(self, ms: int) -> None:
        """No stamp in place of an impossible clock is earlier than this (the last block's `sealed`)."""

    def step(self) -> Step | None:
        """A jump of the wall clock since the last call."""


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
        self._floor_ms = RELEASED_MS
        self._error_us: int | None = None
        self._looked = float("-inf")
        self._offset = time.time() - self.monotonic()

    def now(self) -> Stamp:
        """See Clock."""
        mono = self.monotonic()
        if mono - self._looked >= _LOOK_EVERY_S:
            self._looked = mono
            self._error_us = kernel_error_us()
        ms = time.time_ns() // 1_000_000
        if ms < limits.BASE_TIME_MIN_S * 1000:
            return Stamp(self._floor_ms, False)
        error = self._error_us
        if error is None or error >= _ERROR_MAX_US:
            return Stamp(ms, False)
        return Stamp(ms, True, error // 1000)

    def monotonic(self) -> float:
        """See Clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def raise_floor(self, ms: int) -> None:
        """See Clock."""
        self._floor_ms = max(self._floor_ms, ms)

    def step(self) -> Step | None:
        """See Clock."""
        mono, wall = self.monotonic(), time.time()
        old = mono + self._offset
        self._offset = wall - mono
        return Step(int(old * 1000), int(wall * 1000)) if abs(wall - old) > _STEP_S else None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"
