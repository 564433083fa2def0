"""Blocks out of a server's JSON, made into the bytes that are hashed, so that nothing of the JSON is believed."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.anchors.api import GoneError, LieError, Place
from gateway.anchors.evm import rpc
from gateway.core import rlp, trie
from gateway.core.anchor_evm import Header
from gateway.core.limits import ANCHOR_EVIDENCE_BYTES, EVM_BLOCK_BYTES, EVM_BLOCK_ITEMS
from gateway.errors import FormatError

_HEADER: Sequence[tuple[str, int | None]] = (  # name, length; None: a number
    ("parentHash", 32),
    ("sha3Uncles", 32),
    ("miner", 20),
    ("stateRoot", 32),
    ("transactionsRoot", 32),
    ("receiptsRoot", 32),
    ("logsBloom", 256),
    ("difficulty", None),
    ("number", None),
    ("gasLimit", None),
    ("gasUsed", None),
    ("timestamp", None),
    ("extraData", -1),
    ("mixHash", 32),
    ("nonce", 8),
)
_LATER: Sequence[tuple[str, int | None]] = (  # EIP-1559, 4895, 4844, 4788, 7685: each only where those before it are
    ("baseFeePerGas", None),
    ("withdrawalsRoot", 32),
    ("blobGasUsed", None),
    ("excessBlobGas", None),
    ("parentBeaconBlockRoot", 32),
    ("requestsHash", 32),
)
_TYPE_MAX = 0x7F  # EIP-2718


def header(told: dict[str, Any]) -> Header:
    """The header of a block; blocking, some milliseconds. LieError where its hash is not that of its fields."""
    fields = [_field(told, name, length) for name, length in _HEADER]
    for name, length in _LATER:
        if told.get(name) is None:
            break
        fields.append(_field(told, name, length))
    raw = rlp.encode(fields)
    if len(raw) > ANCHOR_EVIDENCE_BYTES:
        raise LieError(f"the header of a block has {len(raw)} bytes, more than {ANCHOR_EVIDENCE_BYTES}")
    made = Header.parse(raw)
    if made.hash != rpc.data(told.get("hash"), "block's hash", 32):
        raise LieError(f"block {made.number} has another hash than its header")
    return made


def _field(told: dict[str, Any], name: str, length: int | None) -> bytes:
    if length is None:
        return rlp.uint(rpc.uint(told.get(name), name))
    return rpc.data(told.get(name), name, None if length < 0 else length)


def transactions(told: dict[str, Any], of: Header) -> list[bytes]:
    """Those of a block, as signed; blocking. LieError where they are not what the header has.

    GoneError where the block cannot be proved here: it is too large, or has transactions of another kind.
    """
    made = (_transaction(rpc.table(one, "transaction")) for one in rpc.listed(told.get("transactions"), "block"))
    try:
        found = _bounded(made, of, "transactions")
    except FormatError as error:
        raise _unprovable(of, error.what, "Where it stays so, anchor on another chain") from None
    if trie.root(found) != of.transactions_root:
        raise LieError(f"the transactions of block {of.number} are not those of its header")
    return found


def _bounded(made: Iterable[bytes], of: Header, what: str) -> list[bytes]:
    """All of them. GoneError where they are more than can be hashed in the time of a call: none is hashed then."""
    found, size = list[bytes](), 0
    for one in made:
        size += len(one)
        if size > EVM_BLOCK_BYTES or len(found) == EVM_BLOCK_ITEMS:
            most = f"it has more than {EVM_BLOCK_ITEMS} {what}, or {EVM_BLOCK_BYTES} bytes of them"
            raise _unprovable(of, most, "Where it stays so, anchor on a chain with smaller blocks")
        found.append(one)
    return found


def _unprovable(of: Header, why: str, cure: str) -> GoneError:
    place = Place(of.number, of.hash, of.time_s)
    what = f"block {of.number} cannot be proved here: {why}"
    return GoneError(what, cure=f"{cure}. The next checkpoint takes its place", place=place)


def _transaction(told: dict[str, Any]) -> bytes:
    """EIP-155, 2930, 1559, 4844, 7702."""
    kind = rpc.uint(told.get("type", "0x0"), "transaction's type")

    def number(*names: str) -> list[bytes]:
        return [rlp.uint(rpc.uint(told.get(name), name)) for name in names]

    to = b"" if told.get("to") is None else rpc.data(told["to"], "to", 20)
    body: list[rlp.Encodable] = [*number("gas"), to, *number("value"), rpc.data(told.get("input"), "input")]
    signature = number("v" if kind == 0 or "yParity" not in told else "yParity", "r", "s")
    if kind == 0:
        return rlp.encode([*number("nonce", "gasPrice"), *body, *signature])
    prices = ["gasPrice"] if kind == 1 else ["maxPriorityFeePerGas", "maxFeePerGas"]
    access = [_access(rpc.table(one, "access list")) for one in rpc.listed(told.get("accessList"), "access list")]
    more: list[rlp.Encodable] = []
    if kind == 3:
        hashes = [rpc.data(one, "blob's hash", 32) for one in rpc.listed(told.get("blobVersionedHashes"), "blobs")]
        more = [*number("maxFeePerBlobGas"), hashes]
    elif kind == 4:
        listed = rpc.listed(told.get("authorizationList"), "authorizations")
        more = [[_authorization(rpc.table(one, "authorization")) for one in listed]]
    elif kind not in (1, 2):
        raise FormatError(f"it has a transaction of type {kind}, which is not known here")
    return bytes([kind]) + rlp.encode([*number("chainId", "nonce", *prices), *body, access, *more, *signature])


def _access(told: dict[str, Any]) -> list[rlp.Encodable]:
    keys = [rpc.data(one, "storage key", 32) for one in rpc.listed(told.get("storageKeys"), "access list")]
    return [rpc.data(told.get("address"), "address", 20), keys]


def _authorization(told: dict[str, Any]) -> list[rlp.Encodable]:
    def number(name: str) -> bytes:
        return rlp.uint(rpc.uint(told.get(name), name))

    return [
        number("chainId"),
        rpc.data(told.get("address"), "address", 20),
        number("nonce"),
        *map(number, ("yParity", "r", "s")),
    ]


def receipts(told: Sequence[Any], of: Header) -> list[bytes]:
    """Those of a block; blocking. LieError where they are not what the header has, GoneError (_bounded)."""
    found = _bounded((_receipt(rpc.table(one, "receipt")) for one in told), of, "receipts")
    if trie.root(found) != of.receipts_root:
        raise LieError(f"the receipts of block {of.number} are not those of its header")
    return found


def _receipt(told: dict[str, Any]) -> bytes:
    kind = rpc.uint(told.get("type", "0x0"), "receipt's type")
    if kind > _TYPE_MAX:
        raise LieError(f"a receipt has type {kind:#x}, and {_TYPE_MAX:#x} is the highest there is")
    status = (
        rlp.uint(rpc.uint(told["status"], "status")) if "status" in told else rpc.data(told.get("root"), "root", 32)
    )
    logs = [_log(rpc.table(one, "log")) for one in rpc.listed(told.get("logs"), "logs")]
    used = rlp.uint(rpc.uint(told.get("cumulativeGasUsed"), "gas used"))
    encoded = rlp.encode([status, used, rpc.data(told.get("logsBloom"), "bloom", 256), logs])
    return bytes([kind]) + encoded if kind else encoded


def _log(told: dict[str, Any]) -> list[rlp.Encodable]:
    topics = [rpc.data(one, "topic", 32) for one in rpc.listed(told.get("topics"), "topics")]
    return [rpc.data(told.get("address"), "address", 20), topics, rpc.data(told.get("data"), "data")]
