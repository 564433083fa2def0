"""Blocks as servers tell them: transactions of all types are eth-account's to the byte, what is odd is told as that."""

import json
import random
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import evm_blocks
from fakes.odd_json import changed
from hypothesis import given
from hypothesis import strategies as st

from gateway.anchors.api import GoneError, LieError, Place
from gateway.anchors.evm import blocks
from gateway.core import trie
from gateway.core.anchor_evm import Header
from gateway.errors import FormatError

SEED = 9090
KINDS = (0, 1, 2, 3, 4)


def hexed(value: Any) -> Any:
    """As a server's JSON has it: numbers are quantities."""
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, list):
        return [hexed(one) for one in value]
    return {name: hexed(one) for name, one in value.items()} if isinstance(value, dict) else value


def made(rng: random.Random, kind: int) -> dict[str, Any]:
    """A transaction as eth-account takes it; of a type that has lists, with as many as chance has it."""

    def digest() -> str:
        return "0x" + rng.randbytes(32).hex()

    def address() -> str:
        return "0x" + rng.randbytes(20).hex()

    one = {"chainId": 9090, "nonce": rng.choice([0, 127, 128, 2**40]), "gas": rng.randint(21_000, 2**30)}
    one |= {"to": address(), "data": "0x" + rng.randbytes(rng.choice([0, 1, 55, 56, 300])).hex()}
    one |= {"gasPrice": rng.getrandbits(40)} if kind < 2 else {}
    one |= {"maxFeePerGas": 2**41, "maxPriorityFeePerGas": rng.getrandbits(40)} if kind > 1 else {}
    if kind:
        entries = range(rng.randint(0, 3))
        keys = [[digest() for _ in range(rng.randint(0, 3))] for _ in entries]
        one |= {"type": kind, "accessList": [{"address": address(), "storageKeys": of} for of in keys]}
    if kind == 3:
        hashes = ["0x01" + digest()[4:] for _ in range(rng.randint(1, 3))]
        one |= {"maxFeePerBlobGas": rng.getrandbits(30), "blobVersionedHashes": hashes}
    if kind == 4:
        given = [{"chainId": rng.choice([0, 9090]), "address": address(), "nonce": rng.getrandbits(20)} for _ in "ab"]
        one |= {"authorizationList": given[: rng.randint(1, 2)]}
    return one


def told(one: dict[str, Any], signature: list[int], grants: list[list[int]]) -> dict[str, Any]:
    """The same as a server tells it."""
    names = ("v", "r", "s") if "type" not in one else ("yParity", "r", "s")
    found = {**one, "input": one["data"], "value": 0, **dict(zip(names, signature, strict=True))}
    del found["data"]
    if grants:
        parts = [dict(zip(("yParity", "r", "s"), grant, strict=True)) for grant in grants]
        found["authorizationList"] = [{**a, **b} for a, b in zip(one["authorizationList"], parts, strict=True)]
    whole: dict[str, Any] = hexed(found)
    return whole


