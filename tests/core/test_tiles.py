"""Tiles and entry bundles: one path for each, and roots that come out of them."""

from pathlib import Path

import pytest
from fakes import proofs
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits, merkle, note, tiles
from gateway.core.tiles import TilePath, decode_bundle, decode_tile, encode_bundle, parse_path
from gateway.errors import FormatError

levels = st.integers(0, limits.TILE_LEVEL_MAX)
indices = st.integers(0, limits.TILE_INDEX_MAX) | st.integers(0, 2000)
widths = st.integers(1, tiles.WIDTH)


def test_the_tiles_of_another_implementation_lead_to_its_roots(vectors: Path) -> None:
    folder = vectors / "tessera-log" / "testdata" / "log"
    for size in range(16):
        text = (folder / f"checkpoint.{size}").read_text()
        checkpoint = note.parse_checkpoint(note.parse_note(text).text, foreign=True)
        assert checkpoint.size == size
        hashes = [
            merkle.leaf_hash(entry)
            for path in tiles.bundles(size)
            for entry in decode_bundle((folder / str(path)).read_bytes(), most=limits.BUNDLE_ENTRY_BYTES)
        ]
        stored = [found for path in tiles.tiles(size) for found in decode_tile((folder / str(path)).read_bytes())]
        assert stored == hashes
        assert merkle.root(hashes) == checkpoint.root


def test_the_bundles_of_our_own_log_lead_to_its_roots() -> None:
    log = proofs.Log([1] * 300)
    for size in (1, 255, 256, 257, 300):
        written = {
            str(path): encode_bundle(log.entries[path.start : path.start + path.width]) for path in tiles.bundles(size)
        }
        entries = [entry for data in written.values() for entry in decode_bundle(data)]
        assert entries == log.entries[:size]
        hashes = log.entry_hashes(size)
        for path in tiles.tiles(size):
            assert path.size <= size
            assert tiles.width_at(size, path.level, path.n) == path.width
        full = [merkle.root(hashes[at : at + 256]) for at in range(0, size - size % 256, 256)]
        assert len(full) == tiles.width_at(size, 1, 0)
        assert merkle.root(hashes) == note.parse_checkpoint(log.note(size).text).root


def test_the_examples_of_tlog_tiles() -> None:
    assert tiles.tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    found = list(tiles.tiles(70_000))
    partial = [(path.level, path.n, path.width) for path in found if path.width < 256]
    assert partial == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert sum(path.width == 256 for path in found) == 273 + 1
    assert [str(path) for path in tiles.tiles(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert list(tiles.tiles(0)) == list(tiles.bundles(0)) == []


@given(levels, indices, widths)
def test_a_path_has_one_spelling(level: int, n: int, width: int) -> None:
    assert parse_path(tiles.tile_path(level, n, width)) == TilePath("tile", level, n, width)
    assert parse_path(tiles.entries_path(n, width)) == TilePath("entries", 0, n, width)


@given(st.text("tile/0123456789x.p-entris", max_size=30).map(lambda rest: f"tile/{rest}") | st.text())
def test_whatever_parses_is_written_the_same(path: str) -> None:
    try:
        found = parse_path(path)
    except FormatError:
        return
    assert str(found) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/checkpoint",
        "checkpoint/",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1234",
        "tile/0/x000/001",
        "tile/0/x001/1",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/1000",
        "tile/0/000.p/1/",
        "tile/0/000/../000",
        "tile/0/٠٠٠",
        "tile/0/000\n",
        "tile/entries/0",
        "tile/Entries/000",
        "tile/entries/x009/x007/x199/x254/x740/992",  # one past TILE_INDEX_MAX
        "tile/0/" + "x001/" * 6 + "000",
    ],
)
def test_another_spelling_is_refused(path: str) -> None:
    with pytest.raises(FormatError):
        parse_path(path)


def test_the_limits_of_a_path() -> None:
    assert parse_path("checkpoint") == TilePath("checkpoint")
    last = tiles.tile_path(limits.TILE_LEVEL_MAX, limits.TILE_INDEX_MAX, 255)
    assert last == "tile/63/x009/x007/x199/x254/x740/991.p/255"
    for level, n, width in [
        (64, 0, 1),
        (-1, 0, 1),
        (0, limits.TILE_INDEX_MAX + 1, 1),
        (0, -1, 1),
        (0, 0, 0),
        (0, 0, 257),
    ]:
        with pytest.raises(FormatError):
            tiles.tile_path(level, n, width)


@given(st.lists(st.binary(max_size=limits.ENTRY_BYTES), max_size=20))
def test_a_bundle_comes_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), st.data())
def test_a_bundle_cut_within_an_entry_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    whole = encode_bundle(entries)
    edges = {0}
    for entry in entries:
        edges.add(max(edges) + 2 + len(entry))
    cut = data.draw(st.integers(0, len(whole)).filter(lambda at: at not in edges))
    with pytest.raises(FormatError):
        decode_bundle(whole[:cut])


def test_the_limits_of_a_bundle() -> None:
    assert len(decode_bundle(encode_bundle([b""] * 256))) == 256
    with pytest.raises(FormatError):
        encode_bundle([b""] * 257)
    with pytest.raises(FormatError):
        decode_bundle(bytes(2 * 257))
    assert decode_bundle(encode_bundle([bytes(limits.ENTRY_BYTES)]))
    with pytest.raises(FormatError):
        decode_bundle(encode_bundle([bytes(limits.ENTRY_BYTES + 1)]))
    assert encode_bundle([bytes(limits.BUNDLE_ENTRY_BYTES)])
    with pytest.raises(FormatError):
        encode_bundle([bytes(limits.BUNDLE_ENTRY_BYTES + 1)])


def test_the_limits_of_a_tile() -> None:
    assert len(decode_tile(bytes(32 * 256))) == 256
    for size in (0, 31, 33, 32 * 257):
        with pytest.raises(FormatError):
            decode_tile(bytes(size))
