"""Every message id that the page can say: literals in its code, and the templates of the conditions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from gateway import conditions
from gateway.web import words

CODE = Path(words.__file__).parent
_CALLS = {"words", "mark"}


def said() -> dict[str, tuple[str, ...]]:
    """Message id -> its English forms: one, or two where a count decides."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(CODE.rglob("*.py")):
        for forms in _of(ast.parse(path.read_text())):
            assert found.setdefault(forms[0], forms) == forms, f"two plurals of {forms[0]!r}"
    for condition in conditions.conditions():
        found |= {text: (text,) for text in (condition.what, condition.cure) if re.sub(r"\{[a-z_]+\}", "", text)}
    return found


def _of(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        wanted = 2 if name.endswith("words.many") else 1
        if name.rpartition(".")[2] in _CALLS or name.endswith(("words.many", "words.html")):
            forms = tuple(_literal(one) for one in node.args[:wanted])
            if all(forms):
                yield forms


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _literal(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
