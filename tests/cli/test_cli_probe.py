"""`fieldgate probe` on pseudo-terminals and a real broker, with simulated devices that speak or only answer."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from fakes.broker import Mosquitto
from fakes.command import FIELDGATE, Done, fieldgate
from fakes.recordings import RECORDINGS, SHIP

from drivers import registry
from drivers.codecs.modbus_rtu import crc16
from drivers.simulators import firmware
from drivers.simulators.modbus import Slave
from drivers.simulators.quay import Line
from gateway import cli, config
from gateway.cli import probe_asking

HEAD = '[gateway]\nname = "quay.example"\ndata_dir = "/var/lib/fieldgate"\nkey = "file:/etc/fieldgate/log.key"\n'
SCALE = b"ST,GS,+  1000kg\r\nUS,GS,+  1020kg\r\n"


@contextmanager
def speaking(data: bytes, every_s: float = 0.02) -> Iterator[Line]:
    """A device that says this again and again."""
    over = threading.Event()
    with Line() as line:

        def speak() -> None:
            while not over.wait(every_s):
                line.write(data)

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield line
        finally:
            over.set()
            thread.join()


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[tuple[Line, bytearray]]:
    """A device that says nothing by itself, and what was said to it."""
    over, asked = threading.Event(), bytearray()
    with Line() as line:

        def listen() -> None:
            while not over.wait(0.005):
                try:
                    data = os.read(line.master, 256)
                except BlockingIOError:
                    continue
                asked.extend(data)
                line.write(answer(data))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield line, asked
        finally:
            over.set()
            thread.join()


def probe(where: object, *args: str, cwd: Path) -> Done:
    return fieldgate("probe", str(where), *args, cwd=cwd)


def pasted(done: Done, folder: Path) -> dict[str, Any]:
    """The tables, which a gateway's configuration takes as they are."""
    text = done.out.partition("To paste into fieldgate.toml:\n")[2]
    file = folder / "pasted.toml"
    file.write_text(HEAD + text)
    config.load(file)
    tables = tomllib.loads(text)
    assert tables
    return tables


def test_a_scale_is_named_with_its_evidence_and_its_table(tmp_path: Path) -> None:
    with speaking(SCALE) as line:
        done = probe(line.path, "--seconds", "1", cwd=tmp_path)
        assert done.code == 0, done.err
        assert "53 54 2c 47 53" in done.out
        assert "ST,GS,+" in done.out
        assert "This is scale" in done.out
        assert "frames read" in done.out
        table = pasted(done, tmp_path)["source"]["scale"]
    assert table == {"driver": "scale", "port": str(line.path), "baud": 9600, "variant": "st-gs"}
    assert done.lines == ["9600 baud 8N1: listening for 1 s"]


def test_seven_bits_with_parity_are_told_from_what_was_read_as_eight(tmp_path: Path) -> None:
    even = bytes(byte | byte.bit_count() % 2 << 7 for byte in SHIP)
    with speaking(even) as line:
        done = probe(line.path, "--seconds", "1", cwd=tmp_path)
        table = pasted(done, tmp_path)["source"]["nmea0183"]
    assert (table["bytesize"], table["parity"]) == (7, "even")
    assert "9600 baud 7E1" in done.out
    assert "with the right checksum" in done.out


def test_lines_of_a_device_that_no_driver_knows(tmp_path: Path) -> None:
    with speaking(b"4.54pH 24.7\xf8C ATC\r\n") as line:
        done = probe(line.path, "--seconds", "0.1", cwd=tmp_path)
        table = pasted(done, tmp_path)["source"]["lines"]
    assert done.code == 0
    assert table["driver"] == "serial_line"
    assert set(table["values"]) == {"value1", "value2"}


def test_garbage_is_shown_and_not_named(tmp_path: Path) -> None:
    with speaking(bytes(range(0, 256, 3))) as line:
        done = probe(line.path, "--seconds", "0.02", cwd=tmp_path)
    assert done.code == 1
    assert "no driver reads this" in done.out
    assert "no driver knows it" in done.out
    assert "fieldgate.toml" not in done.out


def test_silence_and_nobody_is_asked(tmp_path: Path) -> None:
    with answering(lambda asked: b"") as (line, asked):
        done = probe(line.path, "--seconds", "0.02", "--listen", cwd=tmp_path)
    assert done.code == 1
    assert asked == b""
    assert "Nothing is heard" in done.out


def slaves(of: dict[int, Slave], echo: bool) -> Callable[[bytes], bytes]:
    """A bus of Modbus devices; echo: behind an adapter that hears itself."""

    def answer(asked: bytes) -> bytes:
        slave = of.get(asked[0]) if len(asked) == 8 and crc16(asked) == 0 else None
        heard = asked if echo else b""
        if slave is None:
            return heard
        said = asked[:1] + slave.answer(asked[1:-2])
        return heard + said + crc16(said).to_bytes(2, "little")

    return answer


