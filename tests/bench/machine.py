"""What the machine tells of a process, a connection and a disk, without asking the process: see ADR 0016."""

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE_S = 120.0
MIB = 1024 * 1024
SECTOR_BYTES = 512


def until(done: Callable[[], bool], what: str, *, every_s: float = 0.02, patience_s: float = PATIENCE_S) -> None:
    """Waits for something that has no event of its own."""
    deadline = time.monotonic() + patience_s
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {patience_s:.0f} s: {what}")
        time.sleep(every_s)


class Cpu:
    """CPU time that a process has used since this object was made, to the nanosecond, by thread."""

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._before = self._read()

    def _read(self) -> dict[str, int]:
        found = {}
        for task in self._tasks.iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                found[task.name] = int((task / "schedstat").read_text().split()[0])
        return found

    @property
    def seconds(self) -> float:
        return sum(spent - self._before.get(thread, 0) for thread, spent in self._read().items()) / 1e9


def memory_mib(pid: int, what: str = "VmRSS") -> float:
    """VmRSS now, or VmHWM, its highest so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / MIB
    raise RuntimeError(f"no {what} for process {pid}")


_INET_DIAG, _DUMP, _INFO, _ESTABLISHED, _TCP = 20, 0x301, 2, 1, 6
_BYTES_ACKED_AT = 120  # in struct tcp_info


def bytes_sent(port: int) -> int:
    """Bytes that arrived at the other end of the one TCP connection on this machine to `port`; 0 where there is none.

    The kernel's own count (inet_diag): neither end is asked, nor slowed.
    """
    request = struct.pack("=BBBBI", socket.AF_INET, _TCP, 1 << (_INFO - 1), 0, 1 << _ESTABLISHED) + bytes(48)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag:
        diag.settimeout(5)
        diag.send(struct.pack("=IHHII", 16 + len(request), _INET_DIAG, _DUMP, 1, 0) + request)
        while True:
            data = diag.recv(262_144)
            at = 0
            while at < len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                if kind != _INET_DIAG:
                    return 0
                if struct.unpack_from(">H", data, at + 16 + 6)[0] == port:
                    return _bytes_acked(data[at + 16 + 72 : at + size])
                at += size + 3 & ~3


def _bytes_acked(attributes: bytes) -> int:
    at = 0
    while at < len(attributes):
        size, kind = struct.unpack_from("=HH", attributes, at)
        if kind == _INFO:
            return int(struct.unpack_from("=Q", attributes, at + 4 + _BYTES_ACKED_AT)[0])
        at += size + 3 & ~3
    return 0


class Disk:
    """An ext4 file system in a file, on a block device of its own whose counters see nothing else."""

    def __init__(self, device: str, folder: Path) -> None:
        self.folder = folder
        self._stat = Path("/sys/block") / Path(device).name / "stat"

    def written(self) -> int:
        """Bytes written to the device so far; what waits in memory is written first."""
        subprocess.run(["sync", "-f", self.folder], check=True)
        return int(self._fields()[6]) * SECTOR_BYTES

    def flushes(self) -> int:
        """How often the device was told to flush so far. `written` tells it to as well."""
        return int(self._fields()[15])

    def _fields(self) -> list[str]:
        return self._stat.read_text().split()


def can_mount() -> bool:
    """Whether this user may make block devices of files."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists()


@contextlib.contextmanager
def disk(folder: Path, mib: int = 512) -> Iterator[Disk | None]:
    """A loop-mounted image, unmounted and detached whatever happens; None where this user may not mount."""
    if not can_mount():
        yield None
        return
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"  # or the kernel goes on writing for minutes
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "1024", "-E", lazy, image], check=True)
    find = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = find.stdout.strip()
    try:
        subprocess.run(["mount", "-t", "ext4", device, mounted], check=True)
        try:
            yield Disk(device, mounted)
        finally:
            subprocess.run(["umount", mounted], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()
