"""Charts as SVG: minutes in, markup out. Where there is no reading there is no line.

A chart's text is a title, a sentence about what it shows, and a table of the same figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from math import ceil, floor, log10
from typing import Final, NamedTuple

from gateway.store.minutes import Minute
from gateway.web.html import Markup, el, join

WIDTH, HEIGHT = 360, 188
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 352, 10, 160
_TICKS = 4
_SPARK_WIDTH, _SPARK_HEIGHT = 60, 18


@dataclass(frozen=True, slots=True)
class Span:
    """How far back a chart looks. Minutes: of all, of a bin, of a row in the table, between two marks."""

    name: str
    minutes: int
    bin: int
    row: int
    mark: int

    def begin(self, now_min: int) -> int:
        """The first minute, where a bin begins; the present minute is in the last bin."""
        return (now_min // self.bin + 1) * self.bin - self.minutes


SPANS: Final = {
    span.name: span
    for span in (Span("hour", 60, 1, 5, 15), Span("day", 1_440, 5, 120, 360), Span("week", 10_080, 30, 720, 1_440))
}


class Bin(NamedTuple):
    """Some minutes together; the place of its first in the span, in bins."""

    place: int
    low: float
    high: float
    last: float
    readings: int


def binned(minutes: Iterable[Minute], begin: int, length: int) -> list[Bin]:
    """Minutes from `begin` on, `length` of them to a bin; empty bins are absent."""
    bins: list[Bin] = []
    for one in minutes:
        place = (one.at - begin) // length
        if bins and bins[-1].place == place:
            was = bins[-1]
            bins[-1] = Bin(place, min(was.low, one.low), max(was.high, one.high), one.last, was.readings + one.count)
        else:
            bins.append(Bin(place, one.low, one.high, one.last, one.count))
    return bins


def reach(bins: Sequence[Bin]) -> int:
    """How many bins apart two may be for a line to join them: twice what is usual for the source.

    Only a source that speaks several times in each bin has no excuse for an empty one.
    """
    if not bins:
        return 1
    usual = _middle([after.place - before.place for before, after in pairwise(bins)] or [1])
    often = _middle([one.readings for one in bins]) >= 2
    return 1 if usual <= 1 and often else 2 * usual


def _middle(numbers: Sequence[int]) -> int:
    return sorted(numbers)[len(numbers) // 2]


def runs(bins: Sequence[Bin], apart: int) -> list[list[Bin]]:
    """Bins that one line joins; they are at most `apart` from each other."""
    found: list[list[Bin]] = []
    for one in bins:
        if found and one.place - found[-1][-1].place <= apart:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def gaps(joined: Sequence[Sequence[Bin]], places: int, apart: int) -> list[tuple[int, int]]:
    """[first, last) of the bins over which no line goes."""
    edges = [0]
    for run in joined:
        edges += [run[0].place, run[-1].place + 1]
    edges.append(places)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(low, high) for low, high in pairs if high - low > apart or (0 < low < high < places)]


class Scale(NamedTuple):
    """The values that a chart reaches over, and where its lines are."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    def y(self, value: float) -> float:
        """The height of a value."""
        return round(_BOTTOM - (value - self.low) / (self.high - self.low) * (_BOTTOM - _TOP), 1)


