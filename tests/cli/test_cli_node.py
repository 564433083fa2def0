"""`fieldgate node init` and `fieldgate node run` as real processes."""

import contextlib
import signal
import sqlite3
import stat
from pathlib import Path

import pytest
from fakes.command import fieldgate
from fakes.field import CLI, Process, until
from fakes.log_maker import LogMaker

from gateway import config
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey
from gateway.keys import open_signer
from gateway.settings import NodeLink

EXAMPLE = Path(__file__).parents[2] / "deploy" / "node.toml"
NAME = "node.coop.example"
INIT = ("node", "init", "--name", NAME, "--dir", "node")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_example_loads() -> None:
    loaded = config.load_node(EXAMPLE)
    assert set(loaded.gateway) == {"henhouse-3", "quay"}


def test_makes_a_node_and_says_what_a_gateway_needs(tmp_path: Path) -> None:
    done = fieldgate(*INIT, "--url", "https://node.coop.example:8441", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    folder = tmp_path / "node"
    assert sorted(path.name for path in folder.iterdir()) == ["data", "node.toml", "read.key", "seen.key", "stored.key"]
    assert [path.name for path in tmp_path.iterdir()] == ["node"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    loaded = config.load_node(folder / "node.toml")
    vkeys = {kind: open_signer(getattr(loaded.node, f"{kind}_key")).vkey for kind in ("seen", "stored", "read")}
    kinds = {kind: (vkey.name, vkey.algorithm) for kind, vkey in vkeys.items()}
    assert kinds == {
        "seen": (NAME, COSIGNATURE),
        "stored": (f"{NAME}/stored", COSIGNATURE),
        "read": (f"{NAME}/read", ED25519),
    }
    assert len({vkey.public for vkey in vkeys.values()}) == 3
    for kind in kinds:
        assert stat.S_IMODE((folder / f"{kind}.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in done.out
    assert loaded.node.authority == ("node.coop.example:8441",)
    (tmp_path / "table.toml").write_text(done.out[done.out.index("[node.") :].replace("[node.node]", ""))
    link = config.load_as(tmp_path / "table.toml", NodeLink)
    assert link.url == "https://node.coop.example:8441"
    assert [VerifierKey.parse(key or "") for key in (link.seen_key, link.stored_key, link.read_key)] == [
        *vkeys.values()
    ]
    assert fieldgate("check", "--node", "--config", "node/node.toml", cwd=tmp_path).code == 0


def test_overwrites_nothing(tmp_path: Path) -> None:
    assert fieldgate(*INIT, cwd=tmp_path).code == 0
    before = tree(tmp_path)
    again = fieldgate(*INIT, cwd=tmp_path)
    assert again.code == 1
    assert "Nothing was changed" in again.err
    assert len(again.lines) == 1
    assert tree(tmp_path) == before
    (tmp_path / "file").write_text("x")
    assert fieldgate("node", "init", "--name", NAME, "--dir", "file", cwd=tmp_path).code == 1


def test_what_an_interrupted_init_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".node.init").mkdir()
    (tmp_path / ".node.init" / "seen.key").write_text("half a key")
    (tmp_path / "node").mkdir()
    assert fieldgate(*INIT, cwd=tmp_path).code == 0
    assert "half" not in (tmp_path / "node" / "seen.key").read_text()


@pytest.mark.parametrize(
    "args",
    [
        ("--name", "Node", "--dir", "node"),
        ("--name", "", "--dir", "node"),
        ("--name", NAME),
        ("--name", NAME, "--dir", "node", "--listen", "8441"),
        ("--name", NAME, "--dir", "node", "--url", "node.coop.example"),
        ("--name", NAME, "--dir", "a\nb"),
    ],
)
def test_names_and_addresses_that_cannot_be_used(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = fieldgate("node", "init", *args, cwd=tmp_path)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    done = fieldgate("node", "init", "--name", NAME, "--dir", "none/node", cwd=tmp_path)
    assert done.code == 3
    assert len(done.lines) == 1


def made(folder: Path, *gateways: str) -> Path:
    """A node with these tables added."""
    assert fieldgate(*INIT, "--listen", "127.0.0.1:0", cwd=folder).code == 0
    path = folder / "node" / "node.toml"
    with path.open("a") as file:
        file.writelines(gateways)
    return path


def table(maker: LogMaker, name: str = "a", **fields: int) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in fields.items())
    return f'\n[gateway.{name}]\nvkey = "{maker.vkey}"\n{lines}'


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_runs_until_it_is_told_to_stop(tmp_path: Path, how: signal.Signals) -> None:
    made(tmp_path, table(LogMaker()))
    process = Process("node", tmp_path, *CLI, "node", "run", "--config", "node/node.toml")
    await process.start()
    await until(lambda: "listening on http://127.0.0.1:" in process.words() or not process.running, "it listens")
    assert await process.end(how) == 0
    assert "Traceback" not in process.words()


def test_without_its_store_it_does_not_begin_anew(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "node" / "data" / "node.sqlite").unlink()
    done = fieldgate("node", "run", "--config", "node/node.toml", cwd=tmp_path)
    assert done.code == 3
    assert "is not there" in done.err
    assert not (tmp_path / "node" / "data" / "node.sqlite").exists()


def test_faults_are_told_in_one_line(tmp_path: Path) -> None:
    path = made(tmp_path, table(LogMaker()))
    good = path.read_text()
    run = ("node", "run", "--config", "node/node.toml")

    def fails(code: int, says: str) -> None:
        done = fieldgate(*run, cwd=tmp_path)
        assert (done.code, "Traceback" in done.err) == (code, False), done.err
        assert len([line for line in done.lines if "in the configuration" not in line]) == 1, done.err
        assert says in done.err

    path.write_text(good.replace('listen = "127.0.0.1:0"', 'listen = "192.0.2.1:1"'))
    fails(3, "cannot be listened on")
    path.write_text(good.replace("seen.key", "none.key"))
    fails(2, "none.key")
    path.write_text(good.replace("seen.key", "read.key", 1).replace("file:", "file:/", 1))
    fails(2, "key")
    path.write_text(good.replace("[node]\n", '[node]\nstore = "postgres://db"\n'))
    fails(2, "node.store")
    path.write_text(good)
    (tmp_path / "node" / "seen.key").chmod(0o644)
    fails(2, "others can read this secret")
    (tmp_path / "node" / "seen.key").chmod(0o600)
    with contextlib.closing(sqlite3.connect(tmp_path / "node" / "data" / "node.sqlite")) as con, con:
        con.execute("PRAGMA user_version=99")
    con.close()
    fails(4, "newer version")


async def test_a_log_keeps_what_it_was_enrolled_with(tmp_path: Path) -> None:
    path = made(tmp_path, table(LogMaker()))
    good = path.read_text()
    process = Process("node", tmp_path, *CLI, "node", "run", "--config", "node/node.toml")
    await process.start()
    await until(lambda: "listening" in process.words() or not process.running, "it listens")
    assert await process.end() == 0
    path.write_text(good + "stored_from = 5\n")
    done = fieldgate("node", "run", "--config", "node/node.toml", cwd=tmp_path)
    assert done.code == 2
    assert "stored_from = 0" in done.err
