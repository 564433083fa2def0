"""One run of the simulation: a gateway, two nodes and what happens to them, all of it decided by one seed.

First faults, with safety judged at every event. Then the faults stop, everybody is started again, and within
`CALM_S` of virtual time everything must have converged: that is judged apart. `python -m sim SEED` (with tests/ on the
path) runs one seed and shows what happened.
"""

import asyncio
import contextlib
import contextvars
import hashlib
import random
import sqlite3
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from fakes.gateway_store import Pipeline, values
from fakes.log_maker import log_id
from sim.machines import KEY, Gateway, Node
from sim.network import Faults, Wire
from sim.oracle import Oracle
from sim.virtual import Process, folder, leave_behind, unlock, virtual

from gateway.core import block, body, limits, senml
from gateway.node import pull
from gateway.node.bodies import inflate
from gateway.node.store import Form
from gateway.settings import RetentionSettings
from gateway.store import DATABASE, Store

CALM_S = 900.0
SMALL = {"SYNC_ENTRIES": 4, "WANT_RANGES": 3, "UPLOADS_A_ROUND": 3}  # so that a short log meets them
SMALL |= {"WAL_BYTES": 0, "RESERVE_BYTES": 48 * 1024, "BALLAST_BYTES": 0, "PRUNE_ROWS": 3}
_TOLD = 60  # events that are shown where a run fails
_YEARS_10 = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class Options:
    """What a seed decides before anything happens."""

    seconds: float
    every_s: float  # between two faults
    faults: Faults
    max_count: int
    message_s: float  # between two messages
    retention: RetentionSettings
    pulls: bool  # the second node reaches the gateway, and fetches what it wants
    fork: str  # "", "restored": an old copy of the card goes on; "cloned": it runs beside the new one

    @classmethod
    def of(cls, rng: random.Random, fork: str) -> "Options":
        """Drawn for a run."""
        return cls(
            seconds=rng.uniform(60, 240) + (200 if fork else 0),
            every_s=rng.choice([4.0, 8.0, 30.0]),
            faults=Faults(
                loss=rng.choice([0.0, 0.05, 0.3]),
                twice=rng.choice([0.0, 0.2]),
                late=rng.choice([0.0, 0.1, 0.3]),
                late_s=rng.choice([5.0, 60.0, 300.0]),
                lie=rng.choice([0.0, 0.0, 0.1, 0.3]),
            ),
            max_count=rng.choice([2, 4, 7]),
            message_s=rng.choice([1.5, 4.0, 10.0]),
            retention=RetentionSettings(
                max_bytes=rng.choice(["8 GiB", "84 KiB", "96 KiB", "112 KiB"]),
                min_free="0 KiB",  # what others leave of this machine's disk is not the seed's
                stored_by=rng.choice([1, 2, 2]),
                min_age_h=rng.choice([0, 0.01]),
            ),
            pulls=rng.random() < 0.5,
            fork=fork,
        )


@dataclass(frozen=True)
class Report:
    """What came of a run."""

    seed: int
    options: Options
    trace: str  # SHA-256 over every event
    events: int
    blocks: int
    deaths: int
    pruned: int
    breaches: tuple[str, ...]
    last: tuple[str, ...]
    both: frozenset[str]

    def __str__(self) -> str:
        fork = f" {self.options.fork}" if self.options.fork else ""
        counts = f"{self.events} events, {self.blocks} blocks, {self.deaths} deaths"
        lines = [f"seed {self.seed}{fork}: {counts}, trace {self.trace[:16]}"]
        if self.breaches:
            lines += [str(self.options), *self.last, *(f"BREACH: {breach}" for breach in self.breaches)]
            lines.append(f"again: PYTHONPATH=tests python -m sim {self.seed}{fork}")
        return "\n".join(lines)


