"""A configuration with all that it names, and what differs between two of them."""

from pathlib import Path
from typing import Any

import pytest
from fakes.configs import SEEN, STORED
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from drivers.codecs.values import ValueMap
from drivers.mqtt import MqttOptions
from drivers.mqtt_connect import Broker
from drivers.system import SystemOptions
from gateway import config
from gateway.anchors.evm.options import EvmOptions
from gateway.configured import Configured, changes, read, running
from gateway.errors import ConfigError, KeyFileError
from gateway.settings import (
    AnchorSettings,
    BrokerSettings,
    GatewaySettings,
    JournalSettings,
    NodeLink,
    RetentionSettings,
    SealSettings,
    Settings,
    SourceSettings,
    WebSettings,
)

TEXT = """\
[gateway]
name = "henhouse.example"
data_dir = "{folder}"
key = "file:/etc/fieldgate/log.key"
[broker.local]
url = "mqtt://127.0.0.1:1884"
user = "u"
password = "file:{folder}/secret"
"""


def file(folder: Path, more: str = "") -> Path:
    path = folder / "fieldgate.toml"
    path.write_text(TEXT.format(folder=folder) + more)
    return path


def secret(folder: Path, text: str) -> None:
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(text)


def test_what_it_names_is_read(tmp_path: Path) -> None:
    secret(tmp_path, "hush")
    made = read(file(tmp_path))
    assert made.brokers == {
        "local": Broker(
            name="local", host="127.0.0.1", port=1884, client_id="fieldgate-henhouse.example", user="u", password="hush"
        )
    }
    assert "hush" not in repr(made)
    ((name, digest),) = made.digests
    assert (name, len(digest)) == ("fieldgate.toml", 64)
    assert list(made.restart) == []


ANCHOR = """
[anchor.chain]
kind = "evm"
url = "http://127.0.0.1:8545"
chain_id = 9090
key = "file:{folder}/anchor.key"
[web]
watch_token = "file:{folder}/token"
"""


def test_at_a_start_what_lacks_its_secret_goes_without(tmp_path: Path) -> None:
    made = read(file(tmp_path, ANCHOR.format(folder=tmp_path)))
    lacking = made.brokers["local"].lacking
    assert lacking is not None
    assert str(tmp_path / "secret") in lacking[0]
    assert isinstance(made.anchors["chain"], KeyFileError)
    assert isinstance(made.watch_token, KeyFileError)


@pytest.mark.parametrize("name", ["secret", "anchor.key", "token"])
def test_with_a_secret_that_cannot_be_had_nothing_is_taken_over(tmp_path: Path, name: str) -> None:
    for one in ("secret", "anchor.key", "token"):
        (tmp_path / one).touch(mode=0o600)
        (tmp_path / one).write_text("hush-hush-hush-hush-hush")
    path = file(tmp_path, ANCHOR.format(folder=tmp_path))
    started = read(path).settings
    assert read(path, started).brokers["local"].lacking is None
    (tmp_path / name).unlink()
    with pytest.raises(KeyFileError, match=name):
        read(path, started)


def test_a_configuration_with_faults_is_an_error(tmp_path: Path) -> None:
    secret(tmp_path, "hush")
    with pytest.raises(ConfigError):
        read(file(tmp_path, "[source.a]\n"))


def test_what_needs_a_restart_stays_as_it_was_started(tmp_path: Path) -> None:
    secret(tmp_path, "hush")
    started = read(file(tmp_path)).settings
    path = file(tmp_path, "[seal]\nmax_count = 7\nmax_age_s = 8\n[web]\nlisten = '127.0.0.1:1'\n")
    path.write_text(path.read_text().replace("henhouse", "barn"))
    made = read(path, started)
    assert sorted(made.restart) == ["gateway.name", "seal.max_count", "web.listen"]
    assert (made.settings.gateway, made.settings.web) == (started.gateway, started.web)
    assert made.settings.seal == SealSettings(max_age_s=8)
    assert made.brokers["local"].client_id == "fieldgate-henhouse.example"


# Differences


def source(unit: str = "", broker: str = "") -> SourceSettings:
    if not broker:
        return SourceSettings(driver="system", options=SystemOptions(every_s=len(unit) + 1))
    options = MqttOptions(broker=broker, topic="t", values={unit or "v": ValueMap()})
    return SourceSettings(driver="mqtt", options=options)


def node(url: str) -> NodeLink:
    return NodeLink(url=url, seen_key=SEEN, stored_key=STORED)


