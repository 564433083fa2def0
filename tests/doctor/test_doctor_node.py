"""A real node that is well, that does not know the log, that has another key; and what answers in its place."""

import asyncio
import contextlib
import email.utils
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from fakes.bad_node import BadNode
from fakes.bad_witness import BadWitness
from fakes.broker import free_port
from fakes.configs import same_key
from fakes.log_maker import LogMaker
from fakes.nodes import SEEN, STORED, Client, enrolled, running
from fakes.tls import Authority

from gateway.core import limits
from gateway.doctor import Case, Outcome, node
from gateway.settings import GatewaySettings, NodeLink, Settings, WitnessLink

LOG = LogMaker("hen.example/1").add(3)


def link(port: int, **more: str) -> NodeLink:
    given = {"url": f"http://127.0.0.1:{port}", "seen_key": str(SEEN), "stored_key": str(STORED)}
    return NodeLink(**{**given, **more})


async def look(*links: NodeLink) -> Outcome:
    gateway = GatewaySettings(name="hen.example", data_dir="/nowhere", key="file:/nowhere/log.key")
    nodes = {f"n{at}": one for at, one in enumerate(links)}
    return await node.look(Case(settings=Settings(gateway=gateway, node=nodes)))


def ids(outcome: Outcome) -> list[str]:
    return [one.condition for one in outcome.problems]


@contextlib.asynccontextmanager
async def holding(folder: Path) -> AsyncIterator[Client]:
    """A node that has co-signed the log."""
    folder.mkdir()
    async with running(folder, {"hen": enrolled(LOG)}) as client:
        await client.sync(LOG, 0)
        for height in range(LOG.size):
            await client.put(LOG, height)
        yield client


async def test_a_node_that_is_well(tmp_path: Path) -> None:
    async with holding(tmp_path / "node") as client:
        before = client.node
        outcome = await look(link(client.port))
        assert ids(outcome) == []
        assert outcome.figures["n0: answers in"].endswith("ms")
        assert outcome.said.startswith("n0: answers")
        assert client.node is before


async def test_another_key_than_the_configuration_says(tmp_path: Path) -> None:
    async with holding(tmp_path / "node") as client:
        outcome = await look(link(client.port, seen_key=same_key("node.example", "another.example")))
        assert ids(outcome) == ["node-key"]
        assert "seen_key" in outcome.problems[0].what
        assert outcome.problems[0].subject == "n0"


async def test_a_log_that_is_not_enrolled_and_one_that_is_new_there(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    other = LogMaker("other.example/1").add()
    async with running(tmp_path / "node", {"other": enrolled(other)}) as client:
        outcome = await look(link(client.port))
        assert ids(outcome) == ["node-unknown-log"]
        assert "fieldgate status" in outcome.problems[0].cure
    (tmp_path / "new").mkdir()
    async with running(tmp_path / "new", {"hen": enrolled(LOG)}) as client:
        assert ids(await look(link(client.port))) == ["node-empty"]


async def test_nobody_there_and_no_such_name() -> None:
    outcome = await look(link(free_port()), link(1, url="http://no-such-host.invalid"))
    assert [(one.condition, one.subject) for one in outcome.problems] == [("node-away", "n0"), ("node-name", "n1")]
    assert "refused" in outcome.problems[0].what


async def test_one_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOCTOR_ASKING_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = await look(link(silent.getsockname()[1]))
    assert ids(outcome) == ["node-away"]
    assert "in time" in outcome.problems[0].what


async def test_tls(tmp_path: Path) -> None:
    ours = await asyncio.to_thread(Authority, tmp_path / "ca")
    other = await asyncio.to_thread(Authority, tmp_path / "other", "another")
    cert, key = await asyncio.to_thread(ours.issue, "node")
    bad = BadNode(LOG)
    bad.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    await asyncio.to_thread(bad.tls.load_cert_chain, cert, key)
    async with bad:
        trusting = link(0, url=bad.url, ca_file=str(ours.ca_file))
        found = {
            "ours": await look(trusting),
            "other": await look(link(0, url=bad.url, ca_file=str(other.ca_file))),
            "system": await look(link(0, url=bad.url)),
            "none": await look(link(0, url=bad.url, ca_file=str(tmp_path / "none"))),
            "plain": await look(link(0, url=bad.url.replace("https", "http"))),
        }
    assert ids(found["ours"]) == ["node-empty", "node-certificate"]  # it ends in two days
    assert [ids(found[name]) for name in ("other", "system", "none")] == [["node-tls"]] * 3
    assert "none cannot be read" in found["none"].problems[0].what
    assert ids(found["plain"]) in (["node-away"], ["node-answer"])


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b"<html>", ["node-answer"]),
        (200, b"x" * (limits.NOTE_BYTES + 1), ["node-answer"]),
        (200, LogMaker("other.example/1").add().note(1).encode().encode(), ["node-answer"]),
        (200, LOG.note(2).encode().encode(), ["node-key"]),
        (302, b"", ["node-refused"]),
        (500, b"", ["node-refused"]),
    ],
)
async def test_what_answers_in_its_place(status: int, body: bytes, found: list[str]) -> None:
    async def answer(_: BadNode, request: web.Request, __: bytes) -> web.Response:
        return web.Response(status=status, body=body)

    async with BadNode(LOG, misbehave=answer) as bad:
        outcome = await look(link(bad.port))
        assert ids(outcome) == found
        assert all("<html>" not in one.what for one in outcome.problems)
        assert {sent.method for sent in bad.sent} == {"GET"}


