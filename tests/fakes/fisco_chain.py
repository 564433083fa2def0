"""A chain of FISCO BCOS in this process, of version 2 or 3, of secp256k1 or SM2, with a node's JSON-RPC over it.

Blocks are hashed and sealed as the documentation says, with an RLP and a Merkle tree written here. It is no FISCO BCOS:
nobody votes, and a transaction does nothing but stand in a block.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import coincurve
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from fakes import keypairs

from gateway.core.keccak import keccak256
from gateway.core.sm3 import sm3

ZERO = "0x" + "00" * 32


def rlp(item: Any) -> bytes:
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8)
    if isinstance(item, bytes) and len(item) == 1 and item[0] < 0x80:
        return item
    data = item if isinstance(item, bytes) else b"".join(rlp(one) for one in item)
    kind = 0x80 if isinstance(item, bytes) else 0xC0
    if len(data) < 56:
        return bytes([kind + len(data)]) + data
    size = len(data).to_bytes((len(data).bit_length() + 7) // 8)
    return bytes([kind + 55 + len(size)]) + size + data


@dataclass
class Sent:
    """A transaction: its hash, what is hashed, and how a node tells it."""

    hash: bytes
    told: dict[str, Any]


@dataclass
class Sealed:
    header: dict[str, Any]
    hash: bytes
    transactions: list[Sent]


def same(_: str, answer: Any) -> Any:
    return answer


@dataclass
class FiscoChain:
    version: int = 2
    sm: bool = False
    sealers: int = 4
    signing: int = 3
    width: int = 16
    blocks: list[Sealed] = field(default_factory=list)
    pool: list[Sent] = field(default_factory=list)
    now_ms: int = 1_795_000_000_000
    branch: int = 0
    nonce: int = 0
    spoil: Callable[[str, Any], Any] = same
    slow_s: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: int = 0
    sent_bytes: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self._pairs = [self._pair(f"sealer {one}") for one in range(self.sealers)]
        self.keys = sorted(key for key, _ in self._pairs)
        self.seal()

    # Keys and hashes

    @property
    def chain(self) -> tuple[str, str]:
        return ("1", "1") if self.version == 2 else ("chain0", "group0")

    def hash(self, data: bytes) -> bytes:
        return sm3(data) if self.sm else keccak256(data)

    def _pair(self, name: str) -> tuple[str, Any]:
        if self.sm:
            public, secret = keypairs.sm2(name)
            return public[2:], secret
        pair = coincurve.PrivateKey.from_int(keypairs.secret(name))
        return pair.public_key.format(compressed=False).hex()[2:], pair

    def _sign(self, key: str, digest: bytes) -> str:
        pair = dict(self._pairs)[key]
        if self.sm:
            r, s = decode_dss_signature(keypairs.sm2_sign(pair, digest))
            return f"0x{r:064x}{s:064x}" + (key if self.version == 2 else "")
        return "0x" + pair.sign_recoverable(digest, hasher=None).hex()

    # Transactions

    def send(self, data: bytes) -> bytes:
        """A transaction with this data, which waits for a block."""
        self.nonce += 1
        made = self._transaction_2(data) if self.version == 2 else self._transaction_3(data)
        self.pool.append(made)
        return made.hash

    def _transaction_2(self, data: bytes) -> Sent:
        to = bytes(range(20))
        v: Any = bytes(range(64)) if self.sm else 28
        fields = [self.nonce, 22, 4_300_000, 500, to, 0, data, 1, 1, b"", v, 5, 7]
        digest = self.hash(rlp(fields))
        told_v = "0x" + v.hex() if self.sm else "0x1"
        told = {
            "blockLimit": hex(500),
            "chainId": "0x1",
            "extraData": "0x",
            "gas": hex(4_300_000),
            "gasPrice": hex(22),
            "groupId": "0x1",
            "hash": "0x" + digest.hex(),
            "input": "0x" + data.hex(),
            "nonce": hex(self.nonce),
            "signature": {"r": "0x5", "s": "0x7", "v": told_v, "signature": "0x"},
            "to": "0x" + to.hex(),
            "value": "0x0",
        }
        return Sent(digest, told)

    def _transaction_3(self, data: bytes) -> Sent:
        nonce, to = str(self.nonce), "0x" + "ab" * 20
        whole = (0).to_bytes(4) + b"chain0group0" + (500).to_bytes(8) + nonce.encode() + to.encode() + data
        digest = self.hash(whole)
        told = {
            "abi": "",
            "blockLimit": 500,
            "chainID": "chain0",
            "groupID": "group0",
            "hash": "0x" + digest.hex(),
            "input": "0x" + data.hex(),
            "nonce": nonce,
            "to": to,
            "version": 0,
        }
        return Sent(digest, told)

    # Trees

    def _leaves(self, transactions: list[Sent]) -> list[bytes]:
        if self.version == 2:
            return [rlp(index) + one.hash for index, one in enumerate(transactions)]
        return [one.hash for one in transactions]

    def _tree(self, transactions: list[Sent]) -> list[list[bytes]]:
        """All levels, the leaves first. Version 2 hashes a single one as well."""
        width = self.width if self.version == 2 else 2
        levels = [self._leaves(transactions)]
        while len(levels[-1]) > 1 or (self.version == 2 and len(levels) == 1 and levels[0]):
            below = levels[-1]
            levels.append([self.hash(b"".join(below[at : at + width])) for at in range(0, len(below), width)])
        return levels

    def _proof(self, transactions: list[Sent], index: int) -> list[Any]:
        width = self.width if self.version == 2 else 2
        levels, found = self._tree(transactions), []
        if self.version == 3 and len(transactions) == 1:
            return [transactions[0].hash.hex()]
        for level in levels[:-1]:
            begin = index // width * width
            group = [one.hex() for one in level[begin : begin + width]]
            if self.version == 2:
                here = index - begin
                found.append({"left": group[:here], "right": group[here + 1 :]})
            else:
                found += [f"{len(group):08x}", *group]
            index //= width
        return found

    # Blocks

    def seal(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            waiting, self.pool = self.pool, []
            self.now_ms += 1_000
            levels = self._tree(waiting)
            root = levels[-1][0] if levels[-1] else self.hash(b"nothing")
            header = self._header_2(root) if self.version == 2 else self._header_3(root)
            digest = bytes.fromhex(header["hash"][2:])
            name = "index" if self.version == 2 else "sealerIndex"
            header["signatureList"] = [
                {name: hex(at) if self.version == 2 else at, "signature": self._sign(self.keys[at], digest)}
                for at in range(self.signing)
            ]
            self.blocks.append(Sealed(header, digest, waiting))

    def fork(self, depth: int) -> None:
        """What PBFT never does."""
        del self.blocks[-depth:]
        self.pool.clear()
        self.branch += 1
        self.seal(depth)

    def _before(self) -> bytes:
        return self.blocks[-1].hash if self.blocks else bytes(32)

    def _header_2(self, root: bytes) -> dict[str, Any]:
        number, extra = len(self.blocks), [b"branch %d" % self.branch]
        bloom, keys = bytes(256), [bytes.fromhex(key) for key in self.keys]
        state, receipts, db = (bytes([fill]) * 32 for fill in (1, 2, 3))
        fields = [self._before(), state, root, receipts, db, bloom, number, 0, 0, self.now_ms, extra, 1, keys]
        return {
            "dbHash": "0x" + db.hex(),
            "extraData": ["0x" + one.hex() for one in extra],
            "gasLimit": "0x0",
            "gasUsed": "0x0",
            "hash": "0x" + self.hash(rlp(fields)).hex(),
            "logsBloom": "0x" + bloom.hex(),
            "number": hex(number),
            "parentHash": "0x" + self._before().hex(),
            "receiptsRoot": "0x" + receipts.hex(),
            "sealer": "0x1",
            "sealerList": list(self.keys),
            "stateRoot": "0x" + state.hex(),
            "timestamp": hex(self.now_ms),
            "transactionsRoot": "0x" + root.hex(),
        }

    def _header_3(self, root: bytes) -> dict[str, Any]:
        number, extra, gas = len(self.blocks), b"branch %d" % self.branch, "24363"
        parents = [(number - 1, self._before())] if number else []
        state, receipts = (bytes([fill]) * 32 for fill in (1, 2))
        parts = [(50_528_256).to_bytes(4), *[at.to_bytes(8) + digest for at, digest in parents]]
        parts += [root, receipts, state] if number else []
        parts += [number.to_bytes(8), gas.encode() if number else b"", self.now_ms.to_bytes(8), (1).to_bytes(8)]
        parts += [*[bytes.fromhex(key) for key in self.keys], extra, *[(1).to_bytes(8)] * len(self.keys)]
        return {
            "consensusWeights": [1] * len(self.keys),
            "extraData": "0x" + extra.hex(),
            "gasUsed": gas if number else "0",
            "hash": "0x" + self.hash(b"".join(parts)).hex(),
            "number": number,
            "parentInfo": [{"blockNumber": at, "blockHash": "0x" + digest.hex()} for at, digest in parents],
            "receiptsRoot": "0x" + receipts.hex() if number else ZERO,
            "sealer": 1,
            "sealerList": ["0x" + key for key in self.keys],
            "stateRoot": "0x" + state.hex() if number else ZERO,
            "timestamp": self.now_ms,
            "txsRoot": "0x" + root.hex() if number else ZERO,
            "version": 50_528_256,
        }

    # A node's JSON-RPC

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FiscoChain"]:
        application = web.Application()
        application.router.add_post("/", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2]) if self.url else 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        data = await request.read()
        asked = json.loads(data)
        assert asked["jsonrpc"] == "2.0"
        method, parameters = asked["method"], asked["params"]
        self.asked.append(method)
        await asyncio.sleep(self.slow_s.get(method, 0))
        where = 1 if self.version == 2 else "group0"
        answer: dict[str, Any] = {"id": asked["id"], "jsonrpc": "2.0"}
        known = getattr(self, f"_{method}_{self.version}", None)
        if known is None or parameters[0] != where:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        else:
            try:
                result = known(*(parameters[1:] if self.version == 2 else parameters[2:]))
                answer["result"] = self.spoil(method, json.loads(json.dumps(result)))
            except IndexError:
                answer["error"] = {"code": -40003, "message": "Block not found"}
        text = json.dumps(answer).encode()
        self.received, self.sent_bytes = self.received + len(data), self.sent_bytes + len(text)
        return web.Response(body=text, content_type="application/json")

    def place(self, digest: str) -> tuple[int, int] | None:
        for number, block in enumerate(self.blocks):
            for index, one in enumerate(block.transactions):
                if "0x" + one.hash.hex() == digest:
                    return number, index
        return None

    def _getBlockNumber_2(self) -> str:
        return hex(len(self.blocks) - 1)

    def _getBlockHeaderByNumber_2(self, number: str, signatures: bool) -> Any:
        assert signatures
        return self.blocks[int(number, 16)].header

    def _getBlockByNumber_2(self, number: str, whole: bool) -> Any:
        assert whole
        block = self.blocks[int(number, 16)]
        return block.header | {"transactions": [one.told for one in block.transactions]}

    def _getPendingTransactions_2(self) -> Any:
        return [one.told for one in self.pool]

    def _getTransactionByHashWithProof_2(self, digest: str) -> Any:
        found = self.place(digest)
        if found is None:
            return None
        number, index = found
        block = self.blocks[number]
        told = block.transactions[index].told
        placed = {"blockHash": block.header["hash"], "blockNumber": hex(number), "transactionIndex": hex(index)}
        return {"transaction": told | placed, "txProof": self._proof(block.transactions, index)}

    def _getBlockNumber_3(self) -> int:
        return len(self.blocks) - 1

    def _getBlockByNumber_3(self, number: int, header: bool, only_hashes: bool) -> Any:
        block = self.blocks[number]
        transactions = [one.told["hash"] if only_hashes else one.told for one in block.transactions]
        return dict(block.header) if header else block.header | {"transactions": transactions}

    def _getTransactionReceipt_3(self, digest: str, proof: bool) -> Any:
        found = self.place(digest)
        return None if found is None else {"blockNumber": found[0], "status": 0, "transactionHash": digest}

    def _getTransaction_3(self, digest: str, proof: bool) -> Any:
        found = self.place(digest)
        if found is None:
            return None
        transactions = self.blocks[found[0]].transactions
        return transactions[found[1]].told | {"transactionProof": self._proof(transactions, found[1])}
