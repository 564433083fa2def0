"""The offline verifier of receipts. A whole chain is checked by `gateway.core.chain`.

Each step checks one clause of docs/format.md, in the order of its section 10, and stops at the first that fails. What a
step proves rests on the steps before it, so a change of one byte is refused where its section is bound:

===================================================  ====  ===================================================
the byte is in                                       step  because
===================================================  ====  ===================================================
the first line, line ends, CBOR heads of `extra`        1  the file has one spelling
the checkpoint's text, the log's signature line         2  the log's key signs the text
a co-signature line of a witness that is needed         3  its key signs the text with the time
`extra`: entry; the line `index`; the log path          4  they lead to the checkpoint's root
nothing of its own                                      5  a log that signs a checkpoint over a false entry
`extra`: leaf, index, path in the block                 6  they lead to the root in the signed header
`extra`: payload, raw salt                              7  the pack holds their digest
`extra`: an anchor                                      9  its path and its evidence lead to a block
===================================================  ====  ===================================================

Three things may change unnoticed, because nothing that is trusted depends on them: a line of a key that the policy does
not name (so also a surplus witness's line whose name or key id is changed), the evidence of an anchor whose kind is not
known, which is shown as not checked, and unknown keys of `extra`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

from gateway.core import block, merkle, note, senml
from gateway.core.anchor import Anchored, Pin, of_chain
from gateway.core.chain import check_entry
from gateway.core.note import Checkpoint, Note, VerifierKey
from gateway.core.policy import Policy, parse_policy
from gateway.core.receipt import Anchor, Receipt, parse_receipt
from gateway.core.text import plain
from gateway.errors import FormatError, VerifyError


@dataclass(frozen=True, slots=True)
class Rule:
    """What a step checks: its name, the clause of docs/format.md, and what helps when it fails."""

    title: str
    clause: str
    cure: str


SUCCESSION = 8  # the step that is of two receipts
SM2_KEY = "sm2"  # pins of this kind are of signatures, not of chains
_AGAIN = "Get the receipt again: it was changed, or it proves something else"

RULES = (
    Rule("the file", "section 10, tlog-proof", "Get the receipt again: this file is damaged or is no receipt"),
    Rule(
        "the log's signature",
        "section 5, signed-note",
        "Check that the policy lists this gateway's log; else get it again",
    ),
    Rule("the co-signatures", "section 6, cosignature/v1", "Get a receipt over a checkpoint that more nodes co-signed"),
    Rule("the entry's place in the log", "section 10, RFC 9162 section 2.1.3", _AGAIN),
    Rule(
        "the signed header",
        "sections 3 and 4, COSE_Sign1",
        "Do not trust this log: it signed a tree over a false entry",
    ),
    Rule("the reading's place in the block", "section 3, RFC 9162 section 2.1.3", _AGAIN),
    Rule("the reading", "section 2, SenML", _AGAIN),
    Rule(
        "the succession",
        "section 5, next-vkey and successor-of",
        "Ask for the receipts of the last reading of the old log and of the first of the new one; where both are, the "
        "second log is not the planned successor of the first",
    ),
    Rule("the anchors", "section 12", "Get the receipt again, or look at the chain yourself and correct the pins"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was passed, and in a line what it found."""

    number: int
    title: str
    clause: str
    found: str


@dataclass(frozen=True, slots=True)
class Attested:
    """A witness of the policy whose co-signature is valid, and its earliest time in Unix seconds."""

    name: str
    key: VerifierKey
    time: int


@dataclass(frozen=True, slots=True)
class Verified:
    """A receipt that passed every step.

    Times in `reading` and `header` are the gateway's claims. `earliest`, Unix seconds, is the time of the earliest
    co-signature: the reading is not later than that, by the word of that witness; None where nobody co-signed.
    `payload` holds the bytes as they arrived, in the pack or apart. `anchors` stand with where each was found; None for
    a kind that is not known here. `unknown_lines` counts signature lines of keys that neither the policy nor a pin
    names. `sm2` has the keys of pins that signed as well.
    """

    steps: tuple[Step, ...]
    log: VerifierKey
    checkpoint: Checkpoint
    header: block.Header
    index: int
    reading: senml.Reading
    payload: bytes | None
    witnesses: tuple[Attested, ...]
    earliest: int | None
    anchors: tuple[tuple[Anchor, Anchored | None], ...]
    unknown_lines: int
    sm2: tuple[VerifierKey, ...] = ()


