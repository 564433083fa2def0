"""A fleet's anchor in a receipt: proven by a pin of the chain that it stands on, and refused at step 9 if changed."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from fakes import evm_blocks, proofs
from fakes.command import within

from gateway.core import cbor, merkle
from gateway.core.anchor import Statement, parse_pins
from gateway.core.anchor_fleet import Fleet, Tree
from gateway.core.receipt import Anchor, Receipt
from gateway.errors import FormatError, VerifyError
from gateway.verify import verify_receipt

LOG = proofs.Log([n % 4 for n in range(9)])
SIZE, NODE, NUMBER = 7, "node.coop.example", 1_795_000_000
ROOT = merkle.root(LOG.entry_hashes(SIZE))
OWN = Statement.of(proofs.ORIGIN, SIZE, ROOT)
TREE = Tree([OWN, *(Statement.of(f"barn-{n}.example/1", n, sha256(b"%d" % n).digest()) for n in range(1, 6))])
ON_CHAIN = TREE.statement(NODE, NUMBER)
PINS = parse_pins(evm_blocks.pin(evm_blocks.headers(ON_CHAIN)[0]).encode())


def evidence(chain: Statement = ON_CHAIN) -> cbor.Value:
    index = TREE.index(OWN.log)
    assert index is not None
    return TREE.fleet(NODE, NUMBER, index, "evm", evm_blocks.evidence(chain)).encode()


def anchored(given: cbor.Value, height: int = 2) -> Receipt:
    path = tuple(merkle.inclusion_path(LOG.entry_hashes(SIZE), height))
    return replace(LOG.receipt(height, 0), anchors=(Anchor("fleet", SIZE, ROOT, path, given),))


def test_a_pin_of_the_chain_proves_it_with_the_fleets_size_and_node(tmp_path: Path) -> None:
    (tmp_path / "receipt").write_text(anchored(evidence()).encode())
    (tmp_path / "policy").write_bytes(proofs.POLICY)
    (tmp_path / "pins").write_text(evm_blocks.pin(evm_blocks.headers(ON_CHAIN)[2]))
    text = within("verify", "receipt", "--policy", "policy", "--pins", "pins", "-v", cwd=tmp_path).out
    assert "anchor          block 1000 of evm 9090, with 6 logs by the node node.coop.example, not later than" in text
    assert "(proven by the pinned block 1002)" in text
    assert "9. the anchors: 1 anchors, 1 proven by the pins  [section 12]" in text
    text = within("verify", "receipt", "--policy", "policy", cwd=tmp_path).out
    assert "with 6 logs by the node node.coop.example" in text
    assert "(a claim: no pin shows that block" in text


def test_a_pin_that_says_otherwise_refuses_it() -> None:
    other = parse_pins(evm_blocks.pin(evm_blocks.headers(TREE.statement(NODE, NUMBER + 1))[0]).encode())
    with pytest.raises(VerifyError, match="another hash than the pin"):
        verify_receipt(anchored(evidence()).encode().encode(), proofs.POLICY, other)


def test_a_fleet_on_a_chain_of_an_unknown_kind_is_shown_as_not_checked() -> None:
    given = cbor.decode(cbor.encode(evidence()))
    assert isinstance(given, list)
    given[5] = "unheard"
    data = anchored(given).encode().encode()
    ((_, found),) = verify_receipt(data, proofs.POLICY).anchors
    assert found is None
    with pytest.raises(VerifyError, match="prove none"):
        verify_receipt(data, proofs.POLICY, PINS)


def test_the_evidence_of_another_statement_is_refused_with_and_without_pins() -> None:
    others = (OWN, TREE.statement(NODE, NUMBER + 1), Tree(TREE.leaves[:-1]).statement(NODE, NUMBER))
    for data in (anchored(evidence(other)).encode().encode() for other in others):
        for pins in ((), PINS):
            with pytest.raises(VerifyError) as caught:
                verify_receipt(data, proofs.POLICY, pins)
            assert caught.value.step == 9


def test_no_byte_of_it_can_be_changed() -> None:
    """Each byte of the fleet's own part, by itself: no receipt that results is proven as the same. All are refused."""
    good = cbor.encode(evidence())  # type: ignore[arg-type]
    end = len(good) - len(cbor.encode(evm_blocks.evidence(ON_CHAIN)))  # type: ignore[arg-type]
    (was,) = (found for _, found in verify_receipt(anchored(evidence()).encode().encode(), proofs.POLICY, PINS).anchors)
    assert was is not None
    assert (was.kind, was.node, was.logs, was.by) == ("evm", NODE, 6, "the pinned block 1000")
    refused = 0
    for at in range(end):
        changed = bytearray(good)
        changed[at] ^= 0x01
        try:
            given = cbor.decode(bytes(changed))
        except FormatError:
            continue  # not CBOR any more: step 1
        with pytest.raises(VerifyError):
            verify_receipt(anchored(given).encode().encode(), proofs.POLICY, PINS)
        refused += 1
    hashes = 32 * len(Fleet.read(evidence()).path)
    assert refused > hashes > 0
