"""Merkle tree of RFC 9162 section 2.1 over SHA-256: roots, proofs, their verification, and ranges of a stored tree.

Hashes are 32 bytes everywhere. A *range* `(lo, hi)` stands for MTH(D[lo:hi]), the hash of leaves lo <= i < hi.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from gateway.errors import FormatError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


class Node(NamedTuple):
    """The complete subtree over leaves [index << level, (index + 1) << level)."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\1" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """The tree hash over leaf hashes; `EMPTY_ROOT` for none (RFC 9162 section 2.1.1)."""
    level = list(hashes)
    if not level:
        return EMPTY_ROOT
    hasher = sha256
    while len(level) > 1:
        # Where a level has an odd node it rises unchanged: the split at the largest power of two, from below.
        odd = level[-1:] if len(level) & 1 else []
        pairs = iter(level)
        level = [hasher(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        level += odd
    return level[0]


# Proofs (RFC 9162 sections 2.1.3.1 and 2.1.4.1)


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges whose hashes are the inclusion path of leaf `index` in a tree of `size` leaves, in path order."""
    if not 0 <= index < size:
        raise FormatError(f"leaf {index} is not in a tree of {size} leaves")
    lo, hi = 0, size
    ranges = []
    while hi - lo > 1:
        middle = lo + _split(hi - lo)
        if index < middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The ranges whose hashes prove that a tree of `new` leaves extends one of `old`, in path order.

    None where old is 0 or equal to new: nothing is to be proved.
    """
    if not 0 <= old <= new:
        raise FormatError(f"a tree of {new} leaves cannot extend one of {old}")
    if old in (0, new):
        return []
    lo, hi = 0, new
    ranges = []
    while hi != old:
        middle = lo + _split(hi - lo)
        if old <= middle:
            ranges.append((middle, hi))
            hi = middle
        else:
            ranges.append((lo, middle))
            lo = middle
    if lo:  # otherwise the subtree is the old tree itself, whose root the verifier has
        ranges.append((lo, hi))
    return ranges[::-1]


def inclusion_path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion path of leaf `index`, sibling of the leaf first."""
    return [root(hashes[lo:hi]) for lo, hi in inclusion_ranges(index, len(hashes))]


def consistency_path(hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """The proof that the tree over `hashes` extends the tree over its first `old_size`."""
    return [root(hashes[lo:hi]) for lo, hi in consistency_ranges(old_size, len(hashes))]


# Verification (RFC 9162 sections 2.1.3.2 and 2.1.4.2)


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that `path` leads to from the leaf hash `leaf`. FormatError unless its length is the right one."""
    if not 0 <= index < size:
        raise FormatError(f"leaf {index} is not in a tree of {size} leaves")
    _check_hashes(leaf, *path)
    place, last = index, size - 1
    result = leaf
    for sibling in path:
        if last == 0:
            raise FormatError(f"the inclusion path is too long for leaf {index} of {size}: {len(path)} hashes")
        if place & 1 or place == last:
            result = node_hash(sibling, result)
            while place and not place & 1:
                place >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise FormatError(f"the inclusion path is too short for leaf {index} of {size}: {len(path)} hashes")
    return result


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """FormatError unless `path` proves that the leaf hash `leaf` is number `index` of the tree (size, root)."""
    if root_from_inclusion(leaf, index, size, path) != root:
        raise FormatError(f"the inclusion path of leaf {index} does not lead to the root of size {size}")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """FormatError unless `path` proves that the tree (new, new_root) extends the tree (old, old_root).

    Every tree extends the empty one and itself; both take an empty path, and the roots are checked all the same.
    """
    if not 0 <= old <= new:
        raise FormatError(f"a tree of {new} leaves cannot extend one of {old}")
    _check_hashes(old_root, new_root, *path)
    if old in (0, new):
        if path:
            raise FormatError(f"the consistency proof from {old} to {new} must be empty, not {len(path)} hashes")
        if (old == 0 and old_root != EMPTY_ROOT) or (old == new and old_root != new_root):
            raise FormatError(f"the consistency proof from {old} to {new} is over a wrong root")
        return
    if _roots_from_consistency(old, new, old_root, path) != (old_root, new_root):
        raise FormatError(f"the consistency proof does not lead from the root of size {old} to the root of size {new}")


def _roots_from_consistency(old: int, new: int, old_root: bytes, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The old and the new root that the path leads to, 0 < old < new."""
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    rest = list(path)
    if place:  # old is no power of two: the path begins with the largest subtree at the old tree's edge
        if not rest:
            raise FormatError(f"the consistency proof from {old} to {new} is empty")
        first = rest.pop(0)
    else:
        first = old_root
    was = now = first
    for sibling in rest:
        if last == 0:
            raise FormatError(f"the consistency proof from {old} to {new} is too long: {len(path)} hashes")
        if place & 1 or place == last:
            was = node_hash(sibling, was)
            now = node_hash(sibling, now)
            while place and not place & 1:
                place >>= 1
                last >>= 1
        else:
            now = node_hash(now, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise FormatError(f"the consistency proof from {old} to {new} is too short: {len(path)} hashes")
    return was, now


# A stored tree


def range_nodes(lo: int, hi: int) -> list[Node]:
    """The complete subtrees that make up the range, left to right; `fold` of their hashes is the range's hash.

    The range must be a subtree of some tree: `lo` is a multiple of the smallest power of two not below hi - lo.
    """
    width = hi - lo
    if lo < 0 or width < 0 or (width and lo % _ceiling(width)):
        raise FormatError(f"leaves {lo} to {hi} are no subtree")
    nodes = []
    for level in range(width.bit_length() - 1, -1, -1):
        if width >> level & 1:
            nodes.append(Node(level, lo >> level))
            lo += 1 << level
    return nodes


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over complete subtrees of falling size, given left to right; `EMPTY_ROOT` for none."""
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of `size` leaves as the hashes of its complete subtrees, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise FormatError(f"a frontier of size {self.size} does not have {len(self.hashes)} hashes")
        _check_hashes(*self.hashes)

    def append(self, leaf_hash: bytes) -> "Frontier":
        """The frontier with one more leaf."""
        return self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier with more leaves, in order."""
        hashes = list(self.hashes)
        size = self.size
        for carried in leaf_hashes:
            level = size
            while level & 1:
                carried = node_hash(hashes.pop(), carried)
                level >>= 1
            hashes.append(carried)
            size += 1
        return Frontier(size, tuple(hashes))

    def root(self) -> bytes:
        """The tree hash; `EMPTY_ROOT` at size 0."""
        return fold(self.hashes)


def _split(width: int) -> int:
    """The largest power of two below `width`, which is 2 or more."""
    return 1 << (width - 1).bit_length() - 1


def _ceiling(width: int) -> int:
    """The smallest power of two not below `width`, which is 1 or more."""
    return 1 << (width - 1).bit_length()


def _check_hashes(*hashes: bytes) -> None:
    for item in hashes:
        if len(item) != HASH_BYTES:
            raise FormatError(f"a hash has {len(item)} bytes, not {HASH_BYTES}")
