"""`fieldgate init`: a new gateway's configuration, key, store and sign-state; all of them or none.

Everything is made in a folder of its own within data_dir, `.init.tmp`. Renaming it to `.init` decides that the gateway
comes to be; from there each piece is moved to its place without overwriting anything, and `.init` goes last. An init
that was interrupted before the rename left nothing that counts; one that was interrupted after it is finished, with the
same key, when init is run again.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click

from gateway import config, keys, place, store
from gateway.cli import init_text
from gateway.cli.common import read_file
from gateway.core.limits import CONFIG_BYTES, ORIGIN_BYTES
from gateway.core.note import ED25519, is_origin
from gateway.errors import FieldgateError, Refused
from gateway.files import LOST_AND_FOUND, sync_folder, write_new

STAGING, READY = ".init.tmp", ".init"
_STORE, _KEY, _READ_KEY, _CONFIG = "store", "log.key", "read.key", "fieldgate.toml"
_DATA = Path("data")


class Plan(NamedTuple):
    """What is to be made, and where. All paths are whole. `node`: tables [node.NAME], or nothing."""

    origin: str
    name: str
    epoch: int
    config: Path
    key: Path
    data_dir: Path
    broker: str = ""
    node: str = ""

    @property
    def read_key(self) -> Path:
        """With it this gateway reads its log back from a node."""
        return self.key.with_name(_READ_KEY)

    def text(self) -> str:
        """The configuration."""
        return init_text.text(
            self.name, self.epoch, self.data_dir, self.key, self.read_key, broker=self.broker, node=self.node
        )


@click.command()
@click.option("--name", help="The gateway's name, such as henhouse-3.example.farm. It is for good.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where readings go.  [default: data]")
@click.option("--broker", metavar="URL", help="An MQTT broker to begin with, such as mqtt://127.0.0.1:1883.")
@click.option(
    "--node",
    "node_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with the [node.NAME] table that the node's operator gives you.",
)
@click.option(
    "--config",
    "-c",
    "config_file",
    type=click.Path(path_type=Path),
    default=Path("fieldgate.toml"),
    show_default=True,
    help="The configuration to write. The key is written beside it.",
)
@click.option(
    "--epoch", type=click.IntRange(1, 999_999), default=1, show_default=True, help="Count up after state was lost."
)
def init(
    name: str | None,
    data_dir: Path | None,
    broker: str | None,
    node_file: Path | None,
    config_file: Path,
    epoch: int,
) -> None:
    """Make a new gateway: a commented configuration, its keys (mode 0600), an empty store and its sign-state.

    Without --name a few questions are asked, on a terminal. Nothing that exists is overwritten. If init
    was interrupted, run it again in the same way.

    \b
    Examples:
      fieldgate init
      fieldgate init --name henhouse-3.example.farm --broker mqtt://127.0.0.1:1883 --node coop.toml
      fieldgate init --name quay.example --config /etc/fieldgate/fieldgate.toml --data-dir /var/lib/fieldgate

    Exit 0: made. 1: something is there already. 2: the name cannot be used. 3: a folder cannot be written to.
    """
    plan = _planned(name, data_dir, broker, node_file, config_file, epoch)
    if not (plan.data_dir / READY).exists():
        _refuse_existing(plan)
    with _locked(plan.data_dir):
        vkey, read_vkey = _make(plan)
    click.echo(f"configuration  {plan.config}")
    click.echo(f"key            {plan.key} (mode 0600; keep a copy in a safe place, and never run it on two machines)")
    click.echo(f"data           {plan.data_dir}")
    click.echo(f"log key        {vkey}")
    click.echo(f"read key       {read_vkey} (for `consumers` at each node, so that it can give this log back)")
    click.echo(
        "Next: fieldgate probe PORT (or mqtt://HOST) finds what speaks there and prints the tables to paste; then "
        "fieldgate check, then run."
    )


def _planned(
    name: str | None,
    data_dir: Path | None,
    broker: str | None,
    node_file: Path | None,
    config_file: Path,
    epoch: int,
) -> Plan:
    """The plan, by the options and, without --name, by what is answered on the terminal."""
    node = None if node_file is None else _node_lines(node_file)
    if name is None:
        if not sys.stdin.isatty():
            raise click.UsageError("--name is missing, and there is no terminal to ask")
        if os.path.lexists(config_file) and not ((data_dir or _DATA) / READY).exists():
            raise Refused("is there already, and nothing is overwritten", where=str(config_file))
        answers = import_module("gateway.cli.init_asking").ask(data_dir, broker, node, default=_DATA)
        name, data_dir, broker, node = answers
    plan = _plan(name, data_dir or _DATA, config_file, epoch)
    if fault := init_text.fault(plan._replace(broker=broker or "").text()):
        raise click.UsageError(f"--broker {broker!r}: {fault}")
    plan = plan._replace(broker=broker or "", node=node or "")
    if fault := init_text.fault(plan.text()):
        raise click.UsageError(f"--node {node_file}: {fault}")
    return plan


def _node_lines(path: Path) -> str:
    """The tables in a file, as its option wants them."""
    try:
        return init_text.node_tables(read_file(path, CONFIG_BYTES, "a node's table").decode())
    except ValueError as exc:
        raise click.UsageError(f"--node {path}: {exc}") from None


def _plan(name: str, data_dir: Path, config_file: Path, epoch: int) -> Plan:
    if fault := init_text.name_fault(name):
        raise click.UsageError(f"--name {name!r}: {fault}")
    origin = f"{name}/{epoch}"
    if not is_origin(origin):
        raise click.UsageError(f"--name {name!r}: with its epoch it is longer than {ORIGIN_BYTES} bytes")
    settings_file = _whole(config_file)
    places = (settings_file, settings_file.with_name(_KEY), _whole(data_dir))
    if len({*places, settings_file.with_name(_READ_KEY)}) <= len(places):
        raise click.UsageError(f"configuration, key ({places[1]}) and data need a place each")
    return Plan(origin, name, epoch, *places)


def _whole(path: Path) -> Path:
    path = path.absolute()
    if not str(path).isprintable():
        raise click.UsageError(f"{str(path)!r}: a path with characters in it that cannot be shown")
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder, made where it is missing (mode 0700), for this init alone; gone again if nothing was made in it."""
    made = not folder.exists()
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Refused("another init works on this folder", where=str(folder), cure="Wait for it") from None
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    finally:
        os.close(descriptor)


