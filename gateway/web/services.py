"""What the running gateway does for its page and for its control socket. app.py makes it; web only calls it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Services:
    """A service that is None is not offered: its route answers 404.

    status: the snapshot of gateway/status.py.
    sync: every node is asked at once, also one whose back-off is not over.
    metrics: all of them in Prometheus' text format.
    logs: the newest log records after a number (gateway/logs/ring.py).
    watch_token: what whoever watches from elsewhere shows; empty: nobody does.
    cosigned_within_s: how old the newest co-signature may be before the gateway is not ready.
    """

    status: Callable[[], dict[str, Any]]
    sync: Callable[[], None] | None = None
    metrics: Callable[[], Awaitable[bytes]] | None = None
    logs: Callable[[int], dict[str, Any]] | None = None
    watch_token: str = ""
    cosigned_within_s: float = 0.0
