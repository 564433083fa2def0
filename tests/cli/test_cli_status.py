"""`fieldgate status` against a gateway that runs, one that does not, and things that only look like one."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.broker import free_port
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate
from fakes.control_socket import answering, http
from fakes.gateway_folder import make_folder
from fakes.log_maker import ORIGIN, LogMaker

from gateway.cli.status import unbalanced

SOURCE = {
    "driver": "mqtt", "up": True, "detail": "", "received": 10, "stored": 6, "duplicate": 1, "rejected": 2,
    "dropped": 1, "waiting": 3, "balanced": True, "last_ms": 1_750_000_000_000,
    "last": [["temp", "Cel", 21.5], ["note", None, "x"]],
    "rejects": {"not_json": 2}, "example": {"reason": "not_json", "detail": "line 1", "payload": "{\u001b[31m"},
}  # fmt: skip
STATE: dict[str, Any] = {
    "origin": ORIGIN, "version": "0.1.0", "since_ms": 1_750_000_000_000, "now_ms": 1_750_000_060_000,
    "clock": {"synchronised": True, "error_ms": 12, "boot_id": "b"}, "headline": "Broker local is away",
    "problems": [{"what": "Broker local is away", "cure": "Start it"}],
    "sources": {"climate": SOURCE,
                "gps": {**SOURCE, "up": False, "detail": "unplugged", "rejects": {}, "example": None}},
    "chain": {"size": 7, "open": 2, "held": None, "last_sealed_ms": 1_750_000_000_000, "readings": 70},
    "disk": {
        "used": 3 * 2**20,
        "quota": 22 * 2**20,
        "free": 512 * 2**20,
        "min_free": 64 * 2**20,
        "prunable": 40,
        "held": None,
        "cure": "",
        "problem": "",
    },
    "nodes": {"coop": {"url": "https://n", "entries": 7, "seen": 6, "stored": 5, "detail": "no answer", "ok": False,
                       "last_ms": None}},
}  # fmt: skip

NEWEST = "2025-06-15T15:06:40.000Z temp 21.5 Cel, note x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("g"), LogMaker().add(3, readings=4), cosigned=2)


def status(folder: Path, answer: bytes, *args: str) -> Any:
    with answering(folder / "data" / "control.sock", answer):
        return fieldgate("status", *args, cwd=folder)


def changed(**parts: Any) -> bytes:
    return http(json.dumps({**STATE, **parts}).encode())


def test_running(folder: Path) -> None:
    done = status(folder, changed())
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"{ORIGIN}: Broker local is away\n"
        f"log key         {LogMaker().vkey}\n"
        "running         0.1.0, since 2025-06-15T15:06:40.000Z\n"
        "clock           synchronised, off by at most 12 ms\n"
        "chain           7 blocks with 70 readings, 2 in the open block\n"
        "last sealed     2025-06-15T15:06:40.000Z\n"
        "disk            3.0 MiB of 22.0 MiB used, 512.0 MiB free on the disk, 40 readings can be pruned\n"
        "node coop       entries 7, seen 6, stored 5; AWAY: no answer\n"
        "problem         Broker local is away\n"
        "  cure          Start it\n"
        "\n"
        "source   state  received  stored  duplicate  rejected  dropped  waiting  newest reading\n"
        f"climate  up           10       6          1         2        1        3  {NEWEST}\n"
        f"gps      AWAY         10       6          1         2        1        3  {NEWEST}\n"
        "rejected of climate: not_json 2\n"
        "  the last: not_json: line 1: {\\x1b[31m\n"
        "gps is away: unplugged\n"
    )  # fmt: skip


def test_json(folder: Path) -> None:
    done = status(folder, changed(), "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"running": True, "vkey": LogMaker().vkey, **STATE}


def test_held(folder: Path) -> None:
    done = status(folder, changed(chain={**STATE["chain"], "held": "the sign-state is missing"}))
    assert done.code == 4
    assert "SIGNING IS HELD the sign-state is missing" in done.out


@pytest.mark.parametrize("count", ["received", "stored", "duplicate", "rejected", "dropped"])
def test_counts_that_do_not_add_up(folder: Path, count: str) -> None:
    wrong = {**SOURCE, count: SOURCE[count] + 1, "balanced": True}  # type: ignore[operator]
    done = status(folder, changed(sources={"climate": SOURCE, "gps": wrong}), "--json")
    assert done.code == 1
    (line,) = done.lines
    assert line.startswith("fieldgate: source gps: received ")
    assert unbalanced({"sources": {"gps": wrong}})


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        http(b"no", "500 Internal Server Error"),
        http(b"<html>"),
        http(b"[]"),
        http(b"{}"),
        http(b"[" * 100_000),
        http(b'{"sources": {}, "chain": [], "nodes": {}}'),
        changed(sources={"climate": {"received": 1}}),
        changed(sources={"climate": {**SOURCE, "stored": "6"}}),
        changed(chain={}),
        changed(since_ms="x"),
        changed(nodes={"coop": 3}),
        changed(sources={"climate": {**SOURCE, "last": [1]}}),
        http(b" " * (8 * 1024 * 1024 + 1)),
    ],
    ids=range(16),
)
def test_an_answer_that_is_none(folder: Path, answer: bytes) -> None:
    done = status(folder, answer)
    assert done.code == 3
    assert len(done.lines) == 1
    assert "blocks" in done.out, "it tells what the store holds"


def test_not_running(folder: Path) -> None:
    done = fieldgate("status", cwd=folder)
    assert done.code == 3
    assert "not running" in done.err
    assert done.out == (
        f"{ORIGIN}: not running\nlog key         {LogMaker().vkey}\nchain           3 blocks with 12 readings\n"
        "last sealed     2025-06-15T15:08:40.000Z\nnode coop       seen 2, stored 2\n"
    )
    told = json.loads(fieldgate("status", "--json", cwd=folder).out)
    assert told == {
        "running": False,
        "vkey": LogMaker().vkey,
        "origin": ORIGIN,
        "chain": {"size": 3, "readings": 12, "last_sealed_ms": 1_750_000_120_000},
        "nodes": {"coop": {"seen": 2, "stored": 2}},
    }


def test_not_running_and_no_store(folder: Path, tmp_path: Path) -> None:
    text = (folder / "fieldgate.toml").read_text().replace(str(folder), str(tmp_path))
    (tmp_path / "fieldgate.toml").write_text(text)
    done = fieldgate("status", cwd=tmp_path)
    assert done.code == 3
    assert len(done.lines) == 2
    assert json.loads(fieldgate("status", "--json", cwd=tmp_path).out)["chain"] is None


def test_a_socket_that_nobody_listens_to(folder: Path) -> None:
    import socket

    path = folder / "data" / "control.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    done = fieldgate("status", cwd=folder)
    path.unlink()
    assert done.code == 3
    assert "not running" in done.err


def test_a_gateway_that_runs(tmp_path: Path) -> None:
    """init, run, status, SIGTERM: the open block is sealed, the exit code is 0, and every line of the log is one."""
    assert fieldgate("init", "--name", "henhouse.example", cwd=tmp_path).code == 0
    with (tmp_path / "fieldgate.toml").open("a") as file:
        file.write(f'\n[web]\nlisten = "127.0.0.1:{free_port()}"\n')
    command = [sys.executable, "-X", "importtime", *FIELDGATE[1:], "run"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            done = _until_it_answers(tmp_path)
            again = fieldgate("run", cwd=tmp_path)
            process.send_signal(signal.SIGTERM)
            out, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert done.code == 0, done
    assert "source" in done.out
    assert again.code == 3
    assert "another gateway runs" in again.err
    assert (process.returncode, out) == (0, b"")
    logged = [line for line in said.decode().splitlines() if "import time:" not in line]
    assert logged
    assert all(line.startswith(("INFO ", "WARNING ", "ERROR ")) for line in logged)
    assert not any(
        "| rich" in line or "tomlkit" in line for line in said.decode().splitlines() if "import time:" in line
    )
    assert fieldgate("status", cwd=tmp_path).out.splitlines()[2] == "chain           1 blocks with 3 readings"
    assert fieldgate("verify", "--store", "data", cwd=tmp_path).code == 0


def _until_it_answers(folder: Path) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while (done := fieldgate("status", cwd=folder)).code == 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    return done


def test_a_log_is_a_line_an_event(capfd: pytest.CaptureFixture[str]) -> None:
    code = """
