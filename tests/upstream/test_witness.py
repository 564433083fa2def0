"""The client of one witness over real sockets: an honest one, our own node as one, and those that misbehave."""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes.bad_witness import SIZE_TYPE, BadWitness, Respond
from fakes.clock import START_MS, FakeClock
from fakes.collector import until
from fakes.filled_store import make_store, publish
from fakes.log_maker import LogMaker, log_id, signer
from fakes.nodes import SEEN, enrolled, running
from fakes.tls import Authority

from gateway.conditions import find
from gateway.core import limits
from gateway.core.note import COSIGNATURE, ED25519, Checkpoint, b64decode, parse_line, parse_note, verify_cosignature
from gateway.errors import HeldError
from gateway.keys import sign_checkpoint
from gateway.settings import WitnessLink
from gateway.store import Store
from gateway.upstream import WitnessUpstream
from gateway.upstream.witness_session import encode_add


class Clock(FakeClock):
    """The wall clock stands still; time passes."""

    def monotonic(self) -> float:
        return time.monotonic()


class Soon:
    """Jitter that hardly waits."""

    def random(self) -> float:
        return 0.02


def now_s() -> float:
    return START_MS / 1000


@pytest.fixture
def log() -> LogMaker:
    return LogMaker().add(5)


@pytest.fixture
async def store(tmp_path: Path, log: LogMaker) -> AsyncIterator[Store]:
    made = await make_store(tmp_path / "gateway", log)
    yield made
    await made.close()


def upstream(witness: BadWitness, store: Store, *, forks: list[HeldError] | None = None, **link: Any):
    fields = {"url": witness.url, "vkey": str(witness.key.vkey), "every_s": 0.02} | link
    clock = link.pop("clock", Clock())
    fields.pop("clock", None)
    on_fork = (forks if forks is not None else []).append
    return WitnessUpstream("public", WitnessLink(**fields), store.vkey, store, clock, Soon(), on_fork=on_fork)


@contextlib.asynccontextmanager
async def runs(*parts: WitnessUpstream) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part.run()) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def lines_at(store: Store, size: int) -> list[tuple[str, str, str]]:
    found = await store.cosigned.above(size - 1, limit=1)
    return [tuple(one) for kept in found if kept.size == size for one in kept.lines]


async def test_each_new_checkpoint_is_signed_and_the_line_is_kept(log: LogMaker, store: Store) -> None:
    async with BadWitness(log, now_s) as witness:
        up = upstream(witness, store)
        async with runs(up):
            await until(lambda: up.status()["seen"] == 5)
            await publish(store, log.add(30, readings=1))
            await until(lambda: up.status()["seen"] == 35)
            status = up.status()
        assert (status["ok"], status["detail"], status["condition"]) == (True, "in step", "")
        assert status["key"] == "witness.example"
        assert status["cosigned_s"] >= 0
    for size in (5, 35):
        ((name, kind, line),) = await lines_at(store, size)
        assert (name, kind) == ("public", "seen")
        text = log.note(size).text
        assert verify_cosignature(text, parse_line(line), witness.key.vkey) == int(now_s())
    assert (await store.cosigned.progress("public")) == (35, 0)
    post = witness.sent[0]
    assert (post.method, post.path) == ("POST", "/prefix/add-checkpoint")
    assert post.body.startswith(b"old 0\n\n" + log.origin.encode())


async def test_our_own_node_is_a_witness(tmp_path: Path, log: LogMaker, store: Store) -> None:
    (tmp_path / "node").mkdir()
    async with running(tmp_path / "node", {"a": enrolled(log)}) as client:
        link = WitnessLink(url=f"http://127.0.0.1:{client.port}", vkey=str(SEEN), every_s=0.02)
        clock = FakeClock(synchronised=False)
        clock.monotonic = time.monotonic  # type: ignore[method-assign]
        up = WitnessUpstream("coop", link, store.vkey, store, clock, Soon(), on_fork=[].append)
        async with runs(up):
            await until(lambda: up.status()["seen"] == 5)
            await publish(store, log.add(4))
            await until(lambda: up.status()["seen"] == 9)
        ((_, _, line),) = await lines_at(store, 9)
        assert verify_cosignature(log.note(9).text, parse_line(line), SEEN)
        shown = parse_note((await client.ask("GET", f"/{log_id(log.origin)}/checkpoint")).data)
        assert shown.text == log.note(9).text


async def test_requests_that_another_witness_recorded_are_made_to_the_byte(vectors: Path) -> None:
    """litewitness' own suite: what its client sent."""
    recorded = (vectors / "litewitness/cmd/litewitness/testdata/litewitness.txt").read_text("utf-8")
    bodies = re.findall(r"^POST [^\n]*\n```\n(old .*?\n)\n?```$", recorded, re.S | re.M)
    assert len(bodies) >= 5
    for text in bodies:
        head, _, note = text.partition("\n\n")
        first, *proof = head.split("\n")
        assert encode_add(int(first.split()[1]), [b64decode(one, "a hash") for one in proof], note).decode() == text


