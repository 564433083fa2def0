"""What may be speaking: every codec that could read some bytes or messages is tried, and judged by what it found.

Pure: what was heard goes in, verdicts with their evidence come out.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from drivers import recorded, registry
from drivers.codecs.base import Found, Refused, State
from drivers.kinds import Kind
from drivers.limits import PROBED_EXAMPLES, PROBED_TRIALS
from drivers.mqtt_sources import SubscribedOptions, matches

_NOT_TRIED = frozenset({"replay", "serial_line"})  # they read whatever they are told to
OF_THE_PROTOCOL = frozenset(
    {"no_fix", "in_motion", "overload", "underload", "not_zeroed", "no_unit", "unknown_unit", "test_code", "repeat"}
)
"""Reasons of a reject that says: the frame is one of this protocol, and has no value that could be believed."""


class Way(NamedTuple):
    """One way to read a stream: a driver, and those of its options that have nothing to do with the wire."""

    kind: Kind
    options: Mapping[str, Any]

    def codec(self) -> Any:
        """A new one, of an opening that may be anywhere within a frame."""
        table = {**self.kind.recorded, **self.options}
        assert self.kind.codec is not None
        return self.kind.codec(msgspec.convert(table, self.kind.options), drop_first=True)


class Verdict(NamedTuple):
    """What one way made of the bytes: frames that it read, bytes that it could not, and whether changes are noticed."""

    way: Way
    frames: int
    broken: int
    noticed: int  # of PROBED_TRIALS changed bytes
    found: tuple[Found, ...]  # the first of them

    @property
    def share(self) -> float:
        """Of what came, how much was read."""
        return self.frames / (self.frames + self.broken) if self.frames else 0.0

    @property
    def sure(self) -> bool:
        """Nothing else can be it: the checksums are right, or the form fits again and again."""
        return self.share >= 0.8 and (self.noticed > 0 or self.frames >= 5)

    @property
    def evidence(self) -> str:
        """For a technician."""
        told = f"{self.frames} of {self.frames + self.broken} frames read"
        return f"{told}, with the right checksum" if self.noticed else told


def ways() -> list[Way]:
    """All there are, of drivers of other packages too; a driver that cannot be loaded is left out."""
    found = []
    for name in registry.names():
        if name in _NOT_TRIED:
            continue
        try:
            kind = registry.kind(name)
        except registry.UnknownDriver:
            continue
        if kind.shape == "stream" and kind.codec is not None:
            found += [way for way in _variants(kind) if _fits(way)]
    return found


def _variants(kind: Kind) -> Iterator[Way]:
    """Each value of an option `variant`, with and without a `checksum`."""
    fields = {one.encode_name: one for one in msgspec.structs.fields(kind.options)}
    types = {name: _bare(one.type) for name, one in fields.items()}
    choices: list[list[tuple[str, Any]]] = []
    if get_origin(types.get("variant")) is Literal:
        choices.append([("variant", one) for one in get_args(types["variant"])])
    if types.get("checksum") is bool:
        choices.append([("checksum", one) for one in (False, True)])
    for chosen in itertools.product(*choices):
        yield Way(kind, {name: value for name, value in chosen if value != fields[name].default})


def _bare(wanted: Any) -> Any:
    """A type without what is said of it."""
    return _bare(get_args(wanted)[0]) if get_origin(wanted) is Annotated else wanted


def _fits(way: Way) -> bool:
    try:
        way.codec()
    except (ValueError, TypeError):  # a variant that needs more than its name
        return False
    return True


def judge(data: bytes, tried: Iterable[Way]) -> list[Verdict]:
    """Those that read anything in the bytes, the likeliest first."""
    verdicts: list[Verdict] = []
    for way in tried:
        verdict = _judged(data, way)
        if verdict.frames and not any(_says_the_same(one, verdict) for one in verdicts):
            verdicts.append(verdict)
    return sorted(
        verdicts,
        key=lambda one: (one.share >= 0.5, one.noticed > 0, one.frames * one.share, -len(one.way.options)),
        reverse=True,
    )


def _says_the_same(one: Verdict, other: Verdict) -> bool:
    """An option more, and nothing is read otherwise."""
    return (
        one.way.kind is other.way.kind and one.way.options.items() <= other.way.options.items() and one[1:] == other[1:]
    )


def _judged(data: bytes, way: Way) -> Verdict:
    findings = _findings(data, way)
    found = [one for one in findings if isinstance(one, Found)]
    refused = [one.reason for one in findings if isinstance(one, Refused)]
    frames = len(found) + sum(reason in OF_THE_PROTOCOL for reason in refused)
    broken = sum(reason not in OF_THE_PROTOCOL and reason != "partial_line" for reason in refused)
    noticed = _noticed(data, way, refused.count("checksum")) if frames else 0
    return Verdict(way, frames, broken, noticed, tuple(found[:PROBED_EXAMPLES]))


def _findings(data: bytes, way: Way) -> list[recorded.Finding]:
    codec = way.codec()
    return [*codec.feed(data, None), *codec.gap(None)]


def _noticed(data: bytes, way: Way, before: int) -> int:
    """How many of some digits that are changed, one at a time, become a reject for their checksum."""
    digits = [at for at, byte in enumerate(data) if 0x30 <= byte <= 0x39]
    step = max(1, len(digits) // PROBED_TRIALS)
    noticed = 0
    for at in digits[step // 2 :: step][:PROBED_TRIALS]:
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        refused = [one.reason for one in _findings(changed, way) if isinstance(one, Refused)]
        noticed += refused.count("checksum") > before
    return noticed


def parity(data: bytes) -> Literal["even", "odd"] | None:
    """Of bytes that came with 7 data bits and were read as 8: what their top bit says. None: it says nothing.

    Text alone: a device that sends 8 bits has bytes of both parities.
    """
    if not any(byte & 0x80 for byte in data) or len(data) < 8:
        return None
    seven = bytes(byte & 0x7F for byte in data)
    if sum(chr(byte).isprintable() or byte in b"\r\n\t\x02\x03" for byte in seven) < 0.9 * len(seven):
        return None
    ones = [byte.bit_count() % 2 for byte in data]
    if sum(ones) <= len(ones) // 20:
        return "even"
    return "odd" if sum(ones) >= len(ones) - len(ones) // 20 else None


class Heard(NamedTuple):
    """A message of a broker."""

    topic: str
    payload: bytes
    retained: bool = False


class Profile(NamedTuple):
    """What one driver makes of the messages that its topics bring."""

    kind: Kind
    options: Mapping[str, Any]
    samples: int
    rejects: Mapping[str, int]
    devices: tuple[str, ...]
    topics: frozenset[str]  # those that are its own, whether or not each has a value
    examples: Mapping[str, Found]  # by topic


def profiles(heard: Sequence[Heard], now: float | None) -> list[Profile]:
    """Every subscribed driver with topics of its own that read anything; retained messages first, as a broker sends.

    One that is told elsewhere where its values are (discovery) is tried with every first level there is.
    """
    found = []
    for name in registry.names():
        try:
            kind = registry.kind(name)
        except registry.UnknownDriver:
            continue
        if kind.shape == "subscribe" and kind.codec is not None and _has_topic(kind):
            profile = _profile(kind, {}, heard, now)
            if not profile.samples and (profile.topics or profile.rejects) and _more_topics(kind):
                profile = _with_more(kind, heard, now)
            if profile.samples:
                found.append(profile)
    return found


def _more_topics(kind: Kind) -> bool:
    return any(one.name == "more_topics" and one.default == () for one in msgspec.structs.fields(kind.options))


def _with_more(kind: Kind, heard: Sequence[Heard], now: float | None) -> Profile:
    """more_topics: of all first levels those under which something was read."""
    firsts = sorted({f"{one.topic.split('/')[0]}/#" for one in heard if not one.topic.startswith(("$", "/"))})
    read = _profile(kind, {"more_topics": firsts}, heard, now).examples
    return _profile(kind, {"more_topics": sorted({f"{topic.split('/')[0]}/#" for topic in read})}, heard, now)


def of_any_topic(heard: Sequence[Heard], now: float | None) -> list[Profile]:
    """The same for drivers that need to be told a topic, each topic by itself; not the one that needs its values."""
    found = []
    for name in registry.names():
        try:
            kind = registry.kind(name)
        except registry.UnknownDriver:
            continue
        needed = {one.encode_name for one in msgspec.structs.fields(kind.options) if one.required}
        if kind.shape != "subscribe" or kind.codec is None or needed != {"broker", "topic"}:
            continue
        for topic in dict.fromkeys(one.topic for one in heard):
            profile = _profile(kind, {"topic": topic}, heard, now)
            if profile.samples and not profile.rejects:
                found.append(profile)
    return found


def _has_topic(kind: Kind) -> bool:
    fields = {one.encode_name: one for one in msgspec.structs.fields(kind.options)}
    return "topic" in fields and {name for name, one in fields.items() if one.required} <= {"broker"}


def _profile(kind: Kind, given: Mapping[str, Any], heard: Sequence[Heard], now: float | None) -> Profile:
    options = msgspec.convert({"broker": "probed", **given}, kind.options)
    assert isinstance(options, SubscribedOptions)
    assert kind.codec is not None
    codec = kind.codec(options)
    filters = [tuple(one.split("/")) for one in options.filters]
    samples, rejects, examples = 0, dict[str, int](), dict[str, Found]()
    devices, topics = dict[str, None](), set[str]()
    mine = [one for one in heard if any(matches(filter_, tuple(one.topic.split("/"))) for filter_ in filters)]
    retained = [one for one in mine if one.retained]
    for one in retained:  # twice: a broker sends them in no order, and one tells how another is read
        recorded.message(codec, one.topic, one.payload, now, retained=True)
    for one in [*retained, *(one for one in mine if not one.retained)]:
        findings = recorded.message(codec, one.topic, one.payload, now, retained=one.retained)
        if not any(isinstance(finding, Refused) for finding in findings):
            topics.add(one.topic)
        for finding in findings:
            if isinstance(finding, Found):
                samples += 1
                examples.setdefault(one.topic, finding)
            elif isinstance(finding, Refused):
                rejects[finding.reason] = rejects.get(finding.reason, 0) + 1
            if isinstance(finding, Found | State) and finding.device:
                devices[finding.device] = None
    return Profile(kind, given, samples, rejects, tuple(devices), frozenset(topics), examples)
