"""The law of gateway/anchors/api.py, for every kind of chain. `GROUNDS` lists how each comes by one to stand on."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from fakes import anvil
from fakes.bsn_grounds import fabric_ground, fabric_ground_uploaded, fisco_ground
from fakes.little_chain import LittleGround
from fakes.stamp_server import stamp_ground

from gateway.anchors.api import Chain, LieError, Place, Submission
from gateway.core import cbor, limits, merkle
from gateway.core.anchor import Anchored, Statement, parse_pins
from gateway.core.anchor_kinds import Check, check
from gateway.core.receipt import Anchor
from gateway.errors import FormatError, UnreachableError

ORIGIN = "quay.example/1"
CONFIRMATIONS = 3
ENTRIES = [merkle.leaf_hash(b"entry %d" % index) for index in range(7)]
ROOT = merkle.root(ENTRIES)
STATEMENT = Statement.of(ORIGIN, len(ENTRIES), ROOT)


class Ground(Protocol):
    """A chain that a test has in its hand, and how a kind is opened on it."""

    kind: str
    check: Check

    def open(self) -> AbstractAsyncContextManager[Chain]:
        """The kind's chain, as another process would open it."""
        ...

    async def mine(self, blocks: int = 1) -> None:
        """So many blocks more, the first with all that was sent."""
        ...

    async def reorganise(self, depth: int) -> None:
        """The newest blocks give way to as many others, in which nothing of ours stands."""
        ...

    async def stands(self, statement: Statement) -> int:
        """How often the statement stands on the chain, by another way than the kind's."""
        ...

    async def away(self, away: bool) -> None:
        """The chain's server cannot be reached, or can again."""
        ...

    def pin(self, place: Place) -> str:
        """The line by which a person pins that block."""
        ...


@asynccontextmanager
async def little(_: Path) -> AsyncIterator[Ground]:
    yield LittleGround()


GROUNDS: dict[str, Callable[[Path], AbstractAsyncContextManager[Ground]]] = {
    "little": little,
    "evm": anvil.ground,
    "evm-contract": anvil.ground_with_contract,
    "evm-eip1559": anvil.ground_with_bids,
    "fabric": fabric_ground,
    "fabric-uploaded": fabric_ground_uploaded,
    "fisco": fisco_ground,
}
"""By kind, in a folder of the test's own. A kind joins by a line here."""
AT_ONCE: dict[str, Callable[[Path], AbstractAsyncContextManager[Ground]]] = {"rfc3161": stamp_ground}
"""Kinds without blocks, for which the laws of evidence hold: what is sent has its place, and keeps it.

That no byte of a time stamp can be changed is in tests/core/test_timestamp.py, which has no time for all of them.
"""
FINAL = {"fabric", "fisco"}
"""Kinds of chains that never take a block back: another history is a lie there."""


@pytest.fixture(params=GROUNDS)
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    async with {**GROUNDS, **AT_ONCE}[request.param](tmp_path) as ground:
        yield ground


@pytest.fixture
async def chain(ground: Ground) -> AsyncIterator[Chain]:
    async with ground.open() as chain:
        yield chain


of_evidence = pytest.mark.parametrize("ground", [*GROUNDS, *AT_ONCE], indirect=True)


async def made(chain: Chain, statement: Statement = STATEMENT) -> Submission:
    data = await chain.make(statement, None)
    assert 0 < len(data) <= limits.ANCHOR_DATA_BYTES
    return Submission(statement, data)


async def sent(chain: Chain, submission: Submission) -> Submission:
    ticket = await chain.send(submission)
    assert len(ticket) <= limits.ANCHOR_TICKET_BYTES
    return submission.with_ticket(ticket)


async def placed(chain: Chain, submission: Submission) -> Place:
    place = (await chain.look(submission)).place
    assert place is not None
    return place


def checked(ground: Ground, evidence: cbor.Value, pins: str = "", statement: Statement = STATEMENT) -> Anchored:
    """As the verifier of a receipt for the entry 2 does it."""
    anchor = Anchor(ground.kind, statement.size, statement.root, tuple(merkle.inclusion_path(ENTRIES, 2)), evidence)
    found = check(anchor, ORIGIN, (ENTRIES[2], 2), parse_pins(pins.encode()), {ground.kind: ground.check})
    assert found is not None
    return found


async def test_from_the_statement_to_evidence_that_a_pin_proves(ground: Ground, chain: Chain) -> None:
    submission = await sent(chain, await made(chain))
    assert (await chain.look(submission)).place is None
    await ground.mine(CONFIRMATIONS)
    sight = await chain.look(submission)
    place = sight.place
    assert place is not None
    assert sight.height == place.number + CONFIRMATIONS - 1
    evidence = await chain.prove(submission, place, CONFIRMATIONS)
    assert len(cbor.encode(evidence)) <= limits.ANCHOR_EVIDENCE_BYTES
    claimed, proved = checked(ground, evidence), checked(ground, evidence, ground.pin(place))
    assert (claimed.by, bool(proved.by)) == ("", True)
    assert claimed == proved._replace(by="")
    assert (proved.number, proved.hash, proved.time_s) == (place.number, place.hash, place.time_s)


