"""`fieldgate run` on a machine whose kernel says what a file says of its clock: `python clocked.py CONFIG FILE`.

FILE has the maximum error in microseconds; libfaketime, where it is preloaded, has the time itself.
"""

import sys
from pathlib import Path

from gateway import app, clock, logs


def main() -> None:
    path, error = map(Path, sys.argv[1:])
    logs.begin()
    clock.kernel_error_us = lambda: int(error.read_text())
    sys.exit(app.run(path))


if __name__ == "__main__":
    main()
