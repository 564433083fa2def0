"""What reads bytes from outside, each as one function of bytes that says whether they were taken.

It returns, whatever they are: an input is refused in the words of its own layer, and what is taken is written back as
it came. Any other exception is a defect.

Hypothesis calls them in test_fuzz.py, and atheris some of them in cover.py; both begin at `seeds`.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from fakes import recordings
from fakes.decoding import decode
from fakes.fabric_ledger import FabricLedger
from fakes.log_maker import LogMaker, signer

from drivers.api import Delivery, Reject, Sample
from drivers.codecs.base import Refused
from drivers.codecs.json_map import JsonMap
from drivers.codecs.text import Csv, Plain, Regex
from drivers.codecs.values import Codec, TimeMap, ValueMap
from drivers.kinds import Kind
from drivers.limits import EXAMPLE_BYTES
from drivers.mqtt_frames import Packets, ProtocolError, Publish
from gateway import httpsig
from gateway.core import (
    anchor_fabric,
    anchor_fleet,
    anchor_kinds,
    block,
    body,
    bsn,
    cbor,
    der,
    fabric,
    merkle,
    note,
    policy,
    receipt,
    rlp,
    senml,
    tiles,
    timestamp,
)
from gateway.core.anchor import Statement
from gateway.core.merkle import Frontier
from gateway.core.x509 import Certificate
from gateway.errors import AuthError, FormatError, StoreFullError
from gateway.httpsig import Checker
from gateway.node import bodies
from gateway.node import log as judge
from gateway.node.bodies import Budget, Inflater
from gateway.node.log import CheckpointRequest, Refusal, SyncRequest
from gateway.node.store import Growth, Head, Witnessed
from gateway.upstream import session, turns

VECTORS = Path(__file__).parent.parent / "vectors"
LOG = LogMaker("fuzz.example/1").add(6)
NODE = signer("node.example", note.COSIGNATURE)
READER = signer("reader.example")
HOST = "gateway.example:8440"
NOW = 1_795_500_000
STATEMENT = Statement.of("fuzz.example/1", 6, LOG.root())


# CBOR, and what is decoded out of it


def strict_cbor(data: bytes) -> bool:
    """gateway/core/cbor.py: refused, or the one encoding of what it means. Then all that reads it further."""
    taken = 0
    with suppress(FormatError):
        assert cbor.encode(cbor.decode(data)) == data
        taken += 1
    for reader in (session.decode_answer, senml.resolve, senml.base_of, senml.digest_of, block.parse_leaf, _items):
        with suppress(FormatError):
            reader(data)
            taken += 1
    with suppress(FormatError):
        block.decode_header(data)
    with suppress(FormatError):
        entry = block.parse_entry(data)
        assert block.entry(entry.header_bytes, entry.key_id, entry.signature) == data
        entry.verify(LOG.signer.vkey.public)
        taken += 1
    return taken > 1


def _items(data: bytes) -> list[body.Item]:
    return list(body.read_items(data))


def sync(data: bytes) -> bool:
    """A sync request as far as a node looks at it without a signature; then its entries under a signature that fits."""
    asked = judge.read_sync(data, LOG.signer.vkey)
    if isinstance(asked, Refusal):
        assert asked.status in (400, 403)
    else:
        assert judge.encode_sync(asked.old, asked.entries, asked.note) == data
    for fields in _shaped(data):
        shaped = judge.read_sync(fields, LOG.signer.vkey)
        if isinstance(shaped, SyncRequest):
            assert shaped.size == shaped.old + len(shaped.entries)
            assert all(isinstance(entry, bytes) for entry in shaped.entries)
        with suppress(FormatError):
            session.decode_answer(fields)
    entries = _pieces(data)
    for old, head in ((0, Head(LOG.vkey)), (3, _head(3))):
        checkpoint = note.Checkpoint(LOG.origin, old + len(entries), LOG.root())
        forced = SyncRequest(old, entries, LOG.note().encode(), checkpoint)
        step = judge.judge_place(head, forced, NOW) or judge.judge_growth(head, forced, LOG.signer.vkey, NOW)
        assert isinstance(step, Refusal | Growth)
        held = LOG.entries[:2]
        root, last = LOG.root(2), LOG.entries[1]
        again = judge.judge_resent(_head(3), forced, LOG.signer.vkey, held, last, root, NOW)
        assert again.status in (400, 403, 409, 422)
    return isinstance(asked, SyncRequest)


def _shaped(data: bytes) -> Iterator[bytes]:
    """Requests and answers that are right but for one value."""
    with suppress(FormatError):
        value = cbor.decode(data)
        text = LOG.note(1).encode()
        for key, put in ((1, value), (2, value), (2, [value]), (3, value), (4, value), (5, value), (3, [[0, value]])):
            asked = {1: 0, 2: [LOG.entries[0]], 3: text}
            answered = {1: "", 2: 6}
            yield cbor.encode({**asked, key: put})  # type: ignore[dict-item]
            yield cbor.encode({**answered, key: put})  # type: ignore[dict-item]


def _pieces(data: bytes) -> tuple[bytes, ...]:
    """The real entries, one of them replaced, and what else there is."""
    at = data[0] % 4 if data else 0
    return (*LOG.entries[3 : 3 + at], data[1:], *LOG.entries[4 + at :])


def _head(size: int) -> Head:
    frontier = Frontier().extend(merkle.leaf_hash(entry) for entry in LOG.entries[:size])
    witnessed = Witnessed(size, frontier.root())
    return Head(LOG.vkey, 0, frontier, LOG.entries[size - 1], witnessed, LOG.note(size).encode())


def bodies_of_blocks(data: bytes) -> bool:
    """A body under a header that it does not fit, or does."""
    taken = False
    with suppress(FormatError):
        parsed = body.parse_body(data)
        if isinstance(parsed, body.WholeBody):
            items = b"".join(body.item(*item) for item in parsed.items)
            whole = body.whole_body_head(parsed.height, parsed.secret, len(parsed.items)) + items
            assert whole == data or len(cbor.decode(data)) > 3  # type: ignore[arg-type]
    for made in LOG.blocks[:2]:
        with suppress(FormatError):
            kept, _ = bodies.check(made.header, data)
            assert bodies.inflate(kept.data) == data
            bodies.find(kept.data, "s-0", 2**52)
            bodies.tells_loss(kept.data, 0)
            taken = True
    return taken


def compressed(data: bytes) -> bool:
    """A node's inflater: pieces of any size give what the whole gives; its memory is bounded and comes back."""
    most = 4_096
    outcomes = []
    for step in (len(data) + 1, data[0] % 7 + 1 if data else 1):
        budget = Budget(2 * most)
        inflater = Inflater(budget, deflate=True, most=most)
        try:
            for at in range(0, len(data), step):
                inflater.feed(data[at : at + step])
            outcomes.append(inflater.finish())
        except (FormatError, StoreFullError):
            outcomes.append(b"refused")
        finally:
            assert budget.left >= 2 * most - most
            inflater.close()
        assert budget.left == 2 * most
    assert outcomes[0] == outcomes[1]
    with suppress(zlib.error):
        alone = zlib.decompressobj()
        plain = alone.decompress(data)
        good = alone.eof and not alone.unused_data and len(plain) <= most
        assert outcomes[0] == (plain if good else b"refused")
    return outcomes[0] != b"refused"


