"""What is wrong with a gateway, in plain words, and what to do: each concern is a module of its own.

A module has `look(case) -> Outcome`, and judges apart from what it asks. `examination` makes all of them.
"""

from gateway.doctor.case import Case, Checked, Outcome
from gateway.doctor.examination import CHECKS, Report, examination, examine
from gateway.doctor.salvage import read

__all__ = ["CHECKS", "Case", "Checked", "Outcome", "Report", "examination", "examine", "read"]
