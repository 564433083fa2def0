"""Options of the sources that a broker serves, and topic filters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from drivers.codecs.base import Found
from drivers.codecs.json_map import JsonMap
from drivers.codecs.text import Plain
from drivers.codecs.values import Codec, DeviceTime, Table, Values, check_values
from drivers.limits import PAYLOAD_BYTES, SOURCES_PER_TOPIC, SOURCES_PER_TOPIC_MAX, TOPIC_BYTES

Levels = tuple[str, ...]

Topic = Annotated[str, Meta(min_length=1, max_length=TOPIC_BYTES, title="A topic, or a filter with + and #")]
IdTemplate = Annotated[str, Meta(max_length=64)]

LEVEL = re.compile(r"\{([1-9][0-9]?)\}")
_OF_LEVELS = re.compile(r"(?:[a-z0-9._-]|\{[1-9][0-9]?\})+")
_OF_DEVICES = re.compile(r"(?:[a-z0-9._-]|\{source\}|\{device\})+")


class SubscribedOptions(Table, kw_only=True, frozen=True):
    """Options of every driver whose messages a broker brings. A driver gives `topic` a default that fits it."""

    broker: Annotated[str, Meta(min_length=1, max_length=32, title="NAME of a [broker.NAME] table")]
    topic: Topic
    qos: Annotated[Literal[0, 1], Meta(title="0: what the gateway cannot store at once may be lost")] = 1
    id: Annotated[IdTemplate, Meta(title='Names a source for each device. "": all of them are the one source')] = (
        "{source}-{device}"
    )
    max_sources: Annotated[
        int, Meta(ge=1, le=SOURCES_PER_TOPIC_MAX, title="How many sources `id` may make; the next device is rejected")
    ] = SOURCES_PER_TOPIC

    def __post_init__(self) -> None:
        for one in self.filters:
            check_filter(one)
        if self.id:
            self._check_id()

    @property
    def filters(self) -> tuple[str, ...]:
        """The topic filters of the source; a driver that needs others beside `topic` says so here."""
        return (self.topic,)

    @property
    def payload_bytes(self) -> int:
        """A longer message is rejected. Of more than PAYLOAD_BYTES the payload is kept with no reading."""
        return PAYLOAD_BYTES

    def _check_id(self) -> None:
        if not _OF_DEVICES.fullmatch(self.id) or "{device}" not in self.id:
            raise ValueError(
                f'id {self.id!r} names no device: write it like "{{source}}-{{device}}", or "" for one source'
            )


class MqttOptions(SubscribedOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "mqtt"."""

    payload: Annotated[Literal["json", "text"], Meta(title="text: the whole payload is the one value")] = "json"
    values: Values
    time: DeviceTime | None = None
    id: Annotated[
        IdTemplate,
        Meta(title='Names a source for each device from the topic\'s levels, "{1}" is the first. "": one source'),
    ] = ""

    def __post_init__(self) -> None:
        check_values(self.values)
        super().__post_init__()
        if self.payload == "text" and (len(self.values) != 1 or self.time is not None):
            raise ValueError("payload text has one value, and no time")
        payload_codec(self)

    def _check_id(self) -> None:
        _check_levels(self.id, self.topic)


def _check_levels(template: str, topic: str) -> None:
    if not _OF_LEVELS.fullmatch(template) or not LEVEL.search(template):
        raise ValueError(
            f'id {template!r} names no level of the topic: write it like "house-{{3}}", "{{1}}" is the first'
        )
    levels = topic.split("/")
    most = 99 if levels[-1] == "#" else len(levels)
    for level in LEVEL.findall(template):
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


class Filters:
    """Filters by their levels: those that cover one are found in as many steps as it has levels, or a few more."""

    def __init__(self, filters: Iterable[str]) -> None:
        self._root = _Filter()
        for one in filters:
            branch = self._root
            for level in one.split("/"):
                branch = branch.below.setdefault(level, _Filter())
            branch.ends = one

    def covering(self, narrow: str) -> list[str]:
        """Those that `covers` it, itself among them where it is there."""
        levels = tuple(narrow.split("/"))
        found: list[_Filter | None] = []
        branches = [self._root]
        for at, level in enumerate(levels):
            wild = at > 0 or not level.startswith("$")
            found += [branch.below.get("#") for branch in branches if wild]
            further = () if level == "#" else ("+", level) if wild and level != "+" else (level,)
            branches = [below for branch in branches for one in further if (below := branch.below.get(one))]
        found += [end for branch in branches for end in (branch, branch.below.get("#"))]
        return [one.ends for one in found if one is not None and one.ends]


class _Filter:
    """The filters that begin with the same levels; `ends`: the one that has no more of them."""

    __slots__ = ("below", "ends")

    def __init__(self) -> None:
        self.below: dict[str, _Filter] = {}
        self.ends = ""


def subscriptions(sources: Mapping[str, SubscribedOptions]) -> dict[str, int]:
    """Filters and QoS that bring every source its topics.

    One that another covers is left out: brokers that send a message once for each subscription would send it twice.
    """
    asked: dict[str, int] = {}
    for options in sources.values():
        for one in options.filters:
            asked[one] = max(options.qos, asked.get(one, 0))
    filters = Filters(asked)
    covering = {one: filters.covering(one) for one in asked}
    kept = {one: qos for one, qos in asked.items() if covering[one] == [one]}
    for one, qos in asked.items():
        for wide in covering[one]:
            if wide in kept:
                kept[wide] = max(kept[wide], qos)
    return kept


def payload_codec(options: MqttOptions) -> Codec:
    """What reads a payload of a source with driver = "mqtt"."""
    if options.payload == "json":
        return JsonMap(options.values, options.time)
    name, value = next(iter(options.values.items()))
    return Plain(name, value, encoding="utf-8")


class Mapped:
    """The MessageCodec of a source with driver = "mqtt", for recorded messages; the driver reads payloads by itself."""

    def __init__(self, options: MqttOptions) -> None:
        self._codec = payload_codec(options)

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Found]:
        """One message."""
        return (Found(*self._codec.read(payload, now)),)
