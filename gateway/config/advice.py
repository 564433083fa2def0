"""What is legal in a configuration and unwise all the same, as far as the configuration itself tells.

machine.py has what the machine tells. Nothing here keeps a gateway from running.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.conditions import Condition, Problem
from gateway.conditions.config import (
    FEW_CONFIRMATIONS,
    FEW_SEALS,
    KEY_COPIED,
    LOW_PORT,
    NO_HOLDER,
    NO_KEEPER,
    NO_LINGER,
    NO_NODE,
    NO_SIGNERS,
    NO_SOURCE,
    OLD_BLOCKS,
    OLDEST,
    ONE_SOURCE,
    PLAIN_ANCHOR,
    PLAIN_BROKER,
    PLAIN_NODE,
    PLAIN_PAGE,
    PLAIN_PULL,
    QOS_0,
    UNUSED_BROKER,
    WINDOW,
)
from gateway.core.text import is_loopback
from gateway.settings import AnchorSettings, NodeSettings, Settings

from .words import Path as Place
from .words import dotted

WINDOW_DEFAULT = 20  # mosquitto's max_inflight_messages, where nothing is said
_WAIT_S = 3_600.0
_PORTS_OF_ROOT = 1_024
_CONFIRMATIONS = 6


class Advice(NamedTuple):
    """Something unwise, and where it stands."""

    place: Place
    problem: Problem


def advice(settings: Settings) -> list[Advice]:
    """All of it, in the order of the tables. Pure."""
    checks = (_gateway, _brokers, _sources, _nodes, _anchors, _retention, _web, _times)
    return [one for check in checks for one in check(settings)]


def node_advice(settings: NodeSettings) -> list[Advice]:
    """The same of a node's configuration. Pure."""
    return [*_pulls(settings), *_anchors(settings)]


def advise(place: Place, condition: Condition, **values: object) -> Advice:
    """The condition as it is met at a place."""
    return Advice(place, condition.problem(dotted(place), **values))


def keepers(settings: Settings) -> int:
    """How many of the nodes can sign that they store whole blocks."""
    return sum(node.keeps for node in settings.node.values())


def _gateway(settings: Settings) -> Iterator[Advice]:
    gateway = settings.gateway
    for field in ("key", "key_passphrase", "read_key", "sm2_key"):
        scheme, _, path = (getattr(gateway, field) or "").partition(":")
        if scheme == "file" and Path(path).is_relative_to(gateway.data_dir):
            yield advise(("gateway", field), KEY_COPIED)


def _brokers(settings: Settings) -> Iterator[Advice]:
    used = {settings.status.broker, *(getattr(one.options, "broker", None) for one in settings.source.values())}
    for name, broker in settings.broker.items():
        place: Place = ("broker", name)
        if name not in used:
            yield advise(place, UNUSED_BROKER)
            continue
        if broker.window == WINDOW_DEFAULT:
            yield advise((*place, "window"), WINDOW, window=broker.window)
        if broker.url.startswith("mqtt:") and broker.password and not is_here(broker.url):
            yield advise((*place, "url"), PLAIN_BROKER)


def _sources(settings: Settings) -> Iterator[Advice]:
    if not settings.source:
        yield advise(("source",), NO_SOURCE)
    for name, source in settings.source.items():
        options, place = source.options, ("source", name)
        if getattr(options, "qos", 1) == 0:
            yield advise((*place, "qos"), QOS_0)
        if source.driver == "mqtt" and not options.id and (example := _id_for(options.topic)):
            yield advise((*place, "topic"), ONE_SOURCE, example=example)


def _id_for(topic: str) -> str:
    """An id for the devices under a topic; "" for a topic without wildcards."""
    levels = topic.split("/")
    wild = [number for number, level in enumerate(levels, 1) if level in ("+", "#")]
    return 'id = "' + "-".join(f"{{{number}}}" for number in wild) + '"' if wild else ""


def _nodes(settings: Settings) -> Iterator[Advice]:
    if not settings.node:
        yield advise(("node",), NO_HOLDER if settings.witness else NO_NODE)
    for name, node in settings.node.items():
        if node.url.startswith("http:") and not is_here(node.url):
            yield advise(("node", name, "url"), PLAIN_NODE)


def _pulls(settings: NodeSettings) -> Iterator[Advice]:
    for name, gateway in settings.gateway.items():
        if gateway.pull and gateway.pull.startswith("http:") and not is_here(gateway.pull):
            yield advise(("gateway", name, "pull"), PLAIN_PULL)


def _anchors(settings: Settings | NodeSettings) -> Iterator[Advice]:
    for name, anchor in settings.anchor.items():
        for field in ("url", "rpc"):
            url = getattr(anchor.options, field, "")
            if url.startswith("http:") and not is_here(url):
                yield advise(("anchor", name, field), PLAIN_ANCHOR)
        if anchor.kind == "evm" and anchor.confirmations < _CONFIRMATIONS:
            place = ("anchor", name, "confirmations")
            yield advise(place, FEW_CONFIRMATIONS, confirmations=anchor.confirmations)
        if anchor.kind == "evm":
            yield from _seals(name, anchor)


def _seals(name: str, anchor: AnchorSettings) -> Iterator[Advice]:
    """Of a chain of the Ethereum kind: who may seal its blocks, and whether so many blocks can show enough of them."""
    signers = {signer.lower() for signer in anchor.options.signers}
    least = len(signers) // 2 + 1
    if not signers:
        yield advise(("anchor", name), NO_SIGNERS)
    elif anchor.confirmations < least:
        found = {"signers": len(signers), "confirmations": anchor.confirmations, "least": least}
        yield advise(("anchor", name, "confirmations"), FEW_SEALS, **found)


def _retention(settings: Settings) -> Iterator[Advice]:
    table, kept = settings.retention, keepers(settings)
    if not kept and table.when_full == "oldest":
        yield advise(("retention", "when_full"), OLDEST)
    elif not kept and settings.node:
        yield advise(("retention", "stored_by"), NO_KEEPER, asked=table.stored_by)


def _web(settings: Settings) -> Iterator[Advice]:
    web = settings.web
    address = f"//{web.listen}"
    if not is_here(address) and not web.cert_file:
        yield advise(("web", "listen"), PLAIN_PAGE)
    if 0 < (urlsplit(address).port or 0) < _PORTS_OF_ROOT:
        yield advise(("web", "listen"), LOW_PORT)


def _times(settings: Settings) -> Iterator[Advice]:
    if settings.seal.max_age_s > _WAIT_S:
        yield advise(("seal", "max_age_s"), OLD_BLOCKS, hours=f"{settings.seal.max_age_s / 3600:.3g}")
    if settings.journal.linger_ms == 0 and settings.source:
        yield advise(("journal", "linger_ms"), NO_LINGER)


def is_here(url: str) -> bool:
    """Whether an address is this machine alone: a loopback address, or localhost."""
    return is_loopback(urlsplit(url).hostname or "")
