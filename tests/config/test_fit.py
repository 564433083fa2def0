"""Sources that share a port, a bus or an address; nodes and what is kept: tables that do not fit each other."""

import json
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, changed, faults, line_of, write

from gateway import config
from gateway.anchors import registry as chains

ADDED = GATEWAY.count("\n") + 1


def serial(name: str, port: str) -> str:
    return f'[source.{name}]\ndriver = "serial_line"\nport = "{port}"\nformat = "text"\nvalues = {{ v = {{}} }}\n'


def test_two_sources_on_one_port(tmp_path: Path) -> None:
    (tmp_path / "by-path").symlink_to(tmp_path / "by-id")
    one, two = serial("one", f"{tmp_path}/by-id"), serial("two", f"{tmp_path}/by-id-2")
    assert len(config.load(write(tmp_path, GATEWAY + one + two)).source) == 3
    (fault,) = faults(tmp_path, GATEWAY + one + serial("two", f"{tmp_path}/by-path"))
    assert (fault.key, fault.line) == ("source.two.port", ADDED + 7)
    assert "source.one" in fault.what


def modbus(name: str, more: str) -> str:
    table = f'[source.{name}]\ndriver = "modbus_rtu"\nnumbering = "one"\nslave = 1\n{more}\n'
    return table + 'values = { n = { register = 1, type = "uint16" } }\n'


def test_polled_sources_share_a_port_and_agree_on_it(tmp_path: Path) -> None:
    port = 'port = "/dev/ttyS7"\n'
    config.load(write(tmp_path, GATEWAY + modbus("a", port) + modbus("b", port + "every_s = 1\n")))
    text = GATEWAY + modbus("a", port) + modbus("b", port + "baud = 19200\n") + serial("c", "/dev/ttyS7")
    found = faults(tmp_path, text)
    assert [(one.line, one.key) for one in found] == [
        (line_of(text, "baud = 19200"), "source.b.baud"),
        (line_of(text, "[source.c]") + 2, "source.c.port"),
    ]
    assert "19200" in found[0].what
    assert "9600" in found[0].what
    assert "is the port of source.a too" in found[1].what
    (broken,) = faults(tmp_path, GATEWAY + modbus("a", port) + modbus("b", port + "retries = 99\n"))
    assert broken.key == "source.b.retries"


def evm(name: str, more: str = "", key: str = "anchor.key") -> str:
    head = f'[anchor.{name}]\nkind = "evm"\nurl = "https://chain.example"\nchain_id = 9090\n'
    return f'{head}key = "file:/etc/fieldgate/{key}"\n{more}'


def test_one_account_has_one_table(tmp_path: Path) -> None:
    assert len(config.load(write(tmp_path, GATEWAY + evm("a") + evm("b", key="other.key"))).anchor) == 2
    (fault,) = faults(tmp_path, GATEWAY + evm("a") + evm("b"))
    assert (fault.key, fault.line) == ("anchor.b", ADDED + 5)
    assert "as anchor.a" in fault.what


def test_an_account_is_told_by_the_key_that_signs_alone(tmp_path: Path) -> None:
    """What else is secret in a table, a server's api_key, says nothing of who sends."""
    (fault,) = faults(tmp_path, GATEWAY + evm("a") + evm("b", 'api_key = "file:/etc/fieldgate/api.key"\n'))
    assert fault.key == "anchor.b"
    assert "with the same key as anchor.a" in fault.what


def test_an_anchor_of_a_kind_that_there_is_not(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY + evm("a").replace('"evm"', '"evn"'))
    assert (fault.key, fault.cure) == ("anchor.a.kind", "Did you mean evm?")
    (fault,) = faults(tmp_path, GATEWAY + evm("a", 'ca_file = "/ca"\n').replace("https", "http"))
    assert fault.key == "anchor.a.ca_file"


@pytest.mark.parametrize("kind", chains.names())
def test_each_address_of_an_anchor_is_one(tmp_path: Path, kind: str) -> None:
    """Also that of a second server."""
    example = {name: value for name, value in chains.kind(kind).example.items() if not name.startswith("#")}
    addresses = [name for name in ("url", "rpc") if name in example]
    assert addresses
    for name in addresses:
        for wrong in ("https://[::1", "https://a:99999"):
            table = {"kind": kind, **example, name: wrong}
            text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            (fault,) = faults(tmp_path, f"{GATEWAY}[anchor.a]\n{text}")
            assert fault.key == f"anchor.a.{name}"


