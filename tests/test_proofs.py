"""The frozen vectors: what was written once comes out byte for byte, and is read as it was."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from gateway import keys, verify
from gateway.core import note, tiles
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
