"""Texts that have been damaged."""

from hypothesis import strategies as st

TOKENS = [
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ",",
    ".",
    '"',
    '"""',
    "'",
    "#",
    "\n",
    "\r",
    "\0",
    "\t",
    "é",
    "\u202e",
    "gateway",
    "1e999",
    "-0",
    "nan",
    "inf",
    "true",
    "1979-05-27T07:32:00Z",
    "0x_",
    "9" * 40,
    "key",
    "share",
    "[gateway]\n",
    "\\u0000",
]


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with some pieces cut out, doubled, swapped or replaced by what TOML cares about."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        new = draw(st.one_of(st.sampled_from(TOKENS), st.text(max_size=8), st.just(text[start:end] * 2)))
        text = text[:start] + new + text[end:]
    return text
