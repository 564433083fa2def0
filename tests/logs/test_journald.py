"""Records in the journal's native protocol: as a socket that takes them apart sees them, and as systemd's own does."""

import json
import logging
import mmap
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import limits
from gateway.logs.journald import JournalHandler, encode, is_ours
from gateway.logs.lines import OneLine
from gateway.logs.told import Told

Fields = dict[str, str]


def decode(data: bytes) -> Fields:
    """The protocol, read anew from its description."""
    fields: Fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
        data = rest
    return fields


class Journald:
    """Takes records as journald does. `received`: the next one, whichever way it came."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def received(self) -> tuple[Fields, bool]:
        data, rights, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        if not rights:
            return decode(data), False
        assert data == b""
        (descriptor,) = rights
        try:
            with pytest.raises(OSError):  # it is sealed: nobody changes it while it is read
                os.write(descriptor, b"x")
            with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
                return decode(mapped[:]), True
        finally:
            os.close(descriptor)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
def journald(path: Path) -> Iterator[Journald]:
    made = Journald(path)
    yield made
    made.close()


@pytest.fixture
def aside() -> Iterator[tuple[int, int]]:
    """A pipe in place of stderr: what reads it, what writes it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def handler(path: Path, aside: tuple[int, int]) -> Iterator[JournalHandler]:
    made = JournalHandler(OneLine(), path=str(path), aside=aside[1])
    yield made
    made.close()


@pytest.fixture
def log(handler: JournalHandler) -> Iterator[logging.Logger]:
    made = logging.Logger("drivers.mqtt")
    made.addHandler(handler)
    yield made
    made.removeHandler(handler)


def test_a_record_has_its_fields(log: logging.Logger, journald: Journald) -> None:
    log.warning("payload %s", "a\nPRIORITY=0\x1b[31m")
    fields, by_file = journald.received()
    assert not by_file
    assert fields["MESSAGE"] == "payload a\\nPRIORITY=0\\x1b[31m"
    assert fields["PRIORITY"] == "4"
    assert fields["SYSLOG_IDENTIFIER"] == "fieldgate"
    assert fields["LOGGER"] == "drivers.mqtt"
    assert fields["CODE_FILE"] == __file__
    assert fields["CODE_FUNC"] == "test_a_record_has_its_fields"
    assert int(fields["CODE_LINE"]) > 0
    assert "MESSAGE_ID" not in fields


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_priorities_are_syslogs(log: logging.Logger, journald: Journald, level: int, priority: int) -> None:
    log.log(level, "x")
    assert journald.received()[0]["PRIORITY"] == str(priority)


def test_a_condition_has_its_id_and_its_values(log: logging.Logger, journald: Journald) -> None:
    """A source's name is hostile text: it makes no field of its own."""
    values = {"subject": "x\nMESSAGE_ID=0\n", "detail": "unplugged"}
    told = Told("source-away", "error", values["subject"], "ab" * 16, True, values)
    log.error("%s", "away", extra=told.extra())
    fields, _ = journald.received()
    assert fields["MESSAGE_ID"] == "ab" * 16
    assert fields["FIELDGATE_CONDITION"] == "source-away"
    assert fields["FIELDGATE_SEVERITY"] == "error"
    assert fields["FIELDGATE_HOLDS"] == "1"
    assert fields["FIELDGATE_SUBJECT"] == values["subject"]
    assert fields["FIELDGATE_DETAIL"] == "unplugged"


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,20}", fullmatch=True), st.text()))
def test_any_text_arrives(fields: Fields) -> None:
    there = {name: value.encode("utf-8", "backslashreplace").decode() for name, value in fields.items()}
    assert decode(encode(fields.items())) == there


def test_what_no_datagram_holds_goes_as_a_file(log: logging.Logger, journald: Journald) -> None:
    log.error("x" * (limits.LOG_LINE_CHARS + 10))
    fields, by_file = journald.received()
    assert by_file
    assert fields["MESSAGE"] == "x" * limits.LOG_LINE_CHARS


