"""NMEA 0183 and AIS over what ships have: a serial line, UDP, TCP."""

import socket
from itertools import islice
from typing import Any

import msgspec
from fakes.collector import Collector, until
from fakes.driving import running
from fakes.pty_line import Line, feed

from drivers import registry
from drivers.api import Driver, Sample
from drivers.simulators import nmea, quay
from drivers.simulators.ais import tagged, traffic
from drivers.simulators.network import TcpLine, UdpLine

NOW = nmea.BEGIN.timestamp() + 30


def driver(name: str, **options: Any) -> Driver:
    kind = registry.kind(name)
    assert kind.driver is not None
    return kind.driver("ship", msgspec.convert(options, kind.options), now=lambda: NOW)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def values(sample: Sample) -> dict[str, Any]:
    return {name: value for name, _, value in sample.records}


async def test_a_bridge_on_a_serial_line() -> None:
    sentences = list(islice(nmea.bridge(), 2 + 15 * 12))
    collector = Collector()
    with Line() as line:
        async with running(driver("nmea0183", port=str(line.path)), collector):
            await collector.up()
            await feed(line, b"5.3,0.4*79\r\n" + b"".join(sentences), chunk=50)
            await collector.count(14 * 12 - 1)
    assert [(one.source, one.reason) for one in collector.rejects] == [
        *[("ship", "partial_line"), ("ship", "no_fix"), ("ship", "no_fix")],
        ("ship", "missing_value"),
    ]
    heard = [sample.payload + b"\r\n" for sample in collector.samples]
    assert heard == [one for one in sentences[2:] if b"GSA" not in one and b"SDDPT,," not in one]
    dated = {sample.payload[3:6]: sample.time for sample in collector.samples[:14]}
    assert dated[b"RMC"] == dated[b"ZDA"] == NOW - 29
    assert dated[b"GGA"] is None, "no date had come yet"
    second = {sample.payload[3:6]: sample.time for sample in collector.samples[14:28]}
    assert second[b"GGA"] == second[b"GLL"] == NOW - 28


async def test_the_quay_writes_and_a_bridge_is_read() -> None:
    collector, written = Collector(), list[bytes]()
    with quay.Line() as line:
        async with running(driver("nmea0183", port=str(line.path), sentences=["YXMTW"]), collector):
            await collector.up()
            await quay.run(line, islice(nmea.log(), 41), every_s=0, on_written=written.append)
            await collector.count(10)
    assert len(written) == 41
    assert {"water_temperature"} == {name for sample in collector.samples for name in values(sample)}


async def test_ships_by_udp_where_a_datagram_may_lack_its_line_end() -> None:
    port, collector = free_port(), Collector()
    lines = [tagged(one.rstrip(), c=int(NOW) - 3) for one in islice(traffic(), 22)]
    async with running(driver("ais", udp=f"127.0.0.1:{port}"), collector):
        await collector.up()
        with UdpLine("127.0.0.1", port) as line:
            for datagram in (*lines, b"\xff\xfe", lines[0] + b"\r\n" + lines[1]):
                assert line.write(datagram)
        await collector.count(23)
        await until(lambda: collector.rejects)
    assert [one.reason for one in collector.rejects] == ["noise"]
    assert {sample.source for sample in collector.samples} == {"ship"}
    assert {sample.time for sample in collector.samples} == {NOW - 3}
    named = [values(sample) for sample in collector.samples if b"\n" in sample.payload]
    assert [one["name"] for one in named] == ["ELBE TRADER"]


async def test_ships_by_tcp_and_their_positions_thinned() -> None:
    collector = Collector()
    async with (
        TcpLine() as line,
        running(driver("ais", tcp=line.address, min_interval_s=60), collector),
    ):
        await collector.up()
        await until(lambda: line.clients)
        for sentence in islice(traffic(), 44):
            line.write(sentence)
        await collector.count(9)
    heard = [(values(sample)["mmsi"], values(sample)["type"]) for sample in collector.samples]
    positions = [(2_444_000, 1), (211_999_000, 18), (211_234_560, 1)]
    assert sorted(heard) == sorted([*positions, *2 * [(211_234_560, 5)], *4 * [(211_999_000, 24)]])
    assert [one.reason for one in collector.rejects] == ["partial_line"], "a connection may begin within a line"


async def test_two_senders_are_two_streams() -> None:
    """The parts of a message from one are not joined with those from another."""
    port, collector = free_port(), Collector()
    first, second = (one for one in islice(traffic(), 22) if b"VDM,2," in one)
    async with running(driver("ais", udp=f"127.0.0.1:{port}"), collector):
        await collector.up()
        with UdpLine("127.0.0.1", port) as one, UdpLine("127.0.0.1", port, bind="127.0.0.2") as other:
            assert one.write(first)
            assert other.write(second)
        await until(lambda: collector.rejects)
    assert [one.reason for one in collector.rejects] == ["orphan_fragment"]
    assert collector.samples == []
