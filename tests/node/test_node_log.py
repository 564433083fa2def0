"""What a node decides: every clause by example. test_node_log_model.py runs the same decisions against a model."""

import base64
from dataclasses import replace

import pytest
from fakes.log_maker import LogMaker, signer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import block, cbor, limits, merkle
from gateway.core.merkle import Frontier
from gateway.core.note import Checkpoint, SignatureLine, b64encode, format_line
from gateway.keys import sign_checkpoint, sign_entry
from gateway.node import log as judge
from gateway.node.log import CheckpointRequest, Refusal, SyncRequest
from gateway.node.store import Growth, Head, Witnessed

NOW = 1_750_000_000


@pytest.fixture(scope="module")
def maker() -> LogMaker:
    """A log of twelve blocks. Not to be grown."""
    return LogMaker().add(12)


def head_at(maker: LogMaker, size: int, *, witnessed: int | None = None, frozen: str = "") -> Head:
    """What a node holds that has followed the log."""
    seen = size if witnessed is None else witnessed
    return Head(
        vkey=maker.vkey,
        frontier=Frontier().extend(merkle.leaf_hash(entry) for entry in maker.entries[:size]),
        last=maker.entries[size - 1] if size else b"",
        witnessed=Witnessed(seen, maker.root(seen)),
        note=maker.note(seen).encode() if seen else "",
        frozen=frozen,
    )


def request(maker: LogMaker, old: int, new: int) -> SyncRequest:
    """A good request."""
    text = maker.note(new).encode()
    return SyncRequest(old, tuple(maker.entries[old:new]), text, Checkpoint(maker.origin, new, maker.root(new)))


def grow(maker: LogMaker, head: Head, asked: SyncRequest) -> Growth | Refusal:
    """The decision on a request that begins at the log's end."""
    assert judge.judge_place(head, asked, NOW) is None
    return judge.judge_growth(head, asked, maker.signer.vkey, NOW)


def refused(answer: object, status: int, *, freeze: bool = False, evidence: str = "") -> Refusal:
    """The refusal, checked."""
    assert isinstance(answer, Refusal), answer
    assert answer.status == status, answer
    assert bool(answer.freeze) == freeze, answer
    assert (answer.evidence.kind if answer.evidence else "") == evidence, answer
    return answer


# Reading a request


def encode(old: object, entries: object, note: object) -> bytes:
    """A request of any values."""
    return cbor.encode({1: old, 2: entries, 3: note})  # type: ignore[dict-item]


def test_a_good_request_is_read(maker: LogMaker) -> None:
    read = judge.read_sync(judge.encode_sync(2, maker.entries[2:5], maker.note(5).encode()), maker.signer.vkey)
    assert read == request(maker, 2, 5)
    unknown = cbor.encode({1: 2, 2: maker.entries[2:5], 3: maker.note(5).encode(), 9: "later"})
    assert judge.read_sync(unknown, maker.signer.vkey) == read


def test_malformed_requests_are_400(maker: LogMaker) -> None:
    note = maker.note(5).encode()
    entries = maker.entries[2:5]
    good = encode(2, entries, note)
    bad = [
        b"",
        b"\xa0",
        good + b"\0",
        good[:-1],
        cbor.encode([2, entries, note]),
        encode(-1, entries, note),
        encode(True, entries, note),
        encode("2", entries, note),
        encode(2, "entries", note),
        encode(2, [1], note),
        encode(2, entries, note.encode()),
        encode(2, entries, "no note\n"),
        encode(3, entries, note),  # another size than the note's
        encode(2, entries[:2], note),
        encode(5, [], maker.note(5).text),
    ]
    for data in bad:
        refused(judge.read_sync(data, maker.signer.vkey), 400)


def test_a_note_of_another_log_size_zero_or_with_more_lines_is_400(maker: LogMaker) -> None:
    other = LogMaker("barn.example/1").add(5)
    refused(judge.read_sync(encode(2, maker.entries[2:5], other.note(5).encode()), maker.signer.vkey), 400)
    zero = sign_checkpoint(maker.signer, Checkpoint(maker.origin, 0, merkle.EMPTY_ROOT)).encode()
    refused(judge.read_sync(encode(0, [], zero), maker.signer.vkey), 400)
    extended = sign_checkpoint(maker.signer, Checkpoint(maker.origin, 5, maker.root(5), ("more",))).encode()
    refused(judge.read_sync(encode(2, maker.entries[2:5], extended), maker.signer.vkey), 400)


