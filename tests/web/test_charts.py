"""Charts: minutes in, markup out. What is drawn is read back as figures."""

import re
from datetime import UTC, timedelta, timezone

import pytest
from fakes.markup import Parsed
from fakes.page_sample import NOW_MIN, wave
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.minutes import Minute
from gateway.web import charts
from gateway.web.charts import SPANS, Texts

TEXTS = Texts("temp, the last hour", "From 1 to 2.", ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
HOUR = SPANS["hour"]


def drawn(minutes: list[Minute], span: str = "hour", zone=UTC) -> Parsed:
    return Parsed(charts.chart(minutes, SPANS[span], NOW_MIN, TEXTS, zone, "c"))


def paths(page: Parsed, kind: str) -> list[list[tuple[float, float]]]:
    """The points of each stroke of a path."""
    (d,) = [attrs["d"] or "" for tag, attrs in page.tags if tag == "path" and attrs["class"] == kind]
    return [
        [(float(x), float(y)) for x, y in (point.split() for point in re.findall(r"[\d.]+ [\d.]+", stroke))]
        for stroke in d.split("M")[1:]
    ]


def rects(page: Parsed) -> list[dict[str, str | None]]:
    return [attrs for tag, attrs in page.tags if tag == "rect"]


def flat(*minutes: int, value: float = 5.0, count: int = 6) -> list[Minute]:
    """Minutes ago with one value."""
    return [Minute(NOW_MIN - ago, value - 1, value + 1, value, count) for ago in sorted(minutes, reverse=True)]


def test_a_line_through_the_last_and_a_band_from_lowest_to_highest() -> None:
    page = drawn([Minute(NOW_MIN - 1, 1, 4, 2, 3), Minute(NOW_MIN, 0, 3, 3, 3)])
    ((first, second),) = paths(page, "line")
    ((high, higher, low, lower),) = paths(page, "band")
    assert first[0] < second[0]
    assert first[1] > second[1]  # up is more
    assert (high[0], higher[0], low[0], lower[0]) == (first[0], second[0], second[0], first[0])
    assert high[1] < first[1] < lower[1]
    assert higher[1] == pytest.approx(second[1])  # the last was the highest


def test_minutes_together_keep_their_lowest_and_highest() -> None:
    begin = NOW_MIN - 9
    minutes = [Minute(begin, 1, 5, 2, 3), Minute(begin + 1, 0, 4, 3, 2), Minute(begin + 2, 2, 9, 4, 1)]
    more = [Minute(begin + 7, 7, 8, 7, 6)]
    assert charts.binned(minutes + more, begin, 5) == [(0, 0, 9, 4, 6), (1, 7, 8, 7, 6)]


def test_gaps_are_gaps() -> None:
    page = drawn(flat(*range(40, 50), *range(20), 33))
    assert [len(stroke) for stroke in paths(page, "line")] == [10, 2, 20]
    assert paths(page, "line")[1][0] == paths(page, "line")[1][1]  # one alone is a point
    marked = sorted(float(rect["x"] or 0) for rect in rects(page))
    assert len(marked) == 3  # before the first, and two between
    for low, high in ((50, 60), (34, 40), (20, 33)):
        at = [float(rect["width"] or 0) for rect in rects(page)]
        assert any(abs(width - (high - low) / 60 * 308) < 0.2 for width in at)


def test_nothing_ends_before_its_time() -> None:
    stopped = drawn(flat(*range(30, 60)))
    (last,) = rects(stopped)
    assert float(last["x"] or 0) + float(last["width"] or 0) == pytest.approx(352, abs=0.2)
    assert not rects(drawn(flat(*range(60))))
    assert not rects(drawn(flat(*range(1, 60))))  # the present minute has only begun


def test_a_source_that_speaks_seldom_is_joined_over_what_lies_between() -> None:
    assert [len(stroke) for stroke in paths(drawn(flat(*range(0, 60, 10), count=1)), "line")] == [6]
    assert [len(stroke) for stroke in paths(drawn(flat(0, 10, 20, 50, count=1)), "line")] == [1 + 1, 3]
    jitter = flat(0, 1, 3, 4, 5, 7, 8, count=1)  # once a minute, more or less
    assert [len(stroke) for stroke in paths(drawn(jitter), "line")] == [7]


def test_no_readings_at_all() -> None:
    page = drawn([])
    assert "From 1 to 2." in page.text
    (all_of_it,) = rects(page)
    assert float(all_of_it["width"] or 0) == 308


def test_it_says_what_it_shows() -> None:
    page = drawn(wave(20, 2))
    ((_, svg),) = [one for one in page.tags if one[0] == "svg"]
    assert svg["role"] == "img"
    assert svg["aria-labelledby"] == "c-t c-d"
    assert page.by["c-t"].strip() == TEXTS.title
    assert page.by["c-d"].strip() == TEXTS.said


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (18.05, 24.3, [18, 20, 22, 24, 26]),
        (5, 5, [4.7, 4.8, 4.9, 5.0, 5.1, 5.2, 5.3]),
        (0, 0, [-1, -0.5, 0, 0.5, 1]),
        (-3.2, 7.7, [-5, 0, 5, 10]),
        (20_000, 31_000, [20_000, 25_000, 30_000, 35_000]),
    ],
)
def test_round_numbers_at_the_side(low: float, high: float, ticks: list[float]) -> None:
    axis = charts.scale(low, high)
    assert axis.low <= low <= high <= axis.high
    assert len(axis.ticks) <= 7
    if low != high:
        assert list(axis.ticks) == pytest.approx(ticks)


