"""The configurations that ran, kept beside the file so that one can go back to them.

A snapshot is a folder with the bytes of FILE.toml and of FILE.d/*.toml, named by its number: `0007`; `0008-replaced` is
what a rollback replaced, which may never have run. They are in FILE.past beside the file, or, for whom may not write
there (a service under systemd), in `data_dir/config`; both are read as one. The newest CONFIG_SNAPSHOTS of a folder
stay. No link is followed. A configuration has no secrets, so a snapshot has none.
"""

import errno
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

from gateway.core.limits import CONFIG_BYTES, CONFIG_FILES, CONFIG_SNAPSHOTS
from gateway.errors import NotFoundError, Refused, UnreachableError
from gateway.files import sync_folder

from . import documents
from .documents import ConfigFile

_NAME = re.compile(r"([0-9]{4,9})(-replaced)?", re.ASCII)
_PART = ".rollback"
_MODE = 0o755  # at the most, of a folder


class Snapshot(NamedTuple):
    """One configuration that was kept, at `kept_ms` by the clock of then."""

    number: int
    replaced: bool
    kept_ms: int
    folder: Path


class Past:
    """The snapshots of one FILE.toml. Every method blocks."""

    def __init__(self, path: Path, data_dir: Path | None) -> None:
        self._path = path.absolute()
        beside = self._path.with_name(f"{self._path.stem}.past")
        self.folders = (beside, data_dir / "config") if data_dir else (beside,)

    def snapshots(self) -> list[Snapshot]:
        """All there are, the oldest first."""
        return sorted(one for folder in self.folders for one in _snapshots(folder))

    def current(self) -> tuple[ConfigFile, ...]:
        """The files as they are now, good or not; without FILE.toml where it is gone. ConfigError as for `files`."""
        first = [self._path] if os.path.lexists(self._path) else []
        return documents.read([*first, *documents.drop_ins(self._path)])

    def read(self, snapshot: Snapshot) -> tuple[ConfigFile, ...]:
        """A snapshot's files, FILE.toml first. NotFoundError where it is not whole, or not for this user."""
        path = snapshot.folder / self._path.name
        folder = documents.folder_of(path)
        try:
            drop_ins = sorted(folder.iterdir())[:CONFIG_FILES] if folder and _is_folder(folder) else []
            return tuple(_read(one) for one in (path, *drop_ins))
        except OSError as exc:
            what = f"the snapshot cannot be read: {exc.strerror}"
            raise NotFoundError(what, where=str(exc.filename or path), cure="Choose another one") from exc

    def keep(self, files: Sequence[ConfigFile], *, replaced: bool = False) -> Snapshot | None:
        """Keeps what a gateway has taken over, or what is about to be replaced; None where it is kept already.

        UnreachableError where neither folder can be written to.
        """
        found = self.snapshots()
        known = found if replaced else [one for one in found if not one.replaced][-1:]
        if any(self.same(one, files) for one in known):
            return None
        made = self._write_somewhere(files, replaced=replaced)
        if not replaced:
            self._forget()
        return made

    def _write_somewhere(self, files: Sequence[ConfigFile], *, replaced: bool) -> Snapshot:
        number = max((one.number for one in self.snapshots()), default=0) + 1
        name = f"{number:04}{'-replaced' if replaced else ''}"
        refused = ""
        for folder in self.folders:
            try:
                return self._write(folder, name, files)
            except OSError as exc:
                refused = exc.strerror or str(exc)
                if _is_folder(folder):
                    shutil.rmtree(folder / f".{name}", ignore_errors=True)
        what = f"the configuration cannot be kept as one to go back to: {refused}"
        raise UnreachableError(what, where=str(self.folders[-1]), cure="Check the disk, and who may write there")

    def same(self, snapshot: Snapshot, files: Sequence[ConfigFile]) -> bool:
        """Whether a snapshot has the bytes of these files, and no others."""
        try:
            kept = self.read(snapshot)
        except NotFoundError:
            return False
        return self._contents(kept) == self._contents(files)

    def choose(self, number: int | None) -> Snapshot:
        """The one of a number; else the newest that ran, or the one before it where that is what the files are now."""
        found = self.snapshots()
        if number is not None:
            wanted = [one for one in found if one.number == number]
        else:
            ran = [one for one in found if not one.replaced]
            wanted = ran[:-1] if ran and self.same(ran[-1], self.current()) else ran
        if not wanted:
            what = f"there is no snapshot {number}" if number else "there is no configuration to go back to"
            cure = "fieldgate config history lists what there is"
            raise NotFoundError(what, where=str(self.folders[0]), cure=cure)
        return wanted[-1]

    def restore(self, snapshot: Snapshot) -> tuple[ConfigFile, ...]:
        """Puts a snapshot's files in place of those there are; they are returned. Refused where one of them is a link.

        Nothing is changed before all of it is written; OSError where it cannot be. Whoever is interrupted between the
        renames does it again.
        """
        files, drop_ins = self.read(snapshot), documents.folder_of(self._path)
        targets = {self._target(file): file for file in files}
        old = documents.drop_ins(self._path)
        for path in (*targets, *old, *([drop_ins] if drop_ins else [])):
            if path.is_symlink():
                cure = f"Copy {snapshot.folder} to where it leads by hand"
                raise Refused("is a link, and no link is followed", where=str(path), cure=cure)
        if drop_ins and len(files) > 1 and not drop_ins.exists():
            _make_folder(drop_ins, self._path.parent)
        try:
            for path, file in targets.items():
                _put(_part(path), _owned_as(path, file))
        except OSError:
            for path in targets:
                _part(path).unlink(missing_ok=True)
            raise
        for path in targets:
            _part(path).replace(path)
        for path in set(old) - set(targets):
            path.unlink()
        sync_folder(self._path.parent, *([drop_ins] if drop_ins and drop_ins.exists() else []))
        self._forget()
        return files

    def _forget(self) -> None:
        """Removes the oldest snapshots of each folder, beyond CONFIG_SNAPSHOTS, as far as one may."""
        for folder in self.folders:
            for snapshot in sorted(_snapshots(folder))[:-CONFIG_SNAPSHOTS]:
                shutil.rmtree(snapshot.folder, ignore_errors=True)

    def _target(self, file: ConfigFile) -> Path:
        """Where a file of the configuration, or of a snapshot, belongs."""
        folder = documents.folder_of(self._path)
        if folder and file.path.parent.name == folder.name and file.path.absolute() != self._path:
            return folder / file.path.name
        return self._path

    def _contents(self, files: Sequence[ConfigFile]) -> dict[Path, bytes]:
        """What two configurations are the same by."""
        return {self._target(file): file.data for file in files}

    def _write(self, folder: Path, name: str, files: Sequence[ConfigFile]) -> Snapshot:
        """A snapshot that appears whole, durably, or not at all."""
        if not os.path.lexists(folder):
            _make_folder(folder, folder.parent)
        if not _is_folder(folder):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(folder))
        staging = folder / f".{name}"
        shutil.rmtree(staging, ignore_errors=True)
        _make_folder(staging, folder)
        paths = {staging / self._target(file).relative_to(self._path.parent): file for file in files}
        inner = {path.parent for path in paths} - {staging}
        for one in inner:
            _make_folder(one, folder)
        for path, file in paths.items():
            _put(path, file)
        sync_folder(*inner, staging)
        staging.rename(folder / name)
        sync_folder(folder, folder.parent)
        made = _snapshot(folder / name)
        assert made, "it was just made"
        return made


