"""A software TPM on loopback: what tests of sealed keys talk to. It has no resource manager, as a bare /dev/tpm0."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fakes.broker import free_port

PATIENCE_S = 20.0


class Swtpm:
    """One TPM; its state survives `stop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _free_pair()
        self._process: subprocess.Popen[bytes] | None = None
        self.tcti = f"swtpm:host=127.0.0.1,port={self._port}"

    @property
    def env(self) -> dict[str, str]:
        """What leads a command to it."""
        return {"TPM2TOOLS_TCTI": self.tcti}

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        server = f"type=tcp,port={self._port},bindaddr=127.0.0.1"
        control = f"type=tcp,port={self._port + 1},bindaddr=127.0.0.1"  # where the tools look for it
        words = ["--tpmstate", f"dir={self._folder}", "--server", server, "--ctrl", control]
        self._process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", *words, "--flags", "not-need-init,startup-clear"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_S
        while self.tool("tpm2_getcap", "properties-fixed", check=False).returncode:
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        """As at a power cut, after an orderly shutdown of the TPM."""
        if self._process is not None:
            self.tool("tpm2_shutdown", check=False)
            self._process.kill()
            self._process.wait()
            self._process = None

    def tool(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        """A tool of its own on it, from its folder."""
        env = {"PATH": "/usr/bin:/bin", **self.env}
        return subprocess.run(words, env=env, cwd=self._folder, capture_output=True, check=check, timeout=PATIENCE_S)


def _free_pair() -> int:
    """A port that is free with the next one."""
    while True:
        port = free_port()
        with socket.socket() as one, suppress(OSError, OverflowError):
            one.bind(("127.0.0.1", port + 1))
            return port


@contextmanager
def swtpm(folder: Path) -> Iterator[Swtpm]:
    """Runs for as long as it is looked at. Skips where it is not installed."""
    if not (shutil.which("swtpm") and shutil.which("tpm2_unseal")):
        pytest.skip("swtpm is not installed")
    made = Swtpm(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
