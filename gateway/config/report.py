"""What is wrong with a configuration, with file and line. Imported only when something is: tomlkit takes its time."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from gateway.core.text import plain
from gateway.errors import Fault

from .convert import Problem
from .documents import Clash, ConfigFile, Misplaced
from .lines import lines
from .words import Path as Place
from .words import dotted


def faults(
    files: Sequence[ConfigFile],
    texts: Sequence[str],
    problems: Sequence[Problem],
    troubles: Sequence[Clash | Misplaced] = (),
) -> list[Fault]:
    """One for each thing that is wrong, in the order of files and lines."""
    places = Places([file.path for file in files], texts)
    found = [places.told(one) if isinstance(one, Clash | Misplaced) else places.fault(one) for one in troubles]
    found += [places.fault(problem) for problem in dict.fromkeys(problems)]
    order = {plain(str(file.path)): number for number, file in enumerate(files)}
    return sorted(found, key=lambda fault: (order[fault.file], fault.line, fault.key))


class Places:
    """In which file, and on which line of it, something stands."""

    def __init__(self, paths: Sequence[Path], texts: Sequence[str]) -> None:
        self._names = [plain(str(path)) for path in paths]
        self._texts = texts

    @classmethod
    def of(cls, files: Sequence[ConfigFile]) -> "Places":
        """Those of files that are good."""
        return cls([file.path for file in files], [file.data.decode() for file in files])

    @property
    def first(self) -> str:
        """The name of the file itself."""
        return self._names[0]

    @cached_property
    def _lines(self) -> list[dict[Place, int]]:
        return [lines(text) for text in self._texts]

    def find(self, place: Place) -> tuple[str, int]:
        """File and line of a place, or of the nearest table around it; line 0 of the first file where there is none."""
        while place:
            for name, found in zip(self._names, self._lines, strict=True):
                if place in found:
                    return name, found[place]
            place = place[:-1]
        return self._names[0], 0

    def fault(self, problem: Problem) -> Fault:
        """The fault that a problem is."""
        name, line = self.find(problem.path)
        return Fault(name, line, dotted(problem.path), problem.what, problem.cure)

    def told(self, trouble: Clash | Misplaced) -> Fault:
        """The fault that drop-ins make."""
        if isinstance(trouble, Clash):
            first = f"{self._names[trouble.first]}:{self._lines[trouble.first].get(trouble.place, 0)}"
            what, cure, file = f"stands in {first} too", "Keep one of the two", trouble.second
        else:
            what, cure, file = "says who this is, and no drop-in does", f"Write it in {self._names[0]}", trouble.file
        return Fault(self._names[file], self._lines[file].get(trouble.place, 0), dotted(trouble.place), what, cure)
