"""A file system of its own on a loop device, from which the power can be taken: what was not flushed is gone.

The cut is FS_IOC_SHUTDOWN without a flush of the log: from then on nothing reaches the device, neither data of the page
cache nor the file system's own journal, and every write and fsync fails. What a power cut does beyond that, such as
torn sectors or a device that lies about its cache, this does not show.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
_MAKE = {"ext4": (64, ("-q", "-F")), "xfs": (300, ("-q", "-f"))}
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Card:
    """`folder` is where it is mounted. Its image is a sparse file beside it. mib: its size, if not that of its kind."""

    def __init__(self, folder: Path, kind: str, *, mib: int = 0, more: tuple[str, ...] = ()) -> None:
        self.folder, self.kind, self._mib, self._more = folder, kind, mib, more
        self._image = folder.with_name(folder.name + ".img")
        self._mounted = False

    def __enter__(self) -> "Card":
        need_loop_devices()
        size, options = _MAKE[self.kind]
        self.folder.mkdir(parents=True)
        with self._image.open("xb") as file:
            file.truncate((self._mib or size) << 20)
        _run(f"mkfs.{self.kind}", *options, *self._more, str(self._image))
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            _run("umount", "--lazy", str(self.folder))
            self._mounted = False
        self._image.unlink(missing_ok=True)

    def cut(self) -> None:
        """The power goes. Whoever has files open must end before `again`."""
        cut(self.folder)

    def again(self) -> None:
        """The power comes back: unmounted, mounted, its log replayed."""
        _run("umount", str(self.folder))
        self._mounted = False
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.folder))
        self._mounted = True


def cut(folder: Path) -> None:
    """Takes the power from the file system that holds the folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    finally:
        os.close(fd)


def need_loop_devices() -> None:
    """Skips where a machine lacks what a mount needs."""
    if os.geteuid() != 0 or not os.access("/dev/loop-control", os.W_OK) or not _may_mount():
        pytest.skip("a file system cannot be mounted here: no root, no right to mount, or no loop devices")


def _may_mount() -> bool:
    """CAP_SYS_ADMIN, which a container's root may lack."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) >> 21 & 1)


def _run(*command: str) -> None:
    program = shutil.which(command[0], path=_SBIN)
    assert program, f"{command[0]} is not installed: tests/tools.sh"
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)
    if "unknown filesystem type" in done.stderr:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, (command, done.stdout, done.stderr)
