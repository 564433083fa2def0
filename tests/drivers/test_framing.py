import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.framing import Broken, FixedFramer, Frame, Framer, LineFramer, MarkedFramer
from drivers.limits import EXAMPLE_BYTES, LINE_BYTES


def all_of(framer: Framer, chunks: list[bytes]) -> list[Frame]:
    return [frame for chunk in chunks for frame in framer.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[one:two] for one, two in itertools.pairwise(edges)]


MAKERS = {
    "line": lambda: LineFramer(limit=20),
    "line, first dropped": lambda: LineFramer(limit=20, drop_first=True),
    "delimiter": lambda: LineFramer(b"\r\n", limit=20, drop_first=True),
    "long delimiter": lambda: LineFramer(b"abab", limit=7),
    "marked": lambda: MarkedFramer(limit=12),
    "marked with trailer": lambda: MarkedFramer(0x02, 0x0D, trailer=2, limit=12),
    "fixed": lambda: FixedFramer(5),
    "fixed with start": lambda: FixedFramer(6, b"ab"),
}
SOUP = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\x02", b"\x03", b"a", b"b", b"ab", b"23.5,7", b"\x00", b"\x7f", b"x" * 19]
    )
    | st.binary(max_size=30)
).map(b"".join)


@pytest.mark.parametrize("name", MAKERS)
@settings(deadline=None)
@given(data=SOUP, places=st.lists(st.integers(0, 2000)))
@example(data=b"a" * 20 + b"\r\n", places=[20, 21])
@example(data=b"abaabab" + b"abab", places=[1, 3, 5, 8])
def test_any_chunking_gives_the_same_frames(name: str, data: bytes, places: list[int]) -> None:
    whole = all_of(MAKERS[name](), [data])
    assert all_of(MAKERS[name](), cut(data, places)) == whole
    assert all_of(MAKERS[name](), [data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize("name", MAKERS)
@settings(deadline=None)
@given(data=SOUP)
def test_frames_are_parts_of_the_stream_in_order(name: str, data: bytes) -> None:
    at = 0
    for frame in all_of(MAKERS[name](), [data]):
        part = frame if isinstance(frame, bytes) else frame.example
        found = data.find(part, at)
        assert found >= 0
        at = found + (len(part) if isinstance(frame, bytes) else 0)


def test_any_mixture_of_newlines_ends_a_line() -> None:
    assert LineFramer().feed(b"a\rb\nc\r\nd\n\re\n\n\nf") == [b"a", b"b", b"c", b"d", b"e"]


def test_a_delimiter_of_its_own_leaves_newlines_alone() -> None:
    framer = LineFramer(b";")
    assert framer.feed(b"a\nb;c") == [b"a\nb"]
    assert framer.feed(b";") == [b"c"]


def test_the_first_partial_line_is_told_and_dropped() -> None:
    framer = LineFramer(drop_first=True)
    assert framer.feed(b"3.5,41") == []
    assert framer.feed(b"\r\n23.6,42\r\n") == [Broken("partial_line", b"3.5,41"), b"23.6,42"]


def test_a_delimiter_at_the_very_beginning_leaves_nothing_to_drop() -> None:
    assert LineFramer(drop_first=True).feed(b"\nwhole\n") == [b"whole"]


def test_noise_at_power_up_is_no_part_of_a_line() -> None:
    assert LineFramer().feed(b"\x00\x00\x7f\x7f\r\n\x00 23.5\x00\r\na\x00b\n") == [b" 23.5", b"a\x00b"]


@pytest.mark.parametrize("delimiter", [b"", b"\r\n", b"=end="])
def test_line_length_at_the_limit_and_one_past(delimiter: bytes) -> None:
    end = delimiter or b"\n"
    framer = LineFramer(delimiter)
    assert framer.feed(b"x" * LINE_BYTES + end) == [b"x" * LINE_BYTES]
    assert framer.feed(b"y" * (LINE_BYTES + 1) + end + b"next" + end) == [
        Broken("too_long", b"y" * EXAMPLE_BYTES),
        b"next",
    ]


def test_garbage_without_a_delimiter_is_told_once_and_not_held() -> None:
    framer = LineFramer(limit=100)
    frames = all_of(framer, [b"z" * 90] * 1000)
    assert frames == [Broken("too_long", b"z" * 100)]
    assert len(framer._buffer) <= 100
    assert framer.feed(b"\nwell\n") == [b"well"]


def test_marked_frames_and_what_stands_between_them() -> None:
    framer = MarkedFramer()
    assert framer.feed(b"tail\x03\r\n\x02one\x03\r\n\x00\x02two\x03") == [
        Broken("noise", b"tail\x03\r\n"),
        b"one",
        b"two",
    ]


def test_a_start_inside_a_frame_begins_it_anew() -> None:
    assert MarkedFramer().feed(b"\x02ha\x02whole\x03") == [Broken("partial_line", b"ha"), b"whole"]


def test_a_trailing_checksum_is_skipped_even_where_it_looks_like_a_start() -> None:
    framer = MarkedFramer(0x02, 0x0D, trailer=1)
    assert framer.feed(b"\x02abc\r\x02\x02def\r\x33") == [b"abc", b"def"]


def test_marked_frame_at_the_limit_and_one_past() -> None:
    framer = MarkedFramer(limit=10)
    assert framer.feed(b"\x02" + b"x" * 10 + b"\x03") == [b"x" * 10]
    assert framer.feed(b"\x02" + b"x" * 5000 + b"\x03\x02ok\x03") == [Broken("too_long", b"x" * 11), b"ok"]
    assert len(framer._buffer) <= 11


def test_fixed_frames_with_a_start_find_it_again() -> None:
    framer = FixedFramer(4, b"+")
    assert framer.feed(b"12+abc+d") == [Broken("noise", b"12"), b"+abc"]
    assert framer.feed(b"ef\r\n+ghi") == [b"+def", b"+ghi"]


def test_fixed_frames_without_a_start_begin_behind_a_silence() -> None:
    framer = FixedFramer(4, drop_first=True)
    assert framer.feed(b"cd") == []
    assert framer.gap() == [Broken("partial_line", b"cd")]
    assert framer.feed(b"abcdef") == [b"abcd"]
    assert framer.gap() == [Broken("partial_line", b"ef")]
    assert framer.feed(b"ghij") == [b"ghij"]
    assert framer.gap() == []


def test_endless_noise_before_a_start_is_told_once() -> None:
    framer = FixedFramer(4, b"\x02")
    assert all_of(framer, [b"n" * 100] * 100) == [Broken("noise", b"n" * EXAMPLE_BYTES)]
    assert framer.feed(b"\x02abc") == [b"\x02abc"]
    assert len(framer._buffer) == 0
