"""The languages of the page: gettext catalogues, and which of them a reader is shown.

A message id is the English text. Its names in braces are filled in after it was translated, and what is filled in is
never read as a template. A test walks the code for message ids, so they are written where they are used, as literals:
`words("...")`, `words.many("...", "...", count)`, `words.html("...")`, and `mark("...")` where one is kept for later.
"""

import ast
import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.errors import BugError
from gateway.web.html import Child, Markup, join

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "zh-CN": "简体中文"}
ENGLISH: Final = "en"
FOLDER: Final = Path(__file__).with_name("locale")
_PART = re.compile(r"\{([a-z_]+)\}")
_LINE = re.compile(r'(?:(msgid|msgid_plural|msgstr(?:\[\d\])?)\s+)?(".*")\Z')

Catalogue = Mapping[str, tuple[str, ...]]


def mark(text: str) -> str:
    """The text as it is: a message id that is translated where it is shown."""
    return text


class Words:
    """One language. What its catalogue lacks is said in English."""

    def __init__(self, tag: str = ENGLISH, catalogue: Catalogue | None = None) -> None:
        self.tag = tag
        self._catalogue = catalogue or {}

    def __call__(self, text: str, /, **values: object) -> str:
        """The text in this language, its names filled in."""
        return fill(self._of(text), values)

    def many(self, one: str, several: str, count: int, /, **values: object) -> str:
        """The form for this count, which both call {count}."""
        forms = self._catalogue.get(one) or (one, several)
        return fill(forms[0 if count == 1 else -1], {"count": grouped(count), **values})

    def html(self, text: str, /, **children: Child) -> Markup:
        """The same with elements filled in; the text itself is escaped."""
        parts = _PART.split(self._of(text))
        return join([children[part] if odd % 2 else part for odd, part in enumerate(parts)])

    def known(self, text: str) -> bool:
        """Whether the catalogue has this text."""
        return text in self._catalogue

    def _of(self, text: str) -> str:
        forms = self._catalogue.get(text)
        return forms[0] if forms else text


def fill(template: str, values: Mapping[str, object]) -> str:
    """The template with its {names} filled in; a name that is not given stays."""
    return _PART.sub(lambda found: str(values.get(found[1], found[0])), template)


def names(template: str) -> list[str]:
    """The names in braces, sorted, each once."""
    return sorted(set(_PART.findall(template)))


def grouped(number: int) -> str:
    """Thousands apart, by a space that does not break."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


class Catalogues:
    """The languages that somebody asked for; a catalogue is read when it is first wanted."""

    def __init__(self) -> None:
        self._words: dict[str, Words] = {ENGLISH: Words()}

    async def words(self, tag: str) -> Words:
        """The words of one of LANGUAGES."""
        if tag not in self._words:
            text = await asyncio.to_thread(catalogue_file(tag).read_text, "utf-8")
            self._words[tag] = Words(tag, dict(entries(text)))
        return self._words[tag]


def catalogue_file(tag: str) -> Path:
    """Where the catalogue of a language lies."""
    return FOLDER / f"{tag.replace('-', '_')}.po"


def choose(cookie: str, accept: str) -> str:
    """The language of a reader: the one that was chosen, else the best of Accept-Language (RFC 9110, 12.5.4)."""
    if cookie in LANGUAGES:
        return cookie
    best, weight = ENGLISH, 0.0
    for part in accept[:200].lower().split(","):
        wanted, _, quality = part.partition(";")
        tag = _tag(wanted.strip())
        weighed = _weight(quality.strip())
        if tag and weighed > weight:
            best, weight = tag, weighed
    return best


def _tag(wanted: str) -> str:
    """The language that serves a reader of `wanted`; traditional characters are served by simplified ones."""
    primary = wanted.partition("-")[0]
    return next((tag for tag in LANGUAGES if tag.partition("-")[0] == primary), "")


def _weight(quality: str) -> float:
    if not quality:
        return 1.0
    found = re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", quality)
    return float(found[1]) if found else 0.0


def entries(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The entries of a .po file that are translated: message id, and its one or more forms. Raises BugError."""
    for block in re.split(r"\n[ \t]*\n", text):
        found = _entry(block)
        if found.get("msgid") and any(value for key, value in found.items() if key.startswith("msgstr")):
            yield found["msgid"], tuple(value for key, value in sorted(found.items()) if key.startswith("msgstr"))


def _entry(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    field = ""
    for line in block.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or not (match[1] or field):
            raise BugError(f"a catalogue has a line that is none: {line[:80]}", cure="Report this")
        field = match[1] or field
        found[field] = found.get(field, "") + ast.literal_eval(match[2])
    return found
