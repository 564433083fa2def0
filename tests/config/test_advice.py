"""What is legal and unwise is told, with its place; what is wise is not."""

import re
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, NODE, SEEN, changed, vkey, write

from gateway import config
from gateway.conditions import SEVERITIES, Condition
from gateway.conditions import config as unwise
from gateway.config import advice
from gateway.config.words import dotted

UNWISE = [one for one in vars(unwise).values() if isinstance(one, Condition)]
GOOD = changed("user =", "window = 1000\nuser =")
REMOTE = changed("127.0.0.1", "broker.example", GOOD)
WITNESS = f'[node.w]\nurl = "https://w.example"\nseen_key = "{SEEN}"\nshare = []\n'
PUBLIC = f'[witness.public]\nurl = "https://w.example"\nvkey = "{vkey("w.example")}"\n'
NO_NODE = GOOD[: GOOD.index("[node")]
NO_SOURCE = GOOD[: GOOD.index("[source")] + GOOD[GOOD.index("[node") :]
UNSEALED = (
    '[anchor.s]\nkind = "evm"\nurl = "https://s.example"\nchain_id = 9090\nkey = "file:/etc/fieldgate/anchor.key"\n'
)
SIGNERS = [f"0x{number:040x}" for number in range(14)]
ANCHOR = UNSEALED + f"signers = {SIGNERS[:5]}\n"
MANY = UNSEALED + f"signers = {SIGNERS}\n"
OLDEST = '[retention]\nwhen_full = "oldest"\n'

CASES: list[tuple[str, list[str]]] = [
    (GOOD, []),
    (GATEWAY, ["config-window-default broker.local.window"]),
    (changed("user =", "window = 20\nuser ="), ["config-window-default broker.local.window"]),
    (GOOD + '[broker.spare]\nurl = "mqtt://127.0.0.1:1884"\n', ["config-broker-unused broker.spare"]),
    (GOOD + '[broker.spare]\nurl = "mqtt://127.0.0.1:1884"\nwindow = 1000\n[status]\nbroker = "spare"\n', []),
    (REMOTE, ["config-password-in-clear broker.local.url"]),
    (changed("127.0.0.1", "localhost", GOOD), []),
    (changed("127.0.0.1", "[::1]", GOOD), []),
    (changed("127.0.0.1", "192.168.1.9", GOOD), ["config-password-in-clear broker.local.url"]),
    (changed("mqtt://", "mqtts://", REMOTE), []),
    (re.sub("password = .*|user = .*", "", REMOTE), []),
    (changed("topic =", "qos = 0\ntopic =", GOOD), ["config-qos-0 source.climate.qos"]),
    (changed("topic =", "qos = 1\ntopic =", GOOD), []),
    (changed("farm/house3", "farm/+", GOOD), ["config-one-source source.climate.topic"]),
    (changed("farm/house3/climate", "farm/#", GOOD), ["config-one-source source.climate.topic"]),
    (changed("topic =", 'id = "{2}"\ntopic =', changed("farm/house3", "farm/+", GOOD)), []),
    (NO_NODE, ["config-no-node node"]),
    (NO_NODE + PUBLIC, ["config-no-holder node"]),
    (GOOD + PUBLIC.replace("https", "http"), []),
    (
        GOOD[: GOOD.index("[source")] + GOOD[GOOD.index("[node") :],
        ["config-broker-unused broker.local", "config-no-source source"],
    ),
    (changed("https://node", "http://node", GOOD), ["config-node-in-clear node.coop.url"]),
    (changed("https://node.example", "http://127.0.0.1", GOOD), []),
    (NO_NODE + WITNESS, ["config-no-keeper retention.stored_by"]),
    (NO_NODE + WITNESS + OLDEST, ["config-oldest-lost retention.when_full"]),
    (
        NO_NODE + '[retention]\nwhen_full = "oldest"\n',
        ["config-no-node node", "config-oldest-lost retention.when_full"],
    ),
    (GOOD + ANCHOR, []),
    (GOOD + ANCHOR.replace("https://s.example", "http://127.0.0.1:8545"), []),
    (GOOD + ANCHOR.replace("https", "http"), ["config-anchor-in-clear anchor.s.url"]),
    (GOOD + UNSEALED, ["config-no-signers anchor.s"]),
    (GOOD + MANY + "confirmations = 8\n", []),
    (GOOD + MANY + "confirmations = 7\n", ["config-few-seals anchor.s.confirmations"]),
    (GOOD + ANCHOR + "confirmations = 6\n", []),
    (GOOD + ANCHOR + "confirmations = 5\n", ["config-few-confirmations anchor.s.confirmations"]),
    (GOOD + OLDEST, []),
    (GOOD + '[web]\nlisten = "192.168.1.2:8440"\n', ["config-page-in-clear web.listen"]),
    (GOOD + '[web]\nlisten = "0.0.0.0:8440"\nauthority = ["a"]\n', ["config-page-in-clear web.listen"]),
    (GOOD + '[web]\nlisten = "192.168.1.2:8440"\ncert_file = "/c"\nkey_file = "/k"\n', []),
    (GOOD + '[web]\nlisten = "127.0.0.1:443"\n', ["config-port-of-root web.listen"]),
    (GOOD + '[web]\nlisten = "127.0.0.1:1024"\n', []),
    (GOOD + '[web]\nlisten = "127.0.0.1:0"\n', []),
    (changed("/etc/fieldgate/log.key", "/var/lib/fieldgate/log.key", GOOD), ["config-key-in-data-dir gateway.key"]),
    (changed("/etc/fieldgate/log.key", "/var/lib/fieldgate2/log.key", GOOD), []),
    (changed("file:/etc/fieldgate/log.key", "credential:log.key", GOOD), []),
    (GOOD + "[journal]\nlinger_ms = 0\n", ["config-no-linger journal.linger_ms"]),
    (GOOD + "[journal]\nlinger_ms = 1\n", []),
    (GOOD + "[seal]\nmax_age_s = 3601\n", ["config-late-blocks seal.max_age_s"]),
    (GOOD + "[seal]\nmax_age_s = 3600\n", []),
]


