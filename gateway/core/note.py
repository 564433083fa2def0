"""Signed notes, checkpoints and co-signatures: text in, values or a FormatError out (docs/format.md, sections 5 and 6).

A note is text that ends in a newline, an empty line, and one or more signature lines ``— <key name> <base64>``. The
base64 holds the four bytes of the key id and then the signature. Lines of unknown keys are kept and ignored.
"""

import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.core import curves, ed25519
from gateway.core.limits import (
    COSIGNATURE_TIME_MAX,
    FOREIGN_SIZE_MAX,
    KEY_NAME_BYTES,
    NOTE_BYTES,
    NOTE_SIGNATURES,
    NUMBER_MAX,
    ORIGIN_BYTES,
)
from gateway.core.text import plain
from gateway.errors import FormatError

ED25519 = 0x01
"""Algorithm byte of a plain Ed25519 key: logs and read keys."""

COSIGNATURE = 0x04
"""Algorithm byte of a key that makes cosignature/v1: nodes and witnesses."""

SM2 = 0xFF
"""SM2 with SM3 has no byte of its own in `signed-note`: 0xFF and its object identifier stand for it (section 4)."""

_PREFIX = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DECIMAL = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_ORIGIN = re.compile(r"[a-z0-9./-]+/(0|[1-9][0-9]*)", re.ASCII)
_EMPTY_ROOT = hashlib.sha256().digest()
_TYPES = {ED25519: b"\x01", COSIGNATURE: b"\x04", SM2: b"\xff1.2.156.10197.1.501"}
_PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, SM2: 65}
_PAIR_BYTES = 64


def b64encode(data: bytes) -> str:
    """Standard base64 with padding, no newline (RFC 4648, section 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def b64decode(text: str, what: str) -> bytes:
    """Bytes of canonical base64; FormatError names `what`, never the text, which may be a secret."""
    try:
        data = binascii.a2b_base64(text.encode("ascii"))
    except ValueError:
        data = b""
    if not data or b64encode(data) != text:
        raise FormatError(f"{what} is not canonical base64")
    return data


def decimal(text: str, what: str, *, most: int = NUMBER_MAX) -> int:
    """An ASCII decimal without leading zeros, at most `most`."""
    if len(text) > 20 or not _DECIMAL.fullmatch(text):
        raise FormatError(f"{what} is not a decimal number without leading zeros")
    value = int(text)
    if value > most:
        raise FormatError(f"{what} is larger than {most}")
    return value


def is_key_name(name: str) -> bool:
    """Whether a signature line can carry this name: not empty, no space of any kind, no plus, no control character."""
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        return False
    try:
        return len(name.encode()) <= KEY_NAME_BYTES
    except UnicodeEncodeError:
        return False


def is_origin(origin: str) -> bool:
    """Whether this is a gateway's name, a slash and an epoch (section 5)."""
    return len(origin) <= ORIGIN_BYTES and _ORIGIN.fullmatch(origin) is not None


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """The first 4 bytes of SHA-256(name || 0x0A || algorithm || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + with_type(algorithm, public)).digest()[:4]


def with_type(algorithm: int, key: bytes) -> bytes:
    """A key, public or private, behind what stands for its algorithm."""
    return _TYPES.get(algorithm, bytes([algorithm])) + key


def split_type(data: bytes) -> tuple[int, bytes]:
    """The algorithm and the key behind it. FormatError for an algorithm that is not known here."""
    for algorithm, mark in _TYPES.items():
        if data.startswith(mark):
            return algorithm, data[len(mark) :]
    raise _unknown("the key", data[0] if data else 0)


def _unknown(what: str, algorithm: int) -> FormatError:
    return FormatError(
        f"{what}: algorithm 0x{algorithm:02x} is not known here",
        cure="Use an Ed25519 key: 0x01 for a log or a reader, 0x04 for a witness",
    )


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name: `name+<8 hex digits of the key id>+<base64 of algorithm byte and key>`.

    public: 32 bytes; of SM2 the 65 of an uncompressed point.
    """

    name: str
    key_id: bytes
    algorithm: int
    public: bytes

    @classmethod
    def make(cls, name: str, algorithm: int, public: bytes) -> "VerifierKey":
        """The key with its id worked out. FormatError for a name, an algorithm or a length that notes do not allow."""
        if not is_key_name(name):
            raise FormatError(f"key name {name!r} is empty, too long, or has a space or a plus in it")
        if algorithm not in _TYPES:
            raise _unknown(f"key {plain(name)}", algorithm)
        if len(public) != _PUBLIC_BYTES[algorithm]:
            wanted = _PUBLIC_BYTES[algorithm]
            raise FormatError(f"key {plain(name)}: the public key has {len(public)} bytes, not {wanted}")
        if algorithm == SM2:
            curves.SM2.point(public)
        return cls(name, key_id(name, algorithm, public), algorithm, public)

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """The key in a vkey's text; only the one canonical spelling is taken."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise FormatError("a verifier key is written name+id+key", cure="Copy the whole line, with both plus signs")
        name, identity, encoded = parts
        data = b64decode(encoded, "the key in a verifier key")
        key = cls.make(name, *split_type(data))
        if identity != key.key_id.hex():
            raise FormatError(f"verifier key {plain(name)}: the id does not belong to this name and key")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(with_type(self.algorithm, self.public))}"


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note: who (name and 4-byte key id) and the bytes after the key id."""

    name: str
    key_id: bytes
    body: bytes

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line claims to be this key's: both name and id are the key's."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True)
class Note:
    """Signed text. `text` ends in a newline; `lines` are in the order in which they stand."""

    text: str
    lines: tuple[SignatureLine, ...]

    def encode(self) -> str:
        """The note as it is written: text, empty line, signature lines."""
        return self.text + "\n" + "".join(map(format_line, self.lines))

    def with_lines(self, lines: Iterable[SignatureLine]) -> "Note":
        """The note with further lines at its end; a line that it already has is not repeated."""
        return replace(self, lines=tuple(dict.fromkeys((*self.lines, *lines))))


