"""USB serial adapters that are met in the field: the one table behind the udev rules, the manual and `fieldgate probe`.

The ids are those of the kernel's drivers (ftdi_sio, cp210x, ch341, pl2303, cdc_acm).
"""

from typing import Final, Literal, NamedTuple

Number = Literal["own", "same", "none"]
"""Of the adapter's serial number: it has one of its own, many have one and the same, or it has none."""

NO_NUMBERS: Final = frozenset({"", "0", "0000", "0001", "00000000", "12345678"})
"""Serial numbers that makers leave as they came with the chip: many adapters have them."""


class Adapter(NamedTuple):
    """A kind of adapter. usb: vendor and product as lsusb writes them; port: how the kernel calls its port."""

    usb: str
    chip: str
    port: Literal["ttyUSB", "ttyACM"]
    number: Number
    note: str = ""

    @property
    def vendor(self) -> str:
        """Four hexadecimal digits."""
        return self.usb.partition(":")[0]

    @property
    def product(self) -> str:
        """Four hexadecimal digits."""
        return self.usb.partition(":")[2]


ADAPTERS: Final = (
    Adapter("0403:6001", "FTDI FT232R, FT232B", "ttyUSB", "own", "the usual one of industrial RS-485 cables"),
    Adapter("0403:6010", "FTDI FT2232", "ttyUSB", "own", "two ports"),
    Adapter("0403:6011", "FTDI FT4232", "ttyUSB", "own", "four ports"),
    Adapter("0403:6014", "FTDI FT232H", "ttyUSB", "own"),
    Adapter("0403:6015", "FTDI FT230X, FT231X", "ttyUSB", "own"),
    Adapter("10c4:ea60", "Silicon Labs CP2102, CP2104", "ttyUSB", "same", "cheap ones all say 0001; brltty takes it"),
    Adapter("10c4:ea70", "Silicon Labs CP2105", "ttyUSB", "own", "two ports"),
    Adapter("10c4:ea71", "Silicon Labs CP2108", "ttyUSB", "own", "four ports"),
    Adapter("1a86:7523", "WCH CH340", "ttyUSB", "none", "brltty takes it for a Braille display"),
    Adapter("1a86:5523", "WCH CH341", "ttyUSB", "none"),
    Adapter("1a86:55d3", "WCH CH343", "ttyACM", "own"),
    Adapter("1a86:55d4", "WCH CH9102", "ttyACM", "own"),
    Adapter("067b:2303", "Prolific PL2303", "ttyUSB", "none", "many are clones; some lose bytes above 115,200 baud"),
    Adapter("067b:23a3", "Prolific PL2303GC", "ttyUSB", "own"),
    Adapter("04d8:00dd", "Microchip MCP2221", "ttyACM", "own"),
    Adapter("1546:01a7", "u-blox 7, GNSS", "ttyACM", "none", "NMEA 0183 at any speed"),
    Adapter("1546:01a8", "u-blox 8, GNSS", "ttyACM", "none", "NMEA 0183 at any speed"),
)


def find(vendor: int | None, product: int | None) -> Adapter | None:
    """The adapter of these numbers, which pyserial tells; None for another, and for a port that is no USB adapter's."""
    usb = f"{vendor:04x}:{product:04x}" if vendor is not None and product is not None else ""
    return next((one for one in ADAPTERS if one.usb == usb), None)
