"""A broker that dies, forgets, falls silent, drips, repeats itself, or whose packet ids come round again.

Each of them ends with: acknowledged is stored, nothing is stored twice, the order is kept, the node is in step.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from fakes.field import until
from fakes.gateway_store import Pipeline, check_chain, values
from fakes.mqtt_proxy import CONNACK, PUBACK, SUBACK, SUBSCRIBE, Seen
from fakes.mqtt_scripted import Peer, ScriptedBroker, publish
from fakes.rig import TOPIC, Rig, Verdict, payload_of
from fakes.telling import Tell

from drivers.api import Delivery, DriverError
from drivers.codecs.values import ValueMap
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from gateway.core import limits
from gateway.store import Store
from gateway.store.journal import newest_keys

SAVES_ALWAYS = "autosave_on_changes true\nautosave_interval 1"


def told(tell: Tell, what: str, verdict: Verdict) -> None:
    """Prints what was counted, and judges."""
    tell(
        f"{what}: {verdict.acknowledged} of {verdict.published} acknowledged, "
        f"{verdict.redeliveries} redeliveries, {verdict.heights} blocks, {verdict.stored} stored by the node"
    )
    assert verdict.sound, verdict
    assert verdict.acknowledged > 0


# -- with a real broker ---------------------------------------------------------------------------------------------


async def _broker_dies(folder: Path, deaths: int) -> Verdict:
    """The first time alone; then the gateway dies with it, which also forgets how long it was going to wait."""
    rig = Rig(folder, broker_extra=SAVES_ALWAYS)
    async with rig.running():
        await rig.start()
        for death in range(deaths):
            await rig.acknowledges(30)
            await asyncio.to_thread(rig.broker.kill)
            if death:
                await rig.gateway.end(signal.SIGKILL)
            await asyncio.to_thread(rig.broker.start)
            if death:
                await rig.gateway.start()
            rig.look()
        await rig.acknowledges(30)
        verdict = await rig.settle(broker_forgets=True)
        assert all(one.body[0] & 1 for one in rig.proxy.of(CONNACK, up=False)[1:])  # it knew the session each time
    return verdict


@pytest.mark.timeout(120)
async def test_a_broker_that_is_killed_and_comes_back_with_its_sessions(tmp_path: Path, tell: Tell) -> None:
    told(tell, "2 deaths of the broker", await _broker_dies(tmp_path, 2))


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_a_broker_that_is_killed_again_and_again(tmp_path: Path, tell: Tell) -> None:
    told(tell, "25 deaths of the broker", await _broker_dies(tmp_path, 25))


@pytest.mark.timeout(120)
async def test_a_broker_that_comes_back_without_its_sessions(tmp_path: Path, tell: Tell) -> None:
    """Its packet ids begin anew: the same payload under the same packet id is another message, even when its first copy
    was lost on the wire and it comes marked as a duplicate."""
    rig = Rig(tmp_path, publishes=False)
    known: list[bool] = []

    def look(one: Seen) -> None:
        """At each SUBSCRIBE, before the broker has it: what would a gateway know that begins now?"""
        if one.kind == SUBSCRIBE and one.up:
            looks.append(asyncio.create_task(_knows(rig, 1, payload_of(7), known)))

    looks: list[asyncio.Task[None]] = []
    async with rig.running():
        await rig.start()
        await until(lambda: bool(rig.proxy.of(SUBACK, up=False)), "a subscription")
        await rig.publish(7)
        await until(lambda: len(rig.proxy.acknowledged) == 1, "the first PUBACK")
        rig.proxy._on_seen = look
        await asyncio.to_thread(rig.broker.kill)
        (rig.broker.folder / "mosquitto.db").unlink(missing_ok=True)
        await asyncio.to_thread(rig.broker.start)
        await until(lambda: len(rig.proxy.of(CONNACK, up=False)) == 2 and bool(looks), "the next session")
        await asyncio.gather(*looks)
        assert known == [False], "what was known of the lost session is void, durably, before anything is subscribed"
        await until(lambda: len(rig.proxy.of(SUBACK, up=False)) == 2, "the next subscription")
        rig.proxy.stall(down=True)
        await rig.publish(7)
        await until(lambda: rig.proxy.stalled > 0, "that the broker has sent it; nobody has got it")
        rig.proxy.cut()
        rig.proxy.flow()
        await until(lambda: len(rig.proxy.acknowledged) == 2, "the second PUBACK")
        rig.proxy.stall(up=True)
        before = rig.field.journaled()
        await rig.publish(8)
        await until(lambda: rig.field.journaled() > before, "the third, journaled")
        rig.proxy.cut()  # its PUBACK is lost
        rig.proxy.flow()
        verdict = await rig.settle()
        first, again = rig.proxy.acknowledged[:2]
        stored = await rig.stored()
    assert (first.packet_id, first.payload, first.dup) == (again.packet_id, again.payload, False)
    assert again.dup
    assert stored == [7, 7, 8]
    told(tell, "a broker without its sessions", verdict)


async def _knows(rig: Rig, packet_id: int, payload: bytes, known: list[bool]) -> None:
    store = await Store.open(rig.field.data, read_only=True)
    try:
        seen = await newest_keys(store.db, {"local"})
        digest = hashlib.sha256(TOPIC.encode() + b"\0" + payload).digest()[:8]
        known.append(seen.knows(Delivery("local", packet_id, digest, True)))
    finally:
        await store.close()


async def _silent(folder: Path, fall_silent: Callable[[Rig], contextlib.AbstractContextManager[None]]) -> Verdict:
    """The connection stays open, and nothing comes any more: the keepalive (5 s) notices."""
    rig = Rig(folder, rate_s=0.02)
    async with rig.running():
        await rig.start()
        await rig.acknowledges(20)
        with fall_silent(rig):
            before = rig.proxy.connections
            await until(lambda: rig.proxy.connections > before, f"another connection\n{rig.gateway.words()}", 40)
        await rig.acknowledges(20)
        verdict = await rig.settle()
        events = [r.records[0].value for r in await rig.field.readings() if r.source == "gateway"]
        assert "source-lost" in events
        assert "source-back" in events
    return verdict


@contextlib.contextmanager
def _half_open(rig: Rig):
    rig.proxy.swallow()
    yield


@pytest.mark.nightly
@pytest.mark.timeout(150)
async def test_a_broker_that_says_nothing_and_a_connection_that_is_half_open(tmp_path: Path, tell: Tell) -> None:
    """Both at once: each waits for its keepalive."""
    stopped, half = await asyncio.gather(
        _silent(tmp_path / "stopped", lambda rig: rig.broker.held()),
        _silent(tmp_path / "half", _half_open),
    )
    told(tell, "a broker that is stopped", stopped)
    told(tell, "a half-open connection", half)


@pytest.mark.timeout(120)
async def test_a_slow_broker(tmp_path: Path, tell: Tell) -> None:
    """Every byte of every packet by itself, and connections that are cut between two of them."""
    rig = Rig(tmp_path, rate_s=0.02)
    async with rig.running():
        rig.proxy.drips = True
        await rig.start()
        for _ in range(2):
            await rig.acknowledges(25)
            rig.proxy.cut()
        await rig.acknowledges(25)
        told(tell, "a slow broker", await rig.settle())


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
async def test_everything_that_goes_wrong_in_turn(tmp_path: Path, tell: Tell, seed: int) -> None:
    """FIELDGATE_SEED=N repeats the order of a run that printed `seed N`."""
    rng = random.Random(seed)
    rig = Rig(tmp_path, serial=True, broker_extra=SAVES_ALWAYS)
    faults = [_broker_back, _gateway_back, _node_back, _cut, _pubacks_lost, _half_open_at_once, _asleep, _drips]
    async with rig.running():
        await rig.start()
        for fault in rng.sample(faults * 8, 64):
            await rig.acknowledges(10)
            await fault(rig)
            if rng.random() < 0.5:
                await _gateway_back(rig)  # which also forgets how long it was going to wait
            rig.look()
        rig.proxy.drips = False
        await _gateway_back(rig)
        await rig.acknowledges(10)
        verdict = await rig.settle(broker_forgets=True)
    assert verdict.serial > 0
    told(tell, f"64 faults in turn, seed {seed}", verdict)


async def _broker_back(rig: Rig) -> None:
    await asyncio.to_thread(rig.broker.kill)
    await asyncio.to_thread(rig.broker.start)


async def _gateway_back(rig: Rig) -> None:
    await rig.gateway.end(signal.SIGKILL)
    await rig.gateway.start()


async def _node_back(rig: Rig) -> None:
    await rig.node.end(signal.SIGKILL)
    await rig.start_node()


async def _cut(rig: Rig) -> None:
    rig.proxy.cut()


async def _pubacks_lost(rig: Rig) -> None:
    rig.proxy.stall(up=True)
    await until(lambda: rig.proxy.stalled > 0, "PUBACKs under way")
    rig.proxy.cut()
    rig.proxy.flow()


async def _half_open_at_once(rig: Rig) -> None:
    rig.proxy.swallow()


async def _asleep(rig: Rig) -> None:
    os.kill(rig.gateway.pid, signal.SIGSTOP)
    await asyncio.sleep(0.5)
    os.kill(rig.gateway.pid, signal.SIGCONT)


async def _drips(rig: Rig) -> None:
    rig.proxy.drips = not rig.proxy.drips


# -- with a scripted broker -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _gateway(folder: Path, port: int):
    """Driver, intake, journal and sealer. The driver is run again at once when its connection ends."""
    made = await Pipeline.open(folder, clock=FakeClock(), max_count=5_000, linger_s=0.02, windows={"local": 65_535})
    assert await made.recover() is None
    made.start()
    broker = Broker(name="local", host="127.0.0.1", port=port, client_id="g", window=65_535)
    driver = MqttDriver(broker, {"s": MqttOptions(broker="local", topic="t", values={"n": ValueMap()})})
    emit = made.intake.emitter(driver.name, {"s": "in"})

    async def drive() -> None:
        while True:
            with contextlib.suppress(DriverError):
                await driver.run(emit)

    driving = asyncio.create_task(drive())
    try:
        yield made
    finally:
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
        await made.stop()


async def _stored(folder: Path) -> list[int]:
    store = await Store.open(folder)
    try:
        return [int(value) for value in values(await check_chain(store), "n")]  # type: ignore[arg-type]
    finally:
        await store.close()


async def _pubacks(peer: Peer, count: int) -> None:
    for _ in range(count):
        first, _body = await peer.read()
        assert first >> 4 == PUBACK


async def _deliver(peer: Peer, packets: list[bytes]) -> None:
    """Sends them, and reads as many PUBACKs meanwhile."""
    reading = asyncio.create_task(_pubacks(peer, len(packets)))
    for at in range(0, len(packets), 500):
        await peer.send(b"".join(packets[at : at + 500]))
    await reading


def _message(number: int, packet_id: int, *, dup: bool = False) -> bytes:
    return publish(b"t", b'{"n":%d}' % number, packet_id, flags=0x0A if dup else None)


async def _run_script(folder: Path, *connections: Callable[[Peer], Awaitable[None]]) -> Pipeline:
    """One script a connection; returns when the last of them is done."""
    left = list(connections)
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        if not left:
            await peer.gone()
            return
        await peer.welcome()
        await left[0](peer)
        left.pop(0)
        if not left:
            done.set()

    async with ScriptedBroker(script) as broker, _gateway(folder, broker.port) as made:
        async with asyncio.timeout(100):
            await done.wait()
    return made


@pytest.mark.timeout(120)
async def test_packet_ids_that_come_round(tmp_path: Path) -> None:
    """One cycle of 65,535 ids later the same payload has the same id. Its first copy was lost on the wire, so it comes
    as a duplicate, and is another message all the same; the redelivery of a stored one is not."""
    cycle = [_message(packet_id, packet_id) for packet_id in range(1, 65_536)]

    async def a_cycle(peer: Peer) -> None:
        await _deliver(peer, cycle)

    async def the_next(peer: Peer) -> None:
        await _deliver(peer, [_message(1, 1, dup=True), _message(2, 2, dup=True), _message(70_000, 3)])

    async def what_is_stored(peer: Peer) -> None:
        again = [_message(n, n, dup=True) for n in range(65_536 - limits.REDELIVERY_KEYS + 3, 65_536)]
        again += [_message(1, 1, dup=True), _message(2, 2, dup=True), _message(70_000, 3, dup=True)]
        await _deliver(peer, again)

    await _run_script(tmp_path, a_cycle, the_next, what_is_stored)
    await _run_script(tmp_path, what_is_stored)  # and what a new start reads back says the same
    assert await _stored(tmp_path) == [*range(1, 65_536), 1, 2, 70_000]


@pytest.mark.timeout(120)
async def test_a_broker_that_redelivers_everything_at_each_of_20_reconnects(tmp_path: Path) -> None:
    count, times = 1_500, 20
    resident: list[int] = []

    def everything(number: int) -> Callable[[Peer], Awaitable[None]]:
        async def script(peer: Peer) -> None:
            await _deliver(peer, [_message(n, n, dup=number > 0) for n in range(1, count + 1)])
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)

        return script

    made = await _run_script(tmp_path, *map(everything, range(times)))
    tally = made.intake.tallies["s"]
    assert (tally.arrived, tally.stored, tally.duplicate) == (count * times, count, count * (times - 1))
    assert await _stored(tmp_path) == list(range(1, count + 1))
    assert resident[-1] - resident[times // 4] < 4 * 2**20, resident
