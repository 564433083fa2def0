"""Anchors on chains of the Ethereum kind: headers, what proves a statement in a block, and pins (docs/format.md, 12).

The evidence is a map::

    { 1: chain id, 2: [ header, ... ], 3: index, 4: [ node, ... ], ? 5: [ node, ... ] }

The headers are RLP, first the block's own, then those after it. The nodes of key 4 lead from its transactionsRoot to
the transaction `index`, whose data is the statement. Where key 5 is there, a contract was called: its nodes lead from
the receiptsRoot to the transaction's receipt, in which a log of the event ANCHORED has the statement.

Pins are `evm CHAIN block NUMBER HASH`, for any header of the evidence, and `evm CHAIN signers ADDRESS...`, all who may
seal on a chain of proof of authority (EIP-225): more than half of them have sealed the headers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gateway.core import cbor, curves, rlp, trie
from gateway.core.anchor import Anchored, Pin, Statement, block_pin, of_chain
from gateway.core.keccak import keccak256
from gateway.core.limits import EVM_HEADERS
from gateway.core.rlp import Item
from gateway.errors import FormatError

KIND = "evm"
CALL = keccak256(b"anchor(bytes32,uint64,bytes32)")[:4]
ANCHORED = keccak256(b"Anchored(address,bytes32,uint64,bytes32)")
"""The event of deploy/anchors/Anchor.sol; sender and log are indexed."""

_SEAL_BYTES = 65  # at the end of extraData: r, s, and the parity of R's y
_FIELDS = 15  # of a header at least
_DATA_OF_TYPE = {1: (0, 6), 2: (0, 7), 3: (0, 7), 4: (0, 7)}  # places of chain id and data, by the transaction's type
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header: what is needed of it, its hash, and its RLP as it is."""

    number: int
    parent: bytes
    transactions_root: bytes
    receipts_root: bytes
    time_s: int
    hash: bytes
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "Header":
        """The header in these bytes."""
        fields = _list(rlp.decode(raw), "header")
        if len(fields) < _FIELDS or not all(isinstance(field, bytes) for field in fields):
            raise FormatError(f"a header has {_FIELDS} strings or more")
        parts = [field for field in fields if isinstance(field, bytes)]
        if any(len(parts[at]) != 32 for at in (0, 4, 5)):
            raise FormatError("a hash in a header has 32 bytes")
        number, time_s = rlp.read_uint(parts[8]), rlp.read_uint(parts[11])
        if max(number, time_s) >= 2**53:
            raise FormatError("a header's number or time is out of range")
        return cls(number, parts[0], parts[4], parts[5], time_s, keccak256(raw), raw)

    def sealer(self) -> bytes:
        """The address that sealed it (EIP-225): over the header without the seal at the end of extraData."""
        fields = _list(rlp.decode(self.raw), "header")
        extra = fields[12]
        if not isinstance(extra, bytes) or len(extra) < _SEAL_BYTES:
            raise FormatError(f"block {self.number} has no seal")
        sealed, seal = extra[:-_SEAL_BYTES], extra[-_SEAL_BYTES:]
        digest = keccak256(rlp.encode([*fields[:12], sealed, *fields[13:]]))
        r, s = int.from_bytes(seal[:32], "big"), int.from_bytes(seal[32:64], "big")
        return address(curves.recover(curves.SECP256K1, digest, r, s, seal[64]))


def address(public: curves.Point) -> bytes:
    """The 20 bytes that stand for a key of secp256k1."""
    return keccak256(b"".join(part.to_bytes(32, "big") for part in public))[12:]


