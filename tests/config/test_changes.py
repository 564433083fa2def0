"""What is another in a configuration, and what of it needs a restart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, changed, write
from msgspec import Struct, structs

from gateway import config
from gateway.config.words import bare
from gateway.settings import Settings

SENML = changed('"mqtt"', '"senml"').replace("values", "#")
RESTARTED = {"gateway", "web", "journal"}


def settings(folder: Path, text: str) -> Settings:
    return config.load(write(folder, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GATEWAY, []),
        ("# another comment\n" + GATEWAY + "[seal]\nmax_age_s = 60\n", []),
        (GATEWAY + "[seal]\nmax_age_s = 5\nheartbeat_s = 60\n", ["seal.max_age_s changed", "seal.heartbeat_s changed"]),
        (GATEWAY + "[seal]\nmax_count = 5\n", ["seal.max_count changed !"]),
        (GATEWAY + "[journal]\nlinger_ms = 5\n", ["journal.linger_ms changed !"]),
        (GATEWAY + '[web]\nlisten = "127.0.0.1:1"\n', ["web.listen changed !"]),
        (changed("log.key", "other.key"), ["gateway.key changed !"]),
        (GATEWAY + '[retention]\nmax_bytes = "1 GiB"\n', ["retention.max_bytes changed"]),
        (GATEWAY + "upload = false\n", ["node.coop.upload changed"]),
        (changed("[source.climate]", "[source.barn]"), ["source.climate removed", "source.barn added"]),
        (changed("1883", "1884"), ["broker.local.url changed"]),
        (changed("farm/house3", "farm/house4"), ["source.climate.topic changed"]),
        (changed("Cel", "K"), ["source.climate.values changed"]),
        (
            changed('"mqtt"', '"senml"').replace("values", "#"),
            ["source.climate.driver changed", "source.climate changed"],
        ),
        (GATEWAY[: GATEWAY.index("[node")], ["node.coop removed"]),
    ],
)
def test_changes(tmp_path: Path, text: str, told: list[str]) -> None:
    before, after = settings(tmp_path, GATEWAY), settings(tmp_path, text)
    found = config.changes(before, after)
    assert [f"{one.key} {one.how}{' !' if one.restart else ''}" for one in found] == told
    assert config.restart_needed(before, after) == [one.split()[0] for one in told if one.endswith("!")]
    assert len(config.changes(after, before)) == len(told)


def _leaves(cls: type[Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for one in structs.fields(cls):
        inner, _ = bare(one.type)
        if isinstance(inner, type) and issubclass(inner, Struct):
            yield from _leaves(inner, (*path, one.name))
        else:
            yield (*path, one.name)


def _replaced(table: Struct, path: tuple[str, ...], value: object) -> Struct:
    first, *rest = path
    inner = _replaced(getattr(table, first), tuple(rest), value) if rest else value
    return structs.replace(table, **{first: inner})


@pytest.mark.parametrize("path", [one for one in _leaves(Settings) if len(one) > 1], ids=".".join)
def test_every_field_of_every_table(tmp_path: Path, path: tuple[str, ...]) -> None:
    """All of [gateway], [web], [journal] and seal.max_count need a restart, and nothing else does."""
    before = settings(tmp_path, GATEWAY)
    after = _replaced(before, path, object())
    assert isinstance(after, Settings)
    needed = path[0] in RESTARTED or path == ("seal", "max_count")
    assert config.restart_needed(before, after) == ([".".join(path)] if needed else [])
    assert [one.key for one in config.changes(before, after)] == [".".join(path)]
