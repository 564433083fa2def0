"""Scales that say a weight in a line: MT-SICS, the ST,GS family, KERN, Ohaus and Rinstrum's automatic output.

Each form is strict, so that what one device says is not read as another's: a line that has another form is no_match.
"""

import re
from collections.abc import Callable, Sequence

from drivers.codecs.base import Found
from drivers.codecs.mass import IN_MOTION, OVERLOAD, UNDERLOAD, UNITS, Rules, Units, Weight, no_match, said
from drivers.codecs.values import Unfit

Weigh = Callable[[str], Weight]

_NUMBER = r"[-+]? *[0-9]*\.?[0-9]*(?:/[0-9]|\[[0-9]\])?"
_MODES = {"GS": "gross", "GR": "gross", "G": "gross", "NT": "net", "N": "net", "NET": "net"}
_MODES |= {"TR": "tare", "T": "tare", "PT": "tare"}


class ScaleLines:
    """A FrameReader: one weight a line."""

    def __init__(self, variant: str, rules: Rules) -> None:
        self._weigh, self._units, self._rules = _VARIANTS[variant], _UNITS.get(variant, UNITS), rules

    def read(self, frame: bytes, now: float | None) -> Sequence[Found]:
        """The line."""
        return (said(self._weigh(frame.decode("latin-1")), self._rules, self._units),)


_SICS = re.compile(rf"S ([SD]) ( *{_NUMBER}) ([A-Za-z%]{{1,4}}) *")
_SICS_TARE = re.compile(rf"(?:T S|TA A) ( *{_NUMBER}) ([A-Za-z%]{{1,4}}) *")
_SICS_FIELD = 9  # the shortest field that a number stands right aligned in; ten characters are the rule
_SICS_FAULTS = {"S +": OVERLOAD, "S -": UNDERLOAD, "S I": "busy", "SI": "busy"}
_SICS_FAULTS |= dict.fromkeys(("ES", "ET", "EL"), "device_error")


def _sics(text: str) -> Weight:
    """Replies to S, SI, SIR, SU, SR; those to T and TA are a tare."""
    fault = _SICS_FAULTS.get(text.rstrip())
    if fault:
        return Weight(fault=fault)
    match = _SICS_TARE.fullmatch(text)
    if match is not None:
        return Weight(match[1], match[2], mode="tare")
    match = _SICS.fullmatch(text)
    if match is None or len(match[2]) < _SICS_FIELD:
        no_match()
    return Weight(match[2], match[3], IN_MOTION if match[1] == "D" else "")


_ST_GS = re.compile(
    r"(ST|US|QT|OL)"
    r"(?:,? ?(GS|GR|NT|TR|PT|G|N|T) ?)?"
    r"(?:,[^,]{2}(?=,))?"  # CAS: the device's number and its lamps
    rf"(?:,|(?=[ +-])) *({_NUMBER}) *([A-Za-z%]{{0,3}}) *"
)


def _st_gs(text: str) -> Weight:
    """A&D, CAS, T-Scale, Rinstrum's FMT_4. `t` without GS or NT is a balance's: a tola as well as a tonne."""
    if re.match(r"OL(?:GR|NT|[, ]|\Z)", text):
        return Weight(fault=UNDERLOAD if "-" in text else OVERLOAD)
    match = _ST_GS.fullmatch(text)
    if match is None:
        no_match()
    state, mode, number, unit = match.groups()
    if unit == "t" and mode is None:
        raise Unfit("unknown_unit", "t: a tonne or a tola")
    return Weight(number, unit, IN_MOTION if state == "US" else "", _MODES[mode] if mode else "")


_KERN_UNITS: Units = {
    **UNITS,
    **{short: UNITS[unit] for short, unit in (("ot", "ozt"), ("dw", "dwt"), ("gr", "gn"), ("mo", "mom"))},
}
_KERN = re.compile(r"([+ -])([ 0-9./]{7,9})([ A-Za-z]{2}| %)([ A-Za-z0-9])([SUE])")


def _kern(text: str) -> Weight:
    """Sign, digits, unit of two characters, a result of sorting, and S at rest, U not, E over or under the range."""
    match = _KERN.fullmatch(text)
    if match is None:
        no_match()
    sign, digits, unit, _, state = match.groups()
    fault = {"S": "", "U": IN_MOTION, "E": OVERLOAD}[state]
    return Weight(sign + digits, unit, fault)


_OHAUS = re.compile(r"([ -]?)((?= *[0-9.])[ 0-9./\[\]]{7,14}) ([A-Za-z]{1,5}|%)( *\??) *(G|NET|N|T|PT)? *")
_OHAUS_UNIT = 5  # columns; the next one is "?" or a space


def _ohaus(text: str) -> Weight:
    """Sign, number, unit, `?` where it moves, and what was weighed; without that, all the columns up to the `?`."""
    match = _OHAUS.fullmatch(text)
    if match is None:
        no_match()
    sign, number, unit, state, legend = match.groups()
    if legend is None and len(unit + state) <= _OHAUS_UNIT:
        no_match("cut short")
    return Weight(sign + number, unit, IN_MOTION if "?" in state else "", _MODES[legend] if legend else "")


_R_PLAIN = re.compile(r"([ -])([ 0-9.]{7})([GNUOME])")
_R_FULL = re.compile(r"([ -])([ 0-9.]{7})([GNUOE])([M ])[Z ][-12 ]([ A-Za-z]{3})")
_R_RANGE = re.compile(r"([ -]{0,7})([0-9.]{1,8})([GN])([MS])([IOU])[Z ]  ")
_R_SHORT = re.compile(r"([ +-])([ 0-9.]{7})([LKGT])([GN])([ MO]?)")
_R_FAULTS = {"O": OVERLOAD, "U": UNDERLOAD, "M": IN_MOTION, "E": "device_error"}
_R_UNITS = {"L": "lb", "K": "kg", "G": "g", "T": "t"}


def _rinstrum(text: str) -> Weight:
    """The automatic formats FMT_1, FMT_2, FMT_3 and FMT_5 of R300 and R320, without their STX and ETX."""
    match = _R_PLAIN.fullmatch(text)
    if match:
        sign, number, state = match.groups()
        return Weight(sign + number, "", _R_FAULTS.get(state, ""), _MODES.get(state, ""))
    match = _R_FULL.fullmatch(text)
    if match:
        sign, number, state, moving, unit = match.groups()
        return Weight(sign + number, unit, _R_FAULTS.get(state, _R_FAULTS.get(moving, "")), _MODES.get(state, ""))
    match = _R_RANGE.fullmatch(text)
    if match and len(match[1] + match[2]) == 8:
        sign, number, mode, moving, limits = match.groups()
        return Weight(sign + number, "", _R_FAULTS.get(limits, _R_FAULTS.get(moving, "")), _MODES[mode])
    match = _R_SHORT.fullmatch(text)
    if match is None:
        no_match()
    sign, number, unit, mode, state = match.groups()
    return Weight(sign + number, _R_UNITS[unit], _R_FAULTS.get(state, ""), _MODES[mode])


_VARIANTS: dict[str, Weigh] = {
    "mt-sics": _sics,
    "st-gs": _st_gs,
    "kern": _kern,
    "ohaus": _ohaus,
    "rinstrum": _rinstrum,
}
_UNITS: dict[str, Units] = {"kern": _KERN_UNITS}
