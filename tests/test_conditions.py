"""Every id is in the manual, drivers and gateway agree on theirs, and no template lacks a value."""

import re
from pathlib import Path
from typing import cast

import pytest

from drivers import conditions as ids
from gateway.conditions import (
    SEVERITIES,
    Condition,
    conditions,
    find,
    listed,
    of_driver,
    of_gateway,
    without_repeats,
    worst_first,
)
from gateway.conditions.found import CLOCK_UNSYNCHRONISED, DISK_SOON
from gateway.conditions.model import condition

MANUAL = Path(__file__).parents[1] / "docs" / "operations.md"


def rows() -> dict[str, list[str]]:
    """Id to (severity, symptom, cause, cure) of the manual's section."""
    section = MANUAL.read_text().split("\n## Conditions\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:3] == "| `"
    ]
    found = {row[0].strip("`"): row[1:] for row in cells}
    assert len(found) == len(cells), "an id has one row"
    return found


def test_the_manual_has_every_condition_and_no_other() -> None:
    assert sorted(rows()) == sorted(one.id for one in conditions())


def test_the_manual_says_symptom_cause_and_cure_and_the_right_severity() -> None:
    for name, row in rows().items():
        severity, *texts = row
        assert severity == find(name).severity
        assert len(texts) == 3
        assert all(len(text) > 10 for text in texts), name
        assert len(set(texts)) == 3, name


@pytest.mark.parametrize("one", conditions(), ids=lambda one: one.id)
def test_a_condition_is_a_sentence_with_a_cure(one: Condition) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", one.id)
    assert one.severity in SEVERITIES
    made = one.problem("here", **dict.fromkeys(one.names, "x"))
    assert made.json() == {
        "condition": one.id,
        "severity": one.severity,
        "subject": "here",
        "what": made.what,
        "cure": made.cure,
        "values": {"subject": "here", **dict.fromkeys(one.names, "x")},
    }
    for text in (made.what, made.cure):
        assert text
        assert not text.endswith(".")
        assert "{" not in text
        assert "}" not in text


@pytest.mark.parametrize("name", ids.VALUES)
def test_what_a_driver_may_say_has_words(name: str) -> None:
    values = dict.fromkeys(ids.VALUES[name], "x")
    told = of_driver(name, values)
    assert told is not None
    assert told.id == name
    assert told.names <= values.keys(), "its words speak of nothing that a driver does not say"
    for missing in told.names:
        assert of_driver(name, {key: value for key, value in values.items() if key != missing}) is None
    for more in ("subject", "another"):
        assert of_driver(name, values | {more: "x"}) is None
    for one in values:
        assert of_driver(name, values | {one: cast(str, 7)}) is None


def test_what_no_driver_may_say() -> None:
    assert of_driver("", {}) is None
    assert of_driver("store-damaged", {"what": "all of it", "cure": "none"}) is None
    assert of_driver("nothing-like-it", {}) is None


def test_the_ids_of_drivers_are_those_of_its_names() -> None:
    names = {value for name, value in vars(ids).items() if name.isupper() and isinstance(value, str)}
    assert names == set(ids.VALUES)
    assert names >= ids.OF_BROKER | ids.OF_DEVICE
    assert all("broker" in ids.VALUES[one] for one in ids.OF_BROKER)


def test_an_id_stands_for_one_condition() -> None:
    with pytest.raises(AssertionError):
        condition("disk-soon", "note", "again", "no")


def test_texts_that_hold_braces_stay_as_they_are() -> None:
    assert DISK_SOON.problem(days="{subject}").what.count("{subject}") == 1


def test_order_and_repeats() -> None:
    note, warning = CLOCK_UNSYNCHRONISED.problem(), DISK_SOON.problem(days=3)
    other = DISK_SOON.problem("b", days=4)
    assert worst_first([note, warning, other]) == [warning, other, note]
    assert without_repeats([warning, note, DISK_SOON.problem(days=9), other]) == [warning, note, other]


def test_many_subjects_are_cut() -> None:
    assert listed(["a"]) == "a"
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed(list("abcdef")) == "a, b, c, d, e, ... (6)"


def test_what_only_doctor_finds_is_apart_from_what_a_running_gateway_tells() -> None:
    told = of_gateway()
    assert {one.id for one in told if one.id in ids.VALUES} == set(ids.VALUES)
    assert {one.id for one in conditions()} - {one.id for one in told} == {
        name for name in rows() if find(name).by_doctor
    }
    assert not find("signing-held").by_doctor
    assert find("power-low").by_doctor
