"""docs/json.md has each field that `--json` gives, and no other."""

import asyncio
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from fakes import status_sample as sample
from fakes.broker import free_port
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate
from fakes.control_socket import answering, http
from fakes.gateway_folder import make_folder
from fakes.log_maker import LogMaker
from msgspec.structs import fields

from gateway import cli
from gateway.backup.archive import Handed
from gateway.core.anchor_row import ANCHORED, AnchorRow
from gateway.store import Store, pruning

DOCS = Path(__file__).parents[2] / "docs" / "json.md"


def documented(command: str) -> set[str]:
    """The fields in the table under a heading."""
    text = DOCS.read_text()
    section = text.split(f"## `fieldgate {command} --json`\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))


def given(told: Any, known: set[str], path: str = "") -> Iterator[str]:
    """The fields of an answer. Where the documentation has `.*`, names are of no account."""
    if isinstance(told, dict) and (told or not path):
        anything = f"{path}.*".lstrip(".") in {one[: len(path) + 2].lstrip(".") for one in known}
        for name, value in told.items():
            yield from given(value, known, f"{path}.{'*' if anything else name}".lstrip("."))
    elif isinstance(told, list) and told and isinstance(told[0], dict):
        for one in told:
            yield from given(one, known, f"{path}[]")
    elif path in known or told not in (None, {}, []):
        yield path


def check(command: str, *answers: Any) -> None:
    known = documented(command)
    found = {field for answer in answers for field in given(answer, known)}
    assert found - known == set(), "given, and not documented"
    assert known - found == set(), "documented, and not given"


def run(folder: Path, *args: str) -> Any:
    done = fieldgate(*args, "--json", cwd=folder)
    assert done.out, done.err
    return json.loads(done.out)


def lines(folder: Path, *args: str) -> list[Any]:
    """Of a command that prints one JSON value a line."""
    done = fieldgate(*args, "--json", cwd=folder)
    assert done.out, done.err
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_folder(tmp_path_factory.mktemp("g"), LogMaker().add(6, readings=3), cosigned=4)

    async def lose() -> None:
        store = await Store.open(made / "data")
        await pruning.drop(store.db, 0, 1)
        await pruning.drop(store.db, 1, 2)
        row = AnchorRow("spartan", 3, bytes(32), "evm", "9090", 0, ANCHORED, why="no", cure="yes")
        await store.anchors.save(replace(row, data=b"x", number=7, hash=bytes(32), time_s=9, evidence=b"x"))
        await store.db.transact([pruning.gone_statement(pruning.Stretch(1, 2, 3, 0, 0, 0), 3, "no room")])
        await store.close()

    asyncio.run(lose())
    return made


@contextmanager
def gateway(folder: Path) -> Iterator[None]:
    """A gateway of its own, with a source that is there and one that is not; sealed once."""
    assert fieldgate("init", "--name", "json.example", cwd=folder).code == 0
    with (folder / "fieldgate.toml").open("a") as file:
        file.write(f'\n[web]\nlisten = "127.0.0.1:{free_port()}"\n[source.box]\ndriver = "system"\nevery_s = 1\n')
        file.write('[source.line]\ndriver = "nmea0183"\nport = "/dev/not-there"\n')
    with subprocess.Popen([*FIELDGATE, "run"], cwd=folder, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _is_up(folder):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()


def _is_up(folder: Path) -> bool:
    done = fieldgate("status", "--json", cwd=folder)
    if done.code:
        return False
    told = json.loads(done.out)
    sources = told["sources"]
    return bool(sources.get("box", {}).get("last_ms") and sources["line"]["up"] is False and told["device"])


def test_a_gateway_of_ones_own(tmp_path: Path, folder: Path) -> None:
    """What cannot be had from one that was started a moment ago is that of a sample with the same fields."""
    with gateway(tmp_path):
        running = run(tmp_path, "status")
        box = run(tmp_path, "sources", "box")
        sources = run(tmp_path, "sources")
    assert box["values"][0]["minutes"], "the newest reading is charted"
    like = {**running, "sources": {"x": sample.source()}, "nodes": {"coop": sample.node()}}
    like["witnesses"] = {"public": sample.witness()}
    like["anchors"] = {"spartan": sample.anchor()}
    assert set(sample.status()) == set(running) - {"running"}
    assert {
        name: set(part) for name, part in sample.status().items() if name in ("chain", "disk", "device", "clock")
    } == {name: set(running[name]) for name in ("chain", "disk", "device", "clock")}
    assert set(sample.source()) == set(running["sources"]["box"])
    check("status", running, like, run(folder, "status"))
    check("sources", sources)
    known = documented("sources SOURCE")
    assert {field.partition("[")[0].partition(".")[0] for field in known} == set(box) - set(sample.source())
    assert {"name", "unit", "minutes"} == set(box["values"][0])
    check("events", run(tmp_path, "events"), run(tmp_path, "events", "--limit", "1"))


def until_told(folder: Path) -> list[Any]:
    """The records of the log, once a condition is among them: it has to hold for a while."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = lines(folder, "logs")
        if any(record["condition"] for record in found):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_a_running_gateway_is_asked_to_do(tmp_path: Path) -> None:
    config = tmp_path / "fieldgate.toml"
    with gateway(tmp_path):
        text = config.read_text()
        config.write_text(text.replace("every_s = 1\n", "every_s = 2\n"))
        good = run(tmp_path, "check")
        taken = run(tmp_path, "reload")
        config.write_text(text.replace("every_s = 1\n", "every_s = -1\n"))
        bad, refused = run(tmp_path, "check"), run(tmp_path, "reload")
        history = run(tmp_path, "config", "history")
        asked, code = run(tmp_path, "sync", "now"), run(tmp_path, "login")
        records = until_told(tmp_path)
        found = run(tmp_path, "doctor")
    assert good["advice"] and good["changes"] and bad["faults"]
    config.write_text(text.replace("[gateway]\n", '[gateway]\nprofile = "domestic"\n'))
    check("check", good, bad, run(tmp_path, "check"))
    assert (taken["taken_over"], taken["sources"]["changed"], refused["taken_over"]) == (True, ["box"], False)
    check("reload", taken, refused)
    check("config history", history)
    check("sync now", asked)
    check("login", code)
    check("logs", *records)
    check("doctor", found)


def test_a_recorded_file(tmp_path: Path) -> None:
    (tmp_path / "scale.log").write_bytes(b"ST,GS,+  13640kg\r\nST,GS,+  1364\r\n")
    *samples, last = lines(tmp_path, "decode", "scale", "scale.log", "-o", "variant=st-gs")
    assert last["samples"] == len(samples) == 1
    check("decode CODEC FILE", *samples, last)


def test_each_command_that_has_json_is_documented() -> None:
    told = re.findall(r"^## `fieldgate (.+) --json`$", DOCS.read_text(), re.MULTILINE)
    assert {" ".join(word for word in one.split() if word.islower()) for one in told} == set(with_json(cli.cli))


def with_json(group: click.Group, above: str = "") -> Iterator[str]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from with_json(command, f"{above}{name} ")
            elif command is not None and any("--json" in option.opts for option in command.params):
                yield f"{above}{name}"


def test_a_store(folder: Path) -> None:
    check("blocks", run(folder, "blocks"))
    check("anchors", run(folder, "anchors"), run(folder, "anchors") | {"before": 1})
    check("show HEIGHT", *(run(folder, "show", str(height)) for height in range(6)))


def test_a_backup(tmp_path: Path, folder: Path) -> None:
    told = run(folder, "backup", str(tmp_path / "b"))
    like = {"size": 1, "header": "00", "machine": "m", "filesystem": "f"}
    assert set(like) == {one.name for one in fields(Handed)}
    assert told["moved"] is None
    check("backup FILE", {**told, "moved": like})


def test_the_selftest(tmp_path: Path) -> None:
    told = run(tmp_path, "selftest")
    assert told["good"]
    assert all(step["ok"] for step in told["steps"])
    check("selftest", told)


def test_what_is_not_documented_is_found(folder: Path) -> None:
    with answering(folder / "data" / "control.sock", http(json.dumps(sample.status(extra=1)).encode())):
        told = run(folder, "status")
    with pytest.raises(AssertionError, match="not documented"):
        check("status", told)
    with pytest.raises(AssertionError, match="not given"):
        check("blocks", {"origin": "x"})
