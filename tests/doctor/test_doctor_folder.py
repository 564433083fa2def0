"""Configuration, key, store, folder and ports of a gateway that `fieldgate init` made, broken in each way."""

import asyncio
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.command import fieldgate
from fakes.configs import private
from fakes.tree import tree

from drivers.port_holders import holder
from gateway import doctor, place
from gateway.core.note import ED25519
from gateway.doctor import Case, Outcome, configuration, key, names, permissions, ports, running, salvage, store, system
from gateway.errors import FieldgateError, UnreachableError
from gateway.settings import Settings
from gateway.store import DATABASE, SIGN_STATE

SOURCES = """
[source.scale]
driver = "scale"
variant = "st-gs"
port = "{home}/scale"
[source.meter-a]
driver = "modbus_rtu"
port = "{home}/bus"
slave = 1
numbering = "zero"
values = {{ v = {{ register = 1, type = "uint16" }} }}
[source.meter-b]
driver = "modbus_rtu"
port = "{home}/bus"
slave = 2
numbering = "zero"
values = {{ v = {{ register = 1, type = "uint16" }} }}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    done = fieldgate("init", "--name", "hen.example", "--data-dir", str(folder / "data"), cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    home = tmp_path / "home"
    shutil.copytree(made, home)
    file = home / "fieldgate.toml"
    file.write_text(file.read_text().replace(str(made), str(home)))
    return home


def case(home: Path, *, sound: bool = False, **more: object) -> Case:
    settings, faults = doctor.read(home / "fieldgate.toml")
    assert sound or not faults, faults
    return Case(**{"path": home / "fieldgate.toml", "settings": settings, "faults": faults, **more})  # type: ignore[arg-type]


def ids(outcome: Outcome) -> list[str]:
    return [one.condition for one in outcome.problems]


def look(module: object, given: Case) -> Outcome:
    outcome: Outcome = asyncio.run(module.look(given))  # type: ignore[attr-defined]
    return outcome


def test_all_of_a_new_gateway_is_well(home: Path) -> None:
    assert ids(look(configuration, case(home))) == ["config-no-source"]
    file = home / "fieldgate.toml"
    file.write_text(file.read_text() + '[source.own]\ndriver = "system"\n')
    for module in (configuration, key, store, permissions, ports, names):
        outcome = look(module, case(home))
        assert (ids(outcome), outcome.unseen) == ([], False), module
        assert outcome.said


# -- the key ----------------------------------------------------------------------------------------------------------


def test_a_key_that_is_gone_open_to_others_or_no_key(home: Path) -> None:
    path = home / "log.key"
    path.chmod(0o644)
    assert ids(look(key, case(home))) == ["key-mode"]
    path.chmod(0o600)
    path.write_text("PRIVATE+KEY+none\n")
    outcome = look(key, case(home))
    assert ids(outcome) == ["key-unusable"]
    assert "none" not in outcome.problems[0].what.replace(str(path), "")
    path.unlink()
    assert ids(look(key, case(home))) == ["key-missing"]


def test_a_key_of_another_gateway(home: Path) -> None:
    (home / "log.key").write_text(private("hen.example/1", ED25519))
    outcome = look(key, case(home))
    assert ids(outcome) == ["key-foreign"]
    (home / "log.key").write_text(private("other.example/1", ED25519))
    assert ids(look(key, case(home))) == ["key-unusable"]


def test_a_key_that_only_the_service_has(home: Path) -> None:
    text = (home / "fieldgate.toml").read_text()
    (home / "fieldgate.toml").write_text(text.replace(f"file:{home}/log.key", "credential:log.key"))
    outcome = look(key, case(home))
    assert (ids(outcome), outcome.unseen) == (["check-unseen"], True)
    assert ids(look(key, case(home, inside=True))) == ["key-unusable"]


# -- the store --------------------------------------------------------------------------------------------------------


def test_a_store_that_is_gone_or_damaged(home: Path) -> None:
    path = home / "data" / DATABASE
    kept = path.read_bytes()
    path.write_bytes(b"not a database at all" * 100)
    assert ids(look(store, case(home))) == ["store-damaged"]
    path.unlink()
    assert ids(look(store, case(home))) == ["store-missing"]
    path.write_bytes(kept)
    with sqlite3.connect(path) as con:
        con.execute("PRAGMA user_version=1")
    outcome = look(store, case(home))
    assert ids(outcome) == ["store-unopened"]
    assert "older version" in outcome.problems[0].what


def test_a_sign_state_that_is_gone_of_another_machine_or_of_another_life(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "data" / SIGN_STATE
    kept = path.read_bytes()
    with sqlite3.connect(path) as con:
        con.execute("UPDATE head SET size=3, header=x'00'")
    con.close()
    assert ids(look(store, case(home))) == ["signing-held"]
    assert ids(look(store, case(home, state={}))) == [], "a running gateway moves it on meanwhile"
    path.write_bytes(kept)
    with sqlite3.connect(path) as con:
        con.execute("UPDATE head SET machine=?", ("0" * 32,))
    con.close()
    monkeypatch.setattr(place, "find", lambda _: place.Place("1" * 32, ""))
    outcome = look(store, case(home))
    assert ids(outcome) == ["signing-held"]
    assert "machine" in outcome.problems[0].what
    path.unlink()
    assert ids(look(store, case(home))) == ["signing-held"]


def test_looking_changes_nothing(home: Path) -> None:
    before = {path.name: path.read_bytes() for path in (home / "data").iterdir() if path.suffix == ".db"}
    for module in (key, store, permissions):
        look(module, case(home))
    assert {path.name: path.read_bytes() for path in (home / "data").iterdir() if path.suffix == ".db"} == before


# -- the folder and secrets -------------------------------------------------------------------------------------------


def test_a_folder_that_is_open_gone_or_not_all_its_own(home: Path) -> None:
    (home / "data").chmod(0o755)
    assert ids(look(permissions, case(home))) == ["data-dir-open"]
    (home / "data").chmod(0o700)
    if os.geteuid() == 0:
        (home / "data" / "lost+found").mkdir()
        os.chown(home / "data" / "lost+found", 12345, 12345)
        assert ids(look(permissions, case(home))) == []
        os.chown(home / "data" / DATABASE, 12345, 12345)
        outcome = look(permissions, case(home))
        assert ids(outcome) == ["data-dir-owner"]
        assert "sudo chown -R root:" in outcome.problems[0].cure
        os.chown(home / "data" / DATABASE, 0, 0)
    shutil.rmtree(home / "data")
    assert ids(look(permissions, case(home))) == ["data-dir-missing"]
    assert ids(look(store, case(home))) == ["store-missing"]


def test_a_password_that_is_open_empty_or_gone(home: Path) -> None:
    path = home / "password"
    with (home / "fieldgate.toml").open("a") as file:
        file.write(f'[broker.local]\nurl = "mqtt://127.0.0.1:1"\nuser = "u"\npassword = "file:{path}"\n')
    assert ids(look(permissions, case(home))) == ["secret-unusable"]
    path.write_text("hunter2\n")
    path.chmod(0o644)
    outcome = look(permissions, case(home))
    assert (ids(outcome), outcome.problems[0].cure) == (["secret-unusable"], f"sudo chmod 600 {path}")
    path.chmod(0o600)
    assert ids(look(permissions, case(home))) == []


# -- the configuration ------------------------------------------------------------------------------------------------


def test_what_is_sound_of_a_faulty_configuration_is_looked_into(home: Path) -> None:
    text = (home / "fieldgate.toml").read_text()
    more = """
