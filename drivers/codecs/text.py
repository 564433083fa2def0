"""Lines of text: CSV, one JSON value, a regular expression with named groups, or one value and nothing else."""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import xor
from typing import Literal

from drivers.api import UNSTABLE
from drivers.codecs.values import Content, Field, TimeMap, Unfit, ValueMap, content, device_time

Encoding = Literal["latin-1", "ascii", "utf-8", "cp437"]
Decimal = Literal[".", ","]

TIME = "time"
"""The column or group that a `time` table reads."""
UNSTABLE_GROUP = "unstable"
"""The group that matches something where a scale says that its weight is not at rest."""


def text_of(payload: bytes, encoding: Encoding) -> str:
    """The payload as text; Unfit where it is none."""
    try:
        return payload.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unfit("invalid_text", f"byte {payload[error.start]:#04x} is not {encoding}") from None


class Csv:
    """Fields between separators, no quoting. A line with another number of fields than `columns` is rejected."""

    def __init__(
        self,
        columns: Sequence[str],
        values: Mapping[str, ValueMap],
        *,
        separator: str = ",",
        time: TimeMap | None = None,
        encoding: Encoding = "latin-1",
        decimal: Decimal = ".",
    ) -> None:
        self._fields = [(Field(name, value), columns.index(name)) for name, value in values.items()]
        self._count, self._separator, self._encoding, self._decimal = len(columns), separator, encoding, decimal
        self._time = time
        self._time_at = columns.index(TIME) if time else 0

    def read(self, payload: bytes, now: float | None) -> Content:
        """One line."""
        cells = text_of(payload, self._encoding).split(self._separator)
        if len(cells) != self._count:
            raise Unfit("wrong_column_count", f"{len(cells)}, not {self._count}")
        time = device_time(cells[self._time_at], self._time, now) if self._time else None
        return content(((field, field.read(cells[at], self._decimal)) for field, at in self._fields), time)


class Regex:
    """Named groups of a pattern that matches the whole line. The group `unstable` marks the reading as not at rest."""

    def __init__(
        self,
        pattern: str,
        values: Mapping[str, ValueMap],
        *,
        time: TimeMap | None = None,
        encoding: Encoding = "latin-1",
        decimal: Decimal = ".",
    ) -> None:
        self._match = re.compile(pattern).fullmatch
        self._fields = [Field(name, value) for name, value in values.items()]
        self._encoding, self._decimal, self._time = encoding, decimal, time

    def read(self, payload: bytes, now: float | None) -> Content:
        """One line."""
        match = self._match(text_of(payload, self._encoding))
        if match is None:
            raise Unfit("no_match")
        found = match.groupdict()
        time = device_time(found.get(TIME), self._time, now) if self._time else None
        values = ((f, None if found[f.name] is None else f.read(found[f.name], self._decimal)) for f in self._fields)
        records, time, quality = content(values, time)
        return records, time, quality | (UNSTABLE if found.get(UNSTABLE_GROUP) else 0)


class Plain:
    """The whole payload is one value."""

    def __init__(self, name: str, value: ValueMap, *, encoding: Encoding = "latin-1", decimal: Decimal = ".") -> None:
        self._field = Field(name, value)
        self._encoding, self._decimal = encoding, decimal

    def read(self, payload: bytes, now: float | None) -> Content:
        """One line or payload."""
        if not payload:
            raise Unfit("empty")
        return content([(self._field, self._field.read(text_of(payload, self._encoding), self._decimal))])


_SENTENCE = re.compile(rb"[$!]([^*]*)\*([0-9A-Fa-f]{2})[ \t]*")


def nmea_checksum_fits(line: bytes) -> bool:
    """Whether the line is, from its first `$` or `!` on, a sentence of NMEA 0183 with the checksum of its bytes."""
    starts = [at for at in (line.find(b"$"), line.find(b"!")) if at >= 0]
    match = _SENTENCE.fullmatch(line, min(starts)) if starts else None
    return match is not None and reduce(xor, match[1], 0) == int(match[2], 16)
