"""Tickets: several lines that a scale prints for one weighing, from a line that begins one to a line that ends it."""

import re
from collections.abc import Mapping, Sequence

from drivers.api import UNSTABLE
from drivers.codecs.base import Found, Framed, Refused
from drivers.codecs.mass import IN_MOTION, Rules
from drivers.codecs.text import Regex
from drivers.codecs.values import Unfit, ValueMap
from drivers.framing import Framer
from drivers.limits import EXAMPLE_BYTES, TICKET_BYTES, TICKET_LINES


class Tickets:
    """A FrameReader of lines. begin and end are patterns of whole lines, which belong to the ticket.

    `pattern` is one of the whole ticket, its lines with LF between them: a named group a value. What its group
    `unstable` matches says that the weight is in motion.
    """

    def __init__(self, begin: str, end: str, pattern: str, values: Mapping[str, ValueMap], rules: Rules) -> None:
        self._begins, self._ends = re.compile(begin).fullmatch, re.compile(end).fullmatch
        self._codec, self._rules = Regex(pattern, values), rules
        self._lines: list[bytes] = []
        self._size = 0

    def read(self, frame: bytes, now: float | None) -> Sequence[Found | Refused]:
        """One line: of a ticket, or between tickets."""
        line = frame.decode("latin-1")
        if not self._lines:
            if not self._begins(line):
                raise Unfit("no_match", "a line of no ticket")
            return self._add(frame)
        if self._ends(line):
            return self._add(frame) or (self._ticket(now),)
        if self._begins(line):
            return (*self.incomplete(), *self._add(frame))
        return self._add(frame)

    def _add(self, frame: bytes) -> Sequence[Refused]:
        self._lines.append(frame)
        self._size += len(frame) + 1
        if len(self._lines) > TICKET_LINES or self._size > TICKET_BYTES:
            return self.incomplete("too_long")
        return ()

    def _take(self) -> bytes:
        ticket, self._lines, self._size = b"\n".join(self._lines), [], 0
        return ticket

    def _ticket(self, now: float | None) -> Found | Refused:
        ticket = self._take()
        try:
            records, _, quality = self._codec.read(ticket, now)
            if quality & UNSTABLE and not self._rules.keep_motion:
                raise Unfit(IN_MOTION)
        except Unfit as unfit:
            return Refused(unfit.reason, ticket[:EXAMPLE_BYTES], unfit.detail)
        return Found(records, quality=quality, raw=ticket)

    def incomplete(self, reason: str = "incomplete") -> Sequence[Refused]:
        """A ticket that has begun will not end."""
        ticket = self._take()
        return (Refused(reason, ticket[:EXAMPLE_BYTES]),) if ticket else ()


class TicketStream(Framed):
    """The StreamCodec of tickets."""

    def __init__(self, framer: Framer, reader: Tickets, *, mask_bit7: bool = False) -> None:
        super().__init__(framer, reader, mask_bit7=mask_bit7)
        self._tickets = reader

    def end(self, now: float | None) -> list[Found | Refused]:
        """The file is over, and so is a ticket that it breaks off."""
        return [*super().end(now), *self._tickets.incomplete()]