# Notes, proofs, policies


def notes(data: bytes) -> bool:
    """Signed notes, checkpoints, co-signatures, keys."""
    taken = False
    with suppress(FormatError):
        parsed = note.parse_note(data)
        assert parsed.encode().encode() == data
        taken = True
        for foreign in (False, True):
            with suppress(FormatError):
                assert note.parse_checkpoint(parsed.text, foreign=foreign).text() == parsed.text
        with suppress(FormatError):
            note.verify_note(parsed, LOG.signer.vkey)
        with suppress(FormatError):
            note.cosigned_at(parsed, NODE.vkey)
    text = data.decode(errors="replace")
    with suppress(FormatError):
        lines = note.parse_lines(text)
        assert "".join(note.format_line(line) for line in lines).rstrip("\n") == text.rstrip("\n")
        for line in lines:
            with suppress(FormatError):
                note.verify_cosignature("fuzz.example/1\n1\nAAAA\n", line, NODE.vkey)
    with suppress(FormatError):
        assert str(note.VerifierKey.parse(text)) == text
    return taken


def proofs(data: bytes) -> bool:
    """Receipts and policies."""
    taken = False
    with suppress(FormatError):
        parsed = receipt.parse_receipt(data)
        assert parsed.encode().encode() == data
        taken = True
        block.parse_entry(parsed.entry)
    with suppress(FormatError):
        asked = policy.parse_policy(data)
        assert isinstance(asked.satisfied(set()), bool)
        assert asked.asks_for
    hashes = [data[at : at + 32] for at in range(0, len(data) - 31, 32)]
    old, new = (data[0], data[1]) if len(data) > 1 else (0, 1)
    if hashes:
        with suppress(FormatError):
            merkle.verify_consistency(old, new, hashes[0], hashes[-1], hashes[1:-1])
        with suppress(FormatError):
            merkle.verify_inclusion(hashes[0], old, new, hashes[1:], hashes[-1])
    return taken


