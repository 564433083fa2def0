"""A rate held for a minute: CPU, what reaches the block device, and how long a PUBLISH waits for its PUBACK.

The gateway's data lies on an ext4 image on a loop device of its own: the device's counters are read before and after,
and what the mounted image writes by itself when idle is taken off. The publisher's side is `paced_broker`, a process
of its own, which keeps to the window and takes the time of each PUBACK as it arrives.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench import machine
from bench.home import MQTT, Home, Started
from bench.run import WINDOW, Run

SCRIPT = Path(__file__).with_name("paced_broker.py")


def one(run: Run) -> dict[str, float]:
    return _steady(run, "steady1", 1, WINDOW)


def two_hundred(run: Run) -> dict[str, float]:
    return _steady(run, "steady200", 200, WINDOW)


def two_hundred_with_defaults(run: Run) -> dict[str, float]:
    return _steady(run, "steady200w20", 200, 20)


def thousand(run: Run) -> dict[str, float]:
    return _steady(run, "steady1000", 1_000, WINDOW)


class Pacer:
    """The broker's process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.port = int(self.line())

    def line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the paced broker ended")
        return line

    def result(self) -> dict[str, Any]:
        """What it measured, when it is done."""
        while not (line := self.line()).startswith("{"):
            pass
        found: dict[str, Any] = json.loads(line)
        return found

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@contextmanager
def paced(rate: float, seconds: float, window: int, *, warming_s: float = 0) -> Iterator[Pacer]:
    command = [sys.executable, str(SCRIPT), *map(str, (rate, warming_s, seconds, window))]
    folders = os.pathsep.join(str(folder) for folder in SCRIPT.parents[1:3])
    environment = {**os.environ, "PYTHONPATH": folders}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        with process:
            try:
                yield Pacer(process)
            finally:
                process.kill()
    finally:
        process.wait()


def _steady(run: Run, name: str, rate: float, window: int) -> dict[str, float]:
    warming_s, seconds = run.scale.warm_s, run.scale.steady_s
    messages = max(round(rate * seconds), 1)
    with machine.disk(run.folder) as disk, paced(rate, seconds, window, warming_s=warming_s) as pacer:
        data = disk.folder / "data" if disk else run.folder / "data"
        home = Home(run.folder / "gateway", MQTT.format(port=pacer.port, window=window), data=data)
        empty = home.stored_bytes
        idle = _idle(disk, run.scale.idle_s)
        with home.started() as gateway:
            gateway.up()
            figures = _measured(gateway, pacer, disk, idle, messages)
        kept = (home.stored_bytes - empty) / (messages + rate * warming_s)
    return {f"{name}.{figure}": value for figure, value in {**figures, "disk_bytes": kept}.items()}


def _measured(
    gateway: Started, pacer: Pacer, disk: machine.Disk | None, idle: float, messages: int
) -> dict[str, float]:
    """`idle`: bytes a second that the disk takes without us."""
    pacer.line()  # warm
    written, flushes = (disk.written(), disk.flushes()) if disk else (0, 0)
    cpu, began = machine.Cpu(gateway.pid), time.monotonic()
    pacer.go()
    pacer.line()  # ended
    cpu_s, took = cpu.seconds, time.monotonic() - began
    figures = {"cpu_pct": cpu_s / took * 100}
    if disk:
        figures["fsyncs_per_s"] = (disk.flushes() - flushes) / took
        figures["device_bytes"] = (disk.written() - written - idle * took) / messages
    waits = sorted(pacer.result()["waits_s"])
    cuts = quantiles(waits, n=100) if len(waits) > 1 else waits * 99
    longest = {"ack_p50_ms": cuts[49], "ack_p99_ms": cuts[98], "ack_max_ms": waits[-1]}
    return figures | {name: wait_s * 1000 for name, wait_s in longest.items()}


def _idle(disk: machine.Disk | None, seconds: float) -> float:
    """Bytes a second on a mounted image that nobody uses."""
    if disk is None:
        return 0.0
    before, began = disk.written(), time.monotonic()
    time.sleep(seconds)
    return (disk.written() - before) / (time.monotonic() - began)