@given(
    st.floats(-1e12, 1e12).filter(lambda value: abs(value) > 1e-9),
    st.floats(0, 1e6),
)
def test_every_value_is_inside(low: float, more: float) -> None:
    axis = charts.scale(low, low + more)
    for value in (low, low + more):
        assert charts._TOP - 0.1 <= axis.y(value) <= charts._BOTTOM + 0.1
    assert 2 <= len(axis.ticks) <= 8


@given(st.lists(st.integers(0, 10_079), max_size=60, unique=True), st.sampled_from(sorted(SPANS)))
def test_every_reading_is_drawn_once_and_inside(ago: list[int], span: str) -> None:
    width = SPANS[span]
    begin = width.begin(NOW_MIN)
    minutes = [one for one in flat(*ago) if one.at >= begin]
    bins = charts.binned(minutes, begin, width.bin)
    assert sum(one.readings for one in bins) == 6 * len(minutes)
    assert all(0 <= one.place < width.minutes // width.bin for one in bins)
    page = drawn(minutes, span)
    points = [point for stroke in paths(page, "line") for point in stroke]
    assert all(44 <= x <= 352 and 10 <= y <= 160 for x, y in points)
    assert {x for x, _ in points} == {charts._x(one.place, width.minutes // width.bin) for one in bins}


def labels(span: str, zone=UTC) -> list[str]:
    return [label for _, label in charts.marks(SPANS[span], NOW_MIN, TEXTS.days, zone)]


def test_times_below_are_those_of_the_gateways_zone() -> None:
    # NOW_MIN is 2027-01-15 08:00 UTC, a Friday
    assert labels("hour") == ["07:15", "07:30", "07:45", "08:00"]
    assert labels("day") == ["12:00", "18:00", "00:00", "06:00"]
    assert labels("week") == ["Sat 9", "Sun 10", "Mon 11", "Tue 12", "Wed 13", "Thu 14", "Fri 15"]
    shanghai, kathmandu = timezone(timedelta(hours=8)), timezone(timedelta(hours=5, minutes=45))
    assert labels("day", shanghai) == ["18:00", "00:00", "06:00", "12:00"]
    assert labels("hour", kathmandu) == ["13:00", "13:15", "13:30", "13:45"]
    assert labels("week", kathmandu)[0] == "Sat 9"
    for moment, _ in charts.marks(SPANS["hour"], NOW_MIN + 14, TEXTS.days, UTC):
        assert (HOUR.begin(NOW_MIN + 14) + moment) % 15 == 0


def test_a_spark_is_for_eyes_alone() -> None:
    page = Parsed(charts.spark(flat(*range(10), *range(20, 40)), NOW_MIN))
    ((_, svg),) = [one for one in page.tags if one[0] == "svg"]
    assert svg["aria-hidden"] == "true"
    (d,) = [attrs["d"] or "" for tag, attrs in page.tags if tag == "path"]
    assert d.count("M") == 2
    assert "path" not in Parsed(charts.spark([], NOW_MIN)).names()
