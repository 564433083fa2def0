"""C2SP tlog-witness at the node: recorded requests of another witness's suite, and our own, with exact status codes."""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from fakes.log_maker import LogMaker, log_id, signer
from fakes.nodes import SEEN, Client, Reply, check_lines, enrolled, running

from gateway.core import limits, merkle
from gateway.core.note import (
    ED25519,
    Checkpoint,
    Note,
    SignatureLine,
    VerifierKey,
    b64encode,
    parse_lines,
    parse_note,
    verify_cosignature,
)
from gateway.keys import Signer, sign_checkpoint
from gateway.settings import EnrolledGateway

LITEWITNESS = "litewitness/cmd/litewitness/testdata/litewitness.txt"
LITEWITNESS_LOG = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
"""The public key of the log in that suite; its origin ends in the key's hash."""

CASE = re.compile(
    r'^POST [^\n]*\n```\n(.*?)\n?```\nHTTP (\d+)\n\[Asserts\]\nbody (?:== "([^"]*)"|contains)', re.S | re.M
)


@dataclass(frozen=True)
class Case:
    """One request and what is answered to it."""

    body: bytes
    status: int
    exact: str


def recorded(text: str) -> list[Case]:
    """The requests of a Hurl file, in order."""
    cases = CASE.findall(text)
    return [Case(f"{body}\n".encode(), int(status), exact.replace("\\n", "\n")) for body, status, exact in cases]


async def test_the_requests_of_litewitness(tmp_path: Path, vectors: Path) -> None:
    cases = recorded((vectors / LITEWITNESS).read_text("utf-8"))
    assert [case.status for case in cases] == [200, 403, 403, 422, 422, 200, 409, 200, 409]
    origin = f"sigsum.org/v1/tree/{sha256(LITEWITNESS_LOG).hexdigest()}"
    vkey = VerifierKey.make(origin, ED25519, LITEWITNESS_LOG)
    async with running(tmp_path, {"sigsum": EnrolledGateway(vkey=str(vkey))}) as client:
        for case in cases:
            reply = await client.add_checkpoint(case.body)
            known = f"\n{origin}\n".encode() in case.body
            assert reply.status == (case.status if known else 404), case.body  # 404 since tlog-witness v1.0
            if case.exact:
                assert reply.text == case.exact
                assert reply.headers["Content-Type"] == "text/x.tlog.size"
            if reply.status == 200:
                text = parse_note(case.body.partition(b"\n\n")[2]).text
                (line,) = parse_lines(reply.text)
                assert verify_cosignature(text, line, SEEN)


def request(old: int, proof: list[bytes], note: Note | str) -> bytes:
    """The body of an add-checkpoint."""
    lines = "".join(f"{b64encode(item)}\n" for item in proof)
    return f"old {old}\n{lines}\n{note if isinstance(note, str) else note.encode()}".encode()


class Log:
    """A log of any C2SP kind: leaves that are no entries of ours."""

    def __init__(self, origin: str, tree: str = "") -> None:
        self.signer: Signer = signer(origin)
        self.origin = origin
        self.leaves = [merkle.leaf_hash(f"{tree} {number}".encode()) for number in range(9)]

    def note(self, size: int, *extensions: str) -> Note:
        """Its checkpoint."""
        text = Checkpoint(self.origin, size, merkle.root(self.leaves[:size]), extensions).text()
        return Note(text, (SignatureLine(self.origin, self.signer.vkey.key_id, self.signer.sign(text.encode())),))

    async def ask(self, client: Client, old: int, new: int, *extensions: str) -> Reply:
        """A good request."""
        proof = merkle.consistency_path(self.leaves[:new], old) if 0 < old <= new else []
        return await client.add_checkpoint(request(old, proof, self.note(new, *extensions)))


@pytest.fixture
def log() -> Log:
    """A log whose origin is no gateway's."""
    return Log("Any log, say: 7".replace(" ", "_"))


def table(log: Log) -> EnrolledGateway:
    """Its table in node.toml."""
    return EnrolledGateway(vkey=str(log.signer.vkey))


def cosigned(reply: Reply, note: Note) -> int:
    """The time of the co-signature."""
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    (line,) = parse_lines(reply.text)
    return verify_cosignature(note.text, line, SEEN)


