"""How values, times, ages and sizes are written, for every page alike."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from gateway.web.html import Child, Markup, data, el, join
from gateway.web.view import View
from gateway.web.words import Words, grouped, mark

_UNITS: Final = {
    "Cel": "°C",
    "K": "K",
    "%RH": "% RH",
    "deg": "°",
    "lat": "° N",
    "lon": "° E",
    "rad": "rad",
    "Ohm": "Ω",
    "m2": "m²",
    "m3": "m³",
    "m/s2": "m/s²",
    "/": "",
    "count": "",
}
_MONTHS: Final = (
    *(mark("Jan"), mark("Feb"), mark("Mar"), mark("Apr"), mark("May"), mark("Jun")),
    *(mark("Jul"), mark("Aug"), mark("Sep"), mark("Oct"), mark("Nov"), mark("Dec")),
)
DAYS: Final = (mark("Mon"), mark("Tue"), mark("Wed"), mark("Thu"), mark("Fri"), mark("Sat"), mark("Sun"))
_AGES: Final = (
    (86_400, mark("{n} d")),
    (3_600, mark("{n} h")),
    (60, mark("{n} min")),
    (1, mark("{n} s")),
)
_PLAIN: Final = 1e12  # below it a number is written out
_TEXT: Final = 80  # characters of a value that is text


def unit(code: str | None) -> str:
    """A SenML unit as people write it."""
    return _UNITS.get(code or "", data(code or "", 20))


def value(words: Words, shown: object) -> str:
    """A value of a reading."""
    if isinstance(shown, bool):
        return words("yes") if shown else words("no")
    if isinstance(shown, bytes):
        return data(shown.hex(), _TEXT)
    return number(shown) if isinstance(shown, int | float) else data(str(shown), _TEXT)


def number(shown: float) -> str:
    """A number of at most seven significant digits, with a true minus."""
    text = f"{shown:.7g}" if isinstance(shown, float) else str(shown)
    if "e+" in text and abs(shown) < _PLAIN:
        text = f"{shown:.0f}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def count(shown: int) -> Markup:
    """A count, its thousands apart."""
    return el("span", grouped(shown), class_="n")


def size(bytes_: float) -> str:
    """Bytes in the unit that says enough."""
    for name, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if bytes_ >= length:
            return f"{bytes_ / length:.1f} {name}"
    return f"{bytes_:.0f} B"


def age_text(words: Words, ms: int) -> str:
    """How long, in the one unit that says enough."""
    seconds = max(0, ms) // 1000
    length, template = next((length, form) for length, form in _AGES if seconds >= 2 * length or length == 1)
    return words(template, n=seconds // length)


def age_forms(words: Words) -> str:
    """The four forms for the script, which counts on: longest unit first, a bar between them."""
    return "|".join(words(template) for _, template in _AGES)


def age(view: View, then_ms: int) -> Markup:
    """How long ago; the reader's script goes on counting."""
    text = "" if view.live else age_text(view.words, view.now_ms - then_ms)
    return el("time", text, datetime=iso(then_ms), title=moment_text(view, then_ms), data_ms=then_ms)


def ago(view: View, then_ms: int | None) -> Markup:
    """The same as a sentence's end, or `never`."""
    if then_ms is None:
        return el("span", view.words("never"))
    return el("span", view.words.html("{age} ago", age=age(view, then_ms)))


def iso(ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    at = _at(ms, UTC)
    return f"{ms // 1000}" if at is None else f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def moment(view: View, ms: int) -> Markup:
    """A time by the gateway's clock and zone, with the day where it is not today."""
    return el("time", moment_text(view, ms), datetime=iso(ms), title=iso(ms))


def moment_text(view: View, ms: int) -> str:
    """The same as text."""
    at, now = _at(ms, view.zone), _at(view.now_ms, view.zone)
    if at is None or now is None:
        return f"{ms // 1000} s"
    clock = f"{at:%H:%M:%S}"
    if at.date() == now.date():
        return clock
    date = day(view.words, at) if at.year == now.year else f"{at:%Y-%m-%d}"
    return f"{date} {clock}"


def day(words: Words, at: datetime) -> str:
    """A day of this year."""
    return words("{day} {month}", day=at.day, month=words(_MONTHS[at.month - 1]))


def clock_text(view: View) -> str:
    """The gateway's clock now."""
    at = _at(view.now_ms, view.zone)
    return f"{at:%H:%M:%S}" if at else f"{view.now_ms // 1000} s"


def zone_min(view: View) -> int:
    """The zone of the times shown: minutes east of UTC."""
    at = _at(view.now_ms, view.zone)
    return int(((at.utcoffset() if at else None) or timedelta()).total_seconds()) // 60


def zone_name(view: View) -> str:
    """The same as it is written."""
    minutes = zone_min(view)
    sign = "-" if minutes < 0 else "+"
    return "UTC" if not minutes else f"UTC{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _at(ms: int, zone: tzinfo | None) -> datetime | None:
    try:
        at = datetime.fromtimestamp(ms / 1000, zone or UTC)
        return at if zone else at.astimezone()
    except (OverflowError, ValueError, OSError):
        return None


# -- the few shapes that every page shares ----------------------------------------------------------------------------


def dot(kind: str, word: str) -> Markup:
    """A state as a shape and a word: well, ill, warn or idle. Colour alone says nothing."""
    return el("span", el("span", f"{word} ", class_="sr") if word else None, class_=f"dot {kind}")


def facts(pairs: list[tuple[str, Child]]) -> Markup:
    """Names with what they are."""
    return el("dl", [el("div", el("dt", name), el("dd", what)) for name, what in pairs], class_="facts")


def card(title: str, *content: Child, more: Child = None) -> Markup:
    """A titled section; more: what stands at the right of its title."""
    return el("section", el("div", el("h2", title), more, class_="bar"), *content, class_="card")


def link_more(target: str, text: str) -> Markup:
    """The way on from a card."""
    return el("a", text, href=target, class_="more")


def note(text: Child) -> Markup:
    """Something in passing."""
    return el("p", text, class_="note")


def prose(text: str) -> Markup:
    """A sentence of ours; what stands between backticks is for a program."""
    parts = data(text).split("`")
    return join(el("code", part) if odd % 2 else part for odd, part in enumerate(parts))


def code(text: str) -> Markup:
    """A word as a program has it."""
    return el("code", data(text))
