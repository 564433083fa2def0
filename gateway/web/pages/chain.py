"""`/chain`: blocks as they are sealed, newest first, and how far each has got."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.core import block, limits
from gateway.store.lists import Listed, newest_blocks
from gateway.web import show
from gateway.web.html import Markup, el
from gateway.web.pages import anchors, headline
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, mark

REASONS: Final = {
    block.REASON_COUNT: mark("full"),
    block.REASON_AGE: mark("old enough"),
    block.REASON_STOP: mark("stop"),
    block.REASON_HEARTBEAT: mark("heartbeat"),
    block.REASON_ASKED: mark("asked for"),
    block.REASON_CLOSED: mark("the log was closed"),
}

_PLACES: Final = {"pruned": mark("at nodes only"), "gone": mark("dropped")}


async def page(view: View, before: str = "") -> Page:
    """before: only blocks under this height; the newest without it."""
    words = view.words
    listed = await newest_blocks(view.desk.store, limits.PAGE_BLOCKS, int(before) if before else None)
    rows = [_row(view, one) for one in listed]
    content = el("ol", rows, class_="rows") if rows else show.note(words("No block has been sealed yet."))
    last = listed[-1].height if listed else 0
    older = el("a", words("Older"), href=f"/chain?before={last}", class_="button") if last else None
    newest = el("a", words("Newest"), href="/chain", class_="button") if before else None
    pager = el("nav", newest, older, class_="pager", aria_label=words("Pages of blocks")) if older or newest else None
    blocks = Part("blocks", el("div", content, pager))
    parts = [headline.part(view, whole=False), Part("title", _title(view)), anchors.part(view), blocks]
    return Page(words("Chain"), parts)


def _title(view: View) -> Markup:
    words, chain = view.words, view.status["chain"]
    said = words.html(
        "{blocks} hold {readings}; {open} in the open block.",
        blocks=words.many("{count} block", "{count} blocks", chain["size"]),
        readings=words.many("{count} reading", "{count} readings", chain["readings"]),
        open=words.many("{count} reading", "{count} readings", chain["open"]),
    )
    held = el("p", words("Signing is held: {what}", what=chain["held"]), class_="bad") if chain["held"] else None
    return el("div", el("h1", words("Chain")), el("p", said, class_="lead"), held)


def _row(view: View, one: Listed) -> Markup:
    words, header = view.words, one.header
    link = el("a", words("Block {height}", height=one.height), href=f"/chain/{one.height}")
    readings, when = el("span", words("damaged"), class_="bad"), el("span", "–", class_="soft")
    if header is not None:
        readings = el("span", words.many("{count} reading", "{count} readings", header.count), class_="soft")
        when = el("span", show.moment(view, header.sealed))
    if one.place in _PLACES:
        readings = el("span", readings, " · ", words(_PLACES[one.place]), class_="soft")
    tags = [state(words, one.height, view.status["nodes"]), anchors.tag(view, one.height)]
    where = el("span", tags, class_="state")
    return el("li", el("b", link), when, readings, where, data_key=one.height)


def state(words: Words, height: int, nodes: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Where a block is: with this gateway alone, seen, or stored, by how many of the nodes."""
    stored = sum(1 for node in nodes.values() if node["stored"] > height)
    seen = sum(1 for node in nodes.values() if node["seen"] > height)
    if stored:
        text = words.many(
            "stored by {held} of {count} node", "stored by {held} of {count} nodes", len(nodes), held=stored
        )
        return el("span", text, class_="tag well" if stored == len(nodes) else "tag")
    if seen:
        text = words.many("seen by {held} of {count} node", "seen by {held} of {count} nodes", len(nodes), held=seen)
        return el("span", text, class_="tag")
    return el("span", words("here only"), class_="tag idle")
