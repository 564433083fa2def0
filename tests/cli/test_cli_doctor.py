"""`fieldgate doctor` as a process in each situation, and the support archive, in which no planted secret is left."""

import asyncio
import contextlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.broker import Mosquitto
from fakes.card import Card
from fakes.command import FIELDGATE, Done, fieldgate
from fakes.configs import vkey
from fakes.control_socket import answering, http
from fakes.field import Field
from fakes.other_user import SETPRIV, reachable_folder

from gateway.cli.doctor import exit_code
from gateway.conditions import SIGNING_HELD, STORE_DAMAGED, Problem
from gateway.conditions.found import CLOCK_UNSET, CLOCK_UNSYNCHRONISED, GATEWAY_STOPPED
from gateway.core.limits import BUNDLE_MEMBER_BYTES
from gateway.doctor import CHECKS, Checked, Report, bundle
from gateway.store import SIGN_STATE

NODE = '[node.far]\nurl = "http://127.0.0.1:1"\nseen_key = "{key}"\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    done = fieldgate("init", "--name", "hen.example", "--data-dir", str(tmp_path / "data"), cwd=tmp_path)
    assert done.code == 0, done.err
    return tmp_path


def found(done: Done) -> list[tuple[str, str]]:
    assert "Traceback" not in done.err
    return [(one["condition"], one["subject"]) for one in json.loads(done.out)["findings"]]


def add(home: Path, text: str) -> None:
    with (home / "fieldgate.toml").open("a") as file:
        file.write(text)


# -- what it says -----------------------------------------------------------------------------------------------------


def test_a_new_gateway_that_does_not_run(home: Path) -> None:
    done = fieldgate("doctor", cwd=home)
    assert done.code == 3
    assert done.err == ""
    first, *lines = done.out.splitlines()
    assert first.startswith("1 error")
    at = lines.index("ERROR    The gateway does not run")
    assert lines[at + 1].startswith("  cure   Start it: ")
    assert "gateway-stopped" in lines[at + 2]
    for check in CHECKS:
        assert any(line[9:].startswith(check.name) for line in lines), check.name
    assert any(line.startswith("good     key") for line in lines)
    assert "vkey: " not in done.out
    assert "vkey: hen.example/1+" in fieldgate("doctor", "-v", cwd=home).out


