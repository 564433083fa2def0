"""Polled sources on a serial port: those of one port are one driver, and say the same of it."""

from typing import Annotated, Literal

from msgspec import Meta

from drivers.polls import PolledOptions
from drivers.port_paths import check_port
from drivers.streams import Pin, PortPath

SETTINGS = ("baud", "bytesize", "parity", "stopbits", "dtr", "rts")


class PolledPortOptions(PolledOptions, kw_only=True, frozen=True):
    """Options of a source that is polled over a serial port."""

    port: PortPath  # by a path that stays
    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 9_600
    bytesize: Literal[7, 8] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stopbits: Literal[1, 2] = 1
    dtr: Pin = "on"  # the pin DTR while the port is open; keep: as the system has it
    rts: Pin = "on"
    timeout_s: Annotated[float, Meta(ge=0.02, le=30)] = 1  # from a question to the end of its answer
    retries: Annotated[int, Meta(ge=0, le=5)] = 1  # further tries of a device that answered last time

    def __post_init__(self) -> None:
        fault = check_port(self.port)
        if fault:
            raise ValueError(fault)


def bus(options: PolledPortOptions) -> str:
    """The port, by the name that all its sources give it."""
    return options.port
