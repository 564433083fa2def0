"""For whoever watches the gateway from afar: /metrics, /healthz, /readyz.

A program on this machine asks without anything. Anybody else shows the token that `[web] watch_token` names, and where
there is none, or it is wrong, learns nothing, as everywhere on this port.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any, Final

from aiohttp import web

from gateway.core import limits
from gateway.web.access import Access
from gateway.web.listener import deny, neighbourhood
from gateway.web.services import Services
from gateway.web.sessions import digest

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FRESH = {"Cache-Control": "no-store"}
_ATTEMPT_S = 12.0  # until an address may try once more
_BEARER = "bearer "


class WatchApi:
    """Serves PATHS."""

    PATHS: Final = frozenset({"/metrics", "/healthz", "/readyz"})

    def __init__(self, services: Services, access: Access, monotonic: Callable[[], float]) -> None:
        self._services, self._access = services, access
        self._token = Token(services.watch_token, monotonic) if services.watch_token else None

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """The answer; 401 without a body for anybody who may not ask."""
        who = self._access.who(request)
        if not (who and who.here) and not (self._token and self._token.shown(request)):
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


def readiness(state: Mapping[str, Any], within_s: float) -> dict[str, Any]:
    """Of a status snapshot: whether readings are made durable, dated and co-signed; `ready`: all of that.

    within_s: how old the newest co-signature may be, of a node or a witness. A gateway without either, or without a
    block, waits for none.
    """
    cosigners = [*state["nodes"].values(), *state["witnesses"].values()]
    ages = [one["cosigned_s"] for one in cosigners if one["cosigned_s"] is not None]
    due = bool(cosigners) and state["chain"]["size"] > 0
    age = min(ages, default=None)
    parts: dict[str, dict[str, Any]] = {
        "journal": {"ok": state["journal"]["stores"]},
        "clock": {"ok": state["clock"]["synchronised"], "error_ms": state["clock"]["error_ms"]},
        "cosignature": {
            "ok": not due or (age is not None and age <= within_s),
            "age_s": age,
            "within_s": within_s,
            "nodes": len(state["nodes"]),
            "witnesses": len(state["witnesses"]),
        },
    }
    return {"ready": all(part["ok"] for part in parts.values()), **parts}


class Token:
    """The token that a reader from elsewhere shows as `Authorization: Bearer TOKEN`. Wrong ones are limited."""

    def __init__(self, token: str, monotonic: Callable[[], float]) -> None:
        self._digest = digest(token)
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
        if compare_digest(digest(header[len(_BEARER) :].strip()), self._digest):
            return True
        self._tried[address] = now + spent_s + _ATTEMPT_S
        self._tried.move_to_end(address)
        if len(self._tried) > limits.WATCH_ADDRESSES:
            self._tried.popitem(last=False)
        return False
