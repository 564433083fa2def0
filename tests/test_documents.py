"""Links between the documents: each leads to a file that is there, and to a heading that is there once."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "tests/README.md"]


def anchors(text: str) -> Counter[str]:
    """How often each anchor of a heading comes about, before a repeated one is numbered."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} +(.+)$", text, re.MULTILINE)
    return Counter(re.sub(r"[^\w\- ]", "", one.strip().lower()).replace(" ", "-") for one in headings)


def broken(path: Path) -> list[str]:
    found = []
    for link in re.findall(r"\]\(([^()\s]+)\)", path.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.is_file() or (anchor and anchors(target.read_text("utf-8"))[anchor] != 1):
            found.append(link)
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_link_that_leads_nowhere_or_to_two_places_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Kinds `a` and `b`: x's\n## The disk\n### The disk\n```\n# no heading\n```\n")
    good = ["b.md", "b.md#kinds-a-and-b-xs", "https://x.example/#y"]
    bad = ["c.md", "b.md#the-disk", "b.md#no-heading", "#here"]
    (tmp_path / "a.md").write_text("\n".join(f"[a\nlink]({link})" for link in good + bad))
    assert broken(tmp_path / "a.md") == bad