def scale(low: float, high: float) -> Scale:
    """Round numbers around the values."""
    if high - low <= abs(high) * 1e-9:
        room = abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
    step = 10 ** floor(log10((high - low) / _TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= _TICKS)
    first, last = floor(low / step), ceil(high / step)
    digits = max(0, -floor(log10(step) + 1e-9))
    return Scale(first * step, last * step, tuple(step * place for place in range(first, last + 1)), digits)


@dataclass(frozen=True, slots=True)
class Texts:
    """What a chart says in words, made by the page: title, one sentence, a mark's label by its time."""

    title: str
    said: str
    days: tuple[str, ...]  # of the week, Monday first


def chart(minutes: Sequence[Minute], span: Span, now_min: int, texts: Texts, zone: tzinfo | None, key: str) -> Markup:
    """The chart of one value; `key` makes its ids unique on the page."""
    begin = span.begin(now_min)
    bins = binned(minutes, begin, span.bin)
    places = span.minutes // span.bin
    joined = runs(bins, reach(bins))
    axis = scale(min(one.low for one in bins), max(one.high for one in bins)) if bins else Scale(0, 1, (), 0)
    return el(
        "svg",
        el("title", texts.title, id=f"{key}-t"),
        el("desc", texts.said, id=f"{key}-d"),
        [_gap(low, high, places) for low, high in gaps(joined, places, reach(bins))],
        [_level(axis, tick) for tick in axis.ticks],
        [_moment(label, minute, span) for minute, label in marks(span, now_min, texts.days, zone)],
        el("path", d=_band(joined, axis, places), class_="band"),
        el("path", d=_line(joined, axis, places), class_="line"),
        el("circle", cx=_x(bins[-1].place, places), cy=axis.y(bins[-1].last), r=3, class_="end") if bins else None,
        class_="chart",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{key}-t {key}-d",
    )


def marks(span: Span, now_min: int, days: Sequence[str], zone: tzinfo | None) -> list[tuple[int, str]]:
    """(minutes from the span's begin, label): round hours, or the beginnings of days, by the zone's clock."""
    begin = span.begin(now_min)
    found: list[tuple[int, str]] = []
    for minute in range(begin + -begin % 15, begin + span.minutes, 15):
        at = datetime.fromtimestamp(minute * 60, UTC).astimezone(zone)
        if (at.hour * 60 + at.minute) % span.mark == 0:
            label = f"{at:%H:%M}" if span.mark < 1_440 else f"{days[at.weekday()]} {at.day}"
            found.append((minute - begin, label))
    return found


def _x(place: float, places: int) -> float:
    """The middle of a bin."""
    return _at(place + 0.5, places)


def _at(place: float, places: int) -> float:
    return round(_LEFT + place / places * (_RIGHT - _LEFT), 1)


def _gap(low: int, high: int, places: int) -> Markup:
    left = _at(low, places)
    return el("rect", x=left, y=_TOP, width=round(_at(high, places) - left, 1), height=_BOTTOM - _TOP, class_="gap")


def _level(axis: Scale, tick: float) -> Markup:
    y = axis.y(tick)
    label = f"{tick:.{axis.digits}f}" if abs(tick) < 1e6 else f"{tick:.3g}"
    return join(
        [
            el("line", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, class_="level"),
            el("text", label.replace("-", "\N{MINUS SIGN}"), x=_LEFT - 6, y=y + 3.5, text_anchor="end"),
        ]
    )


def _moment(label: str, minute: int, span: Span) -> Markup:
    x = _at(minute, span.minutes)
    anchor = "start" if x < _LEFT + 14 else "end" if x > _RIGHT - 14 else "middle"
    return join(
        [
            el("line", x1=x, x2=x, y1=_BOTTOM, y2=_BOTTOM + 4, class_="mark"),
            el("text", label, x=x, y=_BOTTOM + 17, text_anchor=anchor),
        ]
    )


def _band(joined: Sequence[Sequence[Bin]], axis: Scale, places: int) -> str:
    """From the lowest to the highest of each bin."""
    parts: list[str] = []
    for run in joined:
        over = [f"{_x(one.place, places)} {axis.y(one.high)}" for one in run]
        under = [f"{_x(one.place, places)} {axis.y(one.low)}" for one in reversed(run)]
        parts.append(f"M{'L'.join(over + under)}Z")
    return "".join(parts)


def _line(joined: Sequence[Sequence[Bin]], axis: Scale, places: int) -> str:
    """Through the last of each bin. One alone is a point: a line without length, whose ends are round."""
    parts: list[str] = []
    for run in joined:
        points = [f"{_x(one.place, places)} {axis.y(one.last)}" for one in run]
        parts.append(f"M{'L'.join(points * 2 if len(points) == 1 else points)}")
    return "".join(parts)


def spark(minutes: Sequence[Minute], now_min: int) -> Markup:
    """The last hour as a small line, for eyes only: the value stands beside it as text."""
    bins = binned(minutes, SPANS["hour"].begin(now_min), 1)
    if not bins:
        return el("svg", class_="spark", viewBox=f"0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}", aria_hidden="true")
    low, high = min(one.last for one in bins), max(one.last for one in bins)
    room = _SPARK_HEIGHT - 4

    def y(value: float) -> float:
        return round(2 + room / 2 if high == low else 2 + (high - value) / (high - low) * room, 1)

    parts: list[str] = []
    for run in runs(bins, reach(bins)):
        points = [f"{one.place + 0.5} {y(one.last)}" for one in run]
        parts.append(f"M{'L'.join(points * 2 if len(points) == 1 else points)}")
    return el(
        "svg",
        el("path", d="".join(parts)),
        class_="spark",
        viewBox=f"0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
