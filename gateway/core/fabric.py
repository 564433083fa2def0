"""Blocks of Hyperledger Fabric: what a header's hash is of, what orderers sign, and what a transaction calls.

hyperledger/fabric-protos common/common.proto, peer/*.proto; protoutil/blockutils.go. The hash of a block is the SHA-256
of the DER of its header; the header holds the SHA-256 of all transactions run together, so that one of them is only
shown together with all others of its block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from gateway.core import curves, der
from gateway.core.curves import Point
from gateway.core.limits import FABRIC_SIGNATURES, NUMBER_MAX, PROTOBUF_FIELDS
from gateway.core.protobuf import Message, repeated, write
from gateway.errors import FormatError

_VALID = 0  # peer/transaction.proto, TxValidationCode
_SIGNATURES, _FLAGS = 0, 2
_ENDORSER_TRANSACTION = 3
_GOLANG = 1


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header. Hashes have 32 bytes; `previous` is empty in block 0."""

    number: int
    previous: bytes
    data_hash: bytes

    @property
    def encoded(self) -> bytes:
        """What is hashed, and signed at the end."""
        return der.sequence(der.integer(self.number), der.octets(self.previous), der.octets(self.data_hash))

    @property
    def hash(self) -> bytes:
        """The block's hash."""
        return sha256(self.encoded).digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """An orderer's signature, and what it stands on before the header."""

    before: bytes
    signature: bytes

    def is_by(self, key: Point, header: Header) -> bool:
        """Whether it is this P-256 key's over that header. One with a high s is nobody's."""
        try:
            r, s = der.read_signature(self.signature)
        except FormatError:
            return False
        digest = sha256(self.before + header.encoded).digest()
        return 2 * s <= curves.P256.n and curves.is_ecdsa(curves.P256, key, digest, r, s)


@dataclass(frozen=True, slots=True)
class Block:
    """A block: its header, its transactions' envelopes and the orderers' seals. The flags are the peer's word alone."""

    header: Header
    envelopes: tuple[bytes, ...]
    seals: tuple[Seal, ...]
    flags: bytes

    def is_valid(self, place: int) -> bool:
        """Whether the peer says that the transaction at a place was committed."""
        return place < len(self.flags) and self.flags[place] == _VALID


@dataclass(frozen=True, slots=True)
class Transaction:
    """What an envelope holds: its channel, id and time (Unix seconds, as who made it says), and the call it makes."""

    channel: str
    id: str
    time_s: int
    chaincode: str
    arguments: tuple[bytes, ...]


def read_block(data: bytes) -> Block:
    """A common.Block whose transactions are those that its header is of. FormatError for everything else."""
    block = Message(data, "the block")
    fields = Message(block.octets(1), "the block's header")
    header = Header(fields.uint(1), fields.octets(2), fields.octets(3))
    if header.number > NUMBER_MAX:
        raise FormatError("the block's number is none")
    envelopes = tuple(Message(block.octets(2), "the block's data", PROTOBUF_FIELDS).each(1))
    if data_hash(envelopes) != header.data_hash:
        raise FormatError("the block's transactions are not those that its header is of")
    if len(header.previous) != (32 if header.number else 0):
        raise FormatError("the header's link to the block before it has not 32 bytes")
    metadata = [*Message(block.octets(3), "the block's metadata").each(1), b"", b"", b""]
    return Block(header, envelopes, read_seals(metadata[_SIGNATURES]), metadata[_FLAGS])


def data_hash(envelopes: Sequence[bytes]) -> bytes:
    """What a header holds of its transactions."""
    return sha256(b"".join(envelopes)).digest()


def read_seals(metadata: bytes) -> tuple[Seal, ...]:
    """The seals in a block's metadata of signatures. FormatError for more than FABRIC_SIGNATURES."""
    parts = Message(metadata, "the metadata of signatures")
    listed = parts.each(2)
    if len(listed) > FABRIC_SIGNATURES:
        raise FormatError(f"{len(listed)} signatures of a block are more than {FABRIC_SIGNATURES}")
    seals = []
    for one in listed:
        fields = Message(one, "an orderer's signature")
        seals.append(Seal(parts.octets(1) + fields.octets(1), fields.octets(2)))
    return tuple(seals)


def read_transaction(envelope: bytes) -> Transaction:
    """What a chaincode's transaction does. FormatError for an envelope of another kind."""
    payload = Message(Message(envelope, "the envelope").octets(1), "the payload")
    headers = Message(payload.octets(1), "the payload's header")
    channel = Message(headers.octets(1), "the channel header")
    signed = Message(headers.octets(2), "the signature header")
    if channel.uint(1) != _ENDORSER_TRANSACTION:
        raise FormatError("the envelope is of no chaincode's transaction")
    identity = transaction_id(signed.octets(2), signed.octets(1))
    if _text(channel.octets(5)) != identity:
        raise FormatError("the transaction's id is not that of its nonce and creator")
    actions = Message(payload.octets(2), "the transaction").each(1)
    if len(actions) != 1:
        raise FormatError(f"a transaction of {len(actions)} actions is none that anybody makes")
    action = Message(Message(actions[0], "the action").octets(2), "the action's payload")
    proposal = Message(action.octets(1), "the proposal's payload")
    spec = Message(Message(proposal.octets(1), "the invocation").octets(1), "the chaincode's call")
    time_s = Message(channel.octets(3), "the time").uint(1)
    if time_s > NUMBER_MAX:
        raise FormatError("the transaction's time is none")
    return Transaction(
        channel=_text(channel.octets(4)),
        id=identity,
        time_s=time_s,
        chaincode=_text(Message(spec.octets(2), "the chaincode's id").octets(2)),
        arguments=tuple(Message(spec.octets(3), "the chaincode's input").each(1)),
    )


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """The id of what a creator proposes with a nonce: the same bytes again have the same id, and are committed once."""
    return sha256(nonce + creator).hexdigest()


def proposal(
    channel: str, chaincode: str, arguments: Sequence[bytes], *, creator: bytes, nonce: bytes, time_s: int
) -> bytes:
    """A peer.Proposal to call a chaincode. creator: an msp.SerializedIdentity; time_s: Unix seconds."""
    name = write((2, chaincode.encode()))
    channel_header = write(
        (1, _ENDORSER_TRANSACTION),
        (3, write((1, time_s))),
        (4, channel.encode()),
        (5, transaction_id(nonce, creator).encode()),
        (7, write((2, name))),
    )
    header = write((1, channel_header), (2, write((1, creator), (2, nonce))))
    spec = write((1, _GOLANG), (2, name), (3, repeated(1, arguments)))
    return write((1, header), (2, write((1, write((1, spec))))))


def identity(msp: str, certificate: bytes) -> bytes:
    """An msp.SerializedIdentity: whose certificate (PEM) of which organisation."""
    return write((1, msp.encode()), (2, certificate))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError("a name in the transaction is not UTF-8") from None
