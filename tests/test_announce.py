"""The status at a real broker: what a subscriber sees, when the gateway is killed, when the broker goes and comes."""

import asyncio
import contextlib
import gc
import json
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.field import Field
from fakes.status_sample import source, status
from fakes.tls import Authority

from drivers.mqtt_connect import Broker
from gateway.announce import Announced, Announcer
from gateway.settings import StatusSettings

NAME = "hen-3.example.farm"
STATUS, AVAILABILITY = f"fieldgate/{NAME}/status", f"fieldgate/{NAME}/availability"
DISCOVERY = "homeassistant/device/fieldgate-hen-3_example_farm/config"
PATIENCE_S = 30.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as made:
        yield made


class Subscriber:
    """The newest payload of each topic, as a dashboard that was there from the beginning has it; "" is none."""

    def __init__(self) -> None:
        self.topics: dict[str, str] = {}
        self.seen: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def of(
        cls, broker: Mosquitto, user: str | None = None, password: str | None = None
    ) -> AsyncIterator["Subscriber"]:
        made = cls()
        async with aiomqtt.Client("127.0.0.1", broker.port, username=user, password=password) as client:
            await client.subscribe("#", qos=1)
            task = asyncio.create_task(made._listen(client))
            try:
                yield made
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                    await task

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            self.topics[str(message.topic)] = message.payload.decode()
            self.seen.append((str(message.topic), message.payload.decode()))
            self._news.set()

    async def until(self, done: Callable[[dict[str, str]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done(self.topics):
                self._news.clear()
                await self._news.wait()


def announcer(port: int, *, tell: Callable[[], dict[str, Any]] = status, **fields: Any) -> Announcer:
    mine = {"every_s": 0.2} | {key: fields.pop(key) for key in list(fields) if key in StatusSettings.__struct_fields__}
    settings = StatusSettings(broker="local", **mine)
    broker = Broker(**({"name": "local", "host": "127.0.0.1", "port": port, "client_id": "fieldgate-hen"} | fields))
    loop = asyncio.get_running_loop()
    return Announcer(Announced(NAME, settings, broker), tell, loop.time, random.Random(1))


@contextlib.asynccontextmanager
async def running(one: Announcer) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(one.run())
    try:
        yield task
    finally:
        task.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([task])
        assert task.cancelled(), task.exception()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            await asyncio.sleep(0.01)


async def test_what_a_subscriber_sees(broker: Mosquitto) -> None:
    """Also one that comes later: everything is retained."""
    async with running(announcer(broker.port)) as _:
        async with Subscriber.of(broker) as first:
            await first.until(lambda topics: len(topics) == 3)
        async with Subscriber.of(broker) as later:
            await later.until(lambda topics: set(topics) == {STATUS, AVAILABILITY, DISCOVERY})
            assert later.topics[AVAILABILITY] == "online"
            told = json.loads(later.topics[STATUS])
            assert told["headline"] == status()["headline"]
            assert told["problem"] is False
            assert json.loads(later.topics[DISCOVERY])["state_topic"] == STATUS
            await later.until(lambda topics: json.loads(topics[STATUS])["readings_per_min"] is not None)  # the next one


async def test_prefixes_are_the_configurations_own(broker: Mosquitto) -> None:
    async with (
        running(announcer(broker.port, topic="farm/gateways", discovery="")) as _,
        Subscriber.of(broker) as heard,
    ):
        await heard.until(lambda topics: len(topics) == 2)
        assert set(heard.topics) == {f"farm/gateways/{NAME}/status", f"farm/gateways/{NAME}/availability"}


async def test_an_ordered_end_says_offline_and_keeps_the_rest(broker: Mosquitto) -> None:
    async with Subscriber.of(broker) as heard:
        async with running(announcer(broker.port)):
            await heard.until(lambda topics: topics.get(AVAILABILITY) == "online")
        await heard.until(lambda topics: topics[AVAILABILITY] == "offline")
    async with Subscriber.of(broker) as later:
        await later.until(lambda topics: set(topics) == {STATUS, AVAILABILITY, DISCOVERY})


async def test_switched_off_for_good_nothing_stays(broker: Mosquitto) -> None:
    one = announcer(broker.port)
    async with Subscriber.of(broker) as heard:
        async with running(one):
            await heard.until(lambda topics: topics.get(AVAILABILITY) == "online")
            one.leaving = True
        await heard.until(lambda topics: not any(topics.values()))
        assert set(heard.topics) == {STATUS, AVAILABILITY, DISCOVERY}
    async with Subscriber.of(broker) as later:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish("end", b"1", qos=1)
        await later.until(bool)  # what is retained comes first
        assert later.topics == {"end": "1"}


async def test_a_gateway_that_is_killed_is_offline(tmp_path: Path, broker: Mosquitto) -> None:
    """The whole program, ended by kill -9: its last will speaks. The sources' connection is another."""
    sources = f'[broker.local]\nurl = "{broker.url}"\n[status]\nbroker = "local"\nevery_s = 1\n'
    sources += (
        '[source.climate]\ndriver = "mqtt"\nbroker = "local"\ntopic = "climate"\nvalues = { t = { pointer = "/t" } }\n'
    )
    field = Field(tmp_path / "field", sources, with_node=False)
    await field.make()
    status_topic, availability = "fieldgate/field.example/status", "fieldgate/field.example/availability"
    async with Subscriber.of(broker) as heard, field.started():
        await heard.until(lambda topics: topics.get(availability) == "online")
        await heard.until(lambda topics: json.loads(topics[status_topic])["sources_up"] == 1)
        assert json.loads(heard.topics[status_topic])["problem"] is False
        await field.gateway.end(signal.SIGKILL)
        await heard.until(lambda topics: topics[availability] == "offline")
        await field.gateway.start()
        await heard.until(lambda topics: topics[availability] == "online")
        await field.gateway.end()
        await heard.until(lambda topics: topics[availability] == "offline")
    assert "Traceback" not in field.gateway.words()


async def test_the_broker_comes_goes_and_comes_back(broker: Mosquitto) -> None:
    await asyncio.to_thread(broker.stop)
    one = announcer(broker.port)
    async with running(one):
        await until(lambda: bool(one.problems))
        (problem,) = one.problems
        assert (problem.condition, problem.severity, problem.subject) == ("status-unsent", "warning", "local")
        assert "nothing listens" in problem.what
        for end in (broker.kill, broker.stop):
            await asyncio.to_thread(broker.start)
            await until(lambda: not one.problems)
            async with Subscriber.of(broker) as heard:
                await heard.until(lambda topics: topics.get(AVAILABILITY) == "online")
            await asyncio.to_thread(end)
            await until(lambda: bool(one.problems))


async def test_a_wrong_password_is_a_condition_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "wrong-and-secret"
    with Mosquitto(tmp_path / "closed", password=("fieldgate", "right-and-secret")) as closed:
        one = announcer(closed.port, user="fieldgate", password=secret)
        async with running(one):
            await until(lambda: bool(one.problems))
            (problem,) = one.problems
            assert "user and password" in problem.what
            assert "[broker.local]" in problem.cure
            assert secret not in str(problem)
        assert not caplog.records
        two = announcer(closed.port, user="fieldgate", password="right-and-secret")
        async with running(two), Subscriber.of(closed, "fieldgate", "right-and-secret") as heard:
            await heard.until(lambda topics: topics.get(AVAILABILITY) == "online")


async def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("broker")
    with Mosquitto(tmp_path / "tls", tls=(authority.ca_file, certificate, key)) as broker:
        stranger = announcer(broker.port, tls=True)
        async with running(stranger):
            await until(lambda: bool(stranger.problems))
            assert "certificate" in stranger.problems[0].what
        known = announcer(broker.port, tls=True, ca_file=str(authority.ca_file))
        async with running(known):
            await until(lambda: known._announced)
            assert not known.problems


async def test_a_broker_that_never_answers_holds_nobody_up(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    """It accepts and says nothing, at first and after a while; the end comes all the same."""
    with broker.held():
        one = announcer(broker.port, connect_timeout_s=0.3)
        async with running(one):
            await until(lambda: bool(one.problems))
    two = announcer(broker.port, connect_timeout_s=0.3)
    async with running(two):
        await until(lambda: two._announced)
        with broker.held():
            await until(lambda: bool(two.problems))
        await until(lambda: not two.problems)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]  # nor says anybody else what we know


async def test_what_is_no_broker_is_a_condition(tmp_path: Path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        one = announcer(server.sockets[0].getsockname()[1], connect_timeout_s=0.5)
        async with running(one):
            await until(lambda: bool(one.problems))


async def test_hostile_texts_stay_values(broker: Mosquitto) -> None:
    """Names of sources come from topics of strangers: they are JSON strings and never topics."""
    hostile = 'x/#"} +\x00\ud800'
    problems = [{"condition": "c", "severity": "error", "subject": hostile, "what": hostile, "cure": "", "values": {}}]
    state = status(sources={hostile: source()}, problems=problems, headline=hostile)
    async with running(announcer(broker.port, tell=lambda: state)), Subscriber.of(broker) as heard:
        await heard.until(lambda topics: len(topics) == 3)
        assert set(heard.topics) == {STATUS, AVAILABILITY, DISCOVERY}
        assert json.loads(heard.topics[STATUS])["problems"][0]["what"] == hostile


async def test_a_temperature_that_turns_up_is_discovered(broker: Mosquitto) -> None:
    sources: dict[str, Any] = {}
    async with (
        running(announcer(broker.port, tell=lambda: status(sources=sources))),
        Subscriber.of(broker) as heard,
    ):
        await heard.until(lambda topics: AVAILABILITY in topics)
        assert "temperature" not in json.loads(heard.topics[DISCOVERY])["components"]
        sources["computer"] = source(driver="system-computer", last=[["temperature", "Cel", 51.5]])
        await heard.until(lambda topics: "temperature" in json.loads(topics[DISCOVERY])["components"])
        del sources["computer"]  # what was discovered stays, and is unknown
        seen = len(heard.seen)
        await heard.until(lambda topics: len(heard.seen) >= seen + 2)
        assert "temperature" in json.loads(heard.topics[DISCOVERY])["components"]
