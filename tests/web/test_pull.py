"""The pull API over real sockets: what a reader gets, and that others get nothing (docs/format.md, section 9)."""

import zlib
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.clock import FakeClock
from fakes.filled_store import make_store, publish
from fakes.log_maker import START_MS, LogMaker, signer
from fakes.readers import COOP, STRANGER, VET, links
from fakes.tls import Authority
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway import httpsig
from gateway.core import block, body, limits, merkle, note, senml, tiles
from gateway.core.note import COSIGNATURE, format_line
from gateway.core.policy import make_policy
from gateway.errors import FormatError
from gateway.keys import cosign
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.verify import verify_receipt
from gateway.web.pull import BlockPath, PullApi, ReceiptPath, parse_target


async def cosigned(store: Store, *names: str) -> None:
    """The nodes co-sign the log as it stands."""
    size, text = await store.blocks.note()  # type: ignore[misc]
    for name in names:
        line = cosign(signer(name, COSIGNATURE), note.parse_note(text).text, 1_800_000_000)
        await store.cosigned.save(name, "seen", size, text, format_line(line))


# -- what is there ----------------------------------------------------------------------------------------------------


async def test_checkpoint(start, pull, log: LogMaker) -> None:
    got = await pull(await start(), "/checkpoint")
    assert (got.status, got.body.decode()) == (200, log.note().encode())
    assert got.headers["Cache-Control"] == "private, no-cache"
    assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert got.headers["ETag"] == f'"{sha256(got.body).hexdigest()[:32]}"'
    assert got.headers["Server"] == "fieldgate"


async def test_tiles_and_bundles(start, pull, store: Store, log: LogMaker) -> None:
    await publish(store, log.add(255, readings=1))
    server = await start()
    hashes = [merkle.leaf_hash(entry) for entry in log.entries]
    full = await pull(server, "/tile/0/000")
    assert full.body == b"".join(hashes[:256])
    assert full.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    partial = await pull(server, "/tile/0/001.p/4")
    assert partial.body == b"".join(hashes[256:])
    assert partial.headers["Cache-Control"] == "private, no-cache"
    assert (await pull(server, "/tile/1/000.p/1")).body == merkle.root(hashes[:256])
    entries = await pull(server, "/tile/entries/000")
    assert tiles.decode_bundle(entries.body) == log.entries[:256]
    assert tiles.decode_bundle((await pull(server, "/tile/entries/001.p/2")).body) == log.entries[256:258]
    for absent in ("/tile/0/001", "/tile/0/001.p/5", "/tile/2/000.p/1", "/tile/entries/001", "/tile/0/x001/000"):
        got = await pull(server, absent)
        assert (got.status, got.body) == (404, b""), absent


async def test_a_whole_body(start, pull, log: LogMaker) -> None:
    server = await start()
    for height, made in enumerate(log.blocks):
        got = await pull(server, f"/blocks/{height}")
        assert got.body == made.body
        assert got.headers["Cache-Control"] == "private, no-cache"
        assert got.headers["Content-Type"] == "application/cbor"
        assert int(got.headers["Content-Length"]) == len(got.body)
    assert (await pull(server, "/blocks/5")).status == 404


async def test_a_body_is_cut_to_what_the_reader_may_see(start, pull, log: LogMaker) -> None:
    got = await pull(await start(), "/blocks/2", VET)
    assert got.body == log.blocks[2].cut("s-1")
    parsed = body.verify_body(log.blocks[2].header, got.body)
    assert isinstance(parsed, body.CutBody)
    shown = [item for item in parsed.items if isinstance(item, body.Disclosed)]
    assert {senml.source_of(block.parse_leaf(item.leaf)[1]) for item in shown} == {"s-1"}
    assert parsed.withheld == 2
    assert log.blocks[2].secret not in got.body


async def test_an_empty_block(start, pull, store: Store, log: LogMaker) -> None:
    log.append([])
    await publish(store, log)
    server = await start()
    assert (await pull(server, "/blocks/5")).body == log.blocks[5].body
    assert (await pull(server, "/blocks/5", VET)).body == log.blocks[5].cut("s-1")


@pytest.mark.parametrize("readings", [255, 256, 257, 600])
async def test_a_cut_body_in_batches(start, pull, store: Store, log: LogMaker, readings: int) -> None:
    await publish(store, log.add(readings=readings, sources=3))
    got = await pull(await start(), "/blocks/5", VET)
    assert got.body == log.blocks[5].cut("s-1")


