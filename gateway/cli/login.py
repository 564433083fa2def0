"""`fieldgate login`: a one-time code for the page, and where to open it."""

import json
from pathlib import Path

import click

from gateway.cli import control
from gateway.cli.common import config_option, find_config
from gateway.core.text import plain


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Code and addresses as JSON.")
def login(config_file: Path | None, as_json: bool) -> None:
    """Print a code that signs a browser in to the gateway's page, once, within five minutes.

    On the gateway itself the page can be looked at without it. From another machine it is needed, and everywhere for
    what the page can do: asking the nodes, reloading the configuration. A new code voids the one before it.

    \b
    Examples:
      fieldgate login
      sudo -u fieldgate fieldgate login
      fieldgate login --json

    Exit 0: printed. 3: the gateway is not running.
    """
    path = control.socket_at(find_config(config_file))
    told = control.call(path, "/login", "POST")
    if not isinstance(told.get("code"), str) or not isinstance(told.get("addresses"), list):
        raise control.strange(path)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"code            {plain(told['code'])}   (once, within five minutes)")
    for address in told["addresses"]:
        click.echo(f"open            {plain(str(address))}/login")
    click.echo(f"on the gateway  {plain(str(told.get('here', '')))}/login")
    if not told["addresses"]:
        click.echo("Other machines do not reach the page: [web] listen names this machine alone.")
