"""A configuration that is changed while the gateway runs: the whole gateway in this process, with real ports."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes import odd_driver
from fakes.broker import Mosquitto
from fakes.configs import READ, SEEN, STORED, vkey
from fakes.gateway_store import signer
from fakes.mqtt_proxy import CONNECT, MqttProxy
from fakes.odd_driver import OddDriver
from fakes.running_gateway import HEAD, Home, Running
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import serial_port
from drivers.simulators.quay import Line
from gateway import configured, reload
from gateway import roster as roster_module
from gateway.config.past import Past
from gateway.errors import FieldgateError

BOX = '[source.{name}]\ndriver = "system"\nevery_s = {every}\n'
SCALE = (
    '[source.{name}]\ndriver = "serial_line"\nport = "{port}"\nbaud = {baud}\nformat = "text"\n'
    "values = {{ w = {{}} }}\n"
)
BROKER = '[broker.{name}]\nurl = "mqtt://127.0.0.1:{port}"\nuser = "u"\npassword = "file:{secret}"\n'
TOPIC = '[source.{name}]\ndriver = "mqtt"\nbroker = "{broker}"\ntopic = "{topic}"\nvalues = {{ t = {{}} }}\n'
NODE = '[node.{name}]\nurl = "http://127.0.0.1:{port}"\nseen_key = "{seen}"\nstored_key = "{stored}"\n'
ODD = '[source.{name}]\ndriver = "odd"\n{more}\n'


def box(name: str = "box", every: float = 3600) -> str:
    return BOX.format(name=name, every=every)


def odd(name: str = "odd", **more: Any) -> str:
    return ODD.format(name=name, more="\n".join(f"{key} = {str(value).lower()}" for key, value in more.items()))


def node(name: str = "coop", port: int = 1, seen: str = SEEN, stored: str = STORED) -> str:
    return NODE.format(name=name, port=port, seen=seen, stored=stored)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "gateway")


@pytest.fixture
def odds(monkeypatch: pytest.MonkeyPatch) -> list[OddDriver]:
    """The drivers `odd` that were made, in order."""
    return odd_driver.install(monkeypatch)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The serial ports that were opened, in order."""
    ports: list[str] = []
    open_port = serial_port.open_port

    def recorded(options: Any) -> Any:
        ports.append(Path(options.port).name)
        return open_port(options)

    monkeypatch.setattr(serial_port, "open_port", recorded)
    return iter([ports])


def balanced(running: Running) -> bool:
    return all(source["balanced"] for source in running.status()["sources"].values())


def conditions(running: Running) -> list[str]:
    return [problem["condition"] for problem in running.status()["problems"]]


def turned(answer: dict[str, Any], kind: str = "sources") -> dict[str, list[str]]:
    """What has been started, stopped and changed, without what has not."""
    assert answer["taken_over"], answer
    return {turn: names for turn, names in answer[kind].items() if names}


# What is not touched


async def test_nothing_changed_is_nothing_done(home: Home) -> None:
    home.write(box() + node())
    async with home.running() as it:
        before, inside = dict(it.drivers), it.inside()
        answer = await it.reload()
        assert [turned(answer, kind) for kind in ("sources", "nodes", "tables")] == [{}, {}, {}]
        assert it.drivers == before
        assert it.inside() == inside
        assert [event["event"] for event in await it.events()] == ["start", "configuration"]


async def test_a_port_of_which_nothing_has_changed_stays_open(home: Home, tmp_path: Path, opened: Any) -> None:
    ports = next(opened)
    with Line(tmp_path / "a") as a, Line(tmp_path / "b") as b:
        scale_a = SCALE.format(name="scale-a", port=a.path, baud=9600)
        home.write(scale_a + SCALE.format(name="scale-b", port=b.path, baud=9600))
        async with home.running() as it:
            await it.until(lambda: all(it.status()["sources"][name]["up"] for name in ("scale-a", "scale-b")))
            before = dict(it.drivers)
            descriptors = _open_on(a)
            answer = await it.reload(scale_a + SCALE.format(name="scale-b", port=b.path, baud=19_200))
            assert turned(answer) == {"changed": ["scale-b"]}
            await it.until(lambda: ports.count("b") == 2 and it.status()["sources"]["scale-b"]["up"])
            assert it.drivers["serial-scale-a"] is before["serial-scale-a"]
            assert it.drivers["serial-scale-b"] is not before["serial-scale-b"]
            assert (ports.count("a"), _open_on(a)) == (1, descriptors)
            a.write(b"rest\n12\n")
            b.write(b"rest\n34\n")
            await it.until(lambda: all(it.status()["sources"][f"scale-{one}"]["stored"] for one in "ab"))
            assert balanced(it)


