"""Which address is which page. A new page is a line here and a module in pages/."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from gateway.core import limits
from gateway.web.pages import block, chain, device, doctor, events, nodes, overview, receipt, source
from gateway.web.view import Page

_NAME: Final = r"([^/?#\x00-\x20\x7f-\U0010ffff]{1,300})"
_HEIGHT: Final = r"(0|[1-9][0-9]{0,14})"
_NUMBER: Final = r"[1-9][0-9]{0,14}|0"
_PLACE: Final = r"[1-9][0-9]{0,18}|0"  # of an event


@dataclass(frozen=True, slots=True)
class Route:
    """path: of the address, its groups named by `parts`; query: what may follow, each with the values allowed.

    place: which tab it is under. live: it is kept up to date for whoever watches.
    """

    path: str
    render: Callable[..., Awaitable[Page]]
    place: str
    parts: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    live: bool = True


ROUTES: Final = (
    Route("/", overview.page, "overview", query={"q": r"[^\x00-\x1f]{0,64}", "page": r"[1-9][0-9]{0,3}"}),
    Route(f"/source/{_NAME}", source.page, "overview", ("source",), {"value": r"(?s).+", "span": "hour|day|week"}),
    Route("/chain", chain.page, "chain", query={"before": _NUMBER}),
    Route(f"/chain/{_HEIGHT}", block.page, "chain", ("height",), {"start": r"[1-9][0-9]{0,5}|0"}),
    Route("/nodes", nodes.page, "nodes"),
    Route("/device", device.page, "device"),
    Route("/events", events.page, "events", query={"before": _PLACE}),
    Route("/doctor", doctor.page, "doctor"),
    Route(f"/receipt/{_NAME}", receipt.page, "overview", ("source",), {"at": _NUMBER}, live=False),
)
PROOF: Final = Route(f"/proof/{_NAME}", receipt.page, "", ("source",), {"at": _NUMBER})


class Found(NamedTuple):
    """A page's address: its route, and what stands in it."""

    route: Route
    values: Mapping[str, str]
    target: str


def find(raw: str) -> Found | None:
    """The page of a request target as it was sent; None for anything but the one spelling."""
    return next((found for route in ROUTES if (found := match(route, raw))), None)


def match(route: Route, raw: str) -> Found | None:
    """What stands in the address, where it is one of this route."""
    path, mark, query = raw.partition("?")
    found = re.fullmatch(route.path, path)
    if found is None or (mark and not query):
        return None
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=8) if query.count("&") < 8 else []
    values = dict(pairs)
    if len(values) != len(pairs) or (query and not pairs) or not all(_is_allowed(route, *pair) for pair in pairs):
        return None
    try:
        values |= {name: unquote(part, errors="strict") for name, part in zip(route.parts, found.groups(), strict=True)}
    except UnicodeDecodeError:
        return None
    return Found(route, values, raw)


def _is_allowed(route: Route, name: str, value: str) -> bool:
    pattern = route.query.get(name)
    short = len(value) <= limits.TARGET_VALUE_CHARS
    return pattern is not None and short and re.fullmatch(pattern, value) is not None
