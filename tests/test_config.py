"""Every kind of fault in a configuration is found, told with its line and its cure, and no secret is told with it."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.configs import GATEWAY, LOG, NODE, READ, SEEN, STORED, private, same_key, vkey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from gateway import config
from gateway.config.lines import lines
from gateway.core.limits import CONFIG_BYTES
from gateway.core.note import ED25519
from gateway.errors import ConfigError, Fault, KeyFileError
from gateway.settings import NodeSettings, Settings

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


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


# What is good


def test_good(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, GATEWAY))
    assert isinstance(loaded, Settings)
    assert loaded.origin == "henhouse.example/1"
    assert loaded.seal.max_count == 4096
    assert loaded.source["climate"].options.topic == "farm/house3/climate"
    assert loaded.node["coop"].share == ("*",)
    assert config.load_node(write(tmp_path, NODE)).gateway["henhouse"].vkey == LOG


def test_smallest(tmp_path: Path) -> None:
    text = '[gateway]\nname = "a"\ndata_dir = "/d"\nkey = "env:KEY"\n'
    assert config.load(write(tmp_path, text)) == Settings(gateway=config.load(write(tmp_path, text)).gateway)


def test_whole_number_for_a_number(tmp_path: Path) -> None:
    assert config.load(write(tmp_path, GATEWAY + "[seal]\nmax_age_s = 5\n")).seal.max_age_s == 5.0


def test_any_struct(tmp_path: Path) -> None:
    class Small(Struct, forbid_unknown_fields=True):
        names: list[str]
        tables: list["Inner"] = []
        pair: tuple[int, ...] = (1,)

    class Inner(Struct, forbid_unknown_fields=True):
        x: int

    Small.__annotations__["tables"] = list[Inner]
    loaded = config.load_as(write(tmp_path, 'names = ["a"]\npair = [2, 3]\n'), Small)
    assert loaded == Small(["a"], [], (2, 3))


# One fault of each kind: (text, place in the text, key, words that are told)

ADDED = GATEWAY.count("\n") + 1

FAULTS: dict[str, tuple[str, int, str, str]] = {
    "syntax": (changed("[broker.local]", "[broker.local"), 6, "", "not TOML"),
    "unquoted text": (changed('"henhouse.example"', "henhouse"), 2, "", "not TOML"),
    "key twice": (changed("[broker.local]", 'key = "env:A"\n[broker.local]'), 6, "", "not TOML"),
    "open string": (GATEWAY + 'x = """', ADDED, "", "not TOML"),
    "unknown key": (changed("user =", "windw = 5\nuser ="), 8, "broker.local.windw", "Did you mean window?"),
    "unknown table": (GATEWAY + "[sael]\nmax_count = 1\n", ADDED, "sael", "Did you mean seal?"),
    "unknown, nothing near": (
        GATEWAY + "[seal]\nzzz = 1\n",
        ADDED + 1,
        "seal.zzz",
        "Known here: heartbeat_s, max_age_s",
    ),
    "unknown option of a driver": (
        changed("topic =", "tpic = 1\ntopic ="),
        14,
        "source.climate.tpic",
        "Did you mean topic?",
    ),
    "missing key": (changed('data_dir = "/var/lib/fieldgate"\n', ""), 1, "gateway.data_dir", "is missing"),
    "missing table": ("[seal]\n", 0, "gateway", "Add the table [gateway] with name, data_dir, key"),
    "missing option": (changed('topic = "farm/house3/climate"\n', ""), 11, "source.climate.topic", "is missing"),
    "not a table": (GATEWAY + "[seal]\n[journal]\n", 0, "", ""),  # replaced below
    "below the bound": (GATEWAY + "[seal]\nmax_count = 0\n", ADDED + 1, "seal.max_count", "from 1 to 65536"),
    "above the bound": (GATEWAY + "[seal]\nmax_count = 65537\n", ADDED + 1, "seal.max_count", "is 65537"),
    "open bound": (GATEWAY + "[seal]\nmax_age_s = 0\n", ADDED + 1, "seal.max_age_s", "above 0, up to 86400"),
    "not a number": (GATEWAY + "[seal]\nmax_age_s = nan\n", ADDED + 1, "seal.max_age_s", "is nan"),
    "infinite": (GATEWAY + "[seal]\nmax_age_s = inf\n", ADDED + 1, "seal.max_age_s", "is inf"),
    "text for a number": (GATEWAY + '[seal]\nmax_count = "9"\n', ADDED + 1, "seal.max_count", 'is "9"'),
    "a fraction for a whole number": (GATEWAY + "[seal]\nmax_count = 1.5\n", ADDED + 1, "seal.max_count", "is 1.5"),
    "true for a number": (GATEWAY + "[seal]\nmax_count = true\n", ADDED + 1, "seal.max_count", "is true"),
    "a date for text": (changed('user = "fieldgate"', "user = 2026-11-23"), 8, "broker.local.user", "a date or time"),
    "a huge number": (GATEWAY + f"[seal]\nmax_count = {'9' * 90}\n", ADDED + 1, "seal.max_count", "very long number"),
    "a choice": (changed('driver = "mqtt"', 'driver = "mqtt"\nraw = "out"'), 13, "source.climate.raw", '"apart"'),
    "a name of a broker": (
        changed("[broker.local]", "[broker.Lo_cal]").replace('"local"', '"Lo_cal"'),
        6,
        "broker.Lo_cal",
        "is not a name",
    ),
    "an id of a source": (changed("[source.climate]", "[source.Climate]"), 11, "source.Climate", "Use an id"),
    "a name with a line feed": (changed('"henhouse.example"', '"henhouse\\n"'), 2, "gateway.name", "henhouse\\n"),
    "a list item": (changed("stored_key", 'share = [\n  "*",\n  3,\n]\n#'), 22, "node.coop.share[1]", "is 3"),
    "not a list": (changed("stored_key", 'share = "*"\n#'), 20, "node.coop.share", "a list"),
    "a long origin": (
        changed('"henhouse.example"', f'"{"a" * 60}"\nepoch = 12345'),
        2,
        "gateway.name",
        "an origin of 66 bytes",
    ),
    "a relative folder": (changed('"/var/lib', '"var/lib'), 3, "gateway.data_dir", "a whole path"),
    "an unknown driver": (changed('"mqtt"', '"mqqt"'), 12, "source.climate.driver", "Did you mean mqtt?"),
    "an unknown broker": (
        changed('broker = "local"', 'broker = "loc"'),
        13,
        "source.climate.broker",
        "There is: local",
    ),
    "what a driver's options object to": (
        changed('"farm/house3/climate"', '"farm/#/x"'),
        14,
        "source.climate.topic",
        "filter",
    ),
    "the reserved id": (changed("[source.climate]", "[source.gateway]"), 11, "source.gateway", "own events"),
    "a driver's name": (
        changed("[source.climate]", "[source.mqtt-local]"),
        11,
        "source.mqtt-local",
        "a driver is called",
    ),
    "a broker's port": (changed(":1883", ":99999"), 7, "broker.local.url", "a port that is not one"),
    "a password in an address": (changed("mqtt://127", "mqtt://u:p@127"), 7, "broker.local.url", '"mqtt://...@127'),
    "TLS files without TLS": (changed("user =", 'ca_file = "/ca.pem"\nuser ='), 8, "broker.local.ca_file", "mqtts://"),
    "half of a pair": (
        changed("user =", 'cert_file = "/c.pem"\nuser =').replace("mqtt:", "mqtts:"),
        8,
        "broker.local.cert_file",
        "Add key_file",
    ),
    "half of the web's pair": (GATEWAY + '[web]\nkey_file = "/k"\n', ADDED + 1, "web.key_file", "Add cert_file"),
    "a password without a user": (changed('user = "fieldgate"\n', ""), 8, "broker.local.password", "has no user"),
    "one session twice": (
        GATEWAY + '[broker.b]\nurl = "mqtt://127.0.0.1:1883"\n',
        ADDED,
        "broker.b.client_id",
        "is that of broker.local",
    ),
    "no vkey": (changed(SEEN, "node.example+00000000+AAAA"), 19, "node.coop.seen_key", "is not a verifier key"),
    "a vkey of the wrong kind": (changed(SEEN, READ), 19, "node.coop.seen_key", "algorithm byte 0x01"),
    "a read key of the wrong kind": (changed(READ, vkey("x")), 21, "node.coop.read_key", "algorithm byte 0x04"),
    "one key twice": (
        changed(STORED, same_key("other", "node.example")),
        20,
        "node.coop.stored_key",
        "the same key as",
    ),
    "one key name twice": (changed(STORED, SEEN), 20, "node.coop.stored_key", "the same key as node.coop.seen_key"),
    "a share of nothing": (
        changed("stored_key", 'share = ["climat"]\n#'),
        20,
        "node.coop.share[0]",
        "There is: climate, gateway",
    ),
    "all and more": (changed("stored_key", 'share = ["*", "climate"]\n#'), 20, "node.coop.share", 'Write ["*"]'),
    "stored without the whole": (GATEWAY + 'share = ["climate"]\n', 20, "node.coop.stored_key", "cannot count"),
    "a CA without TLS": (
        changed("https://node.example:8441", "http://node.example:8441") + 'ca_file = "/ca"\n',
        22,
        "node.coop.ca_file",
        "TLS only",
    ),
    "a user in a node's address": (changed("https://node", "https://u:p@node"), 18, "node.coop.url", "an address like"),
    "the web's port": (GATEWAY + '[web]\nlisten = "127.0.0.1:70000"\n', ADDED + 1, "web.listen", "a port that is not"),
    "every address": (GATEWAY + '[web]\nlisten = "0.0.0.0:8440"\n', ADDED, "web.authority", "is missing"),
    "an authority": (GATEWAY + '[web]\nauthority = ["a b"]\n', ADDED + 1, "web.authority[0]", "host:port"),
}
FAULTS["not a table"] = ("seal = 3\n" + GATEWAY, 1, "seal", "Make it a table: [seal]")

