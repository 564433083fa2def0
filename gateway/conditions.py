"""What can be the matter with a gateway: every condition that a person is told, under an id that never changes.

Status, page, doctor, log and metrics all speak of these and of nothing else. A condition's texts are templates; the
values in them are filled in where it is met, so that a page can say the same in another language.
docs/operations.md explains each id: symptom, cause, cure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID, uuid5

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first. error: what was asked for does not happen; warning: it may soon not; note: good to know."""

_MESSAGE_IDS: Final = UUID("50cbb0f1-d47e-4c4a-acde-767e97c6f3d9")  # the namespace; another would make other ids


class Problem(NamedTuple):
    """A condition that holds now. `subject`: the source, node or file it is about; empty for the gateway itself."""

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
    """One condition. `what` and `cure` are str.format templates; only `problem` fills them in."""

    id: str
    severity: Severity
    what: str
    cure: str

    def problem(self, subject: str = "", **values: object) -> Problem:
        """The condition as met: every name in its templates stands in `values`; `subject` is one of them too."""
        texts = {"subject": subject, **{name: str(value) for name, value in values.items()}}
        return Problem(self.id, self.severity, subject, self.what.format_map(texts), self.cure.format_map(texts), texts)

    @property
    def message_id(self) -> str:
        """What the system's journal knows it by: 128 bits as hex, of the id alone (systemd.journal-fields(7))."""
        return uuid5(_MESSAGE_IDS, self.id).hex


_ALL: dict[str, Condition] = {}


def _condition(name: str, severity: Severity, what: str, cure: str) -> Condition:
    assert name not in _ALL, "an id stands for one condition"
    made = _ALL[name] = Condition(name, severity, what, cure)
    return made


def conditions() -> Iterable[Condition]:
    """All there are, in the order of this module."""
    return _ALL.values()


def find(condition: str) -> Condition:
    """The condition of that id. KeyError for one that there is not."""
    return _ALL[condition]


# -- the store and signing --------------------------------------------------------------------------------------------

DISK = _condition("disk", "error", "{what}", "{cure}")
DISK_FULL = _condition(
    "disk-full",
    "error",
    "The disk is full: no reading can be stored",
    "Free some space; nothing that was acknowledged is lost, and brokers keep what is not",
)
SIGNING_HELD = _condition("signing-held", "error", "Signing is held: {what}", "{cure}")
STORE_DAMAGED = _condition("store-damaged", "error", "The store is damaged: {what}", "{cure}")

# -- sources and nodes ------------------------------------------------------------------------------------------------

SOURCE_AWAY = _condition("source-away", "error", "Source {subject} is away: {detail}", "{cure}")
COUNTS_WRONG = _condition(
    "counts-wrong",
    "error",
    "Source {subject}: the counts do not add up",
    "Report this with `fieldgate status --json`",
)
NODE_AWAY = _condition("node-away", "error", "Node {subject}: {detail}", "{cure}")

# -- the configuration ------------------------------------------------------------------------------------------------

CONFIG_REFUSED = _condition(
    "configuration-refused",
    "warning",
    "The changed configuration is refused, the one before goes on: {what}",
    "Mend it (`fieldgate check` tells every fault), then `fieldgate reload`",
)
DRIVER_LATE = _condition(
    "driver-does-not-end",
    "warning",
    "The driver {subject} does not end: what the configuration wants in its place waits for it",
    "Restart the gateway if this lasts, and report it",
)
RESTART_NEEDED = _condition(
    "restart-needed",
    "note",
    "What the configuration has for {fields} waits for a restart",
    "Restart the gateway: `systemctl restart fieldgate`",
)

# -- the gateway's own page -------------------------------------------------------------------------------------------

PAGE_AWAY = _condition("page-away", "warning", "The status page is away: {what}", "{cure}")

# -- what is told to others -------------------------------------------------------------------------------------------

STATUS_UNSENT = _condition("status-unsent", "warning", "The status is not told: {what}", "{cure}")
