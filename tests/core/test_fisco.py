"""FISCO BCOS: hashes, seals and proofs of published samples and of chains made here, with anything changed."""

import json
from copy import deepcopy

import pytest
from fakes.fisco_chain import FiscoChain

from gateway.core import anchor_fisco, cbor, fisco
from gateway.core.anchor import Anchored, Statement, parse_pins
from gateway.core.anchor_fisco import Evidence
from gateway.core.keccak import keccak256
from gateway.core.limits import FISCO_LEVELS, FISCO_WIDTH
from gateway.core.sm3 import sm3
from gateway.errors import FormatError

STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
DATA = b"abi" + STATEMENT.encode().hex().encode() + bytes(13)
CASES = [(2, False), (2, True), (3, False), (3, True)]
EMPTY = "0x" + "00" * 32
SAMPLE = {
    "dbHash": EMPTY,
    "extraData": [],
    "gasLimit": "0x0",
    "gasUsed": "0x0",
    "hash": "0xfa639d1454362a8cdfcab1ca1948a5defaf7048b28f67e80780ab1e24e8f8c59",
    "logsBloom": "0x" + "00" * 256,
    "number": "0x1",
    "parentHash": "0x249f59e00beac8424a7821c4750fdd70c128f4ce795afbab53f345e9fce95d1a",
    "receiptsRoot": "0x69a04fa6073e4fc0947bac7ee6990e788d1e2c5ec0fe6c2436d0892e7f3c09d2",
    "sealer": "0x0",
    "sealerList": [
        "4ca3a91a4937355dba6a2e5fe76141479a1fc44e9caa86750092dab64e0b8382"
        "f6b8476749c2d2de414350a54491620d38813d2a1442f524e36e3d9946109c4d"
    ],
    "signatureList": [
        {
            "index": "0x0",
            "signature": "0x4602135870d9a4846e2536d4a48e831825a5d95768dd0d4f08544a0bd4c2af41"
            "242dec1751a05c07d7572027f8d6ac1625c48145beb004e2dce8b7ce9e2bb73d00",
        }
    ],
    "stateRoot": EMPTY,
    "timestamp": "0x175ac38cf10",
    "transactionsRoot": "0xb880b08df3b43a9ffc334d7a526522b33e004ef95403d61d76454b6085b9b2f1",
}
"""The block of FISCO BCOS 2's documentation of getBlockByHash, and its one transaction."""
SAMPLE_TRANSACTION = {
    "blockLimit": "0x100",
    "chainId": "0x1",
    "extraData": "0x",
    "gas": "0x2faf080",
    "gasPrice": "0xa",
    "groupId": "0x1",
    "hash": "0x3961fac263d8e640b148ddcfafd71d2069e93a006abc937c32fb16cfa96e661d",
    "input": "0x4ed3885e" + f"{32:064x}" + f"{10:064x}" + b"FISCO BCOS".hex() + "00" * 22,
    "nonce": "0x3eb675ec791c2d19858c91d0046821c27d815e2e9c151604912205000002968",
    "signature": {
        "r": "0x9edf7c0cb63645442aff11323916d51ec5440de979950747c0189f338afdcefd",
        "s": "0x2f3473184513c6a3516e066ea98b7cfb55a79481c9db98e658dd016c37f03dcf",
        "v": "0x0",
    },
    "to": "0x8c17cf316c1063ab6c89df875e96c9f0f5b2f744",
    "value": "0x0",
}


def test_the_documentations_block_of_version_2():
    data = fisco.header_bytes(2, SAMPLE)
    digest = bytes.fromhex(SAMPLE["hash"][2:])
    assert keccak256(data) == digest
    header = fisco.read_header(2, data)
    assert (header.number, header.time_ms) == (1, 0x175AC38CF10)
    (seal,) = fisco.seals(SAMPLE)
    assert fisco.is_seal("ecdsa", seal, digest)
    transaction = fisco.transaction_bytes(2, SAMPLE_TRANSACTION, "ecdsa")
    assert b"FISCO BCOS" in fisco.read_transaction(2, transaction, "1", "1").data
    path = fisco.levels_2([{"left": [], "right": []}])
    assert fisco.root("ecdsa", fisco.leaf(2, keccak256(transaction), 0), path) == header.transactions


