"""How places, values and what is allowed are named: in the report of what is wrong, in the example and the schema."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from gateway.core.text import plain, without_path

Path = tuple[str | int, ...]
"""Where something stands in a file: the names of its tables and its key, a number for a place in a list."""

SHOWN = 60
_BARE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PRIVATE = re.compile(r"key|pass|secret|token|credential|private|auth", re.IGNORECASE)
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a table"}


def dotted(path: Path) -> str:
    """The path as TOML writes it: `source.gps.baud`, `node.coop.share[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else quoted(part)
            text += f".{name}" if text else name
    return text


def quoted(text: str) -> str:
    """The text in quotes, on one line, cut after `SHOWN` characters."""
    return f'"{plain(text if len(text) <= SHOWN else text[:SHOWN] + "...")}"'


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at what may have been meant, or at everything that is known."""
    names = sorted(known)
    near = get_close_matches(name, names, n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known here: {', '.join(names)}"


def is_private(path: Path, wanted: Any = None) -> bool:
    """Whether a value at this path may be a secret, by the type that is wanted there or by any name on the way."""
    return is_secret(wanted) or any(isinstance(part, str) and _PRIVATE.search(part) for part in path)


def is_of_anchor(path: Path) -> bool:
    """Whether a value stands in a chain's table, also in one whose name is not written right."""
    return bool(path) and str(path[0]).casefold().startswith("anchor")


def is_secret(wanted: Any) -> bool:
    """Whether a type is `settings.Secret`, also within an optional one."""
    return marked(bare(wanted)[1], "secret")


def named_secrets(table: Struct) -> list[tuple[str, str]]:
    """The fields of a table that name a secret, each with where that is."""
    named = [(one.encode_name, getattr(table, one.name)) for one in fields(type(table)) if is_secret(one.type)]
    return [(name, uri) for name, uri in named if uri is not None]


def marked(metas: Iterable[Meta], mark: str) -> bool:
    """Whether one of the Metas has this mark: `secret`, `restart` (gateway/settings.py)."""
    return any((meta.extra or {}).get(mark) for meta in metas)


def bare(wanted: Any) -> tuple[Any, list[Meta]]:
    """A type without Annotated and without None (TOML has no null), and the Metas on it, the outermost last."""
    metas: list[Meta] = []
    while True:
        if get_origin(wanted) is Annotated:
            wanted, *more = get_args(wanted)
            metas = [*(meta for meta in more if isinstance(meta, Meta)), *metas]
            continue
        if get_origin(wanted) in (Union, UnionType):
            parts = [part for part in get_args(wanted) if part is not NoneType]
            if len(parts) == 1:
                wanted = parts[0]
                continue
        return wanted, metas


def kind(value: object) -> str:
    """What sort of TOML value this is."""
    return _KINDS.get(type(value), "a date or time")


def shown(value: object, path: Path, wanted: Any = None) -> str:
    """The value for a report: never a secret, a user and password within an address, a whole table, or what stands
    behind the host in a chain's address.
    """
    if is_private(path, wanted):
        return "a value that is not shown here"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        number = str(value) if isinstance(value, float) or abs(value) < 10**SHOWN else "a very long number"
        return number if len(number) <= SHOWN else number[:SHOWN] + "..."
    if not isinstance(value, str):
        return kind(value)
    if "PRIVATE+KEY" in value:
        return "a value that is not shown here"
    if "@" in value:
        scheme, mark, rest = value.partition("://")
        value = f"{scheme}{mark}...@{rest.rpartition('@')[2]}" if mark else f"...@{value.rpartition('@')[2]}"
    return quoted(without_path(value) if is_of_anchor(path) and _may_be_address(path, value) else value)


def _may_be_address(path: Path, value: str) -> bool:
    return "://" in value or path[-1] in ("url", "rpc")


def allowed(wanted: Any) -> str:
    """What may stand where a value of this type is wanted: `a whole number from 1 to 65536`."""
    wanted, metas = bare(wanted)
    told = [meta.description for meta in metas if meta.description]
    return told[-1] if told else _allowed(wanted, metas)


def _allowed(wanted: Any, metas: list[Meta]) -> str:
    origin, parts = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(part) for part in parts)
    if isinstance(wanted, type) and wanted in (bool, int, float, str):
        return _KINDS[wanted] + _bounds(metas)
    if origin in (list, tuple, set, frozenset) or wanted in (list, tuple, set, frozenset):
        inner = [part for part in parts if part is not Ellipsis]
        return f"a list; in it: {allowed(inner[0])}" if len(inner) == 1 else "a list"
    if origin is dict or wanted is dict or (isinstance(wanted, type) and issubclass(wanted, Struct)):
        return "a table"
    choices = [allowed(part) for part in parts if part is not NoneType]
    return ", or ".join(dict.fromkeys(choices)) or "another value"


def bounds(metas: Iterable[Meta]) -> str:
    """The limits of numbers and texts in words: `from 1 to 65536`, `at most 65 characters`."""
    return _bounds(metas).removeprefix(" of").lstrip(" ,")


def _bounds(metas: Iterable[Meta]) -> str:
    """The same behind `a number`, with a blank or a comma before them."""
    low = high = text = ""
    for meta in metas:
        low = f"from {meta.ge}" if meta.ge is not None else f"above {meta.gt}" if meta.gt is not None else low
        high = f"to {meta.le}" if meta.le is not None else f"below {meta.lt}" if meta.lt is not None else high
        if meta.min_length:
            text += f" of {meta.min_length} to {meta.max_length} characters"
        elif meta.max_length is not None:
            text += f" of at most {meta.max_length} character{'s' if meta.max_length > 1 else ''}"
        if meta.pattern:
            text += f" matching {meta.pattern}"
    if high.startswith("to") and not low.startswith("from"):
        high = "up " + high
    numbers = ", ".join(part for part in (low, high) if part)
    if low.startswith("from") and high.startswith("to"):
        numbers = f"{low} {high}"
    return (f" {numbers}" if numbers else "") + text
