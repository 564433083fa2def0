"""A configuration with faults, less the tables that have them: so that the rest can be looked into."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway import config
from gateway.core.limits import CONFIG_BYTES
from gateway.errors import ConfigError, Fault
from gateway.settings import Settings

_ROUNDS = 8  # a table that goes may leave another without what it names
_TABLES = ("broker", "source", "node")


def read(path: Path) -> tuple[Settings | None, tuple[Fault, ...]]:
    """Blocking. The settings with no fault, or what is sound of them, or None, with every fault."""
    try:
        return config.load(path), ()
    except ConfigError as error:
        return _sound(path, error.faults), error.faults


def _sound(path: Path, faults: Sequence[Fault]) -> Settings | None:
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES).decode()
        with tempfile.TemporaryDirectory(prefix="fieldgate-") as folder:
            return _loaded(Path(folder) / "part.toml", text, faults)
    except (OSError, ValueError):  # not to be read, or no room for the part
        return None


def _loaded(part: Path, text: str, faults: Sequence[Fault]) -> Settings | None:
    for _ in range(_ROUNDS):
        text, smaller = _without(text, faults)
        if not smaller:
            return None
        part.write_text(text)
        try:
            return config.load(part)
        except ConfigError as error:
            faults = error.faults
    return None


def _without(text: str, faults: Sequence[Fault]) -> tuple[str, bool]:
    """The text without what the faults name, and whether anything went."""
    import tomlkit  # noqa: PLC0415  slow to import, and needed only here
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    try:
        document = tomlkit.parse(text)
    except TOMLKitError:
        return text, False
    gone = False
    for first, second in {_place(fault.key) for fault in faults}:
        table = document.get(first)
        if first in _TABLES and second and isinstance(table, dict) and second in table:
            del table[second]
            gone = True
        elif first in document and first != "gateway":
            del document[first]
            gone = True
        elif first == "gateway" and isinstance(table, dict) and second in table:
            del table[second]
            gone = True
    return tomlkit.dumps(document), gone


def _place(key: str) -> tuple[str, str]:
    """The first two names of a dotted key; what is quoted in it names nothing that could be kept."""
    first, _, rest = key.partition(".")
    return first, rest.partition(".")[0].strip('"')