def _open_on(line: Line) -> set[str]:
    """This process's descriptors of the gateway's side of a terminal, the test's own among them."""
    path = line.path.resolve()
    return {one.name for one in Path("/proc/self/fd").iterdir() if one.exists() and one.resolve() == path}


async def test_a_bus_is_known_by_its_sources_whatever_their_order(home: Home) -> None:
    home.write(box("one") + box("two"))
    async with home.running() as it:
        before = dict(it.drivers)
        answer = await it.reload(box("two") + box("one"))
        assert (turned(answer), it.drivers) == ({}, before)
        answer = await it.reload(box("two") + box("three"))
        assert turned(answer) == {"started": ["three"], "stopped": ["one"]}
        assert list(it.drivers) == ["system-two"]


# Sources and brokers


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as made:
        yield made


def _brokers(home: Home, **ports: int) -> str:
    for name in ports:
        home.secret(f"{name}.password", "first")
    return "".join(
        BROKER.format(name=name, port=port, secret=home.folder / f"{name}.password") for name, port in ports.items()
    )


async def test_a_new_password_reconnects_its_broker_alone(home: Home, broker: Mosquitto) -> None:
    async with MqttProxy(broker.port) as one, MqttProxy(broker.port) as two:
        text = _brokers(home, one=one.port, two=two.port).replace("[source", "\n[source")
        text = text.replace("[broker.two]", '[broker.two]\nclient_id = "second"')
        text += TOPIC.format(name="a", broker="one", topic="a") + TOPIC.format(name="b", broker="two", topic="b")
        home.write(text)
        async with home.running() as it:
            await it.until(lambda: all(it.status()["sources"][name]["up"] for name in "ab"))
            home.secret("two.password", "second")
            answer = await it.reload()
            assert turned(answer) == {"changed": ["b"]}
            assert turned(answer, "tables") == {"changed": ["broker.two"]}
            await it.until(lambda: two.connections == 2)
            await it.until(lambda: it.status()["sources"]["b"]["up"])
            assert one.connections == 1
            assert [b"second" in packet.body for packet in two.of(CONNECT, up=True)][-1]
            assert (await it.events())[-1]["event"] == "configuration"


async def test_sources_of_one_broker_come_and_go_on_one_connection(home: Home, broker: Mosquitto) -> None:
    async with MqttProxy(broker.port) as proxy:
        head = _brokers(home, local=proxy.port)
        climate = TOPIC.format(name="climate", broker="local", topic="farm/climate")
        home.write(head + climate + TOPIC.format(name="feed", broker="local", topic="farm/feed"))
        async with home.running() as it:
            await it.until(lambda: it.status()["sources"]["climate"]["up"])
            driver = it.drivers["mqtt-local"]
            water = TOPIC.format(name="water", broker="local", topic="farm/water")
            assert turned(await it.reload(head + climate + water)) == {"started": ["water"], "stopped": ["feed"]}
            await it.until(lambda: it.status()["sources"]["water"]["up"])
            assert set(it.status()["sources"]) == {"gateway", "climate", "water"}
            assert it.drivers["mqtt-local"] is driver
            assert turned(await it.reload(head + climate.replace("farm/climate", "farm/#"))) == {
                "changed": ["climate"],
                "stopped": ["water"],
            }
            assert turned(await it.reload(head)) == {"stopped": ["climate"]}
            assert it.drivers == {}
            assert proxy.connections == 1
            removed = [one["source"] for one in await it.events() if one["event"] == "source-removed"]
            assert removed == ["feed", "water", "climate"]


async def test_a_source_may_move_from_one_driver_to_another(
    home: Home, odds: list[OddDriver], broker: Mosquitto
) -> None:
    home.write(odd("climate"))
    async with home.running() as it:
        await it.until(lambda: odds[0].running)
        odds[0].say(1)
        head = _brokers(home, local=broker.port)
        answer = await it.reload(head + TOPIC.format(name="climate", broker="local", topic="farm/climate"))
        assert turned(answer) == {"changed": ["climate"]}
        await it.until(lambda: it.status()["sources"]["climate"]["up"])
        source = it.status()["sources"]["climate"]
        assert (source["driver"], source["received"], source["balanced"]) == ("mqtt-local", 1, True)
        assert "source-removed" not in [event["event"] for event in await it.events()]


