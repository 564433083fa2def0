"""What each sentence of NMEA 0183 says: its fields to values in SI units, and to the time it tells.

pynmea2 knows which field of a sentence is which (`fields_of`); the values are read here, strictly, from the text that
was sent: the library takes a latitude of letters for one, and so would a number with underscores pass.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import inf, isfinite
from typing import NamedTuple

import pynmea2

from drivers.api import OUT_OF_RANGE, Record
from drivers.codecs.values import Unfit, number
from drivers.limits import XDR_TRANSDUCERS

KNOT, KMH, MPH = 1852 / 3600, 1 / 3.6, 0.44704
MILE, FOOT, FATHOM = 1852.0, 0.3048, 1.8288

_OWN_FIELDS = {
    "DBK": {"depth_feet": 0, "depth_meters": 2, "depth_fathoms": 4},
    "THS": {"heading": 0, "status": 1},
}
"""Of sentences that the library does not know."""


class Fields:
    """The fields of one sentence: by the library's name, or by place. "" for one that is not there."""

    def __init__(self, names: Mapping[str, int], texts: Sequence[str]) -> None:
        self.names, self.texts = names, texts

    def __call__(self, name: str) -> str:
        """By name."""
        at = self.names.get(name, len(self.texts))
        return self[at]

    def __getitem__(self, at: int) -> str:
        return self.texts[at].strip() if at < len(self.texts) else ""


def fields_of(formatter: str, body: str) -> Fields:
    """The fields of `body`, a sentence without `$` and checksum. One that the library refuses is split all the same."""
    try:
        parsed = pynmea2.parse("$" + body)
        names, texts = type(parsed).name_to_idx, parsed.data
    except pynmea2.ParseError:
        names, texts = {}, body.split(",")[1:]
    return Fields(_OWN_FIELDS.get(formatter, names), texts)


