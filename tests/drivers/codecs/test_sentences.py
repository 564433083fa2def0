"""Where sentences of NMEA 0183 begin and end, their checksums, and the tag blocks before them."""

from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs.base import Refused
from drivers.codecs.sentences import Sentence, sentences, tag_time
from drivers.codecs.values import AS_TOLD, TimeMap
from drivers.limits import EXAMPLE_BYTES
from drivers.simulators.ais import tagged

NOW = 1_795_500_000.0
MTW = b"$YXMTW,8.2,C*28"
DBT = b"$SDDBT,24.6,f,7.5,M,4.1,F*31"


def found(line: bytes, *, checksum: bool = True) -> list[bytes | str]:
    return [one.body if isinstance(one, Sentence) else one.reason for one in sentences(line, checksum=checksum)]


@pytest.mark.parametrize("before", [b"", b" ", b"junk ", b"\x02\x00\xff", b"# 12:00 "])
@pytest.mark.parametrize("behind", [b"", b" \t", b",s28089,d-103,T39.44,1242958962", b"\\x0d\\x0a", b"\x03"])
def test_what_stands_around_a_sentence_is_nothing(before: bytes, behind: bytes) -> None:
    assert list(sentences(before + MTW + behind)) == [Sentence(b"YXMTW,8.2,C", MTW)]


def test_the_checksum_is_that_of_what_stands_between() -> None:
    assert found(b"$YXMTW,8.2,C*29") == ["checksum"]
    assert found(b"$YXMTW,8.3,C*28") == ["checksum"]
    assert found(b"$YXMTW,8.2,C") == found(b"$YXMTW,8.2,C*1") == found(b"$YXMTW,8.2,C*1G") == ["checksum"]
    assert found(b"!AIVDM,1,1,,A,,0*26") == [b"AIVDM,1,1,,A,,0"]


def test_without_a_checksum_where_that_is_allowed() -> None:
    assert found(b"x $YXMTW,8.2,C ", checksum=False) == [b"YXMTW,8.2,C"]
    assert found(b"$YXMTW,8.2,C*29", checksum=False) == ["checksum"], "a wrong one is wrong all the same"
    assert found(b"$YXMTW,8.2,C*1", checksum=False) == ["checksum"], "half a one too"
    assert found(MTW, checksum=False) == [b"YXMTW,8.2,C"]


def test_a_line_end_that_got_lost() -> None:
    assert found(MTW + DBT) == [b"YXMTW,8.2,C", b"SDDBT,24.6,f,7.5,M,4.1,F"]
    assert found(MTW + b" " + tagged(DBT, c=1)) == [b"YXMTW,8.2,C", b"SDDBT,24.6,f,7.5,M,4.1,F"]
    assert found(b"$YXMTW,8.2,C*29" + DBT) == ["checksum", b"SDDBT,24.6,f,7.5,M,4.1,F"]
    assert found(MTW + b"$SDDBT,24.") == [b"YXMTW,8.2,C", "checksum"]


def test_a_line_without_a_sentence() -> None:
    assert found(b"7.5,M,4.1,F*31") == found(b"foobar") == ["noise"]
    assert found(b"# a comment, for $5!") == found(b"  #") == []
    assert [one.example for one in sentences(b"x" * 4_000) if isinstance(one, Refused)] == [b"x" * EXAMPLE_BYTES]


@pytest.mark.parametrize(
    ("tags", "time"),
    [
        ({"s": "r3669961", "c": 1_795_499_000}, NOW - 1_000),
        ({"c": 1_795_499_000_250, "s": "x"}, NOW - 999.75),
        ({"g": "1-2-4711", "s": "r1"}, None),
        ({"c": 1_795_400_000 - 7 * 86_400}, None),
        ({"c": 1_795_500_061}, None),
        ({"c": "-5"}, None),
        ({"c": "12345678901234567890"}, None),
        ({"sc": 1_795_499_000}, None),
    ],
)
def test_the_time_of_a_tag_block(tags: dict[str, object], time: float | None) -> None:
    line = tagged(MTW, **tags)
    (one,) = sentences(b"junk " + line)
    assert isinstance(one, Sentence)
    assert one.raw == line, "the evidence has the tag block, and not what is before it"
    assert tag_time(one, TimeMap(format="unix"), NOW) == time
    assert tag_time(one, TimeMap(format="unix"), None) is None


def test_a_time_as_it_is_told() -> None:
    (one,) = sentences(tagged(MTW, c=12))
    assert isinstance(one, Sentence)
    assert tag_time(one, TimeMap(format="unix"), AS_TOLD) == 12


def test_a_tag_block_that_is_damaged_takes_its_time_with_it_and_not_the_sentence() -> None:
    line = tagged(MTW, c=1_795_499_000).replace(b"c:1795499000", b"c:1795499001")
    refused, one = sentences(line)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.example) == ("checksum", line[: line.index(b"$")])
    assert one == Sentence(b"YXMTW,8.2,C", MTW)
    assert list(sentences(b"\\c:1795499000\\" + MTW)) == [Sentence(b"YXMTW,8.2,C", MTW)]


@given(st.binary(max_size=120).filter(lambda body: b"*" not in body), st.binary(max_size=20))
def test_whatever_has_a_checksum_that_fits(body: bytes, before: bytes) -> None:
    line = before.translate(None, b"$!\\#") + b"$" + body + b"*%02x" % reduce(xor, body, 0)
    (one,) = sentences(line)
    assert isinstance(one, Sentence)
    assert one.body == body


@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes(line: bytes, checksum: bool) -> None:
    for one in sentences(line, checksum=checksum):
        assert (one.raw if isinstance(one, Sentence) else one.example) in line
