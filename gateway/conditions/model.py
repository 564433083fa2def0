"""What a condition is: an id, a severity, two templates; and a Problem, which is a condition that holds now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID, uuid5

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first. error: what was asked for does not happen; warning: it may soon not; note: good to know."""

_MESSAGE_IDS: Final = UUID("50cbb0f1-d47e-4c4a-acde-767e97c6f3d9")  # the namespace; another would make other ids
_NAMES = 5  # of the sources that one problem is about


class Problem(NamedTuple):
    """A condition that holds now. `subject`: the broker, node, file or sources it is about; empty for the gateway."""

    condition: str
    severity: Severity
    subject: str
    what: str
    cure: str
    values: dict[str, str]

    def json(self) -> dict[str, Any]:
        """As status, the page and `doctor --json` show it; `values` are what stands in the templates."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `what` and `cure` are str.format templates; only `problem` fills them in.

    by_doctor: only `doctor`, or `check`, finds it; a gateway that runs tells none of these by itself.
    """

    id: str
    severity: Severity
    what: str
    cure: str
    by_doctor: bool = False

    def problem(self, subject: str = "", **values: object) -> Problem:
        """The condition as met: every name in its templates stands in `values`; `subject` is one of them too."""
        texts = {"subject": subject, **{name: str(value) for name, value in values.items()}}
        return Problem(self.id, self.severity, subject, self.what.format_map(texts), self.cure.format_map(texts), texts)

    @property
    def message_id(self) -> str:
        """What the system's journal knows it by: 128 bits as hex, of the id alone (systemd.journal-fields(7))."""
        return uuid5(_MESSAGE_IDS, self.id).hex

    @property
    def names(self) -> frozenset[str]:
        """The values that its templates need, beside `subject`."""
        parts = (name for text in (self.what, self.cure) for _, name, _, _ in Formatter().parse(text))
        return frozenset(name for name in parts if name and name != "subject")


_ALL: dict[str, Condition] = {}


def condition(name: str, severity: Severity, what: str, cure: str, *, by_doctor: bool = False) -> Condition:
    """Makes one; the modules beside this one do."""
    assert name not in _ALL, "an id stands for one condition"
    made = _ALL[name] = Condition(name, severity, what, cure, by_doctor)
    return made


def conditions() -> Iterable[Condition]:
    """All there are, in the order in which they were made."""
    return _ALL.values()


def of_gateway() -> list[Condition]:
    """Those that a running gateway may tell: for its log, its metrics and alerts."""
    return [one for one in _ALL.values() if not one.by_doctor]


def find(name: str) -> Condition:
    """The condition of that id. KeyError for one that there is not."""
    return _ALL[name]


def worst_first(problems: Iterable[Problem]) -> list[Problem]:
    """Errors, warnings, notes; those of one severity in the order in which they come."""
    return sorted(problems, key=lambda one: SEVERITIES.index(one.severity))


def without_repeats(problems: Iterable[Problem]) -> list[Problem]:
    """Of each condition and subject the first."""
    found: dict[tuple[str, str], Problem] = {}
    for one in problems:
        found.setdefault((one.condition, one.subject), one)
    return list(found.values())


def listed(names: Sequence[str]) -> str:
    """Several subjects as one."""
    return ", ".join([*names[:_NAMES], *([f"... ({len(names)})"] if len(names) > _NAMES else [])])
