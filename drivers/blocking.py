"""A blocking call beside the event loop, with a deadline. Its thread is a daemon: one that hangs holds up no exit."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from drivers.api import DriverError
from drivers.conditions import DRIVER_HANGS

T = TypeVar("T")


class BlockingCall:
    """One call at a time: while one hangs (name look-up, a device that does not open) the next is refused."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._busy = False

    async def run(self, function: Callable[[], T], *, timeout_s: float, abandon: Callable[[T], object]) -> T:
        """What `function` gives or raises; TimeoutError after `timeout_s`.

        A result that comes after a timeout or a cancellation is handed to `abandon`, which lets go of it.
        """
        if self._busy:
            what = f"{self._name}: the attempt before this one still hangs"
            raise DriverError(what, "Wait; if it lasts, restart", DRIVER_HANGS)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def deliver(result: T) -> None:
            if future.done():
                abandon(result)
            else:
                future.set_result(result)

        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def work() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  raised again where it is awaited
                self._busy = False
                _hand_over(loop, fail, error, _ignore)
            else:
                self._busy = False
                _hand_over(loop, deliver, result, abandon)

        self._busy = True
        threading.Thread(target=work, name=self._name, daemon=True).start()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except BaseException:
            # A cancellation may come between the result and the turn of whoever waits for it.
            if future.done() and not future.cancelled() and future.exception() is None:
                abandon(future.result())
            raise


def _hand_over(
    loop: asyncio.AbstractEventLoop, give: Callable[[T], None], what: T, abandon: Callable[[T], object]
) -> None:
    try:
        loop.call_soon_threadsafe(give, what)
    except RuntimeError:  # the loop is closed: nobody waits any more
        abandon(what)


def _ignore(_: object) -> None:
    pass
