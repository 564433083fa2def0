"""Tells the service manager how this daemon does: the protocol of sd_notify(3), a datagram a message.

Where no service manager listens nothing is sent. No method raises: a daemon that cannot be heard goes on.
"""

import logging
import os
import socket
import time
from typing import Final

from gateway.core.limits import NOTIFY_STATUS_CHARS
from gateway.core.text import plain

log = logging.getLogger(__name__)

_TOLD_S: Final = 1.0  # for a message that is sent once to be taken


class Notifier:
    """One daemon's words to its service manager.

    address: a socket's path, or `@` and the name of an abstract one; empty: nobody listens. watchdog_s: how long the
    manager waits for `alive` before it ends the process; 0: it does not.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address[:1] == "@" else address
        self.watchdog_s = watchdog_s if self.heard else 0.0
        self._status = ""
        self._failed = ""

    @property
    def heard(self) -> bool:
        """Whether there is somebody to tell."""
        return self._address[:1] in {"/", "\0"}

    def ready(self) -> None:
        """It runs: after the start, and after a reload."""
        self._send("READY=1", _TOLD_S)

    def reloading(self) -> None:
        """Its configuration is being taken over; `ready` ends it, whatever came of it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}", _TOLD_S)

    def stopping(self) -> None:
        """It has begun to stop."""
        self._send("STOPPING=1", _TOLD_S)

    def status(self, text: str) -> None:
        """One sentence of how it does. Sent where it is another than before."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={plain(text)[:NOTIFY_STATUS_CHARS]}")

    def alive(self) -> None:
        """Feeds the watchdog."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """The start or the stop takes longer: the manager hears again within so many seconds, or gives up."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def _send(self, message: str, wait_s: float = 0.0) -> None:
        if not self.heard:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(wait_s)
                sock.sendto(message.encode("utf-8", "replace"), self._address)
            self._failed = ""
        except (OSError, ValueError) as error:  # the latter: a NUL in a path
            self._tell(error)

    def _tell(self, error: OSError | ValueError) -> None:
        """Once for each way to fail."""
        what = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        if what != self._failed:
            log.warning("the service manager cannot be told anything: %s", what)
        self._failed = what
