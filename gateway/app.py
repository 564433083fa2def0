"""The only wiring: settings in, objects made, one TaskGroup, an ordered stop.

A new part is made in `__init__`, runs by a line in `_long_lived`, ends in `_stop`, and tells a person what is the
matter through `_troubles`. What page and control socket may ask for is a field of Services.
"""

import asyncio
import contextlib
import gc
import logging
import random
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from gateway import __version__, config, driving, status
from gateway.anchors.task import Anchoring
from gateway.announce import Announced, Announcer
from gateway.clock import Clock, SystemClock, facts, known_s, watch
from gateway.conditions import Problem
from gateway.conditions.own import TOKEN_LACKING
from gateway.config.past import Past
from gateway.configured import Configured, read
from gateway.core import limits
from gateway.device import Device
from gateway.driving import Chained, Wanted
from gateway.errors import HeldError, KeyFileError, Stop, StoreFullError
from gateway.intake import Intake
from gateway.logs import Log
from gateway.notify import Notifier
from gateway.reload import Apply, Reloader
from gateway.retention import Retention, keepers
from gateway.roster import Roster, end
from gateway.scrub import Scrub
from gateway.sealer import Sealer
from gateway.settings import CONTROL_SOCKET, NodeLink, Settings, WitnessLink, size_bytes
from gateway.signing import Signing
from gateway.store import DATABASE, SIGN_STATE, Store, finish_moves
from gateway.store.events import newest
from gateway.store.journal import Journal, newest_keys
from gateway.store.opening import open_journal, open_store
from gateway.store.redeliveries import Redeliveries
from gateway.store.rollup import ROLLUP, Rollup
from gateway.supervise import Supervisor
from gateway.upgraded import Upgraded
from gateway.upstream import Upstream, WitnessUpstream
from gateway.verified import Verified
from gateway.watch import Watch
from gateway.watchdog import Watchdog, patience, wait_on
from gateway.web import Services, WebServer

log = logging.getLogger(__name__)

_DRAIN_S = 20.0  # at stop, for the journal to find room
_HEARTBEATS = 3.0  # without a co-signature, after which a gateway is not ready
_PUSH_S = 10.0  # at stop, for one last push to the nodes


