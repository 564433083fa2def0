"""CPU of a gateway for a reading, from PUBLISH to PUBACK, without the noise of a broker's flushes and pace.

`PYTHONPATH=tests .venv/bin/python -m bench.driven [RUNS]`. A broker in another process sends windows of 1,000 messages
of 97 bytes; the store is in memory where the machine has /dev/shm. To compare two trees, run them in turn. Each line is
of 40,000 readings: all of the process, and the event loop's thread alone. What is sealed is sealed within it.
"""

import asyncio
import multiprocessing
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.home import payload
from fakes.gateway_store import pipeline, until
from fakes.mqtt_scripted import connack, publish, suback

from drivers.codecs.values import ValueMap
from drivers.mqtt import Broker, MqttDriver, MqttOptions

NUMBER, WINDOW = 40_000, 1_000
VALUES = {
    "temp": ValueMap(pointer="/temperature", unit="Cel"),
    "rh": ValueMap(pointer="/humidity", unit="%RH"),
    "pressure": ValueMap(pointer="/pressure"),
}


def _broker(pipe: Connection, runs: int) -> None:
    windows = [
        b"".join(publish(b"bench/climate", payload(n), n % 65_535 + 1) for n in range(first, first + WINDOW))
        for first in range(0, NUMBER, WINDOW)
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        peer, _ = server.accept()
        with peer, peer.makefile("rb") as stream:
            stream.read(stream.read(2)[1])
            peer.sendall(connack())
            asked = stream.read(stream.read(2)[1])
            peer.sendall(suback(int.from_bytes(asked[:2], "big"), 1))
            for _ in range(runs):
                pipe.recv()
                for window in windows:
                    peer.sendall(window)
                    stream.read(4 * WINDOW)
            pipe.recv()


async def main(runs: int) -> None:
    here, there = multiprocessing.Pipe()
    broker = multiprocessing.Process(target=_broker, args=(there, runs))
    broker.start()
    at = Broker(name="local", host="127.0.0.1", port=here.recv(), client_id="g")
    driver = MqttDriver(at, {"climate": MqttOptions(broker="local", topic="bench/climate", values=VALUES)})
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="fieldgate-driven-", dir=memory if memory.is_dir() else None) as folder:
        async with pipeline(Path(folder), linger_s=0.25, windows={"local": WINDOW}, max_count=65_536) as gateway:
            running = asyncio.create_task(driver.run(gateway.intake.emitter(driver.name, {"climate": "in"})))
            tally = gateway.intake.tallies["climate"]
            await until(lambda: bool(tally.up))
            for run in range(1, runs + 1):
                process_s, loop_s, commits = time.process_time(), time.thread_time(), gateway.journal.commits
                here.send(None)
                while tally.stored < run * NUMBER:
                    await asyncio.sleep(0.02)
                process_us = (time.process_time() - process_s) / NUMBER * 1e6
                loop_us = (time.thread_time() - loop_s) / NUMBER * 1e6
                print(f"{process_us:6.2f} us, loop {loop_us:6.2f} us, {gateway.journal.commits - commits} commits")
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    here.send(None)
    broker.join()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
