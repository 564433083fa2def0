"""`fieldgate status` against a gateway that runs, one that does not, and things that only look like one."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import status_sample as sample
from fakes.broker import free_port
from fakes.command import FIELDGATE, PATIENCE_S, fieldgate
from fakes.control_socket import answering, http
from fakes.gateway_folder import make_folder
from fakes.log_maker import ORIGIN, LogMaker

from gateway.cli.status import unbalanced

SOURCE = sample.source(received=10, stored=6, duplicate=1, rejected=2, dropped=1, waiting=3)
PROBLEM = {
    "condition": "source-away",
    "severity": "error",
    "subject": "gps",
    "what": "Source gps is away: unplugged",
    "cure": "Plug it in",
    "values": {},
}
STATE: dict[str, Any] = sample.status(
    headline="Source gps is away: unplugged",
    problems=[PROBLEM],
    sources={
        "climate": SOURCE,
        "gateway": SOURCE,
        "gps": {**SOURCE, "up": False, "detail": "unplugged", "rejects": {}, "example": None},
    },
)


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
        "Source gps is away: unplugged\n"
        "henhouse-3.example.farm/1, fieldgate 0.1.0, running for 3 d\n"
        f"log key {STATE['vkey']}\n"
        "! Source gps is away: unplugged\n"
        "  Plug it in\n"
        "\n"
        "SOURCE   STATE  NEWEST                     AGE   RATE  REJECTED\n"
        "gps      AWAY   temp 21.25 Cel, rh 63 %RH  4 s  0.2/s         3\n"
        "climate  up     temp 21.25 Cel, rh 63 %RH  4 s  0.2/s         3\n"
        "\n"
        "chain   240 blocks, 1,234,567 readings, 17 in the open block, sealed 30 s ago\n"
        "clock   synchronised, off by at most 12 ms\n"
        "node    coop: seen 240, stored 238 of 240, answered 61 s ago, in step\n"
        "anchor  spartan: anchored up to block 235\n"
        "device  Raspberry Pi 4 Model B Rev 1.4, up 26 h, load 0.12, 51 °C, memory 2.3 GiB free, disk 18.6 GiB free, "
        "702.9 MiB written a day\n"
        "store   3.0 MiB of 8.0 GiB, 1,234 readings can be pruned\n"
        "checked all blocks 60 min ago, all good\n"
    )


def test_json(folder: Path) -> None:
    done = status(folder, changed(), "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"running": True, **STATE}


def test_held(folder: Path) -> None:
    done = status(folder, changed(chain={**STATE["chain"], "held": "the sign-state is missing"}))
    assert done.code == 4
    assert "SIGNING IS HELD: the sign-state is missing" in done.out


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
        f"{ORIGIN}: not running\nlog key {LogMaker().vkey}\nchain   3 blocks, 12 readings\n"
        "sealed  2025-06-15T15:08:40.000Z\nnode    coop: seen 2, stored 2\n"
    )
    told = json.loads(fieldgate("status", "--json", cwd=folder).out)
    assert told == {
        "running": False,
        "vkey": LogMaker().vkey,
        "origin": ORIGIN,
        "chain": {"size": 3, "readings": 12, "last_sealed_ms": 1_750_000_120_000},
        "nodes": {"coop": {"seen": 2, "stored": 2}},
        "witnesses": {},
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
    assert "SOURCE" in done.out
    assert again.code == 3
    assert "another gateway runs" in again.err
    assert (process.returncode, out) == (0, b"")
    logged = [line for line in said.decode().splitlines() if "import time:" not in line]
    assert logged
    assert all(line.startswith(("INFO ", "WARNING ", "ERROR ")) for line in logged)
    assert not any(
        "| rich" in line or "tomlkit" in line for line in said.decode().splitlines() if "import time:" in line
    )
    assert fieldgate("status", cwd=tmp_path).out.splitlines()[2] == "chain   1 block, 3 readings"
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
    """The same figures, in colour; what a device sent is not obeyed, and NO_COLOR is."""
    source = {**SOURCE, "last": [["note", None, "[red]x\x1b[2J"]]}
    answer = changed(sources={"climate": source}, headline="All is well " * 9)
    with answering(folder / "data" / "control.sock", answer):
        done = on_a_terminal(folder, "status", columns=80)
        without = on_a_terminal(folder, "status", columns=80, env={"NO_COLOR": "1"})
        dumb = on_a_terminal(folder, "status", columns=80, env={"TERM": "dumb"})
    assert done.code == 0
    assert "[red]x\\x1b[2J" in done.told
    assert "\x1b[32mup" in done.told
    assert "\x1b" not in without.told + dumb.told
    assert "All is well All" in without.told
    assert all(len(one) <= 80 for one in without.told.splitlines())
    assert without.told.replace("\n", " ").count("well") == 9, "the sentence is told whole"
    done = on_a_terminal(folder, "verify", "--store", "data", columns=80)
    assert (done.code, "all good" in done.told) == (0, True)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (40, 12), (20, 8), (132, 50)])
def test_any_terminal(folder: Path, columns: int, lines: int) -> None:
    """However small, one screen: what is left out is counted, and never what is away."""
    sources = {f"source-with-a-long-name-{n:03}": SOURCE for n in range(90)}
    sources["zz-away"] = {**SOURCE, "up": False, "detail": "unplugged"}
    nodes = {f"node-{n}": sample.node(ok=n != 7) for n in range(9)}
    with answering(folder / "data" / "control.sock", changed(sources=sources, nodes=nodes, problems=[PROBLEM] * 30)):
        done = on_a_terminal(folder, "status", columns=columns, lines=lines, env={"NO_COLOR": "1"})
    told = done.told.rstrip("\n").split("\n")
    assert done.code == 0
    assert len(told) <= lines
    assert all(len(one) <= columns for one in told)
    if columns >= 40 and lines >= 24:
        assert "zz-away" in done.told
        assert "node-7" in done.told
        assert "more sources" in done.told
        assert "more problems" in done.told
        assert "more nodes" in done.told


class Screen:
    """`fieldgate status --watch` on a terminal of its own."""

    def __init__(self, folder: Path, columns: int = 80, lines: int = 24) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        env = {"PATH": "/usr/bin:/bin", "TERM": "xterm"}
        command = [*FIELDGATE, "status", "--watch"]
        ends = {"stdin": follower, "stdout": follower, "stderr": follower}
        self.process = subprocess.Popen(command, cwd=folder, env=env, **ends, start_new_session=True)  # type: ignore[call-overload]
        os.close(follower)
        self.told = ""

    def until(self, text: str) -> str:
        """What was drawn since the last call, up to this text."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.told:
            assert time.monotonic() < deadline, (text, self.told)
            self.told += os.read(self._leader, 65_536).decode(errors="replace")
        before, _, self.told = self.told.partition(text)
        return before + text

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):
            while part := os.read(self._leader, 65_536):
                self.told += part.decode(errors="replace")
        os.close(self._leader)
        return self.process.wait(PATIENCE_S)


