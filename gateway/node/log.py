"""What a node decides about a log: pure. What is known and what was asked go in; a step to take or a refusal comes out.

The clauses are those of docs/format.md, section 8, and of C2SP `tlog-witness` for add-checkpoint. The order of the
checks is the order of the status codes: unknown log (404, the caller's), malformed (400), not signed by the log (403),
then what the log's own signature makes worth comparing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.core import block, cbor, limits, merkle
from gateway.core.block import REASON_CLOSED, Entry
from gateway.core.merkle import Frontier
from gateway.core.note import (
    Checkpoint,
    Note,
    VerifierKey,
    b64decode,
    decimal,
    parse_checkpoint,
    parse_note,
    verify_note,
)
from gateway.errors import FormatError
from gateway.node.store import Evidence, Growth, Head, TileHash, Witnessed

SIZE_TYPE = "text/x.tlog.size"
TILE_WIDTH = 256


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that changes nothing. With evidence it is an alarm; `freeze` says why the log is frozen by it."""

    status: int
    text: str
    size: int | None = None  # 409: the size to begin at
    evidence: Evidence | None = None
    freeze: str = ""


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """A sync request whose note is signed by the log. The entries are not looked at yet."""

    old: int
    entries: tuple[bytes, ...]
    note: str
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        """The size that the request leads to."""
        return self.checkpoint.size


@dataclass(frozen=True, slots=True)
class CheckpointRequest:
    """A well-formed add-checkpoint request. note: None where its signature lines cannot be read."""

    old: int
    proof: tuple[bytes, ...]
    text: str
    note: Note | None
    checkpoint: Checkpoint


# Sync


def read_sync(data: bytes, vkey: VerifierKey) -> SyncRequest | Refusal:
    """A request as far as its note's signature."""
    try:
        old, entries, text = _sync_fields(data)
        note = parse_note(text)
        checkpoint = parse_checkpoint(note.text)
    except FormatError as error:
        return Refusal(400, error.what)
    if checkpoint.origin != vkey.name:
        return Refusal(400, "the note is of another log")
    if checkpoint.size != old + len(entries) or not checkpoint.size:
        return Refusal(400, "the note is of another size than old size and entries make, or of size 0")
    try:
        verify_note(note, vkey)
    except FormatError as error:
        return Refusal(403, error.what)
    return SyncRequest(old, entries, note.encode(), checkpoint)


def _sync_fields(data: bytes) -> tuple[int, tuple[bytes, ...], str]:
    fields = cbor.decode(data)
    if not isinstance(fields, dict):
        raise FormatError("the request is not a map")
    old, entries, note = fields.get(1), fields.get(2), fields.get(3)
    if isinstance(old, bool) or not isinstance(old, int) or old < 0:
        raise FormatError("key 1, the old size, is missing or not an unsigned integer")
    if not isinstance(entries, list) or not isinstance(note, str):
        raise FormatError("key 2, the entries, or key 3, the note, is missing or of another type")
    if len(entries) > limits.SYNC_ENTRIES:
        raise FormatError(f"{len(entries)} entries are more than {limits.SYNC_ENTRIES}")
    listed = tuple(entry for entry in entries if isinstance(entry, bytes))
    if len(listed) != len(entries):
        raise FormatError("an entry is not a byte string")
    return old, listed, note


def judge_place(head: Head, request: SyncRequest, now: int) -> Refusal | None:
    """What is decided before any entry is looked at. None: the request begins where the log ends, or before that."""
    if head.frozen:
        return frozen(head)
    if _is_other_root(head.witnessed, request.checkpoint):
        return _two_roots(head, request.size, request.note, now)
    if request.old > head.size:
        return elsewhere(head.size)
    return None


def judge_resent(
    head: Head,
    request: SyncRequest,
    vkey: VerifierKey,
    held: Sequence[bytes],
    last: bytes,
    root: bytes | None,
    now: int,
) -> Refusal:
    """A request that begins before the log's end: 409 with its size, unless it shows another view, which is a fork.

    held: our entries from `request.old` on, as many as were sent or as there are. root, last: our root at the
    request's size and the entry before that size; root is None where we do not reach it.
    """
    for height, (ours, sent) in enumerate(zip(held, request.entries, strict=False), request.old):
        if ours != sent:
            refusal = _authentic(sent, vkey, height)
            if isinstance(refusal, Refusal):
                return refusal
            return _fork("entry", height, ours, sent, f"two entries of height {height}", now)
    if root is not None and root != request.checkpoint.root:
        return _fork("root", request.size, last, request.note.encode(), f"two roots of size {request.size}", now)
    return elsewhere(head.size)


