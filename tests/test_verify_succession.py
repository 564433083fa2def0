"""Step 8 of the verifier: one log goes on for another only by the word of both, and each lie is refused there."""

from dataclasses import dataclass, field, replace

import pytest
from fakes import proofs

from gateway import keys
from gateway.core import block, body, merkle, senml
from gateway.core.note import Checkpoint
from gateway.core.policy import make_policy
from gateway.core.receipt import Receipt
from gateway.errors import VerifyError
from gateway.verify import RULES, verify_succession

OLD, NEW = proofs.signer("henhouse.example/1"), proofs.signer("henhouse.example/2")
THIRD = proofs.signer("barn.example/1")
POLICY = make_policy([OLD.vkey, NEW.vkey, THIRD.vkey], [proofs.COOP.vkey], "any")
SECRET = bytes(32)
CLOSED, AGE = block.REASON_CLOSED, block.REASON_AGE


@dataclass
class Log:
    """Blocks of gateway readings under one key."""

    signer: keys.Signer
    entries: list[bytes] = field(default_factory=list)
    packs: list[list[bytes]] = field(default_factory=list)

    def add(self, *records: list[senml.Record], reason: int = AGE, source: str = "gateway") -> "Log":
        packs = [senml.build(source, one, bt_ms=proofs.START_MS) for one in records]
        header = block.Header(
            origin=self.signer.vkey.name,
            height=len(self.entries),
            prev=block.next_prev(self.entries[-1]) if self.entries else block.NO_PREV,
            count=len(packs),
            root=merkle.root(body.leaf_hashes(SECRET, packs)),
            first=proofs.START_MS,
            last=proofs.START_MS,
            sealed=proofs.START_MS,
            clock=1,
            reason=reason,
        )
        self.entries.append(keys.sign_entry(self.signer, header.encode()))
        self.packs.append(packs)
        return self

    def note(self, size: int | None = None) -> str:
        return self._note(len(self.entries) if size is None else size).encode()

    def _note(self, size: int):  # type: ignore[no-untyped-def]
        root = merkle.root([merkle.leaf_hash(entry) for entry in self.entries[:size]])
        return keys.sign_checkpoint(self.signer, Checkpoint(self.signer.vkey.name, size, root))

    def receipt(self, height: int, index: int = 0, size: int | None = None) -> bytes:
        size = len(self.entries) if size is None else size
        note = self._note(size)
        hashes = [merkle.leaf_hash(entry) for entry in self.entries[:size]]
        made = Receipt(
            entry=self.entries[height],
            leaf=block.leaf(SECRET, index, self.packs[height][index]),
            index=index,
            path=tuple(merkle.inclusion_path(body.leaf_hashes(SECRET, self.packs[height]), index)),
            log_index=height,
            log_path=tuple(merkle.inclusion_path(hashes, height)),
            note=note.with_lines([keys.cosign(proofs.COOP, note.text, proofs.COSIGNED_S)]),
        )
        return made.encode().encode()


def farewell(vkey: object = NEW.vkey) -> list[senml.Record]:
    return [("event", None, "next-vkey"), ("next-vkey", None, str(vkey))]


def greeting(note: str, vkey: object = OLD.vkey, event: str = "successor-of") -> list[senml.Record]:
    return [("event", None, event), ("log", None, str(vkey)), ("checkpoint", None, note)]


START: list[senml.Record] = [("event", None, "start")]


def old_log() -> Log:
    return Log(OLD).add(START, START).add(farewell(), reason=CLOSED)


def new_log(*first: list[senml.Record]) -> Log:
    return Log(NEW).add(*first, START).add(START)


def refused(last: bytes, first: bytes, policy: bytes = POLICY) -> VerifyError:
    with pytest.raises(VerifyError) as caught:
        verify_succession(last, first, policy)
    return caught.value


def test_a_planned_change_is_verified_offline() -> None:
    old = old_log()
    new = new_log(greeting(old.note()))
    found = verify_succession(old.receipt(1), new.receipt(0), POLICY)
    assert (found.old.log, found.new.log) == (OLD.vkey, NEW.vkey)
    assert (found.step.number, found.step.title) == (8, RULES[7].title)
    assert [len(one.steps) for one in (found.old, found.new)] == [7, 7]


