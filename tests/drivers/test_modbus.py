"""Modbus over real TCP and real pseudo-terminals: devices that answer, and those that do not as they should."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.broker import free_port
from fakes.collector import Collector, until
from fakes.driving import failure, running
from fakes.pty_line import Line

from drivers import registry
from drivers.api import OUT_OF_RANGE, Link
from drivers.limits import EXAMPLE_BYTES, MODBUS_FRAME_BYTES
from drivers.polls import PollDriver
from drivers.simulators.modbus import Slave, Slaves, damaged, in_pieces, nothing

TEMP = {"register": 1, "type": "int16", "scale": 0.1, "unit": "Cel", "sentinels": [0x8000]}
FLOW = {"register": 2, "type": "float32", "unit": "m3/s"}


def slave(temp: int = 215, **more: Any) -> Slave:
    high, low = struct.unpack(">HH", struct.pack(">f", 23.5))
    return Slave(holding={0: temp & 0xFFFF, 1: high, 2: low}, **more)


def build(kind: str, **tables: dict[str, Any]) -> PollDriver:
    every = {"numbering": "one", "values": {"temp": TEMP, "flow": FLOW}, "every_s": 0.05, "timeout_s": 0.2}
    options = registry.options_type(kind)
    made = {name: (kind, msgspec.convert({**every, **table}, options)) for name, table in tables.items()}
    (driver,) = registry.build(made, {})
    assert isinstance(driver, PollDriver)
    return driver


async def built(kind: str, **tables: dict[str, Any]) -> PollDriver:
    """Whether two ports are one is asked of the file system, as the gateway does before it starts."""
    return await asyncio.to_thread(build, kind, **tables)


@asynccontextmanager
async def tcp(slaves: Slaves, **tables: dict[str, Any]) -> AsyncIterator[Collector]:
    collector = Collector()
    async with slaves.listening() as port:
        address = f"127.0.0.1:{port}"
        driver = await built("modbus_tcp", **{name: {"tcp": address, **table} for name, table in tables.items()})
        async with running(driver, collector):
            yield collector


@asynccontextmanager
async def rtu(slaves: Slaves, before: bytes = b"", **tables: dict[str, Any]) -> AsyncIterator[Collector]:
    collector = Collector()
    with Line() as line:
        driver = await built(
            "modbus_rtu", **{name: {"port": str(line.path), **table} for name, table in tables.items()}
        )
        async with slaves.on(line, before), running(driver, collector):
            yield collector


async def test_registers_over_tcp_and_what_was_on_the_wire() -> None:
    device = slave(-52)
    async with tcp(Slaves({7: device}), tank={"slave": 7}) as collector:
        await collector.count(3)
    sample = collector.samples[0]
    assert sample.source == "tank"
    assert sample.records == [("temp", "Cel", -5.2), ("flow", "m3/s", 23.5)]
    assert sample.payload == b"\x03\x06" + struct.pack(">hf", -52, 23.5)
    assert (sample.time, sample.quality) == (None, 0)
    assert collector.links == [Link(True, collector.links[0].detail, ("tank",))]
    assert set(device.asked) == {(3, 0, 3)}, "what touches is read at once"


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
async def test_pymodbus_understands_what_is_asked_and_is_understood(framing: str) -> None:
    """Its server is written by others; a pseudo-terminal, and RTU frames through a plain serial server."""
    from pymodbus.framer import FramerType
    from pymodbus.server import ModbusSerialServer, ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    device = SimDevice(
        5, [SimData(0, values=[215, *struct.unpack(">HH", struct.pack(">f", 23.5))], datatype=DataType.REGISTERS)]
    )
    collector = Collector()
    if framing == "rtu":
        port = free_port()
        server: Any = ModbusTcpServer([device], framer=FramerType.RTU, address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        driver = await built("modbus_tcp", tank={"tcp": f"127.0.0.1:{port}", "slave": 5, "framing": "rtu"})
        async with running(driver, collector):
            await collector.count(2)
        await server.shutdown()
    else:
        with Pair() as (ours, theirs):
            server = ModbusSerialServer([device], framer=FramerType.ASCII, port=str(theirs))
            await server.serve_forever(background=True)
            driver = await built("modbus_rtu", tank={"port": str(ours), "slave": 5, "framing": "ascii", "bytesize": 7})
            async with running(driver, collector):
                await collector.count(2)
            await server.shutdown()
    assert collector.samples[0].records == [("temp", "Cel", 21.5), ("flow", "m3/s", 23.5)]
    assert collector.rejects == []


class Pair:
    """Two pseudo-terminals joined by socat."""

    def __enter__(self) -> tuple[Path, Path]:
        import subprocess
        import tempfile
        import time

        self._folder = tempfile.TemporaryDirectory()
        ends = Path(self._folder.name) / "a", Path(self._folder.name) / "b"
        self._process = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)])
        deadline = time.monotonic() + 10
        while not all(end.exists() for end in ends):
            assert time.monotonic() < deadline, "socat makes no pair"
            time.sleep(0.01)
        return ends

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


async def test_rtu_in_two_pieces_and_with_noise_ahead() -> None:
    for device, before in ((slave(change=in_pieces), b""), (slave(), b"\x00\x05\xff")):
        async with rtu(Slaves({5: device}), before, tank={"slave": 5}) as collector:
            await collector.count(2)
        assert collector.samples[0].records == [("temp", "Cel", 21.5), ("flow", "m3/s", 23.5)]
        assert collector.rejects == []


async def test_a_sentinel_is_no_value() -> None:
    async with tcp(Slaves({1: slave(-0x8000)}), tank={}) as collector:
        await collector.count(1)
    assert collector.samples[0].records == [("flow", "m3/s", 23.5)]
    assert collector.samples[0].quality == OUT_OF_RANGE


async def test_an_exception_has_its_name_and_a_cure_and_the_rest_is_read() -> None:
    values = {"temp": TEMP, "far": {"register": 101, "type": "uint16"}}
    async with tcp(Slaves({1: slave()}), tank={"values": values}) as collector:
        await collector.count(1)
        await until(lambda: collector.rejects)
    assert collector.samples[0].records == [("temp", "Cel", 21.5)]
    reject = collector.rejects[0]
    assert (reject.source, reject.reason, reject.example) == ("tank", "illegal_data_address", b"\x83\x02")
    assert "addresses 100 to 100" in reject.detail
    assert [link.up for link in collector.links] == [False]
    assert "illegal_data_address (exception 2)" in collector.links[0].detail
    assert "check register, numbering" in collector.links[0].detail


async def test_a_wrong_crc_is_counted_and_the_question_put_again() -> None:
    device = slave()

    def once(frame: bytes) -> Sequence[bytes]:
        device.change = in_pieces
        return damaged(frame)

    device.change = once
    async with rtu(Slaves({5: device}), tank={"slave": 5}) as collector:
        await collector.count(1)
    assert [reject.reason for reject in collector.rejects] == ["checksum"]
    assert [link.up for link in collector.links] == [True]


async def test_an_answer_of_another_length_and_one_that_cannot_be_read_are_no_answers() -> None:
    device = slave()
    for answer, reason in ((b"\x03\x02\x00\x01", "wrong_length"), (b"\x63\x01\x02", "wrong_length"), (b"\x03", None)):
        device.answer = lambda pdu, answer=answer: answer  # type: ignore[method-assign,misc]
        async with tcp(Slaves({1: device}), tank={"retries": 0}) as collector:
            await until(lambda: collector.links)
        assert not collector.samples
        assert not collector.links[0].up
        assert reason is None or {reject.reason for reject in collector.rejects} == {reason}


async def test_a_device_that_babbles_is_held_to_a_frame() -> None:
    device = slave(change=lambda frame: [b"\x05\x03\xff" * 300] * 20)
    async with rtu(Slaves({5: device}), tank={"slave": 5, "retries": 0}) as collector:
        await until(lambda: collector.rejects)
    assert {reject.reason for reject in collector.rejects} == {"checksum"}
    assert all(0 < len(reject.example) <= EXAMPLE_BYTES < MODBUS_FRAME_BYTES for reject in collector.rejects)


async def test_a_dead_slave_is_told_and_a_revived_one_too() -> None:
    device, away = slave(), slave(change=nothing)
    async with rtu(
        Slaves({5: device, 6: away}), live={"slave": 5}, dead={"slave": 6, "retries": 0, "timeout_s": 0.05}
    ) as collector:
        await until(lambda: any(link.sources == ("dead",) for link in collector.links))
        await collector.count(20)
        away.change = in_pieces
        await until(lambda: any(sample.source == "dead" for sample in collector.samples))
    states = [(link.sources, link.up) for link in collector.links]
    assert states == [(("live",), True), (("dead",), False), (("dead",), True)]
    assert "slave 6: no answer within 0.05 s. Check its power" in collector.links[1].detail
    assert not collector.rejects


async def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    """RTU answers carry no number: what comes after its time must not be the answer to the next question."""
    device = slave()
    late: list[bytes] = []

    def hold(frame: bytes) -> list[bytes]:
        late.append(frame)
        return late[:-1]  # always the answer to the question before

    device.change = hold
    other = {"register": 3, "type": "uint16"}
    tables = {"a": {"slave": 5, "values": {"temp": TEMP}}, "b": {"slave": 5, "values": {"x": other}}}
    async with rtu(
        Slaves({5: device}), **{name: {**table, "retries": 0} for name, table in tables.items()}
    ) as collector:
        await until(lambda: len(device.asked) >= 6)
    assert device.holding[2] != 215
    assert not [one for one in collector.samples if one.records[0][2] == 21.5 and one.source == "b"]


async def test_a_connection_that_was_closed_is_made_anew_without_a_word() -> None:
    device = slave()
    collector = Collector()
    async with Slaves({1: device}).listening() as port:
        driver = await built("modbus_tcp", tank={"tcp": f"127.0.0.1:{port}"})
        async with running(driver, collector):
            await collector.count(1)
            for _ in range(3):
                before = len(collector.samples)
                driver._bus._line._wire._sock.shutdown(2)
                await collector.count(before + 2)
    assert [link.up for link in collector.links] == [True]


async def test_a_connection_on_which_nothing_is_heard_is_made_anew() -> None:
    """As behind a serial server that was restarted, or whose client table is full."""
    answering = Slaves({1: slave()})
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await reader.read()  # to its end, without a word
        else:
            head = await reader.readexactly(12)
            answer = answering.slaves[1].answer(head[7:])
            writer.write(head[:4] + (len(answer) + 1).to_bytes(2, "big") + head[6:7] + answer)
            await reader.read()
        writer.close()

    collector = Collector()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    driver = await built("modbus_tcp", tank={"tcp": address, "timeout_s": 0.05, "retries": 2})
    async with running(driver, collector):
        await collector.count(1)
    server.close()
    await server.wait_closed()
    assert connections == 2


async def test_the_payload_is_every_answer_in_turn() -> None:
    values = {"temp": TEMP, "on": {"register": 3, "kind": "coil"}}
    async with tcp(Slaves({1: slave(coils={2: True})}), tank={"values": values}) as collector:
        await collector.count(1)
    assert collector.samples[0].records == [("temp", "Cel", 21.5), ("on", None, True)]
    assert collector.samples[0].payload == b"\x01\x01\x01" + b"\x03\x02\x00\xd7"


async def test_an_adapter_that_hears_itself() -> None:
    """In ASCII a question looks like an answer: both have a checksum of their own."""
    collector = Collector()

    async def serve(line: Line) -> None:
        heard = b""
        while True:
            with suppress(BlockingIOError):
                heard += os.read(line.master, 256)
            while b"\n" in heard:
                question, _, heard = heard.partition(b"\n")
                answer = bytes.fromhex("05 03 06 00d7 41bc 0000")
                line.write(question + b"\n")
                line.write(b":" + (answer + bytes([-sum(answer) & 0xFF])).hex().upper().encode() + b"\r\n")
            await asyncio.sleep(0.002)

    with Line() as line:
        driver = await built("modbus_rtu", tank={"port": str(line.path), "slave": 5, "framing": "ascii"})
        task = asyncio.create_task(serve(line))
        async with running(driver, collector):
            await collector.count(2)
        task.cancel()
    assert collector.samples[0].records == [("temp", "Cel", 21.5), ("flow", "m3/s", 23.5)]
    assert collector.rejects == []


async def test_an_address_where_nobody_listens_and_a_port_that_is_gone() -> None:
    error = await failure(await built("modbus_tcp", tank={"tcp": f"127.0.0.1:{free_port()}"}))
    assert "nothing listens" in error.what
    assert error.cure
    collector = Collector()
    with Line() as line:
        driver = await built("modbus_rtu", tank={"port": str(line.path), "slave": 5})
        async with Slaves({5: slave()}).on(line):
            task = asyncio.create_task(failure(driver, collector))
            await collector.count(1)
        line.close()
        assert "is gone" in (await task).what


async def test_a_port_has_one_reader() -> None:
    with Line() as line:
        collector = Collector()
        async with running(await built("modbus_rtu", tank={"port": str(line.path), "slave": 5}), collector):
            await until(lambda: collector.links)
            error = await failure(await built("modbus_rtu", other={"port": str(line.path), "slave": 5}))
            assert "in use" in error.what


def test_sources_of_a_port_are_one_driver_and_agree_on_it(tmp_path: Path) -> None:
    link = tmp_path / "usb"
    link.symlink_to("/dev/ttyS0")
    other = build("modbus_rtu", b={"port": str(link), "slave": 2}).sources["b"]
    driver = build("modbus_rtu", a={"port": "/dev/ttyS0", "slave": 1}, b={"port": "/dev/ttyS0", "slave": 2})
    assert list(driver.sources) == ["a", "b"]
    assert driver.name == "modbus_rtu-a"
    with pytest.raises(registry.Misfit, match="source b: baud is 19200, and source a on the same bus has 9600"):
        build("modbus_rtu", a={"port": "/dev/ttyS0", "slave": 1}, b={"port": "/dev/ttyS0", "slave": 2, "baud": 19200})
    with pytest.raises(registry.Misfit, match="name it in the same way"):
        registry.build({name: ("modbus_rtu", one) for name, one in {**driver.sources, "b": other}.items()}, {})
    options = msgspec.convert(
        {"port": "/dev/ttyS0", "format": "text", "values": {"n": {}}}, registry.options_type("serial_line")
    )
    with pytest.raises(registry.Misfit, match=r"read by source . already"):
        registry.build({"a": ("modbus_rtu", driver.sources["a"]), "c": ("serial_line", options)}, {})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"bytesize": 7}, "speaks ASCII"),
        ({"values": {}}, "name 1 to"),
        ({"slave": 0}, "slave"),
        ({"port": "/dev/ttyUSB0"}, "another device after an unplug"),
    ],
)
def test_what_cannot_be(table: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        build("modbus_rtu", tank={"port": "/dev/ttyS0", "slave": 1, **table})
