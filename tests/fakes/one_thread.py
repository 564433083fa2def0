"""`fieldgate ...` whose blocking work is done in one thread beside the loop's: `python one_thread.py COMMAND ...`.

So each run makes the same calls in the same threads, and a call can be named by its place in its thread.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from gateway import cli


class Policy(asyncio.DefaultEventLoopPolicy):
    """Each loop's default executor has one thread."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """As ever, but for that."""
        loop = super().new_event_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        return loop


if __name__ == "__main__":
    asyncio.set_event_loop_policy(Policy())
    cli.main(sys.argv[1:])
