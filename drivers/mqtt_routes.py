"""From a topic to its sources, and from a device that a message names to the source that it is."""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from drivers.codecs.base import Learner, MessageCodec
from drivers.codecs.values import Codec, Content, Unfit
from drivers.limits import PAYLOAD_BYTES, TOPIC_BYTES, TOPICS_CACHED
from drivers.mqtt_sources import LEVEL, Levels, MqttOptions, SubscribedOptions, payload_codec

MakeCodec = Callable[[Any], MessageCodec]

_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_OTHER = re.compile(r"[^a-z0-9._-]+")


class Target(NamedTuple):
    """A source and what reads its payloads."""

    source: str
    codec: Codec


class Refusal(NamedTuple):
    """Why a topic or a device is no source's. As a codec, that of what no source takes."""

    reason: str
    detail: str

    def read(self, payload: bytes, now: float | None) -> Content:
        """Refuses."""
        raise Unfit(self.reason, self.detail)


class _Ids:
    """Which source id belongs to whom. An id belongs to those levels, or to that device, that made it first."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._owners: dict[str, tuple[str, Levels]] = {}
        self._made = Counter[str]()
        self.parents: dict[str, str] = {}
        self.configure(sources, set())

    def configure(self, sources: Iterable[str], same: Collection[str]) -> None:
        """These sources are configured. What was made for those of them that are the `same` stays theirs."""
        owned: dict[str, tuple[str, Levels]] = {source: (source, ()) for source in [*sources, "gateway"]}
        made = {
            source: owner
            for source, owner in self._owners.items()
            if source in self.parents and owner[0] in same and source not in owned
        }
        self._owners = {**owned, **made}
        self._made = Counter(parent for parent, _ in made.values())
        for source in [source for source in self.parents if source not in made]:
            del self.parents[source]

    def claim(self, parent: str, most: int, whose: Levels, text: str) -> str | Refusal:
        """The id that the text makes, for `whose` of `parent`, the configured source, which may have `most`."""
        source = _OTHER.sub("-", text.lower()).strip("-._")
        if not _SOURCE.fullmatch(source):
            return Refusal("bad_source_id", f"{text[:80]!r} makes no source id")
        if source not in self._owners:
            if self._made[parent] >= most:
                return Refusal("too_many_sources", f"{source} would be one more than max_sources = {most}")
            self._made[parent] += 1
            self._owners[source] = (parent, whose)
            self.parents[source] = parent
        if self._owners[source] != (parent, whose):
            return Refusal("source_id_taken", f"{text[:80]!r} makes {source}, which is another's")
        return source


class _Group:
    """One configured source, or the sources that its `id` makes of the topics' levels."""

    def __init__(self, name: str, options: MqttOptions) -> None:
        self.name = name
        self.options = options
        self.template = options.id
        self.codec = payload_codec(options)
        self.target = Target(name, self.codec)
        self.most = options.max_sources

    def serves_as(self, other: "_Group | Reader") -> bool:
        """Whether the other would read the same messages in the same way."""
        return isinstance(other, _Group) and other.options == self.options

    def of(self, levels: Levels, ids: _Ids) -> Target:
        """The source that the levels name."""
        if not self.template:
            return self.target
        used = [int(level) - 1 for level in LEVEL.findall(self.template)]
        if max(used) >= len(levels):
            return Target(self.name, Refusal("bad_source_id", f"{'/'.join(levels)[:100]} has too few levels"))
        text = LEVEL.sub(lambda match: levels[int(match[1]) - 1], self.template)
        source = ids.claim(self.name, self.most, tuple(levels[at] for at in used), text)
        return Target(source, self.codec) if isinstance(source, str) else Target(self.name, source)


