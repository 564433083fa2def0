"""What a check is handed, and what it gives back."""

import asyncio
import functools
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from drivers.blocking import BlockingCall
from gateway.conditions import Problem
from gateway.conditions.found import CHECK_UNSEEN
from gateway.core.limits import DOCTOR_BLOCKING_S
from gateway.doctor.system import User
from gateway.errors import Fault, FieldgateError
from gateway.settings import Settings

T = TypeVar("T")

_RENEW_S = 21 * 86_400

State = Literal["good", "found", "unseen"]
"""Of a check: nothing is the matter, something is, or it could not look."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is looked into.

    settings: None where the file cannot be read at all; where it has faults, what is sound of it (doctor/salvage.py).
    faults: of the file. root: in place of `/` for /proc, /sys and /etc. state: what the running gateway says of itself
    (status.snapshot); without it `silence` says why not. inside: this is the gateway's own process.
    """

    path: Path | None = None
    settings: Settings | None
    faults: tuple[Fault, ...] = ()
    root: Path = Path("/")
    state: Mapping[str, Any] | None = None
    silence: FieldgateError | None = None
    inside: bool = False

    @property
    def wanted(self) -> Settings:
        """The configuration, for a check that is not made without one."""
        if self.settings is None:
            raise ValueError("a check that needs the configuration")
        return self.settings

    @property
    def data_dir(self) -> Path | None:
        """Where the store is."""
        return Path(self.settings.gateway.data_dir) if self.settings else None


class Outcome(NamedTuple):
    """`said`: what was looked at and is well, one line. `figures`: what was measured, for a person."""

    said: str
    problems: Sequence[Problem] = ()
    figures: Mapping[str, str] = {}
    unseen: bool = False  # it could not look at anything


@dataclass(frozen=True, slots=True)
class Checked:
    """A check that has been made."""

    name: str
    state: State
    said: str
    problems: tuple[Problem, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As `doctor --json` shows it."""
        return {"check": self.name, "state": self.state, "said": self.said, "figures": dict(self.figures)}


def unseen(what: str, why: str, cure: str) -> Outcome:
    """The outcome of a check that may not, or cannot, look."""
    return Outcome(f"{what}: {why}", (CHECK_UNSEEN.problem(what, detail=why, cure=cure),), unseen=True)


def merged(said: str, outcomes: Mapping[str, Outcome]) -> Outcome:
    """Those of several brokers or nodes, by name, as one."""
    figures = {f"{name}: {key}": text for name, one in outcomes.items() for key, text in one.figures.items()}
    return Outcome(said, [problem for one in outcomes.values() for problem in one.problems], figures)


def ends_soon(ends: str, now_s: float) -> bool:
    """Whether a certificate ends within three weeks. ends: as OpenSSL writes it; empty: not known."""
    return bool(ends) and ssl.cert_time_to_seconds(ends) - now_s < _RENEW_S


def as_user(owner: User | None) -> str:
    """How to look with the rights that are needed."""
    return f"{f'sudo -u {owner.name} fieldgate doctor, or ' if owner else ''}sudo fieldgate doctor"


async def beside(function: Callable[..., T], *args: Any, timeout_s: float = DOCTOR_BLOCKING_S) -> T:
    """What a blocking function gives, in a thread that holds up no exit where it hangs. TimeoutError."""
    call = BlockingCall(getattr(function, "__name__", "check"))
    return await call.run(functools.partial(function, *args), timeout_s=timeout_s, abandon=lambda _: None)


async def each(*looks: Any) -> list[Any]:
    """Awaits them side by side; where one is cancelled, all are. The first error of any ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(look) for look in looks]
    except ExceptionGroup as found:
        raise found.exceptions[0] from found
    return [task.result() for task in tasks]
