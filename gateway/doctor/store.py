"""Does the store open, is it sound as far as a quick look tells, and is the sign-state there and of this machine?"""

import os
from pathlib import Path

from gateway import place
from gateway.clock import day
from gateway.conditions import DISK_FULL, SIGNING_HELD, STORE_DAMAGED, Problem
from gateway.conditions.found import STORE_MISSING, STORE_UNOPENED
from gateway.core import limits
from gateway.core.block import parse_entry
from gateway.doctor.case import Case, Outcome, as_user, beside, unseen
from gateway.doctor.system import service_user
from gateway.errors import DamagedError, FieldgateError, HeldError, NotFoundError, StoreFullError
from gateway.store import DATABASE, SIGN_STATE, Store
from gateway.store.signstate import CURE_MOVED, SignState

_RECOVER = "`fieldgate recover` (with the gateway stopped) looks at everything, and says what can be done"


async def look(case: Case) -> Outcome:
    """Opens both files to read, beside the gateway that may be running on them."""
    folder = Path(case.wanted.gateway.data_dir)
    if refused := await beside(_judge_files, case, folder):
        return refused
    try:
        store = await Store.open(folder, read_only=True)
    except NotFoundError:
        return Outcome("there is no store", (STORE_MISSING.problem(str(folder)),))
    except DamagedError as error:
        return Outcome("the store is damaged", (STORE_DAMAGED.problem(what=error.what, cure=_RECOVER),))
    except StoreFullError:
        return Outcome("the store does not open", (DISK_FULL.problem(free="0 bytes"),))
    except FieldgateError as error:
        values = {"detail": error.what, "cure": error.cure or _RECOVER}
        return Outcome("the store does not open", (STORE_UNOPENED.problem(str(folder), **values),))
    try:
        return await _judge_store(case, folder, store)
    finally:
        await store.close()


def _judge_files(case: Case, folder: Path) -> Outcome | None:
    """Never by opening one: closing it again would let go of the locks that SQLite has on it for this process."""
    path = folder / DATABASE
    owner = service_user(folder, case.root)
    try:
        path.stat()
    except FileNotFoundError:
        return Outcome("there is no store", (STORE_MISSING.problem(str(folder)),))
    except OSError as error:
        return unseen("the store", f"{path}: {error.strerror}", as_user(owner))
    if not os.access(path, os.R_OK):
        return unseen("the store", f"{path} may not be read by this user", as_user(owner))
    return None


async def _judge_store(case: Case, folder: Path, store: Store) -> Outcome:
    problems: list[Problem] = []
    blocks = store.blocks
    figures = {"blocks": str(blocks.size), "readings": str(blocks.readings)}
    size = await beside(lambda: (folder / DATABASE).stat().st_size)
    if blocks.damage is not None:
        problems.append(STORE_DAMAGED.problem(what=blocks.damage.what, cure=_RECOVER))
    elif size <= limits.QUICK_CHECK_BYTES and (wrong := await store.file_damage()):
        problems.append(STORE_DAMAGED.problem(what=wrong[0], cure=_RECOVER))
    try:
        problems += await _judge_state(folder, store, running=case.state is not None)
    except HeldError as error:
        problems.append(SIGNING_HELD.problem(what=error.what, cure=error.cure))
    if blocks.size:
        newest = parse_entry((await blocks.entries(blocks.size - 1, 1))[0]).header
        figures["last sealed"] = day(newest.sealed)
    return Outcome("the store opens, and the sign-state is of this machine", problems, figures)


async def _judge_state(folder: Path, store: Store, *, running: bool) -> list[Problem]:
    """What stands against signing. A running gateway moves both on while they are compared: it tells so itself."""
    state = await SignState.inspect(folder / SIGN_STATE, str(store.vkey), read_only=True)
    try:
        if moved := state.place.changed(await beside(place.find, folder)):
            return [SIGNING_HELD.problem(what=f"{moved}: the card was cloned, copied or restored", cure=CURE_MOVED)]
        ahead = state.head.size - store.blocks.size
        if not running and ahead not in {0, 1}:
            what = f"the sign-state has signed {state.head.size} blocks, and the store holds {store.blocks.size}"
            return [SIGNING_HELD.problem(what=what, cure=_RECOVER)]
    finally:
        await state.close()
    return []