def test_published_headers(vectors):
    known = json.loads((vectors / "bsn_kats.json").read_text("utf-8"))
    fields = known["fisco2_ecdsa_header"]
    digest = keccak256(fisco.header_bytes(2, fields))
    assert "0x" + digest.hex() == fields["hash"]
    keys = [bytes.fromhex(key) for key in fields["sealerList"]]
    assert fisco.sealed_by("ecdsa", fisco.seals(fields), digest, keys) == 3
    for fields in known["fisco3_guomi_headers"]:
        data = fisco.header_bytes(3, fields)
        digest = sm3(data)
        assert "0x" + digest.hex() == fields["hash"]
        keys = [bytes.fromhex(key[2:]) for key in fields["sealerList"]]
        assert fisco.sealed_by("sm", fisco.seals(fields), digest, keys) == len(fields["signatureList"])
    header = fisco.read_header(3, data)
    assert (header.number, header.time_ms) == (fields["number"], fields["timestamp"])
    assert "0x" + header.transactions.hex() == fields["txsRoot"]
    assert "0x" + header.parent.hex() == fields["parentInfo"][0]["blockHash"]


def chain_of(version, sm, *, before=0, after=0):
    chain = FiscoChain(version, sm)
    for number in range(before):
        chain.send(b"before %d" % number)
    digest = chain.send(DATA)
    for number in range(after):
        chain.send(b"after %d" % number)
    chain.seal()
    return chain, digest


def evidence_of(chain, digest):
    version, cryptography = chain.version, "sm" if chain.sm else "ecdsa"
    number, place = chain.place("0x" + digest.hex())
    block = chain.blocks[number]
    proof = chain._proof(block.transactions, place)
    levels = fisco.levels_2(proof) if version == 2 else fisco.levels_3(proof, digest, cryptography)
    return Evidence(
        version,
        cryptography,
        *chain.chain,
        fisco.header_bytes(version, block.header),
        fisco.seals(block.header),
        fisco.transaction_bytes(version, block.transactions[place].told, cryptography),
        place,
        tuple(levels),
    )


def pins(text):
    return parse_pins(text.encode())


