"""A channel of Hyperledger Fabric, through a BSN city node's gateway.

The statement is the value of a key of the stock chaincode (`set`, baseKey and baseValue), so nothing has to be written
or installed. A submission is the block from which on it may be found, and the whole signed request: its nonce gives the
transaction its id, so the same bytes again are committed once.
"""

import asyncio
import binascii
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import msgspec
from msgspec import Meta

from gateway.anchors.api import Chain, GoneError, LieError, Opened, Place, RefusedError, Sight, Submission
from gateway.anchors.bsn import HOSTED, Access, Gateway, Point, Search, UnsignedRefusalError, looking, number, text
from gateway.anchors.registry import Kind
from gateway.core import anchor_fabric, bsn, cbor, fabric, limits
from gateway.core.anchor import Statement
from gateway.core.bsn import Body, Call
from gateway.core.fabric import Block, Transaction
from gateway.core.note import b64encode
from gateway.core.protobuf import write
from gateway.errors import FormatError, KeyFileError
from gateway.keys.access import AccessKey, parse_access_key
from gateway.settings import File, Secret

NONCE_BYTES = 24
_TX_ID_CHARS = 64
_PROPOSED = b'"transData":'  # in a request: what it sends was signed here
_COMMITTED, _TIMED_OUT, _DUPLICATE, _NOT_VALIDATED = 0, -1, 9, 254
_UNDER_WAY = frozenset([_TIMED_OUT, _NOT_VALIDATED])
_WORDS = {
    4: "its creator's signature is not valid",
    10: "too few organisations endorsed it",
    11: "another transaction changed the key at the same time",
    14: "the chaincode is not there",
    17: "the chaincode has expired",
    18: "the chaincode has another version",
}
"""Of the manual's section 5-4-3-18 and Fabric's TxValidationCode, those that a person can do something about."""


class Options(Access, kw_only=True, frozen=True):
    """[anchor.NAME] of kind fabric."""

    channel: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9.-]{1,249}\Z", title="The channel (channelId)", description="a channel's name")
    ]
    chaincode: Annotated[
        str, Meta(min_length=1, max_length=128, title="The chaincode to call: the stock one is cc_APP_00")
    ]
    function: Annotated[
        str, Meta(min_length=1, max_length=64, title="Its function that takes one JSON object, baseKey and baseValue")
    ] = "set"
    submitter: Annotated[
        str, Meta(max_length=64, title="The registered user who submits (userName). Empty: the application's own")
    ] = ""
    user_key: Annotated[
        Secret | None,
        Meta(title='With keys = "uploaded": the key that signs the transactions, of P-256, written as access_key is'),
    ] = None
    user_certificate: Annotated[
        File, Meta(title="With uploaded keys: the certificate of that key, as it was enrolled, a PEM file")
    ] = ""
    msp: Annotated[
        str, Meta(max_length=128, title="With uploaded keys: the organisation of the certificate (mspId)")
    ] = ""
    orderers: Annotated[
        tuple[Point, ...],
        Meta(title="Keys of the channel's orderers: each block with an anchor is to be signed by one of them"),
    ] = ()


class User(NamedTuple):
    """Who signs transactions with a key of their own: that, and the msp.SerializedIdentity."""

    key: AccessKey
    identity: bytes


