"""Indicators and sticks on real pseudo-terminals and real sockets. Neither has a parity: 7E1 is tested on bytes."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.collector import Collector, until
from fakes.driving import running
from fakes.pty_line import feed
from fakes.recordings import TICKET

from drivers import registry
from drivers.api import Driver, Sample
from drivers.scale import variants
from drivers.simulators import quay, scales, sticks

NOW = 1_795_500_000.0


def driver(name: str, **table: Any) -> Driver:
    kind = registry.kind(name)
    assert kind.driver is not None
    return kind.driver("s", msgspec.convert(table, kind.options), now=lambda: NOW)


def counted(collector: Collector) -> Counter[str]:
    return Counter(reject.reason for reject in collector.rejects)


def masses(samples: list[Sample]) -> list[Any]:
    return [value for sample in samples for name, _, value in sample.records if name == "mass"]


@pytest.mark.parametrize("variant", [str(table["variant"]) for table in variants()])
async def test_a_weighbridge_at_a_port(variant: str, tmp_path: Path) -> None:
    frames = list(itertools.islice(quay.weighbridge(7, variant), 41))
    at_rest = [frame for number, frame in enumerate(frames) if number % 10 in (3, 4, 5, 6, 8, 9)]
    checksum = {"checksum": True} if variant == "mt-continuous" else {}
    collector = Collector()
    with quay.Line(tmp_path / "usb-scale-if00") as line:
        async with running(driver("scale", port=str(line.path), variant=variant, **checksum), collector):
            await collector.up()
            await quay.run(line, frames, every_s=0)
            await until(lambda: len(collector.samples) + len(collector.rejects) == len(frames))
    written = [scales.FORMS[variant](True, int(mass)) for mass in masses(collector.samples)]
    assert written == at_rest
    assert all(sample.payload in frame for sample, frame in zip(collector.samples, at_rest, strict=True))
    assert all(sample.quality == 0 and sample.time is None for sample in collector.samples)
    begun = {} if variant in ("mt-continuous", "rinstrum") else {"partial_line": 1}  # STX tells where a frame begins
    assert counted(collector) == {"in_motion": 17 - len(begun), **begun}


async def test_a_connection_that_brings_one_byte_at_a_time() -> None:
    slips = b"".join(scales.FORMS["ticket"](True, mass) for mass in (0, 38_120, 12_040))

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"lf a line\r\n" + slips:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()
        await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    collector = Collector()
    try:
        async with running(driver("scale", tcp=f"{host}:{port}", variant="ticket", **TICKET), collector):
            await collector.count(3)
        await over.wait()
    finally:
        server.close()
    assert [sample.records[0] for sample in collector.samples] == [
        ("gross", "kg", mass) for mass in (0, 38_120, 12_040)
    ]
    assert collector.samples[1].payload.startswith(b"WEIGHBRIDGE 1\nGROSS    38120 kg\n")
    assert counted(collector) == {"partial_line": 1}


@pytest.mark.parametrize("form", sorted(sticks.FORMS))
async def test_a_drover_with_a_stick(form: str, tmp_path: Path) -> None:
    lines = list(itertools.islice(sticks.drover(5, form), 60))
    collector = Collector()
    with quay.Line(tmp_path / "usb-stick-if00") as line:
        async with running(driver("animal_tag", port=str(line.path)), collector):
            await collector.up()
            await feed(line, b">UP\r\nStick reader V2.08\r\n" + b"".join(lines), chunk=5)
            await until(lambda: len(collector.samples) + len(collector.rejects) == len(lines) + 2)
    first = list(dict.fromkeys(lines))
    assert [sample.payload for sample in collector.samples] == [line.strip(b"\x02\x03\r\n") for line in first]
    assert counted(collector) == {"partial_line": 1, "no_match": 1, "repeat": len(lines) - len(first)}
    name = "em4100" if form == "rdm630" else "tag"
    assert {sample.records[0][0] for sample in collector.samples} == {name}


async def test_a_tag_is_remembered_no_longer_than_the_port_is_open(tmp_path: Path) -> None:
    reader = driver("animal_tag", port=str(tmp_path / "usb-stick-if00"))
    for _ in range(2):
        collector = Collector()
        with quay.Line(tmp_path / "usb-stick-if00") as line:
            async with running(reader, collector):
                await collector.up()
                await feed(line, b"\r\n" + b"LA 982 000001088420\r\n" * 3)
                await until(lambda got=collector: len(got.rejects) == 2)
            assert len(collector.samples) == 1
            assert counted(collector) == {"repeat": 2}
