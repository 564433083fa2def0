"""The metrics: by Prometheus' own rules for names, types and units, within bounds, and whatever a source is called."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.status_sample import node, source, status, witness
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.core import limits
from gateway.metrics import METRICS, OTHER, PROCESS, render
from gateway.store.flushes import Flushes
from gateway.watch import Vitals

HOSTILE = '"} 1\n# HELP x\\ \N{SNOWMAN} \ud800\x00'
BASE_UNITS = ("_seconds", "_bytes", "_info")


class Counted(Flushes):
    """Flushes without a file."""

    def __init__(self, commits: int, flushes: int) -> None:
        super().__init__(Path("/nowhere"))
        self.commits, self._told = commits, flushes

    def total(self) -> int:
        return self._told


VITALS = Vitals({"fieldgate.db": Counted(7, 11)}, lag_s=0.001, lag_max_s=0.5, left_out=3, lost=1)
Labels = tuple[tuple[str, str], ...]


def told(**fields: Any) -> dict[str, dict[Labels, float]]:
    return parsed(render(status(**fields), VITALS))


def parsed(text: bytes) -> dict[str, dict[Labels, float]]:
    """By name, then by labels; no sample may stand twice."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            samples = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in samples
            samples[labels] = sample.value
    return found


def of(source_id: str, **more: str) -> Labels:
    return tuple(sorted({"source": source_id, **more}.items()))


def test_the_figures_are_those_of_the_status() -> None:
    problems = [
        {"condition": "source-away", "severity": "error", "subject": "gps", "what": "w", "cure": "c", "values": {}},
        {"condition": "disk-full", "severity": "error", "subject": "", "what": "w", "cure": "c", "values": {}},
    ]
    found = told(problems=problems)
    climate = {name: samples[of("climate")] for name, samples in found.items() if of("climate") in samples}
    assert climate == {
        "fieldgate_readings_received_total": 12_345,
        "fieldgate_readings_stored_total": 12_340,
        "fieldgate_readings_duplicate_total": 3,
        "fieldgate_readings_dropped_total": 0,
        "fieldgate_readings_waiting": 0,
        "fieldgate_source_up": 1,
        "fieldgate_source_last_reading_timestamp_seconds": 1_799_999_996,
    }
    assert found["fieldgate_readings_rejected_total"] == {of("climate", reason="json"): 2}
    assert of("gps") not in found["fieldgate_source_up"]  # not known
    assert set(found["fieldgate_condition"]) == {
        (("condition", "source-away"), ("severity", "error"), ("subject", "gps")),
        (("condition", "disk-full"), ("severity", "error"), ("subject", "")),
    }
    assert found["fieldgate_node_stored"] == {(("node", "coop"),): 238}
    assert found["fieldgate_node_up"] == {(("node", "coop"),): 1}
    single = {name: samples[()] for name, samples in found.items() if list(samples) == [()]}
    assert single["fieldgate_blocks_sealed_total"] == 240
    assert single["fieldgate_block_open_readings"] == 17
    assert single["fieldgate_block_last_sealed_timestamp_seconds"] == 1_799_999_970
    assert single["fieldgate_clock_error_seconds"] == 0.012
    assert single["fieldgate_store_used_bytes"] == 3 * 2**20
    assert single["fieldgate_event_loop_lag_max_seconds"] == 0.5
    assert single["fieldgate_log_records_left_out_total"] == 3
    assert single["fieldgate_log_records_lost_total"] == 1
    assert single["fieldgate_storage_written_bytes_total"] >= 0
    assert found["fieldgate_store_commits_total"] == {(("file", "fieldgate.db"),): 7}
    assert found["fieldgate_store_flushes_total"] == {(("file", "fieldgate.db"),): 11}


def test_what_is_not_known_is_not_told() -> None:
    clock = {"synchronised": False, "error_ms": None, "boot_id": "b"}
    chain = status()["chain"] | {"last_sealed_ms": None, "held": "the key is missing"}
    found = told(disk={}, clock=clock, chain=chain, nodes={"coop": node(last_ms=None, ok=False)}, sources={})
    for name in (
        "fieldgate_clock_error_seconds",
        "fieldgate_store_used_bytes",
        "fieldgate_disk_free_bytes",
        "fieldgate_block_last_sealed_timestamp_seconds",
        "fieldgate_node_last_answer_timestamp_seconds",
    ):
        assert name not in found
    assert found["fieldgate_signing_held"] == {(): 1}
    assert found["fieldgate_clock_synchronised"] == {(): 0}
    assert found["fieldgate_node_up"] == {(("node", "coop"),): 0}


