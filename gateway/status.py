"""What a technician is told: one sentence, what needs a person and the cure, and the figures behind them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway import __version__
from gateway.clock import Clock
from gateway.conditions import COUNTS_WRONG, DISK, DISK_FULL, NODE_AWAY, SIGNING_HELD, SOURCE_AWAY, Problem
from gateway.intake import Intake
from gateway.sealer import Sealer
from gateway.store.blocks import Blocks
from gateway.store.journal import Journal
from gateway.tallies import Tally

_TEXT = 200
_BY_ITSELF = "It is tried again by itself"


def snapshot(
    *,
    origin: str,
    since_ms: int,
    clock: Clock,
    intake: Intake,
    journal: Journal,
    blocks: Blocks,
    sealer: Sealer,
    nodes: Mapping[str, Callable[[], dict[str, Any]]],
    troubles: Iterable[Problem],
    disk: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> dict[str, Any]:
    """The state of a running gateway as JSON-able values; docs/operations.md explains each."""
    now = clock.now()
    sources = {name: _source(tally, intake.waiting(name)) for name, tally in sorted(intake.tallies.items())}
    told = {name: status() for name, status in nodes.items()}
    held = problems(intake=intake, journal=journal, sealer=sealer, nodes=told, troubles=troubles, disk=disk)
    return {
        "origin": origin,
        "version": __version__,
        "since_ms": since_ms,
        "now_ms": now.ms,
        "clock": {"synchronised": now.synchronised, "error_ms": now.error_ms, "boot_id": clock.boot_id},
        "headline": _headline(held, sources, told),
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
        "configuration": dict(configuration),
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


def _source(tally: Tally, waiting: int) -> dict[str, Any]:
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
        "last_ms": tally.last_ms,
        "last": [[name, unit, _shown(value)] for name, unit, value in tally.last],
        "quality": tally.quality,
        "rejects": dict(tally.rejects),
        "example": _example(tally),
    }


def _is_balanced(tally: Tally, waiting: int) -> bool:
    """Invariant 5 of DESIGN.md."""
    return tally.arrived - waiting == tally.stored + tally.duplicate + tally.rejected + tally.dropped


def _example(tally: Tally) -> dict[str, str] | None:
    """The last rejected payload, as text that is safe to print."""
    reject = tally.example
    if reject is None:
        return None
    payload = reject.example.decode("utf-8", "backslashreplace")
    return {"reason": reject.reason, "detail": reject.detail, "payload": "".join(map(_printable, payload))}


def _printable(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _shown(value: float | str | bool | bytes) -> float | str | bool:
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


def _headline(problems: list[Problem], sources: Mapping[str, object], nodes: Mapping[str, dict[str, Any]]) -> str:
    pressing = [problem for problem in problems if problem.severity != "note"]
    if pressing:
        more = f" (and {len(pressing) - 1} more)" if len(pressing) > 1 else ""
        return f"{pressing[0].what}{more}"
    stored = sum(1 for node in nodes.values() if node["stored"])
    count = len(sources) - 1  # beside the gateway's own
    return f"All well: {_plural(count, 'source')}, stored by {stored} of {_plural(len(nodes), 'node')}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
