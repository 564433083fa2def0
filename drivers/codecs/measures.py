"""Values that a message names itself: nested objects made flat, numbers with their unit in the text, units in SenML's.

A value is a number, a text or a bool. "30.11 °C", "0 uS/cm" and "23.59" are numbers; "007", "tilt" and "12:30" are not.
"""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from math import isfinite
from typing import Any, NamedTuple

from drivers.api import OUT_OF_RANGE, Record, Value
from drivers.codecs.units import PRIMARY
from drivers.codecs.values import Unfit
from drivers.limits import FLAT_VALUES, INTEGER_MAX, NAME_BYTES, TEXT_BYTES


class Unit(NamedTuple):
    """What a unit comes to: value * scale + offset in `senml`; None: none of SenML's, and `text` stands beside it."""

    senml: str | None
    scale: float = 1.0
    offset: float = 0.0
    text: str = ""


_TABLE = """
°C Cel 1 | degC Cel 1 | C Cel 1 | Cel Cel 1 | Celsius Cel 1 | K K 1
% / 0.01 | %RH %RH 1 | %rH %RH 1 | RH% %RH 1 | %r.H. %RH 1
uV V 1e-6 | mV V 1e-3 | V V 1 | kV V 1e3 | uA A 1e-6 | mA A 1e-3 | A A 1 | Ohm Ohm 1 | kOhm Ohm 1e3
mW W 1e-3 | W W 1 | kW W 1e3 | MW W 1e6 | VA VA 1 | kVA VA 1e3 | var var 1 | kvar var 1e3
J J 1 | kJ J 1e3 | MJ J 1e6 | GJ J 1e9 | Wh J 3600 | kWh J 3.6e6 | MWh J 3.6e9 | varh vars 3600 | kvarh vars 3.6e6
Pa Pa 1 | hPa Pa 100 | kPa Pa 1e3 | MPa Pa 1e6 | mbar Pa 100 | bar Pa 1e5 | psi Pa 6894.757293168
um m 1e-6 | mm m 1e-3 | cm m 1e-2 | m m 1 | km m 1e3 | m2 m2 1 | m3 m3 1 | l l 1 | L l 1 | ml l 1e-3
mL l 1e-3 | dm3 l 1
mg kg 1e-6 | g kg 1e-3 | kg kg 1 | t kg 1e3
m/s m/s 1 | km/h m/s 1/3.6 | kn m/s 1852/3600 | kt m/s 1852/3600 | knots m/s 1852/3600 | mph m/s 0.44704
m/s2 m/s2 1 | l/s l/s 1 | l/min l/s 1/60 | L/min l/s 1/60 | l/h l/s 1/3600 | L/h l/s 1/3600 | m3/s m3/s 1
m3/h m3/s 1/3600
S/m S/m 1 | mS/m S/m 1e-3 | uS/m S/m 1e-6 | dS/m S/m 0.1 | mS/cm S/m 0.1 | uS/cm S/m 1e-4
lx lx 1 | lux lx 1 | klx lx 1e3 | W/m2 W/m2 1 | Hz Hz 1 | kHz Hz 1e3 | MHz Hz 1e6 | pH pH 1 | dB dB 1
us s 1e-6 | ms s 1e-3 | s s 1 | sec s 1 | min s 60 | h s 3600 | ° deg 1 | deg deg 1 | kg/m3 kg/m3 1
"""
_BESIDE = "ppm ppb dBm ug/m3 mg/m3 mg/l mg/L g/m3 mm/h NTU VWC"


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def _rows() -> Iterator[tuple[str, Unit]]:
    for row in _TABLE.replace("\n", "|").split("|"):
        if row.strip():
            written, senml, scale = row.split()
            yield written, Unit(senml, _number(scale))
    for fahrenheit in ("°F", "degF", "F"):
        yield fahrenheit, Unit("Cel", 5 / 9, -160 / 9)
    for beside in _BESIDE.split():
        yield beside, Unit(None, text=beside)


_UNITS = dict(_rows())
_SPELLING = str.maketrans({"℃": "°C", "℉": "°F", "º": "°", "µ": "u", "μ": "u", "²": "2", "³": "3", "Ω": "Ohm", " ": ""})
_WRITTEN = re.compile(r"([+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:e[+-][0-9]{1,3})?)\s*(\S(?:.{0,14}\S)?)?", re.IGNORECASE)
_NO_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)(?:\s+\S{1,16})?", re.IGNORECASE)
_OTHER = re.compile(r"[^A-Za-z0-9:._/-]")
_NO_FIRST = ":._/-"
_ROOM = NAME_BYTES - len("-999.unit")


def known(text: str) -> Unit | None:
    """The unit that people write so, or None."""
    return _UNITS.get(text.translate(_SPELLING))


