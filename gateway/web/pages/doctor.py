"""`/doctor`: everything is looked at on demand; each finding has a severity, a reason and a cure."""

from gateway.conditions import SEVERITIES
from gateway.web import show
from gateway.web.html import Markup, el
from gateway.web.pages import headline
from gateway.web.view import Page, Part, View


async def page(view: View) -> Page:
    """What was found when somebody last asked."""
    words = view.words
    about = words("Looks at keys, clock, disk, ports, brokers, nodes and permissions. It changes nothing.")
    busy = words("Looking … this takes up to half a minute.")
    button = el("button", words("Look now"), class_="main")
    form = el("form", button, method="post", action="/doctor", data_busy=busy)
    title = el("div", el("h1", words("Doctor")), el("p", about, class_="lead"))
    parts = [
        headline.part(view, whole=False),
        Part("title", title),
        Part("act", form),
        Part("findings", _findings(view)),
    ]
    return Page(words("Doctor"), parts)


def _findings(view: View) -> Markup:
    words, found = view.words, view.desk.findings
    if found.at_ms is None:
        return show.note(words("Nobody has let it look since the gateway started."))
    when = el("p", words.html("Looked {age} ago.", age=show.age(view, found.at_ms)), class_="lead")
    if not found.problems:
        return el("div", when, el("p", show.dot("well", words("All well")), words("Nothing was found."), class_="well"))
    worst = sorted(found.problems, key=lambda one: SEVERITIES.index(one.severity))
    items = [headline.item(words, one.json()) for one in worst]
    return el("div", when, el("ul", items, class_="problems findings"))
