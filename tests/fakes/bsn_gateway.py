"""A stand-in for a BSN city node's gateway, on loopback, in front of a chain made here: no such gateway can be reached.

It follows the manual's text and nothing of the code under test: what is signed is written out here for each call, keys
and macs are `cryptography`'s. It is strict where a real one may not be: a request's members, its mac, a low s. What a
real one does beyond the manual (how it refuses, what it does with a nonce it saw) is Fabric's own rule here: a
transaction that is committed is refused, one that still waits gets the same id.

`spoil` changes an answer before it is signed, `spoil_signed` afterwards; each is asked for every call.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from fakes.fabric_ledger import PB, Cut, FabricLedger, verifies
from fakes.fisco_chain import FiscoChain

from gateway.core.sm3 import sm3

USER, APP = "USER0001", "app0001"
CHAINCODE = f"cc_{APP}_00"
GOOD = "处理成功"
CREATOR = b"hosted identity"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nof the user\n-----END CERTIFICATE-----\n"

_REQUESTS: dict[str, Callable[[Any], str]] = {
    "node/reqChainCode": lambda b: f"{b['userName']}{b['nonce']}{b['chainCode']}{b['funcName']}{''.join(b['args'])}",
    "node/trans": lambda b: b["transData"],
    "node/getTransaction": lambda b: b["txId"],
    "node/getBlockInfo": lambda b: f"{b['blockNumber']}{b['blockHash']}{b['txId']}",
    "node/getBlockData": lambda b: f"{b['blockNumber']}{b['blockHash']}{b['txId']}",
    "node/getLedgerInfo": lambda b: "",
}
_MEMBERS = {
    "node/reqChainCode": {"userName", "nonce", "chainCode", "funcName", "args", "transientData"},
    "node/trans": {"transData"},
    "node/getTransaction": {"txId"},
    "node/getBlockInfo": {"blockNumber", "blockHash", "txId"},
    "node/getBlockData": {"blockNumber", "blockHash", "txId"},
    "node/getLedgerInfo": set(),
}
_ANSWERS: dict[str, Callable[[Any], str]] = {
    "app/getAppInfo": lambda b: (
        f"{b['appName']}{b['appType']}{b['caType']}{b['algorithmType']}{b['mspId']}{b['channelId']}"
    ),
    "node/reqChainCode": lambda b: (
        f"{b['blockInfo']['txId']}{b['blockInfo']['blockHash']}{b['blockInfo']['status']}"
        f"{b['ccRes']['ccCode']}{b['ccRes']['ccData']}"
    ),
    "node/getTransaction": lambda b: (
        f"{b['blockHash']}{b['blockNumber']}{b['status']}{b['createName']}{b['timeSpanSec']}{b['timeSpanNsec']}"
    ),
    "node/getBlockInfo": lambda b: (
        f"{b['blockHash']}{b['blockNumber']}{b['preBlockHash']}{b['blockSize']}{b['blockTxCount']}"
        + "".join(
            f"{t['txId']}{t['status']}{t['createName']}{t['timeSpanSec']}{t['timeSpanNsec']}" for t in b["transactions"]
        )
    ),
    "node/getBlockData": lambda b: f"{b['blockHash']}{b['blockNumber']}{b['preBlockHash']}{b['blockData']}",
    "node/getLedgerInfo": lambda b: f"{b['blockHash']}{b['height']}{b['preBlockHash']}",
}


_ANSWERS["node/trans"] = _ANSWERS["node/reqChainCode"]
_FISCO_REQUESTS: dict[str, Callable[[Any], str]] = {
    "node/reqChainCode": lambda b: f"{b['userId']}{b['contractName']}{b['funcName']}{b['funcParam']}",
}
_FISCO_MEMBERS = {"node/reqChainCode": {"userId", "contractName", "funcName", "funcParam"}}
_FISCO_ANSWERS: dict[str, Callable[[Any], str]] = {
    "app/getAppInfo": _ANSWERS["app/getAppInfo"],
    "node/reqChainCode": lambda b: (
        f"{'true' if b['constant'] else 'false'}{b['queryInfo']}{b['txId']}{b['blockHash']}{b['blockNumber']}"
        f"{b['gasUsed']}{b['status']}{b['from']}{b['to']}{b['input']}{b['output']}{b['logs']}"
    ),
}


class NoError(Exception):
    """The gateway refuses."""


def same(_: str, answer: dict[str, Any]) -> dict[str, Any]:
    return answer


@dataclass
class CityNode:
    """In front of a Fabric channel."""

    ledger: FabricLedger = field(default_factory=lambda: FabricLedger("channel1"))
    app: ec.EllipticCurvePrivateKey = field(default_factory=lambda: keypairs.derive(ec.SECP256R1(), "app"))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: keypairs.derive(ec.SECP256R1(), "gateway"))
    user: ec.EllipticCurvePrivateKey = field(default_factory=lambda: keypairs.derive(ec.SECP256R1(), "user"))
    info: dict[str, Any] = field(
        default_factory=lambda: {
            "appName": "温室",
            "appType": "fabric",
            "caType": 1,
            "algorithmType": 2,
            "mspId": "OrgbNodeMSP",
            "channelId": "channel1",
        }
    )
    spoil: Callable[[str, dict[str, Any]], dict[str, Any]] = same
    spoil_signed: Callable[[str, dict[str, Any]], dict[str, Any]] = same
    high: bool = False
    sm2: bool = False  # macs of the application's and the gateway's SM2 keys, in place of ECDSA's
    chaincode_code: int = 200
    slow_s: float = 0.0
    cut_after: int | None = None  # bytes of an answer, after which the connection is closed
    raw: bytes | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)
    received: int = 0
    sent: int = 0
    url: str = ""
    tls: ssl.SSLContext | None = None

    prefix = "fabric/v1/"
    requests = _REQUESTS
    members = _MEMBERS
    answers = _ANSWERS

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["CityNode"]:
        application = web.Application()
        application.router.add_post("/{tail:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=self.tls)
        await site.start()
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        self.received += len(data)
        call = request.path.removeprefix("/api/").removeprefix(self.prefix)
        self.asked.append(call)
        await asyncio.sleep(self.slow_s)
        answer = self.spoil_signed(call, self._answer(call, json.loads(data)))
        text = json.dumps(answer, ensure_ascii=False).encode() if self.raw is None else self.raw
        self.sent += len(text)
        if self.cut_after is None:
            return web.Response(body=text, status=self.status, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: self.cut_after])
        assert request.transport
        request.transport.close()
        return response

    def _answer(self, call: str, asked: Any) -> dict[str, Any]:
        try:
            body = self.spoil(call, self._body(call, asked))
        except NoError as error:
            return self._signed({"code": -1, "msg": str(error)}, f"-1{error}", None)
        return self._signed({"code": 0, "msg": GOOD}, f"0{GOOD}{self.answers[call](body)}", body)

    def _signed(self, header: dict[str, Any], text: str, body: Any) -> dict[str, Any]:
        if self.sm2:
            made = keypairs.sm2_sign(keypairs.sm2("gateway")[1], sm3(text.encode()))
        else:
            made = keypairs.sign(self.key, text.encode(), high=self.high)
        return {"header": header, "mac": base64.b64encode(made).decode(), "body": body}

    def _is_ours(self, mac: bytes, text: str) -> bool:
        if self.sm2:
            return keypairs.sm2_verifies(keypairs.sm2("app")[0], mac, sm3(text.encode()))
        public = self.app.public_key()
        return verifies(public, mac, text.encode()) and keypairs.is_low(public, mac)

    def _body(self, call: str, asked: Any) -> dict[str, Any]:
        header, body = asked["header"], asked["body"]
        if header != {"userCode": USER, "appCode": APP}:
            raise NoError("用户或应用不存在")
        if call == "app/getAppInfo":
            return dict(self.info)
        if call not in self.requests or set(body) != self.members[call]:
            raise NoError("参数错误")
        mac = base64.b64decode(asked["mac"], validate=True)
        text = f"{USER}{APP}{self.requests[call](body)}"
        if not self._is_ours(mac, text):
            raise NoError("签名验证失败")
        return getattr(self, "_" + call.removeprefix("node/"))(body)

    def _reqChainCode(self, body: Any) -> dict[str, Any]:
        nonce = base64.b64decode(body["nonce"], validate=True)
        if len(nonce) != 24 or body["chainCode"] != CHAINCODE or body["funcName"] != "set":
            raise NoError("chaincode not found")
        given = json.loads(body["args"][0])
        assert set(given) == {"baseKey", "baseValue"}
        arguments = [b"set", *(one.encode() for one in body["args"])]
        return self._ordered(CREATOR, nonce, arguments)

    def _trans(self, body: Any) -> dict[str, Any]:
        """A proposal that its creator signed."""
        signed = PB["SignedProposal"].FromString(base64.b64decode(body["transData"], validate=True))
        proposal = PB["Proposal"].FromString(signed.proposal_bytes)
        header = PB["Header"].FromString(proposal.header)
        channel = PB["ChannelHeader"].FromString(header.channel_header)
        signature = PB["SignatureHeader"].FromString(header.signature_header)
        public = self.user.public_key()
        good = verifies(public, signed.signature, signed.proposal_bytes) and keypairs.is_low(public, signed.signature)
        identity = PB["SerializedIdentity"].FromString(signature.creator)
        if not good or (identity.mspid, identity.id_bytes) != (self.info["mspId"], CERTIFICATE):
            raise NoError("access denied")
        given = PB["ChaincodeProposalPayload"].FromString(proposal.payload).input
        spec = PB["ChaincodeInvocationSpec"].FromString(given).chaincode_spec
        if channel.channel_id != self.ledger.channel or spec.chaincode_id.name != CHAINCODE:
            raise NoError("chaincode not found")
        assert channel.type == 3
        made = self._ordered(signature.creator, signature.nonce, list(spec.input.args))
        assert made["blockInfo"]["txId"] == channel.tx_id
        return made

    def _ordered(self, creator: bytes, nonce: bytes, arguments: list[bytes]) -> dict[str, Any]:
        identity = self.ledger.order(creator, nonce, CHAINCODE, arguments)
        if self.ledger.known(identity):
            self.ledger.pool.pop()
            raise NoError(f"duplicate transaction found [{identity}]")
        result = {"ccCode": self.chaincode_code, "ccData": ""}
        return {"blockInfo": {"txId": identity, "blockHash": "", "status": 0}, "ccRes": result}

    def _getTransaction(self, body: Any) -> dict[str, Any]:
        for number, block in enumerate(self.ledger.blocks):
            for identity, flag, time_s in block.transactions:
                if identity and identity == body["txId"]:
                    return {
                        "blockHash": block.hash.hex(),
                        "blockNumber": number,
                        "status": flag,
                        "createName": f"user@{APP}",
                        "timeSpanSec": time_s,
                        "timeSpanNsec": 7,
                    }
        raise NoError("transaction not found")

    def _block(self, body: Any) -> tuple[int, Cut]:
        try:
            return body["blockNumber"], self.ledger.blocks[body["blockNumber"]]
        except IndexError:
            raise NoError("block not found") from None

    def _getBlockInfo(self, body: Any) -> dict[str, Any]:
        number, block = self._block(body)
        return {
            **self._of(number, block),
            "blockSize": len(block.data),
            "blockTxCount": len(block.transactions),
            "transactions": [
                {"txId": identity, "status": flag, "createName": "", "timeSpanSec": time_s, "timeSpanNsec": 7}
                for identity, flag, time_s in block.transactions
            ],
        }

    def _getBlockData(self, body: Any) -> dict[str, Any]:
        number, block = self._block(body)
        return {**self._of(number, block), "blockData": base64.b64encode(block.data).decode()}

    def _getLedgerInfo(self, _: Any) -> dict[str, Any]:
        height = len(self.ledger.blocks)
        of = self._of(height - 1, self.ledger.blocks[-1])
        return {"blockHash": of["blockHash"], "height": height, "preBlockHash": of["preBlockHash"]}

    def _of(self, number: int, block: Cut) -> dict[str, Any]:
        before = self.ledger.blocks[number - 1].hash.hex() if number else ""
        return {"blockHash": block.hash.hex(), "blockNumber": number, "preBlockHash": before}


@dataclass
class FiscoCityNode(CityNode):
    """In front of a chain of FISCO BCOS. It answers before a block has the transaction."""

    chain: FiscoChain = field(default_factory=FiscoChain)
    app: ec.EllipticCurvePrivateKey = field(default_factory=lambda: keypairs.derive(ec.SECP256K1(), "app"))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: keypairs.derive(ec.SECP256K1(), "gateway"))
    constant: bool = False

    prefix = "fiscobcos/v1/"
    requests = _FISCO_REQUESTS
    members = _FISCO_MEMBERS
    answers = _FISCO_ANSWERS

    def __post_init__(self) -> None:
        self.info |= {"appType": "fiscobcos", "algorithmType": 3, "channelId": "", "mspId": ""}

    def _reqChainCode(self, body: Any) -> dict[str, Any]:
        key, statement = json.loads(body["funcParam"])
        if (body["contractName"], body["funcName"]) != ("BsnBaseContract", "insert"):
            raise NoError("合约不存在")
        digest = self.chain.send(b"abi" + key.encode() + statement.encode())
        return {
            "constant": self.constant,
            "queryInfo": "",
            "txId": "0x" + digest.hex(),
            "blockHash": "",
            "blockNumber": 0,
            "gasUsed": 0,
            "status": "0x0",
            "from": "0x11",
            "to": "0x22",
            "input": "",
            "output": "",
            "logs": "",
        }
