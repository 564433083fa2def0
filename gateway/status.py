"""What a technician is told: one sentence, what needs a person and the cure, and the figures behind them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from drivers.api import Reject, Value
from gateway import __version__
from gateway.clock import Clock
from gateway.conditions import COUNTS_WRONG, DISK, DISK_FULL, NODE_AWAY, SIGNING_HELD, SOURCE_AWAY, Problem
from gateway.core.note import VerifierKey
from gateway.core.text import age, plain
from gateway.intake import Intake
from gateway.sealer import Sealer
from gateway.store.blocks import Blocks
from gateway.store.journal import Journal
from gateway.tallies import Tally

_TEXT = 200
_PLAIN = frozenset([float, int, bool])
_BY_ITSELF = "It is tried again by itself"


def snapshot(
    *,
    vkey: VerifierKey,
    since_ms: int,
    clock: Clock,
    intake: Intake,
    journal: Journal,
    blocks: Blocks,
    sealer: Sealer,
    nodes: Mapping[str, Callable[[], dict[str, Any]]],
    troubles: Iterable[Problem],
    disk: Mapping[str, Any],
    device: Mapping[str, Any],
) -> dict[str, Any]:
    """The state of a running gateway as JSON-able values; docs/operations.md explains each."""
    now = clock.now()
    tallies, waiting, moment = intake.tallies, intake.all_waiting(), clock.monotonic()
    sources = {
        name: _source(tallies[name], waiting.get(name, 0), tallies.rate(tallies[name], moment))
        for name in sorted(tallies)
    }
    told = {name: status() for name, status in nodes.items()}
    held = problems(intake=intake, journal=journal, sealer=sealer, nodes=told, troubles=troubles, disk=disk)
    return {
        "origin": vkey.name,
        "vkey": str(vkey),
        "version": __version__,
        "since_ms": since_ms,
        "now_ms": now.ms,
        "clock": {"synchronised": now.synchronised, "error_ms": now.error_ms, "boot_id": clock.boot_id},
        "headline": _headline(held, sources, told, now.ms),
        "problems": [problem.json() for problem in held],
        "sources": sources,
        "chain": {
            "size": blocks.size,
            "open": journal.block.readings,
            "held": str(sealer.held) if sealer.held else None,
            "last_sealed_ms": sealer.last_sealed_ms,
            "readings": blocks.readings,
            "commits": journal.commits,
            "stalls": intake.stalls,
        },
        "journal": {"stores": journal.stores},
        "nodes": told,
        "disk": dict(disk),
        "device": dict(device),
    }


def problems(
    *,
    intake: Intake,
    journal: Journal,
    sealer: Sealer,
    nodes: Mapping[str, Mapping[str, Any]],
    troubles: Iterable[Problem],
    disk: Mapping[str, Any],
) -> list[Problem]:
    """The conditions that hold now; nodes: what each tells of itself."""
    return [*troubles, *_own_problems(journal, sealer, disk), *_source_problems(intake), *_node_problems(nodes)]


def _source(tally: Tally, waiting: int, rate: float) -> dict[str, Any]:
    received = tally.arrived - waiting
    return {
        "driver": tally.driver,
        "up": tally.up,
        "detail": tally.detail,
        "cure": tally.cure,
        "received": received,
        "stored": tally.stored,
        "duplicate": tally.duplicate,
        "rejected": tally.rejected,
        "dropped": tally.dropped,
        "waiting": waiting,
        "balanced": _is_balanced(tally, waiting),
        "rate": rate,
        "last_ms": tally.last_ms,
        "last": [[name, unit, value if type(value) in _PLAIN else _shown(value)] for name, unit, value in tally.last],
        "quality": tally.quality,
        "rejects": dict(tally.rejects),
        "example": _example(tally.example),
    }


def _is_balanced(tally: Tally, waiting: int) -> bool:
    """Invariant 5 of DESIGN.md."""
    return tally.arrived - waiting == tally.stored + tally.duplicate + tally.rejected + tally.dropped


def _example(reject: Reject | None) -> dict[str, str] | None:
    """The last rejected payload, as text that is safe to print."""
    if reject is None:
        return None
    payload = reject.example.decode("utf-8", "backslashreplace")
    return {"reason": reject.reason, "detail": reject.detail, "payload": plain(payload)}


def _shown(value: Value) -> float | str:
    """A value as JSON has it: bytes as hex, texts cut."""
    if isinstance(value, bytes):
        return value[: _TEXT // 2].hex()
    return value[:_TEXT] if isinstance(value, str) else value


def _own_problems(journal: Journal, sealer: Sealer, disk: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    if disk.get("problem"):
        problems.append(DISK.problem(what=disk["problem"], cure=disk["cure"]))
    if (journal.full and not journal.held) or sealer.full:
        problems.append(DISK_FULL.problem())
    if sealer.held is not None:
        problems.append(SIGNING_HELD.problem(what=sealer.held.what, cure=sealer.held.cure))
    return problems


def _source_problems(intake: Intake) -> list[Problem]:
    found: list[Problem] = []
    for name, tally in sorted(intake.tallies.items()):
        if tally.up is False:
            found.append(SOURCE_AWAY.problem(name, detail=tally.detail, cure=tally.cure or _BY_ITSELF))
        if not _is_balanced(tally, intake.waiting(name)):
            found.append(COUNTS_WRONG.problem(name))
    return found


def _node_problems(nodes: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    return [
        NODE_AWAY.problem(name, detail=node["detail"], cure=node["cure"] or _BY_ITSELF)
        for name, node in nodes.items()
        if not node["ok"]
    ]


def _headline(
    problems: list[Problem], sources: Mapping[str, dict[str, Any]], nodes: Mapping[str, dict[str, Any]], now_ms: int
) -> str:
    pressing = [problem for problem in problems if problem.severity != "note"]
    if pressing:
        more = f" (and {len(pressing) - 1} more)" if len(pressing) > 1 else ""
        return f"{pressing[0].what}{more}"
    stored = sum(1 for node in nodes.values() if node["stored"])
    count = len(sources) - 1  # beside the gateway's own
    newest = max((source["last_ms"] for source in sources.values() if source["last_ms"] is not None), default=None)
    ago = "" if newest is None else f", {age((now_ms - newest) / 1000)} ago"
    return f"All well: {_plural(count, 'source')}, stored by {stored} of {_plural(len(nodes), 'node')}{ago}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
