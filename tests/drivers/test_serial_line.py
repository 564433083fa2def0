"""The serial driver on real pseudo-terminals. They have no baud rate and no parity: neither is tested here."""

import asyncio
import fcntl
import itertools
import os
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
import serial
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.pty_line import Line, feed

from drivers import limits, streams
from drivers.api import Link
from drivers.limits import LINE_BYTES, PENDING_LINES
from drivers.port_paths import check_port
from drivers.serial_line import KIND, SerialLineOptions
from drivers.simulators import quay
from drivers.streams import StreamDriver

TIOCGEXCL = 0x80045440


def driver_on(line: Line | Path, **more: Any) -> StreamDriver:
    path = line.path if isinstance(line, Line) else line
    table = {"port": str(path), "format": "text", "values": {"n": {}}, **more}
    return KIND.driver("scale", msgspec.convert(table, SerialLineOptions))


def numbers(collector: Collector) -> list[Any]:
    return [sample.records[0][2] for sample in collector.samples]


def text(numbers: range) -> bytes:
    return b"".join(b"%d\r\n" % number for number in numbers)


async def test_lines_become_samples_in_order_and_the_first_partial_one_is_dropped() -> None:
    collector = Collector()
    with Line() as line:
        async with running(driver_on(line), collector):
            await collector.up()
            await feed(line, b"23\r\n" + text(range(200)), chunk=7)
            await collector.count(200)
    assert numbers(collector) == list(range(200))
    assert [(r.source, r.reason, r.example) for r in collector.rejects] == [("scale", "partial_line", b"23")]
    assert collector.samples[0].delivery is None
    assert collector.samples[0].payload == b"0"
    assert collector.links == [Link(True, f"reads {line.path}")]


async def test_after_a_silence_the_first_line_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_S", 0.05)
    collector, busy = Collector(), Collector()
    with Line() as line:
        async with running(driver_on(line, first_line="quiet"), collector):
            await collector.up()
            await asyncio.sleep(0.2)  # the silence itself is what is tested
            await feed(line, b"1\r\n2\r\n")
            await collector.count(2)
        async with running(driver_on(line, first_line="quiet"), busy):
            await busy.up()
            await feed(line, b"1\r\n2\r\n")
            await busy.count(1)
    assert numbers(collector) == [1, 2]
    assert numbers(busy) == [2]


async def test_an_unplug_and_the_same_path_again(tmp_path: Path) -> None:
    link = tmp_path / "usb-scale-if00"
    collector = Collector()
    line = Line(link)
    async with running(driver_on(link), collector):
        await collector.up()
        await feed(line, b"\n1\n2\nhal")
        await collector.count(2)
        line.close()
        await until(lambda: len(collector.links) == 3)
        with Line(link) as line:
            await until(lambda: len(collector.links) == 4)
            await feed(line, b"f\n3\n")
            await collector.count(3)
    assert numbers(collector) == [1, 2, 3]
    assert [link.up for link in collector.links] == [True, False, False, True]
    assert f"{link} is gone. Plug it in again" in collector.links[1].detail
    assert f"{link} is not there. Plug the device in" in collector.links[2].detail


