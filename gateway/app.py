"""The only wiring: settings in, objects made, one TaskGroup, an ordered stop."""

import asyncio
import contextlib
import gc
import logging
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drivers import registry
from drivers.mqtt import Broker
from gateway import __version__, config, place, scrub, status
from gateway.clock import Clock, SystemClock, facts
from gateway.conditions import PAGE_AWAY, STORE_DAMAGED, Problem
from gateway.errors import FieldgateError, HeldError, Stop, StoreFullError
from gateway.intake import Intake
from gateway.retention import Retention, keepers
from gateway.sealer import Sealer
from gateway.settings import Settings
from gateway.store import SIGN_STATE, Store, space
from gateway.store.journal import Journal, newest_keys, open_block
from gateway.store.signstate import CURE, CURE_SEALED, SignState
from gateway.supervise import Supervisor
from gateway.upstream import Upstream
from gateway.web import Services, WebServer

log = logging.getLogger(__name__)

CONTROL_SOCKET = "control.sock"
_WATCH_EVERY_S = 1.0
_WEB_RETRY_S = 10.0
_ROOM_RETRY_S = 1.0
_DRAIN_S = 20.0  # at stop, for the journal to find room
_PUSH_S = 10.0  # at stop, for one last push to the nodes


def run(settings: Settings) -> int:
    """Runs a gateway until SIGTERM or SIGINT; returns its exit code. Raises FieldgateError where it cannot go on."""
    try:
        asyncio.run(serve(settings, SystemClock()))
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        raise next((leaf for leaf in leaves if isinstance(leaf, Stop)), leaves[0]) from group
    return 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


async def serve(settings: Settings, clock: Clock) -> None:
    """Opens the store, starts everything, waits for a signal, stops in order: drivers, journal, sealer, nodes, web."""
    stopping = _catch_signals()
    store = await _open_store(settings, stopping)
    if store is None:
        return
    try:
        await Gateway(settings, clock, store, stopping).run(await _open_journal(settings, clock, store))
    finally:
        await store.close()


def _catch_signals() -> asyncio.Event:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _open_store(settings: Settings, stopping: asyncio.Event) -> Store | None:
    """The store. On a full disk the ballast is given up for it, and without one it is waited for room.

    None where the gateway is told to stop before there is any.
    """
    data_dir, quota = Path(settings.gateway.data_dir), space.quota_of(settings.retention)
    told = False
    while not stopping.is_set():
        try:
            return await Store.open(data_dir, quota=quota)
        except StoreFullError as error:
            if not await asyncio.to_thread(space.give_ballast, data_dir, 0):
                if not told:
                    log.error("the store cannot be opened, and is tried again: %s", error)
                told = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ROOM_RETRY_S):
                        await stopping.wait()
    return None


async def _open_journal(settings: Settings, clock: Clock, store: Store) -> Journal:
    plan = await store.blocks.plan()
    block = await open_block(store.db, store.blocks.sealed_row, store.blocks.extent, plan.height if plan else None)
    return Journal(
        store.db,
        block,
        linger_s=settings.journal.linger_ms / 1000,
        max_count=settings.seal.max_count,
        monotonic=clock.monotonic,
    )


