import asyncio
import itertools
import json
from pathlib import Path

import msgspec
from fakes.broker import Mosquitto
from fakes.collector import Collector, until
from fakes.driving import running

from drivers.codecs.text import nmea_checksum_fits
from drivers.codecs.values import ValueMap
from drivers.mqtt import Broker, MqttDriver, MqttOptions
from drivers.serial_line import KIND, SerialLineOptions
from drivers.simulators import henhouse, nmea, quay, sticks


def test_they_say_the_same_for_a_seed() -> None:
    for make in (henhouse.messages, nmea.log, quay.weighbridge, sticks.drover):
        first, again, other = (list(itertools.islice(make(seed), 30)) for seed in (3, 3, 4))
        assert first == again != other


def test_the_ships_log_has_valid_checksums() -> None:
    for sentence in itertools.islice(nmea.log(), 4000):
        assert sentence.endswith(b"\r\n")
        assert len(sentence) <= 82
        assert nmea_checksum_fits(sentence.rstrip())


async def test_the_hen_house_reaches_a_gateway_and_waits_for_a_broker_that_is_away(mosquitto: Mosquitto) -> None:
    values = {name: ValueMap(pointer=f"/{name}") for name in ("n", "temperature", "humidity", "co2")}
    sources = {
        "climate": MqttOptions(broker="local", topic=henhouse.CLIMATE_TOPIC, values=values),
        "feed": MqttOptions(broker="local", topic=henhouse.FEED_TOPIC, values={"mass": ValueMap(pointer="/silo/mass")}),
    }
    broker = Broker(name="local", host="127.0.0.1", port=mosquitto.port, client_id="gateway")
    collector, published = Collector(), list[bytes]()
    async with running(MqttDriver(broker, sources), collector):
        await collector.up()
        await henhouse.run(
            "127.0.0.1", mosquitto.port, every_s=0, most=25, on_published=lambda _, body: published.append(body)
        )
        await collector.count(25)
    assert [sample.payload for sample in collector.samples] == published
    assert [json.loads(body)["n"] for body in published] == list(range(25))
    assert [sample.source for sample in collector.samples].count("feed") == 2

    await asyncio.to_thread(mosquitto.stop)
    late = asyncio.create_task(henhouse.run("127.0.0.1", mosquitto.port, most=1))
    await asyncio.sleep(0.05)
    assert not late.done()
    await asyncio.to_thread(mosquitto.start)
    await late


async def test_the_quay_writes_to_a_terminal_that_a_gateway_reads(tmp_path: Path) -> None:
    sentences = list(itertools.islice(nmea.log(), 41))
    options = {
        "format": "regex",
        "checksum": "nmea",
        "pattern": r"\$YXMTW,(?P<water>[\d.]+),C\*..|\$SDDBT,[\d.]+,f,(?P<depth>[\d.]+),M,.*|(?P<other>\$(GP|WI).*)",
        "values": {
            "water": {"optional": True},
            "depth": {"optional": True},
            "other": {"optional": True, "type": "text"},
        },
    }
    collector, written = Collector(), list[bytes]()
    with quay.Line(tmp_path / "usb-ship-if00") as line:
        driver = KIND.driver("ship", msgspec.convert({"port": str(line.path), **options}, SerialLineOptions))
        async with running(driver, collector):
            await collector.up()
            await quay.run(line, sentences, every_s=0, on_written=written.append)
            await collector.count(40)
    assert written == sentences
    assert [sample.payload for sample in collector.samples] == [one.rstrip() for one in sentences[1:]]


async def test_a_line_that_nobody_reads_loses_and_says_so() -> None:
    with quay.Line() as line:
        assert line.write(b"x" * 100)
        await until(lambda: not line.write(b"y" * 4000))
    line.close()


async def test_a_hen_house_that_is_cancelled_ends_whatever_it_waits_for(mosquitto: Mosquitto) -> None:
    """On Python 3.11 asyncio.wait_for forgets a cancellation that comes together with what it waited for."""
    for number in range(40):
        published = asyncio.Event()
        sends = asyncio.create_task(
            henhouse.run("127.0.0.1", mosquitto.port, every_s=0, on_published=lambda *_, told=published: told.set())
        )
        await published.wait()
        await asyncio.sleep(number * 0.000_1)
        sends.cancel()
        await asyncio.wait({sends}, timeout=30)
        assert sends.done()
