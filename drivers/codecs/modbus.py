"""Modbus: registers to values by a table, what an exception code means, and frames of recorded RTU traffic.

Sources: Modbus Application Protocol V1.1b3, Modbus over Serial Line V1.02.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from drivers.api import OUT_OF_RANGE, Record
from drivers.codecs.base import Found, Refused
from drivers.codecs.values import Field, Offset, Scale, Table, Unfit, Unit, ValueMap, check_values
from drivers.limits import EXAMPLE_BYTES, MODBUS_BITS, MODBUS_REGISTERS

RegisterKind = Literal["holding", "input", "coil", "discrete"]
Numbering = Literal["zero", "one", "modicon"]
RegisterType = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bits", "text"]

FUNCTIONS: Mapping[RegisterKind, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_MODICON: tuple[tuple[range, RegisterKind], ...] = (
    (range(1, 10_000), "coil"),
    (range(10_001, 20_000), "discrete"),
    (range(30_001, 40_000), "input"),
    (range(40_001, 50_000), "holding"),
    (range(100_001, 165_537), "discrete"),
    (range(300_001, 365_537), "input"),
    (range(400_001, 465_537), "holding"),
)
_FORMATS = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}

EXCEPTIONS: Mapping[int, tuple[str, str]] = {
    1: ("illegal_function", "The device has no registers of this kind: try another kind"),
    2: ("illegal_data_address", "The device has no such register: check register, numbering and kind"),
    3: ("illegal_data_value", "The device refuses so many registers at once: lower registers_at_once"),
    4: ("server_device_failure", "The device has failed: look at its display, switch it off and on"),
    5: ("acknowledge", "The device needs longer: raise every_s"),
    6: ("server_device_busy", "The device is busy: raise every_s"),
    8: ("memory_parity_error", "The device's memory has failed"),
    10: ("gateway_path_unavailable", "The Modbus gateway has no way to this device: check slave and its settings"),
    11: ("gateway_target_silent", "The device behind the Modbus gateway does not answer: check its power and slave"),
}
"""Code to reason and cure (V1.1b3, section 7)."""


def exception(code: int) -> tuple[str, str]:
    """The reason of an exception code, and its cure."""
    return EXCEPTIONS.get(code, ("unknown_exception", f"The device's manual says what exception {code} is"))


class RegisterMap(Table, kw_only=True, frozen=True):
    """One value of a device. The reading carries `value * scale + offset`, rounded to 12 digits."""

    register: Annotated[int, Meta(ge=0, le=465_536, title="Its number, as `numbering` says")]
    kind: Annotated[RegisterKind | None, Meta(title="Absent: holding, or with modicon what the number says")] = None
    type: Annotated[
        RegisterType | None, Meta(title="Required for holding and input; a coil or discrete input is true or false")
    ] = None
    order: Annotated[
        Literal["ABCD", "CDAB", "BADC", "DCBA"],
        Meta(title="Order of four bytes; of eight and of two in the same manner"),
    ] = "ABCD"
    bit: Annotated[int, Meta(ge=0, le=15, title="bits: the lowest; 0 is the register's least significant")] = 0
    length: Annotated[int, Meta(ge=1, le=64, title="text: registers; bits: how many, 1 gives true or false")] = 1
    unit: Unit | None = None
    scale: Scale = 1.0
    offset: Offset = 0.0
    sentinels: Annotated[
        tuple[float | str, ...], Meta(title='What the device sends for "no value", before scale: [0x7FFF, 65535]')
    ] = ()

    def __post_init__(self) -> None:
        ValueMap(scale=self.scale, offset=self.offset)
        if self.type != "text" and self.type != "bits" and self.length != 1:
            raise ValueError("length belongs to text and bits")
        if self.type == "bits" and self.bit + self.length > 16:
            raise ValueError("bits end at bit 15 of the register")
        if self.type != "bits" and self.bit:
            raise ValueError("bit belongs to type bits")
        if (self.scale != 1.0 or self.offset != 0.0) and self.type in ("text", "bits", None):
            raise ValueError("scale and offset belong to a number. Remove them, or change type")


class Point:
    """One value: where it stands on the wire, and what its bytes say. ValueError where its options do not fit."""

    def __init__(self, name: str, options: RegisterMap, numbering: Numbering, place: int) -> None:
        self.name = name
        self.place = place  # in the table, and so in the reading
        kind, self.address = _place(options, numbering)
        self.function = FUNCTIONS[kind]
        self.bits = self.function < 3
        if self.bits != (options.type is None):
            raise ValueError(
                f"{name}: a {kind} is true or false, and has no type" if self.bits else f"{name}: write its type"
            )
        self.count = _registers(options)
        if self.address + self.count > 65_536:
            raise ValueError(f"{name}: register {options.register} is beyond the last one, numbered {numbering}")
        self._options = options
        self._letter = _FORMATS.get(options.type or "", "")
        value = "text" if options.type == "text" else "number"
        if self.bits or (options.type == "bits" and options.length == 1):
            value = "bool"
        self._field = Field(
            name,
            ValueMap(
                unit=options.unit,
                scale=options.scale,
                offset=options.offset,
                type=value,  # type: ignore[arg-type]  # one of the three above
                sentinels=tuple(self._sentinel(one) for one in options.sentinels),
            ),
        )

    def _sentinel(self, value: float | str) -> float | str:
        """0x8000 for an int16 is what stands in the register: -32768."""
        if isinstance(value, str) or self._letter not in "hiq" or not self._letter or value != int(value):
            return value
        bits = 8 * struct.calcsize(">" + self._letter)
        return (int(value) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1) if abs(value) < 1 << bits else value

    def put(self, data: bytes, first: int, records: list[Record]) -> bool:
        """Appends the value out of an answer's data, which begins at address `first`. False for a sentinel."""
        at = self.address - first
        if self.bits:
            return self._field.put(bool(data[at // 8] >> at % 8 & 1), records)
        return self._field.put(self._value(data[2 * at : 2 * (at + self.count)]), records)

    def _value(self, data: bytes) -> object:
        options = self._options
        if options.order in ("BADC", "DCBA"):
            data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
        if options.order in ("CDAB", "DCBA") and options.type != "text":
            data = b"".join(data[at : at + 2] for at in range(len(data) - 2, -1, -2))
        if options.type == "text":
            return _text(self.name, data)
        if options.type == "bits":
            value = int.from_bytes(data, "big") >> options.bit & (1 << options.length) - 1
            return bool(value) if options.length == 1 else value
        number: int | float = struct.unpack(">" + self._letter, data)[0]
        return number


def _text(name: str, data: bytes) -> str:
    text = data.rstrip(b"\0 ")
    if not text.isascii() or not text.decode("ascii").isprintable():
        raise Unfit("wrong_type", f"{name} is no text: {data[:40].hex()}")
    return text.decode("ascii")


def _registers(options: RegisterMap) -> int:
    if options.type == "text":
        return options.length
    return struct.calcsize(">" + _FORMATS.get(options.type or "", "H")) // 2


def _place(options: RegisterMap, numbering: Numbering) -> tuple[RegisterKind, int]:
    """Kind, and address as it goes over the wire."""
    if numbering != "modicon":
        address = options.register - (numbering == "one")
        if not 0 <= address <= 65_535:
            raise ValueError(f"register {options.register} is none: numbering {numbering} begins at {numbering}")
        return options.kind or "holding", address
    for numbers, kind in _MODICON:
        if options.register in numbers:
            if options.kind not in (None, kind):
                raise ValueError(f"register {options.register} is a {kind}, and kind says {options.kind}")
            return kind, options.register - numbers.start
    raise ValueError(f"register {options.register} is none of 1.., 10001.., 30001.., 40001.., 400001..")


class Request(NamedTuple):
    """Registers, or bits, that are read at once."""

    function: int
    address: int
    number: int
    points: tuple[Point, ...]

    @property
    def size(self) -> int:
        """Bytes of data in the answer."""
        return -(-self.number // 8) if self.function < 3 else 2 * self.number


def plan(values: Mapping[str, RegisterMap], numbering: Numbering, at_once: int = MODBUS_REGISTERS) -> list[Request]:
    """The requests for all values: what touches or overlaps is read at once. ValueError where the table is wrong.

    at_once: registers in a request; a value is never split.
    """
    points = [Point(name, values[name], numbering, place) for place, name in enumerate(values)]
    for point in points:
        if point.count > at_once:
            raise ValueError(f"{point.name} has {point.count} registers, and registers_at_once is {at_once}")
    requests: list[Request] = []
    for point in sorted(points, key=lambda one: (one.function, one.address)):
        last = requests[-1] if requests else None
        most = MODBUS_BITS if point.bits else at_once
        if last and last.function == point.function and point.address <= last.address + last.number:
            count = max(last.number, point.address + point.count - last.address)
            if count <= most:
                requests[-1] = Request(last.function, last.address, count, (*last.points, point))
                continue
        requests.append(Request(point.function, point.address, point.count, (point,)))
    return requests


def read(answers: Sequence[tuple[Request, bytes]], raw: bytes) -> list[Found | Refused]:
    """One reading of all that was answered: (request, data) in order; a value that does not fit is refused alone."""
    found: list[tuple[int, list[Record]]] = []
    refused: list[Found | Refused] = []
    quality = 0
    for request, data in answers:
        for point in request.points:
            records: list[Record] = []
            try:
                if not point.put(data, request.address, records):
                    quality = OUT_OF_RANGE
            except Unfit as unfit:
                refused.append(Refused(unfit.reason, raw[:EXAMPLE_BYTES], unfit.detail[:200]))
            found.append((point.place, records))
    ordered = [record for _, records in sorted(found) for record in records]
    return [Found(ordered, quality=quality, raw=raw), *refused] if ordered or quality else refused


def check(values: Mapping[str, RegisterMap], numbering: Numbering, at_once: int) -> None:
    """ValueError, with its cure, where the values cannot be read."""
    check_values(values)
    for name, options in values.items():
        if any(not isinstance(one, str) and not math.isfinite(one) for one in options.sentinels):
            raise ValueError(f"{name}: nan and inf are never values, and need no sentinel")
    plan(values, numbering, at_once)
