"""Seals of a chain of proof of authority, by npm's @ethereumjs/block: who sealed, and what pinned signers prove."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.anvil import installed

from gateway.anchors.evm.transactions import Account, Price, Transaction
from gateway.core import anchor_evm, trie
from gateway.core.anchor import Anchored, Statement, parse_pins
from gateway.core.anchor_evm import Evidence, Header
from gateway.errors import FormatError

CHAIN = 9090
KEYS = [f"{number:02x}" * 32 for number in range(1, 6)]
SIGNERS = ["0x" + Account(key).address.hex() for key in KEYS]
STATEMENT = Statement.of("quay.example/1", 7, bytes(range(32)))
OTHERS = [b"\xc1\x80", b"\xc2\x80\x80"]
RAW = Account(KEYS[0]).sign(Transaction(CHAIN, 3, Price(10**9, None), 30_000, bytes(20), STATEMENT.encode()))
SCRIPT = Path(__file__).with_name("clique.mjs")


@pytest.fixture(scope="module")
def blocks() -> list[dict[str, Any]]:
    """Six blocks in a row, sealed in turn by five keys; the first holds the statement."""
    if shutil.which("node") is None:
        pytest.skip("npm is not installed")
    modules = installed("@ethereumjs/block", "10.1.3")
    roots = [trie.root([*OTHERS, RAW]), *[trie.EMPTY_ROOT] * 5]
    asked = [{"key": KEYS[at % 5], "root": "0x" + root.hex()} for at, root in enumerate(roots)]
    ran = subprocess.run(
        ["node", str(SCRIPT), str(modules)],
        input=json.dumps({"chain": CHAIN, "blocks": asked}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    made: list[dict[str, Any]] = json.loads(ran.stdout)
    return made


def headers(blocks: list[dict[str, Any]]) -> tuple[Header, ...]:
    return tuple(Header.parse(bytes.fromhex(block["raw"][2:])) for block in blocks)


def checked(found: tuple[Header, ...], *lines: str) -> Anchored:
    evidence = Evidence(CHAIN, found, 2, tuple(trie.prove([*OTHERS, RAW], 2)), None)
    pins = "".join(f"evm {CHAIN} {line}\n" for line in lines)
    return anchor_evm.check(STATEMENT, evidence.encode(), parse_pins(pins.encode()))


def test_hashes_and_sealers_are_those_of_another_implementation(blocks: list[dict[str, Any]]) -> None:
    found = headers(blocks)
    anchor_evm.linked(found)
    assert ["0x" + header.hash.hex() for header in found] == [block["hash"] for block in blocks]
    assert ["0x" + header.sealer().hex() for header in found] == [block["signer"] for block in blocks]
    assert [block["signer"] for block in blocks] == [*SIGNERS, SIGNERS[0]]
    assert [header.number for header in found] == list(range(1000, 1006))


def test_more_than_half_of_the_pinned_signers_prove_a_block(blocks: list[dict[str, Any]]) -> None:
    found, all_of_them = headers(blocks), "signers " + " ".join(SIGNERS)
    assert checked(found).by == ""
    assert checked(found[:2], all_of_them).by == "", "two of five could have made a branch of their own"
    assert checked(found[:3], all_of_them).by == "3 of 5 pinned signers, who sealed the blocks up to 1002"
    assert checked(found, all_of_them).by == "5 of 5 pinned signers, who sealed the blocks up to 1005"


def test_a_signer_who_is_not_pinned_refuses_it(blocks: list[dict[str, Any]]) -> None:
    found = headers(blocks)
    with pytest.raises(FormatError, match=f"{SIGNERS[4]} sealed a block"):
        checked(found, "signers " + " ".join(SIGNERS[:4]))
    before = "signers " + " ".join(SIGNERS[:4])
    assert checked(found, before, "signers " + " ".join(SIGNERS)).by.startswith("5 of 5"), "one set after another"


def test_a_pinned_block_behind_it_is_as_good(blocks: list[dict[str, Any]]) -> None:
    found = headers(blocks)
    for header in found:
        pin = f"block {header.number} 0x{header.hash.hex().upper()}"
        assert checked(found, pin).by == f"the pinned block {header.number}"
    with pytest.raises(FormatError, match="another hash than the pin of line 1"):
        checked(found, f"block 1004 0x{'00' * 32}")


def test_a_header_without_a_seal_and_headers_that_do_not_follow(blocks: list[dict[str, Any]]) -> None:
    found = headers(blocks)
    with pytest.raises(FormatError, match="block 1002 does not follow block 1000"):
        checked((found[0], found[2]))
    with pytest.raises(FormatError, match="1 to 64 are due"):
        checked(())


@pytest.mark.parametrize(
    "line",
    [
        "block 1",
        "block 1 0x00",
        "block -1 0x" + "00" * 32,
        "block 1 0x" + "00" * 32 + " 2",
        "signers 0x00",
        "signers " + SIGNERS[0][2:],
        "blok 1 0x" + "00" * 32,
    ],
)
def test_a_pin_that_is_none_is_refused(blocks: list[dict[str, Any]], line: str) -> None:
    with pytest.raises(FormatError) as caught:
        checked(headers(blocks), line)
    assert caught.value.where == "pins, line 1"


def test_the_transaction_is_of_this_chain_and_holds_the_statement_alone() -> None:
    with pytest.raises(FormatError, match="not for chain 1"):
        anchor_evm.transaction_data(RAW, 1)
    for bad in (b"\x05\xc0", b"\x02\xc0", b"\xc0", b"\x02" + b"\xc9" + b"\x80" * 9):
        with pytest.raises(FormatError):
            anchor_evm.transaction_data(bad, CHAIN)
