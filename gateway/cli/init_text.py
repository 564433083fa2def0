"""The configuration that `fieldgate init` writes, and what is wrong with what it is to be made of."""

import tomllib
from pathlib import Path
from string import Template

from msgspec import ValidationError, convert

from drivers.suggesting import toml, value
from gateway import config
from gateway.config import ConfigFile
from gateway.config.advice import is_here
from gateway.errors import ConfigError
from gateway.settings import Host

_LOCAL = "mqtt://127.0.0.1:1883"


def text(name: str, epoch: int, data_dir: Path, key: Path, read_key: Path, *, broker: str, node: str) -> str:
    """fieldgate.toml. `broker`: its url; `node`: tables [node.NAME]; without them there are commented examples."""
    table = "local" if not broker or is_here(broker) else "main"
    given = toml(f"broker.{table}", {"url": broker or _LOCAL})
    return Template(_TEMPLATE).substitute(
        name=name,
        epoch=epoch,
        data_dir=value(str(data_dir)),
        key=value(f"file:{key}"),
        read_key=value(f"file:{read_key}"),
        broker=f"{given}\n{_commented(_LOGIN)}" if broker else _commented(f"{given}\n{_LOGIN}"),
        source=_commented(_SOURCE.format(broker=table)),
        node=node.strip() if node else _commented(_NODE),
    )


def fault(made: str) -> str:
    """What is wrong with such a text; "" for one that is good."""
    try:
        config.settings_of([ConfigFile(Path("fieldgate.toml"), made.encode())])
    except (ConfigError, UnicodeEncodeError) as exc:
        first = exc.faults[0] if isinstance(exc, ConfigError) else None
        return f"{first.key} {first.what}. {first.cure}" if first else "there are characters in it that no text has"
    return ""


def name_fault(name: str) -> str:
    """What is wrong with a gateway's name; "" for one that is good."""
    try:
        convert(name, Host)
    except ValidationError:
        return "a gateway's name is at most 62 lower-case letters, digits, . and -"
    return ""


def node_tables(lines: str) -> str:
    """The tables [node.NAME] in what an operator sent, such as all that `fieldgate node init` prints. ValueError."""
    rows = lines.splitlines()
    start = next((number for number, row in enumerate(rows) if row.strip().startswith("[node.")), None)
    if start is None:
        raise ValueError("there is no line [node.NAME] in it")
    tables = "\n".join(rows[start:]).strip()
    try:
        document = tomllib.loads(tables)
    except (ValueError, RecursionError):
        raise ValueError("these are no lines of a configuration: copy them whole, from [node.NAME] on") from None
    if set(document) != {"node"}:
        raise ValueError("there are other tables than [node.NAME] in it")
    return tables


def _commented(lines: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in lines.splitlines())


_LOGIN = """\
user = "fieldgate"
password = "file:/etc/fieldgate/mqtt.password\""""

_SOURCE = """\
[source.climate]
driver = "mqtt"
broker = "{broker}"
topic = "farm/house3/climate"
values = {{ temp = {{ pointer = "/temperature", unit = "Cel" }}, rh = {{ pointer = "/humidity", unit = "%RH" }} }}"""

_NODE = """\
[node.coop]
url = "https://node.coop.example:8441"
seen_key = "node.coop.example+..."
stored_key = "node.coop.example/stored+..."
read_key = "node.coop.example/read+...\""""

_TEMPLATE = """\
# Fieldgate's configuration. Every table and field: fieldgate config example. After a change: fieldgate check.
# A password or key is never written here, only where it is: "file:/path", "env:NAME" or "credential:name".

[gateway]
name = "$name"
epoch = $epoch
data_dir = $data_dir
key = $key
read_key = $read_key

# A block of readings is signed when it has max_count of them, or is max_age_s old.
# [seal]
# max_count = 4096
# max_age_s = 60

# An MQTT broker.
$broker

# Sources. `fieldgate probe` lists the serial ports, `fieldgate probe PORT` finds what speaks there, and
# `fieldgate probe mqtt://HOST` what a broker brings; both print the tables to paste. One that publishes JSON:
$source

# An upstream node: its operator gives you these lines, you give them the log key that init printed.
$node
"""
