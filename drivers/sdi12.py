"""SDI-12 sensors behind a transparent serial adapter, which makes the break. The sources of one port are one driver."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, field

from drivers.asking import Line
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.sdi12 import Announced, SdiReader, SdiTable, SdiValue, announced, values
from drivers.codecs.values import Unfit, ValueName, check_values
from drivers.framing import NOISE, LineFramer
from drivers.kinds import Kind
from drivers.limits import EXAMPLE_BYTES, LINE_BYTES, SDI12_LINE_BYTES, SDI12_WAIT_S
from drivers.polled_port import SETTINGS, PolledPortOptions, bus
from drivers.polls import Answer, AnswerTime, PollDriver
from drivers.serial_port import open_port
from drivers.streams import Parity

T = TypeVar("T")
RECORDED = "/dev/null"
_MASK = bytes(byte & 0x7F for byte in range(256))
_CURE = "Check its address, wires and 12 V, and that the adapter makes the break"


class Sdi12Options(PolledPortOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "sdi12"."""

    baud: Annotated[int, Meta(ge=50, le=4_000_000, title="Bits a second, of the adapter's serial side")] = 1_200
    bytesize: Annotated[Literal[7, 8], Meta(title="Data bits, as the adapter has them")] = 7
    parity: Parity = "even"
    timeout_s: AnswerTime = 2
    address: Annotated[
        str, Meta(pattern=r"^[0-9A-Za-z]\Z", description="one digit or letter", title="The sensor's address on the bus")
    ]
    command: Annotated[
        str,
        Meta(
            pattern=r"^[MC]C?[1-9]?\Z",
            description="M, C, MC or CC, and perhaps 1 to 9",
            title="M measures, C measures while others are asked; a C behind it asks for a checksum",
        ),
    ] = "M"
    values: Annotated[
        dict[ValueName, SdiValue], Meta(title="Its values, by the names that they have in the reading")
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values or self.port != RECORDED:
            check_values(self.values)


class _Failed(Exception):
    """No measurement. refused: what came and was none."""

    def __init__(self, what: str, refused: Refused | None = None) -> None:
        super().__init__(what)
        self.refused = refused


class Sdi12Bus:
    """The Bus of one port. A measurement keeps it: another command would end it (4.4.5)."""

    def __init__(self, line: Line, members: Mapping[str, Sdi12Options]) -> None:
        self._line, self._members = line, members
        self._tables = {source: SdiTable(one.values) for source, one in members.items()}
        self._heard = b""

    async def open(self) -> None:
        """DriverError where the port cannot be opened."""
        await self._line.open()

    async def close(self) -> None:
        """Lets go of the port."""
        self._line.close()

    async def poll(self, source: str, *, brief: bool) -> Answer:
        """One measurement of a sensor."""
        options = self._members[source]
        refused: list[Found | Refused] = []
        what = ""
        for _ in range(1 if brief else 1 + options.retries):
            try:
                found = await self._measured(options, self._tables[source])
            except _Failed as failed:
                what = f"sensor {options.address}: {failed}"
                if failed.refused:
                    refused.append(failed.refused)
            else:
                return Answer([*refused, found], True, f"sensor {options.address} answers on {self._line.what}")
        return Answer(refused, False, what, silent=True)

    async def _measured(self, options: Sdi12Options, table: SdiTable) -> Found:
        address = options.address.encode("ascii")
        line = await self._asked(address + options.command.encode("ascii") + b"!", options.timeout_s)
        told = self._read(line, announced)
        if told.address != options.address:
            raise _Failed(f"sensor {told.address} answers in its place", Refused("no_match", line[:EXAMPLE_BYTES]))
        if told.seconds > SDI12_WAIT_S:
            raise _Failed(f"a measurement takes {told.seconds} s, and at most {SDI12_WAIT_S:g} are waited for")
        await self._wait(options, told, address)
        numbers: list[float] = []
        raw = [line]
        checked = "C" in options.command[1:]
        for number in range(10):
            line = await self._asked(address + b"D%d!" % number, options.timeout_s)
            if line[:1] != address:
                raise _Failed("another sensor answers", Refused("no_match", line[:EXAMPLE_BYTES]))
            came = self._read(line, functools.partial(values, checked=checked))
            raw.append(line)
            numbers += came
            if not came or len(numbers) >= told.values:
                break
        return self._read(b"\n".join(raw), lambda whole: table.found(numbers[: told.values], whole))

    async def _wait(self, options: Sdi12Options, told: Announced, address: bytes) -> None:
        """Until the sensor asks for service, or its time is over; a concurrent measurement asks for none."""
        if not told.seconds:
            return
        if options.command[0] == "C":
            await asyncio.sleep(told.seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(told.seconds):
                while await self._answer() != address:
                    pass

    async def _asked(self, command: bytes, timeout_s: float) -> bytes:
        """The line that answers."""
        self._line.stale()
        self._heard = b""
        try:
            async with asyncio.timeout(timeout_s):
                await self._line.write(command)
                while not (line := (await self._answer()).removeprefix(command)):
                    pass  # the adapter hears itself
        except TimeoutError:
            heard = Refused("noise", self._heard[:EXAMPLE_BYTES]) if self._heard.strip(NOISE) else None
            raise _Failed(f"no answer to {command.decode('ascii')} within {timeout_s:g} s. {_CURE}", heard) from None
        return line

    async def _answer(self) -> bytes:
        """The next line."""
        while b"\n" not in self._heard:
            self._heard = (self._heard + (await self._line.read()).translate(_MASK))[-SDI12_LINE_BYTES:]
        line, _, self._heard = self._heard.partition(b"\n")
        return line.strip(NOISE + b"\r ")

    def _read(self, line: bytes, function: Callable[[bytes], T]) -> T:
        try:
            return function(line)
        except Unfit as unfit:
            refused = Refused(unfit.reason, line[:EXAMPLE_BYTES], unfit.detail)
            raise _Failed(f"an answer that is none ({unfit.reason}). {_CURE}", refused) from None


def _driver(members: Mapping[str, Sdi12Options], *, now: Callable[[], float | None] | None = None) -> PollDriver:
    name = f"sdi12-{next(iter(members))}"
    first = next(iter(members.values()))
    return PollDriver(name, members, Sdi12Bus(Line(name, first.port, functools.partial(open_port, first)), members))


def codec(options: Sdi12Options, *, drop_first: bool = False) -> Framed:
    """Of a recorded bus. Without values every value is one: v1, v2 ..., of the sensor that the address names."""
    framer = LineFramer(limit=LINE_BYTES, drop_first=drop_first)
    return Framed(framer, SdiReader(options.values), mask_bit7=True)


KIND = Kind(
    "sdi12",
    "SDI-12 sensors behind a serial adapter",
    "poll",
    Sdi12Options,
    codec,
    _driver,
    recorded={"port": RECORDED, "address": "0"},
    bus=bus,
    shared=SETTINGS,
    examples={
        "soil-30cm": {
            "port": "/dev/serial/by-id/usb-FTDI_SDI-12_USB_Adapter_A10K2X-if00-port0",
            "every_s": 600,
            "address": "0",
            "command": "MC",
            "values": {
                "moisture": {"index": 1, "unit": "/", "scale": 0.01},
                "temp": {"index": 2, "unit": "Cel"},
            },
        }
    },
)
