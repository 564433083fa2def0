"""For whoever watches the gateway from afar: /metrics, /healthz, /readyz.

A program on this machine asks without anything. Anybody else shows the token that `[web] watch_token` names, and where
there is none, or it is wrong, learns nothing, as everywhere on this port.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from aiohttp import web

from gateway.core import limits
from gateway.web.listener import deny, neighbourhood
from gateway.web.services import Services

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FRESH = {"Cache-Control": "no-store"}
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")
_ATTEMPT_S = 12.0  # until an address may try once more
_BEARER = "bearer "


class WatchApi:
    """Serves PATHS. hosts: Host headers under which a program on this machine reaches the port."""

    PATHS: Final = frozenset({"/metrics", "/healthz", "/readyz"})

    def __init__(self, services: Services, hosts: Collection[str], monotonic: Callable[[], float]) -> None:
        self._services = services
        self._hosts = frozenset(hosts)
        self._token = Token(services.watch_token, monotonic) if services.watch_token else None

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """The answer; 401 without a body for anybody who may not ask."""
        if not (self._is_here(request) or (self._token is not None and self._token.shown(request))):
            return deny()
        match request.raw_path:
            case "/metrics" if self._services.metrics is not None:
                body = await self._services.metrics()
                return web.Response(body=body, headers={"Content-Type": METRICS_TYPE, **_FRESH})
            case "/readyz":
                told = readiness(self._services.status(), self._services.cosigned_within_s())
                status, text = 200 if told["ready"] else 503, json.dumps(told)
                return web.Response(text=text, status=status, content_type="application/json", headers=_FRESH)
            case "/healthz":
                return web.Response(text="ok\n", headers=_FRESH)
        return deny(404)

    def _is_here(self, request: web.BaseRequest) -> bool:
        """A program on this machine that no proxy and no web page of somebody else's sends."""
        headers = request.headers
        return (
            _is_loopback(request.remote)
            and headers.get("Host", "").lower() in self._hosts  # DNS rebinding
            and headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}
            and "Origin" not in headers
            and not any(name in headers for name in _FORWARDED)
        )


def readiness(state: Mapping[str, Any], within_s: float) -> dict[str, Any]:
    """Of a status snapshot: whether readings are made durable, dated and co-signed; `ready`: all of that.

    within_s: how old the newest co-signature may be. A gateway without a node, or without a block, waits for none.
    """
    ages = [node["cosigned_s"] for node in state["nodes"].values() if node["cosigned_s"] is not None]
    due = bool(state["nodes"]) and state["chain"]["size"] > 0
    age = min(ages, default=None)
    parts: dict[str, dict[str, Any]] = {
        "journal": {"ok": state["journal"]["stores"]},
        "clock": {"ok": state["clock"]["synchronised"], "error_ms": state["clock"]["error_ms"]},
        "cosignature": {
            "ok": not due or (age is not None and age <= within_s),
            "age_s": age,
            "within_s": within_s,
            "nodes": len(state["nodes"]),
        },
    }
    return {"ready": all(part["ok"] for part in parts.values()), **parts}


class Token:
    """The token that a reader from elsewhere shows as `Authorization: Bearer TOKEN`. Wrong ones are limited."""

    def __init__(self, token: str, monotonic: Callable[[], float]) -> None:
        self._digest = _digest(token)
        self._monotonic = monotonic
        self._tried: OrderedDict[str, float] = OrderedDict()  # by address: until when its attempts are paid for

    def shown(self, request: web.BaseRequest) -> bool:
        """Whether the request shows it. One that shows nothing is no attempt."""
        header = request.headers.get("Authorization", "")
        if header[: len(_BEARER)].lower() != _BEARER:
            return False
        address, now = neighbourhood(request.remote or ""), self._monotonic()
        spent_s = max(0.0, self._tried.get(address, now) - now)
        if spent_s > (limits.WATCH_ATTEMPTS - 1) * _ATTEMPT_S:
            return False
        if compare_digest(_digest(header[len(_BEARER) :].strip()), self._digest):
            return True
        self._tried[address] = now + spent_s + _ATTEMPT_S
        self._tried.move_to_end(address)
        if len(self._tried) > limits.WATCH_ADDRESSES:
            self._tried.popitem(last=False)
        return False


def _digest(token: str) -> bytes:
    """Of one length, so that a comparison tells nothing of another."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ip_address((remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