# Chains


STAMPS = json.loads((VECTORS / "stamps.json").read_text("utf-8"))
STAMP_ROOTS = [bytes.fromhex(one["root"]) for one in STAMPS.values()]


def chains(data: bytes) -> bool:
    """Blocks, transactions and evidence of chains, and the answers of a city node's gateway."""
    taken = 0
    with suppress(FormatError):
        block = fabric.read_block(data)
        assert sha256(block.header.encoded).digest() == block.header.hash
        taken += 1
    for reader in (fabric.read_transaction, fabric.read_seals, der.read_signature):
        with suppress(FormatError):
            reader(data)
            taken += 1
    with suppress(FormatError):
        assert rlp.encode(rlp.decode(data)) == data
        taken += 1
    with suppress(FormatError):
        evidence = cbor.decode(data)
        for check in anchor_kinds.KINDS.values():
            with suppress(FormatError):
                check(STATEMENT, evidence, ())
                taken += 1
        with suppress(FormatError):
            anchor_kinds.check_fleet(STATEMENT, evidence)
            taken += 1
    with suppress(ValueError):
        answer = json.loads(data)
        for call in (bsn.APP_INFO, bsn.FABRIC_CALL, bsn.FABRIC_BLOCK, bsn.FISCO_CALL):
            with suppress(FormatError):
                bsn.answer_text(0, "", call, bsn.read_body(answer, call.answer))
                taken += 1
    return taken > 0


def stamps(data: bytes) -> bool:
    """What a time stamp authority answers, its tokens, and certificates."""
    taken = 0
    with suppress(FormatError):
        Certificate(data)
        taken += 1
    token = data
    with suppress(FormatError):
        token = timestamp.token_in(data)
        taken += 1
    with suppress(FormatError):
        timestamp.check(token, STAMP_ROOTS, lambda one: one.is_own_issuer)
        taken += 1
    return taken > 0


# HTTP


def requests(data: bytes) -> bool:
    """A request's target, Host and signature headers, one a line; then what else a node reads of HTTP."""
    target, host, inputs, signature, *_ = [*data.decode("latin-1").split("\n"), "", "", "", ""][:4]
    taken = False
    checker = Checker({httpsig.key_name(READER.vkey): READER.vkey}, lambda: NOW, lambda: 1.0, (HOST,))
    with suppress(AuthError):
        path, query = httpsig.split_target(target)
        headers = {"Signature-Input": inputs, "Signature": signature}
        assert checker.check("GET", host, path, query, headers) == READER.vkey
        taken = True
        with suppress(AuthError):
            checker.check("GET", host, path, query, headers)
            raise AssertionError("a nonce was taken twice")
    httpsig.challenge_nonce(inputs)
    with suppress(FormatError):
        parsed = tiles.parse_path(target)
        assert parsed.start >= 0
        assert parsed.size >= 0
    with suppress(FormatError):
        assert turns.decode_size(data) >= 0
    asked = judge.read_add_checkpoint(data)
    if isinstance(asked, CheckpointRequest):
        step = judge.judge_checkpoint(_head(3), asked, LOG.signer.vkey, None, b"", NOW)
        assert isinstance(step, Refusal | Growth)
    else:
        assert asked.status == 400
    return taken


# MQTT

VALUES = {
    "t": ValueMap(unit="Cel", scale=0.1, optional=True, sentinels=(-99.9, "n/a")),
    "s": ValueMap(type="text", optional=True),
    "b": ValueMap(type="bool", optional=True),
}
ONE = {"t": ValueMap()}
CODECS: tuple[Codec, ...] = (
    JsonMap(VALUES, TimeMap(pointer="/at", format="unix")),
    JsonMap({"x": ValueMap(pointer="")}),
    JsonMap({"deep": ValueMap(pointer="/a/0/b")}, TimeMap()),
    Csv(["time", "t", "s", "b"], VALUES, time=TimeMap(format="unix_ms")),
    Regex(r"(?P<unstable>\?)?t=(?P<t>[-0-9.,]+)", ONE, decimal=","),
    Plain("t", ONE["t"]),
)


