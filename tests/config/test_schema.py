"""The JSON Schema for editors says of a single field just what the converter says."""

import json
import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_origin

import pytest
from fakes.configs import GATEWAY, NODE
from fakes.uncommented import uncommented
from hypothesis import example as case
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.validators import extend
from msgspec import Meta, Struct, structs

from drivers import registry
from gateway import config
from gateway.anchors import registry as chains
from gateway.config import convert, example, schema
from gateway.config.convert import Converter, Rest
from gateway.config.manual import inner_table
from gateway.config.words import bare
from gateway.settings import AnchorSettings, NodeSettings, Settings, SourceSettings

ROOT = Path(__file__).parents[2]
HEAD = '[gateway]\nname = "quay.example"\ndata_dir = "/var/lib/fieldgate"\nkey = "file:/etc/fieldgate/log.key"\n'

# TOML tells 1 from 1.0, which draft 7 does not: there an editor is kinder than the gateway.
TYPES = Draft7Validator.TYPE_CHECKER.redefine("integer", lambda _, one: type(one) is int)
Validator = extend(Draft7Validator, type_checker=TYPES)


@cache
def validator(*, node: bool = False) -> Any:
    """As an editor has it: ECMA's $ is the end alone, which Python calls \\Z."""
    text = json.dumps(schema.node() if node else schema.gateway())
    return Validator(json.loads(text.replace('$"', '\\\\Z"')))


def refused(document: Any, *, node: bool = False) -> list[str]:
    return [f"{list(one.absolute_path)}: {one.message}" for one in validator(node=node).iter_errors(document)]


def unfit(document: Any, *, node: bool = False) -> list[convert.Problem]:
    """What the converter objects to in single fields; not what a driver's options object to among themselves."""
    of_options = "among themselves"
    rest = {cls: Rest(one.into, one.pick, of_options) for cls, one in config.REST.items()}
    converter = Converter(rest)
    converter.table(document, NodeSettings if node else Settings, ())
    return [one for one in converter.problems if one.cure not in ("", of_options)]


def blocks() -> list[str]:
    """The tables that the manual shows."""
    text = (ROOT / "docs" / "drivers.md").read_text().partition("## A driver of your own")[0]
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


def test_it_is_a_schema() -> None:
    for made in (schema.gateway(), schema.node()):
        Draft7Validator.check_schema(json.loads(json.dumps(made)))
        assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
        assert r"\Z" not in json.dumps(made), "no editor's regular expressions have it"


@pytest.mark.parametrize("text", [GATEWAY, example.gateway(), uncommented(example.gateway())])
def test_it_accepts_what_is_good(text: str) -> None:
    assert refused(tomllib.loads(text)) == []


@pytest.mark.parametrize("text", [NODE, example.node(), uncommented(example.node())])
def test_it_accepts_a_nodes(text: str) -> None:
    assert refused(tomllib.loads(text), node=True) == []


@pytest.mark.parametrize("block", blocks())
def test_it_accepts_what_the_manual_shows(block: str) -> None:
    assert refused(tomllib.loads(HEAD + block)) == []


def test_the_manual_shows_every_driver() -> None:
    shown = set(re.findall(r'^driver = "(\w+)"', "".join(blocks()), re.MULTILINE))
    assert shown == set(registry.names())


def test_every_field_is_explained() -> None:
    """Meaning, what may stand there, unit and default: all that an editor can show beside a key."""
    made = schema.gateway()
    linger = made["properties"]["journal"]["properties"]["linger_ms"]
    assert linger == {
        "type": "integer",
        "minimum": 0,
        "maximum": 10_000,
        "default": 250,
        "description": "It is written to disk, and acknowledged, after so long at the latest. A whole number from 0 to "
        "10000 (milliseconds). Default: 250",
    }
    assert "A change needs a restart" in made["properties"]["seal"]["properties"]["max_count"]["description"]
    for path, field in _fields(made):
        assert field.get("description"), path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("slave = 5", "slave = 248", "['source', 'probe', 'slave']: 248 is greater than the maximum of 247"),
        ('driver = "modbus_rtu"', 'driver = "modbs"', "['source', 'probe', 'driver']: 'modbs' is not one of"),
        ("every_s = 60", "evry_s = 60", "['source', 'probe']: Additional properties are not allowed ('evry_s' was"),
    ],
)
def test_a_mistake_is_told_once_and_exactly(old: str, new: str, told: str) -> None:
    """Not as "not valid under any of the given schemas", which tells nobody what to do."""
    text = example.gateway()
    assert f"\n{old}" in text
    (found,) = refused(tomllib.loads(text.replace(f"\n{old}", f"\n{new}", 1)))
    assert found.startswith(told)


