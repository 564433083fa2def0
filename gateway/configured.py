"""A configuration with everything that it names, read once: settings, secrets, and what the files were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import structs

from drivers.mqtt_connect import Broker
from gateway import config
from gateway.config import ConfigFile
from gateway.errors import KeyFileError
from gateway.settings import Settings


class Configured(NamedTuple):
    """What a gateway runs with.

    brokers: with their secrets. files: each that was read, the main one first. restart: the fields that
    the files have otherwise, and that wait for a restart. watch_token (config.watch_token), and for each anchor
    what its secrets name: those, or why they cannot be had.
    """

    settings: Settings
    brokers: Mapping[str, Broker]
    files: Sequence[ConfigFile]
    restart: Sequence[str] = ()
    watch_token: str | KeyFileError = ""
    anchors: Mapping[str, Mapping[str, str] | KeyFileError] = MappingProxyType({})

    @property
    def digests(self) -> list[tuple[str, str]]:
        """(name, SHA-256 in hex) of each file."""
        return [(file.path.name, file.sha256) for file in self.files]


def read(path: Path, started: Settings | None = None) -> Configured:
    """Reads it and touches nothing. ConfigError with every fault.

    started: what a running gateway was started with; what it cannot take over stays as it is there. KeyFileError then
    for a secret that cannot be had, and nothing is taken over. At a start what needs it goes without, and tells so:
    everything else does its work (invariant 9 of DESIGN.md).
    """
    files = config.files(path)
    wanted = config.settings_of(files)
    settings = wanted if started is None else running(started, wanted)
    made = _made_at_start if started is None else _made
    return made(settings, files, [] if started is None else config.restart_needed(started, wanted))


def _made(settings: Settings, files: Sequence[ConfigFile], restart: Sequence[str]) -> Configured:
    brokers = {name: broker_of(settings, name) for name in settings.broker}
    anchors = {name: config.secrets_of(anchor.options) for name, anchor in settings.anchor.items()}
    return Configured(settings, brokers, files, restart, config.watch_token(settings), anchors)


def _made_at_start(settings: Settings, files: Sequence[ConfigFile], restart: Sequence[str]) -> Configured:
    brokers: dict[str, Broker] = {}
    anchors: dict[str, Mapping[str, str] | KeyFileError] = {}
    token: str | KeyFileError
    for name in settings.broker:
        try:
            brokers[name] = broker_of(settings, name)
        except KeyFileError as error:
            brokers[name] = _broker(settings, name, "", (f"{error.where}: {error.what}", error.cure))
    for name, anchor in settings.anchor.items():
        try:
            anchors[name] = config.secrets_of(anchor.options)
        except KeyFileError as error:
            anchors[name] = error
    try:
        token = config.watch_token(settings)
    except KeyFileError as error:
        token = error
    return Configured(settings, brokers, files, restart, token, anchors)


def broker_of(settings: Settings, name: str) -> Broker:
    """Blocking: with its secrets read. KeyFileError where one cannot be."""
    password = settings.broker[name].password
    return _broker(settings, name, config.read_secret(password) if password else "")


def _broker(settings: Settings, name: str, password: str, lacking: tuple[str, str] | None = None) -> Broker:
    broker = settings.broker[name]
    host, port, tls = config.broker_address(broker.url)
    return Broker(
        name=name,
        host=host,
        port=port,
        tls=tls,
        client_id=broker.client_id or f"fieldgate-{settings.gateway.name}",
        window=broker.window,
        keepalive_s=broker.keepalive_s,
        connect_timeout_s=broker.connect_timeout_s,
        user=broker.user,
        password=password,
        ca_file=broker.ca_file,
        cert_file=broker.cert_file,
        key_file=broker.key_file,
        lacking=lacking,
    )


def running(started: Settings, wanted: Settings) -> Settings:
    """What a gateway that was started with the one runs with when the other is wanted (config.restart_needed)."""
    kept: dict[str, dict[str, Any]] = {}
    for key in config.restart_needed(started, wanted):
        table, _, one = key.partition(".")
        kept.setdefault(table, {})[one] = getattr(getattr(started, table), one)
    tables = {table: structs.replace(getattr(wanted, table), **fields) for table, fields in kept.items()}
    return structs.replace(wanted, **tables)


@dataclass
class Turned:
    """Names of what was started, stopped and changed."""

    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.started or self.stopped or self.changed)


class Changes(NamedTuple):
    """What differs between two configurations, of a gateway that takes over all of it."""

    sources: Turned
    nodes: Turned
    tables: Turned  # `broker.NAME`, `witness.NAME`, `anchor.NAME`, and tables without a name

    def __bool__(self) -> bool:
        return any((self.sources, self.nodes, self.tables))

    def __str__(self) -> str:
        """One line for a log."""
        told = [
            f"{turn} {kind} {', '.join(names)}"
            for kind, turned in zip(("source", "node", "table"), self, strict=True)
            for turn, names in zip(("started", "stopped", "changed"), _lists(turned), strict=True)
            if names
        ]
        return "; ".join(told) or "nothing has changed"


def changes(old: Configured, new: Configured) -> Changes:
    """A source is changed, too, where its broker is: it is reconnected."""
    before, after = old.settings, new.settings
    brokers = _turned(old.brokers, new.brokers)
    reconnected = set(brokers.changed)
    sources = _turned(before.source, after.source)
    sources.changed = [
        name
        for name, source in after.source.items()
        if name in sources.changed or (name in before.source and getattr(source.options, "broker", None) in reconnected)
    ]
    kinds = {
        "broker": brokers,
        "witness": _turned(before.witness, after.witness),
        "anchor": _turned(_anchors(old), _anchors(new)),
    }
    tables = Turned(
        *(
            [f"{kind}.{name}" for kind, turned in kinds.items() for name in _lists(turned)[turn]]
            for turn in range(len(_lists(brokers)))
        )
    )
    tables.changed += [
        one.name
        for one in structs.fields(Settings)
        if not isinstance(getattr(after, one.name), dict) and getattr(before, one.name) != getattr(after, one.name)
    ]
    return Changes(sources, _turned(before.node, after.node), tables)


def _anchors(configured: Configured) -> Mapping[str, object]:
    """What each is made of."""
    return {name: (one, configured.anchors.get(name)) for name, one in configured.settings.anchor.items()}


def _lists(turned: Turned) -> tuple[list[str], list[str], list[str]]:
    return turned.started, turned.stopped, turned.changed


def _turned(old: Mapping[str, object], new: Mapping[str, object]) -> Turned:
    return Turned(
        [name for name in new if name not in old],
        [name for name in old if name not in new],
        [name for name, one in new.items() if name in old and old[name] != one],
    )
