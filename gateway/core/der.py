"""What little of DER (X.690) signatures and block headers need: non-negative integers, octet strings, sequences."""

from gateway.errors import FormatError

_BOOLEAN, _INTEGER, _OCTETS, _NULL, _OID, _SEQUENCE = 0x01, 0x02, 0x04, 0x05, 0x06, 0x30


def integer(value: int) -> bytes:
    """An INTEGER of 0 or more: no superfluous byte, and none that would make it negative."""
    return _item(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octets(data: bytes) -> bytes:
    """An OCTET STRING."""
    return _item(_OCTETS, data)


def null() -> bytes:
    """A NULL."""
    return _item(_NULL, b"")


def boolean(value: bool) -> bytes:
    """A BOOLEAN."""
    return _item(_BOOLEAN, b"\xff" if value else b"\x00")


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER of numbers with dots between them."""
    first, second, *others = map(int, dotted.split("."))
    return _item(_OID, b"".join([_base128(number) for number in (40 * first + second, *others)]))


def _base128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


def sequence(*items: bytes) -> bytes:
    """A SEQUENCE of encoded items."""
    return _item(_SEQUENCE, b"".join(items))


def signature(r: int, s: int) -> bytes:
    """SEQUENCE { INTEGER r, INTEGER s }: a signature of ECDSA or SM2."""
    return sequence(integer(r), integer(s))


def read_signature(data: bytes) -> tuple[int, int]:
    """(r, s) of exactly what `signature` writes for numbers of at most 256 bits. FormatError for anything else."""
    try:
        if len(data) > 72 or data[0] != _SEQUENCE or data[1] != len(data) - 2:
            raise FormatError("a signature is not one DER sequence of two numbers")
        r, at = _read_integer(data, 2)
        s, end = _read_integer(data, at)
    except IndexError:
        raise FormatError("a DER signature is cut") from None
    if end != len(data) or signature(r, s) != data:
        raise FormatError("a signature is not in the one form that DER allows")
    return r, s


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    if data[at] != _INTEGER:
        raise FormatError("a number of a DER signature is none")
    end = at + 2 + data[at + 1]
    return int.from_bytes(data[at + 2 : end], "big"), end


def _item(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content
