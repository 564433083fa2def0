"""`fieldgate run` on a machine whose kernel says what a file says of its clock: `python clocked.py CONFIG FILE`.

FILE is libfaketime's, which has the time itself where that is preloaded. A comment in it, which libfaketime passes
over, has the maximum error in microseconds: so a clock is set and synchronised in one go.
"""

import sys
from pathlib import Path

from gateway import app, clock, logs


def main() -> None:
    path, file = map(Path, sys.argv[1:])
    logs.begin()
    clock.kernel_error_us = lambda: int(file.read_text().partition("#")[2])
    sys.exit(app.run(path))


if __name__ == "__main__":
    main()
