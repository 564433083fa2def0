"""The offline verifier: each section of a receipt is refused at its own step, and nothing else is needed for it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import proofs
from fakes.flips import flips
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import keys
from gateway.core.note import SignatureLine
from gateway.core.policy import make_policy
from gateway.errors import FormatError, VerifyError
from gateway.verify import RULES, verify_receipt

LOG = proofs.Log([5, 0, 9, 1, 3])
APART = LOG.anchored(LOG.receipt(2, 5))
APART_FILE = APART.encode().encode()


def refused_at(receipt: bytes, policy: bytes = proofs.POLICY_ALL) -> int:
    with pytest.raises(VerifyError) as raised:
        verify_receipt(receipt, policy)
    error = raised.value
    rule = RULES[error.step - 1]
    assert (error.title, error.clause) == (rule.title, rule.clause)
    assert str(error).startswith(f"step {error.step} ({rule.title}): ")
    assert error.cure
    return error.step


def test_a_receipt_proves_one_reading() -> None:
    found = verify_receipt(APART_FILE, proofs.POLICY)
    assert [step.number for step in found.steps] == [1, 2, 3, 4, 5, 6, 7, 9]
    assert all(step.found and step.clause and step.title for step in found.steps)
    assert found.header == LOG.headers[2]
    assert (found.index, found.checkpoint.size, found.log) == (5, 5, proofs.LOG.vkey)
    assert found.reading.source == "henhouse-3"
    assert [(record.name, record.unit, record.value) for record in found.reading.records] == [
        ("temp", "Cel", 22.125),
        ("rh", "%RH", 65),
        ("fan", None, True),
    ]
    assert found.payload == proofs.payload(2, 5)
    assert found.anchors == tuple((anchor, None) for anchor in APART.anchors), "of a kind that nobody knows"
    assert [witness.name for witness in found.witnesses] == [
        "node.coop.example",
        "node.coop.example/stored",
        "vet.example/witness",
    ]
    assert found.earliest == proofs.COSIGNED_S
    assert found.unknown_lines == 0


def test_every_reading_of_every_size_has_a_receipt() -> None:
    for size in range(1, 6):
        note = LOG.note(size)
        for height in range(size):
            for index in range(LOG.counts[height]):
                text = LOG.receipt(height, index, size=size, note=note).encode()
                found = verify_receipt(text.encode(), proofs.POLICY)
                assert (found.header.height, found.index, found.checkpoint.size) == (height, index, size)


def test_the_payload_is_shown_where_it_is() -> None:
    inside = verify_receipt(LOG.receipt(2, 0).encode().encode(), proofs.POLICY)
    assert inside.payload == inside.reading.raw == b'{"temp":0}'
    nowhere = verify_receipt(LOG.receipt(2, 4).encode().encode(), proofs.POLICY)
    assert nowhere.payload is None
    left_out = replace(LOG.receipt(2, 5), payload=None, raw_salt=None)
    without = verify_receipt(left_out.encode().encode(), proofs.POLICY)
    assert without.payload is None
    assert without.reading.raw_sha256 is not None


# What is refused, and where


def test_every_section_is_refused_at_its_own_step() -> None:
    flipped = list(flips(APART_FILE, proofs.POLICY_ALL))
    assert {flip.section: flip.step for flip in flipped} == {
        "first line": 1,
        "checkpoint": 2,
        f"signature of {proofs.ORIGIN}": 2,
        "signature of node.coop.example": 3,
        "signature of node.coop.example/stored": 3,
        "signature of vet.example/witness": 3,
        "log index": 4,
        "log path": 4,
        "entry": 4,
        "leaf": 6,
        "index in the block": 6,
        "path in the block": 6,
        "payload apart": 7,
        "raw salt": 7,
    }
    for flip in flipped:
        assert refused_at(flip.receipt) == flip.step, flip.section


def test_the_smallest_receipt_has_sections_enough() -> None:
    small = proofs.Log([1]).receipt(0, 0).encode().encode()
    flipped = list(flips(small, proofs.POLICY_ALL))
    assert {flip.step for flip in flipped} == {1, 2, 3, 4, 6}
    for flip in flipped:
        assert refused_at(flip.receipt) == flip.step, flip.section


@pytest.mark.parametrize(
    ("section", "step"),
    [("entry", 4), ("leaf", 6), ("payload", 7), ("raw_salt", 7)],
)
def test_every_byte_of_a_binary_section_is_refused_at_its_step(section: str, step: int) -> None:
    data: bytes = getattr(APART, section)
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        receipt = replace(APART, **{section: changed})  # type: ignore[arg-type]
        assert refused_at(receipt.encode().encode()) == step


@given(st.data())
@settings(max_examples=300)
def test_a_changed_byte_is_refused_or_changes_nothing_that_is_proved(data: st.DataObject) -> None:
    changed = bytearray(APART_FILE)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = verify_receipt(bytes(changed), proofs.POLICY_ALL)
    except VerifyError:
        return
    right = verify_receipt(APART_FILE, proofs.POLICY_ALL)
    assert replace(found, anchors=right.anchors) == right  # anchors authenticate themselves


def test_a_path_that_fits_several_sizes_is_held_to_the_signed_count() -> None:
    """The path of the last of 9 leaves is one hash long, as if there were 2: index 1 of 2 is the same path."""
    last = LOG.receipt(2, 8)
    assert len(last.path) == 1
    assert refused_at(replace(last, index=1).encode().encode()) == 6


def test_a_leaf_is_no_node_and_a_node_no_leaf() -> None:
    receipt = LOG.receipt(2, 0)
    hashes = LOG.leaf_hashes(2)
    inner = replace(receipt, leaf=b"\x01" + hashes[0] + hashes[1], path=receipt.path[1:])
    assert refused_at(inner.encode().encode()) == 6


def test_a_surplus_line_of_a_known_witness_must_still_be_true() -> None:
    note = LOG.note()
    lines = list(note.lines)
    lines[3] = replace(lines[3], body=bytes(72))
    false = LOG.receipt(0, 0, note=replace(note, lines=tuple(lines)))
    assert refused_at(false.encode().encode(), proofs.POLICY) == 3
    lines[3] = replace(lines[3], key_id=bytes(4))  # now it is nobody's, and two others are enough
    unknown = LOG.receipt(0, 0, note=replace(note, lines=tuple(lines)))
    found = verify_receipt(unknown.encode().encode(), proofs.POLICY)
    assert found.unknown_lines == 1
    assert refused_at(unknown.encode().encode(), proofs.POLICY_ALL) == 3


def test_one_witness_signing_twice_is_one_witness() -> None:
    note = LOG.note(5, (proofs.COOP,))
    again = note.with_lines([keys.cosign(proofs.COOP, note.text, 7)])
    assert refused_at(LOG.receipt(0, 0, note=again).encode().encode(), proofs.POLICY) == 3
    policy = make_policy([proofs.LOG.vkey], [proofs.COOP.vkey])
    assert verify_receipt(LOG.receipt(0, 0, note=again).encode().encode(), policy).earliest == 7


def test_the_logs_own_signature_is_no_cosignature() -> None:
    bare = LOG.receipt(0, 0, note=LOG.note(5, ())).encode().encode()
    assert refused_at(bare, make_policy([proofs.LOG.vkey], [proofs.COOP.vkey], "any")) == 3
    found = verify_receipt(bare, proofs.POLICY_NONE)
    assert found.earliest is None
    assert found.witnesses == ()


def test_a_line_of_the_logs_key_that_is_false_refuses_beside_a_true_one() -> None:
    note = LOG.note()
    extra = SignatureLine(proofs.ORIGIN, proofs.LOG.vkey.key_id, bytes(64))
    assert refused_at(LOG.receipt(0, 0, note=note.with_lines([extra])).encode().encode()) == 2


def test_a_log_may_have_two_keys_in_a_policy() -> None:
    both = make_policy([proofs.OTHER.vkey, proofs.LOG.vkey], [proofs.COOP.vkey])
    assert verify_receipt(APART_FILE, both).log == proofs.LOG.vkey
    other = proofs.Log([9], signer=proofs.OTHER)
    assert verify_receipt(other.receipt(0, 0).encode().encode(), both).log == proofs.OTHER.vkey
    mixed = proofs.Log([9], signer=proofs.LOG, entry_signer=proofs.OTHER)
    assert refused_at(mixed.receipt(0, 0).encode().encode(), both) == 5


def test_a_policy_that_cannot_be_used_is_not_the_receipts_fault() -> None:
    for policy in (b"", b"quorum none", b"quorum none\n", b"nonsense\n"):
        with pytest.raises(FormatError):
            verify_receipt(APART_FILE, policy)


# The frozen vectors

FROZEN = json.loads((Path(__file__).parent / "vectors" / "proofs.json").read_text())


@pytest.mark.parametrize("frozen", FROZEN["refused"], ids=lambda frozen: frozen["name"])
def test_the_frozen_receipts_are_refused_where_they_were(frozen: dict[str, str | int]) -> None:
    policy = FROZEN["policies"][frozen["policy"]].encode()
    assert refused_at(str(frozen["receipt"]).encode(), policy) == frozen["step"]


# The verifier on its own


def test_it_needs_nothing_but_core() -> None:
    """A whole process starts fast because of what it does not import (DESIGN.md, numbers to hold)."""
    program = (
        "import sys, gateway.verify\n"
        "heavy = {'msgspec', 'aiohttp', 'rich', 'click', 'asyncio', 'sqlite3', 'socket', 'ssl', 'logging'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print(sorted(name for name in sys.modules if name.startswith(('gateway.', 'drivers'))))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy, own = run.stdout.splitlines()
    assert heavy == "[]"
    assert all(name.startswith(("gateway.core", "gateway.errors", "gateway.verify")) for name in eval(own))
