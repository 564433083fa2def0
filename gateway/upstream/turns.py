"""What the sessions with nodes and with witnesses have in common, without I/O.

The client asks `next` what to do, does it, and says what came of it; one action is under way at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from gateway.core import limits, note
from gateway.errors import BugError, FormatError

SIZE_TYPE: Final = "text/x.tlog.size"
SEEN, STORED = "seen", "stored"

BACKOFF_FIRST_S = 1.0
CONFLICTS_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """Fetch the other side's checkpoint of this log: it hints at a history that is not this gateway's."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until the monotonic time `until` (None: no time), or, where `for_head`, until the log has grown."""

    until: float | None
    for_head: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """A co-signature line that verified over the gateway's own note of `size`: what the store keeps."""

    kind: str
    size: int
    note: str
    line: str


class WrongKey(FormatError):
    """Lines that no configured key made. `kind`: SEEN or STORED, whose key they should be by."""

    def __init__(self, kind: str, key: note.VerifierKey) -> None:
        super().__init__(f"no {kind} line by {key.name}+{key.key_id.hex()}")
        self.kind = kind


A = TypeVar("A")
_K = TypeVar("_K")


class Turns(ABC, Generic[A]):
    """A session's head, its action under way, and its failures with their back-off. A: the actions but for Wait.

    rng: uniform in [0, 1). backoff_s: the longest pause after failures.
    """

    def __init__(self, log: note.VerifierKey, rng: Callable[[], float], backoff_s: float) -> None:
        self._log, self._rng, self._backoff_s = log, rng, backoff_s
        self.ours = 0  # entries of this gateway's log
        self.held = ""  # why nothing more is sent
        self.proved = False  # by a checkpoint under the log's own key
        self.trouble = ""  # what went wrong last; empty when all is well
        self.failures = 0  # in all
        self._doing: A | Wait | None = None
        self._not_before = float("-inf")
        self._attempt = 0
        self._conflicts = 0

    def head(self, size: int) -> None:
        """The gateway's log has this many entries now."""
        if size < self.ours:
            raise BugError(f"a log that shrank from {self.ours} to {size}", cure="Report this")
        self.ours = size

    def next(self, now: float) -> A | Wait:
        """The next action at monotonic time `now`. It is under way until the client says what came of it."""
        action = self._doing = self._choose(now)
        return action

    @abstractmethod
    def _choose(self, now: float) -> A | Wait:
        """What is to be done at monotonic time `now`."""

    @property
    @abstractmethod
    def level(self) -> bool:
        """Nothing is left to be sent."""

    def hurry(self) -> None:
        """Forget the back-off once: the gateway stops soon."""
        self._not_before = float("-inf")

    def ask(self) -> None:
        """Forget the back-off once and ask, also where nothing is left to do: a person wants to know."""
        self._not_before = float("-inf")

    def fork(self, what: str) -> None:
        """The other side shows another tree: nothing more is sent until a person decides (DESIGN.md, invariant 4)."""
        self._doing = None
        self.held = printable(what)

    def _forks(self, checkpoint: note.Checkpoint | None, own_root: bytes | None) -> bool:
        """Whether what the other side shows under the log's key is not of this log: then that is held."""
        if checkpoint is None or checkpoint.root == own_root:
            return False
        self.proved = True
        more = f"; this gateway has {self.ours}" if own_root is None else " with another root than this gateway's"
        self.fork(f"it holds a checkpoint of {checkpoint.size} entries signed by this log's key{more}")
        return True

    def _reached(self, claim: int) -> bool:
        """Whether the log has grown to a size that was claimed while the other side was asked to show it."""
        return 0 < claim <= self.ours and self._conflicts <= CONFLICTS_IN_A_ROW

    def failed(self, now: float, what: str) -> None:
        """No answer, or nonsense. Back off with full jitter."""
        self._doing = None
        self.failures += 1
        self.trouble = printable(what)
        most = min(self._backoff_s, BACKOFF_FIRST_S * 2 ** min(self._attempt, 16))
        self._attempt += 1
        self._not_before = now + self._rng() * most

    def _finish(self, kind: type[_K]) -> _K:
        doing, self._doing = self._doing, None
        if not isinstance(doing, kind):
            raise BugError(f"an answer to a {kind.__name__} during {doing}", cure="Report this")
        return doing

    def signed_by_log(self, data: bytes | None) -> note.Checkpoint | None:
        """The checkpoint of this log that verifies under its key; None where it is none."""
        try:
            shown = note.parse_note(data or b"")
            note.verify_note(shown, self._log)
            checkpoint = note.parse_checkpoint(shown.text)
        except FormatError:
            return None
        return checkpoint if checkpoint.origin == self._log.name else None


def verify(kind: str, size: int, own_note: str, lines: str, key: note.VerifierKey) -> Verified:
    """The configured key's line over our own note; lines of other keys are left aside."""
    text = note.parse_note(own_note).text
    for line in note.parse_lines(lines):
        if line.is_by(key):
            note.verify_cosignature(text, line, key)
            return Verified(kind, size, own_note, note.format_line(line))
    raise WrongKey(kind, key)


def decode_size(body: bytes) -> int:
    """The size in a 409 of type text/x.tlog.size: a decimal and a newline."""
    text = body.decode("ascii", "replace")
    if not text.endswith("\n"):
        raise FormatError("a size that does not end in a newline")
    return note.decimal(text[:-1], "its size")


def printable(text: str) -> str:
    """One short line, whatever the other side put into it."""
    return "".join(char if char.isprintable() else "?" for char in text[: limits.DETAIL_CHARS])
