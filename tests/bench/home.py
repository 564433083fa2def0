"""A gateway as its user has it: a folder made by `fieldgate init`, and a process."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.machine import PATIENCE_S, until

CLI = (sys.executable, "-m", "gateway.cli")
TOPIC = "bench/climate"

MQTT = """
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
"""


def payload(number: int) -> bytes:
    """97 bytes of JSON with three values, another for each number."""
    values = f'"temperature":{20 + number % 100 / 10:.1f},"humidity":{50 + number % 90 / 10:.1f},"pressure":1013.2'
    head = f'{{{values},"serial":"'
    return f'{head}{number:0{95 - len(head)}d}"}}'.encode()


def fieldgate(*args: str, cwd: Path) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run([*CLI, *args], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"fieldgate {' '.join(args)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def _without(text: str, more: str) -> str:
    """A configuration without the tables that are in `more`."""
    tables = text.split("\n[")
    new = {table.partition("]")[0] for table in ("\n" + more).split("\n[")[1:]}
    return "\n[".join(table for at, table in enumerate(tables) if not at or table.partition("]")[0] not in new)


class Home:
    """A gateway's folder. `config` is what stands beside what `init` writes; data_dir may lie on another disk."""

    def __init__(self, folder: Path, config: str, *, data: Path | None = None) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.log = folder / "gateway.log"
        if not (folder / "fieldgate.toml").exists():
            folder.mkdir(parents=True, exist_ok=True)
            fieldgate("init", "--name", "bench.example", "--data-dir", str(self.data), cwd=folder)
            self.configure(f'{config}\n[web]\nlisten = "127.0.0.1:0"\n')

    def configure(self, more: str) -> None:
        """Adds to the configuration, in place of tables of the same kind."""
        path = self.folder / "fieldgate.toml"
        path.write_text(_without(path.read_text(), more) + more)

    @property
    def stored_bytes(self) -> int:
        """Of a gateway that does not run: its WAL is folded into the file."""
        return (self.data / "fieldgate.db").stat().st_size

    @contextmanager
    def started(self, *command: str) -> Iterator["Started"]:
        """The process, started and not yet up; ended in order, or killed where something went wrong."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(command or [*CLI, "run"], cwd=self.folder, stdout=log, stderr=log)
        try:
            yield Started(self, process)
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            raise RuntimeError(f"the gateway ended with {process.returncode}: {self.words()}")

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


class Started:
    """A gateway's process."""

    def __init__(self, home: Home, process: "subprocess.Popen[bytes]") -> None:
        self._home, self._process, self.pid = home, process, process.pid

    def up(self) -> None:
        """Returns when it answers on its control socket."""
        until(self._answers, f"a gateway that answers: {self._home.words()}", every_s=0.005)

    def _answers(self) -> bool:
        self.check()
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self._home.data / "control.sock")) == 0

    def check(self) -> None:
        """Raises where it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the gateway ended with {self._process.returncode}: {self._home.words()}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stored(self) -> int:
        """Readings of the source that are durable, as the gateway counts them."""
        told: dict[str, Any] = json.loads(fieldgate("status", "--json", cwd=self._home.folder))
        return int(told["sources"]["climate"]["stored"])
