"""A configuration to its settings, or to one report of everything that is wrong with it.

`load` and `load_node` read `fieldgate.toml` and `node.toml` with their drop-ins. This is the only module that reads the
environment: the secrets that a configuration names are opened through `read_secret`, `open_signer` and `log_signer`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from drivers import registry
from gateway import keys
from gateway.anchors import registry as chains
from gateway.core.limits import WATCH_TOKEN_CHARS
from gateway.core.note import ED25519, SM2, VerifierKey
from gateway.errors import ConfigError, KeyFileError
from gateway.notify import Notifier
from gateway.settings import AnchorSettings, NodeSettings, Settings, SourceSettings

from . import checks, documents, profile, words
from .changes import Change, changes, restart_needed
from .convert import Converter, Draft, Problem, Rest
from .documents import ConfigFile, data_dir

__all__ = [
    "Change",
    "ConfigFile",
    "asks_for_passphrase",
    "broker_address",
    "changes",
    "check_apart",
    "data_dir",
    "files",
    "journal_stream",
    "load",
    "load_as",
    "load_node",
    "log_counter",
    "log_signer",
    "look_at_key",
    "node_settings_of",
    "notifier",
    "open_signer",
    "read_secret",
    "restart_needed",
    "secrets_of",
    "set_by_profile",
    "settings_of",
    "sm2_signer",
    "text_of",
    "tpm",
    "watch_token",
]

T = TypeVar("T", bound=Struct)

_EXAMPLES = "docs/drivers.md has an example for each driver"
_MQTT_PORT, _MQTTS_PORT = 1883, 8883


def load(path: Path) -> Settings:
    """fieldgate.toml and its drop-ins. ConfigError with every fault: what, where and the cure."""
    return settings_of(files(path))


def load_node(path: Path) -> NodeSettings:
    """node.toml and its drop-ins. ConfigError as for `load`."""
    return node_settings_of(files(path))


def files(path: Path) -> tuple[ConfigFile, ...]:
    """Blocking. FILE.toml and what is in FILE.d beside it, with their bytes. ConfigError where one cannot be read."""
    return documents.read([path, *documents.drop_ins(path)])


def settings_of(read: Sequence[ConfigFile]) -> Settings:
    """The settings that these files make; nothing is read again. ConfigError as for `load`."""
    return profile.applied(_written(read))


def set_by_profile(read: Sequence[ConfigFile]) -> dict[str, Any]:
    """Fields that these files do not have and the profile sets, as `gateway.digests`, with their values."""
    return profile.sets(_written(read))


def _written(read: Sequence[ConfigFile]) -> Settings:
    return _load(read, Settings, REST, checks.gateway_faults, own="gateway")


def node_settings_of(read: Sequence[ConfigFile]) -> NodeSettings:
    """The same for a node's files."""
    return _load(read, NodeSettings, REST, checks.node_faults, own="node")


def load_as(path: Path, cls: type[T]) -> T:
    """Any TOML file as any struct, without drop-ins and checks between fields. ConfigError as for `load`."""
    return _load(documents.read([path]), cls, {}, lambda _: [])


def read_secret(uri: str) -> str:
    """The password or key line that a Secret of the settings names. KeyFileError where it cannot be had."""
    return keys.read_secret(uri, credentials=_credentials(), environment=os.environ)


def text_of(uri: str) -> str:
    """What stands where a Secret points, to be kept out of texts; "" where it cannot be had."""
    return keys.text_of(uri, credentials=_credentials(), environment=os.environ)


def secrets_of(table: Struct) -> dict[str, str]:
    """The texts that the fields of a table name, by what stands in the field. KeyFileError as for `read_secret`."""
    return {uri: read_secret(uri) for _, uri in words.named_secrets(table)}


def open_signer(uri: str, passphrase: Callable[[], str] | None = None) -> keys.Signer:
    """The private key that a Secret of the settings names. KeyFileError where it cannot be had."""
    return keys.open_signer(uri, credentials=_credentials(), environment=os.environ, passphrase=passphrase)


def look_at_key(uri: str) -> keys.Look:
    """What can be told of a key without opening it. KeyFileError where nothing can."""
    return keys.look(uri, credentials=_credentials(), environment=os.environ)


def log_counter(settings: Settings) -> keys.Counter | None:
    """The counter against rollback that goes with the log's key. KeyFileError where its file cannot be read."""
    return keys.counter_of(settings.gateway.key, environment=os.environ)


