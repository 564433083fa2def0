"""Fabric's blocks: hashes of published headers, blocks written by another library, evidence with anything changed."""

import json
import zlib
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fakes import keypairs
from fakes.fabric_ledger import PB, FabricLedger, header_der
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import anchor_fabric, cbor, curves, fabric
from gateway.core.anchor import Statement, parse_pins
from gateway.core.limits import FABRIC_SIGNATURES, PROTOBUF_FEW, PROTOBUF_FIELDS
from gateway.core.protobuf import Message, repeated, write
from gateway.errors import FormatError

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
WRITTEN = b'{"baseKey":"k","baseValue":"' + STATEMENT.encode().hex().encode() + b'"}'


@pytest.fixture
def ledger():
    made = FabricLedger("channel1")
    made.order(b"other", b"n1", "cc", [b"set", b"something else"])
    made.order(b"creator", b"n2", "cc_app_00", [b"set", WRITTEN])
    made.cut()
    return made


def test_published_headers(vectors):
    for case in json.loads((vectors / "bsn_kats.json").read_text("utf-8"))["fabric_headers"]:
        header = fabric.Header(case["number"], bytes.fromhex(case["previous_hash"]), bytes.fromhex(case["data_hash"]))
        assert header.hash.hex() == case["header_hash"]


