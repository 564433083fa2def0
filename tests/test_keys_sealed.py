"""A key sealed with a passphrase: opened by it alone, bounded when read, and silent about everything in it."""

import resource
import traceback
from pathlib import Path

import pytest
from fakes import proofs
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import keys
from gateway.core import limits
from gateway.core.note import b64decode, b64encode
from gateway.errors import KeyFileError
from gateway.keys import sealed

WORDS = "correct horse battery"
CLEAR = keys.generate(proofs.ORIGIN)
VKEY = keys.parse_key(CLEAR, where="").vkey
LINE = keys.seal(CLEAR, WORDS)


def put(tmp_path: Path, text: str) -> str:
    path = tmp_path / "log.key.sealed"
    keys.write_key(path, text)
    return f"file:{path}"


def nobody() -> str:
    pytest.fail("nobody is to be asked")


def test_the_passphrase_opens_it_and_no_other(tmp_path: Path) -> None:
    uri = put(tmp_path, LINE)
    signer = keys.open_signer(uri, passphrase=lambda: WORDS)
    assert signer.vkey == VKEY
    assert signer.sign(b"x") == keys.parse_key(CLEAR, where="").sign(b"x")
    for other in (WORDS + " ", WORDS.upper(), ""):
        with pytest.raises(KeyFileError, match="does not open this key"):
            keys.open_signer(uri, passphrase=lambda other=other: other)  # type: ignore[misc]


def test_nobody_to_ask_is_told_with_the_cure_and_a_clear_key_asks_nobody(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="sealed with a passphrase") as caught:
        keys.open_signer(put(tmp_path, LINE))
    assert "key_passphrase" in caught.value.cure
    keys.write_key(tmp_path / "log.key", CLEAR)
    assert keys.open_signer(f"file:{tmp_path}/log.key", passphrase=nobody).vkey == VKEY


def test_memory_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libsodium tells it: with a limit of the process on its address space."""
    with Path("/proc/self/statm").open() as told:
        now = int(told.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (16 << 20), hard))
    try:
        with pytest.raises(KeyFileError, match="no 65536 KiB of memory"):
            keys.unseal(LINE, WORDS, where="x")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_it_is_told_without_being_opened(tmp_path: Path) -> None:
    assert keys.look(put(tmp_path, LINE)) == keys.Look(VKEY, "passphrase")
    assert keys.look("env:K", environment={"K": LINE.strip()}).guard == "passphrase"
    assert keys.look("env:K", environment={"K": CLEAR.strip()}) == keys.Look(VKEY, "environment")


def test_two_seals_of_one_key_have_nothing_in_common_but_its_name() -> None:
    again = keys.seal(CLEAR, WORDS).split(" ")
    assert [one == other for one, other in zip(LINE.split(" "), again, strict=True)] == [True] * 6 + [False] * 2


def test_a_passphrase_at_the_limit_and_one_short() -> None:
    assert keys.seal(CLEAR, "x" * limits.PASSPHRASE_CHARS)
    with pytest.raises(KeyFileError, match="characters at least"):
        keys.seal(CLEAR, "x" * (limits.PASSPHRASE_CHARS - 1))


@pytest.mark.parametrize(
    ("ops", "kib", "fits"),
    [
        (1, 8, True),
        (limits.SEALED_KEY_OPS, limits.SEALED_KEY_KIB, True),
        (0, 65_536, False),
        (limits.SEALED_KEY_OPS + 1, 65_536, False),
        (2, 7, False),
        (2, limits.SEALED_KEY_KIB + 1, False),
        (2, 2**40, False),
    ],
)
def test_what_a_file_may_ask_for(ops: int, kib: int, fits: bool) -> None:
    parts = LINE.split(" ")
    parts[4:6] = [str(ops), str(kib)]
    if fits:
        assert sealed.parse(" ".join(parts), where="").kib == kib
        return
    with pytest.raises(KeyFileError, match="asks for"):
        keys.open_signer("env:K", environment={"K": " ".join(parts).strip()}, passphrase=nobody)


def test_a_box_of_another_key_under_this_name_is_refused() -> None:
    other = keys.generate("other.example/1")
    parts = keys.seal(other, WORDS).split(" ")
    parts[2] = str(VKEY)
    with pytest.raises(KeyFileError, match="holds another key"):
        sealed.unseal(" ".join(parts), WORDS, where="")


@settings(max_examples=30, deadline=None)
@given(at=st.integers(0, 200), bit=st.integers(0, 7))
def test_one_bit_of_the_box_or_salt_makes_it_another_file(at: int, bit: int) -> None:
    parts = LINE.strip().split(" ")
    data = bytearray(b64decode(parts[6], "") + b64decode(parts[7], ""))
    data[at % len(data)] ^= 1 << bit
    parts[4:6] = ["1", "8"]  # cheap: another key anyway, as another salt would make
    parts[6], parts[7] = b64encode(bytes(data[:16])), b64encode(bytes(data[16:]))
    with pytest.raises(KeyFileError, match="does not open"):
        sealed.unseal(" ".join(parts), WORDS, where="")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_in_words(tail: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        sealed.parse("SEALED-KEY " + tail, where="here")
    assert not tail.strip() or tail not in str(caught.value) or len(tail) < 8


def test_no_message_holds_a_part_of_key_or_passphrase(tmp_path: Path) -> None:
    secret = CLEAR.strip().split("+", 4)[4]  # base64, which has that character too
    uri = put(tmp_path, LINE)
    with pytest.raises(KeyFileError) as caught:
        keys.open_signer(uri, passphrase=lambda: "tr0ub4dor and three")
    told = "".join(traceback.format_exception(caught.value))
    assert "tr0ub4dor and" not in told.replace('lambda: "tr0ub4dor and three"', "")
    assert secret not in told
    assert secret not in LINE
