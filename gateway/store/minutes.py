"""Minutes of values, for charts: what readings come to, an hour of it in memory, and the same as bytes. Pure."""

import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from drivers.api import Record, Value
from gateway.core.senml import OWN

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
MINUTES: Final = 60  # of an hour

Charted = tuple[str, Sequence[Record], int, int]
"""A reading to chart: source, values, its base time and its receipt in Unix ms."""

_new = tuple.__new__  # a NamedTuple made in half the time of its call
_NUMBERS = frozenset([float, int])  # a bool is neither here
_LOW, _HIGH, _LAST = range(3)
_MASK_BYTES = 8
_BYTES_A_MINUTE = 3 * 8 + 4 + 2
_PACKED_BYTES = _MASK_BYTES + MINUTES * _BYTES_A_MINUTE


class Minute(NamedTuple):
    """What one value of one source came to in a minute. at: Unix minutes."""

    at: int
    low: float
    high: float
    last: float
    count: int  # type: ignore[assignment]  # of readings; nobody looks for a value in a Minute


class Part(NamedTuple):
    """What some readings of one source came to, of one value, in one minute. when: Unix ms of the last."""

    source: str
    name: str
    unit: str | None
    low: float
    high: float
    last: float
    when: int
    number: int


def fold(readings: Iterable[Charted]) -> Iterator[Part]:
    """What readings come to. Of several values at one millisecond the one that comes later here is the last.

    One is left out that lies in another hour than that of its receipt, the one before, and the one after.
    """
    groups: dict[tuple[str, int], list[Charted]] = {}
    group: list[Charted] = []
    of, received, begin, end = "", -1, 0, 0
    for reading in readings:
        source, _, time_ms, received_ms = reading
        if source is not of or received_ms != received or not begin <= time_ms < end:  # else as the one before it
            if not -1 <= time_ms // HOUR_MS - received_ms // HOUR_MS <= 1:
                continue
            minute = time_ms // MINUTE_MS
            of, received, begin, end = source, received_ms, minute * MINUTE_MS, (minute + 1) * MINUTE_MS
            group = groups.setdefault((source, minute), [])
        group.append(reading)
    for (source, _), group in groups.items():
        if source != OWN:  # what its events count is no measurement
            yield from _columns(source, group)


def _columns(source: str, group: list[Charted]) -> Iterator[Part]:
    """Of one source's readings of one minute. Nearly always each has the same values, all of them numbers."""
    if len(group) == 1:
        ((_, records, when, _),) = group
        for name, unit, value in records:
            if type(value) in _NUMBERS:
                yield _new(Part, (source, name, unit, value, value, value, when, 1))
        return
    group.sort(key=itemgetter(2))
    _, newest, when, _ = group[-1]
    columns: dict[str, list[Any]] = {}
    for _, records, _, _ in group:
        for name, _, value in records:
            column = columns.get(name)
            if column is None:
                columns[name] = [value]
            else:
                column.append(value)
    units = {name: unit for name, unit, _ in newest}
    for name, values in columns.items():
        if name in units and _NUMBERS.issuperset(map(type, values)):
            yield Part(source, name, units[name], min(values), max(values), values[-1], when, len(values))
        else:
            yield from _mixed(source, name, group)


def _mixed(source: str, name: str, group: Sequence[Charted]) -> Iterator[Part]:
    """A value that is not in each reading, or is not always a number."""
    found: list[tuple[int, str | None, Value]] = [
        (time_ms, unit, value)
        for _, records, time_ms, _ in group
        for called, unit, value in records
        if called == name and type(value) in _NUMBERS
    ]
    if found:
        when, unit, last = found[-1]
        values: list[Any] = [value for _, _, value in found]
        yield Part(source, name, unit, min(values), max(values), last, when, len(values))  # type: ignore[arg-type]


