"""A program to be killed: for each line `folder first` on its input it forks a gateway, whose id it prints, and waits
for its end. The gateway journals and seals numbered readings without end, and says what is durable and what is signed:

    ack N            readings up to N are acknowledged
    signed H HEX     the key is about to sign this header for height H
"""

import asyncio
import os
import sys
from pathlib import Path

from fakes.gateway_store import Pipeline, sample, signer
from fakes.recorder import Recorder


def say(text: str) -> None:
    """In one write, so that what is said is out of the process."""
    os.write(1, text.encode() + b"\n")


async def gateway(folder: Path, first: int) -> None:
    made = await Pipeline.open(folder, max_count=7, linger_s=0.0)
    held = await made.recover(Recorder(signer(), lambda height, header: say(f"signed {height} {header.hex()}")))
    assert held is None, held
    made.start()
    await made.rollup.load()
    n = first
    while True:
        for _ in range(3):
            size = 1 if n % 5 else 5_000
            future = made.emit([sample(value=n + i, payload=b"%d" % (n + i) * size) for i in range(n % 4 + 1)])
            n += n % 4 + 1
            future.add_done_callback(lambda _, last=n - 1: say(f"ack {last}"))
            await asyncio.sleep(0)
        made.clock.advance(25)
        made.journal.grown.set()
        await future
        await made.rollup.turn()
        if n % 3 == 0:
            await made.rollup.write()


def main() -> None:
    for line in sys.stdin:
        folder, first = line.split()
        pid = os.fork()
        if pid == 0:
            asyncio.run(gateway(Path(folder), int(first)))
            os._exit(9)
        say(f"pid {pid}")
        _, status = os.waitpid(pid, 0)
        say(f"end {status}")


if __name__ == "__main__":
    main()