OF_A_NODE = ["config-pull-in-clear gateway.henhouse.pull", "config-anchor-in-clear anchor.s.url"]


@pytest.mark.parametrize("here", [True, False])
def test_a_nodes_plain_connections_to_other_machines(tmp_path: Path, here: bool) -> None:
    host = "127.0.0.1" if here else "far.example"
    text = NODE.replace("https://henhouse.example", f"http://{host}")
    path = write(tmp_path, text + ANCHOR.replace("https://s.example", f"http://{host}:8545"), "node.toml")
    told = [f"{one.problem.condition} {one.problem.subject}" for one in advice.node_advice(config.load_node(path))]
    assert told == ([] if here else OF_A_NODE)


@pytest.mark.parametrize(("text", "told"), CASES)
def test_advice(tmp_path: Path, text: str, told: list[str]) -> None:
    found = advice.advice(config.load(write(tmp_path, text)))
    assert [f"{one.problem.condition} {dotted(one.place)}" for one in found] == told
    for one in found:
        assert one.problem.subject == dotted(one.place)
        assert one.problem.severity in SEVERITIES
        assert "{" not in one.problem.what.replace('"{', "")
        assert one.problem.what[0].isupper()
        assert one.problem.cure.lstrip("`")[0].isalpha()
        assert not one.problem.cure.endswith(".")


def test_every_condition_is_met_by_a_case() -> None:
    assert all(one.id.startswith("config-") for one in UNWISE)
    met = {told.split()[0] for told in OF_A_NODE} | {told.split()[0] for _, several in CASES for told in several}
    assert met == {one.id for one in UNWISE}


def test_the_id_that_is_proposed_for_devices_is_good(tmp_path: Path) -> None:
    text = changed("farm/house3/climate", "+/house3/+/#", GOOD)
    (found,) = advice.advice(config.load(write(tmp_path, text)))
    proposed = found.problem.values["example"]
    assert proposed == 'id = "{1}-{3}-{4}"'
    better = config.load(write(tmp_path, changed("driver =", f"{proposed}\ndriver =", text)))
    assert advice.advice(better) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
@pytest.mark.parametrize("url", ["mqtt://{}:1", "http://{}/a", "//{}:80"])
def test_what_is_here(host: str, url: str) -> None:
    assert advice.is_here(url.format(host))
    assert not advice.is_here(url.format("10.0.0.1"))
    assert not advice.is_here(url.format("localhost.example"))
    assert not advice.is_here(url.format("[fe80::1]"))
