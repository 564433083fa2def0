"""One table of TOML to one struct, field by field, so that everything that is wrong with it is found at once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from .words import Path, allowed, bare, dotted, is_private, is_secret, kind, nearest, shown

BAD: Any = object()
"""Stands for a value that could not be converted; what is wrong with it has been noted."""


class Problem(NamedTuple):
    """One thing that is wrong, where it stands, and how to put it right."""

    path: Path
    what: str
    cure: str = ""


class Rest(NamedTuple):
    """The keys of a table that are not its own belong to another struct, which becomes its field `into`.

    `pick` says which struct from what is known of the table; None where that cannot be told, and then it notes why.
    `help` is the cure for what the struct itself objects to.
    """

    into: str
    pick: Callable[["Draft", list[Problem]], type[Struct] | None]
    help: str = ""


@dataclass
class Draft:
    """A table while it is checked: the values that are good so far, and the struct once all of them are."""

    cls: type[Struct]
    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    made: Struct | None = None

    def get(self, name: str) -> Any:
        """A field's value: a scalar, a Draft, a dict or list of either; None where it is absent or wrong."""
        value = self.values.get(name)
        return None if value is BAD else value

    def drafts(self, name: str) -> dict[str, "Draft"]:
        """A field that is a table of tables: those of them that are tables, whether or not all is well within."""
        value = self.get(name)
        return {key: one for key, one in value.items() if isinstance(one, Draft)} if isinstance(value, dict) else {}


