"""`fieldgate verify --store`: every entry, signature, body, checkpoint and co-signature of a gateway's store."""

import asyncio
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Protocol

import click

from gateway.cli import OK, REFUSED, say
from gateway.cli.reading import opened
from gateway.core import note
from gateway.core.anchor import Pin
from gateway.core.policy import Policy, parse_policy
from gateway.core.text import plain
from gateway.errors import Refused, StoreError
from gateway.scrub import Report, Walk
from gateway.store import Store, wal
from gateway.verify import sm2_keys

_CURE = "`fieldgate recover` tells what can be done"


class Bar(Protocol):
    """Progress."""

    def advance(self, by: int) -> None:
        """So many more are done."""


def verify_store(data_dir: Path, policy: bytes | None, pins: Sequence[Pin] | None = None, *, verbose: bool) -> int:
    """Checks everything, goes on after what is bad, tells what it found, and returns the exit code.

    pins: those of SM2 keys are looked at; anchors are checked with receipts.
    """
    trusted = parse_policy(policy) if policy is not None else None
    try:
        return asyncio.run(_verify(data_dir, trusted, pins, verbose=verbose))
    except StoreError as exc:
        raise Refused(exc.what, where=exc.where, cure=exc.cure) from exc


async def _verify(data_dir: Path, trusted: Policy | None, pins: Sequence[Pin] | None, *, verbose: bool) -> int:
    unread = await asyncio.to_thread(wal.damage_at_rest, data_dir)  # before SQLite folds it into the file
    async with opened(data_dir) as store:
        if trusted is not None and store.vkey not in trusted.logs:
            raise Refused("this log's key is not in the policy", where=str(data_dir), cure=f"It is {store.vkey}")
        pinned = sm2_keys(pins or (), store.vkey.name)
        if pins is not None and not pinned:
            raise Refused(
                f"no pin is of an SM2 key of {store.vkey.name}",
                where="pins",
                cure=f"`fieldgate key show` prints its line; it begins with sm2 {store.vkey.name} key",
            )
        report = await walk(store, {witness.key for witness in trusted.witnesses} if trusted else (), pinned)
        if unread:
            report.fault(store.blocks.extent, unread)
    return _tell(data_dir, store.vkey, trusted, report, verbose=verbose)


async def walk(
    store: Store,
    keys: Collection[note.VerifierKey],
    sm2: Collection[note.VerifierKey] = (),
    *,
    whole_file: bool = True,
) -> Report:
    """Everything that is in a store, checked. keys: the co-signing ones that are trusted; sm2: the log's SM2 keys.

    whole_file: by SQLite too, in one statement; what a gateway writes meanwhile is folded into the file after that.
    """
    report = Report()
    with _bar(store.blocks.extent) as bar:
        async for _ in Walk(store, report, keys, sm2).blocks():
            bar.advance(1)
    for what in await store.file_damage() if whole_file else ():
        report.fault(store.blocks.extent, what)
    return report


class _NoBar:
    def advance(self, by: int) -> None:
        pass


@contextmanager
def _bar(total: int) -> Iterator[Bar]:
    """A bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield _NoBar()
        return
    with import_module("gateway.cli.terminal").progress_bar("blocks", total) as bar:
        yield bar


def _tell(data_dir: Path, key: note.VerifierKey, trusted: Policy | None, report: Report, *, verbose: bool) -> int:
    if verbose:
        for height, what in report.bad:
            click.echo(f"block {height}: {plain(what)}")
    click.echo(f"log             {key.name}")
    click.echo(f"under the key   {key}{'' if trusted else ' (as the store says: name a --policy to be sure)'}")
    click.echo(f"blocks          {report.blocks}")
    click.echo(f"readings        {report.readings}")
    if report.pruned:
        click.echo(f"pruned          {report.pruned} blocks: their readings are at the nodes")
    if report.gone:
        click.echo(f"gone            {report.gone} blocks, as readings of the gateway tell")
    click.echo(f"checkpoints     {report.checkpoints}")
    if sm2 := _sm2(report):
        click.echo(f"SM2 with SM3    {sm2}")
    hint = f", {report.unchecked} of nodes that no --policy names" if report.unchecked else ""
    click.echo(f"co-signatures   {report.cosignatures} checked{hint}")
    if not report.faulty:
        click.echo("all good")
        return OK
    height, what = min(report.bad)
    if height >= report.blocks:
        say(f"{data_dir}: all {report.blocks} blocks are good, but what comes after them is not: {what}. {_CURE}")
        return REFUSED
    bad = sum(height < report.blocks for height in report.faulty)
    say(f"{data_dir}: {bad} of {report.blocks} blocks are bad; the first is block {height}: {what}. {_CURE}")
    return REFUSED


def _sm2(report: Report) -> str:
    """What came of the checkpoints' SM2 lines; "" where none was asked for and none is there."""
    parts = [f"{report.sm2} checked"]
    if report.sm2_missing:
        parts.append(f"{report.sm2_missing} checkpoints without a line of the pinned key")
    if report.sm2_unchecked:
        parts.append(f"{report.sm2_unchecked} of a key that no --pins names")
    return ", ".join(parts) if report.sm2 or len(parts) > 1 else ""
