"""`fieldgate check`: faults, advice, and what a change needs; for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.command import Done, within
from fakes.configs import GATEWAY, NODE
from fakes.control_socket import answering, http
from jsonschema import Draft7Validator

from gateway import config
from gateway.config.past import Past

WISE = GATEWAY.replace("user =", "window = 1000\nuser =")


class Home:
    """A folder with a configuration whose secrets and data are there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.path = folder / "fieldgate.toml"
        self.data.mkdir(mode=0o700)
        for name in ("log.key", "mqtt.password"):
            (folder / name).write_text("x")
            (folder / name).chmod(0o600)
        self.put(WISE)

    def text(self, text: str) -> str:
        return text.replace("/etc/fieldgate", str(self.folder)).replace("/var/lib/fieldgate", str(self.data))

    def put(self, text: str) -> None:
        """Without advice of the machine, whatever it is."""
        self.path.write_text(self.text(text))

    def check(self, *args: str | Path) -> Done:
        return within("check", *args, cwd=self.folder)

    def json(self, *args: str | Path) -> Any:
        return json.loads(self.check("--json", *args).out)

    def ran(self, text: str) -> None:
        """A gateway took this over."""
        self.put(text)
        Past(self.path, self.data).keep(config.files(self.path))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def of_the_configuration(told: Any) -> list[str]:
    """Advice that does not hang on this machine's disks."""
    found: list[str] = [one["condition"] for one in told["advice"]]
    return [one for one in found if "data" not in one and "disk" not in one]


def test_good(home: Home) -> None:
    done = home.check()
    assert (done.code, done.err) == (0, "")
    last = done.out.splitlines()[-1]
    assert last.startswith("fieldgate.toml: good: 1 source, 1 broker, 1 node, log henhouse.example/1")
    assert of_the_configuration(home.json()) == []


@pytest.mark.parametrize("how", [["fieldgate.toml"], ["--config", "fieldgate.toml"], ["-c", "fieldgate.toml"]])
def test_a_file_by_its_name(home: Home, how: list[str]) -> None:
    assert home.check(*how).code == 0
    both = home.check("fieldgate.toml", "--config", "other.toml")
    assert both.code == 2
    assert "name the file once" in both.err


def test_a_node(home: Home) -> None:
    (home.folder / "node.toml").write_text(NODE)
    for args in (("node.toml", "--node"), ("--node", "--config", "node.toml")):
        done = home.check(*args)
        assert (done.code, done.out) == (0, "node.toml: good: a node with 1 gateway\n")
    assert home.json("--node", "node.toml")["advice"] == []
    (home.folder / "node.toml").write_text(NODE.replace("https:", "http:"))
    told = home.check("node.toml", "--node").out.splitlines()
    assert told[0].startswith("node.toml:10: warning: gateway.henhouse.pull: Readings are pulled from another machine")
    assert told[1] == "node.toml: good: a node with 1 gateway; 1 warning above"
    found = home.json("--node", "node.toml")
    assert (found["good"], found["advice"][0]["condition"]) == (True, "config-pull-in-clear")
    (home.folder / "node.toml").write_text(NODE.replace("pull", "pll"))
    assert home.json("--node", "node.toml")["faults"][0]["key"] == "gateway.henhouse.pll"


def test_advice_has_a_line_a_reason_and_a_cure_and_is_no_fault(home: Home) -> None:
    home.put(GATEWAY.replace("topic =", "qos = 0\ntopic ="))
    done = home.check()
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    (window,) = [line for line in lines if "broker.local.window" in line]
    (qos,) = [line for line in lines if "source.climate.qos" in line]
    assert window.startswith("fieldgate.toml:6: note: broker.local.window: Messages become durable 20 at a time")
    assert qos.startswith("fieldgate.toml:14: warning: source.climate.qos: QoS 0: ")
    assert qos.endswith("Write qos = 1, and have the devices publish with QoS 1")
    assert "warning" in lines[-1]
    assert lines[-1].endswith("above")


def test_drop_ins_have_their_share(home: Home) -> None:
    (home.folder / "fieldgate.d").mkdir()
    (home.folder / "fieldgate.d" / "10.toml").write_text('\n[web]\nlisten = "0.0.0.0:443"\nauthority = ["a"]\n')
    told = home.json()
    assert [(Path(one["file"]).name, one["line"], one["key"]) for one in told["advice"][-2:]] == [
        ("10.toml", 3, "web.listen"),
        ("10.toml", 3, "web.listen"),
    ]
    assert [Path(one["file"]).name for one in told["files"]] == ["fieldgate.toml", "10.toml"]
    assert "fieldgate.toml and 1 of fieldgate.d: good" in home.check().out
    (home.folder / "fieldgate.d" / "10.conf").write_text("")
    (ignored,) = [one for one in home.json()["advice"] if one["condition"] == "config-file-ignored"]
    assert (ignored["line"], ignored["key"]) == (0, "")
    assert ignored["file"].endswith("10.conf")


