"""Modbus over TCP: devices, and gateways to many of them. The sources of one address are one driver."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from msgspec import Meta

from drivers.asking import Line
from drivers.codecs.modbus import check
from drivers.kinds import Kind
from drivers.limits import MODBUS_REGISTERS
from drivers.modbus import AtOnce, Member, ModbusBus, RegisterNumbers, Values
from drivers.network import check_tcp, open_tcp
from drivers.polls import AnswerTime, PollDriver, PolledOptions, Retries
from drivers.streams import Address


class ModbusTcpOptions(PolledOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "modbus_tcp"."""

    tcp: Annotated[Address, Meta(title="host:port of the device or gateway; Modbus's own port is 502")]
    slave: Annotated[int, Meta(ge=0, le=255, title="Unit identifier: which device behind a gateway")] = 1
    numbering: RegisterNumbers
    values: Values
    framing: Annotated[Literal["tcp", "rtu"], Meta(title="rtu: serial frames, through a plain serial server")] = "tcp"
    registers_at_once: AtOnce = MODBUS_REGISTERS
    timeout_s: AnswerTime = 2
    retries: Retries = 1
    pause_ms: Annotated[int, Meta(ge=0, le=1_000, title="Silence before a question")] = 0

    def __post_init__(self) -> None:
        fault = check_tcp(self.tcp)
        if fault:
            raise ValueError(fault)
        check(self.values, self.numbering, self.registers_at_once)


def _driver(members: Mapping[str, ModbusTcpOptions], *, now: Callable[[], float | None] | None = None) -> PollDriver:
    name = f"modbus_tcp-{next(iter(members))}"
    first = next(iter(members.values()))
    line = Line(name, first.tcp, functools.partial(open_tcp, first.tcp))
    wanted = {
        source: Member(
            slave=one.slave,
            values=one.values,
            numbering=one.numbering,
            at_once=one.registers_at_once,
            timeout_s=one.timeout_s,
            retries=one.retries,
            pause_s=one.pause_ms / 1000,
        )
        for source, one in members.items()
    }
    return PollDriver(name, members, ModbusBus(line, wanted, first.framing, connection=True))


def _address(options: ModbusTcpOptions) -> str:
    return options.tcp.lower()


KIND = Kind(
    "modbus_tcp",
    "Modbus devices over TCP",
    "poll",
    ModbusTcpOptions,
    driver=_driver,
    bus=_address,
    shared=("framing",),
    examples={
        "chiller": {
            "tcp": "chiller.example:502",
            "numbering": "modicon",
            "values": {
                "supply": {"register": 30_001, "type": "int16", "scale": 0.1, "unit": "Cel"},
                "alarm": {"register": 10_001},
            },
        }
    },
)
