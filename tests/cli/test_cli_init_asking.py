"""`fieldgate init` on a terminal: it asks, asks again, and what it writes passes the check."""

import os
import tomllib
from pathlib import Path

import pytest
from fakes.command import fieldgate, within
from fakes.configs import READ, SEEN, STORED
from fakes.conversation import Conversation, conversation

from gateway import config
from gateway.core.limits import CONFIG_BYTES

NODE = f"""\
[node.coop]
url = "https://node.example:8441"
seen_key = "{SEEN}"
stored_key = "{STORED}"
read_key = "{READ}"
"""
WHOLE_OUTPUT = f"node           node.example in /node\nA gateway's fieldgate.toml needs:\n\n{NODE}"


def answer(talk: Conversation, name: str, data: str = "", broker: str = "", node: str = "") -> None:
    talk.answer("Its name, for good", name)
    talk.answer("A folder for its readings [data]", data)
    talk.answer("An MQTT broker", broker)
    talk.answer("A node", node)


def test_the_answers_are_what_is_made(tmp_path: Path) -> None:
    with conversation("init", cwd=tmp_path) as talk:
        answer(talk, "quay.example", "readings", "mqtt://broker.example:1884", "")
        talk.expect("log key")
        assert talk.end() == 0
    loaded = config.load(tmp_path / "fieldgate.toml")
    assert loaded.origin == "quay.example/1"
    assert loaded.gateway.data_dir == str(tmp_path / "readings")
    assert loaded.broker["main"].url == "mqtt://broker.example:1884"
    assert loaded.node == {}
    assert (tmp_path / "readings" / "fieldgate.db").exists()
    assert within("check", cwd=tmp_path).code == 0
    assert "fieldgate probe" in (tmp_path / "fieldgate.toml").read_text()


def test_empty_answers_take_what_is_proposed(tmp_path: Path) -> None:
    with conversation("init", cwd=tmp_path) as talk:
        talk.expect("Its name, for good: it is part of every signature")
        host = os.uname().nodename.lower()
        talk.say("" if f"[{host}]" in talk.screen else "a.example")
        talk.answer("A folder for its readings [data]", "")
        talk.answer("An MQTT broker, such as mqtt://127.0.0.1:1883 (none)", "")
        talk.answer("A node (none)", "")
        assert talk.end() == 0
    loaded = config.load(tmp_path / "fieldgate.toml")
    assert (loaded.broker, loaded.node) == ({}, {})
    assert loaded.gateway.data_dir == str(tmp_path / "data")


def test_what_cannot_be_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(NODE.replace(SEEN, SEEN[:-4]))
    with conversation("init", cwd=tmp_path) as talk:
        talk.answer("Its name, for good", "Hühnerhaus 3")
        talk.expect("at most 62 lower-case letters")
        talk.answer("Its name, for good", "a.example")
        talk.answer("A folder", "")
        for wrong in ("broker.example", "http://broker.example", "mqtt://u:hunter2@b"):
            talk.answer("An MQTT broker", wrong)
            talk.expect("broker.main.url is")
        talk.answer("An MQTT broker", "mqtt://broker:99999")
        talk.expect("a port that is not one")
        talk.answer("An MQTT broker", "mqtts://broker.example")
        faults = {"none.toml": "No such file", "wrong.toml": "seen_key is not a verifier key", ".": "Is a directory"}
        for wrong, told in faults.items():
            talk.answer("A node (none)", wrong)
            talk.expect(told)
        talk.answer("A node (none)", "")
        assert talk.end() == 0
    assert config.load(tmp_path / "fieldgate.toml").broker["main"].url == "mqtts://broker.example"


def test_a_nodes_lines_are_pasted(tmp_path: Path) -> None:
    with conversation("init", cwd=tmp_path) as talk:
        answer(talk, "a.example", node=NODE.replace(SEEN, "x").rstrip())
        talk.say("")
        talk.expect("node.coop.seen_key is not a verifier key")
        talk.answer("A node (none)", NODE.rstrip())
        talk.say("")
        talk.expect("log key")
        assert talk.end() == 0
    loaded = config.load(tmp_path / "fieldgate.toml")
    assert (loaded.node["coop"].seen_key, loaded.node["coop"].read_key) == (SEEN, READ)


def test_what_is_pasted_behind_the_lines_is_not_left_for_the_shell(tmp_path: Path) -> None:
    """Two tables with an empty line between them: the second is neither an answer nor a command."""
    with conversation("init", cwd=tmp_path) as talk:
        answer(talk, "a.example", node=NODE + "\n[node.other]\ntouch evil\n")
        talk.expect("log key")
        talk.end()
    assert set(config.load(tmp_path / "fieldgate.toml").node) == {"coop"}


