"""The state of a gateway in Prometheus' text format. Imported when somebody first asks for it.

What there is stands in METRICS; docs/operations.md has the same table. Labels are names that the configuration bounds,
words of our own, and never a payload or the text of an error.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from platform import python_version
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.core import limits
from gateway.core.anchor_row import CLAIMED
from gateway.core.text import plain
from gateway.watch import Vitals

OTHER: Final = "other"
_IO = Path("/proc/self/io")


class Kind(NamedTuple):
    """One metric. `help` ends without a full stop; a counter's name ends in _total."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


_SOURCE, _NODE, _WITNESS, _ANCHOR, _FILE = ("source",), ("node",), ("witness",), ("anchor",), ("file",)

METRICS: Final = (
    Kind("fieldgate_build_info", "gauge", "Version of the program and of Python; always 1", ("version", "python")),
    Kind("fieldgate_log_info", "gauge", "Origin of the log; always 1", ("origin",)),
    Kind(
        "fieldgate_condition",
        "gauge",
        "A condition that holds now (docs/operations.md); always 1",
        ("condition", "severity", "subject"),
    ),
    Kind("fieldgate_source_info", "gauge", "Driver of a source; always 1", ("source", "driver")),
    Kind("fieldgate_source_up", "gauge", "1: up; 0: away; absent: not known", _SOURCE),
    Kind("fieldgate_source_last_reading_timestamp_seconds", "gauge", "Receipt of the newest reading", _SOURCE),
    Kind("fieldgate_readings_received_total", "counter", "Messages whose fate is decided, since the start", _SOURCE),
    Kind("fieldgate_readings_stored_total", "counter", "Readings made durable", _SOURCE),
    Kind("fieldgate_readings_duplicate_total", "counter", "Redeliveries of what was stored already", _SOURCE),
    Kind("fieldgate_readings_rejected_total", "counter", "Messages that became no reading", ("source", "reason")),
    Kind("fieldgate_readings_dropped_total", "counter", "Messages for which there was no room", _SOURCE),
    Kind("fieldgate_readings_waiting", "gauge", "Messages that are not durable yet", _SOURCE),
    Kind("fieldgate_blocks_sealed_total", "counter", "Blocks of the log"),
    Kind("fieldgate_readings_sealed_total", "counter", "Readings in these blocks"),
    Kind("fieldgate_block_open_readings", "gauge", "Readings in the block that is not sealed yet"),
    Kind("fieldgate_block_last_sealed_timestamp_seconds", "gauge", "When the newest block was sealed"),
    Kind("fieldgate_signing_held", "gauge", "1: no block is signed until a person decides"),
    Kind(
        "fieldgate_journal_held",
        "gauge",
        "1: readings are not stored: no room, or too slow",
    ),
    Kind("fieldgate_node_up", "gauge", "1: the node answers as it should; 0: it does not", _NODE),
    Kind("fieldgate_node_entries", "gauge", "Entries that the node has", _NODE),
    Kind("fieldgate_node_seen", "gauge", "Entries that the node has signed as seen", _NODE),
    Kind("fieldgate_node_stored", "gauge", "Blocks that the node has signed as stored", _NODE),
    Kind("fieldgate_node_last_answer_timestamp_seconds", "gauge", "Its last good answer", _NODE),
    Kind("fieldgate_witness_up", "gauge", "1: the witness answers as it should; 0: it does not", _WITNESS),
    Kind("fieldgate_witness_seen", "gauge", "Entries that the witness has signed as seen", _WITNESS),
    Kind("fieldgate_witness_last_answer_timestamp_seconds", "gauge", "Its last good answer", _WITNESS),
    Kind("fieldgate_anchor_size", "gauge", "Blocks of the log that are anchored", _ANCHOR),
    Kind("fieldgate_anchor_block_timestamp_seconds", "gauge", "Time of the chain's block that has them", _ANCHOR),
    Kind("fieldgate_anchor_chain_height", "gauge", "Newest block of the chain, as seen last", _ANCHOR),
    Kind("fieldgate_store_used_bytes", "gauge", "Pages in use of what readings may fill"),
    Kind("fieldgate_store_quota_bytes", "gauge", "What readings may fill"),
    Kind("fieldgate_store_prunable_readings", "gauge", "Readings that can be pruned"),
    Kind("fieldgate_disk_free_bytes", "gauge", "Free on the store's file system, for this user"),
    Kind("fieldgate_disk_written_bytes_total", "counter", "Bytes that reached the disk since boot, by all programs"),
    Kind("fieldgate_disk_worn_ratio", "gauge", "Share of its writes that an eMMC has used, at most; absent: not told"),
    Kind("fieldgate_disk_spare_used_ratio", "gauge", "Share of its spare blocks that it has used; 0: below 0.8"),
    Kind("fieldgate_store_verified_timestamp_seconds", "gauge", "When the whole store was verified last"),
    Kind("fieldgate_store_verified_faults", "gauge", "Blocks that it found bad"),
    Kind("fieldgate_clock_synchronised", "gauge", "1: the kernel knows how wrong the clock is at most"),
    Kind("fieldgate_clock_error_seconds", "gauge", "How wrong the clock is at most; absent: not known"),
    Kind("fieldgate_journal_commits_total", "counter", "Commits that made readings durable"),
    Kind("fieldgate_store_commits_total", "counter", "All transactions made durable, by file", _FILE),
    Kind("fieldgate_store_flushes_total", "counter", "Flushes of the device (fsync, fdatasync), by file", _FILE),
    Kind("fieldgate_storage_written_bytes_total", "counter", "What the kernel charged this process for writes"),
    Kind("fieldgate_event_loop_lag_seconds", "gauge", "By how much the event loop came too late, at the last look"),
    Kind("fieldgate_event_loop_lag_max_seconds", "gauge", "The same, the greatest of the last minute"),
    Kind("fieldgate_log_records_left_out_total", "counter", "Log records that the rate limit left out"),
    Kind("fieldgate_log_records_lost_total", "counter", "Log records that nothing would take"),
)
PROCESS: Final = (
    Kind("process_cpu_seconds_total", "counter", "CPU time, user and system"),
    Kind("process_resident_memory_bytes", "gauge", "Resident memory"),
    Kind("process_virtual_memory_bytes", "gauge", "Virtual memory"),
    Kind("process_start_time_seconds", "gauge", "Start of the process, Unix time"),
    Kind("process_open_fds", "gauge", "Open file descriptors"),
    Kind("process_max_fds", "gauge", "How many there may be"),
)
"""What prometheus-client itself tells of the process, under its usual names."""

