"""Keeps one driver running: the world's failures are tried again, a bug is parked; neither harms another driver."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from drivers.api import Driver, DriverError, Item, Link
from drivers.conditions import DRIVER_PARKED

log = logging.getLogger(__name__)

_FIRST_S, _MOST_S = 1.0, 60.0


class Supervisor:
    """Runs one driver until it is cancelled or comes to its end. `parked`: the bug after which it is not run again."""

    def __init__(
        self,
        driver: Driver,
        emit: Callable[[Sequence[Item]], "asyncio.Future[None]"],
        *,
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.driver = driver
        self.parked: str | None = None
        self._emit = emit
        self._monotonic = monotonic
        self._rng = rng

    async def run(self) -> None:
        """Runs the driver again and again, pausing longer each time it fails soon (full jitter, at most 60 s)."""
        pause_s = _FIRST_S
        while True:
            began = self._monotonic()
            try:
                await self.driver.run(self._emit)
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._park(RuntimeError("it cancelled itself"))
                return
            except DriverError as error:
                failed = error
            except Exception as error:  # noqa: BLE001 -- a driver's bug must not take the gateway with it
                self._park(error)
                return
            if self._monotonic() - began > _MOST_S:
                pause_s = _FIRST_S
            what, cure = failed.what, failed.cure
            log.debug("%s: %s", self.driver.name, f"{what}. {cure}" if cure else what)
            self._emit([Link(up=False, detail=what, cure=cure, condition=failed.condition, values=failed.values)])
            await asyncio.sleep(self._rng.uniform(pause_s / 2, pause_s))
            pause_s = min(_MOST_S, pause_s * 2)

    def _park(self, error: Exception) -> None:
        self.parked = f"{type(error).__name__}: {error}"
        log.debug("%s: parked after a bug", self.driver.name, exc_info=error)
        told, cure = f"parked after a bug ({self.parked})", "Restart the gateway, and report this"
        values = {"detail": self.parked}
        self._emit([Link(up=False, detail=told, cure=cure, condition=DRIVER_PARKED, values=values)])
