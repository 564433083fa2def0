"""Signers: a private key in memory, its line in a file, and the three things that are signed with one."""

import os
from typing import Protocol

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from gateway import sm2
from gateway.core import block, der
from gateway.core.note import (
    COSIGNATURE,
    ED25519,
    SM2,
    Checkpoint,
    Note,
    SignatureLine,
    VerifierKey,
    b64decode,
    b64encode,
    cosign_message,
    cosignature_line,
    split_type,
    with_type,
)
from gateway.errors import BugError, FormatError, KeyFileError

_HEAD = ["PRIVATE", "KEY"]
SEED_BYTES = 32


class Signer(Protocol):
    """A private key that can be asked to sign. Law: `vkey` verifies every signature that `sign` returns.

    `vkey.algorithm` tags it with its algorithm: whoever signs asks for the one that its format has.
    """

    @property
    def vkey(self) -> VerifierKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """The signature over `message` by `vkey.algorithm`, 64 bytes.

        Ed25519: the same every time (RFC 8032). SM2: r and s, others every time.
        """


class SeedSigner:
    """A signer whose seed is in memory. It shows its public half only, and is neither copied nor pickled."""

    __slots__ = ("_secret", "vkey")

    def __init__(self, name: str, algorithm: int, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.vkey = VerifierKey.make(name, algorithm, public)

    def sign(self, message: bytes) -> bytes:
        """As Signer says."""
        return crypto_sign(message, self._secret)[:64]

    def __repr__(self) -> str:
        return f"<signer {self.vkey}>"

    def __reduce__(self) -> str:
        raise BugError("a private key is not copied or pickled")


class Sm2Signer:
    """The same with SM2. EngineError where nothing on this machine makes such signatures (gateway/sm2.py)."""

    __slots__ = ("_key", "vkey")

    def __init__(self, name: str, secret: bytes) -> None:
        self._key = sm2.Key(secret)
        self.vkey = VerifierKey.make(name, SM2, self._key.public)

    def sign(self, message: bytes) -> bytes:
        """As Signer says."""
        return b"".join([number.to_bytes(32, "big") for number in der.read_signature(self._key.sign(message))])

    def __repr__(self) -> str:
        return f"<signer {self.vkey}>"

    def __reduce__(self) -> str:
        raise BugError("a private key is not copied or pickled")


def generate(name: str, algorithm: int = ED25519) -> str:
    """A new key's line for `write_key`, from the system's random numbers. Secret."""
    return encode_key(name, algorithm, sm2.generate() if algorithm == SM2 else os.urandom(SEED_BYTES))


def encode_key(name: str, algorithm: int, seed: bytes) -> str:
    """The key file line, with its newline, of a 32-byte seed. Secret."""
    vkey = _signer(name, algorithm, seed).vkey
    return f"PRIVATE+KEY+{vkey.name}+{vkey.key_id.hex()}+{b64encode(with_type(algorithm, seed))}\n"


def _signer(name: str, algorithm: int, seed: bytes) -> Signer:
    return Sm2Signer(name, seed) if algorithm == SM2 else SeedSigner(name, algorithm, seed)


def seed_of(text: str) -> bytes:
    """The 32 bytes of a key's line, which `parse_key` takes. Secret."""
    return b64decode(text.removesuffix("\n").split("+", 4)[4], "the key")[1:]


def parse_key(text: str, *, where: str) -> Signer:
    """The signer in a key file's line; `where` is for the message, which shows nothing of the text."""
    signer = _decode_key(text)
    if signer is None:
        raise KeyFileError(
            "this is not a key: one line PRIVATE+KEY+name+id+base64 whose id belongs to its name and key",
            where=where,
            cure="Restore the file from where it was made, or make a new key and enrol it",
        )
    return signer


def sign_entry(signer: Signer, header_bytes: bytes) -> bytes:
    """The signed header of section 4. Only the log's own key signs it: the header's origin is the key's name."""
    if signer.vkey.algorithm != ED25519 or block.decode_header(header_bytes).origin != signer.vkey.name:
        raise BugError(f"{signer.vkey.name} is not the key of the log that this header belongs to")
    signature = signer.sign(block.to_be_signed(header_bytes, signer.vkey.key_id))
    return block.entry(header_bytes, signer.vkey.key_id, signature)


def sign_checkpoint(signer: Signer, checkpoint: Checkpoint) -> Note:
    """The checkpoint as a note with the log's own signature (section 5)."""
    if signer.vkey.algorithm != ED25519 or checkpoint.origin != signer.vkey.name:
        raise BugError(f"{signer.vkey.name} is not the key of the log {checkpoint.origin}")
    text = checkpoint.text()
    line = SignatureLine(signer.vkey.name, signer.vkey.key_id, signer.sign(text.encode()))
    return Note(text, (line,))


def sm2_line(signer: Signer, text: str) -> SignatureLine:
    """The further signature line over a checkpoint's text (section 5)."""
    if signer.vkey.algorithm != SM2:
        raise BugError(f"{signer.vkey.name} is not an SM2 key")
    return SignatureLine(signer.vkey.name, signer.vkey.key_id, signer.sign(text.encode()))


def cosign(signer: Signer, text: str, timestamp: int) -> SignatureLine:
    """The cosignature/v1 line over a checkpoint's text at `timestamp`, Unix seconds (section 6)."""
    if signer.vkey.algorithm != COSIGNATURE:
        raise BugError(f"{signer.vkey.name} is not a co-signing key")
    signature = signer.sign(cosign_message(timestamp, text))
    return cosignature_line(signer.vkey.name, signer.vkey.key_id, timestamp, signature)


def _decode_key(text: str) -> Signer | None:
    parts = text.removesuffix("\n").split("+", 4)
    if len(parts) != 5 or parts[:2] != _HEAD:
        return None
    _, _, name, identity, encoded = parts
    try:
        algorithm, seed = split_type(b64decode(encoded, "the key"))
        signer = _signer(name, algorithm, seed) if len(seed) == SEED_BYTES else None
    except FormatError:
        return None
    return signer if signer is not None and signer.vkey.key_id.hex() == identity else None