@pytest.mark.parametrize(("version", "sm"), CASES)
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 1), (3, 2), (20, 30)])
def test_evidence_from_any_place_in_a_block(version, sm, before, after):
    chain, digest = chain_of(version, sm, before=before, after=after)
    found = evidence_of(chain, digest).encode()
    name, block = "/".join(chain.chain), chain.blocks[1]
    keys = " ".join(chain.keys)
    for text, by in (
        ("", ""),
        (f"fisco {name} block 1 {block.hash.hex()}", "the pinned block 1"),
        (f"fisco {name} block 1 0x{block.hash.hex()}", "the pinned block 1"),
        (f"fisco {name} sealers {keys}", "3 of the 4 sealers of line 1"),
    ):
        anchored = anchor_fisco.check(STATEMENT, found, pins(text))
        assert anchored == Anchored("fisco", name, 1, block.hash, -(-chain.now_ms // 1000), by)
    with pytest.raises(FormatError, match="another hash"):
        anchor_fisco.check(STATEMENT, found, pins(f"fisco {name} block 1 {'00' * 32}"))
    with pytest.raises(FormatError, match="does not stand in the transaction"):
        anchor_fisco.check(STATEMENT._replace(size=8), found, ())


@pytest.mark.parametrize(("version", "sm"), CASES)
def test_a_quorum_of_the_pinned_sealers_is_wanted(version, sm):
    chain, digest = chain_of(version, sm)
    evidence, name = evidence_of(chain, digest), "/".join(chain.chain)
    trusted = pins(f"fisco {name} sealers {' '.join(chain.keys)}")
    others = pins(f"fisco {name} sealers {' '.join(FiscoChain(version, sm, sealers=9).keys)}")
    twice = evidence._replace(seals=(evidence.seals[0],) * 3)
    swapped = evidence._replace(
        seals=tuple((key, other[1]) for (key, _), other in zip(evidence.seals, reversed(evidence.seals), strict=True))
    )
    for one, believed, why in (
        (evidence._replace(seals=evidence.seals[:2]), trusted, "2 of the 4 sealers of line 1 signed block 1, not 3"),
        (twice, trusted, "1 of the 4"),
        (swapped, trusted, "1 of the 4"),
        (evidence._replace(seals=()), trusted, "0 of the 4"),
        (evidence, others, "of the 9 sealers of line 1 signed block 1, not 7"),
    ):
        with pytest.raises(FormatError, match=why):
            anchor_fisco.check(STATEMENT, one.encode(), believed)


@pytest.mark.parametrize(("version", "sm"), CASES)
def test_lines_of_sealers_are_alternatives_where_the_set_changed(version, sm):
    chain, digest = chain_of(version, sm)
    found, name = evidence_of(chain, digest).encode(), "/".join(chain.chain)
    later = f"fisco {name} sealers {' '.join(FiscoChain(version, sm, sealers=9).keys)}\n"
    now = f"fisco {name} sealers {' '.join(chain.keys)}\n"
    assert anchor_fisco.check(STATEMENT, found, pins(later + now)).by == "3 of the 4 sealers of line 2"
    block = f"fisco {name} block 1 {chain.blocks[1].hash.hex().upper()}\n"
    assert anchor_fisco.check(STATEMENT, found, pins(block + now)).by == "the pinned block 1"
    with pytest.raises(FormatError, match="of the 9 sealers of line 2"):
        anchor_fisco.check(STATEMENT, found, pins(block + later))
    for bad in ("block 1x", "block 1 00", f"block one {'00' * 32}"):
        with pytest.raises(FormatError, match="a pinned block is its number and its hash"):
            anchor_fisco.check(STATEMENT, found, pins(f"fisco {name} {bad} 00"))


def test_quorums():
    assert [fisco.quorum(sealers) for sealers in range(1, 11)] == [1, 2, 3, 3, 4, 5, 5, 6, 7, 7]


@pytest.mark.parametrize("step", [101, pytest.param(7, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("version", "sm"), CASES)
def test_no_byte_of_the_evidence_can_be_changed_under_a_pin_of_sealers(version, sm, step):
    chain, digest = chain_of(version, sm, before=2)
    data = cbor.encode(evidence_of(chain, digest).encode())
    trusted = pins(f"fisco {'/'.join(chain.chain)} sealers {' '.join(chain.keys)}")
    proved = anchor_fisco.check(STATEMENT, cbor.decode(data), trusted)
    for at in range(0, len(data), step):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            found = anchor_fisco.check(STATEMENT, cbor.decode(bytes(changed)), trusted)
        except FormatError:
            continue
        assert found in (proved, proved._replace(by="")), at  # with another chain's name no pin speaks of it


@pytest.mark.parametrize(("version", "sm"), CASES)
def test_evidence_of_another_place_or_block(version, sm):
    chain, digest = chain_of(version, sm, before=2, after=2)
    good = evidence_of(chain, digest)
    chain.seal()
    other = chain.blocks[2].header
    for bad, why in (
        (good._replace(header=fisco.header_bytes(version, other)), "does not stand in the block"),
        (good._replace(levels=good.levels[:-1]), "does not stand in the block"),
        (good._replace(levels=good.levels * (FISCO_LEVELS + 1)), "too long"),
        (good._replace(levels=((bytes(FISCO_WIDTH * 40 + 1), b""),)), "too long"),
        (good._replace(chain="other"), "none of group"),
        (good._replace(group="other"), "none of group"),
        (good._replace(version=4), "evidence of FISCO"),
        (good._replace(cryptography="rsa"), "evidence of FISCO"),
        (good._replace(header=b""), "."),
        (good._replace(transaction=b""), "."),
    ):
        with pytest.raises(FormatError, match=why):
            anchor_fisco.check(STATEMENT, bad.encode(), ())
    if version == 2:
        with pytest.raises(FormatError, match="does not stand in the block"):
            anchor_fisco.check(STATEMENT, good._replace(place=3).encode(), ())


@pytest.mark.parametrize("text", ["sealers", "sealers 00", "sealers zz", "block 1", "peers 00"])
def test_pins_that_are_none(text):
    chain, digest = chain_of(2, False)
    with pytest.raises(FormatError, match=r"pin|sealers are"):
        anchor_fisco.check(STATEMENT, evidence_of(chain, digest).encode(), pins(f"fisco 1/1 {text}"))
    key = chain.keys[0]
    with pytest.raises(FormatError, match="different keys"):
        anchor_fisco.sealers([key, key])


@pytest.mark.parametrize(("version", "sm"), CASES)
def test_fields_that_are_missing_or_odd(version, sm):
    chain, _ = chain_of(version, sm)
    header = chain.blocks[1].header
    hashed = set(header) - {"hash", "signatureList"}
    for name in hashed:
        for odd in (None, [], {}, "zz", "0x-1", "-1", True, [None], "0x" + "ff" * 300):
            changed = deepcopy(header) | {name: odd}
            try:
                data = fisco.header_bytes(version, changed)
            except FormatError:
                continue
            assert chain.hash(data) != chain.blocks[1].hash, (name, odd)
    for odd in ([{}], [7], [{"index": "0x9", "sealerIndex": 9, "signature": "0x"}], "x", [{"index": "0x0"}]):
        with pytest.raises(FormatError):
            fisco.seals(header | {"signatureList": odd})
    told = chain.blocks[1].transactions[0].told
    for name in set(told) - {"hash"}:
        with pytest.raises(FormatError):
            fisco.transaction_bytes(version, told | {name: "0x77"}, "sm" if sm else "ecdsa")
    with pytest.raises(FormatError, match="hash"):
        fisco.transaction_bytes(version, {}, "ecdsa")


def test_nonces_of_version_3_are_text_or_its_bytes():
    told = FiscoChain(3).blocks and chain_of(3, False)[0].blocks[1].transactions[0].told
    data = fisco.transaction_bytes(3, told, "ecdsa")
    nonce = told["nonce"].encode()
    assert nonce == b"1"
    assert fisco.transaction_bytes(3, told | {"nonce": nonce.hex()}, "ecdsa") == data


def test_a_later_version_of_transactions_is_told():
    told = chain_of(3, False)[0].blocks[1].transactions[0].told
    with pytest.raises(FormatError, match="version 2"):
        fisco.transaction_bytes(3, told | {"version": 2}, "ecdsa")
    first = {"value": "0x0", "gasPrice": "", "gasLimit": 9, "maxFeePerGas": "", "maxPriorityFeePerGas": ""}
    data = fisco.transaction_bytes(3, told, "ecdsa")
    more = b"\0\0\0\1" + data[4:] + b"0x0" + (9).to_bytes(8)
    told = told | first | {"version": 1, "hash": "0x" + keccak256(more).hex()}
    assert fisco.transaction_bytes(3, told, "ecdsa") == more


@pytest.mark.parametrize(
    ("version", "proof"),
    [(2, {}), (2, [7]), (2, [{"left": 7, "right": []}]), (2, [{}] * 99), (3, {}), (3, ["zz"]), (3, ["00000002", "11"])],
)
def test_proofs_that_are_none(version, proof):
    with pytest.raises(FormatError):
        fisco.levels_2(proof) if version == 2 else fisco.levels_3(proof, bytes(32), "ecdsa")


MUCH = 8 * 1024 * 1024
"""Bytes of an answer. In Python, to hash so many takes half a minute; 16 KiB take 50 ms."""


@pytest.mark.parametrize(("version", "sm"), CASES)
def test_what_is_too_long_is_not_hashed(version, sm, monkeypatch):
    chain, _ = chain_of(version, sm)
    header, transaction = chain.blocks[-1].header, chain.blocks[-1].transactions[0].told
    much, cryptography = "0x" + "77" * (MUCH // 2), "sm" if sm else "ecdsa"

    def never(data):
        assert len(data) <= 16 * 1024, "it is hashed"
        return bytes(32)

    monkeypatch.setattr(fisco, "HASHES", {"ecdsa": never, "sm": never})
    with pytest.raises(FormatError, match=r"the header has .* bytes, more than 16384"):
        fisco.header_bytes(version, header | {"extraData": [much] if version == 2 else much})
    with pytest.raises(FormatError, match=r"the transaction has .* bytes, more than 16384"):
        fisco.transaction_bytes(version, transaction | {"input": much}, cryptography)
    with pytest.raises(FormatError, match="no hexadecimal of at most"):
        fisco.levels_3(["0x00000002", "0x" + "11" * 32, much], b"\x11" * 32, cryptography)
    with pytest.raises(FormatError, match="no hexadecimal of at most"):
        fisco.levels_2([{"left": [much], "right": []}])


@pytest.mark.parametrize("data", [b"", bytes(160), bytes(300), b"\0" * 300 + b"1", b"1" * 400])
def test_headers_of_version_3_that_are_none(data):
    with pytest.raises(FormatError):
        fisco.read_header(3, data)
