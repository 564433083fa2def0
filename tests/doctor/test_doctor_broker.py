"""A real mosquitto that is away, shut, misconfigured or tight; brokers that misbehave; the gateway's own session."""

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto, free_port
from fakes.mqtt_scripted import Peer, ScriptedBroker
from fakes.tls import Authority

from drivers.codecs.values import ValueMap
from drivers.mqtt import MqttOptions
from gateway.core import limits
from gateway.doctor import Case, Outcome, broker
from gateway.settings import BrokerSettings, GatewaySettings, Settings, SourceSettings

VALUES = {"t": ValueMap(pointer="/t")}
PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"


def settings(port: int, *topics: str, tls: bool = False, **more: Any) -> Settings:
    url = f"{'mqtts' if tls else 'mqtt'}://127.0.0.1:{port}"
    sources = {
        f"s{at}": SourceSettings(driver="mqtt", options=MqttOptions(broker="local", topic=topic, values=VALUES))
        for at, topic in enumerate(topics or ("farm/climate",))
    }
    gateway = GatewaySettings(name="hen.example", data_dir="/nowhere", key="file:/nowhere/log.key")
    return Settings(gateway=gateway, broker={"local": BrokerSettings(url=url, **more)}, source=sources)


async def look(given: Settings) -> Outcome:
    return await broker.look(Case(settings=given))


def ids(outcome: Outcome) -> list[str]:
    return [one.condition for one in outcome.problems]


@contextlib.asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[Mosquitto]:
    made = await asyncio.to_thread(functools.partial(Mosquitto, folder, **more))
    await asyncio.to_thread(made.start)
    try:
        yield made
    finally:
        await asyncio.to_thread(made.stop)


def secret(folder: Path, text: str) -> str:
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(text)
    return f"file:{path}"


async def test_a_broker_that_is_well(tmp_path: Path) -> None:
    async with serving(tmp_path / "b", max_inflight=1000) as made:
        outcome = await look(settings(made.port, window=1000))
        assert ids(outcome) == []
        assert outcome.figures["local: MQTT"] == "5"
        assert outcome.figures["local: messages under way"] == "1000"
        assert outcome.figures["local: program"].startswith("mosquitto version")


@pytest.mark.parametrize(
    ("inflight", "window", "found"),
    [
        (50, 51, ["broker-window-large"]),
        (50, 50, []),
        (50, 49, ["broker-window-small"]),
        (20, 20, ["broker-window-default"]),
        (20, 21, ["broker-window-large"]),
    ],
)
async def test_its_window_against_the_configured_one(
    tmp_path: Path, inflight: int, window: int, found: list[str]
) -> None:
    async with serving(tmp_path / "b", max_inflight=inflight) as made:
        outcome = await look(settings(made.port, window=window))
        assert ids(outcome) == found
        assert all("window" in one.what + one.cure or "mosquitto" in one.cure for one in outcome.problems)


async def test_a_broker_with_tighter_limits(tmp_path: Path) -> None:
    async with serving(tmp_path / "b", max_inflight=0, extra="max_qos 0\nmax_packet_size 4096") as made:
        found = ids(await look(settings(made.port)))
        assert {"broker-no-qos1", "broker-packet", "broker-qos0"} <= set(found)


async def test_nobody_listens_and_no_such_name() -> None:
    outcome = await look(settings(free_port()))
    assert ids(outcome) == ["broker-away"]
    assert "nothing listens" in outcome.problems[0].what
    assert "Start the broker" in outcome.problems[0].cure
    named = settings(1883)
    table = BrokerSettings(url="mqtt://no-such-host.invalid:1883")
    outcome = await look(Settings(gateway=named.gateway, broker={"local": table}))
    assert ids(outcome) == ["broker-name"]
    assert (outcome.problems[0].subject, outcome.problems[0].values["host"]) == ("local", "no-such-host.invalid")


async def test_a_wrong_password_and_none_at_all(tmp_path: Path) -> None:
    async with serving(tmp_path / "b", password=("fieldgate", "right-one")) as made:
        wrong = await asyncio.to_thread(secret, tmp_path, "wrong-one")
        for given in (settings(made.port, user="fieldgate", password=wrong), settings(made.port)):
            outcome = await look(given)
            assert ids(outcome) == ["broker-login"]
            assert "user and password" in outcome.problems[0].what
            assert "wrong-one" not in json.dumps(outcome)
        await asyncio.to_thread(secret, tmp_path, "right-one\n")
        assert "broker-login" not in ids(await look(settings(made.port, user="fieldgate", password=wrong)))


async def test_a_password_that_cannot_be_read_is_said_and_not_guessed(tmp_path: Path) -> None:
    outcome = await look(settings(1883, user="fieldgate", password=f"file:{tmp_path}/none"))
    assert ids(outcome) == ["check-unseen"]
    assert outcome.problems[0].subject == "broker local"


