"""What can be the matter with a gateway: every condition that a person is told, under an id that never changes.

Status, page, doctor, log and metrics all speak of these and of nothing else. A condition's texts are templates; the
values in them are filled in where it is met, so that a page can say the same in another language.
docs/operations.md explains each id: symptom, cause, cure.
"""

from gateway.conditions import anchors, brokers, config, found, machine, nodes, own, sources, witnesses
from gateway.conditions.model import (
    SEVERITIES,
    Condition,
    Problem,
    Severity,
    conditions,
    find,
    listed,
    of_gateway,
    without_repeats,
    worst_first,
)
from gateway.conditions.nodes import NODE_AWAY
from gateway.conditions.own import (
    CHARTS_FULL,
    CLOCK_OFF,
    CONFIG_REFUSED,
    COUNTS_WRONG,
    DISK_FULL,
    DISK_LOW,
    DISK_SPARE,
    DISK_WORN,
    DRIVER_LATE,
    PAGE_AWAY,
    RESTART_NEEDED,
    SIGNING_HELD,
    SM2_MISSING,
    STATUS_UNSENT,
    STORE_DAMAGED,
    STORE_FULL,
    UPGRADE_BAD,
    UPGRADE_TAKEN_BACK,
    VERIFICATION_FAILED,
    VERIFICATION_LATE,
)
from gateway.conditions.sources import SOURCE_AWAY, of_driver

__all__ = [
    "CHARTS_FULL",
    "CLOCK_OFF",
    "CONFIG_REFUSED",
    "COUNTS_WRONG",
    "DISK_FULL",
    "DISK_LOW",
    "DISK_SPARE",
    "DISK_WORN",
    "DRIVER_LATE",
    "NODE_AWAY",
    "PAGE_AWAY",
    "RESTART_NEEDED",
    "SEVERITIES",
    "SIGNING_HELD",
    "SM2_MISSING",
    "SOURCE_AWAY",
    "STATUS_UNSENT",
    "STORE_DAMAGED",
    "STORE_FULL",
    "UPGRADE_BAD",
    "UPGRADE_TAKEN_BACK",
    "VERIFICATION_FAILED",
    "VERIFICATION_LATE",
    "Condition",
    "Problem",
    "Severity",
    "anchors",
    "brokers",
    "conditions",
    "config",
    "find",
    "found",
    "listed",
    "machine",
    "nodes",
    "of_driver",
    "of_gateway",
    "own",
    "sources",
    "without_repeats",
    "witnesses",
    "worst_first",
]
