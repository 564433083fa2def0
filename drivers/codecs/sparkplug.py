"""Sparkplug B: what edge nodes and their devices publish, read by what their births told (Sparkplug 3.0.0)."""

import re
from collections.abc import Sequence
from hashlib import sha256
from math import isfinite
from typing import NamedTuple

from drivers.api import OUT_OF_RANGE, STALE, Record, Value
from drivers.codecs import sparkplug_payload as wire
from drivers.codecs.base import Ask, Found, Refused, State
from drivers.codecs.sparkplug_nodes import Defined, Definition, Node, Nodes
from drivers.codecs.sparkplug_payload import Held, Metric, Payload
from drivers.codecs.sparkplug_values import Cast, cast
from drivers.codecs.values import TimeMap, Unfit, device_time
from drivers.limits import EXAMPLE_BYTES, RECORDS, SPARKPLUG_NAME_BYTES

NAMESPACE = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
COMPRESSED = b"SPBV1.0_COMPRESSED"

_OF_NODES = frozenset(("NBIRTH", "NDATA", "NDEATH", "NCMD"))
_OF_DEVICES = frozenset(("DBIRTH", "DDATA", "DDEATH", "DCMD"))
_COMMANDS = frozenset(("NCMD", "DCMD"))  # of others, and our own
_OTHER = re.compile(r"[^A-Za-z0-9:._/-]+")
_NAME_CHARS = 58  # with .unit, or .63 of an array, 64 at most
_UNITS = frozenset((b"engunit", b"engunits", b"engineeringunits", b"unit", b"units"))
_GOOD, _STALE_CODE = 192, 500  # of the property Quality (section 6.4.13)

Finding = Found | Refused | State | Ask


class Address(NamedTuple):
    """Whose message it is, from its topic."""

    group: str
    kind: str
    node: str
    device: str  # "": the node itself

    @property
    def name(self) -> str:
        """The device's, for its source. No part of it can have a slash."""
        return "/".join(filter(None, (self.group, self.node, self.device)))


def address(topic: str) -> Address | None:
    """None for the state of a host, which is text or JSON. Unfit (unknown_topic) for what Sparkplug does not have."""
    levels = topic.split("/")
    if levels[0] == "STATE" or levels[:2] == [NAMESPACE, "STATE"]:
        return None
    if levels[0] == NAMESPACE and len(levels) in (4, 5) and all(levels):
        found = Address(levels[1], levels[2], levels[3], levels[4] if len(levels) == 5 else "")
        if found.kind in (_OF_DEVICES if found.device else _OF_NODES):
            return found
    raise Unfit("unknown_topic", f"{topic[:100]} is none of Sparkplug B")


class Sparkplug:
    """The MessageCodec of one source: all nodes and devices that its topics bring.

    rebirth: ask a node for its births where they were missed. max_behind_s, max_ahead_s: as of TimeMap.
    """

    def __init__(self, *, rebirth: bool, max_behind_s: float, max_ahead_s: float) -> None:
        self._nodes = Nodes()
        self._rebirth = rebirth
        self._time = TimeMap(format="unix_ms", max_behind_s=max_behind_s, max_ahead_s=max_ahead_s)

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Finding]:
        """What one message says."""
        whose = address(topic)
        if whose is None or whose.kind in _COMMANDS:
            return ()
        read = wire.read(payload)
        if read.uuid == COMPRESSED:
            raise Unfit("compressed", "switch compression off in the edge node")
        if retained:  # nobody knows of when: it changes nothing, and is read by what it says itself
            nodes = Nodes()
            return self._values(nodes, nodes.of(whose.group, whose.node), whose, read, payload, now)[0]
        node = self._nodes.of(whose.group, whose.node)
        if whose.kind == "NDEATH":
            return self._node_death(node, whose, read, payload)
        states, gap = self._event(node, whose, read)
        node.patience.message(gap=gap)
        found, unknown = self._values(self._nodes, node, whose, read, payload, now)
        if (gap or unknown) and self._rebirth and node.patience.ask(now):
            found.append(_ask(whose, now))
        return [*states, *found]

    def _event(self, node: Node, whose: Address, read: Payload) -> tuple[list[State], bool]:
        """What the message changes, and whether messages before it are missing."""
        if whose.kind == "NBIRTH":
            self._nodes.forget(node)
            node.born, node.seq, node.session = True, read.seq % 256, _session(read)
            return [State(True, "its birth certificate came", whose.name)], False
        gap = not node.follows(read.seq) or not node.born
        if whose.kind == "DBIRTH":
            return [State(True, "its birth certificate came", whose.name)], gap
        if whose.kind == "DDEATH":
            self._nodes.drop(node, whose.device)
            return [State(False, "its node says that it is away", whose.name)], gap
        return [], gap

    def _node_death(self, node: Node, whose: Address, read: Payload, payload: bytes) -> Sequence[Finding]:
        """The will of a session: of an older one it says nothing of what is there now."""
        session = _session(read)
        if node.born and None not in (session, node.session) and session != node.session:
            detail = f"the death of session {session}, and this is {node.session}"
            return [Refused("old_death", payload[:EXAMPLE_BYTES], detail, whose.name)]
        self._nodes.forget(node)
        return [State(False, "its node has left the broker", whose.name, below=True)]

    def _values(
        self, nodes: Nodes, node: Node, whose: Address, read: Payload, payload: bytes, now: float | None
    ) -> tuple[list[Finding], bool]:
        """What the metrics say, and whether one of them cannot be told by any birth."""
        if whose.kind in ("NDEATH", "DDEATH"):
            return [], False
        birth = whose.kind in ("NBIRTH", "DBIRTH")
        defined = nodes.add(node, whose.device) if birth else node.devices.get(whose.device)
        unknown = defined is None
        reader = _Reader(nodes, node, Defined() if defined is None else defined, birth)
        for metric in read.metrics:
            ms = read.time if metric.time is None else metric.time
            reader.read(metric, device_time(ms, self._time, now))
        found: list[Finding] = [one._replace(device=whose.name) for one in reader.found()]
        example = payload[:EXAMPLE_BYTES]
        for reason, names in reader.refused.items():
            detail = f"{len(names)} of {len(read.metrics)} metrics: {', '.join(names[:8])}"
            found.append(Refused(reason, example, detail[:200], whose.name))
        return found, unknown or reader.unknown


