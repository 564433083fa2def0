"""The trie of transactions and receipts: any number of any values is proved, and nothing else is."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import trie
from gateway.core.keccak import keccak256
from gateway.core.rlp import encode
from gateway.errors import FormatError

values = st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=150)


def test_the_empty_trie() -> None:
    """The root of every block without transactions."""
    assert trie.root([]) == trie.EMPTY_ROOT
    assert trie.EMPTY_ROOT.hex() == "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"


@given(values, st.data())
def test_each_value_is_proved_and_only_at_its_place(held: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(held) - 1))
    root, proof = trie.root(held), trie.prove(held, index)
    assert keccak256(proof[0]) == root
    assert trie.verify(root, index, proof) == held[index]
    other = data.draw(st.integers(0, 2 * len(held)).filter(lambda n: n != index))
    with contextlib.suppress(FormatError):  # a small neighbour stands in the same node
        assert trie.verify(root, other, proof) == held[other]


@given(values, st.data())
def test_a_proof_that_is_changed_proves_nothing_else(held: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(held) - 1))
    root, proof = trie.root(held), trie.prove(held, index)
    node = data.draw(st.integers(0, len(proof) - 1))
    at = data.draw(st.integers(0, len(proof[node]) - 1))
    changed = bytearray(proof[node])
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    for bad in (
        [*proof[:node], bytes(changed), *proof[node + 1 :]],
        [*proof, proof[-1]],
        proof[:-1],
        proof[1:],
        [],
    ):
        with pytest.raises(FormatError):
            trie.verify(root, index, bad)


@pytest.mark.parametrize(
    "node",
    [
        b"",
        b"\x80",
        b"\xc0",
        b"\x00",
        encode([b"\x40", b"v"]),
        encode([b"", b"v"]),
        encode([b"\x21", b"v"]),
        encode([[], b"v"]),
    ],
)
def test_what_is_no_node_is_refused(node: bytes) -> None:
    with pytest.raises(FormatError):
        trie.verify(keccak256(node), 0, [node])


def test_a_root_changes_with_every_value() -> None:
    held = [b"%d" % n for n in range(20)]
    roots = {trie.root([*held[:n], b"x", *held[n + 1 :]]) for n in range(20)}
    assert len(roots | {trie.root(held), trie.root(held[:-1]), trie.root(held[::-1])}) == 23
