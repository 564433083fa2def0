"""AIS receivers (sentences !AIVDM and !AIVDO), over a serial line, TCP or UDP."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.ais import Ais, AisStream
from drivers.codecs.values import MaxAhead, MaxBehind, TimeMap
from drivers.framing import LineFramer
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S, LINE_BYTES
from drivers.streams import RECORDED, Baud, StreamOptions, driver_of


class AisOptions(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "ais"."""

    baud: Baud = 38_400
    min_interval_s: Annotated[
        float, Meta(ge=0, le=86_400, title="Between two positions of one ship (MMSI). 0: every one is taken")
    ] = 0.0
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S


def codec(options: AisOptions, *, drop_first: bool = False) -> AisStream:
    """The codec of one opening."""
    time = TimeMap(format="unix", max_behind_s=options.max_behind_s, max_ahead_s=options.max_ahead_s)
    reader = Ais(min_interval_s=options.min_interval_s, time=time)
    return AisStream(LineFramer(limit=LINE_BYTES, drop_first=drop_first), reader, whole=options.udp is not None)


KIND = Kind(
    "ais",
    "AIS: what ships say of themselves, from a receiver",
    "stream",
    AisOptions,
    codec,
    driver_of("ais", codec),
    recorded=RECORDED,
    examples={"ships": {"udp": "0.0.0.0:10110", "min_interval_s": 60}},
)
