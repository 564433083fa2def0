"""Bytes that stand as text in a message: base64 (RFC 4648), padded or not."""

import binascii
import re

from drivers.codecs.values import Unfit

_STANDARD = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def base64(text: object, name: str, *, most: int, url: bool = False) -> bytes:
    """What the text stands for. url: in the alphabet of section 5, and in no other.

    Unfit: wrong_type for what is no text, invalid_base64, too_long for more than `most` bytes.
    """
    if not isinstance(text, str):
        raise Unfit("wrong_type", f"{name} is {str(text)[:40]!r}, not base64")
    if not (_URL if url else _STANDARD).fullmatch(text):
        raise Unfit("invalid_base64", f"{name} has letters that are not of base64")
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    if len(text) != len(plain) and len(text) % 4:
        raise Unfit("invalid_base64", f"{name} is padded, and not to four letters")
    try:
        data = binascii.a2b_base64(plain + "=" * (-len(plain) % 4))
    except binascii.Error as error:
        raise Unfit("invalid_base64", f"{name}: {error}") from None
    if len(data) > most:
        raise Unfit("too_long", f"{name} has {len(data)} bytes, and at most {most} are taken")
    return data
