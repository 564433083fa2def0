"""`fieldgate recover`: what is wrong with a store or its signing, and what mends it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click

from gateway import config, epoch, keys, place
from gateway import recover as mend
from gateway.cli import HELD, OK, completion, say
from gateway.cli.asking import opened
from gateway.cli.common import config_option, find_config, locked
from gateway.core import note as notes
from gateway.core.note import ED25519, VerifierKey
from gateway.core.text import plain
from gateway.errors import DamagedError, FieldgateError, HeldError, KeyFileError, NotFoundError
from gateway.keys import Signer
from gateway.settings import Settings
from gateway.store import DATABASE, SIGN_STATE, Store, bring_up, log_key_of, moves
from gateway.store.rebuild import Lost
from gateway.store.signstate import Head, SignState

_NAME_IT = "Name the configuration of the gateway: --config. For a new card: --from NODE --new-epoch"
_RESTART = "Start the gateway again."


@dataclass(frozen=True)
class Site:
    """What every step needs."""

    path: Path
    settings: Settings
    data_dir: Path
    vkey: VerifierKey
    signer: Signer | None
    here: place.Place


@click.command()
@config_option
@click.option(
    "--from",
    "source",
    metavar="NODE",
    shell_complete=completion.nodes,
    help="Fetch what is missing or damaged from this [node.NAME].",
)
@click.option("--drop-damaged", is_flag=True, help="Keep what is sound here; record what is lost.")
@click.option("--only-copy", is_flag=True, help="I am sure: this is the only copy of this log that is in use.")
@click.option("--new-epoch", is_flag=True, help="Begin a new log with a new key; the old one stays readable.")
@click.option(
    "--make-read-key", type=click.Path(path_type=Path), metavar="PATH", help="Make a key to read at nodes, and end."
)
def recover(
    config_file: Path | None,
    source: str | None,
    drop_damaged: bool,
    only_copy: bool,
    new_epoch: bool,
    make_read_key: Path | None,
) -> int:
    """Tell why signing is held or what is damaged, and what to do. The gateway must be stopped.

    Without an option nothing is changed. With several, they are taken in the order below.

    \b
    Examples:
      fieldgate recover
      fieldgate recover --from coop                  (missing or damaged blocks come back from the node)
      fieldgate recover --only-copy                  (the card was moved, and no other copy is in use)
      fieldgate recover --new-epoch                  (the sign-state is lost, or two copies have signed)
      fieldgate recover --from coop --new-epoch      (a dead card: a new one, with the keys from their safe place)

    Exit 0: nothing is wrong (any more). 1: refused. 3: the gateway runs, or a node cannot be reached. 4: held.
    """
    path = find_config(config_file).absolute()
    settings = config.load(path)
    if make_read_key is not None:
        return _make_read_key(settings, make_read_key.absolute())
    if source is not None and source not in settings.node:
        known = ", ".join(sorted(settings.node)) or "none"
        raise click.UsageError(f"--from {source}: no [node.NAME] has this name. There is: {known}")
    data_dir = Path(settings.gateway.data_dir)
    if source is not None:
        data_dir.mkdir(mode=0o700, exist_ok=True)
    with locked(data_dir, cure=_NAME_IT):
        moves.finish(data_dir)
        settings = config.load(path)  # an interrupted new epoch may have changed it just now
        site = Site(path, settings, data_dir, *asyncio.run(_log_key(settings)), place.find(data_dir))
        if source is not None or drop_damaged:
            asyncio.run(_rebuild(site, source))
        if only_copy:
            asyncio.run(_settle(site))
        if new_epoch:
            asyncio.run(_new_epoch(site))
            return OK
        counter = config.log_counter(settings) if site.signer is not None else None
        return _tell(asyncio.run(mend.diagnose(data_dir, site.vkey, site.here, counter)))


async def _log_key(settings: Settings) -> tuple[VerifierKey, Signer | None]:
    """The log's key: the private one where it can be had, else its public half as the store names it."""
    try:
        signer = opened(settings)
    except KeyFileError as error:
        say(str(error))
    else:
        return signer.vkey, signer
    store = await Store.open(Path(settings.gateway.data_dir), read_only=True)
    try:
        return store.vkey, None
    finally:
        await store.close()


def _make_read_key(settings: Settings, path: Path) -> int:
    keys.write_key(path, keys.generate(f"{settings.gateway.name}/read", ED25519))
    vkey = config.open_signer(f"file:{path}").vkey
    click.echo(f'Add to [gateway] of the configuration:   read_key = "file:{path}"')
    click.echo(f'The node\'s operator adds to this log:    consumers = ["{vkey}"]')
    return OK


def _read_key(settings: Settings) -> Signer:
    if settings.gateway.read_key is None:
        cure = "`fieldgate recover --make-read-key PATH` makes one, and tells who has to know of it"
        raise KeyFileError("the configuration names no key to read at nodes", where="gateway.read_key", cure=cure)
    return config.open_signer(settings.gateway.read_key)


@asynccontextmanager
async def _readers(site: Site, names: list[str], read_key: Signer | None) -> AsyncIterator[list[mend.NodeReader]]:
    readers = [mend.NodeReader(name, site.settings.node[name], site.vkey, read_key) for name in names]
    try:
        yield readers
    finally:
        for reader in readers:
            await reader.close()


