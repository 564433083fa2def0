"""`fieldgate login` against a gateway that runs, one that does not, and things that only look like one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.command import fieldgate
from fakes.control_socket import answering, http
from fakes.field import Field
from fakes.gateway_folder import make_folder
from fakes.log_maker import LogMaker

TOLD = {"code": "K7M-2QX", "addresses": ["http://192.0.2.7:8440"], "here": "http://127.0.0.1:8440"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("g"), LogMaker().add(1))


def login(folder: Path, told: Any, *args: str) -> Any:
    with answering(folder / "data" / "control.sock", http(json.dumps(told).encode())):
        return fieldgate("login", *args, cwd=folder)


def test_a_code_and_where_to_use_it(folder: Path) -> None:
    done = login(folder, TOLD)
    assert done.code == 0
    assert done.out.splitlines() == [
        "code            K7M-2QX   (once, within five minutes)",
        "open            http://192.0.2.7:8440/login",
        "on the gateway  http://127.0.0.1:8440/login",
    ]


def test_a_gateway_that_nobody_reaches_says_so(folder: Path) -> None:
    done = login(folder, TOLD | {"addresses": []})
    assert done.code == 0
    assert "[web] listen" in done.out


def test_as_json(folder: Path) -> None:
    assert json.loads(login(folder, TOLD, "--json").out) == TOLD


@pytest.mark.parametrize("told", [{}, {"code": 7, "addresses": []}, {"code": "x"}, [], "x", None])
def test_what_is_no_gateway(folder: Path, told: Any) -> None:
    done = login(folder, told)
    assert (done.code, done.out) == (3, "")
    assert "not a gateway of this version" in done.err


def test_what_it_says_is_made_safe_to_print(folder: Path) -> None:
    assert "\x1b" not in login(folder, TOLD | {"code": "\x1b[31m", "addresses": ["\x1b]0;x"], "here": "\x07"}).out


def test_not_running(folder: Path) -> None:
    done = fieldgate("login", cwd=folder)
    assert done.code == 3
    assert "the gateway is not running" in done.err


async def test_of_a_gateway_that_runs(tmp_path: Path) -> None:
    import asyncio

    field = Field(tmp_path, "", with_node=False)
    await field.make()
    async with field.started():
        await field.up()
        first, second = [await asyncio.to_thread(fieldgate, "login", "--json", cwd=field.home) for _ in range(2)]
        assert await field.gateway.end() == 0, field.gateway.words()
    codes = [json.loads(done.out)["code"] for done in (first, second)]
    assert all(re.fullmatch("[2-9A-Z]{3}-[2-9A-Z]{3}", code) for code in codes)
    assert codes[0] != codes[1]
    assert not any(code in field.gateway.words() for code in codes)  # no secret reaches a log
