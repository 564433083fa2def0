"""What a source of lines has in common, whether they come from a port or from a file: framing, format, values."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from drivers.codecs.base import Found, Framed, FrameReader, One, Refused, StreamCodec
from drivers.codecs.json_map import JsonMap
from drivers.codecs.text import TIME, Csv, Decimal, Encoding, Plain, Regex, nmea_checksum_fits
from drivers.codecs.values import Codec, DeviceTime, Table, Unfit, Values, check_values
from drivers.framing import FixedFramer, Framer, LineFramer, MarkedFramer, MaskBit7
from drivers.limits import LINE_BYTES, LINE_BYTES_MAX


class LineOptions(Table, kw_only=True, frozen=True):
    """Options of every driver that reads lines."""

    framing: Annotated[
        Literal["line", "marked", "fixed"], Meta(title="What makes a frame: a line's end, a start and an end, a length")
    ] = "line"
    delimiter: Annotated[
        str, Meta(max_length=8, title="line: what ends a line. Empty: CR, LF and any mixture of them")
    ] = ""
    start: Annotated[str, Meta(max_length=8, title="marked, fixed: what begins a frame. Empty: STX, nothing")] = ""
    end: Annotated[str, Meta(max_length=1, title="marked: what ends a frame. Empty: ETX")] = ""
    trailer: Annotated[int, Meta(ge=0, le=16, title="marked: bytes of a checksum behind the end, to be skipped")] = 0
    length: Annotated[int, Meta(ge=0, le=LINE_BYTES_MAX, title="fixed: bytes in a frame, with its start")] = 0
    line_bytes: Annotated[int, Meta(ge=1, le=LINE_BYTES_MAX, title="A longer line is rejected as too_long")] = (
        LINE_BYTES
    )
    mask_bit7: MaskBit7 = False
    checksum: Annotated[
        Literal["none", "nmea"], Meta(title="nmea: a sentence whose checksum is absent or wrong is rejected")
    ] = "none"

    format: Annotated[
        Literal["csv", "json", "regex", "text"], Meta(title="How a line says its values; text: it is the one value")
    ]
    columns: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...],
        Meta(title='csv: a name for every column, "" for one that is not wanted'),
    ] = ()
    separator: Annotated[str, Meta(min_length=1, max_length=4, title="csv: what stands between columns")] = ","
    pattern: Annotated[
        str, Meta(max_length=1024, title="regex: Python's, over the whole line, a named group a value")
    ] = ""
    encoding: Annotated[Encoding, Meta(title="How the line's text is encoded")] = "latin-1"
    decimal: Annotated[Decimal, Meta(title="What stands before the fraction of a number")] = "."
    values: Values
    time: DeviceTime | None = None

    def __post_init__(self) -> None:
        check(self)


def check(options: LineOptions) -> None:
    """ValueError where they do not fit each other."""
    check_values(options.values)
    _check_framing(options)
    _CHECKS[options.format](options)


def _check_framing(options: LineOptions) -> None:
    for name in ("delimiter", "start", "end"):
        if any(ord(char) > 255 for char in getattr(options, name)):
            raise ValueError(f"{name} has a character that is no single byte. Write it as \\u00XX")
    if options.framing == "fixed" and options.length <= len(options.start):
        raise ValueError("framing fixed needs length: the bytes of a whole frame")
    if options.framing == "marked" and len(options.start) > 1:
        raise ValueError("framing marked has a start of one character")
    if options.framing == "marked" and (options.start or "\x02") == (options.end or "\x03"):
        raise ValueError("start and end are the same character: use framing line with this delimiter")


def _check_csv(options: LineOptions) -> None:
    named = [name for name in options.columns if name]
    if len(set(named)) != len(named):
        raise ValueError("columns names one column twice")
    _check_names(options, named, "columns has no")


def _check_regex(options: LineOptions) -> None:
    try:
        groups = list(re.compile(options.pattern).groupindex)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern is no regular expression: {error}") from None
    _check_names(options, groups, "pattern has no group")


def _check_names(options: LineOptions, named: Sequence[str], missing: str) -> None:
    for name in [*options.values, *([TIME] if options.time else [])]:
        if name not in named:
            raise ValueError(f"{missing} {name}. There is: {', '.join(named) or 'none'}")


def _check_json(options: LineOptions) -> None:
    codec(options)


def _check_text(options: LineOptions) -> None:
    if len(options.values) != 1 or options.time is not None:
        raise ValueError("format text has one value, and no time")


_CHECKS = {"csv": _check_csv, "regex": _check_regex, "json": _check_json, "text": _check_text}


def codec(options: LineOptions) -> Codec:
    """The codec of these options."""
    if options.format == "json":
        return JsonMap(options.values, options.time)
    if options.format == "csv":
        return Csv(
            options.columns,
            options.values,
            separator=options.separator,
            time=options.time,
            encoding=options.encoding,
            decimal=options.decimal,
        )
    if options.format == "regex":
        return Regex(
            options.pattern, options.values, time=options.time, encoding=options.encoding, decimal=options.decimal
        )
    name, value = next(iter(options.values.items()))
    return Plain(name, value, encoding=options.encoding, decimal=options.decimal)


def framer(options: LineOptions, *, drop_first: bool) -> Framer:
    """The framer of these options. drop_first: it begins somewhere in a frame."""
    start, end = options.start.encode("latin-1"), options.end.encode("latin-1")
    if options.framing == "marked":
        return MarkedFramer(
            ord(start or b"\x02"), ord(end or b"\x03"), trailer=options.trailer, limit=options.line_bytes
        )
    if options.framing == "fixed":
        return FixedFramer(options.length, start, drop_first=drop_first)
    return LineFramer(options.delimiter.encode("latin-1"), limit=options.line_bytes, drop_first=drop_first)


class _Checked:
    """Only sentences whose NMEA checksum fits are read on."""

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        if not nmea_checksum_fits(frame):
            raise Unfit("checksum")
        return self._reader.read(frame, now)


def stream(options: LineOptions, *, drop_first: bool = False) -> StreamCodec:
    """The codec of a stream of such lines, for one opening of it."""
    reader: FrameReader = One(codec(options))
    if options.checksum == "nmea":
        reader = _Checked(reader)
    return Framed(framer(options, drop_first=drop_first), reader, mask_bit7=options.mask_bit7)
