"""How the gateway does, in the few values that a farm's dashboard shows, and the message that tells Home Assistant of
them: MQTT discovery of one device with its entities (home-assistant.io/integrations/mqtt, "Device discovery payload").
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gateway import __version__
from gateway.core import limits
from gateway.core.senml import OWN

_STATE_CHARS = 255  # of an entity's state, in Home Assistant
ONLINE, OFFLINE = "online", "offline"

State = Mapping[str, Any]


class Topics(NamedTuple):
    """Where messages of one gateway go. `discovery` is empty where there is none."""

    status: str
    availability: str
    discovery: str


def topics(prefix: str, discovery: str, name: str) -> Topics:
    """Of the gateway of that name. In discovery topics only letters, digits, _ and - may stand."""
    base = f"{prefix}/{name}"
    config = f"{discovery}/device/{_id(name)}/config" if discovery else ""
    return Topics(f"{base}/status", f"{base}/availability", config)


def _id(name: str) -> str:
    """A name has no _, so no two names have one id."""
    return f"fieldgate-{name.replace('.', '_')}"


class Count(NamedTuple):
    """Readings stored at a moment (monotonic seconds), for a rate."""

    at: float
    stored: int


def count(state: State, at: float) -> Count:
    """Of all sources but the gateway's own."""
    return Count(at, sum(one["stored"] for name, one in state["sources"].items() if name != OWN))


def summary(state: State, now: Count, before: Count | None) -> dict[str, Any]:
    """The message, of a status snapshot. What is not known is None."""
    sources = {name: one for name, one in state["sources"].items() if name != OWN}
    newest = max((one["last_ms"] for one in sources.values() if one["last_ms"] is not None), default=None)
    problems = state["problems"]
    return {
        "problem": any(one["severity"] != "note" for one in problems),
        "headline": state["headline"][:_STATE_CHARS],
        "problems": [
            {key: one[key] for key in ("condition", "severity", "subject", "what", "cure")}
            for one in problems[: limits.STATUS_PROBLEMS]
        ],
        "sources": len(sources),
        "sources_up": sum(one["up"] is True for one in sources.values()),
        "readings_per_min": _rate(now, before),
        "newest_age_s": None if newest is None else max(0, state["now_ms"] - newest) / 1000,
        "blocks": state["chain"]["size"],
        "nodes": len(state["nodes"]),
        "nodes_stored": sum(one["stored"] > 0 for one in state["nodes"].values()),
        "disk_used": state["disk"].get("used"),
        "disk_free": state["disk"].get("free"),
        "clock_synchronised": state["clock"]["synchronised"],
        "temperature": _temperature(sources),
        "version": state["version"],
        "origin": state["origin"],
        "at_ms": state["now_ms"],
    }


def _rate(now: Count, before: Count | None) -> float | None:
    """None at first; a source that was removed takes its count along."""
    if before is None or now.at <= before.at:
        return None
    return round(max(0, now.stored - before.stored) * 60 / (now.at - before.at), 1)


def _temperature(sources: Mapping[str, State]) -> float | None:
    """The computer's, where a source reads it."""
    for one in sources.values():
        if one["driver"].startswith("system-"):
            for name, unit, value in one["last"]:
                if (name, unit) == ("temperature", "Cel"):
                    return float(value)
    return None


_MEASURED: Final = {"state_class": "measurement"}
_DIAGNOSTIC: Final = {"entity_category": "diagnostic"}
_BYTES: Final = {"device_class": "data_size", "unit_of_measurement": "B", "suggested_display_precision": 0}
_ENTITIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "problem": {"name": "Problem", "platform": "binary_sensor", "device_class": "problem"},
    "headline": {"name": "Status"},
    "sources": {"name": "Sources", **_MEASURED},
    "sources_up": {"name": "Sources up", **_MEASURED},
    "readings_per_min": {"name": "Readings", "unit_of_measurement": "readings/min", **_MEASURED},
    "newest_age_s": {
        "name": "Age of the newest reading",
        "device_class": "duration",
        "unit_of_measurement": "s",
        "suggested_display_precision": 0,
        **_MEASURED,
    },
    "blocks": {"name": "Blocks", "state_class": "total_increasing"},
    "nodes": {"name": "Nodes", **_MEASURED, **_DIAGNOSTIC},
    "nodes_stored": {"name": "Nodes that store", **_MEASURED},
    "disk_used": {"name": "Disk used", **_BYTES, **_MEASURED, **_DIAGNOSTIC},
    "disk_free": {"name": "Disk free", **_BYTES, **_MEASURED, **_DIAGNOSTIC},
    "clock_synchronised": {"name": "Clock synchronised", "platform": "binary_sensor", **_DIAGNOSTIC},
    "temperature": {
        "name": "Temperature",
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        **_MEASURED,
        **_DIAGNOSTIC,
    },
}


def discovery(name: str, where: Topics, every_s: float, *, with_temperature: bool) -> dict[str, Any]:
    """The discovery message of the gateway of that name. Entities expire where no message comes any more."""
    device = {"identifiers": [_id(name)], "name": name, "manufacturer": "Fieldgate", "model": "Sensor gateway"}
    entities = {key: one for key, one in _ENTITIES.items() if key != "temperature" or with_temperature}
    return {
        "device": {**device, "sw_version": __version__},
        "origin": {"name": "fieldgate", "sw_version": __version__},
        "availability_topic": where.availability,
        "payload_available": ONLINE,
        "payload_not_available": OFFLINE,
        "state_topic": where.status,
        "qos": 1,
        "components": {
            key: _component(name, key, one, where.status, round(3 * every_s) + 30) for key, one in entities.items()
        },
    }


def _component(name: str, key: str, entity: Mapping[str, Any], topic: str, expire_s: int) -> dict[str, Any]:
    component = {
        "platform": "sensor",
        "unique_id": f"{_id(name)}_{key}",
        "value_template": f"{{{{ value_json.{key} }}}}",
        "expire_after": expire_s,
        **entity,
    }
    if component["platform"] == "binary_sensor":
        component["value_template"] = f"{{{{ 'ON' if value_json.{key} else 'OFF' }}}}"
    if key == "problem":
        component["json_attributes_topic"] = topic
        component["json_attributes_template"] = "{{ {'problems': value_json.problems} | tojson }}"
    return component
