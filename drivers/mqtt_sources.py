"""Which source a topic belongs to: options of an MQTT source, topic filters, sources named by a topic's levels."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from drivers.codecs.json_map import JsonMap
from drivers.codecs.text import Plain
from drivers.codecs.values import Codec, Content, Table, TimeMap, Unfit, ValueMap, ValueName, check_values
from drivers.limits import SOURCES_PER_TOPIC, SOURCES_PER_TOPIC_MAX, TOPIC_BYTES, TOPICS_CACHED

Levels = tuple[str, ...]

_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_OTHER = re.compile(r"[^a-z0-9._-]+")
_LEVEL = re.compile(r"\{([1-9][0-9]?)\}")
_TEMPLATE = re.compile(r"(?:[a-z0-9._-]|\{[1-9][0-9]?\})+")


class MqttOptions(Table, kw_only=True, frozen=True):
    """[source.ID] with driver = "mqtt"."""

    broker: Annotated[str, Meta(min_length=1, max_length=32)]  # NAME of a [broker.NAME]
    topic: Annotated[str, Meta(min_length=1, max_length=TOPIC_BYTES)]  # a topic, or a filter with + and #
    qos: Literal[0, 1] = 1  # 0: what the gateway cannot store at once may be lost
    payload: Literal["json", "text"] = "json"  # text: the whole payload is the one value
    values: dict[ValueName, ValueMap]
    time: TimeMap | None = None  # the device's own time
    id: Annotated[str, Meta(max_length=64)] = ""  # sources named from the topic's levels: "{1}" is the first
    max_sources: Annotated[int, Meta(ge=1, le=SOURCES_PER_TOPIC_MAX)] = SOURCES_PER_TOPIC  # that `id` may make

    def __post_init__(self) -> None:
        check_values(self.values)
        check_filter(self.topic)
        if self.id:
            _check_template(self.id, self.topic)
        if self.payload == "text" and (len(self.values) != 1 or self.time is not None):
            raise ValueError("payload text has one value, and no time")
        codec(self)


def _check_template(template: str, topic: str) -> None:
    if not _TEMPLATE.fullmatch(template) or not _LEVEL.search(template):
        raise ValueError(
            f'id {template!r} names no level of the topic: write it like "house-{{3}}", "{{1}}" is the first'
        )
    levels = topic.split("/")
    most = 99 if levels[-1] == "#" else len(levels)
    for level in _LEVEL.findall(template):
        if int(level) > most:
            raise ValueError(f"id names level {level}, and the topic has {most}")


def check_filter(text: str) -> None:
    """ValueError where it is no topic filter (MQTT 3.1.1 section 4.7), or one of a shared subscription."""
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode(errors="replace")) > TOPIC_BYTES:
        raise ValueError(f"a topic has 1 to {TOPIC_BYTES} bytes, and no NUL")
    if levels[0] == "$share":
        raise ValueError("a shared subscription is not of MQTT 3.1.1: subscribe to the topic itself")
    if any(len(level) > 1 and ("+" in level or "#" in level) for level in levels) or "#" in levels[:-1]:
        raise ValueError(f"{text!r} is no topic filter: + and # stand for whole levels, # only for the last ones")


def matches(filter_: Levels, topic: Levels) -> bool:
    """Section 4.7. Wildcards at the beginning do not match topics that begin with $."""
    if topic[0].startswith("$") and filter_[0] in ("+", "#"):
        return False
    if filter_[-1] == "#":
        filter_ = filter_[:-1]
        topic = topic[: len(filter_)]
    return len(filter_) == len(topic) and all(one in ("+", two) for one, two in zip(filter_, topic, strict=True))


def covers(wide: Levels, narrow: Levels) -> bool:
    """Whether every topic of `narrow` is one of `wide`."""
    if wide[-1] != "#":
        return narrow[-1] != "#" and matches(wide, narrow)
    body = narrow[:-1] if narrow[-1] == "#" else narrow
    return len(body) >= len(wide) - 1 and matches(wide, narrow)


def subscriptions(sources: Mapping[str, MqttOptions]) -> dict[str, int]:
    """Filters and QoS that bring every source its topics.

    One that another covers is left out: brokers that send a message once for each subscription would send it twice.
    """
    asked: dict[str, int] = {}
    for options in sources.values():
        asked[options.topic] = max(options.qos, asked.get(options.topic, 0))
    split = {one: tuple(one.split("/")) for one in asked}
    kept: dict[str, int] = {}
    for one, qos in asked.items():
        wide = next((two for two in asked if two != one and covers(split[two], split[one])), None)
        if wide is None:
            kept[one] = max(kept.get(one, 0), qos)
    for one, qos in asked.items():
        for two, granted in kept.items():
            if covers(split[two], split[one]):
                kept[two] = max(granted, qos)
    return kept


def codec(options: MqttOptions) -> Codec:
    """The codec of a source's payloads."""
    if options.payload == "json":
        return JsonMap(options.values, options.time)
    name, value = next(iter(options.values.items()))
    return Plain(name, value, encoding="utf-8")


