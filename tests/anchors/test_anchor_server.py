"""What is shown of a chain's server: its own words, without what it was sent that may be a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.anchors.http import Server

KEY, PROJECT, LONGER = "0123456789abcdef" * 4, "fedcba9876543210", "fedcba9876543210-of-farm"
SECRETS = (KEY, PROJECT, LONGER)
SERVER = Server(f"https://chain.example/api/{PROJECT}/{LONGER}/rpc", headers={"x-api-key": KEY})
PIECES = st.sampled_from([*SECRETS, "~" * 63, "~" * 700, "~", "\N{SNOWMAN}" * 80])


def parts_of_secrets(told: str) -> list[str]:
    return [secret[at : at + 6] for secret in SECRETS for at in range(len(secret) - 5) if secret[at : at + 6] in told]


@given(st.lists(PIECES, max_size=120))
def test_of_a_secret_that_is_repeated_nothing_is_told(pieces: list[str]) -> None:
    assert not parts_of_secrets(SERVER.told("".join(pieces), 4_096))


@pytest.mark.parametrize("begin", [*range(4_096 - 70, 4_097), 0])
def test_one_that_is_cut_is_not_told_either(begin: int) -> None:
    assert not parts_of_secrets(SERVER.told("~" * begin + KEY * 80, 5_000))


def test_what_is_short_is_told_whole() -> None:
    assert SERVER.told("its limit is reached") == "its limit is reached"
    assert SERVER.told("x" * 4_096, 5_000) == "x" * 4_096
    assert len(SERVER.told("x" * 9_000)) == 300


def test_a_secret_that_is_escaped_in_the_address_is_told_in_no_form() -> None:
    """A server tells it as it was sent, or as it understood it."""
    server = Server("https://portal.example/v1/abc%7Edef0123456789%2Bkey+of/rpc")
    for form in ("abc%7Edef0123456789%2Bkey+of", "abc~def0123456789+key+of", "abc~def0123456789%2Bkey+of",
                 "abc~def0123456789+key of"):  # fmt: skip
        assert server.told(f"unknown project {form}") == "unknown project ..."
