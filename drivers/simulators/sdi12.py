"""SDI-12 sensors behind a transparent adapter, on a pseudo-terminal."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from drivers.codecs.sdi12 import crc
from drivers.simulators.quay import Line


@dataclass
class Probe:
    """One sensor. seconds: announced for a measurement, of which it needs a hundredth and then asks for service.

    at_once: values in one answer. spoils: so many answers with a wrong CRC, or in 8 bits with noise, come first.
    """

    values: list[str]
    seconds: int = 0
    at_once: int = 3
    spoils: int = 0
    away: bool = False
    asked: list[str] = field(default_factory=list)
    checked: bool = False

    def answer(self, address: str, command: str) -> str | None:
        """The line that answers a command, without its CR LF; None: nothing."""
        self.asked.append(command)
        if self.away:
            return None
        if command[0] in "MC":
            self.checked = "C" in command[1:]
            return f"{address}{self.seconds:03d}{len(self.values):0{2 if command[0] == 'C' else 1}d}"
        if command[0] == "D":
            first = int(command[1]) * self.at_once
            line = address + "".join(self.values[first : first + self.at_once])
            if not self.checked:
                return line
            check = crc(line.encode("ascii")).decode("ascii")
            if self.spoils:
                self.spoils -= 1
                return line + check[::-1] + ("" if check != check[::-1] else "@")
            return line + check
        return None


@contextlib.asynccontextmanager
async def on(line: Line, probes: dict[str, Probe], *, echo: bool = False) -> AsyncIterator[None]:
    """Answers what is asked of them. echo: the adapter hears itself."""
    task = asyncio.create_task(_serve(line, probes, echo=echo))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _serve(line: Line, probes: dict[str, Probe], *, echo: bool) -> None:
    heard = b""
    while True:
        with contextlib.suppress(BlockingIOError):
            heard += os.read(line.master, 256)
        while b"!" in heard:
            command, _, heard = heard.partition(b"!")
            text = command.decode("ascii")
            if echo:
                line.write(command + b"!")
            probe = probes.get(text[:1])
            answer = probe.answer(text[0], text[1:]) if probe else None
            if probe and answer is not None:
                data = answer.encode("ascii") + b"\r\n"
                line.write(data[:2])
                await asyncio.sleep(0.005)
                line.write(data[2:])
                if text[1] == "M" and probe.seconds:
                    await asyncio.sleep(probe.seconds / 100)
                    line.write(text[:1].encode("ascii") + b"\r\n")
        await asyncio.sleep(0.002)