async def test_a_payload_apart_is_shown_to_those_who_may_see_it(start, pull, store: Store, log: LogMaker) -> None:
    items = []
    for number, source in enumerate(["s-0", "s-1"]):
        payload = f"payload of {source}".encode()
        # the digest is salted by the block's secret, which LogMaker derives from the height
        secret = sha256(f"{log.origin} {log.tree} {log.size}".encode()).digest()
        digest = block.payload_digest(block.raw_salt(secret, number), payload)
        items.append((senml.with_digest(source, [("t", "Cel", 1)], bt_ms=START_MS, raw_sha256=digest), payload))
    made = log.append(items)
    await publish(store, log)
    server = await start()
    whole = (await pull(server, "/blocks/5")).body
    cut = (await pull(server, "/blocks/5", VET)).body
    assert b"payload of s-0" in whole
    assert b"payload of s-0" not in cut
    assert b"payload of s-1" in cut
    for data in (whole, cut):
        body.verify_body(made.header, data)


async def test_deflate_where_the_reader_takes_it(start, pull, log: LogMaker) -> None:
    server = await start()
    got = await pull(server, "/blocks/1", **{"Accept-Encoding": "gzip, deflate;q=0.5"})
    assert got.headers["Content-Encoding"] == "deflate"
    assert got.headers["Vary"] == "Accept-Encoding"
    assert zlib.decompress(got.body) == log.blocks[1].body
    assert got.headers["ETag"] == f'"{sha256(got.body).hexdigest()[:32]}"'
    plain = await pull(server, "/blocks/1", **{"Accept-Encoding": "gzip, deflate;q=0"})
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["ETag"] != got.headers["ETag"]


@pytest.mark.parametrize("encoding", ["deflate", "identity"])
async def test_a_large_body_is_streamed_and_the_same(start, pull, store: Store, log: LogMaker, encoding: str) -> None:
    log.add(readings=9000, sources=50)
    await publish(store, log, rows=7)
    limits_kept = limits.WEB_BODY_KEPT_BYTES
    try:
        limits.WEB_BODY_KEPT_BYTES = 10_000
        got = await pull(await start(), "/blocks/5", **{"Accept-Encoding": encoding})
    finally:
        limits.WEB_BODY_KEPT_BYTES = limits_kept
    data = zlib.decompress(got.body) if encoding == "deflate" else got.body
    assert data == log.blocks[5].body
    assert got.headers["ETag"] == f'"{sha256(got.body).hexdigest()[:32]}"'
    assert got.headers["Server"] == "fieldgate"


