"""A gateway with an SM2 key signs each checkpoint twice; without the key, or an engine, it goes on and says so."""

from pathlib import Path

import pytest
from fakes.gateway_store import ORIGIN
from fakes.running_gateway import HEAD, Home, Running

from gateway import config, keys, sm2
from gateway.core.note import SM2, VerifierKey, parse_note, verify_note, verify_sm2
from gateway.doctor import Case, examination
from gateway.doctor import sm2 as doctor

NAME = f"{ORIGIN.rpartition('/')[0]}/sm2"
OFTEN = "[seal]\nmax_age_s = 0.05\nheartbeat_s = 0.05\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.secret("sm2.key", keys.generate(NAME, SM2))
    home.write(OFTEN, HEAD.replace("[web]", 'sm2_key = "file:{folder}/sm2.key"\n\n[web]', 1))
    return home


@pytest.fixture
def vkey(home: Home) -> VerifierKey:
    signer = config.sm2_signer(config.load(home.path))
    assert signer is not None
    return signer.vkey


async def newest(running: Running, more: int = 2) -> tuple[int, str]:
    """Size and note of the newest checkpoint, so many blocks from now."""
    size = running.store.blocks.size + more
    await running.until(lambda: running.store.blocks.size >= size)
    found = await running.store.blocks.note()
    assert found is not None
    return found


def told(running: Running) -> list[str]:
    return [one["what"] for one in running.status()["problems"] if one["condition"] == "sm2-unsigned"]


async def test_each_checkpoint_is_signed_by_both_keys(home: Home, vkey: VerifierKey):
    async with home.running() as running:
        _, text = await newest(running)
        note = parse_note(text)
        verify_note(note, running.store.vkey)
        verify_sm2(note, vkey)
        assert len(note.lines) == 2 and not told(running)


@pytest.mark.parametrize("key", ["missing", "the log's", "another gateway's", "readable by others"])
async def test_without_its_key_it_seals_and_says_so(home: Home, vkey: VerifierKey, key: str):
    """A key that comes back is used."""
    file = home.folder / "sm2.key"
    right = file.read_text()
    texts = {"the log's": (home.folder / "log.key").read_text(), "another gateway's": keys.generate("quay/sm2", SM2)}
    if key == "missing":
        file.unlink()
    elif key == "readable by others":
        file.chmod(0o644)
    else:
        file.write_text(texts[key])
    async with home.running() as running:
        await running.until(lambda: told(running))
        size, text = await newest(running)
        assert len(parse_note(text).lines) == 1
        file.touch()
        file.chmod(0o600)
        file.write_text(right)
        await running.until(lambda: not told(running))
        later, text = await newest(running)
        assert later > size
        verify_sm2(parse_note(text), vkey)


async def test_without_an_engine_it_seals_and_says_so(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sm2, "engine", lambda: None)
    async with home.running() as running:
        _, text = await newest(running)
        assert len(parse_note(text).lines) == 1
        assert "nothing on this machine makes SM2 signatures" in told(running)[0]


async def test_a_signature_that_does_not_verify_never_leaves(home: Home, monkeypatch: pytest.MonkeyPatch):
    found = sm2.wanted()
    monkeypatch.setattr(sm2, "engine", lambda: found._replace(sign=lambda *_: bytes(70)))
    async with home.running() as running:
        _, text = await newest(running)
        assert len(parse_note(text).lines) == 1
        assert "does not verify" in told(running)[0]


@pytest.fixture
def case(home: Home) -> Case:
    return Case(path=home.path, settings=config.load(home.path))


async def test_doctor_tells_what_signs_and_what_is_missing(home: Home, vkey: VerifierKey, case: Case):
    good = await doctor.look(case)
    assert good.problems == () and good.figures["signatures"] == "libcrypto"
    assert good.figures["vkey"] == str(vkey)
    (home.folder / "sm2.key").unlink()
    report = await examination(case)
    assert "sm2-unsigned" in [problem.condition for problem, _ in report.findings]
