"""Is the configuration file right?"""

from gateway.conditions import Problem
from gateway.conditions.found import CONFIG_FAULT
from gateway.doctor.case import Case, Outcome
from gateway.errors import Fault


async def look(case: Case) -> Outcome:
    """What was found when it was read."""
    settings, name = case.settings, str(case.path or "the configuration that runs")
    figures = {"file": name}
    if settings:
        figures |= {name: str(len(getattr(settings, name))) for name in ("source", "broker", "node")}
    return Outcome(f"{name} is right", [of_fault(fault) for fault in case.faults], figures)


def of_fault(fault: Fault) -> Problem:
    """A fault of a configuration file as a problem."""
    place = f"{fault.file}:{fault.line}" if fault.line else fault.file
    what = f"{fault.key}: {fault.what}" if fault.key else fault.what
    return CONFIG_FAULT.problem(place, detail=what, cure=fault.cure or "Correct it")
