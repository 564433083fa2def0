"""The gateway's own servers: pull API and page on [web] listen, and the control socket for `fieldgate status`."""

import asyncio
import contextlib
import errno
import logging
import re
import socket
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from gateway.clock import Clock
from gateway.conditions import PAGE_AWAY, Problem
from gateway.core import limits
from gateway.errors import FieldgateError, Refused, UnreachableError
from gateway.settings import NodeLink, WebSettings
from gateway.store import Store
from gateway.store.rollup import Rollup
from gateway.web.access import Access, authority, is_form
from gateway.web.listener import CHANGING, Listener, Served, deny, serve
from gateway.web.services import Services
from gateway.web.sessions import Codes, Sessions
from gateway.web.watch import WatchApi

if TYPE_CHECKING:
    from gateway.web.pull import PullApi
    from gateway.web.site import Site

log = logging.getLogger(__name__)

_PORT_MAX = 65_535
_MINUTES, _MINUTE_MS = "/minutes/", 60_000
_RETRY_S = 10.0
_UNIX_PATH_BYTES = 107  # unix(7)
_LISTEN = "[web] listen "
_BIND_FAULTS = {
    errno.EADDRINUSE: ("another program has this port", "`ss -ltnp` names it; stop it, or choose another port"),
    errno.EACCES: ("ports below 1024 are the system's", "Choose another port, or allow it to the service"),
    errno.EADDRNOTAVAIL: ("this machine does not have this address", "`ip address` shows those that it has"),
}
_LOGS = re.compile(r"/logs\?after=([0-9]{1,15})", re.ASCII)
_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 -- recognised, not bound