async def test_a_pin_of_another_block_proves_nothing_and_a_false_one_refuses(ground: Ground, chain: Chain) -> None:
    submission = await sent(chain, await made(chain))
    await ground.mine(CONFIRMATIONS)
    place = await placed(chain, submission)
    evidence = await chain.prove(submission, place, CONFIRMATIONS)
    far = replace(place, number=place.number + 100_000)
    assert checked(ground, evidence, ground.pin(far)).by == ""
    with pytest.raises(FormatError):
        checked(ground, evidence, ground.pin(replace(place, hash=bytes(32))))


@of_evidence
async def test_evidence_is_of_one_statement_alone(ground: Ground, chain: Chain) -> None:
    submission = await sent(chain, await made(chain))
    await ground.mine(CONFIRMATIONS)
    place = await placed(chain, submission)
    evidence = await chain.prove(submission, place, CONFIRMATIONS)
    for other in (
        Statement.of("barn.example/1", len(ENTRIES), ROOT),
        STATEMENT._replace(size=STATEMENT.size + 1),
        STATEMENT._replace(root=bytes(32)),
    ):
        with pytest.raises(FormatError):
            ground.check(other, evidence, parse_pins(ground.pin(place).encode()))


@pytest.mark.nightly
async def test_no_byte_of_the_evidence_can_be_changed(ground: Ground, chain: Chain) -> None:
    """What is changed, at some hundreds of places, is refused, or says nothing else of what a pin proves."""
    submission = await sent(chain, await made(chain))
    await ground.mine(CONFIRMATIONS)
    place = await placed(chain, submission)
    data = cbor.encode(await chain.prove(submission, place, CONFIRMATIONS))
    pins = parse_pins(ground.pin(place).encode())
    proved = ground.check(STATEMENT, cbor.decode(data), pins)
    for at in range(0, len(data), len(data) // 300 + 1):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            found = ground.check(STATEMENT, cbor.decode(bytes(changed)), pins)
        except FormatError:
            continue
        assert not found.by or found == proved, at


NONE_AT_ALL: list[cbor.Value] = [0, "", b"", [], {}, [0], [[]], {0: b""}, [b"", [b""], b""], ["x", b"\x80", [b""]]]


@of_evidence
@pytest.mark.parametrize("evidence", NONE_AT_ALL)
async def test_evidence_that_is_none_is_refused(ground: Ground, evidence: cbor.Value) -> None:
    with pytest.raises(FormatError):
        ground.check(STATEMENT, evidence, ())


async def test_the_same_bytes_again_stand_there_once(ground: Ground, chain: Chain) -> None:
    """Also where another process sends them, and where they stand there already."""
    submission = await made(chain)
    assert await ground.stands(STATEMENT) == 0, "make changes nothing"
    await sent(chain, submission)
    async with ground.open() as other:
        await sent(other, submission)
        await ground.mine()
        submission = await sent(other, submission)
        await ground.mine()
        await placed(other, submission)
    assert await ground.stands(STATEMENT) == 1


async def test_a_reorganisation_takes_the_place_away_and_the_same_bytes_find_another(
    ground: Ground, chain: Chain
) -> None:
    submission = await sent(chain, await made(chain))
    await ground.mine(2)
    before = await placed(chain, submission)
    await ground.reorganise(2)
    if ground.kind in FINAL:
        with pytest.raises(LieError):
            await chain.look(submission)
        return
    assert (await chain.look(submission)).place is None
    submission = await sent(chain, submission)
    await ground.mine(CONFIRMATIONS)
    place = await placed(chain, submission)
    assert place.hash != before.hash
    evidence = await chain.prove(submission, place, CONFIRMATIONS)
    assert checked(ground, evidence, ground.pin(place)).by
    assert await ground.stands(STATEMENT) == 1


async def test_a_place_that_is_known_stays_until_another_block_is_there(ground: Ground, chain: Chain) -> None:
    submission = await sent(chain, await made(chain))
    await ground.mine(2)
    place = await placed(chain, submission)
    known = replace(submission, place=place)
    assert await placed(chain, known) == place
    async with ground.open() as other:
        assert await placed(other, known) == place
        await ground.reorganise(2)
        if ground.kind not in FINAL:
            assert (await other.look(known)).place is None


async def test_a_statement_follows_another(ground: Ground, chain: Chain) -> None:
    first = await sent(chain, await made(chain))
    await ground.mine(CONFIRMATIONS)
    await placed(chain, first)
    later = STATEMENT._replace(size=STATEMENT.size + 5, root=merkle.leaf_hash(b"later"))
    second = await sent(chain, await made(chain, later))
    await ground.mine(CONFIRMATIONS)
    place = await placed(chain, second)
    assert place.number > (await placed(chain, first)).number
    ground.check(later, await chain.prove(second, place, CONFIRMATIONS), ())


async def test_a_server_that_is_away_is_told_as_that(ground: Ground, chain: Chain) -> None:
    submission = await sent(chain, await made(chain))
    await ground.mine(CONFIRMATIONS)
    place = await placed(chain, submission)
    await ground.away(True)
    for call in (
        chain.send(submission),
        chain.look(submission),
        chain.prove(submission, place, CONFIRMATIONS),
    ):
        with pytest.raises(UnreachableError):
            await call
    await ground.away(False)
    assert await placed(chain, submission) == place