def format_line(line: SignatureLine) -> str:
    """`— name base64` and a newline."""
    return f"{_PREFIX}{line.name} {b64encode(line.key_id + line.body)}\n"


def parse_line(text: str) -> SignatureLine:
    """One signature line with its newline."""
    if not text.startswith(_PREFIX) or not text.endswith("\n"):
        raise FormatError("a signature line begins with an em dash and a space and ends in a newline")
    name, space, encoded = text[len(_PREFIX) : -1].partition(" ")
    if not space or not is_key_name(name):
        raise FormatError("a signature line has a key name, one space and base64")
    data = b64decode(encoded, f"the signature of {plain(name)}")
    if len(data) < 5:
        raise FormatError(f"the signature of {plain(name)} is shorter than 5 bytes")
    return SignatureLine(name, data[:4], data[4:])


def parse_lines(text: str) -> tuple[SignatureLine, ...]:
    """Signature lines on their own, as a node answers them; at most NOTE_SIGNATURES."""
    if len(text) > NOTE_BYTES:
        raise FormatError(f"signature lines are longer than {NOTE_BYTES} bytes")
    lines = text.split("\n")
    if lines.pop():
        raise FormatError("the last signature line does not end in a newline")
    if len(lines) > NOTE_SIGNATURES:
        raise FormatError(f"{len(lines)} signature lines are more than {NOTE_SIGNATURES}")
    return tuple(parse_line(line + "\n") for line in lines)


def parse_note(data: bytes | str) -> Note:
    """A note of at most NOTE_BYTES with 1 to NOTE_SIGNATURES lines. Nothing is verified here."""
    try:
        raw = data.encode() if isinstance(data, str) else data
        text = raw.decode()
    except UnicodeError:
        raise FormatError("a note is not valid UTF-8") from None
    if len(raw) > NOTE_BYTES:
        raise FormatError(f"a note of {len(raw)} bytes is longer than {NOTE_BYTES}")
    if _CONTROL.search(text):
        raise FormatError("a note has a control character in it")
    body, empty, signatures = text.rpartition("\n\n")
    if not empty or not signatures:
        raise FormatError("a note is text, an empty line and at least one signature line")
    return Note(body + "\n", parse_lines(signatures))


def verify_note(note: Note, key: VerifierKey) -> None:
    """The text is signed by this Ed25519 key. A line that claims to be the key's and is not refuses the whole note."""
    lines = [line for line in note.lines if line.is_by(key)]
    if key.algorithm != ED25519:
        raise FormatError(f"{key.name} is a co-signing key, not one that signs notes")
    if not lines:
        raise FormatError(f"the note has no signature of {key.name}+{key.key_id.hex()}")
    message = note.text.encode()
    if not all(ed25519.verify(key.public, message, line.body) for line in lines):
        raise FormatError(f"the note's signature of {key.name} is not by that key over this text")


