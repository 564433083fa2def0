"""What runs in the simulation: a gateway, a node and a broker, each a process that can die at any step and come back.

The gateway is the real store, journal, intake, sealer, sign-state and upstream client on real files. The node is the
real ledger over a store in memory. What is missing is what only carries bytes: sockets, threads and the HTTP server.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from hashlib import sha256, shake_256
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from fakes import gateway_store
from fakes.clock import START_MS, FakeClock
from fakes.gateway_store import Pipeline, sample
from fakes.log_maker import signer
from fakes.memory_node_store import Disk, MemoryStore
from sim.network import Wire
from sim.oracle import Listening
from sim.virtual import PROCESS, Process, full_disk, leave_behind

from drivers.api import Delivery, Sample
from gateway.clock import RELEASED_MS
from gateway.core import limits, tiles
from gateway.core.note import COSIGNATURE, VerifierKey
from gateway.errors import ConflictError, FormatError, NotFoundError, Refused, Retry, UnreachableError
from gateway.node import log as judge
from gateway.node.bodies import Budget, Inflater
from gateway.node.ledger import CBOR, TEXT, Answer, Ledger, Means, answer
from gateway.node.pull import Fetched, Puller
from gateway.node.reader import Reader
from gateway.retention import Keeper, Retention
from gateway.settings import NodeLink
from gateway.store.blocks import Blocks
from gateway.store.space import quota_of
from gateway.upstream import Upstream

if TYPE_CHECKING:
    from sim.world import World

KEY = gateway_store.signer()
WINDOW = 4  # messages that a broker has under way
PAYLOADS = [shake_256(b"%d" % n).digest(1_000) for n in range(3)]  # messages that look alike are not the same


class Time(FakeClock):
    """A machine's clock: monotonic as the world's time goes, the wall clock with an error of its own."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.error_s = 0.0
        super().__init__()
        self.raise_floor(RELEASED_MS)

    @property
    def ms(self) -> int:
        return START_MS + round((self._now() + self.error_s) * 1000)

    @ms.setter
    def ms(self, value: int) -> None:
        self.error_s = (value - START_MS) / 1000 - self._now()

    @property
    def mono(self) -> float:
        return 1000.0 + self._now()

    @mono.setter
    def mono(self, value: float) -> None:
        pass


class Broker:
    """Keeps every message until it is acknowledged; sends again, marked, what was under way when a connection ended."""

    def __init__(self, note: Callable[..., None], rng: random.Random) -> None:
        self._note = note
        self._rng = rng
        self.published = 0
        self.acknowledged: set[int] = set()  # whose PUBACK left the gateway
        self._queue: deque[int] = deque()
        self._under_way: dict[int, int] = {}  # packet id -> message
        self._next = 0
        self._connection = 0
        self._gateway: Gateway | None = None

    def publish(self) -> None:
        """A device has something to say."""
        self._queue.append(self.published)
        self.published += 1
        self._pump()

    @property
    def idle(self) -> bool:
        """Everything was acknowledged."""
        return not self._queue and not self._under_way

    def connect(self, gateway: "Gateway") -> None:
        """The session resumes: first what was under way."""
        self._connection += 1
        self._gateway = gateway
        if self._under_way:
            self._send(list(self._under_way), dup=True)
        self._pump()

    def disconnect(self) -> None:
        """The gateway is gone."""
        self._connection += 1
        self._gateway = None

    def _pump(self) -> None:
        new = []
        while self._gateway is not None and self._queue and len(self._under_way) < WINDOW:
            self._next = self._next % 16 + 1
            while self._next in self._under_way:
                self._next = self._next % 16 + 1
            self._under_way[self._next] = self._queue.popleft()
            new.append(self._next)
        if new:
            self._send(new, dup=False)

    def _send(self, packet_ids: list[int], *, dup: bool) -> None:
        assert self._gateway is not None
        items = []
        for packet_id in packet_ids:
            number = self._under_way[packet_id]
            payload = PAYLOADS[number % 3]
            delivery = Delivery("local", packet_id, sha256(payload).digest()[:8], dup)
            items.append(Sample(f"mqtt-{number % 2}", [("temp", "Cel", number)], payload, delivery=delivery))
        done, connection = self._gateway.emit(items), self._connection
        done.add_done_callback(lambda made: self._durable(made, packet_ids, connection))

    def _durable(self, made: "asyncio.Future[None]", packet_ids: list[int], connection: int) -> None:
        if made.cancelled() or connection != self._connection:
            return
        numbers = [self._under_way[packet_id] for packet_id in packet_ids]
        self.acknowledged.update(numbers)
        self._note("PUBACK", *numbers)
        asyncio.get_running_loop().call_later(self._rng.random() * 0.1, self._puback, packet_ids, connection)

    def _puback(self, packet_ids: list[int], connection: int) -> None:
        if connection == self._connection:
            for packet_id in packet_ids:
                del self._under_way[packet_id]
            self._pump()


