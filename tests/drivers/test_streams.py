"""One source from any wire: a pseudo-terminal, a TCP connection, UDP datagrams; each of them well and badly behaved."""

import asyncio
import itertools
import os
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.bad_line import dribble
from fakes.collector import Collector, until
from fakes.driving import failure, running
from hypothesis import given
from hypothesis import strategies as st

from drivers import network, streams
from drivers.api import Driver, Link
from drivers.limits import EXAMPLE_BYTES, UDP_PEERS
from drivers.lines import LineOptions
from drivers.network import check_tcp, check_udp, clash
from drivers.serial_line import KIND, SerialLineOptions
from drivers.simulators import nmea, quay
from drivers.simulators.network import TcpLine, UdpLine

SENTENCES = {"format": "text", "checksum": "nmea", "values": {"sentence": {"type": "text"}}}
NUMBERS = {"format": "text", "values": {"n": {}}}
WIRES = ("port", "tcp", "udp")


def driver(**table: Any) -> Driver:
    assert KIND.driver
    return KIND.driver("line", msgspec.convert(table, SerialLineOptions))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def wire(kind: str, collector: Collector, **table: Any) -> AsyncIterator[Callable[[bytes], bool]]:
    """A driver that listens to a wire of that kind, and what writes to it."""
    if kind == "port":
        with quay.Line() as line:
            async with running(driver(port=str(line.path), **table), collector):
                await collector.up()
                yield line.write
    elif kind == "tcp":
        async with TcpLine() as served, running(driver(tcp=served.address, **table), collector):
            await until(lambda: served.clients)
            await collector.up()
            yield served.write
    else:
        port = free_port()
        async with running(driver(udp=f"127.0.0.1:{port}", **table), collector):
            await collector.up()
            with UdpLine("127.0.0.1", port) as sender:
                yield sender.write


def payloads(collector: Collector) -> list[bytes]:
    return [sample.payload for sample in collector.samples]


@pytest.mark.parametrize("kind", WIRES)
async def test_one_byte_at_a_time(kind: str) -> None:
    sentences = list(itertools.islice(nmea.log(), 24))
    collector = Collector()
    async with wire(kind, collector, **SENTENCES) as write:
        await dribble(write, b"\n" + b"".join(sentences), delay_s=0.003)
        await collector.count(24)
    assert payloads(collector) == [one.rstrip() for one in sentences]
    assert collector.rejects == []


@pytest.mark.parametrize("kind", WIRES)
async def test_bytes_that_are_lost_make_no_false_reading(kind: str) -> None:
    """Every sample is a sentence that was sent, in its order, and everything else is a reject."""
    sentences = [one.rstrip() for one in itertools.islice(nmea.log(2), 120)]
    sent = b"\n" + b"".join(one + b"\r\n" for one in sentences)
    collector, end = Collector(), nmea.sentence("GPEND")
    async with wire(kind, collector, **SENTENCES) as write:
        await dribble(write, sent, seed=11, loss=0.003, most=40 if kind == "udp" else 1, delay_s=0.003)
        write(b"\n" + end)
        await until(lambda: payloads(collector)[-1:] == [end.rstrip()])
    heard = payloads(collector)[:-1]
    places = iter(sentences)
    assert all(one in places for one in heard)
    assert 20 < len(heard) < 120
    assert {reject.reason for reject in collector.rejects} <= {"checksum", "partial_line"}
    assert len(heard) + len(collector.rejects) >= 110  # a lost line end makes one of two


@pytest.mark.parametrize("kind", WIRES)
async def test_a_frame_in_five_reads_and_two_in_one(kind: str) -> None:
    collector = Collector()
    table = {**NUMBERS, "framing": "marked", "gap_ms": 1_000}
    async with wire(kind, collector, **table) as write:
        for piece in (b"\x02", b"1", b"2", b"3", b"\x03"):
            write(piece)
            await asyncio.sleep(0.005)  # so that each is a read of its own
        await collector.count(1)
        write(b"\x024\x03\r\n\x025\x03\x026")
        await collector.count(3)
        write(b"\x03")
        await collector.count(4)
    assert [sample.records[0][2] for sample in collector.samples] == [123, 4, 5, 6]


