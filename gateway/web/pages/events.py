"""`/events`: what the gateway told of itself, newest first."""

from gateway.core import limits
from gateway.store.events import Event
from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import headline
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, mark

KINDS = {
    "start": ("well", mark("started")),
    "stop": ("idle", mark("stopped")),
    "configuration": ("idle", mark("a configuration is in force")),
    "source-removed": ("idle", mark("a source was removed")),
    "source-lost": ("ill", mark("a source went away")),
    "source-back": ("well", mark("a source came back")),
    "clock-step": ("warn", mark("the clock was set")),
    "clock-synchronised": ("well", mark("the clock is synchronised")),
    "dropped": ("ill", mark("messages were dropped")),
    "gone": ("ill", mark("blocks were dropped")),
    "lost": ("ill", mark("readings were lost")),
    "next-vkey": ("idle", mark("this log ends, another goes on for it")),
    "successor-of": ("idle", mark("this log goes on for another")),
}

_TIMES = {"old", "new", "from", "to", "first", "last"}


async def page(view: View, before: str = "") -> Page:
    """before: only what came before this place."""
    words, events = view.words, view.desk.services.events
    title = el(
        "div",
        el("h1", words("Events")),
        el("p", words("Each is a reading in the chain, like any other."), class_="lead"),
    )
    parts = [headline.part(view, whole=False), Part("title", title)]
    if events is None:
        return Page(words("Events"), parts)
    found = await events(limits.PAGE_ROWS, int(before) if before else None)
    rows = [_row(view, event) for event in found]
    listed = el("ol", rows, class_="rows events") if rows else show.note(words("Nothing yet."))
    older = None
    if len(found) == limits.PAGE_ROWS:
        older = el("a", words("Older"), href=f"/events?before={found[-1].place}", class_="button")
    newest = el("a", words("Newest"), href="/events", class_="button") if before else None
    pager = el("nav", newest, older, class_="pager", aria_label=words("Pages of events")) if older or newest else None
    parts.append(Part("events", el("div", listed, pager)))
    return Page(words("Events"), parts)


def _row(view: View, event: Event) -> Markup:
    words = view.words
    kind, text = KINDS.get(event.what, ("idle", event.what))
    said: list[Child] = [
        el("span", data(name, 40), ": ", _detail(view, name, value)) for name, value in event.details if value != ""
    ]
    return el(
        "li",
        show.dot(kind, ""),
        el("b", _named(words, text)),
        el("span", show.moment(view, event.at_ms)),
        el("span", said, class_="soft pieces"),
        data_key=event.place,
    )


def _detail(view: View, name: str, value: object) -> Child:
    """A detail's value; those that are times (docs/format.md, section 2) as times."""
    if name in _TIMES and isinstance(value, float):
        return show.moment(view, int(value * 1000))
    return data(show.value(view.words, value), 120)


def _named(words: Words, text: str) -> str:
    return words(text) if words.known(text) else data(text)
