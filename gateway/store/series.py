"""The values that are charted, each with the hours of it that are in memory only. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.core import limits
from gateway.store.minutes import HOUR_MS, Hour, Part

Name = tuple[str, str]
"""Source, name of a value."""


class Taken(NamedTuple):
    """What was in memory of one value: its unit, its hours by Unix hour."""

    unit: str | None
    hours: Mapping[int, Hour]


class _Series:
    """One value of one source."""

    __slots__ = ("heard", "hours", "unit")

    def __init__(self, unit: str | None) -> None:
        self.unit = unit
        self.heard = 0  # the newest hour that it was taken in for
        self.hours: dict[int, Hour] = {}


class Table:
    """At most ROLLUP_SERIES values and ROLLUP_HOURS hours; what is beyond is left out. Its owner is the rollup."""

    def __init__(self) -> None:
        self._series: dict[str, dict[str, _Series]] = {}
        self._number = 0  # of values
        self.held = 0  # hours
        self.hour = 0  # the present one; its owner sets it
        self._crowded_in = -1  # the hour in which no value was found that has been silent for long enough
        self.refused_in = 0  # the hour in which a value was left out for the last time

    def put(self, parts: Iterable[Part], *, older: bool = False) -> None:
        """Takes in what readings come to. older: they were made durable before everything that is here."""
        for part in parts:
            source, name, unit, _, _, _, when, _ = part
            named = self._series.get(source)
            one = named.get(name) if named is not None else None
            if one is None:
                one = self.meet(source, name, unit)
                if one is None:
                    continue
            number = when // HOUR_MS
            hour = one.hours.get(number)
            if hour is None:
                hour = self._begin(one, number)
                if hour is None:
                    continue
            if not older:
                one.unit = unit
            hour.put(part, older=older)

    def _begin(self, one: _Series, number: int) -> Hour | None:
        if self.held >= limits.ROLLUP_HOURS:
            return None
        made = one.hours[number] = Hour()
        self.held += 1
        one.heard = max(one.heard, number)
        return made

    def meet(self, source: str, name: str, unit: str | None) -> _Series | None:
        """A value, known from now on. None where there are too many."""
        named = self._series.get(source, {})
        if name in named:
            return named[name]
        full = self._number >= limits.ROLLUP_SERIES and not self._evict()
        if full or len(named) >= limits.ROLLUP_SERIES_OF_SOURCE:
            self.refused_in = self.hour
            return None
        made = self._series.setdefault(source, {})[name] = _Series(unit)
        self._number += 1
        return made

    def _evict(self) -> bool:
        """Forgets values that have been silent for an hour or longer. What the file has of them stays in it."""
        if self._crowded_in == self.hour:
            return False
        for source, named in list(self._series.items()):
            for name in [name for name, one in named.items() if one.heard < self.hour - 1 and not one.hours]:
                del named[name]
                self._number -= 1
            if not named:
                del self._series[source]
        if self._number >= limits.ROLLUP_SERIES:
            self._crowded_in = self.hour
            return False
        return True

    def names(self, source: str) -> tuple[tuple[str, str | None], ...]:
        """(name, unit) of a source's values, in the order first seen."""
        return tuple((name, one.unit) for name, one in self._series.get(source, {}).items())

    def hours(self, source: str, name: str) -> dict[int, Hour]:
        """Copies of a value's hours."""
        one = self._series.get(source, {}).get(name)
        return {number: hour.copy() for number, hour in one.hours.items()} if one is not None else {}

    def take(self) -> dict[Name, Taken]:
        """All hours, out of memory."""
        taken: dict[Name, Taken] = {}
        for source, named in self._series.items():
            for name, one in named.items():
                if one.hours:
                    taken[source, name] = Taken(one.unit, one.hours)
                    one.hours = {}
        self.held = 0
        return taken

    def put_back(self, taken: Mapping[Name, Taken]) -> None:
        """What was taken is here again; what has come meanwhile is newer."""
        for (source, name), (unit, hours) in taken.items():
            one = self.meet(source, name, unit)
            if one is None:
                continue
            for number, was in hours.items():
                hour = one.hours.get(number) or self._begin(one, number)
                if hour is not None:
                    hour.merge(was, older=True)
