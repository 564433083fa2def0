"""The filters that a broker's session may hold, so that a topic taken out of the configuration is unsubscribed."""

import contextlib
import json
import os
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
        """Replaces the file at once, durably. Where the disk refuses, a topic removed later stays subscribed.

        What comes of it is rejected then.
        """
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".new")
        with contextlib.suppress(OSError):
            with beside.open("w", encoding="utf-8") as file:
                json.dump({"filters": sorted(filters)[:FILTERS_REMEMBERED]}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