def _make(plan: Plan) -> tuple[str, str]:
    """The steps, or the rest of them; returns the verifier keys of the log and of its reader."""
    ready = plan.data_dir / READY
    if not ready.exists():
        _refuse_existing(plan)
        _stage(plan)
    elif (ready / _CONFIG).read_text(encoding="utf-8") != plan.text():
        raise Refused(
            "an init with another name or other places was interrupted here",
            where=str(plan.data_dir),
            cure=f"Run that one again to finish it, or choose another --data-dir; {ready / _CONFIG} tells which it was",
        )
    return _publish(plan)


def _refuse_existing(plan: Plan) -> None:
    for path in (plan.config, plan.key, plan.read_key):
        if os.path.lexists(path):
            raise Refused("is there already, and nothing is overwritten", where=str(path), cure="Nothing was changed")
    for path in plan.data_dir.iterdir() if plan.data_dir.exists() else ():
        if path.name not in (STAGING, LOST_AND_FOUND):
            cure = "Nothing was changed. Choose another --data-dir"
            raise Refused(f"is not empty: there is {path.name}", where=str(plan.data_dir), cure=cure)
    if not os.access(plan.config.parent, os.W_OK | os.X_OK):
        raise FileNotFoundError(2, "no such folder, or it cannot be written to", str(plan.config.parent))


def _stage(plan: Plan) -> None:
    """Everything, made where it does not count yet. What an interrupted init left here was never in use."""
    staging = plan.data_dir / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    (staging / _STORE).mkdir(parents=True, mode=0o700)
    try:
        keys.write_key(staging / _KEY, keys.generate(plan.origin, ED25519))
        signer = config.open_signer(f"file:{staging / _KEY}")
        keys.write_key(staging / _READ_KEY, keys.generate(f"{plan.name}/read", ED25519))
        store.create(staging / _STORE, signer.vkey, place.find(plan.data_dir))
        write_new(staging / _CONFIG, plan.text(), 0o644)
        config.load(staging / _CONFIG)
        sync_folder(staging / _STORE, staging)
        staging.rename(plan.data_dir / READY)
    except (FieldgateError, OSError):
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(plan.data_dir)


def _publish(plan: Plan) -> tuple[str, str]:
    """Move each piece to its place. Every step may have been taken already."""
    ready = plan.data_dir / READY
    for path in (ready / _STORE).iterdir():
        path.rename(plan.data_dir / path.name)
    for name, key in ((_KEY, plan.key), (_READ_KEY, plan.read_key)):
        if (ready / name).exists():
            _copy(ready / name, key)
            sync_folder(key.parent)
            (ready / name).unlink()  # before there is a configuration: no second copy of a key in use
    vkeys = [str(config.open_signer(f"file:{key}").vkey) for key in (plan.key, plan.read_key)]
    _copy(ready / _CONFIG, plan.config)
    sync_folder(plan.data_dir, plan.key.parent)
    ready.rename(plan.data_dir / STAGING)
    shutil.rmtree(plan.data_dir / STAGING)
    sync_folder(plan.data_dir)
    return vkeys[0], vkeys[1]


def _copy(source: Path, target: Path) -> None:
    """A copy that appears whole or not at all, overwrites nothing, and may be there already."""
    text = source.read_text(encoding="utf-8")
    part = target.with_name(f".{target.name}.init")
    part.unlink(missing_ok=True)
    if os.path.lexists(target):
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            return
        raise Refused("is there already, and is not what was to be written", where=str(target), cure="Move it away")
    write_new(part, text, source.stat().st_mode & 0o777)
    try:
        os.link(part, target)
    finally:
        part.unlink()
