"""One file with everything of a gateway but its secrets: what `fieldgate backup` writes and `fieldgate restore` reads.

A tar archive: `manifest.json` first, then `config/NAME` for each file of the configuration, then `fieldgate.db`, a copy
of the store (store/copying.py). There is no private key in it and, but for a move, nothing of the sign-state: an older
head signs a height anew. A move closes the log here and hands its head over, once.
"""

from gateway.backup.archive import Manifest, read_config, read_manifest
from gateway.backup.making import make
from gateway.backup.placing import Placed, check_empty, place

__all__ = ["Manifest", "Placed", "check_empty", "make", "place", "read_config", "read_manifest"]
