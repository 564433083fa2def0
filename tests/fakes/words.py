"""A MessageCodec whose messages say what it shall find, and options with two topics and long messages."""

from collections.abc import Sequence

from drivers.api import UNSTABLE
from drivers.codecs.base import Ask, Found, Refused, State
from drivers.codecs.values import Unfit
from drivers.limits import PAYLOAD_BYTES
from drivers.mqtt_sources import SubscribedOptions

Finding = Found | Refused | State | Ask


class Words:
    """Each word of a payload is a finding: `dev=1` a value, `dev!` and `dev?` a state, `dev-why` refused, `>t` asks.

    `learn:x` is learnt; `told` says what was.
    """

    def __init__(self, _: SubscribedOptions) -> None:
        self.known, self.changed = b"", False

    def take(self, topic: str, payload: bytes, now: float | None, *, retained: bool) -> Sequence[Finding]:
        if payload == b"unfit":
            raise Unfit("wrong_type", "unfit")
        return [found for word in payload.decode().split() for found in self.word(topic, word)]

    def word(self, topic: str, word: str) -> list[Finding]:
        if word.startswith("learn:"):
            self.known, self.changed = word[6:].encode(), True
            return []
        if word == "told":
            return [Found([("known", None, self.known.decode())])]
        if word.startswith(">"):
            return [Ask(word[1:], b"please")]
        if word[-1] in "!?":
            return [State(word[-1] == "?", "it says so", word[:-1])]
        if "-" in word:
            device, _, reason = word.partition("-")
            return [Refused(reason, b"example", topic, device)]
        device, _, value = word.partition("=")
        own = value.endswith("own")
        return [Found([("t", None, int(value.removesuffix("own")))], 5.0, UNSTABLE, device, b"own" if own else None)]

    def learnt(self) -> bytes | None:
        changed, self.changed = self.changed, False
        return self.known if changed else None

    def recall(self, learnt: bytes) -> None:
        self.known = learnt


class Two(SubscribedOptions, kw_only=True, frozen=True):
    topic: str = "w/+"
    second: str = "other/#"

    @property
    def filters(self) -> tuple[str, ...]:
        return (self.topic, self.second)

    @property
    def payload_bytes(self) -> int:
        return 2 * PAYLOAD_BYTES
