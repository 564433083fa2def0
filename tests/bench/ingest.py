"""What a reading costs from PUBLISH to PUBACK: one broker's backlog drained by the gateway, and by `mosquitto_sub`.

97 bytes of JSON with three values, QoS 1, durable before each PUBACK, window 1,000. Both have their session, connect to
a broker that is stopped, and have nothing left to do when it may go on: that moment begins the time, and the last
PUBACK at the broker ends it. Neither is asked anything meanwhile. They go first in turn.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.home import MQTT, TOPIC, Home, payload
from bench.machine import PATIENCE_S, Cpu, bytes_sent, memory_mib, until
from bench.run import WINDOW, Run
from fakes.broker import Mosquitto

PUBACK_BYTES = 4
SUBSCRIBE_BYTES = 2 + 2 + 2 + len(TOPIC) + 1
CONFIG = "\n[seal]\nmax_age_s = 3600\n" + MQTT


def run(run: Run) -> dict[str, float]:
    with backlog(run.folder / "broker", run.scale.messages, ("gateway", "reference")) as broker:
        sides = [_gateway, _mosquitto_sub]
        taken = {side: side(broker, run) for side in (sides if run.number % 2 == 0 else sides[::-1])}
    (our_cpu_s, our_s, load_mib), (sub_cpu_s, sub_s, _) = taken[_gateway], taken[_mosquitto_sub]
    messages = run.scale.messages - run.scale.tail
    return {
        "ingest.cpu_us": our_cpu_s / messages * 1e6,
        "ingest.per_s": messages / our_s,
        "ingest.sub_cpu_us": sub_cpu_s / messages * 1e6,
        "ingest.sub_per_s": messages / sub_s,
        "ingest.ratio": sub_s / our_s,
        "ingest.cpu_ratio": our_cpu_s / sub_cpu_s,
        "rss.load_mib": load_mib,
    }


@contextlib.contextmanager
def backlog(folder: Path, messages: int, clients: tuple[str, ...]) -> Iterator[Mosquitto]:
    """A broker that holds so many messages for the session of each of these clients."""
    with Mosquitto(folder, max_inflight=WINDOW) as broker:
        for client in clients:
            _client(broker, "mosquitto_sub", "-c", "-i", client, "-E")
        _client(broker, "mosquitto_pub", "-l", given=b"".join(payload(number) + b"\n" for number in range(messages)))
        yield broker


def _command(broker: Mosquitto, tool: str, *args: str) -> list[str]:
    return [tool, "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", TOPIC, *args]


def _client(broker: Mosquitto, tool: str, *args: str, given: bytes = b"") -> None:
    subprocess.run(_command(broker, tool, *args), input=given, check=True, timeout=PATIENCE_S)


class Drain:
    """One client's draining of a backlog: made while the broker is held, `wait` when it is let go."""

    def __init__(self, broker: Mosquitto, pid: int, run: Run) -> None:
        self._port = broker.port
        until(lambda: bytes_sent(self._port) > 1, "a CONNECT")
        time.sleep(run.scale.settle_s)
        self._sent = bytes_sent(self._port)
        self._cpu = Cpu(pid)
        self._began = time.monotonic()

    def wait(self, messages: int) -> tuple[float, float]:
        """(CPU, wall) seconds until the broker has the last PUBACK."""
        wanted = self._sent + SUBSCRIBE_BYTES + messages * PUBACK_BYTES
        until(lambda: bytes_sent(self._port) >= wanted, f"{messages} PUBACKs", every_s=0.005)
        return self._cpu.seconds, time.monotonic() - self._began


def _mosquitto_sub(broker: Mosquitto, run: Run) -> tuple[float, float, float]:
    command = _command(broker, "mosquitto_sub", "-c", "-i", "reference")
    with broker.held():
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            drain = Drain(broker, process.pid, run)
        except BaseException:
            process.kill()
            raise
    try:
        return *drain.wait(run.scale.messages - run.scale.tail), memory_mib(process.pid, "VmHWM")
    finally:
        process.terminate()
        process.wait()


def _gateway(broker: Mosquitto, run: Run) -> tuple[float, float, float]:
    home = Home(run.folder / "gateway", CONFIG.format(port=broker.port, window=WINDOW))
    with contextlib.ExitStack() as stack:
        with broker.held():
            gateway = stack.enter_context(home.started())
            gateway.up()
            drain = Drain(broker, gateway.pid, run)
        taken = drain.wait(run.scale.messages - run.scale.tail)
        drain.wait(run.scale.messages)
        stored = gateway.stored()
        if stored != run.scale.messages:
            raise RuntimeError(f"{stored} of {run.scale.messages} messages were stored")
        return *taken, memory_mib(gateway.pid, "VmHWM")
