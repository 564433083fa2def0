"""The filters that a broker's session may hold, so that a topic taken out of the configuration is unsubscribed."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from drivers.limits import FILTERS_REMEMBERED, TOPIC_BYTES


class FilterMemory:
    """A small JSON file, or nothing where there is no path. A file that cannot be read remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> set[str]:
        """What was saved last."""
        if self._path is None:
            return set()
        try:
            with self._path.open("rb") as file:
                saved = json.loads(file.read(FILTERS_REMEMBERED * TOPIC_BYTES))["filters"]
            return {one for one in saved[:FILTERS_REMEMBERED] if isinstance(one, str) and one}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return set()

    def save(self, filters: Iterable[str]) -> None:
        """Replaces the file at once. Where the disk refuses, a topic removed later stays subscribed and is rejected."""
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".new")
        with contextlib.suppress(OSError):
            beside.write_text(json.dumps({"filters": sorted(filters)[:FILTERS_REMEMBERED]}))
            beside.replace(self._path)
