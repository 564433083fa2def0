"""`/`: the sentence, what needs a person, every source, and the chain, the nodes and the device in short."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from gateway.core import limits
from gateway.core.senml import OWN
from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import headline
from gateway.web.pages.device import clock_text, disk_meter
from gateway.web.pages.nodes import lag, node_dot, witness_lag
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, grouped, mark

STATES = {True: ("well", mark("up")), False: ("ill", mark("away")), None: ("idle", mark("not heard yet"))}
QUALITIES = {
    1: mark("clock not synchronised"),
    2: mark("the device says unstable"),
    4: mark("stale or retained"),
    8: mark("a sentinel or out of the device's range"),
    16: mark("replayed from a file"),
}
_SHOWN = 4  # values of a source in the list
_FILTER_FROM = 9  # sources, before there is something to look through
_A_STEP = 8  # sources made before other work gets its turn

Table = Mapping[str, Any]


async def page(view: View, q: str = "", page: str = "1") -> Page:
    """q: only sources with this in their name; page: which page of them, from 1."""
    parts = [headline.part(view, whole=True), Part("sources", await _sources(view, q, int(page)))]
    parts.append(Part("rest", el("div", _chain(view), _nodes(view), _device(view), class_="trio")))
    return Page(view.words("Sources"), parts)


async def _sources(view: View, q: str, number: int) -> Markup:
    words = view.words
    everything = {name: one for name, one in view.status["sources"].items() if name != OWN}
    wanted = [(name, one) for name, one in everything.items() if q.lower() in name.lower()]
    wanted.sort(key=lambda pair: pair[1]["up"] is not False)  # what is away comes first
    pages = max(1, -(-len(wanted) // limits.PAGE_ROWS))
    number = min(number, pages)
    shown = wanted[(number - 1) * limits.PAGE_ROWS : number * limits.PAGE_ROWS]
    cards: list[Markup] = []
    for name, one in shown:
        cards.append(await _card(view, name, one))
        if len(cards) % _A_STEP == 0:
            await asyncio.sleep(0)
    title = el("h2", words("Sources"), " ", el("span", grouped(len(wanted)), class_="n soft"))
    look = _filter(words, q) if q or len(everything) >= _FILTER_FROM else None
    return el(
        "section",
        el("div", title, look, class_="bar"),
        el("ul", cards, class_="cards") if cards else show.note(_nothing(words, q)),
        _pager(words, q, number, pages),
    )


def _nothing(words: Words, q: str) -> str:
    if q:
        return words("No source has “{text}” in its name.", text=data(q))
    return words("No source has been configured or heard yet. Add one to fieldgate.toml.")


def _filter(words: Words, q: str) -> Markup:
    return el(
        "form",
        el(
            "input",
            type="search",
            name="q",
            value=q,
            aria_label=words("Find a source"),
            placeholder=words("Find a source"),
            maxlength=64,
            autocomplete="off",
        ),
        el("button", words("Find")),
        action="/",
        role="search",
        class_="find",
    )


def _pager(words: Words, q: str, number: int, pages: int) -> Markup | None:
    if pages == 1:
        return None

    def link(to: int, text: str) -> Markup | None:
        query = {"q": q, "page": str(to)} if q else {"page": str(to)}
        return el("a", text, href=f"/?{urlencode(query)}", class_="button") if 1 <= to <= pages else None

    where = words("{page} of {pages}", page=number, pages=pages)
    return el(
        "nav",
        link(number - 1, words("Previous")),
        el("span", where),
        link(number + 1, words("Next")),
        class_="pager",
        aria_label=words("Pages of sources"),
    )


async def _card(view: View, name: str, source: Table) -> Markup:
    words = view.words
    kind, word = STATES[source["up"]]
    link = el("a", show.dot(kind, words(word)), el("span", data(name)), href=f"/source/{quote(name, safe='')}")
    age = show.age(view, source["last_ms"]) if source["last_ms"] is not None else el("span", "–", class_="soft")
    spark = await view.desk.sparks.spark(name, view.now_ms // 60_000)
    first, *others = [_value(words, *one) for one in source["last"][:_SHOWN]] or [
        el("span", words("nothing yet"), class_="soft")
    ]
    more = len(source["last"]) - _SHOWN
    if more > 0:
        others.append(el("span", words.many("and {count} more", "and {count} more", more)))
    return el(
        "li",
        el("div", el("h3", link), age, class_="bar"),
        el("div", el("p", first, class_="first"), spark, class_="reading"),
        el("p", others, class_="others") if others else None,
        _remarks(words, source),
        class_=f"source {kind}",
        data_key=name,
    )


def _value(words: Words, name: str, unit: str | None, value: object) -> Markup:
    figure = el("span", el("b", show.value(words, value)), " ", show.unit(unit), class_="figure")
    return el("span", el("i", data(name, 24)), " ", figure, class_="value")


def _remarks(words: Words, source: Table) -> Markup | None:
    told: list[Child] = []
    if source["up"] is False and source["detail"]:
        told.append(el("span", data(source["detail"], 200), class_="bad"))
    told += [el("span", text, class_="doubt") for text in quality(words, source["quality"])]
    told += [
        el("span", words(text, count=grouped(source[name])), class_="bad")
        for name, text in (("rejected", mark("{count} rejected")), ("dropped", mark("{count} dropped")))
        if source[name]
    ]
    if not source["balanced"]:
        told.append(el("span", words("the counts do not add up"), class_="bad"))
    return el("p", told, class_="remarks") if told else None


def quality(words: Words, bits: int) -> list[str]:
    """What is said against a reading (docs/format.md, section 2)."""
    return [words(text) for bit, text in QUALITIES.items() if bits & bit]


# -- in short ---------------------------------------------------------------------------------------------------------


def _chain(view: View) -> Markup:
    words, chain = view.words, view.status["chain"]
    pairs: list[tuple[str, Child]] = [
        (words("Blocks"), show.count(chain["size"])),
        (words("Readings in them"), show.count(chain["readings"])),
        (words("Last sealed"), show.ago(view, chain["last_sealed_ms"])),
        (words("In the open block"), show.count(chain["open"])),
    ]
    if chain["held"]:
        pairs.append((words("Signing"), el("span", words("held"), class_="bad")))
    return show.card(words("Chain"), show.facts(pairs), more=show.link_more("/chain", words("Blocks")))


def _nodes(view: View) -> Markup:
    words, nodes, witnesses = view.words, view.status["nodes"], view.status["witnesses"]
    size = view.status["chain"]["size"]
    behind = {name: lag(words, node, size) for name, node in nodes.items()}
    behind |= {name: witness_lag(words, witness, size) for name, witness in witnesses.items()}
    if not behind:
        content = show.note(words("No node is configured: nobody but this gateway holds the readings."))
    else:
        rows = [
            el(
                "li",
                node_dot(words, one),
                el("b", data(name)),
                el("span", behind[name], class_="soft"),
                data_key=name,
            )
            for name, one in [*nodes.items(), *witnesses.items()][: limits.PAGE_ROWS]
        ]
        content = el("ul", rows, class_="plain")
    return show.card(words("Nodes"), content, more=show.link_more("/nodes", words("All of them")))


def _device(view: View) -> Markup:
    words = view.words
    pairs: list[tuple[str, Child]] = [(words("Clock"), clock_text(words, view.status["clock"]))]
    if view.status["disk"]:
        pairs.append((words("Readings on disk"), disk_meter(words, view.status["disk"])))
    pairs.append((words("Running for"), show.age(view, view.status["since_ms"])))
    return show.card(words("Device"), show.facts(pairs), more=show.link_more("/device", words("More")))