def judge_growth(head: Head, request: SyncRequest, vkey: VerifierKey, now: int) -> Growth | Refusal:
    """A request that begins at the log's end: the step, all of it checked. Costs a signature check an entry."""
    hashes = _check_entries(head, request.entries, vkey, now)
    if isinstance(hashes, Refusal):
        return hashes
    was = head.witnessed
    frontier, tiles, root_then = grow_tree(head.frontier, hashes, was.size)
    if root_then is not None and root_then != was.root:
        sent = request.entries[was.size - head.size - 1] if was.size > head.size else request.note.encode()
        return _fork("root", was.size, head.note.encode(), sent, f"two roots of size {was.size}", now)
    if frontier.root() != request.checkpoint.root:
        if not request.entries:
            return _fork(
                "root", request.size, head.last, request.note.encode(), f"two roots of size {request.size}", now
            )
        what = f"the entries do not lead to the note's root of size {request.size}"
        return Refusal(
            422, what, evidence=Evidence("tree", request.size, request.entries[-1], request.note.encode(), now)
        )
    witnessed = Witnessed(request.size, request.checkpoint.root) if request.size >= was.size else was
    return Growth(head, frontier, request.entries, tiles, witnessed, request.note, request.size)


def judge_unnoted(head: Head, entries: Sequence[bytes], vkey: VerifierKey, now: int) -> Growth | Refusal:
    """Entries of a long catch-up, each signed and chained, whose checkpoint is still to come. Nothing is co-signed."""
    listed = tuple(entries)
    hashes = _check_entries(head, listed, vkey, now)
    if isinstance(hashes, Refusal):
        return hashes
    was = head.witnessed
    frontier, tiles, root_then = grow_tree(head.frontier, hashes, was.size)
    if root_then is not None and root_then != was.root and was.size > head.size:
        sent = listed[was.size - head.size - 1]
        return _fork("root", was.size, head.note.encode(), sent, f"two roots of size {was.size}", now)
    return Growth(head, frontier, listed, tiles, was)


def _check_entries(head: Head, entries: Sequence[bytes], vkey: VerifierKey, now: int) -> list[bytes] | Refusal:
    """The leaf hashes of entries that follow the log's last one."""
    prev = merkle.leaf_hash(head.last) if head.last else block.NO_PREV
    closed = bool(head.last) and block.parse_entry(head.last).header.reason == REASON_CLOSED
    hashes = []
    for height, raw in enumerate(entries, head.size):
        entry = _authentic(raw, vkey, height)
        if isinstance(entry, Refusal):
            return entry
        if entry.header.prev != prev:
            what = f"the entry of height {height} names another before it"
            if height == head.size and head.last:
                return _fork("prev", height - 1, head.last, raw, what, now)
            return Refusal(400, what)
        if closed:
            return Refusal(400, f"the log was closed at height {height - 1}")
        closed = entry.header.reason == REASON_CLOSED
        prev = merkle.leaf_hash(raw)
        hashes.append(prev)
    return hashes


def _authentic(raw: bytes, vkey: VerifierKey, height: int) -> Entry | Refusal:
    """The entry, if it is this log's at this height, under its key (section 4)."""
    try:
        entry = block.parse_entry(raw)
    except FormatError as error:
        return Refusal(400, f"entry {height}: {error.what}")
    if entry.header.origin != vkey.name or entry.header.height != height:
        return Refusal(400, f"entry {height} is of another log or height")
    if entry.key_id != vkey.key_id:
        return Refusal(403, f"entry {height} names another key")
    try:
        entry.verify(vkey.public)
    except FormatError as error:
        return Refusal(403, f"entry {height}: {error.what}")
    return entry