def test_watch(folder: Path) -> None:
    """It waits for a gateway, shows it, says that what it shows is stale, and goes on when it is there again."""
    screen = Screen(folder)
    try:
        screen.until("Waiting: ")
        with answering(folder / "data" / "control.sock", changed()):
            screen.until("Source gps is away: unplugged")
            screen.until("climate")
        screen.until("STALE for ")
        screen.until("not running")
        screen.until("climate")
        with answering(folder / "data" / "control.sock", changed(headline="All well again")):
            screen.until("All well again")
            last = screen.until("3.0 MiB of")
        assert "STALE" not in last
    finally:
        code = screen.end()
    assert code == 0
    assert "\x1b[?1049l" in screen.told, "the screen from before is there again"
    assert "Traceback" not in screen.told


def test_watch_is_for_a_person(folder: Path) -> None:
    for args in (["--watch"], ["--watch", "--json"]):
        done = fieldgate("status", *args, cwd=folder)
        assert done.code == 2
        assert "--watch" in done.err


class OnTerminal(NamedTuple):
    """How a command ended there, and all that it wrote."""

    code: int
    told: str


def on_a_terminal(
    folder: Path, *args: str, columns: int, lines: int = 24, env: Mapping[str, str] | None = None
) -> OnTerminal:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    where = {"PATH": "/usr/bin:/bin", "TERM": "xterm", "LC_ALL": "C.UTF-8", **(env or {})}
    with subprocess.Popen(
        [*FIELDGATE, *args], cwd=folder, env=where, stdin=follower, stdout=follower, stderr=follower
    ) as it:
        os.close(follower)
        told = b""
        with contextlib.suppress(OSError):  # how a pty says that everyone has left
            while part := os.read(leader, 65_536):
                told += part
    os.close(leader)
    return OnTerminal(it.returncode, told.decode().replace("\r\n", "\n"))
