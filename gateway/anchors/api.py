"""What a kind of chain is to the gateway: four methods, and their law.

`task.py` calls them, one after the other, for one statement at a time; a journal (task.py) has what
came of each before the next is called::

    make  -> bytes, written down and synced
    send  -> the chain's word for them (a ticket), written down          | again and again, with the same bytes
    look  -> how high the chain is, and the block in which they stand    | again and again
    prove -> evidence, written down: anchored

The law, which tests/contracts/test_anchors.py holds every kind to:

1.  `make` changes nothing anywhere. What it makes is complete: its bytes alone are sent, by this process or the next.
2.  `send` may be called again with the same submission, also by another process after a crash in the midst of the
    first call. The statement comes to stand on the chain once.
3.  `look` believes nothing that it can check: headers are hashed anew and linked, seals are verified, a height never
    falls. What does not fit is a LieError with the reason; what a server says by itself ("found") is no place.
4.  `prove` returns evidence that the kind's check in gateway/core takes, for a pin of that block and without one. It
    has checked that itself, so evidence that is stored verifies.
5.  Where a reorganisation takes the block away, `look` finds no place, and `send` with the same bytes is called again.
    Of a submission that has its `place`, only another block at that height says so, and nothing but that block is
    asked for: a server that does not have it, or does not find the submission any more, is an UnreachableError.
6.  Nothing blocks, waits without an end or keeps what grows. A call that is cancelled leaves nothing behind.
    A kind without blocks (a time stamp authority) places a statement as soon as it is sent, for good, and under a
    height that no confirmation has to be waited for.
7.  Errors are: UnreachableError (tried again), LieError (tried again, and told as what it is), RefusedError (a person
    is needed; the same bytes are tried again, seldom, and given up in the end; of `send` it says that they stand
    nowhere), ShutError (as that, and they are kept: nobody has looked), GoneError (these bytes can never stand there:
    the next statement takes their place). No other error leaves a kind but a Stop. None holds a secret, and none holds
    text of the server's that was not passed through `core.text.plain` and cut.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.core import cbor
from gateway.core.anchor import Statement
from gateway.errors import Refused, Retry


class LieError(Retry):
    """The server's answer is not what the chain can have: what, and against which check. Nothing of it is believed."""


class RefusedError(Refused):
    """The chain takes nothing from us as things are: no funds, a price above our ceiling, no right. See `cure`."""


class ShutError(RefusedError):
    """As that, and nobody has looked whether the bytes stand on the chain: the server lets nobody in."""


class GoneError(Refused):
    """These bytes can never come to stand on the chain; another submission has to be made.

    place: the block that took them all the same, so that they cost what they cost.
    """

    def __init__(self, what: str, *, cure: str = "", place: "Place | None" = None) -> None:
        super().__init__(what, cure=cure)
        self.place = place


@dataclass(frozen=True, slots=True)
class Submission:
    """A statement on its way. data: the exact bytes that are sent. ticket: what `send` returned; b"" before that.

    place: where it was seen to stand, and stands unless a reorganisation took that block away.
    """

    statement: Statement
    data: bytes
    ticket: bytes = b""
    place: "Place | None" = None

    def with_ticket(self, ticket: bytes) -> "Submission":
        """The same, sent."""
        return replace(self, ticket=ticket)


@dataclass(frozen=True, slots=True)
class Place:
    """The block in which a submission stands. time_s: when that was made as the chain says, in Unix seconds."""

    number: int
    hash: bytes
    time_s: int


@dataclass(frozen=True, slots=True)
class Sight:
    """What `look` saw: the number of the chain's newest block, and where the submission stands now, if anywhere."""

    height: int
    place: Place | None


class Chain(Protocol):
    """One chain, reached through one server."""

    async def make(self, statement: Statement, former: Submission | None) -> bytes:
        """The bytes that will put the statement on the chain (law 1).

        former: the last submission that was given up and may still be out there. At most one of the two may ever come
        to stand on the chain, if the chain can bring that about.
        """
        ...

    async def send(self, submission: Submission) -> bytes:
        """Hands the bytes over (law 2); returns the ticket by which they are found, at most ANCHOR_TICKET_BYTES."""
        ...

    async def look(self, submission: Submission) -> Sight:
        """Follows the chain's headers, and finds the submission in them (laws 3 and 5). GoneError, RefusedError."""
        ...

    async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
        """The evidence for a place that `look` found, which has so many blocks from it on, itself the first (law 4).

        At most ANCHOR_EVIDENCE_BYTES in CBOR, and so deep that it may stand in a receipt. LieError where the place is
        not there any more.
        """
        ...


Opened = AbstractAsyncContextManager[Chain]
"""How a kind hands out its chain: opened on entry, nothing left on exit. Entering contacts nobody."""
