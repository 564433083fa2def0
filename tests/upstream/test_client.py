"""The client of one node over real sockets, against nodes that behave and nodes that do not."""

import asyncio
import base64
import contextlib
import random
import ssl
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes.bad_node import BadNode
from fakes.collector import until
from fakes.filled_store import make_store, publish
from fakes.log_maker import START_MS, LogMaker, log_id, signer
from fakes.tls import Authority

from gateway.clock import SystemClock
from gateway.conditions import find
from gateway.core import body, cbor, limits, senml
from gateway.core.note import ED25519, Checkpoint, parse_line, parse_note, verify_cosignature
from gateway.errors import HeldError, StoreFullError
from gateway.keys import sign_checkpoint
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.upstream import Upstream

CLOCK = SystemClock()


class Soon:
    """Jitter that hardly waits."""

    def random(self) -> float:
        return 0.02


@pytest.fixture
def log() -> LogMaker:
    return LogMaker().add(5)


@pytest.fixture
async def store(tmp_path: Path, log: LogMaker) -> AsyncIterator[Store]:
    made = await make_store(tmp_path / "gateway", log)
    yield made
    await made.close()


def upstream(node: BadNode, store: Store, *, forks: list[HeldError] | None = None, **link: Any) -> Upstream:
    fields = {"url": node.url, "seen_key": str(node.seen.vkey), "stored_key": str(node.stored.vkey)} | link
    on_fork = (forks if forks is not None else []).append
    return Upstream(node.name, NodeLink(**fields), store.vkey, store, CLOCK, Soon(), on_fork=on_fork)


@contextlib.asynccontextmanager
async def running(*parts: Upstream) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


# -- an honest node ---------------------------------------------------------------------------------------------------


async def test_headers_and_wanted_bodies_arrive_and_lines_are_kept(log: LogMaker, store: Store) -> None:
    async with BadNode(log, lacking={0, 1, 2, 3, 4}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: up.status()["stored"] == 5)
            assert up.status()["ok"]
            assert up.status()["detail"] == "in step"
            assert up.status()["last_ms"]
    assert [node.bodies[height] for height in range(5)] == [block.body for block in log.blocks]
    (cosigned,) = await store.cosigned.above(0)
    text = parse_note(cosigned.note).text
    assert {line.kind for line in cosigned.lines} == {"seen", "stored"}
    for line in cosigned.lines:
        key = node.seen if line.kind == "seen" else node.stored
        assert verify_cosignature(text, parse_line(line.line), key.vkey)
    put = next(sent for sent in node.sent if sent.method == "PUT")
    assert (put.headers["Content-Encoding"], put.headers["Content-Type"]) == ("deflate", "application/cbor")
    assert zlib.decompress(put.body) == log.blocks[0].body


async def test_a_new_block_goes_at_once(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: node.size == 5)
            await publish(store, log.add())
            await until(lambda: node.size == 6)


async def test_it_waits_for_the_first_block(tmp_path: Path) -> None:
    log = LogMaker()
    store = await make_store(tmp_path / "empty", log)
    async with BadNode(log) as node:
        up = upstream(node, store)
        async with running(up):
            await asyncio.sleep(0.05)
            assert node.sent == []
            await publish(store, log.add())
            await until(lambda: node.size == 1)
    await store.close()


async def test_after_a_restart_it_goes_on_where_the_node_is(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: up.status()["seen"] == 5)
        await publish(store, log.add(3))
        node.sent.clear()
        async with running(upstream(node, store)):
            await until(lambda: node.size == 8)
        first = cbor.decode(node.sent[0].body)
        assert isinstance(first, dict)
        assert first[1] == 5
        node.size, node.sent = 2, []  # the node was restored from a copy
        up = upstream(node, store)
        async with running(up):
            await until(lambda: node.size == 8)
        assert len(node.sent) == 2


