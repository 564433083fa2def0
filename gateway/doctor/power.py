"""Is there enough power, and is it cool enough? What a Raspberry Pi tells, and any machine's thermal zones."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from gateway.conditions import Problem
from gateway.conditions.found import DEVICE_HOT, DEVICE_THROTTLED, POWER_LOW, POWER_WAS_LOW
from gateway.doctor.case import Case, Outcome, beside
from gateway.doctor.system import number, text

_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_LOW, _CAPPED, _THROTTLED = 1 << 0, 1 << 1, 1 << 2  # now; the same 16 bits up: since the start
_HOT_C = 80.0  # where a Raspberry Pi begins to slow down
_TOOL_S = 3.0


class Facts(NamedTuple):
    """throttled: the firmware's bits; alarm: hwmon's under-voltage alarm; degrees: the hottest zone. None: not told."""

    throttled: int | None
    alarm: bool | None
    degrees: float | None


async def look(case: Case) -> Outcome:
    """What the files say; where they do not, `vcgencmd`."""
    return judge(await beside(_facts, case.root))


def _facts(root: Path) -> Facts:
    throttled = number(root / _FIRMWARE, 16)
    if throttled is None and root == Path("/"):
        throttled = _asked()
    return Facts(throttled, _alarm(root), _degrees(root))


def _asked() -> int | None:
    """What vcgencmd says, where it exists: throttled=0x50005."""
    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    try:
        told = subprocess.run([tool, "get_throttled"], capture_output=True, timeout=_TOOL_S, check=True)  # noqa: S603
        return int(told.stdout.decode("ascii").strip().partition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _alarm(root: Path) -> bool | None:
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if text(folder / "name") == "rpi_volt":
            told = number(folder / "in0_lcrit_alarm")
            return None if told is None else bool(told)
    return None


def _degrees(root: Path) -> float | None:
    told = (number(zone / "temp") for zone in (root / "sys/class/thermal").glob("thermal_zone*"))
    return max((one / 1000 for one in told if one is not None), default=None)


def judge(facts: Facts) -> Outcome:
    """Now before what was since the start."""
    bits, problems = facts.throttled or 0, list[Problem]()
    if bits & _LOW or facts.alarm:
        problems.append(POWER_LOW.problem())
    elif bits & _LOW << 16:
        problems.append(POWER_WAS_LOW.problem())
    if bits & (_CAPPED | _THROTTLED) and not bits & _LOW:
        problems.append(DEVICE_THROTTLED.problem())
    if facts.degrees is not None and facts.degrees >= _HOT_C:
        problems.append(DEVICE_HOT.problem(degrees=f"{facts.degrees:.0f}"))
    told = facts.throttled is not None or facts.alarm is not None
    if not told and facts.degrees is None:
        return Outcome("nothing here tells of power or temperature", unseen=True)
    power = "the power is steady" if told else "nothing here tells of the power"
    figures = {"temperature": "not told" if facts.degrees is None else f"{facts.degrees:.0f} °C"}
    if facts.throttled is not None:
        figures["throttled"] = hex(facts.throttled)
    return Outcome(f"{power}, and no part is too hot", problems, figures)
