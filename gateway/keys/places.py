"""Where secrets lie: files of their owner alone, the service manager's credentials, the environment."""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.core.limits import KEY_FILE_BYTES
from gateway.errors import KeyFileError
from gateway.files import sync_folder

_NAMES_A_KEY = "Name a key as file:/path, tpm:/path, credential:NAME or env:NAME"
_ANEW = "Write it anew: one line, and nothing else"


def write_key(path: Path, text: str, *, like: Path | None = None) -> None:
    """Write a secret to a new file that only its owner can read, durably: file and folder are flushed to the device.

    like: a file whose owner it gets, where root writes for another and the file system has owners.

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
            if like is not None and os.geteuid() == 0:
                owner = like.stat()
                with suppress(PermissionError):  # of FAT and exFAT
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(text.encode())
            file.flush()
            os.fsync(descriptor)
        sync_folder(path.parent)
    except OSError as exc:
        with suppress(OSError):
            path.unlink()
        raise _unusable(path, exc) from exc


def read_secret(uri: str, *, credentials: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The secret that a URI names (a password, a key's line), without its last newline. At most KEY_FILE_BYTES."""
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest:
        raise KeyFileError("this names no secret", cure=_NAMES_A_KEY)
    if scheme in ("file", "tpm"):
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


def _credential(name: str, folder: Path | None, uri: str) -> Path:
    if "/" in name or name in {".", ".."}:
        raise KeyFileError("a credential is named without a path", where=uri, cure="Write its name alone, or file:")
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
        raise KeyFileError("this is not a file", where=str(path), cure="Name the file that has the secret")
    if not guarded and mode & 0o077:
        raise KeyFileError(
            f"others can read this secret (mode {stat.S_IMODE(mode):04o})", where=str(path), cure=f"chmod 600 {path}"
        )


def _text(data: bytes, uri: str) -> str:
    if len(data) > KEY_FILE_BYTES:
        raise KeyFileError(f"the secret is longer than {KEY_FILE_BYTES} bytes", where=uri, cure=_ANEW)
    text = data.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if not text or "�" in text or "\n" in text or "\0" in text:
        raise KeyFileError("a secret is one line of UTF-8 text", where=uri, cure=_ANEW)
    return text


def _unusable(path: Path, exc: OSError) -> KeyFileError:
    return KeyFileError(
        exc.strerror or "it cannot be used", where=str(path), cure="Check the path and who owns the file and its folder"
    )
