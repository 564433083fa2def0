"""Modbus over a serial port, RTU or ASCII. The sources of one port are one driver."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, field

from drivers.asking import Line
from drivers.codecs.base import Framed
from drivers.codecs.modbus import check
from drivers.codecs.modbus_rtu import RtuFramer, RtuReader
from drivers.kinds import Kind
from drivers.limits import MODBUS_REGISTERS
from drivers.modbus import AtOnce, Member, ModbusBus, RegisterNumbers, Values
from drivers.polled_port import SETTINGS, PolledPortOptions, bus
from drivers.polls import PollDriver
from drivers.serial_port import open_port

RECORDED = "/dev/null"
SILENCE_CHARACTERS, SILENCE_S = 3.5, 0.00175  # between two frames; above 19,200 baud fixed (Serial Line V1.02, 2.5.1.1)
CHARACTER_BITS = 11


class ModbusRtuOptions(PolledPortOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "modbus_rtu"."""

    slave: Annotated[int, Meta(ge=1, le=247, title="The device's address on the bus")]
    numbering: RegisterNumbers
    values: Values = field(default_factory=dict)
    framing: Annotated[Literal["rtu", "ascii"], Meta(title="ascii has 7 data bits, mostly")] = "rtu"
    registers_at_once: AtOnce = MODBUS_REGISTERS
    pause_ms: Annotated[
        int, Meta(ge=0, le=1_000, title="More silence before a question than the 3.5 characters of the standard")
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytesize == 7 and self.framing == "rtu":
            raise ValueError('RTU needs bytesize 8. A device with 7 data bits speaks ASCII: framing = "ascii"')
        if self.values or self.port != RECORDED:
            check(self.values, self.numbering, self.registers_at_once)


def _driver(members: Mapping[str, ModbusRtuOptions], *, now: Callable[[], float | None] | None = None) -> PollDriver:
    name = f"modbus_rtu-{next(iter(members))}"
    first = next(iter(members.values()))
    silence_s = max(SILENCE_CHARACTERS * CHARACTER_BITS / first.baud, SILENCE_S)
    line = Line(name, first.port, functools.partial(open_port, first))
    wanted = {
        source: Member(
            slave=one.slave,
            values=one.values,
            numbering=one.numbering,
            at_once=one.registers_at_once,
            timeout_s=one.timeout_s,
            retries=one.retries,
            pause_s=silence_s + one.pause_ms / 1000,
        )
        for source, one in members.items()
    }
    return PollDriver(name, members, ModbusBus(line, wanted, first.framing, connection=False))


def codec(options: ModbusRtuOptions, *, drop_first: bool = False) -> Framed:
    """Of recorded traffic. Without values every register of every answer is one: r0, r1 ..., or c0, c1 ... for bits."""
    return Framed(RtuFramer(), RtuReader(options.values, options.numbering, options.slave))


KIND = Kind(
    "modbus_rtu",
    "Modbus devices on a serial port",
    "poll",
    ModbusRtuOptions,
    codec,
    _driver,
    recorded={"port": RECORDED, "slave": 1, "numbering": "zero"},
    bus=bus,
    shared=(*SETTINGS, "framing"),
    examples={
        "probe": {
            "port": "/dev/serial/by-id/usb-FTDI_USB-RS485_Cable_FT3X9LQ1-if00-port0",
            "every_s": 60,
            "slave": 5,
            "numbering": "zero",
            "values": {
                "temp": {"register": 1, "type": "int16", "scale": 0.1, "unit": "Cel", "sentinels": [0x7FFF]},
            },
        }
    },
)