def _fields(made: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    tables = [made, *made.get("definitions", {}).values(), *made.get("patternProperties", {}).values()]
    for table in tables:
        for name, field in table.get("properties", {}).items():
            here = f"{path}.{name}"
            if field.get("type") == "object" and "properties" in field:
                yield from _fields(field, here)
            elif "patternProperties" in field:
                yield from _fields(field, here)
                if field.get("description") is None:
                    assert path == "", "only a table of tables has no words of its own"
            elif "allOf" not in table:
                yield here, field


# The same as the converter


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, tables and items of lists too."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from leaves(one, (*path, name))


WHOLE = {
    False: tomllib.loads(uncommented(example.gateway())),
    True: tomllib.loads(uncommented(example.node())),
}
PLACES = [(node, path) for node, document in WHOLE.items() for path in leaves(document)]

NUMBERS = st.one_of(
    st.integers(-2, 20),
    st.sampled_from([0.02, 0.05, 0.019999, 30.000001, 1e9, -0.0, 2**31, 2**53, 2**64]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.text(max_size=4),
    st.sampled_from(
        ["", "a", "A", "/a", "a/b", "/a\n", "file:/x", "env:", "127.0.0.1:80", "mqtt://a", "8 GiB", "none", "é" * 64]
    ),
    st.integers(0, 1100).map("a".__mul__),
)
VALUES = st.recursive(
    st.one_of(st.booleans(), NUMBERS, TEXTS, st.just(datetime(2026, 11, 23, tzinfo=UTC))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)
NEAR = st.sampled_from([-1, 1, 0.5, -0.5, 2**16, -(2**16)])


def reduced(node: bool, path: tuple[Any, ...]) -> dict[str, Any]:
    """The whole example without what is far from the path."""
    document = {name: deepcopy(WHOLE[node][name]) for name in {"node" if node else "gateway", path[0]}}
    if path[0] == "source" and len(path) > 1:
        document["source"] = {path[1]: document["source"][path[1]]}
    return document


def place(document: Any, path: tuple[Any, ...]) -> Any:
    """What holds the value at a path."""
    for part in path[:-1]:
        document = document[part]
    return document


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bool, dict[str, Any]]:
    """A good document in which one place is another, is gone, or has a neighbour."""
    node, path = draw(st.sampled_from(PLACES))
    document = reduced(node, path)
    above = place(document, path)
    how = draw(st.sampled_from(["replace", "near", "near", "remove", "add"]))
    before = above[path[-1]]
    if how == "near" and type(before) in (int, float):
        above[path[-1]] = before + draw(NEAR)
    elif how == "near" and isinstance(before, str):
        at = draw(st.integers(0, len(before)))
        other = draw(st.sampled_from(["\n", "x", "X", " ", "é", "/", "", "\0"]))
        above[path[-1]] = before[:at] + other + before[at + 1 :]
    elif how == "remove":
        del above[path[-1]]
    elif how == "add" and isinstance(before, dict):
        before[draw(TEXTS)] = draw(VALUES)
    else:
        above[path[-1]] = draw(VALUES)
    return node, document


@given(mutated())
@case((False, {"gateway": {"name": "a", "data_dir": "/d", "key": "env:A"}, "seal": {"max_count": 65_537}}))
@case((False, {"gateway": {"name": "a\n", "data_dir": "/d", "key": "env:A"}}))
@case((False, {"gateway": {"name": "a", "data_dir": "/d", "key": "env:A"}, "source": {"A": {"driver": "system"}}}))
@case((False, {"gateway": {"name": "a", "data_dir": "/d", "key": "env:A"}, "source": {"a": {"driver": "systm"}}}))
@case((False, {"gateway": {"name": "a", "data_dir": "/d", "key": "env:A"}, "source": {"a": {}}}))
@case((False, {"gateway": {"name": "a", "data_dir": "/d", "key": "env:A"}, "source": {"a": {"driver": ["system"]}}}))
def test_it_refuses_what_the_converter_refuses(made: tuple[bool, dict[str, Any]]) -> None:
    node, document = made
    assert bool(refused(document, node=node)) == bool(unfit(document, node=node)), (
        refused(document, node=node),
        unfit(document, node=node),
    )


def test_the_mutations_reach_both_verdicts(tell: Any) -> None:
    """A control: of what the property above looks at, a good part is refused and a good part is not."""
    verdicts: list[bool] = []

    @settings(max_examples=200)
    @given(mutated())
    def look(made: tuple[bool, dict[str, Any]]) -> None:
        verdicts.append(bool(unfit(made[1], node=made[0])))

    look()
    tell(f"{sum(verdicts)} of {len(verdicts)} mutated configurations are refused")
    assert 20 < sum(verdicts) < len(verdicts) - 20


def bounded(document: dict[str, Any], cls: type[Struct], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of a document whose values have limits, each with values at its limits and one past them."""
    for one in structs.fields(cls):
        wanted, metas = bare(one.type)
        here = (*path, one.encode_name)
        if cls is SourceSettings and one.name == "options":
            yield from bounded(document, registry.options_type(document["driver"]), path)
        elif cls is AnchorSettings and one.name == "options":
            yield from bounded(document, chains.kind(document["kind"]).options, path)
        elif one.encode_name not in document:
            continue
        elif get_origin(wanted) is dict and (inner := inner_table(wanted)) is not None:
            for name, table in document[one.encode_name].items():
                yield from bounded(table, inner, (*here, name))
        elif isinstance(wanted, type) and issubclass(wanted, Struct):
            yield from bounded(document[one.encode_name], wanted, here)
        else:
            yield from ((here, value) for meta in metas for value in at_limits(wanted, meta))


def at_limits(wanted: Any, meta: Meta) -> Iterator[Any]:
    step = 1 if wanted is int else 1e-6
    for limit in (meta.ge, meta.gt, meta.le, meta.lt):
        if limit is not None:
            yield from (limit - step, limit, limit + step)
    for length in (meta.min_length, meta.max_length):
        if length is not None:
            yield from ("a" * max(0, length + by) if wanted is str else ["a"] * (length + by) for by in (-1, 0, 1))


@pytest.mark.parametrize("node", [False, True])
def test_at_every_limit_and_one_past_it(node: bool) -> None:
    looked = refusals = 0
    for path, value in bounded(WHOLE[node], NodeSettings if node else Settings):
        document = reduced(node, path)
        place(document, path)[path[-1]] = value
        looked, wrong = looked + 1, refused(document, node=node)
        refusals += bool(wrong)
        assert bool(wrong) == bool(unfit(document, node=node)), (path, value)
    assert 0 < refusals < looked