def test_a_note_that_the_log_did_not_sign_is_403(maker: LogMaker) -> None:
    note = maker.note(5)
    stranger = SignatureLine("stranger.example", b"abcd", bytes(64))
    unsigned = replace(note, lines=(stranger,))
    forged = replace(note, lines=(replace(note.lines[0], body=bytes(64)),))
    other_text = replace(note, text=maker.note(4).text)
    refused(judge.read_sync(encode(2, maker.entries[2:5], unsigned.encode()), maker.signer.vkey), 403)
    refused(judge.read_sync(encode(2, maker.entries[2:5], forged.encode()), maker.signer.vkey), 403)
    refused(judge.read_sync(encode(2, maker.entries[2:4], other_text.encode()), maker.signer.vkey), 403)


def test_entries_are_counted_at_the_limit_and_one_past_it(maker: LogMaker) -> None:
    def of(count: int) -> SyncRequest | Refusal:
        note = maker.note(count, root=bytes(32)).encode()
        return judge.read_sync(encode(0, [b"x"] * count, note), maker.signer.vkey)

    assert isinstance(of(limits.SYNC_ENTRIES), SyncRequest)
    assert "more than" in refused(of(limits.SYNC_ENTRIES + 1), 400).text


# Growing


def test_a_log_grows_in_any_steps_to_the_same_tree(maker: LogMaker) -> None:
    for steps in ([12], [1, 2, 3, 12], [0, 5, 5, 12]):
        head = head_at(maker, 0)
        for new in filter(None, steps):
            step = grow(maker, head, request(maker, head.size, new))
            assert isinstance(step, Growth)
            assert step.witnessed == Witnessed(new, maker.root(new))
            head = head_at(maker, new)
            assert step.frontier == head.frontier


def test_below_the_witnessed_size_nothing_is_witnessed(maker: LogMaker) -> None:
    ahead = head_at(maker, 2, witnessed=9)
    step = grow(maker, ahead, request(maker, 2, 8))
    assert isinstance(step, Growth)
    assert step.witnessed == ahead.witnessed
    assert step.note_size == 8
    for new in (9, 10):
        step = grow(maker, ahead, request(maker, 2, new))
        assert isinstance(step, Growth)
        assert step.witnessed.size == new


def test_entries_that_lead_to_another_root_at_the_witnessed_size_are_a_fork(maker: LogMaker) -> None:
    other = maker.fork(4, 8)
    ahead = replace(head_at(maker, 2), witnessed=Witnessed(9, other.root(9)), note=other.note(9).encode())
    for new in (9, 12):
        asked = request(maker, 2, new)
        place = judge.judge_place(ahead, asked, NOW)
        answer = place or judge.judge_growth(ahead, asked, maker.signer.vkey, NOW)
        fork = refused(answer, 422, freeze=True, evidence="root")
        assert fork.evidence is not None
        assert fork.evidence.held == other.note(9).encode().encode()
        assert fork.evidence.number == 9
        assert fork.evidence.sent in (maker.entries[8], maker.note(9).encode().encode())
    assert isinstance(grow(maker, ahead, request(maker, 2, 8)), Growth)  # not reached yet


def test_a_long_catch_up_meets_the_witnessed_size_too(maker: LogMaker) -> None:
    other = maker.fork(4, 8)
    ahead = replace(head_at(maker, 2), witnessed=Witnessed(9, other.root(9)), note=other.note(9).encode())
    vkey = maker.signer.vkey
    refused(judge.judge_unnoted(ahead, maker.entries[2:12], vkey, NOW), 422, freeze=True, evidence="root")
    step = judge.judge_unnoted(head_at(maker, 2), maker.entries[2:12], vkey, NOW)
    assert isinstance(step, Growth)
    assert (step.note, step.witnessed) == (None, Witnessed(2, maker.root(2)))


