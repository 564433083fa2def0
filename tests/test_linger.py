"""When a commit is made: after the linger, at a broker's window, and where its messages stop as they stopped before.

Time is the loop's own, and virtual: brokers and sensors act on a timetable, intake, journal and SQLite are real.
"""

import asyncio
import random
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import virtual_loop
from fakes.broker import Mosquitto
from fakes.gateway_store import Pipeline, check_chain, pipeline, sample, until, values
from fakes.mqtt_scripted import Peer, ScriptedBroker, publish
from fakes.virtual_loop import VirtualLoop

from drivers.api import Delivery
from drivers.codecs.values import ValueMap
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from gateway.store.window import STALL_S, Window

LINGER_S = 0.25


class Bench:
    """A gateway whose broker is configured with a window of 1,000, and what has become of it."""

    def __init__(self, gateway: Pipeline, loop: VirtualLoop) -> None:
        self.gateway, self.loop = gateway, loop
        self.sent = 0

    def send(self, number: int = 1) -> "asyncio.Future[None]":
        """So many messages in one wake-up."""
        items = []
        for _ in range(number):
            self.sent += 1
            items.append(
                sample(delivery=Delivery("local", self.sent % 65_535 + 1, self.sent.to_bytes(8, "big"), False))
            )
        return self.gateway.emit(items)

    async def backlog(self, total: int, really: int, answer_s: float = 0.001, spread: int = 1) -> None:
        """A broker that sends `really` messages, in so many wake-ups, and goes on when they are acknowledged."""
        for _ in range(total // really):
            done = [self.send(really // spread)]
            for _ in range(spread - 1):
                await asyncio.sleep(0.0005)
                done.append(self.send(really // spread))
            await asyncio.wait(done)
            await asyncio.sleep(answer_s)

    async def steady(self, per_s: float, seconds: float, gaps: Callable[[], float] = lambda: 1.0) -> tuple[float, int]:
        """Single messages; commits a second, and how many of them were ended by a stall."""
        commits, stalls, began = self.gateway.journal.commits, self.gateway.intake.stalls, self.loop.now
        while self.loop.now < began + seconds:
            self.send()
            await asyncio.sleep(gaps() / per_s)
        await asyncio.sleep(1)
        return (self.gateway.journal.commits - commits) / seconds, self.gateway.intake.stalls - stalls


def on_virtual_time(tmp_path: Path, told: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main(loop: VirtualLoop) -> None:
        async with pipeline(tmp_path, linger_s=LINGER_S, windows={"local": 1000}, max_count=65_536) as gateway:
            loop.busy = gateway.journal._committing.locked
            try:
                await told(Bench(gateway, loop))
            finally:
                loop.busy = lambda: True

    virtual_loop.run(main)


@pytest.mark.parametrize(("really", "spread"), [(20, 1), (20, 4), (2, 1), (100, 10), (999, 9)])
def test_a_backlog_of_a_broker_with_another_window_is_not_throttled(tmp_path: Path, really: int, spread: int) -> None:
    """The first batch waits for its linger; every other is ended by the stall, whatever the configuration says."""

    async def told(bench: Bench) -> None:
        rounds = 40
        began = bench.loop.now
        await bench.backlog(rounds * really, really, spread=spread)
        assert bench.gateway.journal.commits == rounds
        assert bench.gateway.intake.stalls == rounds - 1
        assert bench.loop.now - began < LINGER_S * 2 + rounds * 2 * (STALL_S + 0.001 + spread * 0.001)

    on_virtual_time(tmp_path, told)


def test_the_window_itself_needs_no_stall(tmp_path: Path) -> None:
    async def told(bench: Bench) -> None:
        began = bench.loop.now
        await bench.backlog(20_000, 1000, answer_s=0.0)
        assert (bench.gateway.journal.commits, bench.gateway.intake.stalls) == (20, 0)
        assert bench.loop.now == began

    on_virtual_time(tmp_path, told)


@pytest.mark.parametrize("per_s", [200, 100, 50, 1000])
@pytest.mark.parametrize("before", ["nothing", "bursts", "backlog"])
def test_a_steady_stream_is_committed_at_the_lingers_pace(tmp_path: Path, per_s: float, before: str) -> None:
    """Whatever was learnt before: from sensors that publish together once a second, or from a backlog."""

    async def told(bench: Bench) -> None:
        if before == "bursts":
            for _ in range(3):
                bench.send(10)
                await asyncio.sleep(1)
        if before == "backlog":
            await bench.backlog(400, 20)
        commits_per_s, stalls = await bench.steady(per_s, 20)
        assert 3 <= commits_per_s <= 1 / LINGER_S + 0.2
        assert stalls <= 1

    on_virtual_time(tmp_path, told)


@pytest.mark.parametrize("per_s", [200, 40, 8])
def test_messages_at_random_moments_are_committed_at_the_lingers_pace(tmp_path: Path, per_s: float) -> None:
    async def told(bench: Bench) -> None:
        rng = random.Random(7)
        await bench.backlog(200, 20)
        commits_per_s, stalls = await bench.steady(per_s, 60, lambda: rng.expovariate(1))
        assert commits_per_s <= 1.5 / LINGER_S
        assert stalls <= 60  # one a second at most, among so many

    on_virtual_time(tmp_path, told)


@pytest.mark.parametrize("every_s", [0.05, 0.1, 0.3, 1.0])
def test_sensors_that_publish_together_cost_no_commit_each_time(tmp_path: Path, every_s: float) -> None:
    """A burst that is over looks like a stall; that nothing follows the acknowledgement at once tells it from one."""

    async def told(bench: Bench) -> None:
        for pause_s in (1.0, 1.0, *[every_s] * 100):
            bench.send(10)
            await asyncio.sleep(pause_s)
        most = 2 + 100 * max(every_s / LINGER_S, 1 / 3) if every_s < LINGER_S else 102
        assert bench.gateway.journal.commits <= most
        assert bench.gateway.intake.stalls <= 52

    on_virtual_time(tmp_path, told)


def test_a_window_that_grew_is_learnt_anew(tmp_path: Path) -> None:
    async def told(bench: Bench) -> None:
        for really in (20, 50, 10):
            commits, stalls = bench.gateway.journal.commits, bench.gateway.intake.stalls
            await bench.backlog(20 * really, really)
            assert bench.gateway.journal.commits - commits == 20
            assert bench.gateway.intake.stalls - stalls >= 18

    on_virtual_time(tmp_path, told)


NUMBER = 600


async def _drained(
    tmp_path: Path, port: int, linger_s: float, more: Callable[[], Coroutine[Any, Any, object]]
) -> tuple[int, int]:
    """Commits for that many messages of a broker configured with a window of 1,000, and those ended by a stall."""
    async with pipeline(tmp_path, linger_s=linger_s, windows={"local": 1000}, max_count=65_536) as gateway:
        options = MqttOptions(broker="local", topic="t", values={"n": ValueMap()})
        driver = MqttDriver(Broker(name="local", host="127.0.0.1", port=port, client_id="g"), {"s": options})
        running = asyncio.create_task(driver.run(gateway.intake.emitter(driver.name, {"s": "none"})))
        tally = gateway.intake.tallies["s"]
        await until(lambda: tally.up)
        await more()
        async with asyncio.timeout(60):
            while tally.stored < NUMBER:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        figures = gateway.journal.commits, gateway.intake.stalls
        await gateway.age()
        assert values(await check_chain(gateway.store), "n") == list(range(NUMBER))
        return figures


async def test_a_broker_that_keeps_to_a_smaller_window_than_configured(tmp_path: Path) -> None:
    """It sends 20 and waits: a few of the 30 batches may wait for their linger, on a busy machine; not all."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        for first in range(0, NUMBER, 20):
            await peer.send(b"".join(publish(b"t", b'{"n":%d}' % n, n + 1) for n in range(first, first + 20)))
            for _ in range(20):
                assert (await peer.read())[0] == 0x40
        await peer.gone()

    async with ScriptedBroker(script) as broker:
        commits, stalls = await _drained(tmp_path, broker.port, 2.0, lambda: asyncio.sleep(0))
    assert commits >= NUMBER / 20
    assert stalls >= commits - 8


async def test_mosquitto_with_a_smaller_window_than_configured(tmp_path: Path) -> None:
    """2.0.11 begins with 20, and sends twenty times as many after each acknowledgement: not one linger for each 20."""
    with Mosquitto(tmp_path / "broker", max_inflight=20) as mosquitto:
        command = ["mosquitto_pub", "-p", str(mosquitto.port), "-q", "1", "-t", "t", "-l"]
        lines = b"".join(b'{"n":%d}\n' % n for n in range(NUMBER))
        commits, stalls = await _drained(
            tmp_path, mosquitto.port, 0.5, lambda: asyncio.to_thread(subprocess.run, command, input=lines, check=True)
        )
    assert commits - stalls <= 8


# The rule itself


def grown(window: Window, messages: Iterator[tuple[float, int]]) -> None:
    for now, fresh in messages:
        window.fresh += fresh
        window.grow(now)


def learnt(at: int = 20) -> Window:
    window = Window(1000, LINGER_S)
    grown(window, iter([(0.0, at)]))
    window.close(LINGER_S)
    return window


def test_a_number_is_learnt_where_half_a_linger_brought_nothing() -> None:
    for last, lingered, number in ((0.125, 0.25, 7), (0.126, 0.25, 0), (0.0, None, 0), (0.0, 0.25, 7)):
        window = Window(1000, LINGER_S)
        grown(window, iter([(0.0, 3), (last, 4)]))
        window.close(lingered)
        assert (window.learnt, window.count) == (number, 0)


def test_a_linger_that_is_no_longer_than_a_stall_learns_nothing() -> None:
    window = Window(1000, 2 * STALL_S)
    grown(window, iter([(0.0, 3)]))
    window.close(2 * STALL_S)
    assert window.learnt == 0


def test_a_batch_is_due_five_milliseconds_after_it_stopped_there() -> None:
    window = learnt()
    grown(window, iter([(1.0, 12), (1.001, 7)]))
    assert window.due() is None
    grown(window, iter([(1.001, 1)]))
    assert window.due() == pytest.approx(1.001 + STALL_S)


def test_messages_that_are_apart_are_waited_for_longer() -> None:
    window = learnt(5)
    grown(window, ((1 + n * 0.01, 1) for n in range(5)))
    assert window.due() == pytest.approx(1.04 + 0.04)


def test_growth_past_it_is_forgetting() -> None:
    window = learnt()
    grown(window, iter([(1.0, 21)]))
    assert (window.learnt, window.due()) == (0, None)


@pytest.mark.parametrize(("after_s", "number"), [(0.0, 20), (0.025, 20), (0.026, 0), (5.0, 0)])
def test_what_does_not_follow_the_acknowledgement_is_forgetting(after_s: float, number: int) -> None:
    window = learnt()
    grown(window, iter([(1.0, 20)]))
    window.stall()
    window.close(None)
    window.acknowledge(2.0)
    grown(window, iter([(2.0 + after_s, 1)]))
    assert window.learnt == number


def test_what_comes_before_the_acknowledgement_is_forgetting() -> None:
    window = learnt()
    grown(window, iter([(1.0, 20)]))
    window.stall()
    window.close(None)
    grown(window, iter([(1.01, 1)]))
    assert window.learnt == 0


def test_one_message_alone_is_no_stall() -> None:
    window = learnt(1)
    grown(window, iter([(1.0, 1)]))
    assert window.due() is None


@pytest.mark.parametrize("fresh", [[1000], [999, 1], [1001]])
def test_a_full_window_says_so(fresh: list[int]) -> None:
    window = Window(1000, LINGER_S)
    told = []
    for one in fresh:
        window.fresh += one
        told.append(window.grow(0.0))
    assert told == [False] * (len(fresh) - 1) + [True]