async def test_a_signature_under_the_right_name_that_is_none(tmp_path: Path) -> None:
    async with holding(tmp_path / "node") as client:
        shown = (await client.ask("GET", f"/{LOG.id}/checkpoint")).text
    line = next(line for line in shown.splitlines() if line.startswith("— node.example "))
    forged = shown.replace(line, line[:-6] + ("AAAAA=" if not line.endswith("AAAAA=") else "BBBBB="))

    async def answer(_: BadNode, __: web.Request, ___: bytes) -> web.Response:
        return web.Response(body=forged.encode())

    async with BadNode(LOG, misbehave=answer) as bad:
        assert ids(await look(link(bad.port))) == ["node-answer"]


def test_clocks_that_are_apart_slow_answers_and_certificates() -> None:
    now = time.time()
    answer = node.Answer(404, b"", True, 0.1, email.utils.formatdate(now, usegmt=True))
    judged = node.judge("n", link(1), answer, "hen.example/1", now_s=now)
    assert [one.condition for one in judged.problems] == ["node-empty"]
    judged = node.judge("n", link(1), answer._replace(seconds=6.0), "hen.example/1", now_s=now + 3600)
    assert [one.condition for one in judged.problems] == ["node-empty", "node-slow", "clock-apart"]
    assert node.judge("n", link(1), answer._replace(date="nonsense"), "hen.example/1", now_s=now).problems[1:] == []


async def test_without_a_node() -> None:
    assert ids(await look()) == ["node-none"]


async def look_at(witness: BadWitness, **more: str) -> Outcome:
    gateway = GatewaySettings(name="hen.example", data_dir="/nowhere", key="file:/nowhere/log.key")
    link = WitnessLink(**{"url": witness.url, "vkey": str(witness.key.vkey), **more})
    return await node.look(Case(settings=Settings(gateway=gateway, witness={"public": link})))


async def test_a_witness_is_no_node() -> None:
    witness = BadWitness(LOG, time.time)
    async with witness:
        assert ids(await look_at(witness)) == ["node-none"]  # it has nothing of the log yet
        note = LOG.note().encode()
        witness.newest = note + witness.line(note)
        outcome = await look_at(witness)
        assert ids(outcome) == ["node-none"]
        assert outcome.figures["public: answers in"].endswith("ms")
        other = same_key("witness.example", "another.example")
        assert ids(await look_at(witness, vkey=other)) == ["witness-key", "node-none"]
        witness.newest = "nonsense"
        assert ids(await look_at(witness)) == ["node-none"]
        assert ids(await look_at(witness, url="http://no-such-host.invalid")) == ["witness-away", "node-none"]

        async def busy(*_: object) -> web.Response:
            return web.Response(status=503)

        witness.misbehave = busy
        assert ids(await look_at(witness)) == ["witness-busy", "node-none"]
    outcome = await look_at(witness)
    assert [(one.condition, one.subject) for one in outcome.problems] == [("witness-away", "public"), ("node-none", "")]