OLD_LOG = old_log()
NOTE = OLD_LOG.note()
GOOD = new_log(greeting(NOTE)).receipt(0)
LIES = {
    "the old block does not close the log": (Log(OLD).add(START).add(farewell()).receipt(1), GOOD),
    "a block follows the closing one": (old_log().add(START).receipt(1), GOOD),
    "another successor is named": (Log(OLD).add(START).add(farewell(THIRD.vkey), reason=CLOSED).receipt(1), GOOD),
    "none is named": (Log(OLD).add(START).add(START, reason=CLOSED).receipt(1), GOOD),
    "a source says it": (Log(OLD).add(START).add(farewell(), reason=CLOSED, source="climate").receipt(1), GOOD),
    "two are named": (
        Log(OLD).add(START).add([*farewell(), ("next-vkey", None, str(THIRD.vkey))], reason=CLOSED).receipt(1),
        GOOD,
    ),
    "the new log cites another log": (OLD_LOG.receipt(1), new_log(greeting(NOTE, THIRD.vkey)).receipt(0)),
    "the new log cites an earlier size": (OLD_LOG.receipt(1), new_log(greeting(OLD_LOG.note(1))).receipt(0)),
    "the new log cites another history": (
        OLD_LOG.receipt(1),
        new_log(greeting(Log(OLD).add(START).add(farewell(), reason=CLOSED).note())).receipt(0),
    ),
    "the cited note is another's": (OLD_LOG.receipt(1), new_log(greeting(Log(THIRD).add(START).note())).receipt(0)),
    "the cited note is none": (OLD_LOG.receipt(1), new_log(greeting("no note")).receipt(0)),
    "no note is cited": (OLD_LOG.receipt(1), new_log(greeting(NOTE)[:2]).receipt(0)),
    "two notes are cited": (OLD_LOG.receipt(1), new_log([*greeting(NOTE), greeting(NOTE)[2]]).receipt(0)),
    "it is another event": (OLD_LOG.receipt(1), new_log(greeting(NOTE, event="start")).receipt(0)),
    "not the first reading": (OLD_LOG.receipt(1), new_log(START, greeting(NOTE)).receipt(0, 1)),
    "not the first block": (OLD_LOG.receipt(1), Log(NEW).add(START).add(greeting(NOTE)).receipt(1)),
    "a source greets": (OLD_LOG.receipt(1), Log(NEW).add(greeting(NOTE), source="climate").receipt(0)),
    "the two are the wrong way round": (GOOD, OLD_LOG.receipt(1)),
    "the same twice": (OLD_LOG.receipt(1), OLD_LOG.receipt(1)),
}


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_refused_at_step_8(lie: str) -> None:
    error = refused(*LIES[lie])
    assert (error.step, error.title, error.clause) == (8, RULES[7].title, RULES[7].clause)
    assert error.cure


@pytest.mark.parametrize("which", [0, 1])
def test_a_receipt_that_does_not_verify_is_refused_at_its_own_step(which: int) -> None:
    both = [OLD_LOG.receipt(1), GOOD]
    text = bytearray(both[which])
    text[text.index(b"henhouse")] ^= 1
    both[which] = bytes(text)
    error = refused(both[0], both[1])
    assert error.step < 8
    assert error.where.startswith(("old", "new")[which])


def test_trust_passes_by_the_policy_alone() -> None:
    for missing in ([OLD.vkey], [NEW.vkey]):
        assert refused(OLD_LOG.receipt(1), GOOD, make_policy(missing, [proofs.COOP.vkey], "any")).step == 2


def test_a_note_signed_by_another_key_of_the_same_name() -> None:
    other = replace(OLD_LOG, signer=proofs.signer(OLD.vkey.name, of="a thief"))
    assert refused(OLD_LOG.receipt(1), new_log(greeting(other.note())).receipt(0)).step == 8
