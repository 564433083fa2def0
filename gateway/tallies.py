"""What became of each source's messages, counted for as long as the configuration has the source (invariant 5)."""

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from drivers.api import Record, Reject
from gateway.core.senml import OWN
from gateway.store.journal import source_bit

Raw = Literal["in", "apart", "none"]

_MARKS, _MARK_S = 7, 10.0  # a rate is of the minute before the last mark, and what has come since


@dataclass(slots=True)
class Tally:
    """What became of one source's messages since the start. `last` to `quality`: of its newest reading.

    up, detail, cure, condition, values: as the driver's last Link has them.
    """

    driver: str = ""
    raw: Raw = "in"
    bit: int = 0
    arrived: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    example: Reject | None = None
    up: bool | None = None
    detail: str = ""
    cure: str = ""
    condition: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    last: Sequence[Record] = ()
    last_ms: int | None = None
    quality: int = 0
    marks: "array[int]" = field(default_factory=lambda: array("Q", bytes(8 * _MARKS)))  # `stored` at past moments


@dataclass(slots=True)
class Origin:
    """Who hands over: a driver, the raw of its configured sources, the configured source of each that it named."""

    driver: str
    raws: Mapping[str, Raw]
    parents: Mapping[str, str]

    def has(self, source: str) -> bool:
        """Whether it is the driver itself, which counts what is no source's, or a source of it."""
        return source == self.driver or source in self.raws or self.parents.get(source, "") in self.raws


class Tallies(dict[str, Tally]):
    """Tallies by source; their owner is intake. waiting: how many of a source's messages are not yet durable."""

    def __init__(self, waiting: Callable[[str], int]) -> None:
        super().__init__()
        self._waiting = waiting
        self._leaving: set[str] = set()  # sources that go when nothing of them waits
        self._marked: deque[tuple[float, int]] = deque(maxlen=_MARKS)  # when, and where in `marks`

    def add(self, source: str, driver: str, raw: Raw) -> Tally:
        """Makes a source known before its first message. One that is known goes on counting."""
        self._leaving.discard(source)
        tally = self.get(source)
        if tally is None:
            tally = self[source] = Tally(bit=source_bit(source))
        tally.driver, tally.raw = driver, raw
        return tally

    def meet(self, source: str, origin: Origin) -> Tally:
        """A source that its driver named itself."""
        return self.add(source, origin.driver, origin.raws.get(origin.parents.get(source, ""), "in"))

    def follow(self, origin: Origin, *, ended: bool = False) -> None:
        """The sources of a driver are these now. What else it counted leaves; where it has ended, all of it."""
        for source, raw in origin.raws.items():
            self.add(source, origin.driver, raw)
        self._leaving.update(
            source
            for source, tally in self.items()
            if tally.driver == origin.driver and source != OWN and (ended or not origin.has(source))
        )
        self.sweep()

    def sweep(self) -> None:
        """Those that leave go, unless something of them waits: until then their counts would not add up."""
        for source in [source for source in self._leaving if not self._waiting(source)]:
            self._leaving.discard(source)
            del self[source]

    def mark(self, now: float) -> None:
        """Remembers every count, from time to time; now: seconds of a monotonic clock."""
        if self._marked and now - self._marked[-1][0] < _MARK_S:
            return
        place = (self._marked[-1][1] + 1) % _MARKS if self._marked else 0
        self._marked.append((now, place))
        for tally in self.values():
            tally.marks[place] = tally.stored

    def rate(self, tally: Tally, now: float) -> float:
        """Readings a second over the last minute, or since the start where that is shorter."""
        if not self._marked or now <= self._marked[0][0]:
            return 0.0
        since, place = self._marked[0]
        return (tally.stored - tally.marks[place]) / (now - since)
