"""The frame of every page: what is above, below and beside its parts."""

from typing import Final

from gateway import __version__
from gateway.web import show
from gateway.web.assets import Assets
from gateway.web.html import Child, Markup, data, el, join
from gateway.web.view import Page, Part, View
from gateway.web.words import LANGUAGES, Words, mark

REFRESH_S: Final = 10  # where no script runs

_PLACES: Final = (
    ("/", "overview", mark("Sources")),
    ("/chain", "chain", mark("Chain")),
    ("/nodes", "nodes", mark("Nodes")),
    ("/device", "device", mark("Device")),
    ("/events", "events", mark("Events")),
    ("/doctor", "doctor", mark("Doctor")),
)
_ICONS: Final = {
    "overview": "M3 12h4l3-7 4 14 3-7h4",
    "chain": "M3 8h6v8H3zM15 8h6v8h-6zM9 12h6",
    "nodes": "M12 4v6M12 10l-6 6M12 10l6 6M12 2.5a1.5 1.5 0 1 0 .01 0M5 16.5a2 2 0 1 0 .01 0M19 16.5a2 2 0 1 0 .01 0",
    "device": "M5 6h14v12H5zM9 10h6v4H9zM9 3v3M15 3v3M9 18v3M15 18v3M2 10h3M2 14h3M19 10h3M19 14h3",
    "events": "M8 6h13M8 12h13M8 18h13M3.5 6h.01M3.5 12h.01M3.5 18h.01",
    "doctor": "M9 3H6v6a4 4 0 0 0 8 0V3h-3M10 13v2a5 5 0 0 0 10 0v-2M20 9.5a1.75 1.75 0 1 0 .01 0",
}


def document(view: View, page: Page, assets: Assets, *, place: str, target: str, live: bool) -> Markup:
    """A whole page. place: which of the places it is under; target: its address; live: it is kept up to date."""
    words, status = view.words, view.status
    title = f"{page.title} · {data(status['origin'])}"
    body = [
        el("a", words("Skip to the content"), href="#main", class_="skip"),
        _top(view, place, target),
        el("main", _news(view), [_section(part) for part in page.parts], id="main", tabindex=-1),
        _bottom(view),
    ]
    return shell(words, assets, title, body, **_for_script(view, assets, target if live else None))


def shell(words: Words, assets: Assets, title: str, body: Child, **told: str | int | None) -> Markup:
    """An HTML document; `told` is what its script is to know."""
    refresh = el("noscript", el("meta", http_equiv="refresh", content=REFRESH_S)) if told.get("data_live") else None
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1, viewport-fit=cover"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("link", rel="icon", type="image/svg+xml", href=assets.path("icon.svg")),
        el("link", rel="stylesheet", href=assets.path("page.css")),
        el("script", src=assets.path("page.js"), defer=True),
        refresh,
    )
    return Markup("<!doctype html>\n" + el("html", head, el("body", body, **told), lang=words.tag) + "\n")


def _for_script(view: View, assets: Assets, target: str | None) -> dict[str, str | int | None]:
    words = view.words
    return {
        "data_live": None if target is None else f"/live{target}",
        "data_build": build(assets),
        "data_now": view.now_ms,
        "data_zone": show.zone_min(view),
        "data_ages": show.age_forms(words),
        "data_stale": words("Not live since {time}: the gateway does not answer. What you see is from then."),
    }


def build(assets: Assets) -> str:
    """What this program is; a page of another is loaded anew."""
    return f"{__version__}-{assets.digest}"


def _news(view: View) -> Markup:
    """What the script says where the connection is lost. The headline follows as the page's first part."""
    return el("p", id="stale", class_="stale", role="status", hidden=True)


def _section(part: Part) -> Markup:
    return el("div", part.markup, id=f"part-{part.id}", aria_live="polite" if part.id == "now" else None)


def _top(view: View, place: str, target: str) -> Markup:
    words = view.words
    first, _, rest = data(view.status["origin"]).partition(".")
    name = el(
        "a", _mark(), el("span", el("b", first), el("small", f".{rest}") if rest else None), href="/", class_="brand"
    )
    links = [
        el(
            "a",
            icon(_ICONS[one]),
            el("span", words(label)),
            href=address,
            aria_current="page" if one == place else None,
        )
        for address, one, label in _PLACES
    ]
    return el(
        "header",
        el("div", name, el("div", language(words, target), _account(view), class_="side"), class_="bar"),
        el("nav", links, aria_label=words("Pages")),
    )


def _mark() -> Markup:
    return el(
        "svg", el("path", d="M4 20V8l8-4 8 4v12M4 13h16M9 20v-7M15 20v-7"), viewBox="0 0 24 24", aria_hidden="true"
    )


def icon(path: str) -> Markup:
    """A drawing beside a word."""
    return el("svg", el("path", d=path), viewBox="0 0 24 24", class_="icon", aria_hidden="true")


def language(words: Words, target: str) -> Markup:
    """The switch to the other languages; each in its own words."""
    return join(
        el(
            "form",
            el("input", type="hidden", name="back", value=target),
            el("button", name, name="language", value=tag, lang=tag, class_="quiet"),
            method="post",
            action="/language",
        )
        for tag, name in LANGUAGES.items()
        if tag != words.tag
    )


def _account(view: View) -> Markup:
    if not view.signed_in:
        return el("a", view.words("Sign in"), href="/login", class_="quiet")
    return el("form", el("button", view.words("Sign out"), class_="quiet"), method="post", action="/logout")


def _bottom(view: View) -> Markup:
    words = view.words
    now = el("time", show.clock_text(view), id="asof")
    clock = words.html("{time} {zone} by this gateway's clock", time=now, zone=show.zone_name(view))
    return el(
        "footer",
        el("p", clock),
        el("p", f"fieldgate {view.status['version']} · ", el("a", "status.json", href="/status.json")),
    )