def grow_tree(
    frontier: Frontier, hashes: Sequence[bytes], watch: int
) -> tuple[Frontier, tuple[TileHash, ...], bytes | None]:
    """The frontier with more leaves, the tile hashes that they complete, and the root at size `watch`, if passed."""
    tiles: list[TileHash] = []
    root = frontier.root() if watch == frontier.size else None
    done = 0
    while done < len(hashes):
        size = frontier.size
        stop = min(size + len(hashes) - done, (size // TILE_WIDTH + 1) * TILE_WIDTH)
        if size < watch < stop:
            stop = watch
        step = hashes[done : done + stop - size]
        if stop % TILE_WIDTH == 0:
            before = frontier.extend(step[:-1])
            tiles += _completed(before, step[-1])
            frontier = before.append(step[-1])
        else:
            frontier = frontier.extend(step)
        done += len(step)
        if frontier.size == watch:
            root = frontier.root()
    return frontier, tuple(tiles), root


def _completed(before: Frontier, leaf: bytes) -> list[TileHash]:
    """The tile hashes that one more leaf completes: their parts are the last of the frontier's subtrees."""
    size = before.size + 1
    found = []
    level = 1
    while size % TILE_WIDTH**level == 0:
        parts = (*before.hashes[-8 * level :], leaf)
        found.append(TileHash(level, size // TILE_WIDTH**level - 1, merkle.fold(parts)))
        level += 1
    return found


def encode_sync(old: int, entries: Sequence[bytes], note: str) -> bytes:
    """A sync request."""
    return cbor.encode({1: old, 2: list(entries), 3: note})


def encode_answer(
    size: int,
    seen: str,
    wants: Sequence[tuple[int, int]],
    stored: tuple[int, str] | None,
    fleets: Sequence[int] = (),
) -> bytes:
    """The answer to a sync that was taken. seen: empty where the size is below the witnessed one."""
    fields: dict[int, cbor.Encodable] = {2: size}
    if seen:
        fields[1] = seen
    if wants:
        fields[3] = [[low, high] for low, high in wants]
    if stored is not None:
        fields[4], fields[5] = stored
    if fleets:
        fields[6] = list(fleets)
    return cbor.encode(fields)


# add-checkpoint


def read_add_checkpoint(data: bytes) -> CheckpointRequest | Refusal:
    """A request, in form. Its log is `checkpoint.origin`."""
    head, empty, tail = data.partition(b"\n\n")
    try:
        if not empty:
            raise FormatError("there is no empty line before the checkpoint")
        first, *proof = head.decode("ascii").split("\n")
        if not first.startswith("old "):
            raise FormatError("the first line is not `old` and a size")
        old = decimal(first.removeprefix("old "), "the old size", most=limits.FOREIGN_SIZE_MAX)
        if len(proof) > limits.PROOF_LINES:
            raise FormatError(f"more than {limits.PROOF_LINES} proof lines")
        hashes = tuple(_proof_hash(line) for line in proof)
        text, note = _read_note(tail)
        return CheckpointRequest(old, hashes, text, note, _read_checkpoint(text))
    except UnicodeDecodeError:
        return Refusal(400, "the request has a byte that does not belong there")
    except FormatError as error:
        return Refusal(400, error.what)


def _proof_hash(line: str) -> bytes:
    data = b64decode(line, "a proof line")
    if len(data) != merkle.HASH_BYTES:
        raise FormatError(f"a proof line has {len(data)} bytes, not {merkle.HASH_BYTES}")
    return data


def _read_note(data: bytes) -> tuple[str, Note | None]:
    """The note's text and the note. A line that cannot be read is a signature that does not verify, so: no note."""
    try:
        note = parse_note(data)
    except FormatError:
        text, empty, lines = data.decode().rpartition("\n\n")
        shaped = lines.endswith("\n") and all(line.startswith("— ") for line in lines[:-1].split("\n"))
        if not empty or not shaped or len(data) > limits.NOTE_BYTES:
            raise
        return text + "\n", None
    return note.text, note


def _read_checkpoint(text: str) -> Checkpoint:
    """As parse_checkpoint, but a wrong root of size 0 is told later, after the signature (tlog-witness: 422)."""
    lines = text.split("\n")
    if len(lines) > 2 and lines[1] == "0":
        empty = Checkpoint(lines[0], 0, merkle.EMPTY_ROOT, tuple(lines[3:-1]))
        parse_checkpoint(empty.text(), foreign=True)
        return replace(empty, root=b64decode(lines[2], "a checkpoint's root"))
    return parse_checkpoint(text, foreign=True)


def judge_checkpoint(
    head: Head, request: CheckpointRequest, vkey: VerifierKey, root: bytes | None, last: bytes, now: int
) -> Growth | Refusal:
    """The step to a further witnessed size. root, last: as in `judge_resent`, None where our entries do not reach it.

    Proof of a fork is kept whatever the status is: the code for a wrong old size is tlog-witness's all the same.
    """
    checkpoint, was = request.checkpoint, head.witnessed
    refusal = signed_by(request.note, vkey)
    if refusal or request.note is None:
        return refusal or Refusal(403, "no signature of the log can be read")
    if head.frozen:
        return frozen(head)
    if checkpoint.size == 0 and checkpoint.root != merkle.EMPTY_ROOT:
        return Refusal(422, "size 0 has another root than the empty tree's")
    note = request.note.encode()
    fork = _two_roots(head, checkpoint.size, note, now) if _is_other_root(was, checkpoint) else None
    if root is not None and root != checkpoint.root:
        fork = _fork("root", checkpoint.size, last, note.encode(), f"two roots of size {checkpoint.size}", now)
    refusal = _wrong_old_size(head, request)
    if refusal:
        return replace(refusal, evidence=fork.evidence, freeze=fork.freeze) if fork else refusal
    if fork:
        return fork
    try:
        merkle.verify_consistency(was.size, checkpoint.size, was.root, checkpoint.root, request.proof)
    except FormatError as error:
        return Refusal(422, f"the consistency proof does not verify: {error.what}")
    if head.size > was.size and checkpoint.size > head.size:
        return Refusal(503, "this node is catching up with the log: try again later")
    witnessed = Witnessed(checkpoint.size, checkpoint.root)
    return Growth(head, head.frontier, witnessed=witnessed, note=note, note_size=checkpoint.size)


def signed_by(note: Note | None, vkey: VerifierKey) -> Refusal | None:
    """403 unless the log signed the note."""
    if note is None:
        return Refusal(403, "no signature of the log can be read")
    try:
        verify_note(note, vkey)
    except FormatError as error:
        return Refusal(403, error.what)
    return None


def _wrong_old_size(head: Head, request: CheckpointRequest) -> Refusal | None:
    if request.old > request.checkpoint.size:
        return Refusal(400, "the old size is larger than the checkpoint's")
    if request.old != head.witnessed.size:
        return elsewhere(head.witnessed.size)
    return None


# Refusals


def elsewhere(size: int) -> Refusal:
    """409: the size at which the next request begins."""
    return Refusal(409, f"{size}\n", size=size)


def bounded(step: Growth | Refusal, size: int, frozen_at: int | None) -> Growth | Refusal:
    """A step that leads to `size`, unless the operator takes nothing of the log from height `frozen_at` on."""
    return step if isinstance(step, Refusal) or frozen_at is None or size <= frozen_at else stopped(frozen_at)


def stopped(frozen_at: int) -> Refusal:
    """The operator believes this key no more. 403: nothing is wrong with what is below, and nobody has forked."""
    return Refusal(403, f"the operator of this node takes nothing of this log from block {frozen_at} on (frozen_at)")


def frozen(head: Head) -> Refusal:
    """Nothing more is taken of this log."""
    return Refusal(422, f"the log is frozen: {head.frozen}")


def _is_other_root(was: Witnessed, checkpoint: Checkpoint) -> bool:
    return checkpoint.size == was.size and checkpoint.root != was.root


def _two_roots(head: Head, size: int, note: str, now: int) -> Refusal:
    return _fork("root", size, head.note.encode(), note.encode(), f"two roots of size {size}", now)


def two_roots_kept(size: int, last: bytes, note: str, now: int) -> Refusal:
    """A checkpoint that was co-signed before its entries were here is not theirs. last: our entry before the size."""
    return _fork("root", size, last, note.encode(), f"two roots of size {size}", now)


def _fork(kind: str, number: int, held: bytes, sent: bytes, what: str, now: int) -> Refusal:
    return Refusal(422, f"fork: {what}", evidence=Evidence(kind, number, held, sent, now), freeze=what)