def unit(text: str) -> Unit:
    """The unit of that name: as it is known, one of SenML's, or a text that stands beside the value."""
    found = known(text)
    if found is None:
        found = Unit(text) if text in PRIMARY else Unit(None, text=text)
    return found


def short(name: str) -> str:
    """The name; its beginning and a digest of it where it has no room for an ending."""
    return name if len(name) <= _ROOM else f"{name[: _ROOM - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


class Measures:
    """The records of one message, in order. A name has one value: a second one of that name is called name-2.

    taken: names that the caller keeps for its own. units: of the values that are plain numbers, by name. Unfit for more
    than FLAT_VALUES records, and for a text over TEXT_BYTES.
    """

    def __init__(self, taken: frozenset[str] = frozenset(), units: Mapping[str, Unit] | None = None) -> None:
        self.records: list[Record] = []
        self.quality = 0
        self._names = {*taken, "raw", "raw.sha256"}
        self._units = units or {}
        self._count = 0

    def put_all(self, document: Mapping[str, Any]) -> None:
        """Every value of nested objects and arrays, its path for a name: {"wifi": [{"mac": ...}]} is wifi/0/mac."""
        self._branch("", document.items())

    def _branch(self, path: str, members: Any) -> None:
        for key, value in members:
            name = path + (_OTHER.sub("_", str(key)) or "_")
            if isinstance(value, dict):
                self._branch(name + "/", value.items())
            elif isinstance(value, list):
                self._branch(name + "/", enumerate(value))
            elif value is not None:
                self.put(short(name.lstrip(_NO_FIRST) or "value"), value)

    def put(self, name: str, value: Value, of: Unit | None = None) -> None:
        """One value; a text that says a number is one, and one that says "not a number" only makes quality 8.

        of: the unit of a plain number, where the caller knows it.
        """
        of = of or self._units.get(name)
        if isinstance(value, str):
            if _NO_NUMBER.fullmatch(value):
                self.quality |= OUT_OF_RANGE
                return
            said = written(value)
            if said is not None:
                value, its = said
                of = its or of
        self._append(name, value, of)

    def keep(self, name: str, value: Value, of: Unit | None = None) -> None:
        """One value as it is: a text stays one, also where it has nothing but digits."""
        self._append(name, value, of)

    def _append(self, name: str, value: Value, of: Unit | None) -> None:
        measured = of if isinstance(value, int | float) and not isinstance(value, bool) else None
        beside = measured.text if measured is not None else ""
        name = self._claim(name, beside)
        made = bounded(value) if measured is None else scaled(value, measured)
        if made is None:
            self.quality |= OUT_OF_RANGE
            return
        self.records.append((name, measured.senml if measured is not None else None, made))
        if beside:
            self.records.append((f"{name}.unit", None, beside))

    def _claim(self, name: str, beside: str) -> str:
        """The name, or the next one that is free; with `beside`, so that the name of its unit is free too."""
        self._count += 2 if beside else 1
        if self._count > FLAT_VALUES:
            raise Unfit("too_many_values", f"more than {FLAT_VALUES} values")
        free, number = name, 2
        while free in self._names or (beside and f"{free}.unit" in self._names):
            free, number = f"{name}-{number}", number + 1
        self._names.add(free)
        if beside:
            self._names.add(f"{free}.unit")
        return free


def written(text: str) -> tuple[int | float, Unit | None] | None:
    """The number that a text says, and its unit where it has one; None where it is a text.

    A number with leading zeros is none but an id, nor is one with a letter for an exponent and no sign behind it.
    """
    if len(text) > 64:
        return None
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        return None
    digits, unit_text = match.groups()
    found = None
    if unit_text is not None:
        found = known(unit_text)
        if found is None:
            return None
    return (int(digits) if digits.lstrip("+-").isdigit() else float(digits)), found


def scaled(value: Value, of: Unit) -> Value | None:
    """The value in the SenML unit, rounded to 12 digits where it is converted; None where that is no finite number."""
    if of.scale == 1.0 and of.offset == 0.0:
        return bounded(value)
    if isinstance(value, str | bytes):
        return value
    try:
        made = float(f"{value * of.scale + of.offset:.12g}")
    except OverflowError:
        return None
    return made if isfinite(made) else None


def bounded(value: Value) -> Value | None:
    """The value as a reading may carry it: an integer over 2^53 - 1 as text; None for no finite number."""
    if isinstance(value, str):
        if len(value) > TEXT_BYTES // 4 and len(value.encode(errors="replace")) > TEXT_BYTES:
            raise Unfit("text_too_long", f"a text of more than {TEXT_BYTES} bytes")
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and not -INTEGER_MAX <= value <= INTEGER_MAX:
        return str(value)
    return value
