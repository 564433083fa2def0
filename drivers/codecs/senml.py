"""SenML packs, JSON or CBOR (RFC 8428, versions of RFC 9100), resolved to samples: one for each time in a row.

XML and EXI are refused as unsupported_format. Names stand as the RFC resolves them, base name and name in one.
"""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from drivers.api import OUT_OF_RANGE, STALE, Record, Value
from drivers.codecs import cbor, json_map
from drivers.codecs.base import Found, Refused
from drivers.codecs.octets import base64
from drivers.codecs.units import PRIMARY
from drivers.codecs.values import TimeMap, Unfit, device_time
from drivers.limits import (
    DATA_BYTES,
    EXAMPLE_BYTES,
    INTEGER_MAX,
    NAME_BYTES,
    RECORDS,
    SENML_RECORDS,
    TEXT_BYTES,
    UNIT_BYTES,
)

ABSOLUTE_S = 2**28
"""Section 4.5.3: a time from here on is Unix time, one below is relative to now."""
VERSIONS = frozenset([*range(1, 11), 26])
"""Those up to that of RFC 8428, which is 10, and 26: that with the secondary units (RFC 9100, section 3)."""

_LABELS = {-6: "bs", -5: "bv", -4: "bu", -3: "bt", -2: "bn", -1: "bver"}
_LABELS |= dict(enumerate(["n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"]))
_NAMED = frozenset(_LABELS.values())
_TEXTS, _NUMBERS = ("bn", "bu", "n", "u", "vs"), ("bt", "bv", "bs", "v", "s", "t", "ut")
_VALUES = ("v", "vs", "vb", "vd")
_REGULAR = frozenset(["n", "u", "t", "ut", "s", *_VALUES])
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")


class Senml:
    """The MessageCodec of SenML packs. level: which level of the topic names the device, from 1; 0: there is none."""

    def __init__(self, time: TimeMap, level: int = 0) -> None:
        self._time = time
        self._level = level

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Found | Refused]:
        """One pack."""
        device = self._device(topic)
        samples = resolve(rows(payload))
        found: list[Found | Refused] = []
        for one in samples:
            if one.records:
                time, quality = self._when(one.time, now)
                found.append(Found(one.records, time, quality | one.quality, device))
            else:
                found.append(Refused("missing_value", payload[:EXAMPLE_BYTES], "no finite number", device))
        return found

    def _device(self, topic: str) -> str:
        if self._level == 0:
            return ""
        levels = topic.split("/")
        if self._level > len(levels):
            raise Unfit("bad_source_id", f"{topic[:100]} has no level {self._level}")
        return levels[self._level - 1]

    def _when(self, time: float, now: float | None) -> tuple[float | None, int]:
        """The time of a sample where it is trusted; STALE where it is older than its receipt, which stands for it."""
        if time >= ABSOLUTE_S:
            return device_time(time, self._time, now), 0
        if time == 0:
            return None, 0
        placed = None if now is None else device_time(now + time, self._time, now)
        return placed, STALE if placed is None and time < 0 else 0


class Resolved(NamedTuple):
    """What a pack says for one time, in Unix seconds from ABSOLUTE_S on, else relative to now. A name stands once."""

    time: float
    records: Sequence[Record]
    quality: int


def rows(payload: bytes) -> list[dict[str, Any]]:
    """The records of a pack, labels as in JSON and base64 as bytes. Unfit where it is no pack."""
    first = payload[:1]
    if 0x80 <= ord(first or b"\0") < 0xA0 or 0xC0 <= ord(first or b"\0") < 0xE0:
        pack, binary = cbor.parse(payload), True
    elif first == b"<" or payload.startswith(b"$EXI"):
        raise Unfit("unsupported_format", "SenML in XML or EXI: only JSON and CBOR are read")
    else:
        pack, binary = json_map.parse(payload), False
    if not isinstance(pack, list) or not pack:
        raise Unfit("wrong_type", "a pack is an array of records")
    if len(pack) > SENML_RECORDS:
        raise Unfit("too_many_values", f"{len(pack)} records, and at most {SENML_RECORDS} are taken")
    return [_row(row, f"record {at}", binary) for at, row in enumerate(pack)]


def _row(row: Any, where: str, binary: bool) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Unfit("wrong_type", f"{where} is no map of labels")
    made = {_label(label, where, binary): value for label, value in row.items()}
    for label in made.keys() & _NAMED:
        made[label] = _typed(label, made[label], where, binary)
    return made


def _label(label: int | str, where: str, binary: bool) -> str:
    """Table 4 is conclusive: CBOR has its labels as integers and no others; text that ends in _ must be understood."""
    if isinstance(label, int):
        if label in _LABELS:
            return _LABELS[label]
    elif not label.endswith("_") and not (binary and label in _NAMED):
        return label
    raise Unfit("unknown_label", f"{where}: the label {str(label)[:80]!r} is unknown, and not to be ignored")