def made(password: str = "", **tables: Any) -> Configured:
    gateway = GatewaySettings(name="henhouse.example", data_dir="/var/lib/fieldgate", key="file:/k")
    settings = Settings(gateway=gateway, **tables)
    brokers = {
        name: Broker(name=name, host=one.url, port=1, client_id="c", password=password if name == "local" else "")
        for name, one in settings.broker.items()
    }
    return Configured(settings, brokers, {})


def told(old: Configured, new: Configured) -> dict[str, dict[str, list[str]]]:
    found = changes(old, new)
    return {
        kind: {turn: names for turn, names in structs_of(turned).items() if names}
        for kind, turned in found._asdict().items()
        if turned
    }


def structs_of(turned: Any) -> dict[str, list[str]]:
    return {"started": turned.started, "stopped": turned.stopped, "changed": turned.changed}


def test_what_is_new_gone_and_another() -> None:
    old = made(source={"a": source(), "b": source(), "c": source()}, node={"x": node("http://x")})
    new = made(source={"d": source(), "b": source("kg"), "a": source()}, node={"x": node("http://y"), "z": node("z")})
    assert told(old, new) == {
        "sources": {"started": ["d"], "stopped": ["c"], "changed": ["b"]},
        "nodes": {"started": ["z"], "changed": ["x"]},
    }
    assert told(new, new) == {}
    assert not changes(new, new)
    assert str(changes(new, new)) == "nothing has changed"
    assert (
        str(changes(old, new)) == "started source d; stopped source c; changed source b; started node z; changed node x"
    )


def test_a_reconnected_broker_changes_its_sources() -> None:
    brokers = {"local": BrokerSettings(url="mqtt://a"), "other": BrokerSettings(url="mqtt://b")}
    sources = {"a": source(broker="local"), "b": source(broker="other"), "c": source()}
    old, new = made(source=sources, broker=brokers), made("new", source=sources, broker=brokers)
    assert told(old, new) == {"sources": {"changed": ["a"]}, "tables": {"changed": ["broker.local"]}}
    less = made(source={"c": source()}, broker={"other": brokers["other"]})
    assert told(old, less) == {"sources": {"stopped": ["a", "b"]}, "tables": {"stopped": ["broker.local"]}}
    assert told(less, old)["tables"] == {"started": ["broker.local"]}


def test_tables_without_names() -> None:
    new = made(seal=SealSettings(max_age_s=1), retention=RetentionSettings(stored_by=2))
    assert sorted(told(made(), new)["tables"]["changed"]) == ["retention", "seal"]


def settings_of(numbers: list[int]) -> Settings:
    """Of each of two choices."""
    name, key, listen, linger, count, age, beat, stored = numbers
    return Settings(
        gateway=GatewaySettings(name=f"g{name}.example", data_dir="/d", key=f"file:/k{key}"),
        web=WebSettings(listen=f"127.0.0.1:{listen}"),
        journal=JournalSettings(linger_ms=linger),
        seal=SealSettings(max_count=count + 1, max_age_s=age + 1, heartbeat_s=beat + 1),
        retention=RetentionSettings(stored_by=stored + 1),
    )


SETTINGS = st.lists(st.integers(0, 1), min_size=8, max_size=8).map(settings_of)


@given(SETTINGS, SETTINGS)
def test_what_runs_differs_from_what_is_wanted_in_what_waits_alone(started: Settings, wanted: Settings) -> None:
    now = running(started, wanted)
    assert config.restart_needed(started, now) == []
    assert sorted(config.restart_needed(now, wanted)) == sorted(config.restart_needed(started, wanted))
    assert (
        structs.replace(now, gateway=wanted.gateway, seal=wanted.seal, journal=wanted.journal, web=wanted.web) == wanted
    )
    assert (now.seal.max_age_s, now.seal.heartbeat_s) == (wanted.seal.max_age_s, wanted.seal.heartbeat_s)
    assert running(started, started) == started


def test_an_anchor_is_changed_by_its_key_too() -> None:
    def anchored(key: str, every_s: float = 60.0) -> Configured:
        options = EvmOptions(url="https://s.example", chain_id=9090, key="file:/k")
        anchor = AnchorSettings(kind="evm", every_s=every_s, options=options)
        return made(anchor={"s": anchor})._replace(anchors={"s": {"file:/k": key}})

    bare, first = made(), anchored("1")
    assert changes(bare, first).tables.started == ["anchor.s"]
    assert changes(first, bare).tables.stopped == ["anchor.s"]
    assert not changes(first, anchored("1"))
    assert changes(first, anchored("2")).tables.changed == ["anchor.s"]
    assert changes(first, anchored("1", 61.0)).tables.changed == ["anchor.s"]
