"""Tables to paste into a configuration: for lines and for JSON that no driver knows, and how TOML writes a table."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from drivers.codecs.base import Found
from drivers.codecs.json_map import parse
from drivers.codecs.scalars import ALONE, name_of, pointers
from drivers.codecs.values import Unfit
from drivers.limits import SUGGESTED_VALUES
from drivers.lines import LineOptions, stream

_NUMBER = re.compile(rb"(?:(?<![0-9A-Za-z.])[-+] *)?[0-9]+(?:\.[0-9]+)?")
_LINE_ENDS = re.compile(rb"[\r\n]+")
_ENOUGH = 0.6


def is_text(data: bytes) -> bool:
    """Whether these are lines that a person could read."""
    plain = sum(0x20 <= byte < 0x7F or byte in b"\r\n\t\x02\x03" for byte in data)
    return bool(_LINE_ENDS.search(data)) and plain >= 0.9 * len(data)


def lines(data: bytes) -> dict[str, Any] | None:
    """Options of serial_line that read most of these lines: JSON, or a pattern made from a line that has numbers.

    None where there is none.
    """
    whole = [line for line in _LINE_ENDS.split(data)[1:-1] if line] or [line for line in _LINE_ENDS.split(data) if line]
    for line in sorted(whole, key=len, reverse=True)[:8]:
        table = _json(line) or _pattern(line)
        if table is not None and _reads(table, data) >= _ENOUGH * len(whole):
            return table
    return None


def _json(line: bytes) -> dict[str, Any] | None:
    values = json_values(line) if line.lstrip().startswith((b"{", b"[")) else None
    return {"format": "json", "values": values} if values else None


def _pattern(line: bytes) -> dict[str, Any] | None:
    numbers = list(_NUMBER.finditer(line))[:SUGGESTED_VALUES]
    if not numbers:
        return None
    if len(numbers) == 1 and numbers[0].span() == (0, len(line)):
        return {"format": "text", "values": {ALONE: {}}}
    pattern, at = "", 0
    for number, found in enumerate(numbers, 1):
        before = line[at : found.start()]
        pattern += _escaped(before.rstrip(b" ")) + (" *" if before.endswith(b" ") or not found[0][:1].isdigit() else "")
        pattern += rf"(?P<value{number}>[-+]? *[0-9]+(?:\.[0-9]+)?)"
        at = found.end()
    values: dict[str, Any] = {f"value{number}": {} for number in range(1, len(numbers) + 1)}
    return {"format": "regex", "pattern": pattern + ".*" if at < len(line) else pattern, "values": values}


def _escaped(text: bytes) -> str:
    """As a pattern; what is no ASCII stands for any one character, digits for any number."""
    parts = re.split(r"([0-9]+)", text.decode("latin-1"))
    return "".join(
        "[0-9]+" if part.isdigit() else "".join(re.escape(c) if c.isascii() and c.isprintable() else "." for c in part)
        for part in parts
    )


def _reads(table: Mapping[str, Any], data: bytes) -> int:
    """How many of the lines these options read."""
    try:
        codec = stream(msgspec.convert(table, LineOptions))
    except (ValueError, TypeError):
        return 0
    return sum(isinstance(one, Found) for one in [*codec.feed(data, None), *codec.end(None)])


def json_values(payload: bytes) -> dict[str, Any] | None:
    """The table `values` that takes every scalar of a JSON document, by its pointer; None where it has none."""
    try:
        document = parse(payload)
    except Unfit:
        return None
    values: dict[str, Any] = {}
    for pointer, value in pointers(document):
        name = name_of(pointer).replace("/", ".")
        if not name or name in values or value is None or len(values) == SUGGESTED_VALUES:
            continue
        values[name] = {} if pointer == f"/{name}" else {"pointer": pointer}
        if isinstance(value, bool | str):
            values[name]["type"] = "bool" if isinstance(value, bool) else "text"
    return values or None


def toml(name: str, table: Mapping[str, Any]) -> str:
    """`[name]` and its keys."""
    return "\n".join([f"[{name}]", *(f"{key(one)} = {value(what)}" for one, what in table.items())])


def value(what: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(what, bool):
        return "true" if what else "false"
    if isinstance(what, str):
        if "\\" in what and "'" not in what and what.isprintable():
            return f"'{what}'"
        return _quoted(what)
    if isinstance(what, Mapping):
        inner = ", ".join(f"{key(name)} = {value(one)}" for name, one in what.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(what, list | tuple):
        return f"[{', '.join(map(value, what))}]"
    return str(what)


def key(name: str) -> str:
    """A name as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
