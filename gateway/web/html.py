"""HTML by construction: every text is escaped, except what was made here.

Source names, payloads and node names are hostile text. A `Markup` comes from `el`, `join` or `Words.html` alone, so
that nothing else reaches a page unescaped.
"""

from collections.abc import Iterable
from html import escape
from typing import Final, Union

Child = Union[str, int, "Markup", None, Iterable["Child"]]
Attribute = str | int | float | bool | None

_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """HTML that is safe to send."""

    __slots__ = ()


def el(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """An element. `class_`, `data_ms`, `aria_label` are written class, data-ms, aria-label; None and False left out.

    Tag and attribute names are the program's own; children and attribute values may be anything.
    """
    head = tag + "".join([_attribute(name, value) for name, value in attributes.items()])
    if tag in _VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(children)}</{tag}>")


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{escape(str(value))}"'


def join(children: Iterable[Child]) -> Markup:
    """The children one after the other; texts escaped, None left out."""
    return Markup("".join([_text(child) for child in children]))


def _text(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    if child is None:
        return ""
    return str(child) if isinstance(child, int) else join(child)


def data(text: str, limit: int | None = None) -> str:
    """Foreign text on one line, without what a browser would hide or turn round (bidirectional controls, NUL)."""
    if not text.isprintable():
        text = "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