def verify_receipt(receipt: bytes, policy: bytes, pins: Sequence[Pin] = ()) -> Verified:
    """Check a receipt file against a policy file and pins, with nothing else: no network, no clock, no store.

    pins: with one that speaks of a chain, an anchor must be there that they prove.
    VerifyError names the first step that fails; FormatError says that the policy is malformed or lists no log.
    """
    trusted = parse_policy(policy)
    if not trusted.logs:
        raise FormatError("the policy lists no log", where="policy", cure="Add a line `log` with the gateway's vkey")
    known = [pin for pin in pins if pin.kind != SM2_KEY]
    steps: list[Step] = []
    with _step(steps, 1) as found:
        parts = parse_receipt(receipt)
        found(f"a receipt with {len(parts.note.lines)} signature lines")
    with _step(steps, 2) as found:
        log, checkpoint = _check_log(parts.note, trusted)
        sm2 = _check_sm2(parts.note, log.name, pins)
        found(f"{log.name} signed size {checkpoint.size}{', by SM2 with SM3 as well' if sm2 else ''}")
    with _step(steps, 3) as found:
        witnesses = _check_cosignatures(parts.note, trusted)
        found(f"{_names(witnesses) or 'nobody'} co-signed; the policy asks for {trusted.asks_for()}")
    with _step(steps, 4) as found:
        entry_hash = merkle.leaf_hash(parts.entry)
        merkle.verify_inclusion(entry_hash, parts.log_index, checkpoint.size, parts.log_path, checkpoint.root)
        found(f"entry of height {parts.log_index}, in a tree of {checkpoint.size}")
    with _step(steps, 5) as found:
        header = check_entry(parts.entry, log, parts.log_index).header
        found(f"block {header.height} of {header.origin}, {header.count} readings")
    with _step(steps, 6) as found:
        leaf_hash = merkle.leaf_hash(parts.leaf)
        merkle.verify_inclusion(leaf_hash, parts.index, header.count, parts.path, header.root)
        found(f"reading {parts.index + 1} of {header.count}")
    with _step(steps, 7) as found:
        reading, payload = _check_reading(parts)
        found(
            f"{len(reading.records)} values of {reading.source}"
            + ("" if payload is None else ", payload as it arrived")
        )
    anchored: list[Anchored | None] = []
    if parts.anchors or known:
        with _step(steps, 9) as found:
            anchored = _check_anchors(parts, header.origin, entry_hash, known)
            proven = sum(one is not None and bool(one.by) for one in anchored)
            found(f"{len(anchored)} anchors, {proven} proven by the pins")
    return Verified(
        steps=tuple(steps),
        log=log,
        checkpoint=checkpoint,
        header=header,
        index=parts.index,
        reading=reading,
        payload=payload,
        witnesses=witnesses,
        earliest=min((witness.time for witness in witnesses), default=None),
        anchors=tuple(zip(parts.anchors, anchored, strict=True)),
        unknown_lines=_count_unknown(parts.note, [log, *sm2], trusted),
        sm2=sm2,
    )


@dataclass(frozen=True, slots=True)
class Succession:
    """The new log is the planned successor of the old one, by the word of both. Each receipt passed its seven steps."""

    old: Verified
    new: Verified
    step: Step


def verify_succession(last: bytes, first: bytes, policy: bytes) -> Succession:
    """Check that one log goes on for another: `last`, the receipt of the reading that closes the old log, and `first`,
    that of the new log's first one. The policy lists both logs: that is where the trust comes from (section 5).

    VerifyError and FormatError as for `verify_receipt`; `old` or `new` in `where` says which of the two it is.
    """
    old, new = _named("old", last, policy), _named("new", first, policy)
    steps: list[Step] = []
    with _step(steps, SUCCESSION) as found:
        _check_closing(old, new)
        _check_first(old, new)
        found(f"{old.log.name} was closed with block {old.header.height} for {new.log.name}, which cites it")
    return Succession(old, new, steps[0])


def _named(which: str, receipt: bytes, policy: bytes) -> Verified:
    try:
        return verify_receipt(receipt, policy)
    except VerifyError as error:
        error.where = f"{which}: {error.where}"
        raise


def _check_closing(old: Verified, new: Verified) -> None:
    """The old log's word: its last block, which says that none follows, names the new key."""
    if old.header.reason != block.REASON_CLOSED:
        raise FormatError(f"block {old.header.height} of the old log does not close it")
    if old.checkpoint.size != old.header.height + 1:
        raise FormatError("the old log was signed with more blocks than the one that closes it")
    if _told(old, "next-vkey") != [str(new.log)]:
        raise FormatError("the reading that closes the old log names another successor, or none")


def _check_first(old: Verified, new: Verified) -> None:
    """The new log's word: its very first reading holds the old log's checkpoint, the one that was proved."""
    if (new.header.height, new.index) != (0, 0):
        raise FormatError("this is not the new log's first reading")
    if _told(new, "log") != [str(old.log)] or _told(new, "event") != ["successor-of"]:
        raise FormatError("the new log's first reading names another log before it, or none")
    cited = _told(new, "checkpoint")
    if len(cited) != 1:
        raise FormatError("the new log's first reading has not one checkpoint of the log before it")
    signed = note.parse_note(cited[0])
    note.verify_note(signed, old.log)
    if note.parse_checkpoint(signed.text) != old.checkpoint:
        raise FormatError("the new log cites another checkpoint of the old one than its last")


