"""`/nodes`: how far each node and witness has come, when it answered last, and what stands against it."""

from collections.abc import Mapping
from typing import Any

from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import headline
from gateway.web.view import Page, Part, View
from gateway.web.words import Words

Table = Mapping[str, Any]


async def page(view: View) -> Page:
    """Every node, and every witness."""
    words, nodes, size = view.words, view.status["nodes"], view.status["chain"]["size"]
    witnesses = view.status["witnesses"]
    about = words("A node holds copies of the chain and signs what it has seen and stored.")
    cards = [_card(view, name, node, size) for name, node in nodes.items()]
    none = show.note(words("No node is configured: nobody but this gateway holds the readings."))
    title = el("div", el("h1", words("Nodes")), el("p", about, class_="lead"))
    parts = [headline.part(view, whole=False), Part("title", title)]
    parts.append(Part("nodes", el("ul", cards, class_="cards wide") if cards else none))
    if witnesses:
        told = words("A witness co-signs the chain's size and root. It holds no readings.")
        made = [_witness_card(view, name, witness, size) for name, witness in witnesses.items()]
        head = el("div", el("h2", words("Witnesses")), el("p", told, class_="lead"))
        parts += [Part("about-witnesses", head), Part("witnesses", el("ul", made, class_="cards wide"))]
    if view.desk.services.sync is not None and (nodes or witnesses):
        parts.append(Part("act", _ask(view)))
    return Page(words("Nodes"), parts)


def node_dot(words: Words, node: Table) -> Markup:
    """In order, or not."""
    return show.dot("well", words("in order")) if node["ok"] else show.dot("ill", words("not in order"))


def lag(words: Words, node: Table, size: int) -> str:
    """How far behind the chain a node is."""
    behind = max(0, size - node["entries"]), max(0, size - node["stored"])
    if not node["stored"] and not node["seen"]:
        return words("has nothing yet")
    if behind[0]:
        return words.many("{count} block behind", "{count} blocks behind", behind[0])
    if behind[1]:
        return words.many("{count} block not stored yet", "{count} blocks not stored yet", behind[1])
    return words("in step")


def _card(view: View, name: str, node: Table, size: int) -> Markup:
    words = view.words
    pairs: list[tuple[str, Child]] = [
        (words("Has seen"), _share(words, node["seen"], size)),
        (words("Has stored"), _share(words, node["stored"], size)),
        (words("Answered"), show.ago(view, node["last_ms"])),
    ]
    return _framed(view, name, node, lag(words, node, size), pairs)


def _witness_card(view: View, name: str, witness: Table, size: int) -> Markup:
    words = view.words
    pairs: list[tuple[str, Child]] = [
        (words("Has seen"), _share(words, witness["seen"], size)),
        (words("Answered"), show.ago(view, witness["last_ms"])),
    ]
    return _framed(view, name, witness, witness_lag(words, witness, size), pairs)


def witness_lag(words: Words, witness: Table, size: int) -> str:
    """How far behind the chain a witness is."""
    if not witness["seen"]:
        return words("has nothing yet")
    behind = max(0, size - witness["seen"])
    return words.many("{count} block behind", "{count} blocks behind", behind) if behind else words("in step")


def _framed(view: View, name: str, node: Table, behind: str, pairs: list[tuple[str, Child]]) -> Markup:
    words = view.words
    kind = "" if node["ok"] else "bad"
    told = [el("p", data(node["detail"]), class_=kind)] if not node["ok"] else []
    if node["cure"] and not node["ok"]:
        told.append(el("p", data(node["cure"]), class_="cure"))
    return el(
        "li",
        el(
            "div",
            el("h2", node_dot(words, node), el("span", data(name))),
            el("span", behind, class_="soft"),
            class_="bar",
        ),
        told,
        show.facts(pairs),
        el("p", el("code", data(node["url"]), class_="long"), class_="soft"),
        class_="card",
        data_key=name,
    )


def _share(words: Words, part: int, size: int) -> Markup:
    return words.html("{part} of {size}", part=show.count(part), size=show.count(size))


def _ask(view: View) -> Markup:
    words = view.words
    if not view.signed_in:
        return show.note(words("Sign in to ask the nodes from here."))
    return el("form", el("button", words("Ask the nodes now")), method="post", action="/sync")