def test_a_false_checkpoint_is_evidence_but_no_fork(maker: LogMaker) -> None:
    asked = request(maker, 2, 5)
    false = replace(asked, checkpoint=replace(asked.checkpoint, root=bytes(32)))
    answer = refused(grow(maker, head_at(maker, 2), false), 422, evidence="tree")
    assert answer.evidence is not None
    assert answer.evidence.held == maker.entries[4]


def with_entry(maker: LogMaker, at: int, **changes: object) -> SyncRequest:
    """A request [2, 5) in which one entry says something else, under the log's own key."""
    asked = request(maker, 2, 5)
    header = replace(maker.blocks[at].header, **changes)  # type: ignore[arg-type]
    entries = list(asked.entries)
    entries[at - 2] = sign_entry(maker.signer, header.encode())
    return replace(asked, entries=tuple(entries))


def test_entries_that_do_not_follow_are_400(maker: LogMaker) -> None:
    head = head_at(maker, 2)
    for changed in (with_entry(maker, 3, height=9), with_entry(maker, 4, prev=bytes(32))):
        refused(grow(maker, head, changed), 400)
    asked = request(maker, 2, 5)
    for wrong in (b"", b"\xd2\x80", asked.entries[1], asked.entries[0] + b"\0", asked.entries[0][:-1]):
        refused(grow(maker, head, replace(asked, entries=(wrong, *asked.entries[1:]))), 400)
    other = LogMaker("barn.example/1").add(5)
    refused(grow(maker, head, replace(asked, entries=tuple(other.entries[2:5]))), 400)


def test_an_entry_that_names_another_before_it_than_ours_is_a_fork(maker: LogMaker) -> None:
    other = maker.fork(1, 5)
    fork = refused(grow(maker, head_at(maker, 2), request(other, 2, 5)), 422, freeze=True, evidence="prev")
    assert fork.evidence is not None
    assert (fork.evidence.held, fork.evidence.sent) == (maker.entries[1], other.entries[2])


def test_entries_that_the_log_did_not_sign_are_403(maker: LogMaker) -> None:
    asked = request(maker, 2, 5)
    head = head_at(maker, 2)
    broken = bytearray(asked.entries[2])
    broken[-1] ^= 1
    refused(grow(maker, head, replace(asked, entries=(*asked.entries[:2], bytes(broken)))), 403)
    header = maker.blocks[2].header.encode()
    stranger = signer("stranger.example/1")
    for key_id in (stranger.vkey.key_id, maker.signer.vkey.key_id):
        forged = block.entry(header, key_id, stranger.sign(block.to_be_signed(header, key_id)))
        refused(grow(maker, head, replace(asked, entries=(forged, *asked.entries[1:]))), 403)


def test_nothing_follows_a_closed_log() -> None:
    maker = LogMaker().add(2)
    maker.append([], reason=block.REASON_CLOSED)
    maker.add(1)
    refused(grow(maker, head_at(maker, 0), request(maker, 0, 4)), 400)
    refused(grow(maker, head_at(maker, 3), request(maker, 3, 4)), 400)
    assert isinstance(grow(maker, head_at(maker, 0), request(maker, 0, 3)), Growth)
    assert isinstance(grow(maker, head_at(maker, 3), request(maker, 3, 3)), Growth)


# A request that begins elsewhere


def resent(maker: LogMaker, head: Head, asked: SyncRequest, *, ours: LogMaker | None = None) -> Refusal:
    """The decision on a request that begins before the log's end. `ours`: the log that is held."""
    held = ours or maker
    assert judge.judge_place(head, asked, NOW) is None
    reached = asked.size <= head.size
    root, last = (held.root(asked.size), held.entries[asked.size - 1]) if reached else (None, b"")
    mine = held.entries[asked.old : min(asked.old + len(asked.entries), head.size)]
    return judge.judge_resent(head, asked, maker.signer.vkey, mine, last, root, NOW)


def test_a_gap_and_a_replay_are_409_with_our_size(maker: LogMaker) -> None:
    head = head_at(maker, 5)
    gap = judge.judge_place(head, request(maker, 6, 8), NOW)
    assert refused(gap, 409).text == "5\n"
    for old, new in ((0, 3), (0, 5), (3, 8), (4, 4)):
        assert refused(resent(maker, head, request(maker, old, new)), 409).text == "5\n"


