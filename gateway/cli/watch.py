"""`fieldgate status --watch`: the state again and again, on a screen of its own. Only that imports it: rich is slow."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from gateway.cli import OK
from gateway.cli.screen import State, screen
from gateway.cli.shown import Line, Style, folded
from gateway.cli.status import ask
from gateway.core.text import age
from gateway.errors import UnreachableError

_EVERY_S = 1.0
_PATIENCE_S = 3.0  # for an answer; then what is shown is called stale
_LOOKS: dict[Style, str] = {
    "": "",
    "bold": "bold",
    "faint": "dim",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
}


def watch(path: Path, monotonic: Callable[[], float] = time.monotonic) -> int:
    """Shows the gateway behind a control socket until Ctrl-C. One that goes away is asked on, and called stale."""
    console = Console(highlight=False)
    state: State | None = None
    answered = monotonic()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                began = monotonic()
                trouble = ""
                try:
                    state, answered = ask(path, _PATIENCE_S), monotonic()
                except UnreachableError as exc:
                    trouble = f"STALE for {age(monotonic() - answered)}: {exc}" if state else f"Waiting: {exc}"
                live.update(_drawn(state, trouble, *console.size), refresh=True)
                time.sleep(max(_EVERY_S - (monotonic() - began), 0.1))
    except KeyboardInterrupt:
        return OK


def _drawn(state: State | None, trouble: str, width: int, height: int) -> Group:
    lines = folded(trouble, width, "bad") if trouble else []
    if state is not None:
        lines += screen(state, width, height - len(lines))
    return Group(*(_text(words) for words in lines[:height]))


def _text(words: Line) -> Text:
    return Text.assemble(*((word.text, _LOOKS[word.style]) for word in words), no_wrap=True, overflow="crop")