def run(
    path: Path,
    records: Log | None = None,
    notifier: Notifier | None = None,
    passphrase: Callable[[], str] | None = None,
) -> int:
    """Runs the gateway of a configuration until SIGTERM or SIGINT; returns its exit code.

    Raises FieldgateError where it cannot go on. SIGHUP has the configuration taken over again. records: where this
    process logs, for whoever asks for the newest of them. notifier: whom to tell that it runs.
    passphrase: opens a sealed key.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it is listened for: what it would have read is being read
    configured = started_with(path)
    try:
        asyncio.run(serve(path, configured, SystemClock(), records, notifier, passphrase))
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        raise next((leaf for leaf in leaves if isinstance(leaf, Stop)), leaves[0]) from group
    return 0


def started_with(path: Path) -> Configured:
    """What a gateway starts with. Blocking. Where a new epoch was interrupted it takes its place first."""
    configured = read(path)
    return read(path) if finish_moves(Path(configured.settings.gateway.data_dir)) else configured


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def serve(
    path: Path,
    configured: Configured,
    clock: Clock,
    records: Log | None = None,
    notifier: Notifier | None = None,
    passphrase: Callable[[], str] | None = None,
) -> None:
    """Opens the store, starts everything, waits for a signal, stops in order: drivers, journal, sealer, nodes, web."""
    signals, settings, told = _catch_signals(), configured.settings, notifier or Notifier()
    async with patience(told, limits.START_S) as started:
        data_dir, waits = Path(settings.gateway.data_dir), partial(_waits_for_room, told)
        store = await open_store(data_dir, settings.retention, signals.stop, waits)
        if store is None:
            return
        try:
            linger_s, most = settings.journal.linger_ms / 1000, settings.seal.max_count
            journal = await open_journal(store, linger_s=linger_s, max_count=most, monotonic=clock.monotonic)
            seen = await newest_keys(store.db, settings.broker)
            gateway = Gateway(path, configured, clock, store, journal, seen, signals, records, told, passphrase)
            await gateway.run(started)
        finally:
            await store.close()


def _waits_for_room(notifier: Notifier, error: StoreFullError) -> None:
    wait_on(notifier, f"The store cannot be opened, and is tried again: {error}")


class Signals(NamedTuple):
    """stop: SIGTERM or SIGINT. reload: SIGHUP, or somebody who asked."""

    stop: asyncio.Event
    reload: asyncio.Event


def _unwatched(error: KeyFileError) -> Problem:
    return TOKEN_LACKING.problem(what=f"{error.where}: {error.what}")


def _catch_signals() -> Signals:
    signals, loop = Signals(asyncio.Event(), asyncio.Event()), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, signals.reload.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.stop.set)
    return signals


class Gateway:
    """One gateway's parts, in the order of a reading's way. None runs before `run`."""

    def __init__(
        self,
        path: Path,
        configured: Configured,
        clock: Clock,
        store: Store,
        journal: Journal,
        seen: Redeliveries,
        signals: Signals,
        records: Log | None = None,
        notifier: Notifier | None = None,
        passphrase: Callable[[], str] | None = None,
    ) -> None:
        settings = configured.settings
        self._notifier = notifier or Notifier()
        self._configured, self._clock, self._store, self._journal = configured, clock, store, journal
        self._signals = signals
        self._rng = random.Random()  # noqa: S311 -- jitter
        self._since_ms = 0

        min_free = size_bytes(settings.retention.min_free)
        self._rollup = Rollup(store.data_dir / ROLLUP, store.db, clock, min_free=min_free)
        self._intake = Intake(journal, clock, seen, _windows(settings), self._rollup)
        self._drivers = Roster[Wanted, Supervisor](
            "driver", self._supervisor, change=self._take_over, gone=self._intake.remove_driver
        )

        seal = settings.seal
        self._sealer = Sealer(store.blocks, journal, clock, max_age_s=seal.max_age_s, heartbeat_s=seal.heartbeat_s)
        self._signing = Signing(settings, store, self._sealer, passphrase)
        self._scrub = Scrub(store)
        self._device = Device(store.data_dir)
        self._upgraded = Upgraded(__version__)
        self._verified = Verified(store.data_dir, clock)
        self._retention = Retention(
            settings.retention,
            store,
            journal,
            self._intake,
            nodes=keepers(settings.node),
            sealing_full=lambda: self._sealer.full,
        )

        self._nodes = Roster[NodeLink, Upstream]("node", self._node)
        self._witnesses = Roster[WitnessLink, WitnessUpstream]("witness", self._witness)
        self._reloader = Reloader(
            path,
            configured,
            self._intake,
            clock,
            prepare=self._prepare,
            keep=Past(path, store.data_dir).keep,
            late=lambda: self._drivers.late,
            wake=signals.reload,
            notifier=self._notifier,
        )
        token = configured.watch_token
        self._unwatched = [] if isinstance(token, str) else [_unwatched(token)]
        self._watch = Watch(self._problems, records)
        self._watchdog = Watchdog(
            self._notifier,
            commits=lambda: journal.commits,
            probe=store.db.probe,
            stuck=lambda: journal.stuck,
            headline=lambda: str(self._snapshot()["headline"]),
        )
        self._announcers = Roster[Announced, Announcer]("status", self._announcer)
        self._anchors = Roster[Chained, Anchoring]("anchor", self._anchoring)
        self._services = Services(
            status=self._snapshot,
            sync=self._sync,
            witnesses=lambda: self._witnesses.wanted,
            rollup=self._rollup,
            events=partial(newest, store),
            reload=self._reloader.ask,
            doctor=self._examine,
            metrics=self._metrics,
            logs=records.ring.after if records else None,
            watch_token=token if isinstance(token, str) else "",
            cosigned_within_s=self._cosigned_within_s,
            sm2=lambda: self._signing.sm2.vkey,
        )
        control = store.data_dir / CONTROL_SOCKET
        self._web = WebServer(settings.web, settings.node, store, clock, self._services, control=control)

    # -- drivers, nodes and witnesses ----------------------------------------------------------------------------------

    async def _wanted(self, configured: Configured) -> dict[str, Wanted]:
        """Made in a thread: a driver may look at the file system."""
        now = partial(known_s, self._clock)
        return await asyncio.to_thread(driving.wanted, configured, self._store.data_dir, now)

    def _supervisor(self, _: str, wanted: Wanted) -> Supervisor:
        return driving.supervisor(wanted, self._intake, self._clock, self._rng)

    async def _take_over(self, running: Supervisor, was: Wanted, wanted: Wanted) -> bool:
        return await driving.take_over(running, was, wanted, self._intake)

    def _node(self, name: str, link: NodeLink) -> Upstream:
        store, clock = self._store, self._clock
        return Upstream(name, link, store.vkey, store, clock, self._rng, on_fork=partial(self._forked, name))

    def _witness(self, name: str, link: WitnessLink) -> WitnessUpstream:
        store, clock = self._store, self._clock
        return WitnessUpstream(name, link, store.vkey, store, clock, self._rng, on_fork=self._sealer.hold)

    def _forked(self, name: str, error: HeldError) -> None:
        """A bare word holds signing for as long as the node is configured; a proof for good (invariant 4)."""
        proved = self._nodes.members[name].proved
        self._sealer.hold(error, node="" if proved else name)

    def _announcer(self, _: str, wanted: Announced) -> Announcer:
        return Announcer(wanted, self._snapshot, self._clock.monotonic, self._rng)

    def _anchoring(self, name: str, wanted: Chained) -> Anchoring:
        return driving.anchoring(name, wanted, self._store, self._clock, self._rng)

    # -- another configuration (reload.py) ----------------------------------------------------------------------------

    async def _prepare(self, new: Configured) -> Apply:
        """What can be known of it; nothing is touched yet."""
        config.check_apart(new.settings, self._store.vkey)
        return partial(self._become, new, await self._wanted(new))

    async def _become(self, new: Configured, wanted: Mapping[str, Wanted]) -> None:
        """Part by part. What is not different from before is not touched."""
        settings, seal = new.settings, new.settings.seal
        self._sealer.change(max_age_s=seal.max_age_s, heartbeat_s=seal.heartbeat_s)
        await self._retention.change(settings.retention, keepers(settings.node))
        self._rollup.change(min_free=size_bytes(settings.retention.min_free))
        self._web.change_nodes(settings.node)
        others = [name for name, link in self._nodes.wanted.items() if _is_another(link, settings.node.get(name))]
        await self._nodes.keep(settings.node)
        for name in others:
            self._sealer.release(name)
        await self._witnesses.keep(settings.witness)
        await self._drivers.keep(driving.under_names(wanted, self._drivers.wanted))
        self._intake.change_windows(_windows(settings))
        announced = driving.announced(new)
        for name, announcer in self._announcers.members.items():
            announcer.leaves_for(announced.get(name))
        await self._announcers.keep(announced)
        await self._anchors.keep(driving.chained(new))

    def _long_lived(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside drivers and nodes, by the name of its task."""
        return {
            "journal": self._journal.run,
            "sealer": self._sealer.run,
            "retention": self._retention.run,
            "signing": self._signing.run,
            "clock": lambda: watch(self._clock, self._intake.beat, self._journal.grown.set),
            "watch": self._watch.run,
            "watchdog": self._watchdog.run,
            "web": self._web.run,
            "scrub": self._scrub.run,
            "rollup": self._rollup.run,
            "device": self._device.run,
            "upgraded": self._upgraded.run,
            "verified": self._verified.run,
            "reload": self._reloader.run,
        }

    async def run(self, started: Callable[[], object] = lambda: None) -> None:
        """Runs until it is told to stop. A Stop raised by any part ends all of them. started: called when all runs."""
        wanted = await self._wanted(self._configured)
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self._signing.close)
            await self._scrub.look()
            await self._signing.begin()
            self._since_ms = self._clock.now().ms  # no look at the clock comes before the newest block is known
            closing.push_async_callback(self._web.stop)
            group = await closing.enter_async_context(asyncio.TaskGroup())
            tasks = {name: group.create_task(part(), name=name) for name, part in self._long_lived().items()}
            self._nodes.begin(group, self._configured.settings.node)
            self._witnesses.begin(group, self._configured.settings.witness)
            self._drivers.begin(group, wanted)
            self._announcers.begin(group, driving.announced(self._configured))
            self._anchors.begin(group, driving.chained(self._configured))
            self._tell_start()
            # What is there now stays: a full collection that looks through all of it takes longer than any turn may.
            gc.collect()
            gc.freeze()
            started()
            self._notifier.ready()
            await self._signals.stop.wait()
            log.info("stopping")
            self._notifier.stopping()
            async with patience(self._notifier, limits.STOP_S):
                await self._stop(tasks)

    def _tell_start(self) -> None:
        self._intake.event("start", version=__version__, **facts(self._clock))
        if self._store.lost:
            self._intake.event("lost", reason=self._store.lost)
        self._reloader.begin()

    async def _stop(self, tasks: "dict[str, asyncio.Task[None]]") -> None:
        """In the order of a reading's way: what was taken in is stored, sealed, and offered to the nodes."""
        await end(tasks["reload"], tasks["signing"], tasks["clock"])
        await self._drivers.end()
        self._intake.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._journal.held else _DRAIN_S):
                await self._journal.commit()
        self._sealer.stop()
        await tasks["sealer"]
        deadline = self._clock.monotonic() + _PUSH_S
        await asyncio.gather(*(one.push_until(deadline) for one in self._upstreams().values()))
        await self._nodes.end()
        await self._witnesses.end()
        await self._anchors.end()
        await self._announcers.end()
        await end(*(tasks[name] for name in ("journal", "watchdog", "watch", "web")))
        await end(*(tasks[name] for name in ("retention", "scrub", "verified", "rollup", "device", "upgraded")))
        await self._rollup.close()

    # -- what page and control socket ask for (web/services.py) -------------------------------------------------------

    def _snapshot(self) -> dict[str, Any]:
        return status.snapshot(
            vkey=self._store.vkey,
            since_ms=self._since_ms,
            clock=self._clock,
            intake=self._intake,
            journal=self._journal,
            blocks=self._store.blocks,
            sealer=self._sealer,
            nodes={name: node.status for name, node in self._nodes.members.items()},
            witnesses={name: witness.status for name, witness in self._witnesses.members.items()},
            troubles=self._troubles(),
            disk=self._retention.status(),
            device=self._device.told,
            verified=self._verified.status(),
            anchors=self._chains(),
            configuration=self._reloader.status(),
        )

    def _problems(self) -> list[Problem]:
        return status.problems(
            clock=self._clock,
            intake=self._intake,
            journal=self._journal,
            sealer=self._sealer,
            nodes={name: node.status() for name, node in self._nodes.members.items()},
            witnesses={name: witness.status() for name, witness in self._witnesses.members.items()},
            troubles=self._troubles(),
        )

    def _troubles(self) -> list[Problem]:
        """What the parts themselves have to tell a person."""
        announcers = self._announcers.members.values()
        told = (
            self._signing.sm2.problems,
            self._scrub.problems,
            self._retention.problems,
            self._device.problems,
            self._verified.problems,
            self._reloader.problems,
            self._web.problems,
            self._unwatched,
            self._rollup.problems,
            self._upgraded.problems,
            *(each.problems for each in announcers),
            *(each.problems for each in self._anchors.members.values()),
        )
        return [one for each in told for one in each]

    async def _examine(self) -> list[Problem]:
        doctor = import_module("gateway.doctor")  # seldom asked for, and large
        settings = self._reloader.settings
        found: list[Problem] = await doctor.examine(settings, state=self._snapshot())
        return found

    async def _metrics(self) -> bytes:
        """prometheus-client is imported when somebody asks, in a thread, where the rest is done as well."""
        files = {DATABASE: self._store.db.flushes}
        if self._signing.state is not None:
            files[SIGN_STATE] = self._signing.state.flushes
        render = (await asyncio.to_thread(import_module, "gateway.metrics")).render
        told: bytes = await asyncio.to_thread(render, self._snapshot(), self._watch.vitals(files))
        return told

    def _cosigned_within_s(self) -> float:
        """A node signs each block; where there is none, a witness only as often as it is asked."""
        alone = [] if self._nodes.wanted else [link.every_s for link in self._witnesses.wanted.values()]
        return _HEARTBEATS * max(self._sealer.heartbeat_s, min(alone, default=0.0))

    def _chains(self) -> dict[str, dict[str, Any]]:
        """What stands on chains: put there by this gateway, and by its nodes."""
        own = {name: anchor.status() for name, anchor in self._anchors.members.items()}
        for node in self._nodes.members.values():
            own |= node.anchors()
        return own

    def _upstreams(self) -> dict[str, Upstream | WitnessUpstream]:
        return {**self._nodes.members, **self._witnesses.members}

    def _sync(self) -> list[str]:
        upstreams = self._upstreams()
        for one in upstreams.values():
            one.ask()
        for anchor in self._anchors.members.values():
            anchor.ask()
        return list(upstreams)


def _is_another(link: NodeLink, wanted: NodeLink | None) -> bool:
    """Whether what is wanted under a node's name is not that node, so that what it said does not count any more."""
    return wanted is None or (link.url, link.seen_key, link.stored_key) != (
        wanted.url,
        wanted.seen_key,
        wanted.stored_key,
    )


def _windows(settings: Settings) -> dict[str, int]:
    return {name: broker.window for name, broker in settings.broker.items()}