async def test_a_port_has_one_reader() -> None:
    with Line() as line:
        collector = Collector()
        async with running(driver_on(line), collector):
            await collector.up()
            assert "in use by this gateway itself" in (await failure(driver_on(line))).what
            fd = os.open(line.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                assert struct.unpack("i", fcntl.ioctl(fd, TIOCGEXCL, b"\0\0\0\0"))[0] == 1
            finally:
                os.close(fd)
        with serial.Serial(str(line.path), exclusive=True):  # and none when the driver has let go
            pass


async def test_a_path_that_is_no_port(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "cannot be opened" in (await failure(driver_on(file))).what


async def test_what_does_not_fit_is_read_dropped_and_counted() -> None:
    """While nothing becomes durable the line is read on, frame by frame; rejects are told, and then it goes on."""
    collector, total = Collector(durable=False), 3 * PENDING_LINES

    def dropped() -> int:
        return sum(one.messages for one in collector.dropped)

    with Line() as line:
        async with running(driver_on(line), collector):
            await collector.up()
            await feed(line, b"\n" + text(range(total)) + b"wrong\n" + text(range(total, total + 100)) + b"12")
            await until(lambda: len(collector.samples) + dropped() == total + 100)
            kept = len(collector.samples)
            assert PENDING_LINES <= kept <= PENDING_LINES + limits.CHUNK_BYTES // 3
            assert [reject.reason for reject in collector.rejects] == ["wrong_type"]
            collector.commit()
            await feed(line, b"34\n5\n")
            await collector.count(kept + 2)
    assert numbers(collector) == [*range(kept), 1234, 5]
    assert {(one.source, one.reason) for one in collector.dropped} == {("scale", "no_room")}
    assert sum(one.messages for one in collector.dropped) == total + 100 - kept


async def test_a_line_that_is_dropped_is_not_read_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that writes without end must not keep the gateway from everything else while nothing can be stored."""
    collector, pauses = Collector(durable=False), list[float]()
    plain = asyncio.sleep

    async def counting(seconds: float) -> None:
        pauses.append(seconds)
        await plain(0)

    with Line() as line:
        async with running(driver_on(line), collector):
            await collector.up()
            await feed(line, b"\n" + text(range(PENDING_LINES * 2)))
            await until(lambda: collector.dropped)
            monkeypatch.setattr(streams.asyncio, "sleep", counting)
            before = len(collector.dropped)
            os.write(line.master, b"8\n" * 1_000)
            await until(lambda: sum(one.messages for one in collector.dropped[before:]) >= 1_000)
            monkeypatch.undo()
    assert pauses.count(streams.FULL_PAUSE_S) >= len(collector.dropped) - before - 1 > 0


async def test_a_stop_ends_nobody_elses_commit() -> None:
    collector = Collector(durable=False)
    with Line() as line:
        async with running(driver_on(line), collector) as task:
            await collector.up()
            await feed(line, b"\n1\n")
            await collector.count(1)
            waiting = collector.emit([collector.samples[0]])
            task.cancel()
            await asyncio.sleep(0)
            collector.commit()
        assert not waiting.cancelled()


async def test_overlong_lines_and_noise_harm_only_themselves() -> None:
    collector = Collector()
    with Line() as line:
        async with running(driver_on(line), collector):
            await collector.up()
            await feed(line, b"\n1\n" + b"9" * (LINE_BYTES * 20) + b"\n2\n\x00\x7f\x00\n\xff\xfe\n3\n")
            await collector.count(3)
    assert numbers(collector) == [1, 2, 3]
    assert [reject.reason for reject in collector.rejects] == ["too_long", "wrong_type"]


async def test_a_line_that_fell_silent_is_opened_again() -> None:
    collector = Collector()
    with Line() as line:
        async with running(driver_on(line, silence_s=0.1), collector):
            await until(lambda: len(collector.links) == 2)
            while not collector.samples:  # what comes while it is opened is flushed
                await feed(line, b"\n1\n")
                await asyncio.sleep(0.01)
    assert [link.up for link in collector.links[:3]] == [True, False, True]
    assert "no byte for 0.1 s" in collector.links[1].detail


async def test_fixed_frames_with_silences_between_them() -> None:
    collector = Collector()
    table = {"framing": "fixed", "length": 3, "gap_ms": 30}
    with Line() as line:
        async with running(driver_on(line, **table), collector):
            await collector.up()
            for data, samples, rejects in (
                (b"17", 0, 1),
                (b"018", 1, 1),
                (b"019020", 3, 1),
                (b"02", 3, 2),
                (b"021", 4, 2),
            ):
                await feed(line, data)
                await until(lambda want=(samples, rejects): (len(collector.samples), len(collector.rejects)) == want)
                await asyncio.sleep(0.1)  # the silence itself is what is tested
    assert numbers(collector) == [18, 19, 20, 21]


async def test_a_weighbridge() -> None:
    lines = list(itertools.islice(quay.weighbridge(), 50))
    table = {
        "format": "regex",
        "pattern": r"(?:ST|(?P<unstable>US)),GS,(?P<mass>[-+] *\d+)kg",
        "values": {"mass": {"unit": "kg"}},
    }
    collector = Collector()
    with Line() as line:
        async with running(driver_on(line, **table), collector):
            await collector.up()
            written: list[bytes] = []
            await quay.run(line, lines, every_s=0, on_written=written.append)
            await collector.count(len(written) - 1)
    assert [sample.payload + b"\r\n" for sample in collector.samples] == written[1:] == lines[1:]


@pytest.mark.parametrize("bare", ["/dev/ttyUSB0", "/dev/ttyUSB12", "/dev/ttyACM1"])
def test_a_bare_name_is_refused_with_its_stable_one(bare: str, tmp_path: Path) -> None:
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-FTDI_FT232R_A50285BI-if00-port0").symlink_to(bare)
    (tmp_path / "by-id" / "usb-other").symlink_to("/dev/ttyUSB99")
    fault = check_port(bare, tmp_path)
    assert fault is not None
    assert fault.endswith(f"Write {tmp_path}/by-id/usb-FTDI_FT232R_A50285BI-if00-port0")
    assert "by-path" in (check_port(bare, tmp_path / "none") or "")
    with pytest.raises(msgspec.ValidationError, match="may be another device"):
        msgspec.convert({"port": bare, "format": "text", "values": {"n": {}}}, SerialLineOptions)


@pytest.mark.parametrize("port", ["/dev/serial/by-id/usb-u-blox_7-if00", "/dev/ttyS0", "/dev/ttyAMA0", "/dev/serial0"])
def test_names_that_stay(port: str) -> None:
    assert check_port(port) is None


@pytest.mark.parametrize(
    "wrong",
    [{"port": "ttyUSB0"}, {"port": "/dev/a\nb"}, {"baud": 0}, {"bytesize": 9}, {"parity": "mark"}, {"stopbits": 3}],
)
def test_options_that_are_refused(wrong: dict[str, Any]) -> None:
    good = {"port": "/dev/ttyS0", "format": "text", "values": {"n": {}}}
    msgspec.convert(good, SerialLineOptions)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**good, **wrong}, SerialLineOptions)
