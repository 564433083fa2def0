"""What became of each source's messages, counted for as long as the configuration has the source (invariant 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from drivers.api import Record, Reject
from gateway.store.journal import source_bit

Raw = Literal["in", "apart", "none"]
OWN = "gateway"  # the source of the gateway's own events


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