def _snapshots(folder: Path) -> list[Snapshot]:
    try:
        found = [_snapshot(one) for one in folder.iterdir()] if _is_folder(folder) else []
    except OSError:  # not for this user
        return []
    return [one for one in found if one]


def _snapshot(folder: Path) -> Snapshot | None:
    match = _NAME.fullmatch(folder.name)
    if match is None or not _is_folder(folder):
        return None
    return Snapshot(int(match[1]), bool(match[2]), folder.lstat().st_mtime_ns // 1_000_000, folder)


def _is_folder(path: Path) -> bool:
    """Whether it is a folder, and no link to one."""
    with suppress(OSError):
        return S_ISDIR(path.lstat().st_mode)
    return False


def _read(path: Path) -> ConfigFile:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        stat, data = os.fstat(descriptor), file.read(CONFIG_BYTES + 1)
    if not S_ISREG(stat.st_mode) or len(data) > CONFIG_BYTES:
        raise NotFoundError("the snapshot is not what was kept", where=str(path))
    return ConfigFile(path, data, stat.st_mode & 0o777, stat.st_uid, stat.st_gid)


def _owned_as(path: Path, file: ConfigFile) -> ConfigFile:
    """The file with mode and owner of the one that is at `path`, where there is one."""
    try:
        stat = path.lstat()
    except OSError:
        return file
    return file._replace(mode=stat.st_mode & 0o777, owner=stat.st_uid, group=stat.st_gid)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")


def _put(path: Path, file: ConfigFile) -> None:
    """A new file, flushed, with mode and, as far as one may, owner."""
    with suppress(FileNotFoundError):
        path.unlink()  # of one who was interrupted
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as new:
        if file.owner >= 0:
            with suppress(PermissionError):
                os.fchown(new.fileno(), file.owner, file.group)
        os.fchmod(new.fileno(), file.mode & 0o777)
        new.write(file.data)
        new.flush()
        os.fsync(new.fileno())


def _make_folder(path: Path, like: Path) -> None:
    """A new folder with owner and mode of another, but for others' right to write."""
    stat = like.stat()
    path.mkdir(mode=0o700)
    with suppress(PermissionError):
        os.chown(path, stat.st_uid, stat.st_gid, follow_symlinks=False)
    path.chmod(stat.st_mode & _MODE)
