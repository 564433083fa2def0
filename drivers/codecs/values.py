"""From what a device wrote to the records of a sample: which values, in which unit, and when none is to be believed."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import inf, isfinite
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta, Struct

from drivers.api import OUT_OF_RANGE, Record, Reject, Value
from drivers.codecs.sentinels import Sentinels
from drivers.codecs.units import PRIMARY
from drivers.limits import (
    DEVICE_CLOCK_AHEAD_S,
    DEVICE_CLOCK_BEHIND_S,
    EXAMPLE_BYTES,
    INTEGER_MAX,
    RECORDS,
    TEXT_BYTES,
)

ValueName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}\Z",
        description="a name of at most 64 letters, digits and - : . / _",
    ),
]
Kind = Literal["number", "text", "bool"]


Pointer = Annotated[str, Meta(max_length=256)]
Unit = Annotated[
    str, Meta(min_length=1, max_length=32, title="SenML unit; any other text travels as a text record <name>.unit")
]
Scale = Annotated[float, Meta(title="The reading carries value * scale + offset, rounded to 12 digits; not 0")]
Offset = Annotated[float, Meta(title="Added to value * scale")]
MaxBehind = Annotated[
    float, Meta(ge=0, title="How far before receipt a time that is told with a message may be, to be trusted")
]
MaxAhead = Annotated[float, Meta(ge=0, title="How far after receipt it may be, to be trusted")]


class Table(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A table of the configuration."""


class ValueMap(Table, kw_only=True, frozen=True):
    """One value of a message. The reading carries `value * scale + offset`, rounded to 12 digits."""

    pointer: Annotated[
        Pointer | None, Meta(title='JSON: where it stands, a pointer (RFC 6901). Absent: "/" and the name')
    ] = None
    unit: Unit | None = None
    scale: Scale = 1.0
    offset: Offset = 0.0
    type: Annotated[Kind, Meta(title="What the device must send; anything else is rejected as wrong_type")] = "number"
    sentinels: Annotated[
        tuple[float | str, ...], Meta(title='What is no value: [85, "ERR", "0x7FFF", "-9999..-9990"]. Quality 8 then')
    ] = ()
    optional: Annotated[bool, Meta(title="true: may be absent or null")] = False

    def __post_init__(self) -> None:
        if self.type != "number" and (self.scale != 1.0 or self.offset != 0.0):
            raise ValueError("scale and offset belong to a number. Remove them, or type")
        if not isfinite(self.scale) or not isfinite(self.offset) or self.scale == 0.0:
            raise ValueError("scale and offset are finite, and scale is not 0")
        Sentinels(self.sentinels, of_numbers=self.type == "number")


class TimeMap(Table, kw_only=True, frozen=True):
    """The device's own time. Outside its window it is not trusted: the reading then has the time of receipt."""

    pointer: Annotated[Pointer, Meta(title='JSON: where it stands. Other formats take the column or group "time"')] = (
        "/time"
    )
    format: Annotated[
        Literal["iso8601", "unix", "unix_ms"], Meta(title="iso8601 needs an offset or Z: local time is not trusted")
    ] = "iso8601"
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S


Values = Annotated[dict[ValueName, ValueMap], Meta(title="Its values, by the names that they have in the reading")]
DeviceTime = Annotated[TimeMap, Meta(title="The device's own time. Absent: a reading has the time of receipt")]


Content = tuple[list[Record], float | None, int]
"""What a message says: records, the device's own time where it is trusted (Unix seconds), quality bits."""


class Codec(Protocol):
    """Pure: one message in, what it says out. Unfit, and nothing else, where it says nothing that can be believed.

    `now` is the time of receipt in Unix seconds, None where nobody knows it: then no device's time is trusted.
    """

    def read(self, payload: bytes, now: float | None) -> Content:
        """What the message says."""
        ...


class Unfit(Exception):
    """A message that becomes no sample: the Reject's reason and detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    def reject(self, source: str, payload: bytes) -> Reject:
        """As the driver hands it over."""
        return Reject(source, self.reason, payload[:EXAMPLE_BYTES], self.detail[:200])


AS_TOLD = inf
"""For `now`: a device's time is taken as it is, whatever it is (`fieldgate decode`)."""

MISSING: Any = object()
"""Stands for a value that a message does not have."""

_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_NUMBER = re.compile(r"([+-]?)[ \t]*([0-9]+)?(?:\.([0-9]*))?([eE][+-]?[0-9]{1,3})?")
_BOOLS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