class Remote:
    """What gateway/node/pull.py has of a gateway: signed GETs, here over a Wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def get(self, path: str, most: int, *, whole_s: float = limits.PULL_REQUEST_S) -> Fetched:
        try:
            async with asyncio.timeout(whole_s):
                given = await self._wire.exchange("GET", path, b"")
        except (TimeoutError, aiohttp.ClientError) as error:
            raise UnreachableError(f"{path}: no answer") from error
        if given.status not in (200, 404):
            raise UnreachableError(f"{path}: it answers {given.status}")
        if len(given.body) > most:
            raise FormatError(f"{path}: too long")
        return Fetched(given.status, given.body if given.status == 200 else b"")

    async def close(self) -> None:
        pass


class Gateway:
    """One gateway on one folder. Its nodes are reached by `wires`."""

    def __init__(self, world: "World", name: str, folder: Path) -> None:
        self.world, self.name, self.folder = world, name, folder
        self.rng = random.Random(f"{world.seed} {name}")
        self.clock = Time(world.now)
        self.broker = Broker(lambda *words: world.note(name, *words), self.rng)
        self.wires = {
            node.name: Wire(
                f"{name}>{node.name}", node.serve, random.Random(f"{world.seed} {name} {node.name}"), world.note
            )
            for node in world.nodes
        }
        self.lives = 0
        self.serial: list[int] = []  # numbers of a serial line that were acknowledged
        self.spoken = 0
        self.pipeline: Pipeline | None = None
        self.upstreams: list[Upstream] = []
        self.process: Process | None = None
        self.full = False
        self.retention = world.options.retention

    def start(self) -> None:
        """Begins a life."""
        self.lives += 1
        self.world.note(self.name, "starts")
        process = self.process = Process(self.name, self.rng, self._died)
        process.refuses = lambda function: full_disk(function) if self.full else None
        process.spawn(self._live(process)).add_done_callback(lambda task: self._ended(process, task))

    async def _live(self, process: Process) -> None:
        world = self.world
        options = world.options
        pipeline = await Pipeline.open(
            self.folder,
            clock=self.clock,
            max_count=options.max_count,
            linger_s=0.25,
            max_age_s=20.0,
            heartbeat_s=120.0,
            windows={"local": WINDOW},
            quota=quota_of(self.retention),
        )
        self.pipeline = pipeline
        retention = Retention(
            self.retention,
            pipeline.store,
            pipeline.journal,
            pipeline.intake,
            nodes={node.name: Keeper(str(node.stored), 0) for node in world.nodes},
            sealing_full=lambda: pipeline.sealer.full,
        )
        await pipeline.recover(Listening(KEY, world.oracle.log_signed))
        pipeline.start()
        self._judge_lines(pipeline)
        self.upstreams = [self._upstream(pipeline, node) for node in world.nodes]
        pushing = [process.spawn(upstream.run()) for upstream in self.upstreams]
        self.broker.connect(self)
        await asyncio.gather(*pipeline.tasks, *pushing, process.spawn(retention.run()))

    def _judge_lines(self, pipeline: Pipeline) -> None:
        save = pipeline.store.cosigned.save

        async def judged(name: str, kind: str, size: int, note: str, line: str) -> None:
            self.world.note(self.name, "keeps", name, kind, size)
            self.world.oracle.gateway_believes(name, self.world.node(name).disk, kind, size)
            await save(name, kind, size, note, line)

        pipeline.store.cosigned.save = judged  # type: ignore[method-assign]

    def _upstream(self, pipeline: Pipeline, node: "Node") -> Upstream:
        link = NodeLink(url="http://node", seen_key=str(node.seen), stored_key=str(node.stored), upload=not node.pulls)
        on_fork = pipeline.sealer.hold
        upstream = Upstream(node.name, link, KEY.vkey, pipeline.store, self.clock, self.rng, on_fork=on_fork)
        upstream._http = self.wires[node.name]  # type: ignore[assignment]
        return upstream

    def emit(self, items: list[Sample]) -> "asyncio.Future[None]":
        """Hands samples to intake, as a driver does."""
        assert self.pipeline is not None
        assert self.process is not None
        return self.process.within(self.pipeline.emit, items)

    def serve(self, method: str, path: str, data: bytes, back: Callable[[Answer], None]) -> bool:
        """Takes a node's pull in; False where nothing listens."""
        if self.pipeline is None or self.process is None:
            return False
        self.process.spawn(self._pulled(self.pipeline.store.blocks, path, back))
        return True

    async def _pulled(self, blocks: Blocks, path: str, back: Callable[[Answer], None]) -> None:
        """What gateway/web/pull.py finds."""
        found: bytes | None = None
        with contextlib.suppress(NotFoundError):
            if path == "checkpoint":
                newest = await blocks.note()
                found = newest[1].encode() if newest else None
            elif path.startswith("blocks/"):
                found = b"".join([chunk async for chunk in blocks.body_chunks(int(path.rpartition("/")[2]))])
            else:
                at = tiles.parse_path(path)
                found = await blocks.bundle(at.n, at.width)
        back(Answer(404) if found is None else Answer(200, found, CBOR))

    def speak(self) -> None:
        """A line of a serial device: nobody sends it again."""
        if self.pipeline is None:
            return
        number, self.spoken = self.spoken, self.spoken + 1
        done = self.emit([sample("serial", number)])
        done.add_done_callback(lambda made: None if made.cancelled() else self.serial.append(number))

    def _died(self) -> None:
        self.world.note(self.name, "dies")
        fresh = self.folder.with_name(f"{self.name}-{self.lives}")
        leave_behind(self.folder, fresh)
        self.folder = fresh
        self.world.judge_pruned(fresh)
        self.broker.disconnect()
        self.process, dead = None, self.process
        pipeline, self.pipeline = self.pipeline, None
        assert dead is not None
        self.world.bury(dead, pipeline, self.start)

    def _ended(self, process: Process, task: "asyncio.Task[None]") -> None:
        """The process ended by itself: for want of room it may, and is started again."""
        if process.dead:
            return
        error = task.exception() if not task.cancelled() else None
        if not isinstance(error, Retry):
            self.world.oracle.breach(f"{self.name} ended by itself: {error!r}")
        process.kill()

    @property
    def size(self) -> int:
        """Entries of its log."""
        return self.pipeline.store.blocks.size if self.pipeline else 0


