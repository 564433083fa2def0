"""What no single field can tell: that the tables of a configuration fit each other."""

import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import fields

from drivers import registry
from drivers.network import clash
from gateway.anchors import registry as chains
from gateway.core.limits import ORIGIN_BYTES, STORE_BYTES_MIN
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey
from gateway.errors import FormatError
from gateway.settings import size_bytes

from .convert import Draft, Problem
from .words import Path, is_secret, quoted

Check = Callable[[Draft], Iterator[Problem]]
_RESERVED = "gateway"
_COPY_VKEY = "Copy the whole line name+8 hex digits+base64 from whoever holds the key"
_EVERY_ADDRESS = {"0.0.0.0", "[::]"}  # noqa: S104  recognised, not bound
_PORTS = 65_535
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")


def gateway_faults(root: Draft) -> list[Problem]:
    """Everything in fieldgate.toml that is wrong between fields. `root` is a Draft of Settings, good or not."""
    checks: tuple[Check, ...] = (_origin, _brokers, _sources, _nodes, _shares, _anchors, _retention, _web, _status)
    return [problem for check in checks for problem in check(root)]


def node_faults(root: Draft) -> list[Problem]:
    """The same for node.toml and a Draft of NodeSettings."""
    checks: tuple[Check, ...] = (_node_self, _gateways, _anchors)
    return [problem for check in checks for problem in check(root)]


def _origin(root: Draft) -> Iterator[Problem]:
    gateway = root.get("gateway")
    if gateway is None or not gateway.get("name") or not gateway.get("epoch"):
        return
    length = len(f"{gateway.get('name')}/{gateway.get('epoch')}")
    if length > ORIGIN_BYTES:
        yield Problem(
            ("gateway", "name"),
            f"makes an origin of {length} bytes with its epoch",
            f"Choose a shorter name: origins have at most {ORIGIN_BYTES}",
        )


def _brokers(root: Draft) -> Iterator[Problem]:
    sessions: dict[tuple[str, str], str] = {}
    for name, broker in root.drafts("broker").items():
        yield from _broker(broker)
        session = (broker.get("url"), broker.get("client_id"))
        if None in session:
            continue
        other = sessions.setdefault(session, name)
        if other != name:
            yield Problem(
                (*broker.path, "client_id"),
                f"is that of broker.{other}, at the same address: each would end the other's session",
                "Give each a client_id of its own, or keep one of the two",
            )


def _broker(broker: Draft) -> Iterator[Problem]:
    url = broker.get("url")
    if url is not None:
        yield from _port((*broker.path, "url"), url)
    plain = url is not None and url.startswith("mqtt:")
    for key in ("ca_file", "cert_file", "key_file"):
        if plain and broker.get(key):
            yield Problem((*broker.path, key), "is used with TLS only", "Write mqtts:// in url, or remove it")
    yield from _pair(broker)
    if broker.get("password") and broker.get("user") == "":
        yield Problem(
            (*broker.path, "password"), "has no user: MQTT 3.1.1 sends none without", "Add user, or remove it"
        )


def _status(root: Draft) -> Iterator[Problem]:
    status, brokers = root.get("status"), root.get("broker") or {}
    if isinstance(status, Draft) and isinstance(name := status.get("broker"), str) and name not in brokers:
        yield _no_broker(status, name, brokers)


def _no_broker(table: Draft, name: str, brokers: Iterable[str]) -> Problem:
    known = ", ".join(sorted(brokers)) or "none"
    return Problem(
        (*table.path, "broker"), f"is {quoted(name)}, which no [broker.NAME] table names", f"There is: {known}"
    )


