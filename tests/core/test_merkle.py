"""RFC 9162 section 2.1 against its own recursive definitions, written out here, and against published cases."""

import base64
import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import merkle
from gateway.core.merkle import EMPTY_ROOT, Frontier, Node
from gateway.errors import FormatError

many = settings(max_examples=200, deadline=None)

MOST = 33  # sizes tried one by one: every shape up to one past a power of two


def hashes_of(size: int) -> list[bytes]:
    return [merkle.leaf_hash(b"leaf %d" % i) for i in range(size)]


LEAVES = hashes_of(MOST + 1)


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def mth(hashes: list[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = split(len(hashes))
    return sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def path(m: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if m < k:
        return [*path(m, hashes[:k]), mth(hashes[k:])]
    return [*path(m - k, hashes[k:]), mth(hashes[:k])]


def subproof(m: int, hashes: list[bytes], known: bool) -> list[bytes]:
    if m == len(hashes):
        return [] if known else [mth(hashes)]
    k = split(len(hashes))
    if m <= k:
        return [*subproof(m, hashes[:k], known), mth(hashes[k:])]
    return [*subproof(m - k, hashes[k:], False), mth(hashes[:k])]


def test_hashes_carry_their_prefixes():
    assert merkle.leaf_hash(b"") == sha256(b"\x00").digest()
    assert merkle.node_hash(b"l" * 32, b"r" * 32) == sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert merkle.root([]) == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, MOST))
def test_roots_and_paths_are_those_of_the_definitions(size):
    hashes = LEAVES[:size]
    assert merkle.root(hashes) == mth(hashes)
    for index in range(size):
        assert merkle.inclusion_path(hashes, index) == path(index, hashes)
    for old in range(1, size + 1):
        assert merkle.consistency_path(hashes, old) == subproof(old, hashes, True)


@pytest.mark.parametrize("size", range(1, MOST))
def test_every_inclusion_path_verifies_and_no_other_of_its_kind(size):
    hashes = LEAVES[:size]
    root = merkle.root(hashes)
    for index in range(size):
        proof = merkle.inclusion_path(hashes, index)
        merkle.verify_inclusion(hashes[index], index, size, proof, root)
        assert merkle.root_from_inclusion(hashes[index], index, size, proof) == root
        for other in range(size):
            if other != index:
                with pytest.raises(FormatError):
                    merkle.verify_inclusion(hashes[index], other, size, proof, root)
        for wrong in damaged(proof):
            with pytest.raises(FormatError):
                merkle.verify_inclusion(hashes[index], index, size, wrong, root)
        with pytest.raises(FormatError, match="too long"):
            merkle.root_from_inclusion(hashes[index], index, size, [*proof, bytes(32)])
        if proof:
            with pytest.raises(FormatError, match="too short"):
                merkle.root_from_inclusion(hashes[index], index, size, proof[:-1])


@pytest.mark.parametrize("size", range(1, MOST))
def test_every_consistency_path_verifies_and_no_other_of_its_kind(size):
    new = merkle.root(LEAVES[:size])
    for old_size in range(size + 1):
        old = merkle.root(LEAVES[:old_size])
        proof = merkle.consistency_path(LEAVES[:size], old_size)
        merkle.verify_consistency(old_size, size, old, new, proof)
        for wrong in damaged(proof):
            with pytest.raises(FormatError):
                merkle.verify_consistency(old_size, size, old, new, wrong)
        if proof:
            with pytest.raises(FormatError, match="too long"):
                merkle.verify_consistency(old_size, size, old, new, [*proof, bytes(32)])
        if len(proof) > 1:
            with pytest.raises(FormatError, match="too short"):
                merkle.verify_consistency(old_size, size, old, new, proof[:-1])
        for roots in ((bytes(32), new), (old, bytes(32)), (new, old)):
            if roots == (old, new) or (old_size == 0 and roots[0] == old):
                continue
            with pytest.raises(FormatError):
                merkle.verify_consistency(old_size, size, *roots, proof)


def damaged(proof: list[bytes]):
    """Paths of the wrong length, in the wrong order, with one bit turned, with a hash of the wrong length."""
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]
    if proof:
        yield proof[1:]
        yield proof[:-1]
        yield [*proof[:-1], bytes([proof[-1][0] ^ 1]) + proof[-1][1:]]
        yield [proof[0][:-1] + bytes([proof[0][-1] ^ 0x80]), *proof[1:]]
        yield [proof[0][:31], *proof[1:]]
        yield [proof[0] + b"\0", *proof[1:]]
        yield []
    for at in range(1, len(proof)):
        if proof[at - 1] != proof[at]:
            yield [*proof[: at - 1], proof[at], proof[at - 1], *proof[at + 1 :]]