import logging, sys
from gateway import logs
logs.begin(debug=len(sys.argv) > 1)
log = logging.getLogger("drivers.mqtt")
log.warning("payload %s", "a\\nb\\x1b[31m")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("driver %s parked", "mqtt-local")
"""
    for debug in ([], ["debug"]):
        subprocess.run([sys.executable, "-c", code, *debug], check=True)
        lines = capfd.readouterr().err.splitlines()
        assert lines[0] == "WARNING drivers.mqtt: payload a\\nb\\x1b[31m"
        assert len(lines) == 2
        assert lines[1].startswith("ERROR drivers.mqtt: driver mqtt-local parked")
        assert "ZeroDivisionError: division by zero" in lines[1]
        assert ("Traceback" in lines[1]) == bool(debug)


def test_on_a_terminal(folder: Path) -> None:
    """The same figures in a table; what a device sent is no markup."""
    source = {**SOURCE, "last": [["note", None, "[red]x"]]}
    with answering(folder / "data" / "control.sock", changed(sources={"climate": source})):
        code, told = _on_a_terminal(folder, "status")
    assert code == 0
    assert "climate" in told
    assert "[red]x" in told
    code, told = _on_a_terminal(folder, "verify", "--store", "data")
    assert code == 0
    assert "all good" in told


def _on_a_terminal(folder: Path, *args: str) -> tuple[int, str]:
    leader, follower = pty.openpty()
    env = {"PATH": "/usr/bin:/bin", "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        [*FIELDGATE, *args], cwd=folder, env=env, stdin=follower, stdout=follower, stderr=follower
    ) as it:
        os.close(follower)
        told = b""
        with contextlib.suppress(OSError):  # how a pty says that everyone has left
            while part := os.read(leader, 65_536):
                told += part
    os.close(leader)
    return it.returncode, told.decode()
