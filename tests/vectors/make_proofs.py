"""Writes proofs.json: notes, co-signatures, paths, policies and receipts from fixed keys. `tests/test_proofs.py` checks
that it still comes out byte for byte; run `PYTHONPATH=tests python tests/vectors/make_proofs.py` only for a new format.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fakes import proofs
from fakes.flips import flips

from gateway import keys, verify
from gateway.core import tiles
from gateway.core.note import COSIGNATURE, ED25519, SignatureLine, cosign_message, format_line
from gateway.core.policy import make_policy
from gateway.core.receipt import Receipt

HERE = Path(__file__).parent
Json = dict[str, object]
LOGS = {"one reading": proofs.Log([1]), "five blocks": proofs.Log([5, 0, 9, 1, 3]), "closed": proofs.Log([2, 1], True)}


def make() -> Json:
    """Everything in proofs.json."""
    return {
        "keys": list(make_keys()),
        "notes": list(make_notes()),
        "cosignatures": list(make_cosignatures()),
        "paths": list(make_paths()),
        "policies": make_policies(),
        "receipts": list(make_receipts()),
        "refused": list(make_refused()),
    }


def make_keys() -> Iterator[Json]:
    named = {proofs.ORIGIN: ED25519, "node.coop.example/read": ED25519}
    named |= {signer.vkey.name: COSIGNATURE for signer in (proofs.COOP, proofs.STORED, proofs.VET)}
    for name, algorithm in named.items():
        text = keys.encode_key(name, algorithm, proofs.seed(name))
        vkey = keys.parse_key(text, where=name).vkey
        yield {"name": name, "seed": proofs.seed(name).hex(), "file": text, "vkey": str(vkey)}


def make_notes() -> Iterator[Json]:
    for name, log in LOGS.items():
        for size in range(1, len(log.entries) + 1):
            note = log.note(size, ())
            yield {"log": name, "size": size, "note": note.encode(), "root": note.text.split("\n")[2]}


def make_cosignatures() -> Iterator[Json]:
    note = LOGS["five blocks"].note(3, ())
    for time in (0, proofs.COSIGNED_S, 2**63 - 1):
        line = keys.cosign(proofs.COOP, note.text, time)
        signed = cosign_message(time, note.text).decode()
        yield {"time": time, "signed": signed, "note": note.with_lines([line]).encode(), "vkey": str(proofs.COOP.vkey)}


def make_paths() -> Iterator[Json]:
    places = [(0, 0, 256), (0, 0, 1), (0, 999, 255), (1, 1000, 256), (2, 1_234_067, 7), (63, 999_999_999, 256)]
    for level, n, width in places:
        yield {"level": level, "n": n, "width": width, "path": tiles.tile_path(level, n, width)}
        yield {"level": "entries", "n": n, "width": width, "path": tiles.entries_path(n, width)}


def make_policies() -> Json:
    vkeys = [proofs.COOP.vkey, proofs.STORED.vkey, proofs.VET.vkey]
    nested = "\n".join(
        [
            "# both keys of the node, or the vet",
            f"log {proofs.LOG.vkey} https://henhouse-3.example.farm/",
            f"\twitness seen\t{vkeys[0]} https://node.coop.example:8441  ",
            f"witness stored {vkeys[1]}",
            f"witness vet {vkeys[2]}",
            "",
            "group node all seen stored",
            "group either any node vet",
            "quorum either",
            "",
        ]
    )
    return {
        "two of three": proofs.POLICY.decode(),
        "all": proofs.POLICY_ALL.decode(),
        "none": proofs.POLICY_NONE.decode(),
        "nested": nested,
        "another log": make_policy([proofs.OTHER.vkey]).decode(),
    }


def make_receipts() -> Iterator[Json]:
    """Receipts that verify, each with its policy and what it proves."""
    policies = make_policies()
    for name, (receipt, policy) in good_receipts().items():
        text = receipt.encode()
        verified = verify.verify_receipt(text.encode(), str(policies[policy]).encode())
        yield {"name": name, "policy": policy, "receipt": text, "proves": proved(verified)}


def proved(verified: verify.Verified) -> Json:
    """What a verifier learns, as JSON."""
    reading = verified.reading
    return {
        "origin": verified.header.origin,
        "height": verified.header.height,
        "index": verified.index,
        "count": verified.header.count,
        "source": reading.source,
        "time_ms": reading.time_ms,
        "received_ms": reading.received_ms,
        "quality": reading.quality,
        "records": [[record.name, record.unit, record.value] for record in reading.records],
        "payload": None if verified.payload is None else verified.payload.hex(),
        "witnesses": [[witness.name, witness.time] for witness in verified.witnesses],
        "earliest": verified.earliest,
    }


def good_receipts() -> dict[str, tuple[Receipt, str]]:
    log = LOGS["five blocks"]
    unknown = SignatureLine("sm2.example/log", b"\x01\x02\x03\x04", b"a signature of another algorithm")
    return {
        "a log of one reading": (LOGS["one reading"].receipt(0, 0), "all"),
        "payload in the pack": (log.receipt(2, 0), "two of three"),
        "payload apart, with an anchor": (log.anchored(log.receipt(2, 5)), "all"),
        "no payload": (log.receipt(2, 4), "two of three"),
        "last reading, smallest size": (log.receipt(2, 8, size=3), "all"),
        "nobody co-signed": (log.receipt(4, 1, note=log.note(5, ())), "none"),
        "a group of groups": (log.receipt(0, 4, note=log.note(5, (proofs.VET,))), "nested"),
        "a line of an unknown key": (log.receipt(3, 0, note=log.note().with_lines([unknown])), "two of three"),
        "the last block of a closed log": (LOGS["closed"].receipt(1, 0), "all"),
        "algorithm -19": (proofs.Log([2], algorithm=-19).receipt(0, 1), "all"),
    }


def make_refused() -> Iterator[Json]:
    """Receipts that fail, each with its policy and the step that refuses it."""
    policies = make_policies()
    base = LOGS["five blocks"].anchored(LOGS["five blocks"].receipt(2, 5)).encode().encode()
    for flip in flips(base, str(policies["all"]).encode()):
        yield {"name": flip.section, "policy": "all", "receipt": flip.receipt.decode(), "step": flip.step}
    for name, (receipt, policy, step) in bad_receipts().items():
        yield {"name": name, "policy": policy, "receipt": receipt, "step": step}


def bad_receipts() -> dict[str, tuple[str, str, int]]:
    log = LOGS["five blocks"]
    good = log.receipt(2, 4)
    text = good.encode()
    crowd = [SignatureLine(f"crowd.example/{i}", bytes(4), b"x") for i in range(13)]
    return {
        "no line `extra`": (text.replace("extra ", "other ", 1), "all", 1),
        "a leading zero": (text.replace("index 2", "index 02", 1), "all", 1),
        "an empty line too much": (text.replace("\n\n", "\n\n\n", 1), "all", 2),
        "seventeen lines": (crowded(text, crowd), "all", 1),
        "another log's policy": (text, "another log", 2),
        "another key under the log's name": (proofs.Log([9], signer=proofs.OTHER).receipt(0, 4).encode(), "none", 2),
        "too few co-signed": (log.receipt(2, 4, note=log.note(5, (proofs.COOP,))).encode(), "two of three", 3),
        "a path too short": (replace(good, log_path=good.log_path[:-1]).encode(), "all", 4),
        "a path too long": (replace(good, log_path=(*good.log_path, bytes(32))).encode(), "all", 4),
        "an entry by another key": (proofs.Log([9], entry_signer=proofs.OTHER).receipt(0, 4).encode(), "all", 5),
        "an entry with a false signature": (proofs.Log([9], spoilt=True).receipt(0, 4).encode(), "all", 5),
        "an entry of another height": (proofs.Log([9, 9], skip=True).receipt(1, 4).encode(), "all", 5),
        "a reading past the count": (replace(good, index=9).encode(), "all", 6),
        "a block path too long": (replace(good, path=(*good.path, bytes(32))).encode(), "all", 6),
        "a pack that is no SenML": (proofs.Log([9], bad_pack=True).receipt(0, 4).encode(), "all", 7),
        "a payload that no digest names": (replace(good, payload=b"x", raw_salt=bytes(16)).encode(), "all", 7),
    }


def crowded(text: str, lines: list[SignatureLine]) -> str:
    return text + "".join(format_line(line) for line in lines)


if __name__ == "__main__":
    path = HERE / "proofs.json"
    path.write_text(json.dumps(make(), indent=1, ensure_ascii=False) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")
