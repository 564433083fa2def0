"""A chain of FISCO BCOS 2 or 3: submitted through a BSN city node's gateway, followed and proved by a node's JSON-RPC.

The statement is a text that a function of a contract takes. A city node's call has no nonce, so the same bytes again
make another transaction: before they are sent, the blocks since, and version 2's waiting transactions, are looked
through for the statement.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from gateway.anchors.api import Chain, LieError, Opened, Place, RefusedError, Sight, Submission
from gateway.anchors.bsn import HOSTED, Access, Gateway, Search, UnsignedRefusalError, looking, text
from gateway.anchors.http import Server
from gateway.anchors.registry import Kind
from gateway.core import anchor_fisco, bsn, cbor, fisco, limits
from gateway.core.anchor import Statement
from gateway.core.anchor_fabric import written
from gateway.core.anchor_fisco import Evidence
from gateway.core.bsn import Body
from gateway.core.fisco import HASHES, Fields, Header, Level, Seal
from gateway.errors import FormatError, KeyFileError
from gateway.keys.access import parse_access_key
from gateway.settings import Url

_HASH_CHARS = 66
Sealer = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F]{128}\Z", description="a key of 128 hexadecimal digits, as getSealerList tells it")
]
_NAME = r"^[A-Za-z0-9_-]{1,64}\Z"


class Options(Access, kw_only=True, frozen=True):
    """[anchor.NAME] of kind fisco."""

    rpc: Annotated[Url, Meta(title="The JSON-RPC of a node, which proves what the city node says")]
    version: Annotated[Literal[2, 3], Meta(title="Of FISCO BCOS")]
    cryptography: Annotated[Literal["ecdsa", "sm"], Meta(title='Of the chain: "sm" is SM2 with SM3')]
    sealers: Annotated[
        tuple[Sealer, ...],
        Meta(
            min_length=1,
            max_length=limits.FISCO_SEALERS,
            title="The chain's sealers. More than two thirds of them are to have signed a block",
        ),
    ]
    chain: Annotated[str, Meta(pattern=_NAME, title="The chain's id, a number in version 2", description="an id")] = "1"
    group: Annotated[str, Meta(pattern=_NAME, title="The group's id, a number in version 2", description="an id")] = "1"
    node: Annotated[str, Meta(max_length=64, title="Version 3: the node to ask. Empty: any of the group")] = ""
    contract: Annotated[str, Meta(min_length=1, max_length=128, title="The contract to call (contractName)")]
    function: Annotated[str, Meta(min_length=1, max_length=64, title="Its function (funcName)")]
    parameters: Annotated[
        str,
        Meta(max_length=1_024, title="What it takes, a JSON array. {key} and {statement} are replaced by their texts"),
    ] = '["{key}", "{statement}"]'
    submitter: Annotated[
        str, Meta(max_length=64, title="The registered user who submits (userId). Empty: the application's own")
    ] = ""


class Node:
    """A node's JSON-RPC, for one group."""

    def __init__(self, options: Options) -> None:
        self.server = Server(options.rpc, ca_file=options.ca_file)
        self._version = options.version
        self._where: list[object] = [int(options.group)] if options.version == 2 else [options.group, options.node]
        self._id = 0

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.__aexit__(kind, error, trace)

    async def height(self) -> int:
        """The newest block's number."""
        return await self._number("getBlockNumber")

    async def header(self, number: int) -> Fields:
        """A block's header with its signatures."""
        if self._version == 2:
            return await self._object("getBlockHeaderByNumber", hex(number), True)
        return await self._object("getBlockByNumber", number, True, True)

    async def transactions(self, number: int) -> list[Any]:
        """A block's transactions, whole."""
        asked: tuple[object, ...] = (hex(number), True) if self._version == 2 else (number, False, False)
        found = (await self._object("getBlockByNumber", *asked)).get("transactions")
        return found if isinstance(found, list) else []

    async def waiting(self) -> list[Any]:
        """The transactions that wait for a block: version 2 tells them, version 3 does not."""
        found = await self._ask("getPendingTransactions") if self._version == 2 else []
        return found if isinstance(found, list) else []

    async def transaction(self, digest: str) -> tuple[int, Fields, int, object] | None:
        """(number of its block, what it is, its place, its proof); None where no block has it."""
        try:
            if self._version == 2:
                return _placed(await self._ask("getTransactionByHashWithProof", digest))
            receipt = await self._ask("getTransactionReceipt", digest, False)
            if not isinstance(receipt, dict):
                return None
            found = await self._object("getTransaction", digest, True)
        except RefusedError:  # how it tells of what is not there
            return None
        return _number(receipt.get("blockNumber")), found, 0, found.get("transactionProof", found.get("txProof"))

    async def _number(self, method: str) -> int:
        return _number(await self._ask(method))

    async def _object(self, method: str, *parameters: object) -> Fields:
        found = await self._ask(method, *parameters)
        if not isinstance(found, dict):
            raise LieError(f"the node answers {method} with no object")
        return found

    async def _ask(self, method: str, *parameters: object) -> Any:
        self._id += 1
        asked = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": [*self._where, *parameters]}
        match await self.server.post("", msgspec.json.encode(asked)):
            case {"id": self._id, "result": result}:
                return result
            case {"id": self._id, "error": {"message": str(message)}}:
                raise RefusedError(
                    f"the node refuses {method}: {self.server.told(message)}", cure="Check rpc, version, group and node"
                )
        raise LieError(f"the node answers {method} with neither a result nor an error to it")