def _sources(root: Draft) -> Iterator[Problem]:
    brokers = root.get("broker") or {}
    buses: dict[Hashable, tuple[str, Any]] = {}
    ports: dict[str, tuple[str, Hashable]] = {}
    taken = {f"mqtt-{broker}" for broker in brokers}
    taken |= {f"{kind}-{name}" for name in root.get("source") or () for kind in ("serial", "replay")}
    taken |= {f"{source.get('driver')}-{name}" for name, source in root.drafts("source").items()}
    heard: dict[str, str] = {}
    for name, source in root.drafts("source").items():
        if name == _RESERVED:
            yield Problem(source.path, "is the id of the gateway's own events", "Choose another id")
        if name in taken:
            yield Problem(source.path, "is what a driver is called in counts and logs", "Choose another id")
        options = source.get("options")
        if not isinstance(options, Draft):
            continue
        broker = options.get("broker")
        if isinstance(broker, str) and broker not in brokers:
            yield _no_broker(source, broker, brokers)
        yield from _bus(name, source, options, buses)
        yield from _port_of(name, source, options, ports)
        udp = options.get("udp")
        if isinstance(udp, str):
            yield from (
                Problem((*source.path, "udp"), f"is where source.{other} listens too", "Give each source its own port")
                for other, address in heard.items()
                if clash(udp, address)
            )
            heard[name] = udp


def _reader(name: str, source: Draft, options: Draft) -> Hashable:
    """What tells apart who reads a port: a polled bus of many sources, or the one source."""
    kind = registry.kind(source.get("driver"))
    return (kind.name, kind.bus(options.made)) if kind.bus and options.made is not None else name


def _bus(name: str, source: Draft, options: Draft, buses: dict[Hashable, tuple[str, Any]]) -> Iterator[Problem]:
    """The sources of one bus are one driver, and agree in what is the bus's."""
    if options.made is None:
        return
    first, theirs = buses.setdefault(_reader(name, source, options), (name, options.made))
    for field in registry.kind(source.get("driver")).shared:
        ours, before = getattr(options.made, field), getattr(theirs, field)
        if ours != before:
            yield Problem(
                (*source.path, field),
                f"is {quoted(str(ours))}, and {quoted(str(before))} in source.{first} on the same bus",
                "Write the same in both: a bus has one setting",
            )


def _port_of(name: str, source: Draft, options: Draft, ports: dict[str, tuple[str, Hashable]]) -> Iterator[Problem]:
    port = options.get("port")
    if not isinstance(port, str) or (options.made is None and registry.kind(source.get("driver")).bus):
        return
    reader = _reader(name, source, options)
    first, theirs = ports.setdefault(os.path.realpath(port), (name, reader))
    if theirs != reader:
        yield Problem(
            (*source.path, "port"),
            f"is the port of source.{first} too: a port has one reader",
            "Give each source its own port. Those that share a polled one all name it in the same way",
        )


def _nodes(root: Draft) -> Iterator[Problem]:
    keys: list[tuple[Path, VerifierKey]] = []
    for node in root.drafts("node").values():
        yield from _link(node)
        for field, algorithm in (("seen_key", COSIGNATURE), ("stored_key", COSIGNATURE), ("read_key", ED25519)):
            path = (*node.path, field)
            key, problem = _vkey(path, node.get(field), algorithm)
            if problem:
                yield problem
            if key:
                keys.append((path, key))
    for name, witness in root.drafts("witness").items():
        yield from _link(witness)
        path = (*witness.path, "vkey")
        key, problem = _vkey(path, witness.get("vkey"), COSIGNATURE)
        if problem:
            yield problem
        if key:
            keys.append((path, key))
        if name in root.drafts("node"):
            yield Problem(
                witness.path, f"has the name of node.{name}", "Give one of them another name: both stand in one list"
            )
    yield from _distinct(keys)


def _link(node: Draft) -> Iterator[Problem]:
    for field in ("url", "rpc"):
        if (address := node.get(field)) is not None:
            yield from _port((*node.path, field), address)
    if (node.get("url") or "").startswith("http:") and node.get("ca_file"):
        yield Problem((*node.path, "ca_file"), "is used with TLS only", "Write https:// in url, or remove it")


