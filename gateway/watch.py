"""Looks at the gateway once a second: the log is told of each condition when it begins and when it is over, once.

The only place that logs conditions. One that comes and goes is told CONDITION_TOLD times within an hour, with all its
subjects CONDITION_TOLD_ALL times, and then in sum, so an outage of any length writes a bounded number of lines.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway import conditions
from gateway.conditions import Problem, Severity
from gateway.core import limits
from gateway.logs import Log
from gateway.logs.told import Told
from gateway.store.flushes import Flushes

log = logging.getLogger(__name__)

EVERY_S = 1.0
HOUR_S = 3600.0
_LAGS = 60  # looks over which the greatest lag is told
_NAMES = 8  # subjects that a sum names
_LEVELS: dict[Severity, int] = {"error": logging.ERROR, "warning": logging.WARNING, "note": logging.INFO}


class Line(NamedTuple):
    """What is to be logged."""

    level: int
    text: str
    told: Told


@dataclass(slots=True)
class _Hour:
    """What one condition did since its first change in this hour, by subject."""

    since: float
    told: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)


class Teller:
    """What changed from one look to the next, in lines. Pure: time is handed in, in monotonic seconds."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Problem] = {}
        self._hours: dict[str, _Hour] = {}

    def look(self, problems: Collection[Problem], now: float) -> list[Line]:
        """The lines to write, where these problems hold now. Of several with one id and subject the first counts."""
        before, self._held = self._held, {}
        for problem in problems:
            self._held.setdefault((problem.condition, problem.subject), problem)
        changes = [(problem, True) for key, problem in self._held.items() if key not in before]
        changes += [(problem, False) for key, problem in before.items() if key not in self._held]
        lines = [line for problem, holds in changes if (line := self._change(problem, holds, now)) is not None]
        return [*lines, *self._sums(now)]

    def _change(self, problem: Problem, holds: bool, now: float) -> Line | None:
        hour = self._hours.setdefault(problem.condition, _Hour(now))
        hour.changes[problem.subject] += 1
        times, most = hour.changes[problem.subject], 2 * limits.CONDITION_TOLD
        if times > most or hour.told >= limits.CONDITION_TOLD_ALL:
            hour.untold[problem.subject] += 1
            return None
        hour.told += 1
        text = _sentence(problem.what, problem.cure) if holds else f"It is over: {problem.what}"
        if times == most or hour.told == limits.CONDITION_TOLD_ALL:
            text = _sentence(text, "It comes and goes: for the rest of the hour it is told in sum")
        return Line(_LEVELS[problem.severity] if holds else logging.INFO, text, _told(problem, holds))

    def _sums(self, now: float) -> Iterator[Line]:
        """One line for each condition whose hour is over and of which something was not told."""
        for condition, hour in list(self._hours.items()):
            if now - hour.since < HOUR_S:
                continue
            del self._hours[condition]
            if hour.untold:
                yield self._sum(condition, hour.untold)

    def _sum(self, condition: str, untold: Counter[str]) -> Line:
        severity = conditions.find(condition).severity
        holding = [subject for held, subject in self._held if held == condition]
        text = (
            f"{condition} came and went{_names(untold)}: {untold.total()} changes within an hour were not told. "
            f"Now it {f'holds{_names(holding)}' if holding else 'is over'}"
        )
        subject = next(iter(untold)) if len(untold) == 1 else ""
        message_id = conditions.find(condition).message_id
        told = Told(condition, severity, subject, message_id, bool(holding), {"subject": subject})
        return Line(_LEVELS[severity] if holding else logging.INFO, text, told)


def _told(problem: Problem, holds: bool) -> Told:
    message_id = conditions.find(problem.condition).message_id
    values = {**problem.values, "subject": problem.subject}
    return Told(problem.condition, problem.severity, problem.subject, message_id, holds, values)


def _sentence(*parts: str) -> str:
    return ". ".join(part.rstrip(".") for part in parts if part)


def _names(subjects: Iterable[str]) -> str:
    """ "" where there is none with a name."""
    named = [subject for subject in subjects if subject]
    more = f" and {len(named) - _NAMES} more" if len(named) > _NAMES else ""
    return f" for {', '.join(named[:_NAMES])}{more}" if named else ""


@dataclass(frozen=True)
class Vitals:
    """What the snapshot of gateway/status.py does not have, for metrics. flushes: by file."""

    flushes: Mapping[str, Flushes]
    lag_s: float
    lag_max_s: float
    left_out: int
    lost: int


class Watch:
    """Runs the looks. problems: what holds now; log: where lines that were left out are told of, too."""

    def __init__(self, problems: Callable[[], Collection[Problem]], log: Log | None = None) -> None:
        self._problems = problems
        self._log = log
        self._teller = Teller()
        self._lags: deque[float] = deque([0.0], maxlen=_LAGS)

    def vitals(self, flushes: Mapping[str, Flushes]) -> Vitals:
        """As of now. The lag: by how much the event loop came too late for the last look, and for the worst of 60."""
        log = self._log
        return Vitals(flushes, self._lags[-1], max(self._lags), log.left_out if log else 0, log.lost if log else 0)

    async def run(self) -> None:
        """Looks until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._look(loop.time())
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self._lags.append(max(0.0, loop.time() - due))

    def _look(self, now: float) -> None:
        for line in self._teller.look(self._problems(), now):
            log.log(line.level, "%s", line.text, extra=line.told.extra())
        if self._log is not None:
            self._log.tell_left_out()
