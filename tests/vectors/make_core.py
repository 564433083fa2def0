"""Makes core.json: frozen bytes of every form in docs/format.md sections 1 to 4 and 7, for this code and any other.

Run it (`python tests/vectors/make_core.py`) when the format itself changes; a test compares the file with its result.
"""

import json
from hashlib import sha256
from pathlib import Path

from nacl.signing import SigningKey

from gateway.core import block, body, cbor, merkle, senml

FILE = Path(__file__).with_name("core.json")

ORIGIN = "henhouse-3.example.farm/1"
SEED = sha256(b"fieldgate test vectors: log key").digest()
START = 1_700_000_000_000
CUT_TO = "climate"

KEY = SigningKey(SEED)
PUBLIC = bytes(KEY.verify_key)
KEY_ID = sha256(ORIGIN.encode() + b"\n\x01" + PUBLIC).digest()[:4]

NUMBERS: list[cbor.Encodable] = [
    0,
    -0.0,
    15.0,
    -1,
    23,
    24,
    2**53 - 1,
    1 - 2**53,
    2.0**53,
    0.5,
    65503.5,
    21.37,
    1e-7,
    1e300,
]
ITEMS: list[cbor.Encodable] = [
    True,
    "",
    "é",
    b"",
    b"\0",
    [],
    {},
    [1, [2, {"a": b"b"}]],
    {"aa": 1, "b": 2, 100: 3, -1: 4, b"z": 5},
]
REFUSED_CBOR = [
    *("1817", "1b0020000000000000", "3b001fffffffffffff", "5f4161ff", "61ff", "8201", "0000"),  # lengths, sizes, ends
    *("f6", "f7", "f820", "c11a514b67b0", "a201020103", "a202020103", "a2616201616101", "a1f500"),  # kinds, keys
    *("f90000", "f98000", "f97e00", "f97c00", "f93c00", "fa3fc00000", "fb3ff8000000000000", "818181818181818180"),
]


def secret(height: int) -> bytes:
    return sha256(b"fieldgate test vectors: secret %d" % height).digest()


def apart(height: int, index: int, payload: bytes) -> bytes:
    return block.payload_digest(block.raw_salt(secret(height), index), payload)


def blocks() -> list[list[body.Item]]:
    """The readings of blocks 0, 1, 2, each with its payload where that travels apart."""
    raw = b'{"temperature":21.37,"humidity":61.5}'
    climate: list[senml.Record] = [("temp", "Cel", 21.37), ("rh", "%RH", 61.5)]
    picture, sentence = bytes(range(256)) * 20, b"$GPGGA,1*00\r\n"
    events: list[senml.Record] = [("event", None, "start"), ("first", None, True), ("boot", None, b"\x01\x02")]
    first: list[body.Item] = [
        (senml.build("gateway", events, bt_ms=START, quality=1), None),
        (senml.build("climate", climate, bt_ms=START + 123, raw=raw), None),
        (senml.build("climate", climate, bt_ms=START + 1000, rt_ms=START + 1250, quality=18, raw=raw), None),
        (
            senml.with_digest(
                "quay.cam-1", [("lit", None, False)], bt_ms=START + 1500, raw_sha256=apart(0, 3, picture)
            ),
            picture,
        ),
        (senml.build("climate", [], bt_ms=START + 1750, quality=8, raw=b'{"temperature":NaN}'), None),
        (senml.with_digest("climate", climate, bt_ms=START + 2000, raw_sha256=apart(0, 5, sentence)), sentence),
        (senml.build("gps", [("lat", "lat", 52.52), ("n", None, -7), ("big", None, 1e300)], bt_ms=START + 2001), None),
    ]
    farewell = [("next-vkey", None, "henhouse-3.example.farm/2+...")]
    last: list[body.Item] = [(senml.build("gateway", farewell, bt_ms=START + 9000), None)]
    return [first, [], last]


def header(height: int, prev: bytes, packs: list[bytes]) -> block.Header:
    sealed = START + 3000 * (height + 1)
    return block.Header(
        origin=ORIGIN,
        height=height,
        prev=prev,
        count=len(packs),
        root=merkle.root(body.leaf_hashes(secret(height), packs)),
        first=sealed - 2500 if packs else sealed,
        last=sealed - 500 if packs else sealed,
        sealed=sealed,
        clock=height % 3,
        reason=(block.REASON_COUNT, block.REASON_HEARTBEAT, block.REASON_CLOSED)[height],
        error=None if height == 0 else 12 * height,
    )


def one_block(height: int, prev: bytes, items: list[body.Item]) -> tuple[bytes, dict[str, object]]:
    packs = [pack for pack, _ in items]
    head = header(height, prev, packs)
    data = head.encode()
    to_be_signed = block.to_be_signed(data, KEY_ID)
    entry = block.entry(data, KEY_ID, KEY.sign(to_be_signed).signature)
    whole = body.whole_body_head(height, secret(height), len(items)) + b"".join(body.item(*item) for item in items)
    return entry, {
        "height": height,
        "secret": secret(height).hex(),
        "leaves": [
            {"pack": pack.hex(), "leaf": leaf.hex(), "hash": merkle.leaf_hash(leaf).hex()}
            for pack, leaf in ((pack, block.leaf(secret(height), index, pack)) for index, pack in enumerate(packs))
        ],
        "header": data.hex(),
        "to_be_signed": to_be_signed.hex(),
        "entry": entry.hex(),
        "bodies": {
            "whole": whole.hex(),
            "cut": body.cut_body(height, secret(height), items, CUT_TO.__eq__).hex(),
            "gone": body.gone_body(height, "the card failed", 2).hex(),
        },
    }


def tree(size: int) -> dict[str, object]:
    """Every root and proof of trees of up to `size` leaves."""
    hashes = [merkle.leaf_hash(bytes([index]) * index) for index in range(size)]
    sizes = range(1, size + 1)
    return {
        "hashes": [item.hex() for item in hashes],
        "roots": [merkle.root(hashes[:n]).hex() for n in range(size + 1)],
        "inclusion": [
            {"index": i, "size": n, "path": [item.hex() for item in merkle.inclusion_path(hashes[:n], i)]}
            for n in sizes
            for i in range(n)
        ],
        "consistency": [
            {"old": old, "new": n, "path": [item.hex() for item in merkle.consistency_path(hashes[:n], old)]}
            for n in sizes
            for old in range(1, n + 1)
        ],
    }


def make() -> dict[str, object]:
    chain, prev = [], block.NO_PREV
    for height, items in enumerate(blocks()):
        entry, described = one_block(height, prev, items)
        chain.append(described)
        prev = block.next_prev(entry)
    return {
        "about": "Frozen vectors of docs/format.md sections 1 to 4 and 7; made by make_core.py. Hex throughout.",
        "cbor": [cbor.encode(value).hex() for value in NUMBERS + ITEMS],
        "cbor_refused": REFUSED_CBOR,
        "origin": ORIGIN,
        "seed": SEED.hex(),
        "public": PUBLIC.hex(),
        "key_id": KEY_ID.hex(),
        "cut_to": CUT_TO,
        "blocks": chain,
        "tree": tree(9),
    }


def text() -> str:
    return json.dumps(make(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