async def test_garbage_without_a_delimiter_is_bounded_in_memory() -> None:
    collector, block = Collector(), bytes(range(14, 256)) * 1_000
    async with TcpLine() as served, asyncio.timeout(30), running(driver(tcp=served.address, **NUMBERS), collector):
        await until(lambda: served.clients)
        served.write(b"\n" + block)
        await until(lambda: collector.rejects)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        try:
            for _ in range(8):
                served.write(block)
                await until(lambda: not served.clients[0].transport.get_write_buffer_size())
            served.write(b"\n7\n")
            await collector.count(1)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [reject.reason for reject in collector.rejects] == ["too_long"]
    assert len(collector.rejects[0].example) == EXAMPLE_BYTES
    assert most - before < 1_000_000 < 8 * len(block)


async def test_a_server_that_hangs_up_is_connected_to_again() -> None:
    collector = Collector()
    async with TcpLine() as served:
        read = driver(tcp=served.address, **NUMBERS)
        for number, reset in enumerate((False, True)):
            task = asyncio.create_task(failure(read, collector))
            await until(lambda: served.clients)
            served.write(b"half\n%d\n" % number)
            await collector.count(number + 1)
            served.hang_up(reset=reset)
            error = await task
            assert ("the connection is lost" if reset else "has closed the connection") in error.what
            assert served.address in error.what
            assert error.cure
    assert [sample.records[0][2] for sample in collector.samples] == [0, 1]
    assert [reject.reason for reject in collector.rejects] == ["partial_line"] * 2
    assert collector.links[0] == Link(True, f"reads {served.address}")
    assert "nothing listens at" in (await failure(read)).what


async def test_what_an_end_of_the_connection_leaves_is_told() -> None:
    collector = Collector()
    table = {"framing": "fixed", "start": "S", "length": 3, "gap_ms": 10_000, **NUMBERS}
    async with TcpLine() as served:
        task = asyncio.create_task(failure(driver(tcp=served.address, **table), collector))
        await until(lambda: served.clients)
        served.write(b"S12S1")
        await until(lambda: collector.rejects)
        served.hang_up()
        await task
    assert [(one.reason, one.example) for one in collector.rejects][1:] == [("partial_line", b"S1")]


async def test_a_name_without_an_address() -> None:
    assert "the name nowhere.invalid has no address" in (await failure(driver(tcp="nowhere.invalid:1", **NUMBERS))).what


async def test_a_host_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full backlog answers no SYN; and one that hangs longer than the deadline is let go of when it comes."""
    monkeypatch.setattr(network, "CONNECT_S", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with socket.create_connection(deaf.getsockname()), socket.socket() as more:
            more.setblocking(False)
            more.connect_ex(deaf.getsockname())
            assert f"{address} does not answer" in (await failure(driver(tcp=address, **NUMBERS))).what
            monkeypatch.setattr(streams, "OPEN_S", 0.05)
            error = await failure(driver(tcp=address, **NUMBERS))
            assert f"{address} does not open within" in error.what


async def test_keepalive_notices_a_peer_that_vanished() -> None:
    async with TcpLine() as served:
        opened = await asyncio.to_thread(network.open_tcp, served.address)
        sock = socket.socket(fileno=os.dup(opened.fileno()))
        try:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option, _ in network.KEEPALIVE] == [30, 10, 3]
        finally:
            sock.close()
            opened.close()


async def test_a_silent_server_is_connected_to_anew_and_is_down_until_it_speaks() -> None:
    collector, connections = Collector(), list[object]()
    async with (
        TcpLine() as served,
        running(driver(tcp=served.address, silence_s=0.15, **NUMBERS), collector),
    ):
        await until(lambda: len(collector.links) == 2)
        connections += served.clients
        await until(lambda: served.clients and served.clients[-1] not in connections)
        assert len(collector.links) == 2
        while not collector.samples:
            served.write(b"\n1\n")
            await asyncio.sleep(0.01)
    assert [link.up for link in collector.links[:3]] == [True, False, True]
    assert "no byte for 0.15 s" in collector.links[1].detail


async def test_a_silent_sender_of_datagrams_is_down_until_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the socket stays: while it was opened anew, nobody would hear."""
    collector, opened, plain = Collector(), list[str](), streams.open_udp

    def counting(address: str) -> network.UdpWire:
        opened.append(address)
        return plain(address)

    monkeypatch.setattr(streams, "open_udp", counting)
    async with wire("udp", collector, silence_s=0.1, **NUMBERS) as write:
        await until(lambda: len(collector.links) == 2)
        write(b"1\n")
        await collector.count(1)
        await until(lambda: len(collector.links) == 4)
    assert [link.up for link in collector.links] == [True, False, True, False]
    assert len(opened) == 1


