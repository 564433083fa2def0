"""A page, read as a browser would, and strictly: tags balanced, ids once, nothing hostile become an element."""

import re
from collections import Counter
from html.parser import HTMLParser

INLINE = {"span", "time", "b", "i", "a", "code", "small", "strong", "text"}
VOID = {"meta", "br", "link", "input", "img", "hr"}
HOSTILE = "<script>alert(1)</script>\"'&</pre></style><img src=x onerror=y>"


class Parsed(HTMLParser):
    """Tags, attributes, text, and the text of each element that has an id or a data-key."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.by: dict[str, str] = {}
        self._within: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []
        ids = Counter(attrs["id"] for _, attrs in self.tags if "id" in attrs)
        assert not [one for one, times in ids.items() if times > 1]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert len(told) == len(attrs), f"<{tag}> has an attribute twice"
        self.tags.append((tag, told))
        if tag not in VOID:
            self.open.append(tag)
            name = told.get("id") or told.get("data-key") or ""
            self._within.append(name)
            self.by.setdefault(name, "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag not in INLINE:
            self._add(" ")
        self._within.pop()

    def handle_data(self, data: str) -> None:
        self._add(data)

    def _add(self, data: str) -> None:
        self.text += data
        for name in set(self._within):
            self.by[name] += data

    def names(self) -> set[str]:
        """Every element's name."""
        return {tag for tag, _ in self.tags}

    def having(self, attribute: str) -> list[str]:
        """The values of an attribute, in order."""
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def words_of(text: str) -> str:
    """The text with single blanks; a blank that does not break stays."""
    return re.sub(r"[ \n]+", " ", text).strip()
