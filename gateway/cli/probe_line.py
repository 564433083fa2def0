"""A serial port as probing uses it: opened at a setting, heard for a while, written a few bytes."""

import contextlib
import os
import select
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from drivers.api import DriverError
from drivers.limits import HEARD_BYTES
from drivers.port_paths import stable_name
from drivers.serial_port import PortWire, open_port
from drivers.wires import Gone
from gateway.errors import InUseError, UnreachableError

_WAITED_S = 0.25  # of silence, after which what was heard is judged


@dataclass(frozen=True)
class Setting:
    """How a port is opened."""

    port: str
    baud: int
    parity: str = "none"
    bytesize: int = 8
    stopbits: int = 1
    dtr: str = "on"
    rts: str = "on"

    def __str__(self) -> str:
        return f"{self.baud} baud {self.bytesize}{self.parity[0].upper()}{self.stopbits}"

    def table(self) -> dict[str, Any]:
        """As options of a stream; what every driver has by default is left to be seen all the same."""
        given: dict[str, Any] = {"port": stable_name(self.port), "baud": self.baud}
        if self.bytesize != 8:
            given["bytesize"] = self.bytesize
        if self.parity != "none":
            given["parity"] = self.parity
        return given


@contextlib.contextmanager
def opened(setting: Setting) -> Iterator[PortWire]:
    """The port, for this process alone, until the end of the block."""
    try:
        wire = open_port(setting)
    except Gone as error:
        raise UnreachableError(error.what, cure=error.cure) from error
    except DriverError as error:
        raised = InUseError if "in use" in error.what else UnreachableError
        raise raised(error.what, cure=error.cure) from error
    try:
        with contextlib.suppress(termios.error):
            termios.tcflush(wire.fileno(), termios.TCIFLUSH)
        yield wire
    except DriverError as error:
        raise UnreachableError(error.what, cure=error.cure) from error
    finally:
        wire.close()


def hear(wire: PortWire, seconds: float, enough: Callable[[bytes], bool] | None = None) -> bytes:
    """Blocking. What comes within so many seconds, HEARD_BYTES at most, or until it is `enough`."""
    data, deadline = bytearray(), time.monotonic() + seconds
    judged = 0
    while len(data) < HEARD_BYTES and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([wire.fileno()], [], [], min(left, _WAITED_S))
        if ready:
            data += wire.read().data
        if enough is not None and len(data) > judged and (not ready or len(data) > 2 * judged + 256):
            judged = len(data)
            if enough(bytes(data)):
                break
    return bytes(data)


def say(wire: PortWire, data: bytes) -> None:
    """Blocking, for a few bytes. DriverError where the port is gone."""
    try:
        os.write(wire.fileno(), data)
        termios.tcdrain(wire.fileno())
    except (OSError, termios.error) as error:
        raise DriverError("the port cannot be written to", "Is the adapter still plugged in?") from error
