"""Makes a gateway's log without a gateway: entries, notes and bodies under a fixed key, valid or wrong on purpose."""

import hashlib
import zlib
from dataclasses import dataclass, replace

from gateway.core import block, body, merkle, senml
from gateway.core.note import ED25519, Checkpoint, Note
from gateway.keys import Signer, encode_key, parse_key, sign_checkpoint, sign_entry

START_MS = 1_750_000_000_000
ORIGIN = "henhouse-3.example.farm/1"


def signer(name: str, algorithm: int = ED25519, *, seed: bytes | None = None) -> Signer:
    """The same key every time for a name."""
    return parse_key(encode_key(name, algorithm, seed or hashlib.sha256(name.encode()).digest()), where="a test")


def log_id(origin: str) -> str:
    """The hex SHA-256(origin) of section 8's paths."""
    return hashlib.sha256(origin.encode()).hexdigest()


@dataclass(frozen=True)
class Block:
    """One block: its header, its entry, and what its body is made of."""

    header: block.Header
    entry: bytes
    secret: bytes
    items: tuple[body.Item, ...]

    @property
    def body(self) -> bytes:
        """The whole form."""
        items = b"".join(body.item(pack, payload) for pack, payload in self.items)
        return body.whole_body_head(self.header.height, self.secret, len(self.items)) + items

    @property
    def compressed(self) -> bytes:
        """The whole form as it is sent."""
        return zlib.compress(self.body)

    def cut(self, *visible: str) -> bytes:
        """The form for a reader who may see these sources."""
        return body.cut_body(self.header.height, self.secret, self.items, lambda source: source in visible)


class LogMaker:
    """A log that grows by `add`. `tree` tells two logs of one origin and key apart: a fork."""

    def __init__(self, origin: str = ORIGIN, *, tree: str = "") -> None:
        self.signer = signer(origin)
        self.origin = origin
        self.tree = tree
        self.blocks: list[Block] = []

    @property
    def vkey(self) -> str:
        """The log's verifier key, as a configuration has it."""
        return str(self.signer.vkey)

    @property
    def id(self) -> str:
        """The log's id in paths."""
        return log_id(self.origin)

    @property
    def size(self) -> int:
        """Entries made."""
        return len(self.blocks)

    @property
    def entries(self) -> list[bytes]:
        """All entries."""
        return [made.entry for made in self.blocks]

    def add(self, count: int = 1, *, readings: int = 3, sources: int = 2) -> "LogMaker":
        """Grows the log by `count` blocks of `readings` readings, a second apart, of sources `s-0`, `s-1`, ..."""
        for _ in range(count):
            height = self.size
            packs = [self._pack(height, index, sources, readings) for index in range(readings)]
            self.append([(pack, None) for pack in packs])
        return self

    def _pack(self, height: int, index: int, sources: int, readings: int) -> bytes:
        at = START_MS + (height * readings + index) * 1000
        return senml.build(f"s-{index % sources}", [("temp", "Cel", height + index / 10)], bt_ms=at)

    def append(self, items: list[body.Item], **changes: object) -> Block:
        """Grows the log by one block of these items; `changes` replace fields of its header."""
        height = self.size
        secret = hashlib.sha256(f"{self.origin} {self.tree} {height}".encode()).digest()
        hashes = body.leaf_hashes(secret, [pack for pack, _ in items])
        at = START_MS + height * 60_000
        header = block.Header(
            origin=self.origin,
            height=height,
            prev=merkle.leaf_hash(self.blocks[-1].entry) if height else block.NO_PREV,
            count=len(items),
            root=merkle.root(hashes),
            first=at,
            last=at,
            sealed=at,
            clock=block.CLOCK_SYNCHRONISED,
            reason=block.REASON_AGE,
        )
        header = replace(header, **changes)  # type: ignore[arg-type]
        made = Block(header, sign_entry(self.signer, header.encode()), secret, tuple(items))
        self.blocks.append(made)
        return made

    def root(self, size: int | None = None) -> bytes:
        """The log's root at a size."""
        return merkle.root([merkle.leaf_hash(entry) for entry in self.entries[: self.size if size is None else size]])

    def note(self, size: int | None = None, *, root: bytes | None = None) -> Note:
        """The signed checkpoint of a size; with `root`, a false one."""
        size = self.size if size is None else size
        return sign_checkpoint(self.signer, Checkpoint(self.origin, size, root or self.root(size)))

    def proof(self, old: int, new: int | None = None) -> list[bytes]:
        """The consistency proof between two sizes."""
        new = self.size if new is None else new
        return merkle.consistency_path([merkle.leaf_hash(entry) for entry in self.entries[:new]], old)

    def fork(self, height: int, count: int = 1) -> "LogMaker":
        """Another log of the same origin and key that agrees up to `height` and has `count` other blocks from there."""
        other = LogMaker(self.origin, tree=f"{self.tree}/{height}")
        other.blocks = self.blocks[:height]
        return other.add(count)