def linked(headers: Sequence[Header]) -> None:
    """FormatError unless each header follows the one before it."""
    for before, after in pairwise(headers):
        if after.number != before.number + 1 or after.parent != before.hash:
            raise FormatError(f"block {after.number} does not follow block {before.number}")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the map says."""

    chain: int
    headers: tuple[Header, ...]
    index: int
    transaction: tuple[bytes, ...]
    receipt: tuple[bytes, ...] | None

    def encode(self) -> cbor.Value:
        """The map."""
        fields: dict[cbor.Key, cbor.Value] = {
            1: self.chain,
            2: [header.raw for header in self.headers],
            3: self.index,
            4: list(self.transaction),
        }
        return fields if self.receipt is None else {**fields, 5: list(self.receipt)}

    @classmethod
    def parse(cls, value: cbor.Value) -> "Evidence":
        """Its form alone."""
        fields = value if isinstance(value, dict) else {}
        match fields:
            case {1: int(chain), 2: list(headers), 3: int(index), 4: list(nodes)} if chain > 0 <= index:
                if isinstance(chain, bool) or isinstance(index, bool) or not set(fields) <= {1, 2, 3, 4, 5}:
                    raise FormatError("the evidence has another form")
            case _:
                raise FormatError("the evidence is no map of chain id, headers, index and proof")
        if not 0 < len(headers) <= EVM_HEADERS:
            raise FormatError(f"{len(headers)} headers where 1 to {EVM_HEADERS} are due")
        parsed = tuple(Header.parse(raw) for raw in _all_bytes(headers))
        receipt = tuple(_all_bytes(fields[5])) if 5 in fields else None
        return cls(chain, parsed, index, tuple(_all_bytes(nodes)), receipt)


def check(statement: Statement, evidence: cbor.Value, pins: Sequence[Pin]) -> Anchored:
    """A gateway.core.anchor_kinds.Check."""
    given = Evidence.parse(evidence)
    linked(given.headers)
    block = given.headers[0]
    raw = trie.verify(block.transactions_root, given.index, given.transaction)
    data = transaction_data(raw, given.chain)
    if given.receipt is None:
        if data != statement.encode():
            raise FormatError("the transaction's data is not the statement")
    else:
        if data != call(statement):
            raise FormatError("the transaction does not call a contract with the statement")
        check_receipt(trie.verify(block.receipts_root, given.index, given.receipt), statement)
    by = _proven(given.headers, of_chain(pins, KIND, str(given.chain)))
    return Anchored(KIND, str(given.chain), block.number, block.hash, block.time_s, by)


def call(statement: Statement) -> bytes:
    """The data that calls the contract."""
    return CALL + statement.log + _word(statement.size) + statement.root


def is_call(raw: bytes, chain: int) -> bool:
    """Whether a signed transaction calls the contract, and does not carry the statement itself. FormatError as of
    `transaction_data`.
    """
    return transaction_data(raw, chain).startswith(CALL)


def transaction_data(raw: bytes, chain: int) -> bytes:
    """What a signed transaction carries. FormatError where it is for another chain (EIP-155, EIP-2718)."""
    if raw[:1] >= b"\xc0":
        fields = _list(rlp.decode(raw), "transaction")
        if len(fields) != 9 or (_uint(fields[6]) - 35) // 2 != chain or _uint(fields[6]) < 35:
            raise FormatError(f"the transaction is not for chain {chain}")
        data = fields[5]
    else:
        of_chain_at, at = _DATA_OF_TYPE.get(raw[0], (0, -1))
        fields = _list(rlp.decode(raw[1:]), "transaction")
        if at < 0 or len(fields) <= at:
            raise FormatError(f"a transaction of type {raw[0]} is not understood")
        if _uint(fields[of_chain_at]) != chain:
            raise FormatError(f"the transaction is not for chain {chain}")
        data = fields[at]
    if not isinstance(data, bytes):
        raise FormatError("a transaction's data is no string")
    return data


def check_receipt(raw: bytes, statement: Statement) -> None:
    """FormatError unless the transaction succeeded and a log of it has the statement."""
    fields = _list(rlp.decode(raw if raw[:1] >= b"\xc0" else raw[1:]), "receipt")
    if len(fields) != 4 or not isinstance(fields[3], list):
        raise FormatError("a receipt has 4 parts, the last a list of logs")
    if fields[0] != b"\1":
        raise FormatError("the contract refused the statement")
    data = _word(statement.size) + statement.root
    for log in fields[3]:
        match log:
            case [bytes(), [topic, bytes(), of], found] if (topic, of, found) == (ANCHORED, statement.log, data):
                return
    raise FormatError("no log of the transaction has the statement")


def _proven(headers: Sequence[Header], pins: Sequence[Pin]) -> str:
    """By what pin the first header is shown, in words; "" by none. FormatError where a pin says otherwise."""
    by, by_number = "", {header.number: header for header in headers}
    signers: list[frozenset[bytes]] = []
    for pin in pins:
        if pin.word == "block":
            number, pinned = block_pin(pin)
            found = by_number.get(number)
            if found is not None and found.hash != pinned:
                raise FormatError(f"block {number} has another hash than the pin of line {pin.line}")
            by = by or (f"the pinned block {number}" if found is not None else "")
        elif pin.word == "signers":
            signers.append(read_signers(pin))
        else:
            raise pin.fault(f"{pin.word!r} is no word of {KIND}: write block or signers")
    return by or (_sealed(headers, signers) if signers else "")


def _sealed(headers: Sequence[Header], signers: Sequence[frozenset[bytes]]) -> str:
    sealers = [header.sealer() for header in headers]
    fitting = [one for one in signers if one.issuperset(sealers)]
    if not fitting:
        stranger = next(sealer for sealer in sealers if not any(sealer in one for one in signers))
        raise FormatError(f"0x{stranger.hex()} sealed a block, and is no pinned signer")
    for one in fitting:
        if len(set(sealers)) > len(one) // 2:
            last = headers[-1].number
            return f"{len(set(sealers))} of {len(one)} pinned signers, who sealed the blocks up to {last}"
    return ""


def read_signers(pin: Pin) -> frozenset[bytes]:
    """The addresses of a pin `signers`."""
    if not all(_ADDRESS.fullmatch(text) for text in pin.values):
        raise pin.fault("a signer is its address, 0x and 40 hex digits")
    return frozenset(bytes.fromhex(text[2:]) for text in pin.values)


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _uint(item: Item) -> int:
    if not isinstance(item, bytes):
        raise FormatError("a number in RLP is a string")
    return rlp.read_uint(item)


def _list(item: Item, what: str) -> list[Item]:
    if not isinstance(item, list):
        raise FormatError(f"a {what} is a list")
    return item


def _all_bytes(values: cbor.Value) -> list[bytes]:
    found = [one for one in values if isinstance(one, bytes)] if isinstance(values, list) else []
    if not isinstance(values, list) or len(found) != len(values):
        raise FormatError("headers and nodes are byte strings")
    return found
