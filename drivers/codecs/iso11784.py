"""The code of an animal's transponder: ISO 11784, printed as ISO 24631-6 has it, three digits and twelve.

64 bits, the first sent first: 1 animal, 2 to 4 retagging counter, 5 to 9 user information, 10 to 15 reserved, 16 a data
block follows, 17 to 26 country (ISO 3166 numeric) or, from 900 on, manufacturer (ICAR), 27 to 64 identification.
"""

from typing import NamedTuple

from drivers.api import Record
from drivers.codecs.values import Unfit

ID_MAX = 2**38 - 1
MANUFACTURERS = range(900, 999)
TEST = 999

_ASSIGNED = """
004 008 010 012 016 020 024 028 031 032 036 040 044 048 050 051 052 056 060 064 068 070 072 074 076 084 086 090 092
096 100 104 108 112 116 120 124 132 136 140 144 148 152 156 158 162 166 170 174 175 178 180 184 188 191 192 196 203
204 208 212 214 218 222 226 231 232 233 234 238 239 242 246 248 250 254 258 260 262 266 268 270 275 276 288 292 296
300 304 308 312 316 320 324 328 332 334 336 340 344 348 352 356 360 364 368 372 376 380 384 388 392 398 400 404 408
410 414 417 418 422 426 428 430 434 438 440 442 446 450 454 458 462 466 470 474 478 480 484 492 496 498 499 500 504
508 512 516 520 524 528 531 533 534 535 540 548 554 558 562 566 570 574 578 580 581 583 584 585 586 591 598 600 604
608 612 616 620 624 626 630 634 638 642 643 646 652 654 659 660 662 663 666 670 674 678 682 686 688 690 694 702 703
704 705 706 710 716 724 728 729 732 740 744 748 752 756 760 762 764 768 772 776 780 784 788 792 795 796 798 800 804
807 818 826 831 832 833 834 840 850 854 858 860 862 876 882 887 894
"""
_WITHDRAWN = "530 736 891"  # since the standard is in use; a horse may be older than that
COUNTRIES = frozenset(int(code) for code in (_ASSIGNED + _WITHDRAWN).split())


class Tag(NamedTuple):
    """One code; None for what the form in which it came does not say."""

    code: int  # of a country or a manufacturer
    id: int
    animal: bool | None = None
    retagging: int | None = None
    kind: str = ""  # HDX or FDX-B

    @property
    def printed(self) -> str:
        """The 15 digits."""
        return f"{self.code:03d}{self.id:012d}"


def of_reserved(reserved: int) -> int:
    """The retagging counter out of bits 2 to 15 as one number."""
    return reserved >> 11 & 7


def of_bits(bits: int) -> Tag:
    """Out of all 64 bits, the first one highest."""
    return Tag(bits >> 38 & 0x3FF, bits & ID_MAX, bool(bits >> 63), of_reserved(bits >> 49 & 0x3FFF))


def records(tag: Tag, *, allow_test: bool) -> list[Record]:
    """The tag's records. Unfit: a code that is nobody's, a test code that is not allowed, a number of too many bits."""
    if tag.code == TEST and not allow_test:
        raise Unfit("test_code", tag.printed)
    if tag.code < MANUFACTURERS.start and tag.code not in COUNTRIES:
        raise Unfit("unknown_country", tag.printed)
    if tag.code > TEST or tag.id > ID_MAX:
        raise Unfit("bad_id", f"{tag.code} {tag.id}")
    issuer = "country" if tag.code < MANUFACTURERS.start else "manufacturer"
    made: list[Record] = [("tag", None, tag.printed), (issuer, None, tag.code), ("id", None, tag.id)]
    if tag.animal is not None:
        made.append(("animal", None, tag.animal))
    if tag.retagging is not None:
        made.append(("retagging", None, tag.retagging))
    if tag.kind:
        made.append(("kind", None, tag.kind))
    return made
