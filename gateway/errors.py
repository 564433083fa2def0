"""The whole exception tree.

::

    FieldgateError                 what happened, where, and the cure
    |-- Refused                    their fault: the input is wrong, and stays wrong when tried again
    |   |-- FormatError            bytes that docs/format.md does not allow
    |   |-- VerifyError            a numbered step of a verification failed
    |   |-- ConfigError            a configuration file with everything that is wrong in it
    |   |-- KeyFileError           a key that is missing, malformed or readable by others
    |   |-- AuthError              a request without a valid signature
    |   |-- EngineError            this machine has nothing that does it
    |   |-- ConflictError          a log is no longer, or not, as the caller takes it to be
    |   `-- NotFoundError          what was asked for is not there
    |-- Retry                      the world's fault: the same thing may work later
    |   |-- UnreachableError       a broker, node or device does not answer
    |   |-- InUseError             another process holds it
    |   |-- NoRoomError            no room for a copy that has to be made first; nothing is changed
    |   `-- StoreFullError         no room; what waits stays waiting
    |-- HeldError                  signing is held until a person decides; readings are still journaled
    `-- Stop                       our bug, or durability lost: the process ends, a supervisor restarts it
        |-- StoreError             the store failed in a way that must not be retried in place
        |   `-- DamagedError       bytes on disk that are not what was written
        `-- BugError               an invariant of our own does not hold
"""

from dataclasses import asdict, dataclass
from typing import Any


class FieldgateError(Exception):
    """What happened, where (file, line, source, node) and what a person can do about it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", cure: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.cure = cure

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.cure}" if self.cure else text

    def json(self) -> dict[str, Any]:
        """For an answer in JSON, and for `from_json` at its other end."""
        return {"what": self.what, "where": self.where, "cure": self.cure, "exit_code": self.exit_code}


class Refused(FieldgateError):
    """Their fault: the same input is refused again."""


class FormatError(Refused):
    """Bytes that docs/format.md does not allow."""


class VerifyError(Refused):
    """Step `step` of a verification failed; `clause` names the rule of docs/format.md that it checks."""

    def __init__(self, step: int, title: str, what: str, *, clause: str = "", cure: str = "") -> None:
        super().__init__(what, where=f"step {step} ({title})", cure=cure)
        self.step = step
        self.title = title
        self.clause = clause


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a configuration file. `line` counts from 1; 0 where no line can be told."""

    file: str
    line: int
    key: str
    what: str
    cure: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return f"{place}: {key}{self.what}. {self.cure}" if self.cure else f"{place}: {key}{self.what}"


class ConfigError(Refused):
    """Everything that is wrong in a configuration, in one report."""

    exit_code = 2

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in the configuration")
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)

    def json(self) -> dict[str, Any]:
        """With every fault."""
        return super().json() | {"faults": [asdict(fault) for fault in self.faults]}


class KeyFileError(Refused):
    """A key that is missing, malformed, or readable by others. Its text never holds any part of the key."""

    exit_code = 2


class AuthError(Refused):
    """A request without a valid signature. `challenge` is set where a nonce would help (format.md, section 9)."""

    def __init__(self, what: str, *, challenge: str | None = None) -> None:
        super().__init__(what)
        self.challenge = challenge


class EngineError(Refused):
    """This machine has nothing that does what is asked for, or it does it wrongly."""


class ConflictError(Refused):
    """A log is not, or no longer, as the caller takes it to be; `size` is the one that it has."""

    def __init__(self, what: str, *, size: int) -> None:
        super().__init__(what)
        self.size = size


class NotFoundError(Refused):
    """What was asked for is not there."""

    exit_code = 3


class Retry(FieldgateError):
    """The world's fault: the same thing may work later."""

    exit_code = 3


class UnreachableError(Retry):
    """A broker, node or device does not answer."""


class InUseError(Retry):
    """Another process holds what only one may hold."""


class NoRoomError(Retry):
    """No room for a copy that has to be made first. Nothing was begun."""


class StoreFullError(Retry):
    """No room to write. Nothing that was acknowledged is lost; what waits stays waiting."""


class HeldError(FieldgateError):
    """Signing is held until a person decides. Readings are still journaled and acknowledged."""

    exit_code = 4


class Stop(FieldgateError):
    """Our bug, or durability lost: the process ends with a non-zero exit for its supervisor to restart it."""

    exit_code = 4


class StoreError(Stop):
    """The store failed (input/output, corruption). A failed flush is never retried in place."""


class DamagedError(StoreError):
    """Bytes on disk are not what was written. What is sound beside them stays readable."""


class BugError(Stop):
    """An invariant of our own does not hold."""

    exit_code = 70


def from_json(told: dict[str, Any]) -> FieldgateError:
    """The error that another process has told with `json`."""
    if "faults" in told:
        return ConfigError([Fault(**fault) for fault in told["faults"]])
    error = FieldgateError(told["what"], where=told["where"], cure=told["cure"])
    error.exit_code = told["exit_code"]
    return error
