"""Feeds the service manager's watchdog for as long as something can be made durable, and asks it for time.

A disk that hangs, a thread of SQLite that hangs, an event loop that turns too late: none of them feeds it, and the
service manager ends the process and starts it anew (sd_watchdog_enabled(3)).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.core import limits
from gateway.errors import StoreFullError
from gateway.notify import Notifier

_LOOK_S: Final = 10.0
_LOOKS: Final = 8  # within the watchdog's time, at least
_ASKED_S: Final = 30.0  # more time at once, while a start or stop goes on
_ASK_EVERY_S: Final = 10.0


class Watchdog:
    """Looks every few seconds: tells `headline`, and feeds the watchdog where it may.

    commits: how many there were; one more is proof enough. probe: a transaction of its own that is durable when it
    returns; asked for where no commit came for half of the watchdog's time, so at most twice within it. stuck: a commit
    has begun and does not end.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        commits: Callable[[], int],
        probe: Callable[[], Awaitable[None]],
        stuck: Callable[[], bool],
        headline: Callable[[], str],
    ) -> None:
        self._notifier = notifier
        self._commits, self._probe, self._stuck, self._headline = commits, probe, stuck, headline
        self._counted = commits()
        self._fed_at = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Until cancelled; returns at once where nobody listens. Raises what `probe` raises but for want of room."""
        if not self._notifier.heard:
            return
        loop, within_s = asyncio.get_running_loop(), self._notifier.watchdog_s
        every_s = min(_LOOK_S, within_s / _LOOKS) if within_s else _LOOK_S
        while True:
            self._notifier.status(self._headline())
            due = loop.time() + every_s
            await asyncio.sleep(every_s)
            if within_s and loop.time() - due <= limits.WATCHDOG_LAG_S:
                await self._feed(loop, within_s)

    async def _feed(self, loop: asyncio.AbstractEventLoop, within_s: float) -> None:
        if self._stuck():
            return
        if self._commits() == self._counted:
            if loop.time() - self._fed_at < within_s / 2:
                return
            with suppress(StoreFullError):  # the store answers: that there is no room is told, and no restart makes any
                await self._probe()
        self._counted, self._fed_at = self._commits(), loop.time()
        self._notifier.alive()


@asynccontextmanager
async def patience(notifier: Notifier, most_s: float) -> AsyncIterator[Callable[[], object]]:
    """Asks for more time meanwhile, for so long at most. What it gives ends that earlier."""
    task = asyncio.create_task(_ask(notifier, most_s), name="patience")
    try:
        yield task.cancel
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _ask(notifier: Notifier, most_s: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + most_s
    while notifier.heard and loop.time() < until:
        notifier.extend(_ASKED_S)
        await asyncio.sleep(_ASK_EVERY_S)


def wait_on(notifier: Notifier, why: str) -> None:
    """The start waits for something that may take for ever; told again and again while it does."""
    notifier.status(why)
    notifier.extend(_ASKED_S)
