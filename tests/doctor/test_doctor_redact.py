"""What must not leave the device: secrets that are known, and what looks like one; and what may."""

import json
import string

import pytest
from fakes.configs import LOG, SEEN, private
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.note import ED25519
from gateway.doctor.redact import HIDDEN, Redactor, secrets_in_addresses
from gateway.keys import encode_key

KEY = private("hen.example/1", ED25519)
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\nabc\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mqtt://bob:hunter2@broker:1883/x", "mqtt://...@broker:1883/x"),
        ("mqtt://bob:p/a@ss@broker", "mqtt://...@broker"),
        ("see http://user@host and more", "see http://...@host and more"),
        ("write to bob@example.com", "write to bob@example.com"),
        (f"the line {KEY}", f"the line {HIDDEN}\n"),
        (f"before\n{PEM}\nafter", f"before\n{HIDDEN}\nafter"),
        (PEM[:40], HIDDEN),  # cut off
        ("password = hunter2 and so on", f"password = {HIDDEN}"),
        ('"api_token": "abc", "x": 1', f'"api_token": {HIDDEN}'),
        ("MQTT_PASSWORD=hunter2", f"MQTT_PASSWORD={HIDDEN}"),
        ("Authorization: Bearer abc.def", f"Authorization: {HIDDEN}"),
        ("sent Bearer abc.def now", f"sent {HIDDEN} now"),
        ('key = "file:/etc/fieldgate/log.key"', 'key = "file:/etc/fieldgate/log.key"'),
        ("password: env:MQTT_PASSWORD", "password: env:MQTT_PASSWORD"),
        ("key = credential:log.key", "key = credential:log.key"),
        ("key = file:/a, password = hunter2", f"key = file:/a, password = {HIDDEN}"),
        (f'seen_key = "{SEEN}"', f'seen_key = "{SEEN}"'),
        (f"seen_key = {SEEN[:-1]}", f"seen_key = {HIDDEN}"),
        (f"log key         {LOG}", f"log key         {LOG}"),
        ("a source is up: 7 readings", "a source is up: 7 readings"),
        ("password", "password"),
        ("one\npassword: two\nthree", f"one\npassword: {HIDDEN}\nthree"),
    ],
)
def test_what_looks_like_a_secret(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize("secret", ["hunter2", 'q"uo\\te', "grün und blau", "a+b/c=", "x y"])
def test_a_known_secret_goes_in_each_form(secret: str) -> None:
    redactor = Redactor([secret])
    from urllib.parse import quote

    for form in (secret, json.dumps(secret), repr(secret), quote(secret, safe="")):
        assert (
            redactor.text(f"it said {form} again")
            == f"it said {form.replace(form.strip(chr(34) + chr(39)), HIDDEN)} again"
        )


def test_a_short_secret_goes_where_it_stands_alone() -> None:
    assert Redactor(["ab"]).text("ab cab ab.") == f"{HIDDEN} cab {HIDDEN}."
    assert Redactor([""]).text("as it is") == "as it is"


@pytest.mark.parametrize("plus", [False, True])
def test_a_part_of_a_known_key(plus: bool) -> None:
    """Its base64 may have the character that stands between the parts."""
    made = (encode_key("a.example/1", ED25519, bytes([n]) * 32) for n in range(256))
    line = next(one for one in made if ("+" in one.split("+", 4)[4]) is plus)
    seed = line.strip().split("+", 4)[4]
    assert Redactor([line]).text(f"somebody logged {seed} alone") == f"somebody logged {HIDDEN} alone"


def test_values_by_the_names_on_the_way() -> None:
    table = {
        "broker": {"local": {"url": "mqtt://u:p@h", "password": "hunter2", "user": "bob"}},
        "node": {"coop": {"seen_key": SEEN, "stored_key": "not a key", "share": ["*"]}},
        "gateway": {"key": "file:/etc/log.key", "pin": 7},
        "auth": {"any": "thing", "n": 7, "yes": True, "none": None},
        "source": {"x": {"values": {"token_count": {"pointer": "/t"}}}},
    }
    shown = Redactor(["bob"]).value(table)
    assert shown["broker"]["local"] == {"url": "mqtt://...@h", "password": HIDDEN, "user": HIDDEN}
    assert shown["node"]["coop"] == {"seen_key": SEEN, "stored_key": HIDDEN, "share": ["*"]}
    assert shown["gateway"] == {"key": "file:/etc/log.key", "pin": 7}
    assert shown["auth"] == {"any": HIDDEN, "n": 7, "yes": True, "none": None}
    listing = Redactor().listing(table)
    assert 'gateway.key = "file:/etc/log.key"\n' in listing
    assert "hunter2" not in listing


def test_portals_put_keys_into_the_path_of_a_chains_address() -> None:
    """BSN's: /api/PROJECT/rpc, and a node's may have one in its query."""
    project, key = "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "short7"
    table = {
        "anchor": {
            "a": {"url": f"https://bsn.example:18602/api/{project}/rpc", "ca_file": "/etc/ca.pem"},
            "b": {"url": "https://citynode.example", "rpc": f"https://node.example?key={key}", "every_s": 7},
        },
        "anchors": {"a": {"urls": [f"see https://bsn.example/{project}"]}},
        "node": {"coop": {"url": "https://node.example/fieldgate"}},
    }
    listing = Redactor().listing(table)
    assert project not in listing
    assert key not in listing
    assert 'anchor.a.url = "https://bsn.example:18602/..."\n' in listing
    assert 'anchor.a.ca_file = "/etc/ca.pem"\n' in listing
    assert 'anchor.b.url = "https://citynode.example"\n' in listing
    assert 'anchor.b.rpc = "https://node.example/..."\n' in listing
    assert 'node.coop.url = "https://node.example/fieldgate"\n' in listing
    assert set(secrets_in_addresses(table)) == {project}


@given(
    st.text(alphabet=string.ascii_letters + string.digits + "!?#$%&*-_", min_size=4, max_size=24),
    st.text(max_size=80),
    st.text(max_size=80),
)
def test_no_known_secret_is_left(secret: str, before: str, after: str) -> None:
    if secret in HIDDEN:
        return
    redactor = Redactor([secret])
    assert secret not in redactor.text(before + secret + after)
    made = redactor.value({"x": [before + secret], secret: {"y": secret + after}})
    (name,) = made.keys() - {"x"}
    assert not [text for text in (*made["x"], name, made[name]["y"]) if secret in text]


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    shown = Redactor(["hunter2"]).text(text)
    assert "hunter2" not in shown


def test_a_long_line_takes_no_longer_than_it_is_long() -> None:
    assert Redactor().text("x" * 2_000_000) == "x" * 2_000_000
    assert Redactor().text("key" * 200_000)