def _anchors(root: Draft) -> Iterator[Problem]:
    """Two tables that send with one key to one chain would take each other's turn.

    The secret that a kind cannot do without is the account's; the others (a server's api_key) say nothing of it.
    """
    senders: dict[Hashable, str] = {}
    for name, anchor in root.drafts("anchor").items():
        options = anchor.get("options")
        if not isinstance(options, Draft):
            continue
        yield from _link(options)
        kind = chains.kind(anchor.get("kind"))
        key = tuple(options.get(one.name) for one in fields(kind.options) if one.required and is_secret(one.type))
        if options.made is None or not key:
            continue
        other = senders.setdefault((kind.name, kind.chain(options.made), key), name)
        if other != name:
            what = f"sends to the same chain with the same key as anchor.{other}"
            yield Problem(anchor.path, what, "Give each an account of its own, or keep one of the two")


def _shares(root: Draft) -> Iterator[Problem]:
    sources = root.get("source")
    known = {*(sources or ()), _RESERVED}
    open_ended = any(_is_template(source) for source in root.drafts("source").values())
    for node in root.drafts("node").values():
        share = {index: name for index, name in enumerate(node.get("share") or ()) if isinstance(name, str)}
        path = (*node.path, "share")
        everything = "*" in share.values()
        if everything and len(share) > 1:
            yield Problem(path, 'names sources beside "*", which means all of them', 'Write ["*"], or only the names')
        if not everything and node.get("share") is not None and node.get("stored_key"):
            yield Problem(
                (*node.path, "stored_key"),
                "cannot count: a node that does not see whole blocks never signs that it stored them",
                'Write share = ["*"], or remove stored_key',
            )
        for index, name in share.items():
            if name not in known and name != "*" and not open_ended:
                yield Problem(
                    (*path, index),
                    f"is {quoted(name)}, which no [source.ID] table names",
                    f"There is: {', '.join(sorted(known))}",
                )


def _is_template(source: Draft) -> bool:
    """Whether the source stands for many, named from the levels of a wildcard topic, or may do so (unknown driver)."""
    options = source.get("options")
    return not isinstance(options, Draft) or bool(options.get("id"))


def _retention(root: Draft) -> Iterator[Problem]:
    table = root.get("retention")
    if not isinstance(table, Draft):
        return
    size = table.get("max_bytes")
    if size is not None and size_bytes(size) < STORE_BYTES_MIN:
        least = f"{STORE_BYTES_MIN // 2**20} MiB"
        yield Problem(
            (*table.path, "max_bytes"), f"is {quoted(size)}, too little to work with", f"Write {least} or more"
        )
    nodes = root.drafts("node")
    able = sum(bool(node.get("stored_key")) and node.get("share") == ("*",) for node in nodes.values())
    asked = table.get("stored_by")
    if nodes and asked is not None and asked > max(able, 1) and not any(node.made is None for node in nodes.values()):
        yield Problem(
            (*table.path, "stored_by"),
            f"is {asked}, and {able} of the nodes can sign that they store whole blocks",
            'Write a smaller number, or give more nodes a stored_key and share = ["*"]',
        )


def _web(root: Draft) -> Iterator[Problem]:
    web = root.get("web")
    if isinstance(web, Draft):
        yield from _listener(web)


def _node_self(root: Draft) -> Iterator[Problem]:
    node = root.get("node")
    if not isinstance(node, Draft):
        return
    yield from _listener(node)
    for first, second in combinations(("seen_key", "stored_key", "read_key"), 2):
        if node.get(first) and node.get(first) == node.get(second):
            yield Problem(
                (*node.path, second), f"is the same place as {first}", "Seen, stored and read keys are three keys"
            )


