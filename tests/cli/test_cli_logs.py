"""`fieldgate logs` against a gateway that runs, one that does not, and things that only look like one."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.command import FIELDGATE, fieldgate
from fakes.control_socket import answering, http
from fakes.gateway_folder import make_folder
from fakes.log_maker import LogMaker


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "number": number,
        "at_ms": 1_750_000_000_000 + number * 1000,
        "level": "INFO",
        "logger": "gateway.app",
        "text": f"record {number}",
        "condition": "",
        "subject": "",
        "holds": None,
    } | fields


RECORDS = [
    record(1),
    record(2, level="ERROR", condition="source-away", subject="climate", holds=True, text="climate is away\x1b[31m"),
    record(3, level="INFO", condition="source-away", subject="climate", holds=False, text="It is over"),
    record(4, level="WARNING"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("g"), LogMaker().add(1, readings=1))


def logs(folder: Path, *args: str, records: Any = RECORDS) -> Any:
    answer = http(json.dumps({"records": records, "last": 4, "lost": 0}).encode())
    with answering(folder / "data" / "control.sock", answer):
        return fieldgate("logs", *args, cwd=folder)


def test_a_line_a_record(folder: Path) -> None:
    done = logs(folder)
    assert done.code == 0
    assert done.out.splitlines() == [
        "2025-06-15T15:06:41.000Z INFO    gateway.app: record 1",
        "2025-06-15T15:06:42.000Z ERROR   gateway.app: [source-away] climate is away\\x1b[31m",
        "2025-06-15T15:06:43.000Z INFO    gateway.app: [source-away over] It is over",
        "2025-06-15T15:06:44.000Z WARNING gateway.app: record 4",
    ]
    assert done.err == ""


@pytest.mark.parametrize(
    ("args", "numbers"),
    [
        (("--level", "warning"), [2, 4]),
        (("--level", "error"), [2]),
        (("--since", "1750000003"), [3, 4]),
        (("--since", "2025-06-15T15:06:43.500Z", "--level", "info"), [4]),
        (("--since", "now"), []),
    ],
)
def test_what_is_asked_for(folder: Path, args: tuple[str, ...], numbers: list[int]) -> None:
    done = logs(folder, "--json", *args)
    assert done.code == 0
    assert [json.loads(line)["number"] for line in done.out.splitlines()] == numbers


def test_without_a_gateway_it_says_where_older_records_are(folder: Path) -> None:
    done = fieldgate("logs", cwd=folder)
    assert done.code == 3
    assert done.out == ""
    assert "not running" in done.lines[0]
    assert "journalctl -x -u fieldgate" in done.lines[1]


@pytest.mark.parametrize("records", [None, [{}], [1], {"a": 1}, [record(1, at_ms="x")]])
def test_what_is_no_gateway_of_this_version(folder: Path, records: Any) -> None:
    done = logs(folder, records=records)
    assert done.code == 3
    assert "not a gateway of this version" in done.lines[0]


def test_an_unknown_time_or_level_is_a_usage_error(folder: Path) -> None:
    assert fieldgate("logs", "--since", "yesterday", cwd=folder).code == 2
    assert fieldgate("logs", "--level", "loud", cwd=folder).code == 2


def test_following_ends_with_a_reader_that_goes_away(folder: Path) -> None:
    """`fieldgate logs --follow | head -1`."""
    answer = http(json.dumps({"records": RECORDS, "last": 4, "lost": 0}).encode())
    with (
        answering(folder / "data" / "control.sock", answer),
        subprocess.Popen(
            [*FIELDGATE, "logs", "--follow"], cwd=folder, stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}
        ) as it,
    ):
        assert it.stdout is not None
        assert it.stdout.readline()
        it.stdout.close()
        assert it.wait(30) == 3


def test_a_faulty_file_hides_no_gateway(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, LogMaker().add(1))
    with (folder / "fieldgate.toml").open("a") as file:
        file.write("[broken\n")
    assert logs(folder).code == 0
    assert fieldgate("logs", cwd=folder).code == 3