class World:
    """Everything of one run."""

    def __init__(self, seed: int, home: Path, fork: str = "") -> None:
        self.seed, self.home = seed, home
        self.rng = random.Random(f"{seed} world")
        self.options = Options.of(self.rng, fork)
        self.oracle = Oracle(log_id(KEY.vkey.name), KEY.vkey, forks=bool(fork))
        self._hash = hashlib.sha256()
        self.last: deque[str] = deque(maxlen=_TOLD)
        self.events = self.deaths = self.pruned = 0
        self.calm = False
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._loop.set_exception_handler(self._callback_failed)
        self._chores: set[asyncio.Task[Any]] = set()
        self._after: list[asyncio.TimerHandle] = []
        self.nodes = [Node(self, "ash"), Node(self, "oak")]
        self.nodes[1].pulls = self.options.pulls
        self.gateways = [Gateway(self, "card", home / "card")]
        pulled = Wire("oak<card", self.gateways[0].serve, random.Random(f"{seed} pulled"), self.note)
        self.nodes[1].wire = pulled
        self._wires = [pulled, *self.gateways[0].wires.values()]

    def now(self) -> float:
        """Virtual seconds since the start."""
        return self._loop.time()

    def note(self, *words: Any) -> None:
        """An event: part of the trace."""
        line = f"{self._loop.time():.6f} {' '.join(map(str, words))}"
        self.last.append(line)
        self.events += 1
        self._hash.update(line.encode() + b"\n")

    def node(self, name: str) -> Node:
        """By its name."""
        return next(node for node in self.nodes if node.name == name)

    # Death and coming back

    def bury(self, dead: Process, pipeline: Pipeline | None, again: Callable[[], None]) -> None:
        """Lets the dead process go and starts the machine again after a while."""
        self.deaths += 1
        self._chore(self._bury(dead, pipeline, again, 0.1 if self.calm else self.rng.expovariate(0.1)))

    async def _bury(self, dead: Process, pipeline: Pipeline | None, again: Callable[[], None], after_s: float) -> None:
        await dead.gone()
        if pipeline is not None:
            unlock(pipeline.store)
        await asyncio.sleep(after_s)
        again()

    def _chore(self, coro: Any) -> None:
        task = self._loop.create_task(coro, context=self._context.copy())
        self._chores.add(task)
        task.add_done_callback(self._chore_done)

    def _callback_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("exception") is not None:
            self.oracle.breach(f"{context['message']}: {context['exception']!r}")

    def _chore_done(self, task: "asyncio.Task[Any]") -> None:
        self._chores.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.oracle.breach(f"the simulation itself failed: {task.exception()!r}")

    # Faults

    async def _trouble(self) -> None:
        kinds = [self._die, self._die, self._die, self._cut, self._cut, self._clock, self._fill, self._no_room]
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / self.options.every_s))
            self.rng.choice(kinds)()

    def _die(self) -> None:
        machine = self.rng.choice([*self.gateways, *self.gateways, *self.nodes])
        if machine.process is not None:
            machine.process.dies_at = machine.process.steps + 1 + self.rng.randrange(80)
            self.note(machine.name, "will die at", machine.process.dies_at)

    def _cut(self) -> None:
        wire = self.rng.choice(self._wires)
        self._cut_wire(wire, *self.rng.choice([(True, False), (False, True), (True, True)]))

    def _cut_wire(self, wire: Wire, to: bool, back: bool) -> None:
        wire.cut_to, wire.cut_back = to, back
        self.note(wire.name, "cut", to, back)
        self._for_a_while(lambda: wire.__dict__.update(cut_to=False, cut_back=False))

    def _clock(self) -> None:
        machine = self.rng.choice([*self.gateways, *self.nodes])
        error_s = self.rng.choice([0.0, 3600.0, -3600.0, _YEARS_10, -_YEARS_10, -5 * _YEARS_10, 1.5])
        machine.clock.jump(machine.clock.ms + round((error_s - machine.clock.error_s) * 1000))
        self.note(machine.name, "clock", error_s)

    def _fill(self) -> None:
        gateway = self.rng.choice(self.gateways)
        gateway.full = True
        self.note(gateway.name, "full")
        self._for_a_while(lambda: gateway.__dict__.update(full=False))

    def _no_room(self) -> None:
        node = self.rng.choice(self.nodes)
        node.room = False
        self.note(node.name, "no room")
        self._for_a_while(lambda: node.__dict__.update(room=True))

    def _for_a_while(self, over: Callable[[], None]) -> None:
        self._after.append(self._loop.call_later(self.rng.expovariate(1 / 20), over))

    async def _devices(self, gateway: Gateway) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / self.options.message_s))
            if self.rng.random() < 0.8:
                gateway.broker.publish()
            else:
                gateway.speak()

    async def _fork(self) -> None:
        """A copy of the whole card is made, the gateway goes on, and then the copy signs on as well or instead."""
        await asyncio.sleep(self.options.seconds * self.rng.uniform(0.1, 0.5))
        card = self.gateways[0]
        copy = self.home / "copy"
        leave_behind(card.folder, copy)
        self.note("a copy is made")
        await asyncio.sleep(self.options.seconds * self.rng.uniform(0.05, 0.4))
        if self.options.fork == "cloned":
            clone = Gateway(self, "clone", copy)
            clone.clock.error_s = 1.0
            for wire in clone.wires.values():
                wire.faults = self.options.faults
            self._wires += clone.wires.values()
            self.gateways.append(clone)
            self._chore(self._devices(clone))
            clone.start()
            return
        while card.process is None:
            await asyncio.sleep(0.1)
        card.process.kill()
        card.folder = copy
        self.note("the copy is put back")
        for wire in self._wires:  # or a node would tell it at once, and it would hold signing
            self._cut_wire(wire, True, False)

    # The run

    async def run(self) -> Report:
        """Both phases."""
        for wire in self._wires:
            wire.faults = self.options.faults
        for machine in (*self.nodes, *self.gateways):
            machine.start()
        self._chore(self._devices(self.gateways[0]))
        if self.options.fork:
            self._chore(self._fork())
        self._chore(self._trouble())
        await self._until(self.options.seconds, lambda: False)
        if not self.oracle.breaches:
            await self._calm_down()
        await self._end()
        return Report(
            self.seed,
            self.options,
            self._hash.hexdigest(),
            self.events,
            max(len(node.disk[self.oracle.log].entries) for node in self.nodes),
            self.deaths,
            self.pruned,
            tuple(self.oracle.breaches),
            tuple(self.last),
            frozenset(self.oracle.both),
        )

    async def _until(self, seconds: float, done: Callable[[], bool]) -> bool:
        end = self.now() + seconds
        while self.now() < end and not self.oracle.breaches:
            if done():
                return True
            await asyncio.sleep(0.5)
        return False

    async def _calm_down(self) -> None:
        """No fault any more: everything converges."""
        self.note("calm")
        self.calm = True
        for task in list(self._chores):
            if task.get_coro().__name__ in ("_trouble", "_devices", "_fork"):  # type: ignore[union-attr]
                task.cancel()
        for handle in self._after:
            handle.cancel()
        for machine in (*self.nodes, *self.gateways):
            machine.clock.error_s = 0.0
            if machine.process is not None:
                machine.process.dies_at = None
        for gateway in self.gateways:
            gateway.full = False
            gateway.retention = RetentionSettings(min_free="0 KiB")  # somebody gives it more room
            if gateway.process is not None:
                gateway.process.kill()
        for wire in self._wires:
            wire.faults, wire.cut_to, wire.cut_back = Faults(), False, False
        for node in self.nodes:
            node.room = True
        if not await self._until(CALM_S, self._settled):
            self.oracle.breach(f"nothing converged within {CALM_S:.0f} s: {self._state()}")

    def _settled(self) -> bool:
        """In step; where the log was forked: in step or held."""
        return all(self._at_rest(gateway) for gateway in self.gateways)

    def _at_rest(self, gateway: Gateway) -> bool:
        pipeline = gateway.pipeline
        if pipeline is None or gateway.process is None or not gateway.broker.idle:
            return False
        if self.options.fork and pipeline.sealer.held is not None:
            return True
        size = pipeline.store.blocks.size
        if pipeline.journal.block.height != size or pipeline.journal.block.readings:
            return False
        told_all = [upstream.status() for upstream in gateway.upstreams]
        if any((told["entries"], told["seen"]) != (size, size) for told in told_all):
            return False
        # Where one node is enough, the other may never have had what was pruned.
        enough = min if self.options.retention.stored_by == 2 else max
        return enough(told["stored"] for told in told_all) == size

    def _state(self) -> str:
        return "; ".join(
            f"{gateway.name}: size {gateway.size}, all acknowledged {gateway.broker.idle}, "
            f"{[upstream.status() for upstream in gateway.upstreams]}"
            for gateway in self.gateways
        )

    async def _end(self) -> None:
        """Everybody is killed once more; what is then on the card and at the nodes is judged."""
        self.bury = lambda *_: None  # type: ignore[assignment, method-assign]
        for task in list(self._chores):
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for machine in (*self.nodes, *self.gateways):
            process, pipeline = machine.process, getattr(machine, "pipeline", None)
            if process is not None:
                process.kill()
                await process.gone()
            if pipeline is not None:
                unlock(pipeline.store)
        for node in self.nodes:
            self.oracle.node_at_rest(node.name, node.disk)
        if not self.options.fork and not self.oracle.breaches:
            await Process("judge", self.rng).spawn(self._judge(self.gateways[0]))

    async def _judge(self, card: Gateway) -> None:
        """Nothing lost, nothing twice, order kept; nodes hold what the gateway holds."""
        store = await Store.open(card.folder)
        try:
            entries = await store.blocks.entries(0, 2**31, 2**31)
            packs = [pack for height, entry in enumerate(entries) for pack in await self._packs(store, height, entry)]
        finally:
            await store.close()
        self.oracle.entries(entries)
        by_source: dict[str, list[Any]] = {}
        for pack in packs:
            by_source.setdefault(senml.resolve(pack).source, []).extend(values([pack]))
        must, published = self.oracle.must, card.broker.published
        for number in range(2):
            wanted = list(range(number, published, 2))
            must(by_source.get(f"mqtt-{number}", []) == wanted, f"mqtt-{number} is not what was published")
        must(set(range(published)) == card.broker.acknowledged, "something was never acknowledged")
        serial = by_source.get("serial", [])
        must(serial == sorted(set(serial)), "serial readings out of order or twice")
        must(set(card.serial) <= set(serial), "an acknowledged serial reading is lost")
        for node in self.nodes:
            held = node.disk[self.oracle.log].entries
            must(held == entries[: len(held)], f"{node.name} holds another log")

    async def _packs(self, store: Store, height: int, entry: bytes) -> list[bytes]:
        """The readings of a block, from a node where they were pruned; verified against the signed header."""
        row = await store.blocks.block(height)
        assert row is not None
        if row.secret is not None:
            data = b"".join([chunk async for chunk in store.blocks.body_chunks(height)])
        else:
            self.pruned += 1
            kept = [node.disk[self.oracle.log].bodies.get(height) for node in self.nodes]
            data = next(inflate(one.data) for one in kept if one is not None and one.form is Form.WHOLE)
        whole = body.verify_body(block.parse_entry(entry).header, data)
        assert isinstance(whole, body.WholeBody)
        return [pack for pack, _ in whole.items]

    def judge_pruned(self, card: Path) -> None:
        """What is not on the card any more is held by as many nodes as the configuration says."""
        if not (card / DATABASE).exists():
            return
        with contextlib.closing(sqlite3.connect(card / DATABASE)) as con:
            pruned = [height for (height,) in con.execute("SELECT height FROM block WHERE secret IS NULL")]
        for height in pruned:
            held = sum(not node.disk[self.oracle.log].lacks(height) for node in self.nodes)
            wanted = self.options.retention.stored_by
            self.oracle.must(held >= wanted, f"block {height} was pruned while {held} nodes of {wanted} held it")


def run(seed: int, fork: str = "") -> Report:
    """One run."""
    with folder() as home, virtual(seed) as loop, mock.patch.multiple(limits, **SMALL):
        pulling = mock.patch.object(pull, "time", SimpleNamespace(monotonic=loop.time))

        async def go() -> Report:
            (home / "card").mkdir()
            return await World(seed, home, fork).run()

        with pulling:
            return loop.run_until_complete(go())
