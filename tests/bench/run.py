"""What every benchmark is handed: how much to do, and where."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    messages: int = 60_000  # of a broker's backlog; of more than 65,535 `mosquitto_pub -l` sends a part
    tail: int = 2_000  # of them, the last, which wait for a linger: no matter of the rate
    steady_s: float = 60.0
    warm_s: float = 2.0  # at the same rate, before
    settle_s: float = 3.0  # for a gateway that has started to come to rest
    idle_s: float = 10.0
    sealed: tuple[int, int] = (4_096, 65_536)
    filled: int = 1_000_000  # readings of the large store
    unsealed: int = 100_000  # and of the journal beside it
    repeats: int = 10  # of what takes milliseconds
    requests: int = 12  # to a node
    decoded: int = 20_000  # frames or messages of each codec
    body: int = 4_096  # readings of the body that it takes in


FULL = Scale()


@dataclass(frozen=True)
class Run:
    """One run of one benchmark: its number from 0, an empty folder of its own, and one that all of this call share."""

    scale: Scale
    number: int
    folder: Path
    shared: Path


WINDOW = 1_000
"""The broker's max_inflight_messages, unless a figure says another."""
