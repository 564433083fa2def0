"""A reading: one SenML pack in CBOR (RFC 8428; docs/format.md section 2), built fast and read strictly.

`build` writes the bytes itself, from parts it keeps for each source and each (name, unit): the same bytes that
`cbor.encode` would write.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.core import cbor
from gateway.core.limits import (
    BASE_TIME_MIN_S,
    LABELS_KEPT,
    NUMBER_MAX,
    PACK_BYTES,
    PACK_RECORDS,
    RAW_INLINE_BYTES,
    TEXT_BYTES,
    UNIT_BYTES,
)
from gateway.errors import FormatError

Scalar = float | str | bytes | bool
Record = tuple[str, str | None, cbor.Value]
"""Name, unit or None, value: a number, text, bytes or a bool."""

OWN = "gateway"
"""The source of the gateway's own events."""

NAME, UNIT, NUMBER, TEXT, BOOL, TIME, DATA = 0, 1, 2, 3, 4, 6, 8
BASE_NAME, BASE_TIME = -2, -3
RAW, RAW_DIGEST = "raw", "raw.sha256"
DIGEST_BYTES = 32

_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME = re.compile(r"[A-Za-z0-9:./_-]+")  # RFC 8428 section 4.5.1; the first character is the source's
_AS_TEXT = frozenset(["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut"])

_NUMBER_LABEL, _TEXT_LABEL, _BOOL_LABEL, _DATA_LABEL = b"\x02", b"\x03", b"\x04", b"\x08"
_RAW_RECORD = cbor.head(cbor.MAP, 2) + cbor.head(cbor.UINT, NAME) + cbor.tstr(RAW) + _DATA_LABEL
_DIGEST_RECORD = cbor.head(cbor.MAP, 2) + cbor.head(cbor.UINT, NAME) + cbor.tstr(RAW_DIGEST) + _DATA_LABEL
_MAPS = tuple(cbor.head(cbor.MAP, n) for n in range(8))
_ARRAYS = tuple(cbor.head(cbor.ARRAY, n) for n in range(PACK_RECORDS + 1))
_APART = "Keep the payload apart"
_PACK_OVERHEAD = 256  # the array's head, base fields, rt, q and the head of a raw record, with room to spare