def _typed(label: str, value: Any, where: str, binary: bool) -> Any:
    fits = True
    if label in _TEXTS:
        fits = isinstance(value, str)
        most = UNIT_BYTES if label in ("u", "bu") else NAME_BYTES if label in ("n", "bn") else TEXT_BYTES
        if fits and len(value.encode(errors="replace")) > most:
            raise Unfit("text_too_long", f"{where}: {label} has more than {most} bytes")
    elif label in _NUMBERS:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = _number(value) if fits else value
        fits = fits and (isfinite(value) or label in ("v", "s"))
    elif label == "vb":
        fits = isinstance(value, bool)
    elif label == "bver":
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif binary:
        fits = isinstance(value, bytes)
        if fits and len(value) > DATA_BYTES:
            raise Unfit("too_long", f"{where}: vd has {len(value)} bytes, and at most {DATA_BYTES} are taken")
    else:
        value = base64(value, f"{where}: vd", most=DATA_BYTES, url=True)
    if not fits:
        raise Unfit("wrong_type", f"{where}: {label} is {str(value)[:40]!r}")
    return value


def _number(value: int | float) -> int | float:
    """A double, as the RFC has it; integers that a double holds stay integers."""
    if isinstance(value, float) or -INTEGER_MAX <= value <= INTEGER_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def resolve(pack: Sequence[dict[str, Any]]) -> list[Resolved]:
    """Section 4.6. Records that follow each other with one time are one sample. Unfit where a record is not valid."""
    samples: list[_Sample] = []
    base: dict[str, Any] = {}
    version = pack[0].get("bver", 10)
    for at, row in enumerate(pack):
        if row.get("bver", version) != version or version not in VERSIONS:
            raise Unfit("unsupported_version", f"record {at}: bver {row.get('bver', version)}")
        base |= {label: row[label] for label in ("bn", "bt", "bu", "bv", "bs") if label in row}
        if row.keys() & _REGULAR:
            _measure(row, base, samples, f"record {at}")
    if not samples:
        raise Unfit("missing_value", "a pack without a value")
    return [Resolved(sample.time, sample.records, sample.quality) for sample in samples]


class _Sample:
    """The records of one time, a name only once."""

    def __init__(self, time: float) -> None:
        self.time = time
        self.records: list[Record] = []
        self.quality = 0
        self.names: set[str] = set()

    def put(self, name: str, unit: str | None, value: Value) -> None:
        if isinstance(value, str | bytes | bool):
            unit = None
        elif not isfinite(value):
            self.quality |= OUT_OF_RANGE
            return
        known = unit is None or unit in PRIMARY
        ending = "" if known else ".unit"
        if len(name + ending) > NAME_BYTES:
            raise Unfit("bad_name", f"{name}{ending} has more than {NAME_BYTES} letters")
        self.records.append((name, unit if known else None, value))
        if not known:
            self.records.append((name + ending, None, unit or ""))


def _measure(row: dict[str, Any], base: dict[str, Any], samples: list[_Sample], where: str) -> None:
    """One record: its value, its sum, or both."""
    name = base.get("bn", "") + row.get("n", "")
    if not _NAME.fullmatch(name) or name in ("raw", "raw.sha256"):
        raise Unfit("bad_name", f"{where}: {name[:80]!r}")
    unit = row.get("u", base.get("bu")) or None
    value = _value(row, base, where)
    total = _plus(base.get("bs"), row.get("s")) if "s" in row or not isinstance(value, str | bytes | bool) else None
    if value is None and total is None:
        raise Unfit("missing_value", f"{where}: neither a value nor a sum")
    time = _plus(base.get("bt", 0), row.get("t", 0))
    sample = _sample(samples, time, {name + end for end in ("", ".unit", ".sum", ".sum.unit")})
    if value is not None:
        sample.put(name, unit, value)
    if total is not None:
        sample.put(f"{name}.sum", f"{unit} s" if unit else None, total)


def _sample(samples: list[_Sample], time: float, names: set[str]) -> _Sample:
    """The last sample, or a new one where that has another time, one of the names, or RECORDS of them."""
    last = samples[-1] if samples else None
    if last is None or last.time != time or names & last.names or len(last.records) >= RECORDS:
        samples.append(_Sample(time))
    samples[-1].names |= names
    return samples[-1]


def _value(row: dict[str, Any], base: dict[str, Any], where: str) -> Value | None:
    given = [label for label in _VALUES if label in row]
    if len(given) > 1:
        raise Unfit("wrong_type", f"{where} has more than one value: {', '.join(given)}")
    if given and given[0] != "v":
        value: Value = row[given[0]]
        return value
    if not given and "s" in row:
        return None
    number: Value | None = _plus(base.get("bv"), row.get("v"))
    return number


def _plus(base: Any, own: Any) -> Any:
    """Their sum; the one that is there; None. The fifteen digits that a double has for sure."""
    if base is None or own is None:
        return own if base is None else base
    made = base + own
    return float(f"{made:.15g}") if isinstance(made, float) and isfinite(made) else _number(made)
