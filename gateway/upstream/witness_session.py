"""One witness's session as a state machine without I/O (C2SP tlog-witness, add-checkpoint).

A witness follows the log's checkpoints and nothing else: the newest one goes there with the proof that it extends the
one that the witness co-signed last. It is asked at most once in `every_s`, and witnesses of one interval at the same
moments, so that their lines come to stand over the same sizes.

Nobody here knows who runs it, so its word alone changes nothing. Only a checkpoint under the log's own key does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Final

from gateway.core import limits, note
from gateway.errors import BugError, FormatError
from gateway.upstream.turns import CONFLICTS_IN_A_ROW, SEEN, Ask, Turns, Verified, Wait, verify

PROOF_LINES: Final = 63
"""What a request has at most (tlog-witness)."""


@dataclass(frozen=True, slots=True)
class Add:
    """Send the checkpoint of size new with the proof that it extends the tree of size old."""

    old: int
    new: int


Action = Add | Ask


def encode_add(old: int, proof: Sequence[bytes], own_note: str) -> bytes:
    """The request: the old size, the proof's hashes, an empty line, the checkpoint."""
    if len(proof) > PROOF_LINES:
        raise BugError(f"a consistency proof of {len(proof)} hashes", cure="Report this")
    lines = "".join(f"{note.b64encode(item)}\n" for item in proof)
    return f"old {old}\n{lines}\n{own_note}".encode()


class WitnessSession(Turns[Action]):
    """What one witness has signed. One client owns it.

    log, key: verifier keys, the log's and the witness's. every_s: from one request to the next at least. rng: uniform
    in [0, 1). seen: the largest size that it signed, as the store remembers it.
    """

    def __init__(
        self,
        log: note.VerifierKey,
        key: note.VerifierKey,
        *,
        every_s: float,
        rng: Callable[[], float],
        seen: int = 0,
    ) -> None:
        super().__init__(log, rng, limits.WITNESS_BACKOFF_S)
        self._key, self._every_s = key, every_s
        self.size = seen  # of the checkpoint that it signed last, as far as is known
        self.seen = seen  # the largest size that it signed
        self.claimed = False  # its trouble is that it says, without proof, that the log has another history
        self._known = False  # it has signed since the session began
        self._doubt = ""  # what it said that its own checkpoint has to prove
        self._claim = 0  # the size beyond ours that it said so of
        self._due = float("-inf")

    # -- what to do ---------------------------------------------------------------------------------------------------

    def head(self, size: int) -> None:
        """The gateway's log has this many entries now."""
        super().head(size)
        if not self._known:
            self.size = min(self.size, size)

    def _choose(self, now: float) -> Action | Wait:
        if self.held:
            return Wait(None, for_head=False)
        if now < self._not_before:
            return Wait(self._not_before, for_head=False)
        if self._doubt:
            return Ask()
        if self.ours == 0 or (self._known and self.seen >= self.ours and not self._asked_for):
            return Wait(None, for_head=True)
        if now < self._due:
            return Wait(self._due, for_head=False)
        return Add(self.size, self.ours)

    @property
    def _asked_for(self) -> bool:
        return self._due == float("-inf")

    @property
    def level(self) -> bool:
        """It has signed the newest checkpoint."""
        return self.ours == 0 or (self._known and self.seen >= self.ours)

    def hurry(self) -> None:
        """Forget back-off and interval once: the gateway stops soon."""
        super().hurry()
        if not self.level:
            self._due = float("-inf")

    def ask(self) -> None:
        """Forget back-off and interval once and ask, also where nothing is left to do: a person wants to know."""
        super().ask()
        self._due = float("-inf")

    # -- what came of it ----------------------------------------------------------------------------------------------

    def verified(self, lines: str, own_note: str, *, now_s: float | None, earliest_s: float) -> Verified:
        """The witness's line of an answer to the request under way. FormatError where there is none that is good.

        own_note: what was sent. now_s: Unix time, None while this gateway does not know it; it is earliest_s at least.
        Lines of other keys and kinds are left aside.
        """
        if not isinstance(self._doing, Add):
            raise BugError(f"an answer during {self._doing}", cure="Report this")
        line = verify(SEEN, self._doing.new, own_note, lines, self._key)
        time_s = note.cosignature_time(note.parse_line(line.line))
        if now_s is None and time_s < earliest_s:
            raise FormatError(f"it signs with the time {_day(time_s)}, and it is {_day(earliest_s)} at the earliest")
        if now_s is not None and abs(time_s - now_s) > limits.WITNESS_APART_S:
            raise FormatError(f"it signs with the time {_day(time_s)}, and it is {_day(now_s)}")
        return line

    def signed(self, now: float, line: Verified) -> None:
        """It has signed; the line is durable here by now."""
        self._finish(Add)
        self._known, self._conflicts, self._attempt = True, 0, 0
        self.size, self.seen = line.size, max(self.seen, line.size)
        self.trouble, self.claimed = "", False
        self._due = (floor(now / self._every_s) + 1) * self._every_s

    def conflict(self, now: float, size: int) -> None:
        """409 with the size that it signed last: the next request begins there."""
        add = self._finish(Add)
        self._conflicts += 1
        if size > self.ours:
            self._claim = size
            self._doubt = f"it says that it has signed {size} entries; this gateway has {self.ours}"
        elif size == add.old:
            self.failed(now, f"it refuses size {size} and says that it is at {size}")
        else:
            self.size = size
            if self._conflicts > CONFLICTS_IN_A_ROW:
                self.failed(now, "it gives another size each time")

    def refused(self, what: str) -> None:
        """It says that the checkpoint does not extend what it has signed: what it shows decides."""
        self._finish(Add)
        self._doubt = what

    def shown(self, now: float, checkpoint: note.Checkpoint | None, own_root: bytes | None) -> None:
        """Its checkpoint of this log under the log's own key, None where it shows none.

        own_root: of this gateway's tree of the same size; None where the tree is smaller.
        """
        self._finish(Ask)
        doubt, claim, self._doubt, self._claim = self._doubt, self._claim, "", 0
        if self._forks(checkpoint, own_root):
            return
        if self._reached(claim):
            self.size = claim
        else:
            self.failed(now, f"{doubt}, and shows no checkpoint that proves it")
            self.claimed = True

    def failed(self, now: float, what: str) -> None:
        """No answer, or nonsense. Back off with full jitter."""
        self._doubt, self._claim, self.claimed = "", 0, False
        super().failed(now, what)


def _day(time_s: float) -> str:
    """A time as a person reads it, whatever a witness made of it."""
    try:
        return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{time_s} (Unix seconds)"