NODE_ADDED = NODE.count("\n") + 1
NODE_FAULTS: dict[str, tuple[str, int, str, str]] = {
    "unknown key": (changed("pull =", "pll =", NODE), 10, "gateway.henhouse.pll", "Did you mean pull?"),
    "no vkey": (changed(LOG, "x", NODE), 9, "gateway.henhouse.vkey", "is not a verifier key"),
    "a co-signing key": (changed(LOG, vkey("a/1"), NODE), 9, "gateway.henhouse.vkey", "algorithm byte 0x04"),
    "one log twice": (NODE + f'[gateway.b]\nvkey = "{LOG}"\n', NODE_ADDED + 1, "gateway.b.vkey", "the same key"),
    "a consumer": (
        NODE + f'consumers = ["{READ}", "y"]\n',
        NODE_ADDED,
        "gateway.henhouse.consumers[1]",
        "verifier key",
    ),
    "one place for two keys": (
        changed("stored.key", "seen.key", NODE),
        5,
        "node.stored_key",
        "the same place as seen_key",
    ),
    "half of a pair": (changed("[gateway", 'cert_file = "/c"\n[gateway', NODE), 8, "node.cert_file", "Add key_file"),
    "a CA without TLS": (
        changed("https", "http", NODE) + 'ca_file = "/ca"\n',
        NODE_ADDED,
        "gateway.henhouse.ca_file",
        "TLS",
    ),
    "a port": (changed(":8440", ":84400", NODE), 10, "gateway.henhouse.pull", "a port that is not one"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_fault(tmp_path: Path, kind: str) -> None:
    text, line, key, words = FAULTS[kind]
    (fault,) = faults(tmp_path, text)
    assert (fault.line, fault.key) == (line, key), str(fault)
    assert words in str(fault)
    assert fault.cure
    assert fault.file == str(tmp_path / "fieldgate.toml")
    assert "\n" not in str(fault)


@pytest.mark.parametrize("kind", NODE_FAULTS)
def test_node_fault(tmp_path: Path, kind: str) -> None:
    text, line, key, words = NODE_FAULTS[kind]
    (fault,) = faults(tmp_path, text, node=True)
    assert (fault.line, fault.key) == (line, key), str(fault)
    assert words in str(fault)


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


def test_everything_at_once(tmp_path: Path) -> None:
    text = """\
[gateway]
name = "Henhouse"
kee = "x"
[seal]
max_count = 0
[source.a]
driver = "mqtt"
broker = "none"
[source.b]
driver = "nothing"
[node.n]
url = "ftp://x"
seen_key = "x"
"""
    found = faults(tmp_path, text)
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)
    assert {fault.key for fault in found} == {
        "gateway.name",
        "gateway.kee",
        "gateway.data_dir",
        "gateway.key",
        "seal.max_count",
        "source.a.topic",
        "source.a.values",
        "source.a.broker",
        "source.b.driver",
        "node.n.url",
        "node.n.seen_key",
    }


# The file itself


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "none.toml")
    assert "no such file" in str(caught.value)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        config.load(tmp_path)


