"""Names of serial ports that stay with a device, or at least with the socket that it is plugged into."""

import contextlib
import os
import re
from pathlib import Path

from drivers.adapters import NO_NUMBERS

FOLDER = Path("/dev/serial")
TTYS = Path("/sys/class/tty")

_BARE = re.compile(r"/dev/tty(USB|ACM)[0-9]+")
_NAMES = 6  # of those there are, in a message


def check_port(path: str, folder: Path = FOLDER, ttys: Path = TTYS) -> str | None:
    """What is wrong with a port's path, with its cure; None where nothing is.

    /dev/ttyUSB0 is whichever adapter was found first: after an unplug it may be another device.
    """
    if not _BARE.fullmatch(path):
        return None
    names = _names(path, folder)
    stable = names["by-id"] or names["by-path"]
    if names["by-path"] and not _has_serial_number(path, ttys):
        why = "the adapter has no serial number of its own, so this name belongs to the socket it is plugged into"
        cure = f"Write {names['by-path']} ({why})"
    elif stable:
        cure = f"Write {stable}"
    else:
        cure = f"Write its name in {folder}/by-id, or in {folder}/by-path"
    return f"{path} may be another device after an unplug. {cure}"


def stable_name(path: str, folder: Path = FOLDER, ttys: Path = TTYS) -> str:
    """Blocking. The name of a port to write into a configuration; the path itself where it has no better one."""
    names = _names(path, folder)
    if names["by-path"] and not _has_serial_number(os.path.realpath(path), ttys):
        return names["by-path"]
    return names["by-id"] or names["by-path"] or path


def _names(path: str, folder: Path) -> dict[str, str | None]:
    return {kind: _link_to(path, folder / kind) for kind in ("by-id", "by-path")}


def there_are(path: str, folder: Path = FOLDER) -> str:
    """Blocking. The names beside a path of `folder` that is not there, as a sentence; "" where none is."""
    beside = Path(path).parent
    if not beside.is_relative_to(folder):
        return ""
    names = sorted(link.name for link in _links(beside))
    more = ", ..." if len(names) > _NAMES else ""
    return f"{beside} has: {', '.join(names[:_NAMES])}{more}" if names else "No serial adapter is plugged in"


def names_there(folder: Path = FOLDER) -> str:
    """Blocking. The stable names of the ports that are there; "-" where none is."""
    names = [str(link) for kind in ("by-id", "by-path") for link in sorted(_links(folder / kind))]
    return ", ".join([*names[:_NAMES], *(["..."] if len(names) > _NAMES else [])]) or "-"


def _link_to(path: str, folder: Path) -> str | None:
    return next((str(one) for one in sorted(_links(folder)) if os.path.realpath(one) == os.path.realpath(path)), None)


def _links(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def _has_serial_number(path: str, ttys: Path) -> bool:
    """Whether the USB device behind a port says one of its own: else it shares its name in by-id with others."""
    with contextlib.suppress(OSError):
        for folder in (ttys / Path(path).name / "device").resolve(strict=True).parents:
            if (folder / "idVendor").exists():
                number = (folder / "serial").read_text("latin-1").strip() if (folder / "serial").exists() else ""
                return number not in NO_NUMBERS
    return True
