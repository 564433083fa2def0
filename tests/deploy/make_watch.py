"""Makes what is in step with the program: the journal's catalogue, alerts of conditions, two tables of operations.md.

Run it (`PYTHONPATH=tests python tests/deploy/make_watch.py`) when a condition or a metric is added or changed; a test
compares the files with its result.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter

from gateway import conditions, metrics
from gateway.conditions import Condition, Severity
from gateway.logs.journald import field

ROOT = Path(__file__).parents[2]
CATALOG = ROOT / "deploy/watch/fieldgate.catalog"
RULES = ROOT / "deploy/watch/fieldgate.rules.yml"
MANUAL = ROOT / "docs/operations.md"

_MADE = "      # What follows is made by tests/deploy/make_watch.py: an alert for each condition.\n"
_LEVEL: Mapping[Severity, str] = {"error": "critical", "warning": "warning"}
_FOR: Mapping[Severity, str] = {"error": "2m", "warning": "15m"}


def told(template: str, value: Callable[[str], str]) -> str:
    """A condition's template with something else in place of its values."""
    parts = Formatter().parse(template)
    return "".join(text + ("" if name is None else value(name)) for text, name, _, _ in parts)


def catalog() -> str:
    """systemd's catalog files: an entry a message id, fields of the record between @."""
    entries = [_entry(one) for one in conditions.of_gateway()]
    head = "# What the journal explains of Fieldgate's conditions with journalctl -x: docs/operations.md, The log.\n"
    return "\n".join([head, *entries])


def _entry(one: Condition) -> str:
    def value(name: str) -> str:
        return f"@{field(name)}@"

    return f"""\
-- {one.message_id}
Subject: {one.id} @FIELDGATE_SUBJECT@
Defined-By: Fieldgate

{told(one.what, value)}

What to do: {told(one.cure, value)}

FIELDGATE_HOLDS is @FIELDGATE_HOLDS@: 1 where it begins, 0 where it is over.
More: docs/operations.md, Conditions, {one.id}.
"""


def rules() -> str:
    """The alert rules: those that are written by hand, and one for each condition that is more than a note."""
    kept = RULES.read_text("utf-8").partition(_MADE)[0]
    return kept + _MADE + "\n".join(_alert(one) for one in conditions.of_gateway() if one.severity != "note")


def _alert(one: Condition) -> str:
    def value(name: str) -> str:
        return "{{ $labels.subject }}" if name == "subject" else "..."

    summary = told(one.what, value)
    cure = one.cure if one.cure != "{cure}" else "`fieldgate status` on the gateway says what to do"
    return f"""\
      - alert: Fieldgate{"".join(word.capitalize() for word in one.id.split("-"))}
        expr: fieldgate_condition{{condition="{one.id}"}} == 1
        for: {_FOR[one.severity]}
        labels:
          severity: {_LEVEL[one.severity]}
        annotations:
          summary: {json.dumps("{{ $labels.instance }}: " + summary, ensure_ascii=False)}
          description: {json.dumps(told(cure, value), ensure_ascii=False)}
          condition: {one.id}
          manual: docs/operations.md, Conditions, {one.id}
"""


def manual() -> str:
    """docs/operations.md with its two tables."""
    text = MANUAL.read_text("utf-8")
    for name, rows in {"metrics": _metrics(), "message ids": _message_ids()}.items():
        pattern = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        text, number = pattern.subn(lambda _, rows=rows: rows, text)
        assert number == 1, f"no place for the table {name}"
    return text


def _metrics() -> str:
    rows = ["| metric | type | labels | |", "|---|---|---|---|"]
    for kind in (*metrics.METRICS, *metrics.PROCESS):
        labels = ", ".join(kind.labels)
        rows.append(f"| `{kind.name}` | {kind.type} | {labels} | {kind.help} |")
    return "\n".join([*rows, ""])


def _message_ids() -> str:
    rows = ["| condition | severity | MESSAGE_ID |", "|---|---|---|"]
    rows += [f"| `{one.id}` | {one.severity} | `{one.message_id}` |" for one in conditions.of_gateway()]
    return "\n".join([*rows, ""])


def made() -> dict[Path, str]:
    return {CATALOG: catalog(), RULES: rules(), MANUAL: manual()}


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, "utf-8")
