"""Configurations of Home Assistant's MQTT discovery: which topic has which value of which device. Nothing is executed.

A template is read where it only names a member: `{{ value_json.a.b }}`, `{{ value_json['a'] }}`. Others are refused.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from drivers.codecs.plain import name_of
from drivers.codecs.values import Unfit
from drivers.limits import JSON_DEPTH, TOPIC_BYTES, UNIT_BYTES

READ = frozenset(["sensor", "binary_sensor", "number"])
_SHORT = {
    "~": "~",
    "stat_t": "state_topic",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
    "dev": "device",
    "dev_cla": "device_class",
    "ids": "identifiers",
    "cns": "connections",
    "avty": "availability",
    "avty_t": "availability_topic",
    "avty_tpl": "availability_template",
    "pl_avail": "payload_available",
    "pl_not_avail": "payload_not_available",
    "pl_on": "payload_on",
    "pl_off": "payload_off",
    "cmps": "components",
    "p": "platform",
    "t": "topic",
}
_TEMPLATE = re.compile(
    r"""\s*\{\{-?\s*value_json((?:\.[A-Za-z_][A-Za-z0-9_]*|\['[^'"\\\[\]]+'\]|\["[^'"\\\[\]]+"\])+)\s*-?\}\}\s*"""
)
_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_]*)|\[['"]([^'"]+)['"]\]""")

Path = tuple[str, ...]


class Entity(msgspec.Struct, frozen=True):
    """One value of a device. path: within JSON; (): the payload is the value; None: its template is not read."""

    config: str  # the topic that told of it
    topic: str
    device: str
    name: str
    binary: bool = False
    unit: str = ""
    path: Path | None = ()
    on: str = "ON"
    off: str = "OFF"
    device_class: str = ""


class Availability(msgspec.Struct, frozen=True):
    """A topic that says whether a device is there."""

    config: str
    topic: str
    device: str
    path: Path = ()
    up: str = "online"
    down: str = "offline"


def path_of(template: object) -> Path:
    """Where a template's value stands; () where there is none. Unfit for one that does more than name a member."""
    if template is None or template == "":
        return ()
    match = _TEMPLATE.fullmatch(template) if isinstance(template, str) and len(template) <= 512 else None
    if match is None:
        raise Unfit("unsupported_template", f"{str(template)[:120]!r} is more than value_json and its members")
    path = tuple(a or b for a, b in _STEP.findall(match[1]))
    if len(path) > JSON_DEPTH:
        raise Unfit("too_deep", f"{str(template)[:120]!r}")
    return path


def told(config: str, levels: tuple[str, ...], document: Mapping[str, Any]) -> Iterator[Entity | Availability | Unfit]:
    """What the configuration on the topic `config` tells of; levels: those between prefix and `config`.

    An Unfit for each template that is not read.
    """
    whole = _long(document)
    if levels[0] == "device":
        parts = whole.get("components")
        for key, one in parts.items() if isinstance(parts, dict) else ():
            if isinstance(one, dict):
                part = {**whole, **_long(one)}
                yield from _entity(config, str(part.get("platform")), (levels[-1], key), part)
    else:
        yield from _entity(config, levels[0], levels[1:], whole)


def _entity(
    config: str, component: str, names: tuple[str, ...], table: dict[str, Any]
) -> Iterator[Entity | Availability | Unfit]:
    topic = _topic(table.get("state_topic"), table)
    if component not in READ or not topic:
        return
    device = _device(table) or names[0]
    try:
        path: Path | None = path_of(table.get("value_template"))
    except Unfit as unfit:
        path = None
        yield unfit
    yield Entity(
        config,
        topic,
        device,
        name_of(names[-1:]),
        component == "binary_sensor",
        _text(table.get("unit_of_measurement"), UNIT_BYTES),
        path,
        _text(table.get("payload_on"), 64) or "ON",
        _text(table.get("payload_off"), 64) or "OFF",
        _text(table.get("device_class"), 64),
    )
    yield from _availabilities(config, device, table)


def _availabilities(config: str, device: str, table: dict[str, Any]) -> Iterator[Availability | Unfit]:
    listed = table.get("availability")
    alone = {**table, "topic": table.get("availability_topic"), "value_template": table.get("availability_template")}
    for one in [_long(item) for item in listed[:8] if isinstance(item, dict)] if isinstance(listed, list) else [alone]:
        topic = _topic(one.get("topic"), table)
        if not topic:
            continue
        try:
            path = path_of(one.get("value_template"))
        except Unfit as unfit:
            yield unfit
            continue
        up, down = (_text(one.get(f"payload_{key}available"), 64) for key in ("", "not_"))
        yield Availability(config, topic, device, path, up or "online", down or "offline")


def _long(table: Mapping[str, Any]) -> dict[str, Any]:
    return {_SHORT.get(key, key): value for key, value in table.items()}


def _text(value: object, most: int) -> str:
    return value if isinstance(value, str) and len(value) <= most else ""


def _topic(value: object, table: Mapping[str, Any]) -> str:
    """With the base topic in the place of a ~ at its beginning or its end."""
    text, base = _text(value, TOPIC_BYTES), _text(table.get("~"), TOPIC_BYTES)
    if base and text.startswith("~"):
        text = base + text[1:]
    if base and text.endswith("~"):
        text = text[:-1] + base
    return text if len(text.encode(errors="replace")) <= TOPIC_BYTES and not set(text) & {"+", "#", "\0"} else ""


def _device(table: Mapping[str, Any]) -> str:
    """The first of its identifiers, or of its connections' values."""
    device = table.get("device")
    about = _long(device) if isinstance(device, dict) else {}
    ids, connections = about.get("identifiers"), about.get("connections")
    found: object = ids[0] if isinstance(ids, list) and ids else ids
    if not found and isinstance(connections, list) and connections:
        pair = connections[0]
        found = pair[-1] if isinstance(pair, list) and pair else None
    return _text(found, 128)
