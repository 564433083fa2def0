"""What a reader does who wants to know when a reading was taken while the gateway's clock was wrong: the arithmetic of
docs/format.md, section 2, on nothing but the readings themselves, in the order of the chain.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core import senml

UNSYNCHRONISED = 1


class Dated(NamedTuple):
    """A reading and when it was taken, Unix ms: as claimed where its clock was synchronised, else as found out; None
    where nothing tells."""

    reading: senml.Reading
    true_ms: int | None


@dataclass
class _Life:
    """One run of the gateway. zero_ms: what its clock read when the machine booted."""

    boot: str
    zero_ms: float
    moved_ms: float = 0.0  # the newest `offset`
    readings: list[tuple[int, senml.Reading, float]] = field(default_factory=list)  # place, reading, `offset` then


def facts(reading: senml.Reading) -> dict[str, object]:
    """An event's records by name."""
    return {record.name: record.value for record in reading.records}


def dated(readings: Iterable[senml.Reading]) -> list[Dated]:
    """Every reading with its true time."""
    lives: list[_Life] = []
    zeros: dict[str, float] = {}  # by boot: the true time at which it booted
    for place, reading in enumerate(readings):
        said = facts(reading) if reading.source == "gateway" else {}
        what = said.get("event")
        if what == "start":
            moved_ms = _ms(said, "offset")  # where the clock was set while the program started
            lives.append(_Life(str(said["boot"]), reading.time_ms - _ms(said, "uptime") - moved_ms, moved_ms))
        elif what in ("clock-step", "clock-synchronised"):
            lives[-1].moved_ms = _ms(said, "offset")
        if said.get("synchronised") is True and not reading.quality & UNSYNCHRONISED:
            zeros.setdefault(str(said["boot"]), reading.time_ms - _ms(said, "uptime"))
        lives[-1].readings.append((place, reading, lives[-1].moved_ms))
    found = {
        place: Dated(reading, _true(life, reading, moved, zeros))
        for life in lives
        for place, reading, moved in life.readings
    }
    return [found[place] for place in sorted(found)]


def _true(life: _Life, reading: senml.Reading, moved_ms: float, zeros: dict[str, float]) -> int | None:
    if not reading.quality & UNSYNCHRONISED:
        return reading.time_ms
    if life.boot not in zeros:
        return None
    return round(reading.time_ms - (life.zero_ms + moved_ms) + zeros[life.boot])


def _ms(said: dict[str, object], name: str) -> float:
    value = said[name]
    assert isinstance(value, int | float)
    return value * 1000