async def test_datagrams_begin_with_a_line_and_those_of_two_senders_do_not_mix() -> None:
    collector, port = Collector(), free_port()
    async with running(driver(udp=f"0.0.0.0:{port}", **NUMBERS), collector):
        await collector.up()
        with UdpLine("127.0.0.1", port) as one, UdpLine("127.0.0.1", port, bind="127.0.0.2") as two:
            one.write(b"1\n2")
            two.write(b"7")
            one.write(b"3\n")
            two.write(b"8\n9\n")
            await collector.count(4)
        with UdpLine("127.255.255.255", port) as broadcast:
            broadcast.write(b"4\n")
            await collector.count(5)
    assert [sample.records[0][2] for sample in collector.samples] == [1, 23, 78, 9, 4]
    assert collector.rejects == []


async def test_senders_beyond_the_limit_take_the_place_of_those_heard_longest_ago() -> None:
    collector, port = Collector(), free_port()
    half, whole = b"1", b"2\n"

    def say(sender: int, data: bytes) -> None:
        with UdpLine("127.0.0.1", port, bind=f"127.0.1.{sender + 1}") as line:
            assert line.write(data)

    async with running(driver(udp=f"127.0.0.1:{port}", **NUMBERS), collector):
        await collector.up()
        for sender in range(UDP_PEERS):
            say(sender, half)
        say(0, b"")  # an empty datagram is nothing, and yet a sign of life
        say(UDP_PEERS, half)
        say(0, whole)
        say(1, whole)
        await collector.count(2)
    assert [sample.records[0][2] for sample in collector.samples] == [12, 2]


async def test_datagrams_that_the_kernel_had_no_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "UDP_BUFFER_BYTES", 4_096)
    collector = Collector()
    async with wire("udp", collector, **NUMBERS) as write:
        for sent in (500, 1_000):
            for _ in range(499):  # nobody reads meanwhile
                assert write(b"1\n")
            await asyncio.sleep(0.05)  # until all that had room is read
            write(b"%d\n" % sent)
            await until(lambda want=sent: collector.samples and collector.samples[-1].records[0][2] == want)
            assert len(collector.samples) + sum(one.messages for one in collector.dropped) == sent
    assert len(collector.dropped) == 2
    assert {(one.source, one.reason) for one in collector.dropped} == {("line", "no_room")}


async def test_a_port_of_this_computer_has_one_listener() -> None:
    collector, port = Collector(), free_port()
    async with running(driver(udp=f"127.0.0.1:{port}", **NUMBERS), collector):
        await collector.up()
        error = await failure(driver(udp=f"0.0.0.0:{port}", **NUMBERS))
    assert f"UDP port {port} is in use" in error.what
    assert "ss -ulpn" in error.cure
    assert "no address of this computer" in (await failure(driver(udp=f"192.0.2.1:{port}", **NUMBERS))).what