class Node:
    """One node. Its disk outlives it."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.rng = random.Random(f"{world.seed} {name}")
        self.clock = Time(world.now)
        self.disk = Disk()
        self._keys = {kind: signer(f"{name}.example/{kind}", COSIGNATURE) for kind in ("seen", "stored")}
        self.seen: VerifierKey = self._keys["seen"].vkey
        self.stored: VerifierKey = self._keys["stored"].vkey
        self.process: Process | None = None
        self.pulls = False  # it reaches the card and fetches bodies; else they are sent to it
        self.wire: Wire | None = None
        self.room = True
        self._ledger: Ledger | None = None
        self._reader: Reader | None = None

    def start(self) -> None:
        """Begins a life."""
        self.world.note(self.name, "starts")
        process = self.process = Process(self.name, self.rng, self._died)
        process.spawn(self._open(process))

    async def _open(self, process: Process) -> None:
        store = MemoryStore(self.disk, process.step)
        places = asyncio.Semaphore(limits.NODE_BODIES)
        means = Means(
            self._signer("seen"), self._signer("stored"), lambda: self.clock.ms / 1000, self._has_room, places
        )
        ledger = Ledger(KEY.vkey, 0, store, means)
        await ledger.open()
        self._ledger, self._reader = ledger, Reader(ledger, store, places)
        if self.pulls:
            assert self.wire is not None
            puller = Puller("card", Remote(self.wire), ledger, self.rng, every_s=5.0)  # type: ignore[arg-type]
            process.spawn(puller.run()).add_done_callback(lambda task: self._stopped(process, task))

    def _stopped(self, process: Process, task: "asyncio.Task[None]") -> None:
        if not process.dead:
            error = None if task.cancelled() else task.exception()
            self.world.oracle.breach(f"{self.name} stopped pulling: {error!r}")

    def _signer(self, kind: str) -> Listening:
        return Listening(self._keys[kind], lambda message, _: self._signs(kind, message))

    def _signs(self, kind: str, message: bytes) -> None:
        self.world.note(self.name, "signs", kind, message.split(b"\n")[3].decode())
        self.world.oracle.node_signed(self.name, kind, self.disk, message)

    async def _has_room(self) -> bool:
        return self.room

    def _died(self) -> None:
        self.world.note(self.name, "dies")
        self.process, dead = None, self.process
        self._ledger = None
        assert dead is not None
        self.world.bury(dead, None, self.start)

    def serve(self, method: str, path: str, data: bytes, back: Callable[[Answer], None]) -> bool:
        """Takes a request in; False where nothing listens."""
        if self.process is None or self._ledger is None or self._reader is None:
            return False
        self.process.spawn(self._serve(self._ledger, self._reader, method, path, data, back))
        return True

    async def _serve(
        self, ledger: Ledger, reader: Reader, method: str, path: str, data: bytes, back: Callable[[Answer], None]
    ) -> None:
        other = method == "POST" and self.world.oracle.other_view(self.disk, data)
        try:
            given = await self._answer(ledger, reader, method, path, data)
        except NotFoundError as error:
            given = Answer(404, error.what.encode())
        except ConflictError as error:
            given = answer(judge.elsewhere(error.size))
        except Refused as error:
            given = Answer(400, error.what.encode())
        except Retry as error:
            given = Answer(503, error.what.encode())
        except Exception as error:
            if PROCESS.get() is self.process:
                self.world.oracle.breach(f"{self.name} fails over a request: {error!r}")
            return
        if other:
            self.world.oracle.node_was_shown(self.name, self.disk)
        if method == "POST" and given.status == 200:
            self.world.oracle.node_answered(self.name, self.disk, given.body)
        back(given)

    async def _answer(self, ledger: Ledger, reader: Reader, method: str, path: str, data: bytes) -> Answer:
        """What gateway/node/server.py does with a request."""
        if method == "POST":
            return await ledger.sync(data)
        if method == "GET":
            return Answer(200, (await reader.witnessed()).data, TEXT)
        height = int(path.rpartition("/")[2])
        refused = await ledger.judge_height(height)
        if refused is not None:
            return refused
        with contextlib.closing(Inflater(Budget(), deflate=True)) as inflater:
            inflater.feed(data)
            return await ledger.take_body(height, inflater.finish())
