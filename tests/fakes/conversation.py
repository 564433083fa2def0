"""A command on a terminal of its own, and somebody who answers what it asks."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fakes.command import FIELDGATE, PATIENCE_S


class Conversation:
    """What is on the screen so far, and the keyboard."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self._process, self._master = process, master
        self.screen = ""
        self._read = 0  # of the screen

    def expect(self, text: str) -> None:
        """Waits until this stands on the screen, behind what was expected before."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.screen[self._read :]:
            assert self._look(deadline), f"not told: {text!r}\n{self.screen}"
        self._read = self.screen.index(text, self._read) + len(text)

    def say(self, text: str, end: str = "\n") -> None:
        """Types a line."""
        os.write(self._master, (text + end).encode())

    def answer(self, question: str, text: str) -> None:
        """Types a line when it is asked for."""
        self.expect(question)
        self.say(text)

    def press(self, key: str) -> None:
        """Presses a key until it is heeded: a signal may come just before the program begins to read."""
        while self._process.poll() is None:
            self.say(key, end="")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)

    def end(self) -> int:
        """Waits for the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._look(deadline):
            pass
        return self._process.wait(timeout=PATIENCE_S)

    def _look(self, deadline: float) -> bool:
        """Takes in what is told next; False where nothing more comes."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # EIO: the other side is closed
            return False
        self.screen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def conversation(*args: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Conversation]:
    """`fieldgate args` with a terminal as its standard input, output and error."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*FIELDGATE, *map(str, args)],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb", **(env or {})},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  so that Ctrl-C reaches it
    )
    os.close(slave)
    try:
        yield Conversation(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
