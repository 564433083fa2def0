"""Shelly devices. Gen1: a plain value a topic below `shellies/ID/`. Gen2 and later: JSON on `ID/status/COMPONENT` and
`ID/events/rpc` (NotifyStatus, NotifyFullStatus, NotifyEvent), and what Shelly.GetStatus or Switch.GetStatus answer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drivers.api import Value
from drivers.codecs.base import Found, State
from drivers.codecs.json_map import parse
from drivers.codecs.measures import Measures, Unit
from drivers.codecs.plain import (
    BATTERY,
    HUMIDITY,
    RATIO,
    Path,
    an_object,
    moment,
    name_of,
    said,
    scalars,
    unit_called,
)
from drivers.codecs.text import text_of
from drivers.codecs.values import TimeMap, Unfit

_COMPONENT = re.compile(r"[a-z][a-z0-9_]*:[0-9]+")
_ALONE = frozenset(
    ["sys", "wifi", "eth", "cloud", "mqtt", "ws", "ble", "blugw", "bthome", "ht_ui", "plugs_ui", "knx", "matter"]
)
_SKIPPED = frozenset(["tF", "current_F", "target_F", "by_minute", "minute_ts", "unixtime", "ts"])
_WATT_MINUTE = Unit("J", 60.0)

_UNITS: Mapping[str, Unit] = {
    **dict.fromkeys(["apower", "act_power", "power"], unit_called("W")),
    **dict.fromkeys(["aprt_power"], unit_called("VA")),
    **dict.fromkeys(["voltage", "V", "xvoltage"], unit_called("V")),
    **dict.fromkeys(["current"], unit_called("A")),
    **dict.fromkeys(["freq"], unit_called("Hz")),
    **dict.fromkeys(["tC", "current_C", "target_C"], unit_called("°C")),
    **dict.fromkeys(["rh", "humidity"], HUMIDITY),
    **dict.fromkeys(["lux", "illuminance"], unit_called("lx")),
    **dict.fromkeys(["battery"], BATTERY),
    **dict.fromkeys(["pos", "current_pos", "target_pos", "brightness"], RATIO),
    **dict.fromkeys(["rssi"], unit_called("dBm")),
    **dict.fromkeys(["uptime", "move_timeout"], unit_called("s")),
    **dict.fromkeys(["act_energy", "act_ret_energy"], unit_called("Wh")),
}
_WORDS: Mapping[str, Value] = {"true": True, "false": False}
_PHASE = re.compile(r"(?:[abcn]|total)_")
_TOTAL = re.compile(r"(?:a|ret_a)energy")
_GEN1_IGNORED = frozenset(["announce", "info", "command", "settings", "longpush"])


class Shelly:
    """The MessageCodec of one source. fahrenheit: Gen1 sensors are set to show degrees Fahrenheit."""

    def __init__(self, window: TimeMap, *, fahrenheit: bool = False) -> None:
        self._window = window
        self._shown = unit_called("°F" if fahrenheit else "°C")

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Found | State]:
        """One message; nothing for those that measure nothing."""
        levels = topic.split("/")
        if levels[-1] == "online":
            up = said(payload, "true", "false")
            device = levels[1] if levels[0] == "shellies" and len(levels) == 3 else "/".join(levels[:-1])
            return () if up is None else (State(up, f"says that it is {'online' if up else 'offline'}", device),)
        if levels[-2:] == ["events", "rpc"]:
            return self._document("/".join(levels[:-2]), "", payload, now)
        if len(levels) > 2 and levels[-2] == "status" and (_COMPONENT.fullmatch(levels[-1]) or levels[-1] in _ALONE):
            return self._document("/".join(levels[:-2]), levels[-1], payload, now)
        if levels[0] == "shellies" and len(levels) > 2:
            return self._gen1(levels[1], levels[2:], payload)
        return ()

    def _gen1(self, device: str, path: list[str], payload: bytes) -> Sequence[Found]:
        if _GEN1_IGNORED & set(path) or any(key.endswith("temperature_f") for key in path):
            return ()
        measures = Measures()
        if payload[:1] == b"{":
            for at, value in scalars(an_object(parse(payload)), tuple(path)):
                if at[-1] not in _SKIPPED:
                    measures.keep(_name(at), value, self._gen1_unit(at))
        else:
            text = text_of(payload, "utf-8").strip()
            if not text:
                raise Unfit("empty")
            measures.put(name_of(path), _WORDS.get(text, text), self._gen1_unit(tuple(path)))
        return _found(measures, None, device)

    def _gen1_unit(self, path: Path) -> Unit | None:
        key = next((one for one in reversed(path) if not one.isdigit()), "")
        if key in ("energy", "returned_energy"):
            return _WATT_MINUTE
        if key in ("total", "total_returned"):
            return unit_called("Wh")
        if key == "temperature" and path[0] == "sensor":
            return self._shown
        if key in ("temperature", "ext_temperature", "device_temperature"):
            return unit_called("°C")
        if key in ("ext_humidity", "hum"):
            return HUMIDITY
        return unit_called("var") if key == "reactive_power" else _UNITS.get(key)

    def _document(self, device: str, component: str, payload: bytes, now: float | None) -> Sequence[Found]:
        document = an_object(parse(payload))
        if not device and isinstance(document.get("src"), str):
            device = document["src"][:64]
        if isinstance(document.get("error"), dict):
            raise Unfit("error_answer", str(document["error"].get("message"))[:100])
        for inner in ("result", "params"):
            if isinstance(document.get(inner), dict):
                document = document[inner]
        if isinstance(document.get("config"), dict):
            raise Unfit("unsupported_format", "a configuration, and no status")
        events = document.get("events")
        if isinstance(events, list):
            return self._events(device, events, now)
        measures = Measures()
        for path, value in _values(document, component):
            measures.keep(_name(path), value, _unit(path))
        sys = document.get("sys")
        told = document.get("ts") or (sys.get("unixtime") if isinstance(sys, dict) else None)
        return _found(measures, moment(told, self._window, now), device)

    def _events(self, device: str, events: list[Any], now: float | None) -> Sequence[Found]:
        """Of inputs and buttons; those of the device itself (an update, a restart) measure nothing."""
        found: list[Found] = []
        for one in events:
            component, event = an_object(one).get("component"), an_object(one).get("event")
            if isinstance(component, str) and isinstance(event, str) and _COMPONENT.fullmatch(component):
                measures = Measures()
                measures.keep(name_of((component, "event")), event)
                found += _found(measures, moment(one.get("ts"), self._window, now), device)
        return found


def _values(document: dict[str, Any], component: str) -> Iterator[tuple[Path, Value]]:
    """Of one component, or of the components that a status has; an object that is none of theirs has no name before."""
    for path, value in scalars(document, (component,) if component else ()):
        inside = path[1:] if component or _COMPONENT.fullmatch(path[0]) or path[0] in _ALONE else path
        if inside != ("id",) and not _SKIPPED & set(path):
            yield path, value


def _name(path: Path) -> str:
    """temperature:0 {"tC"} is temperature_0, and current_C is current_temperature."""
    if len(path) > 1 and path[-1] in ("tC", "rh"):
        return name_of(path[:-1])
    return name_of((*path[:-1], path[-1].replace("_C", "_temperature")))


def _unit(path: Path) -> Unit | None:
    key = path[-1]
    if len(path) > 1 and key == "total" and _TOTAL.fullmatch(path[-2]):
        return unit_called("Wh")
    if key == "percent" and len(path) > 1:
        return BATTERY if path[-2] == "battery" else RATIO
    found = _UNITS.get(key)
    while found is None and _PHASE.match(key):
        key = key.partition("_")[2]
        found = _UNITS.get(key)
    return found


def _found(measures: Measures, time: float | None, device: str) -> Sequence[Found]:
    if not measures.records and not measures.quality:
        raise Unfit("missing_value", "none of the values is there")
    return (Found(measures.records, time, measures.quality, device),)
