"""The session of one node: what it sends, what it believes, what it refuses. Pure: no node, no clock, no network."""

from collections.abc import Callable

import pytest
from fakes.log_maker import LogMaker, signer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core import cbor, limits, merkle
from gateway.core.note import COSIGNATURE, Checkpoint, format_line
from gateway.errors import BugError, FormatError
from gateway.keys import cosign, sign_checkpoint
from gateway.upstream.session import Answer, Session, Sync, Upload, decode_answer, encode_sync
from gateway.upstream.turns import Ask, Verified, Wait, decode_size

SEEN = signer("node.example", COSIGNATURE)
STORED = signer("node.example/stored", COSIGNATURE)
STRANGER = signer("stranger.example", COSIGNATURE)
LOG = LogMaker().signer


def note(size: int) -> str:
    """The gateway's own note of a size; the root is the size itself, hashed."""
    return sign_checkpoint(LOG, Checkpoint(LOG.vkey.name, size, root(size))).encode()


def root(size: int) -> bytes:
    return merkle.leaf_hash(str(size).encode()) if size else merkle.EMPTY_ROOT


def line(by, size: int, *, over: int | None = None) -> str:
    text = note(size if over is None else over).rpartition("\n\n")[0] + "\n"
    return format_line(cosign(by, text, 1_800_000_000))


def session(ours: int = 0, *, rng: Callable[[], float] = lambda: 1.0, **options: object) -> Session:
    options = {"may_upload": True, "rng": rng} | options
    stored_key = options.pop("stored_key", STORED.vkey)
    made = Session(LOG.vkey, SEEN.vkey, stored_key, **options)  # type: ignore[arg-type]
    made.head(ours)
    return made


def answer(made: Session, now: float = 0.0, **fields: object):
    """The node's honest answer to the sync that is under way, with changes."""
    sync = made._doing
    assert isinstance(sync, Sync)
    fields = {"size": sync.new, "seen": line(SEEN, sync.new)} | fields
    got = Answer(**fields)  # type: ignore[arg-type]
    return tell(made, now, got)


def tell(made: Session, now: float, got: Answer, *, notes: bool = True) -> list[Verified]:
    """What the client does with an answer."""
    sync = made._doing
    assert isinstance(sync, Sync)
    try:
        lines = made.verified(got, note(sync.new), note(got.stored_size) if got.stored_size and notes else None)
    except FormatError as error:
        made.failed(now, f"its answer is refused: {error}")
        return []
    made.answered(now, got, lines)
    return lines


def level(ours: int = 5, **options: object) -> Session:
    made = session(ours, **options)
    while isinstance(action := made.next(0.0), Sync) and made.entries < ours:
        answer(made, stored_size=action.new, stored=line(STORED, action.new))
    assert made.level
    return made


# -- headers ----------------------------------------------------------------------------------------------------------


def test_an_empty_log_waits_for_its_first_block() -> None:
    made = session(0)
    assert made.next(0.0) == Wait(None, for_head=True)
    assert made.level


def test_headers_go_in_bounded_requests_that_end_where_checkpoints_are_kept() -> None:
    made, sent = session(3000), []
    while isinstance(action := made.next(0.0), Sync) and made.entries < 3000:
        sent.append((action.old, action.new))
        answer(made)
    assert sent == [(0, 1024), (1024, 2048), (2048, 3000)]


def test_it_resumes_from_what_the_node_has() -> None:
    made = session(3000)
    assert made.next(0.0) == Sync(0, 1024)
    made.conflict(0.0, 1500)
    assert made.next(0.0) == Sync(1500, 2048)
    answer(made)
    assert made.next(0.0) == Sync(2048, 3000)


def test_it_begins_at_what_the_store_remembers() -> None:
    assert session(3000, seen=2500).next(0.0) == Sync(2500, 3000)
    assert session(10, seen=2500).next(0.0) == Sync(10, 10)  # the node will tell more, or not


