"""What an anchor a day costs in requests and bytes, as the task asks: counted against the stand-ins, and printed.

What is asserted is that none of it grows with the chain's age or the log's size.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fakes.bsn_gateway import CityNode, FiscoCityNode
from fakes.bsn_grounds import opened, opened_fisco
from fakes.fisco_chain import FiscoChain
from fakes.telling import Tell

from gateway.anchors.api import Chain, Submission
from gateway.core import cbor
from gateway.core.anchor import Statement

LOOKS = 2  # until a block has it
OTHERS = 30  # blocks between two anchors


async def an_anchor(chain: Chain, statement: Statement, seal: Callable[[], None]) -> int:
    """As gateway/anchors/task.py goes about it; the size of its evidence."""
    submission = Submission(statement, await chain.make(statement, None))
    submission = submission.with_ticket(await chain.send(submission))
    for _ in range(LOOKS - 1):
        await chain.look(submission)
    seal()
    place = (await chain.look(submission)).place
    assert place is not None
    return len(cbor.encode(await chain.prove(submission, place, 1)))


async def a_day(
    tell: Tell,
    name: str,
    made: AbstractAsyncContextManager[Chain],
    seal: Callable[[], None],
    counted: Callable[[], tuple[int, int, int]],
) -> None:
    async with made as chain:
        costs = []
        for hour in range(3):
            for _ in range(OTHERS if hour else 0):
                seal()
            start = counted()
            statement = Statement.of("quay.example/1", 1_000 * (hour + 1), bytes([hour]) * 32)
            evidence = await an_anchor(chain, statement, seal)
            costs.append([now - then for now, then in zip(counted(), start, strict=True)])
        first, last = costs[1], costs[2]
    requests, sent, received = last
    a_day_of_it = f"{24 * requests:,} requests, {24 * (sent + received) / 1024:,.0f} KiB without HTTP's own"
    tell(
        f"{name}: an anchor takes {requests} requests, {sent:,} bytes sent, {received:,} received, "
        f"{evidence:,} of evidence; 24 a day {a_day_of_it}"
    )
    assert last[0] == first[0]
    assert abs(last[2] - first[2]) < first[2] / 10


async def test_of_a_fabric_channel(tell: Tell) -> None:
    async with CityNode().serve() as node:
        await a_day(
            tell,
            f"fabric, {OTHERS} blocks an hour",
            opened(node),
            node.ledger.cut,
            lambda: (len(node.asked), node.received, node.sent),
        )


async def test_of_a_fisco_chain(tell: Tell) -> None:
    node = FiscoCityNode(chain=FiscoChain(2, sm=True))
    async with node.chain.serve(), node.serve():
        await a_day(
            tell,
            f"fisco, {OTHERS} blocks an hour",
            opened_fisco(node),
            node.chain.seal,
            lambda: (
                len(node.asked) + len(node.chain.asked),
                node.received + node.chain.received,
                node.sent + node.chain.sent_bytes,
            ),
        )
