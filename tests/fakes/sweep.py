"""Runs a program once for each system call that it makes on its files and each fault at that call (fakes/calls.py)."""

import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fakes import calls
from fakes.calls import Call, Fault, Traced

AT_ONCE = 3


@dataclass(frozen=True)
class Program:
    """What is swept. Each run has a home of its own, a copy of what `make` made.

    below: the folder of home whose calls count. after: what is wrong with what the program left, a line each, or an
    error; it may restart it.
    """

    make: Callable[[Path], None]
    words: Callable[[Path], list[str | Path]]
    below: str
    after: Callable[[Path, Traced], list[str]]


Promise = Callable[[Fault, str, Traced], list[str]]


class Sweep:
    """`calls` are those of a run without a fault; `outcomes` counts how the runs with one ended."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder, self.program = folder, program
        self._begin = folder / "begin"
        self._begin.mkdir(parents=True)
        program.make(self._begin)
        home = self._copy("whole")
        whole = self._run(home)
        assert whole.code == 0, whole.words
        wrong = program.after(home, whole)
        assert wrong == [], wrong
        made = [call for call in calls.succeeded(whole.calls) if Path(call.path).is_relative_to(home / program.below)]
        self.calls = [self._at_the_beginning(call, home) for call in made]
        self._all = [self._at_the_beginning(call, home) for call in whole.calls]
        self.outcomes: Counter[str] = Counter()
        self.ended_by_full: set[str] = set()

    @property
    def one_of_each(self) -> list[Call]:
        """The first call of each name on each file."""
        return list({call.on(self._begin): call for call in reversed(self.calls)}.values())

    def kills(self, among: Iterable[Call]) -> list[Call]:
        """Of these calls those before which something was changed since the one before: a kill leaves another state.

        A kill at a call leaves what all calls before it have made, so what lies between two changes is one state.
        """
        wanted, found, changed = set(among), list[Call](), True
        for call in self._all:
            if changed and call in wanted:
                found.append(call)
                changed = False
            wanted.discard(call)  # the same place in another thread
            changed |= calls.changes(call)
        return found

    def _at_the_beginning(self, call: Call, home: Path) -> Call:
        return call._replace(path=call.path.replace(str(home), str(self._begin), 1))

    def _copy(self, name: str) -> Path:
        return Path(shutil.copytree(self._begin, self.folder / name))

    def _run(self, home: Path, fault: Fault | None = None) -> Traced:
        return calls.trace(self.program.words(home), home / "calls", fault, cwd=home)

    def run(self, faults: Iterable[Fault], promise: Promise) -> list[str]:
        """What went wrong, a line each."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            told = list(pool.map(lambda numbered: self._one(*numbered, promise), enumerate(faults)))
        return [line for lines in told for line in lines]

    def _one(self, number: int, fault: Fault, promise: Promise) -> list[str]:
        home = self._copy(str(number))
        call = fault.call._replace(path=fault.call.path.replace(str(self._begin), str(home), 1))
        name = call.on(home / self.program.below)
        try:
            traced = self._run(home, Fault(call, fault.what))
            wrong = [] if hit(traced, fault) else [f"the call was not met: {traced.words}"]
            wrong += promise(fault, name, traced)
            try:
                with calls.FORKING:
                    wrong += self.program.after(home, traced)
            except Exception as error:
                wrong.append(f"no restart: {error!r}")
            self.outcomes[f"{fault.what} {'survived' if traced.code == 0 else f'exit {traced.code}'}"] += 1
            if fault.what == "ENOSPC" and traced.code:
                self.ended_by_full.add(name)
            return [f"{name} ({call.place}), {fault.what}: {one}" for one in wrong]
        finally:
            shutil.rmtree(home)

    def told(self) -> str:
        """One line for a person."""
        outcomes = ", ".join(f"{count} {what}" for what, count in sorted(self.outcomes.items()))
        ended = f"; ENOSPC ends it at {', '.join(sorted(self.ended_by_full))}" if self.ended_by_full else ""
        return f"{len(self.calls)} calls, {sum(self.outcomes.values())} faults: {outcomes}{ended}"


def hit(traced: Traced, fault: Fault) -> bool:
    """Whether the run met its fault."""
    if fault.what == calls.KILL:
        return traced.code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    return any(call.injected for call in traced.calls)
