"""A whole conversation with a server of which one answer, or a part of one, is anything that JSON can say."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from fakes import anvil, lying_rpc
from fakes.anvil import CHAIN_ID, KEY
from fakes.odd_json import anything, changed
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.anchors.api import Chain, GoneError, LieError, RefusedError, Submission
from gateway.anchors.evm import chain as evm
from gateway.anchors.evm.options import EvmOptions
from gateway.core.anchor import Statement
from gateway.errors import UnreachableError

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
EXPECTED = (UnreachableError, LieError, RefusedError, GoneError)  # gateway/anchors/api.py, law 7
CONFIRMATIONS = 2


def key(asked: dict[str, Any]) -> str:
    return json.dumps([asked["method"], *asked["params"]])


class Odd(NamedTuple):
    """What is answered to the question `at` of a conversation: another result, or an error."""

    at: int
    answer: dict[str, Any]


class Replay:
    """A server that answers what was heard, and once something else."""

    def __init__(self, heard: dict[str, Any], odd: Odd | None) -> None:
        self._heard, self._odd, self.asked = heard, odd, list[str]()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(key(asked))
        if self._odd is not None and len(self.asked) == self._odd.at + 1:
            return web.json_response({"id": asked["id"], **self._odd.answer})
        return web.json_response({"id": asked["id"], "result": self._heard.get(key(asked))})


@asynccontextmanager
async def replaying(server: Replay) -> AsyncIterator[Chain]:
    app = web.Application()
    app.router.add_post("/", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with opened(f"http://127.0.0.1:{runner.addresses[0][1]}") as chain:
            yield chain
    finally:
        await runner.cleanup()


def opened(url: str) -> Any:
    contract = "0x5fbdb2315678afecb367f032d93f642f64180aa3"
    options = EvmOptions(url=url, chain_id=CHAIN_ID, key="file:/none", contract=contract, transaction="eip1559")
    return evm.KIND.opened(options, {"file:/none": KEY})


async def conversed(chain: Chain, mined: Any) -> None:
    """All four steps."""
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    submission = submission.with_ticket(await chain.send(submission))
    await mined()
    place = (await chain.look(submission)).place
    if place is not None:
        await chain.prove(submission, place, CONFIRMATIONS)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a chain answers, by what it is asked."""
    return asyncio.run(_heard(tmp_path_factory.mktemp("chain")))


async def _heard(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def listening(method: str, params: list[Any], result: Any) -> Any:
        found[json.dumps([method, *params])] = result
        return result

    async with anvil.running(folder, hardfork="prague") as node, lying_rpc.lying(node.url) as server:
        await node.deploy(anvil.CREATION)
        server.lie = listening
        async with opened(server.url) as chain:
            await conversed(chain, lambda: node.mine(CONFIRMATIONS))
    return found


async def nothing() -> None:
    pass


@pytest.fixture(scope="module")
def order(heard: dict[str, Any]) -> list[str]:
    """The questions of a conversation."""
    return asyncio.run(_order(heard))


async def _order(heard: dict[str, Any]) -> list[str]:
    server = Replay(heard, None)
    async with replaying(server) as chain:
        await conversed(chain, nothing)
    return server.asked


async def survives(heard: dict[str, Any], odd: Odd) -> None:
    async with replaying(Replay(heard, odd)) as chain:
        try:
            await conversed(chain, nothing)
        except EXPECTED as error:
            assert "\x1b" not in str(error)


ODD_ERRORS: list[Any] = [
    {"code": [], "message": "x"},
    {"code": {}, "message": {}},
    {"code": "x"},
    {"code": 1.5, "message": [["x"] * 9]},
    {"code": None},
    [],
    "x",
    7,
    0,
    False,
    {},
]


@pytest.mark.parametrize("error", ODD_ERRORS, ids=str)
def test_odd_errors(heard: dict[str, Any], order: list[str], error: Any) -> None:
    for at in range(len(order)):
        asyncio.run(survives(heard, Odd(at, {"error": error})))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_odd_answers(heard: dict[str, Any], order: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(order) - 1))
    if data.draw(st.booleans()):
        error = data.draw(st.fixed_dictionaries({"code": anything(), "message": anything()}) | anything())
        answer: dict[str, Any] = {"error": error}
    else:
        answer = {"result": changed(data.draw, heard[order[at]])}
    asyncio.run(survives(heard, Odd(at, answer)))