class _Group:
    """Values of one time."""

    def __init__(self, time: float | None, quality: int) -> None:
        self.time, self.quality = time, quality
        self.records: list[Record] = []
        self.names: set[str] = set()


class _Reader:
    """Reads the metrics of one message."""

    def __init__(self, nodes: Nodes, node: Node, defined: Defined, birth: bool) -> None:
        self._nodes, self._node, self._defined, self._birth = nodes, node, defined, birth
        self._groups: list[_Group] = []
        self._open: dict[tuple[float | None, int], _Group] = {}
        self.refused: dict[str, list[str]] = {}  # names by reason
        self.unknown = False  # something came that no birth told of

    def found(self) -> list[Found]:
        """One for each time; more where a metric comes twice at one time, and where there are many."""
        return [Found(group.records, group.time, group.quality) for group in self._groups]

    def read(self, metric: Metric, time: float | None) -> None:
        """One metric."""
        try:
            definition = self._definition(metric)
            if metric.null:
                return
            if metric.value is None:
                raise Unfit("missing_value", definition.name)
            value = cast(definition.type or metric.type, metric.value)
        except Unfit as unfit:
            self._refuse(metric, unfit)
            return
        quality = _quality(metric)
        if metric.historical and time is None:
            quality |= STALE  # a value of some time, and not of now
        self._put(definition, None if quality & OUT_OF_RANGE else value, time, quality & STALE)

    def _definition(self, metric: Metric) -> Definition:
        if not self._birth:
            found = self._defined.find(metric.name, metric.alias)
            if found is not None:
                return found
            self.unknown = True
            if not metric.name:
                raise Unfit("unknown_alias", str(metric.alias))
        if not metric.name:
            raise Unfit("missing_name", f"alias {metric.alias}")
        made = Definition(_plain(metric.name), metric.type, _unit(metric))
        if self._birth:
            try:
                self._nodes.define(self._node, self._defined, metric.name, metric.alias, made)
            except Unfit as unfit:
                if unfit.reason != "too_many_metrics":
                    raise
                self._refuse(metric, unfit)
        return made

    def _refuse(self, metric: Metric, unfit: Unfit) -> None:
        name = metric.name.decode(errors="replace")[:64] if metric.name else f"alias {metric.alias}"
        self.refused.setdefault(unfit.reason, []).append(f"{name} ({unfit.detail})" if unfit.detail else name)

    def _put(self, definition: Definition, value: Cast, time: float | None, quality: int) -> None:
        parts = (
            [(f"{definition.name}.{at}", one) for at, one in enumerate(value)]
            if isinstance(value, list)
            else [(definition.name, value)]
        )
        if not parts:
            return
        said = [(name, _unit_on(one, definition.unit), one) for name, one in parts if one is not None]
        if said and definition.extra is not None:
            said.append(definition.extra)
        names = {definition.name, *(name for name, _, _ in said)}
        group = self._open.get((time, quality))
        if group is None or not names.isdisjoint(group.names) or len(group.records) + len(said) > RECORDS:
            group = self._open[time, quality] = _Group(time, quality)
            self._groups.append(group)
        group.names |= names
        group.records += said
        if any(one is None for _, one in parts):
            group.quality |= OUT_OF_RANGE


def _plain(name: bytes) -> str:
    """The name in the characters and the length that a reading may have; a shortened one ends in its own digest."""
    if len(name) > SPARKPLUG_NAME_BYTES:
        raise Unfit("name_too_long", f"over {SPARKPLUG_NAME_BYTES} bytes")
    try:
        plain = _OTHER.sub("-", name.decode()).lstrip(":._/-")
    except UnicodeDecodeError:
        raise Unfit("invalid_utf8", "a name that is no text") from None
    if not plain or len(plain) > _NAME_CHARS or plain in ("raw", "raw.sha256"):  # those are the payload's own
        return f"{plain[: _NAME_CHARS - 9] or 'metric'}-{sha256(name).hexdigest()[:8]}"
    return plain


def _unit_on(value: Value, unit: str | None) -> str | None:
    return unit if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unit(metric: Metric) -> str:
    for key, (_, value) in metric.properties:
        if key.lower() in _UNITS and isinstance(value, bytes) and len(value) <= 32:
            return value.decode(errors="replace").strip()
    return ""


def _quality(metric: Metric) -> int:
    """Of the property Quality: 192 and more of OPC's family are good, 500 is stale, the rest bad."""
    for key, (_, value) in metric.properties:
        if key.lower() == b"quality" and isinstance(value, int) and not isinstance(value, bool):
            return STALE if value == _STALE_CODE else OUT_OF_RANGE if value < _GOOD else 0
    return 0


def _session(read: Payload) -> int | None:
    """The bdSeq that ties a death to its birth."""
    for metric in read.metrics:
        held: Held | None = metric.value
        if metric.name == b"bdSeq" and held is not None and isinstance(held[1], int):
            return int(held[1])
    return None


def _ask(whose: Address, now: float | None) -> Ask:
    time = int(now * 1000) if now is not None and isfinite(now) else None
    return Ask(f"{NAMESPACE}/{whose.group}/NCMD/{whose.node}", wire.command(REBIRTH, True, time))
