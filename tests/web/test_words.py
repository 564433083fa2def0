"""The languages: what is missing, superfluous or badly filled in, and who is shown which."""

import asyncio
import re

import pytest
from fakes.catalogue import said
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BugError
from gateway.web import words
from gateway.web.words import LANGUAGES, Catalogues, Words, choose, entries, names

OTHERS = [tag for tag in LANGUAGES if tag != "en"]


def catalogue(tag: str) -> dict[str, tuple[str, ...]]:
    return dict(entries(words.catalogue_file(tag).read_text("utf-8")))


@pytest.mark.parametrize("tag", OTHERS)
def test_every_text_has_a_translation_and_no_other(tag: str) -> None:
    known, wanted = catalogue(tag), said()
    assert not sorted(set(wanted) - set(known)), "missing"
    assert not sorted(set(known) - set(wanted)), "superfluous"


@pytest.mark.parametrize("tag", OTHERS)
def test_translations_fill_in_the_same_names(tag: str) -> None:
    wanted = said()
    for text, forms in catalogue(tag).items():
        for form in forms:
            assert names(form) == names(text), text
            assert len(re.findall(r"[{}]", form)) == 2 * len(re.findall(r"\{[a-z_]+\}", form)), form
            assert form == form.strip()
            assert ("`" in form) == ("`" in text), text
        plural = wanted[text][-1]
        assert names(plural) == names(text)


def test_the_walk_finds_what_pages_say() -> None:
    found = said()
    assert found["{count} source"] == ("{count} source", "{count} sources")
    assert "All well: {sources}, {stored}, {age} ago" in found
    assert "Sign in" in found
    assert "{count} rejected" in found
    assert "No reading is stored: the disk is full ({free} are free)" in found
    assert "{what}" not in found


def test_no_text_is_put_together_where_the_walk_does_not_see_it() -> None:
    """A message id that is no literal comes from `mark`, or from a condition."""
    from fakes.catalogue import CODE

    for path in CODE.rglob("*.py"):
        assert not re.findall(r"\bwords(?:\.html|\.many)?\(\s*f[\"']", path.read_text()), path.name


async def test_catalogues_are_read_when_they_are_wanted() -> None:
    catalogues = Catalogues()
    assert catalogues._words.keys() == {"en"}
    chinese = await catalogues.words("zh-CN")
    assert chinese("Sources") == "数据源"
    assert chinese.many("{count} source", "{count} sources", 1_234) == "1\u202f234 个数据源"
    assert chinese("{day} {month}", day=3, month=chinese("Nov")) == "11月3日"
    assert await catalogues.words("zh-CN") is chinese


def test_what_is_filled_in_is_no_template() -> None:
    english = Words()
    assert english("a {what} b", what="{cure} {0} %s") == "a {cure} {0} %s b"
    assert english("a {what}") == "a {what}"
    assert english.html("<{what}>", what="<b>") == "&lt;&lt;b&gt;&gt;"
    assert english.many("{count} x", "{count} xs", 1) == "1 x"
    assert english.many("{count} x", "{count} xs", 0) == "0 xs"


@pytest.mark.parametrize(
    ("cookie", "accept", "tag"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("", "zh-TW", "zh-CN"),
        ("", "ZH", "zh-CN"),
        ("", "de,fr", "en"),
        ("", "en;q=0.5, zh;q=0.6", "zh-CN"),
        ("", "en, zh;q=0.9", "en"),
        ("", "zh;q=0", "en"),
        ("", "zh;q=x", "en"),
        ("", ";;;,,,zh", "zh-CN"),
        ("en", "zh", "en"),
        ("zh-CN", "en", "zh-CN"),
        ("xx", "zh", "zh-CN"),
    ],
)
def test_who_is_shown_which(cookie: str, accept: str, tag: str) -> None:
    assert choose(cookie, accept) == tag


@given(st.text(), st.text())
def test_any_header_gives_a_language(cookie: str, accept: str) -> None:
    assert choose(cookie, accept) in LANGUAGES


def test_a_catalogue_is_read_strictly() -> None:
    text = '# c\nmsgid ""\nmsgstr "h\\n"\n\nmsgid "a"\nmsgstr ""\n"b\\"\\n"\n"c"\n\n\n'
    text += 'msgid "x"\nmsgid_plural "y"\nmsgstr[0] "z"\n'
    assert dict(entries(text)) == {"a": ('b"\nc',), "x": ("z",)}
    assert dict(entries('msgid "a"\nmsgstr ""\n')) == {}
    for wrong in ('msgid a\nmsgstr "b"', '"a"\nmsgid "b"', "msgid 'a'"):
        with pytest.raises(BugError, match="a line that is none"):
            dict(entries(wrong))


async def test_reading_a_catalogue_does_not_hold_the_loop() -> None:
    await asyncio.gather(*(Catalogues().words(tag) for tag in LANGUAGES))  # the guard of conftest.py would tell
