"""`fieldgate node init` and `fieldgate node run`: an upstream node."""

import asyncio
import os
import re
import shutil
from importlib import import_module
from pathlib import Path
from string import Template
from typing import Any

import click
from msgspec import ValidationError, convert

from gateway import config, keys, logs
from gateway.core.note import COSIGNATURE, ED25519
from gateway.errors import FieldgateError, Refused
from gateway.files import sync_folder, write_new
from gateway.settings import Host, Listen, Url

_KEYS = {"seen": ("", COSIGNATURE), "stored": ("/stored", COSIGNATURE), "read": ("/read", ED25519)}
_CONFIG = "node.toml"


@click.group()
def node() -> None:
    """Make and run an upstream node: it follows gateways, keeps their blocks and co-signs what it has."""


@node.command()
@click.option("--name", required=True, help="The node's name, such as node.coop.example. It is for good.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@click.option("--listen", default="127.0.0.1:8441", show_default=True, help="Where it listens.")
@click.option("--url", default="", help="How gateways reach it. Without it: http:// and --listen.")
def init(name: str, folder: Path, listen: str, url: str) -> None:
    """Make a new node in a folder of its own: a commented node.toml, three keys (mode 0600) and an empty store.

    Nothing that exists is overwritten. It prints what a gateway's fieldgate.toml needs.

    \b
    Examples:
      fieldgate node init --name node.coop.example --dir /var/lib/fieldgate-node
      fieldgate node init --name node.coop.example --dir node --listen 0.0.0.0:8441 --url https://node.coop.example:8441

    Exit 0: made. 1: something is there already. 2: a name or an address cannot be used. 3: the folder cannot be made.
    """
    _check("--name", name, Host)
    _check("--listen", listen, Listen)
    url = url or f"http://{listen}"
    _check("--url", url, Url)
    folder = folder.absolute()
    if not str(folder).isprintable():
        raise click.UsageError(f"{str(folder)!r}: a path with characters in it that cannot be shown")
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused("is there already and is not an empty folder", where=str(folder), cure="Nothing was changed")
    vkeys = _make(name, folder, listen, url)
    click.echo(f"node           {name} in {folder}")
    click.echo("Next: add a table [gateway.NAME] for each gateway to node.toml, then")
    click.echo(f"               fieldgate node run --config {folder / _CONFIG}")
    click.echo("A gateway's fieldgate.toml needs:\n")
    click.echo(f'[node.{_table_name(name)}]\nurl = "{url}"')
    for kind, vkey in vkeys.items():
        click.echo(f'{kind}_key = "{vkey}"')


@node.command()
@click.option(
    "--config",
    "-c",
    "config_file",
    type=click.Path(path_type=Path),
    default=Path(_CONFIG),
    show_default=True,
    help="The configuration.",
)
def run(config_file: Path) -> int:
    """Run the node until it is told to stop (SIGTERM or Ctrl-C). It logs to the system's journal
    where it runs under it, else to stderr, a line for each event.

    \b
    Example:
      fieldgate node run --config /var/lib/fieldgate-node/node.toml

    Exit 0: stopped. 2: the configuration or a key is wrong. 3: there is no store. 4: durability is lost.
    """
    settings = config.load_node(config_file)
    logs.begin(debug=bool(click.get_current_context().obj), stream=config.journal_stream())
    secrets = {name: config.secrets_of(anchor.options) for name, anchor in settings.anchor.items()}

    clock = import_module("gateway.clock").SystemClock()

    def beside(node: Any) -> list[Any]:
        told = import_module("gateway.fleet").Telling
        return [told(name, one, secrets[name], node.fleets[name], clock) for name, one in settings.anchor.items()]

    code: int = import_module("gateway.node.run").run(settings, config.open_signer, config.notifier(), beside)
    return code


def _check(option: str, value: str, kind: object) -> None:
    try:
        convert(value, kind)
    except ValidationError:
        raise click.UsageError(f"{option} {value!r} cannot be used: see node init --help") from None


def _make(name: str, folder: Path, listen: str, url: str) -> dict[str, str]:
    """Everything in a folder beside the final one, then one rename: all of it or nothing. The keys' public halves."""
    staging = folder.with_name(f".{folder.name}.init")
    shutil.rmtree(staging, ignore_errors=True)  # what an interrupted init left was never in use
    staging.mkdir(mode=0o700)
    try:
        vkeys = {}
        for kind, (suffix, algorithm) in _KEYS.items():
            path = staging / f"{kind}.key"
            keys.write_key(path, keys.generate(name + suffix, algorithm))
            vkeys[kind] = str(config.open_signer(f"file:{path}").vkey)
        (staging / "data").mkdir(mode=0o700)
        asyncio.run(_make_store(staging / "data"))
        authority = url.split("://", 1)[1].split("/", 1)[0].lower()
        text = Template(TEMPLATE).substitute(name=name, listen=listen, authority=authority, folder=_toml(folder))
        write_new(staging / _CONFIG, text, 0o644)
        config.load_node(staging / _CONFIG)
        sync_folder(staging)
        staging.rename(folder)
    except (FieldgateError, OSError):
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return vkeys


async def _make_store(folder: Path) -> None:
    program = import_module("gateway.node.run")
    store = await import_module("gateway.node.sqlite").SqliteStore.open(folder / program.STORE_FILE, create=True)
    await store.close()


def _table_name(name: str) -> str:
    """A name for the gateway's table: the node's first label, as settings.Name wants it."""
    label = re.sub(r"[^a-z0-9-]", "-", name.split(".", 1)[0])[:32].lstrip("-")
    return label or "node"


def _toml(path: Path) -> str:
    """The inside of a TOML basic string."""
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


TEMPLATE = """\
# An upstream node. Every table and field: fieldgate config example --node. After a change: fieldgate check --node.
# A key is never written here, only where it is: "file:/path", "env:NAME" or "credential:name".

[node]
name = "$name"
listen = "$listen"
authority = ["$authority"]   # host:port names under which gateways and consumers reach it
data_dir = "$folder/data"
seen_key = "file:$folder/seen.key"
stored_key = "file:$folder/stored.key"
read_key = "file:$folder/read.key"
# cert_file = "$folder/cert.pem"     # TLS where both are given
# key_file = "$folder/cert.key"

# A gateway: the log key that its init printed.
# [gateway.henhouse-3]
# vkey = "henhouse-3.example.farm/1+..."
# pull = "https://henhouse-3.example.farm:8440"  # only where this node can reach it; else it uploads
# consumers = ["reader.example+..."]             # keys that may read this log here
"""
