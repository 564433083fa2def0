"""fieldgate.toml and node.toml as JSON Schema (draft 7), for editors: Taplo, and with it Even Better TOML.

It says what a single field may be, as convert.py does; what fields say together only `load` knows. An editor finds
what it shows (Taplo: by `properties` and `anyOf`) and what is wrong (by `if` and `then`) on two ways: so a source has
both, and `{}` in its `anyOf` lets everything pass there.
"""

from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from drivers import registry
from drivers.suggesting import value
from gateway.anchors import registry as chains
from gateway.settings import AnchorSettings, NodeSettings, Settings, SourceSettings

from .manual import Entry, choices, entries
from .words import allowed, bare

Schema = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_KEYWORDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}
_LENGTHS = {"min_length": ("minLength", "minItems"), "max_length": ("maxLength", "maxItems")}


def gateway() -> Schema:
    """Of fieldgate.toml, with the options of every driver that is installed."""
    return {**_head("fieldgate.toml"), **_table(Settings), "definitions": _definitions(*_KINDS)}


def node() -> Schema:
    """Of node.toml."""
    return {**_head("node.toml"), **_table(NodeSettings), "definitions": _definitions(AnchorSettings)}


def _definitions(*wanted: type[Struct]) -> Schema:
    found: Schema = {}
    for cls in wanted:
        key, into, kinds = _KINDS[cls]
        found |= {f"{into}{kind.name}": _of_kind(cls, key, kind) for kind in kinds()}
    return found


def _head(title: str) -> Schema:
    return {"$schema": _DRAFT, "title": title}


def _table(cls: type[Struct], leave_out: str = "") -> Schema:
    types = {one.encode_name: one.type for one in fields(cls)}
    shown = entries(cls, leave_out)
    return {
        "type": "object",
        **({"description": cls.__doc__.splitlines()[0]} if cls.__doc__ else {}),
        "properties": {one.name: _field(one, types[one.name]) for one in shown},
        "required": [one.name for one in shown if one.required],
        "additionalProperties": False,
    }


def _field(entry: Entry, wanted: Any) -> Schema:
    schema = _value(wanted)
    text = ". ".join(filter(None, (entry.meaning, _sentence(entry, wanted))))
    if text:
        schema["description"] = text
    if entry.default is not None:
        schema["default"] = entry.default
    return schema


def _sentence(entry: Entry, wanted: Any) -> str:
    """What may stand there, with its unit, and what stands there if nothing is written."""
    what = allowed(wanted)
    parts = [f"{what[:1].upper()}{what[1:]}{f' ({entry.unit})' if entry.unit else ''}"]
    if entry.default is not None:
        parts.append(f"Default: {value(entry.default)}")
    if entry.restart:
        parts.append("A change needs a restart")
    return ". ".join(parts)


def _value(wanted: Any) -> Schema:
    """What a value of this type is: the converter's rules as keywords."""
    wanted, metas = bare(wanted)
    if wanted in _KINDS:
        return _any_kind(wanted)
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        return _table(wanted)
    if listed := choices(wanted):
        return {"enum": list(listed)} | ({"type": _TYPES[type(listed[0])]} if len({*map(type, listed)}) == 1 else {})
    origin, parts = get_origin(wanted), [one for one in get_args(wanted) if one not in (NoneType, Ellipsis)]
    if origin is dict:
        return _mapping(*parts)
    if origin in (list, tuple, set, frozenset):
        return {"type": "array", "items": _value(parts[0]), **_keywords(metas, items=True)}
    if wanted in _TYPES:
        return {"type": _TYPES[wanted], **_keywords(metas)}
    return {"anyOf": [_value(one) for one in parts]} if parts else {}


def _mapping(name: Any, inner: Any) -> Schema:
    _, metas = bare(name)
    keywords = _keywords(metas)
    pattern = keywords.pop("pattern", "")
    schema: Schema = {"type": "object"}
    if keywords:
        schema["propertyNames"] = keywords
    if pattern:
        return schema | {"patternProperties": {pattern: _value(inner)}, "additionalProperties": False}
    return schema | {"additionalProperties": _value(inner)}


def _keywords(metas: list[Meta], *, items: bool = False) -> Schema:
    found: Schema = {}
    for meta in metas:
        for name, keyword in _KEYWORDS.items():
            if (limit := getattr(meta, name)) is not None:
                found[keyword] = limit
        for name, pair in _LENGTHS.items():
            if (limit := getattr(meta, name)) is not None:
                found[pair[items]] = limit
        if meta.pattern:
            found["pattern"] = meta.pattern.replace(r"\Z", "$")  # ECMA's $ is the end alone
    return found


def _any_kind(cls: type[Struct]) -> Schema:
    """[source.ID] of whichever driver, [anchor.NAME] of whichever kind."""
    key, into, kinds = _KINDS[cls]
    names = [kind.name for kind in kinds()]
    refs = {name: {"$ref": f"#/definitions/{into}{name}"} for name in names}
    return {
        "type": "object",
        "properties": {key: {"type": "string", "enum": names}},
        "required": [key],
        "allOf": [{"if": _is(key, name), "then": ref} for name, ref in refs.items()],
        "anyOf": [{}, *refs.values()],
    }


def _is(key: str, name: str) -> Schema:
    return {"properties": {key: {"const": name}}, "required": [key]}


def _of_kind(cls: type[Struct], key: str, kind: Any) -> Schema:
    """A table of one kind: its own fields and the kind's options are one table."""
    own, theirs = _table(cls, leave_out="options"), _table(kind.options)
    properties = {**own["properties"], **theirs["properties"]}
    properties[key] = {**properties[key], "const": kind.name}
    required = [*own["required"], *theirs["required"]]
    return {**theirs, "description": kind.title, "properties": properties, "required": required}


_KINDS: dict[type[Struct], tuple[str, str, Callable[[], Iterable[Any]]]] = {
    SourceSettings: ("driver", "", registry.kinds),
    AnchorSettings: ("kind", "anchor-", chains.kinds),
}
"""Tables whose other keys depend on one of theirs: that key, what definitions are called, and the kinds there are."""