def test_as_json(home: Path) -> None:
    done = fieldgate("doctor", "--json", cwd=home)
    told: dict[str, Any] = json.loads(done.out)
    assert (done.code, set(told)) == (3, {"findings", "checks"})
    assert [one["check"] for one in told["checks"]] == [one.name for one in CHECKS]
    assert all(set(one) == {"check", "state", "said", "figures"} for one in told["checks"])
    assert {one["state"] for one in told["checks"]} <= {"good", "found", "unseen"}
    severities = [one["severity"] for one in told["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    (stopped,) = (one for one in told["findings"] if one["condition"] == "gateway-stopped")
    assert (stopped["check"], stopped["severity"], stopped["values"]) == ("gateway", "error", {"subject": ""})


@pytest.mark.parametrize(
    ("problems", "code"),
    [
        ([], 0),
        ([CLOCK_UNSYNCHRONISED.problem()], 0),
        ([CLOCK_UNSYNCHRONISED.problem(), CLOCK_UNSET.problem()], 1),
        ([CLOCK_UNSET.problem(), GATEWAY_STOPPED.problem()], 3),
        ([GATEWAY_STOPPED.problem(), SIGNING_HELD.problem(what="w", cure="c")], 4),
        ([STORE_DAMAGED.problem(what="w", cure="c")], 4),
    ],
)
def test_its_exit_code_is_that_of_the_worst(problems: list[Problem], code: int) -> None:
    assert exit_code(Report((Checked("x", "found", "", tuple(problems)),))) == code


def test_signing_that_is_held(home: Path) -> None:
    (home / "data" / SIGN_STATE).unlink()
    done = fieldgate("doctor", "--json", cwd=home)
    assert done.code == 4
    assert ("signing-held", "") in found(done)


def test_a_faulty_configuration_hides_nothing_else(home: Path) -> None:
    add(home, '[broker.local]\nurl = "mqtt://127.0.0.1:1"\n[source.a]\ndriver = "mqtt"\nbroker = "local"\ntopc = "x"\n')
    done = fieldgate("doctor", "--json", cwd=home)
    assert done.code == 3
    told = found(done)
    assert ("broker-away", "local") in told
    assert any(one == "config-fault" and subject.startswith("fieldgate.toml:") for one, subject in told)
    assert ("gateway-stopped", "") in told


@pytest.mark.parametrize("text", [None, "[gateway\n", "x"], ids=["none", "broken", "no-toml"])
def test_no_configuration_at_all(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "fieldgate.toml").write_text(text)
    done = fieldgate("doctor", "--json", cwd=tmp_path)
    assert done.code == 3
    conditions = [one for one, _ in found(done)]
    assert "config-fault" in conditions
    assert "check-unseen" in conditions
    states = {one["check"]: one["state"] for one in json.loads(done.out)["checks"]}
    assert states["memory"] in {"good", "found"}
    assert states["brokers"] == "unseen"


def test_a_gateway_that_answers_nonsense_or_another_version(home: Path) -> None:
    socket = home / "data" / "control.sock"
    with answering(socket, b"nonsense"):
        assert ("gateway-silent", "") in found(fieldgate("doctor", "--json", cwd=home))
    told = {"version": "9.9", "problems": [{"condition": "of-tomorrow"}], "sources": 7}
    with answering(socket, http(json.dumps(told).encode())):
        done = fieldgate("doctor", "--json", cwd=home)
    assert "Traceback" not in done.err
    conditions = [one for one, _ in found(done)]
    assert "gateway-stopped" not in conditions
    assert {"gateway-old", "check-failed"} & set(conditions)


def test_a_file_that_is_no_toml_beside_a_gateway_that_runs(home: Path) -> None:
    told = {
        "version": "0",
        "problems": [
            {
                "condition": "source-away",
                "subject": "climate",
                "what": "Source climate is away: gone",
                "cure": "look",
                "values": {"subject": "climate", "detail": "gone", "cure": "look"},
            }
        ],
        "sources": [],
    }
    add(home, "[broken\n")
    with answering(home / "data" / "control.sock", http(json.dumps(told).encode())):
        done = fieldgate("doctor", "--json", cwd=home)
    conditions = found(done)
    assert ("source-away", "climate") in conditions
    assert not {"gateway-stopped", "gateway-silent"} & {one for one, _ in conditions}
    (away,) = [one for one in json.loads(done.out)["findings"] if one["condition"] == "source-away"]
    assert away["values"] == {"subject": "climate", "detail": "gone", "cure": "look"}
    assert ("gateway-stopped", "") in found(fieldgate("doctor", "--json", cwd=home))


def test_a_file_that_does_not_say_where_its_data_lies(tmp_path: Path) -> None:
    (tmp_path / "fieldgate.toml").write_text("[gateway\n")
    done = fieldgate("doctor", "--json", cwd=tmp_path)
    assert not {"gateway-stopped", "gateway-silent"} & {one for one, _ in found(done)}
    assert ("check-unseen", "the running gateway") in found(done)


def test_what_comes_from_outside_is_printed_safely(home: Path) -> None:
    told = {
        "problems": [{"condition": "page-away", "subject": "", "what": "\x1b[2J gone", "cure": "c\r\n"}],
        "sources": [],
    }
    with answering(home / "data" / "control.sock", http(json.dumps(told).encode())):
        done = fieldgate("doctor", cwd=home)
    assert "\x1b" not in done.out
    assert "\\x1b[2J gone" in done.out


def test_on_a_terminal_it_shows_how_far_it_is(home: Path) -> None:
    near, far = pty.openpty()
    try:
        done = subprocess.run(
            [*FIELDGATE, "doctor"], cwd=home, stdout=subprocess.PIPE, stderr=far, timeout=60, check=False
        )
        os.set_blocking(near, False)
        shown = os.read(near, 1 << 16)
    finally:
        os.close(near)
        os.close(far)
    assert done.returncode == 3
    assert b"looking" in shown
    assert b"\x1b" not in done.stdout


def test_colour_is_for_a_terminal(home: Path) -> None:
    near, far = pty.openpty()
    try:
        subprocess.run([*FIELDGATE, "doctor"], cwd=home, stdout=far, stderr=subprocess.PIPE, timeout=60, check=False)
        os.set_blocking(near, False)
        assert b"\x1b[31m\x1b[1mERROR" in os.read(near, 1 << 16)
    finally:
        os.close(near)
        os.close(far)


@pytest.fixture
def foreign() -> Iterator[Path]:
    """Where a gateway of root's lies, which another user looks at."""
    with reachable_folder() as folder:
        yield folder


def test_as_another_user_it_says_what_it_may_not_see_and_how_to(foreign: Path) -> None:
    made = fieldgate("init", "--name", "hen.example", "--data-dir", str(foreign / "data"), cwd=foreign)
    assert made.code == 0, made.err
    (foreign / "fieldgate.toml").chmod(0o644)
    done = subprocess.run(
        [*SETPRIV, *FIELDGATE, "doctor", "--json"], cwd=foreign, capture_output=True, timeout=60, check=False
    )
    told = json.loads(done.stdout)
    assert b"Traceback" not in done.stderr
    unseen = {one["subject"]: one["cure"] for one in told["findings"] if one["condition"] == "check-unseen"}
    assert {"the log key", "the store", "the running gateway"} <= set(unseen)
    assert "sudo -u root fieldgate doctor" in unseen["the store"]
    states = {one["check"]: one["state"] for one in told["checks"]}
    assert (states["store"], states["key"], states["gateway"]) == ("unseen", "unseen", "unseen")
    assert not [one for one in told["findings"] if one["condition"] in {"key-unusable", "store-missing", "key-missing"}]


# -- beside a running gateway -----------------------------------------------------------------------------------------

RUNNING = """
[seal]
max_age_s = 0.5
[broker.local]
url = "mqtt://127.0.0.1:{port}"
window = 50
[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/climate"
values = {{ n = {{ pointer = "/n" }} }}
"""


async def _doctor(field: Field) -> Done:
    return await asyncio.to_thread(fieldgate, "doctor", "--json", cwd=field.home)


async def _on_the_page(field: Field) -> set[str]:
    """What the gateway itself finds when its page is asked to look."""
    page = f"http://127.0.0.1:{field.web_port}"
    async with aiohttp.ClientSession() as http_client:
        asked = http_client.post(f"{page}/doctor", data={}, headers={"Origin": page}, allow_redirects=False)
        async with asked as answer:
            assert answer.status == 303
        async with asyncio.timeout(30):
            while True:
                async with http_client.get(f"{page}/doctor") as answer:
                    if told := set(re.findall(r'data-problem="([a-z0-9-]+)"', await answer.text())):
                        return told


async def test_beside_a_running_gateway(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", max_inflight=50)
    await asyncio.to_thread(broker.start)
    field = Field(tmp_path, RUNNING.format(port=broker.port))
    await field.make()
    try:
        async with field.started():
            async with asyncio.timeout(30):
                while not ((await field.status())["nodes"]["node"]["seen"] and (await field.status())["chain"]["size"]):
                    pass
            ours = {one for one, _ in found(await _doctor(field)) if not one.startswith("disk-")}  # this machine's
            assert ours <= {"clock-unset", "clock-unsynchronised"}
            await asyncio.to_thread(fieldgate, "doctor", "--bundle", "s.tgz", cwd=field.home)
            files = await asyncio.to_thread(unpacked, field.home / "s.tgz")
            assert json.loads(files["fieldgate-support/logs.json"])["records"]
            assert json.loads(files["fieldgate-support/status.json"])["sources"]["climate"]["up"]
            path = field.home / "fieldgate.toml"
            right = await asyncio.to_thread(path.read_text)
            (line,) = (one for one in right.splitlines() if one.startswith("seen_key"))
            wrong = right.replace(line, f'seen_key = "{vkey("node.example")}"')
            await asyncio.to_thread(path.write_text, wrong)
            assert ("node-key", "node") in found(await _doctor(field))
            await asyncio.to_thread(path.write_text, right)
            before = (await field.status())["sources"]["climate"]
            await asyncio.to_thread(broker.stop)
            await field.node.end(signal.SIGKILL)
            told = found(await _doctor(field))
            assert ("broker-away", "local") in told
            assert ("node-away", "node") in told
            assert len([one for one, _ in told if one == "broker-away"]) == 1
            assert {"broker-away", "node-away"} <= await _on_the_page(field)
            await asyncio.to_thread(broker.start)
            assert before["up"]
            assert await field.gateway.end() == 0, field.gateway.words()
    finally:
        await asyncio.to_thread(broker.stop)


async def test_beside_a_gateway_whose_clock_is_off(tmp_path: Path) -> None:
    libraries = await asyncio.to_thread(lambda: list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")))
    assert libraries, "tests/tools.sh installs it"
    away = {"LD_PRELOAD": str(libraries[0]), "FAKETIME": "@2015-01-01 00:00:00", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    field = Field(tmp_path, "", with_node=False)
    await field.make()
    field.gateway.env = {**os.environ, **away}
    async with field.started():
        told = (await field.status())["problems"]
        assert [(one["condition"], "2015" in one["what"]) for one in told] == [("clock-off", True)]
        for env in (None, away):  # its own clock, and the gateway's word
            done = await asyncio.to_thread(fieldgate, "doctor", "--json", cwd=field.home, env=env)
            (off,) = (one for one in json.loads(done.out)["findings"] if one["condition"] == "clock-off")
            assert "2015" in off["what"]
            assert done.code == 3


async def test_beside_a_gateway_whose_disk_is_full(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))

    with Card(tmp_path / "card", "ext4", mib=24) as card:
        field = Field(tmp_path, '[retention]\nmin_free = "4 MiB"\n', with_node=False, data=card.folder / "data")
        await field.make()
        async with field.started():
            await field.up()
            await asyncio.to_thread(fill, card.folder / "film")
            async with asyncio.timeout(30):
                while not (told := [one["condition"] for one in (await field.status())["problems"]]):
                    await asyncio.sleep(0.1)
            assert told == ["disk-full"]
            done = await _doctor(field)
            (full,) = (one for one in json.loads(done.out)["findings"] if one["condition"] == "disk-full")
            assert "Free some space" in full["cure"]
            assert done.code == 3


# -- the archive ------------------------------------------------------------------------------------------------------

SECRETS = {
    "password file": "Zb7-of-the-broker",
    "environment": "Zb7-of-the-environment",
    "url": "Zb7-in-the-url",
    "pasted key": "PRIVATE+KEY+x+00000000+Zb7AAAA",
    "pasted password": "Zb7-pasted",
    "comment": "Zb7-in-a-comment",
    "drop-in": "mqtts://bob:Zb7-in-a-drop-in@h",
    "log line": "Zb7-in-a-log",
    "status": "Zb7-in-a-payload",
    "project": "Zb7-of-a-portal",
    "wrong address": "Zb7-of-no-address",
}


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as tar:
        assert all(member.isfile() and not member.name.startswith(("/", "..")) for member in tar)
        return {member.name: _read(tar, member) for member in tar}


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    assert file is not None
    return file.read().decode()


def planted(home: Path) -> None:
    """Secrets wherever somebody may have put one. The configuration is faulty by that, and read all the same."""
    password = home / "password"
    password.touch(mode=0o600)
    password.write_text(SECRETS["password file"] + "\n")
    add(
        home,
        f"""
# the password was {SECRETS["comment"]}
[broker.local]
url = "mqtt://127.0.0.1:1"
user = "bob"
password = "file:{password}"
[broker.other]
url = "mqtt://bob:{SECRETS["url"]}@127.0.0.1:1"
password = "env:OTHER_PASSWORD"
[broker.third]
url = "mqtt://127.0.0.1:1"
password = "{SECRETS["pasted password"]}"
[source.a]
driver = "mqtt"
broker = "local"
topic = "{SECRETS["pasted key"]}"
values = {{ n = {{ pointer = "/n" }} }}
[anchor.a]
kind = "rfc3161"
url = "https://portal.example/api/{SECRETS["project"]}/rpc"
roots_file = "/etc/roots.pem"
[anchor.b]
kind = "rfc3161"
url = "htps://portal.example/api/{SECRETS["wrong address"]}/rpc"
roots_file = "/etc/roots.pem"
{NODE.format(key=vkey("node.example"))}
""",
    )
    (home / "fieldgate.d").mkdir()
    (home / "fieldgate.d" / "more.toml").write_text(f'[broker.fourth]\nurl = "{SECRETS["drop-in"]}"\npassword = "x"\n')


def test_no_secret_is_in_the_archive(home: Path) -> None:
    planted(home)
    state = {
        "version": "0.1.0",
        "problems": [],
        "sources": {
            "a": {
                "example": {"payload": f'{{"password": "{SECRETS["status"]}"}}'},
                "detail": f"it said {SECRETS['password file']} to mqtt://bob:{SECRETS['url']}@h",
            }
        },
    }
    with answering(home / "data" / "control.sock", http(json.dumps(state).encode())):
        env = {"OTHER_PASSWORD": SECRETS["environment"]}
        done = fieldgate("doctor", "--bundle", "support.tar.gz", cwd=home, env=env)
    assert "support.tar.gz is written" in done.err
    path = home / "support.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    files = unpacked(path)
    assert sorted(files) == list(files)
    assert {name.rpartition("/")[2] for name in files} == {
        "README.txt",
        "configuration.txt",
        "doctor.json",
        "journal.txt",
        "logs.json",
        "mounts.txt",
        "status.json",
        "system.json",
    }
    key = (home / "log.key").read_text().strip()
    whole = "\n".join(files.values())
    assert not [where for where, secret in SECRETS.items() if secret in whole]
    assert "Zb7" not in whole
    assert key not in whole
    assert key.split("+", 4)[4] not in whole
    text = files["fieldgate-support/configuration.txt"]
    assert f'gateway.key = "file:{home}/log.key"' in text
    assert f'broker.local.password = "file:{home}/password"' in text
    assert vkey("node.example") in text
    assert 'broker.fourth.url = "mqtts://...@h"' in text
    assert json.loads(files["fieldgate-support/doctor.json"])["findings"]
    assert "fieldgate-support/" in next(iter(files))


def test_no_secret_of_the_log_is_in_the_archive(home: Path) -> None:
    password = home / "password"
    password.touch(mode=0o600)
    password.write_text(SECRETS["password file"])
    password.chmod(0o644)  # a fault, and a secret all the same
    add(home, f'[broker.local]\nurl = "mqtt://127.0.0.1:1"\npassword = "file:{password}"\n')  # without its user
    address = f"https://portal.example/api/{SECRETS['project']}/rpc"
    add(home, f'[anchor.a]\nkind = "rfc3161"\nurl = "{address}"\nroots_file = "/etc/roots.pem"\n')
    lines = [
        f"connecting with {SECRETS['password file']}",
        f"token={SECRETS['log line']}",
        f"mqtt://bob:{SECRETS['url']}@h is away",
        SECRETS["pasted key"],
        f"POST /api/{SECRETS['project']}/rpc",
    ]
    logs = {"lines": [{"text": line, "password": SECRETS["pasted password"]} for line in lines]}
    with answering(home / "data" / "control.sock", http(json.dumps(logs).encode())):
        fieldgate("doctor", "--bundle", "s.tgz", cwd=home)
    files = unpacked(home / "s.tgz")
    assert len(json.loads(files["fieldgate-support/logs.json"])["lines"]) == 5
    assert "Zb7" not in "\n".join(files.values())


def test_the_archive_of_a_gateway_that_does_not_run_and_of_a_broken_file(home: Path) -> None:
    (home / "fieldgate.toml").write_text(f'password = "{SECRETS["pasted password"]}\n')
    done = fieldgate("doctor", "--bundle", "s.tgz", cwd=home)
    assert done.code == 3
    files = unpacked(home / "s.tgz")
    assert "Zb7" not in "\n".join(files.values())
    assert "is left out" in files["fieldgate-support/configuration.txt"]
    assert json.loads(files["fieldgate-support/status.json"])["running"] is False
    assert "fieldgate-support/logs.json" not in files


def test_an_archive_that_cannot_be_written(home: Path) -> None:
    done = fieldgate("doctor", "--bundle", "none/s.tgz", cwd=home)
    assert done.code == 3
    assert "none" in done.err
    assert "Traceback" not in done.err
    assert "The gateway does not run" in done.out, "what was found is not lost with it"
    assert list(home.glob("**/.s.tgz*")) == []


def test_an_archive_is_bounded_and_the_same_of_the_same() -> None:
    contents = {"b": "2", "a": "1", "long": bundle._bounded("line\n" * BUNDLE_MEMBER_BYTES)}
    data = bundle.pack(contents, 1_800_000_000)
    assert data == bundle.pack(dict(reversed(contents.items())), 1_800_000_000)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [member.name for member in tar] == [f"fieldgate-support/{name}" for name in ("a", "b", "long")]
        assert {(member.uid, member.mtime, member.uname) for member in tar} == {(0, 1_800_000_000, "")}
    assert contents["long"].startswith("(what is older is left out)\nline\n")
    assert len(contents["long"]) <= BUNDLE_MEMBER_BYTES + 40
    assert bundle._bounded("x" * BUNDLE_MEMBER_BYTES) == "x" * BUNDLE_MEMBER_BYTES
