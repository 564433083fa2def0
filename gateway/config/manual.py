"""What the type of a table says of its fields: meaning, unit, bounds, default. Example and schema are made of it."""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from .words import bare, bounds, marked

UNITS = {"_ms": "milliseconds", "_s": "seconds", "_h": "hours", "_bytes": "bytes"}
"""By the ends of names. Where a number's name has none of them its meaning says what is counted."""


class Entry(NamedTuple):
    """One field. `type` is bare, without Annotated and None. `limits` are in words; "" where the value shows them."""

    name: str
    type: Any
    meaning: str
    unit: str
    limits: str
    required: bool
    default: Any  # None: there is none to write
    restart: bool


def entries(cls: type[Struct], leave_out: str = "") -> list[Entry]:
    """The fields of a table, in their order."""
    return [_entry(one) for one in fields(cls) if one.name != leave_out]


def inner_table(wanted: Any) -> type[Struct] | None:
    """The table that a field is, or that each value of its table is; None for other fields."""
    wanted, _ = bare(wanted)
    if get_origin(wanted) is dict:
        wanted, _ = bare(get_args(wanted)[1])
    return wanted if isinstance(wanted, type) and issubclass(wanted, Struct) else None


def choices(wanted: Any) -> tuple[Any, ...]:
    """The values of a type that lists them; empty for other types."""
    return get_args(wanted) if get_origin(wanted) is Literal else ()


def _entry(one: FieldInfo) -> Entry:
    wanted, metas = bare(one.type)
    titles = [meta.title for meta in metas if meta.title]
    unit = _unit(one.encode_name) if wanted in (int, float) else ""
    return Entry(
        one.encode_name,
        wanted,
        titles[-1] if titles else "",
        unit,
        _limits(wanted, bounds(meta for meta in metas if not meta.pattern), unit),
        one.required,
        _default(one),
        marked(metas, "restart"),
    )


def _unit(name: str) -> str:
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def _limits(wanted: Any, found: str, unit: str) -> str:
    if listed := choices(wanted):
        *most, last = map(json.dumps, listed)
        return f"{', '.join(most)} or {last}" if most else last
    found = found if wanted in (int, float, str) else found.removesuffix(" characters")  # a list's are items
    return ", ".join(filter(None, (unit, found)))


def _default(one: FieldInfo) -> Any:
    if one.default is not NODEFAULT:
        return one.default
    made = None if one.default_factory is NODEFAULT else one.default_factory()
    return made if isinstance(made, Mapping | list | tuple) else None