async def test_tls(tmp_path: Path) -> None:
    ours, other = await asyncio.to_thread(
        lambda: (Authority(tmp_path / "ca"), Authority(tmp_path / "other", "another"))
    )
    pair = await asyncio.to_thread(ours.issue, "broker")
    async with serving(tmp_path / "b", max_inflight=50, tls=(ours.ca_file, *pair)) as made:
        good = settings(made.port, tls=True, window=50, ca_file=str(ours.ca_file))
        outcome = await look(good)
        assert ids(outcome) == ["broker-certificate"]  # it ends in two days
        assert outcome.figures["local: certificate ends"] in outcome.problems[0].what
        assert ids(await look(settings(made.port, tls=True, ca_file=str(other.ca_file)))) == ["broker-tls"]
        assert ids(await look(settings(made.port, tls=True, ca_file=str(tmp_path / "none")))) == ["broker-tls"]
        assert ids(await look(settings(made.port))) == ["broker-protocol"]
    async with serving(tmp_path / "plain") as made:
        assert ids(await look(settings(made.port, tls=True, ca_file=str(ours.ca_file)))) == ["broker-tls"]


async def test_topics_that_are_refused(tmp_path: Path) -> None:
    acls = [{"acltype": "subscribePattern", "topic": topic, "allow": True} for topic in ("open/#", "$SYS/#")]
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    security = {
        "defaultACLAccess": access,
        "anonymousGroup": "all",
        "groups": [{"groupname": "all", "roles": [{"rolename": "read"}]}],
        "roles": [{"rolename": "read", "acls": acls}],
    }
    file = tmp_path / "security.json"
    await asyncio.to_thread(file.write_text, json.dumps(security))
    extra = f"plugin {PLUGIN}\nplugin_opt_config_file {file}"
    async with serving(tmp_path / "b", max_inflight=50, extra=extra) as made:
        outcome = await look(settings(made.port, "open/a", "shut/b", window=50))
        assert ids(outcome) == ["broker-topic"]
        assert (outcome.problems[0].subject, outcome.problems[0].values["topic"]) == ("s1", "shut/b")


async def test_the_gateways_own_session_is_not_touched(tmp_path: Path) -> None:
    async with serving(tmp_path / "b", max_inflight=50) as made:
        ours = aiomqtt.Client("127.0.0.1", made.port, identifier="fieldgate-hen.example", clean_session=False)
        async with ours as client:
            await client.subscribe("farm/climate", qos=1)
            await client.publish("farm/climate", b"kept", qos=1, retain=True)
            before = await asyncio.to_thread(lambda: made.log)
            assert ids(await look(settings(made.port, window=50))) == []
            after = await asyncio.to_thread(lambda: made.log)
            await client.publish("farm/climate", b"after", qos=1)
            async with asyncio.timeout(10):
                got = [bytes((await anext(aiter(client.messages))).payload) for _ in range(2)]
            assert got == [b"kept", b"after"]
        told = after[len(before) :]
        assert "fieldgate-doctor-" in told
        assert "fieldgate-hen.example" not in told


async def test_a_broker_that_listens_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOCTOR_ASKING_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = await look(settings(server.getsockname()[1]))
    assert ids(outcome) == ["broker-protocol"]
    assert "does not answer" in outcome.problems[0].what


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ["broker-protocol"]),
        (b"", ["broker-protocol"]),
        (b"\x20\x02\x00\x01", ["broker-refused"]),  # no version of MQTT suits it
        (b"\x20\x02\x00\x03", ["broker-refused"]),
        (b"\x20\x02\x00\x04", ["broker-login"]),
        (b"\x20\x03\x00\x8a\x00", ["broker-refused"]),
        (b"\x20\x03\x00\x85\x00", ["check-unseen"]),
        (b"\x20\x01\x00", ["broker-protocol"]),
        (b"\x20\x06\x00\x00\x03\x63\x00\x00", ["broker-protocol"]),
    ],
)
async def test_brokers_that_answer_as_none_should(answer: bytes, found: list[str]) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(answer)

    async with ScriptedBroker(script) as scripted:
        assert ids(await look(settings(scripted.port))) == found


async def test_a_broker_of_the_older_version_tells_no_limits() -> None:
    versions = []

    async def script(peer: Peer) -> None:
        _, body = await peer.read()
        versions.append(body[6])
        if body[6] == 5:
            await peer.send(b"\x20\x02\x00\x01")
            return
        await peer.send(b"\x20\x02\x00\x00")
        _, asked = await peer.read()
        await peer.send(b"\x90\x03" + asked[:2] + b"\x00")
        await peer.gone()

    async with ScriptedBroker(script) as scripted:
        outcome = await look(settings(scripted.port))
    assert versions == [5, 4]
    assert ids(outcome) == ["broker-qos0"]
    assert outcome.figures["local: messages under way"] == "not told"


async def test_several_at_once_and_none() -> None:
    given = settings(1883)
    tables = {f"b{n}": BrokerSettings(url=f"mqtt://127.0.0.1:{free_port()}") for n in range(limits.DOCTOR_PEERS + 1)}
    outcome = await look(Settings(gateway=given.gateway, broker=tables))
    assert [(one.condition, one.subject) for one in outcome.problems] == [
        ("broker-away", f"b{n}") for n in range(limits.DOCTOR_PEERS)
    ]
    assert (await look(Settings(gateway=given.gateway))).said == "no broker is configured"
