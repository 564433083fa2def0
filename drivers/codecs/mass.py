"""What a scale says of a weight, whatever its format: at rest or not, in which unit, and as which records.

Motion, overload and underload are never a weight: such a frame is refused by that word. A mass is in kg, by decimal
arithmetic, so that 0.1 g is 0.0001 kg and a pound 0.45359237 kg. Pieces and percent have names of their own.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple, NoReturn

from drivers.api import UNSTABLE, Record
from drivers.codecs.base import Found
from drivers.codecs.values import Unfit

IN_MOTION, OVERLOAD, UNDERLOAD = "in_motion", "overload", "underload"

_KILOGRAMS = {
    unit: ("mass", "kg", Decimal(factor))
    for unit, factor in {
        "kg": "1",
        "g": "0.001",
        "mg": "0.000001",
        "t": "1000",
        "lb": "0.45359237",
        "oz": "0.028349523125",
        "ozt": "0.0311034768",
        "dwt": "0.00155517384",
        "gn": "0.00006479891",
        "ct": "0.0002",
        "mom": "0.00375",
    }.items()
}
Units = Mapping[str, tuple[str, str, Decimal]]
"""A unit in small letters: the name of its value, the SenML unit of that, and the factor to it."""
UNITS: Units = {
    **_KILOGRAMS,
    "lbs": _KILOGRAMS["lb"],
    "pc": ("pieces", "count", Decimal(1)),
    "pcs": ("pieces", "count", Decimal(1)),
    "%": ("ratio", "/", Decimal("0.01")),
}

# One digit behind a slash or in brackets is finer than the verification scale interval e (OIML R76, 3.4.1).
_QUANTITY = re.compile(r" *([+-]?) *([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(?:/([0-9])|\[([0-9])\])? *")


class Rules(NamedTuple):
    """unit: of a frame that names none. keep_motion: a weight in motion is kept, as no mass but as mass_in_motion."""

    unit: str = ""
    keep_motion: bool = False


class Weight(NamedTuple):
    """What one frame says. `fault`: why it is no weight, a word for a reject; `number` is then not looked at."""

    number: str = ""  # as written: sign, digits, point, and a digit behind / or in [] that is not verified
    unit: str = ""
    fault: str = ""
    mode: str = ""  # gross, net or tare
    tare: Decimal | None = None  # in the same unit


def no_match(what: str = "") -> NoReturn:
    """The frame does not have the form of this variant."""
    raise Unfit("no_match", what)


def said(weight: Weight, rules: Rules, units: Units = UNITS) -> Found:
    """The weight as records. Unfit where it is none: its fault, no number, no unit, a unit that nobody knows."""
    moving = weight.fault == IN_MOTION
    if weight.fault and not (moving and rules.keep_motion):
        raise Unfit(weight.fault)
    match = _QUANTITY.fullmatch(weight.number)
    if match is None:
        no_match("no number")
    sign, digits, behind_slash, in_brackets = match.groups()
    name, unit, factor = _unit(weight.unit, rules, units)
    if weight.mode == "tare":
        name = "tare" if name == "mass" else f"tare_{name}"
    name += "_in_motion" if moving else ""
    records: list[Record] = [(name, unit, _exactly(Decimal(sign + digits) * factor))]
    if weight.mode in ("gross", "net"):
        records.append(("mode", None, weight.mode))
    if behind_slash or in_brackets:
        records.append(("unverified_digit", None, int(behind_slash or in_brackets)))
    if weight.tare is not None:
        records.append(("tare", unit, _exactly(weight.tare * factor)))
    return Found(records, quality=UNSTABLE if moving else 0)


def _unit(written: str, rules: Rules, units: Units) -> tuple[str, str, Decimal]:
    written = written.strip() or rules.unit
    if not written:
        raise Unfit("no_unit", "the frame names no unit, and neither does the option unit")
    found = units.get(written.lower())
    if found is None:
        raise Unfit("unknown_unit", written)
    return found


def _exactly(value: Decimal) -> float:
    return float(f"{value:.12g}") + 0.0  # and no minus zero
