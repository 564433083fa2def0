"""`fieldgate selftest`: does this installation work, on this machine and this file system?"""

import asyncio
import json
import platform
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.cli import BUG, OK, WORLD, say
from gateway.core.text import plain

# What the program is made of, by the names under which it is imported.
_MODULES = ("sqlite3", "nacl.bindings", "aiosqlite", "msgspec", "click", "aiohttp", "aiomqtt", "paho.mqtt", "serial")
_REINSTALL = "Install the program again, with all that belongs to it, for this Python and this processor"

Told = dict[str, Any]


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Where to make the temporary folder: one on the card tests the card.",
)
@click.option("--json", "as_json", is_flag=True, help="Steps as JSON.")
def selftest(folder: Path | None, as_json: bool) -> int:
    """Have the program test itself: keys, store, readings, a block, a receipt, its verification, a forgery.

    It makes all of it in a folder that is thrown away, and touches no configuration, key, store, broker or node;
    a gateway may be running meanwhile. Each step is a line; the first that fails is the last.

    \b
    Examples:
      fieldgate selftest
      fieldgate selftest --folder /var/lib/fieldgate
      fieldgate selftest --json | jq '.steps[] | select(.ok | not)'

    Exit 0: all good. 3: a library is missing or too old. 4: the disk does not keep what it should. 70: a bug.
    """
    began, told, code = time.monotonic(), list[Told](), OK
    for step, its_code in _run(folder):
        told.append(step)
        code = code or its_code
        if not as_json:
            _show(step)
    took_s = round(time.monotonic() - began, 1)
    if as_json:
        facts = {"version": __version__, "python": platform.python_version(), "machine": platform.machine()}
        click.echo(json.dumps({"good": code == OK, **facts, "took_s": took_s, "steps": told}, indent=2))
    elif code == OK:
        click.echo(f"All good, in {took_s} s: fieldgate {__version__}, Python {platform.python_version()}")
    return code


def _run(folder: Path | None) -> Iterator[tuple[Told, int]]:
    for name in _MODULES:
        try:
            import_module(name)
        except Exception as exc:  # noqa: BLE001  whatever a broken library raises: it is what is looked for
            what = f"{name} cannot be loaded: {type(exc).__name__}: {exc}"
            yield {"name": "libraries", "ok": False, "said": "", "what": what, "cure": _REINSTALL}, WORLD
            return
    yield _good("libraries", f"{len(_MODULES)} are there"), OK
    tested = import_module("gateway.selftest")
    with asyncio.Runner() as loop:
        steps = tested.steps(folder)
        while (step := loop.run(_next(steps))) is not None:
            if step.error is None:
                yield _good(step.name, step.said), OK
                continue
            failed = {"name": step.name, "ok": False, "said": "", "what": str(step.error.what), "cure": step.error.cure}
            yield failed, step.error.exit_code or BUG


async def _next(steps: Any) -> Any:
    return await anext(steps, None)


def _good(name: str, said: str) -> Told:
    return {"name": name, "ok": True, "said": said, "what": "", "cure": ""}


def _show(step: Told) -> None:
    if step["ok"]:
        click.echo(plain(f"ok      {step['name']:<10} {step['said']}"))
        return
    click.echo(plain(f"FAILED  {step['name']:<10} {step['what']}"))
    if step["cure"]:
        say(f"{step['name']}: {step['cure']}")
