"""The session of one witness: when it is asked, what it believes, what it refuses. Pure: no clock, no network."""

from collections.abc import Callable

import pytest
from fakes.log_maker import LogMaker, signer
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import limits, merkle
from gateway.core.note import COSIGNATURE, ED25519, Checkpoint, SignatureLine, format_line, parse_note
from gateway.errors import BugError, FormatError
from gateway.keys import cosign, sign_checkpoint
from gateway.upstream.turns import Ask, Verified, Wait
from gateway.upstream.witness_session import Add, WitnessSession, encode_add

KEY = signer("witness.example", COSIGNATURE)
STRANGER = signer("stranger.example", COSIGNATURE)
LOG = LogMaker().signer
NOW_S = 1_800_000_000
EARLIEST_S = 1_795_000_000


def note(size: int) -> str:
    """The gateway's own note of a size; the root is the size itself, hashed."""
    return sign_checkpoint(LOG, Checkpoint(LOG.vkey.name, size, root(size))).encode()


def root(size: int) -> bytes:
    return merkle.leaf_hash(str(size).encode()) if size else merkle.EMPTY_ROOT


def line(size: int, *, by=KEY, time_s: int = NOW_S) -> str:
    return format_line(cosign(by, parse_note(note(size)).text, time_s))


def session(ours: int = 0, *, seen: int = 0, every_s: float = 60.0, rng: Callable[[], float] = lambda: 1.0):
    made = WitnessSession(LOG.vkey, KEY.vkey, every_s=every_s, rng=rng, seen=seen)
    made.head(ours)
    return made


def verified(made: WitnessSession, lines: str, now_s: float | None = NOW_S) -> Verified:
    add = made._doing
    assert isinstance(add, Add)
    return made.verified(lines, note(add.new), now_s=now_s, earliest_s=EARLIEST_S)


def sign(made: WitnessSession, now: float) -> Add:
    """It is asked, and signs."""
    add = made.next(now)
    assert isinstance(add, Add)
    made.signed(now, verified(made, line(add.new)))
    return add


def test_the_request_is_as_tlog_witness_has_it() -> None:
    own = note(9)
    assert (
        encode_add(4, [bytes(32), bytes([1]) * 32], own)
        == (
            "old 4\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\n"
            + own
        ).encode()
    )
    assert encode_add(0, [], own) == f"old 0\n\n{own}".encode()
    with pytest.raises(BugError):
        encode_add(4, [bytes(32)] * 64, own)


def test_nothing_is_sent_before_there_is_a_block() -> None:
    made = session()
    assert made.next(0) == Wait(None, for_head=True)
    assert made.level
    made.head(1)
    assert not made.level
    assert made.next(0) == Add(0, 1)


def test_the_newest_checkpoint_goes_there_at_most_once_in_an_interval() -> None:
    made = session(3)
    assert sign(made, 125.0) == Add(0, 3)
    assert made.level
    assert made.next(126.0) == Wait(None, for_head=True)
    made.head(4)
    assert made.next(127.0) == Wait(180.0, for_head=False)
    made.head(9)  # more have come meanwhile
    assert sign(made, 180.0) == Add(3, 9)
    made.head(10)
    assert sign(made, 241.0) == Add(9, 10)  # long after: at once


@settings(max_examples=30)
@given(
    every=st.floats(1, 500),
    began=st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)),
    heads=st.lists(st.floats(0.1, 900), min_size=1, max_size=30),
)
def test_witnesses_of_one_interval_sign_the_same_sizes(every, began, heads) -> None:
    """Whenever each was asked first: once both are level, every size that one signs the other does too."""
    both = [session(1, every_s=every), session(1, every_s=every)]
    for made, at in zip(both, began, strict=True):
        sign(made, at)
    now, ours = max(began) + 2 * every, 1
    for pause in heads:
        now += pause
        ours += 1
        for made in both:
            made.head(ours)
        actions = [made.next(now) for made in both]
        assert actions[0] == actions[1]
        if isinstance(actions[0], Add):
            for made in both:
                made.signed(now, verified(made, line(ours)))


