"""1-Wire temperatures as the kernel's w1_therm writes them: the file `w1_slave`, or milli-degrees alone.

    50 05 4b 46 7f ff 0c 10 1c : crc=1c YES
    50 05 4b 46 7f ff 0c 10 1c t=85000

Source: the kernel's documentation of w1_therm; DS18B20 data sheet, "Memory".
"""

import re
from collections.abc import Sequence

from drivers.codecs.base import Found, Refused
from drivers.codecs.values import Unfit
from drivers.limits import EXAMPLE_BYTES

POWER_ON_C = 85.0
"""In the register of a DS18B20 from power-up until its first conversion is over."""
COLDEST_C, HOTTEST_C = -55.0, 125.0  # what a DS18B20 measures; DS1822 and DS18S20 the same
NEAR_K = 5.0  # a reading so near is a neighbour: 85 degrees are then reached, and not powered up

_CHECK = re.compile(rb"((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)\s*", re.IGNORECASE)
_VALUE = re.compile(rb"((?:[0-9a-f]{2} ){9})t=(-?[0-9]{1,6})\s*", re.IGNORECASE)
_PLAIN = re.compile(rb"\s*(-?[0-9]{1,6})\s*")
_CONVERTED = 0x10  # byte 6, COUNT REMAIN, behind a conversion that gave a whole degree; 0x0C after power-up


class Thermometer:
    """One sensor: what a reading of it says depends on the one before. Also a FrameReader of recorded lines."""

    def __init__(self) -> None:
        self._before: float | None = None
        self._check: bytes | None = None

    def reading(self, text: bytes) -> Found:
        """The whole of `w1_slave`, or of `temperature`. Unfit: checksum, bus_error, power_on_value, no_match."""
        first, newline, second = text.strip().partition(b"\n")
        if newline:
            return self._whole(first, second, text)
        return self._degrees(text, None, text)

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        """One line of a recording: the first of two is kept until the second comes."""
        before, self._check = self._check, None
        if _CHECK.fullmatch(frame):
            self._check = frame
            return () if before is None else (Refused("incomplete", before[:EXAMPLE_BYTES]),)
        if before is not None:
            return (self._whole(before, frame, before + b"\n" + frame),)
        return (self._degrees(frame, None, frame),)

    def _whole(self, first: bytes, second: bytes, text: bytes) -> Found:
        check, value = _CHECK.fullmatch(first), _VALUE.fullmatch(second)
        if check is None or value is None:
            raise Unfit("no_match", "two lines, with crc= and t=")
        if check[2].upper() != b"YES":
            raise Unfit("checksum", "the sensor's CRC is wrong: check wiring, length and pull-up of the bus")
        scratchpad = bytes.fromhex(check[1].decode("ascii"))
        if not any(scratchpad):
            raise Unfit("bus_error", "nine zero bytes: the data line is shorted, or nothing drives it")
        return self._degrees(value[2], scratchpad, text)

    def _degrees(self, digits: bytes, scratchpad: bytes | None, text: bytes) -> Found:
        match = _PLAIN.fullmatch(digits)
        if match is None:
            raise Unfit("no_match", "no number of milli-degrees")
        degrees = int(match[1]) / 1000
        if not COLDEST_C <= degrees <= HOTTEST_C:
            raise Unfit("bus_error", f"{degrees} Cel is no temperature of such a sensor: check its supply and wiring")
        near = self._before is not None and abs(self._before - degrees) <= NEAR_K
        if degrees == POWER_ON_C and not near and (scratchpad is None or scratchpad[6] != _CONVERTED):
            raise Unfit("power_on_value", "85 Cel is what a sensor says that lost its supply: check it")
        self._before = degrees
        return Found([("temperature", "Cel", degrees)], raw=text)