@pytest.mark.parametrize(
    ("of", "told", "slave", "echo"),
    [
        ({2: Slave(holding={0: 215}), 10: Slave()}, "address 2 says 215 for its register 0", 2, False),
        ({3: Slave(fails=2)}, "address 3 answers illegal data address for register 0", 3, True),
    ],
)
def test_a_modbus_device_is_asked(of: dict[int, Slave], told: str, slave: int, echo: bool, tmp_path: Path) -> None:
    with answering(slaves(of, echo)) as (line, _):
        done = probe(line.path, "--seconds", "0.02", cwd=tmp_path)
        assert done.code == 0, done.out + done.err
        table = pasted(done, tmp_path)["source"][f"modbus-{slave}"]
    assert told in done.out
    assert (table["driver"], table["slave"], table["baud"]) == ("modbus_rtu", slave, 9600)


def test_an_answer_with_a_wrong_checksum_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(asked: bytes) -> bytes:
        return asked[:2] + b"\x02\x00\xd7\x00\x00"

    with answering(spoilt) as (line, asked), pytest.raises(SystemExit) as caught:
        monkeypatch.setattr(probe_asking, "_ANSWER_S", 0.02)
        monkeypatch.setattr(probe_asking, "_SDI12_S", 0.02)
        cli.main(["probe", str(line.path), "--seconds", "0.02"])
    assert caught.value.code == 1
    assert set(asked[:8]) <= set(range(256))
    assert b"?!" in bytes(byte & 0x7F for byte in asked)


def test_an_sdi12_sensor_is_asked_for_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {b"?!": b"C\r\n", b"CI!": b"C13ACME   SOIL8 100\r\n"}
    monkeypatch.setattr(probe_asking, "_ANSWER_S", 0.02)
    with answering(lambda asked: said.get(asked, b"")) as (line, _), pytest.raises(SystemExit) as caught:
        cli.main(["probe", str(line.path), "--seconds", "0.02"])
    told = capsys.readouterr()
    done = Done(int(str(caught.value.code)), told.out, told.err)
    assert done.code == 0
    assert "a sensor answers with address C, and is 13ACME SOIL8 100" in " ".join(told.out.split())
    if "sdi12" in registry.names():
        assert pasted(done, tmp_path)["source"]["sdi12-c"]["address"] == "C"


def test_a_port_that_another_holds_is_refused_with_its_name(tmp_path: Path) -> None:
    with Line() as line:
        code = "import sys, serial; port = serial.Serial(sys.argv[1], exclusive=True); print(); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(line.path)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            done = probe(line.path, cwd=tmp_path)
        finally:
            holder.communicate()
    assert done.code == 3
    assert "is in use by" in done.err
    assert str(holder.pid) in done.err
    assert "Traceback" not in done.err


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    done = probe("/dev/serial/by-id/usb-nothing", cwd=tmp_path)
    assert done.code == 3
    assert "is not there" in done.err


def test_an_unplug_in_the_middle(tmp_path: Path) -> None:
    with Line() as line:
        probing = subprocess.Popen([*FIELDGATE, "probe", str(line.path), "--seconds", "20"], stderr=subprocess.PIPE)
        assert probing.stderr is not None
        probing.stderr.readline()
        line.close()
        _, told = probing.communicate(timeout=30)
    assert probing.returncode == 3
    assert b"gone" in told or b"not there" in told


