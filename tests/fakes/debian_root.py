"""A fresh Debian in a folder: made once with mmdebstrap and kept under build/, then unpacked for each test.

What runs in it has no network but its own loopback, and its own mounts and processes: when it ends, nothing is left.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/roots"
PATIENCE_S = 600.0
INSIDE = "python3,systemd-sysv,udev,ca-certificates,mosquitto,mosquitto-clients,sudo"
_ENTER = """\
ip link set lo up
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp" && chmod 1777 "$1/tmp"
root=$1; shift
exec chroot "$root" "$@"
"""


def mirror() -> str:
    """Where this machine takes Debian's packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        found = []
    if not found or os.geteuid() or not shutil.which("mmdebstrap") or not shutil.which("unshare"):
        pytest.skip("no Debian root file system can be made here")
    return found[0]


def kept(suite: str, arch: str, *options: str) -> Path:
    """The archive of a root file system, made where it is not there yet."""
    mark = hashlib.sha256(" ".join(options).encode()).hexdigest()[:8]
    path, source = KEPT / f"{suite}-{arch}-{mark}.tar", mirror()
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        command = ["mmdebstrap", f"--architectures={arch}", "--format=tar", *options, suite, str(part), source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        part.rename(path)
    return path


class Debian:
    """A root file system in `folder`."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-xpf", archive, "-C", folder, "--exclude=./dev/*"], check=True)
        for name in ("dev", "proc", "tmp"):
            (folder / name).mkdir(exist_ok=True)
        for name, minor in (("null", 3), ("zero", 5), ("urandom", 9), ("random", 8), ("full", 7)):
            os.mknod(folder / "dev" / name, 0o20666, os.makedev(1, minor))
            (folder / "dev" / name).chmod(0o666)

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """What a command says, on both channels; an AssertionError with it where it fails."""
        code, said = self.tried(*command, env=env)
        assert code == 0, f"{' '.join(command)}: {code}\n{said}"
        return said

    def tried(self, *command: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
        """The exit code, and what it said."""
        enter = [
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--ipc",
            "--fork",
            "--kill-child",
            "sh",
            "-ec",
            _ENTER,
            "enter",
        ]
        done = subprocess.run(
            [*enter, str(self.folder), *command],
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
                **(env or {}),
            },
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout

    def script(self, text: str, **env: str) -> str:
        """The same of a script in sh."""
        return self.run("bash", "-euc", text, env=env)

    def path(self, inside: str) -> Path:
        """Where a path of it lies outside."""
        return self.folder / inside.lstrip("/")
