"""What is nicer on a terminal. The only module that imports rich, and imported only where there is one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_LOUD = {"AWAY": "bold red", "up": "green"}


class Bar:
    """A progress bar."""

    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def advance(self, by: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, by)


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Bar]:
    """A bar on stderr, gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, label, total)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout. Cells are text, never markup."""
    drawn = Table(box=SIMPLE)
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*(Text(cell, style=_LOUD.get(cell, "")) for cell in row))
    Console().print(drawn)
