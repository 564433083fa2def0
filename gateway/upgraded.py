"""What came of the newest update of the package, as the service that watches it has written it down.

A version that did not do its work is taken back by that service (deploy/deb/upgrade.py), which needs nothing of this
program; what is told here is what it found.
"""

import asyncio
import json
from pathlib import Path
from typing import Final

from gateway.conditions import UPGRADE_BAD, UPGRADE_TAKEN_BACK, Problem
from gateway.core import limits
from gateway.core.text import plain

OUTCOME: Final = Path("var/lib/fieldgate-upgrade/outcome.json")

_EVERY_S = 60.0
_CONDITIONS = {("taken-back", "from"): UPGRADE_TAKEN_BACK, ("bad", "to"): UPGRADE_BAD}


class Upgraded:
    """Looks every minute, in a thread. version: which runs; of an update that it has no part in nothing is told."""

    def __init__(self, version: str, root: Path = Path("/")) -> None:
        self._version, self._path = version, root / OUTCOME
        self.problems: list[Problem] = []

    async def run(self) -> None:
        """Until cancelled. Never ends for what it finds."""
        while True:
            self.problems = await asyncio.to_thread(look, self._path, self._version)
            await asyncio.sleep(_EVERY_S)


def look(path: Path, version: str) -> list[Problem]:
    """What a person has to know of the update that is told there."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(limits.OUTCOME_BYTES))
        result, old, new, why = (told[name] for name in ("result", "from", "to", "why"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    if not all(isinstance(one, str) for one in (result, old, new, why)):
        return []
    found = [one for (came, whose), one in _CONDITIONS.items() if came == result and told[whose] == version]
    return [one.problem(old=plain(old), new=plain(new), why=plain(why)) for one in found]
