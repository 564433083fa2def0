"""What deploy/watch brings is in step with the program: names, ids, and the words of conditions."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import make_watch
from gateway import conditions
from gateway.metrics import METRICS, PROCESS

WATCH = Path(__file__).parents[2] / "deploy/watch"
CASES = Path(__file__).with_name("rules_test.yml")
DASHBOARD = WATCH / "fieldgate.dashboard.json"
NAMES = {kind.name: set(kind.labels) for kind in (*METRICS, *PROCESS)}
OF_THE_SCRAPE = {"job", "instance"}
_METRIC = re.compile(r"\b((?:fieldgate|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?")
_LABEL = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(make_watch.RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return told


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


@pytest.mark.parametrize("path", make_watch.made(), ids=lambda path: path.name)
def test_files_are_as_they_are_made(path: Path) -> None:
    """After a change of a condition or a metric: PYTHONPATH=tests python tests/deploy/make_watch.py."""
    assert path.read_text("utf-8") == make_watch.made()[path]


def test_every_metric_and_label_exists() -> None:
    used = set()
    for expression in expressions():
        found = _METRIC.findall(expression)
        assert found, expression
        for name, labels in found:
            assert name == "up" or name in NAMES, (name, expression)
            used.add(name)
            wanted = set(_LABEL.findall(labels))
            assert wanted <= NAMES.get(name, set()) | OF_THE_SCRAPE, (name, expression)
    unseen = {name for name in NAMES if name not in used and not name.endswith("_info")}
    assert unseen <= {"process_virtual_memory_bytes", "process_open_fds", "process_max_fds"}


def test_words_use_labels_that_are_there() -> None:
    """`{{ $labels.x }}` of a label that an expression does not leave is an empty word."""
    for rule in rules():
        words = " ".join(rule["annotations"].values())
        names = [name for name, _ in _METRIC.findall(rule["expr"])]
        there = OF_THE_SCRAPE.union(*(NAMES.get(name, set()) for name in names))
        assert set(re.findall(r"\$labels\.([a-z_]+)", words)) <= there, rule["alert"]


def test_each_condition_has_its_alert_with_its_cure() -> None:
    by_condition = {rule["annotations"].get("condition"): rule for rule in rules()}
    for one in conditions.of_gateway():
        rule = by_condition.get(one.id)
        if one.severity == "note":
            assert rule is None
            continue
        assert rule is not None
        assert f'condition="{one.id}"' in rule["expr"]
        assert rule["labels"]["severity"] == {"error": "critical", "warning": "warning"}[one.severity]
        assert rule["annotations"]["description"].strip(".")
        assert "{" not in rule["annotations"]["description"].replace("{{", "")
        assert one.id in rule["annotations"]["manual"]
    assert set(by_condition) - {None} <= {one.id for one in conditions.of_gateway()}


def test_alerts_have_names_of_their_own_and_words() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
        assert rule["annotations"]["description"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


def promtool(*args: str | Path) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", make_watch.RULES)


def test_rules_fire_for_what_they_are_there_for(tmp_path: Path) -> None:
    """rules_test.yml has series, and the alerts that stand then; the labels of the scrape are added here."""
    cases = yaml.safe_load(CASES.read_text())
    for case in cases["tests"]:
        for series in case["input_series"]:
            name, _, labels = series["series"].rstrip("}").partition("{")
            series["series"] = f'{name}{{job="fieldgate",instance="hen"{labels and ","}{labels}}}'
        for test in case["alert_rule_test"]:
            for alert in test["exp_alerts"]:
                alert["exp_labels"] |= {"job": "fieldgate", "instance": "hen"}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(cases | {"rule_files": [str(make_watch.RULES)]}))
    promtool("test", "rules", tmp_path / "test.yml")


def test_the_dashboard_is_whole() -> None:
    told = dashboard()
    panels = told["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
            assert all('job=~"$job",instance=~"$instance"' in target["expr"] for target in panel["targets"])
    assert {variable["name"] for variable in told["templating"]["list"]} == {"datasource", "job", "instance"}


def test_the_journal_takes_the_catalogue(tmp_path: Path) -> None:
    """journalctl compiles it, and has an entry for each condition."""
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(make_watch.CATALOG, folder)
    if shutil.which("journalctl") is None:
        pytest.skip("journalctl is not installed")
    root = ("journalctl", f"--root={tmp_path}")
    subprocess.run([*root, "--update-catalog"], check=True, capture_output=True)
    told = subprocess.run([*root, "--dump-catalog"], check=True, capture_output=True, text=True).stdout
    entries = {entry[:32]: entry for entry in re.split(r"^-- ", told, flags=re.MULTILINE)[1:]}
    assert set(entries) == {one.message_id for one in conditions.of_gateway()}
    for one in conditions.of_gateway():
        assert one.id in entries[one.message_id]
        assert "{" not in entries[one.message_id]
        assert "What to do: " in entries[one.message_id]
