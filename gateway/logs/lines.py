"""A log record as one line of text, whatever is in it."""

import logging
import traceback

from gateway.core.text import plain


class OneLine(logging.Formatter):
    """A record as one line, control characters escaped; an exception as type, text and place, or as a traceback."""

    def __init__(self, *, debug: bool = False) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        """The line, with level and logger."""
        return plain(f"{record.levelname} {record.name}: {self._text(record)}")

    def text(self, record: logging.LogRecord) -> str:
        """The line without them, for where they are told apart."""
        return plain(self._text(record))

    def _text(self, record: logging.LogRecord) -> str:
        text = _message(record)
        if out := getattr(record, "left_out", 0):
            text = f"{text} ({out} more like this were left out before it)"
        exc = record.exc_info[1] if record.exc_info else None
        if exc is None:
            return text
        if self._debug:
            return f"{text} {''.join(traceback.format_exception(exc))}"
        frames = traceback.extract_tb(exc.__traceback__)
        place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return f"{text} [{type(exc).__name__}: {exc}{place}]"


def _message(record: logging.LogRecord) -> str:
    """Whoever logs what does not fit its template is told, and not harmed."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 -- whatever the arguments' own code brings about
        return f"{record.msg} (its values do not fit it)"
