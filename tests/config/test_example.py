"""deploy/fieldgate.toml and deploy/node.toml are what the types say: whole, good, and a pleasure to read."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
from fakes.configs import write
from fakes.uncommented import uncommented
from msgspec import Meta, Struct, structs

from drivers import registry
from drivers.kinds import Kind
from gateway import config
from gateway.anchors import registry as chains
from gateway.anchors.registry import Kind as ChainKind
from gateway.config import example
from gateway.config.manual import entries, inner_table
from gateway.config.words import bare
from gateway.settings import NodeSettings, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MADE = {"fieldgate.toml": example.gateway, "node.toml": example.node}
KINDS = registry.kinds()


@pytest.mark.parametrize("name", MADE)
def test_the_file_is_what_the_types_make(name: str) -> None:
    assert (DEPLOY / name).read_text() == MADE[name](), f"fieldgate config example > deploy/{name}"


def test_they_are_good() -> None:
    loaded = config.load(DEPLOY / "fieldgate.toml")
    assert {kind.shape for kind in KINDS if kind.name in {one.driver for one in loaded.source.values()}} == {
        "subscribe",
        "stream",
        "poll",
    }
    assert loaded.broker
    assert loaded.node
    assert config.load_node(DEPLOY / "node.toml").gateway


def test_they_are_good_with_everything_in_them(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, uncommented(example.gateway())))
    assert {one.driver for one in loaded.source.values()} == {kind.name for kind in KINDS}
    config.load_node(write(tmp_path, uncommented(example.node()), "node.toml"))


def test_what_is_shown_as_a_default_is_one(tmp_path: Path) -> None:
    """A field that no example gives a value is there with its default: to set it changes nothing."""
    shown = config.load(DEPLOY / "fieldgate.toml")
    whole = config.load(write(tmp_path, uncommented(example.gateway())))
    assert (
        structs.replace(whole.gateway, key_passphrase=None, sm2_key=None, digests=None) == shown.gateway
    )  # shown with a value that it might have
    for table in ("retention", "seal", "journal"):
        assert getattr(whole, table) == getattr(shown, table)
    for source in shown.source:
        assert whole.source[source] == shown.source[source]


@pytest.mark.parametrize(("name", "cls"), [("fieldgate.toml", Settings), ("node.toml", NodeSettings)])
def test_every_field_of_every_table_is_there(name: str, cls: type[Struct]) -> None:
    document = tomllib.loads(uncommented((DEPLOY / name).read_text()))
    assert [".".join(path) for path in _fields(cls) if not _shown(document, path)] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_driver_is_there_with_its_options(kind: Kind) -> None:
    """An option that drivers have in common, with the same meaning and default, is shown at the first of them."""
    sources = tomllib.loads(uncommented(example.gateway()))["source"].values()
    own = [set(source) for source in sources if source["driver"] == kind.name]
    assert own, "no example in its KIND"
    others = {
        (one.name, one.meaning, repr(one.default))
        for other in KINDS
        for one in entries(other.options)
        if any(one.name in source for source in sources if source["driver"] == other.name)
    }
    missing = [
        one.name
        for one in entries(kind.options)
        if not any(one.name in names for names in own) and (one.name, one.meaning, repr(one.default)) not in others
    ]
    assert missing == []


@pytest.mark.parametrize("kind", chains.kinds(), ids=lambda kind: kind.name)
def test_every_kind_of_chain_is_there_with_its_options(kind: ChainKind) -> None:
    anchors = tomllib.loads(uncommented(example.gateway()))["anchor"]
    shown = {name for one in anchors.values() for name in one}
    assert anchors[kind.name]["kind"] == kind.name
    assert [one.name for one in entries(kind.options) if one.name not in shown] == []
    _check_entries(kind.options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_option_says_what_it_means_and_how_much(kind: Kind) -> None:
    _check_entries(kind.options)


@pytest.mark.parametrize("cls", [Settings, NodeSettings])
def test_every_field_says_what_it_means_and_how_much(cls: type[Struct]) -> None:
    for one in structs.fields(cls):
        table = inner_table(one.type)
        assert table
        assert (table.__doc__ or "").startswith(f"[{one.name}"), "its docstring introduces it"
        _check_entries(table)


def test_the_outermost_meaning_counts() -> None:
    class Small(Struct):
        one: Annotated[Annotated[int, Meta(ge=1, title="inner")], Meta(title="outer")] = 1
        two: Annotated[Annotated[int, Meta(le=9, title="inner")] | None, Meta(title="outer")] = None
        three: Annotated[int, Meta(title="inner")] | None = None

    assert [(one.meaning, one.limits) for one in entries(Small)] == [
        ("outer", "from 1"),
        ("outer", "up to 9"),
        ("inner", ""),
    ]


UNBOUNDED = {"scale", "offset"}  # of a device's own making


def _check_entries(cls: type[Struct]) -> None:
    for one in entries(cls, leave_out="options"):
        assert re.match(r"[A-Za-z$\"0-9]", one.meaning), f"{cls.__name__}.{one.name} says nothing"
        assert not one.meaning.endswith("."), f"{cls.__name__}.{one.name}: no full stop, as behind it bounds may follow"
        if one.type in (int, float) and one.name not in UNBOUNDED:
            assert re.search(r"from|above", one.limits), f"{cls.__name__}.{one.name} has no bounds"
        if one.name.endswith(("_s", "_ms", "_h")):
            assert one.unit, f"{cls.__name__}.{one.name} has no unit"
        if (table := inner_table(one.type)) is not None:
            _check_entries(table)


def test_it_is_a_pleasure_to_read() -> None:
    for text in (make() for make in MADE.values()):
        rows = text.splitlines()
        assert all(row == row.rstrip() and row.isprintable() for row in rows)
        assert max(len(row) for row in rows if row.startswith("# ")) <= 120
        assert "\n\n\n" not in text
        for row, after in pairwise(rows):
            assert not (row.startswith("# ") and row == after), "nothing is said twice"


def test_a_field_is_explained_once_in_a_table_of_a_kind() -> None:
    text = example.gateway()
    for words in (
        "NAME of a [broker.NAME] table",
        "Clear the top bit",
        "From a question to the end",
        "MQTT 3.1.1 broker",
    ):
        assert text.count(words) <= 2, words
    assert text.count("A serial port, by a path that stays") == 2


def _fields(cls: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field; a table of tables has `*` for its names."""
    for one in structs.fields(cls):
        here = (*path, one.encode_name)
        if here in (("source", "*", "options"), ("anchor", "*", "options")):
            continue
        table, bared = inner_table(one.type), bare(one.type)[0]
        if table is None:
            yield here
        else:
            yield from _fields(table, here if bared is table else (*here, "*"))


def _shown(document: Any, path: tuple[str, ...]) -> bool:
    if not path:
        return True
    first, *rest = path
    tables = document.values() if first == "*" else [document[first]] if first in document else []
    return any(_shown(table, tuple(rest)) for table in tables)
