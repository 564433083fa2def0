"""Who may act and, from the network, look: one-time codes, sessions, and how often somebody may try.

Nothing here is written to disk: a restart ends every session. Times are of the monotonic clock.
"""

import hmac
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from gateway.core import limits

_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that looks like something else
_CODE: Final = 6

Monotonic = Callable[[], float]


def digest(secret: str) -> bytes:
    """Of one length, so that a comparison tells nothing of another. secret: also what a header has of it, any bytes."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


class Codes:
    """At most one code at a time: used once, for a few minutes, and void after a few wrong tries."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._digest = b""  # of the code in force
        self._until = 0.0
        self._tries = 0

    def issue(self) -> str:
        """A new code, like K7M-2QX; the one before it is void."""
        code = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE))
        self._digest, self._tries = digest(code), limits.LOGIN_TRIES
        self._until = self._monotonic() + limits.LOGIN_CODE_S
        return f"{code[: _CODE // 2]}-{code[_CODE // 2 :]}"

    @property
    def waiting(self) -> bool:
        """Whether there is a code that could be used."""
        return self._tries > 0 and self._monotonic() < self._until

    def redeem(self, typed: str) -> bool:
        """Whether this is the code, which is then used up. Capitals, blanks and hyphens do not matter."""
        given = digest("".join(typed.split()).replace("-", "").upper())
        right = hmac.compare_digest(given, self._digest or digest(""))
        if not self.waiting:
            return False
        self._tries = 0 if right else self._tries - 1
        return right


class Sessions:
    """Tokens of those who are signed in; only their hashes are kept."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._open: OrderedDict[bytes, tuple[float, float]] = (
            OrderedDict()
        )  # hash -> begun, last used; oldest use first

    def __len__(self) -> int:
        self._expire()
        return len(self._open)

    def open(self) -> str:
        """A new session's token. Beyond SESSIONS the one that was not used for longest ends."""
        self._expire()
        token, now = secrets.token_urlsafe(32), self._monotonic()
        self._open[digest(token)] = (now, now)
        while len(self._open) > limits.SESSIONS:
            self._open.popitem(last=False)
        return token

    def use(self, token: str) -> bool:
        """Whether this is a session's token; it was used just now."""
        self._expire()
        key = digest(token)
        found = self._open.get(key)
        if found is None:
            return False
        self._open[key] = (found[0], self._monotonic())
        self._open.move_to_end(key)
        return True

    def close(self, token: str) -> None:
        """Ends a session."""
        self._open.pop(digest(token), None)

    def _expire(self) -> None:
        now = self._monotonic()
        ended = [
            key
            for key, (begun, used) in self._open.items()
            if now - begun >= limits.SESSION_S or now - used >= limits.SESSION_IDLE_S
        ]
        for key in ended:
            del self._open[key]


class Attempts:
    """How often a login may be tried, by one address and by all together, in any LOGIN_WINDOW_S."""

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._made: deque[tuple[float, str]] = deque()
        self._by: Counter[str] = Counter()

    def may(self, address: str) -> bool:
        """Counts an attempt, where one is allowed."""
        now = self._monotonic()
        while self._made and now - self._made[0][0] >= limits.LOGIN_WINDOW_S:
            _, old = self._made.popleft()
            self._by[old] -= 1
            if not self._by[old]:
                del self._by[old]
        if len(self._made) >= limits.LOGIN_ATTEMPTS or self._by[address] >= limits.LOGIN_ATTEMPTS_OF_ADDRESS:
            return False
        self._made.append((now, address))
        self._by[address] += 1
        return True
