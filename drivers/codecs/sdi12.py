"""SDI-12: what sensors answer, with and without CRC, and recorded lines of it (SDI-12 1.4, 4.4).

0M!     00132      address 0 has 2 values in 13 s
0D0!    0+3.14-2.7
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta

from drivers.api import OUT_OF_RANGE, Record
from drivers.codecs.base import Found, Refused
from drivers.codecs.values import Field, Offset, Scale, Table, Unfit, Unit, ValueMap
from drivers.limits import EXAMPLE_BYTES, SDI12_VALUES

SENTINELS = (-9999.0, -9992.0, -9991.0, -9990.0)
"""What many sensors send for "no value", "beyond the range" and "not calibrated"."""

_ANNOUNCED = re.compile(rb"([0-9A-Za-z])([0-9]{3})([0-9]{1,2})")
_VALUES = re.compile(rb"(?:[+-](?:[0-9]+\.?[0-9]*|\.[0-9]+))*")
_VALUE = re.compile(rb"[+-][0-9.]+")
_COMMAND = re.compile(rb"([0-9A-Za-z?])([A-Za-z][0-9A-Za-z]*)?!")


class SdiValue(Table, kw_only=True, frozen=True):
    """One value of a sensor, by its place in the answer. The reading carries `value * scale + offset`."""

    index: Annotated[int, Meta(ge=1, le=SDI12_VALUES, title="Its place in the answer; 1 is the first")]
    unit: Unit | None = None
    scale: Scale = 1.0
    offset: Offset = 0.0
    sentinels: Annotated[tuple[float, ...], Meta(title='What the sensor sends for "no value"')] = SENTINELS

    def __post_init__(self) -> None:
        ValueMap(scale=self.scale, offset=self.offset)


class Announced(NamedTuple):
    """The answer to a measurement command: so many values, in so many seconds at the latest."""

    address: str
    seconds: int
    values: int


def announced(line: bytes) -> Announced:
    """`atttn` or `atttnn`. Unfit where it is none."""
    match = _ANNOUNCED.fullmatch(line)
    if match is None:
        raise Unfit("no_match", "no atttn: an address, three digits of seconds, the number of values")
    return Announced(match[1].decode("ascii"), int(match[2]), int(match[3]))


def crc(data: bytes) -> bytes:
    """The three characters of a CRC, over all from the address on (4.4.12)."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return bytes([0x40 | value >> 12, 0x40 | value >> 6 & 0x3F, 0x40 | value & 0x3F])


def values(line: bytes, *, checked: bool | None) -> list[float]:
    """The values of a line of data, without its CR LF. Unfit: checksum, or no_match.

    checked: whether it ends in a CRC; None: it may.
    """
    if not line or not chr(line[0]).isalnum() or line[0] > 0x7F:
        raise Unfit("no_match", "data begins with an address")
    plain = _VALUES.fullmatch(line, 1)
    if checked or (checked is None and plain is None and len(line) > 3):
        body, found = line[:-3], line[-3:]
        if len(line) < 4 or crc(body) != found:
            raise Unfit("checksum" if len(line) >= 4 and all(0x40 <= one < 0x80 for one in found) else "no_match")
        line, plain = body, _VALUES.fullmatch(body, 1)
    if plain is None:
        raise Unfit("no_match", "data is an address, and values that begin with + or -")
    return [float(one) for one in _VALUE.findall(line, 1)]


class SdiTable:
    """Values by their places to records, by a table; without one all of them: v1, v2 and on."""

    def __init__(self, table: Mapping[str, SdiValue]) -> None:
        self._every = not table
        self._fields = [
            (
                one.index,
                Field(name, ValueMap(unit=one.unit, scale=one.scale, offset=one.offset, sentinels=one.sentinels)),
            )
            for name, one in table.items()
        ]

    def found(self, numbers: Sequence[float], raw: bytes, device: str = "") -> Found:
        """The reading. Unfit where a value of the table is not there."""
        fields = self._fields
        if self._every:
            fields = [(at + 1, Field(f"v{at + 1}", ValueMap(sentinels=SENTINELS))) for at in range(len(numbers))]
        records: list[Record] = []
        quality = 0
        for index, field in fields:
            if index > len(numbers):
                raise Unfit("missing_value", f"{field.name} is value {index}, and {len(numbers)} came")
            if not field.put(numbers[index - 1], records):
                quality = OUT_OF_RANGE
        if not records and not quality:
            raise Unfit("missing_value", "the sensor has no values")
        return Found(records, quality=quality, raw=raw, device=device)


class SdiReader:
    """The FrameReader of a recorded bus: lines of answers, with or without the commands before them.

    Lines of data belong together until there are as many values as were announced.
    """

    def __init__(self, table: Mapping[str, SdiValue]) -> None:
        self._table = SdiTable(table)
        self._wanted: dict[str, int] = {}
        self._checked: dict[str, bool] = {}
        self._numbers: dict[str, list[float]] = {}
        self._raw: dict[str, bytes] = {}

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        """One line."""
        refused: list[Found | Refused] = []
        command, at = "", 0
        while match := _COMMAND.match(frame, at):
            at = match.end()
            command = (match[2] or b"").decode("ascii")
            refused += self._asked(match[1].decode("ascii"), command)
        line = frame[at:].strip(b" \t")
        if not line or (command and command[0] not in "MCDRV"):
            return refused
        address = chr(line[0])
        if not command.startswith(("D", "R")) and _ANNOUNCED.fullmatch(line):
            self._wanted[address] = announced(line).values
            return refused
        if len(line) == 1 and address.isalnum():  # a service request
            return refused
        return [*refused, *self._data(address, line)]

    def _asked(self, address: str, command: str) -> list[Refused]:
        """A new measurement ends the one before."""
        if command[:1] in ("M", "C", "V"):
            self._checked[address] = "C" in command[1:]
            self._wanted.pop(address, None)
            return self._dropped(address)
        if command[:1] == "R":
            self._checked[address] = "C" in command[1:]
            self._wanted.pop(address, None)
        return []

    def _dropped(self, address: str) -> list[Refused]:
        raw = self._raw.pop(address, b"")
        self._numbers.pop(address, None)
        return [Refused("incomplete", raw[:EXAMPLE_BYTES], "fewer values than were announced", address)] if raw else []

    def _data(self, address: str, line: bytes) -> Sequence[Found | Refused]:
        try:
            came = values(line, checked=self._checked.get(address))
            numbers = [*self._numbers.get(address, ()), *came]
            raw = b"\n".join(filter(None, (self._raw.get(address, b""), line)))
            if len(numbers) > SDI12_VALUES:
                raise Unfit("too_many_values", f"more than {SDI12_VALUES}")
            if came and len(numbers) < self._wanted.get(address, 0):
                self._numbers[address], self._raw[address] = numbers, raw
                return ()
            if len(numbers) < self._wanted.get(address, 0):
                return self._dropped(address)
            found = self._table.found(numbers, raw, address)
        except Unfit as unfit:
            self._dropped(address)
            return (Refused(unfit.reason, line[:EXAMPLE_BYTES], unfit.detail, address if address.isalnum() else ""),)
        self._wanted.pop(address, None)
        self._numbers.pop(address, None)
        self._raw.pop(address, None)
        return (found,)
