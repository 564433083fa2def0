"""A chain as small as one can be, in this process: blocks of data, linked by SHA-256. The tests' own kind, `little`."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

from fakes.clock import START_MS

from gateway.anchors.api import Chain, GoneError, LieError, Place, RefusedError, Sight, Submission
from gateway.core import anchor, cbor
from gateway.core.anchor import Anchored, Pin, Statement
from gateway.errors import FormatError, UnreachableError

KIND, NAME = "little", "one"
BLOCK_S, GENESIS_S = 10, START_MS // 1000


class Block(NamedTuple):
    number: int
    parent: bytes
    time_s: int
    held: tuple[bytes, ...]

    @property
    def header(self) -> bytes:
        return cbor.encode([self.number, self.parent, self.time_s, digest_of(self.held)])

    @property
    def hash(self) -> bytes:
        return sha256(self.header).digest()


def digest_of(held: Sequence[bytes]) -> bytes:
    return sha256(b"".join(sha256(data).digest() for data in held)).digest()


@dataclass
class World:
    """What all who look at the chain share; it outlives every client. `lie` changes what a client is answered."""

    blocks: list[Block] = field(default_factory=lambda: [Block(0, bytes(32), GENESIS_S, ())])
    pool: list[bytes] = field(default_factory=list)
    down: bool = False
    poor: bool = False
    lie: Callable[[list[Block]], list[Block]] = list
    branch: int = 0  # counted up, so that a block of another branch has another hash
    sent: list[bytes] = field(default_factory=list)  # all that anybody ever sent

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            last = self.blocks[-1]
            held = (*self.pool, *([b"branch %d" % self.branch] if self.branch else []))
            self.pool.clear()
            self.blocks.append(Block(last.number + 1, last.hash, last.time_s + BLOCK_S, held))

    def reorganise(self, depth: int) -> None:
        """The last blocks give way to as many others, in which nothing of ours stands and which the pool forgot."""
        del self.blocks[-depth:]
        self.pool.clear()
        self.branch += 1
        self.mine(depth)

    def stands(self, statement: Statement) -> int:
        return sum(statement.encode() in data for block in self.blocks for data in block.held)

    def ask(self) -> list[Block]:
        if self.down:
            raise UnreachableError("the chain cannot be reached", cure="Start it")
        return self.lie(self.blocks)


class LittleChain:
    """gateway.anchors.api.Chain over a World."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._height = 0

    async def make(self, statement: Statement, former: Submission | None) -> bytes:
        self._world.ask()
        return b"%d " % (former.data.startswith(b"0 ") if former else 0) + statement.encode()

    async def send(self, submission: Submission) -> bytes:
        blocks = self._world.ask()
        self._world.sent.append(submission.data)
        if self._world.poor:
            raise RefusedError("the account is empty", cure="Fill it")
        held = {data for block in blocks for data in block.held}
        if submission.data not in held and submission.data not in self._world.pool:
            self._world.pool.append(submission.data)
        return sha256(submission.data).digest()

    async def look(self, submission: Submission) -> Sight:
        blocks = linked(self._world.ask())
        if blocks[-1].number < self._height:
            raise LieError(f"its height fell from {self._height} to {blocks[-1].number}")
        self._height = blocks[-1].number
        if submission.place is not None:
            return again(blocks, submission.place)
        for block in blocks:
            if b"no " + submission.data in block.held:
                raise GoneError("it was refused for good")
            if submission.data in block.held:
                return Sight(self._height, Place(block.number, block.hash, block.time_s))
        return Sight(self._height, None)

    async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
        block = linked(self._world.ask())[place.number]
        if block.hash != place.hash:
            raise LieError("the block is another now")
        evidence: cbor.Value = [NAME, block.header, list(block.held)]
        check(submission.statement, evidence, ())
        return evidence


def again(blocks: list[Block], place: Place) -> Sight:
    """What became of the block: it is there, or another is, or so many there are not."""
    height = blocks[-1].number
    if place.number > height:
        raise UnreachableError(f"it has no block {place.number}")
    return Sight(height, place if blocks[place.number].hash == place.hash else None)


def linked(blocks: list[Block]) -> list[Block]:
    for before, after in pairwise(blocks):
        if after.parent != before.hash or after.number != before.number + 1:
            raise LieError(f"block {after.number} does not follow the one before it")
    return blocks


def check(statement: Statement, evidence: cbor.Value, pins: Sequence[Pin]) -> Anchored:
    """A gateway.core.anchor_kinds.Check. A pin is `little CHAIN block NUMBER HASH`."""
    match evidence:
        case [str(name), bytes(header), list(held)]:
            pass
        case _:
            raise FormatError("the evidence is a name, a header and what the block holds")
    match cbor.decode(header):
        case [int(number), bytes(), int(time_s), bytes(digest)]:
            pass
        case _:
            raise FormatError("the header is none")
    whole = [data for data in held if isinstance(data, bytes)]
    if len(whole) != len(held) or digest_of(whole) != digest:
        raise FormatError("the header is of a block that holds something else")
    if not any(statement.encode() in data for data in whole):
        raise FormatError("the statement does not stand in the block")
    found, by = sha256(header).digest(), ""
    for pin in anchor.of_chain(pins, KIND, name):
        if pin.word != "block" or len(pin.values) != 2:
            raise pin.fault("is no pin of a little chain")
        if pin.values[0] == str(number):
            if pin.values[1] != found.hex():
                raise FormatError(f"block {number} has another hash than the pin of line {pin.line}")
            by = f"the pinned block {number}"
    return Anchored(KIND, name, number, found, time_s, by)


class LittleGround:
    """tests/contracts/test_anchors.py: a ground to stand on."""

    kind, check = KIND, staticmethod(check)

    def __init__(self) -> None:
        self.world = World()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Chain]:
        yield LittleChain(self.world)

    async def mine(self, blocks: int = 1) -> None:
        self.world.mine(blocks)

    async def reorganise(self, depth: int) -> None:
        self.world.reorganise(depth)

    async def stands(self, statement: Statement) -> int:
        return self.world.stands(statement)

    async def away(self, away: bool) -> None:
        self.world.down = away

    def pin(self, place: Place) -> str:
        return f"{KIND} {NAME} block {place.number} {place.hash.hex()}"
