"""The line of everything in a TOML text."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.lines import lines


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """A TOML text and the line of everything in it."""
    text, where = "", {}
    name = st.sampled_from(["a", "b-c", '"d e"', "f"])
    filler = st.sampled_from(["", "\n", "# x\n", "  # y\n\n", "\r\n"])
    for table in draw(st.lists(name, unique=True, max_size=3)):
        text += draw(filler)
        where[(table.strip('"'),)] = text.count("\n") + 1
        text += f"[{table}] # z\n"
        for key in draw(st.lists(name, unique=True, max_size=4)):
            text += draw(filler)
            path = (table.strip('"'), key.strip('"'))
            where[path] = text.count("\n") + 1
            value = draw(st.sampled_from(["1", '"x"', '"""\ny\n"""', "[1,\n 2, # c\n\n 3]", "{ k = 1, l = [\n 2] }"]))
            if value.startswith("[1"):
                where |= {(*path, 0): where[path], (*path, 1): where[path] + 1, (*path, 2): where[path] + 3}
            elif value.startswith("{"):
                where |= {(*path, "k"): where[path], (*path, "l"): where[path], (*path, "l", 0): where[path] + 1}
            text += f"{key} = {value}{draw(st.sampled_from(['', ' # t']))}\n"
    return text, where


@given(documents())
def test_lines(document: tuple[str, dict[tuple[str | int, ...], int]]) -> None:
    text, where = document
    tomllib.loads(text)
    assert lines(text) == where


def test_lines_of_dotted_and_repeated_tables() -> None:
    text = "a.b.c = 1\na.b.d = 2\n[[t]]\nx = 1\n[[t]]\nx = 2\n[t.u]\ny = 1\n[s.v]\n[o]\n[s.w]\nz = 1\n"
    found = lines(text)
    assert found["a", "b", "d"] == 2
    assert (found["t",], found["t", 0, "x"], found["t", 1, "x"], found["t", 1, "u", "y"]) == (3, 4, 6, 8)
    assert (found["s", "v"], found["s", "w", "z"]) == (9, 12)
