"""A clock that stands still until a test moves it."""

from gateway.clock import Stamp, Step
from gateway.core import limits

START_MS = 1_795_500_000_000


class FakeClock:
    """A gateway.clock.Clock. `ms` is the wall clock, `mono` the monotonic; `advance` moves both, `jump` the first."""

    boot_id = "5f1c1a4e-0000-4000-8000-000000000001"

    def __init__(self, ms: int = START_MS, *, synchronised: bool = True, error_ms: int | None = 5) -> None:
        self.ms = ms
        self.mono = 1000.0
        self.synchronised = synchronised
        self.error_ms = error_ms
        self.floor_ms = 0
        self._step: Step | None = None
        self._jumped_ms = 0

    def now(self) -> Stamp:
        if self.ms < limits.BASE_TIME_MIN_S * 1000:
            return Stamp(self.floor_ms, False)
        return Stamp(self.ms, self.synchronised, self.error_ms if self.synchronised else None)

    def monotonic(self) -> float:
        return self.mono

    def claimed_ms(self) -> int:
        return self.ms

    def raise_floor(self, ms: int) -> None:
        self.floor_ms = max(self.floor_ms, ms)

    def step(self) -> Step | None:
        step, self._step = self._step, None
        return step

    def offset(self) -> float:
        return self._jumped_ms / 1000

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.ms += round(seconds * 1000)
        self.mono += seconds

    def jump(self, ms: int) -> None:
        """Somebody sets the wall clock."""
        self._step = Step(self.ms, ms)
        self._jumped_ms += ms - self.ms
        self.ms = ms
