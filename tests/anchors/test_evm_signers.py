"""The option `signers`: whose seals the gateway takes, and that what it calls anchored is what its own pins prove."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import anvil, lying_rpc
from fakes.anvil import CHAIN_ID, KEY, Anvil
from fakes.sealed_chain import sealed_by

from gateway.anchors.api import Chain, LieError, Place, RefusedError, Submission
from gateway.anchors.evm import chain as evm
from gateway.anchors.evm.options import EvmOptions
from gateway.anchors.evm.transactions import Account
from gateway.core import anchor_evm, cbor
from gateway.core.anchor import Statement, parse_pins

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
KEYS = [f"{number:02x}" * 32 for number in range(1, 6)]
SIGNERS = tuple("0x" + Account(key).address.hex() for key in KEYS)
CONFIRMATIONS = 3


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Anvil]:
    async with anvil.running(tmp_path) as running:
        yield running


async def sent(chain: Chain, node: Anvil) -> Submission:
    """A statement in block 1, and three more blocks."""
    submission = Submission(STATEMENT, await chain.make(STATEMENT, None))
    submission = submission.with_ticket(await chain.send(submission))
    await node.mine(4)
    return submission


async def tried(node: Anvil, keys: Sequence[str], confirmations: int = CONFIRMATIONS, **options: Any) -> cbor.Value:
    """The evidence of an anchor on a chain that these keys seal in turn."""
    async with lying_rpc.lying(node.url) as server:
        made = EvmOptions(url=server.url, chain_id=CHAIN_ID, key="file:/none", **{"signers": SIGNERS, **options})
        async with evm.KIND.opened(made, {"file:/none": KEY}) as chain:
            submission = await sent(chain, node)
            server.lie = await sealed_by(node, keys)
            place = (await chain.look(submission)).place
            assert isinstance(place, Place)
            return await chain.prove(submission, place, confirmations)


async def test_what_more_than_half_of_the_signers_sealed_is_anchored(node: Anvil) -> None:
    evidence = await tried(node, KEYS)
    pins = parse_pins(f"evm {CHAIN_ID} signers {' '.join(SIGNERS)}\n".encode())
    found = anchor_evm.check(STATEMENT, evidence, pins)
    assert found.by.startswith("3 of 5 pinned signers")
    block = f"evm {CHAIN_ID} block {found.number} 0x{found.hash.hex()}\n"
    assert anchor_evm.check(STATEMENT, evidence, [*pins, *parse_pins(block.encode())]).by.startswith("the pinned block")


@pytest.mark.parametrize("keys", [KEYS[:1], KEYS[:2]])
async def test_what_too_few_of_them_sealed_is_not(node: Anvil, keys: list[str]) -> None:
    """One signer alone could make a branch of its own, as long as was waited for."""
    with pytest.raises(LieError, match=r"blocks 1 to 3 are sealed by [12] of 5 signers alone"):
        await tried(node, keys)


async def test_a_foreign_sealer_is_refused(node: Anvil) -> None:
    with pytest.raises(LieError, match=f"block 4 is sealed by {SIGNERS[4]}, which is none of signers"):
        await tried(node, KEYS, signers=SIGNERS[:4])


async def test_a_chain_without_seals_is_refused(node: Anvil) -> None:
    made = EvmOptions(url=node.url, chain_id=CHAIN_ID, key="file:/none", signers=SIGNERS)
    async with evm.KIND.opened(made, {"file:/none": KEY}) as chain:
        submission = await sent(chain, node)
        with pytest.raises(LieError, match="block 1 has no seal"):
            await chain.look(submission)


async def test_so_few_confirmations_that_it_can_never_be_are_told_with_the_cure(node: Anvil) -> None:
    with pytest.raises(RefusedError, match="more than half of 5 signers cannot have sealed 2 blocks") as caught:
        await tried(node, KEYS, confirmations=2)
    assert caught.value.cure == "Write confirmations = 3, or more"
