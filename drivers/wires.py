"""What brings the bytes of a stream: a serial port, a TCP connection, a UDP socket. They are opened beside the loop."""

from collections.abc import Hashable
from typing import NamedTuple, Protocol

from drivers.api import DriverError


class Chunk(NamedTuple):
    """Bytes as they came, perhaps none. Those of one `peer` are one stream; `missed`: datagrams the kernel dropped."""

    data: bytes
    peer: Hashable = None
    missed: int = 0


class Gone(DriverError):
    """The device is not there, or no more. The same path is opened again until it is."""


class Wire(Protocol):
    """Open, and it does not block. `datagrams`: a chunk never begins within a frame, and nothing need be reopened."""

    detail: str  # for a technician: "reads /dev/ttyS0"
    datagrams: bool

    def fileno(self) -> int:
        """To wait on."""
        ...

    def read(self) -> Chunk:
        """What has arrived. Gone, or another DriverError, where nothing comes any more."""
        ...

    def close(self) -> None:
        """Lets go of it. Raises nothing."""
        ...
