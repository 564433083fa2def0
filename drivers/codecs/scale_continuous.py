"""Mettler Toledo's continuous output: STX, status words A, B, C, six digits of weight, six of tare, CR, a checksum.

The checksum byte may have any value, STX and CR too, so frames are found by their shape, not by their first byte.
"""

from collections.abc import Sequence
from decimal import Decimal

from drivers.codecs.base import Found, Framed, FrameReader, Refused
from drivers.codecs.mass import IN_MOTION, OVERLOAD, UNDERLOAD, Rules, Weight, no_match, said
from drivers.codecs.values import Unfit
from drivers.framing import BLANK, STX, Broken, Frame
from drivers.limits import EXAMPLE_BYTES

_LENGTH = 17  # from STX to CR
_CR = 0x0D
_ALWAYS_1 = 0x20  # of each status word
_B_NET, _B_NEGATIVE, _B_OUT, _B_MOTION, _B_KG, _B_NOT_ZEROED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x40
_C_EXPANDED = 0x10
_UNITS = {1: "g", 2: "t", 3: "oz", 4: "ozt", 5: "dwt"}
"""Status word C, bits 0 to 2; 0 is kg or lb, as word B says. 6, short tons, and 7, the device's own, are not read."""


def check_byte(frame: bytes) -> int:
    """What makes the sum of the frame, from STX to CR, and of itself zero in the low seven bits."""
    return -sum(frame) & 0x7F


class ContinuousFramer:
    """Frames from STX to CR; with `checksum` one more byte. What is none is told once as noise, before the next frame.

    Without `checksum`, one byte behind a frame that is its right checksum is nothing.
    """

    def __init__(self, *, checksum: bool = False, drop_first: bool = False) -> None:
        self._length = _LENGTH + checksum
        self._buffer = bytearray()
        self._noise = bytearray()
        self._reason = "partial_line" if drop_first else "noise"
        self._told = False
        self._extra = -1  # the checksum that may follow

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in `data`."""
        buffer, frames, at = self._buffer, list[Frame](), 0
        buffer += data
        while at < len(buffer):
            if buffer[at] != STX:
                self._skip(buffer[at], frames)
                at += 1
            elif len(buffer) - at < self._length:
                break
            elif buffer[at + _LENGTH - 1] != _CR:
                self._skip(buffer[at], frames)
                at += 1
            else:
                self._tell(frames)
                frame = bytes(buffer[at : at + self._length])
                frames.append(frame)
                self._extra = check_byte(frame) if self._length == _LENGTH else -1
                at += self._length
        del buffer[:at]
        return frames

    def _skip(self, byte: int, frames: list[Frame]) -> None:
        if byte == self._extra:
            self._extra = -1
            return
        self._extra = -1
        if not self._told:
            self._noise.append(byte)
            if len(self._noise) == EXAMPLE_BYTES:
                self._tell(frames)
                self._told = True

    def _tell(self, frames: list[Frame]) -> None:
        if self._noise.strip(BLANK):
            frames.append(Broken(self._reason, bytes(self._noise)))
        self._noise.clear()
        self._told, self._reason = False, "noise"

    def gap(self) -> list[Frame]:
        """What was noise is told; a frame may go on behind a silence."""
        frames = list[Frame]()
        self._tell(frames)
        return frames

    def end(self) -> list[Frame]:
        """There is no more: a frame that stopped short is noise too."""
        frames = list[Frame]()
        for byte in self._buffer:
            self._skip(byte, frames)
        self._buffer.clear()
        return frames + self.gap()


class ContinuousStream(Framed):
    """The StreamCodec of such frames."""

    def __init__(self, framer: ContinuousFramer, reader: FrameReader, *, mask_bit7: bool = False) -> None:
        super().__init__(framer, reader, mask_bit7=mask_bit7)
        self._frames = framer

    def end(self, now: float | None) -> list[Found | Refused]:
        """The file is over."""
        return [Refused(frame.reason, frame.example) for frame in self._frames.end() if isinstance(frame, Broken)]


class Continuous:
    """A FrameReader of such frames."""

    def __init__(self, rules: Rules, *, checksum: bool = False) -> None:
        self._rules, self._checksum = rules, checksum

    def read(self, frame: bytes, now: float | None) -> Sequence[Found]:
        """The frame."""
        if self._checksum and frame[_LENGTH] & 0x7F != check_byte(frame[:_LENGTH]):
            raise Unfit("checksum")
        a, b, c = frame[1:4]
        if not a & b & c & _ALWAYS_1 or (a | c) & 0x80 or a & 0x40:
            no_match("status words")
        if b & _B_NOT_ZEROED:
            raise Unfit("not_zeroed", "powered up, and not yet at zero")
        if c & _C_EXPANDED:
            raise Unfit("expanded", "ten times the resolution that is verified")
        number = _number(frame[4:10], a)
        fault = (UNDERLOAD if b & _B_NEGATIVE else OVERLOAD) if b & _B_OUT else IN_MOTION if b & _B_MOTION else ""
        unit = _UNITS.get(c & 7, f"unit {c & 7} of status word C") if c & 7 else "kg" if b & _B_KG else "lb"
        tare = _number(frame[10:16], a)
        weight = Weight(
            f"{'-' if b & _B_NEGATIVE else ''}{number:f}" if number is not None else "",
            unit,
            fault,
            "net" if b & _B_NET else "gross",
            tare,
        )
        return (said(weight, self._rules),)


def _number(field: bytes, a: int) -> Decimal | None:
    """Six digits, leading ones perhaps spaces, with the decimal point of status word A; None for anything else."""
    digits = field.lstrip(b" ")
    return Decimal(digits.decode("ascii")).scaleb(2 - (a & 7)) if digits.isdigit() else None