def _told(receipt: Verified, name: str) -> list[str]:
    """The values of that name in a reading of the gateway itself; a source that bears such a name says nothing."""
    if receipt.reading.source != "gateway":
        return []
    return [str(record.value) for record in receipt.reading.records if record.name == name]


@contextmanager
def _step(steps: list[Step], number: int) -> Iterator[Callable[[str], None]]:
    """Run step `number`: a FormatError within it becomes its VerifyError, and what it found is kept."""
    rule = RULES[number - 1]
    found: list[str] = []
    try:
        yield found.append
    except FormatError as exc:
        what = f"{exc.where}: {exc.what}" if exc.where else exc.what
        raise VerifyError(number, rule.title, what, clause=rule.clause, cure=exc.cure or rule.cure) from exc
    steps.append(Step(number, rule.title, rule.clause, "".join(found)))


def _check_log(signed: Note, trusted: Policy) -> tuple[VerifierKey, Checkpoint]:
    """The log whose name is the text's first line and whose key signed it (several keys may bear one name)."""
    origin = signed.text.partition("\n")[0]
    keys = [key for key in trusted.logs if key.name == origin]
    if not keys:
        raise FormatError(f"the policy lists no log named {origin!r}")
    signers = [key for key in keys if any(line.is_by(key) for line in signed.lines)]
    if not signers:
        raise FormatError(f"there is no signature of the key that the policy lists for {plain(origin)}")
    for key in signers:
        note.verify_note(signed, key)
    return signers[0], note.parse_checkpoint(signed.text)


def _check_sm2(signed: Note, origin: str, pins: Sequence[Pin]) -> tuple[VerifierKey, ...]:
    """The SM2 keys that are pinned: each of them must have signed the checkpoint (section 5)."""
    keys = sm2_keys(pins, origin)
    for key in keys:
        note.verify_sm2(signed, key)
    return keys


def sm2_keys(pins: Sequence[Pin], origin: str) -> tuple[VerifierKey, ...]:
    """The keys of the pins `sm2 ORIGIN key VKEY` that are of this log. FormatError for one that is none."""
    keys = []
    for pin in of_chain(pins, SM2_KEY, origin):
        try:
            (text,) = pin.values
            key = VerifierKey.parse(text)
        except (ValueError, FormatError):
            key = None
        if pin.word != "key" or key is None or key.algorithm != note.SM2:
            raise pin.fault("a pin of an SM2 key is `key` and its name+id+base64")
        keys.append(key)
    return tuple(keys)


def _check_cosignatures(signed: Note, trusted: Policy) -> tuple[Attested, ...]:
    """The policy's witnesses that co-signed. A false line of any of them refuses the receipt, needed or not."""
    times = [(witness, note.cosigned_at(signed, witness.key)) for witness in trusted.witnesses]
    attested = tuple(Attested(witness.name, witness.key, time) for witness, time in times if time is not None)
    if not trusted.satisfied({witness.key for witness in attested}):
        who = _names(attested) or "nobody that it names"
        raise FormatError(f"the policy asks for {trusted.asks_for()}; {who} co-signed")
    return attested


def _names(witnesses: tuple[Attested, ...]) -> str:
    return ", ".join(plain(witness.name) for witness in witnesses)


def _check_reading(parts: Receipt) -> tuple[senml.Reading, bytes | None]:
    """The pack, and the payload in it or beside it."""
    _, pack = block.parse_leaf(parts.leaf)
    reading = senml.resolve(pack)
    if parts.payload is None or parts.raw_salt is None:
        return reading, reading.raw
    if reading.raw_sha256 != block.payload_digest(parts.raw_salt, parts.payload):
        raise FormatError("the payload beside the reading is not the one whose digest the reading holds")
    return reading, parts.payload


def _check_anchors(parts: Receipt, origin: str, entry_hash: bytes, pins: Sequence[Pin]) -> list[Anchored | None]:
    """Where each anchor stands. The kinds are imported where there is one: most receipts are checked without."""
    check = import_module("gateway.core.anchor_kinds").check
    found: list[Anchored | None] = [check(one, origin, (entry_hash, parts.log_index), pins) for one in parts.anchors]
    if pins and not found:
        raise FormatError(
            "the receipt has no anchor", cure="Ask for another: it carries the anchors that there are then"
        )
    if pins and not any(one is not None and one.by for one in found):
        what = "the pins prove none of the receipt's anchors"
        raise FormatError(
            what, cure="Pin a block that `fieldgate verify` without --pins tells, as the chain itself has it"
        )
    return found


def _count_unknown(signed: Note, signers: Sequence[VerifierKey], trusted: Policy) -> int:
    known = [*signers, *trusted.logs, *(witness.key for witness in trusted.witnesses)]
    return sum(not any(line.is_by(key) for key in known) for line in signed.lines)
