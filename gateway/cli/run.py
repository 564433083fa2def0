"""`fieldgate check` and `fieldgate run`."""

from collections.abc import Sized
from importlib import import_module
from pathlib import Path

import click

from gateway import config, logs
from gateway.cli.common import config_option, find_config
from gateway.core.text import plain
from gateway.settings import Settings


@click.command()
@config_option
@click.option("--node", is_flag=True, help="The file is an upstream node's node.toml.")
def check(config_file: Path | None, node: bool) -> None:
    """Check a configuration and nothing else: no broker, device, key or node is touched.

    Everything that is wrong is told at once, each with its line and its cure.

    \b
    Examples:
      fieldgate check
      fieldgate check --config /etc/fieldgate/fieldgate.toml
      fieldgate check --node --config node.toml

    Exit 0: good. 2: not.
    """
    path = find_config(config_file)
    if node:
        enrolled = config.load_node(path).gateway
        click.echo(f"{plain(str(path))}: good: a node with {_count(enrolled, 'gateway')}")
    else:
        click.echo(f"{plain(str(path))}: good: {_summary(config.load(path))}")


@click.command()
@config_option
def run(config_file: Path | None) -> int:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C): then the open block is sealed and sent.

    It needs no broker, node, network or clock to start. It logs to the system's journal where it runs
    under it, else to stderr, a line for each event.

    \b
    Example:
      fieldgate run --config /etc/fieldgate/fieldgate.toml

    Exit 0: stopped. 2: the configuration or a secret is wrong. 3: no store, no room. 4: durability is lost.
    """
    settings = config.load(find_config(config_file))
    log = logs.begin(debug=bool(click.get_current_context().obj), stream=config.journal_stream())
    code: int = import_module("gateway.app").run(settings, log)
    return code


def _summary(settings: Settings) -> str:
    parts = (
        _count(settings.source, "source"),
        _count(settings.broker, "broker"),
        _count(settings.node, "node"),
        f"log {settings.origin}",
    )
    return ", ".join(parts)


def _count(things: Sized, noun: str) -> str:
    number = len(things)
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