class Values:
    """The records of one sentence as they are found."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.quality = 0

    def put(
        self, name: str, unit: str | None, text: str, *, scale: float = 1.0, low: float = -inf, high: float = inf
    ) -> bool:
        """False for an empty field. A number out of its range is marked and left out; Unfit for no number."""
        value = number(text)
        if value is None:
            return False
        if isinstance(value, str):
            raise Unfit("wrong_type", f"{name} is {text[:40]!r}, not a number")
        if not isfinite(value) or not low <= value <= high:
            self.quality = OUT_OF_RANGE
            return True
        self.records.append((name, unit, value if scale == 1.0 else rounded(value * scale)))
        return True

    def angle(self, name: str, text: str) -> None:
        """A direction, 0 to 360 degrees."""
        self.put(name, "deg", text, low=0, high=360)

    def signed(self, name: str, text: str, side: str) -> None:
        """A magnetic variation or deviation, east is positive."""
        if text and side not in ("E", "W"):
            raise Unfit("wrong_type", f"{name} is neither E nor W")
        self.put(name, "deg", text, scale=-1.0 if side == "W" else 1.0, low=0, high=180)

    def first(self, name: str, unit: str, *ways: tuple[str, float], low: float = 0) -> None:
        """The first of several fields that say the same in other units."""
        any(self.put(name, unit, text, scale=scale, low=low) for text, scale in ways)


def rounded(value: float) -> float:
    """To 12 digits, as values of every driver."""
    return float(f"{value:.12g}") + 0.0  # no minus before a zero


class Moment(NamedTuple):
    """What a sentence says of time: seconds of the day (UTC) and its date, where it has them."""

    seconds: float | None = None
    midnight: float | None = None  # the date, Unix seconds


Reader = Callable[[Fields, Values], Moment | None]
_CLOCK = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])([0-5][0-9]|60)(\.[0-9]{1,9})?", re.ASCII)
_DATE = re.compile(r"([0-9]{2}|[0-9]{4})-[0-9]{1,2}-[0-9]{1,2}", re.ASCII)
_ANGLE = re.compile(r"([0-9]{1,3})([0-5][0-9](?:\.[0-9]{0,12})?)", re.ASCII)
_NO_FIX = frozenset("NMS")
"""Mode indicators of what is no measured position: not valid, manual input, simulator."""


def _clock(text: str) -> float | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3]) + float(match[4] or 0)


def _midnight(year: str, month: str, day: str) -> float | None:
    """Unix seconds; a year of two digits is of 1980 to 2079."""
    match = _DATE.fullmatch(f"{year}-{month}-{day}")
    if match is None:
        return None
    whole = int(year) + (0 if len(year) == 4 else 2000 if int(year) < 80 else 1900)
    try:
        return datetime(whole, int(month), int(day), tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _position(get: Fields, values: Values) -> None:
    """Latitude and longitude; Unfit where the receiver has none."""
    if not get("lat") or not get("lon"):
        raise Unfit("no_fix", "no position")
    for name, sides, limit in (("lat", ("N", "S"), 90), ("lon", ("E", "W"), 180)):
        text, side = get(name), get(f"{name}_dir")
        match = _ANGLE.fullmatch(text)
        if match is None or side not in sides:
            raise Unfit("wrong_type", f"{name} is {text[:20]!r} {side[:4]!r}")
        degrees = int(match[1]) + float(match[2]) / 60
        if degrees > limit:
            raise Unfit("out_of_range", f"{name} is {text[:20]!r}")
        values.records.append((name, name, rounded(-degrees if side == sides[1] else degrees)))


def _need_fix(status: str, mode: str) -> None:
    """status A, and a mode, where there is one, that measures."""
    if status != "A" or (mode and mode in _NO_FIX):
        raise Unfit("no_fix", f"status {status[:4]!r}, mode {mode[:4]!r}")


def _rmc(get: Fields, values: Values) -> Moment:
    _need_fix(get("status"), get("mode_indicator"))
    _position(get, values)
    values.put("speed", "m/s", get("spd_over_grnd"), scale=KNOT, low=0)
    values.angle("course", get("true_course"))
    values.signed("variation", get("mag_variation"), get("mag_var_dir"))
    date = get("datestamp")
    midnight = _midnight(date[4:], date[2:4], date[:2]) if len(date) == 6 else None
    return Moment(_clock(get("timestamp")), midnight)


def _gga(get: Fields, values: Values) -> Moment:
    quality = get("gps_qual")
    if quality in ("", "0", "7", "8"):  # invalid, manual input, simulator
        raise Unfit("no_fix", f"quality {quality!r}")
    _position(get, values)
    values.put("alt", "m", get("altitude"))
    values.put("fix_quality", None, quality, low=1, high=99)
    values.put("satellites", None, get("num_sats"), low=0)
    values.put("hdop", None, get("horizontal_dil"), low=0)
    return Moment(_clock(get("timestamp")))


def _gns(get: Fields, values: Values) -> Moment:
    mode = get("mode_indicator")
    if _NO_FIX.issuperset(mode):  # one letter for each satellite system; none at all is no fix either
        raise Unfit("no_fix", f"mode {mode[:8]!r}")
    _position(get, values)
    values.put("alt", "m", get("altitude"))
    values.put("satellites", None, get("num_sats"), low=0)
    values.put("hdop", None, get("hdop"), low=0)
    return Moment(_clock(get("timestamp")))


def _gll(get: Fields, values: Values) -> Moment:
    _need_fix(get("status"), get("faa_mode"))
    _position(get, values)
    return Moment(_clock(get("timestamp")))


def _vtg(get: Fields, values: Values) -> None:
    if get("faa_mode") in _NO_FIX:
        raise Unfit("no_fix", f"mode {get('faa_mode')!r}")
    if len(get.texts) == 4:  # before NMEA 0183 2.3, without letters between the numbers
        course, magnetic, knots, kmh = (get[at] for at in range(4))
    else:
        course, magnetic = get("true_track"), get("mag_track")
        knots, kmh = get("spd_over_grnd_kts"), get("spd_over_grnd_kmph")
    values.angle("course", course)
    values.angle("course_magnetic", magnetic)
    values.first("speed", "m/s", (knots, KNOT), (kmh, KMH))


def _zda(get: Fields, values: Values) -> Moment:
    if not get("timestamp") or not get("year"):
        raise Unfit("no_fix", "no time")
    moment = Moment(_clock(get("timestamp")), _midnight(get("year"), get("month"), get("day")))
    if moment.seconds is None or moment.midnight is None:
        raise Unfit("wrong_type", "no time of day, or no date")
    values.records.append(("utc", "s", rounded(moment.midnight + moment.seconds)))
    return moment


_SPEEDS = {"N": KNOT, "M": 1.0, "K": KMH, "S": MPH}


def _mwv(get: Fields, values: Values) -> None:
    if get("status") not in ("A", ""):
        raise Unfit("not_valid", f"status {get('status')[:4]!r}")
    suffix = {"R": "", "T": "_true"}.get(get("reference"))
    scale = _SPEEDS.get(get("wind_speed_units"))
    if suffix is None or (scale is None and get("wind_speed")):
        raise Unfit("wrong_type", f"reference {get('reference')[:4]!r}, unit {get('wind_speed_units')[:4]!r}")
    values.angle("wind_angle" + suffix, get("wind_angle"))
    values.put("wind_speed" + suffix, "m/s", get("wind_speed"), scale=scale or 1.0, low=0)


def _mwd(get: Fields, values: Values) -> None:
    values.angle("wind_direction", get("direction_true"))
    values.angle("wind_direction_magnetic", get("direction_magnetic"))
    values.first("wind_speed_true", "m/s", (get("wind_speed_meters"), 1.0), (get("wind_speed_knots"), KNOT))


def _depth(name: str) -> Reader:
    def read(get: Fields, values: Values) -> None:
        meters = get("depth_meters") or get("depth_meter")
        fathoms = get("depth_fathoms") or get("depth_ fathoms")
        values.first(name, "m", (meters, 1.0), (get("depth_feet"), FOOT), (fathoms, FATHOM))

    return read


def _dpt(get: Fields, values: Values) -> None:
    if values.put("depth", "m", get("depth"), low=0):
        values.put("depth_offset", "m", get("offset"))


def _mtw(get: Fields, values: Values) -> None:
    if get("units") not in ("C", ""):
        raise Unfit("wrong_type", f"unit {get('units')[:4]!r}")
    values.put("water_temperature", "Cel", get("temperature"), low=-100, high=200)


def _hdt(get: Fields, values: Values) -> None:
    values.angle("heading", get("heading"))


def _hdm(get: Fields, values: Values) -> None:
    values.angle("heading_magnetic", get("heading"))


def _hdg(get: Fields, values: Values) -> None:
    values.angle("heading_magnetic", get("heading"))
    values.signed("deviation", get("deviation"), get("dev_dir"))
    values.signed("variation", get("variation"), get("var_dir"))


def _ths(get: Fields, values: Values) -> None:
    if get("status") in ("V", "S", "M"):
        raise Unfit("not_valid", f"mode {get('status')!r}")
    values.angle("heading", get("heading"))


def _vhw(get: Fields, values: Values) -> None:
    values.angle("heading", get("heading_true"))
    values.angle("heading_magnetic", get("heading_magnetic"))
    values.first("water_speed", "m/s", (get("water_speed_knots"), KNOT), (get("water_speed_km"), KMH), low=-inf)


def _vlw(get: Fields, values: Values) -> None:
    for at, name in enumerate(("water_distance", "water_distance_trip", "ground_distance", "ground_distance_trip")):
        values.put(name, "m", get[2 * at], scale=MILE, low=0)


_XDR_UNITS = {
    ("A", "D"): ("deg", 1.0),
    ("C", "C"): ("Cel", 1.0),
    ("C", "K"): ("K", 1.0),
    ("D", "M"): ("m", 1.0),
    ("F", "H"): ("Hz", 1.0),
    ("H", "P"): ("%RH", 1.0),
    ("I", "A"): ("A", 1.0),
    ("N", "N"): ("N", 1.0),
    ("P", "B"): ("Pa", 100_000.0),
    ("P", "P"): ("Pa", 1.0),
    ("R", "L"): ("l/s", 1.0),
    ("T", "R"): ("1/min", 1.0),
    ("U", "V"): ("V", 1.0),
    ("V", "M"): ("m3", 1.0),
    ("V", "P"): ("/", 0.01),
}
"""Type and unit of a transducer to unit and scale. Its units are not those of SenML: S is salinity, not siemens."""
_XDR_NAMES = {
    "A": "angle",
    "C": "temperature",
    "D": "displacement",
    "H": "humidity",
    "P": "pressure",
    "T": "tachometer",
}
_NOT_NAME = re.compile(r"[^a-z0-9]+")


def _xdr(get: Fields, values: Values) -> None:
    """Groups of four: type, value, unit, name of the transducer. One without a name has that of its type."""
    if len(get.texts) > 4 * XDR_TRANSDUCERS:
        raise Unfit("too_many_values", f"more than {XDR_TRANSDUCERS} transducers")
    for at in range(0, len(get.texts), 4):
        kind, text, unit, own = (get[at + part] for part in range(4))
        name = _NOT_NAME.sub("_", own.lower()).strip("_")[:48] or _XDR_NAMES.get(kind, "transducer")
        taken = {record[0] for record in values.records}
        if name in taken:
            name = next(f"{name}_{n}" for n in range(2, 2 * XDR_TRANSDUCERS) if f"{name}_{n}" not in taken)
        known, scale = _XDR_UNITS.get((kind, unit), (None, 1.0))
        before = len(values.records)
        values.put(name, known, text, scale=scale)
        if known is None and unit and len(values.records) > before:
            values.records.append((f"{name}.unit", None, unit[:32]))


READERS: dict[str, Reader] = {
    "RMC": _rmc,
    "GGA": _gga,
    "GNS": _gns,
    "GLL": _gll,
    "VTG": _vtg,
    "ZDA": _zda,
    "MWV": _mwv,
    "MWD": _mwd,
    "XDR": _xdr,
    "DBT": _depth("depth"),
    "DBS": _depth("depth_surface"),
    "DBK": _depth("depth_keel"),
    "DPT": _dpt,
    "MTW": _mtw,
    "HDT": _hdt,
    "HDG": _hdg,
    "HDM": _hdm,
    "THS": _ths,
    "VHW": _vhw,
    "VLW": _vlw,
}
"""By formatter. Unfit where a sentence says nothing that can be believed."""
