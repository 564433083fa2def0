"""What a device sends where it has no value: 65535, 85 degrees, -9999, 0x7FFF, "---", or a whole range."""

import re
from collections.abc import Sequence

_HEX = re.compile(r"0[xX][0-9A-Fa-f]{1,13}")
_RANGE = re.compile(r"([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?)\.\.([+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?)")


class Sentinels:
    """Numbers, texts, and for a number also `"0x7FFF"`, which is 32767, and `"-9999..-9990"`, with both its ends.

    A number is compared as the device sent it, before scale and offset, and 85 is 85.00. ValueError: a range that is
    none.
    """

    def __init__(self, given: Sequence[float | str], *, of_numbers: bool) -> None:
        self.texts = frozenset(one for one in given if isinstance(one, str))
        words = self.texts if of_numbers else ()
        bits = [float(int(one, 16)) for one in words if _HEX.fullmatch(one)]
        self._numbers = frozenset([float(one) for one in given if not isinstance(one, str)] + bits)
        self._ranges = tuple((float(m[1]), float(m[2])) for m in map(_RANGE.fullmatch, words) if m)
        for low, high in self._ranges:
            if low > high:
                raise ValueError(f"the sentinel {low:g}..{high:g} is a range whose end comes first")

    def has(self, number: float) -> bool:
        """Whether this number stands for none."""
        return number in self._numbers or any(low <= number <= high for low, high in self._ranges)

    def has_word(self, text: str) -> bool:
        """Whether this text does: itself, or as the hexadecimal digits of such a number."""
        return text in self.texts or (_HEX.fullmatch(text) is not None and self.has(float(int(text, 16))))
