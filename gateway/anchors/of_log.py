"""A gateway's log as what a chain is told of (task.py)."""

from gateway.core.anchor_row import AnchorRow
from gateway.store import Store
from gateway.store.anchors import Anchors


class OfLog:
    """gateway.anchors.task.Subject over the gateway's store."""

    def __init__(self, store: Store) -> None:
        self._blocks = store.blocks
        self.origin = store.vkey.name
        self.journal: Anchors = store.anchors

    async def grown(self, newest: AnchorRow | None) -> int:
        """See Subject.grown."""
        return self._blocks.size - (newest.size if newest else 0)

    async def wait_grown(self) -> None:
        """See Subject.wait_grown."""
        await self._blocks.wait_beyond(self._blocks.size)

    async def take(self) -> tuple[int, bytes]:
        """See Subject.take."""
        return self._blocks.size, self._blocks.frontier.root()
