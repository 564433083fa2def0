"""Can the names that the configuration has be looked up?"""

import ipaddress
import socket
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway import config
from gateway.conditions import Problem, listed
from gateway.conditions.found import DNS_NONE, DNS_SLOW
from gateway.conditions.sources import NETWORK_NAME
from gateway.core.limits import DOCTOR_LOOKUPS
from gateway.doctor.case import Case, Outcome, beside, each
from gateway.doctor.system import text
from gateway.settings import Settings

_SLOW_S = 2.0


class Lookup(NamedTuple):
    """A name, what asks for it, and how long the answer took; None where there is none."""

    host: str
    sources: tuple[str, ...]
    seconds: float | None


async def look(case: Case) -> Outcome:
    """Looks up each once. Brokers, nodes and witnesses whose names fail are told by their own checks."""
    settings = case.wanted
    servers = await beside(_servers, case.root / "etc/resolv.conf")
    hosts = list(names(settings).items())[:DOCTOR_LOOKUPS]
    return judge(await each(*(_lookup(host, sources) for host, sources in hosts)), servers)


def names(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Hosts that are names, each with the sources that read from it."""
    found: dict[str, tuple[str, ...]] = {}
    for url in [broker.url for broker in settings.broker.values()]:
        found.setdefault(config.broker_address(url)[0], ())
    for link in settings.cosigners.values():
        found.setdefault(urlsplit(link.url).hostname or "", ())
    for anchor in settings.anchor.values():
        for url in (anchor.options.url, getattr(anchor.options, "rpc", "")):
            found.setdefault(urlsplit(url).hostname or "", ())
    for source, table in settings.source.items():
        if address := getattr(table.options, "tcp", None):
            host = urlsplit(f"//{address}").hostname or ""
            found[host] = (*found.get(host, ()), source)
    return {host: sources for host, sources in found.items() if host and not _is_address(host)}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _servers(path: Path) -> list[str]:
    lines = (text(path) or "").splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1]


async def _lookup(host: str, sources: tuple[str, ...]) -> Lookup:
    began = time.monotonic()
    try:
        await beside(socket.getaddrinfo, host, None)
    except (OSError, TimeoutError, UnicodeError):
        return Lookup(host, sources, None)
    return Lookup(host, sources, time.monotonic() - began)


def judge(lookups: list[Lookup], servers: list[str]) -> Outcome:
    """`servers`: those of /etc/resolv.conf."""
    failed = [one for one in lookups if one.seconds is None]
    slow = max((one for one in lookups if one.seconds is not None), key=lambda one: one.seconds or 0, default=None)
    problems: list[Problem] = []
    if failed and not servers:
        problems.append(DNS_NONE.problem())
    problems += [NETWORK_NAME.problem(listed(one.sources), host=one.host) for one in failed if one.sources]
    if slow and slow.seconds is not None and slow.seconds > _SLOW_S:
        problems.append(DNS_SLOW.problem(slow.host, seconds=f"{slow.seconds:.1f}"))
    figures = {one.host: "not found" if one.seconds is None else f"{one.seconds * 1000:.0f} ms" for one in lookups}
    said = f"{len(lookups)} names are found" if lookups else "no name has to be looked up"
    return Outcome(said, problems, {**figures, "servers": ", ".join(servers) or "none"})
