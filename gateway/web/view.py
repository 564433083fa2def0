"""What a page is made from, and what it is: a view in, a page out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, NamedTuple

from gateway.settings import NodeLink
from gateway.store import Store
from gateway.web.findings import Findings
from gateway.web.html import Markup
from gateway.web.services import Services
from gateway.web.sparks import Sparks
from gateway.web.words import Words


class Part(NamedTuple):
    """A section of a page. A reader's page is brought up to date part by part."""

    id: str
    markup: Markup


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says. title: of the window, before the gateway's name; status: of HTTP."""

    title: str
    parts: list[Part]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Desk:
    """What pages may ask."""

    services: Services
    store: Store
    nodes: Callable[[], Mapping[str, NodeLink]]
    sparks: Sparks
    findings: Findings
    now_ms: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at the gateway, for one kind of reader.

    status: a snapshot of gateway/status.py. live: ages are left empty, as the reader's script counts them.
    signed_in: actions may be offered. address: `http://host:port` under which the gateway is reached from elsewhere, or
    here; only for a page that is not live. zone: of the times shown; None for the machine's own.
    """

    desk: Desk
    words: Words
    status: Mapping[str, Any]
    signed_in: bool = False
    live: bool = False
    address: str = ""
    zone: tzinfo | None = None

    @property
    def now_ms(self) -> int:
        """When the snapshot was taken, by the gateway's clock."""
        return int(self.status["now_ms"])
