"""`fieldgate init` makes everything or nothing, whatever ends it, and overwrites nothing."""

import asyncio
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.command import fieldgate

from gateway import config
from gateway.core.note import VerifierKey
from gateway.keys import open_signer
from gateway.store import SIGN_STATE, Store
from gateway.store.signstate import SignState

NAME = "henhouse.example"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_whole(folder: Path) -> bool:
    """Whether configuration, key, store and sign-state are there and fit each other."""
    loaded = config.load(folder / "fieldgate.toml")
    return asyncio.run(_fits(Path(loaded.gateway.data_dir), config.log_signer(loaded).vkey))


async def _fits(data_dir: Path, vkey: VerifierKey) -> bool:
    store = await Store.open(data_dir)
    state = await SignState.open(data_dir / SIGN_STATE, str(vkey))
    try:
        return store.vkey == vkey and store.blocks.size == state.head.size == 0
    finally:
        await state.close()
        await store.close()


def test_makes_a_gateway(tmp_path: Path) -> None:
    done = fieldgate("init", "--name", NAME, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert is_whole(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "fieldgate.toml", "log.key", "read.key"]
    assert stat.S_IMODE((tmp_path / "log.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    vkey = str(open_signer(f"file:{tmp_path}/log.key").vkey)
    assert vkey in done.out
    assert vkey.startswith(f"{NAME}/1+")
    assert "PRIVATE" not in done.out
    assert "fieldgate probe PORT" in done.out
    assert fieldgate("check", cwd=tmp_path).code == 0


def test_places_and_epoch(tmp_path: Path) -> None:
    for folder in ("etc", "var"):
        (tmp_path / folder).mkdir()
    places = ("--config", "etc/g.toml", "--data-dir", "var/lib", "--epoch", "7")
    assert fieldgate("init", "--name", NAME, *places, cwd=tmp_path).code == 0
    loaded = config.load(tmp_path / "etc" / "g.toml")
    assert loaded.origin == f"{NAME}/7"
    assert loaded.gateway.key == f"file:{tmp_path}/etc/log.key"


def test_odd_paths(tmp_path: Path) -> None:
    place = tmp_path / 'a "b\\ $c é'
    place.mkdir()
    assert fieldgate("init", "--name", NAME, cwd=place, env={"LANG": "C.UTF-8"}).code == 0
    assert config.load(place / "fieldgate.toml").gateway.data_dir == str(place / "data")
    assert fieldgate("init", "--name", NAME, "--data-dir", "a\nb", cwd=tmp_path).code == 2


def test_what_init_writes_is_good_when_its_examples_are_enabled(tmp_path: Path) -> None:
    fieldgate("init", "--name", NAME, cwd=tmp_path)
    text = (tmp_path / "fieldgate.toml").read_text()
    text = text[: text.index("# An upstream node")]
    (tmp_path / "all.toml").write_text(re.sub(r"^# (?=[a-z_]+ = |\[[a-z])", "", text, flags=re.MULTILINE))
    loaded = config.load(tmp_path / "all.toml")
    assert loaded.source["climate"].driver == "mqtt"
    assert loaded.broker["local"].user == "fieldgate"


@pytest.mark.parametrize("name", ["", "Henhouse", "a/b", "-a", "a" * 63, "a+b", "a\nb", "höhle"])
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    done = fieldgate("init", "--name", name, cwd=tmp_path)
    assert done.code == 2
    assert len(done.lines) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_origin_at_its_limit_and_one_past_it(tmp_path: Path) -> None:
    assert fieldgate("init", "--name", "a" * 62, cwd=tmp_path).code == 0
    done = fieldgate("init", "--name", "a" * 62, "--epoch", "10", "--config", "b.toml", "--data-dir", "b", cwd=tmp_path)
    assert done.code == 2
    assert "64 bytes" in done.err


@pytest.mark.parametrize("existing", ["fieldgate.toml", "log.key", "data/x", "data/fieldgate.db", "data"])
@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_overwrites_nothing(tmp_path: Path, existing: str, kind: str) -> None:
    path = tmp_path / existing
    path.parent.mkdir(exist_ok=True)
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = tree(tmp_path)
    done = fieldgate("init", "--name", NAME, cwd=tmp_path)
    assert done.code in (1, 3)
    assert len(done.lines) == 1
    assert tree(tmp_path) == before
    assert path.is_symlink() == (kind == "dangling")


def test_twice(tmp_path: Path) -> None:
    fieldgate("init", "--name", NAME, cwd=tmp_path)
    before = tree(tmp_path)
    done = fieldgate("init", "--name", NAME, cwd=tmp_path)
    assert done.code == 1
    assert "already" in done.err
    assert tree(tmp_path) == before


def test_an_empty_data_dir_is_used(tmp_path: Path) -> None:
    """Also that of a disk of its own, which has a folder of the file system's."""
    (tmp_path / "data/lost+found").mkdir(parents=True)
    assert fieldgate("init", "--name", NAME, cwd=tmp_path).code == 0


def test_one_place_for_two_things(tmp_path: Path) -> None:
    for places in (["--config", "log.key"], ["--data-dir", "log.key"], ["--config", "data"]):
        assert fieldgate("init", "--name", NAME, *places, cwd=tmp_path).code == 2
    assert list(tmp_path.iterdir()) == []


def test_no_folder_to_write_to(tmp_path: Path) -> None:
    done = fieldgate("init", "--name", NAME, "--config", "none/x.toml", cwd=tmp_path)
    assert done.code == 3
    done = fieldgate("init", "--name", NAME, "--data-dir", "none/data", cwd=tmp_path)
    assert done.code == 3
    assert list(tmp_path.iterdir()) == []


# Runs init in each folder, in a child that kills itself with SIGKILL just before its Nth change of the file system.
FORKS = """
import os, signal, sys
from pathlib import Path
import gateway.cli.init, gateway.app
from gateway.cli import main
changes = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "open", "sqlite3.connect"}
left = 0
def count(event, args):
    global left
    if event in changes and (event != "open" or (isinstance(args[2], int) and args[2] & os.O_WRONLY)):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
for number, folder in enumerate(sys.argv[2:], 1):
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        left = number if sys.argv[1] == "kill" else 0
        main(["init", "--name", "henhouse.example"])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def inits(how: str, folders: list[Path]) -> list[int]:
    done = subprocess.run([sys.executable, "-c", FORKS, how, *folders], stdout=subprocess.PIPE, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.nightly
def test_killed_at_any_point(tmp_path: Path) -> None:
    """Whatever is left does no harm: the same init again makes the whole gateway, and there is one key only."""
    folders = [tmp_path / str(number) for number in range(60)]
    for folder in folders:
        folder.mkdir()
    codes = inits("kill", folders)
    kills = codes.count(-signal.SIGKILL)
    assert codes == [-signal.SIGKILL] * kills + [0] * (60 - kills)
    assert kills > 15
    folders = folders[:kills]
    keys = [(folder / "log.key").read_bytes() if (folder / "log.key").exists() else None for folder in folders]
    made = [(folder / "fieldgate.toml").exists() for folder in folders]
    assert all(is_whole(folder) for folder, whole in zip(folders, made, strict=True) if whole), "it appears last"
    assert sum((folder / "data" / ".init").exists() for folder in folders) >= 5, "interrupted after the decision"
    assert sum(not (folder / "data" / ".init").exists() for folder in folders) >= 5, "interrupted before it"
    for folder, key, whole, code in zip(folders, keys, made, inits("let", folders), strict=True):
        assert code == 0 or (code == 1 and whole), folder
        assert is_whole(folder)
        assert key in (None, (folder / "log.key").read_bytes())
        assert not [path for path in folder.rglob("*") if ".init" in path.name] or code == 1, folder
        assert len([path for path in folder.rglob("*") if path.is_file() and b"PRIVATE+KEY" in path.read_bytes()]) == 2


def test_another_init_does_not_finish_an_interrupted_one(tmp_path: Path) -> None:
    fieldgate("init", "--name", NAME, cwd=tmp_path)
    ready = tmp_path / "data" / ".init"
    ready.mkdir()
    (tmp_path / "fieldgate.toml").rename(ready / "fieldgate.toml")
    (tmp_path / "log.key").rename(ready / "log.key")
    (ready / "store").mkdir()
    done = fieldgate("init", "--name", "other.example", cwd=tmp_path)
    assert done.code == 1
    assert "interrupted" in done.err
    assert not (tmp_path / "log.key").exists()
    assert fieldgate("init", "--name", NAME, cwd=tmp_path).code == 0


def test_two_at_once(tmp_path: Path) -> None:
    args = [sys.executable, "-m", "gateway.cli", "init", "--name", NAME]
    both = [subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes == [0, 1], said
