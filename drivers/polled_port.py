"""Polled sources on a serial port: those of one port are one driver, and say the same of it."""

from typing import Annotated, Literal

from msgspec import Meta

from drivers.polls import AnswerTime, PolledOptions, Retries
from drivers.port_paths import check_port
from drivers.streams import Baud, Dtr, Parity, PortPath, Rts, StopBits

SETTINGS = ("baud", "bytesize", "parity", "stopbits", "dtr", "rts")


class PolledPortOptions(PolledOptions, kw_only=True, frozen=True):
    """Options of a source that is polled over a serial port."""

    port: Annotated[
        PortPath, Meta(title="A serial port, by a path that stays. Sources may share one, and its settings")
    ]
    baud: Baud = 9_600
    bytesize: Annotated[Literal[7, 8], Meta(title="Data bits, as the device has them")] = 8
    parity: Parity = "none"
    stopbits: StopBits = 1
    dtr: Dtr = "on"
    rts: Rts = "on"
    timeout_s: AnswerTime = 1
    retries: Retries = 1

    def __post_init__(self) -> None:
        fault = check_port(self.port)
        if fault:
            raise ValueError(fault)


def bus(options: PolledPortOptions) -> str:
    """The port, by the name that all its sources give it."""
    return options.port
