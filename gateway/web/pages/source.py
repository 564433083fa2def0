"""`/source/ID`: one source: its values, a chart, what is said against them, its counts, and what it was refused for."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from gateway.store.minutes import Minute
from gateway.web import charts, show
from gateway.web.charts import SPANS, Span
from gateway.web.html import Child, Markup, data, el, join
from gateway.web.pages import headline
from gateway.web.pages.overview import STATES, quality
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, mark

_SPANS: Final = {"hour": mark("Hour"), "day": mark("Day"), "week": mark("Week")}
_TITLES: Final = {
    "hour": mark("{name}, the last hour"),
    "day": mark("{name}, the last day"),
    "week": mark("{name}, the last week"),
}
_COUNTS: Final = {
    "received": mark("received"),
    "stored": mark("stored"),
    "duplicate": mark("duplicate"),
    "rejected": mark("rejected"),
    "dropped": mark("dropped"),
}

Table = Mapping[str, Any]


async def page(view: View, source: str, value: str = "", span: str = "hour") -> Page:
    """value: the name of the value in the chart; span: hour, day or week."""
    words, one = view.words, view.status["sources"].get(source)
    if one is None:
        return missing(view, words("There is no source “{name}” here.", name=data(source)))
    parts = [
        headline.part(view, whole=False),
        Part("title", _title(words, source, one)),
        Part("values", _values(view, one)),
    ]
    chart = await _chart(view, source, value, SPANS[span])
    if chart is not None:
        parts.append(Part("chart", chart))
    parts.append(Part("counts", el("div", _counts(view, one), _receipt(words, source), class_="trio")))
    if one["rejects"]:
        parts.append(Part("rejects", _rejects(words, one)))
    return Page(data(source), parts)


def missing(view: View, what: str) -> Page:
    """A page that is not there, under an address that could be one."""
    back = el("p", el("a", view.words("All sources"), href="/"))
    return Page(what, [headline.part(view, whole=False), Part("missing", el("div", el("h1", what), back))], 404)


def _title(words: Words, name: str, one: Table) -> Markup:
    kind, word = STATES[one["up"]]
    told = [el("p", data(one["detail"], 300), class_="bad" if one["up"] is False else "soft")] if one["detail"] else []
    if one["cure"] and one["up"] is False:
        told.append(el("p", data(one["cure"], 300), class_="cure"))
    state = el("p", show.dot(kind, ""), words(word), " · ", show.code(one["driver"]), class_="lead")
    return el("div", el("h1", data(name)), state, told)


def _values(view: View, one: Table) -> Markup:
    words = view.words
    if not one["last"]:
        return show.card(words("Last values"), show.note(words("nothing yet")))
    rows = [
        el("div", el("dt", data(name)), el("dd", el("b", show.value(words, value)), " ", show.unit(unit)))
        for name, unit, value in one["last"]
    ]
    doubts = [el("li", text) for text in quality(words, one["quality"])]
    said = el("ul", doubts, class_="doubts") if doubts else show.note(words("Nothing is said against this reading."))
    return show.card(words("Last values"), el("dl", rows, class_="values"), said, more=show.ago(view, one["last_ms"]))


# -- the chart --------------------------------------------------------------------------------------------------------


async def _chart(view: View, source: str, wanted: str, span: Span) -> Markup | None:
    rollup = view.desk.services.rollup
    names = dict(rollup.names(source)) if rollup else {}
    if rollup is None or not names:
        return None
    name = wanted if wanted in names else next(iter(names))
    now_min = view.now_ms // 60_000

    async def draw() -> Markup:
        begin = span.begin(now_min)
        minutes = await rollup.minutes(source, name, begin, begin + span.minutes)
        return await asyncio.to_thread(_draw, view, minutes, (name, names[name]), span)

    key = (source, name, span.name, view.words.tag, view.zone)
    drawn = await view.desk.sparks.keep(key, now_min, draw)
    here = f"/source/{quote(source, safe='')}"
    spans = _choice(
        view.words("How far back"),
        here,
        [(view.words(_SPANS[one]), {"value": name, "span": one}) for one in SPANS],
        span.name,
    )
    which = None
    if len(names) > 1:
        which = _choice(
            view.words("Value"), here, [(data(one, 24), {"value": one, "span": span.name}) for one in names], name
        )
    return el("section", el("div", el("h2", data(name)), spans, class_="bar"), which, drawn, class_="card plot")


def _choice(label: str, here: str, choices: Sequence[tuple[str, dict[str, str]]], chosen: str) -> Markup:
    links = [
        el("a", text, href=f"{here}?{urlencode(query)}", aria_current="true" if chosen in query.values() else None)
        for text, query in choices
    ]
    return el("nav", links, class_="choice", aria_label=label)


def _draw(view: View, minutes: Sequence[Minute], value: tuple[str, str | None], span: Span) -> Markup:
    words, (name, unit) = view.words, value
    texts = charts.Texts(
        title=words(_TITLES[span.name], name=data(name)),
        said=_said(words, minutes, unit),
        days=tuple(words(day) for day in show.DAYS),
    )
    drawn = charts.chart(minutes, span, view.now_ms // 60_000, texts, view.zone, "chart")
    figures = _figures(view, minutes, span, texts.title)
    return join([el("p", texts.said, class_="said"), drawn, el("details", el("summary", words("As a table")), figures)])


def _said(words: Words, minutes: Sequence[Minute], unit: str | None) -> str:
    if not minutes:
        return words("No readings in this time.")
    low, high = min(one.low for one in minutes), max(one.high for one in minutes)
    written = [show.number(_short(value)) for value in (low, high, minutes[-1].last)]
    of = show.unit(unit)
    return words(
        "From {low} to {high} {unit}, last {last} {unit}.", low=written[0], high=written[1], last=written[2], unit=of
    )


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _figures(view: View, minutes: Sequence[Minute], span: Span, title: str) -> Markup:
    words, begin = view.words, span.begin(view.now_ms // 60_000)
    heads = (words("From"), words("Lowest"), words("Highest"), words("Last"), words("Readings"))
    known = {one.place: one for one in charts.binned(minutes, begin, span.row)}
    rows: list[Markup] = []
    for place in range(span.minutes // span.row - 1, -1, -1):
        one = known.get(place)
        at = datetime.fromtimestamp((begin + place * span.row) * 60, UTC).astimezone(view.zone)
        label = f"{at:%H:%M}" if span.mark < 1_440 else f"{words(show.DAYS[at.weekday()])} {at:%H:%M}"
        cells: Child = el("td", words("no readings"), colspan=4, class_="soft")
        if one is not None:
            figures = [show.number(_short(value)) for value in (one.low, one.high, one.last)]
            cells = [el("td", text) for text in (*figures, str(one.readings))]
        rows.append(el("tr", el("th", label, scope="row"), cells))
    head = el("thead", el("tr", [el("th", text, scope="col") for text in heads]))
    table = el("table", el("caption", title, class_="sr"), head, el("tbody", rows))
    return el("div", table, class_="scroll", tabindex=0, role="region", aria_label=title)


# -- counts, rejects, the receipt -------------------------------------------------------------------------------------


def _counts(view: View, one: Table) -> Markup:
    words = view.words
    pairs: list[tuple[str, Child]] = [(words(text), show.count(one[name])) for name, text in _COUNTS.items()]
    pairs.append((words("in the last minute"), rate(words, one["rate"])))
    if one["waiting"]:
        pairs.append((words("not on disk yet"), show.count(one["waiting"])))
    said = words("Since the start: received is what was stored, duplicate, rejected or dropped.")
    sound = show.note(said)
    if not one["balanced"]:
        sound = el(
            "p",
            words("The counts do not add up: this is a bug. Report it with `fieldgate status --json`."),
            class_="bad",
        )
    return show.card(words("Counts"), show.facts(pairs), sound)


def rate(words: Words, a_second: float) -> str:
    """Readings over time, in the unit that gives a number to remember."""
    if a_second >= 1 or not a_second:
        return words("{n} a second", n=show.number(float(f"{a_second:.3g}")))
    if a_second >= 1 / 60:
        return words("{n} a minute", n=show.number(float(f"{a_second * 60:.3g}")))
    return words("{n} an hour", n=show.number(float(f"{a_second * 3600:.3g}")))


def _receipt(words: Words, source: str) -> Markup:
    about = words("A receipt proves one reading to anybody, offline, years later.")
    link = el(
        "a", words("Receipt of the newest sealed reading"), href=f"/receipt/{quote(source, safe='')}", class_="button"
    )
    return show.card(words("Receipt"), el("p", about), link)


def _rejects(words: Words, one: Table) -> Markup:
    rows = [(data(reason), show.count(number)) for reason, number in one["rejects"].items()]
    example, shown = one["example"], None
    if example:
        shown = el(
            "div",
            el("p", words("The last one: {reason}", reason=data(f"{example['reason']}: {example['detail']}", 300))),
            el("pre", example["payload"], tabindex=0, role="region", aria_label=words("The last rejected payload")),
        )
    return show.card(words("Rejected, by reason"), show.facts(list(rows)), shown)
