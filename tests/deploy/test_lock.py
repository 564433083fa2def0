"""The lock: it is what pyproject.toml asks for, whole on every machine, and a damaged one is refused."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deb import ROOT, lock
from deb.lock import ARCHITECTURES, PYTHONS, Locked, LockError, Target, Wheel

NAMES = ("product", "extras", "build")


def asked(name: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"]
    texts = {
        "product": project["project"]["dependencies"],
        "extras": [text for extra in ("bsn", "evm", "sm2") for text in optional[extra]],
        "build": project["build-system"]["requires"],
    }
    return [Requirement(text) for text in texts[name]]


@pytest.mark.parametrize("name", NAMES)
def test_every_dependency_is_locked_at_a_version_that_is_allowed(name: str) -> None:
    """After a change of the dependencies: make lock."""
    locked = {one.name: one for one in lock.read(name)}
    for requirement in asked(name):
        one = locked.get(canonicalize_name(requirement.name))
        assert one is not None and lock.satisfies(requirement, one), f"{requirement}: run make lock"


def test_what_is_installed_beside_the_product_is_of_the_same_versions() -> None:
    product = {one.name: one.version for one in lock.read("product")}
    beside = {one.name: one.version for one in lock.read("extras")}
    assert {name: product.get(name, version) for name, version in beside.items()} == beside
    assert product.keys() & beside.keys()


@pytest.mark.parametrize(("name", "target"), [(name, target) for name in NAMES for target in lock.targets(name)])
def test_each_machine_has_a_wheel_of_everything(name: str, target: Target) -> None:
    for one in lock.read(name):
        if one.wanted(target):
            one.wheel(target)


@pytest.mark.parametrize("name", NAMES)
def test_no_locked_wheel_is_for_nobody(name: str) -> None:
    for one in lock.read(name):
        used = {one.wheel(target) for target in lock.targets(name) if one.wanted(target)}
        assert used == set(one.wheels), one.name


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_as_it_is_written_and_names_no_host(name: str) -> None:
    text = (lock.LOCKS / f"{name}.txt").read_text()
    head = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
    assert lock.write(lock.parse(text), head) == text
    assert "://" not in text and "index" not in text


def test_the_project_allows_the_locked_pythons() -> None:
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert all(Requirement(f"x{allowed}").specifier.contains(f"{python}.0") for python in PYTHONS)


def test_a_line_that_lost_its_hash_or_its_name_is_refused() -> None:
    text = (lock.LOCKS / "product.txt").read_text()
    hashed = re.search(r" \\\n    --hash=sha256:[0-9a-f]{64}", text)
    named = re.search(r"    # \S+\.whl\n", text)
    assert hashed and named
    for gone in (hashed[0], named[0]):
        with pytest.raises(LockError):
            lock.parse(text.replace(gone, "", 1))
    with pytest.raises(LockError):
        lock.parse(text.replace("--hash=sha256:", "--hash=md5:", 1))


def test_a_wheel_of_another_machine_python_or_libc_does_not_run() -> None:
    pi = Target("3.11", "arm64")
    runs = (
        "a-1-py3-none-any.whl",
        "a-1-cp311-cp311-manylinux_2_28_aarch64.whl",
        "a-1-cp38-abi3-manylinux2014_aarch64.whl",
    )
    for file in runs:
        assert Wheel(file, "").runs_on(pi) is not None, file
    for file in (
        "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "a-1-cp313-cp313-manylinux_2_28_aarch64.whl",
        "a-1-cp312-abi3-manylinux2014_aarch64.whl",
        "a-1-cp311-cp311-manylinux_2_39_aarch64.whl",
        "a-1-cp311-cp311-musllinux_1_2_aarch64.whl",
        "a-1-cp311-cp311-manylinux2014_armv7l.whl",
    ):
        assert Wheel(file, "").runs_on(pi) is None, file


def test_a_compiled_wheel_goes_before_a_pure_one() -> None:
    wheels = (Wheel("a-1-py3-none-any.whl", "1"), Wheel("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "2"))
    one = Locked("a", "1", "", wheels)
    assert one.wheel(Target("3.11", "amd64")).sha256 == "2"
    assert one.wheel(Target("3.11", "arm64")).sha256 == "1"


def test_what_a_target_needs_is_followed_through_markers_and_extras() -> None:
    target = Target("3.11", "arm64")
    dists = {
        "a": lock.Dist("a", "1", (Requirement("b[fast]>=2"), Requirement("never; python_version < '3.11'"))),
        "b": lock.Dist("b", "2.1", (Requirement("c; extra == 'fast'"), Requirement("d; platform_machine == 'x86_64'"))),
        "c": lock.Dist("c", "1", (Requirement("a"),)),
    }
    assert lock.closure([Requirement("a")], dists, target) == {"a", "b", "c"}
    with pytest.raises(LockError, match="needs d"):
        lock.closure([Requirement("a")], dists, target._replace(arch="amd64"))
    with pytest.raises(LockError, match="needs b"):
        lock.closure([Requirement("a")], {**dists, "b": dists["b"]._replace(version="1.9")}, target)


def test_a_wheel_with_other_bytes_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the index served something else, and pip did not notice."""
    wheel = Wheel("a-1-py3-none-any.whl", "0" * 64)
    (tmp_path / wheel.file).write_bytes(b"something else")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(LockError):
        lock.fetch([Locked("a", "1", "", (wheel,))], Target("3.11", "amd64"), tmp_path)


def test_both_of_debians_machines_are_there() -> None:
    assert ARCHITECTURES == {"amd64": "x86_64", "arm64": "aarch64"}