async def test_a_restart_and_a_witness_that_knows_more_or_less(log: LogMaker, store: Store) -> None:
    async with BadWitness(log, now_s) as witness:
        async with runs(up := upstream(witness, store)):
            await until(lambda: up.status()["seen"] == 5)
        await publish(store, log.add(3))
        witness.sent.clear()
        async with runs(up := upstream(witness, store)):
            await until(lambda: up.status()["seen"] == 8)
        assert [sent.body.partition(b"\n")[0] for sent in witness.sent] == [b"old 5"]
        witness.size, witness.root, witness.sent = 2, log.root(2), []  # restored from a copy
        async with runs(up := upstream(witness, store)):
            await until(lambda: witness.size == 8)
        assert [sent.body.partition(b"\n")[0] for sent in witness.sent] == [b"old 8", b"old 2"]


async def test_one_that_comes_back_and_one_last_push(log: LogMaker, store: Store) -> None:
    witness = BadWitness(log, now_s)
    async with witness:
        pass
    up = upstream(witness, store, every_s=3600.0)
    async with runs(up):
        await until(lambda: up.status()["condition"] == "witness-away")
        assert "cannot be reached" in up.status()["detail"]
        assert not await up.push_until(time.monotonic() + 30)  # it fails once more
        async with witness:
            await until(lambda: up.status()["ok"] and up.status()["seen"] == 5)
            await publish(store, log.add())
            assert await up.push_until(time.monotonic() + 10)
            assert witness.size == 6


async def test_tls_with_an_authority_of_its_own(log: LogMaker, store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("witness"))
    witness = BadWitness(log, now_s)
    witness.tls = context
    async with witness:
        trusting = upstream(witness, store, ca_file=str(authority.ca_file))
        doubting, lost = upstream(witness, store), upstream(witness, store, ca_file=str(tmp_path / "gone.pem"))
        async with runs(trusting, doubting, lost):
            await until(lambda: trusting.status()["seen"] == 5)
            await until(lambda: "certificate is not valid" in doubting.status()["detail"])
            await until(lambda: "cannot be read" in lost.status()["detail"])
        assert {one.status()["condition"] for one in (doubting, lost)} == {"witness-away"}


# -- witnesses that misbehave -----------------------------------------------------------------------------------------


