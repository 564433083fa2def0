"""A planned change of the log's key, in numbered steps, each of which may have been taken already.

    1  the new key is durable in its file
    2  a reading `next-vkey` that names it is durable in the journal, in a block of its own
    3  everything in the journal is sealed, that block with reason 5: the log is closed
    4  the nodes have what there is of it
    5  the next log takes its place, in one stroke (making.py)

`close` takes the first four. A crash leaves a log that is not closed, which goes on as it did or is closed by the next
try, or one that is closed: nobody continues that, and only step 5 is left. No step signs but the sealer, as ever.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from gateway import config, keys
from gateway.clock import Clock, SystemClock
from gateway.core import body, senml
from gateway.core.note import SignatureLine, VerifierKey
from gateway.epoch.making import Plan, check
from gateway.errors import HeldError, KeyFileError, Refused
from gateway.files import sync_folder
from gateway.keys import Signer
from gateway.recover import OWN
from gateway.sealer import Sealer
from gateway.settings import NodeLink, Settings, WitnessLink
from gateway.store import SIGN_STATE, Store, space
from gateway.store.journal import Journal, Waiting, source_bit
from gateway.store.opening import open_journal
from gateway.store.signstate import CURE, SignState
from gateway.upstream import Upstream, WitnessUpstream

NEXT = "next-vkey"
_PUSH_S = 20.0


@dataclass(frozen=True)
class Closed:
    """What `close` has brought about. note: the checkpoint of the closed log; "" where it goes on."""

    vkey: VerifierKey  # of the next log
    size: int
    note: str = ""
    counted: int = 0  # how far the counter of its sign-state has counted
    lacking: dict[str, str] = field(default_factory=dict)  # nodes and witnesses, and what of the log they lack


async def close(
    plan: Plan, signer: Signer, make: Callable[[str], str], *, prepare: bool = False, without_nodes: bool = False
) -> Closed:
    """Steps 1 to 4. The gateway is stopped. HeldError where nothing may be signed; KeyFileError.

    make: a new key's text for the file, of its name. prepare: step 1 alone, so that nodes can enrol the key before.
    without_nodes: whatever they have of the log.
    """
    await asyncio.to_thread(check, plan)
    settings, clock = plan.settings, await asyncio.to_thread(SystemClock)
    async with _opened(plan, settings, clock, signer) as (store, state, journal, sealer):
        closed = await store.blocks.closed()
        if not store.blocks.size:
            what = f"the log {signer.vkey.name} has no block yet, so there is nothing to follow"
            raise Refused(what, cure="A rotation that was interrupted here is finished: start the gateway")
        if not (closed or prepare or without_nodes):
            await _check_known(store, settings)
        vkey = await asyncio.to_thread(_next_key, plan, make, await _named(store) if closed else None)  # 1
        if prepare and not closed:
            return Closed(vkey, store.blocks.size)
        if not closed:
            await journal.commit_alone(_farewell(vkey, clock))  # 2
            await sealer.close()  # 3
        lacking = await _push(store, settings, clock)  # 4
        kept = await store.blocks.note(store.blocks.size)
        if kept is None:
            raise HeldError("the checkpoint of the closed log is not here", where=str(plan.data_dir), cure=CURE)
        return Closed(vkey, store.blocks.size, kept[1], state.counted if state.guarded else 0, lacking)


@asynccontextmanager
async def _opened(
    plan: Plan, settings: Settings, clock: Clock, signer: Signer
) -> AsyncIterator[tuple[Store, SignState, Journal, Sealer]]:
    """Store, journal and a sealer that has finished what a crash left behind, as at every start."""
    store = await Store.open(plan.data_dir, quota=space.quota_of(settings.retention))
    try:
        if store.vkey != signer.vkey:
            raise HeldError("the key is not this log's", where=settings.gateway.key, cure=CURE)
        counter = await asyncio.to_thread(config.log_counter, settings)
        state = await SignState.open(plan.data_dir / SIGN_STATE, str(signer.vkey), plan.here, counter)
        try:
            most = settings.seal.max_count
            journal = await open_journal(store, linger_s=0, max_count=most, monotonic=clock.monotonic)
            sealer = Sealer(store.blocks, journal, clock, max_age_s=0, heartbeat_s=0)
            if (sm2 := await asyncio.to_thread(config.sm2_signer, settings)) is not None:
                sealer.further = partial(_further, sm2)
            try:
                await sealer.recover(signer, state)
            except HeldError:
                if not await store.blocks.closed():
                    raise
            yield store, state, journal, sealer
        finally:
            await state.close()
    finally:
        await store.close()


async def _check_known(store: Store, settings: Settings) -> None:
    """A log that a node has never seen was begun just now, perhaps by this very command: it is not ended by mistake."""
    for name in settings.node:
        if not (await store.cosigned.progress(name)).seen:
            what = f"node {name} has not seen the log {store.vkey.name} yet"
            cure = "Has its operator enrolled this key? Once it follows, run this again; or at once: --without-nodes"
            raise Refused(what, cure=cure)


async def _further(sm2: Signer, text: str) -> list[SignatureLine]:
    """The closing checkpoint bears the SM2 signature as all others do."""
    return [await asyncio.to_thread(keys.sm2_line, sm2, text)]


def _next_key(plan: Plan, make: Callable[[str], str], named: VerifierKey | None) -> VerifierKey:
    """Step 1. The key is made once; where the closed log names it, it is not made again."""
    path = plan.new_key
    if not path.exists():
        if named is not None:
            what = f"the log is closed for {named}, and this key is gone"
            cure = (
                "Put the file back. If it is lost: `fieldgate recover --new-epoch`, which begins a log of another key"
            )
            raise KeyFileError(what, where=str(path), cure=cure)
        part = path.with_name(f".{path.name}.rotate")
        part.unlink(missing_ok=True)
        keys.write_key(part, make(plan.origin), like=plan.old_key)
        part.rename(path)
        sync_folder(path.parent)
    vkey = config.look_at_key(plan.new_uri).vkey
    if vkey.name != plan.origin or named not in (None, vkey):
        what = f"this is the key {vkey}, not {named or f'one of the log {plan.origin}'}"
        raise KeyFileError(what, where=str(path), cure="Move it away, or put the right one back")
    return vkey


async def _named(store: Store) -> VerifierKey | None:
    """Whom the closed log names; None where its last reading is not here any more."""
    with suppress(Refused):
        async for pack, _ in store.blocks.items(store.blocks.size - 1):
            for record in senml.resolve(pack).records:
                if record.name == NEXT:
                    return VerifierKey.parse(str(record.value))
    return None


def _farewell(vkey: VerifierKey, clock: Clock) -> Waiting:
    """The reading of step 2 (docs/format.md, section 5)."""
    now_ms = clock.now().ms
    records: list[senml.Record] = [("event", None, NEXT), (NEXT, None, str(vkey))]
    return Waiting(body.item(senml.build(OWN, records, bt_ms=now_ms)), now_ms, now_ms, source_bit(OWN))


async def _push(store: Store, settings: Settings, clock: Clock) -> dict[str, str]:
    """Step 4, as far as the nodes answer; which nodes and witnesses lack something, and what."""
    forks: dict[str, str] = {}

    def forked(name: str, error: HeldError) -> None:
        forks[name] = error.what

    rng = random.Random()  # noqa: S311 -- jitter
    peers: list[Upstream | WitnessUpstream] = [
        Upstream(name, link, store.vkey, store, clock, rng, on_fork=partial(forked, name))
        for name, link in settings.node.items()
    ]
    peers += [
        WitnessUpstream(name, link, store.vkey, store, clock, rng, on_fork=partial(forked, name))
        for name, link in settings.witness.items()
    ]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(peer.run()) for peer in peers]
        deadline = clock.monotonic() + _PUSH_S
        await asyncio.gather(*(peer.push_until(deadline) for peer in peers))
        for task in running:
            task.cancel()
    found = {name: await _lack(store, name, link) for name, link in settings.cosigners.items()}
    found |= forks
    return {name: what for name, what in found.items() if what}


async def _lack(store: Store, name: str, link: NodeLink | WitnessLink) -> str:
    size = store.blocks.size
    seen = (await store.cosigned.progress(name)).seen
    if seen < size:
        return f"it has seen {seen} of {size} blocks"
    if isinstance(link, NodeLink) and link.keeps:
        holds = (await store.cosigned.holding(name, link.stored_key)).holds
        if holds < size:
            return f"it stores {holds} of {size} blocks"
    return ""
