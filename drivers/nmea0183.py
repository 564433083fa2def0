"""NMEA 0183: receivers and instruments of ships, weather stations, echo sounders, over a serial line, TCP or UDP."""

from typing import Annotated, Literal

from msgspec import Meta

from drivers.codecs.base import Framed
from drivers.codecs.nmea0183 import Nmea0183
from drivers.codecs.values import TimeMap
from drivers.framing import LineFramer
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, LINE_BYTES
from drivers.streams import RECORDED, StreamOptions, driver_of

Address = Annotated[
    str, Meta(pattern=r"^([A-Z0-9]{2})?[A-Z0-9]{3}\Z", description="a sentence: GSV, or GPGSV with its talker")
]


class Nmea0183Options(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "nmea0183"."""

    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 4_800  # 38400 for high-speed lines, often 9600 for receivers
    checksum: Literal["required", "optional"] = "required"  # optional: a sentence may have none; a wrong one never is
    sentences: tuple[Address, ...] = ()  # only these, by formatter or with talker; none named: all
    text: tuple[Address, ...] = ()  # these are passed on as text, as they came
    proprietary: bool = True  # $P... sentences are passed on as text
    max_behind_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_BEHIND_S  # before receipt, for its time to be trusted
    max_ahead_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_AHEAD_S  # after receipt


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
)
