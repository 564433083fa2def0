"""What is legal in a configuration and unwise all the same, as far as the configuration itself tells.

machine.py has what the machine tells. Nothing here keeps a gateway from running.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.conditions import Condition, Problem
from gateway.core.text import is_loopback
from gateway.settings import Settings

from .words import Path as Place
from .words import dotted

WINDOW_DEFAULT = 20  # mosquitto's max_inflight_messages, where nothing is said
_WAIT_S = 3_600.0
_PORTS_OF_ROOT = 1_024

NO_SOURCE = Condition(
    "config-no-source",
    "warning",
    "There is no source: nothing is taken in",
    "`fieldgate probe` finds what speaks on a port or a broker and prints the table to paste",
)
NO_NODE = Condition(
    "config-no-node",
    "warning",
    "There is no node and no witness: nobody co-signs the log, so no receipt can be made, and nobody else has the "
    "readings",
    "Write the [node.NAME] table that the node's operator gives you (`fieldgate node init` prints it)",
)
NO_HOLDER = Condition(
    "config-no-holder",
    "warning",
    "There are witnesses and no node: the log is co-signed, but nobody else has the readings",
    "Write the [node.NAME] table that a node's operator gives you (`fieldgate node init` prints it)",
)
NO_KEEPER = Condition(
    "config-no-keeper",
    "warning",
    "No node can sign that it stores whole blocks: stored_by = {asked} is never met, and the store fills up",
    'Give a node its stored_key and share = ["*"]',
)
OLDEST = Condition(
    "config-oldest-lost",
    "warning",
    "A full store gives up its oldest readings, and no node has them: they are gone for good",
    'Give a node its stored_key and share = ["*"], or write when_full = "hold"',
)
UNUSED_BROKER = Condition(
    "config-broker-unused", "note", "Neither a source nor [status] names this broker", "Remove it, or name it there"
)
WINDOW = Condition(
    "config-window-default",
    "note",
    "Messages become durable {window} at a time: more flushes and less throughput than the broker may be good for",
    "Write the broker's max_inflight_messages (deploy/mosquitto has 1000 for both)",
)
PLAIN_BROKER = Condition(
    "config-password-in-clear",
    "warning",
    "User and password go to another machine without TLS: whoever is on the network can read them",
    "Write mqtts:// and ca_file; the broker needs a certificate",
)
PLAIN_NODE = Condition(
    "config-node-in-clear",
    "warning",
    "Readings go to another machine without TLS: whoever is on the network can read them",
    "Write https:// and, where it is not a public one, its ca_file",
)
QOS_0 = Condition(
    "config-qos-0",
    "warning",
    "QoS 0: what is published while the gateway, the broker or the network is away is lost, and nobody can count it",
    "Write qos = 1, and have the devices publish with QoS 1",
)
ONE_SOURCE = Condition(
    "config-one-source",
    "warning",
    "Every topic that fits is this one source: nobody can tell the devices apart",
    "Write an id, such as {example}",
)
PLAIN_PAGE = Condition(
    "config-page-in-clear",
    "warning",
    "The page and the pull API can be reached from the network, without TLS",
    "Write cert_file and key_file, or listen on 127.0.0.1",
)
LOW_PORT = Condition(
    "config-port-of-root",
    "warning",
    "Only root may listen below port 1024, and the service is not root",
    "Write a port from 1024 on",
)
KEY_COPIED = Condition(
    "config-key-in-data-dir",
    "warning",
    "The key lies in data_dir: whoever copies the store copies the key, and two copies that run fork the log",
    "Move it, to /etc/fieldgate for example, and write the new place",
)
NO_LINGER = Condition(
    "config-no-linger",
    "warning",
    "Every message is a commit of its own: about 8 kB written for each, which wears a flash card out",
    "Write linger_ms = 250, or remove it",
)
OLD_BLOCKS = Condition(
    "config-late-blocks",
    "note",
    "A reading has no receipt before its block is signed: up to {hours} hours",
    "Write max_age_s = 60, or remove it",
)

CONDITIONS = tuple(one for one in list(globals().values()) if isinstance(one, Condition))


class Advice(NamedTuple):
    """Something unwise, and where it stands."""

    place: Place
    problem: Problem


def advice(settings: Settings) -> list[Advice]:
    """All of it, in the order of the tables. Pure."""
    checks = (_gateway, _brokers, _sources, _nodes, _retention, _web, _times)
    return [one for check in checks for one in check(settings)]


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
