"""One node's session as a state machine without I/O (docs/format.md, section 8).

Headers come first, in bounded requests from where the node is; bodies follow, only those that the node wants; then the
session waits for a new head. Whatever a node answers that does not fit is said in `detail`, backed off, and changes
nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core import cbor, limits, note
from gateway.errors import BugError, FormatError
from gateway.upstream.turns import (
    BACKOFF_FIRST_S,
    CONFLICTS_IN_A_ROW,
    SEEN,
    STORED,
    Ask,
    Turns,
    Verified,
    Wait,
    verify,
)


@dataclass(frozen=True, slots=True)
class Sync:
    """Send the entries [old, new), perhaps none, and the checkpoint of size new."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class Upload:
    """Send the body of block `height`, which the node wants."""

    height: int


Action = Sync | Upload | Ask


@dataclass(frozen=True, slots=True)
class Answer:
    """A node's answer to a sync. `wants` are half-open ranges of heights, ascending and disjoint.

    fleets: numbers of the node's anchors that this log stands in; its parts are asked for when they change.
    """

    size: int
    seen: str = ""
    wants: tuple[tuple[int, int], ...] = ()
    stored_size: int | None = None
    stored: str = ""
    fleets: tuple[int, ...] = ()


def encode_sync(old: int, entries: Sequence[bytes], own_note: str) -> bytes:
    """The request. Raises BugError where it is larger than a node takes."""
    data = cbor.encode({1: old, 2: list(entries), 3: own_note})
    if len(entries) > limits.SYNC_ENTRIES or len(data) > limits.SYNC_REQUEST_BYTES:
        raise BugError(f"a sync request of {len(entries)} entries and {len(data)} bytes", cure="Report this")
    return data


def decode_answer(data: bytes) -> Answer:
    """The node's answer. Raises FormatError for anything that section 8 does not describe."""
    if len(data) > limits.SYNC_RESPONSE_BYTES:
        raise FormatError(f"an answer of more than {limits.SYNC_RESPONSE_BYTES} bytes")
    fields = cbor.decode(data)
    if not isinstance(fields, dict):
        raise FormatError("an answer that is no map")
    size, stored_size = _uint(fields.get(2), "size"), fields.get(4)
    return Answer(
        size=size,
        seen=_text(fields.get(1, ""), "seen lines"),
        wants=_wants(fields.get(3, []), size),
        stored_size=None if stored_size is None else _uint(stored_size, "stored size"),
        stored=_text(fields.get(5, ""), "stored lines"),
        fleets=_numbers(fields.get(6, [])),
    )


