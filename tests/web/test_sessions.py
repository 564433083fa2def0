"""Codes, sessions and attempts on their own, by a clock of the test's."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.web.sessions import Attempts, Codes, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_code_is_short_and_has_nothing_that_looks_like_something_else(clock: Clock) -> None:
    made = {Codes(clock).issue() for _ in range(200)}
    assert len(made) == 200
    for code in made:
        assert len(code) == 7
        assert code[3] == "-"
        assert not set(code) & set("01ILOU")


TYPED: dict[str, Callable[[str], str]] = {
    "as shown": lambda code: code,
    "small": str.lower,
    "without the hyphen": lambda code: code.replace("-", ""),
    "with blanks": lambda code: f"  {code[:3]} {code[4:]}\n",
}


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_a_code_may_be_typed_in_ways(clock: Clock, typed: Callable[[str], str]) -> None:
    codes = Codes(clock)
    assert codes.redeem(typed(codes.issue()))


def test_a_code_is_used_once(clock: Clock) -> None:
    codes = Codes(clock)
    code = codes.issue()
    assert codes.redeem(code)
    assert not codes.redeem(code)


def test_without_a_code_nothing_is_right(clock: Clock) -> None:
    codes = Codes(clock)
    for typed in ("", " ", "-", "AAAAAA"):
        assert not codes.redeem(typed)


@pytest.mark.parametrize(("wrong", "right"), [(limits.LOGIN_TRIES - 1, True), (limits.LOGIN_TRIES, False)])
def test_so_many_tries(clock: Clock, wrong: int, right: bool) -> None:
    codes = Codes(clock)
    code = codes.issue()
    assert not any(codes.redeem("") for _ in range(wrong))
    assert codes.redeem(code) is right


@pytest.mark.parametrize(("later", "right"), [(limits.LOGIN_CODE_S - 1, True), (limits.LOGIN_CODE_S, False)])
def test_so_long(clock: Clock, later: float, right: bool) -> None:
    codes = Codes(clock)
    code = codes.issue()
    clock.now += later
    assert codes.redeem(code) is right


def test_a_new_code_voids_the_old_one(clock: Clock) -> None:
    codes = Codes(clock)
    old, new = codes.issue(), codes.issue()
    assert not codes.redeem(old)
    assert codes.redeem(new)


@given(st.text())
def test_any_text_may_be_typed(typed: str) -> None:
    codes = Codes(Clock())
    codes.issue()
    assert not codes.redeem(typed)


def test_sessions_are_bounded_and_the_idlest_ends(clock: Clock) -> None:
    sessions = Sessions(clock)
    tokens = []
    for _ in range(limits.SESSIONS):
        tokens.append(sessions.open())
        clock.now += 1
    assert sessions.use(tokens[0])
    sessions.open()
    assert len(sessions) == limits.SESSIONS
    assert sessions.use(tokens[0])
    assert not sessions.use(tokens[1])


def test_only_the_hash_of_a_token_is_kept(clock: Clock) -> None:
    sessions = Sessions(clock)
    token = sessions.open()
    assert token not in repr(vars(sessions))
    assert len(token) >= 43
    sessions.close("nobody's")
    sessions.close(token)
    assert not sessions.use(token)
    assert not sessions.use("")


def test_attempts_are_forgotten(clock: Clock) -> None:
    attempts = Attempts(clock)
    for number in range(limits.LOGIN_ATTEMPTS * 3):
        attempts.may(f"address {number}")
    assert len(attempts._by) == len(attempts._made) == limits.LOGIN_ATTEMPTS
    clock.now += limits.LOGIN_WINDOW_S
    assert attempts.may("a")
    assert dict(attempts._by) == {"a": 1}
