"""A time stamp authority that lies, dawdles or is away: each is told as what it is, and nothing of it is kept."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fakes.made_stamps import plain_stamp
from fakes.stamp_authority import OTHER_POLICY, STAMPING, issue
from fakes.stamp_server import Answer, StampGround, granted, stamp_ground

from gateway.anchors import rfc3161
from gateway.anchors.api import LieError, Place, RefusedError, Submission
from gateway.core import cbor, limits, merkle, signed, timestamp
from gateway.core.anchor import Statement, parse_pins
from gateway.errors import UnreachableError

STATEMENT = Statement.of("quay.example/1", 7, merkle.leaf_hash(b"root"))


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[StampGround]:
    async with stamp_ground(tmp_path) as ground:
        yield ground


async def sent(ground: StampGround) -> Submission:
    async with ground.open() as chain:
        submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
        return submission.with_ticket(await chain.send(submission))


def of_another_request(ground: StampGround, **changes: object) -> Answer:
    async def lie(asked: bytes) -> web.StreamResponse:
        request = timestamp.Request.decode(asked)._replace(**changes)
        return granted(await asyncio.to_thread(ground.authority.answer, request.encode()))

    return lie


def whatever(data: bytes, status: int = 200) -> Answer:
    async def lie(_: bytes) -> web.StreamResponse:
        return web.Response(body=data, status=status)

    return lie


async def test_from_a_statement_to_evidence_without_asking_again(ground: StampGround):
    submission = await sent(ground)
    async with ground.open() as chain:
        sight = await chain.look(submission)
        assert sight.place is not None and sight.height - sight.place.number + 1 >= 64
        evidence = await chain.prove(submission, sight.place, 64)
    assert len(ground.asked) == 1
    assert len(cbor.encode(evidence)) < limits.ANCHOR_EVIDENCE_BYTES
    proved = ground.check(STATEMENT, evidence, parse_pins(ground.pin(sight.place).encode()))
    assert (proved.by, proved.time_s) == ("the pinned root root", sight.place.time_s)


@pytest.mark.parametrize("digest", ["sha-256", "sha-384", "sha-512", "sm3"])
async def test_digest_and_policy_are_asked_for(ground: StampGround, digest: str):
    ground.options = rfc3161.Options(
        url=ground.options.url, roots_file=ground.options.roots_file, policy=OTHER_POLICY, digest=digest
    )
    submission = await sent(ground)
    request = timestamp.Request.decode(ground.asked[0])
    assert request.policy == OTHER_POLICY
    assert request.imprint == signed.digest(request.algorithm, STATEMENT.encode())
    assert submission.data == ground.asked[0]


async def test_a_nonce_is_used_once(ground: StampGround):
    async with ground.open() as chain:
        made = {timestamp.Request.decode(await chain.make(STATEMENT, None)).nonce for _ in range(20)}
    assert len(made) == 20


LIES = {
    "another imprint": ({"imprint": bytes(32)}, "over something else"),
    "another nonce": ({"nonce": 1}, "another nonce"),
    "another policy": ({"policy": "1.2.3.4.1"}, "by the policy"),
    "an unknown policy": ({"policy": "1.2.3.4.9"}, "does not have this policy"),
}


@pytest.mark.parametrize("called", LIES)
async def test_an_answer_to_another_request_is_refused(ground: StampGround, called: str):
    changes, reason = LIES[called]
    ground.options = rfc3161.Options(url=ground.options.url, roots_file=ground.options.roots_file, policy=OTHER_POLICY)
    ground.lie = of_another_request(ground, **changes)
    with pytest.raises(LieError, match=reason):
        await sent(ground)


async def test_a_token_under_another_root_is_refused(ground: StampGround):
    (ground.authority.folder / "root.pem").write_bytes(issue("root", authority=True).pem)
    with pytest.raises(LieError, match="not signed by root"):
        await sent(ground)


LEAVES = {
    "expired": ({"days": (-10, -1)}, "had expired"),
    "for something else": (
        {"purposes": x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])},
        "time stamps alone",
    ),
    "for anything": ({"purposes": None}, "time stamps alone"),
}


@pytest.mark.parametrize("called", LEAVES)
async def test_a_certificate_that_may_not_stamp_is_refused(ground: StampGround, called: str):
    """OpenSSL stamps under none of these, so the token is put together."""
    options, reason = LEAVES[called]
    leaf = issue("stamps", ground.authority.root, **{"purposes": STAMPING, **options})

    async def lie(asked: bytes) -> web.StreamResponse:
        return granted(plain_stamp(STATEMENT, leaf, timestamp.Request.decode(asked).nonce))

    ground.lie = lie
    with pytest.raises(LieError, match=reason):
        await sent(ground)


async def test_an_expired_chain_is_refused(ground: StampGround):
    authority = ground.authority
    authority.middle = issue("middle", authority.root, authority=True, days=(-10, -1))
    authority.leaf = issue("stamps", authority.middle, purposes=STAMPING)
    authority.__post_init__()
    with pytest.raises(LieError, match="middle had expired"):
        await sent(ground)


async def test_a_huge_answer_is_not_read_to_its_end(ground: StampGround):
    sent_bytes = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent_bytes
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(bytes(64 * 1024))
            sent_bytes += 64 * 1024
        return response

    ground.answer = endless
    with pytest.raises(LieError, match="longer than"):
        await sent(ground)
    assert sent_bytes < 64 * 1024 * 1024


async def test_an_answer_is_no_longer_than_what_is_kept_of_it():
    """A good token may be padded by anybody on the way: its certificates are not signed."""
    assert limits.TOKEN_ANSWER_BYTES <= limits.ANCHOR_TICKET_BYTES


async def test_a_slow_authority_is_told_as_that(ground: StampGround, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "CHAIN_REQUEST_S", 0.3)

    async def never(_: bytes) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    ground.lie = never
    with pytest.raises(UnreachableError, match="in time"):
        await sent(ground)


NO_ANSWERS = {
    "an error": (whatever(b"busy", 503), UnreachableError, "status 503: busy"),
    "a redirect": (whatever(b"", 302), UnreachableError, "status 302"),
    "a page": (whatever(b"<html>welcome</html>"), LieError, "DER"),
    "nothing": (whatever(b""), LieError, "DER ends"),
}


@pytest.mark.parametrize("called", NO_ANSWERS)
async def test_what_is_no_answer_is_told_as_that(ground: StampGround, called: str):
    ground.lie, error, reason = NO_ANSWERS[called]
    with pytest.raises(error, match=reason):
        await sent(ground)


async def test_nobody_there_is_told_as_that(tmp_path: Path):
    async with stamp_ground(tmp_path) as ground:
        submission = await sent(ground)
    async with ground.open() as chain:
        with pytest.raises(UnreachableError, match="cannot be reached"):
            await chain.send(submission)
        assert (await chain.look(submission)).place is not None, "what it said stays said"


async def test_a_ticket_that_was_damaged_is_no_place(ground: StampGround):
    submission = await sent(ground)
    async with ground.open() as chain:
        place = (await chain.look(submission)).place
        assert place is not None
        for ticket in (b"x", submission.ticket[:-1], submission.ticket[:-1] + bytes([submission.ticket[-1] ^ 1])):
            with pytest.raises(LieError):
                await chain.look(submission.with_ticket(ticket))
        with pytest.raises(LieError, match="another now"):
            await chain.prove(submission, Place(place.number, bytes(32), place.time_s), 1)
        assert (await chain.look(Submission(STATEMENT, submission.data))).place is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b"", "has no certificate of a root"),
        (issue("middle", issue("root", authority=True), authority=True).pem, "has no certificate of a root"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "is no certificate"),
        (b"x" * 100_000, "longer than"),
    ],
    ids=["missing", "empty", "no root", "no DER", "no base64", "huge"],
)
async def test_roots_that_are_none_are_told(ground: StampGround, content: bytes | None, reason: str):
    file = ground.authority.folder / "root.pem"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RefusedError, match=reason):
        async with ground.open():
            pass
