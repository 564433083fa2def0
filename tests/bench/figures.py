"""Every figure that a benchmark may print: what it is, its unit, DESIGN.md's bound and aim; and tables of them."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fakes.recordings import RECORDINGS


class Figure(NamedTuple):
    """`at_least`: more is better. A bound is met at the bound itself."""

    name: str
    what: str
    unit: str
    bound: float | None = None
    aim: float | None = None
    at_least: bool = False

    def met(self, value: float) -> str:
        """ "aim", "yes" (the bound), "NO", or "" where nothing is asked."""
        if self.bound is None:
            return ""
        if self.aim is not None and self._holds(value, self.aim):
            return "aim"
        return "yes" if self._holds(value, self.bound) else "NO"

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.at_least else value <= limit


def _steady(name: str, load: str, *, bounds: bool = False) -> Iterator[Figure]:
    cpu, fsyncs, written = ((5, 2), (10, 4), (400, 200)) if bounds else ((None, None),) * 3
    yield Figure(f"{name}.cpu_pct", f"{load}: CPU", "% of a core", *cpu)
    yield Figure(f"{name}.fsyncs_per_s", f"{load}: flushes of the device", "/s", *fsyncs)
    yield Figure(f"{name}.device_bytes", f"{load}: bytes reaching the device, a reading", "B", *written)
    yield Figure(f"{name}.disk_bytes", f"{load}: bytes kept on disk, a reading", "B")
    yield Figure(f"{name}.ack_p50_ms", f"{load}: PUBLISH to PUBACK, median", "ms")
    yield Figure(f"{name}.ack_p99_ms", f"{load}: PUBLISH to PUBACK, 99th percentile", "ms")
    yield Figure(f"{name}.ack_max_ms", f"{load}: PUBLISH to PUBACK, longest", "ms")


def _codec(name: str) -> Iterator[Figure]:
    yield Figure(f"codec.{name}_us", f"the codec of {name}: CPU a frame or message", "us")
    yield Figure(f"codec.{name}_per_s", "the same: frames or messages a second", "/s", at_least=True)


FIGURES = (
    Figure("ingest.cpu_us", "draining a broker, window 1,000: process CPU a reading", "us", 25, 12),
    Figure("ingest.per_s", "the same: readings a second, durable and acknowledged", "/s", at_least=True),
    Figure("ingest.sub_cpu_us", "`mosquitto_sub -q 1` on the same backlog: CPU a message", "us"),
    Figure("ingest.sub_per_s", "the same: messages a second", "/s", at_least=True),
    Figure("ingest.ratio", "rate against `mosquitto_sub`'s, in turn on one backlog", "", 0.4, 1.0, at_least=True),
    Figure("ingest.cpu_ratio", "CPU against `mosquitto_sub`'s", ""),
    Figure("rss.load_mib", "resident memory, highest while draining", "MiB"),
    *_steady("steady1", "1 reading/s, window 1,000"),
    *_steady("steady200", "200 readings/s, window 1,000", bounds=True),
    *_steady("steady200w20", "200 readings/s, window 20"),
    *_steady("steady1000", "1,000 readings/s, window 1,000"),
    Figure("seal4096.ms", "sealing 4,096 readings", "ms", 60, 30),
    Figure("seal65536.ms", "sealing 65,536 readings", "ms"),
    Figure("receipt.build65536_ms", "building a receipt from a block of 65,536", "ms"),
    Figure("entry.bytes", "an entry on the wire, the longest", "B", 256),
    Figure("loop.stall_ms", "longest stall of the event loop while draining and sealing", "ms", 20, 5),
    Figure("loop.busy_ms", "most CPU that the event loop uses without letting others run", "ms"),
    Figure("turn.usual_messages_ms", "longest turn of the loop, CPU: messages with three values", "ms"),
    Figure("turn.tiny_messages_ms", "the same: messages of 12 bytes", "ms"),
    Figure("turn.new_topics_ms", "the same: topics that nobody asked for", "ms"),
    Figure("turn.payloads_apart_ms", "the same: 4,096 payloads apart in a commit", "ms"),
    Figure("turn.many_sources_lost_ms", "the same: a broker of 4,096 sources goes away", "ms"),
    Figure("turn.many_values_charted_ms", "the same: 4,096 readings of 60 numbers become minutes", "ms"),
    Figure("turn.status_of_many_sources_ms", "the same: the status of 4,096 sources", "ms"),
    Figure("disk.sealed_bytes", "a sealed reading with its payload on disk, 1,000 a commit", "B", 80, 40),
    Figure("disk.keys_bytes", "of it redelivery keys", "B"),
    Figure("charts.file_mib", "charts of 70 values over eight days, a reading each 10 s: their file", "MiB"),
    Figure("charts.crowded_hour_kib", "an hour of all the values that can be charted, in the file", "KiB"),
    Figure("charts.write_ms", "an hour of 70 values is written, in a thread", "ms"),
    Figure("charts.crowded_write_ms", "an hour of all the values that can be charted is written, in a thread", "ms"),
    Figure("charts.hour_ms", "the minutes of one value are read, in a thread: an hour", "ms"),
    Figure("charts.day_ms", "the same: a day", "ms"),
    Figure("charts.week_ms", "the same: a week", "ms"),
    Figure("rss.idle_mib", "resident memory, idle", "MiB", 64, 50),
    Figure("idle.cpu_pct", "CPU, idle", "% of a core"),
    Figure("rss.backlog_delta_mib", "resident memory, more with 1,000,000 unsent readings", "MiB", 10, 0),
    Figure("start.first_ack_s", "start to first PUBACK, new store", "s"),
    Figure("start.full_first_ack_s", "start to first PUBACK, full store and journal", "s"),
    Figure("start.full_journal_s", "start to answering, 1,000,000 readings sealed and 100,000 not", "s"),
    Figure("receipt.build_ms", "building a receipt from a block of 4,096, store of 1,000,000", "ms"),
    Figure("verify.store_1m_s", "`fieldgate verify --store` of 1,000,000 readings", "s"),
    Figure("verify.receipt_process_s", "`fieldgate verify RECEIPT` as a process", "s", 0.3, 0.15),
    Figure("verify.receipt_ms", "the same, inside the process", "ms", 1, 0.3),
    Figure(
        "node.sqlite_entries_per_s", "a node takes in entries, verified and durable", "/s", 5_000, 15_000, at_least=True
    ),
    Figure("node.entry_cpu_us", "the same: CPU an entry", "us"),
    Figure("node.stall_ms", "the same: longest stall of the node's event loop", "ms"),
    Figure("node.body4096_ms", "a node takes in a body of 4,096 readings", "ms"),
    *(figure for name in sorted(RECORDINGS) for figure in _codec(name)),
)
ALSO = {  # without a bound, and in README's table
    "ingest.per_s",
    "ingest.sub_cpu_us",
    "rss.load_mib",
    "steady200.ack_p50_ms",
    "steady200.ack_p99_ms",
    "steady200w20.ack_p50_ms",
    "steady1000.cpu_pct",
    "start.first_ack_s",
    "start.full_journal_s",
    "receipt.build_ms",
    "verify.store_1m_s",
}
BY_NAME = {figure.name: figure for figure in FIGURES}


def shown(value: float) -> str:
    """Three digits, or all those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(name: str, values: Sequence[float], median: float) -> str:
    """A line of the printed table: figure, median, unit, range, bound, aim, met."""
    figure = BY_NAME.get(name, Figure(name, "", ""))
    spread = f"{shown(min(values))} to {shown(max(values))}" if len(values) > 1 else ""
    limits = [f"{'>=' if figure.at_least else '<='} {limit:g}" if limit is not None else "" for limit in figure[3:5]]
    return _line(name, shown(median), figure.unit, spread, *limits, figure.met(median))


