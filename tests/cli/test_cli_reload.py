"""`fieldgate reload` and `fieldgate sync now` against something that answers on a control socket, well or badly."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.command import fieldgate
from fakes.control_socket import answering, http

from gateway import cli
from gateway.errors import ConfigError, Fault, FieldgateError, KeyFileError, UnreachableError, from_json

CONFIG = '[gateway]\nname = "henhouse.example"\ndata_dir = "{folder}/data"\nkey = "file:/etc/fieldgate/log.key"\n'
NOTHING: dict[str, Any] = {"started": [], "stopped": [], "changed": []}
DONE: dict[str, Any] = {
    "asked": "reload", "taken_over": True, "files": [["fieldgate.toml", "5f" * 32]], "since_ms": 1_750_000_000_000,
    "sources": {"started": ["water", "we\u001b[31mird"], "stopped": ["feed"], "changed": ["climate"]},
    "nodes": {**NOTHING, "started": ["coop"]}, "tables": {**NOTHING, "changed": ["broker.local", "retention"]},
    "restart": ["web.listen"], "late": ["serial-scale"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fieldgate.toml").write_text(CONFIG.format(folder=tmp_path))
    return tmp_path


def run(folder: Path, answer: bytes, *args: str) -> Any:
    with answering(folder / "data" / "control.sock", answer):
        return fieldgate(*args, cwd=folder)


def told(answer: dict[str, Any]) -> bytes:
    return http(json.dumps(answer).encode())


def refused(error: FieldgateError) -> dict[str, Any]:
    return {"asked": "reload", "taken_over": False, "error": error.json()}


def test_what_was_done(folder: Path) -> None:
    done = run(folder, told(DONE), "reload")
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["source", "water", "started"],
        ["source", "we\\x1b[31mird", "started"],
        ["source", "feed", "stopped"],
        ["source", "climate", "changed"],
        ["node", "coop", "started"],
        ["table", "broker.local", "changed"],
        ["table", "retention", "changed"],
        ["waits", "serial-scale", "does", "not", "end:", "what", "comes", "in", "its", "place", "begins", "then"],
        ["restart", "web.listen", "waits", "for:", "systemctl", "restart", "fieldgate"],
    ]
    as_json = run(folder, told(DONE), "reload", "--json")
    assert (as_json.code, json.loads(as_json.out)) == (0, DONE)


def test_nothing_was_to_be_done(folder: Path) -> None:
    same = {**DONE, "sources": NOTHING, "nodes": NOTHING, "tables": NOTHING, "restart": [], "late": []}
    assert run(folder, told(same), "reload").out == "nothing has changed\n"


REFUSED = {
    "two faults": ConfigError(
        [Fault("f.toml", 3, "source.a", "is wrong", "Mend it"), Fault("f.toml", 0, "", "is \u001b[1m", "")]
    ),
    "a secret": KeyFileError("others can read this secret (mode 0644)", where="/p", cure="chmod 600 /p"),
    "the stop": UnreachableError("the gateway is stopping", cure="Its next start takes it"),
}


@pytest.mark.parametrize("error", REFUSED.values(), ids=REFUSED)
def test_what_was_refused(folder: Path, error: FieldgateError) -> None:
    done = run(folder, told(refused(error)), "reload")
    assert (done.code, done.out) == (error.exit_code, "")
    for line in str(error).splitlines():
        assert line.replace("\u001b", "\\x1b") in done.err
    as_json = run(folder, told(refused(error)), "reload", "--json")
    assert (as_json.code, json.loads(as_json.out)["error"]) == (error.exit_code, error.json())
    again = from_json(json.loads(json.dumps(error.json())))
    assert (str(again), again.exit_code) == (str(error), error.exit_code)


def test_while_the_file_is_wrong_the_gateway_is_asked_all_the_same(folder: Path) -> None:
    path = folder / "fieldgate.toml"
    path.write_text(path.read_text() + '[source.a]\ndriver = "none"\n')
    assert run(folder, told(refused(REFUSED["two faults"])), "reload").code == 2
    path.write_text('[gateway]\ndata_dir = "relative"\n')
    done = fieldgate("reload", cwd=folder)
    assert done.code == 2
    assert "gateway.data_dir" in done.err


ODD = {
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "404": http(b"", "404 Not Found"),
    "no JSON": http(b"{"),
    "no map": http(b"[]"),
    "an empty map": http(b"{}"),
    "half an answer": told({"sources": NOTHING}),
    "an odd error": told({"error": {"what": "x"}}),
    "an odder error": told({"error": [], "taken_over": False}),
    "odd faults": told({"error": {"faults": [7]}}),
    "odd names": told({**DONE, "sources": {"started": 7}}),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
@pytest.mark.parametrize("command", [("reload",), ("reload", "--json"), ("sync", "now")])
def test_something_else_answers(
    folder: Path, answer: bytes, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(folder / "fieldgate.toml")
    with answering(folder / "data" / "control.sock", answer), pytest.raises(SystemExit) as caught:
        cli.main([*command, "--config", config])
    said = capsys.readouterr()
    assert (caught.value.code, said.out) == (3, "")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("command", [("reload",), ("sync", "now")])
def test_nobody_answers(folder: Path, command: tuple[str, ...]) -> None:
    done = fieldgate(*command, cwd=folder)
    assert (done.code, done.out) == (3, "")
    assert "not running" in done.err


def test_nodes_are_asked(folder: Path) -> None:
    done = run(folder, told({"nodes": ["coop", "v\u001bt"]}), "sync", "now")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("asked: coop, v\\x1bt. ")
    assert "nobody to ask" in run(folder, told({"nodes": []}), "sync", "now").out
    as_json = run(folder, told({"nodes": ["coop"]}), "sync", "now", "--json")
    assert json.loads(as_json.out) == {"nodes": ["coop"]}
