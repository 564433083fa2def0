"""P1: the telegrams of Dutch, Belgian, Luxembourgish and Swedish electricity meters (DSMR 2.2 to 5, ESMR 5, eMUCS-P1).

A telegram is `/`, an identification, lines of objects `OBIS(value)(value)`, `!`, from DSMR 4 on a CRC. IEC 62056-21
keeps `/` and `!` out of identifications, values and units, so each of them marks one place only.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

from drivers.api import OUT_OF_RANGE, Record
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.measures import known, scaled
from drivers.codecs.modbus_rtu import crc16
from drivers.codecs.obis import CHECKED, COUNT, ELECTRICITY
from drivers.codecs.values import TimeMap, Unfit, device_time
from drivers.framing import BLANK, Broken, Frame
from drivers.limits import EXAMPLE_BYTES, P1_TELEGRAM_BYTES, TEXT_BYTES

_MARK = re.compile(rb"[/!]")
_CHECK = re.compile(rb"[0-9A-Fa-f]{0,4}")
_OBJECT = re.compile(r"([0-9]{1,3}-[0-9]{1,3}:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})((?:\([^()]*\))+)")
_MEASURE = re.compile(r"(-?[0-9]{1,12}(?:\.[0-9]{1,9})?)\*([A-Za-z0-9]{1,8})")
_COUNT = re.compile(r"[0-9]{1,12}")
_MOMENT = re.compile(r"([0-9]{12})([WS]?)")
_ZONES = {"W": timezone(timedelta(hours=1)), "S": timezone(timedelta(hours=2))}

_EQUIPMENT = "0-0:96.1.1"
_CHANNELS = range(1, 10)  # M-Bus: a digit of the OBIS code; meters have four
_READINGS = ("24.2.1", "24.2.3", "24.3.0")  # corrected to 15 Cel; as it is (Belgium); before DSMR 4
_MEDIA = {2: "electricity", 3: "gas", 4: "heat", 6: "hot_water", 7: "water", 10: "cold", 11: "cold", 12: "heat"}
_MBUS_UNITS = frozenset({"m3", "J", "l"})


class TelegramFramer:
    """Telegrams, from `/` to `!` and the up to four digits behind it. Between them line ends are nothing.

    A `/` within a telegram begins it anew. drop_first: what comes before the first `/` is `partial_line`, not `noise`.
    """

    def __init__(self, *, limit: int = P1_TELEGRAM_BYTES, drop_first: bool = False) -> None:
        self._limit, self._first = limit, drop_first
        self._buffer = bytearray()
        self._noise = bytearray()
        self._inside = self._told = False
        self._searched = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The telegrams that end in `data`."""
        self._buffer += data
        frames = list[Frame]()
        while self._inside or self._begin(frames):
            if not self._go_on(frames):
                break
        return frames

    def _begin(self, frames: list[Frame]) -> bool:
        """Whether there is a `/`; what stands before it is told once."""
        buffer = self._buffer
        at = buffer.find(b"/")
        before = len(buffer) if at < 0 else at
        if not self._told:
            self._noise += buffer[: min(before, EXAMPLE_BYTES - len(self._noise))]
            if at >= 0 or len(self._noise) == EXAMPLE_BYTES:
                if self._noise.strip(BLANK):
                    frames.append(Broken("partial_line" if self._first else "noise", bytes(self._noise)))
                self._noise.clear()
                self._told = True
        del buffer[:before]
        if at < 0:
            return False
        self._inside, self._told, self._first, self._searched = True, False, False, 1
        return True

    def _go_on(self, frames: list[Frame]) -> bool:
        """Within a telegram, whose `/` is the first byte; False: more bytes have to come."""
        buffer = self._buffer
        mark = _MARK.search(buffer, self._searched)
        at = mark.start() if mark else len(buffer)
        if at > self._limit:
            frames.append(Broken("too_long", bytes(buffer[: min(EXAMPLE_BYTES, self._limit)])))
            del buffer[: self._limit + 1]
            self._inside, self._told = False, True
            return True
        self._searched = at
        if mark is None:
            return False
        if mark[0] == b"/":
            frames.append(Broken("partial_line", bytes(buffer[: min(at, EXAMPLE_BYTES)])))
            del buffer[:at]
            self._searched = 1
            return True
        check = _CHECK.match(buffer, at + 1)
        end = check.end() if check else at + 1
        if end == len(buffer) and end < at + 5:
            return False
        frames.append(bytes(buffer[:end]))
        del buffer[:end]
        self._inside = False
        return True

    def gap(self) -> list[Frame]:
        """Nothing: a telegram ends with its mark only."""
        return []


class P1(Framed):
    """The StreamCodec of telegrams."""

    def end(self, now: float | None) -> list[Found | Refused]:
        """A `!` may be the last byte, and what has none is a part of a telegram."""
        return self.feed(b"\n/", now)