async def test_a_node_that_comes_back_is_found_again(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node:
        port = node.port
    up = upstream(node, store)
    async with running(up):
        await until(lambda: "cannot be reached" in up.status()["detail"])
        assert not up.status()["ok"]
        assert up.status()["cure"]
        node = BadNode(log, name="node.example")
        node.port = port
        async with node:
            await until(lambda: node.size == 5)
            await until(lambda: up.status()["ok"])


@pytest.mark.parametrize("link", [{"share": ("s-0",), "stored_key": None}, {"upload": False}])
async def test_bodies_go_only_to_nodes_that_see_whole_blocks_and_cannot_pull(
    log: LogMaker, store: Store, link: dict[str, Any]
) -> None:
    async with BadNode(log, lacking={0, 1}) as node:
        up = upstream(node, store, **link)
        async with running(up):
            await until(lambda: len(node.sent) >= 3)  # it is asked now and then what it wants
    assert {sent.method for sent in node.sent} == {"POST"}


async def test_a_cut_view_never_counts_as_stored(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node:
        up = upstream(node, store, share=("s-0",))
        async with running(up):
            await until(lambda: up.status()["seen"] == 5)
    assert (await store.cosigned.progress(node.name)).stored == 0


async def test_an_empty_block_has_a_body_too(log: LogMaker, store: Store) -> None:
    log.append([])
    await publish(store, log)
    async with BadNode(log, lacking={5}) as node, running(upstream(node, store)):
        await until(lambda: 5 in node.bodies)
    assert node.bodies[5] == log.blocks[5].body


async def test_a_block_whose_readings_are_gone_is_passed_over(log: LogMaker, store: Store) -> None:
    await store.db.transact([("UPDATE block SET secret=NULL WHERE height=1", ())])
    async with BadNode(log, lacking={0, 1, 2}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: sorted(node.bodies) == [0, 2])
            await until(lambda: "wants block 1" in up.status()["detail"])


def large_log(readings: int, size: int) -> LogMaker:
    """A log of one block whose readings have payloads apart that cannot be compressed."""
    rng = random.Random(5)
    log = LogMaker()
    packs = [senml.with_digest("s-0", [], bt_ms=START_MS + number, raw_sha256=bytes(32)) for number in range(readings)]
    log.append([(pack, rng.randbytes(size)) for pack in packs])
    return log


async def test_a_large_body_streams(tmp_path: Path) -> None:
    log = large_log(60, 60_000)
    store = await make_store(tmp_path / "large", log)
    async with BadNode(log, lacking={0}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: 0 in node.bodies)
    assert node.bodies[0] == log.blocks[0].body
    parsed = body.parse_body(node.bodies[0])
    assert isinstance(parsed, body.WholeBody)
    assert len(parsed.items) == 60
    await store.close()


async def test_one_last_push(log: LogMaker, store: Store) -> None:
    async with BadNode(log, lacking={4, 5}) as node:
        up = upstream(node, store)
        assert not await up.push_until(CLOCK.monotonic() + 1)  # it does not run yet
        async with running(up):
            await until(lambda: node.size == 5)
            await publish(store, log.add())
            assert await up.push_until(CLOCK.monotonic() + 10)
            assert await up.push_until(CLOCK.monotonic() + 10)
            assert node.size == 6
            assert sorted(node.bodies) == [4, 5]


async def test_one_last_push_ends_at_its_deadline_or_when_the_node_fails(log: LogMaker, store: Store) -> None:

    async def hang(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with BadNode(log, misbehave=hang) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: len(node.sent) == 1)
            assert not await up.push_until(CLOCK.monotonic() + 0.05)
    up = upstream(node, store)  # nobody listens any more
    async with running(up):
        await until(lambda: not up.status()["ok"])
        assert not await up.push_until(CLOCK.monotonic() + 30)


async def test_tls_with_an_authority_of_its_own(log: LogMaker, store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("node")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    node = BadNode(log)
    node.tls = context
    async with node:
        trusting = upstream(node, store, ca_file=str(authority.ca_file))
        doubting = upstream(node, store)
        lost = upstream(node, store, ca_file=str(tmp_path / "gone.pem"))
        async with running(trusting, doubting, lost):
            await until(lambda: trusting.status()["seen"] == 5)
            await until(lambda: "certificate is not valid" in doubting.status()["detail"])
            await until(lambda: "cannot be read" in lost.status()["detail"])
            assert [one.status()["condition"] for one in (trusting, doubting, lost)] == ["", "node-tls", "node-tls"]


async def test_another_key_than_the_configuration_says(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node, BadNode(log, "other.example") as other:
        seen = upstream(node, store, seen_key=str(other.seen.vkey))
        stored = upstream(node, store, stored_key=str(other.stored.vkey))
        async with running(seen, stored):
            for one, field in ((seen, "seen_key"), (stored, "stored_key")):
                await until(lambda: one.status()["condition"] == "node-key")  # noqa: B023
                assert one.status()["values"]["field"] == field
                assert (one.status()["seen"], one.status()["stored"]) == (0, 0)


async def test_nobody_there_and_a_name_without_an_address(log: LogMaker, store: Store) -> None:
    node = BadNode(log)
    async with node:
        pass
    away, nameless = upstream(node, store), upstream(node, store, url="http://no-such-host.invalid")
    async with running(away, nameless):
        await until(lambda: away.status()["condition"] == "node-away")
        await until(lambda: nameless.status()["condition"] == "node-name")
        assert "refused" in away.status()["values"]["detail"]


async def test_proxies_of_the_environment_are_not_used(
    log: LogMaker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with BadNode(log) as node, running(upstream(node, store)):
        await until(lambda: node.size == 5)


# -- nodes that misbehave ---------------------------------------------------------------------------------------------


async def plain(status: int, data: bytes = b"", kind: str = "text/plain", **headers: str) -> web.Response:
    return web.Response(status=status, body=data, content_type=kind, headers=headers)


def changed(**fields: object):
    """An honest answer but for these keys (`k1` is key 1; None leaves it out)."""

    async def respond(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        honest = node.honest(request, data)
        if honest.status != 200:
            return honest
        answer = {int(str(key)): value for key, value in cbor.decode(bytes(honest.body)).items()}  # type: ignore[union-attr,arg-type]
        for name, value in fields.items():
            answer[int(name[1:])] = value(answer[int(name[1:])]) if callable(value) else value
        return web.Response(body=cbor.encode(answer), content_type="application/cbor")  # type: ignore[arg-type]

    return respond


def flipped(line: object) -> object:
    """A co-signature line with one bit of its signature changed."""
    head, _, data = str(line).strip().rpartition(" ")
    raw = bytearray(base64.b64decode(data))
    raw[-1] ^= 1
    return f"{head} {base64.b64encode(raw).decode()}\n"


async def endless(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/cbor"})
    await response.prepare(request)
    while True:
        await response.write(bytes(65536))


async def hang(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
    await asyncio.sleep(60)
    raise AssertionError


async def drip(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 1000
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


async def cut_off(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 1000
    await response.prepare(request)
    await response.write(b"x")
    assert request.transport is not None
    request.transport.close()
    return response


def always(status: int, data: bytes = b"", kind: str = "text/plain", **headers: str):
    async def respond(node: BadNode, request: web.Request, _: bytes) -> web.StreamResponse:
        return await plain(status, data, kind, **headers)

    return respond


NONSENSE = {
    "no CBOR": (always(200, b"hello", "application/cbor"), "refused"),
    "empty": (always(200), "refused"),
    "half a CBOR": (always(200, b"\xa5\x01", "application/cbor"), "refused"),
    "204": (always(204), "refuses"),
    "a size beyond ours": (changed(k2=9), "9 entries"),
    "an absurd size": (changed(k2=2**53 - 1), "9007199254740991 entries"),
    "a negative size": (changed(k2=-5), "refused"),
    "a flipped bit in seen": (changed(k1=flipped), "not by that key"),
    "a flipped bit in stored": (changed(k5=flipped), "not by that key"),
    "a stored size beyond ours": (changed(k4=7), "refused"),
    "wants beyond the log": (changed(k3=[[0, 99]]), "want list"),
    "wants by the million": (changed(k3=[[0, 2**52]]), "want list"),
    "endless": (endless, "more than"),
    "cut off": (cut_off, "closed the connection"),
    "an encoding nobody asked for": (
        always(200, zlib.compress(bytes(10_000_000)), "application/cbor", **{"Content-Encoding": "deflate"}),
        "encoding",
    ),
    "400": (always(400), "malformed"),
    "401": (always(401), "authentication"),
    "403": (always(403), "signature"),
    "404": (always(404), "does not know this log"),
    "413": (always(413), "too large"),
    "418": (always(418), "refuses"),
    "429": (always(429), "now"),
    "500": (always(500), "now"),
    "503": (always(503), "now"),
    "a size that is none": (always(409, b"many\n", "text/x.tlog.size"), "refused"),
    "its own size refused": (always(409, b"0\n", "text/x.tlog.size"), "says that it is at 0"),
    "no proof of more": (always(409, b"77\n", "text/x.tlog.size"), "shows no checkpoint"),
}


CONDITIONS = {
    "204": "node-refused",
    "400": "node-refused",
    "401": "node-refused",
    "403": "node-log-key",
    "404": "node-unknown-log",
    "413": "node-refused",
    "418": "node-refused",
    "429": "node-busy",
    "500": "node-busy",
    "503": "node-busy",
    "cut off": "node-away",
}  # all others: node-answer


@pytest.mark.parametrize(("name", "misbehave", "word"), [(name, *one) for name, one in NONSENSE.items()], ids=NONSENSE)
async def test_nonsense_is_said_in_words_and_harms_nothing_else(
    log: LogMaker, store: Store, name: str, misbehave, word: str
) -> None:
    forks: list[HeldError] = []
    async with BadNode(log, "bad.example", misbehave) as bad, BadNode(log, "good.example") as good:
        ill, well = upstream(bad, store, forks=forks), upstream(good, store)
        async with running(ill, well):
            await until(lambda: word in ill.status()["detail"])
            status = ill.status()
            assert not status["ok"]
            assert status["cure"]
            assert status["condition"] == CONDITIONS.get(name, "node-answer")
            assert find(status["condition"]).problem("bad", **status["values"]).what
            assert (status["seen"], status["stored"]) == (0, 0)
            await until(lambda: well.status()["seen"] == 5)
            await publish(store, log.add())
            await until(lambda: good.size == 6)
            assert await store.cosigned.progress(bad.name) == (0, 0)
            bad.misbehave = None  # it comes to its senses
            await until(lambda: ill.status()["seen"] == 6)
            await until(lambda: ill.status()["ok"])
    assert forks == []


@pytest.mark.parametrize("misbehave", [hang, drip], ids=["hangs", "drips"])
async def test_a_node_that_takes_forever(
    log: LogMaker, store: Store, misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPSTREAM_REQUEST_S", 0.3)
    async with BadNode(log, misbehave=misbehave) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: "did not answer in time" in up.status()["detail"])


@pytest.mark.parametrize("answer", [b"", b"\x00\xff" * 400, b"HTTP/1.1 999\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad\r\n\r\n"])
async def test_what_is_no_http(log: LogMaker, store: Store, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    node = BadNode(log)
    node.port = server.sockets[0].getsockname()[1]
    up = upstream(node, store)
    async with running(up):
        await until(lambda: up.status()["detail"].startswith(("its answer", "it c")))
        assert not up.status()["ok"]
    server.close()
    await server.wait_closed()


async def test_redirects_are_not_followed_and_cookies_not_kept(log: LogMaker, store: Store) -> None:
    async with BadNode(log, "elsewhere.example") as elsewhere:
        away = always(307, Location=f"{elsewhere.url}/v1/logs/{log_id(log.origin)}/sync", **{"Set-Cookie": "id=1"})
        async with BadNode(log, misbehave=away) as node:
            up = upstream(node, store)
            async with running(up):
                await until(lambda: "redirects" in up.status()["detail"])
                await until(lambda: len(node.sent) >= 2)
        assert elsewhere.sent == []
        assert all("Cookie" not in sent.headers for sent in node.sent)


async def test_endless_conflicts_are_backed_off(log: LogMaker, store: Store) -> None:
    await publish(store, log.add(100))
    sizes = iter([*range(1, 100)] * 10)

    async def conflict(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        return await plain(409, f"{next(sizes)}\n".encode(), "text/x.tlog.size")

    async with BadNode(log, misbehave=conflict) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: "another size each time" in up.status()["detail"])


FORKS = {
    "422": always(422, b"fork"),
    "409 of another type": always(409, b"conflict"),
    "409 without a type": always(409),
}


@pytest.mark.parametrize("misbehave", FORKS.values(), ids=FORKS)
async def test_a_fork_is_reported_once_and_nothing_more_is_sent(log: LogMaker, store: Store, misbehave) -> None:
    forks: list[HeldError] = []
    async with BadNode(log, misbehave=misbehave) as node, BadNode(log, "good.example") as good:
        up, well = upstream(node, store, forks=forks), upstream(good, store)
        async with running(up, well):
            await until(lambda: forks)
            await until(lambda: good.size == 5)
            await publish(store, log.add())
            await until(lambda: good.size == 6)
            assert not await up.push_until(CLOCK.monotonic() + 0.2)
        assert len(node.sent) == 1
        assert len(forks) == 1
        assert "different tree" in str(forks[0])
        assert forks[0].cure
        assert "signing is held" in up.status()["detail"]
        assert not up.status()["ok"]
        assert up.status()["cure"]


async def test_a_larger_tree_under_our_own_key_is_reported(log: LogMaker, store: Store) -> None:
    forks: list[HeldError] = []
    larger = sign_checkpoint(log.signer, Checkpoint(log.origin, 9, bytes(32))).encode()

    async def claim(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        if request.method == "GET":
            assert request.path == f"/{log_id(log.origin)}/checkpoint"
            return await plain(200, larger.encode())
        return await plain(409, b"9\n", "text/x.tlog.size")

    async with BadNode(log, misbehave=claim) as node:
        up = upstream(node, store, forks=forks)
        async with running(up):
            assert not up.proved
            await until(lambda: forks)
            assert up.proved
    assert "9 entries signed by this log's key" in str(forks[0])


async def test_a_checkpoint_that_is_ours_by_the_time_of_the_answer_is_no_fork(log: LogMaker, store: Store) -> None:
    """The node has it from elsewhere, or waits until there is one."""
    forks: list[HeldError] = []

    async def slow(node: BadNode, request: web.Request, _: bytes) -> web.Response:
        if request.method != "GET":
            return web.Response(status=409, body=b"6\n", content_type="text/x.tlog.size")
        await publish(store, log.add())
        kept = await store.blocks.note(6)
        assert kept is not None
        node.misbehave = None
        return web.Response(text=kept[1])

    async with BadNode(log, misbehave=slow) as node:
        up = upstream(node, store, forks=forks)
        async with running(up):
            await until(lambda: node.size == 6 and up.status()["ok"])
    assert forks == []


async def test_a_larger_tree_under_another_key_is_nonsense(log: LogMaker, store: Store) -> None:
    forks: list[HeldError] = []
    false = signer(log.origin, ED25519, seed=bytes(32))
    larger = sign_checkpoint(false, Checkpoint(log.origin, 9, bytes(32))).encode()

    async def claim(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        if request.method == "GET":
            return await plain(200, larger.encode())
        return await plain(409, b"9\n", "text/x.tlog.size")

    async with BadNode(log, misbehave=claim) as node:
        up = upstream(node, store, forks=forks)
        async with running(up):
            await until(lambda: "shows no checkpoint" in up.status()["detail"])
    assert forks == []


async def test_a_falling_stored_size_is_an_alarm_and_the_bodies_go_again(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: up.status()["stored"] == 5)
            node.misbehave = changed(k4=0)
            await publish(store, log.add())
            await until(lambda: "stored size fell from 5 to 0" in up.status()["detail"])
            assert not up.status()["ok"]
            node.misbehave, node.lacking = None, {3, 4}
            await publish(store, log.add())
            await until(lambda: sorted(node.bodies) == [3, 4])
            await until(lambda: up.status()["ok"])
            assert up.status()["stored"] == 7


@pytest.mark.parametrize("status", [400, 403, 404, 409, 413, 422, 500, 503])
async def test_a_refused_body_does_not_stop_headers(log: LogMaker, store: Store, status: int) -> None:
    async def refuse(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        if request.method == "PUT":
            return await plain(status)
        return node.honest(request, data)

    async with BadNode(log, misbehave=refuse, lacking={0, 1}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: sum(sent.method == "PUT" for sent in node.sent) >= 2)
            await publish(store, log.add())
            await until(lambda: node.size == 6)
            await until(lambda: not up.status()["ok"])
            node.misbehave = None
            await until(lambda: sorted(node.bodies) == [0, 1])


@pytest.mark.parametrize("status", [204, 400, 409, 503])
async def test_a_node_that_answers_before_it_has_read(tmp_path: Path, status: int) -> None:
    log = large_log(80, 100_000)
    store = await make_store(tmp_path / "large", log)

    async def early(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        return await plain(status) if request.method == "PUT" else node.honest(request, data)

    async with BadNode(log, misbehave=early, lacking={0}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: sum(sent.method == "PUT" for sent in node.sent) >= 3)
            node.misbehave = None
            await until(lambda: 0 in node.bodies)
    assert node.bodies[0] == log.blocks[0].body
    await store.close()


async def test_a_body_that_the_node_does_not_take_in_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UPLOAD_STALL_S", 0.3)
    log = large_log(80, 100_000)
    store = await make_store(tmp_path / "large", log)

    async def sleepy(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        if request.method == "PUT":
            await asyncio.sleep(60)
        return node.honest(request, data)

    async with BadNode(log, misbehave=sleepy, lacking={0}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: "did not answer in time" in up.status()["detail"])
    await store.close()


async def test_damage_in_our_own_store_is_no_fault_of_the_node(log: LogMaker, store: Store) -> None:
    await store.db.transact([("UPDATE journal SET data=substr(data, 1, 20) WHERE height=0", ())])
    async with BadNode(log, lacking={0, 1}) as node:
        up = upstream(node, store)
        async with running(up):
            await until(lambda: "block 0 cannot be read here" in up.status()["detail"] and not up.status()["ok"])
            await publish(store, log.add())
            await until(lambda: node.size == 6)
            assert sorted(node.bodies) == [1]


async def test_a_line_is_told_only_when_it_is_durable(log: LogMaker, store: Store) -> None:
    async with BadNode(log) as node:
        up = upstream(node, store)
        ((pages,),) = await store.db.read("PRAGMA page_count")
        await store.db._write.execute(f"PRAGMA max_page_count={pages}")  # the disk is full
        with pytest.raises(StoreFullError):
            for number in range(1000):
                await store.cosigned.save(f"another-{number}", "seen", 5, "", "x" * 50)
        async with running(up):
            await until(lambda: "no room" in up.status()["detail"])
            assert (up.status()["seen"], up.status()["stored"]) == (0, 0)
            await store.db._write.execute("PRAGMA max_page_count=1000000")
            await until(lambda: up.status()["stored"] == 5)
            assert await store.cosigned.progress(node.name) == (5, 5)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "node..example"])
async def test_what_nobody_foresaw_is_one_nodes_trouble(
    log: LogMaker, store: Store, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that Python's own look-up answers with a UnicodeError: neither a network's error nor a node's."""
    async with BadNode(log) as node:
        mad, good = upstream(node, store, url=f"http://{host}:1"), upstream(node, store)
        async with running(mad, good):
            await until(lambda: good.status()["seen"] == 5 and not mad.status()["ok"])
            assert "an unexpected error (Unicode" in mad.status()["detail"]
            assert "Report it" in mad.status()["cure"]
            assert mad.status()["condition"] == "node-fault"
            told = sum("an unexpected error" in record.message for record in caplog.records)
            assert told
            assert not await mad.push_until(CLOCK.monotonic() + 10)  # it is tried again
            await publish(store, log.add())
            await until(lambda: node.size == 6)


async def test_a_request_that_is_cancelled_from_within_does_not_end_the_node(log: LogMaker, store: Store) -> None:
    """A library that cancels the task it runs in would silence the node for good, and nobody would be told."""
    cancels = 1

    async def cancelling(node: BadNode, request: web.Request, data: bytes) -> web.StreamResponse:
        nonlocal cancels
        if cancels:
            cancels -= 1
            within = next(task for task in asyncio.all_tasks() if task.get_name() == "within")
            within._fut_waiter.cancel()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        return node.honest(request, data)

    async with BadNode(log, misbehave=cancelling) as node:
        up = upstream(node, store)
        task = asyncio.create_task(up.run(), name="within")
        try:
            await until(lambda: up.status()["seen"] == 5)
            assert not cancels
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_several_nodes_each_at_its_own_place(tmp_path: Path) -> None:
    log = LogMaker().add(2500, readings=1)
    store = await make_store(tmp_path / "many", log)
    async with BadNode(log, "a.example") as a, BadNode(log, "b.example") as b, BadNode(log, "c.example") as c:
        a.size, b.size = 2000, 0
        c.misbehave = always(503)
        parts = [upstream(node, store) for node in (a, b, c)]
        async with running(*parts):
            await until(lambda: a.size == b.size == 2500)
            await until(lambda: parts[0].status()["stored"] == parts[1].status()["stored"] == 2500)
            c.misbehave = None
            await until(lambda: c.size == 2500)
    for node in (a, b, c):
        assert all(len(sent.body) <= limits.SYNC_REQUEST_BYTES for sent in node.sent)
    await store.close()
