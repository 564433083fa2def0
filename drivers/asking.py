"""A wire that is asked and answers: written to and read from by one task, which the event loop wakes."""

import asyncio
import functools
import os
import select
from collections.abc import Callable

from drivers.api import DriverError
from drivers.blocking import BlockingCall
from drivers.conditions import NETWORK_AWAY, PORT_FAILED
from drivers.limits import READ_BYTES
from drivers.wires import Gone, Wire

OPEN_S = 10.0


class Line:
    """A wire that is opened when it is needed. `open` gives the wire and blocks: it runs beside the loop."""

    def __init__(self, name: str, what: str, open_: Callable[[], Wire]) -> None:
        self.what = what
        self._open = open_
        self._opening = BlockingCall(name)
        self._wire: Wire | None = None

    async def open(self) -> None:
        """Opens it where it is not open. DriverError where that cannot be."""
        if self._wire is None:
            try:
                self._wire = await self._opening.run(self._open, timeout_s=OPEN_S, abandon=lambda wire: wire.close())
            except TimeoutError as error:
                cure = "Check the cable and the power of what is between gateway and devices"
                raise self._failed(DriverError, f"does not open within {OPEN_S:.0f} s", cure) from error

    def close(self) -> None:
        """Lets go of it."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def stale(self) -> bytes:
        """What has come since the last read, and answers nothing. DriverError where the wire is gone."""
        wire, found = self._now(), b""
        waiting = select.poll()
        waiting.register(wire.fileno(), select.POLLIN)
        while len(found) < READ_BYTES and waiting.poll(0):
            found += wire.read().data
        return found

    async def read(self) -> bytes:
        """What comes next, at least one byte. DriverError where the wire is gone."""
        loop = asyncio.get_running_loop()
        wire = self._now()
        fd = wire.fileno()
        while True:  # a port that is read while nothing is there says the same as one that is gone
            await _woken(functools.partial(loop.add_reader, fd), functools.partial(loop.remove_reader, fd))
            if data := wire.read().data:
                return data

    async def write(self, data: bytes) -> None:
        """All of it. DriverError where the wire is gone."""
        loop = asyncio.get_running_loop()
        fd = self._now().fileno()
        while True:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                pass
            except OSError as error:
                why = f"cannot be written to: {error.strerror}"
                raise self._failed(Gone, why, "Check it and its cable") from error
            if not data:
                return
            await _woken(functools.partial(loop.add_writer, fd), functools.partial(loop.remove_writer, fd))

    def _now(self) -> Wire:
        if self._wire is None:
            raise self._failed(Gone, "is not open")
        return self._wire

    def _failed(self, kind: type[DriverError], why: str, cure: str = "") -> DriverError:
        if self.what.startswith("/"):
            return kind(f"{self.what} {why}", cure, PORT_FAILED, port=self.what, detail=f"it {why}")
        return kind(f"{self.what} {why}", cure, NETWORK_AWAY, at=self.what, detail=f"it {why}")


async def _woken(add: Callable[[Callable[[], None]], object], remove: Callable[[], object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    add(wake)
    try:
        await ready
    finally:
        remove()
