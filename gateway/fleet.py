"""Puts a node's fleets on chains: the task that a gateway has for its own log, with the node's subject and journal.

It stands above both: the node knows nothing of chains, and the chains nothing of nodes.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from gateway.anchors import registry as chains
from gateway.anchors.api import Opened
from gateway.anchors.task import Anchoring, Subject
from gateway.clock import Clock
from gateway.conditions import Problem
from gateway.core.anchor import is_stamped
from gateway.settings import AnchorSettings

log = logging.getLogger(__name__)

_LOOK_S = 5.0
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING}


class Known(Protocol):
    """What of a kind is used (gateway.anchors.registry.Kind)."""

    @property
    def final(self) -> bool:
        """It never takes a block back."""

    @property
    def chain(self) -> Callable[[object], str]:
        """What its options call the chain."""

    @property
    def opened(self) -> Callable[[object, Mapping[str, str]], Opened]:
        """A chain."""


class Telling:
    """One [anchor.NAME] of a node: `run` until cancelled. What is the matter goes to the log, once."""

    def __init__(
        self,
        name: str,
        settings: AnchorSettings,
        secrets: Mapping[str, str],
        subject: Subject,
        clock: Clock,
        kind_of: Callable[[str], Known] = chains.kind,
    ) -> None:
        kind = kind_of(settings.kind)
        opened = partial(kind.opened, settings.options, secrets)
        called = kind.chain(settings.options)
        rng = random.Random()  # noqa: S311 -- jitter
        self.name = name
        self.task = Anchoring(name, settings, called, opened, subject, clock, rng, final=kind.final)

    async def run(self) -> None:
        """Keeps the chain told. A Stop goes on up."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.task.run())
            tasks.create_task(self._watch())

    async def _watch(self) -> None:
        said: dict[str, Problem] = {}
        anchored = 0
        while True:
            now = {problem.condition: problem for problem in self.task.problems}
            for condition, problem in now.items():
                if said.get(condition) != problem:
                    log.log(_LEVELS.get(problem.severity, logging.INFO), "%s. %s", problem.what, problem.cure)
            told = self.task.status()
            if told["anchored"] > anchored:
                stamped = is_stamped(told["kind"], told["chain"])
                where = "under a time stamp" if stamped else f"in block {told['anchored_block']}"
                log.info("anchor %s: number %d stands %s", self.name, told["anchored"], where)
            said, anchored = now, told["anchored"]
            await asyncio.sleep(_LOOK_S)
