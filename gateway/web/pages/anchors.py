"""What is told of anchors on the pages of the chain: how far each is, and which blocks they cover."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.core.anchor import is_stamped
from gateway.core.anchor_row import ANCHORED, CLAIMED, FAILED, IN_BLOCK, SUBMITTED, WAITING
from gateway.web.html import Markup, el
from gateway.web.view import Part, View
from gateway.web.words import mark

_STATES: Final = {
    WAITING: mark("waiting"),
    SUBMITTED: mark("submitted"),
    IN_BLOCK: mark("in a block"),
    ANCHORED: mark("anchored"),
    FAILED: mark("failed"),
    CLAIMED: mark("claimed by the node"),
}
_LOOKS: Final = {ANCHORED: "tag well", FAILED: "tag ill"}


def part(view: View) -> Part:
    """A row for each chain that is told of the log; nothing where there is none."""
    rows = [_row(view, name, told) for name, told in view.status["anchors"].items()]
    content = [el("h2", view.words("Anchors")), el("ol", rows, class_="rows anchors")] if rows else []
    return Part("anchors", el("div", content))


def _row(view: View, name: str, told: Mapping[str, Any]) -> Markup:
    words, facts = view.words, [f"{told['kind']} {told['chain']}"]
    if told["anchored"]:
        facts.append(words("anchored up to block {height}", height=told["anchored"] - 1))
    if told["state"] == CLAIMED:
        facts.append(words("covers blocks up to {height}", height=told["size"] - 1))
    if told["block"] and not is_stamped(told["kind"], told["chain"]):
        of, wanted = told["confirmed"], told["confirmations"]
        facts.append(words("in its block {block}: {of} of {wanted}", block=told["block"], of=of, wanted=wanted))
    known = told["state"]
    said = words(_STATES[known]) if known in _STATES else known
    state = el("span", said, class_=_LOOKS.get(known, "tag")) if told["size"] else None
    why = el("p", f"{told['why']}. {told['cure']}", class_="bad") if told["why"] else None
    where = el("span", state, class_="state")
    return el("li", el("b", name), el("span", " · ".join(facts), class_="soft"), where, why, data_key=name)


def tag(view: View, height: int) -> Markup | None:
    """Whether a block is covered by an anchor, and on how many of the chains; else whether a node says so."""
    told = view.status["anchors"].values()
    own, claims = [one for one in told if one["state"] != CLAIMED], [one for one in told if one["state"] == CLAIMED]
    held = sum(1 for one in own if one["anchored"] > height)
    if held:
        text = view.words.many(
            "anchored on {held} of {count} chain", "anchored on {held} of {count} chains", len(own), held=held
        )
        return el("span", text, class_="tag well" if held == len(own) else "tag")
    if any(one["size"] > height for one in claims):
        return el("span", view.words("anchor claimed by a node"), class_="tag")
    return None
