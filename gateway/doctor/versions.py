"""Is what runs what is installed, and has nothing that it stands on a known hole?"""

import platform
import re
import sqlite3
from collections.abc import Mapping
from importlib import metadata
from typing import NamedTuple

from gateway import __version__
from gateway.conditions import Problem
from gateway.conditions.found import GATEWAY_OLD, LIBRARY_OLD
from gateway.doctor.case import Case, Outcome, beside

SOUND: Mapping[str, tuple[str, str]] = {
    "aiohttp": ("3.14.3", "CVE-2026-69244"),
    "cryptography": ("43.0.1", "GHSA-h4gh-qq45-vh27"),
}
"""The first release without a hole that became known, and the hole's name. Only what matters to a gateway."""

_LIBRARIES = ("aiohttp", "aiosqlite", "msgspec", "paho-mqtt", "pynacl", "pymodbus", "pyserial", "cryptography")


class Facts(NamedTuple):
    """running: of the gateway that answers; "" where none does. libraries: those that are installed."""

    running: str
    libraries: Mapping[str, str]


async def look(case: Case) -> Outcome:
    """Versions of what is installed here."""
    running = str(case.state.get("version", "")) if case.state else ""
    return judge(Facts(running, await beside(installed)))


def installed() -> dict[str, str]:
    """Blocking. The libraries there are, with their versions."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def judge(facts: Facts) -> Outcome:
    """Against this program's own version, and SOUND."""
    problems: list[Problem] = []
    if facts.running and facts.running != __version__:
        problems.append(GATEWAY_OLD.problem(running=facts.running, installed=__version__))
    for name, (sound, hole) in SOUND.items():
        if name in facts.libraries and _parts(facts.libraries[name]) < _parts(sound):
            values = {"version": facts.libraries[name], "sound": sound, "hole": hole}
            problems.append(LIBRARY_OLD.problem(name, **values))
    figures = {"fieldgate": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    return Outcome("what runs is what is installed", problems, {**figures, **facts.libraries})


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