def mqtt(data: bytes) -> bool:
    """A broker's bytes: any chunking gives the same packets; a payload gives samples or one reject."""
    whole, rest = _packets(data, len(data) + 1), _packets(data, data[0] % 9 + 1 if data else 1)
    assert whole == rest
    for packet in whole:
        if isinstance(packet, Publish):
            mapped(packet.payload)
    mapped(data)
    return any(isinstance(packet, Publish) for packet in whole)


def _packets(data: bytes, step: int) -> list[object]:
    packets = Packets(limit=64)
    found: list[object] = []
    try:
        for at in range(0, len(data), step):
            packets.feed(data[at : at + step])
            while packets.left:
                found += packets.take(3)
    except ProtocolError as error:
        assert error.cure
        found.append("refused")
    return found


def mapped(payload: bytes) -> None:
    """The codecs over one payload; a sample is fit to become a pack."""
    delivery = Delivery("local", 1, bytes(8), False)
    for codec in CODECS:
        item = decode(codec, "henhouse-3", payload, NOW, delivery=delivery)
        if isinstance(item, Reject):
            assert len(item.example) <= EXAMPLE_BYTES
            continue
        assert isinstance(item, Sample)
        with suppress(FormatError):
            pack = senml.build("henhouse-3", item.records, bt_ms=NOW * 1000)
            assert senml.resolve(pack).source == "henhouse-3"


# The codecs of the drivers


def codec_of(kind: Kind) -> Callable[[bytes], bool]:
    """Each recording's options over any bytes, in two pieces where it is a stream, and as all kinds of messages."""

    def codec(data: bytes) -> bool:
        taken = False
        for recording in recordings.of(kind):
            found = recordings.findings(kind, recording, NOW, data, cuts=(data[0] if data else 0,))
            for one in found:
                if isinstance(one, Refused):
                    assert len(one.example) <= EXAMPLE_BYTES
            for one in recordings.found(found):
                taken = True
                with suppress(FormatError):
                    senml.resolve(senml.build("henhouse-3", one.records, bt_ms=NOW * 1000))
        return taken

    return codec


KINDS = {f"codec_{kind.name}": kind for kind in recordings.kinds() if kind.name in recordings.RECORDINGS}
TARGETS: dict[str, Callable[[bytes], bool]] = {
    **{
        one.__name__: one
        for one in (strict_cbor, sync, bodies_of_blocks, compressed, notes, proofs, chains, stamps, requests, mqtt)
    },
    **{name: codec_of(kind) for name, kind in KINDS.items()},
}


# Where they begin


def seeds(name: str) -> list[bytes]:
    """Inputs that are taken, or nearly."""
    if name in KINDS:
        return list(dict.fromkeys(one for made in recordings.of(KINDS[name]) for one in made.payloads))
    return list(dict.fromkeys(_SEEDS[name]()))


def _core() -> dict[str, object]:
    return json.loads((VECTORS / "core.json").read_text("utf-8"))


def _proofs() -> dict[str, object]:
    return json.loads((VECTORS / "proofs.json").read_text("utf-8"))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _hexes(value: object) -> Iterator[bytes]:
    for text in _strings(value):
        with suppress(ValueError):
            yield bytes.fromhex(text)


def _foreign(variable: str, *, most: int) -> Iterator[bytes]:
    """Files of other people's, where a folder of them is named."""
    folder = Path(os.environ.get(variable, "") or "/nowhere")
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and path.stat().st_size <= most:
            yield path.read_bytes()


def _cbor_seeds() -> list[bytes]:
    answer = judge.encode_answer(6, "— n AAAA\n", [(0, 2), (4, 5)], (2, "— n AAAA\n"))
    return [*_hexes(_core()), answer, *LOG.entries, *[made.body for made in LOG.blocks[:2]]]


def _sync_seeds() -> list[bytes]:
    asked = [judge.encode_sync(old, LOG.entries[old:new], LOG.note(new).encode()) for old, new in ((0, 2), (2, 6))]
    return [*asked, *[bytes([at]) + entry for at, entry in enumerate(LOG.entries)], *_hexes(_core()["cbor"])]


