"""Blocks of FISCO BCOS 2 and 3, from what a node's JSON-RPC tells: what a header's hash is of, seals, transactions.

Version 2 hashes the RLP of a header's fields (libethcore/BlockHeader.cpp), version 3 the fields one after the other
(bcos-tars-protocol/impl/TarsHashable.h). The hash is Keccak-256, or SM3 on chains of the national cryptography; seals
are of secp256k1 or SM2. Version 2's seals and transactions of the national kind follow its documentation, without a
published sample to try them on.

What stands where in the bytes that are hashed is unambiguous as it is read here: of version 3's fields those before the
number have fixed lengths, gasUsed is decimal, and a time in milliseconds begins with a zero byte.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gateway.core import curves, rlp
from gateway.core.keccak import keccak256
from gateway.core.limits import (
    FISCO_HASH_BYTES,
    FISCO_HEADER_BYTES,
    FISCO_LEVELS,
    FISCO_SEALERS,
    FISCO_TRANSACTION_BYTES,
    FISCO_WIDTH,
    NUMBER_MAX,
)
from gateway.core.sm3 import sm3
from gateway.errors import FormatError

KEY_BYTES = 64
HASHES: Mapping[str, Callable[[bytes], bytes]] = {"ecdsa": keccak256, "sm": sm3}
"""By the kind of a chain's cryptography."""

Fields = Mapping[str, Any]
"""A JSON object as a node answered it."""
Level = tuple[bytes, bytes]
"""What stands left and right of a hash where both and it are hashed together."""
Seal = tuple[bytes, bytes]
"""A sealer's key, 64 bytes, and its signature."""

_HASH_BYTES = 32
_V3_HEAD = 4 + 8 + 4 * _HASH_BYTES + 8


@dataclass(frozen=True, slots=True)
class Header:
    """What is used of a header. time_ms: Unix time, as who sealed it says."""

    number: int
    parent: bytes
    transactions: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is used of a transaction: the chain and group that it names, and its data."""

    chain: str
    group: str
    data: bytes


# Headers


def header_bytes(version: int, fields: Fields) -> bytes:
    """The bytes whose hash is that of a block. FormatError where a field is missing or of another form, or too long."""
    return _bounded(_header_2(fields) if version == 2 else _header_3(fields), "the header", FISCO_HEADER_BYTES)


def read_header(version: int, data: bytes) -> Header:
    """The header in those bytes; not for block 0. FormatError."""
    header = _read_2(data) if version == 2 else _read_3(data)
    if not 0 < header.number <= NUMBER_MAX or header.time_ms > NUMBER_MAX:
        raise FormatError("a header's number or time is none")
    return header


def seals(fields: Fields) -> tuple[Seal, ...]:
    """The seals under a header, each with the key that it claims to be of."""
    keys = [_octets(key, "a sealer", KEY_BYTES) for key in _list(fields, "sealerList", FISCO_SEALERS)]
    found = []
    for one in _list(fields, "signatureList", FISCO_SEALERS):
        if not isinstance(one, dict):
            raise FormatError("a signature of a header is no object")
        index = number(one.get("index", one.get("sealerIndex")), "a sealer's index")
        if index >= len(keys):
            raise FormatError(f"there is no sealer {index}")
        found.append((keys[index], _octets(one.get("signature"), "a signature")))
    return tuple(found)


def is_seal(cryptography: str, seal: Seal, digest: bytes) -> bool:
    """Whether it is a seal over a header's hash of the key that it claims to be of."""
    key, signature = seal
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    try:
        if cryptography == "sm":
            return len(signature) in (64, 128) and curves.is_sm2(curves.SM2.point(key), digest, r, s)
        point = curves.SECP256K1.point(key)
        return len(signature) == 65 and curves.recover(curves.SECP256K1, digest, r, s, signature[64]) == point
    except FormatError:
        return False