# A driver that does not end


async def test_a_driver_that_does_not_end_holds_up_no_reload(
    home: Home, odds: list[OddDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster_module, "END_S", 0.05)
    home.write(odd("stuck", stays=True) + odd("fine"))
    async with home.running() as it:
        await it.until(lambda: len([one for one in odds if one.running]) == 2)
        stuck = odds[0]
        answer = await it.reload(odd("stuck", number=1) + odd("fine", number=1))
        assert turned(answer) == {"changed": ["stuck", "fine"]}
        assert answer["late"] == ["odd-stuck"]
        assert "driver-does-not-end" in conditions(it)
        await it.until(lambda: it.status()["sources"]["fine"]["detail"] == "number 1")
        stuck.say(1)  # nothing of what it still says is lost
        await it.gateway._journal.commit()
        assert it.status()["sources"]["stuck"]["stored"] == 1
        assert (await it.reload(odd("stuck", number=2)))["late"] == ["odd-stuck"]
        stuck.let_go.set()
        await it.until(lambda: it.status()["sources"]["stuck"]["detail"] == "number 2")
        assert "driver-does-not-end" not in conditions(it)
        assert set(it.status()["sources"]) == {"gateway", "stuck"}
        assert balanced(it)


# Nodes


async def test_nodes_come_and_go_one_by_one(home: Home) -> None:
    other = node("vet", seen=vkey("vet.example"), stored=vkey("vet.example/stored"))
    home.write(node())
    async with home.running() as it:
        coop = it.gateway._nodes.members["coop"]
        answer = await it.reload(node() + other + f'read_key = "{READ}"\n')
        assert turned(answer, "nodes") == {"started": ["vet"]}
        assert it.gateway._nodes.members["coop"] is coop
        assert list(it.status()["nodes"]) == ["coop", "vet"]
        assert it.gateway._retention._nodes.keys() == {"coop", "vet"}
        assert len(it.inside()["readers"]) == 1
        answer = await it.reload(node(seen=vkey("another.example")) + other)
        assert turned(answer, "nodes") == {"changed": ["coop", "vet"]}
        assert it.gateway._nodes.members["coop"] is not coop
        assert it.inside()["readers"] == {}
        assert turned(await it.reload(other), "nodes") == {"stopped": ["coop"]}
        assert it.gateway._retention._nodes.keys() == {"vet"}
        await it.reload("")
        assert it.status()["nodes"] == {}


async def test_witnesses_come_and_go_and_never_count_for_pruning(home: Home) -> None:
    home.write(node())
    async with home.running() as it:
        coop = it.gateway._nodes.members["coop"]
        answer = await it.reload(node() + WITNESS)
        assert turned(answer, "tables") == {"started": ["witness.public"]}
        assert list(it.status()["witnesses"]) == ["public"]
        assert it.gateway._sync() == ["coop", "public"]
        assert it.gateway._retention._nodes.keys() == {"coop"}
        public = it.gateway._witnesses.members["public"]
        answer = await it.reload(node() + WITNESS + "every_s = 5\n")
        assert turned(answer, "tables") == {"changed": ["witness.public"]}
        assert it.gateway._witnesses.members["public"] is not public
        assert it.gateway._nodes.members["coop"] is coop
        assert turned(await it.reload(node() + WITNESS + "every_s = 3600\n"), "tables") == {
            "changed": ["witness.public"]
        }
        assert it.gateway._cosigned_within_s() == 1800, "the node signs each block"
        await it.reload(WITNESS + "every_s = 3600\n")
        assert it.gateway._cosigned_within_s() == 10_800
        assert turned(await it.reload(WITNESS), "tables") == {"changed": ["witness.public"]}
        assert it.gateway._cosigned_within_s() == 1800
        assert it.gateway._retention._nodes == {}
        assert turned(await it.reload(""), "tables") == {"stopped": ["witness.public"]}
        assert it.status()["witnesses"] == {}


async def test_the_word_of_a_node_holds_until_another_is_configured_in_its_place(home: Home) -> None:
    home.write(node() + node("vet", seen=vkey("vet.example"), stored=vkey("vet.example/stored")))
    async with home.running() as it:
        sealer = it.gateway._sealer
        vet = node("vet", seen=vkey("vet.example"), stored=vkey("vet.example/stored"))
        for name in ("coop", "vet"):
            it.gateway._forked(name, FieldgateError(f"{name} says 422"))  # type: ignore[arg-type]
        await it.reload(node() + "upload = false\n" + vet)
        assert "coop says" in str(sealer.held), "it is the same node"
        await it.reload(node(port=2) + vet)
        assert "vet says" in str(sealer.held)
        await it.reload(node(port=2))
        assert sealer.held is None


# Tables, and what needs a restart


async def test_retention_and_seal_are_taken_over(home: Home) -> None:
    async with home.running() as it:
        text = '[retention]\nmax_bytes = "64 MiB"\nmin_free = "1 MiB"\nwhen_full = "oldest"\n[seal]\nmax_age_s = 7\n'
        answer = await it.reload(text)
        assert sorted(turned(answer, "tables")["changed"]) == ["retention", "seal"]
        assert answer["restart"] == []
        assert it.inside()["seal"] == (7, 600, 1800)
        assert it.gateway._retention._settings.when_full == "oldest"
        await it.gateway._retention.turn()
        assert it.status()["disk"]["min_free"] == 2**20


async def test_what_needs_a_restart_is_named_and_the_rest_taken_over(home: Home, broker: Mosquitto) -> None:
    async with MqttProxy(broker.port) as proxy:
        text = _brokers(home, local=proxy.port) + TOPIC.format(name="a", broker="local", topic="a")
        home.write(text)
        async with home.running() as it:
            await it.until(lambda: it.status()["sources"]["a"]["up"])
            head = HEAD.replace('name = "{name}"', 'name = "another.example"').replace("127.0.0.1:0", "127.0.0.1:1")
            home.write(text + box() + "[seal]\nmax_count = 7\nmax_age_s = 9\n", head.replace("= 1\n", "= 2\n"))
            answer = await it.reload()
            waiting = ["gateway.name", "seal.max_count", "journal.linger_ms", "web.listen"]
            assert sorted(answer["restart"]) == sorted(waiting)
            assert turned(answer) == {"started": ["box"]}
            assert turned(answer, "tables") == {"changed": ["seal"]}
            assert it.inside()["seal"][0] == 9
            assert it.status()["configuration"]["restart"] == answer["restart"]
            assert "restart-needed" in conditions(it)
            assert proxy.connections == 1, "the client id that is made of the name is that of the start"
            assert (await it.reload(text))["restart"] == []
            assert "restart-needed" not in conditions(it)


async def test_who_is_told_how_it_goes_is_taken_over(home: Home, broker: Mosquitto) -> None:
    """What was retained for a place that is left is taken back."""
    text = _brokers(home, local=broker.port) + '[status]\nbroker = "local"\ntopic = "{topic}"\n'
    async with home.running() as it, aiomqtt.Client("127.0.0.1", broker.port) as client:
        await client.subscribe("+/henhouse-3.example.farm/availability", qos=1)
        messages = aiter(client.messages)
        steps = {"one": [("one", b"online")], "two": [("one", b""), ("two", b"online")], "": [("two", b"")]}
        for topic, expected in steps.items():
            answer = await it.reload(text.format(topic=topic) if topic else _brokers(home, local=broker.port))
            assert turned(answer, "tables")["changed"] == ["status"]
            for one in expected:
                message = await asyncio.wait_for(anext(messages), 20)
                assert (str(message.topic).partition("/")[0], message.payload) == one


# What is refused


WRONG = {
    "no TOML": ("[source", "this is not TOML"),
    "a typo": (box("a").replace("every_s", "evry_s"), "Did you mean every_s?"),
    "no driver": ('[source.a]\ndriver = "modbs"\n', "no driver"),
    "no secret": (BROKER.format(name="local", port=1, secret="/nowhere/missing.password"), "missing.password"),
    "the log's own key": (node() + f'read_key = "{signer().vkey}"\n', "the log's own key"),
    "no driver of these options": (odd(broken=True), "no such thing"),
    "two readers": ("".join(SCALE.format(name=name, port="/dev/ttyS9", baud=9600) for name in "ab"), "one reader"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_refused_whole(
    home: Home, odds: list[OddDriver], text: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    home.write(box() + node("vet", seen=vkey("vet.example"), stored=vkey("vet.example/stored")))
    async with home.running() as it:
        before, drivers, since = it.inside(), dict(it.drivers), it.status()["configuration"]
        with caplog.at_level(logging.ERROR, "gateway.reload"):
            answer = await it.reload(box("other") + text)
        assert not answer["taken_over"]
        told = " ".join(str(fault) for fault in answer["error"].get("faults", [answer["error"]]))
        assert words in told
        assert words in caplog.text
        assert (it.inside(), it.drivers, it.status()["configuration"]) == (before, drivers, since)
        assert conditions(it) == ["configuration-refused"]
        assert words in it.status()["headline"]
        assert [event["event"] for event in await it.events()] == ["start", "configuration"]
        assert turned(await it.reload(box("other"))) == {"started": ["other"], "stopped": ["box"]}
        assert conditions(it) == []


async def test_every_fault_is_told(home: Home) -> None:
    async with home.running() as it:
        answer = await it.reload(box("a").replace("every_s", "x") + box("b").replace("every_s", "y"))
        assert [fault["key"] for fault in answer["error"]["faults"]] == ["source.a.x", "source.b.y"]
        assert answer["error"]["exit_code"] == 2
        assert "(and 1 more)" in it.status()["problems"][0]["what"]


# Events and what is kept


async def test_each_change_is_an_event_with_the_hash_of_the_file(home: Home) -> None:
    home.write(box())
    async with home.running() as it:
        digests = [hashlib.sha256(home.path.read_bytes()).hexdigest()]
        for text, asked in ((box(every=7), "reload"), (box(every=7), "reload"), (box(every=7) + "#", "rollback")):
            await it.reload(text, asked)
            digests.append(hashlib.sha256(home.path.read_bytes()).hexdigest())
        told = [one for one in await it.events() if one["event"] == "configuration"]
        assert [(one["file"], one["sha256"], one["asked"]) for one in told] == [
            ("fieldgate.toml", digests[0], "start"),
            ("fieldgate.toml", digests[1], "reload"),
            ("fieldgate.toml", digests[3], "rollback"),
        ]
        assert it.status()["configuration"]["files"] == [["fieldgate.toml", digests[3]]]


async def test_what_ran_is_kept_with_its_drop_ins(home: Home) -> None:
    home.write(box())
    drop_in = home.path.with_suffix(".d") / "20-second.toml"
    drop_in.parent.mkdir()
    async with home.running() as it:
        drop_in.write_text(box("second"))
        assert turned(await it.reload(box())) == {"started": ["second"]}
        refused = await it.reload("[nonsense]\n")
        assert not refused["taken_over"]
        told = [one["file"] for one in await it.events() if one["event"] == "configuration"]
        assert told == ["fieldgate.toml", "fieldgate.toml", "20-second.toml"]

    def kept() -> list[list[str]]:
        past = Past(home.path, None)
        return [[file.path.name for file in past.read(one)] for one in past.snapshots()]

    assert await asyncio.to_thread(kept) == [["fieldgate.toml"], ["fieldgate.toml", "20-second.toml"]]


# Who asks, and when


async def test_sighup_reloads(home: Home) -> None:
    async with home.running() as it:
        home.write(box())
        it.signals.reload.set()
        await it.until(lambda: "box" in it.status()["sources"])
        home.write(box().replace("every_s", "x"))
        it.signals.reload.set()
        await it.until(lambda: conditions(it) == ["configuration-refused"])


class Slow:
    """`configured.read` that waits in its thread until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._read, self._loop = configured.read, asyncio.get_running_loop()
        self.begun, self.go = 0, asyncio.Semaphore(0)
        self.under_way = self.most = 0
        monkeypatch.setattr(reload.configured, "read", self.read)

    def read(self, *args: Any) -> Any:
        self.begun += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        asyncio.run_coroutine_threadsafe(self.go.acquire(), self._loop).result(20)
        self.under_way -= 1
        return self._read(*args)


async def test_reloads_come_one_after_the_other_and_those_that_wait_are_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.running() as it:
        slow = Slow(monkeypatch)
        first = asyncio.create_task(it.reload(box("one")))
        await it.until(lambda: slow.begun == 1)
        others = [asyncio.create_task(it.reload(box("two"), asked)) for asked in ("reload", "rollback", "reload")]
        await asyncio.sleep(0)
        slow.go.release()
        assert turned(await first) == {"started": ["two"]}, "the file as it was when it was read"
        slow.go.release()
        answers = await asyncio.gather(*others)
        assert answers[0] is answers[1] is answers[2]
        assert answers[0]["asked"] == "rollback"
        assert (slow.begun, slow.most) == (2, 1)


async def test_who_goes_away_cuts_nothing_short(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home.running() as it:
        slow = Slow(monkeypatch)
        asking = asyncio.create_task(it.reload(box()))
        await it.until(lambda: slow.begun)
        asking.cancel()
        slow.go.release()
        await it.until(lambda: "box" in it.status()["sources"])


async def test_a_reload_during_the_stop_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home.running() as it:
        slow = Slow(monkeypatch)
        asked = [asyncio.create_task(it.reload(box(name))) for name in ("one", "two")]
        await it.until(lambda: slow.begun)
        it.signals.stop.set()
        slow.go.release()
        for answer in [await one for one in asked] + [await it.reload(box())]:
            assert not answer["taken_over"]
            assert "stopping" in answer["error"]["what"]
            assert answer["error"]["exit_code"] == 3
        await it.task
    assert "box" not in it.drivers


# Whatever comes, in whatever order


WITNESS = f'[witness.public]\nurl = "http://127.0.0.1:1"\nvkey = "{vkey("witness.example")}"\n'
FIVE = TOPIC.format(name="five", broker="local", topic="farm/+/x")
PARTS: dict[str, list[str]] = {
    "one": [box("one"), box("one", 7), TOPIC.format(name="one", broker="local", topic="port")],
    "two": [box("two")],
    "three": [odd("three"), odd("three", number=1), odd("three", broken=True)],
    "four": [TOPIC.format(name="four", broker="local", topic=topic) for topic in ("farm/#", "farm/4", "#")],
    "five": [FIVE + 'id = "n-{2}"\n', FIVE + 'id = "m-{2}"\nraw = "none"\n', FIVE + "qos = 0\n"],
    "retention": ['[retention]\nmax_bytes = "64 MiB"\nmin_free = "1 MiB"\n', "[retention]\nmin_age_h = 1\n"],
    "status": ['[status]\nbroker = "local"\n', '[status]\nbroker = "local"\ntopic = "farm"\n'],
    "seal": ["[seal]\nmax_age_s = 7\n", "[seal]\nheartbeat_s = 8\n"],
    "coop": [node(), node() + f'read_key = "{READ}"\n', node(seen=vkey("other.example")), node(port=2)],
    "vet": [node("vet", seen=vkey("vet.example"), stored=vkey("vet.example/stored")) + 'share = ["*"]\n'],
    "public": [WITNESS, WITNESS + "every_s = 5\n", WITNESS.replace("public", "coop")],
    "bad": ["[", box("bad").replace("every_s", "x"), box("gateway")],
}
"""The tables of a configuration, and what may stand in each."""


@settings(deadline=None, max_examples=12)
@given(
    st.lists(
        st.tuples(
            st.fixed_dictionaries({}, optional={name: st.sampled_from(texts) for name, texts in PARTS.items()}),
            st.sampled_from(["first", "second", "missing"]),
        ),
        min_size=1,
        max_size=5,
    )
)
async def test_the_end_is_what_a_fresh_start_with_the_last_good_one_has(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[str, str], str]]
) -> None:
    """Each step is a configuration, good or bad, and the broker's password in its file."""
    with pytest.MonkeyPatch.context() as patched:
        odd_driver.install(patched)
        home = await asyncio.to_thread(Home, tmp_path_factory.mktemp("g") / "gateway")
        good = "", "first"
        async with home.running() as it:
            for parts, password in steps:
                text = _set(home, "".join(parts.values()), password)
                answer = await it.reload(text)
                assert answer["taken_over"] is not _is_wrong(parts, password)
                good = (text, password) if answer["taken_over"] else good
                assert balanced(it)
                assert ("configuration-refused" in conditions(it)) is not answer["taken_over"]
            end = it.inside()
        home.write(_set(home, *good))
        async with home.running() as fresh:
            assert fresh.inside() == end


def _set(home: Home, text: str, password: str) -> str:
    """The text with its broker, whose password is this."""
    path = home.folder / "local.password"
    if password == "missing":
        path.unlink(missing_ok=True)
    else:
        home.secret(path.name, password)
    needed = 'broker = "local"' in text and "[broker" not in text
    return BROKER.format(name="local", port=1, secret=path) * needed + text


def _is_wrong(parts: dict[str, str], password: str) -> bool:
    needs = any('broker = "local"' in text for text in parts.values())
    one_name = "coop" in parts and "[witness.coop]" in parts.get("public", "")
    return "bad" in parts or "broken = true" in parts.get("three", "") or (needs and password == "missing") or one_name
