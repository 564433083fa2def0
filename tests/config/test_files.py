"""FILE.toml and FILE.d/*.toml: read within limits, one configuration together."""

from hashlib import sha256
from pathlib import Path

import pytest
from fakes.configs import GATEWAY, NODE, faults, vkey, write
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.core.limits import CONFIG_BYTES, CONFIG_FILES
from gateway.core.note import ED25519
from gateway.errors import ConfigError

ADDED = GATEWAY.count("\n") + 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "none.toml")
    assert "no such file" in str(caught.value)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="directory"):
        config.load(tmp_path)


def test_a_path_with_a_nul() -> None:
    with pytest.raises(ConfigError):
        config.load(Path("a\0b"))


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", write(tmp_path, GATEWAY) / "x"):
        with pytest.raises(ConfigError, match="Check the path"):
            config.load(path)


def test_not_utf8(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY.encode() + b'[web]\nlisten = "h\xf6hle:1"\n')
    assert (fault.line, fault.key) == (ADDED + 1, "")
    assert "UTF-8" in fault.what


def test_byte_order_mark(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, b"\xef\xbb\xbf" + GATEWAY.encode())
    assert fault.line == 1


def test_size(tmp_path: Path) -> None:
    room = CONFIG_BYTES - len(GATEWAY.encode())
    config.load(write(tmp_path, GATEWAY + "#" * room))
    (fault,) = faults(tmp_path, GATEWAY + "#" * (room + 1))
    assert "longer than" in fault.what


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = " + "9" * 5000, "a" + ".a" * 3000 + " = 1"])
def test_nested_or_long(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_names_are_shown_on_one_line(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GATEWAY + '"\\u001b[31m\\nred" = 1\n')
    assert str(fault).isprintable()


# Drop-ins


def drop_in(folder: Path, name: str, text: str) -> Path:
    (folder / "fieldgate.d").mkdir(exist_ok=True)
    return write(folder / "fieldgate.d", text, name)


BOX = '[source.box]\ndriver = "system"\n'


def test_drop_ins_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY)
    second, first = drop_in(tmp_path, "20.toml", BOX), drop_in(tmp_path, "10.toml", "[seal]\nmax_age_s = 5\n")
    for ignored in (".hidden.toml", "notes.txt", "old.toml~"):
        drop_in(tmp_path, ignored, "no TOML at all")
    read = config.files(main)
    assert [one.path for one in read] == [main, first, second]
    assert [one.data for one in read] == [path.read_bytes() for path in (main, first, second)]
    assert [one.sha256 for one in read] == [sha256(path.read_bytes()).hexdigest() for path in (main, first, second)]
    assert (read[1].mode, read[1].owner) == (first.stat().st_mode & 0o7777, first.stat().st_uid)
    loaded = config.load(main)
    assert loaded == config.settings_of(read)
    assert set(loaded.source) == {"climate", "box"}
    assert loaded.seal.max_age_s == 5


def test_only_a_toml_file_has_drop_ins(tmp_path: Path) -> None:
    drop_in(tmp_path, "10.toml", BOX)
    assert len(config.files(write(tmp_path, GATEWAY, "fieldgate.conf"))) == 1
    assert len(config.files(write(tmp_path, GATEWAY, "other.toml"))) == 1
    assert len(config.files(write(tmp_path, GATEWAY, "fieldgate.toml"))) == 2


def test_a_table_is_continued(tmp_path: Path) -> None:
    drop_in(tmp_path, "10.toml", "[broker.local]\nwindow = 1000\n[node.coop]\nupload = false\n")
    loaded = config.load(write(tmp_path, GATEWAY))
    assert (loaded.broker["local"].window, loaded.broker["local"].user) == (1000, "fieldgate")
    assert not loaded.node["coop"].upload


def test_what_drop_ins_miss_and_mistake_is_told_with_their_file_and_line(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY.replace("topic =", "tpic ="))
    first = drop_in(tmp_path, "10.toml", '\n[source.box]\ndriver = "system"\nevry_s = 5\n')
    second = drop_in(tmp_path, "20.toml", "[seal]\n\nmax_age_s = 0\n")
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    assert [(one.file, one.line, one.key) for one in caught.value.faults] == [
        (str(main), 11, "source.climate.topic"),
        (str(main), 14, "source.climate.tpic"),
        (str(first), 4, "source.box.evry_s"),
        (str(second), 3, "seal.max_age_s"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ('[broker.local]\nuser = "me"\n', 2, "broker.local.user", 8),
        ("[source.climate]\n\nvalues = {}\n", 3, "source.climate.values", 15),
        ("[source.climate.values]\nrh = {}\n", 1, "source.climate.values", 15),
        ("broker = 3\n", 1, "broker", 6),
        ("source.climate = 3\n", 1, "source.climate", 11),
        ("[[broker]]\n", 1, "broker", 6),
    ],
)
def test_a_key_in_two_files(tmp_path: Path, text: str, line: int, key: str, first: int) -> None:
    main, other = write(tmp_path, GATEWAY), drop_in(tmp_path, "10.toml", text)
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line, fault.key) == (str(other), line, key)
    assert f"{main}:{first}" in fault.what


