"""Tasmota's telemetry: `tele/DEVICE/SENSOR`, STATE, and the last will LWT; STATUS8 and STATUS10 have the same values.

`Time` is the device's local time, mostly without an offset: then it is not trusted. `Epoch` is.
"""

from collections.abc import Sequence

from drivers.api import OUT_OF_RANGE
from drivers.codecs.base import Found, State
from drivers.codecs.json_map import parse
from drivers.codecs.measures import Measures, Unit
from drivers.codecs.plain import Path, an_object, moment, name_of, said, scalars, unit_called
from drivers.codecs.values import TimeMap, Unfit

_OWN = frozenset(["Time", "Epoch", "TempUnit", "PressureUnit", "SpeedUnit"])
_READ = frozenset(["SENSOR", "STATE", "STATUS8", "STATUS10", "STATUS11"])
_PREFIXES = frozenset(["tele", "stat"])
_UNIT_KEYS = {
    "TempUnit": frozenset(["Temperature", "DewPoint", "ObjTmp", "AmbTmp"]),
    "PressureUnit": frozenset(["Pressure", "SeaPressure"]),
    "SpeedUnit": frozenset(["Speed", "SpeedAvg", "SpeedMax", "WindSpeed", "Gust"]),
}
_HINTS = {key: hint for hint, keys in _UNIT_KEYS.items() for key in keys}
_UNITS = {
    "Humidity": "%RH",
    "Illuminance": "lx",
    "Voltage": "V",
    "Vcc": "V",
    "Current": "A",
    "Power": "W",
    "ApparentPower": "VA",
    "ReactivePower": "var",
    "Frequency": "Hz",
    "CarbonDioxide": "ppm",
    "eCO2": "ppm",
    "TVOC": "ppb",
    "PM1": "ug/m3",
    "PM2.5": "ug/m3",
    "PM10": "ug/m3",
    "Moisture": "%",
    "Signal": "dBm",
    "UptimeSec": "s",
}
_OF_GROUP = {
    ("ENERGY", "Total"): "kWh",
    ("ENERGY", "Yesterday"): "kWh",
    ("ENERGY", "Today"): "kWh",
    ("ENERGY", "Period"): "Wh",
    ("HX711", "Weight"): "kg",
    ("SR04", "Distance"): "cm",
    ("VL53L0X", "Distance"): "mm",
}
_PRESSURE = {"mmHg": Unit("Pa", 133.322387415), "inHg": Unit("Pa", 3386.389)}
_NOT_CONVERTED = frozenset([85.0, -127.0, 127.0, 127.94])  # a DS18B20 after power-up, or one that does not answer


class Tasmota:
    """The MessageCodec of one source. A device is what its topic calls it, without prefix and last level."""

    def __init__(self, window: TimeMap) -> None:
        self._window = window

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Found | State]:
        """One message; nothing for those that measure nothing."""
        *levels, kind = topic.split("/")
        device = "/".join(level for level in levels if level not in _PREFIXES)
        if kind == "LWT":
            up = said(payload, "online", "offline")
            if up is None and payload:
                raise Unfit("wrong_type", "a last will is Online or Offline")
            return () if up is None else (State(up, f"says {'Online' if up else 'Offline'}", device),)
        if kind not in _READ:
            return ()
        document = an_object(parse(payload))
        for answer in ("StatusSNS", "StatusSTS"):
            document = an_object(document.get(answer, document))
        measures = Measures()
        for path, value in scalars(document):
            if path[0] in _OWN:
                continue
            if path[0].startswith("DS18") and path[-1] == "Temperature" and value in _NOT_CONVERTED:
                measures.quality |= OUT_OF_RANGE
            else:
                measures.keep(name_of(path), value, _unit(path, document))
        if not measures.records and not measures.quality:
            raise Unfit("missing_value", "none of the values is there")
        time = moment(document.get("Epoch", document.get("Time")), self._window, now)
        return (Found(measures.records, time, measures.quality, device),)


def _unit(path: Path, document: dict[str, object]) -> Unit | None:
    key = next((one for one in reversed(path) if not one.isdigit()), "")  # a phase's number stands behind its key
    if key in _HINTS:
        told = document.get(_HINTS[key])
        return (_PRESSURE.get(told) or unit_called(told[:32])) if isinstance(told, str) and told else None
    group = path[0].split("-")[0]
    text = _OF_GROUP.get((group, key)) or _UNITS.get(key)
    return unit_called(text) if text else None
