"""Lines of text, from a serial port or over the network."""

from typing import Any

from msgspec import NODEFAULT, defstruct
from msgspec.structs import fields

from drivers import lines, streams
from drivers.kinds import Kind
from drivers.lines import LineOptions
from drivers.streams import StreamOptions


def _field(one: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    return (one.name, one.type) if one.default is NODEFAULT else (one.name, one.type, one.default)


def _checked(options: Any) -> None:
    StreamOptions.__post_init__(options)
    lines.check(options)


# No Struct has two bases with fields. A line's options are those of replay too, which has no wire.
SerialLineOptions: Any = defstruct(
    "SerialLineOptions",
    [_field(one) for one in fields(LineOptions)],
    bases=(StreamOptions,),
    namespace={"__doc__": '[source.ID] with driver = "serial_line".', "__post_init__": _checked},
    module=__name__,
    kw_only=True,
    frozen=True,
)

KIND = Kind(
    "serial_line",
    "lines of text from a serial port, TCP or UDP",
    "stream",
    SerialLineOptions,
    lines.stream,
    streams.driver_of("serial", lines.stream),
    recorded=streams.RECORDED,
    examples={
        "weather": {
            "port": "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A10026FL-if00-port0",
            "baud": 19_200,
            "format": "regex",
            "pattern": r"T=(?P<temp>[-+0-9.]+) H=(?P<rh>[0-9.]+)",
            "values": {"temp": {"unit": "Cel"}, "rh": {"unit": "%RH"}},
        },
        "feed": {
            "tcp": "192.168.1.20:4001",
            "format": "csv",
            "columns": ["", "mass", "time"],
            "separator": ";",
            "values": {"mass": {"unit": "kg"}},
            "time": {"format": "unix"},
        },
    },
)
