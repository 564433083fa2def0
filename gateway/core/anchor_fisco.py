"""Evidence that a statement stands on a chain of FISCO BCOS (docs/format.md, section 12).

::

    [version, cryptography, chain, group, header, [[sealer, signature], ...], transaction, place, [[left, right], ...]]

Header and transaction are the bytes that are hashed (fisco.py), so every field of them is bound. The statement is in
hexadecimal in the transaction's data. Pins of a chain are a block's hash, or its sealers, of whom more than two thirds
signed the block::

    fisco CHAIN/GROUP block NUMBER HASH
    fisco CHAIN/GROUP sealers KEY ...     # bare keys of 64 bytes, in hexadecimal, as getSealerList tells them
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

from gateway.core import cbor, fisco
from gateway.core.anchor import Anchored, Pin, Statement, check_block, of_chain
from gateway.core.anchor_fabric import written
from gateway.core.fisco import HASHES, Header, Level, Seal
from gateway.core.limits import FISCO_SEALERS
from gateway.errors import FormatError

KIND = "fisco"


class Evidence(NamedTuple):
    """The parts in their order."""

    version: int
    cryptography: str
    chain: str
    group: str
    header: bytes
    seals: tuple[Seal, ...]
    transaction: bytes
    place: int
    levels: tuple[Level, ...]

    def encode(self) -> cbor.Value:
        """What stands in a receipt."""
        seals, levels = [list(seal) for seal in self.seals], [list(level) for level in self.levels]
        return cast(cbor.Value, [*self[:5], seals, *self[6:8], levels])


def check(statement: Statement, found: cbor.Value, pins: Sequence[Pin]) -> Anchored:
    """A gateway.core.anchor_kinds.Check."""
    evidence = _read(found)
    digest = HASHES[evidence.cryptography]
    header = fisco.read_header(evidence.version, evidence.header)
    transaction = fisco.read_transaction(evidence.version, evidence.transaction, evidence.chain, evidence.group)
    if written(statement) not in transaction.data:
        raise FormatError("the statement does not stand in the transaction")
    begin = fisco.leaf(evidence.version, digest(evidence.transaction), evidence.place)
    if fisco.root(evidence.cryptography, begin, evidence.levels) != header.transactions:
        raise FormatError("the transaction does not stand in the block")
    block, chain = digest(evidence.header), f"{evidence.chain}/{evidence.group}"
    by = _pinned(header, block, evidence, of_chain(pins, KIND, chain))
    return Anchored(KIND, chain, header.number, block, -(-header.time_ms // 1000), by)


def sealers(keys: Sequence[str]) -> tuple[bytes, ...]:
    """The keys of sealers in hexadecimal. FormatError for none, one that is none, or one that is there twice."""
    try:
        found = tuple(bytes.fromhex(key) for key in keys)
    except ValueError:
        found = ()
    if not found or len(set(found)) != len(found) or any(len(key) != fisco.KEY_BYTES for key in found):
        raise FormatError(
            "sealers are different keys of 64 bytes in hexadecimal", cure="Write them as getSealerList tells them"
        )
    return found


def _read(found: cbor.Value) -> Evidence:
    match found:
        case [
            int(version),
            str(cryptography),
            str(chain),
            str(group),
            bytes(header),
            list(signed),
            bytes(transaction),
            int(index),
            list(path),
        ] if version in (2, 3) and cryptography in HASHES and index >= 0 and len(signed) <= FISCO_SEALERS:
            seals, levels = _pairs(signed), _pairs(path)
            return Evidence(int(version), cryptography, chain, group, header, seals, transaction, int(index), levels)
    raise FormatError("evidence of FISCO BCOS has a version, a header, seals, a transaction and its way to the root")


def _pairs(values: Sequence[cbor.Value]) -> tuple[tuple[bytes, bytes], ...]:
    pairs = []
    for value in values:
        match value:
            case [bytes(one), bytes(two)]:
                pairs.append((one, two))
            case _:
                raise FormatError("a seal or a level of the proof is no pair of byte strings")
    return tuple(pairs)


def _pinned(header: Header, block: bytes, evidence: Evidence, pins: Sequence[Pin]) -> str:
    """By what pin the block is shown; "" by none. Lines of sealers are alternatives: a set changes."""
    by, few, sealed = "", list[str](), ""
    for pin in pins:
        if pin.word == "block":
            by = check_block(pin, header.number, block) or by
        elif pin.word == "sealers":
            try:
                keys = sealers(pin.values)
            except FormatError as exc:
                raise pin.fault(exc.what) from exc
            signed, wanted = (
                fisco.sealed_by(evidence.cryptography, evidence.seals, block, keys),
                fisco.quorum(len(keys)),
            )
            if signed < wanted:
                signers = f"{signed} of the {len(keys)} sealers of line {pin.line}"
                few.append(f"{signers} signed block {header.number}, not {wanted}")
            else:
                sealed = sealed or f"{signed} of the {len(keys)} sealers of line {pin.line}"
        else:
            raise pin.fault("is no pin of a FISCO BCOS chain")
    if few and not sealed:
        raise FormatError("; ".join(few))
    return by or sealed
