"""A node against a model: two logs of one key that part at some height, shown to it in every order, whole or spoilt.

The model knows what no honest node can avoid knowing: which entries it was shown and took, and which checkpoints it
co-signed. It says for each step what the answer must be, without any of the node's code.
"""

from dataclasses import replace

from fakes.log_maker import LogMaker
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.note import Checkpoint
from gateway.node import log as judge
from gateway.node.log import CheckpointRequest, Refusal, SyncRequest
from gateway.node.store import Growth, Head, Noted

SIZE = 10
TRUNK = LogMaker("model.example/1").add(SIZE)
BRANCHES = [TRUNK, *(TRUNK.fork(height, SIZE - height) for height in (0, 3, 8))]
PARTED = {(0, 0): SIZE, (0, 1): 0, (0, 2): 3, (0, 3): 8, (1, 2): 0, (1, 3): 0, (2, 3): 3}
"""Up to which height two branches agree."""

sizes = st.integers(0, SIZE)
branches = st.sampled_from([0] * 12 + [1, 2, 3])
begins = st.sampled_from(["held", "held", "seen", "any"])  # where a request begins: mostly where it can be taken


def agree(one: int, two: int) -> int:
    """Entries that two branches share."""
    return SIZE if one == two else PARTED[min(one, two), max(one, two)]


class Node:
    """The node's decisions with a memory for a store."""

    def __init__(self) -> None:
        self.head = Head(TRUNK.vkey)
        self.entries: list[bytes] = []
        self.notes: dict[int, Noted] = {}
        self.signed: list[tuple[int, bytes]] = []

    def sync(self, asked: SyncRequest) -> Growth | Refusal:
        step: Growth | Refusal | None = judge.judge_place(self.head, asked, 0)
        if step is None and asked.old < self.head.size:
            held = self.entries[asked.old : asked.old + len(asked.entries)]
            root, last = self._own(asked.size)
            step = judge.judge_resent(self.head, asked, TRUNK.signer.vkey, held, last, root, 0)
        return self._take(step or judge.judge_growth(self.head, asked, TRUNK.signer.vkey, 0))

    def checkpoint(self, asked: CheckpointRequest) -> Growth | Refusal:
        root, last = self._own(asked.checkpoint.size)
        return self._take(judge.judge_checkpoint(self.head, asked, TRUNK.signer.vkey, root, last, 0))

    def follow(self, entries: list[bytes]) -> Growth | Refusal:
        return self._take(judge.judge_unnoted(self.head, entries, TRUNK.signer.vkey, 0))

    def _own(self, size: int) -> tuple[bytes | None, bytes]:
        if not 0 < size <= self.head.size:
            return None, b""
        held = LogMaker("model.example/1")
        held.blocks = next(b.blocks for b in BRANCHES if b.entries[: self.head.size] == self.entries)
        return held.root(size), self.entries[size - 1]

    def _take(self, step: Growth | Refusal) -> Growth | Refusal:
        if isinstance(step, Refusal):
            if step.freeze:
                self.head = replace(self.head, frozen=step.freeze)
            return step
        assert step.old == self.head
        self.entries += step.entries
        if step.note is not None:
            self.notes.setdefault(step.note_size, Noted(step.note_size, step.note))
        note = self.notes[step.witnessed.size].note if step.witnessed.size else ""
        last = self.entries[-1] if self.entries else b""
        self.head = Head(TRUNK.vkey, 0, step.frontier, last, step.witnessed, note)
        if step.note is not None and step.note_size == step.witnessed.size:
            self.signed.append((step.witnessed.size, step.witnessed.root))
        return step