def test_anything_extends_the_empty_tree_and_nothing_else_is_said_of_it():
    root = merkle.root(LEAVES[:5])
    merkle.verify_consistency(0, 5, EMPTY_ROOT, root, [])
    merkle.verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    for old_root, new_root, proof in ((root, root, []), (EMPTY_ROOT, root, [root]), (bytes(32), root, [])):
        with pytest.raises(FormatError):
            merkle.verify_consistency(0, 5, old_root, new_root, proof)
    with pytest.raises(FormatError, match="wrong root"):
        merkle.verify_consistency(0, 0, EMPTY_ROOT, root, [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (5, 5), (-1, 3), (7, 2), (0, -1)])
def test_a_leaf_outside_the_tree_is_refused(index, size):
    for attempt in (
        lambda: merkle.inclusion_ranges(index, size),
        lambda: merkle.root_from_inclusion(LEAVES[0], index, size, []),
    ):
        with pytest.raises(FormatError, match="is not in a tree"):
            attempt()


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (1, 0), (0, -1)])
def test_a_tree_that_shrinks_is_refused(old, new):
    for attempt in (
        lambda: merkle.consistency_ranges(old, new),
        lambda: merkle.verify_consistency(old, new, LEAVES[0], LEAVES[1], []),
    ):
        with pytest.raises(FormatError, match="cannot extend"):
            attempt()


def test_hashes_of_another_length_are_refused_everywhere():
    leaf = LEAVES[0]
    with pytest.raises(FormatError, match="31 bytes"):
        merkle.root_from_inclusion(leaf[:31], 0, 1, [])
    with pytest.raises(FormatError, match="31 bytes"):
        merkle.root_from_inclusion(leaf, 0, 2, [leaf[:31]])
    with pytest.raises(FormatError, match="33 bytes"):
        merkle.verify_consistency(1, 2, leaf, leaf + b"\0", [leaf])
    with pytest.raises(FormatError, match="0 bytes"):
        Frontier(1, (b"",))


def test_a_path_alone_fits_several_sizes():
    """Why a receipt's verifier takes `count` from the signed header (section 10)."""
    proof = merkle.inclusion_path(LEAVES[:3], 0)
    assert merkle.root_from_inclusion(LEAVES[0], 0, 3, proof) == merkle.root_from_inclusion(LEAVES[0], 0, 4, proof)


@pytest.mark.parametrize("size", range(MOST))
def test_a_frontier_grows_to_the_same_roots(size):
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier = frontier.append(leaf)
    assert frontier == Frontier().extend(LEAVES[:size])
    assert frontier.size == size
    assert frontier.root() == merkle.root(LEAVES[:size])
    for more in range(MOST - size):
        assert frontier.extend(iter(LEAVES[size : size + more])).root() == merkle.root(LEAVES[: size + more])
    assert frontier == Frontier().extend(LEAVES[:size]), "a frontier never changes"


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 0), (2, 2), (3, 1), (7, 2), (-1, 0), (-1, 1)])
def test_a_frontier_has_one_hash_for_each_bit_of_its_size(size, count):
    with pytest.raises(FormatError, match="frontier"):
        Frontier(size, tuple(LEAVES[:count]))