async def _head(site: Site) -> Head | None:
    """What the sign-state says; None where there is none to be trusted."""
    try:
        state = await SignState.inspect(site.data_dir / SIGN_STATE, str(site.vkey))
    except HeldError:
        return None
    try:
        return state.head
    finally:
        await state.close()


async def _rebuild(site: Site, source: str | None) -> None:
    if source is None and (await mend.diagnose(site.data_dir, site.vkey, site.here)).sound:
        return
    read_key = _read_key(site.settings) if source is not None else None
    async with _readers(site, [source] if source is not None else [], read_key) as readers:
        job = mend.Job(
            data_dir=site.data_dir,
            vkey=site.vkey,
            node=readers[0] if readers else None,
            head=await _head(site),
            signer=site.signer,
            cosigners=site.settings.cosigners,
            brokers=list(site.settings.broker),
            max_count=site.settings.seal.max_count,
            now_ms=time.time_ns() // 1_000_000,
        )
        done = await mend.rebuild(job)
    click.echo(f"The store was made anew: {done.size} blocks, {done.carried} readings that are in no block yet.")
    if source is not None:
        click.echo(f"From node {source}: {done.entries} entries and the readings of {done.bodies} blocks.")
    if done.missing:
        click.echo(f"Nobody asked here has the readings of {len(done.missing)} blocks, the first is {done.missing[0]}.")
    _tell_lost(done.lost)
    click.echo(f"What was there before is kept in {plain(str(site.data_dir))}/damaged-*.")


def _tell_lost(lost: Lost) -> None:
    if lost.rows:
        click.echo(
            f"Damaged, in no block yet, and lost: {lost.readings} readings at least. A reading of the gateway tells."
        )


async def _settle(site: Site) -> None:
    async with _readers(site, list(site.settings.node), None) as readers:
        asked = await mend.settle(site.data_dir, site.vkey, site.here, readers)
    for name in asked.agree:
        click.echo(f"Node {name} has seen nothing of this log that is not here.")
    for name, why in asked.silent:
        click.echo(f"Node {name} could not be asked ({plain(why)}): your word alone stands for it.")
    click.echo("The log goes on in this place.")


async def _new_epoch(site: Site) -> None:
    await bring_up(site.data_dir)  # what goes to the old epoch's folder is never written to again
    with suppress(DamagedError, NotFoundError):  # the key may be another log's of this name
        site = replace(site, vkey=await log_key_of(site.data_dir / DATABASE))
    plan = epoch.Plan(
        config=site.path,
        data_dir=site.data_dir,
        settings=site.settings,
        old_vkey=site.vkey,
        old_note=await _newest_note(site),
        here=site.here,
        now_ms=time.time_ns() // 1_000_000,
    )
    sealed = _is_sealed(site.settings)
    vkey, carried, lost = await epoch.begin(plan)
    click.echo(f"Epoch {plan.epoch} has begun, with {carried} readings that were in no block yet.")
    _tell_lost(lost)
    click.echo(f"new log key    {vkey}")
    click.echo(
        f"in the file    {plain(str(plan.new_key))} (keep a copy in a safe place; the old one is not needed to sign)"
    )
    if sealed:
        click.echo("               it lies there in clear, where the old one was sealed: `fieldgate key seal` seals it")
    click.echo(f"configuration  {plain(str(plan.config))}; as it was: {plain(str(plan.kept_config))}")
    click.echo(
        f"the old log    fieldgate receipt, export, policy: --config {plain(str(plan.old_folder))}/fieldgate.toml"
    )
    click.echo("Every node's operator enrols the new log key beside the old one; a policy lists both logs.")
    click.echo(_RESTART)


def _is_sealed(settings: Settings) -> bool:
    """Whether the log's key is sealed, as far as its place tells."""
    with suppress(KeyFileError):
        return config.look_at_key(settings.gateway.key).guard in ("passphrase", "tpm")
    return settings.gateway.key.startswith("tpm:")


async def _newest_note(site: Site) -> str | None:
    """The newest checkpoint of the log under its own signature, here or at any node that answers."""
    found: list[tuple[int, str]] = []
    try:
        store = await Store.open(site.data_dir, read_only=True)
    except FieldgateError:
        pass
    else:
        try:
            kept = await store.blocks.note(store.blocks.size) if store.blocks.size else None
            found += [kept] if kept is not None else []
        finally:
            await store.close()
    async with _readers(site, list(site.settings.node), None) as readers:
        for reader in readers:
            try:
                shown = await reader.witnessed()
            except FieldgateError as error:
                click.echo(f"Node {reader.name} could not be asked for its newest checkpoint: {plain(error.what)}")
                continue
            if shown is not None:
                own = tuple(line for line in shown.lines if line.is_by(site.vkey))
                size = notes.parse_checkpoint(shown.text).size
                found.append((size, notes.Note(shown.text, own).encode()))
    return epoch.newest_note(found)


def _tell(found: mend.Diagnosis) -> int:
    click.echo(f"blocks       {found.size}")
    click.echo(f"signed       {'unknown' if found.signed is None else found.signed}")
    if found.sound:
        click.echo("Nothing is wrong here: signing goes on when the gateway is started.")
        return OK
    for what, cure in found.findings:
        click.echo(f"wrong        {plain(what)}")
        click.echo(f"  what to do {plain(cure)}")
    return HELD
