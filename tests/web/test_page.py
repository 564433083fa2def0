"""The status page: what it says, that hostile text stays text, and that only this machine sees it."""

import base64
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest
from fakes.status_sample import NOW_MS, node, source, status
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.web.page import render
from gateway.web.style import STYLE

HOSTILE = "<script>alert(1)</script>\"'&</pre></style><img src=x onerror=y>"
VOID = {"meta", "br", "link"}


class Parsed(HTMLParser):
    """Tags, attributes and text; an unbalanced page is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def row(page: Parsed, begin: str) -> list[str]:
    return next(cells for cells in page.rows if cells and cells[0].startswith(begin))


def test_a_gateway_that_is_well() -> None:
    page = Parsed(render(status()))
    assert "All well: 2 sources, stored by 1 of 1 node" in page.text
    climate = row(page, "climate")
    assert climate[1:3] == ["temp 21.25 Cel rh 63 %RH", "4 s"]
    assert climate[3:] == ["12\u202f345", "12\u202f340", "3", "2", "0"]
    assert row(page, "gps")[1:3] == ["–", "–"]
    assert "Rejected: json: 2" in page.text
    assert '{"temperature": }' in page.text
    assert row(page, "coop")[1:] == ["in step", "240", "240", "238", "61 s ago"]
    assert "1\u202f234\u202f567" in page.text
    assert "synchronised, within 12 ms" in page.text
    assert "running for 3 d" in page.text


def test_what_needs_a_person() -> None:
    problems = [{"what": "Source climate is away: no broker", "cure": "It is tried again by itself"}]
    sick = source(up=False, detail="no broker", balanced=False, waiting=3, dropped=5)
    chain = status()["chain"] | {"held": "the sign-state is missing", "last_sealed_ms": None}
    page = Parsed(
        render(
            status(
                headline=problems[0]["what"],
                problems=problems,
                sources={"climate": sick},
                chain=chain,
                nodes={"coop": node(ok=False, detail="it cannot be reached", last_ms=None)},
                clock={"synchronised": False, "error_ms": None, "boot_id": "b"},
            )
        )
    )
    for words in (
        "Source climate is away: no broker",
        "It is tried again by itself",
        "does not add up",
        "held: the sign-state is missing",
        "it cannot be reached",
        "not synchronised",
        "never",
    ):
        assert words in page.text
    labels = [attrs.get("aria-label") for _, attrs in page.tags]
    assert {"Needs a person", "away", "not in order"} <= set(labels)


def test_a_gateway_without_anything() -> None:
    page = Parsed(render(status(sources={}, nodes={})))
    assert "No source" in page.text
    assert "No node is configured" in page.text


def hostile(value: Any) -> Any:
    """The same value with every text made hostile, and every name of a source or node."""
    if isinstance(value, dict):
        kept = {"sources", "nodes"}
        return {
            key: {HOSTILE + name: hostile(one) for name, one in part.items()} if key in kept else hostile(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [hostile(part) for part in value]
    return value + HOSTILE if isinstance(value, str) else value


def test_hostile_names_and_payloads_stay_text() -> None:
    made = hostile(status(problems=[{"what": "w", "cure": "c"}]))
    made["sources"] = {name: one | {"rejects": {HOSTILE: 1}} for name, one in made["sources"].items()}
    text = render(made)
    plain = Parsed(render(status(problems=[{"what": "w", "cure": "c"}], sources=status()["sources"])))
    page = Parsed(text)
    assert "<script" not in text
    assert "<img" not in text
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert not any(name.startswith("on") or name == "style" for _, attrs in page.tags for name in attrs)
    assert page.text.count(HOSTILE) > 20


@settings(max_examples=50)
@given(st.text(max_size=30), st.text(max_size=30), st.one_of(st.text(max_size=20), st.floats(), st.booleans()))
def test_no_text_breaks_the_page(name: str, unit: str, value: Any) -> None:
    Parsed(render(status(sources={name: source(last=[[name, unit, value], [name, None, value]], detail=unit)})))


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = render(status())
    page = Parsed(text)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "img", "link", "form", "input"}
    assert [attrs["href"] for tag, attrs in page.tags if tag == "a"] == ["/status.json"]
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "http-equiv" in text
    assert re.search(r'content="\d+"', text)


def test_ages() -> None:
    for ago, shown in (
        (0, "0 s"),
        (119_000, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (10**9, "11 d"),
        (-5, "0 s"),
    ):
        page = Parsed(render(status(sources={"x": source(last_ms=NOW_MS - ago)})))
        assert row(page, "x")[2] == shown


# -- who sees it ------------------------------------------------------------------------------------------------------


async def get(server, http: aiohttp.ClientSession, path: str = "/", **headers: str) -> tuple[int, bytes, Any]:
    async with http.get(f"http://127.0.0.1:{server.port}{path}", headers=headers) as response:
        return response.status, await response.read(), response.headers


async def test_a_person_on_this_machine(start, http: aiohttp.ClientSession) -> None:
    server = await start()
    code, data, headers = await get(server, http)
    assert code == 200
    text = data.decode()
    assert Parsed(text).text
    policy = headers["Content-Security-Policy"]
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    assert f"'sha256-{base64.b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    code, data, headers = await get(server, http, "/status.json")
    assert (code, json.loads(data)) == (200, status())
    for host in (f"localhost:{server.port}", f"LOCALHOST:{server.port}", f"[::1]:{server.port}"):
        assert (await get(server, http, Host=host))[0] == 200
    assert (await get(server, http, **{"Sec-Fetch-Site": "same-origin"}))[0] == 200
    assert (await get(server, http, **{"Sec-Fetch-Site": "none"}))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "localhost.evil.example:8440"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"Via": "1.1 proxy"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/status.json"])
async def test_others_get_401_without_a_body(start, http, path: str, headers: dict[str, str]) -> None:
    code, data, answer = await get(await start(), http, path, **headers)
    assert (code, data) == (401, b"")
    assert "Content-Security-Policy" not in answer


@pytest.mark.parametrize("path", ["/?x=1", "/index.html", "/status", "/status.json/", "/status.json?x"])
async def test_other_paths(start, http, path: str) -> None:
    assert (await get(await start(), http, path))[:2] == (401, b"")


async def test_a_peer_from_elsewhere_does_not_see_it(start, http, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.web.page import _is_loopback

    assert _is_loopback("127.0.0.1")
    assert _is_loopback("127.8.9.1")
    assert _is_loopback("::1")
    assert _is_loopback("::ffff:127.0.0.1")
    for other in ("192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "fe80::1%eth0", "", None, "localhost", "0.0.0.0"):
        assert not _is_loopback(other)


async def test_a_status_that_fails_shows_nothing(start, http: aiohttp.ClientSession) -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("a secret of ours")

    code, data, _ = await get(await start(status=broken), http)
    assert (code, data) == (500, b"")