async def test_our_own_requests_in_the_same_order(tmp_path: Path, log: Log) -> None:
    other = Log("elsewhere.example")
    async with running(tmp_path, {"any": table(log)}) as client:
        cosigned(await log.ask(client, 0, 1), log.note(1))
        forged = Note(log.note(3).text, (SignatureLine(log.origin, log.signer.vkey.key_id, bytes(64)),))
        proof = merkle.consistency_path(log.leaves[:3], 1)
        assert (await client.add_checkpoint(request(1, proof, forged))).status == 403
        assert (await other.ask(client, 1, 3)).status == 404
        assert (await client.add_checkpoint(request(1, [], log.note(3)))).status == 422
        assert (await client.add_checkpoint(request(1, [*proof[:-1], bytes(32)], log.note(3)))).status == 422
        cosigned(await log.ask(client, 1, 3), log.note(3))
        conflict = await log.ask(client, 1, 5)
        assert (conflict.status, conflict.data, conflict.headers["Content-Type"]) == (409, b"3\n", "text/x.tlog.size")
        first = cosigned(await log.ask(client, 3, 5), log.note(5))
        assert (await log.ask(client, 0, 5)).data == b"5\n"
        assert cosigned(await log.ask(client, 5, 5), log.note(5)) >= first
        assert (await log.ask(client, 6, 5)).status == 400
        assert (await client.add_checkpoint(request(5, [], "no note\n"))).status == 400
    async with running(tmp_path, {"any": table(log)}) as client:
        assert (await log.ask(client, 0, 7)).data == b"5\n"
        cosigned(await log.ask(client, 5, 9), log.note(9))


async def test_what_the_log_did_not_sign_takes_no_turn_of_it(tmp_path: Path, log: Log) -> None:
    """Anybody may send it, as much as they like: the log's own requests do not stand behind it, nor it behind them."""
    forged = Note(log.note(1).text, (SignatureLine(log.origin, log.signer.vkey.key_id, bytes(64)),))
    async with running(tmp_path, {"a": table(log)}) as client, client.node._ledgers["a"]._turn:
        assert (await client.add_checkpoint(request(0, [], forged))).status == 403


async def test_the_body_is_bounded(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path, {"any": table(log)}) as client:
        assert (await client.add_checkpoint(bytes(limits.ADD_CHECKPOINT_BYTES))).status == 400
        assert (await client.add_checkpoint(bytes(limits.ADD_CHECKPOINT_BYTES + 1))).status == 413


async def test_the_largest_size(tmp_path: Path, log: Log) -> None:
    text = Checkpoint(log.origin, limits.FOREIGN_SIZE_MAX, bytes(32)).text()
    line = SignatureLine(log.origin, log.signer.vkey.key_id, log.signer.sign(text.encode()))
    async with running(tmp_path, {"any": table(log)}) as client:
        cosigned(await client.add_checkpoint(request(0, [], Note(text, (line,)))), Note(text, (line,)))
        assert (await log.ask(client, 0, 5)).data == f"{limits.FOREIGN_SIZE_MAX}\n".encode()
        past = Note(text.replace(str(limits.FOREIGN_SIZE_MAX), str(limits.FOREIGN_SIZE_MAX + 1)), (line,))
        assert (await client.add_checkpoint(request(0, [], past))).status == 400


async def test_two_roots_of_one_size_freeze_the_log(tmp_path: Path, log: Log) -> None:
    other = Log(log.origin, tree="other")
    async with running(tmp_path, {"any": table(log)}) as client:
        await log.ask(client, 0, 5)
        assert (await other.ask(client, 5, 5)).status == 422
        (evidence,) = await client.node.store.evidence(log_id(log.origin))
        assert evidence.held == log.note(5).encode().encode()
        assert evidence.sent == other.note(5).encode().encode()
        assert (await log.ask(client, 5, 6)).status == 422


async def test_what_size_zero_looks_like(tmp_path: Path, log: Log) -> None:
    wrong = sign_checkpoint(log.signer, Checkpoint(log.origin, 0, bytes(32)))
    async with running(tmp_path, {"any": table(log)}) as client:
        assert (await client.ask("GET", f"/{log_id(log.origin)}/checkpoint")).status == 404
        assert (await client.add_checkpoint(request(0, [], wrong))).status == 422
        cosigned(await log.ask(client, 0, 0), log.note(0))
        cosigned(await log.ask(client, 0, 4), log.note(4))


