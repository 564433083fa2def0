"""A gateway or a node with a way to die at a numbered step.

    python killable.py CONFIG MARKS [HOW ...]          `fieldgate run` in this process
    python killable.py --serve KIND CONFIG MARKS       for each line of HOWs on its input forks a KIND, gateway, node or
                                                       rotate, prints `pid N`, and `end STATUS` when that one is gone

    STEP=N      SIGKILL of itself at the Nth passing of a step of STEPS; the step's name is appended to MARKS before
    ack-early   a control that must lose: a future completes before its commit
    no-dedupe   a control that must duplicate: no delivery is known

Whatever is signed is told first, a line each, in MARKS.signed: `entry HEIGHT HASH` or `NAME SIZE HASH`.
"""

import asyncio
import contextlib
import functools
import hashlib
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drivers.api import Item
from drivers.mqtt_connection import Connection
from drivers.mqtt_subscriptions import Subscriptions
from gateway import app, config, keys, logs, sealer
from gateway.app import Gateway
from gateway.cli import key_rotate
from gateway.core import block
from gateway.core.note import parse_checkpoint
from gateway.epoch import making, rotation
from gateway.errors import FieldgateError
from gateway.intake import Intake
from gateway.node import ledger
from gateway.node import run as node_run
from gateway.node.sqlite import SqliteStore
from gateway.reload import Reloader
from gateway.roster import Roster
from gateway.store.blocks import Blocks
from gateway.store.cosigned import Cosigned
from gateway.store.journal import Journal
from gateway.store.redeliveries import Redeliveries
from gateway.store.signstate import SignState
from gateway.upstream import Upstream


class Step(NamedTuple):
    """A place in the code: before or after a call of `name` in a class or module."""

    owner: Any
    name: str
    after: bool


def _holds_deliveries(*args: Any) -> bool:
    return bool(args[1].keys)


_COMMIT = {
    "commit.1": Step(Journal, "_write", False),  # before the transaction
    "commit.2": Step(Journal, "_write", True),  # durable, and nobody told
    "commit.3": Step(Connection, "acknowledge", True),  # the PUBACKs have left
}
_SEAL = {
    "seal.1": Step(Blocks, "save_plan", False),
    "seal.1+": Step(Blocks, "save_plan", True),
    "seal.2": Step(SignState, "swap", False),
    "seal.2+": Step(SignState, "swap", True),
    "seal.3": Step(sealer, "sign_entry", False),
    "seal.3+": Step(sealer, "sign_checkpoint", True),
    "seal.4": Step(Blocks, "publish", False),
    "seal.4+": Step(Blocks, "publish", True),
}
_PUSH = {
    "push.1": Step(Upstream, "_sync", False),  # before the request
    "push.2": Step(Upstream, "_answered", False),  # the answer is here
    "push.3": Step(Cosigned, "save", True),  # a line of it is saved
    "push.4": Step(Upstream, "_put", False),  # before a body is sent
    "push.5": Step(Upstream, "_put", True),  # it was taken
}
GATEWAY_STEPS = {**_COMMIT, **_SEAL, **_PUSH}
RELOAD_STEPS = {
    "reload.1": Step(Gateway, "_become", False),  # all is known of it, and nothing is touched
    "reload.2": Step(Subscriptions, "change", False),
    "reload.2+": Step(Subscriptions, "change", True),  # asked for, and not answered
    "reload.3": Step(Roster, "keep", True),  # of the nodes, before the drivers; the second time of these
    "reload.4": Step(Gateway, "_become", True),  # brought about, and not told
    "reload.5": Step(Reloader, "_keep_files", False),  # told; the first time at the start
    "reload.5+": Step(Reloader, "_keep_files", True),
}
NODE_STEPS = {
    "node.take": Step(SqliteStore, "grow", False),  # entries, before they are durable
    "node.take+": Step(SqliteStore, "grow", True),
    "node.sign": Step(ledger, "cosign", False),
    "node.sign+": Step(ledger, "cosign", True),
    "node.line": Step(SqliteStore, "keep_line", False),
    "node.line+": Step(SqliteStore, "keep_line", True),
    "node.body": Step(SqliteStore, "take_body", False),
    "node.body+": Step(SqliteStore, "take_body", True),
}
ROTATE_STEPS = {
    "rotate.1": Step(keys, "write_key", False),
    "rotate.1+": Step(keys, "write_key", True),  # under another name
    "rotate.2": Step(Journal, "commit_alone", False),
    "rotate.2+": Step(Journal, "commit_alone", True),
    **{name: step for name, step in _SEAL.items() if name != "seal.3"},  # 3
    "rotate.4": Step(rotation, "_push", False),
    "rotate.4+": Step(rotation, "_push", True),
    "rotate.5": Step(making, "_make_store", False),
    "rotate.5+": Step(making, "_make_store", True),
    "rename": Step(Path, "rename", False),  # each of them; the fourth decides, and ten more or less come true after it
}
STEPS = {**GATEWAY_STEPS, **NODE_STEPS, **RELOAD_STEPS, **ROTATE_STEPS}
_COUNTS: dict[str, Callable[..., bool]] = {"commit.1": _holds_deliveries, "commit.2": _holds_deliveries}


