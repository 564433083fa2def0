"""Every value of a message, where nobody has said yet which of them are wanted: what a technician looks at first."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from drivers.api import Record, Value
from drivers.codecs.json_map import parse
from drivers.codecs.text import Decimal, Encoding, text_of
from drivers.codecs.values import Content, Unfit, number
from drivers.limits import INTEGER_MAX, RECORDS, TEXT_BYTES

ALONE = "value"
"""The name of a message's one value."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}")
_FOREIGN = re.compile(r"[^A-Za-z0-9:._/-]+")


class EveryScalar:
    """The Codec of JSON payloads that takes every number, text and boolean, named by its JSON pointer (`a/0/b`)."""

    def read(self, payload: bytes, now: float | None) -> Content:
        """One message. No device's time: nobody has said which of the values it is."""
        return _content(pointers(parse(payload)))


class EveryCell:
    """The Codec of lines that takes every field of one: numbers as numbers, the rest as text.

    format "": a line that begins with { or [ is JSON; one that has the separator is cut there; else it is one value.
    """

    def __init__(
        self,
        format: str = "",  # noqa: A002  the option's name
        *,
        columns: Sequence[str] = (),
        separator: str = ",",
        pattern: str = "",
        encoding: Encoding = "latin-1",
        decimal: Decimal = ".",
    ) -> None:
        self._format, self._columns, self._separator = format, columns, separator
        self._match = re.compile(pattern).fullmatch
        self._encoding, self._decimal = encoding, decimal

    def read(self, payload: bytes, now: float | None) -> Content:
        """One line."""
        if self._format == "json" or (not self._format and payload.lstrip().startswith((b"{", b"["))):
            return _content(pointers(parse(payload)))
        text = text_of(payload, self._encoding)
        if self._format == "regex":
            match = self._match(text)
            if match is None:
                raise Unfit("no_match")
            return self._cells(match.groupdict().items())
        if self._format == "csv" or (not self._format and self._separator in text):
            cells = text.split(self._separator)
            if self._columns and len(cells) != len(self._columns):
                raise Unfit("wrong_column_count", f"{len(cells)}, not {len(self._columns)}")
            names = self._columns or [f"column{at}" for at in range(1, len(cells) + 1)]
            return self._cells(zip(names, cells, strict=True))
        return self._cells([(ALONE, text)])

    def _cells(self, cells: Any) -> Content:
        return _content((name, number(cell.strip(), self._decimal)) for name, cell in cells if name and cell)


def pointers(document: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every number, text, boolean and null of a JSON document with its JSON pointer."""
    if isinstance(document, dict):
        for key, member in document.items():
            escaped = key.replace("~", "~0").replace("/", "~1")
            yield from pointers(member, f"{pointer}/{escaped}")
    elif isinstance(document, list):
        for at, item in enumerate(document):
            yield from pointers(item, f"{pointer}/{at}")
    else:
        yield pointer, document


def name_of(pointer: str) -> str:
    """What a value is called that stands there; "" where nothing of it may be in a name."""
    name = _FOREIGN.sub("-", pointer.replace("~1", "/").replace("~0", "~")).lstrip(":._/-")[:64] if pointer else ALONE
    return name if _NAME.fullmatch(name) and name not in ("raw", "raw.sha256") else ""


def _content(found: Any) -> Content:
    """The first RECORDS of them that a reading can have."""
    records: dict[str, Record] = {}
    for name, value in found:
        plain, kept = name_of(name), _kept(value)
        if kept is not None and plain:
            records.setdefault(plain, (plain, None, kept))
            if len(records) == RECORDS:
                break
    if not records:
        raise Unfit("missing_value", "none of the values is there")
    return list(records.values()), None, 0


def _kept(value: Any) -> Value | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not -INTEGER_MAX <= value <= INTEGER_MAX:
        value = str(value)
    if isinstance(value, float) and value - value != 0.0:  # NaN, infinities
        return None
    if isinstance(value, str) and len(value.encode(errors="replace")) > TEXT_BYTES:
        return None
    return value if isinstance(value, int | float | str) else None
