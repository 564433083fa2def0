"""The four steps (gateway/anchors/api.py) on a chain of the Ethereum kind.

What is sent is a signed transaction: its bytes are complete, and its hash, the ticket, is known before it is sent. Its
nonce is the number of those that the account has in blocks. One that never came into a block is replaced by the next,
with the same nonce and a higher price, and only one of the two can ever stand there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from gateway.anchors.api import Chain, GoneError, LieError, Place, RefusedError, ShutError, Sight, Submission
from gateway.anchors.evm import blocks, rpc, transactions
from gateway.anchors.evm.options import EvmOptions
from gateway.anchors.evm.rpc import Rpc, ServerError
from gateway.anchors.evm.transactions import Account, Price, Transaction
from gateway.anchors.registry import Kind
from gateway.core import anchor_evm, cbor, trie
from gateway.core.anchor import Pin, Statement
from gateway.core.anchor_evm import Evidence, Header
from gateway.core.keccak import keccak256
from gateway.core.limits import EVM_HEADERS
from gateway.errors import FormatError, UnreachableError

_GWEI = 10**9
_SPARE = 5  # a fifth more gas than the server estimates
_BUMP = 8  # an eighth more, and 1 wei, for what takes another's place: servers ask for a tenth
_SETTLED = 12  # blocks under which a nonce counts as used for good
_KNOWN = (
    "already known",
    "alreadyknown",
    "known transaction",
    "already imported",
    "already exists",
    "already in mempool",
)
_USED = ("nonce too low", "nonce is too low", "invalid nonce", "oldnonce")
_POOR = ("insufficient funds", "insufficient balance")
_ASK = "Ask the chain's operator what it means"
_REFUSES_FALLING = "Check contract: it takes only sizes that rise"
_CHEAP = (
    "underpriced",
    "fee too low",
    "less than block base fee",
    "price too low",
    "fee cap less",
    "gas price is too low",
)
_AT_ONCE = 16  # headers that one look fetches
_TRIES = 2  # at a picture that holds together: the chain may grow or turn between two questions


T = TypeVar("T")


class _Receipt(NamedTuple):
    """Where a server says that a transaction stands."""

    number: int
    block: bytes
    place: int


class _Block(NamedTuple):
    """A block's transactions and, where ours calls a contract, its receipts, held against its header."""

    hash: bytes
    transactions: list[bytes]
    receipts: list[bytes] | None