def _body_seeds() -> list[bytes]:
    made = LOG.blocks[:2]
    gone = body.gone_body(0, "no room", 3)
    return [*[one.body for one in made], *[one.cut("s-0") for one in made], *[one.cut() for one in made], gone]


def _compressed_seeds() -> list[bytes]:
    return [*[one.compressed for one in LOG.blocks], zlib.compress(bytes(100_000)), zlib.compress(bytes(4_096))]


def _note_seeds() -> list[bytes]:
    texts = [text for text in _strings(_proofs()) if "\n\n" in text or "+" in text or text.startswith("— ")]
    return [*[text.encode() for text in texts], *_foreign("FIELDGATE_VECTORS", most=2_048)]


def _proof_seeds() -> list[bytes]:
    texts = [text for text in _strings(_proofs()) if text.startswith(("c2sp", "log ", "witness "))]
    trees = [bytes([2, 6]) + b"".join([LOG.root(2), *LOG.proof(2), LOG.root()])]
    return [*[text.encode() for text in texts], *trees]


def _chain_seeds() -> list[bytes]:
    ledger = FabricLedger("channel1")
    ledger.order(b"creator", b"nonce", "cc_00", [b"set", anchor_fabric.written(STATEMENT)])
    ledger.cut()
    block = fabric.read_block(ledger.blocks[1].data)
    answer = {"txId": "7", "blockInfo": {"status": 0}, "blockNumber": 7, "transactions": [{"txId": "7", "value": 1}]}
    return [
        ledger.blocks[1].data,
        block.envelopes[0],
        block.seals[0].signature,
        cbor.encode(anchor_fabric.evidence("channel1", block, 0)),
        cbor.encode(_fleet_seed()),
        rlp.encode([b"", b"dog", [bytes(60), []]]),
        json.dumps(answer).encode(),
    ]


def _fleet_seed() -> cbor.Value:
    """A fleet of three on a chain that no kind knows."""
    others = [Statement.of(f"barn.example/{n}", 9, bytes(32)) for n in (1, 2)]
    tree = anchor_fleet.Tree([STATEMENT, *others])
    index = tree.index(STATEMENT.log)
    assert index is not None
    return tree.fleet("node.example", 7, index, "unknown", b"").encode()


def _request_seeds() -> list[bytes]:
    made = []
    for target in ("/checkpoint", "/tile/0/000", "/tile/entries/000.p/6", "/blocks/3", "/receipts/climate?at=1"):
        path, _, query = target.partition("?")
        # fixed, so that the same input is the same again
        nonce = "0123456789abcdef"
        signed = httpsig.sign(READER, "GET", HOST, path, query, nonce=nonce, created=NOW, expires=NOW + 60)
        made.append("\n".join((target, HOST, signed["Signature-Input"], signed["Signature"])).encode("latin-1"))
    proof = "\n".join(["old 3", *[note.b64encode(one) for one in LOG.proof(3)], ""])
    return [*made, f"{proof}\n{LOG.note().encode()}".encode(), b"17\n"]


def _mqtt_seeds() -> list[bytes]:
    payloads = [
        b'{"t": 21.5, "s": "on", "b": true, "at": 1795500000}',
        b"21.5,on,true",
        b"t=-3.25",
        b"17",
        b'{"t":1e9}',
    ]
    payloads += _foreign("FIELDGATE_CAPTURES", most=1_024)
    return [
        b"".join(_publish(b"farm/3/t", payload) for payload in payloads[:3]),
        b"\xd0\x00\x40\x02\x00\x01",
        *payloads,
    ]


def _publish(topic: bytes, payload: bytes) -> bytes:
    rest = len(topic).to_bytes(2, "big") + topic + b"\x00\x01" + payload
    return b"\x32" + bytes([len(rest)]) + rest if len(rest) < 128 else b""


_SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "strict_cbor": _cbor_seeds,
    "sync": _sync_seeds,
    "bodies_of_blocks": _body_seeds,
    "compressed": _compressed_seeds,
    "notes": _note_seeds,
    "proofs": _proof_seeds,
    "chains": _chain_seeds,
    "stamps": lambda: [bytes.fromhex(one[name]) for one in STAMPS.values() for name in ("response", "root")],
    "requests": _request_seeds,
    "mqtt": _mqtt_seeds,
}
