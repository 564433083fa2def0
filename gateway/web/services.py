"""What the running gateway does for its page and for its control socket. app.py makes it; web only calls it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.store.events import Event
from gateway.store.rollup import Rollup


@dataclass(frozen=True, kw_only=True)
class Services:
    """A service that is None is not offered: its route answers 404.

    status: the snapshot of gateway/status.py.
    sync: every node is asked at once, also one whose back-off is not over.
    rollup: minutes of values, for charts.
    events: at most so many of the gateway's own events from before a place, the newest first.
    """

    status: Callable[[], dict[str, Any]]
    sync: Callable[[], None] | None = None
    rollup: Rollup | None = None
    events: Callable[[int, int | None], Awaitable[list[Event]]] | None = None