class Session(Turns[Action]):
    """What one node has, wants and signed. One client owns it.

    log, seen_key, stored_key: verifier keys; stored_key None: this node's stored lines do not count (none is
    configured, or it sees only parts of blocks). may_upload: bodies that it wants are sent. rng: uniform in [0, 1).
    seen, stored: what the store remembers of this node.
    """

    def __init__(
        self,
        log: note.VerifierKey,
        seen_key: note.VerifierKey,
        stored_key: note.VerifierKey | None,
        *,
        may_upload: bool,
        rng: Callable[[], float],
        seen: int = 0,
        stored: int = 0,
    ) -> None:
        super().__init__(log, rng, limits.UPSTREAM_BACKOFF_S)
        self._seen_key, self._stored_key = seen_key, stored_key
        self._may_upload = may_upload
        self.entries = seen  # entries that the node has, as far as is known
        self.seen = seen  # the largest size that it signed as seen
        self.stored = stored  # the size that it last signed as stored
        self.wants: list[tuple[int, int]] = []
        self.fallen = ""  # its stored size fell below what it signed earlier
        self.remark = ""  # a body that could not be sent, and why
        self._stored_most = stored
        self._known = False  # it has answered since the session began
        self._claim = 0  # a size beyond ours that it has to prove
        self._round: set[int] = set()  # heights done with since the last answer
        self._looks = 0  # answers in a row that told nothing new
        self._look_at: float | None = None

    # -- what to do ---------------------------------------------------------------------------------------------------

    def head(self, size: int) -> None:
        """The gateway's log has this many entries now."""
        grown = size > self.ours
        super().head(size)
        if not self._known:
            self.entries = min(self.entries, size)
        if grown:
            self._looks = 0

    def _choose(self, now: float) -> Action | Wait:
        if self.held:
            return Wait(None, for_head=False)
        if now < self._not_before:
            return Wait(self._not_before, for_head=False)
        if self._claim:
            return Ask()
        if self.ours == 0:
            return Wait(None, for_head=True)
        if self.entries < self.ours or not self._known:
            return Sync(self.entries, self._reach())
        if self._may_upload and self.wants and len(self._round) < limits.UPLOADS_A_ROUND:
            return Upload(self.wants[0][0])
        if self._round or (self._look_at is not None and now >= self._look_at):
            return Sync(self.entries, self.entries)
        return Wait(self._look_at, for_head=True)

    def _reach(self) -> int:
        """How far one request goes. Checkpoints of whole multiples of SYNC_ENTRIES are kept, and so is the newest."""
        if self.ours - self.entries <= limits.SYNC_ENTRIES:
            return self.ours
        return (self.entries // limits.SYNC_ENTRIES + 1) * limits.SYNC_ENTRIES

    @property
    def level(self) -> bool:
        """The node has every entry and nothing that it wants is waiting to be sent."""
        if self.ours == 0:
            return True
        return self._known and self.entries == self.ours and not self._round and not (self._may_upload and self.wants)

    def hurry(self) -> None:
        """Forget the back-off once: the gateway stops soon."""
        super().hurry()
        self._look_at = float("-inf") if self._behind() else None

    def ask(self) -> None:
        """Forget the back-off once and ask, also where nothing is left to do: a person wants to know."""
        super().ask()
        self._look_at = float("-inf")

    # -- what came of it ----------------------------------------------------------------------------------------------

    def verified(self, answer: Answer, own_note: str, stored_note: str | None) -> list[Verified]:
        """The lines worth keeping of an answer to the sync under way. Raises FormatError where any part does not fit.

        own_note: what was sent; stored_note: our note of the answer's stored size, where it is kept.
        """
        if not isinstance(self._doing, Sync):
            raise BugError(f"an answer during {self._doing}", cure="Report this")
        if answer.size != self._doing.new:
            raise FormatError(f"it says that it has {answer.size} entries after it was sent {self._doing.new}")
        lines = []
        if answer.seen:
            lines.append(verify(SEEN, answer.size, own_note, answer.seen, self._seen_key))
        if answer.stored_size is None or self._stored_key is None:
            return lines
        if answer.stored_size > answer.size:
            raise FormatError(f"it says that it stores {answer.stored_size} of {answer.size} blocks")
        if answer.stored_size and stored_note is not None:
            lines.append(verify(STORED, answer.stored_size, stored_note, answer.stored, self._stored_key))
        return lines

    def answered(self, now: float, answer: Answer, lines: Sequence[Verified]) -> None:
        """The node took a sync; `lines` are what `verified` returned, and are durable here by now."""
        self._finish(Sync)
        again = {height for height in self._round for lo, hi in answer.wants if lo <= height < hi}
        before = self.entries, self.seen, self.stored, self.wants
        self._known, self._conflicts, self.entries, self.wants = True, 0, answer.size, list(answer.wants)
        for line in lines:
            if line.kind == SEEN:
                self.seen = max(self.seen, line.size)
        self._settle_stored(answer, lines)
        self._round = set()
        if self.fallen or again:
            self.failed(now, self.fallen or f"it asks again for block {min(again)}{self.remark and ': '}{self.remark}")
            return
        self._attempt, self.trouble, self.remark = 0, "", self.remark if self.wants else ""
        self._plan_look(now, changed=(self.entries, self.seen, self.stored, self.wants) != before)

    def conflict(self, now: float, size: int) -> None:
        """409 with the node's size: the next request begins there."""
        sync = self._finish(Sync)
        self._conflicts += 1
        if size > self.ours:
            self._claim = size
        elif size == sync.old:
            self.failed(now, f"it refuses size {size} and says that it is at {size}")
        else:
            self.entries = size
            if self._conflicts > CONFLICTS_IN_A_ROW:
                self.failed(now, "it gives another size each time")

    def shown(self, now: float, checkpoint: note.Checkpoint | None, own_root: bytes | None) -> None:
        """The node's checkpoint of this log under the log's own key, None where it shows none; own_root: as a witness's
        session has it.
        """
        self._finish(Ask)
        claim, self._claim = self._claim, 0
        if self._forks(checkpoint, own_root):
            return
        if self._reached(claim):
            self.entries = claim
        else:
            what = f"it says that it has {claim} entries of {self.ours} and shows no checkpoint that proves it"
            self.failed(now, what)

    def uploaded(self, height: int) -> None:
        """The node took the body of a block. Only its next answer ends a back-off: it may ask for the same again."""
        self._done_with(height)

    def lacking(self, height: int, end: int, why: str) -> None:
        """None of the blocks [height, end) can be sent now. They are passed over until it is asked again."""
        self._finish(Upload)
        self.wants = [part for lo, hi in self.wants for part in _without(lo, hi, height, end)]
        self.remark = why

    def skipped(self, height: int, why: str) -> None:
        """The body is not to be had here, or not wanted any more: the next want list decides."""
        self._done_with(height)
        self.remark = why

    # -- inside -------------------------------------------------------------------------------------------------------

    def _done_with(self, height: int) -> None:
        self._finish(Upload)
        self._round.add(height)
        self.wants = [part for lo, hi in self.wants for part in _without(lo, hi, height, height + 1)]

    def _settle_stored(self, answer: Answer, lines: Sequence[Verified]) -> None:
        """A falling stored size is an alarm (section 6); bodies are still sent, so that it can rise again."""
        if answer.stored_size is None or self._stored_key is None:
            return
        if answer.stored_size < self._stored_most:
            self.stored = answer.stored_size
            self.fallen = f"its stored size fell from {self._stored_most} to {answer.stored_size}: it has lost bodies"
        elif any(line.kind == STORED for line in lines):
            self.stored = self._stored_most = answer.stored_size
            self.fallen = ""

    def _behind(self) -> bool:
        return bool(self.wants) or self.seen < self.ours or (self._stored_key is not None and self.stored < self.ours)

    def _plan_look(self, now: float, *, changed: bool) -> None:
        """While the node has something left to do it is asked again, less and less often while nothing changes."""
        self._looks = 0 if changed else self._looks + 1
        if not self._behind():
            self._look_at = None
            return
        pause = min(limits.UPSTREAM_BACKOFF_S, BACKOFF_FIRST_S * 2 ** min(self._looks, 16))
        self._look_at = now + pause * (0.5 + 0.5 * self._rng())


def _without(lo: int, hi: int, height: int, end: int) -> list[tuple[int, int]]:
    """The range without the heights [height, end)."""
    return [(a, b) for a, b in ((lo, min(hi, height)), (max(lo, end), hi)) if a < b]


def _uint(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FormatError(f"the {what} is no unsigned integer")
    return value


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > limits.RECEIPT_ANCHORS:
        raise FormatError(f"the numbers of anchors are no list of at most {limits.RECEIPT_ANCHORS}")
    return tuple(_uint(item, "number of an anchor") for item in value)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"the {what} are no text")
    return value


def _wants(value: object, size: int) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or len(value) > limits.WANT_RANGES:
        raise FormatError(f"the want list is no list of at most {limits.WANT_RANGES} ranges")
    ranges: list[tuple[int, int]] = []
    end = 0
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise FormatError("a range of the want list is no pair")
        lo, hi = _uint(item[0], "begin of a range"), _uint(item[1], "end of a range")
        if not end <= lo < hi <= size:
            raise FormatError(f"the want list is not ascending and disjoint within {size} blocks")
        ranges.append((lo, hi))
        end = hi
    return tuple(ranges)
