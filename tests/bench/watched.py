"""`fieldgate run` watched from inside, from SIGUSR1 to SIGUSR2: `python watched.py CONFIG OUT [sample]`.

OUT is a JSON object: `stall_s`, the longest time by which a timer of the event loop came late; `busy_s`, the most
CPU that the loop's thread used between two such timers, which the machine's other load does not change; `loop_s` and
`other_s`, CPU of the loop's thread and of all others. With `sample` also `lines`: [file, function, line, CPU of the
loop's thread], by the innermost line of our own code, else by the innermost, looked at each millisecond.
"""

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from gateway import app, logs
from gateway.clock import Clock
from gateway.configured import Configured

TICK_S = 0.001
SAMPLE_S = 0.001
ROOT = Path(app.__file__).resolve().parents[1]
OURS = (str(ROOT / "gateway"), str(ROOT / "drivers"))

Place = tuple[str, str, int]


class Watch:
    """What is seen since `begin`. Signals reach the loop's thread between two of its instructions."""

    def __init__(self, out: Path, *, sample: bool) -> None:
        self._out, self.sampling = out, sample
        self._longest = self._busiest = 0.0
        self._lines: Counter[Place] = Counter()

    def begin(self) -> None:
        self._longest = self._busiest = 0.0
        self._all, self._loop = time.process_time(), time.thread_time()
        self._last, self._own = self._loop, 0.0
        if self.sampling:
            signal.signal(signal.SIGALRM, self._sample)
            signal.setitimer(signal.ITIMER_REAL, SAMPLE_S, SAMPLE_S)

    def end(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        thread_s = time.thread_time() - self._loop
        seen = {
            "stall_s": self._longest,
            "busy_s": self._busiest,
            "loop_s": thread_s - self._own,
            "other_s": time.process_time() - self._all - thread_s,
            "lines": [[*place, spent] for place, spent in self._lines.items()],
        }
        new = self._out.with_suffix(".new")
        new.write_text(json.dumps(seen))
        new.rename(self._out)

    def tick(self, loop: asyncio.AbstractEventLoop, due: float, spent: float) -> None:
        """A timer of the loop, at once set again."""
        now, thread = loop.time(), time.thread_time()
        self._longest = max(self._longest, now - due)
        self._busiest = max(self._busiest, thread - spent)
        loop.call_at(now + TICK_S, self.tick, loop, now + TICK_S, thread)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        spent = now - self._last
        innermost = frame
        while frame is not None and not frame.f_code.co_filename.startswith(OURS):
            frame = frame.f_back
        at = frame or innermost
        if at is not None:
            self._lines[at.f_code.co_filename, at.f_code.co_name, at.f_lineno or 0] += spent
        self._last = time.thread_time()
        self._own += self._last - now


def main(path: Path, watch: Watch) -> int:
    serve = app.serve

    async def watched(path: Path, configured: Configured, clock: Clock, *_: object) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, watch.begin)
        loop.add_signal_handler(signal.SIGUSR2, watch.end)
        if not watch.sampling:
            watch.tick(loop, loop.time(), time.thread_time())
        await serve(path, configured, clock)

    app.serve = watched
    return app.run(path)


if __name__ == "__main__":
    logs.begin()
    sys.exit(main(Path(sys.argv[1]), Watch(Path(sys.argv[2]), sample="sample" in sys.argv)))