def test_a_path_with_a_nul() -> None:
    with pytest.raises(ConfigError):
        config.load(Path("a\0b"))


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", write(tmp_path, GATEWAY) / "x"):
        with pytest.raises(ConfigError, match="Check the path"):
            config.load(path)


def test_not_utf8(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY.encode() + b'[web]\nlisten = "h\xf6hle:1"\n')
    assert (fault.line, fault.key) == (ADDED + 1, "")
    assert "UTF-8" in fault.what


def test_byte_order_mark(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, b"\xef\xbb\xbf" + GATEWAY.encode())
    assert fault.line == 1


def test_size(tmp_path: Path) -> None:
    room = CONFIG_BYTES - len(GATEWAY.encode())
    config.load(write(tmp_path, GATEWAY + "#" * room))
    (fault,) = faults(tmp_path, GATEWAY + "#" * (room + 1))
    assert "longer than" in fault.what


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "a" + ".a" * 3000 + " = 1"])
def test_nested_or_long(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_names_are_shown_on_one_line(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY + '"\\u001b[31m\\nred" = 1\n')
    assert str(fault).isprintable()


# Lines


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """A TOML text and the line of everything in it."""
    text, where = "", {}
    name = st.sampled_from(["a", "b-c", '"d e"', "f"])
    filler = st.sampled_from(["", "\n", "# x\n", "  # y\n\n", "\r\n"])
    for table in draw(st.lists(name, unique=True, max_size=3)):
        text += draw(filler)
        where[(table.strip('"'),)] = text.count("\n") + 1
        text += f"[{table}] # z\n"
        for key in draw(st.lists(name, unique=True, max_size=4)):
            text += draw(filler)
            path = (table.strip('"'), key.strip('"'))
            where[path] = text.count("\n") + 1
            value = draw(st.sampled_from(["1", '"x"', '"""\ny\n"""', "[1,\n 2, # c\n\n 3]", "{ k = 1, l = [\n 2] }"]))
            if value.startswith("[1"):
                where |= {(*path, 0): where[path], (*path, 1): where[path] + 1, (*path, 2): where[path] + 3}
            elif value.startswith("{"):
                where |= {(*path, "k"): where[path], (*path, "l"): where[path], (*path, "l", 0): where[path] + 1}
            text += f"{key} = {value}{draw(st.sampled_from(['', ' # t']))}\n"
    return text, where


@given(documents())
def test_lines(document: tuple[str, dict[tuple[str | int, ...], int]]) -> None:
    text, where = document
    tomllib.loads(text)
    assert lines(text) == where


def test_lines_of_dotted_and_repeated_tables() -> None:
    text = "a.b.c = 1\na.b.d = 2\n[[t]]\nx = 1\n[[t]]\nx = 2\n[t.u]\ny = 1\n[s.v]\n[o]\n[s.w]\nz = 1\n"
    found = lines(text)
    assert found["a", "b", "d"] == 2
    assert (found["t",], found["t", 0, "x"], found["t", 1, "x"], found["t", 1, "u", "y"]) == (3, 4, 6, 8)
    assert (found["s", "v"], found["s", "w", "z"]) == (9, 12)


# Whatever is in the file

TOKENS = [
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    ".",
    '"',
    '"""',
    "'",
    "#",
    "\n",
    "\r",
    "\0",
    "\t",
    "é",
    "\u202e",
    "gateway",
    "1e999",
    "-0",
    "nan",
    "inf",
    "true",
    "1979-05-27T07:32:00Z",
    "0x_",
    "9" * 40,
    "key",
    "share",
    "[gateway]\n",
    "\\u0000",
]


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with some pieces cut out, doubled, swapped or replaced by what TOML cares about."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        new = draw(st.one_of(st.sampled_from(TOKENS), st.text(max_size=8), st.just(text[start:end] * 2)))
        text = text[:start] + new + text[end:]
    return text


@QUICK
@given(st.one_of(mutated(GATEWAY), mutated(NODE)), st.booleans())
def test_settings_or_a_report(tmp_path: Path, text: str, node: bool) -> None:
    path = write(tmp_path, text.encode(errors="surrogatepass"))
    try:
        loaded = config.load_node(path) if node else config.load(path)
    except ConfigError as exc:
        assert exc.faults
        for fault in exc.faults:
            assert str(fault).isprintable()
            assert 0 <= fault.line <= text.count("\n") + 1
    else:
        assert isinstance(loaded, NodeSettings if node else Settings)


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.datetimes(),
        st.dates(),
        st.times(),
        st.none(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["driver", "url", "x"]), inner, max_size=3)
    ),
)