def test_two_sources_on_one_udp_port(tmp_path: Path) -> None:
    def source(name: str, wire: str) -> str:
        return serial(name, "x").replace('port = "x"', wire)

    good = source("one", 'udp = "0.0.0.0:2000"') + source("two", 'udp = "0.0.0.0:2001"')
    assert len(config.load(write(tmp_path, GATEWAY + good)).source) == 3
    shared = source("one", 'tcp = "a:2000"') + source("two", 'tcp = "a:2000"')
    assert len(config.load(write(tmp_path, GATEWAY + shared)).source) == 3
    (fault,) = faults(tmp_path, GATEWAY + good.replace("2001", "2000").replace("0.0.0.0", "127.0.0.1", 1))
    assert (fault.key, fault.line) == ("source.two.udp", ADDED + 7)
    assert "source.one" in fault.what


@pytest.mark.parametrize(
    ("wires", "key", "words"),
    [
        ("", "source.one.port", "tcp or udp"),
        ('port = "/dev/ttyS0"\ntcp = "a:1"', "source.one.tcp", "stands beside port"),
        ('tcp = "a"', "source.one.tcp", "host:port"),
        ('udp = "a:1"', "source.one.udp", "0.0.0.0"),
    ],
)
def test_where_a_stream_comes_from(wires: str, key: str, words: str, tmp_path: Path) -> None:
    text = GATEWAY + serial("one", "x").replace('port = "x"', wires)
    (fault,) = faults(tmp_path, text)
    assert fault.key == key
    assert words in str(fault)


def test_a_port_that_moves_is_refused(tmp_path: Path) -> None:
    text = GATEWAY + serial("one", "/dev/ttyUSB0")
    (fault,) = faults(tmp_path, text)
    assert (fault.key, fault.line) == ("source.one.port", ADDED + 2)
    assert "by-id" in str(fault)


def test_a_share_of_sources_that_topics_name(tmp_path: Path) -> None:
    text = changed('topic = "farm/house3/climate"', 'topic = "farm/+/climate"\nid = "{2}"')
    text = changed("stored_key", 'share = ["house3"]\n#', text)
    assert config.load(write(tmp_path, text)).node["coop"].share == ("house3",)


RETENTION = {
    "no size": ('max_bytes = "8"', "max_bytes", "8 GiB"),
    "a number": ("max_bytes = 8", "max_bytes", "8 GiB"),
    "too small": ('max_bytes = "31 MiB"', "max_bytes", "32 MiB or more"),
    "no node": ("stored_by = 0", "stored_by", "from 1"),
    "more than there are": ("stored_by = 2", "stored_by", "1 of the nodes can sign"),
    "an age": ("min_age_h = -1", "min_age_h", "0"),
    "a word": ('when_full = "newest"', "when_full", "oldest"),
}


@pytest.mark.parametrize("kind", RETENTION)
def test_retention_that_cannot_be(tmp_path: Path, kind: str) -> None:
    text, key, words = RETENTION[kind]
    (fault,) = faults(tmp_path, f"{GATEWAY}\n[retention]\n{text}\n")
    assert fault.key == f"retention.{key}"
    assert words in str(fault), str(fault)


def test_retention_that_can_be(tmp_path: Path) -> None:
    text = (
        '[retention]\nmax_bytes = "32 MiB"\nmin_free = "0 KiB"\nstored_by = 1\nmin_age_h = 0.5\nwhen_full = "oldest"\n'
    )
    loaded = config.load(write(tmp_path, GATEWAY + text)).retention
    assert (loaded.max_bytes, loaded.stored_by, loaded.when_full) == ("32 MiB", 1, "oldest")
    alone = GATEWAY[: GATEWAY.index("[node.")] + "[retention]\nstored_by = 1\n"
    assert config.load(write(tmp_path, alone)).retention.stored_by == 1


def test_a_status_for_a_broker_that_there_is_not(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY + '[status]\nbroker = "locla"\n')
    assert fault.key == "status.broker"
    assert "no [broker.NAME] table names" in fault.what
    assert config.load(write(tmp_path, GATEWAY + '[status]\nbroker = "local"\n')).status.every_s == 30
