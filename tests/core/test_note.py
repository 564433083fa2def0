"""Signed notes, checkpoints, co-signatures: one spelling each, and no changed byte goes unnoticed."""

import json
from pathlib import Path

import pytest
from fakes import proofs
from hypothesis import given
from hypothesis import strategies as st

from gateway import keys
from gateway.core import limits, merkle, note
from gateway.core.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    SignatureLine,
    VerifierKey,
    parse_checkpoint,
    parse_line,
    parse_note,
)
from gateway.errors import FormatError

SIGNED = keys.sign_checkpoint(proofs.LOG, Checkpoint(proofs.ORIGIN, 3, bytes(range(32))))
COSIGNED = SIGNED.with_lines([keys.cosign(proofs.COOP, SIGNED.text, proofs.COSIGNED_S)])
names = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"], exclude_characters="+"), min_size=1)
texts = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1).map(
    lambda lines: "\n".join([*lines, ""])
)


def test_the_example_of_signed_note(vectors: Path) -> None:
    example = json.loads((vectors / "c2sp" / "signed-note-example.json").read_text())
    note.verify_note(parse_note(example["note"]), VerifierKey.parse(example["vkey"]))


def test_a_note_of_our_own_verifies() -> None:
    text = COSIGNED.encode()
    parsed = parse_note(text)
    assert parsed == COSIGNED
    assert parse_note(text.encode()) == COSIGNED
    note.verify_note(parsed, proofs.LOG.vkey)
    assert note.cosigned_at(parsed, proofs.COOP.vkey) == proofs.COSIGNED_S
    assert note.cosigned_at(parsed, proofs.VET.vkey) is None


@given(st.integers(0, len(COSIGNED.encode().encode()) - 1), st.integers(1, 255))
def test_no_byte_of_a_signed_note_can_change(place: int, change: int) -> None:
    data = bytearray(COSIGNED.encode().encode())
    data[place] ^= change
    try:
        parsed = parse_note(bytes(data))
        note.verify_note(parsed, proofs.LOG.vkey)
        assert note.cosigned_at(parsed, proofs.COOP.vkey) is None  # changed into a line of an unknown key
    except FormatError:
        return
    assert parsed.text == COSIGNED.text
    assert parsed.lines[0] == COSIGNED.lines[0]
    assert place >= COSIGNED.encode().encode().index(b"node.coop")


@given(
    texts,
    st.lists(
        st.builds(SignatureLine, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1)),
        min_size=1,
        max_size=5,
    ),
)
def test_a_note_has_one_spelling(text: str, lines: list[SignatureLine]) -> None:
    made = Note(text, tuple(lines))
    if all(note.is_key_name(line.name) for line in lines):
        assert parse_note(made.encode()) == made
    else:
        with pytest.raises(FormatError):
            parse_note(made.encode())


@given(
    st.text() | st.sampled_from([COSIGNED.encode(), COSIGNED.encode() * 2]), st.integers(0, 400), st.text(max_size=3)
)
def test_whatever_parses_is_written_the_same(text: str, cut: int, put: str) -> None:
    changed = text[:cut] + put + text[cut:]
    try:
        parsed = parse_note(changed)
    except FormatError:
        return
    assert parsed.encode() == changed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n\n— name AAAAAAA=",
        "text\n— name AAAAAAA=\n",
        "text\n\n- name AAAAAAA=\n",
        "text\n\n—  name AAAAAAA=\n",
        "text\n\n— name  AAAAAAA=\n",
        "text\n\n— name AAAAAAA= \n",
        "text\n\n— AAAAAAA=\n",
        "text\n\n—  AAAAAAA=\n",
        "text\n\n— na+me AAAAAAA=\n",
        "text\n\n— na\u00a0me AAAAAAA=\n",
        "text\n\n— na\u2028me AAAAAAA=\n",
        "text\n\n— name AAAAAAA\n",
        "text\n\n— name AAAAAAB=\n",  # the two bits past the fifth byte are not 0
        "text\n\n— name AAAA AAA=\n",
        "text\n\n— name AAAAAA==\n",  # four bytes: a key id and no signature
        "text\n\n— name A-A_AAA=\n",
        "te\txt\n\n— name AAAAAAA=\n",
        "te\rxt\n\n— name AAAAAAA=\n",
        "te\0xt\n\n— name AAAAAAA=\n",
        "text\n\n— name AAAAAAA=\r\n",
        "te\ud800xt\n\n— name AAAAAAA=\n",
        "text\n\n— name AAAAAAA=\n\n",
        "text\n\n— name AAAAAAA=\nmore\n",
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_note(text)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(FormatError, match="UTF-8"):
        parse_note(b"te\xffxt\n\n\xe2\x80\x94 name AAAAAAA=\n")


