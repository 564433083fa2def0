"""The frozen vectors: what was written once comes out byte for byte, and is read as it was."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from fakes import proofs

from gateway import keys, verify
from gateway.core import block, merkle, note, tiles
from gateway.core.policy import parse_policy
from gateway.core.receipt import parse_receipt

FOLDER = Path(__file__).parent / "vectors"
TEXT = (FOLDER / "proofs.json").read_text()
FROZEN = json.loads(TEXT)


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_proofs", FOLDER / "make_proofs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_vectors_come_out_byte_for_byte() -> None:
    assert json.dumps(maker().make(), indent=1, ensure_ascii=False) + "\n" == TEXT


@pytest.mark.parametrize("frozen", FROZEN["keys"], ids=lambda frozen: frozen["name"])
def test_the_keys(frozen: dict[str, str]) -> None:
    signer = keys.parse_key(frozen["file"], where="a vector")
    assert str(signer.vkey) == frozen["vkey"]
    assert note.VerifierKey.parse(frozen["vkey"]) == signer.vkey
    assert keys.encode_key(frozen["name"], signer.vkey.algorithm, bytes.fromhex(frozen["seed"])) == frozen["file"]


def test_the_notes() -> None:
    vkey = note.VerifierKey.parse(FROZEN["keys"][0]["vkey"])
    for frozen in FROZEN["notes"]:
        parsed = note.parse_note(frozen["note"])
        note.verify_note(parsed, vkey)
        checkpoint = note.parse_checkpoint(parsed.text)
        assert (checkpoint.size, note.b64encode(checkpoint.root)) == (frozen["size"], frozen["root"])
        assert parsed.encode() == frozen["note"]


def test_the_cosignatures() -> None:
    for frozen in FROZEN["cosignatures"]:
        parsed = note.parse_note(frozen["note"])
        assert note.cosign_message(frozen["time"], parsed.text).decode() == frozen["signed"]
        assert note.cosigned_at(parsed, note.VerifierKey.parse(frozen["vkey"])) == frozen["time"]


def test_the_paths() -> None:
    for frozen in FROZEN["paths"]:
        kind = "entries" if frozen["level"] == "entries" else "tile"
        level = 0 if kind == "entries" else frozen["level"]
        assert tiles.parse_path(frozen["path"]) == tiles.TilePath(kind, level, frozen["n"], frozen["width"])


def test_the_policies() -> None:
    asked = {name: parse_policy(text.encode()).asks_for() for name, text in FROZEN["policies"].items()}
    three = "node.coop.example, node.coop.example/stored, vet.example/witness"
    assert asked == {
        "two of three": f"2 of {three}",
        "all": f"3 of {three}",
        "none": "no co-signature",
        "nested": "1 of node, vet",
        "another log": "no co-signature",
    }


@pytest.mark.parametrize("frozen", FROZEN["receipts"], ids=lambda frozen: frozen["name"])
def test_the_receipts(frozen: dict[str, str]) -> None:
    data, policy = frozen["receipt"].encode(), FROZEN["policies"][frozen["policy"]].encode()
    assert parse_receipt(data).encode() == frozen["receipt"]
    assert maker().proved(verify.verify_receipt(data, policy)) == frozen["proves"]


# The examples of docs/format.md are those of the vectors

PAGE = (FOLDER.parent.parent / "docs" / "format.md").read_text()


def hex_block(first: str) -> bytes:
    """The bytes of the code block that begins with `first`: on each line, the hex before its explanation."""
    block_text = PAGE[PAGE.index(f"    {first} ") :].split("\n\n")[0]
    found = [re.match(r"(?:\s*[0-9a-f]{2,}\b(?![:.]))*", line) for line in block_text.split("\n")]
    return bytes.fromhex("".join(match[0] for match in found if match))


def test_the_page_shows_the_leaf() -> None:
    receipt = parse_receipt(FROZEN["receipts"][0]["receipt"].encode())
    assert hex_block("82") == receipt.leaf
    assert proofs.secret(0).hex() in PAGE
    assert f"leaf hash {merkle.leaf_hash(receipt.leaf).hex()}" in PAGE


def test_the_page_shows_the_entry() -> None:
    entry = block.parse_entry(parse_receipt(FROZEN["receipts"][0]["receipt"].encode()).entry)
    assert hex_block("d2") == entry.raw
    assert f"over the block above, {len(entry.raw)} bytes" in PAGE
    assert block.next_prev(entry.raw).hex() in PAGE


def test_the_page_shows_the_checkpoint_and_the_receipt() -> None:
    text = FROZEN["receipts"][0]["receipt"]
    checkpoint = note.parse_note(text.partition("\n\n")[2])
    assert str(proofs.LOG.vkey) in PAGE
    lines = [*checkpoint.text.split("\n"), *map(note.format_line, checkpoint.lines[:2])]
    assert all(f"    {line.strip()}\n" in PAGE for line in lines if line)
    extra = text.split("\n")[1]
    assert f"    {extra[:38]}...{extra[-16:]}\n" in PAGE