class FabricChain:
    """gateway.anchors.api.Chain. Fabric never takes a block back: a history that changes is a lie."""

    def __init__(self, options: Options, gateway: Gateway, nonce: Callable[[], bytes], user: User | None) -> None:
        """user: with keys that were uploaded; None where the city node signs."""
        self._options, self._gateway, self._nonce, self._user = options, gateway, nonce, user
        self._orderers = anchor_fabric.orderers(options.orderers) if options.orderers else ()
        self._hashes: dict[int, str] = {}  # of the newest blocks, followed one after the other
        self._search = Search()

    async def make(self, statement: Statement, former: Submission | None) -> bytes:
        """The same bytes as before where they are of the same statement."""
        if former is not None and former.statement == statement:
            return former.data
        key = f"fieldgate-{statement.log[:8].hex()}-{statement.size}"
        value = anchor_fabric.written(statement).decode()
        argument = msgspec.json.encode({"baseKey": key, "baseValue": value}).decode()
        call, body = self._called(argument) if self._user is None else self._proposed(argument, self._user)
        request = await asyncio.to_thread(self._gateway.signed, call, body)
        return b"%d %b" % (await self._follow() + 1, request)

    def _called(self, argument: str) -> tuple[Call, Body]:
        body: Body = {
            "userName": self._options.submitter,
            "nonce": b64encode(self._nonce()),
            "chainCode": self._options.chaincode,
            "funcName": self._options.function,
            "args": [argument],
            "transientData": {},
        }
        return bsn.FABRIC_CALL, body

    def _proposed(self, argument: str, user: User) -> tuple[Call, Body]:
        options, time_s = self._options, int(time.time())
        arguments = [options.function.encode(), argument.encode()]
        made = fabric.proposal(
            options.channel, options.chaincode, arguments, creator=user.identity, nonce=self._nonce(), time_s=time_s
        )
        return bsn.FABRIC_SEND, {"transData": b64encode(write((1, made), (2, user.key.sign(made))))}

    async def send(self, submission: Submission) -> bytes:
        """Where the gateway refuses, the statement may stand there already: the blocks since are looked through."""
        since, request = _parts(submission)
        try:
            answer = await self._gateway.post(bsn.FABRIC_SEND if _PROPOSED in request else bsn.FABRIC_CALL, request)
        except (RefusedError, UnsignedRefusalError):
            found = await self._find(submission.statement, since)
            if found is None:
                raise
            return found[1].id.encode()
        written, result = cast(Body, answer["blockInfo"]), cast(Body, answer["ccRes"])
        identity = text(written, "txId")
        if len(identity) != _TX_ID_CHARS or not identity.isalnum():
            raise LieError("its answer has no transaction's id")
        if result["ccCode"] not in (0, 200):
            raise RefusedError(
                f"the chaincode answers {result['ccCode']}", cure="Check chaincode and function, and who may call it"
            )
        return identity.encode()

    async def look(self, submission: Submission) -> Sight:
        """A transaction that was ordered twice is valid once: then its blocks are looked through for that."""
        height = await self._follow()
        try:
            answer = await self._gateway.ask(bsn.FABRIC_TRANSACTION, txId=submission.ticket.decode())
        except (RefusedError, UnsignedRefusalError):  # it knows no such transaction, or not yet
            return Sight(height, None)
        status, block_number = cast(int, answer["status"]), number(answer, "blockNumber")
        if status in _UNDER_WAY:
            return Sight(height, None)
        if status == _DUPLICATE:
            twice = await self._find(submission.statement, _parts(submission)[0])
            return Sight(height, twice and twice[0])
        if status != _COMMITTED:
            why = _WORDS.get(status, "the peers found it invalid")
            raise GoneError(f"the transaction was refused (status {status}): {why}", cure="Check chaincode and channel")
        if block_number > height:
            height = await self._follow()
        if not 0 < block_number <= height:
            raise LieError(f"the transaction is said to be in block {block_number}, and the newest is {height}")
        block = await self._block(block_number)
        if text(answer, "blockHash") != block.header.hash.hex():
            raise LieError(f"the transaction is said to be in another block {block_number} than there is")
        place, found = _found(block, self._options.channel, submission)
        if not block.is_valid(place):
            raise LieError("the transaction is said to be committed, and its block says that it is not valid")
        return Sight(height, Place(block_number, block.header.hash, found.time_s))

    async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
        """A block is final when it is there: confirmations add nothing to the evidence."""
        block = await self._block(place.number)
        if block.header.hash != place.hash:
            raise LieError(f"block {place.number} is another now")
        return await asyncio.to_thread(_evidence, block, self._options.channel, submission)

    # -- headers ------------------------------------------------------------------------------------------------------

    async def _follow(self) -> int:
        """The newest block's number. Headers since the last look are linked, or a LieError."""
        ledger = await self._gateway.ask(bsn.FABRIC_LEDGER)
        newest = number(ledger, "height") - 1
        seen = max(self._hashes, default=-1)
        if newest < max(seen, 0):
            raise LieError(f"its height fell: the newest block was {seen}, and now is {newest}")
        if not self._hashes or newest - seen > limits.CHAIN_FOLLOWED:
            self._hashes.clear()  # nothing, or too much, to follow one after the other: from here on
        else:
            for missing in range(seen + 1, newest):
                block = await self._gateway.ask(bsn.FABRIC_BLOCK, blockNumber=missing, blockHash="", txId="")
                self._link(missing, number(block, "blockNumber"), block)
        self._link(newest, newest, ledger)
        for old in sorted(self._hashes)[: -limits.CHAIN_FOLLOWED]:
            del self._hashes[old]
        return newest

    def _link(self, asked: int, answered: int, block: Body) -> None:
        before, now = self._hashes.get(asked - 1), self._hashes.get(asked)
        digest = text(block, "blockHash")
        if answered != asked or not digest:
            raise LieError(f"it answers with block {answered} where {asked} was asked for")
        if (before is not None and before != text(block, "preBlockHash")) or (now is not None and now != digest):
            raise LieError(f"block {asked} is another than it was, or does not follow the one before it")
        self._hashes[asked] = digest

    async def _block(self, asked: int) -> Block:
        """A whole block, hashed anew, and signed by an orderer where some are configured."""
        answer = await self._gateway.ask(bsn.FABRIC_BLOCK_DATA, blockNumber=asked, blockHash="", txId="")
        try:
            data = binascii.a2b_base64(text(answer, "blockData"), strict_mode=True)
            block = await asyncio.to_thread(fabric.read_block, data)
        except (FormatError, ValueError) as exc:
            what = exc.what if isinstance(exc, FormatError) else "it is no base64"
            raise LieError(f"the data of block {asked} is not believed: {what}") from exc
        digest, known = block.header.hash.hex(), self._hashes.get(asked)
        if block.header.number != asked or text(answer, "blockHash") != digest or known not in (None, digest):
            raise LieError(f"the data of block {asked} is that of another block")
        if self._orderers and not await asyncio.to_thread(self._is_sealed, block):
            raise LieError(f"no orderer of the configuration signed block {asked}")
        return block

    def _is_sealed(self, block: Block) -> bool:
        return any(seal.is_by(key, block.header) for seal in block.seals for key in self._orderers)

    async def _find(self, statement: Statement, since: int) -> tuple[Place, Transaction] | None:
        """A valid transaction with the statement, in the blocks from one on."""

        async def look(asked: int) -> tuple[Place, Transaction] | None:
            block = await self._block(asked)
            for place, found in anchor_fabric.find(block, self._options.channel, statement):
                if block.is_valid(place):
                    return Place(asked, block.header.hash, found.time_s), found
            return None

        with looking():
            newest = await self._follow()
        return await self._search.run(statement, since, newest, look)


