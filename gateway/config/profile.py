"""What a profile sets: defaults of several fields at once. A field that is written keeps its value."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.core.anchor import STAMPED
from gateway.settings import AnchorSettings, Settings

_SM2_KEY = "sm2.key"


def sets(settings: Settings) -> dict[str, Any]:
    """Field, with its table, to what the profile makes of it: those that are not written."""
    gateway = settings.gateway
    if gateway.profile == "international":
        return {}
    found: dict[str, Any] = {}
    if gateway.sm2_key is None and (place := _beside(gateway.key)):
        found["gateway.sm2_key"] = place
    if gateway.digests is None:
        found["gateway.digests"] = ("sha-256", "sm3")
    return found | {f"anchor.{name}.digest": "sm3" for name, one in settings.anchor.items() if _is_open(one)}


def applied(settings: Settings) -> Settings:
    """The settings with what the profile sets."""
    found = sets(settings)
    if not found:
        return settings
    own = {name.removeprefix("gateway."): value for name, value in found.items() if name.startswith("gateway.")}
    anchors = {
        name: replace(one, options=replace(one.options, digest="sm3")) if f"anchor.{name}.digest" in found else one
        for name, one in settings.anchor.items()
    }
    return replace(settings, gateway=replace(settings.gateway, **own), anchor=anchors)


def _is_open(anchor: AnchorSettings) -> bool:
    """Whether a time stamp authority's digest is left to the profile."""
    return anchor.kind == STAMPED and anchor.options.digest is None


def _beside(key: str) -> str | None:
    """A place like that of the log's key; None where there is nothing beside it."""
    scheme, _, place = key.partition(":")
    if scheme == "file":
        return f"file:{Path(place).parent / _SM2_KEY}"
    return f"credential:{_SM2_KEY}" if scheme == "credential" else None
