"""The frozen bytes in tests/vectors/core.json: what was once written is written the same, and read, for ever."""

import hmac
import json
from hashlib import sha256

import cbor2
import pytest
from nacl.signing import SigningKey
from vectors import make_core

from gateway.core import block, body, cbor, merkle, senml
from gateway.errors import FormatError

FROZEN = json.loads(make_core.FILE.read_text())


def test_todays_code_writes_the_frozen_bytes():
    assert make_core.text() == make_core.FILE.read_text()


def test_cbor():
    for data, value in zip(FROZEN["cbor"], make_core.NUMBERS + make_core.ITEMS, strict=True):
        assert cbor.decode(bytes.fromhex(data)) == value == cbor2.loads(bytes.fromhex(data))
    for data in FROZEN["cbor_refused"]:
        with pytest.raises(FormatError):
            cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize("described", FROZEN["blocks"], ids=lambda described: f"block {described['height']}")
def test_blocks(described):
    height = described["height"]
    entry = block.parse_entry(bytes.fromhex(described["entry"]))
    entry.verify(bytes.fromhex(FROZEN["public"]))
    before = bytes.fromhex(FROZEN["blocks"][height - 1]["entry"]) if height else None
    block.check_successor(entry, block.next_prev(before) if before else block.NO_PREV, FROZEN["origin"], height)
    assert entry.header_bytes.hex() == described["header"]
    assert entry.signed.hex() == described["to_be_signed"]
    assert entry.key_id.hex() == FROZEN["key_id"]
    for form, kind in (("whole", body.WholeBody), ("cut", body.CutBody), ("gone", body.GoneBody)):
        assert isinstance(body.verify_body(entry.header, bytes.fromhex(described["bodies"][form])), kind)
    for leaf in described["leaves"]:
        assert senml.resolve(bytes.fromhex(leaf["pack"])).source == senml.source_of(bytes.fromhex(leaf["pack"]))


@pytest.mark.parametrize("described", FROZEN["blocks"], ids=lambda described: f"block {described['height']}")
def test_blocks_by_other_means(described):
    """The same relations with cbor2, hashlib and libsodium alone."""
    secret = bytes.fromhex(described["secret"])
    header = cbor2.loads(bytes.fromhex(described["header"]))
    level = []
    for index, leaf in enumerate(described["leaves"]):
        salt = hmac.digest(secret, b"leaf" + index.to_bytes(4, "big"), "sha256")[:16]
        assert leaf["leaf"] == "8250" + salt.hex() + leaf["pack"]
        assert leaf["hash"] == sha256(b"\0" + bytes.fromhex(leaf["leaf"])).hexdigest()
        level.append(bytes.fromhex(leaf["hash"]))
    assert header[5] == len(level)
    while len(level) > 1:
        level = [b"".join(level[at : at + 2]) for at in range(0, len(level), 2)]
        level = [sha256(b"\1" + pair).digest() if len(pair) == 64 else pair for pair in level]
    assert header[6] == (level[0] if level else sha256(b"").digest())

    protected, _, payload, signature = cbor2.loads(bytes.fromhex(described["entry"])).value
    assert payload.hex() == described["header"]
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", payload])
    key = SigningKey(bytes.fromhex(FROZEN["seed"]))
    assert bytes(key.verify_key).hex() == FROZEN["public"]
    assert key.sign(to_be_signed).signature == signature
    assert to_be_signed.hex() == described["to_be_signed"]

    items = cbor2.loads(bytes.fromhex(described["bodies"]["whole"]))[3]
    for index, item in enumerate(items):
        if isinstance(item, list):
            salt = hmac.digest(secret, b"raw" + index.to_bytes(4, "big"), "sha256")[:16]
            assert cbor2.loads(item[0])[-1] == {0: "raw.sha256", 8: sha256(salt + item[1]).digest()}


def test_trees():
    tree = FROZEN["tree"]
    hashes, roots = ([bytes.fromhex(item) for item in tree[name]] for name in ("hashes", "roots"))
    for case in tree["inclusion"]:
        path = [bytes.fromhex(item) for item in case["path"]]
        merkle.verify_inclusion(hashes[case["index"]], case["index"], case["size"], path, roots[case["size"]])
    for case in tree["consistency"]:
        path = [bytes.fromhex(item) for item in case["path"]]
        merkle.verify_consistency(case["old"], case["new"], roots[case["old"]], roots[case["new"]], path)
    assert roots == [merkle.Frontier().extend(hashes[:size]).root() for size in range(len(roots))]