@pytest.mark.parametrize("text", [NODE, WHOLE_OUTPUT, f"\n\n{NODE}\n"], ids=["a table", "node init's words", "blanks"])
def test_a_nodes_lines_in_a_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "coop.toml").write_text(text)
    with conversation("init", cwd=tmp_path) as talk:
        answer(talk, "a.example", node="coop.toml")
        assert talk.end() == 0
    assert config.load(tmp_path / "fieldgate.toml").node["coop"].stored_key == STORED


def test_what_options_say_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "coop.toml").write_text(NODE)
    options = ("--data-dir", "d", "--broker", "mqtt://127.0.0.1", "--node", "coop.toml", "--config", "g.toml")
    with conversation("init", *options, cwd=tmp_path) as talk:
        talk.answer("Its name, for good", "a.example")
        assert talk.end() == 0
        assert talk.screen.count("?") == 0
        assert "An MQTT broker" not in talk.screen
    loaded = config.load(tmp_path / "g.toml")
    assert (loaded.broker["local"].url, set(loaded.node)) == ("mqtt://127.0.0.1", {"coop"})


def test_with_a_name_nothing_is_asked(tmp_path: Path) -> None:
    with conversation("init", "--name", "a.example", cwd=tmp_path) as talk:
        assert talk.end() == 0
        assert "Its name" not in talk.screen


@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("answered", [0, 3])
def test_leaving_makes_nothing(tmp_path: Path, key: str, answered: int) -> None:
    questions = ["Its name, for good", "A folder", "An MQTT broker", "A node (none)"]
    with conversation("init", cwd=tmp_path) as talk:
        for question in questions[:answered]:
            talk.answer(question, "a.example" if question is questions[0] else "")
        talk.expect(questions[answered])
        talk.press(key)
        assert talk.end() == 130
        assert "Traceback" not in talk.screen
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_asked_where_it_would_be_in_vain(tmp_path: Path) -> None:
    (tmp_path / "fieldgate.toml").write_text("mine")
    with conversation("init", cwd=tmp_path) as talk:
        talk.expect("is there already, and nothing is overwritten")
        assert talk.end() == 1
    assert (tmp_path / "fieldgate.toml").read_text() == "mine"


# Without a terminal


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    done = fieldgate("init", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "--name is missing" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_broker_and_a_node_by_options(tmp_path: Path) -> None:
    (tmp_path / "coop.toml").write_text(WHOLE_OUTPUT)
    options = ("--broker", "mqtts://broker.example:8883", "--node", "coop.toml")
    assert within("init", "--name", "a.example", *options, cwd=tmp_path).code == 0
    loaded = config.load(tmp_path / "fieldgate.toml")
    assert loaded.broker["main"].url == "mqtts://broker.example:8883"
    assert loaded.node["coop"].url == "https://node.example:8441"
    checked = within("check", "--json", cwd=tmp_path)
    assert checked.code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--broker", "broker.example"), "--broker 'broker.example': broker.main.url is"),
        (("--broker", "mqtt://a\nb"), "--broker"),
        (("--broker", "mqtt://u:hunter2@b"), "--broker"),
        (("--node", "empty"), "no line [node.NAME]"),
        (("--node", "other"), "other tables"),
        (("--node", "syntax"), "copy them whole"),
        (("--node", "wrong"), "node.coop.seen_key is not a verifier key"),
        (("--node", "latin"), "--node"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    texts = {
        "empty": b"",
        "other": NODE.encode() + b"[seal]\nmax_count = 5\n",
        "syntax": NODE.encode() + b"[[[",
        "wrong": NODE.replace(SEEN, READ[:-4]).encode(),
        "latin": NODE.encode() + b"# \xff",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    done = within("init", "--name", "a.example", *options, cwd=tmp_path)
    assert done.code == 2
    assert told in done.err
    assert len(done.lines) == 1
    assert {path.name for path in tmp_path.iterdir()} == set(texts)


def test_a_nodes_file_that_is_not_there_or_too_long(tmp_path: Path) -> None:
    assert within("init", "--name", "a", "--node", "none", cwd=tmp_path).code == 3
    (tmp_path / "long").write_text("#" * (CONFIG_BYTES + 1))
    assert within("init", "--name", "a", "--node", "long", cwd=tmp_path).code == 1


def test_the_same_again_finishes_what_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "coop.toml").write_text(NODE)
    options = ("--name", "a.example", "--broker", "mqtt://127.0.0.1", "--node", "coop.toml")
    assert within("init", *options, cwd=tmp_path).code == 0
    ready = tmp_path / "data" / ".init"
    (ready / "store").mkdir(parents=True)
    (tmp_path / "fieldgate.toml").rename(ready / "fieldgate.toml")
    assert within("init", *options[:-2], cwd=tmp_path).code == 1, "another one"
    assert within("init", *options, cwd=tmp_path).code == 0
    document = tomllib.loads((tmp_path / "fieldgate.toml").read_text())
    assert set(document) == {"gateway", "broker", "node"}