def test_it_is_interrupted_and_lets_go_of_the_port(tmp_path: Path) -> None:
    with Line() as line:
        heeds = ("env", "--default-signal=INT")  # tests run in the background ignore it, and so would what they start
        command = [*heeds, *FIELDGATE, "probe", str(line.path), "--seconds", "60"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as probing:
            try:
                assert probing.stderr is not None
                probing.stderr.readline()
                probing.send_signal(signal.SIGINT)
                _, told = probing.communicate(timeout=30)
            finally:
                probing.kill()
        assert probing.returncode == 130
        assert told.splitlines()[-1] == b"fieldgate: interrupted"
        again = probe(line.path, "--seconds", "0.02", "--listen", cwd=tmp_path)
    assert again.code == 1


def test_the_ports_there_are(tmp_path: Path) -> None:
    done = fieldgate("probe", cwd=tmp_path)
    assert done.code == (1 if "no serial port" in done.out else 0)
    assert done.out
    assert done.err == ""


@pytest.mark.parametrize("where", ["mqtt://", "http://127.0.0.1", "mqtt://u:p@127.0.0.1", "mqtt://127.0.0.1/x"])
def test_an_address_that_is_none(where: str, tmp_path: Path) -> None:
    assert probe(where, cwd=tmp_path).code == 2


# A broker


async def publish(port: int, messages: list[tuple[str, bytes, bool]], over: asyncio.Event) -> None:
    """Again and again; what is retained, once."""
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic, payload, retain in messages:
            if retain:
                await client.publish(topic, payload, retain=True)
        while not over.is_set():
            for topic, payload, retain in messages:
                if not retain:
                    await client.publish(topic, payload)
            await asyncio.sleep(0.05)


def probed(broker: Mosquitto, messages: list[tuple[str, bytes, bool]], *args: str, cwd: Path) -> Done:
    """The probe, while these are published."""

    async def run() -> Done:
        over = asyncio.Event()
        publishing = asyncio.create_task(publish(broker.port, messages, over))
        done = await asyncio.to_thread(probe, broker.url, "--seconds", "0.5", *args, cwd=cwd)
        over.set()
        await publishing
        return done

    return asyncio.run(run())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto") as made:
        yield made


def test_live_topics_with_what_reads_them(broker: Mosquitto, tmp_path: Path) -> None:
    messages = [
        ("farm/house3/climate", b'{"temperature": 21.5, "house": {"fan": true}}', False),
        ("farm/silo", b"17.25", False),
        ("cam/frame", b"\xff\xd8\xff\xe0", False),
        ("old/value", b'{"t": 1}', True),
    ]
    done = probed(broker, messages, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "on 4 topics" in done.out
    assert "cam/frame: nothing reads this: ff d8 ff e0" in done.out
    assert 'old/value (retained): mqtt: {"t": 1}' in done.out
    tables = pasted(done, tmp_path)
    assert tables["broker"]["probed"]["url"] == broker.url
    by_topic = {table["topic"]: table for table in tables["source"].values()}
    assert set(by_topic) == {"farm/house3/climate", "farm/silo"}
    assert by_topic["farm/silo"]["payload"] == "text"
    values = by_topic["farm/house3/climate"]["values"]
    assert values == {"temperature": {}, "house.fan": {"pointer": "/house/fan", "type": "bool"}}


def test_what_the_profiles_make_of_a_home(broker: Mosquitto, tmp_path: Path) -> None:
    read = ("tasmota", "shelly", "zigbee2mqtt", "homeassistant", "chirpstack", "senml")
    messages = [(*message, False) for name in ("chirpstack", "senml") for message in RECORDINGS[name][0].messages]
    messages += [*firmware.begin(), *itertools.islice(firmware.messages(), 12)]
    done = probed(broker, messages, cwd=tmp_path)
    assert done.code == 0, done.err
    drivers = {table["driver"] for table in pasted(done, tmp_path)["source"].values()}
    assert set(read) <= drivers
    for name in read:
        assert f"This is {name} (" in done.out
    assert "zigbee2mqtt/bridge/devices: zigbee2mqtt: it has no value itself" in done.out
    assert "source.zigbee2mqtt-" not in done.out


def test_topics_that_are_alike_are_sources_of_their_own(broker: Mosquitto, tmp_path: Path) -> None:
    messages = [(topic, b"1", False) for topic in ("a/b", "A/B", "a b", "x" * 90, "x" * 91, "\u00e9")]
    tables = pasted(probed(broker, messages, cwd=tmp_path), tmp_path)["source"]
    assert {table["topic"] for table in tables.values()} == {topic for topic, _, _ in messages}


def test_a_filter_and_a_broker_where_nothing_is_published(broker: Mosquitto, tmp_path: Path) -> None:
    done = probed(broker, [("farm/silo", b"17.25", False)], "--topic", "quay/#", cwd=tmp_path)
    assert done.code == 1
    assert "Nothing is published" in done.out
    assert probe(broker.url, "--topic", "a/#/b", cwd=tmp_path).code == 2


def test_user_and_password_by_reference(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("oats")
    with Mosquitto(tmp_path / "mosquitto", password=("anna", "oats")) as broker:
        where = ["--user", "anna", "--seconds", "0.2"]
        good = probe(broker.url, *where, "--password", f"file:{secret}", cwd=tmp_path)
        assert good.code == 1
        assert "Nothing is published" in good.out
        wrong = fieldgate("probe", broker.url, *where, "--password", "env:P", cwd=tmp_path, env={"P": "barley"})
        assert wrong.code == 3
        assert "user and password" in wrong.err
        assert "barley" not in wrong.err + wrong.out
        plain = probe(broker.url, *where, "--password", "oats", cwd=tmp_path)
        assert plain.code == 2
        assert "oats" not in plain.err


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    done = probe("mqtt://127.0.0.1:1", "--seconds", "0.2", cwd=tmp_path)
    assert done.code == 3
    assert "no MQTT session" in done.err


def test_more_topics_than_are_looked_at(broker: Mosquitto, tmp_path: Path) -> None:
    messages = [(f"t/{number}", b"1", True) for number in range(1_030)]
    messages.append(("long", bytes(300_000), True))
    done = probed(broker, messages, cwd=tmp_path)
    assert done.code in (0, 1)
    assert "on 1024 topics" in done.out
    assert "are left out" in done.out
    assert "more topics" in done.out


def test_two_probes_do_not_end_each_other(broker: Mosquitto, tmp_path: Path) -> None:
    command = [*FIELDGATE, "probe", broker.url, "--seconds", "1"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for one in both:
        out, err = one.communicate(timeout=30)
        assert one.returncode == 1, err
        assert b"0 messages" in out
        assert b"ended" not in err
    assert "already connected" not in broker.log
    assert time.monotonic()
