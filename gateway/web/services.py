"""What the running gateway does for its page and for its control socket. app.py makes it; web only calls it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Services:
    """A service that is None is not offered: its route answers 404.

    status: the snapshot of gateway/status.py.
    sync: every node is asked at once, also one whose back-off is not over.
    """

    status: Callable[[], dict[str, Any]]
    sync: Callable[[], None] | None = None
