"""The list of parts: a CycloneDX 1.6 document of one package."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from deb.licensing import expression
from deb.lock import Locked, Target
from deb.wheels import Part

_BELOW = {"PyNaCl": ("libsodium", "ISC"), "aiohttp": ("llhttp", "MIT"), "cffi": ("libffi", "MIT")}
"""What a compiled module holds, where its wheel has no list of it."""


def document(
    version: str, arch: str, parts: Sequence[Part], locked: Iterable[Locked], targets: Sequence[Target], epoch: int
) -> str:
    """JSON. Hashes are of the wheels that went in, one for each Python; `epoch` is Unix seconds."""
    by_name = {one.name: one for one in locked}
    own = {
        "type": "application",
        "bom-ref": "fieldgate",
        "name": "fieldgate",
        "version": version,
        "purl": f"pkg:deb/fieldgate@{version}?arch={arch}",
        "licenses": [{"expression": "Apache-2.0"}],
    }
    components = [
        _component(part, by_name[canonicalize_name(part.name)], targets) for part in parts if part.name != "fieldgate"
    ]
    there = {canonicalize_name(part.name): _ref(part) for part in parts}
    told = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z"),
            "component": own,
        },
        "components": components,
        "dependencies": [{"ref": _ref(part), "dependsOn": _needs(part, there, targets)} for part in parts],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _ref(part: Part) -> str:
    return "fieldgate" if part.name == "fieldgate" else f"pkg:pypi/{canonicalize_name(part.name)}@{part.version}"


def _component(part: Part, locked: Locked, targets: Sequence[Target]) -> dict[str, Any]:
    wheels = sorted({locked.wheel(target) for target in targets if locked.wanted(target)})
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": _ref(part),
        "name": part.name,
        "version": part.version,
        "purl": _ref(part),
        "licenses": [{"expression": expression(part)}],
        "properties": [{"name": f"fieldgate:sha256:{wheel.file}", "value": wheel.sha256} for wheel in wheels],
    }
    if len(wheels) == 1:
        found["hashes"] = [{"alg": "SHA-256", "content": wheels[0].sha256}]
    if below := _inside(part):
        found["components"] = below
    return found


def _inside(part: Part) -> list[dict[str, Any]]:
    if part.name in _BELOW:
        name, licence = _BELOW[part.name]
        return [{"type": "library", "name": name, "licenses": [{"expression": licence}]}]
    kept = ("type", "name", "version", "purl", "licenses")
    return [{key: one[key] for key in kept if key in one} for one in part.inside]


def _needs(part: Part, there: Mapping[NormalizedName, str], targets: Sequence[Target]) -> list[str]:
    """References of what a part requires on any of the targets."""
    found = set()
    for text in part.told.get_all("Requires-Dist", ()):
        one = Requirement(text)
        if not one.marker or any(one.marker.evaluate({**target.environment(), "extra": ""}) for target in targets):
            found.add(there[canonicalize_name(one.name)])
    return sorted(found)
