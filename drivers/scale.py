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
from drivers.framing import LineFramer, MarkedLineFramer, MaskBit7
from drivers.kinds import Kind
from drivers.limits import LINE_BYTES
from drivers.streams import RECORDED, StreamOptions, driver_of

Variant = Literal["mt-continuous", "mt-sics", "st-gs", "kern", "ohaus", "rinstrum", "ticket"]
Pattern = Annotated[str, Meta(max_length=1024)]


class ScaleOptions(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "scale"."""

    variant: Annotated[Variant, Meta(title="What the indicator writes: docs/drivers.md has the frames")]
    unit: Annotated[
        Literal["", "kg", "g", "t", "lb", "oz"],
        Meta(title="The unit of frames that name none; without it they are rejected"),
    ] = ""
    keep_motion: Annotated[
        bool, Meta(title="true: a weight in motion is kept, as mass_in_motion with quality 2; false: rejected")
    ] = False
    checksum: Annotated[bool, Meta(title="mt-continuous: a checksum follows each frame, and is checked")] = False
    mask_bit7: MaskBit7 = False
    begin: Annotated[Pattern, Meta(title="ticket: Python's regular expression of the line that begins one")] = ""
    end: Annotated[Pattern, Meta(title="ticket: regular expression of the line that ends it")] = ""
    pattern: Annotated[
        Pattern, Meta(title="ticket: of the whole, LF between lines; a named group a value, `unstable` for motion")
    ] = ""
    values: Annotated[
        dict[ValueName, ValueMap], Meta(title="ticket: its values, by the names of the pattern's groups")
    ] = field(default_factory=dict)

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
    examples={
        "weighbridge": {
            "port": "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0",
            "bytesize": 7,
            "parity": "even",
            "variant": "mt-continuous",
            "checksum": True,
        },
        "gatehouse": {
            "tcp": "serial-server.example:4002",
            "variant": "ticket",
            "begin": "WEIGHBRIDGE.*",
            "end": "THANK YOU",
            "pattern": r"(?s).*NET +(?P<mass>[0-9.]+) kg.*",
            "values": {"mass": {"unit": "kg"}},
        },
    },
)
