"""Lines of stick and panel readers: which transponder was read, an ISO 11784 code or, by another name, another chip.

`tag` is an ISO code only. A Texas Instruments (TIRIS) chip that is not coded for animals is `industrial`, an EM4100
chip `em4100`: their numbers are unique to nobody.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import reduce
from operator import xor
from typing import NamedTuple

from drivers.api import Record
from drivers.codecs.base import Found, Refused
from drivers.codecs.iso11784 import Tag, of_bits, of_reserved, records
from drivers.codecs.values import Unfit
from drivers.limits import EXAMPLE_BYTES, TAGS_REMEMBERED


class Read(NamedTuple):
    """What a line says: an ISO tag, or the record of another chip; of a reader's log with the time that it wrote."""

    tag: Tag | None = None
    other: Record = ("", None, "")
    stamp: str = ""


_TYPES = {"A": (True, ""), "HA": (True, "HDX"), "FA": (True, "FDX-B")}
_CODE = re.compile(r"([0-9]{3})[ ,;\t_.]?([0-9]{12})")
_CHIP = re.compile(r"([0-9]{4})[ ,;\t_]([0-9]{16}|[0-9]{12})")


def _code(text: str, kind: str = "", reserved: str = "") -> Read | None:
    match = _CODE.fullmatch(text)
    if match is not None and (not kind or kind in _TYPES):
        animal, chip = _TYPES.get(kind, (None, ""))
        return Read(Tag(int(match[1]), int(match[2]), animal, of_reserved(int(reserved)) if reserved else None, chip))
    match = _CHIP.fullmatch(text)
    return Read(other=("industrial", None, f"{match[1]}_{match[2]}")) if match and kind not in _TYPES else None


_LINE = re.compile(
    r"(?:[#LXG]?([HF]?[ARWP])(?:[ ,;\t]+|(?<=[#LXGHF][ARWP])))?"  # one letter alone may be a hexadecimal digit
    r"(?:([0-9]{5})[ ,;\t][01][ ,;\t])?([0-9]{3,4}[ ,;\t_.]?[0-9]{12,16})"
)


def _line(match: re.Match[str]) -> Read | None:
    """Allflex, TIRIS, Oregon RFID, and 15 digits alone: `LA 982 000001088420`, `A  900_226000584318`."""
    return _code(match[3], match[1] or "", match[2] or "")


_LOG = re.compile(
    r"[A-Z]\s+([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{1,3})\s+[A-Z]\s+[0-9:.]{8,16}"
    r"\s+([HF]?[ARWP])\s+([0-9]{3,4}_[0-9]{12,16})(?:\s.*)?"
    r"|D,([0-9]{4}-[0-9]{2}-[0-9]{2},[0-9:]{8}\.[0-9]{1,3}),[0-9:.]{8,16},([HF]?[ARWP]),([0-9]{3,4}_[0-9]{12,16}),.*"
)


def _log(match: re.Match[str]) -> Read | None:
    """A row of an Oregon RFID reader's log: new ones with tabs or spaces, old ones with commas."""
    stamp, kind, text = match.groups()[:3] if match[1] else match.groups()[3:]
    found = _code(text, kind)
    return found and found._replace(stamp=stamp.replace(",", " "))


_DOT_HEX = re.compile(r"([0-9A-Fa-f]{3})\.([0-9A-Fa-f]{10})")


def _dot_hex(match: re.Match[str]) -> Read:
    """Biomark: `3D9.1BF1A2B3C4`, country and identification."""
    return Read(Tag(int(match[1], 16), int(match[2], 16)))


_EM4100 = re.compile(r"([0-9A-Fa-f]{10})([0-9A-Fa-f]{2})")


def _em4100(match: re.Match[str]) -> Read:
    """RDM630: five bytes of an EM4100 chip and what they are, one with the other, by exclusive or."""
    if reduce(xor, bytes.fromhex(match[1])) != int(match[2], 16):
        raise Unfit("checksum")
    return Read(other=("em4100", None, match[1].upper()))


_HEX64 = re.compile(r"[0-9A-Fa-f]{16}")


def _hex64(match: re.Match[str]) -> Read:
    """All 64 bits as they come through the air, each byte's first bit lowest: `D2ECE7D001AF0001`."""
    return Read(of_bits(int(f"{int(match[0], 16):064b}"[::-1], 2)))


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Read | None]], ...] = (
    (_LINE, _line),
    (_LOG, _log),
    (_DOT_HEX, _dot_hex),
    (_EM4100, _em4100),
    (_HEX64, _hex64),
)


def read(text: str) -> Read:
    """What one line says; Unfit where it is no line of a transponder: a banner, an event of a log, a prompt."""
    for pattern, make in _FORMS:
        match = pattern.fullmatch(text)
        found = make(match) if match else None
        if found is not None:
            return found
    raise Unfit("no_match")


class TagReader:
    """A FrameReader of such lines.

    A reader says a tag again and again while it lies before it: what comes again within repeat_s of the tag's last
    reading, by `now`, is refused as `repeat`. A row of a log is a record of its own, whatever the time: never a repeat.
    """

    def __init__(self, *, repeat_s: float = 0.0, allow_test: bool = False) -> None:
        self._repeat_s, self._allow_test = repeat_s, allow_test
        self._last = OrderedDict[str, float]()

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        """One line."""
        said = read(frame.decode("latin-1").strip())
        made = [said.other] if said.tag is None else records(said.tag, allow_test=self._allow_test)
        if said.stamp:
            made.append(("stamp", None, said.stamp))
        elif now is not None and self._repeated(str(made[0][2]), now):
            return (Refused("repeat", frame[:EXAMPLE_BYTES], str(made[0][2])),)
        return (Found(made),)

    def _repeated(self, tag: str, now: float) -> bool:
        """A clock that was set back makes no tag repeated."""
        last = self._last.get(tag)
        if last is not None and 0 <= now - last < self._repeat_s:
            return True
        self._last[tag] = now
        self._last.move_to_end(tag)
        if len(self._last) > TAGS_REMEMBERED:
            self._last.popitem(last=False)
        return False