class WebServer:
    """Pull API, page and control socket. nodes: NAME -> link; control: the socket's path.

    `start` may be called again after it failed; what already runs is left alone.
    """

    def __init__(
        self,
        settings: WebSettings,
        nodes: Mapping[str, NodeLink],
        store: Store,
        clock: Clock,
        services: Services,
        *,
        control: Path | None = None,
    ) -> None:
        self._settings, self._nodes, self._store, self._clock = settings, nodes, store, clock
        self._services = services
        self._control_path = control
        self._control: Served | None = None
        self._web: Served | None = None
        self._names: set[str] = set()  # authorities of signed requests
        self._access: Access | None = None
        self._site: Site | None = None  # made for the first person who asks: nobody may for weeks
        self._making = asyncio.Lock()
        self._codes, self._sessions = Codes(clock.monotonic), Sessions(clock.monotonic)
        self._watch: WatchApi | None = None
        self._pull: PullApi | None = None
        self.problems: list[Problem] = []  # why one of them is away

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before `start`."""
        return int(self._web.listener.getsockname()[1]) if self._web else 0

    def change_nodes(self, nodes: Mapping[str, NodeLink]) -> None:
        """From now on those of these with a read_key may pull."""
        self._nodes = nodes
        if self._pull is not None:
            self._pull.change(nodes)
        elif self._access is not None and any(link.read_key for link in nodes.values()):
            from gateway.web.pull import PullApi  # noqa: PLC0415 -- DESIGN.md: only when a node has a read_key

            self._pull = PullApi(nodes, self._store, self._clock, self._names)

    async def run(self) -> None:
        """Starts both; where the port is taken or the socket cannot be made, says so and tries again."""
        while True:
            try:
                await self.start()
            except FieldgateError as error:
                self.problems = [PAGE_AWAY.problem(what=error.what, cure=error.cure)]
                log.debug("web: %s", error)
                await asyncio.sleep(_RETRY_S)
            else:
                self.problems = []
                return

    async def start(self) -> None:
        """Starts what does not run yet. Raises FieldgateError where a part cannot; the other runs all the same."""
        faults: list[FieldgateError] = []
        for part in (self._start_control, self._start_web):
            try:
                await part()
            except FieldgateError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    async def stop(self) -> None:
        """Ends both."""
        site, self._site = self._site, None
        if site is not None:
            site.close()
        for served in (self._web, self._control):
            if served is not None:
                await served.stop()
        if self._control is not None and self._control_path is not None:
            with contextlib.suppress(OSError):  # whatever ends the gateway is the error to tell; start replaces it
                await asyncio.to_thread(self._control_path.unlink, missing_ok=True)
        self._web = self._control = None

    # -- the port -----------------------------------------------------------------------------------------------------

    async def _start_web(self) -> None:
        if self._web is not None:
            return
        host, port = split_listen(self._settings.listen)
        tls = await self._tls()
        listener = await _bind(host, port)
        try:
            self._answer_as(host, int(listener.getsockname()[1]), tls is not None)
            self._web = await serve(listener, self._handle, tls, forms=is_form)
        except OSError as error:
            listener.close()
            raise _cannot_bind(error, host, port) from error
        except BaseException:
            listener.close()
            raise

    def _answer_as(self, host: str, bound: int, tls: bool) -> None:
        """Makes pages and pull API for the names under which this address is reached."""
        own = set() if host in _WILDCARDS else {authority(host, bound, tls=tls)}
        names = {name.lower() for name in self._settings.authority} | own
        machine = socket.gethostname()
        called = {authority(name, bound, tls=tls) for name in (machine, f"{machine}.local")}
        self._access = Access(names | called, bound, tls=tls, sessions=self._sessions)
        self._watch = WatchApi(self._services, self._access, self._clock.monotonic)
        self._names, self._pull = names, None
        self.change_nodes(self._nodes)

    async def _people(self) -> "Site":
        async with self._making:
            if self._site is None:
                self._site = await asyncio.to_thread(self._make_site)
            return self._site

    def _make_site(self) -> "Site":
        from gateway.web.site import Site, desk_of  # noqa: PLC0415 -- with all the pages 3 MB of memory

        assert self._access is not None
        desk = desk_of(self._services, self._store, lambda: self._nodes, self._clock)
        return Site(desk, self._access, self._sessions, self._codes, self._clock.monotonic, self._reached_at)

    async def _reached_at(self) -> list[str]:
        """Addresses under which other machines reach the page."""
        from gateway.web.addresses import addresses  # noqa: PLC0415 -- only for who asks for a code

        host, _ = split_listen(self._settings.listen)
        return await asyncio.to_thread(addresses, host, self.port, tls=bool(self._settings.cert_file))

    async def _issue(self) -> dict[str, Any]:
        """A one-time code, and where to use it."""
        host, _ = split_listen(self._settings.listen)
        tls = bool(self._settings.cert_file)
        here = authority("127.0.0.1" if host in _WILDCARDS else host, self.port, tls=tls)
        where = {"addresses": await self._reached_at(), "here": f"{'https' if tls else 'http'}://{here}"}
        return {"code": self._codes.issue(), **where}

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._watch is not None and request.raw_path in WatchApi.PATHS:
            return await self._watch.handle(request)
        pull = self._pull
        if pull is not None and request.method == "GET" and pull.knows(request.raw_path):
            return await pull.handle(request)
        answer = await (await self._people()).handle(request)
        return deny() if answer is None else answer

    async def _tls(self) -> ssl.SSLContext | None:
        cert, key = self._settings.cert_file, self._settings.key_file
        if not cert:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            await asyncio.to_thread(context.load_cert_chain, cert, key)
        except (OSError, ValueError) as error:
            what = "certificate and key cannot be used"
            raise UnreachableError(
                what, where=f"[web] {cert}", cure="Check both files and who may read them"
            ) from error
        return context

    # -- the control socket -------------------------------------------------------------------------------------------

    async def _start_control(self) -> None:
        if self._control is not None or self._control_path is None:
            return
        listener = Listener(socket.AF_UNIX, most=limits.CONTROL_CONNECTIONS, most_by_one=limits.CONTROL_CONNECTIONS)
        try:
            await asyncio.to_thread(_bind_control, listener, self._control_path)
        except BaseException:
            listener.close()
            raise
        self._control = await serve(listener, self._handle_control, methods=CHANGING)

    async def _handle_control(self, request: web.BaseRequest) -> web.StreamResponse:
        services = self._services
        match request.method, request.raw_path:
            case "GET", "/status":
                told = services.status()
                await asyncio.sleep(0)  # of thousands of sources: others get their turn before it is encoded
                return _json(told)
            case "GET", path if path.startswith(_MINUTES) and services.rollup is not None:
                now = self._clock.now().ms // _MINUTE_MS
                return _json(await last_hour(services.rollup, path.removeprefix(_MINUTES), now))
            case "GET", path if services.logs is not None and (asked := _LOGS.fullmatch(path)):
                return _json(services.logs(int(asked[1])))
            case "POST", "/sync" if services.sync is not None:
                return _json({"nodes": services.sync()})
            case "POST", "/reload" if services.reload is not None:
                return _json(await services.reload("reload"))
            case "POST", "/reload?asked=rollback" if services.reload is not None:
                return _json(await services.reload("rollback"))
            case "POST", "/login" if self._web is not None:
                return _json(await self._issue())
        return deny(404)


async def last_hour(rollup: Rollup, source: str, now: int) -> dict[str, Any]:
    """The minutes up to `now` (Unix minutes) of each number that a source sends, as JSON-able values."""
    begin, end = now - 59, now + 1
    values = [
        {"name": name, "unit": unit, "minutes": await rollup.minutes(source, name, begin, end)}
        for name, unit in rollup.names(source)
    ]
    return {"begin": begin, "end": end, "values": values}


def _json(told: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(told), content_type="application/json")


def split_listen(listen: str) -> tuple[str, int]:
    """(host without brackets, port) of `host:port` or `[v6]:port`. Raises Refused where the port is none."""
    host, _, text = listen.rpartition(":")
    port = int(text)
    if port > _PORT_MAX:
        raise Refused("there is no such port", where=_LISTEN + listen, cure=f"Write a port up to {_PORT_MAX}")
    return host.strip("[]"), port


async def _bind(host: str, port: int) -> Listener:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        what = "this name cannot be looked up"
        raise UnreachableError(what, where=_LISTEN + host, cure="Write an address, like 127.0.0.1:8440") from error
    family, _, _, _, address = found[0]
    listener = Listener(family, most=limits.WEB_CONNECTIONS, most_by_one=limits.WEB_CONNECTIONS_PER_ADDRESS)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_bind(error, host, port) from error
    return listener


def _cannot_bind(error: OSError, host: str, port: int) -> UnreachableError:
    what, cure = _BIND_FAULTS.get(error.errno or 0, (error.strerror or "cannot be listened on", "Choose another one"))
    return UnreachableError(what, where=f"{_LISTEN}{host}:{port}", cure=cure)


def _bind_control(listener: Listener, path: Path) -> None:
    """Binds the control socket with mode 0600; one that a killed gateway left behind is replaced."""
    if len(str(path).encode()) > _UNIX_PATH_BYTES:
        what = f"this path is longer than a socket's may be ({_UNIX_PATH_BYTES} bytes)"
        raise Refused(what, where=str(path), cure="Choose a shorter data_dir")
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        pass
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # before listen(): nobody has connected
    except OSError as error:
        what = f"the control socket cannot be made: {error.strerror}"
        raise UnreachableError(
            what, where=str(path), cure="Remove what is there, or check the folder's owner"
        ) from error