def test_a_replay_with_another_entry_is_a_fork(maker: LogMaker) -> None:
    other = maker.fork(3, 5)
    head = head_at(maker, 5)
    for old, new in ((0, 4), (3, 4), (0, 8), (4, 6)):
        fork = refused(resent(other, head, request(other, old, new), ours=maker), 422, freeze=True, evidence="entry")
        assert fork.evidence is not None
        height = max(old, 3)
        assert fork.evidence.number == height
        assert (fork.evidence.held, fork.evidence.sent) == (maker.entries[height], other.entries[height])


def test_a_replay_with_an_entry_that_nobody_signed_proves_nothing(maker: LogMaker) -> None:
    asked = request(maker, 0, 3)
    broken = bytearray(asked.entries[1])
    broken[-1] ^= 1
    forged = replace(asked, entries=(asked.entries[0], bytes(broken), asked.entries[2]))
    refused(resent(maker, head_at(maker, 5), forged), 403)
    refused(resent(maker, head_at(maker, 5), replace(forged, entries=(b"x", *asked.entries[1:]))), 400)


def test_a_replay_with_another_root_is_a_fork(maker: LogMaker) -> None:
    other = maker.fork(3, 5)
    asked = request(other, 4, 4)  # no entries, only the checkpoint
    fork = refused(resent(other, head_at(maker, 5), asked, ours=maker), 422, freeze=True, evidence="root")
    assert fork.evidence is not None
    assert (fork.evidence.held, fork.evidence.sent) == (maker.entries[3], other.note(4).encode().encode())


def test_another_root_of_the_witnessed_size_is_a_fork_wherever_it_begins(maker: LogMaker) -> None:
    other = maker.fork(3, 9)
    ahead = head_at(maker, 5, witnessed=9)
    for old in (0, 5, 7, 9):
        fork = judge.judge_place(ahead, request(other, old, 9), NOW)
        refused(fork, 422, freeze=True, evidence="root")


def test_a_frozen_log_takes_nothing(maker: LogMaker) -> None:
    head = head_at(maker, 5, frozen="two roots of size 3")
    for old in (0, 5, 7):
        assert "two roots" in refused(judge.judge_place(head, request(maker, old, 8), NOW), 422).text
    refused(checkpoint(maker, head, 5, 8), 422)


