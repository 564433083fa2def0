"""Taplo, which is what Even Better TOML is made of, takes the schema: what it refuses, shows and offers."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.configs import GATEWAY
from fakes.uncommented import uncommented

from drivers import registry
from gateway.config import example, schema
from gateway.config.manual import entries

TAPLO = Path(sys.executable).with_name("taplo")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    if not TAPLO.exists():
        pytest.skip("taplo is not installed")
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema.gateway()))
    return path


def lint(made: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = made.with_name("fieldgate.toml")
    path.write_text(text)
    command = [TAPLO, "lint", "--no-auto-config", "--colors", "never", "--schema", made.as_uri(), path]
    return subprocess.run(command, cwd=made.parent, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("text", [GATEWAY, example.gateway(), uncommented(example.gateway())])
def test_it_accepts_what_is_good(made: Path, text: str) -> None:
    done = lint(made, text)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("window = 1000", "window = 0", "0 is less than the minimum of 1"),
        ("slave = 5", "slave = 248", "248 is greater than the maximum of 247"),
        ("slave = 5", 'slave = "5"', '"5" is not of type "integer"'),
        ('numbering = "zero"', 'numbering = "two"', '"two" is not one of'),
        ("every_s = 60", "evry_s = 60", "'evry_s' was unexpected"),
        ("numbering =", "#numbering =", '"numbering" is a required property'),
        ('driver = "modbus_rtu"', 'driver = "modbus"', '"modbus" is not one of'),
        ("[source.probe]", "[source.Probe]", "'Probe' was unexpected"),
        ('name = "henhouse', 'name = "Henhouse', "does not match"),
    ],
)
def test_it_refuses_with_a_reason(made: Path, old: str, new: str, told: str) -> None:
    text = example.gateway()
    assert f"\n{old}" in text
    done = lint(made, text.replace(f"\n{old}", f"\n{new}", 1))
    assert done.returncode != 0
    assert told in done.stderr


def found(made: Any, schema: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """What Taplo's language server, which is in no package that can be installed here, finds for a key: it follows
    references, all alternatives, and properties by name and pattern; `if` and `then` it does not look into.
    """
    if "$ref" in schema:
        yield from found(made, made["definitions"][schema["$ref"].rpartition("/")[2]], path)
        return
    for one in (*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from found(made, one, path)
    if not path:
        yield schema
        return
    first, *rest = path
    for name, one in schema.get("properties", {}).items():
        if name == first:
            yield from found(made, one, tuple(rest))
    for pattern, one in schema.get("patternProperties", {}).items():
        if re.search(pattern, first):
            yield from found(made, one, tuple(rest))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            ("seal", "max_age_s"),
            "A block is closed when its first reading is so old. A number above 0, up to 86400 (seconds).",
        ),
        (("broker", "quay", "window"), "The broker's max_inflight_messages"),
        (("source", "probe", "registers_at_once"), "Registers in one request"),
        (("source", "probe", "raw"), "The payload as it arrived"),
        (("source", "probe", "values", "temp", "sentinels"), 'What the device sends for "no value"'),
    ],
)
def test_an_editor_finds_what_to_show(path: tuple[str, ...], told: str) -> None:
    made = schema.gateway()
    shown = [one.get("description", "") for one in found(made, made, path)]
    assert any(text.startswith(told) for text in shown), shown


def test_an_editor_offers_every_option_of_every_driver() -> None:
    made = schema.gateway()
    offered = {name for one in found(made, made, ("source", "x")) for name in one.get("properties", ())}
    assert offered == {"driver", "raw", *(one.name for kind in registry.kinds() for one in entries(kind.options))}
