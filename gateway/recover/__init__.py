"""What `fieldgate recover` and `fieldgate restore` do: find out what is wrong, rebuild a store from what is sound here
and at a node, let a log go on in another place, go back to the version before. A new epoch is begun by epoch.py.
Nothing is believed that the log's key does not cover.

Whatever is made is made beside what is there, and takes its place in one stroke (store/moves.py); what it replaces is
kept under another name. The gateway does not run meanwhile: the caller holds the folder's lock.
"""

from gateway.recover.diagnosis import Diagnosis, diagnose
from gateway.recover.moved import Asked, settle
from gateway.recover.node_reader import NodeReader
from gateway.recover.older import Back, step_back
from gateway.recover.rebuild import OWN, Job, Outcome, lost_reading, rebuild

__all__ = [
    "OWN",
    "Asked",
    "Back",
    "Diagnosis",
    "Job",
    "NodeReader",
    "Outcome",
    "diagnose",
    "lost_reading",
    "rebuild",
    "settle",
    "step_back",
]
