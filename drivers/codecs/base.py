"""What a codec says. Pure: bytes or messages in, findings out; no clock, no I/O, and nothing is raised but Unfit."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from drivers.api import Record
from drivers.codecs.values import Codec, Unfit
from drivers.framing import Broken, Framer, LineFramer
from drivers.limits import EXAMPLE_BYTES


class Found(NamedTuple):
    """What one message says at one time, of the source itself or of one device behind it.

    `raw` is kept as evidence: the bytes it was read from. None: the whole message.
    """

    records: Sequence[Record]
    time: float | None = None  # the device's own, Unix seconds, only where it is trusted
    quality: int = 0
    device: str = ""  # as it names itself; "": the source
    raw: bytes | None = None


class Refused(NamedTuple):
    """A message, or a part of one, that becomes no sample; `reason` is a short snake_case word."""

    reason: str
    example: bytes
    detail: str = ""
    device: str = ""


class State(NamedTuple):
    """What a message says of whether a device is there: a last will, a death certificate.

    below: it holds for every device, too, that was ever named and whose name begins with this one's and a slash.
    """

    up: bool
    detail: str
    device: str = ""
    below: bool = False


class Ask(NamedTuple):
    """A message that the codec wants to have published (MQTT only), with QoS 0, once and with no answer awaited."""

    topic: str
    payload: bytes


class MessageCodec(Protocol):
    """Reads the messages of one source. One object for one connection; what it remembers has a limit by name."""

    def take(
        self, topic: str, payload: bytes, now: float | None, *, retained: bool
    ) -> Sequence[Found | Refused | State | Ask]:
        """What the message says; nothing, where it only tells the codec how to read others. Unfit: nothing in it fits.

        now: the time of receipt in Unix seconds, None where nobody knows it: then no device's time is trusted.
        """
        ...


@runtime_checkable
class Learner(MessageCodec, Protocol):
    """A MessageCodec that can read messages only by what others said before them: names, units, aliases.

    A broker delivers what waited in its queue before what it retains, so its driver keeps that over connections and
    restarts. A codec that does not need it is a plain MessageCodec.
    """

    def learnt(self) -> bytes | None:
        """All of it, at most LEARNT_BYTES, where it has changed since the last call; else None."""
        ...

    def recall(self, learnt: bytes) -> None:
        """What an earlier object had learnt, before the first message. Raises nothing: what does not fit is left."""
        ...


class StreamCodec(Protocol):
    """Reads one stream of bytes. One object for one opening of it. The findings are the same for any chunking."""

    def feed(self, data: bytes, now: float | None) -> list[Found | Refused]:
        """What the frames that end in `data` say. Raises nothing."""
        ...

    def gap(self, now: float | None) -> list[Found | Refused]:
        """The stream fell silent: what that ends."""
        ...

    def end(self, now: float | None) -> list[Found | Refused]:
        """There is no more: of a file whose last frame lacks its delimiter."""
        ...


class FrameReader(Protocol):
    """Reads the frames of one stream, in order."""

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        """What the frame says; nothing where it is of no interest, or a part of something. Unfit: nothing fits."""
        ...


class One:
    """A FrameReader out of a Codec: each frame is one message of the source."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def read(self, frame: bytes, now: float | None) -> Sequence[Found]:
        """The frame."""
        records, time, quality = self._codec.read(frame, now)
        return (Found(records, time, quality, raw=frame),)


_MASK = bytes(byte & 0x7F for byte in range(256))


class Framed:
    """The StreamCodec of a Framer and a FrameReader. mask_bit7 clears the top bit of every byte first.

    whole: each chunk is a datagram, whose end is the end of a line even where its sender wrote none.
    """

    def __init__(self, framer: Framer, reader: FrameReader, *, mask_bit7: bool = False, whole: bool = False) -> None:
        self._framer, self._reader, self._mask = framer, reader, mask_bit7
        self._close = framer.delimiter if whole and isinstance(framer, LineFramer) else b""

    def feed(self, data: bytes, now: float | None) -> list[Found | Refused]:
        """What the frames that end in `data` say."""
        if self._mask:
            data = data.translate(_MASK)
        data += self._close
        return [found for frame in self._framer.feed(data) for found in self._read(frame, now)]

    def gap(self, now: float | None) -> list[Found | Refused]:
        """The line was silent."""
        return [found for frame in self._framer.gap() for found in self._read(frame, now)]

    def end(self, now: float | None) -> list[Found | Refused]:
        """The file is over."""
        if isinstance(self._framer, LineFramer):
            return self.feed(self._framer.delimiter, now)
        return self.gap(now)

    def _read(self, frame: bytes | Broken, now: float | None) -> Sequence[Found | Refused]:
        if isinstance(frame, Broken):
            return (Refused(frame.reason, frame.example),)
        try:
            return [_with_raw(found, frame) for found in self._reader.read(frame, now)]
        except Unfit as unfit:
            return (Refused(unfit.reason, frame[:EXAMPLE_BYTES], unfit.detail[:200]),)


def _with_raw(found: Found | Refused, frame: bytes) -> Found | Refused:
    return found._replace(raw=frame) if isinstance(found, Found) and found.raw is None else found
