"""`PYTHONPATH=tests python -m sim SEED [restored|cloned]`: one run, and what happened in it."""

import sys

from sim.world import run

print(run(int(sys.argv[1]), *sys.argv[2:3]))