class Target(NamedTuple):
    """A source and what reads its payloads."""

    source: str
    codec: Codec


class _Refusal:
    """The codec of what no source takes."""

    def __init__(self, reason: str, detail: str) -> None:
        self._unfit = reason, detail

    def read(self, payload: bytes, now: float | None) -> Content:
        raise Unfit(*self._unfit)


class _Group:
    """One configured source, or the sources that its `id` makes of the topics' levels."""

    def __init__(self, name: str, options: MqttOptions) -> None:
        self.name = name
        self.levels = tuple(options.topic.split("/"))
        self.template = options.id
        self.codec = codec(options)
        self.target = Target(name, self.codec)
        self.most = options.max_sources
        self.made = 0


class _Branch:
    """The filters that begin with the same levels: which groups end here, and what may follow."""

    __slots__ = ("below", "groups")

    def __init__(self) -> None:
        self.below: dict[str, _Branch] = {}
        self.groups: list[int] = []

    def put(self, levels: Levels, group: int) -> None:
        branch = self
        for level in levels:
            branch = branch.below.setdefault(level, _Branch())
        branch.groups.append(group)

    def of(self, topic: Levels) -> list[int]:
        """The groups whose filter `matches` the topic, in order: in as many steps as the topic has levels."""
        found: list[int] = []
        branches = [self]
        for at, level in enumerate(topic):
            wild = at > 0 or not level.startswith("$")
            below: list[_Branch] = []
            for branch in branches:
                if wild and (rest := branch.below.get("#")):
                    found += rest.groups
                below += filter(None, map(branch.below.get, ("+", level) if wild else (level,)))
            branches = below
        for branch in branches:
            found += branch.groups
            if rest := branch.below.get("#"):
                found += rest.groups
        return sorted(found)


class Routes:
    """From a topic to its sources. Those that topics named appear in `parents`, with the configured source of each."""

    def __init__(self, name: str, sources: Mapping[str, MqttOptions]) -> None:
        self._name = name
        self._groups = [_Group(source, options) for source, options in sources.items()]
        self._filters = _Branch()
        for at, group in enumerate(self._groups):
            self._filters.put(group.levels, at)
        self._owners: dict[str, tuple[str, Levels]] = {source: (source, ()) for source in [*sources, "gateway"]}
        self._cache: OrderedDict[bytes, tuple[Target, ...]] = OrderedDict()
        self.parents: dict[str, str] = {}

    def find(self, topic: bytes) -> tuple[Target, ...]:
        """The targets of a topic, at least one: where no source wants it, the driver itself with a refusing codec."""
        found = self._cache.get(topic)
        if found is None:
            found = self._find(topic)
            if len(topic) <= TOPIC_BYTES:
                if len(self._cache) >= TOPICS_CACHED:
                    self._cache.popitem(last=False)
                self._cache[topic] = found
        return found

    def _find(self, topic: bytes) -> tuple[Target, ...]:
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or "\0" in text or len(topic) > TOPIC_BYTES or "+" in text or "#" in text:
            return (Target(self._name, _Refusal("bad_topic", repr(topic[:80]))),)
        levels = tuple(text.split("/"))
        found = tuple(self._targets(levels))
        return found or (Target(self._name, _Refusal("unknown_topic", f"no source wants {text[:100]}")),)

    def _targets(self, levels: Levels) -> Iterator[Target]:
        for at in self._filters.of(levels):
            group = self._groups[at]
            yield self._made(group, levels) if group.template else group.target

    def _made(self, group: _Group, levels: Levels) -> Target:
        """The source that the levels name. An id belongs to the levels that made it first."""
        used = [int(level) - 1 for level in _LEVEL.findall(group.template)]
        if max(used) >= len(levels):
            return Target(group.name, _Refusal("bad_source_id", f"{'/'.join(levels)[:100]} has too few levels"))
        owner = (group.name, tuple(levels[at] for at in used))
        text = _LEVEL.sub(lambda match: levels[int(match[1]) - 1], group.template)
        source = _OTHER.sub("-", text.lower()).strip("-._")
        if not _SOURCE.fullmatch(source):
            return Target(group.name, _Refusal("bad_source_id", f"{text[:80]!r} makes no source id"))
        if source not in self._owners:
            if group.made >= group.most:
                detail = f"{source} would be one more than max_sources = {group.most}"
                return Target(group.name, _Refusal("too_many_sources", detail))
            group.made += 1
            self._owners[source] = owner
            self.parents[source] = group.name
        if self._owners[source] != owner:
            return Target(group.name, _Refusal("source_id_taken", f"{text[:80]!r} makes {source}, which is another's"))
        return Target(source, group.codec)
