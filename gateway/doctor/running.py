"""Does the gateway run, and what does it say of itself?"""

from collections.abc import Mapping
from typing import Any

from gateway.conditions import Problem, find
from gateway.conditions.found import GATEWAY_SILENT, GATEWAY_STOPPED
from gateway.doctor.case import Case, Outcome, unseen
from gateway.errors import FieldgateError


async def look(case: Case) -> Outcome:
    """Judges the snapshot that was fetched before."""
    return judge(case.state, case.silence)


def judge(state: Mapping[str, Any] | None, silence: FieldgateError | None) -> Outcome:
    """Without a state: a gateway that does not run, or that this user may not ask."""
    if state is None and silence is None:
        cure = "Mend the configuration first: `fieldgate check` tells its faults"
        return unseen("the running gateway", "where its data lies is not known", cure)
    if state is None:
        assert silence is not None
        if isinstance(silence.__cause__, PermissionError):
            return unseen("the running gateway", silence.what, silence.cure)
        if isinstance(silence.__cause__, FileNotFoundError | ConnectionRefusedError):
            return Outcome("it does not run", (GATEWAY_STOPPED.problem(),))
        return Outcome("it does not answer", (GATEWAY_SILENT.problem(detail=silence.what),))
    figures = {"version": str(state.get("version")), "sources": str(len(state.get("sources", ())))}
    return Outcome("it runs and answers", problems_of(state), figures)


def problems_of(state: Mapping[str, Any]) -> list[Problem]:
    """The problems in a snapshot; those that another version tells and this one does not know are left out."""
    told = state.get("problems", ())
    return [found for one in told if isinstance(one, dict) and (found := _problem(one)) is not None]


def _problem(one: dict[str, Any]) -> Problem | None:
    texts = [one.get(name) for name in ("condition", "subject", "what", "cure")]
    try:
        condition, subject, what, cure = map(_text, texts)
        severity = find(condition).severity
    except (KeyError, TypeError):
        return None
    told = one.get("values")
    values = {name: text for name, text in told.items() if isinstance(text, str)} if isinstance(told, dict) else {}
    return Problem(condition, severity, subject, what, cure, values | {"subject": subject})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value
