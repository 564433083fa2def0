"""Who sees and does what from where; what a stranger learns; codes, attempts and cookies over HTTP."""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.page_sample import away, events, taken_over
from fakes.status_sample import status
from fakes.tls import Authority
from yarl import URL

from gateway.conditions import Problem
from gateway.core import limits
from gateway.errors import Fault
from gateway.web import WebServer
from gateway.web.access import is_here
from gateway.web.addresses import addresses
from gateway.web.assets import Assets

ASSETS = Assets.read()
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Client:
    """A browser of somebody: where it is, and its cookies."""

    def __init__(self, server: WebServer, address: str, tls: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.scheme = "https" if tls else "http"
        self.host = f"127.0.0.1:{server.port}"
        self.cookies: dict[str, str] = {}
        connector = aiohttp.TCPConnector(local_addr=(address, 0), ssl=tls or True)
        self.http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def ask(self, method: str, target: str, **given: Any) -> "Reply":
        headers = {"Host": self.host, **given.pop("headers", {})}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = URL(f"{self.scheme}://127.0.0.1:{self.server.port}{target}", encoded=True)
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **given) as response:
            body = b"" if "event-stream" in response.headers.get("Content-Type", "") else await response.read()
            reply = Reply(response.status, body, response.headers)
            response.close()
        for name, value in re.findall(r"([^=;]+)=([^;]*)", reply.headers.get("Set-Cookie", ""))[:1]:
            self.cookies[name] = value
        return reply

    async def get(self, target: str, **headers: str) -> "Reply":
        return await self.ask("GET", target, headers=headers)

    async def post(self, target: str, form: dict[str, str] | None = None, **headers: str) -> "Reply":
        origin = {"Origin": f"{self.scheme}://{self.host}"}
        return await self.ask("POST", target, data=form or {"x": ""}, headers=origin | FORM | headers)


class Reply:
    """A response, read whole; of a stream its head."""

    def __init__(self, status: int, body: bytes, headers: Any) -> None:
        self.status, self.body, self.headers = status, body, headers

    @property
    def text(self) -> str:
        return self.body.decode()


Browse = Callable[..., Awaitable[Client]]


