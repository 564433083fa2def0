"""The archive's own form: names, manifest, and its members, each held against its sum."""

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from gateway.core import limits
from gateway.errors import FormatError, NotFoundError
from gateway.store import DATABASE

MANIFEST, CONFIG = "manifest.json", "config/"
_FORMAT = 1
_MEMBER = re.compile(r"config/(?:[^/\0]{1,255}|[^/\0]{1,200}\.d/[^/\0]{1,255})")
_PIECE = 256 * 1024
_DAMAGED = "It is damaged, or no backup: take another one"


class Handed(msgspec.Struct, frozen=True):
    """The sign-state as it was handed over: blocks signed, the last one's header in hex, and where the log lived."""

    size: int
    header: str | None
    machine: str
    filesystem: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds. size and root (hex): the checkpoint that it covers. files: name to SHA-256, in order."""

    format: int = _FORMAT
    version: str
    made_ms: int
    vkey: str
    origin: str
    schema: int
    size: int
    root: str
    unsealed: int
    files: dict[str, str]
    moved: Handed | None = None


class Member(NamedTuple):
    """One file of the configuration, by its name in the archive."""

    name: str
    data: bytes


def write(file: IO[bytes], manifest: Manifest, config: list[Member], store: Path) -> None:
    """Writes the whole archive."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        text = json.dumps(msgspec.to_builtins(manifest), indent=2).encode() + b"\n"
        for name, data in ((MANIFEST, text), *config):
            tar.addfile(_info(name, len(data), manifest), BytesIO(data))
        with store.open("rb") as copied:
            tar.addfile(_info(DATABASE, store.stat().st_size, manifest), copied)


def _info(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, manifest.made_ms // 1000
    return info


def sum_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def read_manifest(path: Path) -> Manifest:
    """What an archive says of itself. NotFoundError, FormatError."""
    with _opened(path) as tar:
        return _manifest(path, tar)


def read_config(path: Path) -> list[Member]:
    """The files of its configuration, each as its sum says."""
    with _opened(path) as tar:
        manifest, found = _manifest(path, tar), []
        for name in manifest.files:
            if name == DATABASE:
                continue
            data = _next(path, tar, name, limits.CONFIG_BYTES).read()
            if sha256(data).hexdigest() != manifest.files[name]:
                raise FormatError(f"{name} is not what its sum says", where=str(path), cure=_DAMAGED)
            found.append(Member(name, data))
        return found


def extract_store(path: Path, target: Path) -> None:
    """Writes the store of an archive to a new file, which must be what its sum says. Nothing is flushed."""
    with _opened(path) as tar:
        manifest, digest = _manifest(path, tar), sha256()
        for name in manifest.files:
            member = _next(path, tar, name, 2**62)
        with target.open("xb") as file:
            while piece := member.read(_PIECE):
                digest.update(piece)
                file.write(piece)
    if digest.hexdigest() != manifest.files[DATABASE]:
        raise FormatError("the store in it is not what its sum says", where=str(path), cure=_DAMAGED)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise FormatError(f"this is no backup: {error}", where=str(path), cure=_DAMAGED) from error
    except FileNotFoundError as error:
        if error.filename == str(path):
            raise NotFoundError("is not there", where=str(path), cure="Check the path") from error
        raise


def _manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    data = _next(path, tar, MANIFEST, limits.MANIFEST_BYTES).read()
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"its manifest cannot be read: {error}", where=str(path), cure=_DAMAGED) from error
    *config, store = manifest.files or [""]
    if manifest.format != _FORMAT or store != DATABASE or not all(_MEMBER.fullmatch(name) for name in config):
        what = f"its manifest is none of format {_FORMAT}"
        raise FormatError(what, where=str(path), cure="It is damaged, or a newer version made it: install that")
    return manifest


def _next(path: Path, tar: tarfile.TarFile, name: str, most: int) -> IO[bytes]:
    info = tar.next()
    file = tar.extractfile(info) if info is not None and info.name == name and info.isreg() else None
    if info is None or file is None or info.size > most:
        raise FormatError(f"{name} is not where it should be", where=str(path), cure=_DAMAGED)
    return file