def quorum(sealers: int) -> int:
    """How many of so many sealers have to sign a block: more than two thirds (PBFT)."""
    return sealers - (sealers - 1) // 3


def sealed_by(cryptography: str, found: Sequence[Seal], digest: bytes, sealers: Sequence[bytes]) -> int:
    """How many of the sealers, bare keys of 64 bytes, signed a header's hash."""
    wanted, good = set(sealers), set[bytes]()
    for seal in found:
        if seal[0] in wanted - good and is_seal(cryptography, seal, digest):
            good.add(seal[0])
    return len(good)


def _header_2(fields: Fields) -> bytes:
    names = ("parentHash", "stateRoot", "transactionsRoot", "receiptsRoot", "dbHash")
    return rlp.encode(
        [
            *[_octets(fields.get(name), name, _HASH_BYTES) for name in names],
            _octets(fields.get("logsBloom"), "logsBloom", 256),
            *[_scalar(fields, name) for name in ("number", "gasLimit", "gasUsed", "timestamp")],
            [_octets(part, "extraData") for part in _list(fields, "extraData", FISCO_SEALERS)],
            _scalar(fields, "sealer"),
            [_octets(key, "a sealer", KEY_BYTES) for key in _list(fields, "sealerList", FISCO_SEALERS)],
        ]
    )


def _read_2(data: bytes) -> Header:
    match rlp.decode(data):
        case [bytes(parent), _, bytes(root), _, _, _, bytes(number), _, _, bytes(time), _, _, _] if (
            len(parent) == len(root) == _HASH_BYTES
        ):
            return Header(rlp.read_uint(number), parent, root, rlp.read_uint(time))
    raise FormatError("a header of version 2 has 13 fields, and hashes of 32 bytes")


def _header_3(fields: Fields) -> bytes:
    """Block 0 was hashed with empty roots and gasUsed, whatever is told of it."""
    here = number(fields.get("number"), "number")
    parts = [_be(fields.get("version"), "version", 4)]
    for parent in _list(fields, "parentInfo", FISCO_SEALERS):
        if not isinstance(parent, dict):
            raise FormatError("a parent of a header is no object")
        parts += [
            _be(parent.get("blockNumber"), "blockNumber"),
            _octets(parent.get("blockHash"), "blockHash", _HASH_BYTES),
        ]
    roots = [_octets(fields.get(name), name, _HASH_BYTES) for name in ("txsRoot", "receiptsRoot", "stateRoot")]
    gas = str(fields.get("gasUsed"))
    if not (gas.isascii() and gas.isdecimal()):
        raise FormatError("gasUsed is no decimal number")
    parts += roots if here else []
    parts += [_be(here, "number"), gas.encode() if here else b""]
    parts += [_be(fields.get(name), name) for name in ("timestamp", "sealer")]
    parts += [_octets(key, "a sealer") for key in _list(fields, "sealerList", FISCO_SEALERS)]
    parts.append(_octets(fields.get("extraData"), "extraData"))
    parts += [_be(weight, "a weight") for weight in _list(fields, "consensusWeights", FISCO_SEALERS)]
    return b"".join(parts)


def _read_3(data: bytes) -> Header:
    if len(data) < _V3_HEAD + 16:
        raise FormatError("a header of version 3 is cut")
    here = int.from_bytes(data[_V3_HEAD - 8 : _V3_HEAD], "big")
    if int.from_bytes(data[4:12], "big") + 1 != here:
        raise FormatError("a header of version 3 has another number of parents than one")
    at = _V3_HEAD
    while data[at : at + 1].isdigit():
        at += 1
    if at == _V3_HEAD or data[at : at + 1] != b"\0":
        raise FormatError("a header of version 3 has no gasUsed, or no time")
    return Header(here, data[12:44], data[44:76], int.from_bytes(data[at : at + 8], "big"))


# Transactions


