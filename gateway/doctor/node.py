"""Does each node and witness answer, with the key that the configuration names, and is this log known there?"""

import asyncio
import email.utils
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from gateway import __version__
from gateway.conditions import NODE_AWAY, Problem, listed
from gateway.conditions.nodes import (
    CLOCK_APART,
    NODE_ANSWER,
    NODE_CERTIFICATE,
    NODE_EMPTY,
    NODE_KEY,
    NODE_NAME,
    NODE_NONE,
    NODE_REFUSED,
    NODE_SLOW,
    NODE_TLS,
    NODE_UNKNOWN_LOG,
)
from gateway.conditions.witnesses import WITNESS_AWAY, WITNESS_BUSY, WITNESS_CERTIFICATE, WITNESS_KEY
from gateway.core import limits, note
from gateway.core.note import VerifierKey
from gateway.doctor.case import Case, Outcome, beside, each, ends_soon, merged
from gateway.errors import FormatError
from gateway.settings import NodeLink, WitnessLink

_SLOW_S = 5.0
_APART_S = 60.0
_HANDSHAKE_S = 3.0


class Answer(NamedTuple):
    """What a node answers: to a look at its checkpoint of this log, and whether it knows the log at all."""

    status: int
    data: bytes
    known: bool
    seconds: float
    date: str = ""
    ends: str = ""


async def look(case: Case) -> Outcome:
    """All of them at once."""
    settings = case.wanted
    names = list(settings.cosigners)[: limits.DOCTOR_PEERS]
    looks = [
        _look(name, settings.node[name], settings.origin)
        if name in settings.node
        else _look_at_witness(name, settings.witness[name], settings.origin)
        for name in names
    ]
    outcomes = dict(zip(names, await each(*looks), strict=True))
    if not settings.node:
        outcomes[""] = Outcome("", (NODE_NONE.problem(),))
    return merged(f"{listed(names)}: answers, and signs with the key that is configured", outcomes)


async def _look(name: str, link: NodeLink, origin: str) -> Outcome:
    try:
        async with asyncio.timeout(limits.DOCTOR_ASKING_S):
            answer = await _ask(link, origin, knows=_knows)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome("", (of_error(name, link, error),))
    return judge(name, link, answer, origin, now_s=time.time())


async def _look_at_witness(name: str, link: WitnessLink, origin: str) -> Outcome:
    try:
        async with asyncio.timeout(limits.DOCTOR_ASKING_S):
            answer = await _ask(link, origin)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome("", (WITNESS_AWAY.problem(name, url=link.url, detail=_why(error)),))
    return judge_witness(name, link, answer, origin, now_s=time.time())


async def _ask(
    link: NodeLink | WitnessLink,
    origin: str,
    *,
    knows: Callable[[aiohttp.ClientSession, str], Awaitable[bool]] | None = None,
) -> Answer:
    """`knows`: whether a log without a checkpoint is enrolled."""
    context = await beside(partial(ssl.create_default_context, cafile=link.ca_file or None))
    base, log = link.url.rstrip("/"), sha256(origin.encode()).hexdigest()
    connector = aiohttp.TCPConnector(limit=1, ssl=context)
    agent = {"User-Agent": f"fieldgate-doctor/{__version__}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(
        connector=connector, headers=agent, trust_env=False, auto_decompress=False
    ) as http:
        began = time.monotonic()
        async with http.get(f"{base}/{log}/checkpoint", allow_redirects=False) as response:
            data = await _bounded(response)
            status, date = response.status, response.headers.get("Date", "")
        seconds = time.monotonic() - began
        known = status != 404 or (knows is not None and await knows(http, f"{base}/v1/logs/{log}/sync"))
    parts = urlsplit(base)
    ends = await beside(_ends, parts.hostname, parts.port or 443, context) if parts.scheme == "https" else ""
    return Answer(status, data, known, seconds, date, ends)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The answer; no more than one byte past what a note may have."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limits.NOTE_BYTES:
            break
    return bytes(data[: limits.NOTE_BYTES + 1])


async def _knows(http: aiohttp.ClientSession, url: str) -> bool:
    """A request that is no sync changes nothing, and a log that is not enrolled is told by 404 before it is read."""
    async with http.post(url, data=b"", headers={"Content-Type": "text/plain"}, allow_redirects=False) as response:
        return response.status != 404