class EvmChain:
    """gateway.anchors.api.Chain."""

    def __init__(self, options: EvmOptions, account: Account, server: Rpc) -> None:
        self._options, self._account, self._rpc = options, account, server
        self._to = bytes.fromhex(options.contract[2:]) if options.contract else account.address
        pins = [Pin(anchor_evm.KIND, str(options.chain_id), "signers", options.signers, 0)]
        self._pins = pins if options.signers else []
        self._signers = anchor_evm.read_signers(pins[0]) if options.signers else None
        self._height = 0  # of the newest header that was linked: a number alone is believed for one look
        self._run: list[Header] = []  # linked, from the block in which the submission stands
        self._block: _Block | None = None

    # -- make and send ------------------------------------------------------------------------------------------------

    async def make(self, statement: Statement, former: Submission | None) -> bytes:
        """A signed transaction."""
        await self._same_chain()
        nonce = rpc.uint(await self._ask("eth_getTransactionCount", self._address, "latest"), "nonce")
        price = await self._price()
        if former is not None and (sent := transactions.read(former.data)).nonce == nonce:
            least = sent.most + sent.most // _BUMP + 1
            price = Price(max(price.most, least), None if price.tip is None else max(price.tip, least))
        most = int(self._options.max_price_gwei * _GWEI)
        if price.most > most:
            what = f"a unit of gas costs {price.most / _GWEI:g} gwei now, more than max_price_gwei allows"
            raise RefusedError(what, cure=f"Raise max_price_gwei above {self._options.max_price_gwei:g}, or wait")
        data = anchor_evm.call(statement) if self._options.contract else statement.encode()
        gas = await self._gas(data)
        await self._afford(price.most * gas)
        return self._account.sign(Transaction(self._options.chain_id, nonce, price, gas, self._to, data))

    async def _price(self) -> Price:
        if self._options.transaction == "legacy":
            return Price(rpc.uint(await self._ask("eth_gasPrice"), "price of gas"), None)
        tip = rpc.uint(await self._ask("eth_maxPriorityFeePerGas"), "tip")
        told = rpc.table(await self._ask("eth_getBlockByNumber", "latest", False), "block")
        if told.get("baseFeePerGas") is None:
            what = "this chain has no base fee, so it takes no transaction of type 2"
            raise RefusedError(what, cure='Write transaction = "legacy"')
        return Price(2 * rpc.uint(told["baseFeePerGas"], "base fee") + tip, tip)

    async def _gas(self, data: bytes) -> int:
        asked = {"from": self._address, "to": _hex(self._to), "data": _hex(data)}
        try:
            estimate = rpc.uint(await self._rpc.call("eth_estimateGas", asked), "estimate of gas")
        except ServerError as error:
            what = f"the chain would refuse the transaction: {error.text}"
            raise RefusedError(what, cure=_REFUSES_FALLING if self._options.contract else _ASK) from None
        gas = estimate + estimate // _SPARE
        if gas > self._options.max_gas:
            raise RefusedError(f"an anchor takes {gas} units of gas, more than max_gas allows", cure="Raise max_gas")
        return gas

    async def _afford(self, cost: int) -> None:
        has = rpc.uint(await self._ask("eth_getBalance", self._address, "latest"), "balance")
        if has < cost:
            what = f"the account {self._address} has {has} wei, and an anchor may cost {cost}"
            raise RefusedError(what, cure="Have it filled up by the chain's operator or a wallet")

    async def send(self, submission: Submission) -> bytes:
        """The transaction's hash."""
        await self._same_chain()
        ticket = keccak256(submission.data)
        try:
            told = await self._rpc.call("eth_sendRawTransaction", _hex(submission.data))
        except ServerError as error:
            if any(words in error.text.lower() for words in (*_KNOWN, *_USED)):
                return ticket  # "nonce too low": perhaps it stands in a block already; `look` finds out
            refusal = _refusal(error)
            try:
                stands = await self._receipt(submission) is not None
            except UnreachableError:
                raise ShutError(refusal.what, cure=refusal.cure) from None
            if not stands:
                raise refusal from None
            return ticket  # it was refused in words that are not known here
        if rpc.data(told, "transaction's hash", 32) != ticket:
            raise LieError("it calls the transaction by another hash than its own")
        return ticket

    # -- look ---------------------------------------------------------------------------------------------------------

    async def look(self, submission: Submission) -> Sight:
        """From the block in which the transaction stands on, headers are followed up to the newest."""
        height = await self._newest()
        if submission.place is not None:
            return await self._again(submission.place, height)
        for _ in range(_TRIES):
            receipt = await self._receipt(submission)
            if receipt is None:
                self._run = []
                await self._may_still_come(submission, height)
                return Sight(height, None)
            await self._follow(receipt.number, max(height, receipt.number))
            block = self._run[0]
            if block.hash == receipt.block:
                await self._stands(submission, block, receipt.place)
                self._height = self._run[-1].number
                return Sight(self._height, Place(block.number, block.hash, block.time_s))
        raise LieError("the block is another than the one in which it says the transaction stands")

    async def _again(self, place: Place, height: int) -> Sight:
        """Where another block is the chain's, nowhere. Nobody asks for the receipt: servers forget old ones."""
        if height < place.number:
            raise UnreachableError(f"its server is at block {height} only, and has shown block {place.number}")
        await self._follow(place.number, height)
        self._height = self._run[-1].number
        return Sight(self._height, place if self._run[0].hash == place.hash else None)

    async def _newest(self) -> int:
        """The chain's height, in the server's words."""
        await self._same_chain()
        height = rpc.uint(await self._ask("eth_blockNumber"), "height")
        if height < self._height:
            raise LieError(f"the chain's height fell from {self._height} to {height}")
        return height

    async def _receipt(self, submission: Submission) -> _Receipt | None:
        hashed = keccak256(submission.data)
        found = await self._ask("eth_getTransactionReceipt", _hex(hashed))
        if found is None:
            return None
        told = rpc.table(found, "receipt")
        if rpc.data(told.get("transactionHash"), "transaction's hash", 32) != hashed:
            raise LieError("the receipt is of another transaction")
        return _Receipt(
            rpc.uint(told.get("blockNumber"), "block's number"),
            rpc.data(told.get("blockHash"), "block's hash", 32),
            rpc.uint(told.get("transactionIndex"), "place in the block"),
        )

    async def _may_still_come(self, submission: Submission, height: int) -> None:
        """GoneError where another transaction of the account has taken its nonce, well under the newest block."""
        nonce = transactions.read(submission.data).nonce
        if rpc.uint(await self._ask("eth_getTransactionCount", self._address, "latest"), "nonce") <= nonce:
            return
        settled = hex(max(height - _SETTLED, 0))
        if rpc.uint(await self._ask("eth_getTransactionCount", self._address, settled), "nonce") > nonce:
            what = f"another transaction of the account {self._address} has taken its nonce {nonce}"
            raise GoneError(what, cure="Give this gateway an account of its own. The next checkpoint takes its place")

    async def _follow(self, first: int, height: int) -> None:
        """Has the linked headers from `first` on in `_run`: EVM_HEADERS at most, and so many more each time. What is
        there is looked at again at its end, where a reorganisation shows."""
        run = self._run if self._run and self._run[0].number == first else []
        if run:
            newest = await self._header(run[-1].number)
            run = run if newest.hash == run[-1].hash else []
        run = list(run) or [await self._header(first)]
        last = min(height, first + EVM_HEADERS - 1, run[-1].number + _AT_ONCE)
        while run[-1].number < last:
            run.append(await self._header(run[-1].number + 1))
            if run[-1].parent != run[-2].hash:
                self._run = []
                raise LieError(f"block {run[-1].number} does not follow block {run[-2].number}")
        self._run = run

    async def _header(self, number: int) -> Header:
        return await self._made(await self._told(number, whole=False), number)

    async def _told(self, number: int, *, whole: bool) -> dict[str, Any]:
        found = await self._ask("eth_getBlockByNumber", hex(number), whole)
        if found is None:
            raise UnreachableError(f"its server does not have block {number}, which it says there is")
        return rpc.table(found, "block")

    async def _made(self, told: dict[str, Any], number: int) -> Header:
        made = await _checked(blocks.header, told)
        if made.number != number:
            raise LieError(f"it answers with block {made.number} where block {number} was asked for")
        if self._signers is not None:
            sealer = await _checked(made.sealer)
            if sealer not in self._signers:
                raise LieError(f"block {number} is sealed by {_hex(sealer)}, which is none of signers")
        return made

    async def _stands(self, submission: Submission, block: Header, index: int) -> None:
        """LieError where the block does not have the transaction there; GoneError where the contract refused it."""
        held = await self._held(submission, block)
        if index >= len(held.transactions) or held.transactions[index] != submission.data:
            raise LieError(f"block {block.number} does not hold the transaction where it says")
        if held.receipts is not None:
            try:
                anchor_evm.check_receipt(held.receipts[index], submission.statement)
            except FormatError as error:
                place = Place(block.number, block.hash, block.time_s)
                cure = "Check contract; the next checkpoint takes its place"
                raise GoneError(error.what, cure=cure, place=place) from None

    async def _held(self, submission: Submission, block: Header) -> _Block:
        """Whether it calls a contract is told by its bytes: the configuration may have been changed since."""
        calls = anchor_evm.is_call(submission.data, self._options.chain_id)
        if self._block is None or self._block.hash != block.hash or calls is (self._block.receipts is None):
            self._block = await self._whole(block, receipts=calls)
        return self._block

    async def _whole(self, block: Header, *, receipts: bool) -> _Block:
        told = await self._told(block.number, whole=True)
        if (await self._made(told, block.number)).hash != block.hash:
            raise UnreachableError("the chain was reorganised while it was looked at")
        held = await _checked(blocks.transactions, told, block)
        if not receipts:
            return _Block(block.hash, held, None)
        found = await _checked(blocks.receipts, await self._receipts(block, held), block)
        if len(found) != len(held):
            raise LieError(f"block {block.number} has {len(found)} receipts for {len(held)} transactions")
        return _Block(block.hash, held, found)

    async def _receipts(self, block: Header, held: list[bytes]) -> list[Any]:
        """All of a block; one by one from a server that does not have them together."""
        try:
            return rpc.listed(await self._rpc.call("eth_getBlockReceipts", hex(block.number)), "list of receipts")
        except ServerError:
            hashes = await asyncio.to_thread(lambda: [_hex(keccak256(raw)) for raw in held])
            return [await self._ask("eth_getTransactionReceipt", one) for one in hashes]

    # -- prove --------------------------------------------------------------------------------------------------------

    async def prove(self, submission: Submission, place: Place, confirmations: int) -> cbor.Value:
        """The headers that were followed, and the way from their first to the transaction.

        RefusedError where so few blocks can never be sealed by more than half of `signers`.
        """
        if self._signers is not None and confirmations <= len(self._signers) // 2:
            what = f"more than half of {len(self._signers)} signers cannot have sealed {confirmations} blocks"
            raise RefusedError(what, cure=f"Write confirmations = {len(self._signers) // 2 + 1}, or more")
        sight = await self.look(replace(submission, place=place))
        if sight.place != place or len(self._run) < confirmations:
            raise LieError(f"block {place.number} is not the chain's any more, or not so deep in it")
        held, headers = await self._held(submission, self._run[0]), tuple(self._run[:confirmations])
        if submission.data not in held.transactions:
            raise LieError(f"block {place.number} does not hold the transaction")
        index = held.transactions.index(submission.data)
        return await asyncio.to_thread(self._evidence, submission.statement, headers, held, index)

    def _evidence(self, statement: Statement, headers: tuple[Header, ...], held: _Block, index: int) -> cbor.Value:
        receipt = None if held.receipts is None else tuple(trie.prove(held.receipts, index))
        path = tuple(trie.prove(held.transactions, index))
        evidence = Evidence(self._options.chain_id, headers, index, path, receipt).encode()
        try:
            found = anchor_evm.check(statement, evidence, self._pins)
        except FormatError as error:
            raise LieError(f"what it showed proves nothing: {error.what}") from None
        if self._signers is not None and not found.by:
            sealed = f"{len({header.sealer() for header in headers})} of {len(self._signers)} signers alone"
            raise LieError(f"blocks {headers[0].number} to {headers[-1].number} are sealed by {sealed}")
        return evidence

    # -- questions ----------------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return _hex(self._account.address)

    async def _same_chain(self) -> None:
        found = rpc.uint(await self._ask("eth_chainId"), "chain id")
        if found != self._options.chain_id:
            raise LieError(f"it serves chain {found}, not chain {self._options.chain_id}")

    async def _ask(self, method: str, *params: Any) -> Any:
        try:
            return await self._rpc.call(method, *params)
        except ServerError as error:
            raise UnreachableError(f"its server refuses {method}: {error.text}") from None


