"""The status page: what a technician sees in a browser on the gateway itself.

Only for programs on this machine (docs/operations.md has the way in over ssh): a loopback peer, a Host that is ours
(against DNS rebinding), and no request that another site's page makes. Everything shown is hostile text until escaped.
"""

import base64
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from aiohttp import web

from gateway.web.listener import deny
from gateway.web.style import STYLE

REFRESH_S: Final = 5

_STYLE_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
_COUNTS = ("received", "stored", "duplicate", "rejected", "dropped")

Table = Mapping[str, Any]


class Page:
    """Serves `/` and `/status.json`. status: the snapshot to show; hosts: Host headers that are ours."""

    PATHS: Final = frozenset({"/", "/status.json"})

    def __init__(self, status: Callable[[], dict[str, Any]], hosts: Collection[str]) -> None:
        self._status = status
        self._hosts = frozenset(hosts)

    def handle(self, request: web.BaseRequest) -> web.Response:
        """The page or its data; 401 without a body for anybody but a person on this machine."""
        if not self._is_ours(request):
            return deny()
        status = self._status()
        if request.raw_path == "/":
            return web.Response(text=render(status), content_type="text/html", charset="utf-8", headers=_HEADERS)
        return web.Response(text=json.dumps(status), content_type="application/json", headers=_HEADERS)

    def _is_ours(self, request: web.BaseRequest) -> bool:
        headers = request.headers
        return (
            _is_loopback(request.remote)
            and headers.get("Host", "").lower() in self._hosts
            and headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
            and "Origin" not in headers
            and not any(name in headers for name in _FORWARDED)  # a proxy on this machine brings others in
        )


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ip_address((remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


# -- the page as text -------------------------------------------------------------------------------------------------


def render(status: Table) -> str:
    """The whole page of a status snapshot."""
    well = not status["problems"]
    parts = [
        _header(status, well),
        _problems(status["problems"]),
        _section("Sources", _sources(status["sources"], status["now_ms"])),
        _section("Chain", _chain(status)),
        _section("Nodes", _nodes(status["nodes"], status["now_ms"])),
        _footer(status),
    ]
    title = f"{'' if well else '! '}{status['origin']}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _header(status: Table, well: bool) -> str:
    mark, word = ("well", "All well") if well else ("ill", "Needs a person")
    return (
        f'<header><p class="name">{escape(status["origin"])}</p>'
        f'<h1 class="{mark}"><span class="dot" role="img" aria-label="{word}"></span>'
        f"{escape(status['headline'])}</h1></header>"
    )


def _problems(problems: Iterable[Table]) -> str:
    items = "".join(
        f"<li><strong>{escape(problem['what'])}</strong><br>{escape(problem['cure'])}</li>" for problem in problems
    )
    return f'<ul class="problems">{items}</ul>' if items else ""


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _sources(sources: Mapping[str, Table], now_ms: int) -> str:
    if not sources:
        return "<p>No source has been configured or heard.</p>"
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Source", "Last values", "Age", *_heads()))
    rows = "".join(_source(name, source, now_ms) for name, source in sources.items())
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _heads() -> list[str]:
    return [count.capitalize() for count in _COUNTS]


def _source(name: str, source: Table, now_ms: int) -> str:
    mark = {True: "well", False: "ill", None: "idle"}[source["up"]]
    word = {True: "up", False: "away", None: "not heard yet"}[source["up"]]
    who = f'<span class="dot {mark}" role="img" aria-label="{word}"></span>{escape(name)}'
    small = " · ".join(text for text in (source["driver"], source["detail"]) if text)
    cells = [
        f'<th scope="row">{who}<small>{escape(small)}</small></th>',
        _cell("Last values", _values(source["last"]), "values"),
        _cell("Age", escape(_age(now_ms, source["last_ms"]))),
        *(_cell(count.capitalize(), _count(source, count), "number") for count in _COUNTS),
    ]
    return f'<tr class="{mark}">{"".join(cells)}</tr>{_rejects(source)}'


def _cell(label: str, content: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<td data-label="{label}"{attribute}>{content}</td>'


def _count(source: Table, count: str) -> str:
    text = _grouped(source[count])
    if count == "received" and not source["balanced"]:
        return f'<strong class="bad">{text} (does not add up)</strong>'
    if count == "received" and source["waiting"]:
        return f"{text} <small>+{_grouped(source['waiting'])} waiting</small>"
    return f'<span class="bad">{text}</span>' if count in {"rejected", "dropped"} and source[count] else text


def _values(last: Iterable[Iterable[Any]]) -> str:
    shown = [
        f'<span class="value"><i>{escape(name)}</i> <b>{escape(_shown(value))}</b> {escape(unit or "")}</span>'
        for name, unit, value in last
    ]
    return " ".join(shown) or "–"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rejects(source: Table) -> str:
    if not source["rejects"]:
        return ""
    counts = ", ".join(f"{escape(reason)}: {_grouped(count)}" for reason, count in source["rejects"].items())
    example = source["example"]
    shown = (
        f"<br>last: {escape(example['reason'])}, {escape(example['detail'])}<pre>{escape(example['payload'])}</pre>"
        if example
        else ""
    )
    note = f'<div class="note">Rejected: {counts}{shown}</div>'
    return f'<tr class="rejects"><td colspan="{3 + len(_COUNTS)}">{note}</td></tr>'


def _chain(status: Table) -> str:
    chain = status["chain"]
    facts = {
        "Blocks": _grouped(chain["size"]),
        "Readings in them": _grouped(chain["readings"]),
        "Readings in the open block": _grouped(chain["open"]),
        "Last block sealed": _ago(status["now_ms"], chain["last_sealed_ms"]),
        "Signing": f"held: {chain['held']}" if chain["held"] else "as it should",
        "Clock": _clock(status["clock"]),
    }
    if status["disk"]:
        facts["Disk"] = _disk(status["disk"])
    return (
        "<dl>" + "".join(f"<div><dt>{key}</dt><dd>{escape(value)}</dd></div>" for key, value in facts.items()) + "</dl>"
    )


def _disk(disk: Table) -> str:
    used, quota, free = (f"{disk[name] / 2**20:.1f} MiB" for name in ("used", "quota", "free"))
    held = f"; no reading is stored: {disk['held']}" if disk["held"] else ""
    return f"{used} of {quota} used, {free} free, {_grouped(disk['prunable'])} readings can be pruned{held}"


def _clock(clock: Table) -> str:
    if not clock["synchronised"]:
        return "not synchronised: readings are marked so"
    return "synchronised" if clock["error_ms"] is None else f"synchronised, within {_grouped(clock['error_ms'])} ms"


def _nodes(nodes: Mapping[str, Table], now_ms: int) -> str:
    if not nodes:
        return "<p>No node is configured: nobody but this gateway holds the readings.</p>"
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("Node", "State", "Entries", "Seen", "Stored", "Answered")
    )
    rows = "".join(_node(name, node, now_ms) for name, node in nodes.items())
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _node(name: str, node: Table, now_ms: int) -> str:
    mark, word = ("well", "in order") if node["ok"] else ("ill", "not in order")
    who = f'<span class="dot {mark}" role="img" aria-label="{word}"></span>{escape(name)}'
    cells = [
        f'<th scope="row">{who}<small>{escape(node["url"])}</small></th>',
        _cell("State", escape(node["detail"])),
        *(_cell(count.capitalize(), _grouped(node[count]), "number") for count in ("entries", "seen", "stored")),
        _cell("Answered", escape(_ago(now_ms, node["last_ms"]))),
    ]
    return f'<tr class="{mark}">{"".join(cells)}</tr>'


def _footer(status: Table) -> str:
    at = datetime.fromtimestamp(status["now_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    since = _age(status["now_ms"], status["since_ms"])
    return (
        f"<footer>{escape(at)} by this gateway's clock · running for {escape(since)} · "
        f'fieldgate {escape(status["version"])} · <a href="/status.json">status.json</a></footer>'
    )


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _ago(now_ms: int, then_ms: int | None) -> str:
    return "never" if then_ms is None else f"{_age(now_ms, then_ms)} ago"


def _age(now_ms: int, then_ms: int | None) -> str:
    """How long ago, in the one unit that says enough."""
    if then_ms is None:
        return "–"
    seconds = max(0, now_ms - then_ms) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
