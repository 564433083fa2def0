"""A configuration's text: FILE.toml and what is in the folder FILE.d beside it, read within limits and put together.

The files are one configuration. A table, [seal] or [source.climate], may be continued in another file; a key stands
in one file, with all of its value; the table that says who this is stands in FILE.toml, where commands change it.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from stat import S_IMODE
from typing import Any, NamedTuple

from gateway.core.limits import CONFIG_BYTES, CONFIG_FILES
from gateway.core.text import plain
from gateway.errors import ConfigError, Fault

from .words import Path as Place

SUFFIX = ".toml"
_DEPTH = 2  # [table] and [table.NAME]
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_DATA_DIR = re.compile(r"""^[ \t]*data_dir[ \t]*=[ \t]*(["'])(/[^"'\\\n]+)\1""", re.MULTILINE)
_SYNTAX = 'Text stands in "quotes", numbers without; one key = value a line'
_MAKE = "Make one with fieldgate init, or name it: --config"


class ConfigFile(NamedTuple):
    """A file as it was read; `owner` and `group` are -1 for one that was not."""

    path: Path
    data: bytes
    mode: int = 0o644
    owner: int = -1
    group: int = -1

    @property
    def sha256(self) -> str:
        """Of its bytes, 64 hex digits."""
        return sha256(self.data).hexdigest()


class Clash(NamedTuple):
    """A key that stands in two files, by their numbers; the first one's value counts meanwhile."""

    place: Place
    first: int
    second: int


class Misplaced(NamedTuple):
    """A table in a drop-in that belongs to the file itself."""

    place: Place
    file: int


def folder_of(path: Path) -> Path | None:
    """Where the drop-ins of a file are: FILE.d of FILE.toml. None for a file of another name, which has none."""
    return path.with_suffix(".d") if path.suffix == SUFFIX else None


def drop_ins(path: Path) -> list[Path]:
    """The drop-ins of a file, in the order of their names. ConfigError where the folder cannot be read."""
    folder = folder_of(path)
    if folder is None:
        return []
    try:
        found = sorted(one for one in folder.iterdir() if one.suffix == SUFFIX and not one.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    except OSError as exc:
        raise _fault(folder, 0, exc.strerror or "it cannot be read", "Check who may read it") from exc
    if len(found) > CONFIG_FILES:
        what = f"there are {len(found)} files in it, and {CONFIG_FILES} are read at most"
        raise _fault(folder, 0, what, "Put several tables into one file")
    return found


def read(paths: Sequence[Path]) -> tuple[ConfigFile, ...]:
    """These files, of CONFIG_BYTES together. ConfigError with those that cannot be read."""
    files: list[ConfigFile] = []
    faults: list[Fault] = []
    room = CONFIG_BYTES
    for path in paths:
        try:
            files.append(_read(path, room))
            room -= len(files[-1].data)
        except ConfigError as exc:
            faults += exc.faults
    if faults:
        raise ConfigError(faults)
    return tuple(files)


def data_dir(path: Path) -> Path | None:
    """Where the gateway of a file keeps what it knows, whatever else is wrong in it; None where that is not told."""
    try:
        text = path.read_bytes()[:CONFIG_BYTES].decode(errors="replace")
    except (OSError, ValueError):
        return None
    try:
        folder = tomllib.loads(text)["gateway"]["data_dir"]
    except (ValueError, LookupError, TypeError, RecursionError):
        found = _DATA_DIR.search(text)
        folder = found[2] if found else None
    return Path(folder) if isinstance(folder, str) and folder.startswith("/") and folder.isprintable() else None


def parse(files: Sequence[ConfigFile]) -> list[tuple[str, dict[str, Any]]]:
    """Text and document of each. ConfigError with what is no TOML in any of them."""
    found: list[tuple[str, dict[str, Any]]] = []
    faults: list[Fault] = []
    for file in files:
        try:
            text = _text(file)
            found.append((text, _parse(file.path, text)))
        except ConfigError as exc:
            faults += exc.faults
    if faults:
        raise ConfigError(faults)
    return found


def merge(documents: Sequence[dict[str, Any]], own: str) -> tuple[dict[str, Any], list[Clash | Misplaced]]:
    """One document of all. `own`: the table that the first alone may have."""
    merged: dict[str, Any] = {}
    origins: dict[Place, int] = {}
    troubles: list[Clash | Misplaced] = []
    for number, document in enumerate(documents):
        if number and own in document:
            troubles.append(Misplaced((own,), number))
            document = {name: value for name, value in document.items() if name != own}
        troubles += _merge(merged, document, (), number, origins)
    return merged, troubles


def _merge(
    into: dict[str, Any], document: dict[str, Any], above: Place, number: int, origins: dict[Place, int]
) -> Iterator[Clash]:
    for name, value in document.items():
        place: Place = (*above, name)
        if len(place) <= _DEPTH and isinstance(value, dict) and isinstance(into.setdefault(name, {}), dict):
            origins.setdefault(place, number)
            yield from _merge(into[name], value, place, number, origins)
        elif place in origins:
            yield Clash(place, origins[place], number)
        else:
            into[name], origins[place] = value, number


def _read(path: Path, room: int) -> ConfigFile:
    try:
        with path.open("rb") as file:
            data = file.read(room + 1)
            stat = os.fstat(file.fileno())
    except FileNotFoundError:
        raise _fault(path, 0, "there is no such file", _MAKE) from None
    except (OSError, ValueError) as exc:
        what = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it cannot be read"
        raise _fault(path, 0, what, "Check the path, and who may read it") from exc
    if len(data) > room:
        more = "" if room == CONFIG_BYTES else ", with the files before it"
        raise _fault(path, 0, f"it is longer than {CONFIG_BYTES} bytes{more}", "Is it the right file?")
    return ConfigFile(path, data, S_IMODE(stat.st_mode), stat.st_uid, stat.st_gid)


def _text(file: ConfigFile) -> str:
    if file.data.startswith(b"\xef\xbb\xbf"):
        raise _fault(file.path, 1, "it begins with a byte order mark", "Save it as UTF-8 without one")
    try:
        return file.data.decode()
    except UnicodeDecodeError as exc:
        line = file.data.count(b"\n", 0, exc.start) + 1
        raise _fault(file.path, line, "it is not UTF-8 text", "Save it as UTF-8") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message = str(exc)
        at = _AT.search(message)
        what = message[: at.start()] if at else message
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        column = f" at column {at[2]}" if at and at[1] else ""
        raise _fault(path, line, f"this is not TOML{column}: {plain(what)}", _SYNTAX) from None
    except (ValueError, RecursionError):
        raise _fault(path, 0, "a number in it is too long, or its lists are nested too deeply", _SYNTAX) from None


def _fault(path: Path, line: int, what: str, cure: str) -> ConfigError:
    return ConfigError([Fault(plain(str(path)), line, "", what, cure)])
