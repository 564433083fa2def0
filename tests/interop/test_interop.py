"""Other people's implementations read what this one writes: Go's notes and logs, COSE from PyPI and from npm."""

import base64
import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import proofs

from gateway import keys
from gateway.core import block, merkle, tiles
from gateway.core.note import ED25519, Note, b64encode

HERE = Path(__file__).parent
GO_MODULES = Path("/usr/share/gocode/src/golang.org/x/mod")  # Debian's golang-golang-x-mod-dev
LOG = proofs.Log([n % 4 for n in range(40)])
FROZEN = json.loads((HERE.parent / "vectors" / "proofs.json").read_text())
Claim = dict[str, object]
Check = Callable[[list[Claim]], list[str]]


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Runs claims through check.go, built once."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    if not GO_MODULES.is_dir():
        pytest.skip("golang-golang-x-mod-dev is not installed")
    folder = tmp_path_factory.mktemp("go")
    program = folder / "check"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GOPATH": "/usr/share/gocode",
        "GO111MODULE": "off",
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    build = ["go", "build", "-o", str(program), str(HERE / "check.go")]
    subprocess.run(build, env=environment, check=True, capture_output=True, text=True, timeout=110)

    def check(claims: list[Claim]) -> list[str]:
        run = subprocess.run([str(program)], input=json.dumps(claims), capture_output=True, text=True, check=True)
        verdicts = run.stdout.splitlines()
        assert len(verdicts) == len(claims)
        return verdicts

    return check


def all_ok(check: Check, claims: list[Claim]) -> bool:
    return [claim for claim, verdict in zip(claims, check(claims), strict=True) if verdict != "ok"] == []


def none_ok(check: Check, claims: list[Claim]) -> bool:
    return claims != [] and "ok" not in check(claims)


def changed(text: str) -> str:
    """The base64 with its first character changed."""
    return ("B" if text[0] == "A" else "A") + text[1:]


def checkpoint(note: Note) -> Claim:
    _, size, root, _ = note.text.split("\n")
    return {"Kind": "checkpoint", "Note": note.encode(), "Vkey": str(proofs.LOG.vkey), "Size": int(size), "Root": root}


def test_go_opens_our_checkpoints_and_keys(go: Check) -> None:
    claims = [checkpoint(LOG.note(size)) for size in range(1, 41)]
    assert all_ok(go, claims)
    assert none_ok(go, [{**claim, "Size": 99} for claim in claims[:3]])
    assert none_ok(go, [{**claim, "Vkey": str(proofs.OTHER.vkey)} for claim in claims[:3]])
    assert none_ok(go, [{**claim, "Note": str(claim["Note"]).replace("\n", "\n\n", 1)} for claim in claims[:3]])


def test_go_signs_as_we_do(go: Check) -> None:
    claims: list[Claim] = [
        {
            "Kind": "sign",
            "Skey": keys.encode_key(proofs.ORIGIN, ED25519, proofs.seed(proofs.ORIGIN)).strip(),
            "Vkey": str(proofs.LOG.vkey),
            "Note": LOG.note(size, ()).encode(),
        }
        for size in (1, 7, 40)
    ]
    assert all_ok(go, claims)


def test_go_opens_our_cosignatures(go: Check) -> None:
    note = LOG.note().encode()
    claims: list[Claim] = [
        {"Kind": "cosignature", "Note": note, "Vkey": str(signer.vkey)}
        for signer in (proofs.COOP, proofs.STORED, proofs.VET)
    ]
    claims += [{"Kind": "cosignature", "Note": one["note"], "Vkey": one["vkey"]} for one in FROZEN["cosignatures"]]
    assert all_ok(go, claims)
    assert none_ok(go, [{**claim, "Note": str(claim["Note"]).replace("\n40\n", "\n41\n")} for claim in claims[:3]])
    assert none_ok(go, [{**claims[0], "Note": LOG.note(cosigners=()).encode()}])


def test_go_reads_the_frozen_notes_and_receipts(go: Check) -> None:
    vkey = FROZEN["keys"][0]["vkey"]
    notes = [one["note"] for one in FROZEN["notes"]]
    notes += [one["receipt"].partition("\n\n")[2] for one in FROZEN["receipts"]]
    assert all_ok(go, [{"Kind": "note", "Note": note, "Vkey": vkey} for note in notes])


def test_go_computes_our_roots(go: Check) -> None:
    claims: list[Claim] = []
    for size in range(1, 41):
        entries = [base64.b64encode(entry).decode() for entry in LOG.entries[:size]]
        claims.append({"Kind": "log", "Entries": entries, "Root": LOG.note(size).text.split("\n")[2]})
    assert all_ok(go, claims)
    assert none_ok(go, [{**claim, "Root": changed(str(claim["Root"]))} for claim in claims[:3]])