async def test_a_reader_that_has_it_already_gets_304(start, pull) -> None:
    server = await start()
    for target in ("/blocks/1", "/checkpoint", "/tile/0/000.p/5"):
        first = await pull(server, target)
        tag = first.headers["ETag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = await pull(server, target, **{"If-None-Match": known})
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
        assert (await pull(server, target, **{"If-None-Match": '"other"'})).status == 200


async def test_an_erased_body_is_missing(start, pull, store: Store) -> None:
    await store.db.transact([("UPDATE block SET secret=NULL WHERE height=1", ())])
    got = await pull(await start(), "/blocks/1")
    assert (got.status, got.body) == (404, b"")


async def test_an_empty_log(start, pull, tmp_path: Path, clock: FakeClock) -> None:
    store = await make_store(tmp_path / "empty", LogMaker())
    api = PullApi(links(), store, clock, ["x"])
    assert api is not None
    server = await start()
    server._pull = PullApi(links(), store, clock, [f"127.0.0.1:{server.port}"])
    for target in ("/checkpoint", "/blocks/0", "/tile/0/000.p/1", "/receipts/s-0?at=1"):
        assert (await pull(server, target)).status == 404
    await store.close()


# -- receipts ---------------------------------------------------------------------------------------------------------


async def test_a_receipt_verifies_offline(start, pull, store: Store, log: LogMaker) -> None:
    await cosigned(store, "node.example")
    await publish(store, log.add(3))
    at = START_MS + 9_500  # block 2, reading 1: s-1
    got = await pull(await start(), f"/receipts/s-1?at={at}")
    assert got.status == 200
    assert got.headers["Cache-Control"] == "private, no-cache"
    policy = make_policy([log.signer.vkey], [signer("node.example", COSIGNATURE).vkey])
    verified = verify_receipt(got.body, policy)
    assert (verified.reading.source, verified.reading.time_ms) == ("s-1", START_MS + 9_000)
    assert (verified.header.height, verified.index, verified.checkpoint.size) == (2, 1, 5)


async def test_a_receipt_takes_the_smallest_cosigned_size(start, pull, store: Store, log: LogMaker) -> None:
    for _ in range(3):
        await cosigned(store, "node.example")
        await publish(store, log.add(2, readings=4))
    server = await start()
    policy = make_policy([log.signer.vkey], [signer("node.example", COSIGNATURE).vkey])
    for height, size in ((4, 5), (5, 7), (6, 7), (7, 9)):
        at = START_MS + (height * 4) * 1000
        verified = verify_receipt((await pull(server, f"/receipts/s-0?at={at}")).body, policy)
        assert (verified.header.height, verified.checkpoint.size) == (height, size)
    assert (await pull(server, f"/receipts/s-0?at={START_MS + 36_000}")).status == 404  # not co-signed yet


async def test_a_receipt_has_at_most_16_lines(start, pull, store: Store, log: LogMaker) -> None:
    await cosigned(store, *(f"n{number}.example" for number in range(20)))
    got = await pull(await start(), f"/receipts/s-0?at={START_MS}")
    assert len(note.parse_note(got.body.split(b"\n\n", 1)[1]).lines) == limits.RECEIPT_COSIGNATURES


async def test_no_receipt_for_what_a_reader_does_not_see_or_what_is_not_there(start, pull, store: Store) -> None:
    await cosigned(store, "node.example")
    server = await start()
    at = START_MS + 10**9
    assert (await pull(server, f"/receipts/s-1?at={at}", VET)).status == 200
    answers = []
    for target in (f"/receipts/s-0?at={at}", f"/receipts/s-9?at={at}", f"/receipts/gateway?at={at}"):
        got = await pull(server, target, VET)
        answers.append((got.status, got.body, sorted(got.headers)))
    assert (await pull(server, f"/receipts/s-0?at={START_MS - 1}")).status == 404
    assert answers == [answers[0]] * 3
    assert answers[0][:2] == (404, b"")


# -- who may ask ------------------------------------------------------------------------------------------------------

TARGETS = ["/checkpoint", "/blocks/0", "/blocks/99", "/tile/0/000.p/5", f"/receipts/s-0?at={START_MS}", "/nothing", "/"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("by", [None, STRANGER], ids=["unsigned", "a stranger"])
async def test_nobody_else_gets_anything(start, pull, target: str, by) -> None:
    got = (
        await pull(await start(), target, by, Host="evil.example")
        if target == "/"
        else await pull(await start(), target, by)
    )
    assert (got.status, got.body) == (401, b"")
    assert got.headers["Server"] == "fieldgate"
    assert "Accept-Signature" not in got.headers


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "X"])
async def test_get_only(start, http: aiohttp.ClientSession, clock: FakeClock, method: str) -> None:
    server = await start()
    host = f"127.0.0.1:{server.port}"
    headers = httpsig.sign_now(COOP, "GET", host, "/checkpoint", now=clock.ms / 1000)
    async with http.request(method, f"http://{host}/checkpoint", headers=headers) as response:
        assert (response.status, await response.read()) == (401, b"")
    if method.isupper():
        headers = httpsig.sign_now(COOP, method, host, "/checkpoint", now=clock.ms / 1000)
        async with http.request(method, f"http://{host}/checkpoint", headers=headers) as response:
            assert (response.status, await response.read()) == (401, b"")


async def test_no_request_bodies(start, http: aiohttp.ClientSession, clock: FakeClock) -> None:
    server = await start()
    host = f"127.0.0.1:{server.port}"
    for data in (b"x", b"x" * 100_000):
        headers = httpsig.sign_now(COOP, "GET", host, "/checkpoint", now=clock.ms / 1000)
        async with http.get(f"http://{host}/checkpoint", headers=headers, data=data) as response:
            assert (response.status, await response.read()) == (401, b"")


async def test_a_replay_is_refused(start, http: aiohttp.ClientSession, clock: FakeClock) -> None:
    server = await start()
    host = f"127.0.0.1:{server.port}"
    headers = httpsig.sign_now(COOP, "GET", host, "/checkpoint", now=clock.ms / 1000)
    seen = []
    for _ in range(2):
        async with http.get(f"http://{host}/checkpoint", headers=headers) as response:
            seen.append(response.status)
    assert seen == [200, 401]


async def test_without_a_synchronised_clock_a_challenge_is_sent(
    start, http: aiohttp.ClientSession, clock: FakeClock
) -> None:
    clock.synchronised = False
    server = await start()
    host = f"127.0.0.1:{server.port}"
    url = f"http://{host}/blocks/1"
    dated = httpsig.sign_now(COOP, "GET", host, "/blocks/1", now=clock.ms / 1000)
    async with http.get(url, headers=dated) as response:
        assert (response.status, await response.read()) == (401, b"")
        nonce = httpsig.challenge_nonce(response.headers["Accept-Signature"])
    assert nonce is not None
    answer = httpsig.sign(COOP, "GET", host, "/blocks/1", nonce=nonce)
    for expected in (200, 401):
        async with http.get(url, headers=answer) as response:
            assert response.status == expected
    clock.synchronised = True
    async with http.get(url, headers=httpsig.sign(COOP, "GET", host, "/blocks/1", nonce=nonce)) as response:
        assert response.status == 401
        assert "Accept-Signature" not in response.headers


