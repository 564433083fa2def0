"""NMEA 0183: the lines of a ship's or a weather station's instruments."""

import re
from collections.abc import Sequence

from drivers.codecs.base import Found, Refused
from drivers.codecs.nmea_values import READERS, Moment, Values, fields_of
from drivers.codecs.sentences import Sentence, sentences, tag_time
from drivers.codecs.values import TimeMap, Unfit, device_time
from drivers.limits import EXAMPLE_BYTES, NMEA_DATE_S, TEXT_BYTES

DAY_S = 86_400
_ADDRESS = re.compile(r"P[A-Z0-9]{1,15}|[A-Z0-9]{2}([A-Z0-9]{3})", re.ASCII)


class Nmea0183:
    """The FrameReader of lines with NMEA 0183 sentences.

    text: formatters (GSV) or whole addresses (GPGSV) that are passed on as text. only: those that are read at all,
    where it names any. checksum False: a sentence may lack its checksum.
    """

    def __init__(
        self,
        *,
        checksum: bool = True,
        proprietary: bool = True,
        text: Sequence[str] = (),
        only: Sequence[str] = (),
        time: TimeMap | None = None,
    ) -> None:
        self._checksum, self._proprietary = checksum, proprietary
        self._text, self._only = frozenset(text), frozenset(only)
        self._time = time or TimeMap(format="unix")
        self._dated: tuple[float, float] | None = None  # the last trusted time that had a date, and its receipt

    def read(self, line: bytes, now: float | None) -> Sequence[Found | Refused]:
        """One line. A line that begins with `#` is a comment, whatever stands in it."""
        if line.lstrip().startswith(b"#"):
            return ()
        found = list[Found | Refused]()
        for one in sentences(line, checksum=self._checksum):
            if isinstance(one, Refused):
                found.append(one)
                continue
            try:
                found += self._read(one, now)
            except Unfit as unfit:
                found.append(Refused(unfit.reason, one.raw[:EXAMPLE_BYTES], unfit.detail[:200]))
        return found

    def _read(self, sentence: Sentence, now: float | None) -> Sequence[Found]:
        body = sentence.body.decode("latin-1")
        address = body.split(",", 1)[0]
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise Unfit("no_match", f"{address[:40]!r} is no address of a sentence")
        formatter = match[1] or ""
        if self._only and not self._only & {address, formatter or address}:
            return ()
        if (self._proprietary and not formatter) or self._text & {address, formatter}:
            return (Found([("text", None, _text(body))], self._stamped(sentence, now), raw=sentence.raw),)
        reader = READERS.get(formatter)
        if reader is None:
            return ()
        values = Values()
        moment = reader(fields_of(formatter, body), values)
        if not values.records:
            raise Unfit("out_of_range" if values.quality else "missing_value", address)
        time = self._own_time(moment or Moment(), now)
        if time is None:
            time = self._stamped(sentence, now)
        return (Found(values.records, time, values.quality, raw=sentence.raw),)

    def _stamped(self, sentence: Sentence, now: float | None) -> float | None:
        """The time of its tag block."""
        return tag_time(sentence, self._time, now)

    def _own_time(self, moment: Moment, now: float | None) -> float | None:
        """Unix seconds. A time of day without a date has that of the last dated sentence, if both are near in time."""
        if moment.seconds is None or now is None:
            return None
        if moment.midnight is not None:
            time = device_time(moment.midnight + moment.seconds, self._time, now)
            self._dated = None if time is None else (time, now)
            return time
        if self._dated is None or abs(now - self._dated[1]) > NMEA_DATE_S:
            return None
        dated = self._dated[0]
        time = dated + (moment.seconds - dated % DAY_S + DAY_S / 2) % DAY_S - DAY_S / 2  # over midnight, too
        return device_time(time, self._time, now) if abs(time - dated) <= NMEA_DATE_S else None


def _text(body: str) -> str:
    if len(body.encode()) > TEXT_BYTES:
        raise Unfit("text_too_long", f"a text of more than {TEXT_BYTES} bytes")
    return body