@given(st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_headers(number, some):
    assert fabric.Header(number, some, some).encoded == header_der(number, some, some)


def test_a_block(ledger):
    cut = ledger.blocks[1]
    block = fabric.read_block(cut.data)
    assert block.header.number == 1
    assert block.header.hash == cut.hash
    assert block.header.previous == ledger.blocks[0].hash == fabric.read_block(ledger.blocks[0].data).header.hash
    assert list(block.envelopes) == cut.envelopes
    assert block.flags == bytes(2)
    transaction = fabric.read_transaction(block.envelopes[1])
    assert transaction == fabric.Transaction(
        "channel1", sha256(b"n2creator").hexdigest(), cut.transactions[1][2], "cc_app_00", (b"set", WRITTEN)
    )
    with pytest.raises(FormatError, match="no chaincode"):
        fabric.read_transaction(fabric.read_block(ledger.blocks[0].data).envelopes[0])


def test_seals(ledger):
    block = fabric.read_block(ledger.blocks[1].data)
    key = curves.P256.point(bytes.fromhex(keypairs.point(ledger.orderer)))
    (seal,) = block.seals
    assert seal.is_by(key, block.header)
    assert not seal.is_by(curves.P256.base, block.header)
    assert not seal.is_by(key, fabric.Header(2, block.header.previous, block.header.data_hash))
    high = keypairs.sign(ledger.orderer, seal.before + block.header.encoded, high=True)
    assert not fabric.Seal(seal.before, high).is_by(key, block.header)
    assert not fabric.Seal(seal.before, b"").is_by(key, block.header)


def test_a_block_whose_parts_do_not_fit(ledger):
    def read(change):
        block = PB["Block"].FromString(ledger.blocks[1].data)
        change(block)
        return fabric.read_block(block.SerializeToString())

    for change, why in (
        (lambda block: block.data.data.append(b"more"), "not those"),
        (lambda block: block.data.data.reverse(), "not those"),
        (lambda block: block.header.ClearField("data_hash"), "not those"),
        (lambda block: setattr(block.header, "previous_hash", b"short"), "32 bytes"),
        (lambda block: setattr(block.header, "number", 2**63), "number is none"),
        (lambda block: block.metadata.metadata.__setitem__(0, b"\xff"), "at most 64 bits"),
    ):
        with pytest.raises(FormatError, match=why):
            read(change)
    many = PB["Metadata"](signatures=[PB["MetadataSignature"](signature=b"s")] * (FABRIC_SIGNATURES + 1))
    with pytest.raises(FormatError, match="more than"):
        read(lambda block: block.metadata.metadata.__setitem__(0, many.SerializeToString()))
    assert read(lambda block: block.metadata.ClearField("metadata")).seals == ()


def test_a_transaction_whose_id_is_not_its_own(ledger):
    envelope = PB["Envelope"].FromString(ledger.blocks[1].envelopes[1])
    payload = PB["Payload"].FromString(envelope.payload)
    payload.header.signature_header = PB["SignatureHeader"](creator=b"creator", nonce=b"n3").SerializeToString()
    envelope.payload = payload.SerializeToString()
    with pytest.raises(FormatError, match="nonce and creator"):
        fabric.read_transaction(envelope.SerializeToString())


def evidence(ledger):
    block = fabric.read_block(ledger.blocks[1].data)
    ((place, transaction),) = anchor_fabric.find(block, "channel1", STATEMENT)
    assert place == 1
    assert transaction.chaincode == "cc_app_00"
    return anchor_fabric.evidence("channel1", block, place)


def test_an_envelope_that_cannot_be_read_hides_no_other(ledger):
    block = fabric.read_block(ledger.blocks[1].data)
    spoilt = replace(block, envelopes=(anchor_fabric.written(STATEMENT), *block.envelopes))
    assert [place for place, _ in anchor_fabric.find(spoilt, "channel1", STATEMENT)] == [2]


def pins(text):
    return parse_pins(text.encode())


def test_evidence(ledger):
    found, cut = evidence(ledger), ledger.blocks[1]
    key, other = keypairs.point(ledger.orderer), keypairs.point(keypairs.derive(ec.SECP256R1(), "other"))
    block = f"fabric channel1 block 1 {cut.hash.hex()}"
    for text, by in (
        ("", ""),
        (block, "the pinned block 1"),
        (f"fabric channel1 block 1 0x{cut.hash.hex().upper()}", "the pinned block 1"),
        (f"fabric channel1 orderers {other}\nfabric channel1 orderers {key}", "an orderer of the pin of line 2"),
        (f"fabric channel1 orderers {other} {key}", "an orderer of the pin of line 1"),
        (f"{block}\nfabric channel1 orderers {key}", "the pinned block 1"),
        (f"fabric channel2 block 1 {'00' * 32}", ""),
    ):
        anchored = anchor_fabric.check(STATEMENT, found, pins(text))
        assert (anchored.chain, anchored.number, anchored.hash, anchored.by) == ("channel1", 1, cut.hash, by)
        assert not anchored.bound, "who makes a transaction dates it"
    for text, why in (
        (f"fabric channel1 block 1 {'00' * 32}", "another hash"),
        (f"{block}\nfabric channel1 orderers {other}", "no orderer of the pin of line 2"),
        ("fabric channel1 orderers 0400", "65 bytes"),
        ("fabric channel1 orderers zz", "hexadecimal"),
        ("fabric channel1 peers 00", "no pin"),
        ("fabric channel1 block 1", "a pinned block is"),
        (f"{block}\nfabric channel1 block x1 {'00' * 32}", "a pinned block is"),
    ):
        with pytest.raises(FormatError, match=why):
            anchor_fabric.check(STATEMENT, found, pins(text))
    for other_statement in (STATEMENT._replace(size=8), STATEMENT._replace(root=bytes(32))):
        with pytest.raises(FormatError, match="does not stand"):
            anchor_fabric.check(other_statement, found, ())


def test_evidence_of_a_place_that_is_none(ledger):
    channel, number, previous, _, packed, metadata = evidence(ledger)
    for parts, why in (
        ([channel, number, previous, 2, packed, metadata], "no such transaction"),
        ([channel, number, previous, -1, packed, metadata], "no such transaction"),
        ([channel, number, previous, 0, packed, metadata], "does not stand"),
        (["channel2", number, previous, 1, packed, metadata], "another channel"),
        ([channel, number, previous, 1, packed[:-1], metadata], "cut"),
        ([channel, number, previous, 1, packed + b"\0", metadata], "cut"),
        ([channel, number, previous, 1, b"x" + packed, metadata], "zlib"),
        ([channel, number, previous, 1, packed, b"\x12"], "bits"),
        ([channel, number, previous, 1, packed], "evidence"),
    ):
        with pytest.raises(FormatError, match=why):
            anchor_fabric.check(STATEMENT, parts, ())


def test_no_byte_of_the_evidence_can_be_changed_under_an_orderers_pin(ledger):
    """A step through all bytes of it: what is not refused says the same."""
    data = cbor.encode(evidence(ledger))
    trusted = pins(f"fabric channel1 orderers {keypairs.point(ledger.orderer)}")
    proved = anchor_fabric.check(STATEMENT, cbor.decode(data), trusted)
    for at in range(0, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            found = anchor_fabric.check(STATEMENT, cbor.decode(bytes(changed)), trusted)
        except FormatError:
            continue
        assert found == proved, at


def test_a_proposal_is_what_another_library_reads():
    creator = fabric.identity("OrgMSP", b"PEM")
    data = fabric.proposal(
        "channel1", "cc", [b"set", b"", b"value"], creator=creator, nonce=b"n" * 24, time_s=1_795_000_000
    )
    proposal = PB["Proposal"].FromString(data)
    header = PB["Header"].FromString(proposal.header)
    channel = PB["ChannelHeader"].FromString(header.channel_header)
    assert (channel.type, channel.channel_id, channel.timestamp.seconds) == (3, "channel1", 1_795_000_000)
    assert channel.tx_id == sha256(b"n" * 24 + creator).hexdigest()
    extension = PB["ChaincodeHeaderExtension"].FromString(channel.extension)
    assert extension.chaincode_id.name == "cc"
    signed = PB["SignatureHeader"].FromString(header.signature_header)
    assert (signed.creator, signed.nonce) == (creator, b"n" * 24)
    identity = PB["SerializedIdentity"].FromString(creator)
    assert (identity.mspid, identity.id_bytes) == ("OrgMSP", b"PEM")
    payload = PB["ChaincodeProposalPayload"].FromString(proposal.payload)
    spec = PB["ChaincodeInvocationSpec"].FromString(payload.input).chaincode_spec
    assert (spec.type, spec.chaincode_id.name, list(spec.input.args)) == (1, "cc", [b"set", b"", b"value"])


@given(st.integers(0, 2**64 - 1), st.binary(max_size=200), st.lists(st.binary(max_size=5), max_size=4))
def test_protobuf_both_ways(number, octets, listed):
    data = write((1, number), (2, octets)) + repeated(3, listed)
    message = Message(data, "it")
    assert (message.uint(1), message.octets(2), message.each(3)) == (number, octets, listed)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_protobuf_of_anything(data):
    try:
        message = Message(data, "it")
        message.each(1), message.octets(2), message.uint(3)
    except FormatError:
        return


def test_protobuf_refused():
    for data, why in (
        ("0a", "no number"),
        ("0a05", "cut"),
        ("0b", "cut, or has a group"),
        ("0d0000", "cut"),
        ("0000", "without a number"),
        ("08ffffffffffffffffff7f", "64 bits"),
        ("08ffffffffffffffffffff01", "64 bits"),
    ):
        with pytest.raises(FormatError, match=why):
            Message(bytes.fromhex(data), "it")
    with pytest.raises(FormatError, match="twice"):
        Message(b"\x08\1\x08\1", "it").uint(1)
    with pytest.raises(FormatError, match="no number"):
        Message(b"\x0a\0", "it").uint(1)
    for read in (Message.octets, Message.each):
        with pytest.raises(FormatError, match="not made of bytes"):
            read(Message(b"\x08\1", "it"), 1)
    fixed = Message(b"\x09" + bytes(7) + b"\1" + b"\x15" + b"\1\0\0\0", "it")
    assert (fixed.uint(1), fixed.uint(2)) == (1 << 56, 1)
    for most in (PROTOBUF_FEW, PROTOBUF_FIELDS):
        Message(b"\x08\1" * most, "it", most)
        with pytest.raises(FormatError, match=f"more than {most} fields"):
            Message(b"\x08\1" * (most + 1), "it", most)


def test_a_block_that_was_made_to_take_long_is_refused_at_once(ledger):
    """Inflated from some kilobytes: unknown fields in each message on the way to the call."""
    channel, number, previous, place, packed, metadata = evidence(ledger)
    many = b"\xf8\x01\x00" * (PROTOBUF_FEW + 1)  # field 31, an unknown one
    envelopes = Message(zlib.decompress(packed), "it", PROTOBUF_FIELDS).each(1)
    payload = Message(envelopes[place], "it").octets(1)
    for spoilt in (envelopes[place] + many, write((1, payload + many))):
        made = zlib.compress(repeated(1, [spoilt]))
        with pytest.raises(FormatError, match=f"more than {PROTOBUF_FEW} fields"):
            anchor_fabric.check(STATEMENT, [channel, number, previous, 0, made, metadata], ())
