"""What a technician is told: one sentence, what needs a person and the cure, and the figures behind them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from drivers.api import Reject, Value
from drivers.conditions import OF_BROKER, OF_DEVICE
from gateway import __version__
from gateway.clock import RELEASED_MS, Clock, day
from gateway.conditions import (
    CLOCK_OFF,
    COUNTS_WRONG,
    DISK_FULL,
    SIGNING_HELD,
    SOURCE_AWAY,
    Condition,
    Problem,
    find,
    listed,
    of_driver,
    without_repeats,
    worst_first,
)
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
    witnesses: Mapping[str, Callable[[], dict[str, Any]]],
    troubles: Iterable[Problem],
    disk: Mapping[str, Any],
    device: Mapping[str, Any],
    verified: Mapping[str, Any],
    anchors: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> dict[str, Any]:
    """The state of a running gateway as JSON-able values; docs/operations.md explains each."""
    now = clock.now()
    tallies, waiting, moment = intake.tallies, intake.all_waiting(), clock.monotonic()
    sources = {
        name: _source(tallies[name], waiting.get(name, 0), tallies.rate(tallies[name], moment))
        for name in sorted(tallies)
    }
    told = {name: status() for name, status in nodes.items()}
    signing = {name: status() for name, status in witnesses.items()}
    held = problems(
        clock=clock, intake=intake, journal=journal, sealer=sealer, nodes=told, witnesses=signing, troubles=troubles
    )
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
            "sealed": sealer.sealed,
            "last_sealed_ms": sealer.last_sealed_ms,
            "readings": blocks.readings,
            "commits": journal.commits,
            "stalls": intake.stalls,
        },
        "journal": {"stores": journal.stores},
        "nodes": told,
        "witnesses": signing,
        "anchors": dict(anchors),
        "disk": dict(disk),
        "device": dict(device),
        "verified": dict(verified),
        "configuration": dict(configuration),
    }


def problems(
    *,
    clock: Clock,
    intake: Intake,
    journal: Journal,
    sealer: Sealer,
    nodes: Mapping[str, Mapping[str, Any]],
    witnesses: Mapping[str, Mapping[str, Any]],
    troubles: Iterable[Problem],
) -> list[Problem]:
    """The conditions that hold now, worst first; nodes, witnesses: what each tells of itself."""
    own = _own_problems(journal, sealer, clock)
    found = [*troubles, *own, *_source_problems(intake.tallies), *_unbalanced(intake)]
    found += [*_upstream_problems(nodes), *_upstream_problems(witnesses)]
    return worst_first(without_repeats(found))


def _source(tally: Tally, waiting: int, rate: float) -> dict[str, Any]:
    received = tally.arrived - waiting
    return {
        "driver": tally.driver,
        "up": tally.up,
        "detail": tally.detail,
        "cure": tally.cure,
        "condition": tally.condition,
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


def _own_problems(journal: Journal, sealer: Sealer, clock: Clock) -> list[Problem]:
    found: list[Problem] = []
    if (journal.full and not journal.held) or sealer.full:
        found.append(DISK_FULL.problem(free="0 bytes"))
    if sealer.held is not None:
        found.append(SIGNING_HELD.problem(what=sealer.held.what, cure=sealer.held.cure))
    if (claimed := clock.claimed_ms()) < RELEASED_MS:
        found.append(CLOCK_OFF.problem(now=day(claimed), earliest=day(RELEASED_MS)))
    return found


def _source_problems(tallies: Mapping[str, Tally]) -> list[Problem]:
    """One for each thing that is the matter, however many sources it takes along."""
    found: list[Problem] = []
    shared: dict[tuple[Any, ...], tuple[Condition, Tally, list[str]]] = {}
    for name, tally in sorted(tallies.items()):
        known = of_driver(tally.condition, tally.values)
        if known is None:
            if tally.up is False:
                found.append(SOURCE_AWAY.problem(name, detail=tally.detail, cure=tally.cure or _BY_ITSELF))
        elif known.id in OF_DEVICE:
            found.append(known.problem(name, **tally.values))
        else:
            key = (tally.driver, known.id, *sorted(tally.values.items()))
            shared.setdefault(key, (known, tally, []))[2].append(name)
    for known, tally, names in shared.values():
        subject = tally.values["broker"] if known.id in OF_BROKER else listed(names)
        found.append(known.problem(subject, **tally.values))
    return found


def _unbalanced(intake: Intake) -> list[Problem]:
    tallies, waiting = sorted(intake.tallies.items()), intake.all_waiting()
    return [COUNTS_WRONG.problem(name) for name, tally in tallies if not _is_balanced(tally, waiting.get(name, 0))]


def _upstream_problems(told: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    return [find(one["condition"]).problem(name, **one["values"]) for name, one in told.items() if one["condition"]]


def _headline(
    held: list[Problem], sources: Mapping[str, dict[str, Any]], nodes: Mapping[str, dict[str, Any]], now_ms: int
) -> str:
    pressing = [one for one in held if one.severity != "note"]
    if pressing:
        more = f" (and {len(pressing) - 1} more)" if len(pressing) > 1 else ""
        return f"{pressing[0].what}{more}"
    stored = sum(1 for node in nodes.values() if node["stored"])
    count = len(sources) - 1  # beside the gateway's own
    newest = max((source["last_ms"] for source in sources.values() if source["last_ms"] is not None), default=None)
    ago = "" if newest is None else f", {age((now_ms - newest) / 1000)} ago"
    kept = f"stored by {stored} of {_plural(len(nodes), 'node')}" if nodes else "kept by this gateway alone"
    return f"All well: {_plural(count, 'source')}, {kept}{ago}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
