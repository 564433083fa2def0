"""A channel of Hyperledger Fabric in this process: transactions are ordered into signed blocks and found valid or not.

Its messages are written by Google's protobuf from descriptions of our own (fabric-protos' field numbers), its DER
by a few lines here, so that nothing of the code under test is in them. It is no Fabric: nobody endorses, chaincode
keeps a dictionary, and certificates are texts.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPES = {"bytes": 12, "string": 9, "uint64": 4, "int64": 3, "int32": 5}
_MESSAGES = {
    "Block": "BlockHeader header 1, BlockData data 2, BlockMetadata metadata 3",
    "BlockHeader": "uint64 number 1, bytes previous_hash 2, bytes data_hash 3",
    "BlockData": "*bytes data 1",
    "BlockMetadata": "*bytes metadata 1",
    "Metadata": "bytes value 1, *MetadataSignature signatures 2",
    "MetadataSignature": "bytes signature_header 1, bytes signature 2",
    "SignatureHeader": "bytes creator 1, bytes nonce 2",
    "SerializedIdentity": "string mspid 1, bytes id_bytes 2",
    "Envelope": "bytes payload 1, bytes signature 2",
    "Payload": "Header header 1, bytes data 2",
    "Header": "bytes channel_header 1, bytes signature_header 2",
    "Timestamp": "int64 seconds 1, int32 nanos 2",
    "ChannelHeader": "int32 type 1, Timestamp timestamp 3, string channel_id 4, string tx_id 5, bytes extension 7",
    "Transaction": "*TransactionAction actions 1",
    "TransactionAction": "bytes header 1, bytes payload 2",
    "ChaincodeActionPayload": "bytes chaincode_proposal_payload 1, bytes action 2",
    "ChaincodeProposalPayload": "bytes input 1",
    "ChaincodeInvocationSpec": "ChaincodeSpec chaincode_spec 1",
    "ChaincodeSpec": "int32 type 1, ChaincodeID chaincode_id 2, ChaincodeInput input 3",
    "ChaincodeID": "string name 2",
    "ChaincodeInput": "*bytes args 1",
    "Proposal": "bytes header 1, bytes payload 2",
    "SignedProposal": "bytes proposal_bytes 1, bytes signature 2",
    "ChaincodeHeaderExtension": "ChaincodeID chaincode_id 2",
}


def _factory() -> dict[str, Any]:
    described = descriptor_pb2.FileDescriptorProto(name="fakes/fabric.proto", package="fakes.fabric", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = described.message_type.add(name=name)
        for text in fields.split(", "):
            kind, named, number = text.split()
            repeated, kind = kind.startswith("*"), kind.removeprefix("*")
            one = message.field.add(name=named, number=int(number), label=3 if repeated else 1)
            if kind in _TYPES:
                one.type = _TYPES[kind]
            else:
                one.type, one.type_name = 11, f".fakes.fabric.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"fakes.fabric.{name}")) for name in _MESSAGES
    }


PB = _factory()


def header_der(number: int, previous: bytes, data: bytes) -> bytes:
    """SEQUENCE { INTEGER, OCTET STRING, OCTET STRING }, all of them short."""
    value = number.to_bytes(9, "big", signed=True).lstrip(b"\0") or b"\0"
    value = b"\0" + value if value[0] & 0x80 else value
    items = [(2, value), (4, previous), (4, data)]
    content = b"".join(bytes([tag, len(item)]) + item for tag, item in items)
    return bytes([0x30, len(content)]) + content


@dataclass
class Cut:
    """A block that was cut: its bytes, hash, and each transaction's id, flag and time."""

    data: bytes
    hash: bytes
    transactions: list[tuple[str, int, int]]
    envelopes: list[bytes]


