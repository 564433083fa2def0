"""The log of a daemon: to the system's journal where it runs under it, else a line a record on stderr.

`begin` sets it up once for a process. Every record passes one limiter, and is kept in a ring for `fieldgate logs`.
"""

import logging
import sys
import time

from gateway.logs.journald import JournalHandler, is_ours
from gateway.logs.limit import Limiter
from gateway.logs.lines import OneLine
from gateway.logs.ring import Ring
from gateway.logs.told import told_of

__all__ = ["Log", "begin"]

_STDERR = 2


class Log(logging.Handler):
    """Where all records of the process go: through the limiter to `out` and into `ring`."""

    def __init__(self, out: logging.Handler, limiter: Limiter, lines: OneLine) -> None:
        super().__init__()
        self.ring = Ring()
        self.left_out = 0  # records that the limiter left out
        self._out, self._limiter, self._lines = out, limiter, lines

    def emit(self, record: logging.LogRecord) -> None:
        """Called under the handler's lock, in any thread."""
        out = self._limiter.admit(record)
        if out is None:
            self.left_out += 1
            return
        record.left_out = out
        self._write(record)

    @property
    def lost(self) -> int:
        """Records that nothing would take."""
        return self._out.lost if isinstance(self._out, JournalHandler) else 0

    def _write(self, record: logging.LogRecord) -> None:
        self._out.handle(record)
        text = self._lines.text(record)
        self.ring.add(round(record.created * 1000), record.levelname, record.name, text, told_of(record))

    def tell_left_out(self) -> None:
        """Writes a line for each kind of which lines were left out and none comes any more. To be called now and then.

        Where nobody calls it, the next line of the kind says it.
        """
        self.acquire()
        try:
            for logger, template, lines in self._limiter.left_out():
                text = f"{lines} more lines were left out: {template or 'of many kinds'}"
                record = logging.LogRecord(logger or __name__, logging.WARNING, __file__, 0, "%s", (text,), None)
                self._write(record)
        finally:
            self.release()


def begin(*, debug: bool = False, stream: str = "") -> Log:
    """Logging for a daemon, from now on. stream: what JOURNAL_STREAM says, by which stderr leads to the journal or not.

    debug: more of it, with tracebacks.
    """
    lines = OneLine(debug=debug)
    out: logging.Handler
    if is_ours(stream, _STDERR):
        out = JournalHandler(lines, aside=_STDERR)
    else:
        out = logging.StreamHandler(sys.stderr)
        out.setFormatter(lines)
    log = Log(out, Limiter(time.monotonic), lines)
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[log])
    logging.captureWarnings(capture=True)
    return log
