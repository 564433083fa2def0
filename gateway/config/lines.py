"""On which line each key of a TOML text stands. Imported only when something is wrong with a configuration."""

import tomlkit
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array, Comment, InlineTable, Item, Key, Null, Table, Whitespace

from .words import Path


def lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every table, key and list item. Empty for what tomlkit does not read though tomllib does."""
    try:
        finder = _Finder()
        finder.container(tomlkit.parse(text), ())
    except (TOMLKitError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # a line number is a courtesy; the report itself does not depend on it
    return finder.found


class _Finder:
    """Walks containers in the order of the text and counts line feeds on the way."""

    def __init__(self) -> None:
        self.line = 1
        self.found: dict[Path, int] = {}

    def pass_over(self, text: str) -> None:
        self.line += text.count("\n")

    def mark(self, path: Path) -> None:
        self.found.setdefault(path, self.line)

    def container(self, container: Container, path: Path) -> None:
        for key, item in container.body:
            if key is None:
                self.pass_over(item.as_string())
            else:
                self.entry(key, item, path)

    def entry(self, key: Key, item: Item, path: Path) -> None:
        path = (*path, *(part.key for part in key))
        if isinstance(item, AoT):
            self.mark(path)
            for index, table in enumerate(item.body):
                self.table(table, (*path, index))
        elif isinstance(item, Table):
            self.table(item, path)
        else:
            self.pass_over(item.trivia.indent)
            self.mark(path)
            self.value(item, path)
            self.pass_over(item.trivia.comment + item.trivia.trail)

    def table(self, table: Table, path: Path) -> None:
        self.pass_over(table.trivia.indent)
        self.mark(path)
        if not table.is_super_table():
            self.pass_over(table.trivia.comment + table.trivia.trail)
        self.container(table.value, path)

    def value(self, item: Item, path: Path) -> None:
        start = self.line
        if isinstance(item, Array):
            self.array(item, path)
        elif isinstance(item, InlineTable):
            self.container(item.value, path)
        self.line = start + item.as_string().count("\n")

    def array(self, array: Array, path: Path) -> None:
        index = 0
        for piece in array._iter_items():
            if isinstance(piece, Whitespace | Comment | Null):
                self.pass_over(piece.as_string())
            else:
                self.mark((*path, index))
                self.value(piece, (*path, index))
                index += 1
