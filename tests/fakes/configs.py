"""Configuration texts for tests, with keys that are real but nobody's, and what is wrong with such a text."""

from hashlib import sha256
from pathlib import Path

import pytest

from gateway import config
from gateway.core.note import COSIGNATURE, ED25519, VerifierKey
from gateway.errors import ConfigError, Fault
from gateway.keys import encode_key, parse_key


def vkey(name: str, algorithm: int = COSIGNATURE) -> str:
    """The public half of the key that `private` gives for the same name."""
    return str(parse_key(private(name, algorithm), where="").vkey)


def private(name: str, algorithm: int = COSIGNATURE) -> str:
    return encode_key(name, algorithm, sha256(name.encode()).digest())


def same_key(name: str, other: str, algorithm: int = COSIGNATURE) -> str:
    """`other`'s public key under another name."""
    return str(VerifierKey.make(name, algorithm, VerifierKey.parse(vkey(other)).public))


SEEN, STORED = vkey("node.example"), vkey("node.example/stored")
READ = vkey("node.example/read", ED25519)
LOG = vkey("henhouse.example/1", ED25519)

GATEWAY = f"""\
[gateway]
name = "henhouse.example"
data_dir = "/var/lib/fieldgate"
key = "file:/etc/fieldgate/log.key"

[broker.local]
url = "mqtt://127.0.0.1:1883"
user = "fieldgate"
password = "file:/etc/fieldgate/mqtt.password"

[source.climate]
driver = "mqtt"
broker = "local"
topic = "farm/house3/climate"
values = {{ temp = {{ pointer = "/temperature", unit = "Cel" }} }}

[node.coop]
url = "https://node.example:8441"
seen_key = "{SEEN}"
stored_key = "{STORED}"
read_key = "{READ}"
"""

NODE = f"""\
[node]
name = "node.example"
data_dir = "/var/lib/fieldgate-node"
seen_key = "file:/var/lib/fieldgate-node/seen.key"
stored_key = "file:/var/lib/fieldgate-node/stored.key"
read_key = "file:/var/lib/fieldgate-node/read.key"

[gateway.henhouse]
vkey = "{LOG}"
pull = "https://henhouse.example:8440"
"""


def write(folder: Path, text: str | bytes, name: str = "fieldgate.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults(folder: Path, text: str | bytes, *, node: bool = False) -> tuple[Fault, ...]:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        config.load_node(path) if node else config.load(path)
    return caught.value.faults


def changed(old: str, new: str, text: str = GATEWAY) -> str:
    assert old in text
    return text.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1
