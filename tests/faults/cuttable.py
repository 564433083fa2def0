"""`fieldgate` on a file system that loses its power at a chosen point: `python cuttable.py WHERE HOW COMMAND ...`.

WHERE is the folder whose file system is cut; then the process is killed at once. HOW is one of

after=STEP         just after the first of the sealer's steps of this name is durable: plan, swap, publish; or after
                   `sign`, before anything of it is stored
at-file-call=N     before the Nth call that opens, makes, renames, links or removes something below WHERE
synchronous=LEVEL  a control: no cut, but SQLite waits for less

The command's own words follow: `run --config ...`, `init --name ...`.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

from fakes.card import cut
from fakes.weakened import weaken

from gateway import sealer
from gateway.cli import main as fieldgate
from gateway.store.blocks import Blocks
from gateway.store.signstate import SignState

_CALLS = {"open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "sqlite3.connect"}


def main() -> None:
    where, how, *command = sys.argv[1:]
    name, _, value = how.partition("=")

    def die() -> NoReturn:
        cut(Path(where))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("killed")

    if name == "after":
        _die_after(value, die)
    elif name == "at-file-call":
        _die_at_file_call(Path(where), int(value), die)
    else:
        weaken(value)
    fieldgate(command)


def _die_after(step: str, die: Callable[[], NoReturn]) -> None:
    if step == "sign":
        sealer.sign_checkpoint = lambda *_: die()  # type: ignore[assignment]
        return
    owner, name = {"plan": (Blocks, "save_plan"), "swap": (SignState, "swap"), "publish": (Blocks, "publish")}[step]
    method: Callable[..., Awaitable[None]] = getattr(owner, name)

    async def dying(self: Any, *args: Any) -> None:
        await method(self, *args)
        die()

    setattr(owner, name, dying)


def _die_at_file_call(where: Path, number: int, die: Callable[[], NoReturn]) -> None:
    left = number

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _CALLS and any(str(where) in os.fspath(arg) for arg in args if isinstance(arg, str | Path)):
            left -= 1
            if left == 0:
                die()

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