def _parts(submission: Submission) -> tuple[int, bytes]:
    """(the first block that can have it, the request)."""
    since, _, request = submission.data.partition(b" ")
    return int(since), request


def _evidence(block: Block, channel: str, submission: Submission) -> cbor.Value:
    """Of a block that was checked. It is compressed: in a thread."""
    at, _ = _found(block, channel, submission)
    evidence = anchor_fabric.evidence(channel, block, at)
    try:
        anchor_fabric.check(submission.statement, evidence, ())
    except FormatError as exc:
        raise LieError(f"the block does not prove it: {exc.what}") from exc
    return evidence


def _found(block: Block, channel: str, submission: Submission) -> tuple[int, Transaction]:
    for place, found in anchor_fabric.find(block, channel, submission.statement):
        if found.id == submission.ticket.decode():
            return place, found
    raise LieError(f"block {block.header.number} does not hold the transaction")


async def _user(options: Options, secrets: Mapping[str, str]) -> User | None:
    """RefusedError where there should be one and it cannot be had."""
    if options.keys == HOSTED:
        return None
    if options.algorithm != "p256" or not options.user_key or not options.user_certificate or not options.msp:
        raise RefusedError(
            "uploaded keys need user_key, user_certificate and msp, and the algorithm p256",
            cure="Write them, or use an application whose keys are hosted",
        )
    try:
        key = parse_access_key(secrets[options.user_key], "p256", where=options.user_key)
        certificate = await asyncio.to_thread(_certificate, Path(options.user_certificate))
    except KeyFileError as exc:
        raise RefusedError(f"user_key: {exc.what}", cure=exc.cure) from exc
    except OSError as exc:
        what = f"the certificate in {options.user_certificate} cannot be read"
        raise RefusedError(what, cure="Put the file back, or correct user_certificate") from exc
    return User(key, fabric.identity(options.msp, certificate))


def _certificate(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(limits.KEY_FILE_BYTES)


@asynccontextmanager
async def _opened(options: Options, secrets: Mapping[str, str]) -> AsyncIterator[Chain]:
    try:
        key = parse_access_key(secrets[options.access_key], options.algorithm, where=options.access_key)
    except KeyFileError as exc:
        raise RefusedError(f"access_key: {exc.what}", cure=exc.cure) from exc
    user, expected = await _user(options, secrets), {"channelId": options.channel}
    if user is not None:
        expected["mspId"] = options.msp
    async with Gateway(options, key, service="fabric", expected=expected) as gateway:
        yield FabricChain(options, gateway, lambda: os.urandom(NONCE_BYTES), user)


def opened(options: Options, secrets: Mapping[str, str]) -> Opened:
    """A chain of the configuration."""
    return _opened(options, secrets)


KIND = Kind(
    name=anchor_fabric.KIND,
    title="A channel of Hyperledger Fabric, through a BSN city node's gateway",
    options=Options,
    chain=lambda options: cast(str, options.channel),
    final=True,
    opened=opened,
    example={
        "url": "https://citynode.example:17502",
        "user": "USER0001202004151958010871292",
        "app": "app0001202004161020152918451",
        "access_key": "file:/etc/fieldgate/bsn.key",
        "gateway_key": "04" + "11" * 64,
        "algorithm": "p256",
        "channel": "app0001202004161020152918451",
        "chaincode": "cc_app0001202004161020152918451_00",
        "#user_key": "file:/etc/fieldgate/bsn-user.key",
        "#user_certificate": "/etc/fieldgate/bsn-user.pem",
        "#msp": "OrgbNodeMSP",
        "#orderers": [],
    },
)