def transaction_bytes(version: int, fields: Fields, cryptography: str) -> bytes:
    """The bytes whose hash is that of a transaction, which the fields tell. FormatError where none are."""
    digest = _octets(fields.get("hash"), "hash", _HASH_BYTES)
    for data in (_transactions_2 if version == 2 else _transactions_3)(fields):
        if HASHES[cryptography](_bounded(data, "the transaction", FISCO_TRANSACTION_BYTES)) == digest:
            return data
    raise FormatError("the transaction's fields are not those that its hash is of")


def read_transaction(version: int, data: bytes, chain: str, group: str) -> Transaction:
    """A transaction of a chain and group. FormatError where it names others."""
    if version == 2:
        match rlp.decode(data):
            case [_, _, _, _, _, _, bytes(data), bytes(chain_id), bytes(group_id), _, _, _, _] if (
                str(rlp.read_uint(chain_id)),
                str(rlp.read_uint(group_id)),
            ) == (chain, group):
                return Transaction(chain, group, data)
    elif data[4:].startswith((chain + group).encode()):
        return Transaction(chain, group, data[4 + len((chain + group).encode()) :])
    raise FormatError(f"the transaction is none of group {group} of chain {chain}")


def _transactions_2(fields: Fields) -> list[bytes]:
    """With v as it is of secp256k1, counted from 27, and as it is of SM2, a key."""
    signature = fields.get("signature")
    if not isinstance(signature, dict):
        raise FormatError("the node tells no signature of a transaction", cure="Its version is to be 2.7 or later")
    to = _octets(fields.get("to"), "to", 20)
    most = [
        *[_scalar(fields, name) for name in ("nonce", "gasPrice", "gas", "blockLimit")],
        to if any(to) else b"",
        _scalar(fields, "value"),
        _octets(fields.get("input"), "input"),
        *[_scalar(fields, name) for name in ("chainId", "groupId")],
        _octets(fields.get("extraData"), "extraData"),
    ]
    v = _octets_of_any(signature.get("v"), "v", KEY_BYTES)
    counted = rlp.uint(27 + v[-1]) if len(v) == 1 else v
    return [rlp.encode([*most, counted, _scalar(signature, "r"), _scalar(signature, "s")])]


def _transactions_3(fields: Fields) -> list[bytes]:
    """With the nonce as it stands, and as the bytes that it tells in hexadecimal: versions differ."""
    version = number(fields.get("version"), "version")
    if version > 1:
        raise FormatError(f"transactions of version {version} are not known here")
    texts = {name: _text(fields, name) for name in ("chainID", "groupID", "nonce", "to", "abi")}
    head = _be(version, "version", 4) + (texts["chainID"] + texts["groupID"]).encode()
    head += _be(fields.get("blockLimit"), "blockLimit")
    tail = texts["to"].encode() + _octets(fields.get("input"), "input") + texts["abi"].encode()
    if version == 1:
        tail += (_text(fields, "value") + _text(fields, "gasPrice")).encode() + _be(fields.get("gasLimit"), "gasLimit")
        tail += (_text(fields, "maxFeePerGas") + _text(fields, "maxPriorityFeePerGas")).encode()
    nonces = [texts["nonce"].encode()]
    with suppress(ValueError):
        nonces.append(bytes.fromhex(texts["nonce"].removeprefix("0x")))
    return [head + nonce + tail for nonce in nonces]


# Merkle proofs


def leaf(version: int, digest: bytes, index: int) -> bytes:
    """What a transaction's place in a tree begins with: version 2 has its index before its hash."""
    return rlp.encode(rlp.uint(index)) + digest if version == 2 else digest


def root(cryptography: str, begin: bytes, levels: Sequence[Level]) -> bytes:
    """What the tree's root is if a leaf stands in it so."""
    if len(levels) > FISCO_LEVELS or any(
        len(side) > FISCO_WIDTH * FISCO_HASH_BYTES for level in levels for side in level
    ):
        raise FormatError("a Merkle proof is too long")
    for left, right in levels:
        begin = HASHES[cryptography](left + begin + right)
    return begin


