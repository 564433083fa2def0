"""An independent C2SP witness as a process: PyPI's aics-witness, installed outside the project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.broker import free_port
from fakes.field import Process

# It asks for Python 3.12 and runs on 3.11; what it depends on beside its own, cryptography, is here for the tests.
_INSTALL = ("install", "--quiet", "--no-deps", "--ignore-requires-python", "--disable-pip-version-check")
_PACKAGES = ("aics-witness==0.1.0", "aics-tlog==0.2.1")


def installed(folder: Path) -> Path:
    """The folder with its packages; the test is skipped where they cannot be had."""
    command = [sys.executable, "-m", "pip", *_INSTALL, "--target", str(folder), *_PACKAGES]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=90)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("aics-witness does not install here")
    return folder


class AicsWitness(Process):
    """One of it, with its key and its database in `folder`. packages: where `installed` put it."""

    def __init__(self, folder: Path, packages: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        super().__init__("witness", folder, sys.executable, "-m", "aics_witness", "serve")
        self.env = {**os.environ, "PYTHONPATH": str(packages)}
        listen = f"127.0.0.1:{self.port}"
        made = self.command_line("init", "--name", "witness.example/w1", "--listen", listen, "--prefix", "/prefix")
        self.vkey = next(word for word in made.split() if word.startswith("witness.example/w1+"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/prefix"

    def enrol(self, vkey: str) -> None:
        """It takes the log of that key from now on, or from its next start."""
        self.command_line("add-log", "--origin", vkey.split("+", maxsplit=1)[0], "--vkey", vkey)

    def command_line(self, *args: str) -> str:
        """What one of its commands prints."""
        command = [sys.executable, "-m", "aics_witness", *args]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr
