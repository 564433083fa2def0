"""Reading DER (X.690), as certificates and time stamps are written in it. Anything but DER's one spelling is refused.

der.py has the other direction.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from gateway.core.limits import OID_BYTES
from gateway.errors import FormatError

BOOLEAN, INTEGER, BITS, OCTETS, OID, UTF8 = 0x01, 0x02, 0x03, 0x04, 0x06, 0x0C
UTC_TIME, TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31


def implicit(number: int) -> int:
    """The tag of [number] that holds a primitive value in place of its own tag."""
    return 0x80 | number


def explicit(number: int) -> int:
    """The tag of [number] that holds items."""
    return 0xA0 | number


class Item(NamedTuple):
    """One item: its first byte, its content, and all its bytes."""

    tag: int
    content: bytes
    raw: bytes

    def reader(self) -> "Reader":
        """Over the items in it."""
        return Reader(self.content)

    def integer(self) -> int:
        """An INTEGER's value. FormatError where its bytes are not the shortest."""
        data = self.content
        if not data or (len(data) > 1 and data[0] in (0x00, 0xFF) and data[0] >> 7 == data[1] >> 7):
            raise FormatError("a number in DER is not in its shortest form")
        return int.from_bytes(data, "big", signed=True)

    def oid(self) -> str:
        """An OBJECT IDENTIFIER in dots, of at most OID_BYTES."""
        if len(self.content) > OID_BYTES:
            raise FormatError("an object identifier is too long")
        numbers, value, begun = [], 0, False
        for byte in self.content:
            if not begun and byte == 0x80:
                raise FormatError("an object identifier is not in its shortest form")
            value, begun = value << 7 | byte & 0x7F, byte >= 0x80
            if not begun:
                numbers.append(value)
                value = 0
        if not numbers or begun:
            raise FormatError("an object identifier is cut")
        first = min(numbers[0] // 40, 2)
        return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))

    def boolean(self) -> bool:
        """A BOOLEAN's value."""
        if self.content not in (b"\x00", b"\xff"):
            raise FormatError("a truth value in DER is 00 or FF")
        return self.content == b"\xff"

    def bits(self) -> bytes:
        """A BIT STRING of whole bytes."""
        if not self.content or self.content[0]:
            raise FormatError("a bit string is not of whole bytes")
        return self.content[1:]

    def flags(self) -> frozenset[int]:
        """The numbers of the bits that a BIT STRING sets; the first bit is 0."""
        if not self.content or self.content[0] > 7:
            raise FormatError("a bit string is malformed")
        data = self.content[1:]
        return frozenset(n for n in range(8 * len(data)) if data[n // 8] >> 7 - n % 8 & 1)

    def time_ms(self) -> int:
        """A UTCTime or GeneralizedTime in UTC, as Unix milliseconds; what is finer is cut off (RFC 3161, 2.4.2)."""
        text = self.content.decode("ascii", "replace")
        whole, dot, fraction = text.removesuffix("Z").partition(".")
        if self.tag == UTC_TIME and not dot:
            whole = ("20" if whole[:2] < "50" else "19") + whole  # RFC 5280, section 4.1.2.5.1
        good = text.endswith("Z") and len(whole) == 14 and whole.isdecimal() and whole.isascii()
        if not good or ((dot and not (fraction.isdecimal() and fraction.isascii())) or fraction.endswith("0")):
            raise FormatError("a time in DER is not year to second in UTC")
        try:
            at = datetime.strptime(whole + "+0000", "%Y%m%d%H%M%S%z")
        except ValueError:
            raise FormatError("a time in DER is none") from None
        seconds = (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
        return int(seconds) * 1000 + int(fraction[:3].ljust(3, "0"))


class Reader:
    """Items one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, *tags: int) -> Item:
        """The next item, which has one of these tags."""
        found = self.maybe(*tags)
        if found is None:
            raise FormatError("DER has another item than is expected there" if self else "DER ends too early")
        return found

    def maybe(self, *tags: int) -> Item | None:
        """The next item if it has one of these tags."""
        if not self or self._data[self._at] not in tags:
            return None
        item, self._at = _item(self._data, self._at)
        return item

    def any(self) -> Item | None:
        """The next item, if there is one."""
        return self.maybe(self._data[self._at]) if self else None

    def rest(self, *tags: int) -> list[Item]:
        """All that are left, each of one of these tags."""
        found = []
        while self:
            found.append(self.take(*tags))
        return found

    def end(self) -> None:
        """FormatError unless all has been taken."""
        if self:
            raise FormatError("DER has a further item where it should end")


def read(data: bytes, *tags: int) -> Item:
    """The one item that the bytes are."""
    reader = Reader(data)
    item = reader.take(*tags)
    reader.end()
    return item


def _item(data: bytes, at: int) -> tuple[Item, int]:
    start, tag = at, data[at]
    if tag & 0x1F == 0x1F:
        raise FormatError("DER has a tag of more than one byte")
    try:
        length = data[at + 1]
    except IndexError:
        raise FormatError("DER is cut") from None
    at += 2
    if length >= 0x80:
        size = length - 0x80
        length = int.from_bytes(data[at : at + size], "big")
        if not 1 <= size <= 3 or length < max(0x80, 1 << 8 * (size - 1)):
            raise FormatError("DER has a length that is not in its one form")
        at += size
    end = at + length
    if end > len(data):
        raise FormatError("DER is cut")
    return Item(tag, data[at:end], data[start:end]), end
