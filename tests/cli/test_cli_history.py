"""sources, events, blocks, show: what a technician can look back at, beside a gateway that runs and without one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fakes import status_sample as sample
from fakes.command import fieldgate
from fakes.control_socket import answering_each, http
from fakes.gateway_folder import make_folder
from fakes.log_maker import ORIGIN, LogMaker

from gateway.cli import sources as command
from gateway.cli.screen import quality, rate
from gateway.cli.shown import Word, columns, cut, folded, size
from gateway.store import Store, pruning

HOUR = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five blocks of four readings; a node holds three of them, of which one is pruned here."""
    made = make_folder(tmp_path_factory.mktemp("g"), LogMaker().add(5, readings=4), cosigned=3)
    asyncio.run(_prune(made / "data"))
    return made


async def _prune(data_dir: Path) -> None:
    store = await Store.open(data_dir)
    await store.cosigned.wanted("coop", 0)
    await pruning.drop(store.db, 0, 1)
    await store.close()


def ran(folder: Path, *args: str) -> Any:
    done = fieldgate(*args, cwd=folder)
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out) if "--json" in args else done.out


# -- blocks and show --------------------------------------------------------------------------------------------------


def test_blocks(folder: Path) -> None:
    told = ran(folder, "blocks").splitlines()
    assert told[0].split() == ["HEIGHT", "SEALED", "READINGS", "BYTES", "WHY", "STATE"]
    assert [line.split()[0] for line in told[1:]] == ["4", "3", "2", "1", "0"]
    assert told[1].endswith("here, seen by 0, stored by 0 of 1 node")
    assert told[3].endswith("here, seen by 1, stored by 1 of 1 node")
    assert told[5].endswith("pruned here, seen by 1, stored by 1 of 1 node")
    page = ran(folder, "blocks", "--limit", "2", "--before", "4").splitlines()
    assert [line.split()[0] for line in page[1:3]] == ["3", "2"]
    assert page[3] == "and 2 more blocks: fieldgate blocks --before 2"


def test_blocks_as_json(folder: Path) -> None:
    told = ran(folder, "blocks", "--json")
    assert (told["origin"], told["size"], told["nodes"]) == (ORIGIN, 5, ["coop"])
    first, last = told["blocks"][0], told["blocks"][-1]
    assert (first["height"], first["place"], first["seen"], first["stored"]) == (4, "here", [], [])
    assert (last["height"], last["place"], last["bytes"]) == (0, "pruned", 0)
    assert (last["count"], last["seen"], last["stored"]) == (4, ["coop"], ["coop"])
    assert first["sealed_ms"] > last["sealed_ms"]


def test_show(folder: Path) -> None:
    told = ran(folder, "show", "2")
    facts = dict(line.split(None, 1) for line in told.splitlines() if line[:1].isalpha())
    assert facts["block"] == f"2 of {ORIGIN}"
    assert facts["readings"].startswith("4, ")
    assert facts["checkpoint"].startswith("3 blocks, root ")
    assert facts["state"] == "here, seen by 1, stored by 1 of 1 node"
    assert told.count("co-signed   seen by coop") == told.count("co-signed   stored by coop") == 1
    assert len([line for line in told.splitlines() if line.startswith("    ")]) == 4
    assert "by nobody yet" in ran(folder, "show", "4")


def test_show_in_pages(folder: Path) -> None:
    page = ran(folder, "show", "2", "--limit", "1", "--start", "1", "--json")
    assert [one["index"] for one in page["readings"]] == [1]
    assert page["readings"][0]["values"]
    told = ran(folder, "show", "2", "--limit", "3").splitlines()
    assert told[-1] == "and 1 more reading: fieldgate show 2 --start 3"
    assert ran(folder, "show", "2", "--start", "9", "--json")["readings"] == []


def test_show_what_is_not_here(folder: Path) -> None:
    assert "the readings are not here any more: ask coop" in ran(folder, "show", "0")
    assert ran(folder, "show", "0", "--json")["readings"] == []
    for height, code in (("5", 3), ("99999999999999999999999", 2), ("-1", 2), ("x", 2)):
        done = fieldgate("show", height, cwd=folder)
        assert (done.code, done.out, len(done.lines)) == (code, "", 1)


def test_nothing_is_sealed_yet(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "g", LogMaker())
    assert ran(folder, "blocks") == "no block is sealed yet\n"
    assert ran(folder, "events") == "no event is in this store\n"
    assert ran(folder, "events", "--json") == {"events": [], "before": None}
    assert fieldgate("show", "0", cwd=folder).code == 3


@pytest.mark.parametrize("args", [["blocks"], ["events"], ["show", "0"], ["sources"]])
def test_there_is_no_store(folder: Path, tmp_path: Path, args: list[str]) -> None:
    text = (folder / "fieldgate.toml").read_text().replace(str(folder), str(tmp_path))
    (tmp_path / "fieldgate.toml").write_text(text)
    done = fieldgate(*args, cwd=tmp_path)
    assert (done.code, done.out, len(done.lines)) == (3, "", 1)


# -- sources ----------------------------------------------------------------------------------------------------------