@dataclass(frozen=True, slots=True)
class Measured:
    """One record: name without the source, SenML unit or None, value, and its own time in Unix ms."""

    name: str
    unit: str | None
    value: Scalar
    time_ms: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A pack, read: observed at `time_ms`, received at `received_ms` (the same where the device gave no time).

    `raw` is the payload as it arrived, `raw_sha256` its salted digest where it travels apart; at most one is there.
    """

    source: str
    time_ms: int
    received_ms: int
    quality: int
    records: tuple[Measured, ...]
    raw: bytes | None
    raw_sha256: bytes | None


# Building


def build(
    source: str,
    records: Sequence[Record],
    *,
    bt_ms: int,
    rt_ms: int | None = None,
    quality: int = 0,
    raw: bytes | None = None,
) -> bytes:
    """One pack: `records` observed at `bt_ms` (Unix ms), and the payload as its last record where `raw` is given.

    `rt_ms` (receipt, Unix ms) only where `bt_ms` is the device's own time. FormatError past any limit of section 2.
    """
    last = None
    if raw is not None:
        if len(raw) > RAW_INLINE_BYTES:
            raise FormatError(f"a payload of {len(raw)} bytes is over {RAW_INLINE_BYTES}", where=source, cure=_APART)
        last = _RAW_RECORD + cbor.bstr(raw)
    return _build(source, records, bt_ms, rt_ms, quality, last)


def with_digest(
    source: str,
    records: Sequence[Record],
    *,
    bt_ms: int,
    rt_ms: int | None = None,
    quality: int = 0,
    raw_sha256: bytes,
) -> bytes:
    """As `build`, for a payload that travels apart: `raw_sha256` is `digest(raw salt, payload)`, 32 bytes."""
    if len(raw_sha256) != DIGEST_BYTES:
        raise FormatError(f"a digest of {len(raw_sha256)} bytes, not {DIGEST_BYTES}", where=source)
    return _build(source, records, bt_ms, rt_ms, quality, _DIGEST_RECORD + cbor.bstr(raw_sha256))


def split(records: Sequence[Record], room: int = PACK_RECORDS) -> list[list[Record]]:
    """`records` in order, in lists of at most `room` that each fit one pack, an inline payload with them."""
    bytes_left = room_bytes = PACK_BYTES - RAW_INLINE_BYTES - _PACK_OVERHEAD
    lists: list[list[Record]] = []
    for record in records:
        size = 1 + len(_labels(record[0], record[1])[1]) + len(_value(record[2]))
        if not lists or len(lists[-1]) >= room or size > bytes_left:
            lists.append([])
            bytes_left = room_bytes
        lists[-1].append(record)
        bytes_left -= size
    return lists


def _build(
    source: str, records: Sequence[Record], bt_ms: int, rt_ms: int | None, quality: int, last: bytes | None
) -> bytes:
    """`last` is the record that holds the payload or its digest."""
    made = []
    for record in records:
        # Sensors say the same thing again and again. Only of a float: True, 1 and 1.0 are one key to a dict.
        known = _measurements.get(record) if type(record[2]) is float else None
        made.append(known or _record(record))
    if last is not None:
        made.append(last)
    count = len(made)
    if not 1 <= count <= PACK_RECORDS:
        raise FormatError(f"a pack of {count} records, not 1 to {PACK_RECORDS}", where=source, cure="Split the reading")
    extra, base = _base(source, bt_ms, rt_ms, quality)
    first = made[0]
    made[0] = _ARRAYS[count] + _MAPS[(first[0] & 0x1F) + extra] + first[1:] + base
    pack = b"".join(made)
    if len(pack) > PACK_BYTES:
        raise FormatError(f"a pack of {len(pack)} bytes is over {PACK_BYTES}", where=source, cure=_APART)
    return pack


_measurements: dict[Record, bytes] = {}


def _record(record: Record) -> bytes:
    """A record that is not the first of its pack: a map of its pairs."""
    name, unit, value = record
    pairs, labels = _labels(name, unit)
    made = _MAPS[pairs] + labels + _value(value)
    if type(value) is float:
        if len(_measurements) >= LABELS_KEPT:
            _measurements.clear()
        _measurements[record] = made
    return made


def _base(source: str, bt_ms: int, rt_ms: int | None, quality: int) -> tuple[int, bytes]:
    """What only the first record has, in the order of the encoded labels: -2, -3, "q", "rt"."""
    if not BASE_TIME_MIN_S * 1000 <= bt_ms <= NUMBER_MAX:
        raise FormatError(f"a time of {bt_ms} ms is out of range", where=source, cure="Set the clock")
    pairs = 2
    base = _base_name(source) + _base_time(bt_ms)
    if quality:
        pairs += 1
        base += b"\x61q" + _uint(quality)
    if rt_ms is not None:
        pairs += 1
        base += b"\x62rt" + _uint(rt_ms)
    return pairs, base


@lru_cache(maxsize=8)  # what came with one wake-up has one time of receipt
def _base_time(bt_ms: int) -> bytes:
    return b"\x22" + cbor.number(bt_ms / 1000)


@lru_cache(maxsize=LABELS_KEPT)
def _base_name(source: str) -> bytes:
    return b"\x21" + cbor.tstr(check_source(source) + "/")


@lru_cache(maxsize=LABELS_KEPT)
def _labels(name: str, unit: str | None) -> tuple[int, bytes]:
    """How many pairs a record with these has, its value counted, and the bytes before the value."""
    check_name(name)
    if name in (RAW, RAW_DIGEST):
        raise FormatError(f"the name {name!r} is the payload's own", cure="Give the value another name")
    labels = b"\x00" + cbor.tstr(name)
    if unit is None:
        return 2, labels
    return 3, labels + b"\x01" + cbor.tstr(_check_unit(unit))


def _value(value: cbor.Value) -> bytes:
    """Label and value. A bool is an int to isinstance: it comes first."""
    if isinstance(value, bool):
        return _BOOL_LABEL + (cbor.TRUE if value else cbor.FALSE)
    if isinstance(value, float | int):
        return _NUMBER_LABEL + cbor.number(value)
    if isinstance(value, str):
        return _TEXT_LABEL + cbor.tstr(_check_text(value))
    if isinstance(value, bytes):
        return _DATA_LABEL + cbor.bstr(value)
    raise FormatError(f"a value of type {type(value).__name__}, not a number, text, bytes or bool")


def _uint(value: int) -> bytes:
    if value < 0:
        raise FormatError(f"{value} where an unsigned integer is due")
    return cbor.integer(value)


# Rules


def check_source(source: str) -> str:
    """The id, if section 2 allows it. `gateway` is the gateway's own: whoever reads a configuration refuses it."""
    if not _SOURCE.fullmatch(source):
        raise FormatError(
            f"{source[:80]!r} is no source id", cure="Use 1 to 63 of a-z 0-9 . _ - and begin with a-z 0-9"
        )
    return source