def levels_2(proof: object) -> list[Level]:
    """Of a list of objects with left and right."""
    if not isinstance(proof, list) or len(proof) > FISCO_LEVELS:
        raise FormatError("a Merkle proof is no list, or too long")
    found = []
    for one in proof:
        if not isinstance(one, dict):
            raise FormatError("a level of a Merkle proof is no object")
        left, right = (
            b"".join([_octets_of_any(part, name, FISCO_HASH_BYTES) for part in _list(one, name, FISCO_WIDTH)])
            for name in ("left", "right")
        )
        found.append((left, right))
    return found


def levels_3(proof: object, digest: bytes, cryptography: str) -> list[Level]:
    """Of one list: for each level how many hashes it has, and these; one alone where the tree is that."""
    if not isinstance(proof, list) or len(proof) > FISCO_LEVELS * (FISCO_WIDTH + 1):
        raise FormatError("a Merkle proof is no list, or too long")
    parts = [_octets_of_any(part, "a hash of a Merkle proof", FISCO_HASH_BYTES) for part in proof]
    found: list[Level] = []
    at = 0
    while len(parts) > 1 and at < len(parts):
        count = int.from_bytes(parts[at][:4], "big")
        hashes = parts[at + 1 : at + 1 + count]
        if digest not in hashes or len(hashes) != count:
            raise FormatError("a level of the Merkle proof does not hold the hash below it")
        place = hashes.index(digest)
        found.append((b"".join(hashes[:place]), b"".join(hashes[place + 1 :])))
        digest = HASHES[cryptography](b"".join(hashes))
        at += 1 + count
    return found


# Values


def number(value: object, what: str) -> int:
    """A number that is told as one, in hexadecimal with 0x, or in decimal."""
    if isinstance(value, str):
        try:
            value = int(value, 16 if value.startswith("0x") else 10) if value[:1].isalnum() else None
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 256:
        raise FormatError(f"{what} is no number")
    return value


def _scalar(fields: Fields, name: str) -> bytes:
    return rlp.uint(number(fields.get(name), name))


def _be(value: object, what: str, width: int = 8) -> bytes:
    found = number(value, what)
    if found >= 1 << 8 * width:
        raise FormatError(f"{what} is more than {width} bytes hold")
    return found.to_bytes(width, "big")


def _octets(value: object, what: str, length: int | None = None) -> bytes:
    """Hexadecimal of whole bytes, with or without 0x."""
    if isinstance(value, str):
        try:
            data = bytes.fromhex(value.removeprefix("0x")) if value.isalnum() or not value else None
        except ValueError:
            data = None
        if data is not None and length in (None, len(data)):
            return data
    raise FormatError(f"{what} is no hexadecimal" + (f" of {length} bytes" if length else ""))


def _octets_of_any(value: object, what: str, most: int) -> bytes:
    """The same of a length up to one, where a half byte may be missing at its beginning."""
    text = value.removeprefix("0x") if isinstance(value, str) else None
    if text is None or len(text) > 2 * most:
        raise FormatError(f"{what} is no hexadecimal of at most {most} bytes")
    return _octets("0" * (len(text) % 2) + text, what)


def _bounded(data: bytes, what: str, most: int) -> bytes:
    """What may be hashed, which takes its time."""
    if len(data) > most:
        raise FormatError(f"{what} has {len(data)} bytes, more than {most}")
    return data


def _list(fields: Fields, name: str, most: int) -> list[Any]:
    found = fields.get(name)
    if not isinstance(found, list) or len(found) > most:
        raise FormatError(f"{name} is no list, or has more than {most} items")
    return found


def _text(fields: Fields, name: str) -> str:
    found = fields.get(name, "")
    if not isinstance(found, str):
        raise FormatError(f"{name} is no text")
    return found
