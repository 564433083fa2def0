"""Wheels laid together, their licences, and the list of parts, made of small real wheels."""

import json
import zipfile
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from deb import licensing, sbom, wheels
from deb.lock import Locked, LockError, Target, Wheel, sha256

TARGETS = (Target("3.11", "arm64"), Target("3.13", "arm64"))
EPOCH = 1_700_000_000


def wheel(
    folder: Path, tags: str, files: dict[str, str], *, name: str = "a", headers: str = "License-Expression: MIT\n"
) -> Path:
    info = f"{name}-1.dist-info"
    told = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{headers}\n"
    inside = {
        f"{info}/METADATA": told,
        f"{info}/RECORD": tags,
        f"{info}/WHEEL": tags,
        f"{info}/licenses/LICENSE": "Be kind.",
    }
    path = folder / f"{name}-1-{tags}.whl"
    with zipfile.ZipFile(path, "w") as made:
        for place, text in {**inside, **files}.items():
            made.writestr(place, text)
    return path


def test_one_folder_serves_two_pythons(tmp_path: Path) -> None:
    paths = [
        wheel(
            tmp_path,
            f"cp{n}-cp{n}-manylinux2014_aarch64",
            {"a/__init__.py": "", f"a/x.cpython-{n}-aarch64-linux-gnu.so": n},
        )
        for n in ("311", "313")
    ]
    tree, [part] = wheels.unpack(paths)
    assert {path for path in tree if path.endswith(".so")} == {
        "a/x.cpython-311-aarch64-linux-gnu.so",
        "a/x.cpython-313-aarch64-linux-gnu.so",
    }
    assert not [path for path in tree if path.endswith(("RECORD", "WHEEL"))]
    assert (part.name, part.version, part.tops) == ("a", "1", ("a", "a-1.dist-info"))


def test_wheels_that_differ_in_a_file_are_not_laid_together(tmp_path: Path) -> None:
    paths = [wheel(tmp_path, f"cp{n}-cp{n}-manylinux2014_aarch64", {"a/__init__.py": n}) for n in ("311", "313")]
    with pytest.raises(LockError, match="__init__"):
        wheels.unpack(paths)


@pytest.mark.parametrize("place", ["/etc/passwd", "a/../../b"])
def test_nothing_leaves_the_folder(tmp_path: Path, place: str) -> None:
    with pytest.raises(LockError, match="outside"):
        wheels.unpack([wheel(tmp_path, "py3-none-any", {place: ""})])


def test_a_licence_that_nobody_has_read_stops_the_build(tmp_path: Path) -> None:
    for headers in ("", "License: BSD\n", "License-Expression: SSPL-1.0\n", "License-Expression: MIT AND SSPL-1.0\n"):
        _, [part] = wheels.unpack([wheel(tmp_path, "py3-none-any", {}, headers=headers)])
        with pytest.raises(LockError, match="nobody has read"):
            licensing.expression(part)


def test_every_part_stands_in_the_copyright_file_with_its_text(tmp_path: Path) -> None:
    apache = "Apache License\n TERMS AND CONDITIONS\n Copyright [yyyy] [name]\n   Copyright 2020 Somebody\n"
    paths = [
        wheel(tmp_path, "py3-none-any", {}),
        wheel(tmp_path, "py3-none-any", {"b-1.dist-info/licenses/LICENSE": apache}, name="b"),
    ]
    text = licensing.copyright_file(wheels.unpack(paths)[1])
    assert "a 1 (a-1.dist-info)\nLicense: MIT\n" in text and "Be kind." in text
    assert "Copyright 2020 Somebody" in text and "common-licenses/Apache-2.0" in text and "TERMS" not in text


def test_the_list_of_parts_is_good_cyclonedx(tmp_path: Path) -> None:
    inner = json.dumps({"components": [{"type": "library", "name": "openssl", "version": "4", "bom-ref": "x"}]})
    paths = [
        wheel(
            tmp_path, "py3-none-any", {}, name="fieldgate", headers="License-Expression: Apache-2.0\nRequires-Dist: a\n"
        ),
        wheel(
            tmp_path,
            "py3-none-any",
            {"a-1.dist-info/sboms/x.json": inner},
            headers="License: MIT\nRequires-Dist: c; extra == 'x'\nRequires-Dist: b\n",
        ),
        wheel(tmp_path, "py3-none-any", {}, name="b", headers="License-Expression: EPL-2.0 OR BSD-3-Clause\n"),
    ]
    locked = [Locked(path.name[0], "1", "", (Wheel(path.name, sha256(path)),)) for path in paths[1:]]
    parts = wheels.unpack(paths)[1]
    text = sbom.document("1", "arm64", parts, locked, TARGETS, EPOCH)
    told = json.loads(text)
    _validate(told)
    assert [one["name"] for one in told["components"]] == ["a", "b"]
    assert told["components"][0]["components"][0]["name"] == "openssl"
    assert {one["ref"]: one["dependsOn"] for one in told["dependencies"]}["pkg:pypi/a@1"] == ["pkg:pypi/b@1"]
    assert told["components"][1]["hashes"][0]["content"] == sha256(paths[2])
    assert datetime.fromisoformat(told["metadata"]["timestamp"]) == datetime.fromtimestamp(EPOCH, UTC)
    assert text == sbom.document("1", "arm64", parts, locked, TARGETS, EPOCH)
    with pytest.raises(jsonschema.ValidationError):
        _validate({**told, "components": [{"type": "library"}]})


def _validate(told: object) -> None:
    """Against CycloneDX' own schema."""
    folder = resources.files("cyclonedx.schema") / "_res"
    schemas = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    registry = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in schemas.values()])
    jsonschema.Draft7Validator(schemas["bom-1.6"], registry=registry).validate(told)
