"""Weighing scales and weighbridges: what their indicators write to a serial line, a variant each."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from msgspec import Meta, field

from drivers.codecs.base import Framed, StreamCodec
from drivers.codecs.mass import Rules
from drivers.codecs.scale import ScaleLines
from drivers.codecs.scale_continuous import Continuous, ContinuousFramer, ContinuousStream
from drivers.codecs.ticket import Tickets, TicketStream
from drivers.codecs.values import ValueMap, ValueName, check_values
from drivers.framing import LineFramer, MarkedLineFramer
from drivers.kinds import Kind
from drivers.limits import LINE_BYTES
from drivers.streams import RECORDED, StreamOptions, driver_of

Variant = Literal["mt-continuous", "mt-sics", "st-gs", "kern", "ohaus", "rinstrum", "ticket"]
Pattern = Annotated[str, Meta(max_length=1024)]


class ScaleOptions(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "scale"."""

    variant: Variant
    unit: Literal["", "kg", "g", "t", "lb", "oz"] = ""  # of frames that name none; without it those are rejected
    keep_motion: bool = False  # true: a weight in motion is kept as mass_in_motion, quality 2; false: rejected
    checksum: bool = False  # mt-continuous: a checksum follows each frame, and is checked
    mask_bit7: bool = False  # clear the top bit of every byte: 7E1 traffic read as 8N1
    begin: Pattern = ""  # ticket: Python's regular expression of the line that begins one
    end: Pattern = ""  # ticket: of the line that ends it
    pattern: Pattern = ""  # ticket: of the whole, LF between its lines; a named group a value, `unstable` for motion
    values: dict[ValueName, ValueMap] = field(default_factory=dict)  # ticket: required

    def __post_init__(self) -> None:
        super().__post_init__()
        ticket = {"begin": self.begin, "end": self.end, "pattern": self.pattern, "values": self.values}
        if self.variant != "ticket":
            for name in [name for name, given in ticket.items() if given]:
                raise ValueError(f"{name} belongs to variant ticket. Remove it")
            return
        for name in [name for name, given in ticket.items() if not given]:
            raise ValueError(f"variant ticket needs {name}")
        check_values(self.values)
        _check_patterns(self)


def _check_patterns(options: ScaleOptions) -> None:
    for name in ("begin", "end", "pattern"):
        try:
            groups = re.compile(getattr(options, name)).groupindex
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{name} is no regular expression: {error}") from None
    for name in options.values:
        if name not in groups:
            raise ValueError(f"pattern has no group {name}. There is: {', '.join(groups) or 'none'}")


def variants() -> tuple[Mapping[str, object], ...]:
    """Options that a line of which nothing is known may be tried with; a ticket has no form of its own to try."""
    return tuple({"variant": name} for name in get_args(Variant) if name != "ticket")


def codec(options: ScaleOptions, *, drop_first: bool = False) -> StreamCodec:
    """The codec of one opening of the line."""
    rules = Rules(options.unit, options.keep_motion)
    if options.variant == "mt-continuous":
        framer = ContinuousFramer(checksum=options.checksum, drop_first=drop_first)
        return ContinuousStream(framer, Continuous(rules, checksum=options.checksum), mask_bit7=options.mask_bit7)
    if options.variant == "ticket":
        tickets = Tickets(options.begin, options.end, options.pattern, options.values, rules)
        return TicketStream(LineFramer(limit=LINE_BYTES, drop_first=drop_first), tickets, mask_bit7=options.mask_bit7)
    lines = MarkedLineFramer(limit=LINE_BYTES, drop_first=drop_first)
    return Framed(lines, ScaleLines(options.variant, rules), mask_bit7=options.mask_bit7)


KIND = Kind(
    "scale",
    "weighing scales and weighbridges",
    "stream",
    ScaleOptions,
    codec,
    driver_of("scale", codec),
    recorded=RECORDED,
)