async def test_a_challenge_ends_on_the_monotonic_clock(start, http: aiohttp.ClientSession, clock: FakeClock) -> None:
    clock.synchronised = False
    server = await start()
    host = f"127.0.0.1:{server.port}"
    async with http.get(f"http://{host}/checkpoint") as response:
        nonce = httpsig.challenge_nonce(response.headers["Accept-Signature"])
    assert nonce is not None
    clock.jump(clock.ms - 10**9)  # the wall clock does not matter
    clock.mono += limits.CHALLENGE_AGE_S + 0.01
    answer = httpsig.sign(COOP, "GET", host, "/checkpoint", nonce=nonce)
    async with http.get(f"http://{host}/checkpoint", headers=answer) as response:
        assert response.status == 401


async def test_a_reader_that_asks_too_often(start, pull, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PULL_BURST", 3)
    server = await start()
    assert [(await pull(server, "/checkpoint")).status for _ in range(4)] == [200, 200, 200, 429]
    assert (await pull(server, "/checkpoint", VET)).status == 200  # another has its own rate
    clock.advance(1.5 / limits.PULL_RATE_PER_S)
    assert [(await pull(server, "/checkpoint")).status for _ in range(2)] == [200, 429]


async def test_another_name_of_this_gateway_must_be_configured(
    start, http: aiohttp.ClientSession, clock: FakeClock
) -> None:
    for names, expected in (((), 401), (("Gateway.Example:99",), 200)):
        server = await start(authority=names)
        headers = httpsig.sign_now(COOP, "GET", "gateway.example:99", "/checkpoint", now=clock.ms / 1000)
        url = f"http://127.0.0.1:{server.port}/checkpoint"
        async with http.get(url, headers=headers | {"Host": "gateway.example:99"}) as response:
            assert response.status == expected


async def test_tls(start, store: Store, clock: FakeClock, tmp_path: Path) -> None:
    import ssl

    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("gateway")
    server = await start(cert_file=str(cert), key_file=str(key))
    host = f"127.0.0.1:{server.port}"
    trusting = ssl.create_default_context(cafile=str(authority.ca_file))
    headers = httpsig.sign_now(COOP, "GET", host, "/checkpoint", now=clock.ms / 1000)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://{host}/checkpoint", headers=headers, ssl=trusting) as response,
    ):
        assert response.status == 200


def test_one_read_key_for_two_nodes_is_refused(clock: FakeClock) -> None:
    twice = links() | {"copy": links()["coop"]}
    with pytest.raises(FormatError, match="one read key"):
        PullApi(twice, None, clock, ["x"])  # type: ignore[arg-type]


async def test_without_readers_the_library_is_not_loaded() -> None:
    import subprocess
    import sys

    code = "import sys, gateway.web.server; print({'http_message_signatures', 'cryptography'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


async def test_without_readers_everything_is_refused(start, pull) -> None:
    only_mute: dict[str, NodeLink] = {"mute": links()["mute"]}
    server = await start(nodes=only_mute)
    for target in TARGETS[:-1]:
        assert (await pull(server, target)).status == 401


# -- paths ------------------------------------------------------------------------------------------------------------


def test_targets() -> None:
    assert parse_target("/blocks/0") == BlockPath(0)
    assert parse_target("/receipts/hen-3?at=1750000000000") == ReceiptPath("hen-3", 1_750_000_000_000)
    assert parse_target("/checkpoint") == tiles.TilePath("checkpoint")
    assert parse_target("/tile/entries/x001/000.p/3") == tiles.TilePath("entries", 0, 1000, 3)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "checkpoint",
        "//checkpoint",
        "/checkpoint/",
        "/checkpoint?",
        "/checkpoint?x=1",
        "/checkpoint#x",
        "/CHECKPOINT",
        "/./checkpoint",
        "/blocks/../checkpoint",
        "/%63heckpoint",
        "/blocks",
        "/blocks/",
        "/blocks/00",
        "/blocks/-1",
        "/blocks/+1",
        "/blocks/1.0",
        "/blocks/１",
        "/blocks/1?",
        "/blocks/1/",
        "/blocks/1%20",
        "/blocks/9999999999999999",
        "/receipts/s-0",
        "/receipts/s-0?at=",
        "/receipts/s-0?at=-1",
        "/receipts/s-0?at=1&at=2",
        "/receipts/s-0?at=01",
        "/receipts/s-0?AT=1",
        "/receipts/S-0?at=1",
        "/receipts/../s?at=1",
        "/receipts/a/b?at=1",
        "/receipts/%73?at=1",
        "/receipts/?at=1",
        "/receipts/" + "a" * 64 + "?at=1",
        "/tile/0/0",
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/64/000",
        "/tile/0/x000/001",
        "http://127.0.0.1/checkpoint",
        "*",
    ],
)
async def test_only_the_one_spelling_of_a_path(target: str) -> None:
    assert parse_target(target) is None


