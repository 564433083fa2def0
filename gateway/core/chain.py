"""A whole log checked entry by entry, and a whole body reading by reading (docs/format.md, sections 3, 4, 7 and 8)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.core import block, body, merkle, note, senml
from gateway.core.note import Checkpoint, Note, VerifierKey
from gateway.errors import FormatError

_PACKS_KEPT = 256


def check_entry(raw: bytes, key: VerifierKey, height: int, prev: bytes | None = None) -> block.Entry:
    """Entry number `height` of the log whose key this is: form, origin, height, key id and signature (section 4).

    `prev` is the hash of the entry before it; None where that is not known, as with a receipt.
    """
    entry = block.parse_entry(raw)
    block.check_successor(entry, entry.header.prev if prev is None else prev, key.name, height)
    if key.algorithm != note.ED25519 or entry.key_id != key.key_id:
        raise FormatError(f"entry {height} is signed by another key than {key.name}+{key.key_id.hex()}")
    entry.verify(key.public)
    return entry


@dataclass(frozen=True, slots=True)
class Chain:
    """A log up to its newest entry: its key, the tree's frontier, the hash that the next entry carries, and its end.

    Law: a chain that `extend` returned has accepted every entry from height 0 on, under the checks of section 8.
    """

    key: VerifierKey
    frontier: merkle.Frontier = field(default_factory=merkle.Frontier)
    prev: bytes = block.NO_PREV
    closed: bool = False

    @classmethod
    def resume(cls, key: VerifierKey, frontier: merkle.Frontier, last: bytes | None) -> "Chain":
        """The chain whose frontier and newest entry (None at size 0) were kept after they had been accepted."""
        if last is None:
            return cls(key)
        closed = block.parse_entry(last).header.reason == block.REASON_CLOSED
        return cls(key, frontier, block.next_prev(last), closed)

    @property
    def size(self) -> int:
        """How many entries it has."""
        return self.frontier.size

    def root(self) -> bytes:
        """The log's root at this size."""
        return self.frontier.root()

    def extend(self, entries: Iterable[bytes]) -> tuple["Chain", list[block.Entry]]:
        """The chain with these entries behind it, and them parsed. FormatError names the first that does not follow."""
        prev, closed = self.prev, self.closed
        accepted: list[block.Entry] = []
        hashes: list[bytes] = []
        for height, raw in enumerate(entries, self.size):
            if closed:
                raise FormatError(f"entry {height} follows a block that closed the log (reason 5)")
            entry = check_entry(raw, self.key, height, prev)
            prev = block.next_prev(raw)
            closed = entry.header.reason == block.REASON_CLOSED
            accepted.append(entry)
            hashes.append(prev)
        return Chain(self.key, self.frontier.extend(hashes), prev, closed), accepted

    def check_note(self, signed: Note) -> Checkpoint:
        """The checkpoint in a note, if the log's key signed it and it states this log's size and root."""
        note.verify_note(signed, self.key)
        checkpoint = note.parse_checkpoint(signed.text)
        if (checkpoint.origin, checkpoint.size) != (self.key.name, self.size):
            raise FormatError(f"the checkpoint is of {checkpoint.origin} at size {checkpoint.size}, not at {self.size}")
        if checkpoint.root != self.root():
            raise FormatError(f"the checkpoint of size {self.size} has another root than the entries lead to")
        return checkpoint


class BlockCheck:
    """A block's whole body against its header, reading by reading, in the memory of some (section 7).

    Call `take` for each reading in order, then `finish`. Unlike `body.verify_body` it reads every pack by section 2.
    """

    def __init__(self, header: block.Header, secret: bytes) -> None:
        self._header = header
        self._secret = secret
        self._frontier = merkle.Frontier()
        self._packs: list[bytes] = []  # not yet in the frontier

    def take(self, pack: bytes, payload: bytes | None) -> senml.Reading:
        """The next reading of the block, parsed; a payload that travels apart is checked against its digest."""
        index = self._frontier.size + len(self._packs)
        if index >= self._header.count:
            raise FormatError(f"the header counts {self._header.count} readings", where=self._where(index))
        try:
            reading = senml.resolve(pack)
        except FormatError as exc:
            raise FormatError(exc.what, where=self._where(index), cure=exc.cure) from exc
        salted = None if payload is None else block.payload_digest(block.raw_salt(self._secret, index), payload)
        if salted is not None and salted != reading.raw_sha256:
            what = "the payload is not the one whose digest the reading holds"
            raise FormatError(what, where=self._where(index))
        self._packs.append(pack)
        if len(self._packs) == _PACKS_KEPT:
            self._fold()
        return reading

    def _fold(self) -> None:
        self._frontier = self._frontier.extend(body.leaf_hashes(self._secret, self._packs, self._frontier.size))
        self._packs.clear()

    def finish(self) -> None:
        """No reading is left: their number and their root are the header's."""
        self._fold()
        where = f"{self._header.origin}, height {self._header.height}"
        if self._frontier.size != self._header.count:
            raise FormatError(f"{self._frontier.size} of {self._header.count} readings are here", where=where)
        if self._frontier.root() != self._header.root:
            raise FormatError("the readings do not lead to the root in the header", where=where)

    def _where(self, index: int) -> str:
        return f"{self._header.origin}, height {self._header.height}, reading {index}"
