"""Starting and stopping, a port that is taken, and the control socket."""

import asyncio
import json
import socket
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fakes.clock import FakeClock
from fakes.readers import links
from fakes.status_sample import status

from gateway.errors import FieldgateError, Refused, UnreachableError
from gateway.settings import WebSettings
from gateway.store import Store
from gateway.web import Services, WebServer
from gateway.web.server import split_listen


def server(store: Store, listen: str = "127.0.0.1:0", control: Path | None = None, **fields: str) -> WebServer:
    return WebServer(
        WebSettings(listen=listen, **fields), links(), store, FakeClock(), Services(status=status), control=control
    )


async def told(path: Path, target: str = "/status", method: str = "GET", **more: Any) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.request(method, f"http://gateway{target}", **more) as response,
    ):
        return response.status, await response.read()


async def test_a_port_that_is_taken_is_said_and_can_be_tried_again(store: Store, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        web = server(store, f"127.0.0.1:{port}", tmp_path / "control.sock")
        for _ in range(2):
            with pytest.raises(UnreachableError, match="another program has this port") as caught:
                await web.start()
            assert caught.value.cure
            assert str(port) in str(caught.value)
        assert (await told(tmp_path / "control.sock"))[0] == 200  # the rest runs
    await web.start()
    assert web.port == port
    await web.start()
    await web.stop()
    await web.stop()
    await web.start()
    await web.stop()


@pytest.mark.parametrize(
    ("listen", "word"),
    [
        ("192.0.2.1:8440", "does not have this address"),
        ("no-such-name.invalid:8440", "cannot be looked up"),
        ("127.0.0.1:70000", "no such port"),
    ],
)
async def test_addresses_that_cannot_be_listened_on(store: Store, listen: str, word: str) -> None:
    with pytest.raises(FieldgateError, match=word) as caught:
        await server(store, listen).start()
    assert caught.value.cure
    assert "[web] listen" in caught.value.where


async def test_certificates_that_cannot_be_used(store: Store, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("secret words that are no key")
    for path in (bad, tmp_path / "gone.pem"):
        with pytest.raises(UnreachableError, match="cannot be used") as caught:
            await server(store, cert_file=str(path), key_file=str(path)).start()
        assert "secret words" not in str(caught.value)


async def test_ipv6(store: Store) -> None:
    web = server(store, "[::1]:0")
    try:
        await web.start()
    except UnreachableError:
        return  # this machine has none
    async with aiohttp.ClientSession() as http, http.get(f"http://[::1]:{web.port}/") as response:
        assert response.status == 200
    await web.stop()


def test_split_listen() -> None:
    assert split_listen("127.0.0.1:8440") == ("127.0.0.1", 8440)
    assert split_listen("[::1]:1") == ("::1", 1)


async def test_stop_ends_connections_that_stay_open(store: Store) -> None:
    web = server(store)
    await web.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % web.port)
    await reader.readuntil(b"\r\n\r\n")
    await web.stop()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    await writer.wait_closed()


# -- the control socket -----------------------------------------------------------------------------------------------


async def test_status_over_the_control_socket(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    web = server(store, control=path)
    await web.start()
    code, data = await told(path)
    assert (code, json.loads(data)) == (200, status())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for target, method in (("/", "GET"), ("/status?x", "GET"), ("/checkpoint", "GET"), ("/status", "POST")):
        code, data = await told(path, target, method)
        assert code in {401, 404}
        assert data == b""
    await web.stop()
    assert not path.exists()


async def test_a_post_is_taken_on_the_control_socket_alone_and_without_a_body(store: Store, tmp_path: Path) -> None:
    path, asked = tmp_path / "control.sock", list[int]()
    services = Services(status=status, sync=lambda: asked.append(1) or ["coop"])
    web = WebServer(WebSettings(listen="127.0.0.1:0"), links(), store, FakeClock(), services, control=path)
    await web.start()
    code, data = await told(path, "/sync", "POST")
    assert (code, json.loads(data)) == (200, {"nodes": ["coop"]})
    assert asked == [1]
    refused = [
        ("POST", {"data": b"x"}),
        ("POST", {"headers": {"Upgrade": "x"}}),
        ("PUT", {}),
        ("GET", {}),
        ("DELETE", {}),
    ]
    for method, more in refused:
        code, data = await told(path, "/sync", method, **more)
        assert (code in {401, 404}, data) == (True, b"")
    async with aiohttp.ClientSession() as session:
        for target in ("/sync", "/", "/status"):
            async with session.post(f"http://127.0.0.1:{web.port}{target}") as response:
                assert (response.status, await response.read()) == (401, b"")
    assert asked == [1]
    await web.stop()


async def test_a_socket_left_behind_is_replaced(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    assert path.exists()
    web = server(store, control=path)
    await web.start()
    assert (await told(path))[0] == 200
    await web.stop()


async def test_what_is_no_socket_is_left_alone(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("somebody's file")
    web = server(store, control=path)
    with pytest.raises(FieldgateError, match="control socket") as caught:
        await web.start()
    assert caught.value.cure
    assert path.read_text() == "somebody's file"
    assert web.port  # the rest runs
    await web.stop()
    assert path.exists()


async def test_a_path_that_is_too_long_for_a_socket(store: Store, tmp_path: Path) -> None:
    web = server(store, control=tmp_path / ("x" * 120))
    with pytest.raises(Refused, match="longer than a socket's"):
        await web.start()
    await web.stop()
