"""Is the configuration right, and wise? What the machine says to it is looked into by the other checks."""

from gateway.conditions import Problem
from gateway.conditions.config import NO_HOLDER, NO_NODE, WINDOW
from gateway.conditions.found import CONFIG_FAULT
from gateway.config.advice import advice
from gateway.doctor.case import Case, Outcome
from gateway.errors import Fault

_ELSEWHERE = frozenset((NO_NODE.id, NO_HOLDER.id, WINDOW.id))  # the checks of nodes and of brokers tell of these


async def look(case: Case) -> Outcome:
    """What was found when it was read."""
    settings, name = case.settings, str(case.path or "the configuration that runs")
    figures = {"file": name}
    if settings:
        figures |= {name: str(len(getattr(settings, name))) for name in ("source", "broker", "node", "witness")}
    problems = [of_fault(fault) for fault in case.faults]
    if settings and not case.faults:
        problems += [one.problem for one in advice(settings) if one.problem.condition not in _ELSEWHERE]
    return Outcome(f"{name} is right", problems, figures)


def of_fault(fault: Fault) -> Problem:
    """A fault of a configuration file as a problem."""
    place = f"{fault.file}:{fault.line}" if fault.line else fault.file
    what = f"{fault.key}: {fault.what}" if fault.key else fault.what
    return CONFIG_FAULT.problem(place, detail=what, cure=fault.cure or "Correct it")