def _ends(host: str, port: int, context: ssl.SSLContext) -> str:
    """Blocking. When the certificate ends, as OpenSSL writes it; the client library shows it too late."""
    with socket.create_connection((host, port), _HANDSHAKE_S) as sock:
        sock.settimeout(_HANDSHAKE_S)
        with context.wrap_socket(sock, server_hostname=host) as wrapped:
            return str((wrapped.getpeercert() or {}).get("notAfter", ""))


def of_error(name: str, link: NodeLink, error: Exception) -> Problem:
    """Why there is no answer."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NODE_NAME.problem(name, url=link.url)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return NODE_TLS.problem(name, url=link.url, detail=_why(error))
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename is None and link.ca_file:
        return NODE_TLS.problem(name, url=link.url, detail=f"{link.ca_file} cannot be read")
    if isinstance(error, TimeoutError):
        return NODE_AWAY.problem(name, url=link.url, detail=_why(error))
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return NODE_AWAY.problem(name, url=link.url, detail=_why(error))
    return NODE_ANSWER.problem(name, detail="its answer is no HTTP")


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name has no address"
    verify = getattr(error, "certificate_error", error)
    if text := getattr(verify, "verify_message", ""):
        return str(text)
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else "the connection failed"


def judge_witness(name: str, link: WitnessLink, answer: Answer, origin: str, *, now_s: float) -> Outcome:
    """What a witness answered. It need not show what it has signed, and does not here where that is at another url."""
    problems: list[Problem] = []
    if answer.status == 200 and (shown := _checkpoint(answer.data, origin)):
        key = VerifierKey.parse(link.vkey)
        if not any(line.is_by(key) for line in shown.lines):
            problems.append(WITNESS_KEY.problem(name, url=link.url))
    if answer.status == 429 or answer.status >= 500:
        problems.append(WITNESS_BUSY.problem(name, detail=f"status {answer.status}"))
    if ends_soon(answer.ends, now_s):
        problems.append(WITNESS_CERTIFICATE.problem(name, ends=answer.ends))
    return Outcome("", problems, _figures(answer))


def _checkpoint(data: bytes, origin: str) -> note.Note | None:
    """A checkpoint of this log; None where it is anything else."""
    try:
        shown = note.parse_note(data)
        return shown if note.parse_checkpoint(shown.text).origin == origin else None
    except FormatError:
        return None


def _figures(answer: Answer) -> dict[str, str]:
    figures = {"answers in": f"{answer.seconds * 1000:.0f} ms"}
    if answer.ends:
        figures["certificate ends"] = answer.ends
    return figures


def judge(name: str, link: NodeLink, answer: Answer, origin: str, *, now_s: float) -> Outcome:
    """What it answered, against what the configuration says of it."""
    problems = [*_of_answer(name, link, answer, origin), *_of_way(name, answer, now_s)]
    return Outcome("", problems, _figures(answer))


def _of_answer(name: str, link: NodeLink, answer: Answer, origin: str) -> Iterator[Problem]:
    if answer.status == 404:
        yield NODE_EMPTY.problem(name) if answer.known else NODE_UNKNOWN_LOG.problem(name)
    elif answer.status != 200:
        yield NODE_REFUSED.problem(name, url=link.url, detail=f"status {answer.status}")
    else:
        try:
            shown = note.parse_note(answer.data)
            if note.parse_checkpoint(shown.text).origin != origin:
                raise FormatError("it is of another log")
            yield from _of_keys(name, link, shown)
        except FormatError as error:
            yield NODE_ANSWER.problem(name, detail=f"its checkpoint of this log is none: {error.what}")


def _of_keys(name: str, link: NodeLink, shown: note.Note) -> Iterator[Problem]:
    """The line under seen_key must be there, and be good. What a node stored it says to the gateway alone."""
    seen = VerifierKey.parse(link.seen_key)
    lines = [line for line in shown.lines if line.is_by(seen)]
    if not lines:
        yield NODE_KEY.problem(name, url=link.url, field="seen_key")
        return
    note.verify_cosignature(shown.text, lines[0], seen)


def _of_way(name: str, answer: Answer, now_s: float) -> Iterator[Problem]:
    if answer.seconds > _SLOW_S:
        yield NODE_SLOW.problem(name, seconds=f"{answer.seconds:.0f}")
    if ends_soon(answer.ends, now_s):
        yield NODE_CERTIFICATE.problem(name, ends=answer.ends)
    told = email.utils.parsedate_tz(answer.date) if answer.date else None
    if told and abs(apart := email.utils.mktime_tz(told) - now_s) > _APART_S:
        yield CLOCK_APART.problem(name, seconds=f"{abs(apart):.0f}")
