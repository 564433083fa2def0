"""`fieldgate config`: an example, the history, and the way back."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes.command import Done, within
from fakes.configs import GATEWAY
from fakes.control_socket import answering, http
from fakes.conversation import conversation

from gateway import config
from gateway.config import example
from gateway.config.past import Past

BOX = '[source.box]\ndriver = "system"\n'


class Home:
    """A configuration and its past."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.path = folder, folder / "data", folder / "fieldgate.toml"
        self.data.mkdir()

    def put(self, more: str = "") -> str:
        self.path.write_text(GATEWAY.replace("/var/lib/fieldgate", str(self.data)) + more)
        return self.path.read_text()

    def ran(self, more: str = "") -> str:
        text = self.put(more)
        Past(self.path, self.data).keep(config.files(self.path))
        return text

    def run(self, *args: str | Path) -> Done:
        return within("config", *args, cwd=self.folder)

    def history(self) -> Any:
        return json.loads(self.run("history", "--json").out)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_example(tmp_path: Path) -> None:
    assert within("config", "example", cwd=tmp_path).out == example.gateway()
    assert within("config", "example", "--node", cwd=tmp_path).out == example.node()


def test_no_history(home: Home) -> None:
    home.put()
    done = home.run("history")
    assert done.code == 0
    assert "no configuration is kept" in done.out
    assert str(home.data / "config") in done.out
    assert home.history() == []


def test_history(home: Home) -> None:
    first = home.ran()
    home.ran(BOX)
    home.ran(BOX + '[seal]\nmax_age_s = 5\nheartbeat_s = 5\n[retention]\nmin_age_h = 1\nmin_free = "1 MiB"\n')
    home.path.write_text("no TOML")
    Past(home.path, home.data).keep(config.files(home.path), replaced=True)
    home.put(BOX)
    told = home.history()
    assert [(one["number"], one["replaced"], one["current"], one["good"]) for one in told] == [
        (1, False, False, True),
        (2, False, True, True),
        (3, False, False, True),
        (4, True, False, False),
    ]
    digest = config.ConfigFile(home.path, first.encode()).sha256
    assert told[0]["files"] == [{"file": "fieldgate.toml", "sha256": digest}]
    assert told[1]["changes"] == [{"key": "source.box", "how": "added", "restart": False}]
    lines = home.run("history").out.splitlines()
    assert lines[0].split() == ["no", "kept", "what", "files", "sha256", "changes"]
    assert lines[1].split("  ")[0] == "1"
    assert "ran, now" in lines[2]
    assert "source.box added" in lines[2]
    assert "retention.min_age_h changed, " in lines[3]
    assert "and 1 more" in lines[3]
    assert "replaced by a rollback, not good" in lines[4]


def test_history_on_a_terminal(home: Home) -> None:
    home.ran()
    with conversation("config", "history", cwd=home.folder, env={"COLUMNS": "120"}) as talk:
        talk.expect("ran, now")
        assert talk.end() == 0


def test_a_snapshot_that_cannot_be_read_does_not_hide_the_others(home: Home) -> None:
    home.ran()
    home.ran(BOX)
    (home.folder / "fieldgate.past" / "0001" / "fieldgate.toml").unlink()
    told = [(one["number"], one["good"], one["files"] == []) for one in home.history()]
    assert told == [(1, False, True), (2, True, False)]
    assert home.run("history").code == 0


# The way back


def test_rollback_after_a_bad_edit(home: Home) -> None:
    good = home.ran(BOX)
    bad = home.put() + "[[[ no TOML"
    home.path.write_text(bad)
    done = home.run("rollback")
    assert done.code == 0
    assert home.path.read_text() == good
    assert "snapshot 1" in done.out
    assert "fieldgate config rollback --to 2 brings it back" in done.out
    assert "the gateway is not running" in done.err
    assert (home.folder / "fieldgate.past" / "0002-replaced" / "fieldgate.toml").read_text() == bad
    assert within("check", cwd=home.folder).code == 0


def test_rollback_to_the_one_before_and_back(home: Home) -> None:
    first, second = home.ran(), home.ran(BOX)
    assert home.run("rollback").code == 0
    assert home.path.read_text() == first
    assert home.run("rollback", "--to", "2").code == 0
    assert home.path.read_text() == second
    assert [one["number"] for one in home.history()] == [1, 2], "both were kept already"


