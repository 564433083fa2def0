"""What a log record carries that tells of a condition (gateway/conditions/)."""

import logging
from collections.abc import Mapping
from typing import NamedTuple


class Told(NamedTuple):
    """A condition that begins (`holds`) or is over. `values`: what stands in its templates, `subject` among them."""

    condition: str
    severity: str
    subject: str
    message_id: str
    holds: bool
    values: Mapping[str, str]

    def extra(self) -> dict[str, "Told"]:
        """For `extra` of a logging call."""
        return {"told": self}


def told_of(record: logging.LogRecord) -> Told | None:
    """What a record tells of; None for the others."""
    told = getattr(record, "told", None)
    return told if isinstance(told, Told) else None