def test_who_this_is_stands_in_the_file_itself(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY)
    other = drop_in(tmp_path, "10.toml", "# a\n[gateway]\nepoch = 2\n")
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line, fault.key) == (str(other), 2, "gateway")
    assert str(main) in fault.cure


def test_a_nodes_drop_ins(tmp_path: Path) -> None:
    main = write(tmp_path, NODE, "node.toml")
    (tmp_path / "node.d").mkdir()
    write(tmp_path / "node.d", f'[gateway.quay]\nvkey = "{vkey("quay.example/1", ED25519)}"\n', "quay.toml")
    assert set(config.load_node(main).gateway) == {"henhouse", "quay"}
    write(tmp_path / "node.d", "[node]\npull_every_s = 1\n", "self.toml")
    with pytest.raises(ConfigError, match="no drop-in does"):
        config.load_node(main)


def test_every_file_that_is_no_toml_is_told_at_once(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY + "x =\n")
    drop_in(tmp_path, "10.toml", b"\xff")
    drop_in(tmp_path, "20.toml", "[")
    drop_in(tmp_path, "30.toml", BOX)
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    assert [Path(one.file).name for one in caught.value.faults] == ["fieldgate.toml", "10.toml", "20.toml"]


def test_a_drop_in_that_cannot_be_read(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY)
    (tmp_path / "fieldgate.d" / "10.toml").mkdir(parents=True)
    (tmp_path / "fieldgate.d" / "20.toml").symlink_to("nowhere")
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    assert [Path(one.file).name for one in caught.value.faults] == ["10.toml", "20.toml"]


def test_a_folder_of_drop_ins_that_is_none(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY)
    (tmp_path / "fieldgate.d").write_text("")
    assert len(config.files(main)) == 1
    (tmp_path / "fieldgate.d").unlink()
    (tmp_path / "fieldgate.d").symlink_to("fieldgate.d")
    with pytest.raises(ConfigError, match=r"fieldgate\.d"):
        config.files(main)


def test_how_many_drop_ins(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY)
    for number in range(CONFIG_FILES):
        drop_in(tmp_path, f"{number:03}.toml", "")
    assert len(config.files(main)) == CONFIG_FILES + 1
    drop_in(tmp_path, "more.toml", "")
    with pytest.raises(ConfigError, match=f"{CONFIG_FILES} are read at most"):
        config.files(main)


def test_how_long_all_of_them_may_be(tmp_path: Path) -> None:
    main = write(tmp_path, GATEWAY)
    room = CONFIG_BYTES - len(GATEWAY.encode())
    drop_in(tmp_path, "10.toml", "#" * (room - 1))
    drop_in(tmp_path, "20.toml", "#")
    config.load(main)
    drop_in(tmp_path, "20.toml", "##")
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    (fault,) = caught.value.faults
    assert fault.file.endswith("20.toml")
    assert "with the files before it" in fault.what


@given(st.data())
def test_how_tables_are_spread_over_files_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every key of a good file in any of four files."""
    folder = tmp_path_factory.mktemp("spread")
    texts = [""] * 4
    table = ""
    for row in GATEWAY.splitlines():
        if row.startswith("["):
            table = row
        elif row:
            number = 0 if table == "[gateway]" else data.draw(st.integers(0, 3))
            texts[number] += f"{'' if table in texts[number] else table}\n{row}\n"
    main = write(folder, texts[0])
    for number, text in enumerate(texts[1:]):
        drop_in(folder, f"{number}.toml", text)
    assert config.load(main) == config.load(write(folder, GATEWAY, "whole.toml"))


# Where the data is


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GATEWAY, "/var/lib/fieldgate"),
        (GATEWAY + "\n[[[", "/var/lib/fieldgate"),
        (GATEWAY.replace('"/var/lib/fieldgate"', "'/a b'") + "\n]", "/a b"),
        (GATEWAY.replace("data_dir", "#data_dir") + "\n]", None),
        (GATEWAY.replace('"/var/lib', '"var/lib'), None),
        ('[gateway]\ndata_dir = "/a\\nb"\n', None),
        ('gateway = "x"', None),
        ("", None),
        (b"\xff[", None),
    ],
)
def test_where_the_data_is_whatever_else_is_wrong(tmp_path: Path, text: str | bytes, found: str | None) -> None:
    assert config.data_dir(write(tmp_path, text)) == (Path(found) if found else None)
    assert config.data_dir(tmp_path / "none.toml") is None
    assert config.data_dir(tmp_path) is None