[broker.local]
url = "mqtt://127.0.0.1:1"
[broker.bad]
url = "ftp://nowhere"
[source.good]
driver = "mqtt"
broker = "local"
topic = "a"
values = { v = { pointer = "/v" } }
[source.typo]
driver = "mqtt"
broker = "local"
topc = "a"
[source.orphan]
driver = "mqtt"
broker = "bad"
topic = "b"
values = { v = { pointer = "/v" } }
[seal]
max_count = 0
"""
    (home / "fieldgate.toml").write_text(text + more)
    settings, faults = salvage.read(home / "fieldgate.toml")
    assert settings is not None
    assert (sorted(settings.broker), sorted(settings.source), settings.seal.max_count) == (["local"], ["good"], 4096)
    outcome = look(configuration, case(home, sound=True))
    assert len(outcome.problems) == len(faults) >= 3
    assert all(one.condition == "config-fault" and one.cure for one in outcome.problems)
    assert any(one.subject.startswith(f"{home}/fieldgate.toml:") for one in outcome.problems)


@pytest.mark.parametrize("text", ["[gateway\n", "", "x = 1\n", "[gateway]\nname = 'UPPER'\n", "\udcff"])
def test_a_configuration_of_which_nothing_is_sound(home: Path, text: str) -> None:
    (home / "fieldgate.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    settings, faults = salvage.read(home / "fieldgate.toml")
    assert settings is None
    assert faults
    assert salvage.read(home / "none.toml")[0] is None


def test_advice_is_told_and_drop_ins_are_read(home: Path) -> None:
    (home / "fieldgate.d").mkdir()
    drop_in = home / "fieldgate.d" / "broker.toml"
    drop_in.write_text('[broker.spare]\nurl = "mqtt://127.0.0.1:1"\n')
    assert ("config-broker-unused", "broker.spare") in [
        (one.condition, one.subject) for one in look(configuration, case(home)).problems
    ]
    drop_in.write_text('[broker.spare]\nurl = "ftp://x"\n[broker.good]\nurl = "mqtt://127.0.0.1:1"\n')
    settings, faults = salvage.read(home / "fieldgate.toml")
    assert settings is not None
    assert (list(settings.broker), [fault.file for fault in faults]) == (["good"], [str(drop_in)])


# -- ports ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wired(home: Path) -> Iterator[Callable[[str], int]]:
    """Makes a pseudo-terminal under a name; the descriptor of its far end."""
    with (home / "fieldgate.toml").open("a") as file:
        file.write(SOURCES.format(home=home))
    open_: list[int] = []

    def wire(name: str) -> int:
        near, far = pty.openpty()
        open_.extend((near, far))
        (home / name).symlink_to(os.ttyname(far))
        os.close(open_.pop())
        return near

    yield wire
    for descriptor in open_:
        os.close(descriptor)


def test_ports_that_are_there_and_gone(home: Path, wired: Callable[[str], int]) -> None:
    outcome = look(ports, case(home))
    assert [(one.condition, one.subject) for one in outcome.problems] == [
        ("port-missing", "meter-a, meter-b"),
        ("port-missing", "scale"),
    ]
    assert "Plug it in" in outcome.problems[1].cure
    wired("scale")
    wired("bus")
    outcome = look(ports, case(home))
    assert ids(outcome) == []
    assert str(home / "scale") in outcome.figures


def test_a_port_that_another_process_holds(home: Path, wired: Callable[[str], int]) -> None:
    wired("scale")
    wired("bus")
    code = (
        f"import sys, time; port = open({str(home / 'scale')!r}, 'rb', 0); print('open', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            outcome = look(ports, case(home))
            assert [(one.condition, one.subject) for one in outcome.problems] == [("port-busy", "scale")]
            assert f"(process {other.pid})" in outcome.problems[0].what
            assert f"(process {other.pid})" in holder(str(home / "scale"))
        finally:
            other.kill()


def test_a_port_that_is_a_file_may_not_be_opened_or_is_the_console(
    home: Path, wired: Callable[[str], int], tmp_path: Path
) -> None:
    (home / "scale").write_text("no port")
    wired("bus")
    device = os.path.realpath(home / "bus")
    root = tree(
        tmp_path / "root", {"proc/cmdline": f"root=/dev/sda console={device.removeprefix('/dev/')},115200 quiet"}
    )
    outcome = look(ports, case(home, root=root))
    assert sorted(ids(outcome)) == ["port-console", "port-no-device"]
    facts = ports._facts(str(home / "bus"), system.User(4711, frozenset(), "gw"), set(), Path("/"))
    assert [one.condition for one in ports.judge(facts, ["a"])] == ["port-permission"]
    modems = ports.Facts("/dev/ttyUSB0", "port", modems=True)
    assert [one.condition for one in ports.judge(modems, ["a"])] == ["port-modems"]
    braille = ports.Facts("/dev/ttyUSB0", "port", braille=True)
    assert [one.condition for one in ports.judge(braille, ["a"])] == ["port-braille"]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", (True, False)),
        ("E:ID_VENDOR_ID=1a86\nE:ID_MODEL_ID=7523\n", (True, True)),
        ("E:ID_VENDOR_ID=1a86\nE:ID_MODEL_ID=7523\nE:ID_MM_PORT_IGNORE=1\n", (False, True)),
        ("E:ID_VENDOR_ID=0403\nE:ID_MODEL_ID=6001\nE:ID_MM_PORT_IGNORE=0\n", (True, False)),
        ("E:ID_MODEL_ID=7523\n", (True, False)),
    ],
)
def test_who_asks_a_port_what_it_is(tmp_path: Path, said: str, found: tuple[bool, bool]) -> None:
    files = {"proc/7/comm": "ModemManager\n", "proc/8/comm": "brltty\n", "run/udev/data/c188:3": said}
    assert ports.asking(os.makedev(188, 3), tree(tmp_path / "root", files)) == found
    assert ports.asking(os.makedev(188, 3), tree(tmp_path / "none", {"proc/9/comm": "bash\n"})) == (False, False)


# -- names ------------------------------------------------------------------------------------------------------------


def test_names(tmp_path: Path, home: Path) -> None:
    with (home / "fieldgate.toml").open("a") as file:
        file.write('[source.far]\ndriver = "nmea0183"\ntcp = "no-such-host.invalid:4001"\n')
        file.write('[broker.here]\nurl = "mqtt://localhost"\n[broker.there]\nurl = "mqtt://127.0.0.1"\n')
    root = tree(tmp_path / "root", {"etc/resolv.conf": "# none\nsearch x\n"})
    outcome = look(names, case(home, root=root))
    assert ids(outcome) == ["dns-none", "network-name"]
    assert outcome.problems[1].subject == "far"
    assert set(outcome.figures) == {"no-such-host.invalid", "localhost", "servers"}
    slow = names.judge([names.Lookup("a", (), 2.1), names.Lookup("b", (), 0.1)], ["10.0.0.1"])
    assert ids(slow) == ["dns-slow"]


# -- the running gateway ----------------------------------------------------------------------------------------------


def because(cause: BaseException) -> FieldgateError:
    error = UnreachableError("told so", cure="do it")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("silence", "found"),
    [
        (because(FileNotFoundError()), ["gateway-stopped"]),
        (because(ConnectionRefusedError()), ["gateway-stopped"]),
        (because(TimeoutError()), ["gateway-silent"]),
        (because(PermissionError()), ["check-unseen"]),
        (UnreachableError("another version"), ["gateway-silent"]),
    ],
)
def test_a_gateway_that_does_not_answer(silence: FieldgateError, found: list[str]) -> None:
    assert ids(running.judge(None, silence)) == found


def test_what_the_gateway_tells_is_taken_as_far_as_it_is_understood() -> None:
    good = {"condition": "broker-away", "severity": "worst", "subject": "local", "what": "w", "cure": "c", "values": 7}
    told = [good, {**good, "condition": "of-tomorrow"}, {**good, "what": None}, {"condition": []}, 7, None]
    (problem,) = running.judge({"problems": told}, None).problems
    assert problem == ("broker-away", "error", "local", "w", "c", {"subject": "local"})


def test_settings_are_needed_for_what_needs_them() -> None:
    assert isinstance(Settings, type)
    report = asyncio.run(doctor.examination(Case(settings=None)))
    assert {check.name: check.state for check in report.checks}["brokers"] == "unseen"