async def test_the_first_line_of_a_quiet_server_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_S", 0.05)
    collector = Collector()
    async with wire("tcp", collector, first_line="quiet", **NUMBERS) as write:
        await asyncio.sleep(0.2)  # the silence itself is what is tested
        write(b"1\n")
        await collector.count(1)
    assert collector.rejects == []


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_a_weighbridge_over_the_network(kind: str) -> None:
    lines = list(itertools.islice(quay.weighbridge(), 200))
    collector, written = Collector(), list[bytes]()
    table = {
        "format": "regex",
        "pattern": r"(?:ST|(?P<unstable>US)),GS,(?P<mass>[-+] *\d+)kg",
        "values": {"mass": {"unit": "kg"}},
    }

    class Line:
        write: Callable[[bytes], bool]

    async with wire(kind, collector, **table) as write:
        line = Line()
        line.write = write
        await quay.run(line, lines, every_s=0, on_written=written.append)
        await collector.count(len(lines) - (kind == "tcp"))
    assert written == lines
    assert [sample.payload + b"\r\n" for sample in collector.samples] == lines[kind == "tcp" :]
    assert all(sample.records[0][:2] == ("mass", "kg") for sample in collector.samples)


async def test_a_stop_lets_go_of_the_connection_and_of_the_port() -> None:
    collector, port = Collector(), free_port()
    async with TcpLine() as served:
        async with running(driver(tcp=served.address, **NUMBERS), collector):
            await until(lambda: served.clients)
            await collector.up()
        await until(lambda: not served.clients)
    again = Collector()
    for _ in range(2):
        async with running(driver(udp=f"127.0.0.1:{port}", **NUMBERS), again):
            await until(lambda: again.links)
        again.items.clear()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "port is missing"),
        ({"port": "/dev/ttyS0", "tcp": "a:1"}, "tcp stands beside port"),
        ({"tcp": "a:1", "udp": "0.0.0.0:1"}, "udp stands beside tcp"),
        ({"tcp": "a"}, "tcp is no host:port"),
        ({"tcp": "a:0"}, "tcp is no host:port"),
        ({"tcp": "a:65536"}, "tcp is no host:port"),
        ({"tcp": "tcp://a:1"}, "tcp is no host:port"),
        ({"tcp": "u@a:1"}, "tcp is no host:port"),
        ({"udp": "localhost:1"}, "udp is no address:port"),
        ({"udp": ":10110"}, "udp is no address:port"),
        ({"port": "/dev/ttyUSB0"}, "may be another device"),
    ],
)
def test_where_a_stream_comes_from(table: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({**table, **NUMBERS}, SerialLineOptions)


@pytest.mark.parametrize("address", ["a.example:4001", "192.168.1.2:1", "[fd00::7]:65535", "moxa-3:950"])
def test_addresses_that_are_some(address: str) -> None:
    assert check_tcp(address) is None
    assert (check_udp(address) is None) is address[0].isdecimal() or address.startswith("[")


@given(st.text(max_size=40) | st.text(".:[]0123456789abcx/@%", max_size=20))
def test_any_text_is_an_address_or_has_a_fault(text: str) -> None:
    for check in (check_tcp, check_udp):
        fault = check(text)
        assert fault is None or text in fault
    assert check_udp(text) is not None or check_tcp(text) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "[::]:1", True),
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("0.0.0.0:1", "0.0.0.0:2", False),
    ],
)
def test_which_addresses_are_of_one_socket(one: str, other: str, same: bool) -> None:
    assert clash(one, other) is clash(other, one) is same


def test_every_wire_is_named_in_the_options_of_a_line() -> None:
    """What LineOptions and StreamOptions have, SerialLineOptions has, with the same defaults."""
    ours = {one.name: one for one in msgspec.structs.fields(SerialLineOptions)}
    for base in (streams.StreamOptions, LineOptions):
        for one in msgspec.structs.fields(base):
            assert (ours[one.name].type, ours[one.name].default) == (one.type, one.default)


def test_a_port_path_of_a_recorded_file_is_enough() -> None:
    assert msgspec.convert({**KIND.recorded, **NUMBERS}, SerialLineOptions).port == "/dev/null"
    assert Path(str(KIND.recorded["port"])).exists()
