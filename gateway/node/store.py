"""What a node keeps for each log, behind narrow interfaces. tests/contracts/test_node_store.py is their law in full.

Every method names a log by its id, SHA-256(origin) in lower-case hex. Whatever a method has written is durable when it
returns, and a method that fails has written nothing. Errors: StoreFullError (no room, nothing changed), StoreError
(stop), and those that a method names itself. Reads see every write that returned before they began.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple, Protocol

from gateway.core import merkle
from gateway.core.anchor_row import AnchorRow
from gateway.core.merkle import Frontier

Kind = Literal["seen", "stored"]
"""What a co-signature says (docs/format.md, section 6)."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The size and root that were last co-signed as seen, by sync or by add-checkpoint."""

    size: int = 0
    root: bytes = merkle.EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Head:
    """All that a decision about a log needs to know of it.

    last: the entry with the largest height, empty where there is none. note: the log's note of the witnessed size.
    frozen: why nothing more is taken; empty while all is well.
    """

    vkey: str
    stored_from: int = 0
    frontier: Frontier = field(default_factory=Frontier)
    last: bytes = b""
    witnessed: Witnessed = field(default_factory=Witnessed)
    note: str = ""
    frozen: str = ""

    @property
    def size(self) -> int:
        """Entries held."""
        return self.frontier.size


@dataclass(frozen=True, slots=True)
class TileHash:
    """The hash of the complete subtree over leaves [index * 256**level, (index + 1) * 256**level), level 1 or more."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Growth:
    """A step of a log: further entries, a further witnessed size, or both. `old` is what it was decided upon.

    note: the log's note of size `frontier.size`, or of the witnessed size where no entry came with it; None where an
    entry was taken whose checkpoint is still to come (a long catch-up).
    """

    old: Head
    frontier: Frontier
    entries: tuple[bytes, ...] = ()
    hashes: tuple[TileHash, ...] = ()
    witnessed: Witnessed = field(default_factory=Witnessed)
    note: str | None = None
    note_size: int = 0


class Shown(NamedTuple):
    """What was witnessed of a log: its id, size and root."""

    log: bytes
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """A checkpoint with what this node signed over it: each first line, with the earliest time, and each latest one."""

    size: int
    note: str
    seen: str = ""
    seen_latest: str = ""
    stored: str = ""
    stored_latest: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two views of a log: what this node held, and what came, each as bytes that carry the log's own signature.

    kind: `entry` (two entries of one height), `prev` (an entry that names another before it), `root` (two roots of one
    size), `tree` (entries that do not lead to their checkpoint). number: the height or the size.
    """

    kind: str
    number: int
    held: bytes
    sent: bytes
    time: int


class Form(IntEnum):
    """How much of a block's body is held. A larger value replaces a smaller one.

    CUT: something is withheld, a reading or its payload. GONE: declared gone by the gateway, and that was checked.
    OPEN: everything is disclosed, each reading by its own salt. WHOLE: everything, with the block's secret.
    """

    CUT = 1
    GONE = 2
    OPEN = 3
    WHOLE = 4

    @property
    def fills(self) -> bool:
        """Whether a want is filled: a body with withheld items never does (section 7)."""
        return self is not Form.CUT


@dataclass(frozen=True, slots=True)
class Span:
    """The observation times of one source's readings in one body, Unix milliseconds."""

    source: str
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was checked against its header. data: the body of section 7, compressed (zlib)."""

    form: Form
    data: bytes
    spans: tuple[Span, ...] = ()


class Headers(Protocol):
    """Entries and the tree over them.

    Law: heights have no gaps; `frontier`, `entries`, `hashes` and `witnessed` change together or not at all; an entry,
    once there, never changes; the witnessed size never falls, and its root never changes while the size stays.
    """

    async def enrol(self, log: str, vkey: str, stored_from: int) -> Head:
        """The log, made new where it is not there. ConflictError where it is enrolled with another key or start."""
        ...

    async def head(self, log: str) -> Head:
        """What is held of an enrolled log. NotFoundError."""
        ...

    async def grow(self, log: str, growth: Growth) -> None:
        """Takes the step, and wants the bodies of the new entries from `stored_from` on.

        Compare-and-swap: ConflictError where size, witnessed or frozen are no longer what `growth.old` says.
        """
        ...

    async def entries(self, log: str, start: int, count: int) -> list[bytes]:
        """At most `count` entries from height `start`; fewer where the log ends."""
        ...

    async def hashes(self, log: str, level: int, start: int, count: int) -> list[bytes]:
        """At most `count` hashes of TileHash's level 1 or more, from index `start`; fewer where the level ends."""
        ...


