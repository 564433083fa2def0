"""AIS (ITU-R M.1371) in sentences !AIVDM and !AIVDO: what ships, aircraft, marks and stations say of themselves.

pyais takes the bits apart. It fills a field that a short message does not have in full with what there is of it: here
only whole fields are taken, and characters behind a name's end mark are not part of it.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pyais.exceptions import AISBaseException
from pyais.messages import AISSentence, NMEASentenceFactory

from drivers.api import OUT_OF_RANGE, Record
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.sentences import Sentence, sentences, tag_time
from drivers.codecs.values import TimeMap, Unfit
from drivers.framing import Framer
from drivers.limits import AIS_PART_S, AIS_PART_SENTENCES, AIS_PARTS, AIS_SHIPS, EXAMPLE_BYTES

KNOT = 1852 / 3600
TYPE_BITS, MMSI_BITS = 6, 38


class Field(NamedTuple):
    """A number of a message. `absent` is what stands for "not available"; what is beyond low and high is no value."""

    attribute: str
    name: str
    unit: str | None
    absent: float
    low: float
    high: float
    scale: float = 1.0


class Text(NamedTuple):
    """A text of a message; empty where it is not available."""

    attribute: str
    name: str


_PLACE = (Field("lat", "lat", "lat", 91, -90, 90), Field("lon", "lon", "lon", 181, -180, 180))
_SPEED = Field("speed", "speed", "m/s", 102.3, 0, 102.2, KNOT)
_COURSE = Field("course", "course", "deg", 360, 0, 359.9)
_HEADING = Field("heading", "heading", "deg", 511, 0, 359)
_STATUS = Field("status", "nav_status", None, 15, 0, 14)
_SHIP_TYPE = Field("ship_type", "ship_type", None, 0, 1, 255)
_SHIP = (*_PLACE, _SPEED, _COURSE, _HEADING, _STATUS)

_FIELDS: dict[int, tuple[Field | Text, ...]] = {
    1: _SHIP,
    2: _SHIP,
    3: _SHIP,
    4: _PLACE,
    5: (
        Field("imo", "imo", None, 0, 1, 2**30 - 1),
        Text("callsign", "callsign"),
        Text("shipname", "name"),
        _SHIP_TYPE,
        Field("draught", "draught", "m", 0, 0.1, 25.5),
        Text("destination", "destination"),
    ),
    9: (
        *_PLACE,
        Field("alt", "alt", "m", 4095, 0, 4094),
        Field("speed", "speed", "m/s", 1023, 0, 1022, KNOT),
        _COURSE,
    ),
    18: (*_PLACE, _SPEED, _COURSE, _HEADING),
    19: (*_PLACE, _SPEED, _COURSE, _HEADING, Text("shipname", "name"), _SHIP_TYPE),
    21: (*_PLACE, Text("name", "name"), Field("aid_type", "aid_type", None, 0, 1, 31)),
    24: (Text("shipname", "name"), Text("callsign", "callsign"), _SHIP_TYPE),
    27: (
        *_PLACE,
        Field("speed", "speed", "m/s", 63, 0, 62, KNOT),
        Field("course", "course", "deg", 511, 0, 359),
        _STATUS,
    ),
}
"""What is read of a message type beside mmsi and type."""
POSITIONS = frozenset([1, 2, 3, 4, 9, 18, 19, 21, 27])
TYPES = range(1, 29)
_FULL_NAME = 20  # characters of a mark's name, which goes on in name_ext

_FAULTS = (AISBaseException, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
"""What the library raises for bits that it cannot read."""


class _Parts(NamedTuple):
    """The first parts of a message, in order."""

    got: list[AISSentence]
    raw: list[bytes]
    time: float | None
    heard: int  # the number of the sentence that brought the last one
    now: float | None


class Ais:
    """The FrameReader of lines with AIS sentences; other sentences in them are nothing.

    min_interval_s: so long after one position report of an MMSI its next ones are nothing; 0 takes them all.
    """

    def __init__(self, *, min_interval_s: float = 0.0, time: TimeMap | None = None) -> None:
        self._interval_s = min_interval_s
        self._time = time or TimeMap(format="unix")
        self._parts: OrderedDict[tuple[str, int | None, str], _Parts] = OrderedDict()
        self._heard = 0
        self._last: OrderedDict[int, float] = OrderedDict()

    def read(self, line: bytes, now: float | None) -> Sequence[Found | Refused]:
        """One line."""
        found = list[Found | Refused]()
        for one in sentences(line):
            if isinstance(one, Refused):
                found.append(one)
                continue
            try:
                for item in self._read(one, now):
                    found.append(item)
            except Unfit as unfit:
                found.append(Refused(unfit.reason, one.raw[:EXAMPLE_BYTES], unfit.detail[:200]))
        return found

    def unfinished(self) -> list[Refused]:
        """There is no more: messages of which a part never came."""
        left = [_unfinished(parts) for parts in self._parts.values()]
        self._parts.clear()
        return left

    def _read(self, sentence: Sentence, now: float | None) -> Iterator[Found | Refused]:
        if sentence.body[2:6] not in (b"VDM,", b"VDO,"):
            return
        self._heard += 1
        part = _produce(sentence)
        time = tag_time(sentence, self._time, now)
        if part.frag_cnt == 1:
            yield from self._message(part, sentence.raw, time, now)
            return
        yield from self._forget(now)
        key = (part.talker_id + part.type, part.seq_id, part.channel)
        parts = self._parts.pop(key, None)
        if part.frag_num == 1:
            if parts:
                yield _unfinished(parts)
            parts = _Parts([], [], time, 0, None)
        elif parts is None or len(parts.got) != part.frag_num - 1 or parts.got[0].frag_cnt != part.frag_cnt:
            if parts:
                yield _unfinished(parts)
            raise Unfit("orphan_fragment", f"part {part.frag_num} of {part.frag_cnt}")
        parts = _Parts(
            [*parts.got, part],
            [*parts.raw, sentence.raw],
            parts.time if time is None else time,
            self._heard,
            now,
        )
        if part.frag_num < part.frag_cnt:
            self._parts[key] = parts
            return
        yield from self._message(AISSentence.assemble_from_iterable(parts.got), b"\n".join(parts.raw), parts.time, now)

    def _forget(self, now: float | None) -> Iterator[Refused]:
        """Parts that are too old, or too many: the next one with their key belongs to another message."""
        while self._parts:
            key, oldest = next(iter(self._parts.items()))
            late = now is not None and oldest.now is not None and abs(now - oldest.now) > AIS_PART_S
            if not late and self._heard - oldest.heard <= AIS_PART_SENTENCES and len(self._parts) < AIS_PARTS:
                return
            del self._parts[key]
            yield _unfinished(oldest)

    def _message(self, sentence: AISSentence, raw: bytes, time: float | None, now: float | None) -> Iterator[Found]:
        if not sentence.payload:
            raise Unfit("empty", "no payload")
        if len(sentence.bv) < TYPE_BITS:
            raise Unfit("too_short", f"{len(sentence.bv)} bits")
        if sentence.ais_id not in TYPES:
            raise Unfit("unknown_type", f"type {sentence.ais_id}")
        message = _decode(sentence)
        kind = int(message.msg_type)
        records: list[Record] = [("type", None, kind)]
        if len(sentence.bv) < MMSI_BITS:  # cut off within its sender: nobody knows whose it is
            yield Found(records, time, OUT_OF_RANGE, raw=raw)
            return
        if kind in POSITIONS and self._held_back(int(message.mmsi), now):
            return
        records.insert(0, ("mmsi", None, int(message.mmsi)))
        if sentence.type == "VDO":
            records.append(("own", None, True))
        more, quality = _records(message, kind, len(sentence.bv))
        yield Found(records + more, time, quality, raw=raw)

    def _held_back(self, mmsi: int, now: float | None) -> bool:
        """Whether this ship was heard less than the interval ago; where the clock went back, it was not."""
        if not self._interval_s or now is None:
            return False
        last = self._last.get(mmsi)
        if last is not None and last <= now < last + self._interval_s:
            return True
        self._last[mmsi] = now
        self._last.move_to_end(mmsi)
        if len(self._last) > AIS_SHIPS:
            self._last.popitem(last=False)
        return False


def _produce(sentence: Sentence) -> AISSentence:
    try:
        made = NMEASentenceFactory.produce(b"!" + sentence.body + b"*00")
    except _FAULTS as error:
        raise Unfit("no_match", str(error)) from None
    if not isinstance(made, AISSentence):
        raise Unfit("no_match", "no AIS sentence")
    return made


def _decode(sentence: AISSentence) -> Any:
    try:
        return sentence.decode()
    except _FAULTS as error:
        raise Unfit("undecodable", f"type {sentence.ais_id}: {error}") from None


def _records(message: Any, kind: int, bits: int) -> tuple[list[Record], int]:
    ends = {name: (offset, offset + width) for name, offset, width, *_ in type(message).decoder_plan()}
    records: list[Record] = []
    quality = 0
    for field in _FIELDS.get(kind, ()):
        begin, end = ends.get(field.attribute, (bits, bits + 1))
        if isinstance(field, Text):
            text = _text(getattr(message, field.attribute, None), (bits - begin) // 6)
            if text and kind == 21 and len(text) == _FULL_NAME:
                text += _text(message.name_ext, (bits - ends["name_ext"][0]) // 6)
            if text:
                records.append((field.name, None, text))
        elif end <= bits:
            value = getattr(message, field.attribute)
            if value == field.absent:
                continue
            if not field.low <= value <= field.high:
                quality = OUT_OF_RANGE
                continue
            value = float(f"{value * field.scale:.12g}") if field.scale != 1.0 else value
            records.append((field.name, field.unit, value if isinstance(value, float) else int(value)))
    return records, quality


def _text(value: Any, characters: int) -> str:
    """As far as it came whole, up to the first @, which ends a text (M.1371, annex 8)."""
    if not isinstance(value, str) or characters <= 0:
        return ""
    return value[:characters].split("@", 1)[0].strip()


def _unfinished(parts: _Parts) -> Refused:
    return Refused("unfinished_multipart", parts.raw[0][:EXAMPLE_BYTES], f"{len(parts.got)} of {parts.got[0].frag_cnt}")


class AisStream(Framed):
    """The StreamCodec of an Ais."""

    def __init__(self, framer: Framer, reader: Ais, *, whole: bool = False) -> None:
        super().__init__(framer, reader, whole=whole)
        self._ais = reader

    def end(self, now: float | None) -> list[Found | Refused]:
        """The file is over, and with it what waited for its next part."""
        return [*super().end(now), *self._ais.unfinished()]