def check_name(name: str) -> str:
    """The name, if RFC 8428 section 4.5.1 allows its characters and it is not empty nor over 1,024 bytes."""
    if not _NAME.fullmatch(name):
        raise FormatError(f"{name[:80]!r} is no name of a value", cure="Use A-Z a-z 0-9 - : . / _ only")
    if len(name) > TEXT_BYTES:
        raise FormatError(f"a name of {len(name)} bytes is over {TEXT_BYTES}")
    return name


def _check_unit(unit: str) -> str:
    if not unit or len(unit.encode(errors="replace")) > UNIT_BYTES:
        raise FormatError(f"{unit[:80]!r} is no unit of 1 to {UNIT_BYTES} bytes", cure="Leave it out")
    return unit


def _check_text(text: str) -> str:
    if len(text) > TEXT_BYTES // 4 and len(text.encode(errors="replace")) > TEXT_BYTES:
        raise FormatError(f"a text value is over {TEXT_BYTES} bytes", cure="Shorten it, or keep it in the payload only")
    return text


# Reading


def resolve(pack: bytes) -> Reading:
    """The reading in a pack. FormatError for whatever section 2 does not allow; unknown string labels are ignored."""
    if len(pack) > PACK_BYTES:
        raise FormatError(f"a pack of {len(pack)} bytes is over {PACK_BYTES}")
    value = cbor.decode(pack)
    if not isinstance(value, list) or not 1 <= len(value) <= PACK_RECORDS:
        raise FormatError(f"a pack is not an array of 1 to {PACK_RECORDS} records")
    rows = [_check_labels(row, at) for at, row in enumerate(value)]
    first = rows[0]
    source = _base_source(first)
    base_ms = _milliseconds(first.get(BASE_TIME))
    quality = _optional_uint(first, "q")
    if quality == 0:
        raise FormatError('"q" is 0 where it is left out')
    received_ms = _optional_uint(first, "rt")
    payload, digest = _payload(rows[-1])
    if payload is not None or digest is not None:
        rows.pop()
    return Reading(
        source=source,
        time_ms=base_ms,
        received_ms=base_ms if received_ms is None else received_ms,
        quality=quality or 0,
        records=tuple(_measured(row, base_ms) for row in rows),
        raw=payload,
        raw_sha256=digest,
    )


def source_of(pack: bytes) -> str:
    """The source of a pack, from its first record alone."""
    return _base_source(_first_record(pack))


def base_of(pack: bytes) -> tuple[str, int]:
    """Source and base time (Unix ms) of a pack, from its first record alone."""
    first = _first_record(pack)
    return _base_source(first), _milliseconds(first.get(BASE_TIME))


def _first_record(pack: bytes) -> dict[cbor.Key, cbor.Value]:
    major, count, start = cbor.read_head(pack, 0)
    if major != cbor.ARRAY or not count:
        raise FormatError("a pack is not an array of records")
    return _check_labels(cbor.decode_item(pack, start)[0], 0)


def digest_of(pack: bytes) -> bytes | None:
    """`raw.sha256` of a pack whose payload travels apart, else None. The pack is checked in full."""
    return resolve(pack).raw_sha256


_VALUE_LABELS = frozenset([NUMBER, TEXT, BOOL, DATA])
_RECORD_LABELS = frozenset([NAME, UNIT, TIME, *_VALUE_LABELS])
_FIRST_LABELS = _RECORD_LABELS | {BASE_NAME, BASE_TIME}


def _check_labels(row: cbor.Value, at: int) -> dict[cbor.Key, cbor.Value]:
    where = f"record {at}"
    if not isinstance(row, dict):
        raise FormatError("not a map", where=where)
    allowed = _RECORD_LABELS if at else _FIRST_LABELS
    for label in row if not row.keys() <= allowed else ():
        if label in allowed:
            continue
        if not isinstance(label, str):
            raise FormatError(f"the label {label!r} is not allowed here", where=where)
        if label.endswith("_"):
            raise FormatError(f"the label {label[:80]!r} asks not to be ignored, and is unknown", where=where)
        if label in _AS_TEXT:
            raise FormatError(f"the label {label!r} stands as text and not as its integer", where=where)
        if at and label in ("rt", "q"):
            raise FormatError(f"the label {label!r} belongs in the first record only", where=where)
    if len(row.keys() & _VALUE_LABELS) != 1:
        raise FormatError("a record has exactly one value", where=where)
    return row


