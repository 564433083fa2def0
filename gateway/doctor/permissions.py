"""Does the gateway's user have what it needs, and nobody else?"""

from collections.abc import Iterator
from pathlib import Path

from gateway import config
from gateway.conditions import Problem
from gateway.conditions.found import DATA_DIR_MISSING, DATA_DIR_OPEN, DATA_DIR_OWNER, SECRET_UNUSABLE
from gateway.core.limits import DOCTOR_FILES
from gateway.doctor.case import Case, Outcome, as_user, beside, unseen
from gateway.doctor.system import User, service_user
from gateway.errors import KeyFileError
from gateway.files import LOST_AND_FOUND
from gateway.settings import Settings


async def look(case: Case) -> Outcome:
    """The folder of the store, what is in it, and the secrets that the configuration names."""
    return await beside(_look, case, case.wanted)


def _look(case: Case, settings: Settings) -> Outcome:
    folder = Path(settings.gateway.data_dir)
    owner = service_user(folder, case.root)
    if owner is None:
        return Outcome("there is no folder", (DATA_DIR_MISSING.problem(str(folder)),))
    mode = folder.stat().st_mode & 0o777
    figures = {"user": owner.name, "mode": f"{mode:04o}"}
    problems = [DATA_DIR_OPEN.problem(str(folder), mode=f"{mode:04o}")] if mode & 0o077 else []
    try:
        problems += _foreign(folder, owner)
    except PermissionError as error:
        return unseen(str(folder), error.strerror or "", as_user(owner))
    problems += _secrets(settings, owner)
    return Outcome("the gateway's folder and secrets are its own", problems, figures)


def _foreign(folder: Path, owner: User) -> list[Problem]:
    """Files that belong to somebody else: left by a command that was run as root."""
    for _, path in zip(range(DOCTOR_FILES), sorted(folder.iterdir()), strict=False):
        if path.lstat().st_uid != owner.uid and path.name != LOST_AND_FOUND:
            return [DATA_DIR_OWNER.problem(str(path), owner=owner.name, folder=str(folder))]
    return []


def _secrets(settings: Settings, owner: User) -> Iterator[Problem]:
    """Those in files; what systemd or the environment has, only the service sees. The log's key has its own check."""
    for name, broker in settings.broker.items():
        uri = broker.password or ""
        if uri.startswith("file:") and (fault := _secret_fault(uri, owner)):
            what, cure = fault
            yield SECRET_UNUSABLE.problem(uri.removeprefix("file:"), broker=name, detail=what, cure=cure)


def _secret_fault(uri: str, owner: User) -> tuple[str, str] | None:
    """What is wrong with a secret's file, and the cure."""
    path = Path(uri.removeprefix("file:"))
    try:
        told = path.stat()
        if not owner.may(path, 4):
            return f"the gateway's user {owner.name} may not read it", f"sudo chown {owner.name} {path}"
        if told.st_mode & 0o077:
            return f"others may read it (mode {told.st_mode & 0o777:04o})", f"sudo chmod 600 {path}"
        with path.open("rb"):
            config.read_secret(uri)
    except KeyFileError as error:
        return error.what, error.cure or "Correct it"
    except PermissionError:
        return None  # it is the gateway's, and not this user's
    except OSError as error:
        return error.strerror or str(error), "Put the file back, or correct password"
    return None
