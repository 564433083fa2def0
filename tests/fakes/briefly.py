"""`fieldgate run` that is told to stop as soon as anything is durable, its own start at least: `briefly.py FILE`.

Or when its store could not be opened three times: strace counts a thread's calls, and each try has threads of its own,
which meet the same fault again.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway.cli import main
from gateway.errors import StoreFullError
from gateway.store import Store
from gateway.store.journal import Batch, Journal

TRIES = 3


def stop_after_a_commit() -> None:
    write = Journal._write
    told = False

    async def written(self: Journal, batch: Batch) -> None:
        nonlocal told
        await write(self, batch)
        if not told:
            os.kill(os.getpid(), signal.SIGTERM)
        told = True

    Journal._write = written  # type: ignore[method-assign]


def stop_after_tries() -> None:
    opening = Store.open
    left = TRIES

    async def opened(data_dir: Path, **options: Any) -> Store:
        nonlocal left
        try:
            return await opening(data_dir, **options)
        except StoreFullError:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            raise

    Store.open = opened  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    stop_after_a_commit()
    stop_after_tries()
    sys.argv[1:] = ["run", "--config", sys.argv[1]]
    main()
