"""Readers of animals' transponders: each form makes the line of one tag. A drover walks along a pen with one."""

import random
from collections.abc import Callable, Iterator
from functools import reduce
from operator import xor


def _rdm630(code: int, number: int) -> bytes:
    """An EM4100 chip: five bytes, of which these are the number's lowest."""
    chip = (number & 0xFF_FFFF_FFFF).to_bytes(5, "big")
    return f"\x02{chip.hex().upper()}{reduce(xor, chip):02X}\x03".encode("ascii")


def _hex64(code: int, number: int) -> bytes:
    """All 64 bits of ISO 11784, the animal bit first, the first bit of each byte lowest."""
    bits = f"{1 << 63 | code << 38 | number:064b}"
    return f"{int(bits[::-1], 2):016X}\r\n".encode("ascii")


FORMS: dict[str, Callable[[int, int], bytes]] = {
    "allflex": lambda code, number: b"LA %03d %012d\r\n" % (code, number),
    "tiris": lambda code, number: b"LA 00000 0 %03d %012d\r\n" % (code, number),
    "oregon": lambda code, number: b"A  %03d_%012d\r\n" % (code, number),
    "biomark": lambda code, number: b"%03X.%010X\r\n" % (code, number),
    "rdm630": _rdm630,
    "hex64": _hex64,
}


def drover(seed: int = 1, form: str = "allflex", *, animals: int = 12) -> Iterator[bytes]:
    """Lines without end: each animal is read one to five times, and comes again some day."""
    rng = random.Random(seed)  # noqa: S311  a simulation
    flock = [(rng.choice((276, 528, 982)), rng.randrange(1 << 37)) for _ in range(animals)]
    while True:
        code, number = rng.choice(flock)
        for _ in range(rng.randint(1, 5)):
            yield FORMS[form](code, number)
