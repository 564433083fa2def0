"""pip-audit over the locks, in an environment of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deb.lock import LockError


def run(venv: Path, locks: Sequence[Path]) -> None:
    """Prints the holes that are known. LockError for a hole, and where the advisory service cannot be reached."""
    python = venv / "bin/python"
    if not python.exists():
        _do([sys.executable, "-m", "venv", str(venv)])
        _do([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip-audit>=2.9,<3"])
    options = ["--strict", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command = [str(python), "-m", "pip_audit", *options, *(f"--requirement={lock}" for lock in locks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise LockError(f"not audited: the advisory service, which is in the network, gave no answer: {last}")
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise LockError("there are known holes: run make lock once fixed versions are there")


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LockError(f"{' '.join(command[:4])}: {done.stderr.strip()[-300:]}")