def test_json_of_what_is_wrong(home: Home) -> None:
    home.put(WISE + "[seal]\nmax_cout = 1\n")
    done = home.check("--json")
    assert (done.code, done.err) == (2, "")
    told = json.loads(done.out)
    assert set(told) == {"file", "good", "faults", "advice", "files", "changes", "profile"}
    assert told["good"] is False
    assert told["faults"] == [
        {
            "file": "fieldgate.toml",
            "line": 24,
            "key": "seal.max_cout",
            "what": "is not a key that is known here",
            "cure": "Did you mean max_count?",
        }
    ]
    none = within("check", "--json", "none.toml", cwd=home.folder)
    assert none.code == 2
    assert "no such file" in json.loads(none.out)["faults"][0]["what"]


def test_json_of_what_is_good(home: Home) -> None:
    home.put(GATEWAY)
    told = home.json()
    assert (told["file"], told["good"], told["faults"], told["changes"]) == ("fieldgate.toml", True, [], None)
    assert told["files"] == [{"file": "fieldgate.toml", "sha256": config.files(home.path)[0].sha256}]
    (window,) = [one for one in told["advice"] if one["condition"] == "config-window-default"]
    assert set(window) == {"condition", "severity", "file", "line", "key", "what", "cure", "values"}


# What a change needs


def test_what_the_running_gateway_can_take_over(home: Home) -> None:
    home.ran(WISE)
    home.put(WISE.replace("house3", "house4") + '[web]\nlisten = "127.0.0.1:8441"\n[source.box]\ndriver = "system"\n')
    assert home.json()["changes"] is None, "no gateway runs"
    assert "reload" not in home.check().out
    with answering(home.data / "control.sock", http(b"{}")):
        done = home.check()
        assert home.json()["changes"] == [
            {"key": "source.climate.topic", "how": "changed", "restart": False},
            {"key": "source.box", "how": "added", "restart": False},
            {"key": "web.listen", "how": "changed", "restart": True},
        ]
    assert done.out.splitlines()[-4:] == [
        "Since the running gateway took it over:",
        "  source.climate.topic changed: taken over by: fieldgate reload",
        "  source.box added: taken over by: fieldgate reload",
        "  web.listen changed: needs a restart: systemctl restart fieldgate",
    ]


def test_nothing_has_changed(home: Home) -> None:
    home.ran(WISE)
    with answering(home.data / "control.sock", http(b"{}")):
        assert home.json()["changes"] == []
        assert "Since" not in home.check().out


@pytest.mark.parametrize(
    ("told", "keys"),
    [
        ({"configuration": {"restart": ["web.listen", "journal.linger_ms"]}}, ["web.listen", "journal.linger_ms"]),
        ({"configuration": {"restart": ["web.listen", 7]}}, ["web.listen"]),
        ({"configuration": {"restart": "web.listen"}}, []),
        ({"configuration": []}, []),
    ],
)
def test_what_was_taken_over_and_still_waits_for_a_restart(home: Home, told: object, keys: list[str]) -> None:
    home.ran(WISE)
    with answering(home.data / "control.sock", http(json.dumps(told).encode())):
        assert home.json()["changes"] == [{"key": key, "how": "changed", "restart": True} for key in keys]
        home.put(WISE + '[web]\nlisten = "127.0.0.1:8441"\n')
        assert [one["key"] for one in home.json()["changes"]].count("web.listen") == 1


def test_another_folder_for_the_data(home: Home) -> None:
    """The gateway that runs is the one of the folder that was."""
    home.ran(WISE)
    (home.folder / "other").mkdir()
    home.put(WISE.replace("/var/lib/fieldgate", f"{home.folder}/other"))
    with answering(home.data / "control.sock", http(b"{}")):
        assert home.json()["changes"] == [{"key": "gateway.data_dir", "how": "changed", "restart": True}]


def test_a_snapshot_that_is_not_good_tells_nothing(home: Home) -> None:
    home.ran(WISE)
    (home.folder / "fieldgate.past" / "0001" / "fieldgate.toml").write_text("no TOML")
    with answering(home.data / "control.sock", http(b"{}")):
        assert home.json()["changes"] is None
        assert home.check().code == 0


# Schema


@pytest.mark.parametrize("args", [(), ("--node",)])
def test_the_schema(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = within("check", "--schema", *args, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    schema = json.loads(done.out)
    Draft7Validator.check_schema(schema)
    assert schema["required"] == (["node"] if args else ["gateway"])
