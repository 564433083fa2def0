"""What a person reads on a terminal: words with a style, in columns, and as much of them as there is room for."""

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import click

from gateway.core.text import plain

Style = Literal["", "bold", "faint", "good", "bad", "warn"]

_LOOKS: dict[Style, dict[str, Any]] = {
    "": {},
    "bold": {"bold": True},
    "faint": {"dim": True},
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
    "warn": {"fg": "yellow"},
}
_APART = 2  # blanks between columns
_LEAST = 6  # of the column that gives way
_WIDE = 10_000  # where nobody counts columns: a file, a pipe


class Word(NamedTuple):
    """Some text of one style. Whatever is in the text is shown, nothing of it is obeyed."""

    text: str
    style: Style = ""


Line = list[Word]


def line(*words: Word | str) -> Line:
    """A line of words as they follow each other."""
    return [word if isinstance(word, Word) else Word(word) for word in words]


def room() -> tuple[int, int]:
    """Columns and lines of the terminal; of anything else more than anybody needs."""
    if not sys.stdout.isatty():
        return _WIDE, _WIDE
    columns, lines = shutil.get_terminal_size((80, 24))
    return max(columns, 20), max(lines, 8)


def cut(words: Iterable[Word], width: int) -> Line:
    """What fits, made safe to print; where something is left out, an ellipsis is the last thing."""
    made = [Word(plain(word.text), word.style) for word in words]
    if sum(len(word.text) for word in made) <= width:
        return made
    found: Line = []
    for word in made:
        if len(word.text) >= width:
            return [*found, Word(word.text[: max(width - 1, 0)] + "…", word.style)]
        found.append(word)
        width -= len(word.text)
    return found


def folded(text: str, width: int, style: Style = "", *, indent: str = "") -> list[Line]:
    """All of a sentence, in as many lines as it needs."""
    lines = textwrap.wrap(plain(text), width, initial_indent=indent, subsequent_indent=indent or "  ")
    return [line(Word(one, style)) for one in lines]


def columns(rows: Sequence[Sequence[Word]], width: int, *, right: Collection[int], gives_way: int) -> list[Line]:
    """Rows in columns. right: those that end at one place, as numbers do. gives_way: the one that is cut for others.

    Where even that does not do, the last ones are left out.
    """
    safe = [[Word(plain(cell.text), cell.style) for cell in row] for row in rows]
    widths = [max(len(row[place].text) for row in safe) for place in range(len(safe[0]))]
    while (over := sum(widths) + _APART * (len(widths) - 1) - width) > max(widths[gives_way] - _LEAST, 0):
        if len(widths) <= gives_way + 1:
            break
        widths.pop()
    widths[gives_way] = max(widths[gives_way] - max(over, 0), _LEAST)
    return [cut(_spread(row[: len(widths)], widths, right), width) for row in safe]


def _spread(row: Sequence[Word], widths: Sequence[int], right: Collection[int]) -> Line:
    found: Line = []
    for place, (cell, wide) in enumerate(zip(row, widths, strict=True)):
        (shown,) = cut([cell], wide) or [Word("")]
        blanks = " " * (wide - len(shown.text))
        last = place == len(widths) - 1
        pair = [Word(blanks), shown] if place in right else [shown, Word("" if last else blanks)]
        found += [*pair, Word("" if last else " " * _APART)]
    return found


def echo(lines: Iterable[Line]) -> None:
    """Prints lines; in colour on a terminal that has it, unless NO_COLOR asks for none (no-color.org)."""
    plainly = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    for words in lines:
        text = "".join(word.text if plainly else click.style(word.text, **_LOOKS[word.style]) for word in words)
        click.echo(text.rstrip() if plainly else text, color=True)


def more(count: int, noun: str, where: str) -> Line:
    """That a list was cut: how many more there are, and how to see them."""
    return line(Word(f"and {count:,} more {noun if count == 1 else _many(noun)}: {where}", "faint"))


def plural(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number:,} {noun if number == 1 else _many(noun)}"


def _many(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def size(number: int) -> str:
    """Bytes, in the unit that says enough."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number} B"
