"""Anything that JSON can say, and JSON of which one part is that."""

from typing import Any

from hypothesis import strategies as st

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_HEX = st.integers(0, 2**264).map(hex) | st.binary(max_size=40).map(lambda data: "0x" + data.hex())
_ANYTHING = st.recursive(
    _SCALARS | _TEXTS | _HEX | st.sampled_from(["0x100", "0xff", "0x0", "0x", "0x" + "ff" * 32]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=8,
)


def anything() -> st.SearchStrategy[Any]:
    return _ANYTHING


def changed(draw: Any, value: Any) -> Any:
    """The value, with anything at all in the place of one part of it."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: changed(draw, value[name])}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], changed(draw, value[at]), *value[at + 1 :]]
    return draw(_ANYTHING)
