"""What the running gateway does for its page and for its control socket. app.py makes it; web only calls it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.conditions import Problem
from gateway.core.note import VerifierKey
from gateway.settings import WitnessLink
from gateway.store.events import Event
from gateway.store.rollup import Rollup


@dataclass(frozen=True, kw_only=True)
class Services:
    """A service that is None is not offered: its route answers 404.

    status: the snapshot of gateway/status.py.
    sync: every node and witness is asked at once, also one whose back-off is not over; their names.
    witnesses: those of the configuration as it is now.
    doctor: everything is looked at, worst finding first.
    reload: the configuration is taken over again; what came of it, as gateway/reload.py answers. Its argument says what
    asked, `reload` or `rollback`.
    rollup, events: what charts and the list of events are made from; events(limit, before a place) are newest first.
    metrics: all of them in Prometheus' text format.
    logs: the newest log records after a number (gateway/logs/ring.py).
    watch_token: what whoever watches from elsewhere shows; empty: nobody does.
    sm2: the key that signs checkpoints by SM2 as well; None where there is none.
    cosigned_within_s: how old the newest co-signature may be before the gateway is not ready.
    """

    status: Callable[[], dict[str, Any]]
    sync: Callable[[], Sequence[str]] | None = None
    witnesses: Callable[[], Mapping[str, WitnessLink]] = dict
    doctor: Callable[[], Awaitable[list[Problem]]] | None = None
    reload: Callable[[str], Awaitable[dict[str, Any]]] | None = None
    rollup: Rollup | None = None
    events: Callable[[int, int | None], Awaitable[Sequence[Event]]] | None = None
    metrics: Callable[[], Awaitable[bytes]] | None = None
    logs: Callable[[int], dict[str, Any]] | None = None
    watch_token: str = ""
    cosigned_within_s: Callable[[], float] = float
    sm2: Callable[[], VerifierKey | None] = lambda: None