def oracle(asked: list[dict[str, Any]]) -> dict[str, Any]:
    script = Path(__file__).with_name("eth_oracle.py")
    given = json.dumps({"key": secrets.token_hex(32), "transactions": asked})
    ran = subprocess.run(
        [sys.executable, str(script)], input=given, capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def of(root: bytes, receipts: bytes = trie.EMPTY_ROOT) -> Header:
    """A block's header with these roots."""
    made = evm_blocks.header(1_000, bytes(32), root)
    return Header(made.number, made.parent, root, receipts, made.time_s, made.hash, made.raw)


def test_transactions_of_every_type_are_eth_accounts_to_the_byte() -> None:
    rng = random.Random(SEED)
    asked = [made(rng, kind) for kind in KINDS for _ in range(12)]
    found = oracle(asked)
    raws = [bytes.fromhex(raw.removeprefix("0x")) for raw, _, _ in found["signed"]]
    assert [raw[0] for raw in raws if raw[0] < 5] == [one["type"] for one in asked if "type" in one]
    block = {"transactions": list(map(told, asked, found["signatures"], found["authorizations"]))}
    assert blocks.transactions(block, of(trie.root(raws))) == raws
    with pytest.raises(LieError, match="are not those of its header"):
        blocks.transactions(block, of(trie.root(raws[::-1])))


def test_a_block_with_a_type_that_is_to_come_cannot_be_proved_and_was_paid_for() -> None:
    one = {"type": "0x5", **hexed({"gas": 1, "value": 0, "input": "0x", "v": 0, "r": 1, "s": 1}), "accessList": []}
    block = of(trie.EMPTY_ROOT)
    with pytest.raises(GoneError, match="it has a transaction of type 5, which is not known here") as caught:
        blocks.transactions({"transactions": [one]}, block)
    assert caught.value.place == Place(block.number, block.hash, block.time_s)


PLAIN = hexed({"nonce": 1, "gasPrice": 1, "gas": 1, "to": "0x" + "11" * 20, "value": 0, "v": 27, "r": 1, "s": 1})
RECEIPT = hexed({"status": 1, "cumulativeGasUsed": 1, "logsBloom": "0x" + "00" * 256})


def test_a_block_that_takes_too_long_to_hash_is_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's time is over while a thread goes on, so it is bounded by what there is to hash."""

    def hashes(_: object) -> bytes:
        raise AssertionError("it is hashed")

    monkeypatch.setattr(trie, "root", hashes)
    long = {**PLAIN, "input": "0x" + "00" * (blocks.EVM_BLOCK_BYTES // 8)}
    block = of(bytes(32))
    for told in ([long] * 9, [{**PLAIN, "input": "0x"}] * (blocks.EVM_BLOCK_ITEMS + 1)):
        with pytest.raises(GoneError, match="has more than 8192 transactions, or 1048576 bytes") as caught:
            blocks.transactions({"transactions": told}, block)
        assert caught.value.place is not None and caught.value.place.hash == block.hash
        assert "smaller blocks" in caught.value.cure
    log = {"address": "0x" + "11" * 20, "topics": [], "data": long["input"]}
    with pytest.raises(GoneError, match="more than 8192 receipts"):
        blocks.receipts([{**RECEIPT, "logs": [log]}] * 9, block)


# -- odd answers ------------------------------------------------------------------------------------------------------

EXPECTED = (FormatError, LieError, GoneError)  # chain._checked makes a LieError of the first
LISTS = {
    "accessList": [{"address": "0x" + "11" * 20, "storageKeys": ["0x" + "22" * 32]}],
    "blobVersionedHashes": ["0x01" + "33" * 31],
    "authorizationList": [hexed({"chainId": 1, "address": "0x" + "11" * 20, "nonce": 0, "yParity": 0, "r": 1, "s": 1})],
}
PRICES = hexed({"maxPriorityFeePerGas": 1, "maxFeePerGas": 1, "maxFeePerBlobGas": 1, "chainId": 1, "yParity": 0})
LOG = {"address": "0x" + "11" * 20, "topics": ["0x" + "22" * 32], "data": "0x"}


def sound(kind: int) -> dict[str, Any]:
    return {**PLAIN, "input": "0x", **PRICES, **LISTS, "type": hex(kind)}


@st.composite
def odd_transactions(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = changed(draw, {"transactions": [sound(draw(st.sampled_from(KINDS)))]})
    return found if isinstance(found, dict) else {"transactions": found}


@st.composite
def odd_receipts(draw: st.DrawFn) -> list[Any]:
    found = changed(draw, [{**RECEIPT, "type": "0x2", "logs": [LOG]}])
    return found if isinstance(found, list) else [found]


@st.composite
def odd_headers(draw: st.DrawFn) -> dict[str, Any]:
    names = [*blocks._HEADER, *blocks._LATER]
    whole = {name: "0x0" if length is None else "0x" + "00" * max(length, 0) for name, length in names}
    found: dict[str, Any] = changed(draw, {**whole, "hash": "0x" + "00" * 32})
    return found if isinstance(found, dict) else {"hash": found}


def test_what_is_changed_below_is_sound() -> None:
    for kind in KINDS:
        with pytest.raises(LieError, match="are not those of its header"):
            blocks.transactions({"transactions": [sound(kind)]}, of(bytes(32)))
    with pytest.raises(LieError, match="are not those of its header"):
        blocks.receipts([{**RECEIPT, "type": "0x2", "logs": [LOG]}], of(bytes(32), bytes(32)))


@given(odd_transactions())
def test_odd_transactions(odd: dict[str, Any]) -> None:
    with pytest.raises(EXPECTED):
        blocks.transactions(odd, of(bytes(32)))


@given(odd_receipts())
def test_odd_receipts(odd: list[Any]) -> None:
    with pytest.raises(EXPECTED):
        blocks.receipts(odd, of(bytes(32), bytes(32)))


@given(odd_headers())
def test_odd_headers(odd: dict[str, Any]) -> None:
    with pytest.raises(EXPECTED):
        blocks.header(odd)


@pytest.mark.parametrize("kind", ["0x80", "0x100", "0x" + "ff" * 32])
def test_a_receipts_type_beyond_all(kind: str) -> None:
    with pytest.raises(LieError, match="a receipt has type"):
        blocks.receipts([{**RECEIPT, "type": kind, "logs": []}], of(bytes(32)))


@pytest.mark.parametrize("listed", [7, None, {}, "x", True])
def test_authorizations_that_are_no_list(listed: Any) -> None:
    with pytest.raises(LieError, match="its authorizations is no list"):
        blocks.transactions({"transactions": [{**sound(4), "authorizationList": listed}]}, of(bytes(32)))
