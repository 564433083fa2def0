"""Is each serial port there, may the gateway open it, and does nobody else hold it? No port is opened."""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from drivers.adapters import ADAPTERS
from drivers.port_holders import Holder, holders, words
from drivers.port_paths import names_there, stable_name
from gateway.conditions import Problem, listed
from gateway.conditions.found import PORT_BRAILLE, PORT_CONSOLE, PORT_MODEMS, PORT_NO_DEVICE
from gateway.conditions.sources import PORT_BUSY, PORT_MISSING, PORT_PERMISSION
from gateway.core.limits import DOCTOR_PORTS
from gateway.doctor.case import Case, Outcome, beside, each
from gateway.doctor.system import User, processes, service_user, text
from gateway.settings import Settings
from gateway.store import LOCK

_MODEM_MANAGER, _BRAILLE = "ModemManager", "brltty"
_BRAILLE_IDS = frozenset(one.usb for one in ADAPTERS if "brltty" in one.note)
_IGNORED = "E:ID_MM_PORT_IGNORE=1"
_USB_ID = re.compile(r"^E:ID_(VENDOR|MODEL)_ID=([0-9a-f]{4})$", re.MULTILINE | re.ASCII)


class Facts(NamedTuple):
    """Of one port. kind: what is at the path; others: who holds it beside the gateway; modems, braille: who asks it."""

    path: str
    kind: str  # "", "port" or "file"
    allowed: bool = True
    others: Sequence[Holder] = ()
    console: bool = False
    modems: bool = False
    braille: bool = False
    better: str = ""  # a name that stays
    there: str = "-"  # the names of ports that are there, where it is not


def used(settings: Settings) -> dict[str, list[str]]:
    """Each configured port with its sources."""
    found: dict[str, list[str]] = {}
    for source, table in sorted(settings.source.items()):
        if path := getattr(table.options, "port", None):
            found.setdefault(path, []).append(source)
    return found


async def look(case: Case) -> Outcome:
    """All ports of the configuration."""
    settings = case.wanted
    folder = Path(settings.gateway.data_dir)
    ports = dict(list(used(settings).items())[:DOCTOR_PORTS])
    owner = await beside(service_user, folder, case.root)
    ours = {one.pid for one in await beside(holders, str(folder / LOCK))}
    facts = await each(*(beside(_facts, path, owner, ours, case.root) for path in ports))
    found = [problem for one in facts for problem in judge(one, ports[one.path])]
    said = "no port is configured"
    if ports:
        said = f"{'the port is' if len(ports) == 1 else f'all {len(ports)} ports are'} there and free for the gateway"
    return Outcome(said, found, {one.path: one.better or "there" for one in facts if one.kind})


def _facts(path: str, owner: User | None, ours: set[int], root: Path) -> Facts:
    try:
        told = Path(path).stat()
    except OSError:
        return Facts(path, "", there=names_there())
    if not stat.S_ISCHR(told.st_mode):
        return Facts(path, "file")
    device = os.path.realpath(path)
    others = [one for one in holders(path) if one.pid not in ours]
    usb = device.startswith(("/dev/ttyUSB", "/dev/ttyACM"))
    modems, braille = asking(told.st_rdev, root) if usb else (False, False)
    return Facts(
        path,
        "port",
        allowed=owner is None or owner.may(Path(path), 6),
        others=others,
        console=_is_console(device, root),
        modems=modems,
        braille=braille,
        better=stable_name(path),
    )


def asking(device: int, root: Path) -> tuple[bool, bool]:
    """Whether ModemManager, and whether brltty, runs and would take a USB adapter's port for its own.

    What udev knows of the port is in its database, a line each: what it is, and that ModemManager leaves it alone.
    """
    names = {one.name for one in processes(root)}
    said = text(root / f"run/udev/data/c{os.major(device)}:{os.minor(device)}") or ""
    found = dict(_USB_ID.findall(said))
    modems = _MODEM_MANAGER in names and _IGNORED not in said.splitlines()
    return modems, _BRAILLE in names and f"{found.get('VENDOR')}:{found.get('MODEL')}" in _BRAILLE_IDS


def _is_console(device: str, root: Path) -> bool:
    """Whether the kernel writes its messages there: console=ttyS0,115200 on its command line."""
    given = [one.removeprefix("console=").split(",")[0] for one in (text(root / "proc/cmdline") or "").split()]
    return device.removeprefix("/dev/") in given


def judge(facts: Facts, sources: Sequence[str]) -> list[Problem]:
    """What is the matter with a port of these sources."""
    subject, port = listed(sources), facts.path
    if not facts.kind:
        return [PORT_MISSING.problem(subject, port=port, there=facts.there)]
    if facts.kind == "file":
        return [PORT_NO_DEVICE.problem(subject, port=port)]
    problems: list[Problem] = []
    if not facts.allowed:
        problems.append(PORT_PERMISSION.problem(subject, port=port))
    if facts.others:
        problems.append(PORT_BUSY.problem(subject, port=port, holder=" and ".join(map(words, facts.others))))
    if facts.console:
        problems.append(PORT_CONSOLE.problem(subject, port=port))
    if facts.modems:
        problems.append(PORT_MODEMS.problem(subject, port=port))
    if facts.braille:
        problems.append(PORT_BRAILLE.problem(subject, port=port))
    return problems
