"""How far a statement has come on its way to a chain, as a row of a journal: the gateway's or a node's."""

from dataclasses import dataclass
from typing import Final

WAITING: Final = "waiting"
SUBMITTED: Final = "submitted"
IN_BLOCK: Final = "in block"
ANCHORED: Final = "anchored"
FAILED: Final = "failed"
CLAIMED: Final = "claimed"
"""How one is shown that a node handed over: it was checked without pins, so all that it says of a chain is the node's
word. In the journal it is anchored, and receipts carry it, for whoever verifies has pins."""

FROM_NODE: Final = "by node "
"""How the names of those begin: the blank keeps them apart from tables."""


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """A statement (its `size` and `root`) on its way to a chain, or there.

    name: of its table [anchor.NAME]. since_ms: when it was begun. over: nothing more is done for it. data: what is
    sent, empty while it is not made. ticket: what the chain answered, empty while it is not sent. number, hash, time_s:
    the block in which it stands.
    """

    name: str
    size: int
    root: bytes
    kind: str
    chain: str
    since_ms: int
    state: str = WAITING
    over: bool = False
    data: bytes = b""
    ticket: bytes = b""
    number: int | None = None
    hash: bytes | None = None
    time_s: int | None = None
    evidence: bytes | None = None
    why: str = ""
    cure: str = ""

    @property
    def shown(self) -> str:
        """Its state, as people are told it."""
        return CLAIMED if self.state == ANCHORED and self.name.startswith(FROM_NODE) else self.state