# The tree


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), max_size=6), st.integers(0, 700))
def test_tile_hashes_and_roots_are_those_of_the_whole_tree(steps: list[int], watch: int) -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(sum(steps))]
    frontier, tiles = Frontier(), []
    passed = []
    for step in steps:
        start = frontier.size
        frontier, new, root = judge.grow_tree(frontier, leaves[start : start + step], watch)
        tiles += new
        if root is not None:
            passed.append(root)
    assert frontier == Frontier().extend(leaves)
    assert [(tile.level, tile.index) for tile in tiles] == [(1, n) for n in range(len(leaves) // 256)]
    assert [tile.hash for tile in tiles] == [merkle.root(leaves[n * 256 : n * 256 + 256]) for n in range(len(tiles))]
    assert bool(passed) == (watch <= len(leaves) and bool(steps))
    assert set(passed) <= {merkle.root(leaves[:watch])}


def test_the_second_level_of_tiles() -> None:
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(65_536)]
    before, first, _ = judge.grow_tree(Frontier(), leaves[:65_000], 0)
    _, second, _ = judge.grow_tree(before, leaves[65_000:], 0)
    tiles = {(tile.level, tile.index): tile.hash for tile in first + second}
    assert len(tiles) == 257
    assert tiles[2, 0] == merkle.root(leaves)


# add-checkpoint


def body(old: object, proof: list[bytes], note: str) -> bytes:
    """A request."""
    return f"old {old}\n{''.join(b64encode(item) + chr(10) for item in proof)}\n{note}".encode()


def read(data: bytes) -> CheckpointRequest:
    """A request that is well formed."""
    asked = judge.read_add_checkpoint(data)
    assert isinstance(asked, CheckpointRequest), asked
    return asked


def checkpoint(
    maker: LogMaker, head: Head, old: int, new: int, *, proof: list[bytes] | None = None, ours: LogMaker | None = None
) -> Growth | Refusal:
    """The decision on the log's checkpoint of size `new`."""
    proof = (maker.proof(old, new) if old <= new else []) if proof is None else proof
    asked = read(body(old, proof, maker.note(new).encode()))
    held = ours or maker
    root, last = (held.root(new), held.entries[new - 1]) if 0 < new <= head.size else (None, b"")
    return judge.judge_checkpoint(head, asked, maker.signer.vkey, root, last, NOW)


def test_checkpoints_of_any_sizes_are_witnessed_one_after_the_other(maker: LogMaker) -> None:
    for old in range(1, 12):
        for new in range(old, 13):
            step = checkpoint(maker, head_at(maker, 0, witnessed=old), old, new)
            assert isinstance(step, Growth)
            assert step.witnessed == Witnessed(new, maker.root(new))
            assert (step.note, step.note_size, step.entries) == (maker.note(new).encode(), new, ())
    assert isinstance(checkpoint(maker, Head(maker.vkey), 0, 9), Growth)


def test_malformed_checkpoint_requests_are_400(maker: LogMaker) -> None:
    note = maker.note(5).encode()
    good = body(0, [], note)
    hashes = "\n".join([b64encode(bytes(32))] * (limits.PROOF_LINES + 1))
    bad = [
        b"",
        b"old 0\n",
        note.encode(),
        good.replace(b"old 0", b"old 00"),
        good.replace(b"old 0", b"old -1"),
        good.replace(b"old 0", b"old 0x"),
        good.replace(b"old 0", b"new 0"),
        good.replace(b"old 0", b"old  0"),
        good.replace(b"old 0", b"old 18446744073709551616"),
        good.replace(b"old 0\n", b"old 0\n\n\n"),
        good.replace(b"old 0\n", b"old 0\nAAAA\n"),
        good.replace(b"old 0\n", b"old 0\n" + base64.b64encode(bytes(32))[:-2] + b"B=\n"),
        good.replace(b"old 0\n", f"old 0\n{hashes}\n".encode()),
        good.replace(b"old 0\n", b"old 0\r\n"),
        good.replace(b"\n5\n", b"\n05\n"),
        good.replace(b"old 0", b"old \xff"),
        good[:-1],
        body(0, [], maker.note(5).text),
        body(0, [], maker.note(5).text + "\n"),
        body(0, [], maker.note(5).text + "\nno line\n"),
        body(0, [], note + "x" * limits.NOTE_BYTES),
    ]
    for data in bad:
        answer = judge.read_add_checkpoint(data)
        assert isinstance(answer, Refusal), data[:80]
        assert answer.status == 400
    most = "\n".join([b64encode(bytes(32))] * limits.PROOF_LINES)
    assert len(read(good.replace(b"old 0\n", f"old 0\n{most}\n".encode())).proof) == limits.PROOF_LINES


def test_a_checkpoint_without_a_trusted_signature_is_403(maker: LogMaker) -> None:
    note = maker.note(5)
    lines = {
        "forged": format_line(replace(note.lines[0], body=bytes(64))),
        "a stranger's": format_line(SignatureLine("stranger.example", b"abcd", bytes(64))),
        "not canonical base64": format_line(note.lines[0])[:-3] + "B=\n",
        "no base64": f"— {maker.origin} ****\n",
    }
    for what, line in lines.items():
        asked = read(body(0, [], f"{note.text}\n{line}"))
        answer = judge.judge_checkpoint(Head(maker.vkey), asked, maker.signer.vkey, None, b"", NOW)
        assert refused(answer, 403), what


def test_the_old_size_must_be_ours_and_not_above_the_checkpoints(maker: LogMaker) -> None:
    head = head_at(maker, 5)
    refused(checkpoint(maker, head, 6, 5), 400)
    refused(checkpoint(maker, head, 5, 4), 400)
    for old, new in ((0, 8), (4, 8), (6, 8), (0, 5), (3, 3)):
        assert refused(checkpoint(maker, head, old, new), 409).text == "5\n"


def test_a_proof_that_does_not_verify_is_422(maker: LogMaker) -> None:
    head = head_at(maker, 0, witnessed=5)
    good = maker.proof(5, 9)
    for proof in ([], good[:-1], [*good, bytes(32)], [bytes(32), *good[1:]], good[::-1]):
        refused(checkpoint(maker, head, 5, 9, proof=proof), 422)
    refused(checkpoint(maker, head, 5, 5, proof=[bytes(32)]), 422)
    refused(checkpoint(maker, Head(maker.vkey), 0, 9, proof=[bytes(32)]), 422)
    refused(checkpoint(maker.fork(3, 9), head, 5, 9), 422)  # another tree; its proof is no proof of a fork


def test_the_same_size_again_is_signed_again_and_another_root_is_a_fork(maker: LogMaker) -> None:
    head = head_at(maker, 0, witnessed=5)
    step = checkpoint(maker, head, 5, 5)
    assert isinstance(step, Growth)
    assert step.witnessed == head.witnessed
    other = maker.fork(3, 2)
    fork = refused(checkpoint(other, head, 5, 5), 422, freeze=True, evidence="root")
    assert fork.evidence is not None
    assert fork.evidence.held == maker.note(5).encode().encode()
    assert fork.evidence.sent == other.note(5).encode().encode()


def test_evidence_of_a_fork_is_kept_whatever_the_status(maker: LogMaker) -> None:
    other = maker.fork(3, 5)
    head = head_at(maker, 5)
    refused(checkpoint(other, head, 0, 5, ours=maker), 409, freeze=True, evidence="root")
    refused(checkpoint(other, head, 5, 4, ours=maker), 400, freeze=True, evidence="root")
    refused(checkpoint(other, head, 0, 4, ours=maker), 409, freeze=True, evidence="root")
    refused(checkpoint(other, head, 0, 8, ours=maker), 409)


def test_size_zero_has_one_root(maker: LogMaker) -> None:
    head = Head(maker.vkey)

    def ask(root: bytes) -> Growth | Refusal:
        note = sign_checkpoint(maker.signer, Checkpoint(maker.origin, 0, root)).encode()
        return judge.judge_checkpoint(head, read(body(0, [], note)), maker.signer.vkey, None, b"", NOW)

    assert isinstance(ask(merkle.EMPTY_ROOT), Growth)
    refused(ask(bytes(32)), 422)


def test_a_foreign_checkpoint_may_have_more_lines(maker: LogMaker) -> None:
    text = Checkpoint(maker.origin, 5, maker.root(5), ("an extension", "another")).text()
    line = SignatureLine(maker.origin, maker.signer.vkey.key_id, maker.signer.sign(text.encode()))
    asked = read(body(0, [], f"{text}\n{format_line(line)}"))
    assert asked.text == text
    step = judge.judge_checkpoint(Head(maker.vkey), asked, maker.signer.vkey, None, b"", NOW)
    assert isinstance(step, Growth)


def test_during_a_catch_up_no_checkpoint_past_it_is_witnessed(maker: LogMaker) -> None:
    behind = replace(head_at(maker, 6), witnessed=Witnessed(2, maker.root(2)))
    refused(checkpoint(maker, behind, 2, 9), 503)
    assert isinstance(checkpoint(maker, behind, 2, 6), Growth)
    other = maker.fork(3, 9)
    refused(checkpoint(other, behind, 2, 5, ours=maker), 422, freeze=True, evidence="root")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    vkey = signer("fuzz.example/1").vkey
    for answer in (judge.read_sync(data, vkey), judge.read_add_checkpoint(b"old 0\n\n" + data)):
        assert not isinstance(answer, Refusal) or answer.status in (400, 403)


def test_an_answer_carries_what_there_is() -> None:
    bare = cbor.decode(judge.encode_answer(7, "", [], None))
    full = cbor.decode(judge.encode_answer(7, "seen", [(1, 3), (5, 6)], (4, "stored")))
    assert bare == {2: 7}
    assert full == {1: "seen", 2: 7, 3: [[1, 3], [5, 6]], 4: 4, 5: "stored"}
    ranges = [(2**53 - 2 - 2 * n, 2**53 - 1 - 2 * n) for n in range(limits.WANT_RANGES)]
    line = "— " + "n" * limits.KEY_NAME_BYTES + " " + "A" * 104 + "\n"
    assert len(judge.encode_answer(2**53 - 1, line, ranges, (2**53 - 1, line))) <= limits.SYNC_RESPONSE_BYTES