Sample = tuple[str, tuple[str, ...], float]
Table = Mapping[str, Any]


def render(state: Table, vitals: Vitals) -> bytes:
    """The metrics of a status snapshot. Blocking: it reads /proc and the heads of the WALs."""
    registry = CollectorRegistry()
    registry.register(_Once(_samples(state, vitals)))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Once(Collector):
    """The families of one look."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        """Each family once, in the order of METRICS, also those without a sample."""
        families = {kind.name: _family(kind) for kind in METRICS}
        for name, labels, value in self._samples:
            families[name].add_metric([plain(label) for label in labels], value)
        yield from families.values()


def _family(kind: Kind) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if kind.type == "counter" else GaugeMetricFamily
    return make(kind.name, kind.help, labels=kind.labels)


def _samples(state: Table, vitals: Vitals) -> Iterator[Sample]:
    yield "fieldgate_build_info", (state["version"], python_version()), 1
    yield "fieldgate_log_info", (state["origin"],), 1
    held = {(one["condition"], one["severity"], one["subject"]) for one in state["problems"]}
    for labels in sorted(held):
        yield "fieldgate_condition", labels, 1
    for name, source in state["sources"].items():
        yield from _source(name, source)
    for name, node in state["nodes"].items():
        yield from _node(name, node)
    for name, witness in state["witnesses"].items():
        yield from _witness(name, witness)
    for name, anchor in state["anchors"].items():
        if anchor["state"] != CLAIMED:
            yield from _anchor(name, anchor)
    yield from _chain(state["chain"], state["journal"])
    yield from _device(state["disk"], state["device"], state["clock"])
    if state["verified"]["at_ms"] is not None:
        yield "fieldgate_store_verified_timestamp_seconds", (), state["verified"]["at_ms"] / 1000
        yield "fieldgate_store_verified_faults", (), state["verified"]["faults"]
    yield from _process(vitals)


def _source(name: str, source: Table) -> Iterator[Sample]:
    labels = (name,)
    yield "fieldgate_source_info", (name, source["driver"]), 1
    if source["up"] is not None:
        yield "fieldgate_source_up", labels, source["up"]
    if source["last_ms"] is not None:
        yield "fieldgate_source_last_reading_timestamp_seconds", labels, source["last_ms"] / 1000
    for count in ("received", "stored", "duplicate", "dropped"):
        yield f"fieldgate_readings_{count}_total", labels, source[count]
    for reason, number in _bounded(source["rejects"]).items():
        yield "fieldgate_readings_rejected_total", (name, reason), number
    yield "fieldgate_readings_waiting", labels, source["waiting"]


def _bounded(rejects: Mapping[str, int]) -> dict[str, int]:
    """The reasons that were met first, and all others in one: a count never goes from one to the other."""
    kept: dict[str, int] = {}
    for reason, number in rejects.items():
        label = reason if len(kept) < limits.METRIC_REASONS else OTHER
        kept[label] = kept.get(label, 0) + number
    return kept


def _anchor(name: str, anchor: Table) -> Iterator[Sample]:
    yield "fieldgate_anchor_size", (name,), anchor["anchored"]
    if anchor["anchored_s"] is not None:
        yield "fieldgate_anchor_block_timestamp_seconds", (name,), anchor["anchored_s"]
    if anchor["height"]:
        yield "fieldgate_anchor_chain_height", (name,), anchor["height"]


def _node(name: str, node: Table) -> Iterator[Sample]:
    yield "fieldgate_node_up", (name,), node["ok"]
    for size in ("entries", "seen", "stored"):
        yield f"fieldgate_node_{size}", (name,), node[size]
    if node["last_ms"] is not None:
        yield "fieldgate_node_last_answer_timestamp_seconds", (name,), node["last_ms"] / 1000


def _witness(name: str, witness: Table) -> Iterator[Sample]:
    yield "fieldgate_witness_up", (name,), witness["ok"]
    yield "fieldgate_witness_seen", (name,), witness["seen"]
    if witness["last_ms"] is not None:
        yield "fieldgate_witness_last_answer_timestamp_seconds", (name,), witness["last_ms"] / 1000


def _chain(chain: Table, journal: Table) -> Iterator[Sample]:
    yield "fieldgate_blocks_sealed_total", (), chain["size"]
    yield "fieldgate_readings_sealed_total", (), chain["readings"]
    yield "fieldgate_block_open_readings", (), chain["open"]
    if chain["last_sealed_ms"] is not None:
        yield "fieldgate_block_last_sealed_timestamp_seconds", (), chain["last_sealed_ms"] / 1000
    yield "fieldgate_signing_held", (), chain["held"] is not None
    yield "fieldgate_journal_held", (), not journal["stores"]
    yield "fieldgate_journal_commits_total", (), chain["commits"]


def _device(disk: Table, device: Table, clock: Table) -> Iterator[Sample]:
    if disk:  # after retention's first look
        yield "fieldgate_store_used_bytes", (), disk["used"]
        yield "fieldgate_store_quota_bytes", (), disk["quota"]
        yield "fieldgate_store_prunable_readings", (), disk["prunable"]
        yield "fieldgate_disk_free_bytes", (), disk["free"]
    if device.get("written") is not None:
        yield "fieldgate_disk_written_bytes_total", (), device["written"]
    for metric, percent in (("worn", device.get("worn")), ("spare_used", device.get("spare"))):
        if percent is not None:
            yield f"fieldgate_disk_{metric}_ratio", (), percent / 100
    yield "fieldgate_clock_synchronised", (), clock["synchronised"]
    if clock["error_ms"] is not None:
        yield "fieldgate_clock_error_seconds", (), clock["error_ms"] / 1000


def _process(vitals: Vitals) -> Iterator[Sample]:
    for name, flushes in vitals.flushes.items():
        yield "fieldgate_store_commits_total", (name,), flushes.commits
        yield "fieldgate_store_flushes_total", (name,), flushes.total()
    written = _written()
    if written is not None:
        yield "fieldgate_storage_written_bytes_total", (), written
    yield "fieldgate_event_loop_lag_seconds", (), vitals.lag_s
    yield "fieldgate_event_loop_lag_max_seconds", (), vitals.lag_max_s
    yield "fieldgate_log_records_left_out_total", (), vitals.left_out
    yield "fieldgate_log_records_lost_total", (), vitals.lost


def _written() -> int | None:
    """proc_pid_io(5); None where the kernel does not count it."""
    try:
        lines = _IO.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)
