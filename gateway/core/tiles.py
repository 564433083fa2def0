"""Tiles and entry bundles of a log: paths and bytes, as C2SP `tlog-tiles` has them (docs/format.md, section 5)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.core.limits import BUNDLE_ENTRY_BYTES, ENTRY_BYTES, TILE_INDEX_MAX, TILE_LEVEL_MAX
from gateway.errors import FormatError

WIDTH = 256
"""Hashes in a full tile, entries in a full bundle."""

Kind = Literal["tile", "entries", "checkpoint"]

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<n>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TilePath:
    """One resource of a log. `level` is 0 for entries and the checkpoint; `width` is 1..255, or 256 when full."""

    kind: Kind
    level: int = 0
    n: int = 0
    width: int = WIDTH

    def __str__(self) -> str:
        if self.kind == "checkpoint":
            return "checkpoint"
        folder = "entries" if self.kind == "entries" else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{folder}/{_index_path(self.n)}{partial}"

    @property
    def start(self) -> int:
        """The first log entry that this resource covers."""
        return self.n << 8 * (self.level + 1)

    @property
    def size(self) -> int:
        """The smallest log size at which this resource exists."""
        return self.start + (self.width << 8 * self.level)


def tile_path(level: int, n: int, width: int = WIDTH) -> str:
    """The path of a tile of hashes: `tile_path(0, 1234067, 7)` is `tile/0/x001/x234/067.p/7`."""
    return str(_checked(TilePath("tile", level, n, width)))


def entries_path(n: int, width: int = WIDTH) -> str:
    """The path of an entry bundle: `tile/entries/000` holds the entries 0 to 255."""
    return str(_checked(TilePath("entries", 0, n, width)))


def parse_path(path: str) -> TilePath:
    """The resource that a path names, without a slash before it. Only the one canonical spelling is taken."""
    if path == "checkpoint":
        return TilePath("checkpoint")
    match = _PATH.fullmatch(path) if len(path) <= 64 else None
    if match is None:
        raise FormatError("this is not the path of a checkpoint, a tile or an entry bundle")
    kind: Kind = "entries" if match["level"] == "entries" else "tile"
    level = 0 if kind == "entries" else int(match["level"])
    n = int(match["n"].replace("/", "").replace("x", ""))
    found = _checked(TilePath(kind, level, n, int(match["width"] or WIDTH)))
    if str(found) != path:
        raise FormatError("a tile's path is written another way")
    return found


def _checked(path: TilePath) -> TilePath:
    if not 0 <= path.level <= TILE_LEVEL_MAX or not 0 <= path.n <= TILE_INDEX_MAX or not 1 <= path.width <= WIDTH:
        raise FormatError(f"no tile has level {path.level}, index {path.n} and width {path.width}")
    return path


def _index_path(n: int) -> str:
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))


def width_at(size: int, level: int, n: int) -> int:
    """How wide tile `n` of a level is in a tree of `size` leaves: 0 where there is none, 256 where it is full."""
    return min(max((size >> (8 * level)) - n * WIDTH, 0), WIDTH)


def bundles(size: int) -> Iterator[TilePath]:
    """Every entry bundle of a log of `size` entries, in order."""
    return (TilePath("entries", 0, n, width_at(size, 0, n)) for n in range((size + WIDTH - 1) // WIDTH))


def tiles(size: int) -> Iterator[TilePath]:
    """Every tile of hashes of a log of `size` entries, lowest level first."""
    for level in range(TILE_LEVEL_MAX + 1):
        hashes = size >> (8 * level)
        if not hashes:
            return
        yield from (TilePath("tile", level, n, width_at(size, level, n)) for n in range((hashes + WIDTH - 1) // WIDTH))


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: each entry after its length as two bytes, big-endian. At most 256 entries."""
    listed = list(entries)
    if len(listed) > WIDTH or any(len(entry) > BUNDLE_ENTRY_BYTES for entry in listed):
        raise FormatError(f"a bundle has at most {WIDTH} entries of at most {BUNDLE_ENTRY_BYTES} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in listed)


def decode_bundle(data: bytes, *, most: int = ENTRY_BYTES) -> list[bytes]:
    """The entries of a bundle, each at most `most` bytes (ENTRY_BYTES for a gateway's log)."""
    entries: list[bytes] = []
    offset = 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 2], "big")
        start, offset = offset + 2, offset + 2 + length
        if offset > len(data) or length > most or len(entries) == WIDTH:
            raise FormatError(f"an entry bundle is cut short, or holds more than {WIDTH} entries of {most} bytes")
        entries.append(data[start:offset])
    return entries


def decode_tile(data: bytes) -> list[bytes]:
    """The 32-byte hashes of a tile, 1 to 256 of them."""
    if not data or len(data) % 32 or len(data) > 32 * WIDTH:
        raise FormatError(f"a tile is 1 to {WIDTH} hashes of 32 bytes; this has {len(data)} bytes")
    return [data[i : i + 32] for i in range(0, len(data), 32)]