def test_without_a_journal_a_line_goes_aside(log: logging.Logger, aside: tuple[int, int]) -> None:
    log.error("two\nlines")
    assert os.read(aside[0], 1000) == b"ERROR drivers.mqtt: two\\nlines\n"


def test_a_journal_that_takes_nothing_holds_nobody_up(
    log: logging.Logger, handler: JournalHandler, journald: Journald, aside: tuple[int, int]
) -> None:
    """Nor does a stderr that nobody reads: what neither takes is counted."""
    for number in range(5_000):
        log.error("%d %s", number, "x" * 1000)
    assert handler.lost > 0
    arrived = 0
    while True:
        try:
            journald.received()
        except BlockingIOError:
            break
        arrived += 1
    lines = 0
    while (data := _read(aside[0])) is not None:
        lines += data.count(b"\n")
    assert arrived + lines + handler.lost == 5_000
    log.error("again")
    assert journald.received()[0]["MESSAGE"] == "again"


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return None


class _Bad:
    def __str__(self) -> str:
        raise RuntimeError("never a text")


def test_whoever_logs_nonsense_is_not_harmed(log: logging.Logger, journald: Journald) -> None:
    log.error("%d readings", "many")
    assert journald.received()[0]["MESSAGE"] == "%d readings (its values do not fit it)"
    log.error("%s", _Bad())
    assert "do not fit" in journald.received()[0]["MESSAGE"]


def test_stderr_is_known_by_device_and_inode(aside: tuple[int, int]) -> None:
    found = os.fstat(aside[1])
    assert is_ours(f"{found.st_dev}:{found.st_ino}", aside[1])
    for stream in ("", ":", "1:2", f"{found.st_dev}", f"{found.st_dev}:x", f"{found.st_dev}:{found.st_ino + 1}"):
        assert not is_ours(stream, aside[1])
    assert not is_ours(f"{found.st_dev}:{found.st_ino}", 9_999)


def test_outside_of_the_journal_a_record_is_a_line(tmp_path: Path) -> None:
    """JOURNAL_STREAM is inherited by whatever a service starts with its stderr sent elsewhere."""
    code = "import logging\nfrom gateway import logs\nlogs.begin(stream='1:2')\nlogging.warning('two\\nlines')\n"
    with (tmp_path / "stderr").open("wb") as stderr:
        subprocess.run([sys.executable, "-c", code], stderr=stderr, check=True)
    assert (tmp_path / "stderr").read_text() == "WARNING root: two\\nlines\n"


JOURNAL = Path("/lib/systemd/systemd-journald")
IN_A_WORLD_OF_ITS_OWN = """
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald 2>/dev/null &
journald=$!
trap 'kill $journald' EXIT
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
"$1" -c "$2"
for _ in $(seq 100); do
    journalctl -D /run/log/journal -o json --all LOGGER=gateway.test 2>/dev/null >"$3"
    [ "$(wc -l <"$3")" = 2 ] && break
    sleep 0.1
done
"""
TWO_RECORDS = """
import logging, os
from gateway import logs
from gateway.logs.told import Told
found = os.fstat(2)
logs.begin(stream=f"{found.st_dev}:{found.st_ino}")
log = logging.getLogger("gateway.test")
told = Told("source-away", "error", "a\\nb", "ab" * 16, True, {"subject": "a\\nb"})
log.error("grüezi %s", "x", extra=told.extra())
log.warning("y" * 250_000)
"""


def test_systemds_own_journal_takes_them(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not JOURNAL.exists() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this machine runs no journal for a test")
    told = tmp_path / "told"
    command = ["unshare", "-m", "sh", "-c", IN_A_WORLD_OF_ITS_OWN, "sh", sys.executable, TWO_RECORDS, str(told)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    first, second = map(json.loads, told.read_text().splitlines())
    assert first["MESSAGE"] == "grüezi x"
    assert first["MESSAGE_ID"] == "ab" * 16
    assert first["FIELDGATE_SUBJECT"] == "a\nb"
    assert (first["PRIORITY"], second["PRIORITY"]) == ("3", "4")
    assert second["MESSAGE"] == "y" * 250_000