def test_go_follows_our_inclusion_proofs(go: Check) -> None:
    claims: list[Claim] = []
    for size in (1, 2, 3, 8, 13, 40):
        hashes = LOG.entry_hashes(size)
        for index in range(size):
            path = merkle.inclusion_path(hashes, index)
            claims.append(
                {
                    "Kind": "record",
                    "Proof": [b64encode(one) for one in path],
                    "Size": size,
                    "Root": b64encode(merkle.root(hashes)),
                    "Index": index,
                    "Hash": b64encode(hashes[index]),
                }
            )
    assert all_ok(go, claims)
    assert none_ok(go, [{**claim, "Hash": changed(str(claim["Hash"]))} for claim in claims])


def test_go_follows_the_paths_of_our_receipts(go: Check) -> None:
    claims: list[Claim] = []
    for height in (1, 7, 30):
        receipt = LOG.receipt(height, 0)
        claims.append(
            {
                "Kind": "record",
                "Proof": [b64encode(one) for one in receipt.path],
                "Size": LOG.headers[height].count,
                "Root": b64encode(LOG.headers[height].root),
                "Index": 0,
                "Hash": b64encode(merkle.leaf_hash(receipt.leaf)),
            }
        )
    assert all_ok(go, claims)


def test_go_follows_our_consistency_proofs(go: Check) -> None:
    claims: list[Claim] = []
    for size in (2, 3, 8, 13, 40):
        hashes = LOG.entry_hashes(size)
        claims += [
            {
                "Kind": "tree",
                "Proof": [b64encode(one) for one in merkle.consistency_path(hashes, old)],
                "Size": size,
                "Root": b64encode(merkle.root(hashes)),
                "Index": old,
                "Hash": b64encode(merkle.root(hashes[:old])),
            }
            for old in range(1, size + 1)
        ]
    assert all_ok(go, claims)
    assert none_ok(go, [{**claim, "Hash": changed(str(claim["Hash"]))} for claim in claims])


def test_go_has_the_same_paths_for_tiles(go: Check) -> None:
    claims: list[Claim] = []
    for level, n, width in [(0, 0, 1), (0, 999, 256), (1, 1000, 255), (5, 1_234_067, 7), (2, 10**12, 256)]:
        path = tiles.tile_path(level, n, width)
        claims.append({"Kind": "tile", "Path": path, "Level": level, "Index": n, "Width": width})
    claims.append({"Kind": "tile", "Path": tiles.entries_path(70_000, 9), "Level": -1, "Index": 70_000, "Width": 9})
    assert all_ok(go, claims)


# Entries as COSE_Sign1


def cose_claims() -> list[Claim]:
    x = base64.urlsafe_b64encode(proofs.LOG.vkey.public).decode().rstrip("=")
    entries = [block.parse_entry(entry) for entry in LOG.entries]
    return [
        {
            "entry": base64.b64encode(entry.raw).decode(),
            "payload": base64.b64encode(entry.header_bytes).decode(),
            "x": x,
        }
        for entry in entries
    ]


def test_cwt_verifies_our_entries() -> None:
    try:
        cwt = importlib.import_module("cwt")
    except ModuleNotFoundError:
        pytest.skip("cwt is not installed")
    for entry in map(block.parse_entry, LOG.entries):
        okp, eddsa, ed25519, verify = 1, -8, 6, 2
        key = cwt.COSEKey.new({1: okp, 2: entry.key_id, 3: eddsa, 4: [verify], -1: ed25519, -2: proofs.LOG.vkey.public})
        assert cwt.COSE.new().decode(entry.raw, keys=[key]) == entry.header_bytes
        spoilt = entry.raw[:-1] + bytes([entry.raw[-1] ^ 1])
        with pytest.raises(cwt.VerifyError):
            cwt.COSE.new().decode(spoilt, keys=[key])


@pytest.fixture(scope="module")
def node_cose(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Runs claims through check_cose.mjs, with @auth0/cose installed outside the project."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "@auth0/cose@1.0.2"]
    try:
        subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=90)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("@auth0/cose does not install with npm here")

    def check(claims: list[Claim]) -> list[str]:
        command = ["node", str(HERE / "check_cose.mjs"), str(folder)]
        run = subprocess.run(command, input=json.dumps(claims), capture_output=True, text=True, check=True)
        return run.stdout.splitlines()

    return check


def test_npms_cose_verifies_our_entries(node_cose: Check) -> None:
    claims = cose_claims()
    assert all_ok(node_cose, claims)
    other = base64.urlsafe_b64encode(proofs.OTHER.vkey.public).decode().rstrip("=")
    assert none_ok(node_cose, [{**claim, "x": other} for claim in claims])