class FiscoChain:
    """gateway.anchors.api.Chain. PBFT never takes a block back: a history that changes is a lie."""

    def __init__(self, options: Options, gateway: Gateway, node: Node) -> None:
        self._options, self._gateway, self._node = options, gateway, node
        self._sealers = anchor_fisco.sealers(options.sealers)
        self._hashes: dict[int, bytes] = {}  # of the newest blocks, followed one after the other
        self._search = Search()

    async def make(self, statement: Statement, former: Submission | None) -> bytes:
        """The same bytes as before where they are of the same statement."""
        if former is not None and former.statement == statement:
            return former.data
        key = f"fieldgate-{statement.log[:8].hex()}-{statement.size}"
        values = self._options.parameters.replace("{key}", key).replace("{statement}", written(statement).decode())
        body: Body = {
            "userId": self._options.submitter,
            "contractName": self._options.contract,
            "funcName": self._options.function,
            "funcParam": values,
        }
        request = await asyncio.to_thread(self._gateway.signed, bsn.FISCO_CALL, body)
        return b"%d %b" % (await self._follow() + 1, request)

    async def send(self, submission: Submission) -> bytes:
        """Unless the statement stands on the chain already, or waits to."""
        since, _, request = submission.data.partition(b" ")
        found = await self._find(submission.statement, int(since))
        if found is not None:
            return found
        self._search.sending()
        try:
            answer = await self._gateway.post(bsn.FISCO_CALL, request)
        except (RefusedError, UnsignedRefusalError):
            found = await self._find(submission.statement, int(since))
            if found is None:
                raise
            return found
        if answer["constant"]:
            raise RefusedError("the function changes nothing on the chain", cure="Check contract and function")
        return _ticket(text(answer, "txId"))

    async def look(self, submission: Submission) -> Sight:
        """A block is believed when its header is hashed anew, sealed by the quorum, and holds the transaction."""
        height = await self._follow()
        found = await self._evidence(submission)
        if found is None:
            return Sight(height, None)
        return Sight(max(height, *self._hashes), found[0])

    async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
        """A block is final when it is there: confirmations add nothing to the evidence."""
        found = await self._evidence(submission)
        if found is None or found[0] != place:
            raise LieError(f"the transaction does not stand in block {place.number} any more")
        return found[1].encode()

    # -- headers ------------------------------------------------------------------------------------------------------

    async def _follow(self) -> int:
        """The newest block's number. Headers since the last look are linked and the newest is sealed, or a LieError."""
        newest = await self._node.height()
        seen = max(self._hashes, default=0)
        if newest < seen:
            raise LieError(f"its height fell: the newest block was {seen}, and now is {newest}")
        if newest == 0:
            return 0
        if not self._hashes or newest - seen > limits.CHAIN_FOLLOWED:
            self._hashes.clear()  # nothing, or too much, to follow one after the other: from here on
        for number in range(seen + 1 if self._hashes else newest, newest):
            await self._header(number)
        await self._header(newest, sealed=True)
        for old in sorted(self._hashes)[: -limits.CHAIN_FOLLOWED]:
            del self._hashes[old]
        return newest

    async def _header(self, number: int, *, sealed: bool = False) -> tuple[bytes, tuple[Seal, ...], bytes]:
        """A block's header as the bytes that are hashed, its seals, and its hash. Kept where it is linked."""
        fields = await self._node.header(number)
        try:
            data, seals, header, digest = await asyncio.to_thread(self._hashed, fields)
        except FormatError as exc:
            raise LieError(f"the header of block {number} is not believed: {exc.what}") from exc
        if fields.get("hash") != f"0x{digest.hex()}" or header.number != number:
            raise LieError(f"the header of block {number} is not that which its hash is of")
        before, now = self._hashes.get(number - 1), self._hashes.get(number)
        if now not in (None, digest) or before not in (None, header.parent):
            raise LieError(f"block {number} is another than it was, or does not follow the one before it")
        if sealed:
            signed = await asyncio.to_thread(fisco.sealed_by, self._options.cryptography, seals, digest, self._sealers)
            wanted = fisco.quorum(len(self._sealers))
            if signed < wanted:
                what = f"{signed} of the {len(self._sealers)} sealers signed block {number}, not {wanted}"
                raise LieError(what, cure="Where the chain has other sealers now, correct sealers")
        if before is not None or not self._hashes:
            self._hashes[number] = digest
        return data, seals, digest

    def _hashed(self, fields: Fields) -> tuple[bytes, tuple[Seal, ...], Header, bytes]:
        """Keccak-256 takes its time: in a thread."""
        data = fisco.header_bytes(self._options.version, fields)
        header = fisco.read_header(self._options.version, data)
        return data, fisco.seals(fields), header, HASHES[self._options.cryptography](data)

    # -- transactions -------------------------------------------------------------------------------------------------

    async def _evidence(self, submission: Submission) -> tuple[Place, Evidence] | None:
        """Where the transaction stands, and what shows it; None where no block has it."""
        found = await self._node.transaction(submission.ticket.decode())
        if found is None:
            return None
        number, told_of, place, proof = found
        newest = max(self._hashes, default=0)
        if number > newest:
            newest = await self._follow()
        if not 0 < number <= newest:
            raise LieError(f"the transaction is said to be in block {number}, and the newest is {newest}")
        data, seals, digest = await self._header(number, sealed=True)
        try:
            evidence, time_s = await asyncio.to_thread(self._shown, submission, data, seals, told_of, place, proof)
        except FormatError as exc:
            raise LieError(f"the transaction in block {number} is not believed: {exc.what}") from exc
        return Place(number, digest, time_s), evidence

    def _shown(
        self, submission: Submission, data: bytes, seals: tuple[Seal, ...], told_of: Fields, place: int, proof: object
    ) -> tuple[Evidence, int]:
        """The evidence, checked, and the block's time."""
        options, cryptography = self._options, self._options.cryptography
        transaction = fisco.transaction_bytes(options.version, told_of, cryptography)
        leaf = HASHES[cryptography](transaction)
        if f"0x{leaf.hex()}" != submission.ticket.decode():
            raise FormatError("it is another transaction")
        two = options.version == 2
        levels: list[Level] = fisco.levels_2(proof) if two else fisco.levels_3(proof, leaf, cryptography)
        where = (options.chain, options.group)
        evidence = Evidence(options.version, cryptography, *where, data, seals, transaction, place, tuple(levels))
        return evidence, anchor_fisco.check(submission.statement, evidence.encode(), ()).time_s

    async def _find(self, statement: Statement, since: int) -> bytes | None:
        """The ticket of a transaction with the statement that is in a block from one on, or waits for one.

        Those that wait come first: they go into a block meanwhile, and out of none.
        """
        wanted = written(statement).hex()

        async def look(number: int) -> bytes | None:
            return _ticket_of(await self._node.transactions(number), wanted)

        with looking():
            waits = _ticket_of(await self._node.waiting(), wanted)
            newest = await self._follow()
        return waits or await self._search.run(statement, since, newest, look)


