"""Zigbee2MQTT: devices' values as JSON on `BASE/FRIENDLY NAME`, their addresses and units in `BASE/bridge/devices`.

A device is its IEEE address: people rename devices. What bridge/devices said is kept for messages that waited in the
broker's queue, which come before what it retains.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from drivers.codecs.base import Found, State
from drivers.codecs.json_map import parse
from drivers.codecs.measures import Measures
from drivers.codecs.plain import an_object, below, moment, name_of, said, scalars, unit_called
from drivers.codecs.values import TimeMap, Unfit
from drivers.limits import DESCRIPTION_BYTES, DEVICES, FLAT_VALUES, JSON_DEPTH, LEARNT_BYTES, TOPIC_BYTES, UNIT_BYTES

_ADDRESS = re.compile(r"0x[0-9a-f]{16}")
_OWN = frozenset(["last_seen", "device", "update", "update_available"])
_COMMANDS = ("/set", "/get")

Units = dict[str, str]


class Zigbee2Mqtt:
    """The Learner of one source. base: the topic's levels before friendly names."""

    def __init__(self, base: str, window: TimeMap) -> None:
        self._base, self._window = f"{base}/", window
        self._addresses: dict[str, str] = {}  # by friendly name
        self._units: dict[str, Units] = {}  # by address and property
        self._groups: set[str] = set()
        self._waiting: dict[str, State] = {}  # by the friendly name of a device that is not known yet
        self._changed = False

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Found | State]:
        """One message; nothing for those that measure nothing."""
        if not topic.startswith(self._base):
            return ()
        name = topic.removeprefix(self._base)
        if name.startswith("bridge/"):
            return self._bridge(name.removeprefix("bridge/"), payload)
        if name in self._groups:
            return ()
        if not name and payload.lstrip()[:1] == b"[":  # recorded, its topic forgotten
            return self._bridge("devices", payload)
        if name not in self._addresses:
            if name.endswith("/availability"):
                return self._availability(name.removesuffix("/availability"), payload)
            if name.endswith(_COMMANDS) or any(f"{one}/" in name for one in _COMMANDS) or self._is_attribute(name):
                return ()
        return (self._values(name, payload, now),)

    def _is_attribute(self, name: str) -> bool:
        """One value of a known device or group, on a topic below its own: its JSON says the same."""
        parts = name.split("/")
        heads = ("/".join(parts[:at]) for at in range(1, len(parts)))
        return any(head in self._addresses or head in self._groups for head in heads)

    def _values(self, name: str, payload: bytes, now: float | None) -> Found:
        document = an_object(parse(payload))
        own = below(document, "device", "ieeeAddr")
        device = own if isinstance(own, str) and _ADDRESS.fullmatch(own) else self._address(name)
        units = self._units.get(device, {})
        measures = Measures()
        for path, value in scalars({key: value for key, value in document.items() if key not in _OWN}):
            if value == "":  # no action at the moment
                continue
            unit = units.get("/".join(path))
            measures.keep(name_of(path), value, unit_called(unit, path[-1]) if unit else None)
        if not measures.records and not measures.quality:
            raise Unfit("missing_value", "none of the values is there")
        return Found(measures.records, moment(document.get("last_seen"), self._window, now), measures.quality, device)

    def _address(self, name: str) -> str:
        """Of the device that has this friendly name; without one of its own, a device has its address for a name."""
        if not name:
            return ""
        found = self._addresses.get(name) or (name if _ADDRESS.fullmatch(name) else "")
        if not found:
            raise Unfit("unknown_device", f"bridge/devices has told of no {name[:80]!r}")
        return found

    def _availability(self, name: str, payload: bytes) -> Sequence[State]:
        """Of a device; of one that is not known yet, when it is: retained messages come in any order."""
        device = self._addresses.get(name) or (name if _ADDRESS.fullmatch(name) else "")
        states = self._state(payload, device)
        if device:
            return states
        if states and len(self._waiting) < DEVICES:
            self._waiting[name] = states[0]
        return ()

    def _state(self, payload: bytes, device: str) -> Sequence[State]:
        """Of a device, or of the bridge: {"state": "online"}, or the word alone."""
        text = payload
        if payload.lstrip().startswith(b"{"):
            text = str(an_object(parse(payload)).get("state")).encode(errors="replace")
        up = said(text, "online", "offline")
        return () if up is None else (State(up, f"Zigbee2MQTT says {'online' if up else 'offline'}", device),)

    def _bridge(self, what: str, payload: bytes) -> Sequence[State]:
        if what == "state":
            return self._state(payload, "")
        if what in ("devices", "groups"):
            found = parse(payload, DESCRIPTION_BYTES)
            if not isinstance(found, list):
                raise Unfit("wrong_type", f"bridge/{what} is a list")
            self._changed = True
            if what == "devices":
                return self._learn_devices(found)
            self._groups = {name for one in found[:DEVICES] if (name := _name(below(one, "friendly_name")))}
        return ()

    def _learn_devices(self, devices: Sequence[object]) -> Sequence[State]:
        self._addresses, self._units = {}, {}
        for one in devices[:DEVICES]:
            address, name = below(one, "ieee_address"), _name(below(one, "friendly_name"))
            if not isinstance(address, str) or not _ADDRESS.fullmatch(address) or not name:
                continue
            self._addresses[name] = address
            units = dict(_units(below(one, "definition", "exposes")))
            if units:
                self._units[address] = units
        known = [name for name in self._waiting if name in self._addresses]
        return [self._waiting.pop(name)._replace(device=self._addresses[name]) for name in known]

    def learnt(self) -> bytes | None:
        """Names and units; names alone where it would be too much."""
        if not self._changed:
            return None
        self._changed = False
        kept = {"names": self._addresses, "groups": sorted(self._groups)}
        for one in ({**kept, "units": self._units}, kept):
            data = json.dumps(one, separators=(",", ":")).encode()
            if len(data) <= LEARNT_BYTES:
                return data
        return None

    def recall(self, learnt: bytes) -> None:
        """What an earlier object had learnt."""
        try:
            kept = msgspec.json.decode(learnt, type=_Kept)
        except ValueError:
            return
        self._addresses, self._units, self._groups = kept.names, kept.units, set(kept.groups)


class _Kept(msgspec.Struct):
    names: dict[str, str]
    groups: list[str]
    units: dict[str, Units] = {}


def _name(value: object) -> str:
    return value if isinstance(value, str) and 0 < len(value.encode(errors="replace")) <= TOPIC_BYTES else ""


def _units(exposes: object, path: str = "", depth: int = JSON_DEPTH) -> Iterator[tuple[str, str]]:
    """Paths of properties with their units: those of a composite are below its own property, where it has one."""
    for one in exposes if isinstance(exposes, list) and depth else ():
        if not isinstance(one, Mapping):
            continue
        told, unit = one.get("property"), one.get("unit")
        at = f"{path}/{told}".lstrip("/") if isinstance(told, str) else path
        if isinstance(unit, str) and 0 < len(unit) <= UNIT_BYTES and at and len(at) <= TOPIC_BYTES:
            yield at, unit
        yield from _units(_features(one.get("features")), at, depth - 1)


def _features(features: Any) -> Any:
    return features[:FLAT_VALUES] if isinstance(features, list) else None
