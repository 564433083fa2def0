"""Recorded Modbus RTU traffic, split by length and CRC.

A recording may have no silences, so a frame ends where its function code says, and is one where its CRC fits
(Modbus over Serial Line V1.02, 2.5.1). Requests are no readings; they tell what the answers behind them are to.
"""

from collections.abc import Mapping, Sequence

from drivers.api import Record
from drivers.codecs.base import Found, Refused
from drivers.codecs.modbus import Numbering, RegisterMap, Request, exception, plan, read
from drivers.framing import Broken
from drivers.limits import EXAMPLE_BYTES, RECORDS

SHORTEST, LONGEST = 4, 256  # bytes of a frame, with address and CRC

_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0xA001 if _byte & 1 else 0)
    _TABLE.append(_byte)


def crc16(data: bytes | bytearray, crc: int = 0xFFFF) -> int:
    """The CRC of a frame without its own; it goes over the wire low byte first. 0 over a whole frame."""
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def _lengths(buffer: bytes | bytearray) -> tuple[int, ...]:
    """How long the frame that begins here may be: a request's length and an answer's. 0: more bytes have to tell."""
    function = buffer[1]
    if function & 0x80:
        return (5,)
    if function in (1, 2, 3, 4):
        return (8, 5 + buffer[2])
    if function in (15, 16):
        return (8, 9 + buffer[6] if len(buffer) > 6 else 0)
    if function == 23:
        return (5 + buffer[2], 13 + buffer[10] if len(buffer) > 10 else 0)
    if function == 24:
        return (6, 6 + 256 * buffer[2] + buffer[3])
    if function in (12, 17):
        return (4, 5 + buffer[2])
    if function in (20, 21):
        return (5 + buffer[2],)
    return {5: (8,), 6: (8,), 7: (4, 5), 8: (8,), 11: (4, 8), 22: (10,)}.get(function, ())


class RtuFramer:
    """Frames with a CRC that fits; what belongs to none is `checksum`, or `noise` where it is too short."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lost = bytearray()
        self._lost_bytes = 0

    def feed(self, data: bytes) -> list[bytes | Broken]:
        """The frames that end in `data`."""
        self._buffer += data
        return self._frames(last=False)

    def gap(self) -> list[bytes | Broken]:
        """No more comes of what has begun."""
        frames = self._frames(last=True)
        self._tell(frames)
        return frames

    def _frames(self, *, last: bool) -> list[bytes | Broken]:
        frames: list[bytes | Broken] = []
        buffer, at = self._buffer, 0
        while at < len(buffer):
            length = _frame(buffer[at : at + LONGEST], last=last)
            if length is None:
                break
            if length:
                self._tell(frames)
                frames.append(bytes(buffer[at : at + length]))
                at += length
            else:
                self._lost_bytes += 1
                if len(self._lost) < EXAMPLE_BYTES:
                    self._lost.append(buffer[at])
                at += 1
        del buffer[:at]
        return frames

    def _tell(self, frames: list[bytes | Broken]) -> None:
        if self._lost:
            frames.append(Broken("checksum" if self._lost_bytes >= SHORTEST else "noise", bytes(self._lost)))
            self._lost.clear()
            self._lost_bytes = 0


def _frame(buffer: bytearray, *, last: bool) -> int | None:
    """The length of the frame at the beginning; 0: there is none; None: that is not to be told yet."""
    if len(buffer) < SHORTEST:
        return 0 if last else None
    lengths = sorted(_lengths(buffer))
    for length in lengths:
        if SHORTEST <= length <= min(len(buffer), LONGEST) and not crc16(buffer[:length]):
            return length
        if not last and (length == 0 or len(buffer) < length <= LONGEST):
            return None
    return 0


def answer_in(heard: bytes, slave: int, function: int) -> bytes:
    """The frame in what was heard that answers a read or refuses it, whatever stands before it; else nothing."""
    at = heard.find(slave)
    while 0 <= at <= len(heard) - 5:
        length = 5 if heard[at + 1] == function | 0x80 else 5 + heard[at + 2]
        frame = heard[at : at + length]
        if heard[at + 1] & 0x7F == function and len(frame) == length and not crc16(frame):
            return frame
        at = heard.find(slave, at + 1)
    return b""


class RtuReader:
    """Reads frames in order: each answer to a read, with what was asked for where that was heard.

    values: only what the table names, of one slave, where the question was heard; empty: every register, r0 and on.
    """

    def __init__(self, values: Mapping[str, RegisterMap], numbering: Numbering, slave: int) -> None:
        self._points = [point for request in plan(values, numbering) for point in request.points]
        self._slave = slave
        self._asked: tuple[int, int, int, int] | None = None  # slave, function, address, count

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        """What a frame with a fitting CRC says."""
        slave, function = frame[0], frame[1]
        asked, self._asked = self._asked, None
        if function & 0x80:
            reason, cure = exception(frame[2])
            return (Refused(reason, frame, f"slave {slave}, function {function & 0x7F}, exception {frame[2]}. {cure}"),)
        if function not in (1, 2, 3, 4):
            return ()
        request = Request(function, asked[2], asked[3], ()) if asked and asked[:2] == (slave, function) else None
        as_long = request is not None and request.size == frame[2] == 3  # an answer that is as long as a question
        if len(frame) == 8 and not as_long:
            self._asked = slave, function, int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
            return ()
        if request and request.size != frame[2]:
            return (Refused("wrong_length", frame, f"slave {slave} answers with {frame[2]} bytes of data"),)
        if self._points:
            return self._named(slave, request, frame)
        return (Found(_plain(slave, function, frame[3:-2], request), raw=frame),)

    def _named(self, slave: int, request: Request | None, frame: bytes) -> Sequence[Found | Refused]:
        if request is None or slave != self._slave:
            return ()
        first, end = request.address, request.address + request.number
        points = [
            point
            for point in self._points
            if point.function == request.function and first <= point.address and point.address + point.count <= end
        ]
        if not points:
            return ()
        asked = Request(request.function, request.address, request.number, tuple(points))
        return read([(asked, frame[3:-2])], frame)


def _plain(slave: int, function: int, data: bytes, request: Request | None) -> list[Record]:
    records: list[Record] = [("slave", None, slave), ("function", None, function)]
    if function < 3:
        count = request.number if request else 8 * len(data)
        if count > RECORDS:
            return [*records, ("bits", None, data)]
        return records + [(f"c{at}", None, bool(data[at // 8] >> at % 8 & 1)) for at in range(count)]
    return records + [
        (f"r{at}", None, int.from_bytes(data[2 * at : 2 * at + 2], "big")) for at in range(len(data) // 2)
    ]
