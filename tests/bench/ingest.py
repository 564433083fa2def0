"""What a reading costs from PUBLISH to PUBACK: a real broker's backlog drained by the gateway, and by `mosquitto_sub`.

97 bytes of JSON with three values, QoS 1, durable before each PUBACK, broker window 1,000. The gateway's CPU is that of
its whole process from the moment the broker may answer until the last reading is durable.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fakes.broker import Mosquitto

MESSAGES = 20_000
WINDOW = 1_000
TOPIC = "bench/climate"
PATIENCE_S = 120.0
_TICK = os.sysconf("SC_CLK_TCK")


def payload(number: int) -> bytes:
    """97 bytes of JSON, another for each number."""
    values = f'"temperature":{20 + number % 100 / 10:.1f},"humidity":{50 + number % 90 / 10:.1f},"pressure":1013.2'
    head = f'{{{values},"serial":"'
    return f'{head}{number:0{95 - len(head)}d}"}}'.encode()


def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder:
        broker = Mosquitto(Path(folder) / "broker", max_inflight=WINDOW)
        broker.start()
        try:
            for client in ("gateway", "reference"):
                _subscribe(broker, client)
            _publish(broker)
            sub_cpu_s, sub_s = _mosquitto_sub(broker)
            our_cpu_s, our_s = _gateway(broker, Path(folder))
        finally:
            broker.stop()
    return {
        "ingest.cpu_us": our_cpu_s / MESSAGES * 1e6,
        "ingest.sub_cpu_us": sub_cpu_s / MESSAGES * 1e6,
        "ingest.cpu_ratio": our_cpu_s / sub_cpu_s,
        "ingest.per_s": MESSAGES / our_s,
        "ingest.sub_per_s": MESSAGES / sub_s,
        "ingest.ratio": sub_s / our_s,
    }


def _client(broker: Mosquitto, tool: str, *args: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [tool, "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", TOPIC, *args]
    return subprocess.run(command, check=True, timeout=PATIENCE_S, **options)  # type: ignore[call-overload]


def _subscribe(broker: Mosquitto, client: str) -> None:
    """Makes a persistent session with the subscription, and leaves."""
    _client(broker, "mosquitto_sub", "-c", "-i", client, "-E")


def _publish(broker: Mosquitto) -> None:
    lines = b"".join(payload(number) + b"\n" for number in range(MESSAGES))
    _client(broker, "mosquitto_pub", "-l", input=lines)


def _mosquitto_sub(broker: Mosquitto) -> tuple[float, float]:
    """CPU and wall seconds of the C client for the same backlog."""
    before, began = os.times(), time.monotonic()
    _client(broker, "mosquitto_sub", "-c", "-i", "reference", "-C", str(MESSAGES), stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.monotonic() - began


def _gateway(broker: Mosquitto, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of a gateway for the backlog; the broker holds its breath until the gateway is up."""
    home = folder / "gateway"
    home.mkdir()
    fieldgate = [sys.executable, "-m", "gateway.cli"]
    init = ["init", "--name", "bench.example", "--data-dir", "data"]
    subprocess.run([*fieldgate, *init], cwd=home, check=True, stdout=subprocess.DEVNULL)
    with (home / "fieldgate.toml").open("a") as file:
        file.write(_CONFIG.format(port=broker.port, window=WINDOW))
    with broker.held(), (home / "log").open("wb") as log:
        process = subprocess.Popen([*fieldgate, "run"], cwd=home, stdout=log, stderr=log)
        _until((home / "data" / "control.sock").exists, process)
        time.sleep(1.0)
        before, began = _cpu_s(process.pid), time.monotonic()
    try:
        _until(lambda: _stored(home / "data" / "fieldgate.db") >= MESSAGES, process)
        spent, took = _cpu_s(process.pid) - before, time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    return spent, took


_CONFIG = """
[seal]
max_age_s = 3600
[broker.local]
url = "mqtt://127.0.0.1:{port}"
client_id = "gateway"
window = {window}
[source.climate]
driver = "mqtt"
broker = "local"
topic = "bench/climate"
[source.climate.values]
temp = {{ pointer = "/temperature", unit = "Cel" }}
rh = {{ pointer = "/humidity", unit = "%RH" }}
pressure = {{ pointer = "/pressure" }}
[web]
listen = "127.0.0.1:0"
"""


def _until(done: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if process.poll() is not None:
            raise SystemExit(f"the gateway ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise SystemExit("the gateway did not get there")
        time.sleep(0.02)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _stored(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as con:
        (count,) = con.execute("SELECT coalesce(sum(count),0) FROM journal").fetchone()
    return int(count) - 1  # beside the gateway's own "start"