@QUICK
@given(st.data())
def test_any_value_anywhere(tmp_path: Path, data: st.DataObject) -> None:
    """A key of a good file with a value of any type."""
    text, node = data.draw(st.sampled_from([(GATEWAY, False), (NODE, True)]))
    rows = text.splitlines()
    place = data.draw(st.sampled_from([n for n, row in enumerate(rows) if " = " in row]))
    value = data.draw(VALUES)
    rows[place] = f"{rows[place].partition(' = ')[0]} = {toml(value)}"
    path = write(tmp_path, "\n".join(rows))
    try:
        config.load_node(path) if node else config.load(path)
    except ConfigError as exc:
        assert all(str(fault).isprintable() for fault in exc.faults)


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    return {None: '""'}.get(value) or (value.isoformat() if hasattr(value, "isoformat") else repr(value))


# Secrets

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


def test_a_status_for_a_broker_that_there_is_not(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY + '[status]\nbroker = "locla"\n')
    assert fault.key == "status.broker"
    assert "no [broker.NAME] table names" in fault.what
    assert config.load(write(tmp_path, GATEWAY + '[status]\nbroker = "local"\n')).status.every_s == 30


def test_broker_address() -> None:
    assert config.broker_address("mqtt://farm.example") == ("farm.example", 1883, False)
    assert config.broker_address("mqtts://farm.example") == ("farm.example", 8883, True)
    assert config.broker_address("mqtt://[::1]:1884") == ("::1", 1884, False)


