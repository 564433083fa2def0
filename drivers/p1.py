"""P1 ports of electricity meters (DSMR, ESMR, eMUCS-P1): electricity, and the gas, water and heat meters behind one."""

from typing import Annotated, Literal

from msgspec import Meta

from drivers.codecs.p1 import P1, TelegramFramer, TelegramReader
from drivers.codecs.values import MaxAhead, MaxBehind, TimeMap
from drivers.kinds import Kind
from drivers.limits import DEVICE_CLOCK_AHEAD_S, DEVICE_CLOCK_BEHIND_S
from drivers.streams import RECORDED, StreamOptions, driver_of


class P1Options(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "p1"."""

    baud: Annotated[
        int, Meta(ge=50, le=4_000_000, title='Bits a second. Before DSMR 4: 9600, bytesize 7 and parity "even"')
    ] = 115_200
    checksum: Annotated[
        Literal["where_there", "required"], Meta(title="required: no telegram without one, as before DSMR 4")
    ] = "where_there"
    min_interval_s: Annotated[
        float, Meta(ge=0, le=86_400, title="Between two telegrams that are taken. 0: all are")
    ] = 0
    max_behind_s: MaxBehind = DEVICE_CLOCK_BEHIND_S
    max_ahead_s: MaxAhead = DEVICE_CLOCK_AHEAD_S


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
    examples={
        "barn-meter": {
            "port": "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_AL05XYZ1-if00-port0",
            "min_interval_s": 60,
        }
    },
)
