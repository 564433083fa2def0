"""A small log with fixed keys and fixed readings, for whatever checks proofs: the same bytes on every run."""

from dataclasses import dataclass, field, replace
from hashlib import sha256

from gateway import keys
from gateway.core import block, body, cbor, merkle, senml
from gateway.core.note import COSIGNATURE, ED25519, Checkpoint, Note
from gateway.core.policy import make_policy
from gateway.core.receipt import Anchor, Receipt

ORIGIN = "henhouse-3.example.farm/1"
START_MS = 1_760_000_000_000
COSIGNED_S = START_MS // 1000 + 600


def seed(name: str) -> bytes:
    """A seed that anybody can work out: never a real key's."""
    return sha256(b"fieldgate test key: " + name.encode()).digest()


def signer(name: str, algorithm: int = ED25519, *, of: str = "") -> keys.Signer:
    """The key of that name; `of` makes another key under the same name."""
    return keys.parse_key(keys.encode_key(name, algorithm, seed(of or name)), where=name)


def secret(height: int) -> bytes:
    return sha256(b"fieldgate test block %d" % height).digest()


LOG = signer(ORIGIN)
COOP = signer("node.coop.example", COSIGNATURE)
STORED = signer("node.coop.example/stored", COSIGNATURE)
VET = signer("vet.example/witness", COSIGNATURE)
OTHER = signer(ORIGIN, of="another gateway")


def pack(height: int, index: int) -> bytes:
    """Reading `index` of block `height`; every third has its payload apart, every fifth none."""
    at = START_MS + 1000 * (60 * height + index)
    records: list[senml.Record] = [("temp", "Cel", 21.5 + index / 8), ("rh", "%RH", 60 + index), ("fan", None, True)]
    if payload(height, index) is not None:
        digest = block.payload_digest(block.raw_salt(secret(height), index), payload(height, index) or b"")
        return senml.with_digest("henhouse-3", records, bt_ms=at, rt_ms=at + 40, quality=1, raw_sha256=digest)
    if index % 5 == 4:
        return senml.build("henhouse-3", records, bt_ms=at)
    return senml.build("henhouse-3", records, bt_ms=at, raw=b'{"temp":%d}' % index)


def payload(height: int, index: int) -> bytes | None:
    """The payload that travels beside the reading, for every third."""
    return b"payload %d of block %d\x00\xff" % (index, height) if index % 3 == 2 else None


@dataclass
class Log:
    """A log whose blocks have the given numbers of readings. The other fields make it misbehave.

    `skip` seals each block after the first under the height after its own; `bad_pack` seals packs that are no SenML;
    `spoilt` entries have a false signature.
    """

    counts: list[int]
    closed: bool = False
    algorithm: int = -8
    signer: keys.Signer = LOG
    entry_signer: keys.Signer | None = None
    skip: bool = False
    bad_pack: bool = False
    spoilt: bool = False
    entries: list[bytes] = field(init=False, default_factory=list)
    headers: list[block.Header] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for height, count in enumerate(self.counts):
            self._seal(height, count)

    def _seal(self, height: int, count: int) -> None:
        sealed = START_MS + 1000 * (60 * height + 60)
        header = block.Header(
            origin=ORIGIN,
            height=height + (self.skip and height > 0),
            prev=block.next_prev(self.entries[-1]) if self.entries else bytes(32),
            count=count,
            root=merkle.root(self.leaf_hashes(height)),
            first=sealed - 60_000 if count else sealed,
            last=sealed - 1000 if count else sealed,
            sealed=sealed,
            clock=1,
            reason=block.REASON_CLOSED if self.closed and height == len(self.counts) - 1 else block.REASON_AGE,
            error=20,
        )
        self.headers.append(header)
        self.entries.append(self._sign(header.encode()))

    def _sign(self, header: bytes) -> bytes:
        """The entry as section 4 writes it out: also with the other algorithm number that a verifier takes."""
        signer = self.entry_signer or self.signer
        protected = cbor.encode({1: self.algorithm, 3: 60, 4: signer.vkey.key_id})
        signature = signer.sign(cbor.encode(["Signature1", protected, b"", header]))
        if self.spoilt:
            signature = signer.sign(b"something else")
        return b"\xd2" + cbor.encode([protected, {}, header, signature])

    def packs(self, height: int) -> list[bytes]:
        return [self.pack(height, index) for index in range(self.counts[height])]

    def pack(self, height: int, index: int) -> bytes:
        return b"\xa0 no array" if self.bad_pack else pack(height, index)

    def leaf_hashes(self, height: int) -> list[bytes]:
        return body.leaf_hashes(secret(height), self.packs(height))

    def entry_hashes(self, size: int | None = None) -> list[bytes]:
        return [merkle.leaf_hash(entry) for entry in self.entries[:size]]

    def note(self, size: int | None = None, cosigners: tuple[keys.Signer, ...] = (COOP, STORED, VET)) -> Note:
        """The checkpoint of a size, co-signed one second apart."""
        size = len(self.entries) if size is None else size
        note = keys.sign_checkpoint(self.signer, Checkpoint(ORIGIN, size, merkle.root(self.entry_hashes(size))))
        return note.with_lines(keys.cosign(node, note.text, COSIGNED_S + i) for i, node in enumerate(cosigners))

    def receipt(self, height: int, index: int, *, size: int | None = None, note: Note | None = None) -> Receipt:
        size = len(self.entries) if size is None else size
        beside = payload(height, index)
        return Receipt(
            entry=self.entries[height],
            leaf=block.leaf(secret(height), index, self.pack(height, index)),
            index=index,
            path=tuple(merkle.inclusion_path(self.leaf_hashes(height), index)),
            log_index=height,
            log_path=tuple(merkle.inclusion_path(self.entry_hashes(size), height)),
            note=self.note(size) if note is None else note,
            payload=beside,
            raw_salt=None if beside is None else block.raw_salt(secret(height), index),
        )

    def anchored(self, receipt: Receipt) -> Receipt:
        """The receipt with an anchor of a kind that nobody knows."""
        root = merkle.root(self.entry_hashes())
        evidence: cbor.Value = {"tx": b"\x01\x02", "height": 7}
        anchor = Anchor("example", len(self.entries), root, receipt.log_path, evidence)
        return replace(receipt, anchors=(anchor,))


POLICY = make_policy([LOG.vkey], [COOP.vkey, STORED.vkey, VET.vkey], 2)
POLICY_ALL = make_policy([LOG.vkey], [COOP.vkey, STORED.vkey, VET.vkey], "all")
POLICY_NONE = make_policy([LOG.vkey])