class Notes(Protocol):
    """Checkpoints and the lines over them.

    Law: a note stays as it first came; the first line of each kind stays for ever, the latest is replaced.
    """

    async def keep_line(self, log: str, size: int, kind: Kind, line: str) -> None:
        """Keeps a signature line that this node has made. NotFoundError where there is no note of that size."""
        ...

    async def note_upto(self, log: str, size: int, kind: Kind | None = None) -> Noted | None:
        """The largest checkpoint of at most `size`; with a kind, the largest that carries such a line."""
        ...

    async def note_from(self, log: str, size: int, kind: Kind | None = None) -> Noted | None:
        """The smallest checkpoint of at least `size`; with a kind, the smallest that carries such a line."""
        ...


class Bodies(Protocol):
    """Bodies of blocks and which of them are lacking.

    Law: a body is replaced only by a fuller one; a height is wanted exactly while it is at or above the log's
    `stored_from`, its entry is held, and no body is held that fills the want.
    """

    async def take_body(self, log: str, height: int, body: Body) -> bool:
        """Keeps the body with its readings' index; False where one at least as full was there.

        NotFoundError where there is no entry of that height.
        """
        ...

    async def body(self, log: str, height: int) -> Body | None:
        """The body, without its spans."""
        ...

    async def drop_body(self, log: str, height: int) -> None:
        """Forgets a body that is no longer readable, so that it is wanted again."""
        ...

    async def wants(self, log: str, limit: int) -> list[tuple[int, int]]:
        """The lowest `limit` ranges of wanted heights: half-open, ascending, disjoint, not touching."""
        ...

    async def gone(self, log: str, limit: int) -> list[int]:
        """The lowest `limit` heights whose bodies the gateway declared gone."""
        ...

    async def find(self, log: str, source: str, at_ms: int, limit: int) -> list[int]:
        """Heights that may hold the source's last reading at or before `at_ms`: the newest `limit` of them."""
        ...


class Proofs(Protocol):
    """Evidence against a log. Law: it is never removed, and a frozen log stays frozen."""

    async def accuse(self, log: str, evidence: Evidence, *, freeze: str) -> None:
        """Keeps the evidence and freezes the log for the reason given, if any.

        Evidence that freezes nothing is kept up to EVIDENCE_PER_LOG.
        """
        ...

    async def evidence(self, log: str) -> Sequence[Evidence]:
        """All of it, oldest first."""
        ...


class Fleets(Protocol):
    """Statements of many logs that are put on chains, by the name of their table [anchor.NAME].

    Law: of a name the newest FLEETS_KEPT rows are kept, and the newest that is anchored; leaves are kept of that one
    and of the one that was kept last.
    """

    async def witnessed(self) -> list[Shown]:
        """Each log of which something was witnessed and that is not frozen."""
        ...

    async def keep_leaves(self, name: str, number: int, leaves: bytes) -> None:
        """Keeps what stands in the statement of that number, beside those of the newest that is anchored and the newest
        that may have been sent: that may come to be anchored after all.
        """
        ...

    async def leaves(self, name: str, number: int) -> bytes:
        """The same again; empty where it is not kept."""
        ...

    async def keep_anchor(self, row: AnchorRow) -> None:
        """Writes the row, which replaces the one of its name and size."""
        ...

    async def anchors(self, name: str) -> list[AnchorRow]:
        """All rows of a name, the largest size first."""
        ...


class NodeStore(Headers, Notes, Bodies, Proofs, Fleets, Protocol):
    """All of it, as one engine provides it."""

    @property
    def commits(self) -> int:
        """Writes that this process has made durable."""
        ...

    async def probe(self) -> None:
        """Makes something durable that changes nothing that is kept: whether the store still writes."""
        ...

    async def close(self) -> None:
        """Lets a running write end, then closes."""
        ...