class Converter:
    """Collects `problems` while it converts. One object for one file."""

    def __init__(self, rest: Mapping[type[Struct], Rest] | None = None) -> None:
        self.problems: list[Problem] = []
        self._rest = rest or {}

    def table(self, raw: Any, cls: type[Struct], path: Path) -> Any:
        """A Draft of `cls`, or BAD where `raw` is no table."""
        if not isinstance(raw, dict):
            self._note(path, f"is {kind(raw)}", f"Make it a table: [{dotted(path)}]")
            return BAD
        draft = Draft(cls, path)
        rest = self._rest.get(cls)
        own = {one.encode_name: one for one in fields(cls) if rest is None or one.name != rest.into}
        self._fill(draft, raw, own)
        known = set(own)
        if rest is not None:
            inner = rest.pick(draft, self.problems)
            if inner is None:
                draft.values[rest.into] = BAD
                known |= set(raw)
            else:
                sub = Draft(inner, path)
                theirs = {one.encode_name: one for one in fields(inner)}
                self._fill(sub, raw, theirs)
                self._make(sub, rest.help)
                draft.values[rest.into] = sub
                known |= set(theirs)
        for key in raw:
            if key not in known:
                self._unknown((*path, key), known)
        self._make(draft)
        return draft

    def _fill(self, draft: Draft, raw: dict[str, Any], known: Mapping[str, FieldInfo]) -> None:
        for key, one in known.items():
            if key in raw:
                draft.values[one.name] = self._value(raw[key], one.type, (*draft.path, key))
            elif one.required:
                draft.values[one.name] = BAD
                self._missing(one, (*draft.path, key))
            elif one.default is not NODEFAULT:
                draft.values[one.name] = one.default
            else:
                draft.values[one.name] = one.default_factory()

    def _make(self, draft: Draft, cure: str = "") -> None:
        """Build the struct if every value is good; what its own checks object to is a problem of the table."""
        made = {name: _made(value) for name, value in draft.values.items()}
        if any(_is_bad(value) for value in made.values()):
            return
        try:
            draft.made = draft.cls(**made)
        except (ValueError, TypeError) as exc:  # from the struct's own __post_init__
            self._note(_subject(draft, str(exc)), str(exc), cure)

    def _value(self, raw: Any, wanted: Any, path: Path) -> Any:
        inner, metas = bare(wanted)
        if isinstance(inner, type) and issubclass(inner, Struct):
            return self.table(raw, inner, path)
        origin, parts = get_origin(inner), get_args(inner)
        if origin is dict and len(parts) == 2:
            return self._mapping(raw, parts[0], parts[1], path)
        if origin in (list, frozenset, set) or (origin is tuple and parts[-1] is Ellipsis):
            return self._sequence(raw, origin, parts[0], path, metas)
        return self._leaf(raw, wanted, path)

    def _mapping(self, raw: Any, key_type: Any, value_type: Any, path: Path) -> Any:
        if not isinstance(raw, dict):
            self._note(path, f"is {kind(raw)}", f"Make it a table: [{dotted(path)}.NAME]")
            return BAD
        values = {}
        for key, value in raw.items():
            if _convert(key, key_type) is BAD:
                self._note((*path, key), "is not a name that can stand here", f"Use {allowed(key_type)}")
            values[key] = self._value(value, value_type, (*path, key))
        return values

    def _sequence(self, raw: Any, origin: Any, item_type: Any, path: Path, metas: Iterable[Any]) -> Any:
        if not isinstance(raw, list):
            self._note(path, f"is {kind(raw)}", f"Write {allowed(origin[item_type])}")
            return BAD
        for meta in metas:
            if meta.max_length is not None and len(raw) > meta.max_length:
                self._note(path, f"has {len(raw)} items", f"It may have {meta.max_length}")
                return BAD
            if meta.min_length is not None and len(raw) < meta.min_length:
                self._note(path, f"has {len(raw)} items", f"It needs {meta.min_length}")
                return BAD
        items = [self._value(value, item_type, (*path, index)) for index, value in enumerate(raw)]
        return tuple(items) if origin is tuple else items if any(map(_is_draft_or_bad, items)) else origin(items)

    def _leaf(self, raw: Any, wanted: Any, path: Path) -> Any:
        value = _convert(raw, wanted)
        if value is not BAD:
            return value
        if is_secret(wanted):
            self._note(path, "does not say where the secret is (the value is not shown)", f"Write {allowed(wanted)}")
        elif is_private(path, wanted):
            self._note(path, "is not what belongs here (the value is not shown)", f"Write {allowed(wanted)}")
        else:
            self._note(path, f"is {shown(raw, path, wanted)}", f"Write {allowed(wanted)}")
        return BAD

    def _unknown(self, path: Path, known: Iterable[str]) -> None:
        self._note(path, "is not a key that is known here", nearest(str(path[-1]), known))

    def _missing(self, one: FieldInfo, path: Path) -> None:
        inner, _ = bare(one.type)
        if isinstance(inner, type) and issubclass(inner, Struct):
            needed = ", ".join(part.encode_name for part in fields(inner) if part.required)
            self._note(path, "is missing", f"Add the table [{dotted(path)}]" + (f" with {needed}" if needed else ""))
        else:
            self._note(path, "is missing", f"Write {path[-1]} = {allowed(one.type)}")

    def _note(self, path: Path, what: str, cure: str = "") -> None:
        self.problems.append(Problem(path, what, cure))


def _subject(draft: Draft, message: str) -> Path:
    """The key that a message of a struct's own checks begins with, by its name or its value; else the table."""
    for name, value in draft.values.items():
        if message.startswith((f"{name} ", f"{value} ", f"{value!r} ")):
            return (*draft.path, name)
    return draft.path


def _convert(raw: Any, wanted: Any) -> Any:
    """The value as `wanted`, strictly, or BAD. A number that is not finite is BAD: bounds do not catch a NaN."""
    try:
        value = msgspec.convert(raw, wanted, strict=True)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return BAD
    return BAD if isinstance(value, float) and not isfinite(value) else value


def _is_bad(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_bad(one) for one in value.values())
    if isinstance(value, list | tuple):
        return any(_is_bad(one) for one in value)
    return value is BAD


def _is_draft_or_bad(value: Any) -> bool:
    return isinstance(value, Draft) or _is_bad(value)


def _made(value: Any) -> Any:
    """The value with every Draft in it replaced by its struct; BAD where one has none."""
    if isinstance(value, Draft):
        return BAD if value.made is None else value.made
    if isinstance(value, dict):
        return {key: _made(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_made(one) for one in value)
    return value
