"""The other side of an `Emit`: keeps what a driver hands over, and says when it is durable."""

import asyncio
import time
from collections.abc import Callable, Sequence

from drivers.api import Dropped, Item, Link, Reject, Sample, SessionLost

PATIENCE_S = 10.0


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Returns when the condition holds; AssertionError after `patience_s`."""
    deadline = time.monotonic() + patience_s
    await asyncio.sleep(0)
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        await asyncio.sleep(0.005)


class Collector:
    """Its `emit` gives one future for all that was handed over since the last `commit`, like the journal.

    durable: every hand-over commits itself at once; sessions: one that tells of a lost session does.
    """

    def __init__(self, *, durable: bool = True, sessions: bool = True) -> None:
        self.items: list[Item] = []
        self.calls: list[list[Item]] = []
        self.durable = durable
        self.sessions = sessions
        self._open: asyncio.Future[None] | None = None

    def emit(self, items: Sequence[Item]) -> "asyncio.Future[None]":
        assert items, "nothing was handed over"
        self.items += items
        self.calls.append(list(items))
        if self._open is None:
            self._open = asyncio.get_running_loop().create_future()
        future = self._open
        if self.durable or (self.sessions and any(isinstance(item, SessionLost) for item in items)):
            self.commit()
        return future

    def commit(self) -> None:
        """All that was handed over is durable."""
        future, self._open = self._open, None
        if future is not None:
            future.set_result(None)

    @property
    def samples(self) -> list[Sample]:
        return [item for item in self.items if isinstance(item, Sample)]

    @property
    def rejects(self) -> list[Reject]:
        return [item for item in self.items if isinstance(item, Reject)]

    @property
    def links(self) -> list[Link]:
        return [item for item in self.items if isinstance(item, Link)]

    @property
    def lost_sessions(self) -> list[SessionLost]:
        return [item for item in self.items if isinstance(item, SessionLost)]

    @property
    def dropped(self) -> list[Dropped]:
        return [item for item in self.items if isinstance(item, Dropped)]

    async def up(self) -> None:
        """Returns when the driver says that it is connected."""
        await until(lambda: any(link.up for link in self.links))

    async def count(self, samples: int) -> None:
        """Returns when so many samples have come."""
        await until(lambda: len(self.samples) >= samples)
