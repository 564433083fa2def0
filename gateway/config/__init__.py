"""A configuration file to its settings, or to one report of everything that is wrong with it.

`load` and `load_node` read `fieldgate.toml` and `node.toml`. This is the only module that reads the environment: the
secrets that a configuration names are opened through `read_secret`, `open_signer` and `log_signer`.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from drivers import registry
from gateway import keys
from gateway.core.limits import CONFIG_BYTES, WATCH_TOKEN_CHARS
from gateway.core.note import ED25519, VerifierKey
from gateway.core.text import plain
from gateway.errors import ConfigError, Fault, KeyFileError
from gateway.settings import NodeSettings, Settings, SourceSettings

from . import checks, words
from .convert import Converter, Draft, Problem, Rest

__all__ = ["broker_address", "load", "load_as", "load_node", "log_signer", "open_signer", "read_secret", "watch_token"]

T = TypeVar("T", bound=Struct)

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_EXAMPLES = "docs/drivers.md has an example for each driver"
_MQTT_PORT, _MQTTS_PORT = 1883, 8883
_SYNTAX = 'Text stands in "quotes", numbers without; one key = value a line'


def load(path: Path) -> Settings:
    """fieldgate.toml. ConfigError with every fault: what, where and the cure."""
    rest: dict[type[Struct], Rest] = {SourceSettings: Rest("options", _options_type, _EXAMPLES)}
    return _load(path, Settings, rest, checks.gateway_faults)


def load_node(path: Path) -> NodeSettings:
    """node.toml. ConfigError as for `load`."""
    return _load(path, NodeSettings, {}, checks.node_faults)


def load_as(path: Path, cls: type[T]) -> T:
    """Any TOML file as any struct, without checks between fields. ConfigError as for `load`."""
    return _load(path, cls, {}, lambda _: [])


def read_secret(uri: str) -> str:
    """The password or key line that a Secret of the settings names. KeyFileError where it cannot be had."""
    return keys.read_secret(uri, credentials=_credentials(), environment=os.environ)


def open_signer(uri: str) -> keys.Signer:
    """The private key that a Secret of the settings names. KeyFileError where it cannot be had."""
    return keys.open_signer(uri, credentials=_credentials(), environment=os.environ)


def log_signer(settings: Settings) -> keys.Signer:
    """The log's key. KeyFileError unless its name is the origin, it is Ed25519, and no node's key is the same."""
    signer = open_signer(settings.gateway.key)
    vkey, where = signer.vkey, settings.gateway.key
    if vkey.name != settings.origin or vkey.algorithm != ED25519:
        raise KeyFileError(
            f"this is the key of {vkey.name}, not of the log {settings.origin}",
            where=where,
            cure="Restore name, epoch and key as `fieldgate init` made them",
        )
    for name, node in settings.node.items():
        for text in (node.seen_key, node.stored_key, node.read_key):
            if text and VerifierKey.parse(text).public == vkey.public:
                raise KeyFileError(
                    f"node.{name} is configured with the log's own key", where=where, cure="Each has a key of its own"
                )
    return signer


def broker_address(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, of a broker's url that `load` has accepted."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    return parts.hostname or "", parts.port or (_MQTTS_PORT if tls else _MQTT_PORT), tls


def watch_token(settings: Settings) -> str:
    """The token that `[web] watch_token` names; "" where it names none. KeyFileError where it is none to rely on."""
    uri = settings.web.watch_token
    if uri is None:
        return ""
    token = read_secret(uri)
    if len(token) < WATCH_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        what = f"this is no token: it needs {WATCH_TOKEN_CHARS} characters of ASCII at least, without blanks"
        raise KeyFileError(what, where=uri, cure="Make one: `head -c 24 /dev/urandom | base64`")
    return token


def journal_stream() -> str:
    """By what a service knows that its stderr leads to the system's journal (systemd.exec(5)); "" outside of one."""
    return os.environ.get("JOURNAL_STREAM", "")


def _credentials() -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def _options_type(source: Draft, problems: list[Problem]) -> type[Struct] | None:
    """The options of the source's driver; None and a problem for a driver that is not known."""
    name = source.get("driver")
    if name is None:
        return None
    if name not in registry.names():
        near = words.nearest(name, registry.names())
        problems.append(Problem((*source.path, "driver"), f"is {words.quoted(name)}, which is no driver", near))
        return None
    try:
        return registry.options_type(name)
    except registry.UnknownDriver as exc:  # of another package, which is broken
        problems.append(Problem((*source.path, "driver"), str(exc), "Mend or remove that package"))
        return None


def _load(
    path: Path,
    cls: type[T],
    rest: Mapping[type[Struct], Rest],
    check: Callable[[Draft], list[Problem]],
) -> T:
    text = _read(path)
    converter = Converter(rest)
    root = converter.table(_parse(path, text), cls, ())
    problems = [*converter.problems, *check(root)]
    if problems:
        raise ConfigError(_report(path, text, problems))
    settings: T = root.made
    return settings


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise _fault(path, 0, "there is no such file", "Make one with fieldgate init, or name it: --config") from None
    except (OSError, ValueError) as exc:
        what = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it cannot be read"
        raise _fault(path, 0, what, "Check the path, and who may read it") from exc
    if len(data) > CONFIG_BYTES:
        raise _fault(path, 0, f"it is longer than {CONFIG_BYTES} bytes", "Is it the right file?")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _fault(path, 1, "it begins with a byte order mark", "Save it as UTF-8 without one")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _fault(path, line, "it is not UTF-8 text", "Save it as UTF-8") from None


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


def _report(path: Path, text: str, problems: list[Problem]) -> list[Fault]:
    from .lines import lines  # noqa: PLC0415  tomlkit is slow to import, and needed only here

    found = lines(text)
    faults = []
    for problem in dict.fromkeys(problems):
        place = problem.path
        while place and place not in found:
            place = place[:-1]
        line = found.get(place, 0)
        faults.append(Fault(plain(str(path)), line, words.dotted(problem.path), problem.what, problem.cure))
    return sorted(faults, key=lambda fault: (fault.line, fault.key))


def _fault(path: Path, line: int, what: str, cure: str) -> ConfigError:
    return ConfigError([Fault(plain(str(path)), line, "", what, cure)])
