"""/metrics, /healthz and /readyz: what they say, and that nobody learns anything who may not."""

import asyncio
import json
import socket
from typing import Any

import aiohttp
import pytest
from fakes.clock import FakeClock
from fakes.status_sample import node, status, witness
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.web.watch import WatchApi, readiness

PATHS = sorted(WatchApi.PATHS)
TOKEN = "a token of our own".replace(" ", "-")
SERVICES: dict[str, Any] = {"cosigned_within_s": lambda: 1800.0}
ELSEWHERE = (
    {"X-Forwarded-For": "192.0.2.1"},
    {"Forwarded": "for=192.0.2.1"},
    {"Via": "1.1 proxy"},
    {"Host": "rebound.example"},
    {"Origin": "https://elsewhere.example"},
    {"Sec-Fetch-Site": "cross-site"},
)


async def _metrics() -> bytes:
    return b"fieldgate_up 1\n"


class Asked:
    """A response, read whole, with everything that a stranger could learn from it."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body
        self.all = (response.status, sorted((k, v) for k, v in response.headers.items() if k != "Date"), body)


async def ask(http: aiohttp.ClientSession, url: str, **headers: str) -> Asked:
    async with http.get(url, headers=headers) as response:
        return Asked(response, await response.read())


async def test_a_program_on_this_machine_asks_without_anything(start: Any, http: aiohttp.ClientSession) -> None:
    server = await start(services={**SERVICES, "metrics": _metrics})
    base = f"http://127.0.0.1:{server.port}"
    told = await ask(http, f"{base}/healthz")
    assert (told.status, told.body) == (200, b"ok\n")
    told = await ask(http, f"{base}/metrics")
    assert (told.status, told.body) == (200, b"fieldgate_up 1\n")
    assert told.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    told = await ask(http, f"{base}/readyz")
    assert told.status == 200
    assert told.headers["Content-Type"].startswith("application/json")
    assert json.loads(told.body)["ready"] is True
    assert told.headers["Cache-Control"] == "no-store"


async def test_a_gateway_that_is_not_ready_says_why(start: Any, http: aiohttp.ClientSession) -> None:
    server = await start(status=lambda: status(journal={"stores": False}), services=SERVICES)
    told = await ask(http, f"http://127.0.0.1:{server.port}/readyz")
    assert told.status == 503
    parts = json.loads(told.body)
    assert parts["ready"] is False
    assert [name for name, part in parts.items() if name != "ready" and not part["ok"]] == ["journal"]


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("path", PATHS)
async def test_a_stranger_learns_nothing(start: Any, http: aiohttp.ClientSession, path: str, token: str) -> None:
    """Whether there is a token, a metric, or a gateway at all: the answer is that to any path."""
    server = await start(services={**SERVICES, "metrics": _metrics, "watch_token": token})
    base = f"http://127.0.0.1:{server.port}"
    for headers in ELSEWHERE:
        nothing = await ask(http, f"{base}/no-such-path", **headers)
        assert nothing.status == 401
        assert nothing.body == b""
        told = await ask(http, f"{base}{path}", **headers)
        assert told.all == nothing.all
        wrong = await ask(http, f"{base}{path}", **headers, Authorization=f"Bearer {TOKEN}x")
        assert wrong.all == nothing.all


@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_the_token_opens_from_anywhere(start: Any, http: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    server = await start(services={**SERVICES, "metrics": _metrics, "watch_token": TOKEN})
    for path in PATHS:
        for scheme in ("Bearer", "bearer"):
            told = await ask(
                http, f"http://127.0.0.1:{server.port}{path}", **headers, Authorization=f"{scheme} {TOKEN}"
            )
            assert told.status == 200
        for wrong in (f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer "):
            told = await ask(http, f"http://127.0.0.1:{server.port}{path}", **headers, Authorization=wrong)
            assert told.status == 401


async def test_without_a_token_an_empty_one_opens_nothing(start: Any, http: aiohttp.ClientSession) -> None:
    server = await start(services=SERVICES)
    for value in ("Bearer ", "Bearer", "Bearer  "):
        told = await ask(http, f"http://127.0.0.1:{server.port}/healthz", Via="1.1 x", Authorization=value)
        assert told.status == 401


async def test_from_another_address(start: Any, http: aiohttp.ClientSession) -> None:
    """An address of this machine that is not loopback is elsewhere; without one, nothing listens beyond loopback."""
    address = _own_address()
    server = await start(listen=f"{address}:0", services={**SERVICES, "watch_token": TOKEN})
    url = f"http://{address}:{server.port}/healthz"
    expected = 200 if address.startswith("127.") else 401
    assert (await ask(http, url)).status == expected
    assert (await ask(http, url, Authorization=f"Bearer {TOKEN}")).status == 200


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.200", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(sock.getsockname()[0])


async def test_wrong_tokens_are_limited(start: Any, http: aiohttp.ClientSession, clock: FakeClock) -> None:
    """At the limit and one past it; time makes it good again, and a right token is no attempt."""
    server = await start(services={**SERVICES, "watch_token": TOKEN})

    async def attempt(token: str) -> int:
        url = f"http://127.0.0.1:{server.port}/healthz"
        return (await ask(http, url, Via="1.1 x", Authorization=f"Bearer {token}")).status

    for _ in range(limits.WATCH_ATTEMPTS - 1):
        assert await attempt("wrong") == 401
    for _ in range(20):
        assert await attempt(TOKEN) == 200
    assert await attempt("wrong") == 401
    assert await attempt(TOKEN) == 401  # too many: not even the right one is looked at
    clock.advance(11.9)
    assert await attempt(TOKEN) == 401
    clock.advance(0.2)
    assert await attempt(TOKEN) == 200
    assert (await ask(http, f"http://127.0.0.1:{server.port}/healthz")).status == 200  # this machine is not limited


async def test_other_methods_and_paths_are_denied(start: Any, http: aiohttp.ClientSession) -> None:
    server = await start(services={**SERVICES, "metrics": _metrics}, nodes={})
    base = f"http://127.0.0.1:{server.port}"
    for path in PATHS:
        async with http.post(f"{base}{path}") as response:
            assert response.status == 401
        for other in (f"{path}/", f"{path}?x=1", f"/{path}", path.upper()):
            assert (await ask(http, base + other)).status == 401


async def test_a_slow_answer_holds_up_nobody(start: Any, http: aiohttp.ClientSession) -> None:
    release = asyncio.Event()

    async def slow() -> bytes:
        await release.wait()
        return b""

    server = await start(services={**SERVICES, "metrics": slow})
    base = f"http://127.0.0.1:{server.port}"
    waiting = asyncio.create_task(ask(http, f"{base}/metrics"))
    assert (await ask(http, f"{base}/healthz")).status == 200
    release.set()
    assert (await waiting).status == 200


# -- readiness --------------------------------------------------------------------------------------------------------


def ready(**fields: Any) -> dict[str, Any]:
    return readiness(status(**fields), 100)


def test_each_part_decides() -> None:
    assert ready(nodes={"coop": node(cosigned_s=100.0)})["ready"]
    assert not ready(nodes={"coop": node(cosigned_s=100.1)})["ready"]
    clock = {"synchronised": False, "error_ms": None, "boot_id": "b"}
    assert ready(clock=clock)["clock"] == {"ok": False, "error_ms": None}
    assert not ready(clock=clock)["ready"]
    assert not ready(journal={"stores": False})["ready"]


def test_the_newest_cosignature_of_any_node_counts() -> None:
    nodes = {"a": node(cosigned_s=None), "b": node(cosigned_s=5000.0), "c": node(cosigned_s=7.5)}
    assert ready(nodes=nodes)["cosignature"] == {"ok": True, "age_s": 7.5, "within_s": 100, "nodes": 3, "witnesses": 0}
    del nodes["c"]
    assert not ready(nodes=nodes)["ready"]
    del nodes["b"]  # none since the start
    told = ready(nodes=nodes)["cosignature"]
    assert told == {"ok": False, "age_s": None, "within_s": 100, "nodes": 1, "witnesses": 0}
    assert not ready(nodes=nodes)["ready"]
    told = ready(nodes=nodes, witnesses={"public": witness(cosigned_s=9.0)})
    assert (told["ready"], told["cosignature"]["age_s"]) == (True, 9.0)
    assert not ready(nodes={}, witnesses={"public": witness(cosigned_s=None)})["ready"]


def test_nothing_is_awaited_that_cannot_come() -> None:
    assert ready(nodes={})["ready"]
    assert ready(nodes={"a": node(cosigned_s=None)}, chain=status()["chain"] | {"size": 0})["ready"]


@given(
    stores=st.booleans(),
    synchronised=st.booleans(),
    ages=st.lists(st.none() | st.floats(0, 1e6), max_size=3),
    size=st.integers(0, 2),
)
def test_ready_is_all_of_its_parts(stores: bool, synchronised: bool, ages: list[float | None], size: int) -> None:
    told = ready(
        journal={"stores": stores},
        clock={"synchronised": synchronised, "error_ms": 1, "boot_id": "b"},
        nodes={str(number): node(cosigned_s=age) for number, age in enumerate(ages)},
        chain=status()["chain"] | {"size": size},
    )
    fresh = any(age is not None and age <= 100 for age in ages)
    assert told["ready"] == (stores and synchronised and (fresh or not ages or size == 0))
    json.dumps(told, allow_nan=False)
