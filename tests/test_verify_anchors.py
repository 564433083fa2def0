"""Anchors in a receipt: what pins prove, what is a claim, and what is refused at step 9."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import evm_blocks, proofs
from fakes.command import within
from fakes.evm_blocks import CHAIN

from gateway.cli.verify import _anchor
from gateway.core import merkle
from gateway.core.anchor import Anchored, Statement, parse_pins
from gateway.core.limits import PINS, PINS_BYTES
from gateway.core.receipt import Anchor, Receipt
from gateway.errors import FormatError, VerifyError
from gateway.verify import verify_receipt

LOG = proofs.Log([n % 4 for n in range(9)])
SIZE = 7
ROOT = merkle.root(LOG.entry_hashes(SIZE))
STATEMENT = Statement.of(proofs.ORIGIN, SIZE, ROOT)
HEADERS = evm_blocks.headers(STATEMENT)
PIN = evm_blocks.pin(HEADERS[0])


def anchored(height: int = 2) -> Receipt:
    """A receipt whose anchor covers more than its checkpoint needs."""
    path = tuple(merkle.inclusion_path(LOG.entry_hashes(SIZE), height))
    anchor = Anchor("evm", SIZE, ROOT, path, evm_blocks.evidence(STATEMENT))
    return replace(LOG.receipt(height, 0), anchors=(anchor,))


FILE = anchored().encode().encode()


def refused(receipt: Receipt | bytes, pins: str | None = PIN) -> str:
    data = receipt if isinstance(receipt, bytes) else receipt.encode().encode()
    with pytest.raises(VerifyError) as caught:
        verify_receipt(data, proofs.POLICY, () if pins is None else parse_pins(pins.encode()))
    assert (caught.value.step, caught.value.title, caught.value.clause) == (9, "the anchors", "section 12")
    assert caught.value.cure
    return caught.value.what


def test_a_pin_proves_it_and_without_one_it_is_a_claim() -> None:
    for pins, by in ((None, ""), (PIN, "the pinned block 1000"), (evm_blocks.pin(HEADERS[2]), "the pinned block 1002")):
        found = verify_receipt(FILE, proofs.POLICY, () if pins is None else parse_pins(pins.encode()))
        ((anchor, place),) = found.anchors
        assert anchor.size == SIZE
        assert place is not None
        assert (place.kind, place.chain, place.number, place.by) == ("evm", str(CHAIN), 1_000, by)
        assert (place.hash, place.time_s) == (HEADERS[0].hash, HEADERS[0].time_s)
        assert found.steps[-1].number == 9


def test_pins_ask_for_an_anchor_that_they_prove() -> None:
    bare = replace(anchored(), anchors=())
    assert refused(bare) == "the receipt has no anchor"
    other = f"evm {CHAIN} block 77 0x{'00' * 32}\n"
    assert refused(FILE, other) == "the pins prove none of the receipt's anchors"
    assert refused(FILE, PIN.replace("9090", "5555")) == "the pins prove none of the receipt's anchors"
    assert verify_receipt(FILE, proofs.POLICY, ()).anchors
    assert not verify_receipt(bare.encode().encode(), proofs.POLICY).anchors


def test_a_pin_that_says_otherwise_refuses_it() -> None:
    wrong = f"evm {CHAIN} block 1001 0x{'00' * 32}\n"
    assert "another hash than the pin of line 2" in refused(FILE, PIN + wrong)


def test_one_that_is_proven_is_enough_beside_unknown_and_unpinned_ones() -> None:
    (anchor,) = anchored().anchors
    unknown = replace(anchor, kind="example", evidence={"tx": b"\x01"})
    later = replace(anchor, evidence=evm_blocks.evidence(STATEMENT, number=5_000))
    found = verify_receipt(
        replace(anchored(), anchors=(unknown, later, anchor)).encode().encode(), proofs.POLICY, parse_pins(PIN.encode())
    )
    assert [place and place.by for _, place in found.anchors] == [None, "", "the pinned block 1000"]
    assert refused(replace(anchored(), anchors=(unknown, later))) == "the pins prove none of the receipt's anchors"


@pytest.mark.parametrize("pins", [None, PIN])
def test_what_does_not_belong_together_is_refused_with_and_without_pins(pins: str | None) -> None:
    (anchor,) = anchored().anchors
    other = Statement.of(proofs.ORIGIN, SIZE, bytes(32))
    for changed in (
        replace(anchor, size=SIZE - 1),
        replace(anchor, root=bytes(32)),
        replace(anchor, path=anchor.path[:-1]),
        replace(anchor, path=(bytes(32), *anchor.path[1:])),
        replace(anchor, evidence=evm_blocks.evidence(other)),
        replace(anchor, evidence=evm_blocks.evidence(Statement.of("barn.example/1", SIZE, ROOT))),
        replace(anchor, evidence=0),
    ):
        assert refused(replace(anchored(), anchors=(changed,)), pins)


def test_the_anchor_of_another_entry_is_refused() -> None:
    """Its path leads from another entry to the same root."""
    taken = replace(anchored(2), anchors=anchored(3).anchors)
    assert refused(taken)


@pytest.mark.parametrize(
    ("pins", "where"),
    [
        ("evm 9090 block\n", "pins, line 1"),
        ("# none\n\nevm\n", "pins, line 3"),
        ("x y z w\n" * (PINS + 1), "pins"),
        (" " * (PINS_BYTES + 1), "pins"),
        ("\udcff", "pins"),
    ],
)
def test_a_file_that_is_none_of_pins_is_not_the_receipts_fault(pins: str, where: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_pins(pins.encode("utf-8", "surrogateescape"))
    assert caught.value.where == where


def test_comments_and_blanks_are_none() -> None:
    text = f"  # what I saw on the explorer\n\n\t{PIN.strip()}   # mine\nother 1 2 3\n"
    assert verify_receipt(FILE, proofs.POLICY, parse_pins(text.encode())).anchors[0][1] is not None


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "receipt").write_bytes(FILE)
    (tmp_path / "policy").write_bytes(proofs.POLICY)
    (tmp_path / "pins").write_text(PIN)
    return tmp_path


def test_a_time_is_told_as_whose_word_it_is() -> None:
    anchor = Anchor("fabric", 7, bytes(32), (), [])
    found = Anchored("fabric", "ch1", 77, bytes(32), 1_000_000_000, "the pinned block 77", bound=False)
    told = "block 77 of fabric ch1, dated 2001-09-09T01:46:40Z by whoever made the transaction (proven by"
    assert _anchor(anchor, found).startswith(told)
    assert "not later than 2001-09-09T01:46:40Z (proven by" in _anchor(anchor, found._replace(bound=True))


def test_the_earliest_of_several_witnesses_is_named_for_its_time(files: Path) -> None:
    """The others have co-signed, and have not said so."""
    text = within("verify", "receipt", "--policy", "policy", cwd=files).out
    (line,) = [line for line in text.splitlines() if line.startswith("not later than")]
    first, _, others = line.partition(", by the word of ")[2].partition("; co-signed by ")
    assert first == others.split(", ")[0].rstrip(")")
    assert len(others.split(", ")) > 1


def test_verify_tells_the_block_and_the_time(files: Path) -> None:
    text = within("verify", "receipt", "--policy", "policy", "--pins", "pins", "-v", cwd=files).out
    assert "anchor          block 1000 of evm 9090, not later than 2026-11-" in text
    assert "(proven by the pinned block 1000)" in text
    assert "9. the anchors: 1 anchors, 1 proven by the pins  [section 12]" in text
    text = within("verify", "receipt", "--policy", "policy", cwd=files).out
    assert f"(a claim: no pin shows that block, whose hash is 0x{HEADERS[0].hash.hex()})" in text
