"""A clock that a test moves by hand."""

from gateway.clock import Stamp, Step


class FakeClock:
    """Starts synchronised at START_MS; `monotonic` stands still unless `advance` moves it."""

    START_MS = 1_800_000_000_000

    def __init__(self, ms: int = START_MS, *, synchronised: bool = True) -> None:
        self.boot_id = "00000000-0000-4000-8000-000000000001"
        self.ms = ms
        self.synchronised = synchronised
        self.error_ms: int | None = 5
        self.up = 1000.0
        self._jump: Step | None = None

    def now(self) -> Stamp:
        return Stamp(self.ms, self.synchronised, self.error_ms if self.synchronised else None)

    def monotonic(self) -> float:
        return self.up

    def advance(self, seconds: float) -> None:
        """Both clocks go on."""
        self.up += seconds
        self.ms += round(seconds * 1000)

    def jump(self, ms: int) -> None:
        """The wall clock alone is set."""
        self._jump = Step(self.ms, ms)
        self.ms = ms

    def raise_floor(self, ms: int) -> None:
        self.ms = max(self.ms, ms) if self.ms < 2**28 * 1000 else self.ms

    def step(self) -> Step | None:
        jump, self._jump = self._jump, None
        return jump