def _line(name: str, median: str, *rest: str) -> str:
    return " ".join([f"{name:<28}", f"{median:>9}", *map(str.ljust, rest, (12, 20, 9, 9, 3))]).rstrip()


HEAD = _line("figure", "median", "unit", "range", "bound", "aim", "met")


def markdown(results: Mapping[str, float]) -> str:
    """README's table: every figure that has a bound, and some more; what is missing is said."""
    lines = [f"Measured on {machine()}.", "", "| what | measured | bound | aim |", "|---|---|---|---|"]
    for figure in FIGURES:
        if figure.bound is None and figure.name not in ALSO:
            continue
        sign = "&ge; " if figure.at_least else "&le; "
        unit = f" {figure.unit}" if figure.unit else ""
        value = f"{shown(results[figure.name])}{unit}" if figure.name in results else "not measured"
        if figure.name in results and figure.met(results[figure.name]) == "NO":
            value = f"**{value}**"
        bound, aim = (f"{sign}{limit:g}" if limit is not None else "" for limit in (figure.bound, figure.aim))
        lines.append(f"| {figure.what} | {value} | {bound} | {aim} |")
    return "\n".join(lines)


BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"


def replaced(text: str, table: str) -> str:
    """A document with this table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError("the document has no marks for a table")
    return f"{before}{BEGIN}{table}\n{END}{after}"


def machine() -> str:
    """Cores, processor, kernel, Python."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")
    system = f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores of {model or platform.machine()}, {system}"


def profile_markdown(results: Mapping[str, float], stages: Mapping[str, str]) -> str:
    """The table of docs/operations.md; `stages` are figures and titles in the order of a reading's way."""
    lines = ["| where | us of CPU a reading |", "|---|---|"]
    for figure, title in stages.items():
        lines.append(f"| {title} | {f'{results[figure]:.2f}' if figure in results else 'not measured'} |")
    return "\n".join(lines)