@dataclass
class FabricLedger:
    channel: str
    orderer: ec.EllipticCurvePrivateKey = field(default_factory=lambda: keypairs.derive(ec.SECP256R1(), "orderer"))
    blocks: list[Cut] = field(default_factory=list)
    pool: list[tuple[str, bytes, int]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    now: int = 1_795_000_000
    branch: bytes = b"genesis"

    def __post_init__(self) -> None:
        if not self.blocks:
            self._cut([("", self.other(), 0)])

    # What others do

    def other(self) -> bytes:
        """A transaction of somebody else's: one of the configuration, which no chaincode's reader takes."""
        header = PB["ChannelHeader"](type=1, channel_id=self.channel)
        payload = PB["Payload"](header=PB["Header"](channel_header=header.SerializeToString()), data=self.branch)
        return PB["Envelope"](payload=payload.SerializeToString(), signature=b"other").SerializeToString()

    # What a peer does

    def known(self, identity: str) -> bool:
        return any(identity == one for block in self.blocks for one, _, _ in block.transactions)

    def order(self, creator: bytes, nonce: bytes, chaincode: str, arguments: list[bytes]) -> str:
        """The transaction's id. It waits to be cut into a block."""
        identity = sha256(nonce + creator).hexdigest()
        name = PB["ChaincodeID"](name=chaincode)
        spec = PB["ChaincodeSpec"](type=1, chaincode_id=name, input=PB["ChaincodeInput"](args=arguments))
        invocation = PB["ChaincodeInvocationSpec"](chaincode_spec=spec).SerializeToString()
        proposal = PB["ChaincodeProposalPayload"](input=invocation).SerializeToString()
        action = PB["ChaincodeActionPayload"](chaincode_proposal_payload=proposal, action=b"endorsed")
        transaction = PB["Transaction"](actions=[PB["TransactionAction"](payload=action.SerializeToString())])
        channel = PB["ChannelHeader"](
            type=3,
            timestamp=PB["Timestamp"](seconds=self.now, nanos=7),
            channel_id=self.channel,
            tx_id=identity,
            extension=PB["ChaincodeHeaderExtension"](chaincode_id=name).SerializeToString(),
        )
        signed = PB["SignatureHeader"](creator=creator, nonce=nonce).SerializeToString()
        payload = PB["Payload"](
            header=PB["Header"](channel_header=channel.SerializeToString(), signature_header=signed),
            data=transaction.SerializeToString(),
        )
        envelope = PB["Envelope"](payload=payload.SerializeToString(), signature=b"client")
        self.pool.append((identity, envelope.SerializeToString(), self.now))
        return identity

    # What orderers do

    def cut(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            waiting, self.pool = self.pool, []
            self._cut(waiting or [("", self.other(), 0)])

    def fork(self, depth: int) -> None:
        """What Fabric never does: its newest blocks give way to others in which nothing of ours stands."""
        del self.blocks[-depth:]
        self.pool.clear()
        self.branch += b"'"
        self.cut(depth)

    def _cut(self, waiting: list[tuple[str, bytes, int]]) -> None:
        self.now += 2
        number = len(self.blocks)
        envelopes = [envelope for _, envelope, _ in waiting]
        digest = sha256(b"".join(envelopes)).digest()
        previous = self.blocks[-1].hash if self.blocks else b""
        encoded = header_der(number, previous, digest)
        transactions: list[tuple[str, int, int]] = []
        for identity, _, time_s in waiting:
            again = identity and (self.known(identity) or any(identity == one for one, _, _ in transactions))
            transactions.append((identity, 9 if again else 0, time_s))
        block = PB["Block"](
            header=PB["BlockHeader"](number=number, previous_hash=previous, data_hash=digest),
            data=PB["BlockData"](data=envelopes),
            metadata=PB["BlockMetadata"](
                metadata=[self.sealed(encoded), b"", bytes(flag for _, flag, _ in transactions), b""]
            ),
        )
        self.blocks.append(Cut(block.SerializeToString(), sha256(encoded).digest(), transactions, envelopes))

    def sealed(self, encoded: bytes) -> bytes:
        """The metadata of signatures over a header, by the orderer."""
        creator = PB["SerializedIdentity"](mspid="OrdererMSP", id_bytes=b"-----BEGIN CERTIFICATE-----\n")
        header = PB["SignatureHeader"](creator=creator.SerializeToString(), nonce=b"n" * 24).SerializeToString()
        value = b"\x0a\x03\x01\x02\x03"
        signature = keypairs.sign(self.orderer, value + header + encoded)
        signatures = [PB["MetadataSignature"](signature_header=header, signature=signature)]
        return PB["Metadata"](value=value, signatures=signatures).SerializeToString()


def verifies(public: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    try:
        public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except Exception:
        return False
    return True
