"""Every kind of fault in a configuration is found, and told with its line and its cure."""

import subprocess
import sys
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, LOG, NODE, READ, SEEN, STORED, changed, faults, same_key, vkey, write
from msgspec import Struct

from gateway import config
from gateway.settings import Settings

OF_WITNESS = vkey("w.example")
WITNESS = f'[witness.w]\nurl = "https://w.example"\nvkey = "{OF_WITNESS}"\n'


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
    "a witness with a log's key": (GATEWAY + WITNESS.replace(OF_WITNESS, READ), 24, "witness.w.vkey", "byte 0x01"),
    "a witness with a node's key": (
        GATEWAY + WITNESS.replace(OF_WITNESS, SEEN),
        24,
        "witness.w.vkey",
        "the same key as node.coop.seen_key",
    ),
    "a witness with a node's name": (
        GATEWAY + WITNESS.replace("witness.w", "witness.coop"),
        22,
        "witness.coop",
        "the name of node.coop",
    ),
    "a witness that keeps readings": (GATEWAY + WITNESS + 'share = ["*"]\n', 25, "witness.w.share", "not a key"),
    "a witness's authority without TLS": (
        GATEWAY + WITNESS.replace("https", "http") + 'ca_file = "/ca.pem"\n',
        25,
        "witness.w.ca_file",
        "TLS only",
    ),
    "a witness that is asked all the time": (GATEWAY + WITNESS + "every_s = 0.5\n", 25, "witness.w.every_s", "0.5"),
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
heavy = ("tomlkit", "rich", "click", "gateway.config.schema", "gateway.config.past")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
