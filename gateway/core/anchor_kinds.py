"""The kinds of anchors that a verifier knows, and how one of a receipt is checked (docs/format.md, section 12)."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

from gateway.core import anchor_fleet, cbor, merkle
from gateway.core.anchor import Anchored, Pin, Statement
from gateway.core.receipt import Anchor

Check = Callable[[Statement, cbor.Value, Sequence[Pin]], Anchored]
"""What a kind does: FormatError unless the evidence shows the statement where it says, and all that the pins say of
that chain fits. Its pins are checked as well: one that it does not understand is refused."""


def _of(module: str) -> Check:
    """A kind's check, whose module is imported when it is first asked for: a gateway without anchors needs none."""

    def check(statement: Statement, evidence: cbor.Value, pins: Sequence[Pin]) -> Anchored:
        found: Anchored = import_module(f"gateway.core.{module}").check(statement, evidence, pins)
        return found

    return check


KINDS: Mapping[str, Check] = MappingProxyType(
    {
        "evm": _of("anchor_evm"),
        "fabric": _of("anchor_fabric"),
        "fisco": _of("anchor_fisco"),
        "rfc3161": _of("anchor_rfc3161"),
    }
)
"""By the kind that stands in a receipt. A new one: a module `anchor_NAME.py` here, and a line."""


def check(
    anchor: Anchor,
    origin: str,
    entry: tuple[bytes, int],
    pins: Sequence[Pin] = (),
    kinds: Mapping[str, Check] = KINDS,
) -> Anchored | None:
    """Where the anchor's statement stands; None for a kind that is not known. FormatError where it does not.

    entry: hash and index of the log's entry that the anchor is to cover.
    """
    merkle.verify_inclusion(*entry, anchor.size, anchor.path, anchor.root)
    statement = Statement.of(origin, anchor.size, anchor.root)
    if anchor.kind == anchor_fleet.KIND:
        return check_fleet(statement, anchor.evidence, pins, kinds)
    known = kinds.get(str(anchor.kind))
    return None if known is None else known(statement, anchor.evidence, pins)


def check_fleet(
    statement: Statement, evidence: cbor.Value, pins: Sequence[Pin] = (), kinds: Mapping[str, Check] = KINDS
) -> Anchored | None:
    """Where the fleet stands that a log's statement is part of; None for a kind that is not known. FormatError."""
    fleet = anchor_fleet.Fleet.read(evidence)
    above, known = fleet.statement(statement), kinds.get(fleet.kind)
    if known is None:
        return None
    return known(above, fleet.evidence, pins)._replace(node=fleet.node, logs=fleet.count)