class Gateway:
    """One gateway's objects. Nothing starts before `run`."""

    def __init__(self, settings: Settings, clock: Clock, store: Store, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._clock = clock
        self._store = store
        self._stopping = stopping
        self._troubles: dict[str, Problem] = {}
        self._state: SignState | None = None

    async def run(self, journal: Journal) -> None:
        """Runs until `_stopping`. A Stop raised by any part ends all of them."""
        settings, clock, store = self._settings, self._clock, self._store
        rng = random.Random()  # noqa: S311 -- jitter
        seen = await newest_keys(store.db, settings.broker)
        intake = Intake(journal, clock, seen, {name: broker.window for name, broker in settings.broker.items()})
        sealer = Sealer(
            store.blocks, journal, clock, max_age_s=settings.seal.max_age_s, heartbeat_s=settings.seal.heartbeat_s
        )
        nodes = {
            name: Upstream(name, link, store.vkey, store, clock, rng, on_fork=sealer.hold)
            for name, link in settings.node.items()
        }
        retention = Retention(
            settings.retention,
            store,
            journal,
            intake,
            nodes=keepers(settings.node),
            sealing_full=lambda: sealer.full,
        )
        supervisors = self._supervisors(intake, rng)

        def tell() -> dict[str, Any]:
            return status.snapshot(
                origin=store.vkey.name,
                since_ms=since_ms,
                clock=clock,
                intake=intake,
                journal=journal,
                blocks=store.blocks,
                sealer=sealer,
                nodes={name: node.status for name, node in nodes.items()},
                troubles=self._troubles.values(),
                disk=retention.status(),
            )

        def sync() -> None:
            for node in nodes.values():
                node.ask()

        services = Services(status=tell, sync=sync)
        web = WebServer(settings.web, settings.node, store, clock, services, control=store.data_dir / CONTROL_SOCKET)
        self._damage(await scrub.newest(store))
        if store.lost:
            log.error("%s: %s", store.db.path, store.lost)
            self._troubles["lost"] = STORE_DAMAGED.problem(what=store.lost, cure=CURE_SEALED)
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(self._close_state)
            signing_waits = not await self._begin_signing(sealer)
            since_ms = clock.now().ms  # no look at the clock comes before the newest block is known
            closing.push_async_callback(web.stop)
            tasks = await closing.enter_async_context(asyncio.TaskGroup())
            writing = tasks.create_task(journal.run(), name="journal")
            sealing = tasks.create_task(sealer.run(), name="sealer")
            retaining = tasks.create_task(retention.run(), name="retention")
            waiting = [tasks.create_task(self._sign_later(sealer), name="signing")] if signing_waits else []
            watching = tasks.create_task(self._watch_clock(intake, journal), name="clock")
            serving = tasks.create_task(self._serve_web(web), name="web")
            pushing = [tasks.create_task(node.run(), name=f"node {name}") for name, node in nodes.items()]
            looking = tasks.create_task(scrub.Scrub(store, self._damage).run(), name="scrub")
            driving = [tasks.create_task(s.run(), name=f"driver {s.driver.name}") for s in supervisors]
            intake.event("start", version=__version__, **facts(clock))
            if store.lost:
                intake.event("lost", reason=store.lost)
            # What is there now stays: a full collection that looks through all of it takes longer than any turn may.
            gc.collect()
            gc.freeze()
            await self._stopping.wait()
            log.info("stopping")
            await _end(*driving, *waiting, watching)
            intake.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0 if journal.held else _DRAIN_S):
                    await journal.commit()
            sealer.stop()
            await sealing
            await asyncio.gather(*(node.push_until(clock.monotonic() + _PUSH_S) for node in nodes.values()))
            await _end(writing, serving, retaining, looking, *pushing)

    def _damage(self, found: tuple[int, str] | None) -> None:
        """What a look at the store has found; None: all of it is sound again."""
        self._troubles.pop("damage", None)
        if found is not None:
            height, what = found
            told = f"first at block {height}: {what}"
            self._troubles["damage"] = STORE_DAMAGED.problem(what=told, cure=CURE_SEALED)

    async def _begin_signing(self, sealer: Sealer) -> bool:
        """Opens key and sign-state. What stands against signing is told, and readings are journaled all the same.

        False where there was no room to open the sign-state: that may be tried again.
        """
        try:
            signer = config.log_signer(self._settings)
            if signer.vkey != self._store.vkey:
                raise HeldError("the key is not this log's", where=self._settings.gateway.key, cure=CURE)
            here = await asyncio.to_thread(place.find, self._store.data_dir)
            self._state = await SignState.open(self._store.data_dir / SIGN_STATE, str(signer.vkey), here)
            await sealer.recover(signer, self._state)
        except Stop:
            raise
        except StoreFullError as error:
            sealer.wait_for_room(error)
            return False
        except HeldError as error:
            sealer.hold(error)
        except FieldgateError as error:
            sealer.hold(HeldError(error.what, where=error.where, cure=error.cure))
        return True

    async def _sign_later(self, sealer: Sealer) -> None:
        """Begins to sign once there is room."""
        while True:
            await asyncio.sleep(_ROOM_RETRY_S)
            if await self._begin_signing(sealer):
                return

    async def _close_state(self) -> None:
        if self._state is not None:
            await self._state.close()

    def _supervisors(self, intake: Intake, rng: random.Random) -> list[Supervisor]:
        brokers = {name: self._broker(name) for name in self._settings.broker}
        sources = {name: (source.driver, source.options) for name, source in self._settings.source.items()}
        drivers = registry.build(sources, brokers, state_dir=self._store.data_dir, now=self._device_now)
        raws = {name: source.raw for name, source in self._settings.source.items()}
        return [
            Supervisor(
                driver,
                intake.emitter(
                    driver.name,
                    {source: raws[source] for source in driver.sources},
                    getattr(driver, "parents", {}),  # drivers that name sources themselves have it
                ),
                monotonic=self._clock.monotonic,
                rng=rng,
            )
            for driver in drivers
        ]

    def _device_now(self) -> float | None:
        """What a device's own time is held against: Unix seconds, or None where nobody knows the time."""
        stamp = self._clock.now()
        return stamp.ms / 1000 if stamp.synchronised else None

    def _broker(self, name: str) -> Broker:
        broker = self._settings.broker[name]
        host, port, tls = config.broker_address(broker.url)
        return Broker(
            name=name,
            host=host,
            port=port,
            tls=tls,
            client_id=broker.client_id or f"fieldgate-{self._settings.gateway.name}",
            window=broker.window,
            keepalive_s=broker.keepalive_s,
            connect_timeout_s=broker.connect_timeout_s,
            user=broker.user,
            password=config.read_secret(broker.password) if broker.password else "",
            ca_file=broker.ca_file,
            cert_file=broker.cert_file,
            key_file=broker.key_file,
        )

    async def _watch_clock(self, intake: Intake, journal: Journal) -> None:
        """Looks at the clock where no reading does. After a suspend, what fell due meanwhile is due at once."""
        loop, clock = asyncio.get_running_loop(), self._clock
        ahead = clock.monotonic() - loop.time()  # the loop's own clock stands still while the machine sleeps
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            intake.look_at_clock()
            was, ahead = ahead, clock.monotonic() - loop.time()
            if ahead - was > _WATCH_EVERY_S:
                log.info("the machine slept for %.0f s", ahead - was)
                journal.grown.set()  # the sealer looks again at what is old

    async def _serve_web(self, web: WebServer) -> None:
        """Starts the pull API and the page; where the port is taken, says so and tries again."""
        while True:
            try:
                await web.start()
            except FieldgateError as error:
                self._troubles["web"] = PAGE_AWAY.problem(what=error.what, cure=error.cure)
                log.error("web: %s", error)
                await asyncio.sleep(_WEB_RETRY_S)
            else:
                self._troubles.pop("web", None)
                return


async def _end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels the tasks and waits until they are gone."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
