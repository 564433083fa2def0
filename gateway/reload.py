"""A configuration that is changed while the gateway runs: checked first, then brought about part by part, or refused
whole.

    1  the files and all that they name are read; what can be known of them is known (configured.py, `prepare`)
    2  what differs is brought about; what does not is not touched
    3  an event in the chain tells the files' SHA-256, and they are kept as the last good ones

Whatever stops the process between them, a start takes the files as they are then.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway import configured
from gateway.clock import Clock
from gateway.conditions import CONFIG_REFUSED, DRIVER_LATE, RESTART_NEEDED, Problem
from gateway.config import ConfigFile
from gateway.configured import Changes, Configured
from gateway.errors import ConfigError, FieldgateError, UnreachableError
from gateway.intake import Intake
from gateway.notify import Notifier
from gateway.settings import Settings

log = logging.getLogger(__name__)

START, RELOAD, ROLLBACK = "start", "reload", "rollback"

Answer = dict[str, Any]
Apply = Callable[[], Awaitable[None]]


@dataclass
class _Request:
    asked: str
    done: "asyncio.Future[Answer]"


class Reloader:
    """Owner of what the gateway is configured with.

    prepare: FieldgateError where a configuration cannot be brought about; what it returns does it. keep: the files are
    the last good ones; called in a thread. late: drivers that were told to end and have not. wake: set by SIGHUP, too.
    notifier: the service manager hears when a reload begins and ends.
    """

    def __init__(
        self,
        path: Path,
        started: Configured,
        intake: Intake,
        clock: Clock,
        *,
        prepare: Callable[[Configured], Awaitable[Apply]],
        keep: Callable[[Sequence[ConfigFile]], object],
        late: Callable[[], Iterable[str]],
        wake: asyncio.Event,
        notifier: Notifier,
    ) -> None:
        self._path, self._intake, self._clock = path, intake, clock
        self._prepare, self._keep, self._late, self._wake = prepare, keep, late, wake
        self._notifier = notifier
        self._started = started.settings  # what needs a restart stays as it is here
        self._now = started
        self._since_ms = 0
        self._refused: list[Problem] = []
        self._next: _Request | None = None  # of all that ask while one is under way
        self._ended = False

    # -- what is asked ------------------------------------------------------------------------------------------------

    async def ask(self, asked: str) -> Answer:
        """A reload, after the one that is under way; what came of it (docs/operations.md, Changing the configuration).

        asked: RELOAD or ROLLBACK. A caller that goes away cuts nothing short.
        """
        if self._ended:
            return _refused(asked, _stopping())
        if self._next is None:
            self._next = _Request(asked, asyncio.get_running_loop().create_future())
        elif asked == ROLLBACK:
            self._next.asked = asked
        self._wake.set()
        return await asyncio.shield(self._next.done)

    @property
    def settings(self) -> Settings:
        """What the gateway runs with."""
        return self._now.settings

    @property
    def problems(self) -> list[Problem]:
        """What a person has to know of."""
        waiting = [RESTART_NEEDED.problem(fields=", ".join(self._now.restart))] if self._now.restart else []
        return [*self._refused, *(DRIVER_LATE.problem(name) for name in self._late()), *waiting]

    def status(self) -> dict[str, Any]:
        """For status, as JSON: what the gateway runs with."""
        files = [list(one) for one in self._now.digests]
        return {"files": files, "since_ms": self._since_ms, "restart": list(self._now.restart)}

    # -- what is done -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Tells what the gateway was started with."""
        self._tell(START)

    async def run(self) -> None:
        """Reloads when it is asked to, one after the other, until cancelled."""
        request: _Request | None = None
        try:
            await self._keep_files()
            while True:
                await self._wake.wait()
                self._wake.clear()
                request, self._next = self._next, None
                request = request or _Request(RELOAD, asyncio.get_running_loop().create_future())
                self._notifier.reloading()
                try:
                    request.done.set_result(await self._reload(request.asked))
                finally:
                    self._notifier.ready()
        finally:
            self._ended = True
            for one in (request, self._next):
                if one is not None and not one.done.done():
                    one.done.set_result(_refused(one.asked, _stopping()))

    async def _reload(self, asked: str) -> Answer:
        try:
            new = await asyncio.to_thread(configured.read, self._path, self._started)  # 1
            apply = await self._prepare(new)
        except FieldgateError as error:
            return self._refuse(asked, error)
        before, changes = self._now, configured.changes(self._now, new)
        await apply()  # 2
        self._now, self._refused = new, []
        if changes or (new.files, new.restart) != (before.files, before.restart):
            self._intake.events("source-removed", ({"source": name} for name in changes.sources.stopped))
            self._tell(asked)  # 3
            await self._keep_files()
        return self._taken_over(asked, changes)

    def _refuse(self, asked: str, error: FieldgateError) -> Answer:
        faults = error.faults if isinstance(error, ConfigError) else [error]
        log.error("%s: refused, and nothing is changed: %s", asked, "; ".join(map(str, faults)))
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        self._refused = [CONFIG_REFUSED.problem(what=f"{faults[0]}{more}")]
        return _refused(asked, error)

    def _taken_over(self, asked: str, changes: Changes) -> Answer:
        told = {name: asdict(turned) for name, turned in changes._asdict().items()}
        late = list(self._late())
        log.info("%s: %s is taken over: %s", asked, self._path.name, changes)
        if self._now.restart:
            log.warning("%s: wait for a restart: %s", asked, ", ".join(self._now.restart))
        return {"asked": asked, "taken_over": True, **told, **self.status(), "late": late}

    def _tell(self, asked: str) -> None:
        self._since_ms = self._clock.now().ms
        for name, digest in self._now.digests:
            self._intake.event("configuration", file=name, sha256=digest, asked=asked)

    async def _keep_files(self) -> None:
        try:
            await asyncio.to_thread(self._keep, self._now.files)
        except FieldgateError as error:
            log.warning("%s", error)


def _refused(asked: str, error: FieldgateError) -> Answer:
    return {"asked": asked, "taken_over": False, "error": error.json()}


def _stopping() -> UnreachableError:
    return UnreachableError("the gateway is stopping", cure="Its next start takes the configuration as it is then")
