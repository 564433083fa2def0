"""What this machine says to a configuration: the files and ports that it names, the file system of its data.

Nothing is opened. It is advice, no fault: a port may be plugged in later, and who looks may not be the gateway's user.
"""

import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path

from drivers.port_paths import names_there
from gateway.conditions import Condition
from gateway.conditions.machine import (
    DATA_FOREIGN,
    DATA_MISSING,
    DATA_UNMOUNTED,
    DATA_VOLATILE,
    DISK_SMALL,
    FILE_MISSING,
    IGNORED,
    PASSWORD_MISSING,
    PORT_MISSING,
    SECRET_FOREIGN,
    SECRET_MISSING,
    SECRET_OPEN,
    TLS_KEY_OPEN,
    TOKEN_MISSING,
    WRITABLE,
)
from gateway.device.mounts import FSTAB, MOUNTINFO, UNSAFE, VOLATILE, Mount, mount_of, mounted, wanted
from gateway.settings import Settings, size_bytes

from .advice import Advice, advise
from .documents import SUFFIX, ConfigFile, folder_of
from .words import Path as Place
from .words import named_secrets


def look(settings: Settings, files: Sequence[ConfigFile], root: Path = Path("/")) -> list[Advice]:
    """Blocking. All of it, in the order of the tables. root: in place of `/` for /proc and /etc."""
    user = _user(Path(settings.gateway.data_dir))
    return [
        *_files(files),
        *_data_dir(settings, mounted(root / MOUNTINFO), wanted(root / FSTAB)),
        *_secrets(settings, user),
        *_paths(settings),
        *_ports(settings),
    ]


def _files(files: Sequence[ConfigFile]) -> Iterator[Advice]:
    for file in files:
        if file.mode & 0o002:
            yield Advice((), WRITABLE.problem(str(file.path), mode=f"{file.mode:04o}"))
    folder = folder_of(files[0].path)
    try:
        names = sorted(folder.iterdir()) if folder else []
    except OSError:
        return
    for path in names:
        if path.suffix != SUFFIX and not path.name.startswith(".") and not path.name.endswith("~"):
            yield Advice((), IGNORED.problem(str(path)))


def _user(folder: Path) -> str:
    """Whom the gateway runs as: the owner of its data. "" where that is not known."""
    try:
        return folder.owner()
    except (OSError, KeyError):
        return ""


def _data_dir(settings: Settings, mounts: list[Mount], points: list[Path]) -> Iterator[Advice]:
    folder, place = Path(settings.gateway.data_dir), ("gateway", "data_dir")
    for point in points:
        if folder.is_relative_to(point) and point not in {mount.point for mount in mounts}:
            yield advise(place, DATA_UNMOUNTED, mount=point)
    there = next(one for one in (folder, *folder.parents) if os.path.exists(one))  # noqa: PTH110  False, too, where it cannot be looked at
    mount = mount_of(there.resolve(), mounts)
    if mount and mount.kind in VOLATILE:
        yield advise(place, DATA_VOLATILE, path=folder, kind=mount.kind)
    elif mount and mount.kind in UNSAFE:
        yield advise(place, DATA_FOREIGN, path=folder, kind=mount.kind)
    if there != folder:
        yield advise(place, DATA_MISSING, path=folder)
    told = os.statvfs(there)
    size = told.f_blocks * told.f_frsize
    if 0 < size < size_bytes(settings.retention.max_bytes):
        yield advise(("retention", "max_bytes"), DISK_SMALL, size=f"{size / 2**30:.3g}")


def _secrets(settings: Settings, user: str) -> Iterator[Advice]:
    """Those in files. What systemd and the environment have, only the service sees."""
    for field in ("key", "key_passphrase", "read_key", "sm2_key"):
        yield from _secret(("gateway", field), getattr(settings.gateway, field), user, SECRET_MISSING)
    for name, broker in settings.broker.items():
        yield from _secret(("broker", name, "password"), broker.password, user, PASSWORD_MISSING)
    for name, anchor in settings.anchor.items():
        for field, uri in named_secrets(anchor.options):
            yield from _secret(("anchor", name, field), uri, user, SECRET_MISSING)
    yield from _secret(("web", "watch_token"), settings.web.watch_token, user, TOKEN_MISSING)


def _secret(place: Place, uri: str | None, user: str, missing: Condition) -> Iterator[Advice]:
    scheme, _, path = (uri or "").partition(":")
    if scheme not in ("file", "tpm"):
        return
    try:
        told = Path(path).stat()
        if told.st_mode & 0o077:
            yield advise(place, SECRET_OPEN, path=path, mode=f"{told.st_mode & 0o777:04o}")
        owner = pwd.getpwuid(told.st_uid).pw_name
        if user not in ("", "root", owner):
            yield advise(place, SECRET_FOREIGN, path=path, owner=owner, user=user)
    except FileNotFoundError:
        yield advise(place, missing, path=path, user=user or "fieldgate")
    except (OSError, KeyError):
        return  # not for whoever looks


def _paths(settings: Settings) -> Iterator[Advice]:
    """Certificates, their keys, and recorded files."""
    for name, broker in settings.broker.items():
        for field in ("ca_file", "cert_file", "key_file"):
            yield from _path(("broker", name, field), getattr(broker, field))
    for name, source in settings.source.items():
        yield from _path(("source", name, "path"), getattr(source.options, "path", ""))
    for name, node in settings.node.items():
        yield from _path(("node", name, "ca_file"), node.ca_file)
    for name, witness in settings.witness.items():
        yield from _path(("witness", name, "ca_file"), witness.ca_file)
    for name, anchor in settings.anchor.items():
        yield from _path(("anchor", name, "ca_file"), getattr(anchor.options, "ca_file", ""))
    for field in ("cert_file", "key_file"):
        yield from _path(("web", field), getattr(settings.web, field))


def _path(place: Place, path: str) -> Iterator[Advice]:
    if not path:
        return
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        yield advise(place, FILE_MISSING, path=path)
    except OSError:
        return
    else:
        if place[-1] == "key_file" and mode & 0o077:
            yield advise(place, TLS_KEY_OPEN, path=path, mode=f"{mode & 0o777:04o}")


def _ports(settings: Settings) -> Iterator[Advice]:
    for name, source in settings.source.items():
        port = getattr(source.options, "port", None)
        if port and not os.path.lexists(port):
            yield advise(("source", name, "port"), PORT_MISSING, path=port, there=names_there())
