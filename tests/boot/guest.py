"""A Debian with the package in a file, booted by qemu without help of the processor: slow, and as good as a machine.

The root file system is made once with mmdebstrap and kept under build/. Its second serial port and a USB adapter lead
to the host.
"""

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import debian_root
from fakes.debian_root import Debian

ROOT = Path(__file__).parents[2]
QEMU = "qemu-system-x86_64"
PATIENCE_S = 3_600.0
_MIB = 3_072
_KERNEL = "python3,systemd-sysv,udev,ca-certificates,dbus,linux-image-amd64,initramfs-tools,busybox"
# An initial RAM disk with what finds this disk and nothing else: it is unpacked by an emulated processor.
_MODULES = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d"; echo MODULES=list >"$1/etc/initramfs-tools/conf.d/fieldgate"; '
    'printf "virtio_pci\\nvirtio_blk\\next4\\n" >"$1/etc/initramfs-tools/modules"'
)
_UNIT = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I /srv/in_guest.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
[Install]
WantedBy=multi-user.target
"""
_PROBE = "[Service]\nExecStartPre=/usr/bin/python3 -I /srv/in_guest.py probe\n"
_PREPARE = """
dpkg --install --force-depends /srv/first.deb
python3 -I - <<'END'
import sys
sys.path.insert(0, "/srv")
import in_guest
in_guest.CONFIG.write_text(in_guest.CONFIG.read_text() + in_guest.SOURCE)
END
systemctl enable boot-checks.service
echo guest >/etc/hostname
"""


def need_qemu() -> None:
    """Skips where there is no emulator, or no way to make a file system of a folder."""
    if shutil.which(QEMU) is None or shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("qemu-system-x86_64 is not installed")


def bad(good: Path, folder: Path) -> Path:
    """The package of a newer version whose gateway ends at once, and whose judge waits a minute for it and not ten."""
    tree, made = folder / "bad", folder / "bad.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", good, tree], check=True)
    changes = {
        "DEBIAN/control": ("\nVersion: 99.1.0\n", "\nVersion: 99.2.0\n"),
        "usr/bin/fieldgate": ("import sys\n", 'import sys\n\nif sys.argv[1:2] == ["run"]:\n    sys.exit("no good")\n'),
        "usr/lib/fieldgate/upgrade.py": ("\nLONGEST_S = 600.0 ", "\nLONGEST_S = 60.0 "),
    }
    for name, (old, new) in changes.items():
        text = (tree / name).read_text()
        assert text.count(old) == 1, name
        (tree / name).write_text(text.replace(old, new))
    subprocess.run(["dpkg-deb", "-Zgzip", "--build", tree, made], check=True, capture_output=True)
    shutil.rmtree(tree)
    return made


def made(folder: Path, first: Path, following: Path) -> tuple[Path, Path, Path]:
    """The disk's image, the kernel and its initial RAM disk: the package is installed, and a gateway made by it."""
    wanted = ("--variant=minbase", f"--essential-hook={_MODULES}", f"--include={_KERNEL}")
    archive = debian_root.kept("bookworm", "amd64", *wanted)
    debian = Debian(folder / "root", archive)
    shutil.copy(first, debian.path("/srv/first.deb"))
    shutil.copy(following, debian.path("/srv/next.deb"))
    shutil.copy(bad(following, folder), debian.path("/srv"))
    shutil.copy(Path(__file__).with_name("in_guest.py"), debian.path("/srv"))
    debian.path("/etc/systemd/system/boot-checks.service").write_text(_UNIT)
    drop_in = debian.path("/etc/systemd/system/fieldgate.service.d")
    drop_in.mkdir()
    (drop_in / "probe.conf").write_text(_PROBE)
    debian.script(_PREPARE, FIELDGATE_NAME="guest.example")
    kernel, initrd = (next(iter(debian.path("/boot").glob(f"{name}-*"))) for name in ("vmlinuz", "initrd.img"))
    for path in (kernel, initrd):
        shutil.copy(path, folder / path.name)
    disk = folder / "disk.img"
    make = ["mke2fs", "-q", "-t", "ext4", "-d", str(debian.folder), str(disk), f"{_MIB}M"]
    subprocess.run(make, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}, capture_output=True)
    shutil.rmtree(debian.folder)
    return disk, folder / kernel.name, folder / initrd.name


@contextlib.contextmanager
def weighing(path: Path) -> Iterator[None]:
    """A scale at the guest's second serial port: a number a line, twice a second."""
    over = threading.Event()

    def send() -> None:
        number = 0
        while not over.wait(0.5):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                while not over.wait(0.5):
                    number += 1
                    sock.sendall(b"%d\r\n" % number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def boot(folder: Path, disk: Path, kernel: Path, initrd: Path) -> str:
    """Lets the guest run until it switches itself off; what it wrote to its console."""
    console, line = folder / "console.log", folder / "line.sock"
    command = [QEMU, "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-display", "none", "-no-reboot"]
    command += ["-nic", "none", "-kernel", str(kernel), "-initrd", str(initrd)]
    command += ["-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 loglevel=3"]
    command += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe", "-serial", f"file:{console}"]
    command += ["-serial", f"unix:{line},server,nowait"]
    adapter = "usb-serial,chardev=usb,always-plugged=on,serial=GUEST-1"
    command += ["-device", "qemu-xhci", "-chardev", "null,id=usb", "-device", adapter]
    with (folder / "qemu.log").open("wb") as log, weighing(line):
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait(qemu, console)
        finally:
            qemu.kill()
            qemu.wait()
    return console.read_text(errors="replace") if console.exists() else (folder / "qemu.log").read_text()


def _wait(qemu: "subprocess.Popen[bytes]", console: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while qemu.poll() is None and time.monotonic() < deadline:
        if console.exists() and b"\nDONE" in console.read_bytes():
            return
        time.sleep(0.5)
