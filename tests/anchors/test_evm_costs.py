"""What an anchor on a chain of the Ethereum kind costs in gas, requests and bytes, as the task asks: counted on anvil.

It is printed; docs/anchors.md and docs/operations.md have it. What is asserted is that a later anchor costs no more.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import anvil, lying_rpc
from fakes.anvil import CHAIN_ID, KEY, Anvil
from fakes.lying_rpc import LyingServer
from fakes.telling import Tell

from gateway.anchors.api import Chain, Submission
from gateway.anchors.evm import chain as evm
from gateway.anchors.evm.options import EvmOptions
from gateway.core import cbor
from gateway.core.anchor import Statement

CONFIRMATIONS = 12


class Cost(NamedTuple):
    gas: int
    sent: int  # bytes of the transaction
    evidence: int
    requests: int
    again: int  # requests, where the anchor is looked at again before the next


async def an_anchor(node: Anvil, server: LyingServer, chain: Chain, size: int) -> Cost:
    """As gateway/anchors/task.py goes about it, with one look a block."""
    statement = Statement.of("quay.example/1", size, hashlib.sha256(b"%d" % size).digest())
    before = len(server.asked)
    submission = Submission(statement, await chain.make(statement, None))
    submission = submission.with_ticket(await chain.send(submission))
    await chain.look(submission)
    for _ in range(CONFIRMATIONS):
        await node.mine()
        place = (await chain.look(submission)).place
        assert place is not None
        submission = replace(submission, place=place)
    evidence = await chain.prove(submission, place, CONFIRMATIONS)
    after = len(server.asked)
    await node.mine(60)
    await chain.look(submission)
    receipt = await node.rpc("eth_getTransactionReceipt", "0x" + submission.ticket.hex())
    again = len(server.asked) - after
    gas = int(receipt["gasUsed"], 16)
    return Cost(gas, len(submission.data), len(cbor.encode(evidence)), after - before, again)


@pytest.mark.parametrize("contract", [False, True], ids=["data", "contract"])
@pytest.mark.parametrize(
    ("hardfork", "transaction"), [("istanbul", "legacy"), ("prague", "legacy"), ("prague", "eip1559")]
)
async def test_an_anchor(tmp_path: Path, tell: Tell, hardfork: str, contract: bool, transaction: str) -> None:
    async with anvil.running(tmp_path, hardfork=hardfork) as node, lying_rpc.lying(node.url) as server:
        more: dict[str, Any] = {"transaction": transaction}
        if contract:
            more["contract"] = await node.deploy(anvil.CREATION)
        options = EvmOptions(url=server.url, chain_id=CHAIN_ID, key="file:/none", **more)
        costs = []
        for number in range(3):
            async with evm.KIND.opened(options, {"file:/none": KEY}) as chain:
                costs.append(await an_anchor(node, server, chain, 1_000 * (number + 1)))
    first, _, last = costs
    tell(
        f"evm, {'contract' if contract else 'data'}, {transaction} on {hardfork}: {first.gas:,} gas the first time, "
        f"then {last.gas:,}; {last.sent} bytes sent, {last.evidence:,} of evidence; {last.requests} requests, and "
        f"{last.again} to look at it again"
    )
    assert last.requests == first.requests
    assert last.gas <= first.gas + 100
    assert abs(last.evidence - first.evidence) < 100