def test_a_level_node_is_asked_once_at_the_beginning() -> None:
    made = session(5, seen=5, stored=5)
    assert made.next(0.0) == Sync(5, 5)
    answer(made)
    assert made.next(0.0) == Wait(None, for_head=True)
    made.head(6)
    assert made.next(0.0) == Sync(5, 6)


def test_a_node_that_lost_its_entries_gets_them_again() -> None:
    made = level()
    made.head(6)
    assert made.next(0.0) == Sync(5, 6)
    made.conflict(0.0, 0)
    assert made.next(0.0) == Sync(0, 6)


def test_lines_are_verified_and_returned() -> None:
    made = session(5)
    made.next(0.0)
    seen, stored = answer(made, stored_size=3, stored=line(STORED, 3))
    assert (seen.kind, seen.size, seen.note, seen.line) == ("seen", 5, note(5), line(SEEN, 5))
    assert (stored.kind, stored.size, stored.note, stored.line) == ("stored", 3, note(3), line(STORED, 3))
    assert (made.entries, made.seen, made.stored) == (5, 5, 3)


def test_lines_of_others_are_left_aside() -> None:
    made = session(5)
    made.next(0.0)
    (seen,) = answer(made, seen=line(STRANGER, 5) + line(SEEN, 5))
    assert seen.line == line(SEEN, 5)


def test_an_answer_without_a_seen_line_is_an_answer() -> None:
    made = session(5)
    made.next(0.0)
    assert answer(made, seen="") == []
    assert (made.entries, made.seen, made.trouble) == (5, 0, "")


def test_a_stored_line_over_a_size_whose_note_is_gone_is_left_aside() -> None:
    made = session(5)
    made.next(0.0)
    lines = tell(made, 0.0, Answer(5, line(SEEN, 5), (), 3, line(STORED, 3)), notes=False)
    assert [line.kind for line in lines] == ["seen"]
    assert made.stored == 0


def test_a_node_whose_stored_lines_do_not_count() -> None:
    made = session(5, stored_key=None)
    made.next(0.0)
    (seen,) = answer(made, stored_size=4, stored=line(STORED, 4))
    assert seen.kind == "seen"
    assert made.stored == 0
    assert made.next(0.0) == Wait(None, for_head=True)


NONSENSE = {
    "another size": {"size": 6},
    "a size beyond ours": {"size": 2**52},
    "a smaller size": {"size": 4},
    "a bad seen line": {"seen": line(SEEN, 5, over=4)},
    "a seen line of another": {"seen": line(STRANGER, 5)},
    "a seen line by the stored key": {"seen": line(STORED, 5)},
    "no signature line": {"seen": "hello\n"},
    "a stored size beyond its own": {"stored_size": 6, "stored": line(STORED, 6)},
    "a stored size without a line": {"stored_size": 5},
    "a bad stored line": {"stored_size": 5, "stored": line(STORED, 5, over=3)},
    "a stored line by the seen key": {"stored_size": 5, "stored": line(SEEN, 5)},
}


