"""A fleet's tree: every path leads to the statement, nothing else does, and it is RFC 9162's tree."""

from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core import anchor_fleet, cbor, merkle
from gateway.core.anchor import Statement
from gateway.core.anchor_fleet import Fleet, Tree
from gateway.core.limits import FLEET_LOGS, NUMBER_MAX
from gateway.errors import FormatError

NODE, NUMBER = "node.example", 1_795_000_000
SOME = settings(max_examples=60, deadline=None)


def statements(count: int) -> list[Statement]:
    return [Statement.of(f"gw-{n}.example/1", n + 1, sha256(b"root %d" % n).digest()) for n in range(count)]


@dataclass(frozen=True)
class Told:
    """What one log is given, and what stands on the chain."""

    own: Statement
    fleet: Fleet
    chain: Statement


def told(count: int, which: int) -> Told:
    own, tree = statements(count)[which], Tree(statements(count))
    index = tree.index(own.log)
    assert index is not None
    return Told(own, tree.fleet(NODE, NUMBER, index, "little", [b"x"]), tree.statement(NODE, NUMBER))


@SOME
@example(130, Random(1))
@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_each_log_is_led_to_the_one_statement_whatever_the_order(count: int, rng: object) -> None:
    made = statements(count)
    rng.shuffle(made)  # type: ignore[attr-defined]
    tree = Tree(made)
    hashes = [anchor_fleet.leaf(one) for one in sorted(made, key=lambda one: one.log)]
    assert tree.root == merkle.root(hashes)
    assert [one.log for one in tree.leaves] == sorted(one.log for one in made)
    for own in made:
        index = tree.index(own.log)
        assert index is not None
        assert tree.path(index) == tuple(merkle.inclusion_path(hashes, index))
        fleet = tree.fleet(NODE, NUMBER, index, "little", 7)
        assert Fleet.read(cbor.decode(cbor.encode(fleet.encode()))) == fleet
        assert fleet.statement(own) == tree.statement(NODE, NUMBER)


@SOME
@given(st.data())
def test_no_other_statement_is_led_there(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    one = told(count, data.draw(st.integers(0, count - 1)))
    raw = bytearray(one.own.log + one.own.size.to_bytes(8, "big") + one.own.root)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    other = Statement(bytes(raw[:32]), int.from_bytes(raw[32:40], "big"), bytes(raw[40:]))
    assert one.fleet.statement(other) != one.chain


def test_any_other_part_leads_elsewhere_or_is_refused() -> None:
    one = told(11, 4)
    fleet = one.fleet
    wrong = [
        replace(fleet, node="node2.example"),
        replace(fleet, number=NUMBER + 1),
        *(replace(fleet, index=index) for index in range(11) if index != fleet.index),
        *(replace(fleet, count=count) for count in range(fleet.index + 1, 40) if count != 11),
        replace(fleet, path=fleet.path[:-1]),
        replace(fleet, path=fleet.path[::-1]),
        *(replace(fleet, path=(*fleet.path[:n], bytes(32), *fleet.path[n + 1 :])) for n in range(len(fleet.path))),
    ]
    for other in wrong:
        try:
            found = other.statement(one.own)
        except FormatError:
            continue
        assert found != one.chain


def test_the_count_is_bound_where_paths_of_two_sizes_are_the_same() -> None:
    """A path alone fits trees of several sizes; who says "with N logs" must not choose N."""
    one = told(8, 0)
    fits = []
    for count in range(1, 200):
        try:
            fits.append(replace(one.fleet, count=count).statement(one.own) == one.chain)
        except FormatError:
            continue
    assert len(fits) > 1
    assert sum(fits) == 1


def test_a_fleet_is_nobodys_log() -> None:
    """Its statement is of an id that no origin has, and its tree's root is not the statement's."""
    tree = Tree(statements(3))
    made = tree.statement(NODE, NUMBER)
    assert made.log == sha256(b"fleet " + NODE.encode()).digest()
    assert made.root == sha256(b"FGF\x01" + (3).to_bytes(8, "big") + tree.root).digest()
    assert made.encode()[:4] == b"FGA\x01"
    assert len(made.encode()) == 76


def test_a_tree_is_of_one_log_or_more_and_of_each_once() -> None:
    with pytest.raises(FormatError, match="not 0"):
        Tree([])
    twice = statements(2)
    with pytest.raises(FormatError, match="once"):
        Tree([*twice, twice[0]._replace(size=99)])
    assert Tree(statements(2)).index(bytes(32)) is None
    assert Tree(statements(2)).index(b"\xff" * 32) is None


@pytest.mark.parametrize(
    "evidence",
    [
        None,
        [],
        [NODE, NUMBER, 0, 1, [], "little"],
        ["a b", NUMBER, 0, 1, [], "little", 0],
        ["", NUMBER, 0, 1, [], "little", 0],
        [NODE, -1, 0, 1, [], "little", 0],
        [NODE, NUMBER_MAX + 1, 0, 1, [], "little", 0],
        [NODE, True, 0, 1, [], "little", 0],
        [NODE, NUMBER, False, 1, [], "little", 0],
        [NODE, NUMBER, 1, 1, [], "little", 0],
        [NODE, NUMBER, 0, FLEET_LOGS + 1, [], "little", 0],
        [NODE, NUMBER, 0, 2, ["x" * 32], "little", 0],
        [NODE, NUMBER, 0, 1, [], "fleet", [NODE, NUMBER, 0, 1, [], "little", 0]],
        [NODE, NUMBER, 0, 1, [], 7, 0],
    ],
)
def test_evidence_that_is_none_is_refused(evidence: cbor.Value) -> None:
    with pytest.raises(FormatError):
        Fleet.read(evidence)


@pytest.mark.parametrize("path", [[b"short"], [bytes(32), bytes(32)], []])
def test_a_path_of_another_length_is_refused(path: list[bytes]) -> None:
    with pytest.raises(FormatError):
        Fleet.read([NODE, NUMBER, 0, 2, list(path), "little", 0]).statement(statements(1)[0])
