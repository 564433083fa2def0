"""A key sealed with a passphrase: Argon2id (RFC 9106) makes a key of it, and NaCl's SecretBox holds the key's line.

One line of text that tells all it takes but the passphrase::

    SEALED-KEY 1 <vkey> argon2id <ops> <memory in KiB> <base64 of 16 bytes of salt> <base64 of nonce and box>

The verifier key stands there so that a file can be told without being opened; that it belongs to what is in the box is
checked when it is. Memory is bounded when a file is read: one that somebody else wrote takes no more of this machine.
"""

from typing import NamedTuple

from nacl.bindings import crypto_secretbox, crypto_secretbox_open
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.utils import random

from gateway.core.limits import PASSPHRASE_CHARS, SEALED_KEY_KIB, SEALED_KEY_OPS
from gateway.core.note import VerifierKey, b64decode, b64encode
from gateway.errors import FormatError, KeyFileError
from gateway.keys.signer import Signer, parse_key

_HEAD = "SEALED-KEY"
_VERSION = "1"
_KDF = "argon2id"
_NONCE_BYTES = 24
_KEY_BYTES = 32
_KIB = 1024


class Sealed(NamedTuple):
    """A sealed key, as its line has it."""

    vkey: VerifierKey
    ops: int
    kib: int
    salt: bytes
    box: bytes  # with its nonce before it


def is_sealed(text: str) -> bool:
    """Whether a secret's text is meant to be a sealed key."""
    return text.startswith(f"{_HEAD} ")


def seal(text: str, passphrase: str) -> str:
    """The sealed line, with its newline, of a key's line. KeyFileError for a passphrase that is too short.

    64 MiB and two passes (libsodium's INTERACTIVE), because the service may have 256 MiB in all.
    """
    if len(passphrase) < PASSPHRASE_CHARS:
        raise KeyFileError(
            f"a passphrase has {PASSPHRASE_CHARS} characters at least",
            cure="Take several words that do not belong together",
        )
    signer = parse_key(text, where="the key")
    salt, nonce = random(argon2id.SALTBYTES), random(_NONCE_BYTES)
    ops, kib = argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE // _KIB
    box = nonce + crypto_secretbox(text.strip().encode(), nonce, _stretched(passphrase, salt, ops, kib))
    return f"{_HEAD} {_VERSION} {signer.vkey} {_KDF} {ops} {kib} {b64encode(salt)} {b64encode(box)}\n"


def parse(text: str, *, where: str) -> Sealed:
    """What a sealed line tells. KeyFileError where it is none, or asks for more than a machine should give."""
    try:
        head, version, vkey, kdf, ops, kib, salt, box = text.strip("\n").split(" ")
        if (head, version, kdf) != (_HEAD, _VERSION, _KDF):
            raise _odd(where)
        made = Sealed(VerifierKey.parse(vkey), int(ops), int(kib), b64decode(salt, "salt"), b64decode(box, "box"))
    except (ValueError, FormatError):
        raise _odd(where) from None
    if not (1 <= made.ops <= SEALED_KEY_OPS and 8 <= made.kib <= SEALED_KEY_KIB):
        what = f"this sealed key asks for {made.ops} passes over {made.kib} KiB"
        cure = (
            f"At most {SEALED_KEY_OPS} over {SEALED_KEY_KIB} KiB are allowed: seal it again with `fieldgate key seal`"
        )
        raise KeyFileError(what, where=where, cure=cure)
    if len(made.salt) != argon2id.SALTBYTES or len(made.box) <= _NONCE_BYTES:
        raise _odd(where)
    return made


def unseal(text: str, passphrase: str, *, where: str) -> Signer:
    """The signer in a sealed line. KeyFileError where the passphrase is another, or the line is damaged."""
    kept = parse(text, where=where)
    key = _stretched(passphrase, kept.salt, kept.ops, kept.kib)
    try:
        line = crypto_secretbox_open(kept.box[_NONCE_BYTES:], kept.box[:_NONCE_BYTES], key)
    except CryptoError:
        what = "the passphrase does not open this key (or the file is damaged)"
        raise KeyFileError(what, where=where, cure="Type it again, or take the copy from its safe place") from None
    signer = parse_key(line.decode("utf-8", "replace"), where=where)
    if signer.vkey != kept.vkey:
        what = f"the file says that it holds {kept.vkey}, and holds another key"
        raise KeyFileError(what, where=where, cure="Somebody changed it: take the copy from its safe place")
    return signer


def _stretched(passphrase: str, salt: bytes, ops: int, kib: int) -> bytes:
    try:
        return argon2id.kdf(_KEY_BYTES, passphrase.encode(), salt, opslimit=ops, memlimit=kib * _KIB)
    except (CryptoError, MemoryError):
        what = f"there are no {kib} KiB of memory to open a sealed key with"
        raise KeyFileError(what, cure="Free some memory, or raise the service's MemoryMax") from None


def _odd(where: str) -> KeyFileError:
    return KeyFileError(
        "this is not a sealed key of a version that is known here",
        where=where,
        cure="Restore the file from its safe place, or install the version that sealed it",
    )