def test_a_witness_is_counted_apart_from_nodes() -> None:
    found = told(nodes={}, witnesses={"public": witness(ok=False, seen=7), "new": witness(last_ms=None)})
    public, new = (("witness", "public"),), (("witness", "new"),)
    assert found["fieldgate_witness_up"] == {public: 0, new: 1}
    assert found["fieldgate_witness_seen"] == {public: 7, new: 240}
    assert set(found["fieldgate_witness_last_answer_timestamp_seconds"]) == {public}
    assert not any(name.startswith("fieldgate_node_") for name in found)


def test_names_follow_the_conventions() -> None:
    """prometheus.io/docs/practices/naming: one prefix, base units, _total on counters alone, a text for each."""
    text = render(status(), VITALS).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(METRICS) == len({kind.name for kind in METRICS})
    for kind in (*METRICS, *PROCESS):
        family = families.pop(kind.name.removesuffix("_total"), None) or families.pop(kind.name)
        assert family.type == kind.type
        assert family.documentation.strip()
        assert kind.name.startswith("fieldgate_" if kind in METRICS else "process_")
        assert kind.name.endswith("_total") == (kind.type == "counter")
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", kind.name)
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mib|percent|count)(_|$)", kind.name)
        assert not kind.help.endswith(".")
        assert ("timestamp" in kind.name) <= kind.name.endswith("_timestamp_seconds")
        stem = kind.name.removesuffix("_total")
        for unit in ("_seconds", "_bytes"):
            assert (unit in stem) == stem.endswith(unit) or kind.name.startswith("process_")
        assert all(label in LABELS for label in kind.labels)
    assert not families


LABELS = {
    "source",
    "node",
    "witness",
    "anchor",
    "file",
    "reason",
    "condition",
    "severity",
    "subject",
    "driver",
    "version",
    "python",
    "origin",
}


def test_promtool_finds_nothing() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=render(status(), VITALS), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_hostile_names_are_labels_and_nothing_else() -> None:
    problems = [{"condition": "x", "severity": "error", "subject": HOSTILE, "what": "", "cure": "", "values": {}}]
    sources = {HOSTILE: source(rejects={HOSTILE: 3}, driver=HOSTILE)}
    found = told(sources=sources, nodes={HOSTILE: node()}, problems=problems, origin=HOSTILE)
    assert set(found) <= {kind.name for kind in (*METRICS, *PROCESS)}
    ((labels, value),) = found["fieldgate_readings_rejected_total"].items()
    assert value == 3
    assert dict(labels)["reason"] == '"} 1\\n# HELP x\\ \N{SNOWMAN} \\ud800\\x00'


def test_payloads_and_errors_are_no_labels() -> None:
    """Whatever differs from message to message would make a series of each."""
    secret = "never-a-label"
    example = {"reason": "json", "detail": secret, "payload": secret}
    problems = [
        {"condition": "x", "severity": "error", "subject": "s", "what": secret, "cure": secret, "values": {"a": secret}}
    ]
    text = render(
        status(
            sources={"s": source(example=example, detail=secret, cure=secret, last=[[secret, secret, secret]])},
            nodes={"n": node(detail=secret, url=secret, cure=secret)},
            chain=status()["chain"] | {"held": secret},
            problems=problems,
            headline=secret,
        ),
        VITALS,
    )
    assert secret.encode() not in text


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5), min_size=limits.METRIC_REASONS - 2, max_size=limits.METRIC_REASONS + 8))
def test_reasons_are_bounded_and_their_counts_never_fall(counts: list[int]) -> None:
    """A source that brings ever new words: one look after each of them."""
    rejects: dict[str, int] = {}
    before: dict[Labels, float] = {}
    for number, count in enumerate(counts):
        rejects[f"reason-{number}"] = count
        now = told(sources={"s": source(rejects=dict(rejects))}).get("fieldgate_readings_rejected_total", {})
        assert len(now) <= limits.METRIC_REASONS + 1
        assert sum(now.values()) == sum(rejects.values())
        assert all(now[labels] >= value for labels, value in before.items())
        before = now
    assert (of("s", reason=OTHER) in before) == (len(counts) > limits.METRIC_REASONS)


def test_it_is_imported_when_somebody_asks() -> None:
    """An idle gateway does not carry prometheus-client, aiomqtt or a catalogue of words for them."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, gateway.app; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"prometheus_client", "gateway.metrics", "aiomqtt"} & set(done.stdout.split())