@pytest.mark.parametrize("fields", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused_whole_and_backed_off(fields: dict[str, object]) -> None:
    made = session(5)
    made.next(0.0)
    assert answer(made, wants=((0, 3),), **fields) == []
    assert (made.entries, made.seen, made.stored, made.wants, made.held) == (0, 0, 0, [], "")
    assert "refused" in made.trouble
    assert made.next(0.5) == Wait(1.0, for_head=False)
    assert made.next(1.0) == Sync(0, 5)
    answer(made)
    assert made.trouble == ""


# -- conflicts, claims, forks -----------------------------------------------------------------------------------------


def test_a_conflict_that_is_none_is_backed_off() -> None:
    made = session(5)
    made.next(0.0)
    made.conflict(0.0, 0)
    assert isinstance(made.next(0.0), Wait)


def test_endless_conflicts_are_backed_off() -> None:
    made = session(500)
    sizes = iter(range(1, 400))
    while isinstance(action := made.next(0.0), Sync):
        made.conflict(0.0, next(sizes))
    assert isinstance(action, Wait)
    assert "another size each time" in made.trouble
    assert made.failures == 1
    assert next(sizes) < 10


def test_after_conflicts_without_end_it_begins_where_the_node_is() -> None:
    made = session(500)
    for size in range(1, 20):
        made.next(0.0)
        made.conflict(0.0, size)
        made.hurry()
    assert made.next(0.0) == Sync(19, 500)


def claimed() -> Session:
    made = session(5)
    made.next(0.0)
    made.conflict(0.0, 9)
    assert made.next(0.0) == Ask()
    return made


@pytest.mark.parametrize(
    "shown",
    [
        None,
        b"",
        b"nonsense",
        note(9).replace("\n9\n", "\n8\n").encode(),
        note(5).encode(),
        sign_checkpoint(signer("another.example/1"), Checkpoint("another.example/1", 9, bytes(32))).encode().encode(),
    ],
)
def test_a_size_beyond_ours_is_nonsense_without_our_own_signature(shown: bytes | None) -> None:
    made = claimed()
    made.shown(0.0, made.signed_by_log(shown), root(5))
    assert made.held == ""
    assert "shows no checkpoint" in made.trouble
    assert isinstance(made.next(0.0), Wait)
    assert made.next(1.0) == Sync(0, 5)


def test_a_size_beyond_ours_under_our_own_key_is_held() -> None:
    made = claimed()
    made.shown(0.0, made.signed_by_log(note(9).encode()), None)
    assert "9 entries signed by this log's key; this gateway has 5" in made.held
    assert made.next(1e9) == Wait(None, for_head=False)


def test_another_root_under_our_own_key_is_held() -> None:
    made = claimed()
    made.shown(0.0, made.signed_by_log(note(5).encode()), bytes(32))
    assert "5 entries signed by this log's key with another root" in made.held
    assert made.proved


@pytest.mark.parametrize("shows", [True, False])
def test_a_size_that_the_log_has_reached_while_it_was_asked_is_no_claim(shows: bool) -> None:
    made = claimed()
    made.head(10)
    seen = made.signed_by_log(note(9).encode()) if shows else None
    made.shown(0.0, seen, seen and seen.root)
    assert (made.held, made.trouble) == ("", "")
    assert made.next(0.0) == Sync(9, 10)


def test_a_fork_is_held_for_good() -> None:
    made = session(5)
    made.next(0.0)
    made.fork("it answers 422")
    made.head(6)
    made.hurry()
    assert made.next(1e9) == Wait(None, for_head=False)


# -- stored size ------------------------------------------------------------------------------------------------------


def test_a_falling_stored_size_is_an_alarm_until_it_has_risen_again() -> None:
    made = level(5)
    made.head(6)
    made.next(0.0)
    answer(made, stored_size=2, stored=line(STORED, 2), wants=((2, 5),))
    assert "fell from 5 to 2" in made.fallen
    assert made.stored == 2
    assert isinstance(made.next(0.0), Wait)
    sent = []
    while isinstance(action := made.next(1.0), Upload):  # it is helped to get them again
        sent.append(action.height)
        made.uploaded(action.height)
    assert sent == [2, 3, 4]
    answer(made, 1.0, stored_size=6, stored=line(STORED, 6))
    assert (made.fallen, made.trouble, made.stored) == ("", "", 6)


def test_a_stored_size_that_fell_while_the_gateway_was_away() -> None:
    made = session(9, seen=9, stored=7)
    made.next(0.0)
    answer(made, stored_size=0)
    assert "fell from 7 to 0" in made.fallen


def test_an_answer_that_does_not_speak_of_stored_changes_nothing() -> None:
    made = session(9, seen=9, stored=7)
    made.next(0.0)
    answer(made)
    assert (made.stored, made.fallen) == (7, "")


# -- bodies -----------------------------------------------------------------------------------------------------------


def wanting(*wants: tuple[int, int], ours: int = 200, **options: object) -> Session:
    made = session(ours, **options)
    made.next(0.0)
    answer(made, wants=wants)
    return made


def test_wanted_bodies_are_sent_in_order_and_then_the_node_is_asked_again() -> None:
    made, sent = wanting((1, 3), (7, 8)), []
    while isinstance(action := made.next(0.0), Upload):
        sent.append(action.height)
        made.uploaded(action.height)
    assert sent == [1, 2, 7]
    assert action == Sync(200, 200)


def test_a_round_of_uploads_is_bounded() -> None:
    made, sent = wanting((0, 200)), 0
    while isinstance(action := made.next(0.0), Upload):
        made.uploaded(action.height)
        sent += 1
    assert sent == limits.UPLOADS_A_ROUND
    assert action == Sync(200, 200)


def test_new_headers_go_before_bodies() -> None:
    made = wanting((0, 200))
    assert made.next(0.0) == Upload(0)
    made.uploaded(0)
    made.head(201)
    assert made.next(0.0) == Sync(200, 201)


def test_a_node_that_pulls_is_not_sent_bodies_but_asked_now_and_then() -> None:
    made = wanting((0, 200), may_upload=False)
    action = made.next(0.0)
    assert isinstance(action, Wait)
    assert action.for_head
    assert action.until is not None
    assert made.next(action.until) == Sync(200, 200)


def test_a_node_that_asks_again_for_what_it_took_is_backed_off_longer_each_time() -> None:
    made, now, pauses = wanting((0, 1)), 0.0, []
    for _ in range(8):
        assert made.next(now) == Upload(0)
        made.uploaded(0)
        assert isinstance(made.next(now), Sync)
        answer(made, now, wants=((0, 1),))
        assert "again for block 0" in made.trouble
        pause = made.next(now)
        assert isinstance(pause, Wait)
        assert pause.until is not None
        pauses.append(pause.until - now)
        now = pause.until
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_body_that_cannot_be_sent_does_not_stand_in_the_way() -> None:
    made = wanting((0, 3))
    assert made.next(0.0) == Upload(0)
    made.skipped(0, "gone")
    assert made.next(0.0) == Upload(1)


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_back_off_has_full_jitter_and_a_cap() -> None:
    made, now = session(5, rng=lambda: 0.25), 0.0
    pauses = []
    for _ in range(9):
        assert isinstance(made.next(now), Sync)
        made.failed(now, "away")
        wait = made.next(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        pauses.append(wait.until - now)
        now = wait.until
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]
    made.next(now)
    answer(made, now)
    assert made.next(now) != Wait(None, for_head=False)
    made.head(6)
    assert made.next(now) == Sync(5, 6)  # healthy again: at once


def test_new_heads_do_not_shorten_a_back_off() -> None:
    made = session(5)
    made.next(0.0)
    made.failed(0.0, "away")
    made.head(6)
    assert made.next(0.5) == Wait(1.0, for_head=False)
    made.hurry()
    assert made.next(0.5) == Sync(0, 6)


def test_a_node_that_is_behind_is_asked_less_and_less_often() -> None:
    made = session(5)
    made.next(0.0)
    answer(made)
    now, pauses = 0.0, []
    for _ in range(9):
        wait = made.next(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        pauses.append(wait.until - now)
        now = wait.until
        made.next(now)
        answer(made, now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


# -- bytes ------------------------------------------------------------------------------------------------------------


def test_the_largest_request_fits() -> None:
    entries = [bytes(limits.ENTRY_BYTES)] * limits.SYNC_ENTRIES
    data = encode_sync(2**53 - 1, entries, note(5))
    assert len(data) <= limits.SYNC_REQUEST_BYTES
    assert cbor.decode(data) == {1: 2**53 - 1, 2: entries, 3: note(5)}
    with pytest.raises(BugError):
        encode_sync(0, [*entries, b""], note(5))
    with pytest.raises(BugError):
        encode_sync(0, entries, "x" * 100_000)


def test_answers_as_section_8_has_them() -> None:
    assert decode_answer(cbor.encode({2: 5})) == Answer(5)
    full = {1: "a\n", 2: 9, 3: [[0, 2], [2, 9]], 4: 3, 5: "b\n", 6: [7, 9], 7: "unknown"}
    assert decode_answer(cbor.encode(full)) == Answer(9, "a\n", ((0, 2), (2, 9)), 3, "b\n", (7, 9))
    ranges = [[2 * n, 2 * n + 1] for n in range(limits.WANT_RANGES)]
    assert len(decode_answer(cbor.encode({2: 5000, 3: ranges})).wants) == limits.WANT_RANGES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        cbor.encode([]),
        cbor.encode({}),
        cbor.encode({2: -1}),
        cbor.encode({2: "5"}),
        cbor.encode({2: True}),
        cbor.encode({2: 1.5}),
        cbor.encode({2: 5}) + b"\x00",
        cbor.encode({1: 1, 2: 5}),
        cbor.encode({2: 5, 4: -1}),
        cbor.encode({2: 5, 5: b"x"}),
        cbor.encode({2: 5, 3: {}}),
        cbor.encode({2: 5, 6: 7}),
        cbor.encode({2: 5, 6: [-1]}),
        cbor.encode({2: 5, 6: list(range(17))}),
        cbor.encode({2: 5, 3: [[0]]}),
        cbor.encode({2: 5, 3: [[0, 1, 2]]}),
        cbor.encode({2: 5, 3: [[1, 1]]}),
        cbor.encode({2: 5, 3: [[0, 6]]}),
        cbor.encode({2: 5, 3: [[2, 3], [0, 1]]}),
        cbor.encode({2: 5, 3: [[0, 3], [2, 4]]}),
        cbor.encode({2: 5, 3: [[-1, 3]]}),
        cbor.encode({2: 5, 3: [["a", "b"]]}),
        cbor.encode({2: 5000, 3: [[2 * n, 2 * n + 1] for n in range(limits.WANT_RANGES + 1)]}),
        cbor.encode({2: 5, 9: bytes(limits.SYNC_RESPONSE_BYTES)}),
    ],
)
def test_answers_that_are_none(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_answer(data)


def test_the_size_of_a_conflict() -> None:
    assert decode_size(b"12\n") == 12
    for wrong in (b"", b"12", b"12\n\n", b"012\n", b"-1\n", b" 1\n", b"1e3\n", b"\xff\n", b"9" * 30 + b"\n"):
        with pytest.raises(FormatError):
            decode_size(wrong)


def test_answers_to_nothing_are_our_own_fault() -> None:
    made = session(5)
    with pytest.raises(BugError):
        made.verified(Answer(5), note(5), None)
    with pytest.raises(BugError):
        made.conflict(0.0, 1)
    with pytest.raises(BugError):
        made.uploaded(1)
    with pytest.raises(BugError):
        made.head(4)


def test_what_a_node_writes_cannot_break_a_line() -> None:
    made = session(5)
    made.next(0.0)
    made.failed(0.0, "bad\x1b[2J\nthing" + "x" * 1000)
    assert made.trouble.isprintable()
    assert len(made.trouble) == limits.DETAIL_CHARS


# -- any order of events ----------------------------------------------------------------------------------------------


class AnyNode(RuleBasedStateMachine):
    """A node that answers whatever Hypothesis likes. Bounds hold, only wanted bodies go, an honest node ends level."""

    def __init__(self) -> None:
        super().__init__()
        self.made = session(0, rng=lambda: 0.5)
        self.now = 0.0
        self.ours = self.turned_at = 0
        self.wanted: set[int] = set()
        self.action: object = self.made.next(self.now)

    def turn(self) -> None:
        self.action = self.made.next(self.now)
        self.turned_at = self.ours

    @rule(blocks=st.integers(1, 1500))
    def head(self, blocks: int) -> None:
        self.ours += blocks
        self.made.head(self.ours)
        if isinstance(self.action, Wait):
            self.turn()

    @precondition(lambda self: isinstance(self.action, Wait))
    @rule(seconds=st.floats(0.01, 100))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.turn()

    @precondition(lambda self: isinstance(self.action, Sync))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        sync = self.action
        assert isinstance(sync, Sync)
        size = data.draw(st.one_of(st.just(sync.new), st.integers(0, 5000)))
        cuts = sorted(data.draw(st.sets(st.integers(0, size), max_size=6)))
        wants = tuple(zip(cuts[::2], cuts[1::2], strict=False))
        stored = data.draw(st.one_of(st.none(), st.integers(0, size)))
        seen = data.draw(st.sampled_from([line(SEEN, sync.new), "", line(STRANGER, sync.new)]))
        got = Answer(size, seen, wants, stored, line(STORED, stored) if stored else "")
        failures = self.made.failures
        kept = tell(self.made, self.now, got)
        if size == sync.new and "stranger" not in seen:
            self.wanted = {height for lo, hi in wants for height in range(lo, hi)}
        else:
            assert self.made.failures == failures + 1
            assert kept == []
        self.turn()

    @precondition(lambda self: isinstance(self.action, Sync))
    @rule(size=st.integers(0, 5000))
    def conflict(self, size: int) -> None:
        self.made.conflict(self.now, size)
        self.turn()

    @precondition(lambda self: isinstance(self.action, Ask))
    @rule(size=st.one_of(st.none(), st.integers(0, 5)))
    def shown(self, size: int | None) -> None:
        seen = None if size is None or size > self.ours else self.made.signed_by_log(note(size).encode())
        self.made.shown(self.now, seen, seen and seen.root)
        self.turn()

    @precondition(lambda self: isinstance(self.action, Upload))
    @rule(took=st.booleans())
    def upload(self, took: bool) -> None:
        assert isinstance(self.action, Upload)
        (self.made.uploaded if took else lambda height: self.made.skipped(height, "no"))(self.action.height)
        self.turn()

    @precondition(lambda self: not isinstance(self.action, Wait))
    @rule()
    def fail(self) -> None:
        self.made.failed(self.now, "away")
        self.turn()

    @invariant()
    def bounds(self) -> None:
        action = self.action
        if isinstance(action, Sync):
            assert 0 <= action.old <= action.new <= self.ours
            assert action.new - action.old <= limits.SYNC_ENTRIES
            kept = action.new % limits.SYNC_ENTRIES == 0 or action.new == self.turned_at
            assert kept or action.old == action.new
        if isinstance(action, Upload):
            assert action.height in self.wanted
            assert self.made.entries == self.turned_at
        if isinstance(action, Wait) and action.until is not None:
            assert action.until <= self.now + limits.UPSTREAM_BACKOFF_S
        assert len(self.made._round) <= limits.UPLOADS_A_ROUND

    def teardown(self) -> None:
        """From wherever it stands, an honest node is level after a bounded number of exchanges."""
        made = self.made
        if not self.ours:
            return
        if not isinstance(self.action, Wait):
            made.failed(self.now, "it goes away and comes back honest")
        size, lacking = min(made.entries, self.ours), set(range(min(self.ours, 100)))
        for _ in range(self.ours // limits.SYNC_ENTRIES + 3 * len(lacking) + 40):
            action = made.next(self.now)
            if isinstance(action, Wait):
                if made.level and made.stored == self.ours:
                    break
                assert action.until is not None
                self.now = action.until
            elif isinstance(action, Ask):
                seen = made.signed_by_log(note(1).encode())
                made.shown(self.now, seen, seen and seen.root)
            elif isinstance(action, Upload):
                lacking.discard(action.height)
                made.uploaded(action.height)
            elif action.old != size:
                made.conflict(self.now, size)
            else:
                size = action.new
                stored = min(lacking, default=size)
                wants = tuple((height, height + 1) for height in sorted(lacking) if height < size)
                got = Answer(size, line(SEEN, size), wants, stored, line(STORED, stored) if stored else "")
                tell(made, self.now, got)
        assert made.level
        assert (made.seen, made.stored, made.trouble) == (self.ours, self.ours, "")


AnyNode.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyNode = AnyNode.TestCase