def tpm() -> keys.Tpm:
    """This machine's TPM, or the one that the environment names for tpm2-tools."""
    return keys.tpm_of(os.environ)


def asks_for_passphrase(settings: Settings) -> bool:
    """Whether the log's key is sealed with a passphrase that the configuration names no place of."""
    try:
        return settings.gateway.key_passphrase is None and look_at_key(settings.gateway.key).guard == "passphrase"
    except KeyFileError:
        return False


def log_signer(settings: Settings, passphrase: Callable[[], str] | None = None) -> keys.Signer:
    """The log's key. KeyFileError unless its name is the origin, it is Ed25519, and no node's key is the same.

    passphrase: asks for it, where the configuration names no place of it.
    """
    place = settings.gateway.key_passphrase
    ask = passphrase if place is None else partial(read_secret, place)
    signer = open_signer(settings.gateway.key, ask)
    vkey, where = signer.vkey, settings.gateway.key
    if vkey.name != settings.origin or vkey.algorithm != ED25519:
        raise KeyFileError(
            f"this is the key of {vkey.name}, not of the log {settings.origin}",
            where=where,
            cure="Restore name, epoch and key as `fieldgate init` made them",
        )
    check_apart(settings, vkey)
    return signer


def sm2_signer(settings: Settings) -> keys.Signer | None:
    """The key of the further signature; None where none is wanted. KeyFileError unless it is SM2 and this gateway's.

    EngineError where nothing here makes such signatures.
    """
    uri = settings.gateway.sm2_key
    if uri is None:
        return None
    signer = open_signer(uri)
    if signer.vkey.algorithm != SM2 or signer.vkey.name != settings.sm2_name:
        raise KeyFileError(
            f"this is the key of {signer.vkey.name}, not the SM2 key {settings.sm2_name}",
            where=uri,
            cure="Make one with `fieldgate key sm2`, and name it in sm2_key",
        )
    return signer


def check_apart(settings: Settings, vkey: VerifierKey) -> None:
    """KeyFileError where a node or a witness is configured with the log's own key."""
    named = {f"node.{name}": (*node.keys, node.read_key) for name, node in settings.node.items()}
    named |= {f"witness.{name}": witness.keys for name, witness in settings.witness.items()}
    for name, texts in named.items():
        for text in texts:
            if text and VerifierKey.parse(text).public == vkey.public:
                what = f"{name} is configured with the log's own key"
                raise KeyFileError(what, where=settings.gateway.key, cure="Each has a key of its own")


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


def notifier() -> Notifier:
    """Whom to tell how this daemon does (sd_notify(3)), and how often (sd_watchdog_enabled(3))."""
    address, pid, usec = (os.environ.get(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"))
    ours = pid in ("", str(os.getpid())) and usec.isascii() and usec.isdecimal()
    return Notifier(address, int(usec[:18]) / 1_000_000 if ours else 0.0)


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


def _chain_options(anchor: Draft, problems: list[Problem]) -> type[Struct] | None:
    """The options of the anchor's kind; None and a problem for a kind that is not known."""
    name = anchor.get("kind")
    if name is None:
        return None
    if name not in chains.names():
        near = words.nearest(name, chains.names())
        problems.append(Problem((*anchor.path, "kind"), f"is {words.quoted(name)}, which is no kind of chain", near))
        return None
    return chains.kind(name).options


REST: Mapping[type[Struct], Rest] = MappingProxyType(
    {
        SourceSettings: Rest("options", _options_type, _EXAMPLES),
        AnchorSettings: Rest("options", _chain_options, "docs/anchors.md has an example for each kind"),
    }
)
"""Tables with keys that depend on what another key of theirs says."""


def _load(
    files: Sequence[ConfigFile],
    cls: type[T],
    rest: Mapping[type[Struct], Rest],
    check: Callable[[Draft], list[Problem]],
    own: str = "",
) -> T:
    texts, parsed = zip(*documents.parse(files), strict=True)
    document, troubles = documents.merge(parsed, own)
    converter = Converter(rest)
    root = converter.table(document, cls, ())
    problems = [*converter.problems, *check(root)]
    if problems or troubles:
        report = import_module("gateway.config.report")  # tomlkit is slow to import, and needed only here
        raise ConfigError(report.faults(files, texts, problems, troubles))
    settings: T = root.made
    return settings