class TelegramReader:
    """The FrameReader of telegrams: one sample of the electricity, and one for each M-Bus meter that told a value.

    required: a telegram without a CRC is refused; else those from before DSMR 4 need none. min_interval_s: telegrams
    that come sooner after one that was taken are nothing.
    """

    def __init__(self, *, required: bool = False, time: TimeMap | None = None, min_interval_s: float = 0) -> None:
        self._required = required
        self._time = time or TimeMap(format="unix")
        self._interval_s = min_interval_s
        self._taken: float | None = None

    def read(self, frame: bytes, now: float | None) -> Sequence[Found]:
        """One telegram. Unfit where no object of it can be believed."""
        body, _, check = frame.rpartition(b"!")
        if check and int(check, 16) != crc16(body + b"!", 0):
            raise Unfit("checksum", f"{check.decode('ascii')} is not that of the telegram")
        objects = dict(_objects(body, checked=bool(check)))
        if not check and (self._required or any(code in objects for code in CHECKED)):
            raise Unfit("checksum", "there is none")
        found = [*self._electricity(objects, now), *self._mbus(objects, now)]
        if not found:
            raise Unfit("missing_value", "no object has a value")
        if now is not None and self._taken is not None and 0 <= now - self._taken < self._interval_s:
            return ()
        self._taken = now
        return found

    def _electricity(self, objects: dict[str, "_Object"], now: float | None) -> Iterator[Found]:
        records: list[Record] = []
        for code, (name, unit) in ELECTRICITY.items():
            if code in objects and objects[code].last:
                records.append(_counted(objects[code], name) if unit == COUNT else _measured(objects[code], name, unit))
        if records:
            records += _text(objects.get(_EQUIPMENT), "equipment")
            yield Found(records, self._moment(objects.get("0-0:1.0.0"), now)[1])

    def _mbus(self, objects: dict[str, "_Object"], now: float | None) -> Iterator[Found]:
        names: list[str] = []
        for channel in _CHANNELS:
            told = next((objects[code] for end in _READINGS if (code := f"0-{channel}:{end}") in objects), None)
            if told is None or not told.last or "*" not in told.measure:  # never heard since it was installed
                continue
            medium = objects.get(f"0-{channel}:24.1.0")
            number = int(medium.last) if medium is not None and _COUNT.fullmatch(medium.last) else 0
            name = _MEDIA.get(number, "mbus")
            names.append(name)
            name = name if names.count(name) == 1 else f"{name}_{names.count(name)}"
            fits, time = self._moment(told, now)
            records = [_measured(told, name)] if fits else []
            equipment = objects.get(f"0-{channel}:96.1.0") or objects.get(f"0-{channel}:96.1.1")
            records += [*_text(equipment, f"{name}_equipment"), (f"{name}_channel", None, channel)]
            lines = [one.raw for code, one in objects.items() if code.startswith(f"0-{channel}:")]
            yield Found(records, time, 0 if fits else OUT_OF_RANGE, raw="\r\n".join(lines).encode("latin-1"))

    def _moment(self, told: "_Object | None", now: float | None) -> tuple[bool, float | None]:
        """Whether the first value is a time at all, and Unix seconds where it is trusted."""
        try:
            seconds = _seconds(told.values[0] if told is not None else "")
        except ValueError:
            return False, None
        return True, device_time(seconds, self._time, now)


class _Object(NamedTuple):
    """One line of a telegram, with the lines that go on with it."""

    raw: str
    values: list[str]

    @property
    def last(self) -> str:
        return self.values[-1]

    @property
    def measure(self) -> str:
        """The last value; before DSMR 4 its unit is the one before it."""
        if "*" not in self.last and len(self.values) > 2:
            return f"{self.last}*{self.values[-2]}"
        return self.last


def _objects(body: bytes, *, checked: bool) -> Iterator[tuple[str, _Object]]:
    """Each object by its code. Without a CRC a line that is none says that bytes were lost: Unfit."""
    seen = set[str]()
    _, *lines = re.split(r"[\r\n]++(?!\()", body.decode("latin-1").rstrip("\r\n"))
    for line in lines:
        match = _OBJECT.fullmatch(re.sub(r"\s+", "", line))
        if match is None:
            if line.strip() and not checked:
                raise Unfit("no_match", f"{line[:60]!r} is no object")
            continue
        code = match[1]
        if code in seen:
            raise Unfit("duplicate_key", f"{code} stands twice")
        seen.add(code)
        yield code, _Object(line, match[2][1:-1].split(")("))


def _measured(told: _Object, name: str, unit: str | None = None) -> Record:
    match = _MEASURE.fullmatch(told.measure)
    its = known(match[2]) if match else None
    fits = its is not None and (its.senml == unit if unit else its.senml in _MBUS_UNITS)
    if match is None or its is None or not fits:
        raise Unfit("wrong_type", f"{name} is {told.measure[:40]!r}")
    digits = match[1]
    value = scaled(float(digits) if "." in digits else int(digits), its)
    if value is None:
        raise Unfit("wrong_type", f"{name} is {told.measure[:40]!r}")
    return name, its.senml, value


def _counted(told: _Object, name: str) -> Record:
    if not _COUNT.fullmatch(told.last):
        raise Unfit("wrong_type", f"{name} is {told.last[:40]!r}")
    return name, None, int(told.last)


def _text(told: _Object | None, name: str) -> list[Record]:
    """As it was sent: digits, or the hexadecimal digits of its letters."""
    if told is None or not told.last or len(told.last.encode()) > TEXT_BYTES:
        return []
    return [(name, None, told.last)]


def _seconds(text: str) -> float | None:
    """Unix seconds of YYMMDDhhmmss and W or S, Central European winter or summer; None where neither tells which.

    ValueError for what is no date.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError("no time")
    year, month, day, hour, minute, second = (int(match[1][at : at + 2]) for at in range(0, 12, 2))
    moment = datetime(2000 + year, month, day, hour, minute, second, tzinfo=_ZONES.get(match[2], UTC))
    return moment.timestamp() if match[2] else None
