"""`fieldgate run`."""

from importlib import import_module
from pathlib import Path

import click

from gateway import config, logs
from gateway.cli.common import config_option, find_config


@click.command()
@config_option
def run(config_file: Path | None) -> int:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C): then the open block is sealed and sent.

    It needs no broker, node, network or clock to start. It logs to the system's journal where it runs
    under it, else to stderr, a line for each event. For a key that is sealed with a passphrase it asks
    on a terminal; without one, and without key_passphrase, readings are journaled and nothing is signed.

    \b
    Example:
      fieldgate run --config /etc/fieldgate/fieldgate.toml

    Exit 0: stopped. 2: the configuration or a secret is wrong. 3: no store, no room. 4: durability is lost.
    """
    path = find_config(config_file)
    settings = config.load(path)
    ask = import_module("gateway.cli.asking").passphrase(settings) if config.asks_for_passphrase(settings) else None
    log = logs.begin(debug=bool(click.get_current_context().obj), stream=config.journal_stream())
    code: int = import_module("gateway.app").run(path, log, config.notifier(), ask)
    return code
