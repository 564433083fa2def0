"""What the firmware profiles have in common: value names out of keys, units by key, states out of plain texts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from drivers.api import Value
from drivers.codecs.measures import Unit, short, unit
from drivers.codecs.values import TimeMap, Unfit, device_time

Path = tuple[str, ...]

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[^a-z0-9]+")

MILLISECONDS_FROM = 1e11  # as seconds that would be the year 5138
RATIO = Unit("/", 0.01)
BATTERY = Unit("%EL")
HUMIDITY = Unit("%RH")


def name_of(path: Sequence[str]) -> str:
    """("DS18B20-1", "DewPoint") is ds18b20_1_dew_point."""
    words = (_OTHER.sub("_", _WORD.sub("_", key).lower()).strip("_") for key in path)
    return short("_".join(filter(None, words)) or "value")


def unit_called(text: str, name: str = "") -> Unit:
    """The unit of that name. A percentage says by the value's name of what: %RH, %EL, else a ratio."""
    if text.strip() != "%":
        return unit(text)
    if "humidity" in name or name in ("rh", "hum"):
        return HUMIDITY
    return BATTERY if "battery" in name else RATIO


def scalars(document: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Value]]:
    """Every number, text and bool of nested objects with its path, items of arrays from 1 on; nulls are left out."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from scalars(value, (*path, key))
        elif isinstance(value, list):
            yield from scalars({str(at): item for at, item in enumerate(value, 1)}, (*path, key))
        elif value is not None:
            yield (*path, key), value


def below(document: object, *path: str) -> Any:
    """What stands there, or None."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def an_object(document: object) -> dict[str, Any]:
    """The document; Unfit where it is no object."""
    if not isinstance(document, dict):
        raise Unfit("wrong_type", "no object")
    return document


def said(payload: bytes, up: str, down: str) -> bool | None:
    """Whether the payload says up or down; None where it says neither. Letters' case is not looked at."""
    text = payload.strip().lower()
    return True if text == up.encode() else False if text == down.encode() else None


def moment(value: object, window: TimeMap, now: float | None) -> float | None:
    """A device's time: ISO 8601 with its offset, or Unix seconds, or milliseconds where they could be no seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return device_time(value, window, now)
    seconds = value / 1000 if value >= MILLISECONDS_FROM else value
    return device_time(seconds, msgspec.structs.replace(window, format="unix"), now)