def test_empty_lines_belong_to_the_text_up_to_the_last() -> None:
    parsed = parse_note("one\n\n\n— not a signature\n\n\n— name AAAAAAA=\n")
    assert parsed.text == "one\n\n\n— not a signature\n\n"
    assert [line.name for line in parsed.lines] == ["name"]


def test_the_limits_of_a_note() -> None:
    line = "— name AAAAAAA=\n"
    assert len(parse_note("text\n\n" + line * limits.NOTE_SIGNATURES).lines) == limits.NOTE_SIGNATURES
    with pytest.raises(FormatError, match="more than 64"):
        parse_note("text\n\n" + line * (limits.NOTE_SIGNATURES + 1))
    room = limits.NOTE_BYTES - len(f"\n\n{line}".encode())
    assert len(parse_note("x" * room + "\n\n" + line).text) == room + 1
    with pytest.raises(FormatError, match="longer than"):
        parse_note("x" * (room + 1) + "\n\n" + line)
    name = "ü" * (limits.KEY_NAME_BYTES // 2) + "n"
    assert parse_line(f"— {name} AAAAAAA=\n").name == name
    with pytest.raises(FormatError):
        parse_line(f"— {name}n AAAAAAA=\n")


def test_lines_on_their_own() -> None:
    text = "".join(map(note.format_line, COSIGNED.lines))
    assert note.parse_lines(text) == COSIGNED.lines
    assert note.parse_lines("") == ()
    for wrong in (text[:-1], text + "\n", "\n" + text, text.replace("\n", "\r\n")):
        with pytest.raises(FormatError):
            note.parse_lines(wrong)


def test_a_line_is_not_added_twice() -> None:
    assert COSIGNED.with_lines(COSIGNED.lines) == COSIGNED


# Keys


@pytest.mark.parametrize("key", [proofs.LOG.vkey, proofs.COOP.vkey, VerifierKey.make("ünï", ED25519, bytes(32))])
def test_a_key_has_one_spelling(key: VerifierKey) -> None:
    assert VerifierKey.parse(str(key)) == key


@given(st.integers(0, len(str(proofs.LOG.vkey)) - 1), st.characters())
def test_no_character_of_a_key_can_change(place: int, put: str) -> None:
    text = str(proofs.LOG.vkey)
    changed = text[:place] + put + text[place + 1 :]
    if changed != text:
        with pytest.raises(FormatError):
            VerifierKey.parse(changed)


def test_what_is_no_key_is_refused() -> None:
    name, identity, key = str(proofs.LOG.vkey).split("+", 2)
    for wrong in ("", name, f"{name}+{identity}", f"{name}+{identity.upper()}+{key}", f"{name}+{identity}+{key}\n"):
        with pytest.raises(FormatError):
            VerifierKey.parse(wrong)
    with pytest.raises(FormatError, match="0x06"):
        VerifierKey.make("witness", 0x06, bytes(32))
    for length in (0, 31, 33):
        with pytest.raises(FormatError, match="not 32"):
            VerifierKey.make("witness", ED25519, bytes(length))
    for name in ("", "a b", "a+b", "a\u3000b", "a\nb", "a\x01b", "n" * (limits.KEY_NAME_BYTES + 1), "\ud800"):
        with pytest.raises(FormatError):
            VerifierKey.make(name, ED25519, bytes(32))


def test_name_and_id_both_tell_whose_a_line_is() -> None:
    line = COSIGNED.lines[0]
    same_name = SignatureLine(line.name, bytes(4), line.body)
    same_id = SignatureLine("another", line.key_id, line.body)
    for other in (same_name, same_id):
        note.verify_note(Note(SIGNED.text, (other, line)), proofs.LOG.vkey)
        with pytest.raises(FormatError, match="no signature"):
            note.verify_note(Note(SIGNED.text, (other,)), proofs.LOG.vkey)


def test_a_false_line_beside_a_true_one_refuses_the_note() -> None:
    line = SIGNED.lines[0]
    false = SignatureLine(line.name, line.key_id, bytes(64))
    for lines in ((line, false), (false, line)):
        with pytest.raises(FormatError, match="not by that key"):
            note.verify_note(Note(SIGNED.text, lines), proofs.LOG.vkey)


# Checkpoints


@given(st.integers(1, limits.NUMBER_MAX), st.binary(min_size=32, max_size=32), st.integers(0, 10**6))
def test_a_checkpoint_has_one_spelling(size: int, root: bytes, epoch: int) -> None:
    made = Checkpoint(f"a.example/{epoch}", size, root)
    assert parse_checkpoint(made.text()) == made


ROOT = note.b64encode(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"a/1\n1\n{ROOT}",
        "a/1\n1\n",
        f"a/1\n01\n{ROOT}\n",
        f"a/1\n+1\n{ROOT}\n",
        f"a/1\n-1\n{ROOT}\n",
        f"a/1\n1.0\n{ROOT}\n",
        f"a/1\n\u0661\n{ROOT}\n",
        f"a/1\n{limits.NUMBER_MAX + 1}\n{ROOT}\n",
        f"a/1\n0\n{ROOT}\n",
        f"a/1\n1\n{note.b64encode(bytes(31))}\n",
        f"a/1\n1\n{ROOT}\nan extension line\n",
        f"a/1\n1\n{ROOT}\n\n",
        f"\n1\n{ROOT}\n",
        f"a\n1\n{ROOT}\n",
        f"a/\n1\n{ROOT}\n",
        f"a/01\n1\n{ROOT}\n",
        f"a/x\n1\n{ROOT}\n",
        f"/1\n1\n{ROOT}\n",
        f"A/1\n1\n{ROOT}\n",
        f"a /1\n1\n{ROOT}\n",
        f"{'a' * 63}/1\n1\n{ROOT}\n",
    ],
)
def test_what_is_no_checkpoint_of_ours_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_checkpoint(text)