class StoredTree:
    """The hash of any complete subtree, as a store of tiles would have it."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(self.levels[-1]) > 1:
            level = self.levels[-1]
            self.levels.append([merkle.node_hash(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)])

    def range_hash(self, lo: int, hi: int) -> bytes:
        nodes = merkle.range_nodes(lo, hi)
        assert [n.level for n in nodes] == sorted({n.level for n in nodes}, reverse=True)
        bounds = [(n.index << n.level, n.index + 1 << n.level) for n in nodes]
        assert [lo, *(end for _, end in bounds)] == [*(start for start, _ in bounds), hi]
        return merkle.fold([self.levels[n.level][n.index] for n in nodes])


@pytest.mark.parametrize("size", range(1, MOST))
def test_proofs_come_out_of_a_stored_tree(size):
    tree = StoredTree(LEAVES)  # larger than the tree that is proved
    assert tree.range_hash(0, size) == merkle.root(LEAVES[:size])
    for index in range(size):
        ranges = merkle.inclusion_ranges(index, size)
        assert [tree.range_hash(*r) for r in ranges] == merkle.inclusion_path(LEAVES[:size], index)
    for old in range(size + 1):
        ranges = merkle.consistency_ranges(old, size)
        assert [tree.range_hash(*r) for r in ranges] == merkle.consistency_path(LEAVES[:size], old)


def test_ranges_that_are_no_subtree_are_refused():
    assert merkle.range_nodes(0, 0) == []
    assert merkle.fold([]) == EMPTY_ROOT
    assert merkle.range_nodes(4, 7) == [Node(1, 2), Node(0, 6)]
    for lo, hi in ((1, 3), (2, 5), (-1, 1), (3, 2), (6, 9)):
        with pytest.raises(FormatError, match="no subtree"):
            merkle.range_nodes(lo, hi)


@many
@given(st.integers(1, 2**53), st.data())
def test_proofs_in_trees_of_any_size(size, data):
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    for ranges in (merkle.inclusion_ranges(index, size), merkle.consistency_ranges(old, size)):
        assert len(ranges) <= size.bit_length() + 1
        for lo, hi in ranges:
            assert 0 <= lo < hi <= size
            merkle.range_nodes(lo, hi)
    inclusion = sorted([*merkle.inclusion_ranges(index, size), (index, index + 1)])
    assert inclusion[0][0] == 0
    assert inclusion[-1][1] == size
    assert all(before[1] == after[0] for before, after in pairwise(inclusion)), "the path and the leaf tile the tree"


@many
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=200), st.data())
def test_any_leaf_of_any_tree_verifies(contents, data):
    hashes = [merkle.leaf_hash(content) for content in contents]
    index = data.draw(st.integers(0, len(hashes) - 1))
    old = data.draw(st.integers(0, len(hashes)))
    root = merkle.root(hashes)
    assert root == mth(hashes) == Frontier().extend(hashes).root()
    merkle.verify_inclusion(hashes[index], index, len(hashes), merkle.inclusion_path(hashes, index), root)
    path = merkle.consistency_path(hashes, old)
    merkle.verify_consistency(old, len(hashes), merkle.root(hashes[:old]), root, path)


# Published cases; their twins on data of our own are above.


def decode(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def cases(folder: Path) -> list[dict]:
    found = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]
    assert len(found) == 98
    return found


def test_published_inclusion_cases(vectors):
    for case in cases(vectors / "merkle" / "testdata" / "inclusion"):
        proof = [decode(item) for item in case["proof"] or []]
        arguments = (decode(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, decode(case["root"]))
        if case["wantErr"]:
            with pytest.raises(FormatError):
                merkle.verify_inclusion(*arguments)
        else:
            merkle.verify_inclusion(*arguments)


def test_published_consistency_cases(vectors):
    for case in cases(vectors / "merkle" / "testdata" / "consistency"):
        proof = [decode(item) for item in case["proof"] or []]
        roots = decode(case["root1"]), decode(case["root2"])
        # One case compares roots that are words; a root that is not 32 bytes is never right here.
        if case["wantErr"] or {len(root) for root in roots} != {32}:
            with pytest.raises(FormatError):
                merkle.verify_consistency(case["size1"], case["size2"], *roots, proof)
        else:
            merkle.verify_consistency(case["size1"], case["size2"], *roots, proof)


def test_published_roots(vectors):
    published = json.loads((vectors / "rfc6962-roots.json").read_text())
    hashes = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in published["leaves_hex"]]
    assert [merkle.root(hashes[:size]).hex() for size in range(9)] == published["roots_hex"]
