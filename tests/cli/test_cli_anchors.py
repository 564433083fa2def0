"""`fieldgate anchors`: what the store has, and what a running gateway tells of its chains."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import status_sample as sample
from fakes.command import fieldgate, within
from fakes.control_socket import answering, http
from fakes.gateway_folder import make_folder
from fakes.log_maker import LogMaker

from gateway.core.anchor_row import ANCHORED, FAILED, IN_BLOCK, AnchorRow
from gateway.store import Store

BEGUN_MS = 1_795_600_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_folder(tmp_path_factory.mktemp("anchors"), LogMaker().add(6, readings=3), cosigned=4)
    asyncio.run(fill(made / "data"))
    return made


async def fill(data: Path) -> None:
    store = await Store.open(data)
    rows = [(2, ANCHORED, 1_000, ""), (4, FAILED, None, "no funds\x1b[2J"), (5, IN_BLOCK, 1_010, "")]
    for size, state, number, why in rows:
        moment = BEGUN_MS // 1000 if number else None
        row = AnchorRow(
            "spartan", size, bytes(32), "evm", "9090", BEGUN_MS, state, why=why, number=number, time_s=moment
        )
        await store.anchors.save(row)
    await store.close()


def test_what_the_store_has(folder: Path) -> None:
    told = within("anchors", cwd=folder)
    assert told.code == 0
    assert "\x1b" not in told.out
    lines = told.out.splitlines()
    assert lines[0] == "the gateway does not run: this is what its store has"
    assert [line.split()[0] for line in lines[2:]] == ["5", "4", "2"]
    assert "in block" in lines[2]
    assert r"failed: no funds\x1b" in lines[3]
    assert "1000" in lines[4]


def test_some_of_it(folder: Path) -> None:
    told = within("anchors", "--limit", "1", "--before", "5", cwd=folder).out.splitlines()
    assert [line.split()[0] for line in told[2:3]] == ["4"]
    assert told[-1] == "and older ones: fieldgate anchors --before 4"
    found = json.loads(within("anchors", "--json", "--before", "4", cwd=folder).out)
    assert ([one["size"] for one in found["anchors"]], found["before"], found["running"]) == ([2], None, False)


def test_what_a_running_gateway_tells(folder: Path) -> None:
    chains = {
        "spartan": sample.anchor(state="in block", size=240, confirmed=3),
        "wuhan": sample.anchor(state="failed", block=None, why="no funds", cure="Fill it up", anchored=0),
        "new": sample.anchor(state="waiting", size=0, block=None, anchored=0),
    }
    with answering(folder / "data" / "control.sock", http(json.dumps(sample.status(anchors=chains)).encode())):
        lines = fieldgate("anchors", cwd=folder).out.splitlines()
    assert lines[:4] == [
        "spartan (evm 9090): size 240 is in block, 3 of 12; anchored up to block 235",
        "wuhan (evm 9090): size 236 is failed",
        "new (evm 9090): nothing is begun yet",
        "  wuhan: no funds. Fill it up.",
    ]
    with answering(folder / "data" / "control.sock", http(json.dumps(sample.status(anchors={})).encode())):
        assert fieldgate("anchors", cwd=folder).out.startswith("no chain is configured")


def test_blocks_and_a_block_tell_what_covers_them(folder: Path) -> None:
    told = within("blocks", cwd=folder).out.splitlines()
    assert [line.endswith(", anchored on 1 chain") for line in told[1:]] == [False] * 4 + [True] * 2
    block = within("show", "1", cwd=folder).out
    assert "anchored    in block 1000 of evm 9090 at 2026-11-" in block
    assert "anchored on 1 chain" in block
    assert "anchored" not in within("show", "2", cwd=folder).out


async def _stamped(data: Path) -> None:
    store = await Store.open(data)
    at = BEGUN_MS // 1000
    for name, kind, chain in (("tsa", "rfc3161", "tsa.example"), ("by node coop, tsa", "fleet", "rfc3161 tsa.example")):
        row = AnchorRow(name, 3, bytes(32), kind, chain, BEGUN_MS, ANCHORED, over=True, number=at, hash=bytes(32))
        await store.anchors.save(replace(row, time_s=at, evidence=b""))
    await store.close()


def test_a_time_stamp_has_a_time_and_no_block(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, LogMaker().add(3, readings=1), cosigned=3)
    asyncio.run(_stamped(folder / "data"))
    rows = within("anchors", cwd=folder).out.splitlines()[1:]
    assert len(rows) == 3 and rows[0].endswith("BLOCK               ITS TIME")
    assert [row.split("none: a time stamp  2026-11-")[0].split()[-1] for row in rows[1:]] == ["claimed", "anchored"]
    block = within("show", "1", cwd=folder).out
    assert "anchored    by a time stamp of rfc3161 tsa.example at 2026-11-" in block
    assert "claimed     by node coop, tsa: by a time stamp of fleet rfc3161 tsa.example at 2026-11-" in block
    assert block.count("anchored on 1 chain") == 1
    (told,) = (one for one in json.loads(within("blocks", "--json", cwd=folder).out)["blocks"] if one["height"] == 1)
    assert (told["anchored"], told["claimed"]) == (["tsa"], ["by node coop, tsa"])
    assert str(BEGUN_MS // 1000) not in block
    chains = {"tsa": sample.anchor(kind="rfc3161", chain="tsa.example", state="anchored", size=3, block=7)}
    with answering(folder / "data" / "control.sock", http(json.dumps(sample.status(anchors=chains)).encode())):
        told = fieldgate("anchors", cwd=folder).out.splitlines()[0]
    assert told == "tsa (rfc3161 tsa.example): size 3 is anchored; anchored up to block 235"


def test_what_a_node_says_of_a_chain_is_its_word(folder: Path) -> None:
    given = sample.anchor(kind="fleet", chain="evm 9090", state="claimed", size=3, anchored=0, block=None)
    told = json.dumps(sample.status(anchors={"by node coop, 9090": given})).encode()
    with answering(folder / "data" / "control.sock", http(told)):
        assert fieldgate("anchors", cwd=folder).out.startswith(
            "by node coop, 9090 (fleet evm 9090): size 3 is claimed by the node, and not checked against a pin\n"
        )
        told_by_status = fieldgate("status", cwd=folder).out
    assert "by node coop, 9090: claimed by the node up to block 2\n" in told_by_status


def test_status_tells_each_chain(folder: Path) -> None:
    chains = {"spartan": sample.anchor(state="in block", size=240), "wuhan": sample.anchor(anchored=0, state="failed")}
    with answering(folder / "data" / "control.sock", http(json.dumps(sample.status(anchors=chains)).encode())):
        told = fieldgate("status", cwd=folder).out
    assert "spartan: anchored up to block 235, size 240 is in block" in told
    assert "wuhan: not anchored yet, size 236 is failed" in told
