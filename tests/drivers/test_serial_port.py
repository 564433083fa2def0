"""Opening a port: its settings, its pins, who holds it, and what becomes of it when the adapter is unplugged.

A pseudo-terminal keeps baud rate, stop bits and HUPCL. It has no parity and no pins: for those the calls are looked at.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.pty_line import Line, feed

from drivers import port_holders, serial_port, streams
from drivers.api import Driver
from drivers.port_holders import holder
from drivers.port_paths import check_port, there_are
from drivers.serial_line import KIND, SerialLineOptions

HOLD = "import serial, sys; held = serial.Serial(sys.argv[1], exclusive=True); print('held', flush=True); input()"
CFLAG, SPEED = 2, 4


def options(line: Line | Path, **more: Any) -> Any:
    path = line.path if isinstance(line, Line) else line
    return msgspec.convert({"port": str(path), "format": "text", "values": {"n": {}}, **more}, SerialLineOptions)


def driver_on(line: Line | Path, **more: Any) -> Driver:
    assert KIND.driver
    return KIND.driver("scale", options(line, **more))


def numbers(collector: Collector) -> list[Any]:
    return [sample.records[0][2] for sample in collector.samples]


@pytest.mark.parametrize(
    ("table", "bits", "parity", "stopbits"),
    [
        ({"baud": 4_800, "bytesize": 7, "parity": "even"}, termios.CS7, termios.PARENB, 0),
        ({"baud": 4_800, "parity": "even"}, termios.CS8, termios.PARENB, 0),
        ({"baud": 4_800, "stopbits": 2}, termios.CS8, 0, termios.CSTOPB),
        ({"baud": 4_800, "parity": "odd"}, termios.CS8, termios.PARENB | termios.PARODD, 0),
        ({"baud": 4_800}, termios.CS8, 0, 0),
    ],
    ids=["7E1", "8E1", "8N2", "8O1", "8N1"],
)
def test_baud_parity_and_bits_are_those_of_the_configuration(
    table: dict[str, Any], bits: int, parity: int, stopbits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: opened again, a pseudo-terminal refuses what it does not keep, and is read all the same."""
    asked: list[list[Any]] = []
    plain = termios.tcsetattr

    def listening(fd: int, when: int, attributes: list[Any]) -> None:
        asked.append(list(attributes))
        plain(fd, when, attributes)

    monkeypatch.setattr(termios, "tcsetattr", listening)
    with Line() as line:
        for _ in range(2):
            closing = termios.tcgetattr(line.master)
            closing[CFLAG] |= termios.HUPCL  # as a serial port has it from the kernel
            plain(line.master, termios.TCSANOW, closing)
            asked.clear()
            port = serial_port.open_port(options(line, **table))
            kept = termios.tcgetattr(port.fileno())
            port.close()
            flags = asked[0][CFLAG]
            assert flags & termios.CSIZE == bits
            assert flags & (termios.PARENB | termios.PARODD) == parity
            assert flags & termios.CSTOPB == kept[CFLAG] & termios.CSTOPB == stopbits
            assert asked[0][SPEED] == kept[SPEED] == termios.B4800
            assert kept[CFLAG] & termios.HUPCL == 0


