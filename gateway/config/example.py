"""deploy/fieldgate.toml and deploy/node.toml, made of the types: every table and field, its meaning, bounds, default.

A field is explained where it is shown first; what sources of several drivers have in common is explained once. A key
with # before it is not set: it shows its default, or a value that it might have.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, get_origin

from msgspec import Struct

from drivers import registry
from drivers.suggesting import key, value
from gateway.anchors import registry as chains
from gateway.settings import AnchorSettings, NodeSettings, Settings, SourceSettings

from .example_values import EXAMPLE, NODE_EXAMPLE
from .manual import Entry, choices, entries, inner_table

_WIDTH = 118
_RESTART = "A change of it needs a restart."
_HEAD = """\
# {what}: every table and every field, with its meaning, bounds and default.
#
# A line that begins with #name = is a field that is not set here, and shows its default or a value that it might have.
# What several tables have in common is explained at the first of them.
# Unknown names are refused: after a change run
#     fieldgate check {option}--config {path}
#
# A secret is never written here, only where it is:
#     "file:/path"          a file that only its owner can read (mode 0600)
#     "credential:name"     a credential of the systemd unit (LoadCredential=)
#     "env:NAME"            a variable of the service's environment
"""
_SHAPES = {
    "subscribe": "What a broker brings. A source with a wildcard in its topic may stand for many devices.",
    "stream": "What sends by itself, line by line or frame by frame: on a serial port, or over the network.",
    "poll": "What is asked, in turn. Devices on one bus are sources of their own.",
}

_SOMETHING = object()  # a value that is no default
Known = tuple[str, str, str]
"""By what a field is known again: name, meaning, default."""


class _Table(NamedTuple):
    """One table of the example. Without `on` it is shown as one that is not set."""

    name: str
    intro: str
    fields: list[Entry]
    values: Mapping[str, Any]
    on: bool = True


def gateway() -> str:
    """deploy/fieldgate.toml."""
    head = _HEAD.format(what="Fieldgate's configuration", option="", path="/etc/fieldgate/fieldgate.toml")
    return head + _document(Settings, EXAMPLE)


def node() -> str:
    """deploy/node.toml."""
    head = _HEAD.format(what="An upstream node", option="--node ", path="/var/lib/fieldgate-node/node.toml")
    return head + _document(NodeSettings, NODE_EXAMPLE)


def _document(cls: type[Struct], values: Mapping[str, Any]) -> str:
    rows: list[str] = []
    for entry in entries(cls):
        table = inner_table(entry.type)
        assert table is not None, "a configuration has only tables"
        of_kinds = {SourceSettings: _sources, AnchorSettings: _anchors}.get(table)
        shown = of_kinds() if of_kinds else _tables(entry, table, values.get(entry.name, {}))
        rows += _shown(list(shown))
    return "\n".join(rows) + "\n"


def _tables(entry: Entry, cls: type[Struct], values: Mapping[str, Any]) -> Iterator[_Table]:
    intro, found = _intro(cls, restart=entry.restart), entries(cls)
    if get_origin(entry.type) is not dict:
        yield _Table(entry.name, intro, found, values)
        return
    for name, given in values.items():
        yield _Table(f"{entry.name}.{key(name)}", intro, found, given)
        intro = ""


def _sources() -> Iterator[_Table]:
    """Of each shape the first is on."""
    driver, *common = entries(SourceSettings, leave_out="options")
    about, shape = _intro(SourceSettings) + "\n", ""
    for kind in registry.kinds():
        for number, (name, values) in enumerate(kind.examples.items()):
            first = kind.shape != shape
            intro = f"{kind.title[0].upper()}{kind.title[1:]}." if not number else ""
            if first:
                intro = f"{about}{_SHAPES[kind.shape]}\n\n{intro}"
            about, shape = "", kind.shape
            fields = [driver, *entries(kind.options), *common]
            yield _Table(f"source.{key(name)}", intro, fields, {"driver": kind.name, **values}, on=first)


def _anchors() -> Iterator[_Table]:
    """None is on: each takes an account somewhere."""
    kind, *common = entries(AnchorSettings, leave_out="options")
    about = _intro(AnchorSettings) + "\n\n"
    for one in chains.kinds():
        intro = f"{about}{one.title[0].upper()}{one.title[1:]}."
        about, fields = "", [kind, *entries(one.options), *common]
        values = {"kind": one.name, **one.example, "#every_blocks": 1_000}
        yield _Table(f"anchor.{key(one.name)}", intro, fields, values, on=False)


def _intro(cls: type[Struct], *, restart: bool = False) -> str:
    """What a table is for: its docstring behind the name."""
    text = (cls.__doc__ or "").partition(": ")[2]
    return f"{text[:1].upper()}{text[1:]} {_RESTART if restart else ''}".strip()


def _shown(tables: list[_Table]) -> list[str]:
    rows: list[str] = []
    told: set[Known] = set()
    for number, table in enumerate(tables):
        rows += ["", *_comment(table.intro), f"{'' if table.on else '#'}[{table.name}]"]
        later = {known for one in tables[number + 1 :] for known in _given(one)}
        for entry in table.fields:
            rows += _field(entry, table, told, later)
    return rows


def _given(table: _Table) -> Iterator[Known]:
    return (_known(one) for one in table.fields if one.name in table.values or f"#{one.name}" in table.values)


def _known(entry: Entry) -> Known:
    return entry.name, entry.meaning, repr(entry.default)


def _field(entry: Entry, table: _Table, told: set[Known], later: set[Known]) -> Iterator[str]:
    """The field with its comment; nothing where it was shown before, or will be with a better value."""
    known = _known(entry)
    on = entry.name in table.values
    shown = table.values.get(entry.name, table.values.get(f"#{entry.name}", entry.default))
    if known not in set(_given(table)) and (known in told or known in later or shown is None):
        return
    if known not in told:
        told.add(known)
        yield from _comment(_explained(entry, shown if on else None))
        yield from _inner(entry, told)
    yield f"{'' if on and table.on else '#'}{entry.name} = {value(_plain(shown))}"


def _explained(entry: Entry, shown: Any) -> str:
    """Meaning, and in brackets what else is known of it."""
    notes = []
    listed = choices(entry.type)
    if entry.limits and not (listed and all(f'"{one}"' in entry.meaning for one in listed)):
        notes.append(entry.limits)
    if shown is not None and entry.default not in (None, "", (), {}, shown):
        notes.append(f"default {value(_plain(entry.default))}")
    if entry.restart:
        notes.append("a change needs a restart")
    return f"{entry.meaning} ({'; '.join(notes)})" if notes else entry.meaning


def _inner(entry: Entry, told: set[Known]) -> Iterator[str]:
    """The keys of a field that is a table itself, once for each sort of table."""
    table = inner_table(entry.type)
    known = ("", table.__name__ if table else "", "")
    if table is None or known in told:
        return
    told.add(known)
    for one in entries(table):
        yield from _comment(_explained(one, _SOMETHING), f"{one.name:12} ", before="#   ")


def _comment(text: str, name: str = "", *, before: str = "# ") -> Iterable[str]:
    for line in text.splitlines():
        yield from (
            [""]
            if not line
            else textwrap.wrap(
                line,
                _WIDTH,
                initial_indent=before + name,
                subsequent_indent=before + " " * len(name),
                break_long_words=False,
                break_on_hyphens=False,
            )
        )


def _plain(what: Any) -> Any:
    """Whole numbers without a fraction."""
    return int(what) if isinstance(what, float) and what.is_integer() else what