def main() -> None:
    logs.begin()
    if sys.argv[1] == "--serve":
        kind, path, marks = sys.argv[2:]
        _serve(kind, Path(path), Path(marks))
    else:
        path, marks, *hows = sys.argv[1:]
        sys.exit(_run("gateway", Path(path), Path(marks), hows))


def _serve(kind: str, path: Path, marks: Path) -> None:
    """A start costs a fork in place of an interpreter and its imports."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(_run(kind, path, marks, line.split()))
        print(f"pid {pid}", flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"end {os.waitstatus_to_exitcode(status)}", flush=True)


def _run(kind: str, path: Path, marks: Path, hows: Sequence[str]) -> int:
    _tell_what_is_signed(marks.with_suffix(".signed"))
    for how in hows:
        name, _, number = how.partition("=")
        if name == "ack-early":
            _acknowledge_early()
        elif name == "no-dedupe":
            Redeliveries.knows = lambda self, delivery: False  # type: ignore[method-assign]
        else:
            _arm(name, int(number), marks)
    try:
        if kind == "node":
            return node_run.run(config.load_node(path), config.open_signer)
        if kind == "rotate":
            with contextlib.redirect_stdout(sys.stderr):
                return key_rotate.rotate(path, prepare=False, without_nodes=True)
        return app.run(path)
    except FieldgateError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        return 70


def _arm(name: str, number: int, marks: Path) -> None:
    """Dies at the Nth passing of a step."""
    owner, attribute, after = STEPS[name]
    call = getattr(owner, attribute)
    counts = _COUNTS.get(name, lambda *_: True)
    left = number

    def passes(*args: Any) -> None:
        nonlocal left
        left -= counts(*args)
        if left == 0:
            _append(marks, name)
            os.kill(os.getpid(), signal.SIGKILL)

    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def dying(*args: Any, **kwargs: Any) -> Any:
            if not after:
                passes(*args)
            result = await call(*args, **kwargs)
            if after:
                passes(*args)
            return result

    else:

        @functools.wraps(call)
        def dying(*args: Any, **kwargs: Any) -> Any:
            if not after:
                passes(*args)
            result = call(*args, **kwargs)
            if after:
                passes(*args)
            return result

    setattr(owner, attribute, dying)


def _tell_what_is_signed(file: Path) -> None:
    """An oracle of its own: no store has to be believed that nothing was signed twice."""
    sign_entry, cosign = sealer.sign_entry, ledger.cosign

    def entry(signer: Any, header: bytes) -> bytes:
        _append(file, f"entry {block.decode_header(header).height} {hashlib.sha256(header).hexdigest()}")
        return sign_entry(signer, header)

    def line(signer: Any, text: str, now: int) -> Any:
        size = parse_checkpoint(text).size
        _append(file, f"{signer.vkey.name} {size} {hashlib.sha256(text.encode()).hexdigest()}")
        return cosign(signer, text, now)

    sealer.sign_entry, ledger.cosign = entry, line  # type: ignore[attr-defined]


def _append(file: Path, line: str) -> None:
    """In one write, so that it is out of the process before what follows."""
    fd = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def _acknowledge_early() -> None:
    emitter = Intake.emitter

    def early(self: Intake, *args: Any) -> Callable[[Sequence[Item]], "asyncio.Future[None]"]:
        emit = emitter(self, *args)

        def lying(items: Sequence[Item]) -> "asyncio.Future[None]":
            emit(items)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

        return lying

    Intake.emitter = early  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