def test_rollback_of_drop_ins(home: Home) -> None:
    home.ran()
    drop_in = home.folder / "fieldgate.d" / "10.toml"
    drop_in.parent.mkdir()
    drop_in.write_text(BOX)
    Past(home.path, home.data).keep(config.files(home.path))
    assert home.run("rollback").code == 0
    assert not drop_in.exists()
    assert home.run("rollback").code == 0
    assert drop_in.read_text() == BOX


def test_rollback_where_the_snapshots_are_with_the_data(home: Home) -> None:
    """As under systemd, where the service may not write beside its configuration, and a person may."""
    blocked = home.folder / "fieldgate.past"
    blocked.write_text("")
    good = home.ran()
    blocked.unlink()
    home.path.write_text("[gateway\n" + home.put(BOX))
    assert home.run("rollback").code == 0
    assert home.path.read_text() == good
    assert [path.name for path in blocked.iterdir()] == ["0002-replaced"]


def test_rollback_where_the_configuration_is_gone(home: Home) -> None:
    good = home.ran()
    home.path.unlink()
    done = home.run("rollback", "--config", "fieldgate.toml")
    assert done.code == 0
    assert home.path.read_text() == good
    assert "brings it back" not in done.out
    (home.folder / "fieldgate.past").rename(home.data / "config")
    home.path.unlink()
    assert home.run("rollback", "--config", "fieldgate.toml").code == 3
    assert home.run("rollback", "--config", "fieldgate.toml", "--data-dir", "data").code == 0
    assert home.path.read_text() == good


def test_nothing_to_go_back_to(home: Home) -> None:
    text = home.ran()
    for args in ((), ("--to", "7")):
        done = home.run("rollback", *args)
        assert done.code == 3
        assert "fieldgate config history" in done.err
    assert home.path.read_text() == text
    assert home.run("rollback", "--to", "0").code == 2


def test_one_that_does_not_pass_the_check_is_not_gone_back_to(home: Home) -> None:
    home.ran()
    text = home.ran(BOX)
    (home.folder / "fieldgate.past" / "0001" / "fieldgate.toml").write_text("[gateway]\nname = 3\n")
    done = home.run("rollback")
    assert done.code == 2
    assert "0001/fieldgate.toml:2: gateway.name" in done.err
    assert home.path.read_text() == text
    assert home.history()[-1]["number"] == 2, "nothing was kept, as nothing was replaced"


def test_a_link_is_not_replaced(home: Home) -> None:
    home.ran()
    home.ran(BOX)
    home.path.rename(home.folder / "real.toml")
    home.path.symlink_to("real.toml")
    done = home.run("rollback")
    assert done.code == 1
    assert "no link is followed" in done.err
    assert home.path.is_symlink()


# The running gateway


@pytest.mark.parametrize(
    ("answer", "code", "out", "err"),
    [
        ({"taken_over": True, "restart": []}, 0, "the running gateway has taken it over", ""),
        ({"taken_over": True, "restart": ["web.listen"]}, 0, "web.listen waits for a restart", ""),
        ({"error": {"what": "no key", "cure": "Mend it", "exit_code": 2}}, 2, "", "take it over: no key. Mend it"),
        ({}, 0, "the running gateway has taken it over", ""),
    ],
)
def test_the_running_gateway_is_asked(home: Home, answer: Any, code: int, out: str, err: str) -> None:
    home.ran()
    home.ran(BOX)
    with answering(home.data / "control.sock", http(json.dumps(answer).encode())):
        done = home.run("rollback")
    assert done.code == code
    assert out in done.out
    assert err in done.err
    assert "box" not in home.path.read_text()


def test_a_gateway_that_knows_no_reload(home: Home) -> None:
    home.ran()
    home.ran(BOX)
    with answering(home.data / "control.sock", http(b"", "404 Not Found")):
        done = home.run("rollback")
    assert done.code == 0
    assert "has not been asked to take it over" in done.err
    assert "Where it runs: fieldgate reload" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_root_leaves_the_service_its_files(home: Home) -> None:
    """Rolled back with sudo, the configuration still belongs to whom it belonged."""
    os.chown(home.folder, 65_534, 65_534)
    home.ran()
    home.put(BOX)
    os.chown(home.path, 65_534, 65_534)
    assert home.run("rollback").code == 0
    kept = home.folder / "fieldgate.past" / "0002-replaced"
    for path in (home.path, kept, kept / "fieldgate.toml"):
        assert path.stat().st_uid == 65_534, path
