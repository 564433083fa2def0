"""`fieldgate backup`: everything of a gateway but its secrets in one file."""

import asyncio
import json
import os
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import click

from gateway import config
from gateway.cli import OK, say
from gateway.cli.common import config_option, find_config, locked
from gateway.core.text import plain


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--move", is_flag=True, help="Hand the log over to other hardware: it never runs here again.")
@click.option("--json", "as_json", is_flag=True, help="What is in it, as JSON.")
@config_option
def backup(file: Path, move: bool, as_json: bool, config_file: Path | None) -> int:
    """Write store and configuration to FILE. The gateway may be running meanwhile.

    There is no key, password or sign-state in it: keep the keys in their safe place. Logs of earlier epochs
    (data_dir/epoch-N) are not in it either: they never change, copy these folders once. FILE has mode 0600, and
    appears whole or not at all. While it is made there must be room for two copies of the store beside it.

    With --move the gateway must be stopped. The sign-state goes along and this copy refuses to run from then on, so
    that the log goes on at one place only: where `fieldgate restore FILE` puts it.

    \b
    Examples:
      fieldgate backup /media/stick/henhouse.backup
      fieldgate backup --move /media/stick/henhouse.backup

    Exit 0: written. 2: the configuration is wrong. 3: the gateway runs (--move), no store, no room. 4: the store is
    damaged, or the log cannot be handed over.
    """
    if str(file) == "-" or (file.exists() and not file.is_file()):
        raise click.UsageError("FILE: name a file on a disk with room for it")
    path = find_config(config_file).absolute()
    read = config.files(path)
    data_dir = Path(config.settings_of(read).gateway.data_dir)
    make = import_module("gateway.backup").make
    with locked(data_dir, cure="Name the configuration of the gateway: --config") if move else nullcontext():
        manifest = asyncio.run(make(data_dir, read, file, time.time_ns() // 1_000_000, move=move))
    if earlier := sorted(one.name for one in data_dir.glob("epoch-*") if one.is_dir()):
        say(
            f"The logs of earlier epochs are not in it: copy {', '.join(earlier)} of {data_dir} as "
            "they are, after the file is restored"
        )
    if as_json:
        click.echo(json.dumps(import_module("msgspec").to_builtins(manifest), indent=2))
        return OK
    click.echo(f"written      {plain(str(file))}, {os.stat(file).st_size} bytes")  # noqa: PTH116
    click.echo(f"log          {manifest.origin}")
    click.echo(f"blocks       {manifest.size}, and {manifest.unsealed} readings in no block yet")
    click.echo(f"root         {manifest.root}")
    if move:
        click.echo("This log goes on where the file is restored, and nothing runs here any more.")
        click.echo("Bring the keys along; copy nothing else of this log. Restore it once only.")
    return OK
