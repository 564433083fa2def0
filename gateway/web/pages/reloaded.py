"""What came of a reload: what was taken over, or everything that was wrong, with what to do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.core import limits
from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import headline
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, mark

_KINDS: Final = (
    ("sources", (mark("source {name} began"), mark("source {name} ended"), mark("source {name} changed"))),
    ("nodes", (mark("node {name} began"), mark("node {name} ended"), mark("node {name} changed"))),
    ("tables", (mark("[{name}] is new"), mark("[{name}] is gone"), mark("[{name}] changed"))),
)
_TURNS: Final = ("started", "stopped", "changed")

Table = Mapping[str, Any]


def page(view: View, answer: Table) -> Page:
    """answer: of the running gateway's reload."""
    words = view.words
    title, status = words("The configuration was read again and applied."), 200
    if not answer["taken_over"]:
        title, status = words("The configuration was refused; nothing was changed."), 409
    lines: Sequence[Child] = list(_done(words, answer)) if answer["taken_over"] else _faults(answer["error"])
    more = len(lines) - limits.PAGE_ROWS
    told = [el("li", line) for line in lines[: limits.PAGE_ROWS]]
    if more > 0:
        told.append(el("li", words.many("and {count} more", "and {count} more", more), class_="soft"))
    back = el("p", el("a", words("Device"), href="/device"))
    said = el("div", el("h1", title), el("ul", told, class_="plain card"), back)
    return Page(words("Configuration"), [headline.part(view, whole=False), Part("outcome", said)], status)


def _done(words: Words, answer: Table) -> Iterable[str]:
    said = [
        words(text, name=data(name))
        for field, texts in _KINDS
        for turn, text in zip(_TURNS, texts, strict=True)
        for name in answer[field][turn]
    ]
    yield from said or [words("Nothing has changed.")]
    for name in answer["late"]:
        yield words("{name} does not end yet: what comes in its place begins then", name=data(name))
    for name in answer["restart"]:
        yield words("{name} waits for a restart of the gateway", name=data(name))


def _faults(error: Table) -> list[Markup]:
    faults = error.get("faults") or [{"file": error["where"], "line": 0, "key": "", **error}]
    return [_fault(fault) for fault in faults]


def _fault(fault: Table) -> Markup:
    place = f"{fault['file']}:{fault['line']}" if fault["line"] else fault["file"]
    where = ": ".join(part for part in (place, fault["key"]) if part)
    cure = el("p", show.prose(fault["cure"]), class_="cure") if fault["cure"] else None
    return el("div", el("code", data(where)), el("p", show.prose(fault["what"])), cure)