@given(st.text(alphabet="/.%abcdefghijklmnopqrstuvwxyz0123456789?=&-", max_size=40))
def test_a_target_that_is_taken_is_one_of_ours(target: str) -> None:
    route = parse_target(target)
    if isinstance(route, BlockPath):
        assert target == f"/blocks/{route.height}"
    elif isinstance(route, ReceiptPath):
        assert target == f"/receipts/{route.source}?at={route.at_ms}"
    elif route is not None:
        assert target == f"/{route}"


# -- readers that come and go -----------------------------------------------------------------------------------------


async def test_readers_come_and_go(start, pull) -> None:
    server = await start(nodes={})
    assert (await pull(server, "/checkpoint")).status == 401
    server.change_nodes(links())
    assert (await pull(server, "/blocks/1", VET)).status == 200
    server.change_nodes({name: link for name, link in links().items() if name != "vet"})
    assert (await pull(server, "/blocks/1", VET)).status == 401
    assert (await pull(server, "/blocks/1")).status == 200
    server.change_nodes({})
    assert (await pull(server, "/blocks/1")).status == 401


async def test_another_key_or_another_share_counts_at_once(start, pull, log: LogMaker) -> None:
    server = await start()
    assert (await pull(server, "/blocks/2", VET)).body == log.blocks[2].cut("s-1")
    given = links()
    changed = {
        "coop": structs.replace(given["coop"], read_key=str(STRANGER.vkey)),
        "vet": structs.replace(given["vet"], share=("s-0",)),
    }
    server.change_nodes(changed)
    assert (await pull(server, "/blocks/2", VET)).body == log.blocks[2].cut("s-0")
    assert (await pull(server, "/blocks/2", COOP)).status == 401
    assert (await pull(server, "/blocks/2", STRANGER)).body == log.blocks[2].body


async def test_what_has_not_changed_of_a_reader_is_not_touched(start, http, pull, clock, monkeypatch) -> None:
    """Neither the nonces that it has used nor how much it has asked."""
    monkeypatch.setattr(limits, "PULL_BURST", 2)
    server = await start()
    host = f"127.0.0.1:{server.port}"
    headers = httpsig.sign_now(COOP, "GET", host, "/checkpoint", now=clock.ms / 1000)
    seen = []
    for _ in range(2):
        async with http.get(f"http://{host}/checkpoint", headers=headers) as response:
            seen.append(response.status)
        server.change_nodes({name: link for name, link in links().items() if name != "vet"})
    seen += [(await pull(server, "/checkpoint")).status for _ in range(2)]
    assert seen == [200, 401, 200, 429]


async def test_a_body_on_its_way_to_a_reader_that_is_gone_is_cut_off(start, pull, store, log, monkeypatch) -> None:
    monkeypatch.setattr(limits, "WEB_BODY_KEPT_BYTES", 0)
    server = await start()
    chunks, times = store.blocks.body_chunks, 0

    async def slow(height: int) -> AsyncIterator[bytes]:
        nonlocal times
        times += 1
        data = b"".join([chunk async for chunk in chunks(height)])
        for at in range(0, len(data), 64):
            if times == 2 and at == 128:  # the first time it is measured, the second time sent
                server.change_nodes({})
            yield data[at : at + 64]

    monkeypatch.setattr(store.blocks, "body_chunks", slow)
    with pytest.raises(aiohttp.ClientPayloadError):
        await pull(server, "/blocks/1")
    assert times == 2


async def test_an_answer_that_was_made_for_a_reader_that_is_gone_is_not_given(start, pull, store, monkeypatch) -> None:
    server = await start()
    note_of = store.blocks.note

    async def late(*args: int) -> Any:
        server.change_nodes({})
        return await note_of(*args)

    monkeypatch.setattr(store.blocks, "note", late)
    got = await pull(server, "/checkpoint")
    assert (got.status, got.body) == (401, b"")