class Hour:
    """One value's minutes of one hour, each with low, high, last, count, and the millisecond of the last."""

    __slots__ = ("_counts", "_values", "_whens")

    def __init__(self) -> None:
        self._values = array("d", bytes(3 * 8 * MINUTES))
        self._counts = array("I", bytes(4 * MINUTES))
        self._whens = array("H", bytes(2 * MINUTES))

    def put(self, part: Part, *, older: bool = False) -> None:
        """Takes in a part. older: of its last and ours at one millisecond, ours stays."""
        _, _, _, low, high, last, when, count = part
        self._merge(when // MINUTE_MS % MINUTES, low, high, last, when % MINUTE_MS, count, older)

    def merge(self, other: "Hour", *, older: bool = False) -> None:
        """Takes in the same hour from elsewhere."""
        for minute, count in enumerate(other._counts):
            if count:
                low, high, last = other._values[3 * minute : 3 * minute + 3]
                self._merge(minute, low, high, last, other._whens[minute], count, older)

    def _merge(self, minute: int, low: float, high: float, last: float, when: int, count: int, older: bool) -> None:
        values, at, had = self._values, 3 * minute, self._counts[minute]
        if not had or low < values[at + _LOW]:
            values[at + _LOW] = low
        if not had or high > values[at + _HIGH]:
            values[at + _HIGH] = high
        if not had or when > self._whens[minute] or (when == self._whens[minute] and not older):
            values[at + _LAST] = last
            self._whens[minute] = when
        self._counts[minute] = min(had + count, 0xFFFFFFFF)

    def minutes(self, hour: int) -> Iterator[Minute]:
        """Those that have readings."""
        for minute, count in enumerate(self._counts):
            if count:
                low, high, last = self._values[3 * minute : 3 * minute + 3]
                yield Minute(hour * MINUTES + minute, low, high, last, count)

    def copy(self) -> "Hour":
        """The same, apart."""
        made = Hour()
        made._values, made._counts, made._whens = self._values[:], self._counts[:], self._whens[:]
        return made

    def pack(self) -> bytes:
        """As bytes: a mask of the minutes, then counts, milliseconds, and values."""
        there = [minute for minute in range(MINUTES) if self._counts[minute]]
        mask = sum(1 << minute for minute in there)
        counts = array("I", [self._counts[minute] for minute in there])
        whens = array("H", [self._whens[minute] for minute in there])
        values = array("d", [self._values[3 * minute + which] for which in range(3) for minute in there])
        parts = (mask.to_bytes(_MASK_BYTES, "little"), *(one.tobytes() for one in (counts, whens, values)))
        return zlib.compress(b"".join(parts))

    @classmethod
    def unpack(cls, data: bytes) -> "Hour":
        """The hour in its bytes. ValueError where they are no hour's."""
        inflater = zlib.decompressobj()
        try:
            raw = inflater.decompress(data, _PACKED_BYTES)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        mask = int.from_bytes(raw[:_MASK_BYTES], "little")
        there = [minute for minute in range(MINUTES) if mask >> minute & 1]
        number = len(there)
        if not inflater.eof or mask >> MINUTES or len(raw) != _MASK_BYTES + number * _BYTES_A_MINUTE:
            raise ValueError("no hour of minutes")
        made, at = cls(), _MASK_BYTES
        counts = array("I", raw[at : (at := at + 4 * number)])
        whens = array("H", raw[at : (at := at + 2 * number)])
        values = array("d", raw[at:])
        for place, minute in enumerate(there):
            made._counts[minute], made._whens[minute] = counts[place], whens[place]
            made._values[3 * minute : 3 * minute + 3] = values[place::number]
        return made


def listed(hours: Mapping[int, Hour], begin: int, end: int) -> Iterator[Minute]:
    """The minutes of hours, by Unix hour, with begin <= at < end, ascending."""
    for number in sorted(hours):
        if (number + 1) * MINUTES > begin and number * MINUTES < end:
            yield from (minute for minute in hours[number].minutes(number) if begin <= minute.at < end)