def _gateways(root: Draft) -> Iterator[Problem]:
    keys: list[tuple[Path, VerifierKey]] = []
    for gateway in root.drafts("gateway").values():
        path: Path = (*gateway.path, "vkey")
        key, problem = _vkey(path, gateway.get("vkey"), ED25519)
        if key:
            keys.append((path, key))
        if problem:
            yield problem
        yield from _pull(gateway)
        for index, text in enumerate(gateway.get("consumers") or ()):
            _, problem = _vkey((*gateway.path, "consumers", index), text, ED25519)
            if problem:
                yield problem
    yield from _distinct(keys)


def _pull(gateway: Draft) -> Iterator[Problem]:
    pull = gateway.get("pull")
    if pull is not None:
        yield from _port((*gateway.path, "pull"), pull)
    if gateway.get("ca_file") and not (pull or "https:").startswith("https:"):
        yield Problem((*gateway.path, "ca_file"), "is used with TLS only", "Write https:// in pull, or remove it")


def _listener(table: Draft) -> Iterator[Problem]:
    yield from _pair(table)
    listen = table.get("listen")
    if listen is not None:
        yield from _port((*table.path, "listen"), f"tcp://{listen}")
    names = table.get("authority")
    if isinstance(listen, str) and listen.rpartition(":")[0] in _EVERY_ADDRESS and not names:
        what = "is missing: listen is every address of this machine, and a signed request names one"
        yield Problem((*table.path, "authority"), what, "Write the host:port names under which it is reached")
    for index, name in enumerate(names or ()):
        if isinstance(name, str) and not _is_authority(name):
            yield Problem(
                (*table.path, "authority", index), f"is {quoted(name)}, not host:port", "Write host, or host:port"
            )


def _pair(table: Draft) -> Iterator[Problem]:
    cert, key = table.get("cert_file"), table.get("key_file")
    for given, field, missing in ((cert, "cert_file", key), (key, "key_file", cert)):
        if given and missing == "":
            other = "key_file" if field == "cert_file" else "cert_file"
            yield Problem((*table.path, field), f"stands without {other}", f"Add {other}, or remove it")


def _port(path: Path, url: str) -> Iterator[Problem]:
    """A port that does not exist or an address that is none."""
    try:
        port, host = urlsplit(url).port, urlsplit(url).hostname
    except ValueError:
        port, host = _PORTS + 1, ""
    if not host or (port is not None and port > _PORTS):
        yield Problem(path, "has no host, or a port that is not one", f"Write host:port, the port from 1 to {_PORTS}")


def _is_authority(name: str) -> bool:
    host, _, port = name.rpartition(":")
    return _AUTHORITY.fullmatch(name) is not None and (not host or not port.isdecimal() or int(port) <= _PORTS)


def _vkey(path: Path, text: Any, algorithm: int) -> tuple[VerifierKey | None, Problem | None]:
    """The key, or what is wrong with it; neither for None. The text, which may be a private key, is not shown."""
    if not isinstance(text, str):
        return None, None
    try:
        key = VerifierKey.parse(text)
    except FormatError:
        return None, Problem(path, "is not a verifier key", _COPY_VKEY)
    if key.algorithm != algorithm:
        purpose = "co-signing" if algorithm == COSIGNATURE else "log's or a reader's"
        return None, Problem(
            path, f"has the algorithm byte 0x{key.algorithm:02x}; a {purpose} key has 0x{algorithm:02x}", _COPY_VKEY
        )
    return key, None


def _distinct(keys: list[tuple[Path, VerifierKey]]) -> Iterator[Problem]:
    """One public key has one purpose (docs/format.md, section 6); one name has one key."""
    publics: dict[bytes, Path] = {}
    names: dict[str, Path] = {}
    for path, key in keys:
        for first, what in (
            (publics.setdefault(key.public, path), "key"),
            (names.setdefault(key.name, path), "key name"),
        ):
            if first != path:
                where = ".".join(map(str, first))
                yield Problem(
                    path, f"is the same {what} as {where}", "Each purpose of each node or witness has a key of its own"
                )
                break
