"""Whatever comes from outside is refused in words or taken: any bytes, and good inputs with something wrong in them."""

import pytest
from fuzz.targets import TARGETS, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ODD = [
    b"",
    b"\0",
    b"\n",
    b"\n\n",
    b"\xff",
    b"\x80",
    b"\xa1",
    b"\x81",
    b"\x9f",
    b"\xfb",
    b"\x7f",
    b"\xf9\x7e\x00",
    b"9" * 20,
]


@st.composite
def spoilt(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """One of them with some pieces cut out, doubled, moved or replaced."""
    data = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        piece = data[start:end]
        put = draw(st.sampled_from([*ODD, piece * 2, piece[::-1]]) | st.binary(max_size=6))
        data = data[:start] + put + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_what_it_begins_with_is_taken(name: str) -> None:
    taken = [TARGETS[name](seed) for seed in seeds(name)]
    assert any(taken)


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes(name: str) -> None:
    @settings(max_examples=5 * settings().max_examples, suppress_health_check=list(HealthCheck))
    @given(spoilt(seeds(name)) | st.binary(max_size=300))
    def whatever(data: bytes) -> None:
        TARGETS[name](data)

    whatever()
