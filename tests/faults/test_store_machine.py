"""The store against a model: deaths at any step, lost acknowledgements, a full disk, restarts on what was left.

Store, journal, intake, sealer and sign-state are the real ones, on real files, in virtual time (sim/virtual.py): one
sequence of rules is one run. The model is what a broker and a serial device know: which messages there were, in what
order, and which of them the gateway has answered for. What is stored is read past the code under test, from the file.
"""

import asyncio
import contextlib
import itertools
import random
import sqlite3
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from unittest import mock

import pytest
from fakes.gateway_store import Pipeline, balanced, check_chain
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sim.machines import KEY, Time
from sim.oracle import Listening, Oracle
from sim.virtual import Process, folder, full_disk, leave_behind, unlock, virtual

from drivers.api import Delivery, Dropped, Item, Link, Reject, Sample, SessionLost
from gateway.core import body, limits, senml
from gateway.errors import Retry
from gateway.store import DATABASE, Store
from gateway.store.blocks import inflate

pytestmark = pytest.mark.may_block  # SQLite works on the loop here

WINDOW = 4
SMALL = {"REDELIVERY_KEYS": 8, "SNAPSHOT_KEYS": 20, "SNAPSHOT_ROWS": 15, "OWN_EVENTS_WAITING": 6}
IDS = 2 * SMALL["REDELIVERY_KEYS"]  # packet ids in a cycle: twice what is remembered, as in MQTT
BROKERS = ("barn", "quay")
BIG = b"x" * (limits.RAW_INLINE_BYTES + 1)

Told = tuple[str, int]  # a source and the number that its reading carries


@dataclass
class Message:
    """What a broker has under way. `answered`: its PUBACK left the gateway, and may still be on the wire."""

    packet_id: int
    items: Callable[[Delivery], list[Item]]
    stored: list[Told]
    digest: bytes
    answered: bool = False


@dataclass
class Broker:
    """One session."""

    next_id: int = 0
    way: list[Message] = field(default_factory=list)
    telling: bool = False  # it lost the session, and the gateway has not yet answered for that


