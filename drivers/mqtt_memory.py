"""What is kept over a restart: the filters that a broker's session may hold, and what codecs have learnt."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from drivers.limits import FILTERS_REMEMBERED, LEARNT_BYTES, TOPIC_BYTES


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
        if self._path is not None:
            kept = {"filters": sorted(filters)[:FILTERS_REMEMBERED]}
            _replace(self._path, json.dumps(kept).encode())


class LearntMemory:
    """What the codec of a source has learnt, a file each, or nothing where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, sources: Iterable[str]) -> dict[str, bytes]:
        """What was saved last, by source."""
        found: dict[str, bytes] = {}
        for source in sources if self._folder is not None else ():
            with contextlib.suppress(OSError), self._path(source).open("rb") as file:
                found[source] = file.read(LEARNT_BYTES)
        return found

    def save(self, learnt: Mapping[str, bytes]) -> None:
        """Replaces the files, durably. Where the disk refuses, it is learnt again from what the broker retains."""
        for source, data in learnt.items() if self._folder is not None else ():
            _replace(self._path(source), data)

    def _path(self, source: str) -> Path:
        return (self._folder or Path()) / f"learnt-{source}.json"


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    with contextlib.suppress(OSError):
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