NOW = sample.NOW_MS // 60_000
MINUTES = [[NOW - 59, 20.0, 21.0, 20.5, 3], [NOW - 1, 24.0, 24.0, 24.0, 1], [NOW, 22.0, 28.0, 28.0, 2]]
VALUES = {"begin": NOW - 59, "end": NOW + 1, "values": [{"name": "temp", "unit": "Cel", "minutes": MINUTES}]}
AWAY = sample.source(
    up=False, detail="unplugged", quality=5, last=[["note", None, "\x1b[2J"]], rejects={}, example=None, rejected=0
)
STATE = sample.status(sources={"climate": sample.source(), "gps": AWAY})


def asked(folder: Path, *args: str, state: Any = STATE, minutes: Any = VALUES) -> Any:
    answers = {"/status": http(json.dumps(state).encode()), "/minutes/climate": http(json.dumps(minutes).encode())}
    answers["/minutes/gps"] = http(json.dumps({**VALUES, "values": []}).encode())
    with answering_each(folder / "data" / "control.sock", answers):
        return fieldgate("sources", *args, cwd=folder)


def test_sources(folder: Path) -> None:
    done = asked(folder)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "SOURCE   STATE  NEWEST                     AGE   RATE  REJECTED\n"
        "climate  up     temp 21.25 Cel, rh 63 %RH  4 s  0.2/s         2\n"
        "gps      AWAY   note \\x1b[2J               4 s  0.2/s         0\n"
        "climate: rejected: json 2\n"
        "  the last, json: Expecting value\n"
        '  {"temperature": }\n'
        "gps is away: unplugged\n"
        "gps: its newest reading is marked: clock not synchronised, stale or retained\n"
    )


def test_one_source_with_its_last_hour(folder: Path) -> None:
    told = asked(folder, "climate").out.splitlines()
    assert told[0] == "climate, mqtt: up"
    assert told[1].startswith("newest reading 4 s ago, 0.2/s; received 12,345, stored 12,340, ")
    at = told.index("temp  21.25 Cel")
    assert told[at + 1] == "▁" + " " * 57 + "▅█"
    assert told[at + 2] == "last hour: 20 to 28, 6 readings"
    assert told[-1] == "rh  63 %RH"


def test_one_source_where_blocks_cannot_be_printed(folder: Path) -> None:
    answers = {"/status": http(json.dumps(STATE).encode()), "/minutes/climate": http(json.dumps(VALUES).encode())}
    with answering_each(folder / "data" / "control.sock", answers):
        done = fieldgate("sources", "climate", cwd=folder, env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert "_" + " " * 57 + "=#" in done.out


def test_sources_as_json(folder: Path) -> None:
    assert json.loads(asked(folder, "--json").out) == {
        "origin": STATE["origin"],
        "now_ms": STATE["now_ms"],
        "sources": STATE["sources"],
    }
    assert json.loads(asked(folder, "climate", "--json").out) == {"source": "climate", **sample.source(), **VALUES}


def test_no_such_source(folder: Path) -> None:
    done = asked(folder, "climat")
    assert done.code == 3
    assert "no source climat" in done.err
    assert fieldgate("sources", "Climate!", cwd=folder).code == 2


@pytest.mark.parametrize(
    "minutes",
    [{}, [], {"begin": 1}, {**VALUES, "values": [3]}, {**VALUES, "begin": 0}, {**VALUES, "values": [{"name": "temp"}]}],
    ids=range(6),
)
def test_an_answer_that_is_none(folder: Path, minutes: Any) -> None:
    done = asked(folder, "climate", minutes=minutes)
    assert (done.code, done.out, len(done.lines)) == (3, "", 1)


def test_thousands_of_sources_are_cut(folder: Path) -> None:
    many = {f"s-{n:04}": sample.source(rejects={}, example=None) for n in range(4_096)}
    done = asked(folder, state={**STATE, "sources": many})
    lines = done.out.splitlines()
    assert len(lines) == command._SHOWN + 2
    assert lines[-1].startswith(f"and {4_096 - command._SHOWN:,} more sources: ")


@pytest.mark.parametrize(
    ("a_second", "told"), [(0, "-"), (200, "200/s"), (1, "1/s"), (0.1, "0.1/s"), (1 / 60, "1/min"), (0.002, "0.12/min")]
)
def test_rates(a_second: float, told: str) -> None:
    assert rate(a_second) == told


def test_quality_in_words() -> None:
    assert quality(0) == ""
    assert quality(1 | 32) == "clock not synchronised, bits 32"


def test_columns_give_way() -> None:
    row = [Word("name"), Word("x" * 30), Word("12"), Word("345")]

    def drawn(width: int) -> str:
        (line,) = columns([row], width, right={2, 3}, gives_way=1)
        text = "".join(word.text for word in line)
        assert len(text) <= width
        return text

    assert drawn(100) == f"name  {'x' * 30}  12  345"
    assert drawn(30) == f"name  {'x' * 14}…  12  345"
    assert drawn(21) == "name  xxxxx…  12  345"
    assert drawn(20) == "name  xxxxxxxxx…  12"
    assert drawn(16) == "name  xxxxx…  12"
    assert drawn(15) == "name  xxxxxxxx…"
    assert drawn(8) == "name  x…"
    assert "".join(word.text for word in cut([Word("ab"), Word("cd")], 3)) == "ab…"
    assert [len(line) for line in folded("one two three", 7)] == [1, 1]
    assert [size(n) for n in (0, 1023, 1024, 3 * 2**20, 5 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
    ]