class StoreMachine(RuleBasedStateMachine):
    """`answered`: readings that the gateway answered for. `sent`: by source, all numbers in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.context = contextlib.ExitStack()
        home = self.context.enter_context(folder())
        self.loop = self.context.enter_context(virtual(0))
        self.context.enter_context(mock.patch.multiple(limits, **SMALL))
        self.folder = home / "0"
        self.folder.mkdir()
        self.clock = Time(self.loop.time)
        self.rng = random.Random(0)
        self.oracle = Oracle("", KEY.vkey, forks=False)
        self.brokers = {name: Broker() for name in BROKERS}
        self.lives = 0
        self.full = False
        self.answered: set[Told] = set()
        self.sent: dict[str, int] = {}
        self.found: dict[str, list[int]] = {}  # by source, the numbers in the journal so far
        self.row = 0
        self.opened: Store | None = None
        self.cosigned: dict[str, int] = {}
        self.start(None)

    # Lives

    def start(self, dies_in: int | None) -> None:
        """Begins a life, or several: one that dies while it starts is followed by another."""
        self.lives += 1
        self.process = Process("store", self.rng, self.died)
        self.process.dies_at = dies_in
        self.process.refuses = lambda function: full_disk(function) if self.full else None
        opening = self.process.spawn_on(self.loop, self.open())
        self.loop.run_until_complete(asyncio.wait([opening]))
        if not self.process.dead and isinstance(opening.exception(), Retry):
            self.full = False  # it ended for want of room; its supervisor starts it again when there is some
            self.process.kill()
        if self.process.dead:
            self.bury()
            self.start(None)
            return
        self.pipeline = opening.result()
        assert self.pipeline.sealer.held is None, self.pipeline.sealer.held
        self.do(self.resume())

    async def open(self) -> Pipeline:
        made = await Pipeline.open(
            self.folder,
            clock=self.clock,
            max_count=5,
            linger_s=0.25,
            max_age_s=60.0,
            heartbeat_s=600.0,
            windows=dict.fromkeys(BROKERS, WINDOW),
        )
        self.opened = made.store
        await made.recover(Listening(KEY, self.oracle.log_signed))
        return made.start()

    def died(self) -> None:
        fresh = self.folder.with_name(str(self.lives))
        leave_behind(self.folder, fresh)
        self.folder = fresh

    def bury(self) -> None:
        self.loop.run_until_complete(self.process.gone())
        if self.opened is not None:
            unlock(self.opened)
        self.row, self.found = 0, {}
        self.look()

    async def resume(self) -> None:
        """Each broker's session goes on: what is under way comes again."""
        for name, broker in self.brokers.items():
            if broker.telling:
                self.lose(name)
            self.send(name, broker.way, dup=True)

    def do(self, coro: Coroutine[Any, Any, None], seconds: float = 0.0) -> None:
        """Does something, lets time pass, and begins anew where the process died of it."""

        async def done() -> None:
            await coro
            await asyncio.sleep(seconds)

        self.loop.run_until_complete(done())
        if self.process.dead:
            self.bury()
            self.start(None)
        self.look()

    # What is stored, and what must hold of it

    def look(self) -> None:
        """Reads the rows that came, and judges."""
        path = self.folder / DATABASE
        if not path.exists():
            assert not self.answered
            return
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as con:
            for row, data in con.execute("SELECT row,data FROM journal WHERE row>? ORDER BY row", (self.row,)):
                self.row = row
                for pack, _ in body.read_items(inflate(data)):
                    self.read(pack)
        stored = {(source, number) for source, numbers in self.found.items() for number in numbers}
        assert self.answered <= stored, f"answered for, and not stored: {self.answered - stored}"
        for source, numbers in self.found.items():
            assert numbers == sorted(set(numbers)), f"{source} out of order or twice: {numbers}"
            assert max(numbers) < self.sent[source]
        assert not self.oracle.breaches, self.oracle.breaches
        if not self.process.dead:
            ended = [task.exception() for task in self.pipeline.tasks if task.done()]
            assert not ended, f"journal or sealer ended: {ended}"
            assert balanced(self.pipeline.intake)
            assert self.pipeline.sealer.held is None, self.pipeline.sealer.held

    def read(self, pack: bytes) -> None:
        reading = senml.resolve(pack)
        for record in reading.records:
            if record.name == "n":
                assert isinstance(record.value, int)
                self.found.setdefault(reading.source, []).append(record.value)

    # Sources

    def numbered(self, source: str) -> Told:
        number = self.sent.get(source, 0)
        self.sent[source] = number + 1
        return source, number

    def message(self, name: str, kind: str, digest: int) -> Message:
        broker = self.brokers[name]
        under_way = {message.packet_id for message in broker.way}
        broker.next_id = next(
            n for step in range(1, IDS + 1) if (n := (broker.next_id + step - 1) % IDS + 1) not in under_way
        )
        stored: list[Told] = []
        if kind == "reject":
            reject = Reject(f"{name}-bad", "no_number", b"?")
            return Message(broker.next_id, lambda d: [reject._replace(delivery=d)], stored, bytes([digest]) * 8)
        payload = BIG if kind == "big" else b"%d" % digest
        stored.append(self.numbered(f"{name}-{digest}"))
        if kind == "shared":
            stored.append(self.numbered(f"{name}-also"))

        def items(delivery: Delivery) -> list[Item]:
            shared = len(stored) > 1
            return [Sample(s, [("n", None, n)], payload, delivery=delivery, shared=shared) for s, n in stored]

        return Message(broker.next_id, items, stored, sha256(payload).digest()[:8])

    def emit(self, items: list[Item], done: Callable[[], None]) -> None:
        """Hands items over as a driver does; what it may do once they are durable."""
        process = self.process
        made = process.within(self.pipeline.emit, items)
        made.add_done_callback(lambda made: None if made.cancelled() or process.dead else done())

    def send(self, name: str, messages: list[Message], *, dup: bool) -> None:
        if not messages or self.process.dead:
            return
        items: list[Item] = []
        for message in messages:
            items += message.items(Delivery(name, message.packet_id, message.digest, dup))
        sent = list(messages)

        def done() -> None:
            for message in sent:
                message.answered = True
                self.answered.update(message.stored)

        self.emit(items, done)

    def lose(self, name: str) -> None:
        broker = self.brokers[name]
        broker.telling = True
        self.emit([SessionLost(name)], lambda: setattr(broker, "telling", False))

    # Rules

    names = st.sampled_from(BROKERS)

    @rule(
        name=names,
        kinds=st.lists(st.sampled_from(["plain", "plain", "plain", "shared", "big", "reject"]), min_size=1, max_size=3),
        digest=st.sampled_from([0, 0, 0, 1]),
        first_lost=st.sampled_from([False, True, True]),
    )
    def publish(self, name: str, kinds: list[str], digest: int, first_lost: bool) -> None:
        """New messages, many of which look alike. `first_lost`: the first copy never arrived, this one is marked."""
        broker = self.brokers[name]
        if broker.telling:
            return
        room = max(WINDOW - len(broker.way), 0)
        new: list[Message] = []
        for kind in kinds[:room]:
            new.append(self.message(name, kind, digest))
            broker.way.append(new[-1])
        self.do(_nothing(lambda: self.send(name, new, dup=first_lost)))

    @rule(name=names)
    def pubacks_arrive(self, name: str) -> None:
        broker = self.brokers[name]
        broker.way = [message for message in broker.way if not message.answered]

    @rule(name=names)
    def connection_ends(self, name: str) -> None:
        """Acknowledgements that were on the wire are lost: all of it comes again."""
        broker = self.brokers[name]
        if not broker.telling:
            self.do(_nothing(lambda: self.send(name, broker.way, dup=True)))

    @rule(name=names, dies=st.sampled_from([True, True, False]))
    def session_is_lost(self, name: str, dies: bool) -> None:
        """The broker forgot everything: packet ids begin anew, and what was under way will never come again."""
        broker = self.brokers[name]
        broker.way, broker.next_id = [], 0
        self.do(_nothing(lambda: self.lose(name)), 0.3)
        if dies:
            self.die(None)

    @rule(count=st.integers(1, 7))
    def serial_lines(self, count: int) -> None:
        self.do(_nothing(lambda: self.say(count)))

    def say(self, count: int) -> None:
        """Lines of a serial device, which nobody repeats."""
        told = [self.numbered("serial") for _ in range(count)]
        items: list[Item] = [Sample(source, [("n", None, number)], b"") for source, number in told]
        if items:
            self.emit(items, lambda: self.answered.update(told))

    @rule(what=st.sampled_from(["dropped", "down", "up", "malformed"]))
    def other_items(self, what: str) -> None:
        items: dict[str, Item] = {
            "dropped": Dropped("serial", 2, "no_room"),
            "down": Link(False, "gone", ("serial",)),
            "up": Link(True, "there", ("serial",)),
            "malformed": Sample("serial", [("", None, float("nan"))], b"?"),
        }
        self.do(_nothing(lambda: self.emit([items[what]], lambda: None)))

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.3, 2.0, 65.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(_nothing(lambda: None), seconds)

    @rule(hours=st.sampled_from([1, -1, 90_000, -90_000, -490_000]))
    def somebody_sets_the_clock(self, hours: int) -> None:
        self.clock.jump(self.clock.ms + hours * 3_600_000)

    @rule(full=st.booleans())
    def the_disk(self, full: bool) -> None:
        self.full = full

    @rule()
    def keys_are_kept(self) -> None:
        """A snapshot of the redelivery keys, as pruning asks for one."""
        self.do(_nothing(lambda: self.process.within(self.pipeline.intake.keep_keys)))

    @precondition(lambda self: self.pipeline.store.blocks.size > 0)
    @rule(node=st.sampled_from(["ash", "oak"]), kind=st.sampled_from(["seen", "stored"]), back=st.integers(0, 3))
    def a_node_co_signs(self, node: str, kind: str, back: int) -> None:
        store = self.pipeline.store
        size = max(store.blocks.size - back, 1)

        async def save() -> None:
            note = await store.blocks.note(size)
            assert note is not None, f"no checkpoint of {size}"
            await store.cosigned.save(node, kind, size, note[1], f"{kind} {size}")
            self.cosigned[f"{node} {kind}"] = max(self.cosigned.get(f"{node} {kind}", 0), size)

        async def saved() -> None:
            if not self.process.dead:
                await asyncio.wait([self.process.spawn(_but_for_room(save()))])

        self.do(saved())

    @rule(dies_in=st.integers(1, 80), count=st.integers(0, 5), seconds=st.sampled_from([0.3, 0.3, 65.0, 700.0]))
    def it_dies_soon(self, dies_in: int, count: int, seconds: float) -> None:
        """At a numbered step of whatever it does next: of a commit, of a seal, of keeping a line."""
        self.process.dies_at = self.process.steps + dies_in
        self.do(_nothing(lambda: self.say(count)), seconds)

    @rule(dies_in=st.none() | st.integers(1, 120))
    def it_dies_now(self, dies_in: int | None) -> None:
        """And again while it starts, perhaps."""
        self.die(dies_in)

    def die(self, dies_in: int | None) -> None:
        self.process.kill()
        self.bury()
        self.start(dies_in)

    @precondition(lambda self: not self.full)
    @rule()
    def it_stops_in_order(self) -> None:
        self.process.dies_at = None
        stopping = self.process.spawn_on(self.loop, self.pipeline.stop())
        self.loop.run_until_complete(asyncio.wait([stopping]))
        stopping.result()
        self.opened = None  # closed already
        self.process.kill()
        self.bury()
        self.start(None)

    # The end

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.process.kill()
            self.loop.run_until_complete(self.process.gone())
            if self.opened is not None:
                unlock(self.opened)
            self.context.close()

    def settle(self) -> None:
        """Nothing is in the way any more: everything under way is answered for, sealed, and verifies."""
        self.full, self.process.dies_at = False, None
        self.do(self.resume(), 5.0)
        self.do(_nothing(lambda: None), 70.0)
        for name, broker in self.brokers.items():
            assert not broker.telling
            assert all(message.answered for message in broker.way), f"{name} was never answered"
        self.process.kill()
        self.bury()
        self.start(None)
        packs = self.loop.run_until_complete(self.process.spawn_on(self.loop, check_chain(self.pipeline.store)))
        journaled, self.found = self.found, {}
        for pack in packs:
            self.read(pack)
        assert self.found == journaled, "not all that was journaled is sealed"
        for told, size in self.cosigned.items():
            node, kind = told.split()
            progress = self.loop.run_until_complete(
                self.process.spawn_on(self.loop, self.pipeline.store.cosigned.progress(node))
            )
            assert getattr(progress, kind) >= size, f"{node}'s {kind} line over {size} was forgotten"


async def _nothing(then: Callable[[], object]) -> None:
    then()


async def _but_for_room(coro: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(Retry):
        await coro


def _run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.mark.parametrize("what", [None, "down"])
def test_dies_at_each_step_of_a_start(what: str | None) -> None:
    """On a store that was closed in order, empty or not. It ends where a start is over before its death comes."""
    for dies_in in itertools.count(1):
        machine = StoreMachine()
        if what is not None:
            machine.other_items(what=what)
        machine.it_stops_in_order()
        lives = machine.lives
        machine.it_dies_now(dies_in=dies_in)
        died_again = machine.lives > lives + 1
        machine.teardown()
        if not died_again:
            break
    assert dies_in > 50, "a start has more steps than that"


@pytest.mark.timeout(300)  # what fails is made small first
def test_the_store_and_its_model_agree() -> None:
    _run(100, 30)


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
def test_the_store_and_its_model_agree_for_long() -> None:
    _run(2_000, 40)
