"""What a person gets: pages, their files and live updates, and the few things that may be done from them.

On this machine everybody may look, and let the doctor look; from the network who is signed in. Whatever else is done
needs a session. A stranger from the network gets the login page where a page was asked for, and else 401 and nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from gateway.clock import Clock
from gateway.core import limits
from gateway.errors import NotFoundError
from gateway.settings import NodeLink
from gateway.store import Store
from gateway.web import routes
from gateway.web.access import Access, Who, cookie
from gateway.web.assets import Assets
from gateway.web.findings import Findings
from gateway.web.html import Markup
from gateway.web.listener import deny
from gateway.web.live import Latest, Live, Press, Readers
from gateway.web.pages import frame, login, receipt, reloaded
from gateway.web.services import Services
from gateway.web.sessions import Attempts, Codes, Sessions
from gateway.web.sparks import Sparks
from gateway.web.view import Desk, Page, View
from gateway.web.words import LANGUAGES, Catalogues, Words, choose

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # with `no-referrer` a form would be sent with `Origin: null`
    "X-Frame-Options": "DENY",
}
_LIVE: Final = "/live"
_LANGUAGE: Final = "language"
_YEAR_S: Final = 31_536_000

Form = dict[str, str]


def desk_of(services: Services, store: Store, nodes: Callable[[], Mapping[str, NodeLink]], clock: Clock) -> Desk:
    """What pages may ask of this gateway. nodes: those of the configuration as it is now."""

    def now_ms() -> int:
        return clock.now().ms

    return Desk(services, store, nodes, Sparks(services.rollup), Findings(services.doctor, now_ms), now_ms)


class Site:
    """Answers people. addresses: where the gateway is reached from elsewhere, best first; found out when asked for."""

    def __init__(
        self,
        desk: Desk,
        access: Access,
        sessions: Sessions,
        codes: Codes,
        monotonic: Callable[[], float],
        addresses: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._desk, self._access, self._sessions, self._codes = desk, access, sessions, codes
        self._attempts = Attempts(monotonic)
        self._addresses = addresses
        self._assets = Assets.read()
        self._catalogues = Catalogues()
        self._press, self._readers, self._latest = Press(), Readers(), Latest(desk.services.status)
        self._proofs = asyncio.Semaphore(limits.PAGE_PROOFS)
        self._actions: dict[str, Callable[[web.BaseRequest, Who, Form], Awaitable[web.Response]]] = {
            "/login": self._login,
            "/logout": self._logout,
            "/language": self._choose_language,
            "/doctor": self._doctor,
            "/sync": self._sync,
            "/reload": self._reload,
        }

    def close(self) -> None:
        """Ends every live page."""
        self._readers.ended.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """The answer; None where this address is none of a person's."""
        raw = request.raw_path
        if request.method == "POST":
            return await self._act(request) if raw in self._actions else None
        file = self._assets.answer(raw)
        found = routes.find(raw) or routes.match(routes.PROOF, raw)
        watched = routes.find(raw.removeprefix(_LIVE)) if raw.startswith(f"{_LIVE}/") else None
        if file is None and found is None and watched is None and raw not in {"/login", "/status.json"}:
            return None
        who = self._access.who(request)
        if who is None:
            return deny()
        if file is not None:
            return file
        if raw == "/login":
            return await self._login_page(request)
        if not who.may_look:
            return _see("/login") if found is not None and found.route is not routes.PROOF else deny()
        if raw == "/status.json":
            told = self._desk.services.status()
            await asyncio.sleep(0)  # of thousands of sources: others get their turn before it is encoded
            return web.Response(body=msgspec.json.encode(told), content_type="application/json", headers=_HEADERS)
        if watched is not None:
            return await self._watch(request, who, watched)
        assert found is not None
        return await (self._proof(found) if found.route is routes.PROOF else self._show(request, who, found))

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _show(self, request: web.BaseRequest, who: Who, found: routes.Found) -> web.Response:
        route = found.route
        view = await self._view(request, who, "" if route.live else await self._address(who))
        page = await self._render(view, found)
        return self._document(view, page, route.place, found.target, live=route.live and page.status == 200)

    async def _render(self, view: View, found: routes.Found) -> Page:
        if found.route.live:
            return await found.route.render(view, **found.values)
        async with self._proofs:
            return await found.route.render(view, **found.values)

    def _document(self, view: View, page: Page, place: str, target: str, *, live: bool) -> web.Response:
        text = frame.document(view, page, self._assets, place=place, target=target, live=live)
        return _html(text, page.status)

    async def _view(self, request: web.BaseRequest, who: Who, address: str = "") -> View:
        return View(
            desk=self._desk,
            words=await self._words(request),
            status=self._desk.services.status(),
            signed_in=who.signed_in,
            address=address,
        )

    async def _words(self, request: web.BaseRequest) -> Words:
        return await self._catalogues.words(
            choose(cookie(request, _LANGUAGE), request.headers.get("Accept-Language", ""))
        )

    async def _address(self, who: Who) -> str:
        """Where a telephone would find what this person sees."""
        others = await self._addresses() if who.here else []
        return others[0] if others else self._access.origin(who.host)

    async def _proof(self, found: routes.Found) -> web.Response:
        source = found.values["source"]
        try:
            async with self._proofs:
                made = await receipt.proof(self._desk, source, found.values.get("at", ""))
        except NotFoundError:
            return web.Response(status=404, headers=_HEADERS)
        given = {
            "Content-Disposition": f'attachment; filename="{receipt.file_name(source)}"',
            "Content-Type": receipt.FILE,
        }
        return web.Response(body=made.text.encode(), headers=_HEADERS | given)

    # -- watching -----------------------------------------------------------------------------------------------------

    async def _watch(self, request: web.BaseRequest, who: Who, found: routes.Found) -> web.StreamResponse:
        if not found.route.live:
            return deny(404)
        if not self._readers.room(who.address):
            return web.Response(status=503, headers=_HEADERS | {"Retry-After": "10"})
        words = await self._words(request)

        async def make() -> Page:
            view = View(desk=self._desk, words=words, status=self._latest(), signed_in=who.signed_in, live=True)
            return await found.route.render(view, **found.values)

        async def look() -> Page | None:
            if who.token and not self._sessions.use(who.token):
                return None
            return await self._press.page((found.target, words.tag, who.signed_in), make)

        return Live(self._readers, who.address, look, self._hello, _HEADERS)

    def _hello(self) -> dict[str, Any]:
        return {"build": frame.build(self._assets), "now": self._desk.now_ms()}

    # -- doing --------------------------------------------------------------------------------------------------------

    async def _act(self, request: web.BaseRequest) -> web.Response:
        who = self._access.who(request)
        if who is None:
            return deny()
        action = self._actions[request.raw_path]
        try:
            async with asyncio.timeout(limits.FORM_S):
                body = await request.read()
            form = dict(parse_qsl(body.decode(), max_num_fields=8))
        except (TimeoutError, ValueError):
            return deny(400)
        return await action(request, who, form)

    async def _login_page(self, request: web.BaseRequest, fault: str = "", status: int = 200) -> web.Response:
        words = await self._words(request)
        text = login.document(words, self._assets, fault=fault, tls=self._access.tls)
        return _html(text, status)

    async def _login(self, request: web.BaseRequest, who: Who, form: Form) -> web.Response:
        words = await self._words(request)
        if not self._attempts.may(who.address):
            return await self._login_page(request, words("Too many tries. Wait five minutes."), 429)
        if not self._codes.redeem(form.get("code", "")):
            fault = words("This is not the code, or it has expired. `fieldgate login` makes a new one.")
            return await self._login_page(request, fault, 403)
        answer = _see("/")
        answer.headers["Set-Cookie"] = self._session_cookie(self._sessions.open(), int(limits.SESSION_S))
        return answer

    async def _logout(self, request: web.BaseRequest, who: Who, form: Form) -> web.Response:
        self._sessions.close(who.token)
        answer = _see("/")
        answer.headers["Set-Cookie"] = self._session_cookie("", 0)
        return answer

    def _session_cookie(self, token: str, age_s: int) -> str:
        secure = "; Secure" if self._access.tls else ""
        return f"{self._access.cookie}={token}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"

    async def _choose_language(self, request: web.BaseRequest, who: Who, form: Form) -> web.Response:
        back, tag = form.get("back", "/"), form.get("language", "")
        answer = _see(back if back == "/login" or routes.find(back) else "/")
        if tag in LANGUAGES:
            answer.headers["Set-Cookie"] = f"{_LANGUAGE}={tag}; Path=/; Max-Age={_YEAR_S}; HttpOnly; SameSite=Strict"
        return answer

    async def _doctor(self, request: web.BaseRequest, who: Who, form: Form) -> web.Response:
        if not who.may_look:
            return deny()
        if not self._desk.findings.offered:
            return deny(404)
        await self._desk.findings.look()
        return _see("/doctor")

    async def _sync(self, request: web.BaseRequest, who: Who, form: Form) -> web.Response:
        if not who.signed_in:
            return deny()
        if self._desk.services.sync is None:
            return deny(404)
        self._desk.services.sync()
        return _see("/nodes")

    async def _reload(self, request: web.BaseRequest, who: Who, form: Form) -> web.Response:
        if not who.signed_in:
            return deny()
        if self._desk.services.reload is None:
            return deny(404)
        view = await self._view(request, who)
        page = reloaded.page(view, await self._desk.services.reload("reload"))
        return self._document(view, page, "device", "/device", live=False)


def _html(text: Markup, status: int = 200) -> web.Response:
    return web.Response(text=str(text), status=status, content_type="text/html", charset="utf-8", headers=_HEADERS)


def _see(target: str) -> web.Response:
    """303: the answer is over there (RFC 9110, section 15.4.4)."""
    return web.Response(status=303, headers=_HEADERS | {"Location": target})
