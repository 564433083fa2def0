"""What must hold at every event, whoever did what, computed anew from the bytes that were signed or kept.

A breach is remembered and ends the run; it is not raised, because the code under test must not catch it.
"""

from collections.abc import Callable

from fakes.memory_node_store import Disk, DiskLog

from gateway.core import block, body, cbor, merkle, note
from gateway.core.note import Checkpoint, VerifierKey
from gateway.errors import FormatError
from gateway.keys import Signer
from gateway.node.bodies import inflate
from gateway.node.store import Evidence
from gateway.upstream import session, turns

_COSIGNED = b"cosignature/v1\n"


class Listening:
    """A signer that tells what it signs, before anybody else can have the signature."""

    def __init__(self, signer: Signer, tell: Callable[[bytes, bytes], None]) -> None:
        self.vkey: VerifierKey = signer.vkey
        self._signer = signer
        self._tell = tell

    def sign(self, message: bytes) -> bytes:
        signature = self._signer.sign(message)
        self._tell(message, signature)
        return signature


class Oracle:
    """The judge of one run. `forks`: the log's owner is allowed to misbehave, its nodes are not."""

    def __init__(self, log: str, vkey: VerifierKey, *, forks: bool) -> None:
        self.log, self.vkey, self.forks = log, vkey, forks
        self.breaches: list[str] = []
        self.leaves: dict[int, bytes] = {}  # leaf hash of each entry that was signed
        self.headers: dict[int, bytes] = {}
        self.roots: dict[int, bytes] = {}
        self.seen: dict[str, list[tuple[int, bytes]]] = {}  # what each node co-signed, in order
        self.both: set[str] = set()  # nodes that were shown two views

    def breach(self, what: str) -> None:
        """Something that must never be."""
        self.breaches.append(what)

    def must(self, holds: bool, what: str) -> None:
        """A breach unless it holds."""
        if not holds:
            self.breach(what)

    # The gateway

    def log_signed(self, message: bytes, signature: bytes) -> None:
        """The log's key signed an entry or a checkpoint."""
        if message.startswith(self.vkey.name.encode()):
            self._checkpoint_signed(note.parse_checkpoint(message.decode()))
            return
        fields = cbor.decode(message)
        assert isinstance(fields, list)
        raw = fields[3]
        assert isinstance(raw, bytes)
        header = block.decode_header(raw)
        if self.forks:
            return
        known = self.headers.setdefault(header.height, raw)
        self.must(known == raw, f"two headers were signed for height {header.height}")
        entry = block.entry(raw, self.vkey.key_id, signature)
        if header.height:
            prev = self.leaves.get(header.height - 1)
            self.must(header.prev == prev, f"entry {header.height} does not follow the one before it")
        self.leaves[header.height] = merkle.leaf_hash(entry)

    def _checkpoint_signed(self, checkpoint: Checkpoint) -> None:
        if self.forks:
            return
        known = self.roots.setdefault(checkpoint.size, checkpoint.root)
        self.must(known == checkpoint.root, f"two roots were signed for size {checkpoint.size}")
        right = merkle.root([self.leaves[height] for height in range(checkpoint.size)])
        self.must(right == checkpoint.root, f"the checkpoint of size {checkpoint.size} is not over the signed entries")

    def entries(self, entries: list[bytes]) -> None:
        """The entries found on a card are those that were signed, all of them."""
        found = {height: merkle.leaf_hash(entry) for height, entry in enumerate(entries)}
        signed = {height: leaf for height, leaf in self.leaves.items() if height in found}
        self.must(found == signed, "the card holds entries that were never signed")
        self.must(len(self.leaves) - len(found) in (0, 1), "signed entries are missing")  # the last may be under way

    def gateway_believes(self, node: str, disk: Disk, kind: str, size: int) -> None:
        """The gateway keeps a line: what it says must be so at the node."""
        kept = disk[self.log]
        if kind == turns.SEEN:
            self.must(kept.head.witnessed.size >= size, f"{node} is said to have seen {size} and has not")
        else:
            lacking = [height for height in range(size) if kept.lacks(height)]
            self.must(not lacking, f"{node} is said to store {size} and lacks {lacking}")

    # A node

    def node_signed(self, node: str, kind: str, disk: Disk, message: bytes) -> None:
        """A node's key is signing: what it signs must be durable there already."""
        assert message.startswith(_COSIGNED)
        checkpoint = note.parse_checkpoint(message.split(b"\n", 2)[2].decode())
        size, root = checkpoint.size, checkpoint.root
        kept = disk[self.log]
        self.must(
            len(kept.entries) >= size and _root(kept, size) == root, f"{node} co-signs {size}, which it does not hold"
        )
        if not self.forks:
            self.must(self.roots.get(size) == root, f"{node} co-signs a root of {size} that the log never signed")
        if kind == turns.STORED:
            lacking = [height for height in range(size) if kept.lacks(height)]
            self.must(not lacking, f"{node} signs {size} as stored and lacks {lacking}")
            return
        witnessed = kept.head.witnessed
        self.must((witnessed.size, witnessed.root) == (size, root), f"{node} co-signs {size} before it is durable")
        self.must(not kept.head.frozen, f"{node} co-signs {size} of a frozen log")
        before = self.seen.setdefault(node, [])
        if before:
            self.must(before[-1][0] <= size, f"{node} co-signed {before[-1][0]} and then {size}")
            self.must(all(one != size or of == root for one, of in before), f"{node} co-signed two roots of {size}")
        before.append((size, root))

    def other_view(self, disk: Disk, data: bytes) -> bool:
        """Whether a sync request that arrives shows another entry than the node holds."""
        fields = cbor.decode(data)
        assert isinstance(fields, dict)
        old, entries = fields[1], fields[2]
        assert isinstance(old, int)
        assert isinstance(entries, list)
        held = disk[self.log].entries
        return any(height < len(held) and held[height] != entry for height, entry in enumerate(entries, old))

    def node_was_shown(self, node: str, disk: Disk) -> None:
        """A node has answered a request that showed another view than it holds."""
        self.both.add(node)
        kept = disk[self.log]
        self.must(bool(kept.head.frozen), f"{node} was shown two views and is not frozen")
        self.must(any(map(self._proves, kept.evidence)), f"{node} was shown two views and keeps no evidence")

    def node_answered(self, node: str, disk: Disk, data: bytes) -> None:
        """A node's good answer leaves it: what it says is durable, and no fork was taken for growth."""
        answer, kept = session.decode_answer(data), disk[self.log]
        if answer.seen:
            kept_line = kept.notes[answer.size].seen_latest
            self.must(bool(kept_line), f"{node} answers with a line over {answer.size} that it does not keep")
        if answer.stored_size is not None:
            self.must(
                bool(kept.notes[answer.stored_size].stored),
                f"{node} answers stored {answer.stored_size} and keeps none",
            )

    def node_at_rest(self, node: str, disk: Disk) -> None:
        """What a node keeps is whole: entries chained, hashes right, bodies those of their headers, evidence true."""
        kept = disk[self.log]
        prev = block.NO_PREV
        for height, raw in enumerate(kept.entries):
            entry = block.parse_entry(raw)
            entry.verify(self.vkey.public)
            block.check_successor(entry, prev, self.vkey.name, height)
            prev = block.next_prev(raw)
            if height in kept.bodies:
                body.verify_body(entry.header, inflate(kept.bodies[height].data))
        self.must(kept.head.frontier.root() == _root(kept, len(kept.entries)), f"{node} keeps a wrong frontier")
        if node in self.both:
            self.node_was_shown(node, disk)
        elif not self.forks:
            self.must(not kept.evidence and not kept.head.frozen, f"{node} accuses an honest log")

    def _proves(self, evidence: Evidence) -> bool:
        """Whether both sides carry the log's own signature and differ."""
        return evidence.held != evidence.sent and self._signed(evidence.held) and self._signed(evidence.sent)

    def _signed(self, data: bytes) -> bool:
        try:
            block.parse_entry(data).verify(self.vkey.public)
        except FormatError:
            try:
                note.verify_note(note.parse_note(data), self.vkey)
            except FormatError:
                return False
        return True


def _root(kept: DiskLog, size: int) -> bytes:
    return merkle.root([merkle.leaf_hash(entry) for entry in kept.entries[:size]])
