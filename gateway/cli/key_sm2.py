"""`fieldgate key sm2`: a key for the SM2 signature beside the log's own."""

from pathlib import Path

import click

from gateway import config, keys
from gateway.cli.common import config_option, find_config
from gateway.core.note import SM2, VerifierKey
from gateway.core.text import plain
from gateway.errors import KeyFileError
from gateway.settings import Settings


@click.command()
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), metavar="FILE", help="Where the key goes.")
@config_option
def sm2(out: Path | None, config_file: Path | None) -> None:
    """Make an SM2 key, with which checkpoints are signed as well as with the log's own.

    It goes where sm2_key names a file, else to sm2.key beside the log's key. Keep a copy in a safe place; a
    lost one is replaced by another, and whoever pinned it has to be told.

    \b
    Examples:
      fieldgate key sm2
      fieldgate key sm2 -o /etc/fieldgate/sm2.key

    Exit 0: made. 1: nothing here makes such signatures. 2: there is a file already, or no place for it.
    """
    settings = config.load(find_config(config_file))
    path = (out or _place(settings)).absolute()
    text = keys.generate(settings.sm2_name, SM2)
    log_key = _file(settings.gateway.key)
    keys.write_key(path, text, like=log_key if log_key is not None and log_key.exists() else None)
    vkey = config.open_signer(f"file:{path}").vkey
    click.echo(f"SM2 key   {vkey}")
    click.echo(f"written   {plain(str(path))}")
    if settings.gateway.sm2_key != f"file:{path}":
        click.echo(f'use it    sm2_key = "file:{plain(str(path))}" in [gateway], then restart the gateway')
    click.echo(f"its pin   {pin(settings, vkey)}")


def pin(settings: Settings, vkey: VerifierKey) -> str:
    """The line by which a verifier asks for its signature (docs/format.md, section 5)."""
    return f"sm2 {settings.origin} key {vkey}"


def _place(settings: Settings) -> Path:
    for uri in (settings.gateway.sm2_key, settings.gateway.key):
        path = _file(uri)
        if path is not None:
            return path if uri == settings.gateway.sm2_key else path.with_name("sm2.key")
    raise KeyFileError("the log's key is no file, beside which it would go", cure="Say where: -o FILE")


def _file(uri: str | None) -> Path | None:
    scheme, _, path = (uri or "").partition(":")
    return Path(path) if scheme == "file" else None
