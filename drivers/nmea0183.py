"""NMEA 0183: receivers and instruments of ships, weather stations, echo sounders, over a serial line, TCP or UDP."""

from typing import Annotated, Literal

from msgspec import Meta

from drivers.codecs.base import Framed
from drivers.codecs.nmea0183 import Nmea0183
from drivers.codecs.values import MaxAhead, MaxBehind, TimeMap
from drivers.framing import LineFramer
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, LINE_BYTES
from drivers.streams import RECORDED, StreamOptions, driver_of

Address = Annotated[
    str, Meta(pattern=r"^([A-Z0-9]{2})?[A-Z0-9]{3}\Z", description="a sentence: GSV, or GPGSV with its talker")
]


class Nmea0183Options(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "nmea0183"."""

    baud: Annotated[
        int, Meta(ge=50, le=4_000_000, title="Bits a second: 38400 for high-speed lines, often 9600 for receivers")
    ] = 4_800
    checksum: Annotated[
        Literal["required", "optional"], Meta(title="optional: a sentence may come without; a wrong one is rejected")
    ] = "required"
    sentences: Annotated[
        tuple[Address, ...], Meta(title='Only these, by formatter, "RMC", or with the talker, "SDDPT". Empty: all')
    ] = ()
    text: Annotated[tuple[Address, ...], Meta(title="Sentences that are passed on as text, as they came")] = ()
    proprietary: Annotated[bool, Meta(title="Sentences $P... are passed on as text")] = True
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S


def codec(options: Nmea0183Options, *, drop_first: bool = False) -> Framed:
    """The codec of one opening."""
    reader = Nmea0183(
        checksum=options.checksum == "required",
        proprietary=options.proprietary,
        text=options.text,
        only=options.sentences,
        time=TimeMap(format="unix", max_behind_s=options.max_behind_s, max_ahead_s=options.max_ahead_s),
    )
    return Framed(LineFramer(limit=LINE_BYTES, drop_first=drop_first), reader, whole=options.udp is not None)


KIND = Kind(
    "nmea0183",
    "NMEA 0183: position, depth, wind, heading, weather",
    "stream",
    Nmea0183Options,
    codec,
    driver_of("nmea0183", codec),
    recorded=RECORDED,
    examples={
        "bridge": {
            "port": "/dev/serial/by-path/platform-fd500000.pcie-usb-0:1.2:1.0-port0",
            "sentences": ["RMC", "SDDPT", "MTW", "MWV"],
            "text": ["TXT"],
        }
    },
)
