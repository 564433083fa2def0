"""Makes what is in step with drivers/adapters.py: the udev rules, and the manual's table of adapters.

Run it (`PYTHONPATH=tests python tests/deploy/make_adapters.py`) when an adapter is added; a test compares the files
with its result.
"""

from pathlib import Path

from drivers.adapters import ADAPTERS, NO_NUMBERS, Adapter

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/udev/90-fieldgate.rules"
MANUAL = ROOT / "docs/operations.md"
BEGIN, END = "<!-- adapters -->\n", "<!-- /adapters -->\n"

_HEAD = """\
# Serial adapters of Fieldgate: docs/operations.md, Serial ports. Made by tests/deploy/make_adapters.py.
ACTION=="remove", GOTO="fieldgate_end"

# Names that stay. Of each port the socket's; of an adapter with a number of its own that number, too. With several
# ports in one adapter each has its place behind the name: of the interface, or within it.
SUBSYSTEM!="tty", GOTO="fieldgate_usb"
KERNEL!="ttyUSB[0-9]*|ttyACM[0-9]*", GOTO="fieldgate_end"
ENV{ID_PATH}=="", IMPORT{builtin}="path_id"
ENV{.ID_PORT}=="?*", ENV{.ID_PORT}!="0", ENV{.FIELDGATE_PORT}="-port$env{.ID_PORT}"
ENV{ID_PATH}=="?*", SYMLINK+="fieldgate/socket-$env{ID_PATH}$env{.FIELDGATE_PORT}"
"""
_NUMBERED = """\
ENV{{ID_SERIAL_SHORT}}=="", GOTO="fieldgate_known"
ENV{{ID_SERIAL_SHORT}}=="{numbers}", GOTO="fieldgate_known"
ENV{{ID_USB_INTERFACE_NUM}}!="00", ENV{{.FIELDGATE_PORT}}="-$env{{ID_USB_INTERFACE_NUM}}$env{{.FIELDGATE_PORT}}"
SYMLINK+="fieldgate/$env{{ID_SERIAL_SHORT}}$env{{.FIELDGATE_PORT}}"
LABEL="fieldgate_known"

# ModemManager asks each new port whether it is a modem. These are adapters; a modem behind one needs a rule of its own
# in /etc/udev/rules.d, after this one.
"""
_PORT = """\
# {chip}
ENV{{ID_VENDOR_ID}}=="{vendor}", ENV{{ID_MODEL_ID}}=="{product}", ENV{{ID_MM_PORT_IGNORE}}="1"
"""
_USB = """\
GOTO="fieldgate_end"

# The same of the whole adapter; and brltty, which takes some of these chips for Braille displays, is not started by it.
LABEL="fieldgate_usb"
SUBSYSTEM!="usb", GOTO="fieldgate_end"
ENV{DEVTYPE}!="usb_device", GOTO="fieldgate_end"
"""
_DEVICE = """\
ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}", ENV{{ID_MM_DEVICE_IGNORE}}="1", ENV{{.FIELDGATE}}="1"
"""
_TAIL = """\
ENV{.FIELDGATE}=="1", ENV{SYSTEMD_WANTS}=="*brltty*", ENV{SYSTEMD_WANTS}=""

LABEL="fieldgate_end"
"""

_NUMBER = {"own": "its number", "same": "the socket: its number is everybody's", "none": "the socket: it has no number"}


def rules() -> str:
    numbers = _NUMBERED.format(numbers="|".join(sorted(NO_NUMBERS - {""})))
    ports = "".join(_PORT.format(vendor=one.vendor, product=one.product, chip=one.chip) for one in ADAPTERS)
    devices = "".join(_DEVICE.format(vendor=one.vendor, product=one.product) for one in ADAPTERS)
    return _HEAD + numbers + ports + _USB + devices + _TAIL


def table() -> str:
    head = "| USB id | chip | port | named after | |\n|---|---|---|---|---|\n"
    return head + "".join(map(_row, ADAPTERS))


def _row(one: Adapter) -> str:
    return f"| `{one.usb}` | {one.chip} | `{one.port}` | {_NUMBER[one.number]} | {one.note} |\n"


def manual() -> str:
    before, _, rest = MANUAL.read_text("utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    RULES.write_text(rules(), "utf-8")
    MANUAL.write_text(manual(), "utf-8")