def test_a_real_port_that_refuses_its_settings_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits that are not kept matter to whatever is no pseudo-terminal."""
    monkeypatch.setattr(serial_port, "_PTS", ())
    with Line() as line:
        serial_port.open_port(options(line, bytesize=7, parity="even")).close()
        with pytest.raises(serial_port.DriverError, match=r"cannot be opened.*") as told:
            serial_port.open_port(options(line, bytesize=7, parity="even"))
        assert "parity" in told.value.cure


@pytest.mark.parametrize("dtr", ["on", "off", "keep"])
@pytest.mark.parametrize("rts", ["on", "off", "keep"])
def test_the_pins(dtr: str, rts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, bytes]] = []
    plain = fcntl.ioctl

    def listening(fd: int, request: int, argument: Any = 0, *more: Any) -> Any:
        if request in (termios.TIOCMBIS, termios.TIOCMBIC):
            calls.append((request, bytes(argument)))
            return 0
        return plain(fd, request, argument, *more)

    monkeypatch.setattr(fcntl, "ioctl", listening)
    with Line() as line:
        serial_port.open_port(options(line, dtr=dtr, rts=rts)).close()
    request = {"on": termios.TIOCMBIS, "off": termios.TIOCMBIC}
    pins = ((dtr, termios.TIOCM_DTR), (rts, termios.TIOCM_RTS))
    assert calls == [(request[set_to], pin.to_bytes(4, sys.byteorder)) for set_to, pin in pins if set_to != "keep"]


@contextlib.contextmanager
def held_by_another(line: Line) -> Iterator[int]:
    command = [sys.executable, "-c", HOLD, str(line.path)]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert program.stdout
        assert program.stdout.readline() == b"held\n"
        yield program.pid
    finally:
        program.communicate(b"\n")


async def test_a_port_that_is_held_names_who_holds_it() -> None:
    with Line() as line:
        line.let_go()  # this process is no holder then
        with held_by_another(line) as process:
            error = await failure(driver_on(line))
            comm = Path(f"/proc/{process}/comm").read_text().strip()
            assert error.what == f"{line.path} is in use by {comm} (process {process})"
            assert "serial-getty" in error.cure
            assert f"fuser -v {line.path}" in error.cure
        async with running(driver_on(line), collector := Collector()):  # and when it has let go
            await collector.up()


def test_a_holder_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "ttyS9"
    for name in ("1", "2", "self", "77"):
        (tmp_path / "proc" / name / "fd").mkdir(parents=True)
    (tmp_path / "proc" / "77" / "fd" / "3").write_bytes(b"")  # no link
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    assert holder(str(device), tmp_path / "proc") == "a process of another user"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert holder(str(device), tmp_path / "proc") == holder(str(device), tmp_path / "no") == "another program"
    for name in ("1", "2", "self"):
        (tmp_path / "proc" / name / "fd" / "5").symlink_to(device)
    (tmp_path / "proc" / "1" / "comm").write_text("ModemManager\n")
    found = holder(str(device), tmp_path / "proc")
    assert sorted(found.split(" and ")) == ["ModemManager (process 1)", "a program (process 2)"]


def test_the_search_for_a_holder_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in range(1, 9):
        (tmp_path / str(name) / "fd").mkdir(parents=True)
        (tmp_path / str(name) / "fd" / "0").symlink_to("/dev/ttyS9")
    assert holder("/dev/ttyS9", tmp_path).count("process") == port_holders.HOLDERS
    monkeypatch.setattr(port_holders, "HOLDER_S", -1.0)
    assert "process 1" not in holder("/dev/ttyS9", tmp_path)


async def test_re_enumeration_loses_no_line_that_had_arrived(tmp_path: Path) -> None:
    """Unplugged and plugged in again under another name, five times, behind the link that stays."""
    link, collector = tmp_path / "usb-scale-if00", Collector()
    sent: list[int] = []
    line = Line(link)
    async with running(driver_on(link), collector):
        for round_ in range(5):
            await until(lambda want=round_ + 1: sum(one.up for one in collector.links) == want)
            lines = range(len(sent), len(sent) + 50)
            await feed(line, b"rest\n" + b"".join(b"%d\n" % number for number in lines) + b"half a li")
            sent += lines
            await collector.count(len(sent))
            fresh = Line()
            assert fresh.path != link.readlink()
            line.close()
            if round_ % 2:  # away for a while
                await until(lambda: "is not there" in collector.links[-1].detail)
            link.unlink()
            link.symlink_to(fresh.path)
            line = fresh
        await until(lambda: collector.links[-1].up)
    line.close()
    assert numbers(collector) == sent
    assert {reject.reason for reject in collector.rejects} == {"partial_line"}
    assert len(collector.rejects) == 5


async def test_a_silent_port_that_was_unplugged_is_up_when_it_is_there_again(tmp_path: Path) -> None:
    link, collector = tmp_path / "usb-x", Collector()
    line = Line(link)
    async with running(driver_on(link, silence_s=0.1), collector):
        await until(lambda: len(collector.links) == 2)
        line.close()
        away = ("is gone", "is not there")  # while it was read, or while it was opened
        await until(lambda: any(what in one.detail for one in collector.links for what in away))
        with Line(link):
            await until(lambda: collector.links[-1].up or collector.links[-2].up)
    assert [one.up for one in collector.links][:2] == [True, False]
    assert "no byte" in collector.links[1].detail


async def test_a_port_that_is_away_is_looked_for_again_and_again_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once. A port that opens and is gone at once is not opened without end either."""
    link, collector, pauses, plain = tmp_path / "usb-x", Collector(), list[float](), asyncio.sleep

    async def counting(seconds: float) -> None:
        pauses.append(seconds)
        await plain(0 if seconds >= streams.AGAIN_S else seconds)

    monkeypatch.setattr(streams.asyncio, "sleep", counting)
    looked = [streams.AGAIN_S * 2**n for n in range(4)] + [streams.AGAIN_MOST_S] * 3
    async with running(driver_on(link), collector):
        await until(lambda: [pause for pause in pauses if pause >= streams.AGAIN_S][:7] == looked)
        assert [one.detail for one in collector.links] == [f"{link} is not there. Plug the device in, or correct port."]
        before = len(pauses)
        with Line(link):
            await until(lambda: collector.links[-1].up)
        await until(lambda: not collector.links[-1].up)
        assert streams.AGAIN_MOST_S in pauses[before:]  # it brought no byte
        with Line(link) as line:
            await until(lambda: collector.links[-1].up)
            before = len(pauses)
            await feed(line, b"\n1\n")
            await collector.count(1)
        await until(lambda: not collector.links[-1].up)
        assert streams.AGAIN_S in pauses[before:]