@pytest.fixture
async def browse() -> AsyncIterator[Browse]:
    """Makes a client at an address of its own; 127.0.0.1 is on the gateway, any other is from the network."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(server: WebServer, address: str = "127.0.0.2", tls: ssl.SSLContext | None = None) -> Client:
            client = Client(server, address, tls)
            stack.push_async_callback(client.http.close)
            return client

        yield make


async def offered() -> dict[str, Any]:
    async def doctor() -> list[Problem]:
        return away("gps")

    async def reload(asked: str) -> dict[str, Any]:
        return taken_over()

    async def newest(limit: int, before: int | None) -> list[Any]:
        return events(limit)

    return {"sync": lambda: None, "doctor": doctor, "reload": reload, "events": newest}


async def code_of(server: WebServer) -> str:
    return str((await server._issue())["code"])


async def sign_in(client: Client) -> Reply:
    return await client.post("/login", {"code": await code_of(client.server)})


# -- the matrix -------------------------------------------------------------------------------------------------------

PAGES = ("/", "/source/climate", "/chain", "/chain/1", "/nodes", "/device", "/events", "/doctor", "/receipt/s-0")
LOOKS = {
    **dict.fromkeys(PAGES, "page"),
    "/status.json": "json",
    "/live/": "live",
    "/live/nodes": "live",
    "/proof/s-0": "file",
}
ACTS = ("/doctor", "/sync", "/reload", "/logout")

# who -> what each kind of look and each action gives
SEES = {"page": {200, 404}, "json": {200}, "live": {200}, "file": {404}}
SEES_NOTHING = {"page": {303}, "json": {401}, "live": {401}, "file": {401}}
MAY = {"/doctor": {303}, "/sync": {303}, "/reload": {200}, "/logout": {303}}
MAY_NOT = {"/doctor": {401}, "/sync": {401}, "/reload": {401}, "/logout": {303}}
MATRIX: dict[str, dict[str, set[int]]] = {
    "here": SEES | MAY_NOT | {"/doctor": {303}},
    "here, signed in": SEES | MAY,
    "network": SEES_NOTHING | MAY_NOT,
    "network, signed in": SEES | MAY,
}


@pytest.mark.parametrize("who", MATRIX)
async def test_who_sees_and_does_what(start, browse: Browse, who: str) -> None:
    server = await start(nodes={}, **await offered())
    client = await browse(server, "127.0.0.1" if who.startswith("here") else "127.0.0.2")
    if "signed in" in who:
        assert (await sign_in(client)).status == 303
    for target, kind in LOOKS.items():
        reply = await client.get(target)
        assert reply.status in MATRIX[who][kind], (target, reply.status)
        if reply.status == 303:
            assert (reply.headers["Location"], reply.body) == ("/login", b"")
        if reply.status == 401:
            assert reply.body == b""
    assert (await client.get("/login")).status == 200
    assert (await client.get(ASSETS.path("page.css"))).status == 200
    for target in ACTS:
        reply = await client.post(target)
        assert reply.status in MATRIX[who][target], (target, reply.status)
        assert not (reply.status == 401 and reply.body)


async def test_the_actions_act(start, browse: Browse) -> None:
    done: list[str] = []

    async def doctor() -> list[Problem]:
        done.append("doctor")
        return away("gps")

    async def reload(asked: str) -> dict[str, Any]:
        done.append(asked)
        fault = Fault("fieldgate.toml", 3, "source.climate.topc", "is not known <b>", "Did you mean `topic`?")
        return {"taken_over": False, "error": {"what": "1 fault", "where": "", "cure": "", "faults": [asdict(fault)]}}

    server = await start(sync=lambda: done.append("sync"), doctor=doctor, reload=reload)
    client = await browse(server)
    await sign_in(client)
    assert (await client.post("/sync")).headers["Location"] == "/nodes"
    assert (await client.post("/doctor")).headers["Location"] == "/doctor"
    assert "Plug it in" in (await client.get("/doctor")).text
    refused = await client.post("/reload")
    assert refused.status == 409
    for text in ("fieldgate.toml:3: source.climate.topc", "is not known &lt;b&gt;", "Did you mean <code>topic</code>?"):
        assert text in refused.text
    assert done == ["sync", "doctor", "reload"]


async def test_what_is_not_offered_is_not_there(start, browse: Browse) -> None:
    client = await browse(await start())
    await sign_in(client)
    for target in ("/sync", "/reload", "/doctor"):
        assert (await client.post(target)).status == 404


# -- another site's pages, other names, proxies -----------------------------------------------------------------------

FOREIGN: list[dict[str, str]] = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:1"},
    {"Host": "localhost.evil.example:8440"},
    {"Host": "192.0.2.1:8440"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"X-Forwarded-For": "192.0.2.1"},
    {"X-Real-Ip": "192.0.2.1"},
    {"Forwarded": "for=192.0.2.1"},
    {"Via": "1.1 proxy"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda one: " ".join(*one.items()))
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
async def test_others_get_401_without_a_body(start, browse: Browse, address: str, headers: dict[str, str]) -> None:
    server = await start(**await offered())
    client = await browse(server, address)
    await sign_in(client)
    for target in ("/", "/login", "/status.json", "/live/", "/proof/s-0", ASSETS.path("page.js")):
        reply = await client.get(target, **headers)
        assert (reply.status, reply.body) == (401, b"")
        assert "Content-Security-Policy" not in reply.headers
    for target in ("/login", "/logout", "/doctor", "/sync", "/reload", "/language"):
        reply = await client.post(target, **headers)
        assert (reply.status, reply.body) == (401, b"")
        assert "Set-Cookie" not in reply.headers


async def test_a_form_without_an_origin_is_not_ours(start, browse: Browse) -> None:
    client = await browse(await start(**await offered()), "127.0.0.1")
    await sign_in(client)
    reply = await client.ask("POST", "/sync", data={"x": ""}, headers=FORM)
    assert (reply.status, reply.body) == (401, b"")
    reply = await client.post("/sync", **{"Sec-Fetch-Site": "same-origin"})
    assert reply.status == 303


@pytest.mark.parametrize(
    "more",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json"},
        {"Content-Encoding": "deflate"},
        {"Expect": "100-continue"},
        {"Upgrade": "websocket"},
    ],
    ids=lambda one: " ".join(*one.items()),
)
async def test_only_our_own_small_forms_are_read(start, browse: Browse, more: dict[str, str]) -> None:
    client = await browse(await start(**await offered()), "127.0.0.1")
    reply = await client.ask("POST", "/doctor", data=b"x=", headers={"Origin": f"http://{client.host}"} | FORM | more)
    assert (reply.status, reply.body) == (401, b"")


async def test_forms_have_a_limit(start, browse: Browse) -> None:
    client = await browse(await start(), "127.0.0.1")
    rest = limits.FORM_BYTES - len("code=")
    headers = {"Origin": f"http://{client.host}"} | FORM
    assert (await client.ask("POST", "/login", data=b"code=" + b"x" * rest, headers=headers)).status == 403
    assert (await client.ask("POST", "/login", data=b"code=" + b"x" * (rest + 1), headers=headers)).status == 401
    assert (await client.ask("POST", "/login", data=b"\xff" * 9, headers=headers)).status == 400
    assert (await client.ask("POST", "/nodes", data=b"", headers=headers)).status == 401


async def test_names_that_are_ours(start, browse: Browse) -> None:
    import socket

    server = await start(authority=["hen.example:8440"])
    machine = socket.gethostname()
    here, there = await browse(server, "127.0.0.1"), await browse(server)
    for host in ("localhost", "LOCALHOST", "[::1]", "127.0.0.1", machine, f"{machine}.local"):
        assert (await here.get("/", Host=f"{host}:{server.port}")).status == 200
    for host in (f"{machine}:{server.port}", "hen.example:8440", "HEN.example:8440"):
        assert (await there.get("/", Host=host)).status == 303
    for host in (f"localhost:{server.port}", f"[::1]:{server.port}", "hen.example"):
        assert (await there.get("/", Host=host)).status == 401


async def test_listening_on_both_protocols_an_ipv4_address_is_ours_too(start, browse: Browse) -> None:
    server = await start(listen="[::]:0")
    assert (await (await browse(server)).get("/")).status == 303  # it is known, and is to sign in


async def test_listening_everywhere_the_address_that_was_reached_is_ours(start, browse: Browse) -> None:
    server = await start(listen="0.0.0.0:0")
    there, here = await browse(server), await browse(server, "127.0.0.1")
    assert (await there.get("/")).status == 303  # it reached 127.0.0.1, and says so
    assert (await there.get("/", Host=f"127.0.0.9:{server.port}")).status == 401
    assert (await here.get("/")).status == 200


def test_who_is_on_this_machine() -> None:
    for ours in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert is_here(ours)
    for other in (
        "127.8.9.1",
        "192.0.2.1",
        "10.0.0.1",
        "::ffff:192.0.2.1",
        "fe80::1%eth0",
        "",
        None,
        "localhost",
        "0.0.0.0",
    ):
        assert not is_here(other)


def test_addresses_to_open() -> None:
    assert addresses("127.0.0.1", 8440, tls=False) == []
    assert addresses("::1", 8440, tls=False) == []
    assert addresses("localhost", 8440, tls=False) == []
    assert addresses("192.0.2.7", 8440, tls=False) == ["http://192.0.2.7:8440"]
    assert addresses("192.0.2.7", 443, tls=True) == ["https://192.0.2.7"]
    assert addresses("hen.example", 8440, tls=True) == ["https://hen.example:8440"]
    assert addresses("2001:db8::7", 8440, tls=False) == ["http://[2001:db8::7]:8440"]
    every = addresses("0.0.0.0", 8440, tls=False)
    assert every
    assert not [one for one in every if "127." in one]
    assert set(every) <= set(addresses("::", 8440, tls=False)) or len(every) == 1


# -- codes and attempts -----------------------------------------------------------------------------------------------


async def test_a_code_opens_one_session(start, browse: Browse) -> None:
    server = await start()
    client, other = await browse(server), await browse(server, "127.0.0.3")
    code = await code_of(server)
    reply = await client.post("/login", {"code": f" {code.lower().replace('-', ' ')} "})
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    cookie = reply.headers["Set-Cookie"]
    assert re.fullmatch(r"fieldgate=[\w-]{43}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", cookie)
    assert (await client.get("/")).status == 200
    assert (await other.get("/")).status == 303
    assert (await other.post("/login", {"code": code})).status == 403
    assert "Sign out" in (await client.get("/")).text
    reply = await client.post("/logout")
    assert "Max-Age=0" in reply.headers["Set-Cookie"]
    client.cookies["fieldgate"] = cookie.partition("=")[2].partition(";")[0]
    assert (await client.get("/")).status == 303


async def test_over_tls_the_cookie_is_bound_to_this_host(start, browse: Browse, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("gateway")
    server = await start(cert_file=str(cert), key_file=str(key))
    client = await browse(server, tls=ssl.create_default_context(cafile=str(authority.ca_file)))
    assert "not encrypted" not in (await client.get("/login")).text
    reply = await sign_in(client)
    assert reply.headers["Set-Cookie"].startswith("__Host-fieldgate=")
    assert reply.headers["Set-Cookie"].endswith("; Secure")
    assert (await client.get("/")).status == 200
    client.cookies = {"fieldgate": client.cookies["__Host-fieldgate"]}
    assert (await client.get("/")).status == 303


async def test_a_stranger_learns_nothing_of_the_gateway(start, browse: Browse) -> None:
    client = await browse(await start())
    page = await client.get("/login")
    assert "not encrypted" in page.text
    for word in ("henhouse", "0.1.0", "climate", "coop", "example.farm"):
        assert word not in page.text
        assert word not in str(page.headers)


async def test_wrong_codes_void_the_right_one(start, browse: Browse) -> None:
    server = await start()
    client = await browse(server)
    code = await code_of(server)
    for _ in range(limits.LOGIN_TRIES):
        reply = await client.post("/login", {"code": "AAAAAA"})
        assert reply.status == 403
        assert "This is not the code" in reply.text
        assert "Set-Cookie" not in reply.headers
    assert (await client.post("/login", {"code": code})).status == 403
    assert (await sign_in(client)).status == 303


async def test_a_code_expires(start, browse: Browse, clock) -> None:
    server = await start()
    client = await browse(server)
    code = await code_of(server)
    clock.mono += limits.LOGIN_CODE_S
    assert (await client.post("/login", {"code": code})).status == 403


async def test_attempts_are_limited_by_address_and_in_all(start, browse: Browse, clock) -> None:
    server = await start()
    clients = [await browse(server, f"127.0.1.{number}") for number in range(7)]
    for _ in range(limits.LOGIN_ATTEMPTS_OF_ADDRESS):
        assert (await clients[0].post("/login", {"code": "x"})).status == 403
    reply = await clients[0].post("/login", {"code": await code_of(server)})
    assert reply.status == 429
    assert "Too many tries" in reply.text
    assert (await sign_in(clients[1])).status == 303
    told = [(await client.post("/login", {})).status for client in clients[2:] for _ in range(9)]
    assert told.count(403) == limits.LOGIN_ATTEMPTS - limits.LOGIN_ATTEMPTS_OF_ADDRESS - 1
    assert told[-1] == 429
    clock.mono += limits.LOGIN_WINDOW_S
    assert (await sign_in(clients[0])).status == 303


@pytest.mark.parametrize("step", [limits.SESSION_IDLE_S, limits.SESSION_S])
async def test_sessions_end(start, browse: Browse, clock, step: float) -> None:
    client = await browse(await start())
    await sign_in(client)
    if step == limits.SESSION_S:
        for _ in range(int(limits.SESSION_S // 1_000)):
            clock.mono += 1_000
            assert (await client.get("/")).status == 200
        clock.mono += 1_000
    else:
        clock.mono += step - 1
        assert (await client.get("/")).status == 200
        clock.mono += step
    assert (await client.get("/")).status == 303


@pytest.mark.parametrize("sent", ["fieldgate", "fieldgate=", "fieldgate=x; fieldgate=y", "\x01", "=;=;=", "a" * 8_000])
async def test_cookies_that_are_none(start, browse: Browse, sent: str) -> None:
    client = await browse(await start())
    await sign_in(client)
    client.cookies = {}
    with contextlib.suppress(ValueError):  # the client does not send it
        assert (await client.get("/", Cookie=sent)).status in {303, 401}


# -- headers, languages, the control socket ---------------------------------------------------------------------------


async def test_every_page_says_what_a_browser_may_do_with_it(start, browse: Browse) -> None:
    client = await browse(await start(), "127.0.0.1")
    for target in ("/", "/login", "/status.json", "/live/"):
        headers = (await client.get(target)).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
            "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
        }  # fmt: skip
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
    page = (await client.get("/")).text
    assert "style=" not in page
    assert not re.search(r"<script(?! src=\"/assets/)", page)
    for path in re.findall(r'"(/assets/[^"]+)"', page):
        reply = await client.get(path)
        assert reply.status == 200
        assert "immutable" in reply.headers["Cache-Control"]
    assert (await client.get("/assets/0000000000000000/page.css")).status == 401


async def test_status_json_stays(start, browse: Browse) -> None:
    client = await browse(await start(), "127.0.0.1")
    reply = await client.get("/status.json")
    assert (reply.status, json.loads(reply.body)) == (200, status())


async def test_the_language_is_chosen_once_for_all_pages(start, browse: Browse) -> None:
    client = await browse(await start(), "127.0.0.1")
    assert '<html lang="en">' in (await client.get("/")).text
    assert '<html lang="zh-CN">' in (await client.get("/", **{"Accept-Language": "de, zh-TW;q=0.9, en;q=0.8"})).text
    reply = await client.post("/language", {"language": "zh-CN", "back": "/chain?before=3"})
    assert (reply.status, reply.headers["Location"]) == (303, "/chain?before=3")
    assert "一切正常" in (await client.get("/", **{"Accept-Language": "en"})).text
    for back in ("https://evil.example/", "//evil.example", "/\\evil", "/nope", "", "/live/", "/logout"):
        assert (await client.post("/language", {"language": "xx", "back": back})).headers["Location"] == "/"
    for back in ("/source/x\r\nSet-Cookie: a=b", "/source/\x00", "/source/x y", "/source/\udcff", "/?q=a\nb"):
        reply = await client.post("/language", {"language": "xx", "back": back.encode("utf-8", "replace").decode()})
        assert (reply.status, reply.headers["Location"]) == (303, "/")
    assert client.cookies["language"] == "zh-CN"
    assert (
        await (await browse(client.server)).post("/language", {"language": "zh-CN", "back": "/login"})
    ).status == 303


async def test_the_control_socket_issues_codes(start, browse: Browse, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    server = await start(control=path, listen="0.0.0.0:0")
    connector = aiohttp.UnixConnector(str(path))
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.post("http://gateway/login") as response:
            told = await response.json()
        async with http.get("http://gateway/login") as response:
            assert response.status == 404
    assert re.fullmatch(r"[2-9A-Z]{3}-[2-9A-Z]{3}", told["code"])
    assert told["here"] == f"http://127.0.0.1:{server.port}"
    assert told["addresses"] == await asyncio.to_thread(addresses, "0.0.0.0", server.port, tls=False)
    client = await browse(server)
    assert (await client.post("/login", {"code": told["code"]})).status == 303


async def test_a_status_that_fails_shows_nothing(start, browse: Browse) -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("a secret of ours")

    client = await browse(await start(status=broken), "127.0.0.1")
    for target in ("/", "/status.json"):
        reply = await client.get(target)
        assert (reply.status, reply.body) == (500, b"")
