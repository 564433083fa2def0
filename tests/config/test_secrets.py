"""No secret is told with what is wrong, and each is opened where the configuration says."""

import re
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, LOG, READ, changed, faults, private, same_key, write
from fakes.mutated import mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from gateway import config
from gateway.config.words import is_secret
from gateway.core.note import ED25519
from gateway.errors import ConfigError, KeyFileError
from gateway.settings import BrokerSettings, GatewaySettings, NodeSelf, WebSettings

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

SECRET = "tr0ub4dor&3-secret"
PLACES = [
    ("password = ", 'password = "{0}"'),
    ("password = ", "password = ['{0}']"),
    ("password = ", "password = {{ a = '{0}' }}"),
    ("password = ", 'pasword = "{0}"'),
    ("password = ", 'password = "file:{0}"'),
    ("password = ", 'password = "env: {0}"'),
    ("key = ", 'key = "{0}"'),
    ("key = ", 'secret = "{0}"\nkey = "/x"'),
    ("seen_key = ", 'seen_key = "{0}"'),
    ("seen_key = ", 'seen_key = "PRIVATE+KEY+{0}"'),
    ("read_key = ", "read_key = ['{0}']"),
    ("url = ", 'url = "mqtt://fieldgate:{0}@127.0.0.1"'),
    ("url = ", 'url = "mqtt://fieldgate:{0}/@127.0.0.1:x"'),
    ("url = ", 'uri = "mqtt://fieldgate:{0}@127.0.0.1"'),
]


@pytest.mark.parametrize(("start", "put"), PLACES)
def test_no_secret_is_shown(tmp_path: Path, start: str, put: str) -> None:
    text = re.sub(rf"^{start}.*$", lambda _: put.format(SECRET), GATEWAY, count=1, flags=re.MULTILINE)
    found = faults(tmp_path, text)
    assert "tr0ub4dor" not in "\n".join(map(str, found))


@pytest.mark.parametrize("address", ["htps://portal.example/api/{0}/rpc", "https://portal example?{0}", "api/{0}"])
def test_no_part_of_a_chains_address_is_shown(tmp_path: Path, address: str) -> None:
    """Portals put access keys there."""
    table = f'[anchor.a]\nkind = "rfc3161"\nroots_file = "/r"\nurl = "{address.format(SECRET)}"\n'
    (fault,) = faults(tmp_path, GATEWAY + table)
    assert fault.key == "anchor.a.url"
    assert "tr0ub4dor" not in str(fault)


@QUICK
@given(data=st.data())
def test_no_secret_is_shown_whatever_else_is_wrong(tmp_path: Path, data: st.DataObject) -> None:
    start, put = data.draw(st.sampled_from(PLACES))
    text = re.sub(rf"^{start}.*$", lambda _: put.format(SECRET), GATEWAY, count=1, flags=re.MULTILINE)
    before, _, after = text.partition(SECRET)
    text = data.draw(mutated(before)) + SECRET + data.draw(mutated(after))
    try:
        config.load(write(tmp_path, text.encode(errors="surrogatepass")))
    except ConfigError as exc:
        told = [fault for fault in exc.faults if fault.key.rpartition(".")[2].endswith(("password", "key"))]
        assert "tr0ub4dor" not in "\n".join(map(str, told))


def test_secrets_are_opened_with_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQTT_PASSWORD", SECRET)
    assert config.read_secret("env:MQTT_PASSWORD") == SECRET
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "log.key").write_text(private("henhouse.example/1", ED25519))
    loaded = config.load(write(tmp_path, changed("file:/etc/fieldgate/log.key", "credential:log.key")))
    assert str(config.log_signer(loaded).vkey) == LOG
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(KeyFileError):
        config.log_signer(loaded)


def test_a_log_key_that_is_not_the_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = config.load(write(tmp_path, changed("file:/etc/fieldgate/log.key", "env:KEY")))
    monkeypatch.setenv("KEY", private("other.example/1", ED25519))
    with pytest.raises(KeyFileError, match="not of the log henhouse"):
        config.log_signer(loaded)
    shared = changed(READ, same_key("reader", "henhouse.example/1", ED25519))
    monkeypatch.setenv("KEY", private("henhouse.example/1", ED25519))
    with pytest.raises(KeyFileError, match=r"node\.coop"):
        config.log_signer(config.load(write(tmp_path, changed("file:/etc/fieldgate/log.key", "env:KEY", shared))))


@pytest.mark.parametrize("token", ["x" * 15, "x" * 15 + " y", "\N{SNOWMAN}" * 20, "x" * 20 + "\x07"])
def test_a_token_that_is_none_to_rely_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """At the limit and one short of it; the text of the error has no part of it."""
    loaded = config.load(write(tmp_path, GATEWAY + '[web]\nwatch_token = "env:WATCH"\n'))
    monkeypatch.setenv("WATCH", token)
    with pytest.raises(KeyFileError) as caught:
        config.watch_token(loaded)
    assert token not in str(caught.value)
    assert "urandom" in caught.value.cure
    monkeypatch.setenv("WATCH", "x" * 16)
    assert config.watch_token(loaded) == "x" * 16
    assert config.watch_token(config.load(write(tmp_path, GATEWAY))) == ""


def test_what_is_no_place_of_a_secret_is_told_as_such(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, changed("file:/etc/fieldgate/mqtt.password", SECRET))
    assert fault.what == "does not say where the secret is (the value is not shown)"
    assert "credential:name" in fault.cure


def test_which_types_are_secrets() -> None:
    secret = {
        (cls, one.name)
        for cls in (GatewaySettings, BrokerSettings, WebSettings, NodeSelf)
        for one in fields(cls)
        if is_secret(one.type)
    }
    assert secret == {
        (GatewaySettings, "key"),
        (GatewaySettings, "key_passphrase"),
        (GatewaySettings, "read_key"),
        (GatewaySettings, "sm2_key"),
        (BrokerSettings, "password"),
        (WebSettings, "watch_token"),
        (NodeSelf, "seen_key"),
        (NodeSelf, "stored_key"),
        (NodeSelf, "read_key"),
    }