def always(status: int, data: bytes = b"", kind: str = "text/plain", **headers: str) -> Respond:
    async def respond(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        return web.Response(status=status, body=data, content_type=kind, headers=headers)

    return respond


def signing(**how: Any) -> Respond:
    """It signs whatever comes, in its way."""

    async def respond(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        return web.Response(text=witness.line(body.decode().partition("\n\n")[2], **how))

    return respond


async def another_checkpoint(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    return web.Response(text=witness.line(witness.log.note(3).encode()))


async def endless(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(65536))


async def drip(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 1000
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.02)


def claims(answer: Respond, monitoring: Respond) -> Respond:
    """`answer` to add-checkpoint, `monitoring` to who looks at its checkpoint."""

    async def respond(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        return await (answer if request.method == "POST" else monitoring)(witness, request, body)

    return respond


STRANGER = signer("stranger.example", COSIGNATURE)
LARGER = always(409, b"9\n", SIZE_TYPE)
NONSENSE = {
    "empty": (always(200), "no seen line", "witness-key"),
    "a stranger's line": (signing(by=STRANGER), "no seen line", "witness-key"),
    "over another checkpoint": (another_checkpoint, "not by that key", "witness-answer"),
    "an old time": (signing(time_s=now_s() - 86_400), "with the time", "witness-answer"),
    "a time to come": (signing(time_s=now_s() + 86_400), "with the time", "witness-answer"),
    "no lines": (always(200, b"hello"), "does not end in a newline", "witness-answer"),
    "no UTF-8": (always(200, b"\xff\xfe\n"), "UTF-8", "witness-answer"),
    "endless": (endless, "more than", "witness-answer"),
    "400": (always(400), "malformed", "witness-refused"),
    "401": (always(401), "authentication", "witness-refused"),
    "403": (always(403), "signature", "witness-unknown-log"),
    "404": (always(404), "does not know this log", "witness-unknown-log"),
    "413": (always(413), "too large", "witness-refused"),
    "301": (always(301, Location="http://127.0.0.1:1/"), "redirects", "witness-refused"),
    "204": (always(204), "refuses", "witness-refused"),
    "429": (always(429), "now", "witness-busy"),
    "500": (always(500), "now", "witness-busy"),
    "503": (always(503), "now", "witness-busy"),
    "a size that is none": (always(409, b"many\n", SIZE_TYPE), "not a decimal", "witness-answer"),
    "its own size refused": (always(409, b"0\n", SIZE_TYPE), "says that it is at 0", "witness-answer"),
    "an absurd size": (claims(always(409, b"9007199254740991\n", SIZE_TYPE), always(404)), "proves", "witness-claim"),
    "a larger size, no proof": (claims(LARGER, always(404)), "9 entries; this gateway has 5", "witness-claim"),
    "a larger size, nonsense": (claims(LARGER, always(200, b"x")), "no checkpoint that proves it", "witness-claim"),
    "409 of another type": (claims(always(409, b"conflict"), always(404)), "answers 409", "witness-claim"),
    "409 without a type": (claims(always(409), always(404)), "answers 409", "witness-claim"),
    "422": (claims(always(422), always(404)), "answers 422", "witness-claim"),
    "422, endless": (claims(always(422), endless), "more than", "witness-answer"),
}


@pytest.mark.parametrize(
    ("misbehave", "word", "condition"), [pytest.param(*one, id=name) for name, one in NONSENSE.items()]
)
async def test_nonsense_has_a_reason_and_a_cure_and_holds_nothing(
    log: LogMaker, store: Store, misbehave: Respond, word: str, condition: str
) -> None:
    forks: list[HeldError] = []
    async with BadWitness(log, now_s, misbehave=misbehave) as witness:
        up = upstream(witness, store, forks=forks)
        async with runs(up):
            await until(lambda: word in up.status()["detail"])
            status = up.status()
            assert (status["ok"], status["condition"], status["seen"]) == (False, condition, 0)
            told = find(condition).problem("public", **status["values"])
            assert word in told.what or condition == "witness-key"
            assert status["cure"] == told.cure
            assert await lines_at(store, 5) == []
            witness.misbehave = None  # it comes to its senses
            await until(lambda: up.status()["ok"] and up.status()["seen"] == 5)
    assert forks == []


async def test_one_that_takes_forever(log: LogMaker, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPSTREAM_REQUEST_S", 0.2)
    async with BadWitness(log, now_s, misbehave=drip) as witness:
        up = upstream(witness, store)
        async with runs(up):
            await until(lambda: "did not answer in time" in up.status()["detail"])
            assert up.status()["condition"] == "witness-away"


async def test_a_clock_that_nobody_sets_judges_no_time(log: LogMaker, store: Store) -> None:
    async with BadWitness(log, now_s, misbehave=signing(time_s=now_s() + 1e6)) as witness:
        up = upstream(witness, store, clock=Clock(synchronised=False))
        async with runs(up):
            await until(lambda: up.status()["seen"] == 5)


def showing(note: str) -> Respond:
    return always(200, note.encode())


@pytest.mark.parametrize("answer", [LARGER, always(409), always(422)], ids=["larger", "409", "422"])
@pytest.mark.parametrize("size", [4, 5, 9])
async def test_a_checkpoint_under_our_own_key_that_is_not_ours_holds_signing(
    log: LogMaker, store: Store, answer: Respond, size: int
) -> None:
    forks: list[HeldError] = []
    other = sign_checkpoint(log.signer, Checkpoint(log.origin, size, bytes(32))).encode()
    async with BadWitness(log, now_s, misbehave=claims(answer, showing(other))) as witness:
        up = upstream(witness, store, forks=forks)
        async with runs(up):
            await until(lambda: forks)
            assert up.proved
            assert up.status()["condition"] == "witness-fork"
            await publish(store, log.add())
            await asyncio.sleep(0.05)
        assert [sent.method for sent in witness.sent] == ["POST", "GET"]
        assert witness.sent[1].path == f"/prefix/{log_id(log.origin)}/checkpoint"
    (fork,) = forks
    assert f"{size} entries signed by this log's key" in str(fork)
    assert fork.cure


@pytest.mark.parametrize("answer", [LARGER, always(422)], ids=["larger", "422"])
async def test_a_checkpoint_that_is_ours_by_the_time_of_the_answer_is_no_fork(
    log: LogMaker, store: Store, answer: Respond
) -> None:
    """The witness has it from elsewhere, or waits until there is one."""
    forks: list[HeldError] = []

    async def slow(witness: BadWitness, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        if request.method != "GET":
            return await answer(witness, request, body)
        await publish(store, log.add(4))
        kept = await store.blocks.note(9)
        assert kept is not None
        witness.misbehave = None
        return web.Response(text=kept[1])

    async with BadWitness(log, now_s, misbehave=slow) as witness:
        up = upstream(witness, store, forks=forks)
        async with runs(up):
            await until(lambda: up.status()["seen"] == 9)
            assert up.status()["condition"] == ""
    assert forks == []


@pytest.mark.parametrize("key", ["another", "our own over our own tree"])
async def test_what_proves_nothing(log: LogMaker, store: Store, key: str) -> None:
    by = signer(log.origin, ED25519, seed=bytes(32)) if key == "another" else log.signer
    root = bytes(32) if key == "another" else log.root(5)
    note = sign_checkpoint(by, Checkpoint(log.origin, 5, root)).encode()
    forks: list[HeldError] = []
    async with BadWitness(log, now_s, misbehave=claims(always(422), showing(note))) as witness:
        up = upstream(witness, store, forks=forks)
        async with runs(up):
            await until(lambda: up.status()["condition"] == "witness-claim")
    assert forks == []
