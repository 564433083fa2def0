"""Makes what is released: the lock, the Debian packages, the list of parts, the signed sums.

Run as `python -m deb` with PYTHONPATH=deploy, which `make lock`, `make deb` and `make release` do.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The source tree."""