@contextlib.asynccontextmanager
async def socat(*addresses: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    if shutil.which("socat") is None:
        raise AssertionError("socat is missing: tests/tools.sh installs it")
    program = subprocess.Popen(["socat", *addresses], stderr=subprocess.DEVNULL)
    try:
        yield program
    finally:
        program.terminate()
        await asyncio.to_thread(program.wait)


async def _written(path: Path, data: bytes) -> None:
    def write() -> None:
        with path.open("wb", buffering=0) as device:
            device.write(data)

    await asyncio.to_thread(write)


async def test_a_pair_of_terminals_that_socat_joins(tmp_path: Path) -> None:
    """And is gone, and comes back under the same name."""
    device, port, collector = tmp_path / "device", tmp_path / "port", Collector()
    ends = [f"pty,raw,echo=0,link={device}", f"pty,raw,echo=0,link={port}"]
    async with running(driver_on(port, bytesize=7, parity="even"), collector):
        for number in range(2):
            async with socat(*ends):
                await until(lambda want=number + 1: sum(one.up for one in collector.links) == want)
                await _written(device, b"rest\r\n%d\r\n%d" % (2 * number, 2 * number + 1))
                await _written(device, b"\r\n")
                await collector.count(2 * number + 2)
            await until(lambda: not collector.links[-1].up)
    assert numbers(collector) == [0, 1, 2, 3]


async def test_a_serial_port_that_socat_serves_over_tcp(tmp_path: Path) -> None:
    """A serial server: the port is elsewhere, its bytes come by TCP."""
    collector = Collector()
    assert KIND.driver
    with Line() as line:
        line.let_go()
        async with socat("-d", "-d", "tcp-listen:0,bind=127.0.0.1", f"{line.path},raw,echo=0") as server:
            await until(lambda: _listening(server.pid))
            table = {"tcp": f"127.0.0.1:{_listening(server.pid)}", "format": "text", "values": {"n": {}}}
            async with running(KIND.driver("scale", msgspec.convert(table, SerialLineOptions)), collector):
                await collector.up()
                await feed(line, b"rest\n1\n2\n", chunk=1)
                await collector.count(2)
    assert numbers(collector) == [1, 2]


def _listening(pid: int) -> int:
    """The port on which a process listens; 0 where it does not yet."""
    sockets = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = row.split()
        if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
            return int(cells[1].rpartition(":")[2], 16)
    return 0


def _adapter(folder: Path, bare: str, serial_number: str | None) -> tuple[Path, Path]:
    """/dev/serial and /sys/class/tty as the kernel and udev make them for one adapter."""
    dev, usb = folder / "serial", folder / "devices" / "usb1" / "1-1.2"
    for kind, name in (("by-id", "usb-1a86_USB_Serial-if00-port0"), ("by-path", "platform-x-usb-0:1.2:1.0-port0")):
        (dev / kind).mkdir(parents=True)
        (dev / kind / name).symlink_to(bare)
    (usb / "1-1.2:1.0" / "tty0").mkdir(parents=True)
    (usb / "idVendor").write_text("1a86\n")
    if serial_number is not None:
        (usb / "serial").write_text(serial_number)
    (folder / "tty" / Path(bare).name).mkdir(parents=True)
    (folder / "tty" / Path(bare).name / "device").symlink_to(usb / "1-1.2:1.0" / "tty0")
    return dev, folder / "tty"


@pytest.mark.parametrize("serial_number", [None, "\n", "0001\n", "A50285BI\n"])
def test_an_adapter_without_a_serial_number_is_named_by_its_socket(serial_number: str | None, tmp_path: Path) -> None:
    """Clones of the CH340 all have one name in by-id, and so have many CP2102."""
    dev, ttys = _adapter(tmp_path, "/dev/ttyUSB7", serial_number)
    fault = check_port("/dev/ttyUSB7", dev, ttys)
    assert fault is not None
    if serial_number == "A50285BI\n":
        assert fault.endswith(f"Write {dev}/by-id/usb-1a86_USB_Serial-if00-port0")
    else:
        assert f"Write {dev}/by-path/platform-x-usb-0:1.2:1.0-port0 (the adapter has no serial number" in fault


def test_a_port_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    folder = tmp_path / "by-id"
    folder.mkdir()
    assert there_are(str(folder / "usb-x"), tmp_path) == "No serial adapter is plugged in"
    (folder / "usb-b").touch()
    (folder / "usb-a").touch()
    assert there_are(str(folder / "usb-x"), tmp_path) == f"{folder} has: usb-a, usb-b"
    for number in range(6):
        (folder / f"usb-c{number}").touch()
    assert there_are(str(folder / "usb-x"), tmp_path).endswith("usb-c3, ...")
    assert there_are("/dev/ttyS9", tmp_path) == there_are(str(tmp_path / "gone" / "x"), tmp_path / "other") == ""