def verify_sm2(note: Note, key: VerifierKey) -> None:
    """The text is signed by this SM2 key as well: r and s, 32 bytes each, over the text with the default id."""
    lines = [line for line in note.lines if line.is_by(key)]
    if key.algorithm != SM2:
        raise FormatError(f"{plain(key.name)} is not an SM2 key")
    if not lines:
        raise FormatError(f"the note has no signature of {plain(key.name)}+{key.key_id.hex()}")
    point, message = curves.SM2.point(key.public), note.text.encode()
    for line in lines:
        r, s = int.from_bytes(line.body[:32], "big"), int.from_bytes(line.body[32:], "big")
        if len(line.body) != _PAIR_BYTES or not curves.is_sm2(point, message, r, s):
            raise FormatError(f"the note's SM2 signature of {plain(key.name)} is not by that key over this text")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root. `extensions` are further lines of a foreign log; ours have none."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The note text that is signed."""
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), b64encode(self.root), *self.extensions))


def parse_checkpoint(text: str, *, foreign: bool = False) -> Checkpoint:
    """The checkpoint in a note's text. `foreign` takes what any C2SP log writes: further lines, any origin and size."""
    lines = text.split("\n")
    if lines.pop() or len(lines) < 3 or not all(lines) or _CONTROL.search(text):
        raise FormatError("a checkpoint is three or more lines, none of them empty")
    origin = lines[0]
    if not foreign and (len(lines) > 3 or not is_origin(origin)):
        raise FormatError("a gateway's checkpoint is its origin, its size and its root, and nothing else")
    size = decimal(lines[1], "a checkpoint's size", most=FOREIGN_SIZE_MAX if foreign else NUMBER_MAX)
    root = b64decode(lines[2], "a checkpoint's root")
    if len(root) != 32:
        raise FormatError(f"a checkpoint's root has {len(root)} bytes, not 32")
    if not size and root != _EMPTY_ROOT:
        raise FormatError("a checkpoint of size 0 has another root than the empty tree's")
    return Checkpoint(origin, size, root, tuple(lines[3:]))


def cosign_message(timestamp: int, text: str) -> bytes:
    """What a cosignature/v1 signs: a header line, the time in Unix seconds, and the note's text."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def cosignature_line(name: str, key_id: bytes, timestamp: int, signature: bytes) -> SignatureLine:
    """The line of a cosignature/v1: 8 bytes of time and 64 of signature."""
    return SignatureLine(name, key_id, timestamp.to_bytes(8, "big") + signature)


def cosignature_time(line: SignatureLine) -> int:
    """The time in Unix seconds that a co-signature line claims. FormatError where it is none."""
    if len(line.body) != 72:
        raise FormatError(f"the co-signature of {plain(line.name)} has {len(line.body)} bytes, not 72")
    timestamp = int.from_bytes(line.body[:8], "big")
    if timestamp > COSIGNATURE_TIME_MAX:
        raise FormatError(f"the co-signature of {plain(line.name)} has a time past 2^63")
    return timestamp


def verify_cosignature(text: str, line: SignatureLine, key: VerifierKey) -> int:
    """The time in Unix seconds of this key's co-signature over `text`; FormatError where it is not one."""
    if key.algorithm != COSIGNATURE:
        raise FormatError(f"{key.name} is not a co-signing key (algorithm 0x04)")
    if not line.is_by(key):
        raise FormatError(f"the signature line of {plain(line.name)} is not by {key.name}+{key.key_id.hex()}")
    timestamp = cosignature_time(line)
    if not ed25519.verify(key.public, cosign_message(timestamp, text), line.body[8:]):
        raise FormatError(f"the co-signature of {key.name} is not by that key over this checkpoint")
    return timestamp


def cosigned_at(note: Note, key: VerifierKey) -> int | None:
    """Earliest time at which this key co-signed the note; None without a line of it. FormatError where one is false."""
    times = [verify_cosignature(note.text, line, key) for line in note.lines if line.is_by(key)]
    return min(times, default=None)
