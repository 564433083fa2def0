"""Is the log's key there, for its owner alone, and the key of this store?"""

from pathlib import Path

from gateway import config
from gateway.conditions.found import KEY_FOREIGN, KEY_MISSING, KEY_MODE, KEY_UNUSABLE
from gateway.core.note import VerifierKey
from gateway.doctor.case import Case, Outcome, as_user, beside, unseen
from gateway.doctor.system import User, service_user
from gateway.errors import FieldgateError, KeyFileError
from gateway.settings import Settings
from gateway.store import Store

_OTHER = "Only the service has it: its page has a button that makes these checks within the gateway"


async def look(case: Case) -> Outcome:
    """Opens it as the gateway would."""
    settings = case.wanted
    uri = settings.gateway.key
    scheme, _, place = uri.partition(":")
    if scheme not in ("file", "tpm") and not case.inside:
        return unseen("the log key", f"it is no file ({uri})", _OTHER)
    if scheme in ("file", "tpm"):
        owner = await beside(service_user, Path(settings.gateway.data_dir), case.root)
        refused = await beside(_judge_file, Path(place), owner)
        if refused is not None:
            return refused
    try:
        if await beside(config.asks_for_passphrase, settings):
            return await _of_store(settings, (await beside(config.look_at_key, uri)).vkey, "is sealed")
        vkey = await beside(_vkey, settings)
    except KeyFileError as error:
        values = {"detail": error.what, "cure": error.cure or "Restore it from its safe place"}
        return Outcome("the key cannot be used", (KEY_UNUSABLE.problem(uri, **values),))
    return await _of_store(settings, vkey)


def _vkey(settings: Settings) -> VerifierKey:
    return config.log_signer(settings).vkey


def _judge_file(path: Path, owner: User | None) -> Outcome | None:
    """What stands against the file; None where it is to be opened."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return Outcome("there is no key", (KEY_MISSING.problem(str(path)),))
    except OSError as error:
        return unseen("the log key", error.strerror or str(error), as_user(owner))
    if told.st_mode & 0o077:
        mode = f"{told.st_mode & 0o777:04o}"
        return Outcome("others may read the key", (KEY_MODE.problem(str(path), mode=mode),))
    if owner and not owner.may(path, 4):
        cure = f"sudo chown {owner.name} {path}"
        detail = f"the gateway's user {owner.name} may not read it"
        return Outcome(detail, (KEY_UNUSABLE.problem(str(path), detail=detail, cure=cure),))
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return unseen("the log key", error.strerror or str(error), as_user(owner))


async def _of_store(settings: Settings, vkey: VerifierKey, what: str = "can be used") -> Outcome:
    figures = {"vkey": str(vkey)}
    try:
        store = await Store.open(Path(settings.gateway.data_dir), read_only=True)
    except (FieldgateError, OSError):  # the check of the store tells it
        return Outcome(f"the key {what}", (), figures)
    try:
        if store.vkey != vkey:
            return Outcome(
                "the key is not this store's",
                (KEY_FOREIGN.problem(settings.gateway.key, ours=str(vkey), theirs=str(store.vkey)),),
                figures,
            )
    finally:
        await store.close()
    return Outcome(f"the key {what}, and is this store's", (), figures)
