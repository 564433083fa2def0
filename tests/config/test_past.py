"""Configurations that ran are kept whole, a rollback loses nothing, and no link leads anybody elsewhere."""

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, write
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.config.past import Past
from gateway.core import limits
from gateway.core.limits import CONFIG_SNAPSHOTS
from gateway.errors import NotFoundError, Refused, UnreachableError

BOX = '[source.box]\ndriver = "system"\n'
Tree = dict[str, bytes]


class Place:
    """A folder with a configuration, and one of the gateway's data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data_dir = folder, folder / "data"
        self.data_dir.mkdir(exist_ok=True)
        self.path = folder / "fieldgate.toml"
        self.past = Past(self.path, self.data_dir)

    def put(self, files: Mapping[str, str]) -> None:
        """These files and no others."""
        for path in self.folder.glob("fieldgate.d/*"):
            path.unlink()
        for name, text in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            write(self.folder, text, name)

    def tree(self) -> Tree:
        """The configuration's files as they are."""
        paths = [self.path, *self.folder.glob("fieldgate.d/*")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths if path.exists()}

    def keep(self) -> int:
        """As a gateway does that took the files over; the number, 0 where they were kept already."""
        made = self.past.keep(config.files(self.path))
        return made.number if made else 0

    def numbers(self) -> list[int]:
        return [one.number for one in self.past.snapshots()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.put({"fieldgate.toml": GATEWAY})
    return made


def test_what_ran_is_kept_beside_the_file(place: Place) -> None:
    place.put({"fieldgate.toml": GATEWAY, "fieldgate.d/10-box.toml": BOX})
    place.path.chmod(0o640)
    assert place.keep() == 1
    (kept,) = place.past.snapshots()
    assert kept.folder == place.folder / "fieldgate.past" / "0001"
    assert not kept.replaced
    assert (kept.folder / "fieldgate.toml").read_text() == GATEWAY
    assert (kept.folder / "fieldgate.d" / "10-box.toml").read_text() == BOX
    assert stat.S_IMODE((kept.folder / "fieldgate.toml").stat().st_mode) == 0o640
    assert config.settings_of(place.past.read(kept)) == config.load(place.path)
    assert place.keep() == 0, "it is kept already"
    place.path.chmod(0o600)
    assert place.keep() == 0, "its mode is no change"
    place.put({"fieldgate.toml": GATEWAY})
    assert place.keep() == 2
    assert [path.name for path in kept.folder.parent.iterdir() if path.name.startswith(".")] == []


def test_folders_are_as_open_as_the_files_own(place: Place) -> None:
    place.folder.chmod(0o777)
    place.keep()
    for folder in (place.folder / "fieldgate.past", place.past.snapshots()[0].folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755, "and nobody else may write there"
    place.folder.chmod(0o750)
    place.put({"fieldgate.toml": GATEWAY + "# 2\n"})
    place.keep()
    assert stat.S_IMODE((place.folder / "fieldgate.past").stat().st_mode) == 0o755
    assert stat.S_IMODE(place.past.snapshots()[0].folder.stat().st_mode) == 0o755


def test_the_newest_stay(place: Place) -> None:
    for number in range(1, CONFIG_SNAPSHOTS + 1):
        place.put({"fieldgate.toml": GATEWAY + f"# {number}\n"})
        assert place.keep() == number
    assert place.numbers() == list(range(1, CONFIG_SNAPSHOTS + 1))
    place.put({"fieldgate.toml": GATEWAY + "# more\n"})
    place.keep()
    assert place.numbers() == list(range(2, CONFIG_SNAPSHOTS + 2))


@pytest.mark.parametrize("beside", ["a file", "a link"])
def test_where_nothing_can_be_written_beside_the_file(place: Place, beside: str) -> None:
    """They go to data_dir/config, and both places are read as one."""
    blocked, elsewhere = place.folder / "fieldgate.past", place.folder / "elsewhere"
    elsewhere.mkdir()
    blocked.symlink_to("elsewhere") if beside == "a link" else blocked.write_text("")
    assert place.keep() == 1
    kept = place.data_dir / "config"
    assert place.past.snapshots()[0].folder == kept / "0001"
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(place.data_dir.stat().st_mode) & 0o755
    assert list(elsewhere.iterdir()) == []
    blocked.unlink()
    place.put({"fieldgate.toml": GATEWAY + "# 2\n"})
    assert place.keep() == 2, "numbers go on over both"
    assert [one.folder.parent for one in place.past.snapshots()] == [kept, blocked]
    place.past.restore(place.past.choose(None))
    assert place.tree() == {"fieldgate.toml": GATEWAY.encode()}


def test_where_nothing_can_be_written_at_all(place: Place) -> None:
    for path in (place.folder / "fieldgate.past", place.data_dir / "config"):
        path.write_text("")
    with pytest.raises(UnreachableError, match="cannot be kept"):
        place.keep()
    with pytest.raises(UnreachableError):
        Past(place.path, None).keep(config.files(place.path))
    assert place.past.snapshots() == []


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file that this process writes may be longer than ten bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_has_no_room_leaves_nothing_behind(place: Place, no_room: None) -> None:
    files = config.files(place.path)
    with pytest.raises(UnreachableError, match="File too large"):
        place.past.keep(files)
    assert [list(folder.iterdir()) for folder in place.past.folders] == [[], []]


def test_going_back_without_room_changes_nothing(place: Place, request: pytest.FixtureRequest) -> None:
    place.keep()
    place.path.write_text("# bad")
    chosen = place.past.choose(None)
    request.getfixturevalue("no_room")
    with pytest.raises(OSError, match="File too large"):
        place.past.restore(chosen)
    assert place.tree() == {"fieldgate.toml": b"# bad"}
    assert not list(place.folder.rglob("*.rollback"))


def test_drop_ins_without_their_file_are_kept_too(place: Place) -> None:
    ran(place, D)
    place.put({"fieldgate.toml": GATEWAY, "fieldgate.d/new.toml": "# work of an hour"})
    place.path.unlink()
    kept = place.past.keep(place.past.current(), replaced=True)
    assert kept
    assert (kept.folder / "fieldgate.d" / "new.toml").read_text() == "# work of an hour"
    place.past.restore(place.past.choose(None))
    assert place.tree() == {name: text.encode() for name, text in D.items()}


# The way back

A, B, C = ({"fieldgate.toml": GATEWAY + f"# {name}\n"} for name in "abc")
D = {"fieldgate.toml": GATEWAY, "fieldgate.d/10.toml": BOX, "fieldgate.d/20.toml": "[seal]\nmax_age_s = 5\n"}


def ran(place: Place, *several: Mapping[str, str]) -> None:
    for files in several:
        place.put(files)
        place.keep()


def test_which_one_is_gone_back_to(place: Place) -> None:
    with pytest.raises(NotFoundError, match="no configuration to go back to"):
        place.past.choose(None)
    ran(place, A)
    with pytest.raises(NotFoundError):
        place.past.choose(None)
    place.put(B)
    assert place.past.choose(None).number == 1, "the files differ from the newest: it"
    ran(place, B, C)
    assert place.past.choose(None).number == 2, "the files are the newest: the one before it"
    assert place.past.choose(1).number == 1
    with pytest.raises(NotFoundError, match="no snapshot 9"):
        place.past.choose(9)
    place.put(D)
    replaced = place.past.keep(config.files(place.path), replaced=True)
    assert replaced
    assert (replaced.number, replaced.replaced, replaced.folder.name) == (4, True, "0004-replaced")
    assert place.past.choose(None).number == 3, "what was replaced never ran"
    assert place.past.choose(4).number == 4
    assert place.past.keep(config.files(place.path), replaced=True) is None, "it is kept already"
    place.path.unlink()
    assert place.past.choose(None).number == 3


@pytest.mark.parametrize("before", [A, D], ids=["a file", "with drop-ins"])
@pytest.mark.parametrize("after", [B, D, {"fieldgate.toml": "no TOML at all", "fieldgate.d/9.toml": "x"}, {}], ids=str)
def test_everything_is_as_it_was(place: Place, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    ran(place, before)
    wanted = place.tree()
    place.put(after)
    if not after:
        place.path.unlink()
    place.past.restore(place.past.choose(1))
    assert place.tree() == wanted
    assert list(place.folder.rglob("*.rollback")) == []


def test_owner_and_mode_stay_those_of_the_file(place: Place) -> None:
    ran(place, D)
    place.path.chmod(0o640)
    owner = (1, 2) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(place.path, *owner)
    (place.folder / "fieldgate.d" / "10.toml").unlink()
    place.past.restore(place.past.choose(1))
    told = place.path.stat()
    assert (stat.S_IMODE(told.st_mode), told.st_uid, told.st_gid) == (0o640, *owner)
    assert (place.folder / "fieldgate.d" / "10.toml").stat().st_uid == os.getuid()


def linked(place: Place, name: str) -> Path:
    """A file of the configuration, or its folder, as a link to the same elsewhere."""
    path = place.folder / name
    (place.folder / "real").mkdir()
    target = path.rename(place.folder / "real" / path.name)
    path.symlink_to(target)
    return target


@pytest.mark.parametrize("name", ["fieldgate.toml", "fieldgate.d/10.toml", "fieldgate.d"])
def test_a_file_that_is_a_link_is_left_alone(place: Place, name: str) -> None:
    ran(place, D)
    place.put({**D, "fieldgate.toml": GATEWAY + "# 2\n"})
    target = linked(place, name)
    before = place.tree()
    with pytest.raises(Refused, match="is a link") as caught:
        place.past.restore(place.past.choose(1))
    assert str(place.folder / name) in str(caught.value)
    assert "0001" in caught.value.cure
    assert place.tree() == before
    assert (place.folder / name).is_symlink()
    assert target.exists()


def test_a_snapshot_that_is_a_link_is_none(place: Place) -> None:
    ran(place, A, B)
    folder = place.folder / "fieldgate.past"
    (folder / "0001").rename(place.folder / "real")
    (folder / "0001").symlink_to(place.folder / "real")
    assert place.numbers() == [2]
    (folder / "0002" / "fieldgate.toml").unlink()
    (folder / "0002" / "fieldgate.toml").symlink_to(place.folder / "real" / "fieldgate.toml")
    with pytest.raises(NotFoundError, match="cannot be read"):
        place.past.read(place.past.snapshots()[0])
    folder.rename(place.folder / "past")
    folder.symlink_to("past")
    assert place.numbers() == []


@pytest.mark.parametrize("what", ["pipe", "long", "folder", "nothing"])
def test_a_snapshot_that_is_not_what_was_kept(place: Place, what: str) -> None:
    ran(place, A)
    file = place.folder / "fieldgate.past" / "0001" / "fieldgate.toml"
    file.unlink()
    if what == "pipe":
        os.mkfifo(file)
    elif what == "long":
        file.write_bytes(b"#" * (limits.CONFIG_BYTES + 1))
    elif what == "folder":
        file.mkdir()
    with pytest.raises(NotFoundError):
        place.past.read(place.past.snapshots()[0])
    place.put(A)
    assert place.keep() == 2, "it is no reason not to keep the next"


def test_other_things_in_the_folder_are_no_snapshots(place: Place) -> None:
    ran(place, A)
    folder = place.folder / "fieldgate.past"
    for name in ("7", "0007-old", "abcd", ".0009", "0008x"):
        (folder / name).mkdir()
    (folder / "0006").write_text("")
    assert place.numbers() == [1]


def test_a_drop_in_of_the_files_own_name(tmp_path: Path) -> None:
    """A configuration in a folder that is called like its drop-ins', and a drop-in that is called like it."""
    (tmp_path / "fieldgate.d").mkdir()
    place = Place(tmp_path / "fieldgate.d")
    ran(place, {"fieldgate.toml": GATEWAY, "fieldgate.d/fieldgate.toml": BOX})
    wanted = place.tree()
    place.put(A)
    place.past.restore(place.past.choose(None))
    assert place.tree() == wanted


@given(st.lists(st.tuples(st.sampled_from(["edit", "run", "back"]), st.integers(0, 4)), max_size=9))
def test_nothing_is_lost_by_going_back(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]) -> None:
    """Whatever was there before a rollback is a snapshot afterwards, and the files are one that ran."""
    place = Place(tmp_path_factory.mktemp("past"))
    contents = [A, B, C, D, {"fieldgate.toml": "no TOML", "fieldgate.d/1.toml": ""}]
    place.put(A)
    have_run: list[Tree] = []
    for step, number in steps:
        if step == "edit":
            place.put(contents[number])
        elif step == "run":
            place.keep()
            have_run.append(place.tree())
        else:
            before = place.tree()
            try:
                chosen = place.past.choose(None)
            except NotFoundError:
                assert not have_run or have_run == [before] * len(have_run)
                continue
            place.past.keep(place.past.current(), replaced=True)
            place.past.restore(chosen)
            assert place.tree() in have_run
            assert place.tree() != before
            files = [config.ConfigFile(place.folder / name, data) for name, data in before.items()]
            assert any(place.past.same(one, files) for one in place.past.snapshots())


# Whatever ends it

# Does `how` in each folder, in a child that kills itself just before its Nth change of the file system.
FORKS = """
import os, signal, sys
from pathlib import Path
from gateway import config
from gateway.config.past import Past
changes = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.chown", "open", "shutil.rmtree"}
left = 0
def count(event, args):
    global left
    if event in changes and (event != "open" or (isinstance(args[2], int) and args[2] & os.O_WRONLY)):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
how, kill, *folders = sys.argv[1:]
for number, folder in enumerate(folders, 1):
    child = os.fork()
    if child == 0:
        path = Path(folder) / "fieldgate.toml"
        past = Past(path, Path(folder) / "data")
        files, snapshots = config.files(path), past.snapshots()
        left = number if kill == "kill" else 0
        past.keep(files) if how == "keep" else past.restore(snapshots[0])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def forks(how: str, kill: str, places: list[Place]) -> int:
    """How many of the places' children were killed."""
    command = [sys.executable, "-c", FORKS, how, kill, *(str(place.folder) for place in places)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    codes = [int(line) for line in done.stdout.split()]
    killed = codes.count(-signal.SIGKILL)
    assert codes == [-signal.SIGKILL] * killed + [0] * (len(codes) - killed)
    return killed


@pytest.fixture
def many(tmp_path: Path) -> list[Place]:
    places = []
    for number in range(30):
        (tmp_path / str(number)).mkdir()
        places.append(Place(tmp_path / str(number)))
    return places


def test_a_snapshot_is_whole_or_not_there(many: list[Place]) -> None:
    for place in many:
        ran(place, A)
        place.put(D)
    killed = forks("keep", "kill", many)
    assert 5 < killed < 30
    whole = [len(place.numbers()) == 2 for place in many[:killed]]
    assert whole == sorted(whole), "it appears, and stays"
    for place, there in zip(many[:killed], whole, strict=True):
        if there:
            assert place.past.same(place.past.snapshots()[1], config.files(place.path))
    assert forks("keep", "let", many) == 0
    for place in many:
        assert place.numbers() == [1, 2]
        assert [path for path in (place.folder / "fieldgate.past").iterdir() if path.name.startswith(".")] == []


def test_a_rollback_that_was_interrupted_is_done_again(many: list[Place]) -> None:
    for place in many:
        ran(place, D)
    wanted = many[0].tree()
    for place in many:
        place.put({"fieldgate.toml": GATEWAY + "# new\n", "fieldgate.d/20.toml": "# new\n", "fieldgate.d/30.toml": BOX})
    new = many[0].tree()
    killed = forks("restore", "kill", many)
    assert 5 < killed < 30
    trees = [place.tree() for place in many[:killed]]
    for tree in trees:
        assert all(data in (wanted.get(name), new.get(name)) for name, data in tree.items() if name[-9:] != ".rollback")
        assert set(wanted) & set(new) <= set(tree), "no file is missing at any time"
    assert sum(tree == new for tree in trees) < killed, "some were interrupted in the middle"
    assert forks("restore", "let", many) == 0
    assert all(place.tree() == wanted for place in many)
