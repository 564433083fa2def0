"""A configuration with faults, less the tables that have them: so that the rest can be looked into."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway import config
from gateway.config import ConfigFile
from gateway.errors import ConfigError, Fault
from gateway.settings import Settings

_ROUNDS = 8  # a table that goes may leave another without what it names
_TABLES = ("broker", "source", "node")
_OWN = "gateway"  # without it there is nothing to look into: of it only the keys with faults go


def read(path: Path) -> tuple[Settings | None, tuple[Fault, ...]]:
    """Blocking. The settings with no fault, or what is sound of them, or None, with every fault."""
    try:
        files = config.files(path)
    except ConfigError as error:
        return None, error.faults
    try:
        return config.settings_of(files), ()
    except ConfigError as error:
        return _sound(files, error.faults), error.faults


def _sound(files: Sequence[ConfigFile], faults: Sequence[Fault]) -> Settings | None:
    for _ in range(_ROUNDS):
        smaller = [file._replace(data=_without(file.data, faults)) for file in files]
        if smaller == list(files):
            return None
        files = smaller
        try:
            return config.settings_of(files)
        except ConfigError as error:
            faults = error.faults
    return None


def _without(data: bytes, faults: Sequence[Fault]) -> bytes:
    """The file without what the faults name; as it is where it is no TOML."""
    import tomlkit  # noqa: PLC0415  slow to import, and needed only here
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415 -- as above

    try:
        document = tomlkit.parse(data.decode())
    except (TOMLKitError, ValueError):
        return data
    gone = [_remove(document, *_place(fault.key)) for fault in faults]
    return tomlkit.dumps(document).encode() if any(gone) else data


def _remove(document: dict[str, Any], first: str, second: str) -> bool:
    table = document.get(first)
    if first in (*_TABLES, _OWN) and second and isinstance(table, dict):
        return table.pop(second, None) is not None
    return first != _OWN and document.pop(first, None) is not None


def _place(key: str) -> tuple[str, str]:
    """The first two names of a dotted key; what is quoted in it names nothing that could be kept."""
    first, _, rest = key.partition(".")
    return first, rest.partition(".")[0].strip('"')
