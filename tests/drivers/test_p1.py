"""P1 telegrams over a serial line and TCP."""

from itertools import islice

import msgspec
from fakes.collector import Collector, until
from fakes.driving import running
from fakes.pty_line import Line, feed

from drivers import p1, registry
from drivers.api import Driver
from drivers.simulators.network import TcpLine
from drivers.simulators.p1 import BEGIN, meter, old_meter

NOW = BEGIN.timestamp() + 5


def driver(**options: object) -> Driver:
    kind = registry.kind("p1")
    assert kind.driver is not None
    return kind.driver("barn", msgspec.convert(options, p1.P1Options), now=lambda: NOW)


async def test_a_meter_on_a_serial_line() -> None:
    first, *telegrams = islice(meter(), 4)
    collector = Collector()
    with Line() as line:
        async with running(driver(port=str(line.path)), collector):
            await collector.up()
            await feed(line, first[333:] + b"".join(telegrams), chunk=50)
            await collector.count(9)
    assert [one.reason for one in collector.rejects] == ["partial_line"]
    assert [one.payload for one in collector.samples[::3]] == [one.rstrip() for one in telegrams]
    assert [one.time for one in collector.samples[::3]] == [NOW - 4, NOW - 3, NOW - 2]
    assert {one.source for one in collector.samples} == {"barn"}
    assert [one.records[0][0] for one in collector.samples[1:3]] == ["gas", "water"]


async def test_an_older_meter_behind_a_serial_server() -> None:
    collector = Collector()
    async with TcpLine() as line, running(driver(tcp=line.address), collector):
        await collector.up()
        await until(lambda: line.clients)
        for telegram in islice(old_meter(), 3):
            line.write(telegram)
        await collector.count(6)
    assert collector.rejects == []
    assert {one.time for one in collector.samples} == {None}
