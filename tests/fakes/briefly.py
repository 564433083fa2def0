"""`fieldgate run` that is told to stop as soon as anything is durable, its own start at least: `briefly.py FILE`."""

import os
import signal
import sys

from gateway.cli import main
from gateway.store.journal import Batch, Journal


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


if __name__ == "__main__":
    stop_after_a_commit()
    sys.argv[1:] = ["run", "--config", sys.argv[1]]
    main()
