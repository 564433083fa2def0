"""Requests over HTTP to servers that others run: their sessions, and what went wrong, in words of our own."""

import asyncio
import os
import ssl

import aiohttp

from gateway import __version__

_KEEPALIVE_S = 5.0  # shorter than a server's: a request never goes out on a connection that is being closed


async def authorities(ca_file: str) -> ssl.SSLContext | bool:
    """What `session` takes for tls: a file's certificate authorities, this machine's for "". OSError, ValueError."""
    return await asyncio.to_thread(ssl.create_default_context, cafile=ca_file) if ca_file else True


def session(
    tls: ssl.SSLContext | bool, timeout: aiohttp.ClientTimeout, headers: dict[str, str] | None = None
) -> aiohttp.ClientSession:
    """One connection at a time, no cookies, no proxy of the environment, bodies as they come."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1, ssl=tls, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"fieldgate/{__version__}", "Accept-Encoding": "identity", **(headers or {})},
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
    )


def words(error: Exception) -> str:
    """What went wrong with a request."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be looked up"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error, aiohttp.ClientConnectorError | OSError):
        return f"it cannot be reached: {(os.strerror(error.errno) if error.errno else 'the connection failed').lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "it closed the connection before its answer was complete"
    return "its answer is no HTTP"
