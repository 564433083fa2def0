"""`fieldgate scrub`: the whole store of this gateway, and what was found kept for status."""

import asyncio
import time
from pathlib import Path

import click

from gateway import config, verified
from gateway.cli import OK, REFUSED, say
from gateway.cli.common import config_option, find_config
from gateway.cli.reading import opened
from gateway.cli.verify_store import walk
from gateway.core.limits import SCRUB_FILE_BYTES
from gateway.core.note import VerifierKey
from gateway.errors import UnreachableError
from gateway.scrub import Report
from gateway.settings import Settings
from gateway.verified import Result


@click.command()
@config_option
def scrub(config_file: Path | None) -> int:
    """Look at this gateway's whole store, whether the gateway runs or not, and keep what is found for status.

    Every entry, signature, body, checkpoint and co-signature is checked, the latter with the nodes' keys of the
    configuration. Nothing is changed. fieldgate-verify.timer runs it each night.

    \b
    Example:
      fieldgate scrub --config /etc/fieldgate/fieldgate.toml

    Exit 0: all good. 1: something is damaged. 2: the configuration is wrong. 3: there is no store, or no room.
    """
    settings = config.load(find_config(config_file))
    began = time.monotonic()
    report = asyncio.run(_look(settings))
    first = min(report.bad, default=None)
    what = "" if first is None else f"first at block {first[0]}: {first[1]}"
    result = Result(
        at_ms=time.time_ns() // 1_000_000,
        took_s=round(time.monotonic() - began),
        blocks=report.blocks,
        readings=report.readings,
        faults=len(report.faulty),
        what=what,
    )
    data_dir = Path(settings.gateway.data_dir)
    try:
        verified.keep(data_dir, result)
    except OSError as error:
        what = f"what was found cannot be kept: {error.strerror}"
        raise UnreachableError(what, where=str(data_dir / verified.FILE), cure="Check owner and room") from error
    click.echo(f"{result.blocks} blocks, {result.readings} readings, {result.took_s} s: {what or 'all good'}")
    if not report.faulty:
        return OK
    say(f"{data_dir}: {len(report.faulty)} blocks are bad; {what}. `fieldgate recover` tells what can be done")
    return REFUSED


async def _look(settings: Settings) -> Report:
    links = settings.node.values()
    keys = {VerifierKey.parse(key) for link in links for key in (link.seen_key, link.stored_key) if key}
    async with opened(settings.gateway.data_dir) as store:
        size = await asyncio.to_thread(store.db.path.stat)
        return await walk(store, keys, whole_file=size.st_size <= SCRUB_FILE_BYTES)
