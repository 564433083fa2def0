"""A new epoch: a new log with a new key, where the old one must not go on, or as a person has planned it.

`making.py` makes the new one in one stroke; `rotation.py` closes the old one before, so that both name each other.
"""

from gateway.epoch.making import Plan, begin, newest_note, successor_of
from gateway.epoch.rotation import Closed, close

__all__ = ["Closed", "Plan", "begin", "close", "newest_note", "successor_of"]