def test_after_a_restart_it_is_asked_once_where_it_was() -> None:
    made = session(7, seen=7)
    assert sign(made, 5.0) == Add(7, 7)
    assert made.next(6.0) == Wait(None, for_head=True)
    behind = session(9, seen=7)
    assert behind.next(5.0) == Add(7, 9)
    ahead = session(5, seen=7)  # the store went back to a copy
    assert ahead.next(5.0) == Add(5, 5)


def test_somebody_who_asks_and_a_stop_do_not_wait() -> None:
    made = session(3)
    sign(made, 10.0)
    made.head(4)
    assert isinstance(made.next(11.0), Wait)
    made.hurry()
    assert sign(made, 11.0) == Add(3, 4)
    made.hurry()  # nothing is left
    assert made.next(11.0) == Wait(None, for_head=True)
    made.ask()
    assert sign(made, 11.0) == Add(4, 4)
    assert made.next(11.0) == Wait(None, for_head=True)
    made.head(5)
    made.next(60.0)
    made.failed(60.0, "away")
    assert isinstance(made.next(60.5), Wait)
    made.ask()
    assert made.next(60.5) == Add(4, 5)


def test_failures_are_backed_off_up_to_a_bound() -> None:
    made, now = session(3), 0.0
    pauses = []
    for _ in range(20):
        assert made.next(now) == Add(0, 3)
        made.failed(now, "away\x07")
        wait = made.next(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        pauses.append(wait.until - now)
        now = wait.until
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == pauses[-1] == limits.WITNESS_BACKOFF_S
    assert made.trouble == "away?"
    sign(made, now)
    assert (made.trouble, made.seen) == ("", 3)


# -- lines ------------------------------------------------------------------------------------------------------------


def test_lines_of_other_keys_and_kinds_are_left_aside() -> None:
    made = session(3)
    made.next(0)
    post_quantum = SignatureLine(KEY.vkey.name, b"\x01\x02\x03\x04", bytes(2428))  # ML-DSA-44 is so long
    answer = line(3, by=STRANGER) + format_line(post_quantum) + line(3)
    assert verified(made, answer) == Verified("seen", 3, note(3), line(3))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        line(3, by=STRANGER),
        line(2),  # of another checkpoint
        line(3)[:-1],
        line(3).replace("— ", "- "),
        line(3) + "\n",
        format_line(SignatureLine(KEY.vkey.name, KEY.vkey.key_id, bytes(72))),
        format_line(SignatureLine(KEY.vkey.name, KEY.vkey.key_id, bytes(64))),
        line(3, by=STRANGER) * 65,
        "x" * (limits.NOTE_BYTES + 1),
    ],
)
def test_no_good_line(answer: str) -> None:
    made = session(3)
    made.next(0)
    with pytest.raises(FormatError):
        verified(made, answer)


@pytest.mark.parametrize(
    ("time_s", "now_s", "good"),
    [
        (NOW_S - 300, NOW_S, True),
        (NOW_S - 301, NOW_S, False),
        (NOW_S + 300, NOW_S, True),
        (NOW_S + 301, NOW_S, False),
        (2**62, NOW_S, False),
        (EARLIEST_S, None, True),  # this gateway does not know the time
        (EARLIEST_S - 1, None, False),
        (NOW_S + 10**7, None, True),
    ],
)
def test_the_time_of_a_line(time_s: int, now_s: float | None, good: bool) -> None:
    made = session(3)
    made.next(0)
    if good:
        assert verified(made, line(3, time_s=time_s), now_s)
    else:
        with pytest.raises(FormatError, match="it signs with the time"):
            verified(made, line(3, time_s=time_s), now_s)


# -- what it says that does not fit -----------------------------------------------------------------------------------


def test_its_size_is_taken_over() -> None:
    made = session(9, seen=0)
    assert made.next(0) == Add(0, 9)
    made.conflict(0, 4)
    assert sign(made, 0) == Add(4, 9)
    made.head(12)
    made.next(60)
    made.conflict(60, 2)  # it was restored from a copy
    assert sign(made, 60) == Add(2, 12)
    assert made.seen == 12


def test_a_size_that_it_gives_and_refuses() -> None:
    made = session(9)
    made.next(0)
    made.conflict(0, 0)
    assert "says that it is at 0" in made.trouble
    made, now = session(99), 0.0
    for size in (1, 2, 3, 4):
        assert isinstance(made.next(now), Add)
        made.conflict(now, size)
    assert "another size each time" in made.trouble


