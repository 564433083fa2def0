"""The longest turn of the event loop, in ms of its thread's own CPU, in cases that once held it up (docs/adr/0010).

`make bench ONLY=turns` runs it as a process of its own; alone: `PYTHONPATH=tests .venv/bin/python -m bench.stalls
[REPEATS]`. CPU, so that what else the machine does shows little.
"""

import asyncio
import gc
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from fakes.gateway_store import Pipeline, pipeline, until
from fakes.mqtt_scripted import connack, publish, suback

from drivers.api import Link, Reject, Sample
from drivers.codecs.values import ValueMap
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from gateway.status import snapshot

SOURCES = 500


async def tiny_messages(gateway: Pipeline) -> float:
    """20,000 messages of 12 bytes with QoS 0."""
    return await _driven(gateway, b"".join(publish(b"t/1", b"{}") for _ in range(20_000)), 20_000)


async def usual_messages(gateway: Pipeline) -> float:
    """10,000 messages with QoS 1 and three values."""
    body = b'{"n": %d, "temperature": 21.5, "humidity": 58.1, "pressure": 1013.2}'
    data = b"".join(publish(b"t/1", body % number, number + 1) for number in range(10_000))
    return await _driven(gateway, data, 10_000)


async def new_topics(gateway: Pipeline) -> float:
    """5,000 topics that nobody has asked for, among 500 sources with topics of their own."""
    return await _driven(gateway, b"".join(publish(b"x/%d" % n, b"{}", n + 1) for n in range(5_000)), 5_000)


async def payloads_apart(gateway: Pipeline) -> float:
    """4,096 payloads of 1,000 bytes that travel apart, in one commit."""
    emit = gateway.intake.emitter("apart", {"apart": "apart"})
    for number in range(16):
        emit([Sample("apart", [("n", None, number)], bytes(1_000))] * 256)
        await asyncio.sleep(0)
    return await _longest(gateway.journal.commit())


async def many_sources_lost(gateway: Pipeline) -> float:
    """A broker of 4,096 sources goes away."""
    emit = gateway.intake.emitter("many", {f"many-{number}": "none" for number in range(4_096)})

    async def lost() -> None:
        emit([Link(False, "gone")])
        await until(lambda: gateway.intake.tallies["gateway"].arrived >= 4_096)

    return await _longest(lost())


async def many_values_charted(gateway: Pipeline) -> float:
    """A commit of 4,096 readings of 60 numbers becomes minutes."""
    emit = gateway.intake.emitter("many", {"many": "none"})
    records = [(f"value-{number}", "Cel", number / 7) for number in range(60)]
    for _ in range(16):
        emit([Sample("many", records, b"")] * 256)
        await asyncio.sleep(0)
    return await _longest(gateway.journal.commit())


async def status_of_many_sources(gateway: Pipeline) -> float:
    """4,096 sources with three values and a reject each are told, and encoded, as the control socket does."""
    emit = gateway.intake.emitter("many", {f"many-{number}": "none" for number in range(4_096)})
    records = [("temperature", "Cel", 21.5), ("humidity", "%RH", 58.1), ("pressure", None, 1013.2)]
    for number in range(4_096):
        emit([Sample(f"many-{number}", records, b""), Reject(f"many-{number}", "not_json", b'{"temp": ' * 20, "why")])
    await gateway.journal.commit()
    intake, journal, blocks, sealer = gateway.intake, gateway.journal, gateway.store.blocks, gateway.sealer

    async def asked() -> None:
        await asyncio.sleep(0)
        told = snapshot(
            vkey=gateway.store.vkey,
            since_ms=0,
            clock=gateway.clock,
            intake=intake,
            journal=journal,
            blocks=blocks,
            sealer=sealer,
            nodes={},
            witnesses={},
            troubles=(),
            disk={},
            device={},
            verified={},
            anchors={},
            configuration={},
        )
        await asyncio.sleep(0)
        msgspec.json.encode(told)

    return await _longest(asked())


async def _longest(what: Awaitable[None]) -> float:
    longest, running = 0.0, asyncio.ensure_future(what)
    while not running.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    await running
    return longest


async def _driven(gateway: Pipeline, data: bytes, messages: int) -> float:
    """A broker in a process of its own sends `data` as fast as it is read."""
    here, there = multiprocessing.Pipe()
    broker = multiprocessing.Process(target=_broker, args=(there, data))
    broker.start()
    options = {f"s{n}": MqttOptions(broker="local", topic=f"t/{n}", values={"n": ValueMap()}) for n in range(SOURCES)}
    driver = MqttDriver(Broker(name="local", host="127.0.0.1", port=here.recv(), client_id="g"), options)
    emit = gateway.intake.emitter(driver.name, dict.fromkeys(options, "in"))
    running = asyncio.create_task(driver.run(emit))
    tallies = gateway.intake.tallies
    await until(lambda: bool(tallies["s1"].up))
    here.send(None)

    async def arrived() -> None:
        while sum(tally.arrived for tally in tallies.values()) < messages:
            await asyncio.sleep(0)

    longest = await _longest(arrived())
    here.send(None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    broker.join()
    return longest


def _broker(pipe: Connection, data: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        peer, _ = server.accept()
        with peer, peer.makefile("rb") as stream:
            for answer in (lambda _: connack(), lambda body: suback(int.from_bytes(body[:2], "big"), *[1] * SOURCES)):
                peer.sendall(answer(_packet(stream.read)))
            pipe.recv()
            peer.sendall(data)
            pipe.recv()


def _packet(read: Callable[[int], bytes]) -> bytes:
    """All behind the fixed header."""
    size, shift, byte = 0, 0, read(2)[1]
    while byte > 127:
        size, shift, byte = size | (byte & 127) << shift, shift + 7, read(1)[0]
    return read(size | byte << shift)


async def _case(case: Callable[[Pipeline], Awaitable[float]]) -> float:
    with tempfile.TemporaryDirectory(prefix="fieldgate-stalls-") as folder:
        async with pipeline(Path(folder), linger_s=0.25, max_count=65_536, windows={"local": 1_000}) as gateway:
            gc.collect()
            gc.freeze()  # as app.py does
            return await case(gateway)


CASES = (
    usual_messages,
    tiny_messages,
    new_topics,
    payloads_apart,
    many_sources_lost,
    many_values_charted,
    status_of_many_sources,
)


def main(repeats: int) -> None:
    for case in CASES:
        figures = sorted(asyncio.run(_case(case)) * 1000 for _ in range(repeats))
        print(f"{case.__name__:<23} {figures[0]:8.1f} to {figures[-1]:8.1f} ms, median {figures[repeats // 2]:8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
