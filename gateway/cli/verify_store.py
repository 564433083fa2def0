"""`fieldgate verify --store`: every entry, signature, body, checkpoint and co-signature of a gateway's store."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

import click

from gateway.cli import OK, REFUSED, say
from gateway.cli.reading import opened
from gateway.core import block, merkle, note, senml
from gateway.core.chain import BlockCheck, Chain
from gateway.core.policy import Policy, parse_policy
from gateway.core.text import plain
from gateway.errors import FormatError, NotFoundError, Refused, StoreError
from gateway.store import Store
from gateway.store.blocks import BlockRow
from gateway.store.cosigned import CosignedSize

_SHOWN = 1_000  # bad blocks that are told one by one


class Bar(Protocol):
    """Progress."""

    def advance(self, by: int) -> None:
        """So many more are done."""


@dataclass
class Report:
    """What was found. `bad` has (height, what) of the first `_SHOWN` faults, `faulty` the heights of all."""

    blocks: int = 0
    readings: int = 0
    pruned: int = 0
    gone: int = 0
    checkpoints: int = 0
    cosignatures: int = 0
    unchecked: int = 0
    faulty: set[int] = field(default_factory=set)
    bad: list[tuple[int, str]] = field(default_factory=list)

    def fault(self, height: int, what: str) -> None:
        """Something is wrong with a block, or with the log at its size."""
        self.faulty.add(height)
        if len(self.bad) < _SHOWN:
            self.bad.append((height, what))


def verify_store(data_dir: Path, policy: bytes | None, *, verbose: bool) -> int:
    """Checks everything, goes on after what is bad, tells what it found, and returns the exit code."""
    trusted = parse_policy(policy) if policy is not None else None
    try:
        return asyncio.run(_verify(data_dir, trusted, verbose=verbose))
    except StoreError as exc:
        raise Refused(exc.what, where=exc.where, cure=exc.cure) from exc


async def _verify(data_dir: Path, trusted: Policy | None, *, verbose: bool) -> int:
    async with opened(data_dir) as store:
        if trusted is not None and store.vkey not in trusted.logs:
            raise Refused("this log's key is not in the policy", where=str(data_dir), cure=f"It is {store.vkey}")
        report = Report()
        with _bar(store.blocks.size) as bar:
            await _Walk(store, trusted, report).run(bar)
    return _tell(data_dir, store.vkey, trusted, report, verbose=verbose)


class _Walk:
    """From height 0 to the end, with the chain as it should be. A bad entry is taken in as it stands, and noted."""

    def __init__(self, store: Store, trusted: Policy | None, report: Report) -> None:
        self._store = store
        self._report = report
        self._keys = {witness.key for witness in trusted.witnesses} if trusted else set()
        self._chain = Chain(store.vkey)
        self._losses: dict[int, list[tuple[int, int]] | None] = {}  # loss block -> what it tells of
        self._sum = 0  # readings up to this block

    async def run(self, bar: Bar) -> None:
        cosigned = _cosigned(self._store)
        following = await anext(cosigned, None)
        for height in range(self._store.blocks.size):
            await self._block(height)
            await self._checkpoint(height)
            while following is not None and following.size <= height + 1:
                self._cosignatures(height, following)
                following = await anext(cosigned, None)
            self._report.blocks += 1
            bar.advance(1)
        size = self._store.blocks.size
        if size and await self._store.blocks.root(size) != self._chain.root():
            self._report.fault(size - 1, "the stored tree has another root than the entries lead to")

    async def _block(self, height: int) -> None:
        try:
            row = await self._store.blocks.block(height)
        except StoreError as exc:
            row = None
            self._report.fault(height, exc.what)
        else:
            if row is None:
                self._report.fault(height, "the entry is missing")
        if row is None:
            self._take_as_is(b"")
            return
        try:
            self._chain, (entry,) = self._chain.extend([row.entry])
        except FormatError as exc:
            self._report.fault(height, str(exc))
            self._take_as_is(row.entry)
            try:
                entry = block.parse_entry(row.entry)
            except FormatError:
                return
        await self._body(entry.header, row)
        await self._count(row)

    def _take_as_is(self, entry: bytes) -> None:
        frontier = self._chain.frontier.append(merkle.leaf_hash(entry))
        self._chain = Chain(self._chain.key, frontier, block.next_prev(entry))

    async def _body(self, header: block.Header, row: BlockRow) -> None:
        if row.secret is None:
            await self._absent(row.height)
            return
        check = BlockCheck(header, row.secret or bytes(32))
        try:
            async for pack, payload in self._store.blocks.items(row.height):
                check.take(pack, payload)
                self._report.readings += 1
            check.finish()
        except NotFoundError:  # pruned while it was read
            await self._absent(row.height)
        except (FormatError, StoreError) as exc:
            self._report.fault(row.height, str(exc))
        except zlib.error as exc:
            self._report.fault(row.height, f"its readings do not inflate: {exc}")

    async def _absent(self, height: int) -> None:
        """A block without its readings was pruned, or it is gone, and a reading tells that where it is here itself."""
        lost = await self._store.blocks.gone(height)
        if lost is None:
            self._report.pruned += 1
            return
        self._report.gone += 1
        if lost.loss not in self._losses:
            self._losses[lost.loss] = await self._told(lost.loss)
        told = self._losses[lost.loss]
        if told is not None and not any(low <= height < high for low, high in told):
            self._report.fault(height, f"its readings are gone, and block {lost.loss} does not tell so")

    async def _told(self, height: int) -> list[tuple[int, int]] | None:
        """The ranges that the loss readings of a block tell of; None where its readings are not here."""
        ranges: list[tuple[int, int]] = []
        try:
            async for pack, _ in self._store.blocks.items(height):
                if senml.source_of(pack) != "gateway":
                    continue
                said = {record.name: record.value for record in senml.resolve(pack).records}
                low, high = said.get("from"), said.get("to")
                if said.get("event") == "gone" and isinstance(low, int) and isinstance(high, int):
                    ranges.append((low, high))
        except (NotFoundError, FormatError, StoreError):
            return None
        return ranges

    async def _count(self, row: BlockRow) -> None:
        """The count of all readings so far, which a start takes from the newest block."""
        self._sum += row.count
        kept = await self._store.blocks.total(row.height)
        if kept != self._sum:
            self._report.fault(row.height, f"the store counts {kept} readings up to here, and there are {self._sum}")
            self._sum = kept

    async def _checkpoint(self, height: int) -> None:
        try:
            kept = await self._store.blocks.note(height + 1)
            if kept is not None:
                self._chain.check_note(note.parse_note(kept[1]))
                self._report.checkpoints += 1
        except (FormatError, StoreError) as exc:
            self._report.fault(height, f"checkpoint: {exc}")

    def _cosignatures(self, height: int, cosigned: CosignedSize) -> None:
        """The lines over a size; the note that they are over is checked as a checkpoint."""
        text = cosigned.note.rpartition("\n\n")[0] + "\n"
        for kept in cosigned.lines:
            try:
                line = note.parse_line(kept.line)
                key = next((key for key in self._keys if line.is_by(key)), None)
                if key is None:
                    self._report.unchecked += 1
                else:
                    note.verify_cosignature(text, line, key)
                    self._report.cosignatures += 1
            except FormatError as exc:
                self._report.fault(height, f"co-signature of {kept.node}: {exc}")


async def _cosigned(store: Store) -> AsyncIterator[CosignedSize]:
    """Every co-signed size, ascending."""
    after = 0
    while sizes := await store.cosigned.above(0, after):
        for one in sizes:
            yield one
        after = sizes[-1].size


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
    hint = f", {report.unchecked} of nodes that no --policy names" if report.unchecked else ""
    click.echo(f"co-signatures   {report.cosignatures} checked{hint}")
    if not report.faulty:
        click.echo("all good")
        return OK
    height, what = min(report.bad)
    say(f"{data_dir}: {len(report.faulty)} of {report.blocks} blocks are bad; the first is block {height}: {what}")
    return REFUSED
