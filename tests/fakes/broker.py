"""A private mosquitto on a free loopback port, with its own folder.

Its calls block for some 10 ms: from a coroutine use `asyncio.to_thread`.
"""

import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_S = 10.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Mosquitto:
    """`stop` lets it save its sessions, `kill` does not; `start` after either keeps folder and port.

    password: (user, password), else anonymous. tls: (ca_file, cert_file, key_file) of a server, else plain TCP.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_inflight: int = 20,
        password: tuple[str, str] | None = None,
        tls: tuple[Path, Path, Path] | None = None,
        extra: str = "",
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"{'mqtts' if tls else 'mqtt'}://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"user {getpass.getuser()}",
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if password else 'true'}",
            "persistence true",
            f"persistence_location {folder}/",
            f"max_inflight_messages {max_inflight}",
            "max_queued_messages 0",
            "set_tcp_nodelay true",
        ]
        if password:
            self.set_password(*password)
            lines.append(f"password_file {self._passwords}")
        if tls:
            lines += [f"cafile {tls[0]}", f"certfile {tls[1]}", f"keyfile {tls[2]}"]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, extra, ""]))

    @property
    def _passwords(self) -> Path:
        return self.folder / "passwords"

    def set_password(self, user: str, password: str) -> None:
        """From the next start on."""
        self._passwords.touch(mode=0o600)
        command = ["mosquitto_passwd", "-b", self._passwords, user, password]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        assert self._process is None
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                raise RuntimeError(f"mosquitto ended: {self.log}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise RuntimeError(f"mosquitto does not listen: {self.log}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile it is stopped: connections open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