class Model(RuleBasedStateMachine):
    """`branch`: the one whose entries are held. `seen`: branch and size of the last checkpoint that was co-signed."""

    @initialize()
    def begin(self) -> None:
        self.node = Node()
        self.branch: int | None = None
        self.size = 0
        self.seen: tuple[int, int] = (0, 0)
        self.frozen = False

    # What the model expects

    def other_entry(self, branch: int, low: int, high: int) -> bool:
        """Whether the branch has another entry than ours among those heights."""
        return (
            self.branch is not None
            and agree(self.branch, branch) < min(high, self.size)
            and low < self.size
            and any(height >= agree(self.branch, branch) for height in range(low, min(high, self.size)))
        )

    def other_root(self, branch: int, size: int) -> bool:
        """Whether the branch has another root than one that we know for this size."""
        if size == 0:
            return False
        held = self.branch is not None and size <= self.size and agree(self.branch, branch) < size
        return held or (size == self.seen[1] and agree(self.seen[0], branch) < size)

    def begin_at(self, begin: str, old: int) -> int:
        """The old size of a request."""
        return {"held": self.size, "seen": self.seen[1], "any": old}[begin]

    def expect_fork(self, answer: Growth | Refusal) -> None:
        assert isinstance(answer, Refusal)
        assert answer.status == 422
        assert answer.freeze
        assert answer.evidence is not None
        assert answer.evidence.held != answer.evidence.sent
        assert answer.evidence.held
        self.frozen = True

    def took(self, branch: int, new: int) -> None:
        if new > self.size:
            self.branch, self.size = branch, new

    # Rules

    @rule(branch=branches, begin=begins, old=sizes, new=sizes)
    def sync(self, branch: int, begin: str, old: int, new: int) -> None:
        old = self.begin_at(begin, old)
        new = max(old, new) if begin != "any" else new
        old, new = min(old, new), max(old, new, 1)
        maker = BRANCHES[branch]
        read = judge.read_sync(
            judge.encode_sync(old, maker.entries[old:new], maker.note(new).encode()), TRUNK.signer.vkey
        )
        assert isinstance(read, SyncRequest)
        answer = self.node.sync(read)
        if self.frozen:
            assert isinstance(answer, Refusal)
            assert (answer.status, answer.freeze) == (422, "")
        elif self.other_root(branch, new) or self.other_entry(branch, old, new):
            self.expect_fork(answer)
        elif old != self.size:
            assert isinstance(answer, Refusal)
            assert (answer.status, answer.text, answer.freeze) == (409, f"{self.size}\n", "")
        elif self.branch is not None and agree(self.branch, branch) < old and new > old:
            self.expect_fork(answer)  # its first entry names another before it than ours
        elif old < self.seen[1] <= new and agree(self.seen[0], branch) < self.seen[1]:
            self.expect_fork(answer)
        else:
            assert isinstance(answer, Growth), answer
            self.took(branch, new)
            if new >= self.seen[1]:
                self.seen = branch, new

    @rule(branch=branches, begin=begins, old=sizes, new=sizes, spoil=st.sampled_from([False, False, False, True]))
    def add_checkpoint(self, branch: int, begin: str, old: int, new: int, spoil: bool) -> None:
        maker = BRANCHES[branch]
        old = self.begin_at("seen" if begin == "held" else begin, old)
        new = max(old, new) if begin != "any" else new
        new = max(new, 1)
        root = maker.root(new)
        proof = maker.proof(old, new) if old <= new else []
        if spoil:
            proof = [*proof, bytes(32)]
        note = maker.note(new)
        asked = CheckpointRequest(old, tuple(proof), note.text, note, Checkpoint(maker.origin, new, root))
        answer = self.node.checkpoint(asked)
        fork = not self.frozen and self.other_root(branch, new)
        if fork:
            assert isinstance(answer, Refusal)
            assert answer.evidence is not None
            assert answer.freeze
        if self.frozen:
            assert isinstance(answer, Refusal)
            assert answer.status == 422
        elif old > new:
            assert isinstance(answer, Refusal)
            assert answer.status == 400
        elif old != self.seen[1]:
            assert isinstance(answer, Refusal)
            assert (answer.status, answer.text) == (409, f"{self.seen[1]}\n")
        elif fork or spoil or (old and agree(self.seen[0], branch) < old):
            assert isinstance(answer, Refusal)
            assert answer.status == 422
        elif self.size > self.seen[1] and new > self.size:
            assert isinstance(answer, Refusal)
            assert answer.status == 503
        else:
            assert isinstance(answer, Growth), answer
            self.seen = branch, new
        self.frozen |= fork

    @rule(branch=branches, count=st.integers(1, SIZE))
    def follow_without_a_note(self, branch: int, count: int) -> None:
        new = min(self.size + count, SIZE)
        if self.frozen or new == self.size:
            return
        answer = self.node.follow(BRANCHES[branch].entries[self.size : new])
        other_before = self.branch is not None and agree(self.branch, branch) < self.size
        if other_before or (self.size < self.seen[1] <= new and agree(self.seen[0], branch) < self.seen[1]):
            self.expect_fork(answer)
        else:
            assert isinstance(answer, Growth), answer
            self.took(branch, new)

    @precondition(lambda self: self.frozen)
    @rule()
    def begin_anew(self) -> None:
        self.begin()

    # What holds whatever was shown

    @invariant()
    def one_root_is_signed_for_a_size(self) -> None:
        assert len(set(self.node.signed)) == len({size for size, _ in self.node.signed})

    @invariant()
    def signed_sizes_never_fall_and_lie_on_one_branch(self) -> None:
        sizes = [size for size, _ in self.node.signed]
        assert sizes == sorted(sizes)
        consistent = [b for b in BRANCHES if all(b.root(size) == root for size, root in set(self.node.signed) if size)]
        assert consistent

    @invariant()
    def what_is_held_is_one_branch(self) -> None:
        head = self.node.head
        assert (head.size, head.witnessed.size, bool(head.frozen)) == (self.size, self.seen[1], self.frozen)
        if self.branch is not None:
            assert self.node.entries == BRANCHES[self.branch].entries[: self.size]
            assert head.frontier.root() == BRANCHES[self.branch].root(self.size)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
