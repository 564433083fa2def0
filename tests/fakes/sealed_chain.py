"""A chain of proof of authority (Clique): anvil's blocks, each sealed by a key, as a lie before anvil tells them."""

from collections.abc import Sequence
from typing import Any

import coincurve
from fakes.anvil import Anvil
from fakes.lying_rpc import Lie

from gateway.anchors.evm import blocks
from gateway.core import rlp
from gateway.core.keccak import keccak256

VANITY = bytes(32)


def seal(told: dict[str, Any], parent: str | None, key: str) -> dict[str, Any]:
    """The block on that parent, with the key's seal at the end of extraData (EIP-225)."""
    fields = rlp.decode(blocks.header(told).raw)
    assert isinstance(fields, list)
    if parent is not None:
        fields[0] = bytes.fromhex(parent[2:])
    fields[12] = VANITY
    digest = keccak256(rlp.encode(fields))
    fields[12] = VANITY + coincurve.PrivateKey(bytes.fromhex(key)).sign_recoverable(digest, hasher=None)
    parts = {name: "0x" + part.hex() for name, part in (("parentHash", fields[0]), ("extraData", fields[12]))}
    return {**told, **parts, "hash": "0x" + keccak256(rlp.encode(fields)).hex()}


async def sealed_by(node: Anvil, keys: Sequence[str]) -> Lie:
    """The chain as it is now from block 1 on, its blocks sealed by these keys in turn."""
    height = int(await node.rpc("eth_blockNumber"), 16)
    parent, made = None, dict[str, dict[str, Any]]()
    for number in range(1, height + 1):
        told = await node.rpc("eth_getBlockByNumber", hex(number), True)
        made[hex(number)] = seal(told, parent, keys[number % len(keys)])
        parent = made[hex(number)]["hash"]

    def lie(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getBlockByNumber":
            block = made[params[0]]
            return block if params[1] else {**block, "transactions": []}
        if method == "eth_getTransactionReceipt" and result is not None:
            return {**result, "blockHash": made[result["blockNumber"]]["hash"]}
        return result

    return lie