def test_a_good_file_imports_no_tomlkit(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from gateway import config
config.load(Path({str(write(tmp_path, GATEWAY))!r}))
print([name for name in ("tomlkit", "rich", "click") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The example

EXAMPLE = Path(__file__).parents[1] / "deploy" / "fieldgate.toml"
ENABLED = re.compile(r"^#(?=[a-z_]+ = |\[[a-z])", re.MULTILINE)


def test_the_example_is_good() -> None:
    loaded = config.load(EXAMPLE)
    assert loaded.source
    assert loaded.broker
    assert loaded.node


def test_the_example_is_good_with_everything_in_it(tmp_path: Path) -> None:
    config.load(write(tmp_path, ENABLED.sub("", EXAMPLE.read_text())))


def test_the_example_shows_every_field() -> None:
    document = tomllib.loads(ENABLED.sub("", EXAMPLE.read_text()))
    missing = [".".join(path) for path in _fields(Settings) if not _shown(document, path)]
    assert missing == []


def _fields(cls: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field; a table of tables has `*` for its names."""
    from msgspec.inspect import DictType, StructType, type_info

    for field in type_info(cls).fields:  # type: ignore[attr-defined]
        here = (*path, field.encode_name)
        if here == ("source", "*", "options"):
            continue
        if isinstance(field.type, StructType):
            yield from _fields(field.type.cls, here)
        elif isinstance(field.type, DictType) and isinstance(field.type.value_type, StructType):
            yield from _fields(field.type.value_type.cls, (*here, "*"))
        else:
            yield here


def _shown(document: Any, path: tuple[str, ...]) -> bool:
    if not path:
        return True
    first, *rest = path
    tables = document.values() if first == "*" else [document[first]] if first in document else []
    return any(_shown(table, tuple(rest)) for table in tables)
