"""Commands that read a store: receipt, policy, verify, export."""

import contextlib
import csv
import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.command import FIELDGATE, fieldgate
from fakes.configs import SEEN, STORED, vkey
from fakes.flips import flips
from fakes.gateway_folder import make_folder
from fakes.log_maker import ORIGIN, START_MS, LogMaker

from gateway.core import senml
from gateway.core.limits import POLICY_BYTES, RECEIPT_BYTES
from gateway.core.policy import make_policy, parse_policy

BLOCKS, READINGS, COSIGNED = 5, 4, 3
START = "2025-06-15T15:06:40.000Z"  # START_MS


@pytest.fixture(scope="module")
def log() -> LogMaker:
    return LogMaker().add(BLOCKS, readings=READINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, log: LogMaker) -> Path:
    """A gateway's folder; its node co-signed 3 of 5 blocks. With a policy and a receipt."""
    made = make_folder(tmp_path_factory.mktemp("gateway"), log, cosigned=COSIGNED)
    assert fieldgate("policy", "-o", "policy", cwd=made).code == 0
    done = fieldgate("receipt", "s-1", "--at", str(START_MS // 1000 + 1), "-o", "receipt", cwd=made)
    assert done.code == 0, done.err
    return made


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    for name in ("fieldgate.toml", "policy", "receipt", "data"):
        (shutil.copytree if name == "data" else shutil.copy)(folder / name, tmp_path / name)
    text = (tmp_path / "fieldgate.toml").read_text()
    (tmp_path / "fieldgate.toml").write_text(text.replace(str(folder), str(tmp_path)))
    return tmp_path


def spoil(folder: Path, sql: str, *params: Any) -> None:
    with contextlib.closing(sqlite3.connect(folder / "data" / "fieldgate.db")) as db, db:
        assert db.execute(sql, params).rowcount == 1
    db.close()


def flipped(folder: Path, column: str, table: str, where: str) -> None:
    """One bit of a value in the store changes."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "fieldgate.db")) as db, db:
        (value,) = db.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        bad = bytearray(value.encode() if isinstance(value, str) else value)
        bad[len(bad) // 2] ^= 1
        db.execute(
            f"UPDATE {table} SET {column}=? WHERE {where}", (bad.decode() if isinstance(value, str) else bytes(bad),)
        )
    db.close()


# policy


def test_policy(folder: Path, log: LogMaker) -> None:
    policy = parse_policy((folder / "policy").read_bytes())
    assert [str(key) for key in policy.logs] == [log.vkey]
    assert [str(witness.key) for witness in policy.witnesses] == [STORED]
    assert policy.asks_for() == "1 of node.example/stored"


def test_policy_of_a_node_without_a_stored_key(copy: Path) -> None:
    path = copy / "fieldgate.toml"
    path.write_text("\n".join(row for row in path.read_text().splitlines() if not row.startswith("stored_key")))
    policy = parse_policy(fieldgate("policy", "--quorum", "1", cwd=copy).out.encode())
    assert [str(witness.key) for witness in policy.witnesses] == [SEEN]


def test_policy_of_a_node_and_a_witness(copy: Path) -> None:
    witness = vkey("witness.example")
    with (copy / "fieldgate.toml").open("a") as file:
        file.write(f'\n[witness.public]\nurl = "https://witness.example"\nvkey = "{witness}"\n')
    policy = parse_policy(fieldgate("policy", "--quorum", "2", cwd=copy).out.encode())
    assert [str(one.key) for one in policy.witnesses] == [STORED, witness]
    assert policy.asks_for() == "2 of node.example/stored, witness.example"


@pytest.mark.parametrize("quorum", ["2", "0", "some", "-1"])
def test_a_quorum_that_cannot_be(folder: Path, quorum: str) -> None:
    assert fieldgate("policy", "--quorum", quorum, cwd=folder).code == 2


# receipt and verify


def test_receipt_and_verify(folder: Path, tmp_path: Path) -> None:
    for name in ("receipt", "policy"):
        shutil.copy(folder / name, tmp_path / name)
    done = fieldgate("verify", "receipt", "--policy", "policy", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "verified"
    assert "source          s-1" in lines
    assert "observed        2025-06-15T15:06:41.000Z (claimed; the gateway's clock was synchronised)" in lines
    assert "not later than  2025-06-15T16:06:40Z (to the second; co-signed by node.example/stored)" in lines
    assert f"reading         2 of {READINGS} in block 0 of {ORIGIN}" in lines
    assert "  temp = 0.1 Cel" in lines


def test_verify_shows_its_steps(folder: Path) -> None:
    done = fieldgate("verify", "receipt", "--policy", "policy", "-v", cwd=folder)
    numbered = [line for line in done.out.splitlines() if line[:1].isdigit()]
    assert [line.split(".")[0] for line in numbered] == [str(number) for number in range(1, 8)]
    assert all("section" in line for line in numbered)


def test_verify_refuses_each_flip_at_its_step(folder: Path, tmp_path: Path) -> None:
    policy = (folder / "policy").read_bytes()
    (tmp_path / "policy").write_bytes(policy)
    for flip in list(flips((folder / "receipt").read_bytes(), policy))[::3]:
        (tmp_path / "bad").write_bytes(flip.receipt)
        done = fieldgate("verify", "bad", "--policy", "policy", "-v", cwd=tmp_path)
        assert done.code == 1, flip.section
        assert done.lines[0].startswith(f"fieldgate: bad: refused at step {flip.step} "), flip.section
        assert len(done.lines) == 1
        assert "verified" not in done.out
        shown = done.out.splitlines()
        assert len(shown) == flip.step
        assert "REFUSED" in shown[-1]


def test_verify_with_files_that_are_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (RECEIPT_BYTES + 1))
    (tmp_path / "most").write_bytes(b"x" * RECEIPT_BYTES)
    (tmp_path / "bigpolicy").write_bytes(b"#" * (POLICY_BYTES + 1))
    (tmp_path / "escape").write_bytes(b"log \x1b[31m\n")
    good = ("--policy", folder / "policy")
    for args, code, told in (
        (("none", *good), 3, "No such file"),
        ((tmp_path, *good), 3, "directory"),
        (("big", *good), 1, "longer than"),
        (("most", *good), 1, "step 1"),
        ((folder / "receipt", "--policy", "none"), 3, "No such file"),
        ((folder / "receipt", "--policy", "bigpolicy"), 1, "longer than"),
        ((folder / "receipt", "--policy", "escape"), 1, "policy, line 1"),
        ((folder / "receipt", "--policy", folder / "fieldgate.toml"), 1, "policy, line"),
    ):
        done = fieldgate("verify", *args, cwd=tmp_path)
        assert done.code == code, args
        assert told in done.err
        assert len(done.lines) == 1
        assert done.err.rstrip("\n").isprintable()


def test_verify_shows_what_a_device_sent_without_obeying_it(tmp_path: Path) -> None:
    log = LogMaker()
    payload = b"\x1b[2J\xff\nverified"
    pack = senml.build("s-0", [("note", None, "\x1b[31m\u202ered\nverified")], bt_ms=START_MS, quality=9, raw=payload)
    log.append([(pack, None)])
    folder = make_folder(tmp_path / "g", log, cosigned=1)
    (tmp_path / "policy").write_bytes(make_policy([log.signer.vkey]))
    assert fieldgate("receipt", "s-0", "--at", "now", "-o", "r", cwd=folder).code == 0
    done = fieldgate("verify", folder / "r", "--policy", "policy", cwd=tmp_path)
    assert done.code == 0
    assert all(line.isprintable() for line in done.out.splitlines())
    assert done.out.splitlines().count("verified") == 1
    assert "quality         clock not synchronised, a sentinel" in done.out
    assert "not later than  unknown" in done.out


def test_receipt_to_stdout_and_for_a_policy(folder: Path) -> None:
    done = fieldgate("receipt", "s-1", "--at", "2025-06-15T17:06:41+02:00", "--policy", "policy", cwd=folder)
    assert done.code == 0
    assert sorted(done.out.splitlines()) == sorted((folder / "receipt").read_text().splitlines())


@pytest.mark.parametrize(
    ("source", "at", "told"),
    [
        ("nobody", "now", "no sealed reading of nobody"),
        ("s-1", START, "no sealed reading of s-1"),
        ("s-1", "now", "co-signed"),
    ],
)
def test_no_receipt(folder: Path, tmp_path: Path, source: str, at: str, told: str) -> None:
    done = fieldgate("receipt", source, "--at", at, "-o", tmp_path / "r", cwd=folder)
    assert done.code == 3
    assert told in done.err
    assert len(done.lines) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reading_that_is_not_sealed_yet(copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy / "data" / "fieldgate.db")) as db, db:
        db.execute("DELETE FROM block")
        db.execute("DELETE FROM tree")
    db.close()
    done = fieldgate("receipt", "s-1", "--at", "now", cwd=copy)
    assert done.code == 3
    assert "not sealed yet. Ask again in 60 seconds" in done.err


def test_no_room_for_a_receipt(folder: Path, tmp_path: Path) -> None:
    at = ("receipt", "s-1", "--at", str(START_MS // 1000 + 1))
    assert fieldgate(*at, "-o", "/dev/full", cwd=folder).code == 3
    done = fieldgate(*at, "-o", tmp_path / "none" / "r", cwd=folder)
    assert done.code == 3
    assert len(done.lines) == 1
    (tmp_path / "r").write_text("old")
    assert fieldgate(*at, "-o", tmp_path / "r", cwd=folder).code == 0
    assert (tmp_path / "r").read_text() == (folder / "receipt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


# verify --store


def test_a_good_store(folder: Path) -> None:
    done = fieldgate("verify", "--store", "data", "--policy", "policy", cwd=folder)
    assert (done.code, done.err) == (0, "")
    told = dict(line.split(None, 1) for line in done.out.splitlines() if "  " in line)
    assert told["blocks"] == str(BLOCKS)
    assert told["readings"] == str(BLOCKS * READINGS)
    assert told["checkpoints"] == str(BLOCKS)
    assert told["co-signatures"] == "1 checked, 1 of nodes that no --policy names"
    assert done.out.splitlines()[-1] == "all good"
    assert "as the store says" in fieldgate("verify", "--store", "data", cwd=folder).out


@pytest.mark.parametrize(
    ("column", "table", "where", "height", "bad"),
    [
        ("entry", "block", "height=2", 2, 1),
        ("secret", "block", "height=3", 3, 1),
        ("data", "journal", "row=3", 1, 1),
        ("note", "checkpoint", "size=4", 3, 1),
        ("line", "cosignature", "kind='stored'", 2, 1),
    ],
)
def test_a_bad_store(copy: Path, column: str, table: str, where: str, height: int, bad: int) -> None:
    flipped(copy, column, table, where)
    done = fieldgate("verify", "--store", "data", "--policy", "policy", "-v", cwd=copy)
    assert done.code == 1
    assert len(done.lines) == 1
    assert f"of {BLOCKS} blocks are bad; the first is block {height}: " in done.err
    assert f"blocks          {BLOCKS}" in done.out, "it went on"
    assert done.out.startswith(f"block {height}: ")
    assert int(done.err.partition("data: ")[2].split()[0]) >= bad


def test_a_store_without_a_block(copy: Path) -> None:
    spoil(copy, "DELETE FROM block WHERE height=1")
    done = fieldgate("verify", "--store", "data", cwd=copy)
    assert done.code == 1
    assert len(done.lines) == 1
    assert "block 1" in done.err or "lacks" in done.err or "tree" in done.err


def test_a_store_whose_bodies_are_gone(copy: Path) -> None:
    spoil(copy, "UPDATE block SET secret=NULL WHERE height=0")
    done = fieldgate("verify", "--store", "data", cwd=copy)
    assert done.code == 0
    assert "pruned          1 blocks" in done.out


def test_a_store_of_another_log(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(make_policy([LogMaker("other.example/1").signer.vkey]))
    done = fieldgate("verify", "--store", "data", "--policy", tmp_path / "policy", cwd=folder)
    assert done.code == 1
    assert "not in the policy" in done.err


@pytest.mark.parametrize("damage", ["none", "empty", "garbage", "cut"])
def test_what_is_no_store(copy: Path, damage: str) -> None:
    path = copy / "data" / "fieldgate.db"
    data = path.read_bytes()
    if damage == "none":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "garbage": os.urandom(4096), "cut": data[: len(data) // 2]}[damage])
    for args in (["verify", "--store", "data"], ["export", "s-1"], ["receipt", "s-1", "--at", "now"], ["policy"]):
        done = fieldgate(*args, cwd=copy)
        assert done.code in ((3,) if damage == "none" else (0, 1, 3, 4)), (args, done)
        assert "Traceback" not in done.err
        assert len(done.lines) <= 1
    assert fieldgate("verify", "--store", "data", cwd=copy).code in (1, 3)


# export


def test_export_of_a_damaged_row(copy: Path) -> None:
    flipped(copy, "data", "journal", "row=3")
    done = fieldgate("export", "s-1", "-o", "x", cwd=copy)
    assert done.code == 4
    assert len(done.lines) == 1
    assert not (copy / "x").exists()


def test_export_senml(folder: Path) -> None:
    done = fieldgate("export", "s-1", cwd=folder)
    assert (done.code, done.err) == (0, "")
    records = json.loads(done.out)
    assert len(records) == BLOCKS * READINGS // 2
    assert records[0] == {"bn": "s-1/", "bt": START_MS / 1000 + 1, "n": "temp", "u": "Cel", "v": 0.1}


def test_export_csv_of_a_span(folder: Path, tmp_path: Path) -> None:
    span = ("--from", "2025-06-15T15:06:43Z", "--to", str(START_MS // 1000 + 7))
    done = fieldgate("export", "s-1", *span, "--format", "csv", "-o", tmp_path / "x.csv", cwd=folder)
    assert (done.code, done.out, done.err) == (0, "", "")
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["time"] for row in rows] == ["2025-06-15T15:06:43.000Z", "2025-06-15T15:06:45.000Z"]
    assert rows[0] == {
        "time": "2025-06-15T15:06:43.000Z",
        "received": "2025-06-15T15:06:43.000Z",
        "source": "s-1",
        "name": "temp",
        "unit": "Cel",
        "value": "0.3",
        "quality": "0",
    }


def test_export_of_every_kind_of_value(tmp_path: Path) -> None:
    log = LogMaker()
    values = [
        ("a", None, "=1+1"),
        ("b", None, True),
        ("c", "Cel", -2.5),
        ("d", None, b"\xff\x00"),
        ("e", None, 'x,"\n'),
    ]
    pack = senml.build("s-0", values, bt_ms=START_MS, rt_ms=START_MS + 5, quality=4, raw=b"{}")
    empty = senml.build("s-0", [], bt_ms=START_MS + 1, quality=8, raw=b"?\xff")
    log.append([(pack, None), (empty, None)])
    folder = make_folder(tmp_path / "g", log)
    records = json.loads(fieldgate("export", "s-0", cwd=folder).out)
    assert records[0] == {"bn": "s-0/", "bt": START_MS / 1000, "rt": START_MS + 5, "q": 4, "n": "a", "vs": "=1+1"}
    assert records[1:5] == [{"n": "b", "vb": True}, {"n": "c", "u": "Cel", "v": -2.5}, {"n": "d", "vd": "_wA"},
                            {"n": "e", "vs": 'x,"\n'}]  # fmt: skip
    assert records[5] == {"bn": "s-0/", "bt": START_MS / 1000 + 0.001, "q": 8, "n": "raw", "vd": "P_8"}
    assert len(records) == 6
    assert [one["n"] for one in json.loads(fieldgate("export", "s-0", "--raw", cwd=folder).out)].count("raw") == 2
    rows = list(csv.reader(fieldgate("export", "s-0", "--format", "csv", cwd=folder).out.splitlines(keepends=True)))
    assert [row[5] for row in rows[1:]] == ["'=1+1", "true", "-2.5", "ff00", 'x,"\n', "3fff"]
    assert {row[1] for row in rows[1:6]} == {"2025-06-15T15:06:40.005Z"}


def test_export_of_nothing(folder: Path) -> None:
    done = fieldgate("export", "nobody", cwd=folder)
    assert done.code == 0
    assert json.loads(done.out) == []
    assert "no reading of nobody" in done.err


def test_export_to_a_reader_that_goes_away(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "g", LogMaker().add(2, readings=2_000, sources=1))
    command = [*FIELDGATE, "export", "s-0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (3, b"")


# Looking at the whole store for status


def test_scrub_looks_at_everything_and_keeps_what_it_found(copy: Path) -> None:
    done = fieldgate("scrub", cwd=copy)
    assert (done.code, done.err) == (0, "")
    kept = json.loads((copy / "data" / "verified.json").read_text())
    assert done.out == f"{BLOCKS} blocks, {BLOCKS * READINGS} readings, {kept['took_s']} s: all good\n"
    assert (kept["blocks"], kept["readings"], kept["faults"], kept["what"]) == (BLOCKS, BLOCKS * READINGS, 0, "")
    flipped(copy, "entry", "block", "height=2")
    done = fieldgate("scrub", cwd=copy)
    assert done.code == 1
    assert "first at block 2" in done.err
    assert "Traceback" not in done.err
    kept = json.loads((copy / "data" / "verified.json").read_text())
    assert kept["faults"] > 0
    assert kept["what"].startswith("first at block 2: ")


def test_scrub_checks_co_signatures_with_the_nodes_of_the_configuration(copy: Path) -> None:
    flipped(copy, "line", "cosignature", "size=3 AND kind=(SELECT min(kind) FROM cosignature)")
    done = fieldgate("scrub", cwd=copy)
    assert done.code == 1
    assert "co-signature of coop" in done.err


def test_scrub_without_a_store_keeps_nothing(tmp_path: Path, copy: Path) -> None:
    (copy / "data" / "fieldgate.db").unlink()
    done = fieldgate("scrub", cwd=copy)
    assert done.code == 3
    assert not (copy / "data" / "verified.json").exists()