class Reader:
    """One configured source whose messages a MessageCodec reads, and the sources of the devices that it named."""

    def __init__(self, name: str, options: SubscribedOptions, make: MakeCodec, ids: _Ids) -> None:
        self.name = name
        self.payload_bytes = options.payload_bytes
        self.options, self._make, self._ids = options, make, ids
        self._devices: dict[str, str] = {}  # at most max_sources
        self._learnt = b""
        self.codec = make(options)

    def serves_as(self, other: "_Group | Reader") -> bool:
        """Whether the other would read the same messages in the same way."""
        return isinstance(other, Reader) and (other.options, other._make) == (self.options, self._make)

    def join(self, ids: _Ids) -> None:
        """Sources of devices are named here from now on; those that are another's by now are asked for again."""
        self._ids = ids
        self._devices = {
            device: source for device, source in self._devices.items() if ids.parents.get(source) == self.name
        }

    def renew(self) -> None:
        """A codec for a new connection, which has learnt what the last one had."""
        self.learnt()
        self.codec = self._make(self.options)
        if isinstance(self.codec, Learner):
            self.codec.recall(self._learnt)

    def recall(self, learnt: bytes) -> None:
        """What was learnt before this start."""
        self._learnt = learnt

    def learnt(self) -> bytes | None:
        """What the codec has learnt, where that has changed since the last call."""
        changed = self.codec.learnt() if isinstance(self.codec, Learner) else None
        self._learnt = changed or self._learnt
        return changed

    def source(self, device: str) -> str | Refusal:
        """The source that a device is, as the codec named it; "": the configured one."""
        if not device or not self.options.id:
            return self.name
        found: str | Refusal | None = self._devices.get(device)
        if found is None:
            text = self.options.id.replace("{source}", self.name).replace("{device}", device)
            found = self._ids.claim(self.name, self.options.max_sources, (device,), text)
            if isinstance(found, str):
                self._devices[device] = found
        return found

    def below(self, device: str) -> list[str]:
        """The sources of the devices named so far whose name begins with this one's and a slash."""
        return [source for name, source in self._devices.items() if name.startswith(f"{device}/")]


Route = tuple[tuple[Target, ...], tuple[Reader, ...], bool, str]
"""Who reads the messages of a topic, at least one; whether several do, so that the payload is nobody's alone; the
topic. A plain tuple: a NamedTuple is taken apart in twice the time."""


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
        return sorted(set(found))


class Routes:
    """From a topic to its route. Sources that topics or devices named are in `parents`, with the configured source."""

    def __init__(
        self, name: str, sources: Mapping[str, SubscribedOptions], codecs: Mapping[str, MakeCodec] | None = None
    ) -> None:
        """`codecs`: what makes the codec of each source that has not driver = "mqtt"."""
        self._name = name
        self._ids = _Ids(sources)
        self._groups: list[_Group | Reader] = [
            _Group(source, options)
            if isinstance(options, MqttOptions)
            else Reader(source, options, (codecs or {})[source], self._ids)
            for source, options in sources.items()
        ]
        self._filters = _Branch()
        for at, options in enumerate(sources.values()):
            for one in options.filters:
                self._filters.put(tuple(one.split("/")), at)
        self._cache: OrderedDict[bytes, Route] = OrderedDict()
        self.parents: Mapping[str, str] = self._ids.parents

    @property
    def readers(self) -> list[Reader]:
        """The sources whose messages a MessageCodec reads."""
        return [group for group in self._groups if isinstance(group, Reader)]

    @property
    def payload_bytes(self) -> int:
        """The longest message that some source wants."""
        return max([PAYLOAD_BYTES, *(reader.payload_bytes for reader in self.readers)])

    def differing(self, other: "Routes") -> set[str]:
        """The other's sources that are not here, or are read in another way."""
        mine = {group.name: group for group in self._groups}
        return {
            group.name for group in other._groups if group.name not in mine or not mine[group.name].serves_as(group)
        }

    def become(self, other: "Routes") -> None:
        """Routes as the other does from the next message on. A source that is the same keeps its codec and its ids."""
        fresh = self.differing(other)
        mine = {group.name: group for group in self._groups}
        names = [group.name for group in other._groups]
        self._groups = [group if group.name in fresh else mine[group.name] for group in other._groups]
        self._ids.configure(names, set(names) - fresh)
        for reader in self.readers:
            reader.join(self._ids)
        self._filters = other._filters
        self._cache.clear()

    def find(self, topic: bytes) -> Route:
        """The route of a topic: where no source wants it, to the driver itself with a refusing codec."""
        found = self._cache.get(topic)
        if found is None:
            found = self._find(topic)
            if len(topic) <= TOPIC_BYTES:
                if len(self._cache) >= TOPICS_CACHED:
                    self._cache.popitem(last=False)
                self._cache[topic] = found
        return found

    def _find(self, topic: bytes) -> Route:
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            text = ""
        if not text or "\0" in text or len(topic) > TOPIC_BYTES or "+" in text or "#" in text:
            return self._nobody(Refusal("bad_topic", repr(topic[:80])))
        levels = tuple(text.split("/"))
        groups = [self._groups[at] for at in self._filters.of(levels)]
        if not groups:
            return self._nobody(Refusal("unknown_topic", f"no source wants {text[:100]}"))
        targets = tuple(group.of(levels, self._ids) for group in groups if isinstance(group, _Group))
        readers = tuple(group for group in groups if isinstance(group, Reader))
        return targets, readers, len(groups) > 1, text

    def _nobody(self, refusal: Refusal) -> Route:
        return (Target(self._name, refusal),), (), False, ""
