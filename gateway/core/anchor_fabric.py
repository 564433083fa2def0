"""Evidence that a statement stands on a channel of Hyperledger Fabric (docs/format.md, section 12).

::

    [channel, number, hash of the block before, place in the block, zlib of the block's data, its signatures]

The block's data is all its transactions (common.BlockData), because a header is of all of them run together. The
statement is in hexadecimal in an argument of the transaction's call. Pins of a channel are a block's hash, or the keys
of its orderers, of which one signed the block::

    fabric CHANNEL block NUMBER HASH
    fabric CHANNEL orderers KEY ...       # bare points of P-256, in hexadecimal

That a transaction was found valid is the peers' word, which nobody signs; an anchor needs no more than that it was
ordered. The time is that of whoever made the transaction.
"""

import zlib
from collections.abc import Sequence
from contextlib import suppress

from gateway.core import cbor, curves, fabric
from gateway.core.anchor import Anchored, Pin, Statement, check_block, of_chain
from gateway.core.curves import Point
from gateway.core.fabric import Block, Header, Seal, Transaction
from gateway.core.limits import FABRIC_BLOCK_BYTES, PROTOBUF_FIELDS
from gateway.core.protobuf import Message, repeated, write
from gateway.errors import FormatError

KIND = "fabric"


def evidence(channel: str, block: Block, place: int) -> cbor.Value:
    """The evidence for the transaction at a place in a block."""
    data = zlib.compress(repeated(1, block.envelopes), 9)
    return [channel, block.header.number, block.header.previous, place, data, _metadata(block.seals)]


def find(block: Block, channel: str, statement: Statement) -> list[tuple[int, Transaction]]:
    """A block's transactions in whose call the statement stands, with their places. What cannot be read has none."""
    found = []
    for place, envelope in enumerate(block.envelopes):
        if written(statement) not in envelope:
            continue
        with suppress(FormatError):
            transaction = fabric.read_transaction(envelope)
            if transaction.channel == channel and _stands(transaction, statement):
                found.append((place, transaction))
    return found


def written(statement: Statement) -> bytes:
    """The statement as it stands on the channel."""
    return statement.encode().hex().encode()


def check(statement: Statement, found: cbor.Value, pins: Sequence[Pin]) -> Anchored:
    """A gateway.core.anchor_kinds.Check."""
    match found:
        case [str(channel), int(number), bytes(previous), int(place), bytes(packed), bytes(metadata)]:
            pass
        case _:
            raise FormatError("evidence of a Fabric channel has a channel, a header, a place, transactions, signatures")
    envelopes = Message(_inflate(packed), "the block's data", PROTOBUF_FIELDS).each(1)
    if isinstance(number, bool) or isinstance(place, bool) or not 0 <= place < len(envelopes) or number < 0:
        raise FormatError("there is no such transaction in the block")
    header = Header(number, previous, fabric.data_hash(envelopes))
    transaction = fabric.read_transaction(envelopes[place])
    if transaction.channel != channel:
        raise FormatError("the transaction is of another channel")
    if not _stands(transaction, statement):
        raise FormatError("the statement does not stand in the transaction")
    by = _pinned(header, fabric.read_seals(metadata), of_chain(pins, KIND, channel))
    return Anchored(KIND, channel, number, header.hash, transaction.time_s, by, bound=False)


def orderers(keys: Sequence[str]) -> tuple[Point, ...]:
    """The points of keys in hexadecimal. FormatError for none, or one that is none."""
    if not keys:
        raise FormatError("there is no orderer's key", cure="Write at least one")
    try:
        return tuple(curves.P256.point(bytes.fromhex(key)) for key in keys)
    except ValueError:
        raise FormatError("an orderer's key is not hexadecimal", cure="Write its bare point, 04 first") from None


def _stands(transaction: Transaction, statement: Statement) -> bool:
    return any(written(statement) in argument for argument in transaction.arguments)


def _pinned(header: Header, seals: Sequence[Seal], pins: Sequence[Pin]) -> str:
    """By what pin the block is shown; "" by none. Lines of orderers are alternatives: a set changes."""
    by, lines, signed = "", list[str](), ""
    for pin in pins:
        if pin.word == "block":
            by = check_block(pin, header.number, header.hash) or by
        elif pin.word == "orderers":
            try:
                keys = orderers(pin.values)
            except FormatError as exc:
                raise pin.fault(exc.what) from exc
            lines.append(str(pin.line))
            if not signed and any(seal.is_by(key, header) for seal in seals for key in keys):
                signed = f"an orderer of the pin of line {pin.line}"
        else:
            raise pin.fault("is no pin of a Fabric channel")
    if lines and not signed:
        raise FormatError(f"no orderer of the pin of line {' or '.join(lines)} signed block {header.number}")
    return by or signed


def _metadata(seals: Sequence[Seal]) -> bytes:
    """Seals as `read_seals` reads them: what stands before each header in one piece."""
    return repeated(2, [write((1, seal.before), (2, seal.signature)) for seal in seals])


def _inflate(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, FABRIC_BLOCK_BYTES)
    except zlib.error:
        raise FormatError("the block's data is not compressed with zlib") from None
    if not inflater.eof or inflater.unused_data:
        raise FormatError(f"the block's data is cut, or has more than {FABRIC_BLOCK_BYTES} bytes")
    return data