async def test_extension_lines_are_co_signed_with_the_rest(tmp_path: Path, log: Log) -> None:
    async with running(tmp_path, {"any": table(log)}) as client:
        cosigned(await log.ask(client, 0, 4, "first", "second"), log.note(4, "first", "second"))
        cosigned(await log.ask(client, 4, 4, "other"), log.note(4, "other"))
        shown = await client.ask("GET", f"/{log_id(log.origin)}/checkpoint")
        note = parse_note(shown.data)
        assert note.text == log.note(4, "first", "second").text
        assert [line for line in note.lines if line.is_by(SEEN) and verify_cosignature(note.text, line, SEEN)]


async def test_monitoring_shows_the_largest_co_signed_checkpoint(tmp_path: Path) -> None:
    maker = LogMaker().add(6)
    path = f"/{maker.id}/checkpoint"
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        assert (await client.ask("GET", path)).status == 404
        await client.sync(maker, 0, 3)
        shown = await client.ask("GET", path)
        assert shown.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert shown.headers["Cache-Control"] == "no-cache"
        note = parse_note(shown.data)
        assert note.text == maker.note(3).text
        assert [line.name for line in note.lines] == [maker.origin, SEEN.name]
        await client.add_checkpoint(request(3, maker.proof(3, 5), maker.note(5)))
        assert parse_note((await client.ask("GET", path)).data).text == maker.note(5).text
        assert (await client.ask("GET", f"/{'0' * 64}/checkpoint")).status == 404
        assert (await client.ask("POST", path)).status == 405


async def test_sync_and_add_checkpoint_share_the_witnessed_size(tmp_path: Path) -> None:
    maker = LogMaker().add(8)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 2)
        reply = await client.add_checkpoint(request(2, maker.proof(2, 6), maker.note(6)))
        check_lines(maker, 6, reply.text, SEEN)
        fields = (await client.sync(maker, 2, 5)).fields
        assert 1 not in fields  # below the witnessed size: nothing is co-signed
        assert (fields[2], fields[3]) == (5, [[0, 5]])
        assert 1 in (await client.sync(maker, 5, 6)).fields
        assert 1 in (await client.sync(maker, 6, 7)).fields
        assert (await client.add_checkpoint(request(6, maker.proof(6, 8), maker.note(8)))).data == b"7\n"


async def test_entries_that_contradict_a_witnessed_checkpoint_are_a_fork(tmp_path: Path) -> None:
    maker = LogMaker().add(8)
    fork = maker.fork(4, 4)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        await client.sync(maker, 0, 2)
        await client.add_checkpoint(request(2, fork.proof(2, 6), fork.note(6)))
        assert (await client.sync(maker, 2, 5)).status == 200
        assert (await client.sync(maker, 5, 8)).status == 422
        (evidence,) = await client.node.store.evidence(maker.id)
        assert (evidence.held, evidence.sent) == (fork.note(6).encode().encode(), maker.entries[5])


async def test_stored_is_never_signed_over_a_tree_whose_entries_are_others(tmp_path: Path) -> None:
    """A checkpoint was co-signed before its entries came, and other entries came: evidence, and the log is frozen."""
    maker = LogMaker().add(10)
    fork = maker.fork(0, 5)
    async with running(tmp_path, {"a": enrolled(maker)}) as client:
        assert (await client.add_checkpoint(request(0, [], maker.note(5)))).status == 200
        assert (await client.add_checkpoint(request(5, maker.proof(5, 10), maker.note(10)))).status == 200
        assert (await client.sync(fork, 0, 5)).status == 200
        for height in range(5):
            await client.put(fork, height)
        noted = await client.node.store.note_upto(maker.id, 10, "stored")
        assert noted is None or not noted.stored
        (evidence,) = await client.node.store.evidence(maker.id)
        assert (evidence.kind, evidence.number) == ("root", 5)
        assert (await client.sync(fork, 5, 5)).status == 422
