"""A receipt with one byte changed in each of its sections, and the step of the verifier that has to refuse it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.core.policy import parse_policy
from gateway.core.receipt import Receipt, parse_receipt


@dataclass(frozen=True, slots=True)
class Flip:
    """A receipt with one byte changed: in which section, and the step that has to refuse it."""

    section: str
    receipt: bytes
    step: int


def flips(receipt: bytes, policy: bytes) -> Iterator[Flip]:
    """One changed byte in each section that a valid receipt has."""
    parts = parse_receipt(receipt)
    trusted = parse_policy(policy)
    yield Flip("first line", _flip(receipt), 1)
    text = _flip(parts.note.text.encode()).decode()
    yield Flip("checkpoint", _encode(replace(parts, note=replace(parts.note, text=text))), 2)
    for place, line in enumerate(parts.note.lines):
        step = 2 if any(line.is_by(key) for key in trusted.logs) else 3
        if step == 2 or any(line.is_by(witness.key) for witness in trusted.witnesses):
            lines = list(parts.note.lines)
            lines[place] = replace(line, body=_flip(line.body, at=-1))
            yield Flip(
                f"signature of {line.name}", _encode(replace(parts, note=replace(parts.note, lines=tuple(lines)))), step
            )
    yield Flip("log index", _encode(replace(parts, log_index=parts.log_index ^ 1)), 4)
    if parts.log_path:
        yield Flip("log path", _encode(replace(parts, log_path=_flip_path(parts.log_path))), 4)
    yield Flip("entry", _encode(replace(parts, entry=_flip(parts.entry, at=-1))), 4)
    yield Flip("leaf", _encode(replace(parts, leaf=_flip(parts.leaf, at=-1))), 6)
    yield Flip("index in the block", _encode(replace(parts, index=parts.index ^ 1)), 6)
    if parts.path:
        yield Flip("path in the block", _encode(replace(parts, path=_flip_path(parts.path))), 6)
    if parts.payload is not None and parts.raw_salt is not None:
        if parts.payload:
            yield Flip("payload apart", _encode(replace(parts, payload=_flip(parts.payload))), 7)
        yield Flip("raw salt", _encode(replace(parts, raw_salt=_flip(parts.raw_salt))), 7)


def _flip(data: bytes, at: int = 0) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _flip_path(path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (_flip(path[0]), *path[1:])


def _encode(parts: Receipt) -> bytes:
    return parts.encode().encode()
