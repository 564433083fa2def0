"""`fieldgate key rotate`: the log ends, and the next one, with a new key, goes on for it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from gateway import config, epoch, keys, place
from gateway.cli import HELD, OK
from gateway.cli.asking import opened_with
from gateway.cli.common import locked
from gateway.core.note import VerifierKey
from gateway.core.text import plain
from gateway.settings import Settings
from gateway.store import finish_moves


def rotate(path: Path, *, prepare: bool, without_nodes: bool) -> int:
    """Every step that is left of it; the exit code."""
    settings = config.load(path)
    if finish_moves(Path(settings.gateway.data_dir)):
        click.echo(f"What was interrupted here is finished: the log is {config.load(path).origin}. Start the gateway.")
        return OK
    data_dir = Path(settings.gateway.data_dir)
    signer, passphrase = opened_with(settings)
    plan = epoch.Plan(
        config=path,
        data_dir=data_dir,
        settings=settings,
        old_vkey=signer.vkey,
        old_note=None,
        here=place.find(data_dir),
        now_ms=time.time_ns() // 1_000_000,
        scheme="tpm" if settings.gateway.key.startswith("tpm:") else "file",
    )
    make = partial(_new_key, settings, passphrase)
    closed = asyncio.run(epoch.close(plan, signer, make, prepare=prepare, without_nodes=without_nodes))
    if not closed.note:
        _tell_prepared(plan, closed.vkey)
        return OK
    click.echo(
        f"The log {plain(signer.vkey.name)} is closed with its block {closed.size - 1}, which names the next key."
    )
    for name, what in closed.lacking.items():
        click.echo(f"{name} does not have all of it: {plain(what)}.")
    if closed.lacking and not without_nodes:
        click.echo(
            "Start the gateway: it journals, signs nothing, and serves the nodes. When they have all of it, stop it"
        )
        click.echo("and run this again; or go on without them at once: --without-nodes")
        return HELD
    _succeed(replace(plan, old_note=closed.note, counted=closed.counted), closed)
    return OK


def _new_key(settings: Settings, passphrase: Callable[[], str] | None, name: str) -> str:
    """A key of that name, guarded as the old one is, by the same passphrase or TPM."""
    text = keys.generate(name)
    if settings.gateway.key.startswith("tpm:"):
        counter = config.log_counter(settings)
        return config.tpm().seal(text, counter.index if counter else None)
    return text if passphrase is None else keys.seal(text, passphrase())


def _tell_prepared(plan: epoch.Plan, vkey: VerifierKey) -> None:
    click.echo(f"new log key    {vkey}")
    click.echo(f"in the file    {plain(str(plan.new_key))}: nothing uses it yet")
    click.echo("Each node's operator enrols it in a table of its own beside the old one. Then: fieldgate key rotate")


def _succeed(plan: epoch.Plan, closed: epoch.Closed) -> None:
    """Step 5."""
    with locked(plan.data_dir, cure="Name the configuration of the gateway: --config"):
        _, carried, lost = asyncio.run(epoch.begin(plan, closed.vkey))
    click.echo(f"Epoch {plan.epoch} has begun, with {carried} readings that came after the old log was closed.")
    if lost.rows:
        click.echo(f"Damaged, in no block yet, and lost: {lost.readings} readings at least. A reading tells of it.")
    old = plain(str(plan.old_folder))
    click.echo(f"new log key    {closed.vkey}")
    click.echo(f"in the file    {plain(str(plan.new_key))} (keep a copy in a safe place)")
    click.echo(f"old key        {plain(str(plan.old_key))}: it signs nothing any more. Delete it when you like")
    click.echo(f"configuration  {plain(str(plan.config))}; as it was: {plain(str(plan.kept_config))}")
    click.echo(f"the old log    fieldgate receipt, export, policy: --config {old}/fieldgate.toml")
    click.echo("Every node's operator enrols the new log key beside the old one; a policy lists both logs.")
    if plan.settings.gateway.sm2_key:
        click.echo("Who pinned the SM2 key gets the pin of the new log: fieldgate key show")
    click.echo("Start the gateway again.")
