"""tests/contracts/test_anchors.py: grounds of the kinds that go through a city node's gateway."""

import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from fakes.bsn_gateway import APP, CERTIFICATE, CHAINCODE, USER, CityNode, FiscoCityNode
from fakes.fisco_chain import FiscoChain

from gateway.anchors import fabric, fisco
from gateway.anchors.api import Chain, Place
from gateway.core import anchor_fabric, anchor_fisco
from gateway.core.anchor import Statement

KEY, USER_KEY = "env:BSN_KEY", "env:BSN_USER_KEY"


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
    return fabric.opened(fabric_options(node, **changes), {KEY: one_line(node.app), USER_KEY: one_line(node.user)})


class FabricGround:
    kind, check = anchor_fabric.KIND, staticmethod(anchor_fabric.check)

    def __init__(self, node: CityNode, **changes: object) -> None:
        self.node, self._served, self._changes = node, AsyncExitStack(), changes

    def open(self) -> AbstractAsyncContextManager[Chain]:
        return opened(self.node, **self._changes)

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
    """The city node signs the transactions."""
    async with _served(FabricGround(CityNode())) as ground:
        yield ground


@asynccontextmanager
async def fabric_ground_uploaded(folder: Path) -> AsyncIterator[FabricGround]:
    """A key of the gateway's own does."""
    node, certificate = CityNode(), folder / "user.pem"
    node.info["caType"] = 2
    certificate.write_bytes(CERTIFICATE)
    changes = {"user_key": USER_KEY, "user_certificate": str(certificate), "msp": node.info["mspId"]}
    async with _served(FabricGround(node, keys="uploaded", **changes)) as ground:
        yield ground


@asynccontextmanager
async def _served(ground: FabricGround) -> AsyncIterator[FabricGround]:
    await ground.away(False)
    try:
        yield ground
    finally:
        await ground.away(True)


def fisco_options(node: FiscoCityNode, **changes: object) -> fisco.Options:
    chain, group = node.chain.chain
    table = {
        "url": node.url,
        "user": USER,
        "app": APP,
        "access_key": KEY,
        "gateway_key": keypairs.point(node.key),
        "algorithm": "secp256k1",
        "rpc": node.chain.url,
        "version": node.chain.version,
        "cryptography": "sm" if node.chain.sm else "ecdsa",
        "sealers": node.chain.keys,
        "chain": chain,
        "group": group,
        "contract": "BsnBaseContract",
        "function": "insert",
    }
    return msgspec.convert(table | changes, fisco.Options)


def opened_fisco(node: FiscoCityNode, **changes: object) -> AbstractAsyncContextManager[Chain]:
    return fisco.opened(fisco_options(node, **changes), {KEY: one_line(node.app)})


class FiscoGround:
    kind, check = anchor_fisco.KIND, staticmethod(anchor_fisco.check)

    def __init__(self, node: FiscoCityNode) -> None:
        self.node, self._served = node, AsyncExitStack()

    def open(self) -> AbstractAsyncContextManager[Chain]:
        return opened_fisco(self.node)

    async def mine(self, blocks: int = 1) -> None:
        self.node.chain.seal(blocks)

    async def reorganise(self, depth: int) -> None:
        self.node.chain.fork(depth)

    async def stands(self, statement: Statement) -> int:
        written = statement.encode().hex().encode().hex()
        return sum(written in one.told["input"] for block in self.node.chain.blocks for one in block.transactions)

    async def away(self, away: bool) -> None:
        if away:
            await self._served.aclose()
        else:
            await self._served.enter_async_context(self.node.chain.serve())
            await self._served.enter_async_context(self.node.serve())

    def pin(self, place: Place) -> str:
        return f"fisco {'/'.join(self.node.chain.chain)} block {place.number} {place.hash.hex()}"


@asynccontextmanager
async def fisco_ground(_: Path) -> AsyncIterator[FiscoGround]:
    ground = FiscoGround(FiscoCityNode(chain=FiscoChain(2, sm=True)))
    await ground.away(False)
    try:
        yield ground
    finally:
        await ground.away(True)


def name_of(ground: FabricGround | FiscoGround) -> str:
    return ground.node.ledger.channel if isinstance(ground, FabricGround) else "/".join(ground.node.chain.chain)


def sealers_pin(ground: FabricGround | FiscoGround) -> str:
    """The pin of who seals the chain."""
    name = name_of(ground)
    if isinstance(ground, FiscoGround):
        return f"fisco {name} sealers {' '.join(ground.node.chain.keys)}"
    return f"fabric {name} orderers {keypairs.point(ground.node.ledger.orderer)}"
