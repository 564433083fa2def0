"""SM2 keys and signature lines of notes: their one spelling, and what is refused."""

import hashlib
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from fakes import proofs

from gateway import keys
from gateway.core import note
from gateway.core.anchor import parse_pins
from gateway.core.curves import SM2 as CURVE
from gateway.core.note import ED25519, SM2, Note, VerifierKey
from gateway.core.policy import parse_policy
from gateway.errors import FormatError, KeyFileError, VerifyError
from gateway.node.log import SyncRequest, encode_sync, read_sync
from gateway.verify import verify_receipt

NAME = "henhouse-3.example.farm/sm2"
MARK = b"\xff1.2.156.10197.1.501"
LOG = proofs.Log([5, 0, 9])
SIGNER = keys.parse_key(keys.encode_key(NAME, SM2, proofs.seed(NAME)), where="a test")
OTHER = keys.parse_key(keys.encode_key(NAME, SM2, proofs.seed("another")), where="a test")
PINS = parse_pins(f"sm2 {proofs.ORIGIN} key {SIGNER.vkey}".encode())


def signed(*signers: keys.Signer) -> Note:
    plain = LOG.note()
    return plain.with_lines(keys.sm2_line(signer, plain.text) for signer in signers)


def receipt(of: Note) -> bytes:
    return LOG.receipt(2, 1, note=of).encode().encode()


def test_a_vkey_is_written_as_signed_note_has_it_for_types_without_a_byte():
    vkey = SIGNER.vkey
    name, identity, encoded = str(vkey).split("+", 2)
    data = b64decode(encoded)
    assert data == MARK + vkey.public and vkey.public[0] == 4 and len(vkey.public) == 65
    assert identity == hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8]
    assert VerifierKey.parse(str(vkey)) == vkey


@pytest.mark.parametrize(
    "data",
    [
        MARK,
        MARK + bytes(65),
        MARK + SIGNER.vkey.public[:-1],
        MARK + SIGNER.vkey.public + b"\0",
        b"\xff" + SIGNER.vkey.public,
        b"\xff1.2.156.10197.1.502" + SIGNER.vkey.public,
        MARK + b"\x04" + SIGNER.vkey.public[33:] + SIGNER.vkey.public[1:33],
        b"\x01" + SIGNER.vkey.public,
    ],
)
def test_a_vkey_that_is_none_is_refused(data: bytes):
    identity = hashlib.sha256(NAME.encode() + b"\n" + data).hexdigest()[:8]
    with pytest.raises(FormatError):
        VerifierKey.parse(f"{NAME}+{identity}+{b64encode(data).decode()}")


def test_a_key_file_reads_back_and_says_nothing_of_the_secret():
    text = keys.generate(NAME, SM2)
    signer = keys.parse_key(text, where="a test")
    assert signer.vkey.algorithm == SM2 and len(signer.sign(b"m")) == 64
    head, encoded = text.strip().split("+", 4)[:4], text.strip().split("+", 4)[4]
    assert b64decode(encoded)[-32:].hex() not in repr(signer)
    for other in (encoded[:-4], encoded[:24] + ("A" if encoded[24] != "A" else "B") + encoded[25:]):
        with pytest.raises(KeyFileError) as raised:
            keys.parse_key("+".join([*head, other]), where="a test")
        assert other[30:] not in str(raised.value)
    with pytest.raises(KeyFileError):
        keys.parse_key(f"PRIVATE+KEY+{NAME}+00000000+{b64encode(MARK + bytes(32)).decode()}", where="a test")


def test_a_note_with_a_line_is_good_for_those_who_ask_and_for_those_who_do_not():
    both = signed(SIGNER)
    note.verify_sm2(both, SIGNER.vkey)
    asked = verify_receipt(receipt(both), proofs.POLICY, PINS)
    assert asked.sm2 == (SIGNER.vkey,) and asked.unknown_lines == 0
    assert "by SM2 with SM3 as well" in asked.steps[1].found
    unasked = verify_receipt(receipt(both), proofs.POLICY)
    assert unasked.sm2 == () and unasked.unknown_lines == 1


WRONG = {
    "no line": LOG.note(),
    "another key of that name": signed(OTHER),
    "a right one and a false one": signed(SIGNER).with_lines(
        [replace(keys.sm2_line(SIGNER, LOG.note().text), body=bytes(64))]
    ),
}


@pytest.mark.parametrize("called", WRONG)
def test_a_receipt_without_the_line_that_is_asked_for_is_refused(called: str):
    with pytest.raises(VerifyError) as raised:
        verify_receipt(receipt(WRONG[called]), proofs.POLICY, PINS)
    assert raised.value.step == 2
    verify_receipt(receipt(WRONG[called]), proofs.POLICY)


@pytest.mark.parametrize("bit", range(0, 8 * 64, 37))
def test_a_changed_bit_of_the_line_is_refused(bit: int):
    line = keys.sm2_line(SIGNER, LOG.note().text)
    body = bytearray(line.body)
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FormatError, match="not by that key"):
        note.verify_sm2(LOG.note().with_lines([replace(line, body=bytes(body))]), SIGNER.vkey)


@pytest.mark.parametrize("body", [b"x", bytes(63), bytes(65), bytes(64), b"\xff" * 64])
def test_a_line_of_another_form_is_refused(body: bytes):
    line = replace(keys.sm2_line(SIGNER, LOG.note().text), body=body)
    with pytest.raises(FormatError, match="not by that key"):
        note.verify_sm2(LOG.note().with_lines([line]), SIGNER.vkey)


def test_a_line_cannot_be_moved_to_another_checkpoint():
    line = keys.sm2_line(SIGNER, LOG.note(2).text)
    with pytest.raises(FormatError):
        note.verify_sm2(LOG.note(3).with_lines([line]), SIGNER.vkey)


def test_each_algorithm_is_asked_for_by_name():
    with pytest.raises(FormatError, match="not an SM2 key"):
        note.verify_sm2(signed(SIGNER), proofs.LOG.vkey)
    with pytest.raises(FormatError, match="co-signing"):
        note.verify_note(signed(SIGNER), SIGNER.vkey)
    with pytest.raises(FormatError, match="algorithm 0xff"):
        parse_policy(f"log {SIGNER.vkey}\nquorum none\n".encode())


@pytest.mark.parametrize(
    "text", ["key", "key x", f"key {proofs.LOG.vkey}", f"root {SIGNER.vkey}", f"key {SIGNER.vkey} x"]
)
def test_a_pin_that_is_none_is_refused(text: str):
    pins = f"sm2 {proofs.ORIGIN} {text}"
    with pytest.raises((FormatError, VerifyError), match="pin"):
        verify_receipt(receipt(signed(SIGNER)), proofs.POLICY, parse_pins(pins.encode()))


def test_pins_of_other_logs_ask_for_nothing():
    pins = parse_pins(f"sm2 quay.example/1 key {OTHER.vkey}\n".encode())
    assert verify_receipt(receipt(LOG.note()), proofs.POLICY, pins).sm2 == ()


def test_a_node_takes_a_note_with_the_line_and_keeps_it():
    text = signed(SIGNER, OTHER).encode()
    found = read_sync(encode_sync(0, LOG.entries, text), proofs.LOG.vkey)
    assert isinstance(found, SyncRequest) and found.note == text


def test_a_key_off_the_curve_is_no_key():
    x, y = CURVE.base
    with pytest.raises(FormatError):
        VerifierKey.make(NAME, SM2, b"\x04" + y.to_bytes(32, "big") + x.to_bytes(32, "big"))
    assert VerifierKey.make(NAME, ED25519, bytes(32)).algorithm == ED25519
