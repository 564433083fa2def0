"""P1 ports of electricity meters (DSMR, ESMR, eMUCS-P1): electricity, and the gas, water and heat meters behind one."""

from typing import Annotated, Literal

from msgspec import Meta

from drivers.codecs.p1 import P1, TelegramFramer, TelegramReader
from drivers.codecs.values import TimeMap
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S
from drivers.streams import RECORDED, StreamOptions, driver_of


class P1Options(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "p1"."""

    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 115_200  # 9600 with bytesize 7 and parity even before DSMR 4
    checksum: Literal["where_there", "required"] = "where_there"  # where_there: meters from before DSMR 4 have none
    min_interval_s: Annotated[float, Meta(ge=0, le=86_400)] = 0  # between two telegrams that are taken; 0: all are
    max_behind_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_BEHIND_S  # before receipt, for its time to be trusted
    max_ahead_s: Annotated[float, Meta(ge=0)] = DEVICE_CLOCK_AHEAD_S  # after receipt


def codec(options: P1Options, *, drop_first: bool = False) -> P1:
    """The codec of one opening."""
    reader = TelegramReader(
        required=options.checksum == "required",
        time=TimeMap(format="unix", max_behind_s=options.max_behind_s, max_ahead_s=options.max_ahead_s),
        min_interval_s=options.min_interval_s,
    )
    return P1(TelegramFramer(drop_first=drop_first), reader)


KIND = Kind(
    "p1",
    "P1 (DSMR, ESMR): electricity meters, with gas, water and heat",
    "stream",
    P1Options,
    codec,
    driver_of("p1", codec),
    recorded=RECORDED,
)
