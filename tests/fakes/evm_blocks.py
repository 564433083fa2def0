"""Evidence of the kind `evm` made here, for a chain that nobody runs: three headers, and a transaction in the first."""

from gateway.anchors.evm.transactions import Account, Price, Transaction
from gateway.core import cbor, rlp, trie
from gateway.core.anchor import Statement
from gateway.core.anchor_evm import Evidence, Header

CHAIN = 9090
TIME_S = 1_795_600_000
KEY = "01" * 32


def header(number: int, parent: bytes, root: bytes) -> Header:
    """A header of 15 fields, as on `istanbul`."""
    empty = bytes(32)
    fields = [parent, empty, bytes(20), empty, root, trie.EMPTY_ROOT, bytes(256), b"\2", rlp.uint(number)]
    fields += [rlp.uint(8_000_000), b"", rlp.uint(TIME_S + 10 * number), bytes(97), empty, bytes(8)]
    return Header.parse(rlp.encode(fields))


def headers(statement: Statement, number: int = 1_000) -> tuple[Header, ...]:
    """The block of the statement and two more."""
    first = header(number, bytes(32), trie.root([_raw(statement)]))
    second = header(number + 1, first.hash, trie.EMPTY_ROOT)
    return first, second, header(number + 2, second.hash, trie.EMPTY_ROOT)


def evidence(statement: Statement, number: int = 1_000) -> cbor.Value:
    path = tuple(trie.prove([_raw(statement)], 0))
    return Evidence(CHAIN, headers(statement, number), 0, path, None).encode()


def pin(one: Header) -> str:
    return f"evm {CHAIN} block {one.number} 0x{one.hash.hex()}\n"


def _raw(statement: Statement) -> bytes:
    price, data = Price(10**9, None), statement.encode()
    return Account(KEY).sign(Transaction(CHAIN, 0, price, 30_000, bytes(20), data))
