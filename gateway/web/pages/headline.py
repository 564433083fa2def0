"""The first line of every page: that all is well, or what needs a person; and each problem with what to do."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway import conditions
from gateway.core.senml import OWN
from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.view import Part, View
from gateway.web.words import Words, mark

KINDS = {"error": "ill", "warning": "warn", "note": "idle"}
_SEVERITIES = {"error": mark("error"), "warning": mark("warning"), "note": mark("note")}

Table = Mapping[str, Any]


def part(view: View, *, whole: bool) -> Part:
    """The headline; whole: as the page's own title with every problem, else a line that leads there."""
    problems = view.status["problems"]
    kind = state(problems)
    word = "" if kind == "well" else view.words("Needs a person")
    sentence = el("span", show.dot(kind, word), headline(view))
    if not whole:
        return Part("now", el("a", sentence, href="/", id="headline", class_=f"strip {kind}"))
    lead = el("h1", sentence, id="headline", class_=kind)
    return Part("now", el("div", lead, _list(view, problems), class_=f"now {kind}"))


def state(problems: Iterable[Table]) -> str:
    """How things stand by the worst problem."""
    severities = {problem["severity"] for problem in problems}
    return "ill" if "error" in severities else "warn" if "warning" in severities else "well"


def headline(view: View) -> Child:
    """One sentence."""
    words = view.words
    problems = [problem for problem in view.status["problems"] if problem["severity"] != "note"]
    if not problems:
        return _well(view)
    what, _ = told(words, problems[0])
    more = len(problems) - 1
    return what if not more else f"{what} {words.many('(and {count} more)', '(and {count} more)', more)}"


def _well(view: View) -> Markup:
    words, nodes = view.words, view.status["nodes"].values()
    count = sum(1 for name in view.status["sources"] if name != OWN)
    sources = words.many("{count} source", "{count} sources", count)
    held = sum(1 for node in nodes if node["stored"])
    stored = words.many("stored by {held} of {count} node", "stored by {held} of {count} nodes", len(nodes), held=held)
    if not nodes:
        stored = words("kept by this gateway alone")
    latest = _latest(view)
    if latest is None:
        return el("span", words("All well: {sources}, {stored}", sources=sources, stored=stored))
    # A number that counts on would be read aloud each second.
    ago = el("span", show.age(view, latest), aria_live="off")
    return words.html("All well: {sources}, {stored}, {age} ago", sources=sources, stored=stored, age=ago)


def _latest(view: View) -> int | None:
    """When the slowest of the nodes answered; without nodes, when the newest reading came."""
    answers: list[int | None] = [node["last_ms"] for node in view.status["nodes"].values() if node["stored"]]
    told = [at for at in answers if at is not None]
    if told and len(told) == len(answers):
        return min(told)
    heard: list[int] = [one["last_ms"] for one in view.status["sources"].values() if one["last_ms"] is not None]
    return max(heard, default=None)


def told(words: Words, problem: Table) -> tuple[str, str]:
    """What is the matter and the cure in the reader's language, as far as its catalogue has them."""
    try:
        condition = conditions.find(problem["condition"])
    except KeyError:
        return data(problem["what"]), data(problem["cure"])
    values = {name: words(value) if words.known(value) else value for name, value in problem["values"].items()}
    return data(words(condition.what, **values)), data(words(condition.cure, **values))


def _list(view: View, problems: Iterable[Table]) -> Markup | None:
    items = [item(view.words, problem) for problem in problems]
    return el("ul", items, class_="problems") if items else None


def item(words: Words, problem: Table) -> Markup:
    """One problem: what, and what to do. Texts without a translation say that they are English."""
    what, cure = told(words, problem)
    foreign = "en" if words.tag != "en" and _is_english(words, problem) else None
    return el(
        "li",
        show.dot(KINDS[problem["severity"]], words(_SEVERITIES[problem["severity"]])),
        el("div", el("strong", show.prose(what)), el("p", show.prose(cure)) if cure else None, lang=foreign),
        class_=problem["severity"],
        data_problem=problem["condition"],
        data_key=f"{problem['condition']} {problem['subject']}",
    )


def _is_english(words: Words, problem: Table) -> bool:
    try:
        condition = conditions.find(problem["condition"])
    except KeyError:
        return True
    return not words.known(condition.what) or condition.what == "{what}"