def test_the_limits_of_a_checkpoint() -> None:
    assert parse_checkpoint(f"{'a' * 62}/1\n{limits.NUMBER_MAX}\n{ROOT}\n").size == limits.NUMBER_MAX
    empty = Checkpoint("a/1", 0, merkle.EMPTY_ROOT)
    assert parse_checkpoint(empty.text()) == empty


def test_a_foreign_checkpoint_may_say_more() -> None:
    text = f"Another log, of öther people\n{limits.FOREIGN_SIZE_MAX}\n{ROOT}\none line\nanother\n"
    parsed = parse_checkpoint(text, foreign=True)
    assert parsed.extensions == ("one line", "another")
    assert parsed.text() == text
    for wrong in (
        text.replace("one line\n", "\n"),
        text.replace("9223372036854775807", "9223372036854775808"),
        text[:-1],
    ):
        with pytest.raises(FormatError):
            parse_checkpoint(wrong, foreign=True)


# Co-signatures


def test_a_cosignature_signs_the_time_and_the_text() -> None:
    assert note.cosign_message(7, "a\n") == b"cosignature/v1\ntime 7\na\n"
    line = COSIGNED.lines[1]
    assert note.verify_cosignature(SIGNED.text, line, proofs.COOP.vkey) == proofs.COSIGNED_S
    later = SignatureLine(line.name, line.key_id, (proofs.COSIGNED_S + 1).to_bytes(8, "big") + line.body[8:])
    with pytest.raises(FormatError, match="not by that key"):
        note.verify_cosignature(SIGNED.text, later, proofs.COOP.vkey)
    with pytest.raises(FormatError, match="not by that key"):
        note.verify_cosignature(SIGNED.text + "more\n", line, proofs.COOP.vkey)
    with pytest.raises(FormatError, match="is not by"):
        note.verify_cosignature(SIGNED.text, line, proofs.VET.vkey)
    with pytest.raises(FormatError, match="0x04"):
        note.verify_cosignature(SIGNED.text, SIGNED.lines[0], proofs.LOG.vkey)
    with pytest.raises(FormatError, match="not 72"):
        note.verify_cosignature(SIGNED.text, SignatureLine(line.name, line.key_id, line.body[:-1]), proofs.COOP.vkey)


def test_the_time_of_a_cosignature_has_a_limit() -> None:
    last = keys.cosign(proofs.COOP, SIGNED.text, limits.COSIGNATURE_TIME_MAX)
    assert note.verify_cosignature(SIGNED.text, last, proofs.COOP.vkey) == limits.COSIGNATURE_TIME_MAX
    past = keys.cosign(proofs.COOP, SIGNED.text, limits.COSIGNATURE_TIME_MAX + 1)
    with pytest.raises(FormatError, match="2\\^63"):
        note.verify_cosignature(SIGNED.text, past, proofs.COOP.vkey)


def test_the_earliest_of_several_cosignatures_counts_and_a_false_one_refuses() -> None:
    later, earlier = (keys.cosign(proofs.COOP, SIGNED.text, time) for time in (9, 5))
    assert note.cosigned_at(SIGNED.with_lines([later, earlier]), proofs.COOP.vkey) == 5
    false = SignatureLine(later.name, later.key_id, bytes(72))
    with pytest.raises(FormatError):
        note.cosigned_at(SIGNED.with_lines([later, false]), proofs.COOP.vkey)


def test_a_cosigning_key_signs_no_notes() -> None:
    vkey = VerifierKey.make(proofs.ORIGIN, COSIGNATURE, proofs.LOG.vkey.public)
    with pytest.raises(FormatError, match="co-signing key"):
        note.verify_note(SIGNED, vkey)
