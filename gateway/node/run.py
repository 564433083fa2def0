"""The node's program: settings in, objects made, one TaskGroup, an ordered stop. All long-lived tasks begin here."""

import asyncio
import contextlib
import logging
import random
import shutil
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from gateway import httpsig
from gateway.core import limits
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey
from gateway.errors import (
    ConfigError,
    ConflictError,
    Fault,
    FieldgateError,
    FormatError,
    KeyFileError,
    UnreachableError,
)
from gateway.httpsig import Checker
from gateway.keys import Signer
from gateway.node.fleet import Fleet, FleetBook
from gateway.node.ledger import Ledger, Means, log_id
from gateway.node.listener import Door, bind, serve
from gateway.node.pull import Puller, Remote
from gateway.node.reader import Reader
from gateway.node.server import NodeServer, Shelf
from gateway.node.sqlite import SqliteStore
from gateway.node.store import NodeStore
from gateway.notify import Notifier
from gateway.settings import EnrolledGateway, NodeSelf, NodeSettings
from gateway.watchdog import Watchdog, patience

log = logging.getLogger(__name__)

STORE_FILE = "node.sqlite"
_SQLITE = "sqlite://"
_GRACE_S = 10.0  # for requests under way at stop

OpenSigner = Callable[[str], Signer]
"""A key's URI to its signer: gateway.config has one."""


class Runs(Protocol):
    """What runs beside the node's own parts."""

    async def run(self) -> None:
        """Until cancelled. A Stop ends the node."""


Beside = Callable[["Node"], Sequence[Runs]]
"""Makes what runs beside a node."""


def _nothing(_: "Node") -> Sequence[Runs]:
    return ()


def run(
    settings: NodeSettings,
    open_signer: OpenSigner,
    notifier: Notifier | None = None,
    beside: Beside = _nothing,
) -> int:
    """Runs a node until SIGTERM or SIGINT; returns its exit code. Raises FieldgateError where it cannot go on.

    notifier: whom to tell that it runs. beside: what else runs as long as it does.
    """
    try:
        asyncio.run(_until_signal(settings, open_signer, notifier or Notifier(), beside))
    except* FieldgateError as group:
        raise _first(group) from None
    return 0


def _first(group: BaseExceptionGroup[FieldgateError]) -> FieldgateError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _until_signal(settings: NodeSettings, open_signer: OpenSigner, notifier: Notifier, beside: Beside) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with patience(notifier, limits.START_S):
        node = await Node.open(settings, open_signer)
    await node.serve(stop, notifier, beside(node))


def store_path(settings: NodeSelf) -> Path:
    """The store's file. ConfigError for an engine that this release does not have."""
    if not settings.store:
        return Path(settings.data_dir) / STORE_FILE
    if not settings.store.startswith(_SQLITE + "/"):
        raise _fault("node.store", f"{settings.store!r} names no store", f"Write {_SQLITE}/path, or leave it out")
    return Path(settings.store.removeprefix(_SQLITE))


