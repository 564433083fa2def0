"""tests/contracts/test_anchors.py: grounds of the kinds that go through a city node's gateway."""

import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from fakes.bsn_gateway import APP, CHAINCODE, USER, CityNode

from gateway.anchors import fabric
from gateway.anchors.api import Chain, Place
from gateway.core import anchor_fabric
from gateway.core.anchor import Statement

KEY = "env:BSN_KEY"


def one_line(key: ec.EllipticCurvePrivateKey) -> str:
    """A private key as the configuration's secret has it."""
    form, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding.DER
    return base64.b64encode(key.private_bytes(encoding, form, serialization.NoEncryption())).decode()


def fabric_options(node: CityNode, **changes: object) -> fabric.Options:
    """As the configuration converts them."""
    table = {
        "url": node.url,
        "user": USER,
        "app": APP,
        "access_key": KEY,
        "gateway_key": keypairs.point(node.key),
        "algorithm": "p256",
        "channel": node.ledger.channel,
        "chaincode": CHAINCODE,
        "orderers": [keypairs.point(node.ledger.orderer)],
    }
    return msgspec.convert(table | changes, fabric.Options)


def opened(node: CityNode, **changes: object) -> AbstractAsyncContextManager[Chain]:
    return fabric.opened(fabric_options(node, **changes), {KEY: one_line(node.app)})


class FabricGround:
    kind, check = anchor_fabric.KIND, staticmethod(anchor_fabric.check)

    def __init__(self, node: CityNode) -> None:
        self.node, self._served = node, AsyncExitStack()

    def open(self) -> AbstractAsyncContextManager[Chain]:
        return opened(self.node)

    async def mine(self, blocks: int = 1) -> None:
        self.node.ledger.cut(blocks)

    async def reorganise(self, depth: int) -> None:
        self.node.ledger.fork(depth)

    async def stands(self, statement: Statement) -> int:
        """Valid transactions alone: what peers found invalid wrote nothing."""
        written = statement.encode().hex().encode()
        return sum(
            written in envelope and flag == 0
            for block in self.node.ledger.blocks
            for envelope, (_, flag, _) in zip(block.envelopes, block.transactions, strict=True)
        )

    async def away(self, away: bool) -> None:
        if away:
            await self._served.aclose()
        else:
            await self._served.enter_async_context(self.node.serve())

    def pin(self, place: Place) -> str:
        return f"fabric {self.node.ledger.channel} block {place.number} {place.hash.hex()}"


@asynccontextmanager
async def fabric_ground(_: Path) -> AsyncIterator[FabricGround]:
    ground = FabricGround(CityNode())
    await ground.away(False)
    try:
        yield ground
    finally:
        await ground.away(True)
