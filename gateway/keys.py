"""Private keys and passwords: the one module that touches them.

A key is a file of one line in the encoding of Go's note signers,
``PRIVATE+KEY+<name>+<8 hex digits of the key id>+<base64 of algorithm byte and 32-byte seed>``, and is opened by URI:

``file:/etc/fieldgate/log.key``
    a file that only its owner may read (mode 0600 or 0400)
``credential:log.key``
    a file of that name in the service manager's credentials folder, which guards it itself
``env:FIELDGATE_KEY``
    a variable of the environment

The folder and the environment are handed in; nothing is looked up here. No message, `repr` or exception of this module
holds any part of a secret.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from gateway.core import block
from gateway.core.limits import KEY_FILE_BYTES
from gateway.core.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    SignatureLine,
    VerifierKey,
    b64decode,
    b64encode,
    cosign_message,
    cosignature_line,
)
from gateway.errors import BugError, FormatError, KeyFileError
from gateway.files import sync_folder

_HEAD = ["PRIVATE", "KEY"]
_SEED_BYTES = 32
_NAMES_A_KEY = "Name a key as file:/path, credential:NAME or env:NAME"


class Signer(Protocol):
    """A private key that can be asked to sign. Law: `vkey` verifies every signature that `sign` returns."""

    @property
    def vkey(self) -> VerifierKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature over `message`; the same bytes every time (RFC 8032)."""


class _SeedSigner:
    """A signer whose seed is in memory. It shows its public half only, and is neither copied nor pickled."""

    __slots__ = ("_secret", "vkey")

    def __init__(self, name: str, algorithm: int, seed: bytes) -> None:
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.vkey = VerifierKey.make(name, algorithm, public)

    def sign(self, message: bytes) -> bytes:
        return crypto_sign(message, self._secret)[:64]

    def __repr__(self) -> str:
        return f"<signer {self.vkey}>"

    def __reduce__(self) -> str:
        raise BugError("a private key is not copied or pickled")


def generate(name: str, algorithm: int = ED25519) -> str:
    """A new key's line for `write_key`, from the system's random numbers. Secret."""
    return encode_key(name, algorithm, os.urandom(_SEED_BYTES))


def encode_key(name: str, algorithm: int, seed: bytes) -> str:
    """The key file line, with its newline, of a 32-byte seed. Secret."""
    vkey = _SeedSigner(name, algorithm, seed).vkey
    return f"PRIVATE+KEY+{vkey.name}+{vkey.key_id.hex()}+{b64encode(bytes([algorithm]) + seed)}\n"


def write_key(path: Path, text: str) -> None:
    """Write a secret to a new file that only its owner can read, durably: file and folder are flushed to the device.

    KeyFileError where the file exists already or cannot be made; nothing half-written is left.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise KeyFileError("there is a file here already", where=str(path), cure="Keys are never overwritten") from None
    except OSError as exc:
        raise _unusable(path, exc) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        sync_folder(path.parent)
    except OSError as exc:
        with suppress(OSError):
            path.unlink()
        raise _unusable(path, exc) from exc


def open_signer(uri: str, *, credentials: Path | None = None, environment: Mapping[str, str] | None = None) -> Signer:
    """The signer that a URI names. KeyFileError where it is missing, malformed or readable by others."""
    return parse_key(read_secret(uri, credentials=credentials, environment=environment), where=uri)


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


def read_secret(uri: str, *, credentials: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The secret that a URI names (a password, a key's line), without its last newline. At most KEY_FILE_BYTES."""
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest:
        raise KeyFileError("this names no secret", cure=_NAMES_A_KEY)
    if scheme == "file":
        return _text(_read(Path(rest), guarded=False), uri)
    if scheme == "env":
        value = (environment or {}).get(rest)
        if value is None:
            raise KeyFileError("the variable is not set", where=uri, cure="Set it for the service, or use file:")
        return _text(os.fsencode(value), uri)
    if scheme == "credential":
        return _text(_read(_credential(rest, credentials, uri), guarded=True), uri)
    raise KeyFileError("this names no secret", cure=_NAMES_A_KEY)


def text_of(uri: str, *, credentials: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """What stands where a URI points, whoever may read it and whatever it is: so that it can be kept out of texts.

    "" where it cannot be had.
    """
    scheme, _, rest = uri.partition(":")
    try:
        if scheme == "env":
            return (environment or {}).get(rest, "")
        path = _credential(rest, credentials, uri) if scheme == "credential" else Path(rest)
        return _read(path, guarded=True).decode("utf-8", "replace").strip()
    except (KeyFileError, ValueError):
        return ""


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
        data = b64decode(encoded, "the key")
        signer = _SeedSigner(name, data[0], data[1:]) if len(data) == 1 + _SEED_BYTES else None
    except FormatError:
        return None
    return signer if signer is not None and signer.vkey.key_id.hex() == identity else None


def _credential(name: str, folder: Path | None, uri: str) -> Path:
    if "/" in name or name in {".", ".."}:
        raise KeyFileError("a credential is named without a path", where=uri)
    if folder is None:
        raise KeyFileError(
            "there is no credentials folder", where=uri, cure="Start it as a service with LoadCredential=, or use file:"
        )
    return folder / name


def _read(path: Path, *, guarded: bool) -> bytes:
    """A regular file up to one byte past KEY_FILE_BYTES; unless its folder is guarded, only the owner may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            _check_mode(path, mode, guarded=guarded)
            return file.read(KEY_FILE_BYTES + 1)
    except OSError as exc:
        raise _unusable(path, exc) from exc


def _check_mode(path: Path, mode: int, *, guarded: bool) -> None:
    if not stat.S_ISREG(mode):
        raise KeyFileError("this is not a file", where=str(path))
    if not guarded and mode & 0o077:
        raise KeyFileError(
            f"others can read this secret (mode {stat.S_IMODE(mode):04o})", where=str(path), cure=f"chmod 600 {path}"
        )


def _text(data: bytes, uri: str) -> str:
    if len(data) > KEY_FILE_BYTES:
        raise KeyFileError(f"the secret is longer than {KEY_FILE_BYTES} bytes", where=uri)
    text = data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not text or "�" in text or "\n" in text or "\0" in text:
        raise KeyFileError("a secret is one line of UTF-8 text", where=uri)
    return text


def _unusable(path: Path, exc: OSError) -> KeyFileError:
    return KeyFileError(
        exc.strerror or "it cannot be used", where=str(path), cure="Check the path and who owns the file and its folder"
    )