def _placed(found: Any) -> tuple[int, Fields, int, object] | None:
    """Of version 2's answer, as `Node.transaction` returns it."""
    if not isinstance(found, dict) or not isinstance(fields := found.get("transaction"), dict):
        return None
    return _number(fields.get("blockNumber")), fields, _number(fields.get("transactionIndex")), found.get("txProof")


def _ticket_of(transactions: Iterable[Any], wanted: str) -> bytes | None:
    """That of the first one with a text in its data."""
    for one in transactions:
        data = one.get("input") if isinstance(one, dict) else None
        if isinstance(data, str) and wanted in data:
            return _ticket(one.get("hash"))
    return None


def _ticket(digest: object) -> bytes:
    if not isinstance(digest, str) or len(digest) != _HASH_CHARS or not digest.startswith("0x") or not digest.isalnum():
        raise LieError("the answer has no transaction's hash")
    return digest.lower().encode()


def _number(value: object) -> int:
    try:
        return fisco.number(value, "a number")
    except FormatError as exc:
        raise LieError(f"the node's answer is not believed: {exc.what}") from exc


@asynccontextmanager
async def _opened(options: Options, secrets: Mapping[str, str]) -> AsyncIterator[Chain]:
    if options.keys != HOSTED:
        raise RefusedError(
            "transactions of FISCO BCOS with uploaded keys are not made here",
            cure='Use an application with keys = "hosted"',
        )
    if options.version == 2 and not (options.chain.isdecimal() and options.group.isdecimal()):
        raise RefusedError("chain and group are numbers in version 2", cure='Write them as "1"')
    try:
        anchor_fisco.sealers(options.sealers)
        key = parse_access_key(secrets[options.access_key], options.algorithm, where=options.access_key)
    except (KeyFileError, FormatError) as exc:
        where = "access_key" if isinstance(exc, KeyFileError) else "sealers"
        raise RefusedError(f"{where}: {exc.what}", cure=exc.cure) from exc
    async with Gateway(options, key, service="fisco", expected={}) as gateway, Node(options) as node:
        yield FiscoChain(options, gateway, node)


def opened(options: Options, secrets: Mapping[str, str]) -> Opened:
    """A chain of the configuration."""
    return _opened(options, secrets)


KIND = Kind(
    name=anchor_fisco.KIND,
    title="A chain of FISCO BCOS, through a BSN city node's gateway and a node's JSON-RPC",
    options=Options,
    chain=lambda options: f"{options.chain}/{options.group}",
    final=True,
    opened=opened,
    example={
        "url": "https://citynode.example:17502",
        "user": "USER0001202004151958010871292",
        "app": "app0001202004161020152918451",
        "access_key": "file:/etc/fieldgate/bsn.key",
        "gateway_key": "04" + "11" * 64,
        "algorithm": "secp256k1",
        "rpc": "https://node.example:8545",
        "version": 2,
        "cryptography": "ecdsa",
        "sealers": ["11" * 64],
        "contract": "BsnBaseContract",
        "function": "insert",
    },
)