class Field:
    """One value: its records out of what the device sent. `plain`: an int or a float may be taken as it is."""

    def __init__(self, name: str, options: ValueMap) -> None:
        self.name = name
        self.optional = options.optional
        self.type = options.type
        known = options.unit is None or options.unit in PRIMARY
        self.unit = options.unit if known else None
        self.extra: Record | None = None if known else (f"{name}.unit", None, options.unit or "")
        self._scale, self._offset = options.scale, options.offset
        self._scaled = options.scale != 1.0 or options.offset != 0.0
        self._sentinels = Sentinels(options.sentinels, of_numbers=options.type == "number")
        self.plain = options.type == "number" and not self._scaled and not options.sentinels and known

    def put(self, value: object, records: list[Record]) -> bool:
        """Appends the value's records; False for a sentinel and for no finite number; Unfit for another `type`."""
        if value is None or value is MISSING:
            if not self.optional:
                raise Unfit("missing_value", self.name)
            return True
        made = self._convert(value)
        if made is None:
            return False
        records.append((self.name, self.unit, made))
        if self.extra is not None:
            records.append(self.extra)
        return True

    def _convert(self, value: object) -> Value | None:
        if isinstance(value, str) and self._sentinels.has_word(value):
            return None
        if self.type == "number":
            if isinstance(value, int | float) and not isinstance(value, bool):
                return self._number(value)
        elif self.type == "bool":
            if isinstance(value, bool):
                return value
        elif isinstance(value, str):
            return _text(value)
        raise Unfit("wrong_type", f"{self.name} is {str(value)[:40]!r}, not a {self.type}")

    def _number(self, value: int | float) -> Value | None:
        try:
            if not isfinite(value) or self._sentinels.has(float(value)):
                return None
            if self._scaled:
                value = float(f"{value * self._scale + self._offset:.12g}")
                return value if isfinite(value) else None
        except OverflowError:  # an integer that no double holds
            if self._scaled:
                raise Unfit("wrong_type", f"{self.name} is too large to be scaled") from None
        if isinstance(value, int) and not -INTEGER_MAX <= value <= INTEGER_MAX:
            return _text(str(value))
        return value

    def read(self, text: str, decimal: str = ".") -> object:
        """What a field of text says, as a value for `put`: of `type`, or the text itself where it is none."""
        text = text.strip()
        if self._sentinels.has_word(text):
            return text
        if self.type == "number":
            return number(text, decimal)
        if self.type == "bool":
            return _BOOLS.get(text.lower(), text) if text else None
        return text


def _text(value: str) -> str:
    if len(value) > TEXT_BYTES // 4 and len(value.encode(errors="replace")) > TEXT_BYTES:
        raise Unfit("text_too_long", f"a text of more than {TEXT_BYTES} bytes")
    return value


def number(text: str, decimal: str = ".") -> int | float | str | None:
    """A decimal number, its sign perhaps apart; NaN or an infinity; None for an empty field; else `text` itself.

    ASCII only, and unlike int() and float() it takes no underscores.
    """
    if not text:
        return None
    if len(text) > 64:
        return text
    plain = text
    if decimal != ".":  # then a point separates thousands, and no number here has those
        plain = "" if "." in text else text.replace(decimal, ".")
    match = _NUMBER.fullmatch(plain)
    if match is None or not (match[2] or match[3]):
        return float("nan") if _NOT_FINITE.fullmatch(text) else text
    sign, whole, part, power = match.groups()
    if part is None and power is None:
        return int(sign + whole)
    return float(f"{sign}{whole or 0}.{part or 0}{power or ''}")


def device_time(value: object, options: TimeMap, now: float | None) -> float | None:
    """Unix seconds, or None where the device's time is absent, no time, or outside its window around `now`.

    now: AS_TOLD has no window.
    """
    if now is None:
        return None
    try:
        if options.format == "iso8601":
            seconds = _iso8601(value)
        else:
            if isinstance(value, str):
                value = number(value.strip())
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            seconds = float(value) / (1000 if options.format == "unix_ms" else 1)
    except (ValueError, OverflowError):
        return None
    if now == AS_TOLD:
        return seconds if isfinite(seconds) else None
    return seconds if now - options.max_behind_s <= seconds <= now + options.max_ahead_s else None


def _iso8601(value: object) -> float:
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError("no text of a time")
    moment = datetime.fromisoformat(value.strip())
    if moment.tzinfo is None:
        raise ValueError("local time, nobody knows where")
    return moment.timestamp()


def check_values(values: Mapping[str, object]) -> None:
    """ValueError unless there are 1 to RECORDS values, and none has a name that a reading uses itself."""
    if not 1 <= len(values) <= RECORDS:
        raise ValueError(f"values names {len(values)} values: name 1 to {RECORDS}")
    for name in values:
        if name in ("raw", "raw.sha256") or (name.endswith(".unit") and name.removesuffix(".unit") in values):
            raise ValueError(f"the name {name} belongs to the reading itself: choose another")


def content(found: Iterable[tuple[Field, object]], time: float | None = None) -> Content:
    """The records of these fields and what was found for each. Unfit where one does not fit, or none is there."""
    records: list[Record] = []
    quality = 0
    for field, value in found:
        if not field.put(value, records):
            quality = OUT_OF_RANGE
    if not records and not quality:
        raise Unfit("missing_value", "none of the values is there")
    return records, time, quality