def doubted(how: str) -> WitnessSession:
    """It hints at another history."""
    made = session(9, seen=4)
    assert made.next(0) == Add(4, 9)
    if how == "larger":
        made.conflict(0, 12)
    else:
        made.refused("it answers 422 to the proof from 4 to 9")
    assert made.next(0) == Ask()
    return made


def shown(size: int, *, by=LOG, of: bytes | None = None) -> bytes:
    return sign_checkpoint(by, Checkpoint(LOG.vkey.name, size, of or root(size))).encode().encode()


@pytest.mark.parametrize("how", ["larger", "refused"])
@pytest.mark.parametrize(
    "data",
    [None, b"", b"nonsense", shown(12, by=signer(LOG.vkey.name, ED25519, seed=bytes(32))), shown(4), shown(9)],
    ids=["nothing", "empty", "nonsense", "another key", "an old one of ours", "our own"],
)
def test_its_word_alone_holds_nothing(how: str, data: bytes | None) -> None:
    made = doubted(how)
    checkpoint = made.signed_by_log(data)
    made.shown(0, checkpoint, root(checkpoint.size) if checkpoint else None)
    assert made.claimed
    assert not made.held
    assert not made.proved
    assert "shows no checkpoint that proves it" in made.trouble
    assert made.next(0) == Wait(1.0, for_head=False)
    assert sign(made, 1.0).new == 9
    assert not made.claimed


@pytest.mark.parametrize("how", ["larger", "refused"])
@pytest.mark.parametrize(("size", "own"), [(12, None), (7, root(7)), (9, root(9))])
def test_a_checkpoint_under_the_logs_key_that_is_not_of_this_history(how: str, size: int, own: bytes | None) -> None:
    made = doubted(how)
    checkpoint = made.signed_by_log(shown(size, of=bytes(32)))
    made.shown(0, checkpoint, own)
    assert made.proved
    assert f"{size} entries signed by this log's key" in made.held
    made.ask()
    made.hurry()
    assert made.next(1e9) == Wait(None, for_head=False)


@pytest.mark.parametrize("shows", [True, False])
def test_a_size_that_the_log_has_reached_while_it_was_asked_is_no_claim(shows: bool) -> None:
    made = doubted("larger")
    made.head(13)
    made.shown(0, made.signed_by_log(shown(12)) if shows else None, root(12) if shows else None)
    assert (made.held, made.trouble, made.claimed) == ("", "", False)
    assert made.next(0) == Add(12, 13)


def test_a_claim_is_forgotten_where_something_else_goes_wrong() -> None:
    made = doubted("refused")
    made.shown(0, None, None)
    made.next(5)
    made.failed(5, "away")
    assert (made.claimed, made.trouble) == (False, "away")
    assert made.next(1e6) == Add(4, 9)


@settings(max_examples=40)
@given(st.data())
def test_whatever_it_answers(data: st.DataObject) -> None:
    """Requests fit the log as it is, waits end or wait for a block, and only proof holds anything."""
    made, now = session(data.draw(st.integers(0, 5)), seen=data.draw(st.integers(0, 5))), 0.0
    for _ in range(data.draw(st.integers(1, 30))):
        now += data.draw(st.floats(0, 100))
        made.head(made.ours + data.draw(st.integers(0, 3)))
        action = made.next(now)
        if isinstance(action, Wait):
            assert action.for_head or action.until is not None
            assert action.until is None or now < action.until <= now + max(60.0, limits.WITNESS_BACKOFF_S)
        elif isinstance(action, Ask):
            if data.draw(st.booleans()):
                made.shown(now, made.signed_by_log(shown(made.ours)) if made.ours else None, root(made.ours))
            else:
                made.failed(now, "away")
        else:
            assert 0 <= action.old <= action.new == made.ours
            assert made.ours > 0
            answer = data.draw(st.sampled_from(["sign", "fail", "size", "refuse"]))
            if answer == "sign":
                made.signed(now, verified(made, line(action.new)))
                assert made.level
            elif answer == "fail":
                made.failed(now, "away")
            elif answer == "size":
                made.conflict(now, data.draw(st.integers(0, made.ours + 2)))
            else:
                made.refused("it answers 422")
        assert not made.held
        assert made.seen <= max(made.ours, 5)