class Node:
    """One node's objects. Nothing runs before `serve`."""

    def __init__(self, settings: NodeSettings, signers: dict[str, Signer], store: NodeStore, door: Door) -> None:
        self._settings = settings
        self.store = store
        self.door = door
        self._tls = _tls(settings.node)
        self._places = asyncio.Semaphore(limits.NODE_BODIES)
        served = {log_id(VerifierKey.parse(gateway.vkey).name) for gateway in settings.gateway.values()}
        self.fleets = {
            name: Fleet(name, settings.node.name, store, served, time.time) for name in sorted(settings.anchor)
        }
        book = FleetBook(tuple(self.fleets.values()))
        means = Means(
            seen=signers["seen"],
            stored=signers["stored"],
            now=time.time,
            room=self._room,
            places=self._places,
            fleets=book.numbers,
        )
        self.port = int(door.getsockname()[1])
        self._ledgers = {
            name: Ledger(
                VerifierKey.parse(gateway.vkey), gateway.stored_from, store, means, frozen_at=gateway.frozen_at
            )
            for name, gateway in settings.gateway.items()
        }
        shelves = {ledger.id: self._shelf(name) for name, ledger in self._ledgers.items()}
        self.server = NodeServer(shelves, book.parts)
        self._pullers = [
            self._puller(name, gateway, signers["read"]) for name, gateway in settings.gateway.items() if gateway.pull
        ]

    @classmethod
    async def open(cls, settings: NodeSettings, open_signer: OpenSigner) -> "Node":
        """Opens keys, store and socket, and enrols the configured gateways. It never makes a store or a key."""
        _check_gateways(settings)
        signers = open_signers(settings.node, open_signer)
        async with contextlib.AsyncExitStack() as undo:
            door = undo.enter_context(_bind(settings.node))
            store = await SqliteStore.open(store_path(settings.node))
            undo.push_async_callback(store.close)
            node = cls(settings, signers, store, door)
            await node._enrol()
            for fleet in node.fleets.values():
                await fleet.open()
            undo.pop_all()
        return node

    async def serve(self, stop: asyncio.Event, notifier: Notifier | None = None, beside: Sequence[Runs] = ()) -> None:
        """Serves and pulls until `stop` is set. A Stop raised by any part ends all of it and is raised from here."""
        told = notifier or Notifier()
        listener = await serve(self.server.app, self.door, self._tls, _GRACE_S)
        scheme = "https" if self._tls else "http"
        log.info("listening on %s://%s, logs: %d", scheme, self._address(), len(self._ledgers))
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = [tasks.create_task(self._watch(), name="watch")]
                parts += [tasks.create_task(puller.run(), name=f"pull {puller.name}") for puller in self._pullers]
                parts += [tasks.create_task(one.run(), name="beside") for one in beside]
                watchdog = Watchdog(
                    told,
                    commits=lambda: self.store.commits,
                    probe=self.store.probe,
                    stuck=lambda: False,
                    headline=lambda: f"Serves {len(self._ledgers)} logs on {scheme}://{self._address()}",
                )
                parts.append(tasks.create_task(watchdog.run(), name="watchdog"))
                told.ready()
                await stop.wait()
                told.stopping()
                for part in parts:
                    part.cancel()
        finally:
            await listener.close()
            await self.store.close()

    async def _room(self) -> bool:
        """Whether the disk takes more bodies."""
        usage = await asyncio.to_thread(shutil.disk_usage, store_path(self._settings.node).parent)
        return usage.free > limits.NODE_FREE_BYTES

    async def _watch(self) -> None:
        """Ends everything when a request met the end of durability."""
        await asyncio.shield(self.server.broken)

    async def _enrol(self) -> None:
        for name, ledger in self._ledgers.items():
            try:
                await ledger.open()
            except ConflictError as error:
                cure = "Restore vkey and stored_from, or enrol the new log (another epoch) under its own name"
                raise _fault(f"gateway.{name}", error.what, cure) from error

    def _address(self) -> str:
        host, _, _ = self._settings.node.listen.rpartition(":")
        return f"{host}:{self.port}"

    def _shelf(self, name: str) -> Shelf:
        ledger = self._ledgers[name]
        readers = map(VerifierKey.parse, self._settings.gateway[name].consumers)
        keys = {httpsig.key_name(key): key for key in readers}
        authorities = (self._address(), *self._settings.node.authority)
        checker = Checker(keys, time.time, time.monotonic, authorities)
        return Shelf(ledger, Reader(ledger, self.store, self._places), checker)

    def _puller(self, name: str, gateway: EnrolledGateway, signer: Signer) -> Puller:
        assert gateway.pull is not None
        remote = Remote(gateway.pull, signer, time.time, self.server.budget, gateway.ca_file)
        rng = random.Random()  # noqa: S311 -- jitter
        return Puller(name, remote, self._ledgers[name], rng, self._settings.node.pull_every_s)


def open_signers(settings: NodeSelf, open_signer: OpenSigner) -> dict[str, Signer]:
    """The three keys: `seen`, `stored`, `read`. KeyFileError where one is of another kind, or two are the same."""
    wanted = {"seen": COSIGNATURE, "stored": COSIGNATURE, "read": ED25519}
    signers: dict[str, Signer] = {}
    for kind, algorithm in wanted.items():
        uri = getattr(settings, f"{kind}_key")
        signer = open_signer(uri)
        if signer.vkey.algorithm != algorithm:
            what = f"the {kind} key has algorithm 0x{signer.vkey.algorithm:02x}, not 0x{algorithm:02x}"
            raise KeyFileError(what, where=uri, cure="Make the keys with `fieldgate node init`")
        signers[kind] = signer
    if len({signer.vkey.public for signer in signers.values()}) != len(signers):
        raise KeyFileError("two of the node's three keys are one", cure="Make the keys with `fieldgate node init`")
    return signers


def _check_gateways(settings: NodeSettings) -> None:
    if len(settings.gateway) > limits.NODE_LOGS:
        raise _fault("gateway", f"more than {limits.NODE_LOGS} gateways", "Run another node")
    names: dict[str, str] = {}
    for name, gateway in settings.gateway.items():
        try:
            vkey = VerifierKey.parse(gateway.vkey)
        except FormatError as error:
            raise _fault(f"gateway.{name}.vkey", error.what, error.cure) from error
        if vkey.algorithm != ED25519:
            raise _fault(f"gateway.{name}.vkey", "is not a log's key", "Copy the log key that `fieldgate init` showed")
        other = names.setdefault(vkey.name, name)
        if other != name:
            raise _fault(f"gateway.{name}.vkey", f"is of the same log as gateway.{other}", "Remove one of the two")


def _bind(settings: NodeSelf) -> Door:
    host, _, port = settings.listen.rpartition(":")
    try:
        return bind(host.strip("[]"), int(port))
    except (OSError, OverflowError) as error:
        what = f"{settings.listen} cannot be listened on: {error.args[-1]}"
        raise UnreachableError(what, where="[node] listen", cure="Choose a free address of this machine") from error


def _tls(settings: NodeSelf) -> ssl.SSLContext | None:
    if not settings.cert_file:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file or None)
    except (OSError, ssl.SSLError) as error:
        what = f"certificate and key cannot be used: {error.args[-1]}"
        raise UnreachableError(what, where="[node] cert_file", cure="Check both files and who may read them") from error
    return context


def _fault(key: str, what: str, cure: str) -> ConfigError:
    return ConfigError([Fault("node.toml", 0, key, what, cure)])
