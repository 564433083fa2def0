"""Keccak-256 as Ethereum and FISCO BCOS use it: SHA3-256 (FIPS 202) but for the padding's first byte, 0x01 for 0x06.

In Python, so that a proof can be checked where nothing else is installed: about 0.3 ms for 136 bytes on a desktop, some
milliseconds for a block header on a small board. Not for bulk data.
"""

_RATE = 136  # bytes taken between two permutations
_MASK = (1 << 64) - 1


def _round_constants() -> tuple[int, ...]:
    """FIPS 202 section 3.2.5: bits of an LFSR at the places 2^j - 1."""
    constants, lfsr = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if lfsr & 1:
                constant |= 1 << (1 << j) - 1
            lfsr = lfsr << 1 ^ (0x171 if lfsr & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


def _moves() -> tuple[tuple[int, int], ...]:
    """Rho and pi in one walk (sections 3.2.2 and 3.2.3): (the lane to fill, the rotation of what comes into it)."""
    x, y, moves = 1, 0, []
    for t in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        moves.append((x + 5 * y, (t + 1) * (t + 2) // 2 % 64))
    return tuple(moves)


_CONSTANTS, _MOVES = _round_constants(), _moves()


def keccak256(data: bytes) -> bytes:
    """The 32 bytes of Keccak-256."""
    return sponge(data, 0x01)


def sponge(data: bytes, domain: int) -> bytes:
    """32 bytes of a Keccak sponge with the rate of 136 bytes; `domain` is the byte that the padding begins with."""
    padded = bytearray(data)
    padded.append(domain)
    padded += bytes(-len(padded) % _RATE)
    padded[-1] |= 0x80
    lanes = [0] * 25
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            at = start + 8 * lane
            lanes[lane] ^= int.from_bytes(padded[at : at + 8], "little")
        _permute(lanes)
    return b"".join([lane.to_bytes(8, "little") for lane in lanes[:4]])


def _permute(a: list[int]) -> None:
    for constant in _CONSTANTS:
        columns = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        for x in range(5):
            turned = columns[(x + 1) % 5]
            mixed = columns[x - 1] ^ (turned << 1 & _MASK | turned >> 63)
            for lane in range(x, 25, 5):
                a[lane] ^= mixed
        carried = a[1]
        for lane, by in _MOVES:
            a[lane], carried = (carried << by & _MASK | carried >> 64 - by), a[lane]
        for row in range(0, 25, 5):
            b0, b1, b2, b3, b4 = a[row : row + 5]
            a[row] = b0 ^ ~b1 & b2
            a[row + 1] = b1 ^ ~b2 & b3
            a[row + 2] = b2 ^ ~b3 & b4
            a[row + 3] = b3 ^ ~b4 & b0
            a[row + 4] = b4 ^ ~b0 & b1
        a[0] ^= constant
