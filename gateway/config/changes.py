"""What is another in a configuration than before, and what of it a running gateway cannot take over."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import fields

from gateway.settings import Settings

from .words import Path, bare, dotted, marked


class Change(NamedTuple):
    """One field, or one table of a name, that is another, is new (`added`) or is gone (`removed`)."""

    key: str  # as TOML writes it: source.gps, web.listen
    how: str  # changed, added, removed
    restart: bool  # a running gateway cannot take it over


def changes(old: Settings, new: Settings) -> list[Change]:
    """Everything that differs, in the order of the tables."""
    return list(_changes(old, new, (), restart=False))


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """The dotted fields that differ and that a running gateway cannot take over; it goes on with the old ones."""
    return [change.key for change in changes(old, new) if change.restart]


def _changes(old: Any, new: Any, path: Path, *, restart: bool) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict) and len(path) == 1:
        yield from _named(old, new, path)
    elif isinstance(old, Struct) and type(old) is type(new):
        for one in fields(old):
            before, after = getattr(old, one.name), getattr(new, one.name)
            here = path if one.name == "options" else (*path, one.encode_name)
            kept = restart or marked(bare(one.type)[1], "restart")
            yield from _changes(before, after, here, restart=kept)
    elif old != new:
        yield Change(dotted(path), "changed", restart)


def _named(old: dict[str, Any], new: dict[str, Any], path: Path) -> Iterator[Change]:
    """Tables of a name: sources, brokers, nodes."""
    for name in {**old, **new}:
        if name not in new:
            yield Change(dotted((*path, name)), "removed", restart=False)
        elif name not in old:
            yield Change(dotted((*path, name)), "added", restart=False)
        else:
            yield from _changes(old[name], new[name], (*path, name), restart=False)