def _base_source(first: dict[cbor.Key, cbor.Value]) -> str:
    name = first.get(BASE_NAME)
    if not isinstance(name, str) or not name.endswith("/"):
        raise FormatError("the base name is not a source's id and /", where="record 0")
    return check_source(name[:-1])


def _milliseconds(base_time: cbor.Value | None) -> int:
    """Base time in Unix ms; it must be the double nearest to whole milliseconds / 1000."""
    seconds = _number(base_time, "the base time")
    if not BASE_TIME_MIN_S <= seconds <= NUMBER_MAX / 1000:
        raise FormatError(f"the base time {seconds!r} is not an absolute time", where="record 0")
    milliseconds = _round_ms(seconds)
    if milliseconds / 1000 != seconds:
        raise FormatError(f"the base time {seconds!r} is not whole milliseconds", where="record 0")
    return milliseconds


def _round_ms(seconds: float) -> int:
    """Seconds in ms, halves up, exactly: a product in floating point would err for far times."""
    top, bottom = seconds.as_integer_ratio()
    return (2000 * top + bottom) // (2 * bottom)


def _number(value: cbor.Value | None, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{what} is not a number")
    return value


def _optional_uint(first: dict[cbor.Key, cbor.Value], label: str) -> int | None:
    value = first.get(label)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FormatError(f"{label!r} is not an unsigned integer", where="record 0")
    return value


def _payload(row: dict[cbor.Key, cbor.Value]) -> tuple[bytes | None, bytes | None]:
    """The payload or its digest, where `row`, the last, holds one."""
    name = row.get(NAME)
    if name not in (RAW, RAW_DIGEST):
        return None, None
    data = row.get(DATA)
    if not isinstance(data, bytes) or UNIT in row or TIME in row:
        raise FormatError(f"the record {name!r} holds bytes, no unit and no time")
    if name == RAW:
        if len(data) > RAW_INLINE_BYTES:
            raise FormatError(f"a payload of {len(data)} bytes is over {RAW_INLINE_BYTES} and not apart")
        return data, None
    if len(data) != DIGEST_BYTES:
        raise FormatError(f"a digest of {len(data)} bytes, not {DIGEST_BYTES}")
    return None, data


def _measured(row: dict[cbor.Key, cbor.Value], base_ms: int) -> Measured:
    name = row.get(NAME, "")
    if not isinstance(name, str) or name in (RAW, RAW_DIGEST):
        raise FormatError(f"the name {name!r} is not text, or the payload's own and not last")
    if NAME in row:
        check_name(name)
    unit = row.get(UNIT)
    if unit is not None and not isinstance(unit, str):
        raise FormatError("a unit is not text", where=name)
    return Measured(
        name=name,
        unit=None if unit is None else _check_unit(unit),
        value=_scalar(row, name),
        time_ms=_record_time(row, base_ms, name),
    )


def _record_time(row: dict[cbor.Key, cbor.Value], base_ms: int, name: str) -> int:
    if TIME not in row:
        return base_ms
    offset = _number(row[TIME], "a record's time")
    if abs(offset) > NUMBER_MAX / 1000 or not BASE_TIME_MIN_S * 1000 <= base_ms + _round_ms(offset) <= NUMBER_MAX:
        raise FormatError(f"the record's time {offset!r} s from the base is out of range", where=name)
    return base_ms + _round_ms(offset)


def _scalar(row: dict[cbor.Key, cbor.Value], name: str) -> Scalar:
    if NUMBER in row:
        return _number(row[NUMBER], f"the value of {name!r}")
    label, kind = next((label, kind) for label, kind in ((TEXT, str), (BOOL, bool), (DATA, bytes)) if label in row)
    value = row[label]
    if not isinstance(value, kind):
        raise FormatError(f"the value under label {label} is of another type", where=name)
    if isinstance(value, str):
        _check_text(value)
    assert isinstance(value, str | bool | bytes)
    return value
