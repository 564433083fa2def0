"""Framers: chunks of bytes in, frames out. No I/O, no clock; "need more" is an empty list.

A framer gives the same frames for any chunking, holds no more than its limit, and never raises. What is no frame is
told once as `Broken`, and framing goes on behind it.
"""

import re
from typing import Annotated, NamedTuple, Protocol

from msgspec import Meta

from drivers.limits import EXAMPLE_BYTES, LINE_BYTES

STX, ETX = 0x02, 0x03
NOISE = b"\x00\x7f"
"""What a line carries at power-up (NUL, DEL); no text has it at its ends."""
BLANK = NOISE + b"\r\n \t"

MaskBit7 = Annotated[bool, Meta(title="Clear the top bit of every byte: 7E1 traffic read as 8N1")]
"""An option of drivers that read lines."""


class Broken(NamedTuple):
    """Bytes that are no frame: `partial_line`, `too_long` or `noise`; `example` is their beginning."""

    reason: str
    example: bytes


Frame = bytes | Broken


class Framer(Protocol):
    """One object for one opening of a line."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in `data`."""
        ...

    def gap(self) -> list[Frame]:
        """Told that the line fell silent: what that ends."""
        ...


class LineFramer:
    """Lines up to a delimiter; with none given, CR, LF and any mixture of them end a line, and empty lines are nothing.

    drop_first: what comes before the first delimiter is the rest of a line whose beginning was missed: `partial_line`.
    """

    def __init__(self, delimiter: bytes = b"", *, limit: int = LINE_BYTES, drop_first: bool = False) -> None:
        self._ends = re.compile(re.escape(delimiter) if delimiter else rb"[\r\n]")
        self.delimiter = delimiter or b"\n"  # one that ends a line
        self._overlap = max(len(delimiter) - 1, 0)
        self._limit = limit
        self._first = drop_first
        self._buffer = bytearray()
        self._searched = 0
        self._overlong = False

    def feed(self, data: bytes) -> list[Frame]:
        """The lines that end in `data`, without delimiters and without noise around them."""
        buffer, frames, start = self._buffer, list[Frame](), 0
        buffer += data
        for end in list(self._ends.finditer(buffer, self._searched)):
            self._line(bytes(buffer[start : end.start()]), frames)
            start = end.end()
        del buffer[:start]
        # The last bytes may be half a delimiter: they count for no limit yet, and are looked at again.
        self._searched = max(len(buffer) - self._overlap, 0)
        if self._searched > self._limit:
            if not self._overlong:
                frames.append(self._too_long(buffer))
            self._overlong = True
            del buffer[: self._searched]
            self._searched = 0
        return frames

    def _too_long(self, raw: bytes | bytearray) -> Broken:
        return Broken("partial_line" if self._first else "too_long", bytes(raw[: min(EXAMPLE_BYTES, self._limit)]))

    def _line(self, raw: bytes, frames: list[Frame]) -> None:
        line = raw.strip(NOISE)
        if self._overlong:  # told when it passed the limit
            pass
        elif len(raw) > self._limit:
            frames.append(self._too_long(raw))
        elif line:
            frames.append(Broken("partial_line", line[:EXAMPLE_BYTES]) if self._first else line)
        self._first = self._overlong = False

    def gap(self) -> list[Frame]:
        """Nothing: a line ends with its delimiter only."""
        return []


_MARKS = bytes.maketrans(bytes((STX, ETX)), b"\n\n")


class MarkedLineFramer(LineFramer):
    """Lines that may stand between STX and ETX: those end a line as CR and LF do, and are no part of it."""

    def feed(self, data: bytes) -> list[Frame]:
        """The lines that end in `data`."""
        return super().feed(data.translate(_MARKS))


class MarkedFramer:
    """Frames between a start and an end byte, which are no part of them; `trailer` bytes behind the end are skipped.

    Between frames, line ends and NUL are nothing and the rest is `noise`. A start inside a frame begins it anew.
    """

    def __init__(self, start: int = STX, end: int = ETX, *, trailer: int = 0, limit: int = LINE_BYTES) -> None:
        self._start, self._end, self._trailer, self._limit = start, end, trailer, limit
        self._buffer = bytearray()
        self._inside = self._told = False
        self._skip = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in `data`."""
        frames = list[Frame]()
        for byte in data:
            if self._skip:
                self._skip -= 1
            elif byte == self._start:
                self._tell(frames)
                self._inside = True
            elif byte == self._end and self._inside:
                if not self._told:
                    frames.append(bytes(self._buffer))
                    self._buffer.clear()
                self._tell(frames)
                self._inside, self._skip = False, self._trailer
            elif not self._told:
                self._buffer.append(byte)
                if len(self._buffer) > self._limit:
                    self._tell(frames, "too_long" if self._inside else "noise")
                    self._told = True
        return frames

    def _tell(self, frames: list[Frame], reason: str = "") -> None:
        left = bytes(self._buffer[:EXAMPLE_BYTES])
        self._buffer.clear()
        self._told = False
        if left.strip(BLANK):
            frames.append(Broken(reason or ("partial_line" if self._inside else "noise"), left))

    def gap(self) -> list[Frame]:
        """Nothing: a frame ends with its mark only."""
        return []


class FixedFramer:
    """Frames of `length` bytes, which begin with the `start` mark (counted in it) or, without one, behind a silence.

    drop_first, without a mark: what comes before the first silence is `partial_line`.
    """

    def __init__(self, length: int, start: bytes = b"", *, drop_first: bool = False) -> None:
        self._length, self._start = length, start
        self._waiting = drop_first and not start
        self._buffer = bytearray()
        self._noise = bytearray()
        self._told = False

    def feed(self, data: bytes) -> list[Frame]:
        """Whole frames, marks included; bytes that belong to none are one `noise`."""
        frames = list[Frame]()
        if self._waiting:
            self._buffer += data[: EXAMPLE_BYTES - len(self._buffer)]
            return frames
        self._buffer += data
        self._seek(frames)
        while len(self._buffer) >= self._length:
            frames.append(bytes(self._buffer[: self._length]))
            del self._buffer[: self._length]
            self._seek(frames)
        return frames

    def _seek(self, frames: list[Frame]) -> None:
        """Set aside what stands before the next start mark, but for the beginning of one."""
        buffer, start = self._buffer, self._start
        at = buffer.find(start)
        if at < 0:
            at = len(buffer) - next((n for n in range(len(start) - 1, 0, -1) if buffer.endswith(start[:n])), 0)
        if not self._told:
            self._noise += buffer[: min(at, EXAMPLE_BYTES - len(self._noise))]
        del buffer[:at]
        if len(self._noise) == EXAMPLE_BYTES or (self._noise and buffer.startswith(start)):
            self._tell(frames, "noise", self._noise)
            self._told = True
        if buffer.startswith(start):
            self._told = False

    def _tell(self, frames: list[Frame], reason: str, what: bytearray) -> None:
        if what.strip(BLANK):
            frames.append(Broken(reason, bytes(what[:EXAMPLE_BYTES])))
        what.clear()

    def gap(self) -> list[Frame]:
        """A frame that stopped short is broken; the next byte begins a new one."""
        frames = list[Frame]()
        self._tell(frames, "noise", self._noise)
        self._tell(frames, "partial_line", self._buffer)
        self._waiting = self._told = False
        return frames
