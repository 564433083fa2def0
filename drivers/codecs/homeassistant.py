"""Values that Home Assistant's MQTT discovery tells of: its configurations, and the state topics they name."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from drivers.api import OUT_OF_RANGE
from drivers.codecs.base import Found, Refused, State
from drivers.codecs.discovery import Availability, Entity, Path, told
from drivers.codecs.json_map import parse
from drivers.codecs.measures import Measures
from drivers.codecs.plain import an_object, unit_called
from drivers.codecs.text import text_of
from drivers.codecs.values import MISSING, Unfit, number
from drivers.limits import ENTITIES, EXAMPLE_BYTES, LEARNT_BYTES

_EARLY_BYTES = 64
_NOTHING = frozenset(["", "unknown", "unavailable", "None", "null"])
Told = Entity | Availability


class HomeAssistant:
    """The Learner of one source. prefix: of the discovery; subscribed: whether messages of a topic come at all."""

    def __init__(self, prefix: str, subscribed: Callable[[str], bool]) -> None:
        self._prefix, self._subscribed = f"{prefix}/", subscribed
        self._configs: dict[str, list[Told]] = {}  # by the topic that told of them
        self._topics: dict[str, list[Told]] = {}
        self._early: dict[str, bytes] = {}  # short retained messages of topics that no configuration has named yet
        self._count = 0
        self._changed = False

    def take(
        self, topic: str, payload: bytes, now: float | None, *, retained: bool
    ) -> Sequence[Found | Refused | State]:
        """A configuration, or a state."""
        if topic.startswith(self._prefix):
            *levels, last = topic.removeprefix(self._prefix).split("/")
            if last == "config" and 2 <= len(levels) <= 3:
                return self._learn(topic, tuple(levels), payload)
        about = self._topics.get(topic)
        if about is None:
            if topic.startswith(self._prefix):
                return ()
            if retained and len(payload) <= _EARLY_BYTES and len(self._early) < ENTITIES:
                self._early[topic] = payload
            raise Unfit("unknown_topic", f"no configuration names {topic[:100]}")
        return self._read(about, payload)

    # Configurations

    def _learn(self, topic: str, levels: tuple[str, ...], payload: bytes) -> Sequence[Refused | State]:
        """An empty one takes back what it told of. Retained messages come in any order: availability may be known."""
        told_of = list(told(topic, levels, an_object(parse(payload)))) if payload else []
        made = [one for one in told_of if not isinstance(one, Unfit)]
        refused = [
            Refused(one.reason, payload[:EXAMPLE_BYTES], one.detail[:200]) for one in told_of if isinstance(one, Unfit)
        ]
        for one in made:
            if isinstance(one, Entity) and not self._subscribed(one.topic):
                detail = f"add {one.topic[:160]}, or a filter that has it, to more_topics"
                refused.append(Refused("not_subscribed", payload[:EXAMPLE_BYTES], detail))
        before = self._configs.get(topic, [])
        if made != before:
            if self._count - len(before) + len(made) > ENTITIES:
                raise Unfit("too_many_entities", f"more than {ENTITIES}")
            self._replace(topic, before, made)
        early = {one.topic: self._early.pop(one.topic) for one in made if one.topic in self._early}
        states = [state for at, said in early.items() for state in self._availability(at, said)]
        return [*refused, *states]

    def _availability(self, topic: str, payload: bytes) -> Sequence[State]:
        try:
            about = self._topics.get(topic, [])
            return list(_states(about, _document(about, payload), payload))
        except Unfit:
            return ()  # it was rejected when it came

    def _replace(self, topic: str, before: list[Told], made: list[Told]) -> None:
        self._changed = True
        self._count += len(made) - len(before)
        for one in before:
            rest = [other for other in self._topics[one.topic] if other.config != topic]
            self._topics[one.topic] = rest
        for one in made:
            self._topics.setdefault(one.topic, []).append(one)
        for one in before:
            if not self._topics.get(one.topic, [one]):
                del self._topics[one.topic]
        self._configs[topic] = made
        if not made:
            del self._configs[topic]

    def learnt(self) -> bytes | None:
        """All entities; None where that would be too much."""
        if not self._changed:
            return None
        self._changed = False
        kept = [
            [isinstance(one, Entity), *msgspec.structs.astuple(one)] for made in self._configs.values() for one in made
        ]
        data = json.dumps(kept, separators=(",", ":")).encode()
        return data if len(data) <= LEARNT_BYTES else None

    def recall(self, learnt: bytes) -> None:
        """What an earlier object had learnt."""
        configs: dict[str, list[Told]] = {}
        try:
            for entity, *fields in json.loads(learnt or b"[]")[:ENTITIES]:
                kind: type[Any] = Entity if entity else Availability
                names = [field.name for field in msgspec.structs.fields(kind)]
                one = msgspec.convert(dict(zip(names, fields, strict=True)), kind)
                configs.setdefault(one.config, []).append(one)
        except (ValueError, TypeError, RecursionError):
            return
        for topic, made in configs.items():
            self._replace(topic, [], made)
        self._changed = False

    # States

    def _read(self, about: list[Told], payload: bytes) -> Sequence[Found | Refused | State]:
        document = _document(about, payload)
        found: list[Found | Refused | State] = list(_states(about, document, payload))
        entities = [one for one in about if isinstance(one, Entity)]
        devices: dict[str, Measures] = {}
        for one in entities:
            if one.path is not None:
                measures = devices.setdefault(one.device, Measures())
                try:
                    _put(one, _at(document, one.path, payload), measures)
                except Unfit as unfit:
                    found.append(Refused(unfit.reason, payload[:EXAMPLE_BYTES], unfit.detail[:200], one.device))
        for device, measures in devices.items():
            if measures.records or measures.quality:
                found.append(Found(measures.records, None, measures.quality, device))
        if entities and not found:
            reason = "missing_value" if devices else "unsupported_template"
            raise Unfit(reason, f"none of the {len(entities)} values that are configured is there")
        return found


def _document(about: Sequence[Told], payload: bytes) -> Any:
    """The JSON that a template names a member of; MISSING where there is no such template."""
    return parse(payload) if any(one.path for one in about) else MISSING


def _at(document: Any, path: Path, payload: bytes) -> Any:
    if not path:
        return text_of(payload, "utf-8").strip()
    for step in path:
        document = document.get(step, MISSING) if isinstance(document, Mapping) else MISSING
    return document


def _put(one: Entity, value: Any, measures: Measures) -> None:
    """A value of a device; nothing where it is absent or says that nobody knows it."""
    if isinstance(value, str):
        value = value.strip()
    if value is MISSING or value is None or (isinstance(value, str) and value in _NOTHING):
        return
    if isinstance(value, dict | list):
        raise Unfit("wrong_type", f"{one.name} is no single value")
    if one.binary:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text not in (one.on, one.off):
            raise Unfit("wrong_type", f"{one.name} is {text[:40]!r}, neither {one.on!r} nor {one.off!r}")
        measures.put(one.name, text == one.on)
        return
    if one.unit and isinstance(value, str):
        found = number(value)
        if not isinstance(found, int | float):
            measures.quality |= OUT_OF_RANGE
            return
        value = found
    unit = unit_called(one.unit, one.device_class or one.name) if one.unit else None
    (measures.keep if one.path else measures.put)(one.name, value, unit)


def _states(about: Sequence[Told], document: Any, payload: bytes) -> Iterator[State]:
    """Once for each device, however many of its values have the topic for their availability."""
    seen: dict[str, bool] = {}
    for one in about:
        if isinstance(one, Availability):
            value = _at(document, one.path, payload)
            text = str(value).lower() if isinstance(value, bool) else value
            if text in (one.up, one.down):
                seen.setdefault(one.device, text == one.up)
    for device, up in seen.items():
        yield State(up, f"is {'available' if up else 'not available'}", device)
