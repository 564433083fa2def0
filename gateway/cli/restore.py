"""`fieldgate restore`: a backup into an empty place, or what a newer version has written as the one before knows it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import click

from gateway import config, files, place
from gateway import recover as mend
from gateway.cli import OK, say
from gateway.cli.common import CONFIG_PLACES, config_option, find_config, locked
from gateway.core.text import plain
from gateway.errors import ConfigError, Refused
from gateway.recover import Back
from gateway.settings import Settings
from gateway.store import DATABASE, log_key_of, moves


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--snapshot", is_flag=True, help="Go back to the version before, with all that was stored since.")
@click.option("--as-it-was", is_flag=True, help="With --snapshot: the store as it was before the update.")
@config_option
def restore(file: Path | None, snapshot: bool, as_it_was: bool, config_file: Path | None) -> int:
    """Put the backup FILE into an empty data_dir, or go back to the version before an update. The gateway is stopped.

    FILE is verified first: its sums, and every block of its log. Where --config names a file that is not there, the
    configuration comes from the backup as well. Nothing that exists is overwritten. What the backup of a move brings
    goes on here, when no node knows better. Any other backup has no sign-state, so that nothing is signed twice:
    `fieldgate recover --from NODE --new-epoch` fetches what a node has beyond it, and begins a new log.

    --snapshot: install the version before first. What the newer one stored and signed is carried over, its files are
    kept in data_dir/newer-*. Where that cannot be done nothing is changed; --as-it-was then puts the copy from before
    the update in place, and `fieldgate recover --from NODE` fetches the blocks that were sealed since.

    \b
    Examples:
      fieldgate restore /media/stick/henhouse.backup --config /etc/fieldgate/fieldgate.toml
      fieldgate restore --snapshot
      fieldgate restore --snapshot --as-it-was

    Exit 0: done. 1: refused. 3: the gateway runs, or no room. 4: the sign-state cannot be used, a node knows better.
    """
    if (file is None) != snapshot or (as_it_was and not snapshot):
        raise click.UsageError("name a backup FILE, or say --snapshot, and not both")
    told = _from_backup(file, config_file) if file is not None else _from_newer(config_file, as_it_was=as_it_was)
    for line in told:
        click.echo(plain(line))
    return OK


# -- the version before -----------------------------------------------------------------------------------------------


def _from_newer(config_file: Path | None, *, as_it_was: bool) -> Iterator[str]:
    data_dir = Path(config.load(find_config(config_file)).gateway.data_dir)
    with locked(data_dir, cure="Name the configuration of the gateway: --config"):
        moves.finish(data_dir)
        back = asyncio.run(mend.step_back(data_dir, time.time_ns() // 1_000_000, as_it_was=as_it_was))
    return _told(back, as_it_was=as_it_was)


def _told(back: Back, *, as_it_was: bool) -> Iterator[str]:
    if back.store and as_it_was:
        yield f"The store is as it was before the update: {back.blocks} blocks."
    elif back.store:
        yield f"The store is of this version again, with all that the newer one stored: {back.blocks} blocks."
    if back.state:
        yield f"The sign-state is of this version again, and goes on behind the {back.signed} blocks signed."
    yield f"The newer version's files are kept in {back.kept}."
    if as_it_was and back.signed is not None and back.signed > back.blocks:
        yield (
            f"{back.signed} blocks were signed: `fieldgate recover --from NODE` fetches those that are not here. "
            "Until then signing is held"
        )
    yield "Start the gateway again."


# -- a backup ---------------------------------------------------------------------------------------------------------


def _from_backup(file: Path, config_file: Path | None) -> Iterator[str]:
    backups = import_module("gateway.backup")
    path = _config_place(config_file)
    if not path.exists():
        _write_config(path, backups.read_config(file))
        yield f"The configuration is written to {path}: check its paths, and put the keys where it names them."
    settings = config.load(path)
    data_dir = Path(settings.gateway.data_dir)
    with _made_and_locked(data_dir):
        placed = asyncio.run(backups.place(file, data_dir, settings.origin))
        manifest = placed.manifest
        yield f"{manifest.size} blocks and {manifest.unsealed} readings in no block are in place, verified."
        if placed.pruned:
            yield f"The readings of {placed.pruned} of these blocks were not in the gateway any more."
        if manifest.moved is None:
            yield "Signing is held: a backup has no sign-state. To go on: `fieldgate recover --from NODE --new-epoch`"
            yield "(without --from where there is no node). The gateway takes readings before as well."
        else:
            yield from asyncio.run(_settle(settings, data_dir))


def _config_place(given: Path | None) -> Path:
    try:
        return find_config(given).absolute()
    except ConfigError:
        return CONFIG_PLACES[-1]


def _write_config(path: Path, members: list[tuple[str, bytes]]) -> None:
    """Each file whole or not at all, FILE.toml last: with it there is a configuration."""
    first, *drop_ins = members
    for name, data in [*drop_ins, first]:
        at = path if name == first[0] else path.with_name(f"{path.stem}.d") / Path(name).name
        if at.exists():
            if at.read_bytes() == data:
                continue
            raise Refused("is there already, and nothing is overwritten", where=str(at), cure="Move it away")
        at.parent.mkdir(mode=0o755, exist_ok=True)
        part = at.with_name(f".{at.name}.restore")
        part.unlink(missing_ok=True)
        files.write_new(part, data.decode("utf-8"), 0o644)
        part.replace(at)
        files.sync_folder(at.parent)


@contextmanager
def _made_and_locked(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(data_dir, cure=""):
        moves.finish(data_dir)
        yield


async def _settle(settings: Settings, data_dir: Path) -> list[str]:
    """A log that was handed over lives here from now on, where no node knows better."""
    vkey = await log_key_of(data_dir / DATABASE)
    readers = [mend.NodeReader(name, link, vkey, None) for name, link in settings.node.items()]
    try:
        asked = await mend.settle(data_dir, vkey, await asyncio.to_thread(place.find, data_dir), readers)
    finally:
        for reader in readers:
            await reader.close()
    for name, why in asked.silent:
        say(f"node {name} could not be asked: {why}")
    return [
        *(f"Node {name} has seen nothing of this log that is not here." for name in asked.agree),
        "The log goes on here. Start the gateway.",
    ]