async def _checked(check: Callable[..., T], *given: Any) -> T:
    """Called in a thread: hashing in Python takes its time. What does not hold is a lie."""
    try:
        return await asyncio.to_thread(check, *given)
    except FormatError as error:
        raise LieError(error.what) from None


def _refusal(error: ServerError) -> RefusedError:
    text = error.text.lower()
    if any(words in text for words in _POOR):
        cure = "Have the account filled up by the chain's operator or a wallet"
    elif any(words in text for words in _CHEAP):
        cure = "Raise max_price_gwei, or wait until the chain is cheaper"
    else:
        cure = _ASK
    return RefusedError(f"the chain does not take the transaction: {error.text}", cure=cure)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


@asynccontextmanager
async def _opened(options: EvmOptions, secrets: Mapping[str, str]) -> AsyncIterator[Chain]:
    account = await asyncio.to_thread(Account, secrets[options.key])
    api_key = secrets[options.api_key] if options.api_key else ""
    async with Rpc(options.url, api_key, options.ca_file) as server:
        yield EvmChain(options, account, server)


KIND = Kind(
    name=anchor_evm.KIND,
    title="a chain of the Ethereum kind",
    options=EvmOptions,
    chain=lambda options: str(options.chain_id),
    opened=_opened,
    example={
        "url": "https://spartan.example/api/rpc",
        "chain_id": 9_090,
        "key": "file:/etc/fieldgate/anchor.key",
        "#api_key": "file:/etc/fieldgate/anchor.api-key",
        "#ca_file": "/etc/fieldgate/spartan-ca.pem",
        "#contract": "0x5fbdb2315678afecb367f032d93f642f64180aa3",
        "#signers": ["0x6b1f2b1c7d1a3b0e5d2c4f8a9b7c6d5e4f3a2b1c"],
    },
)
