"""What a profile sets: defaults of several fields at once. A field that is written keeps its value."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.settings import Settings

_SM2_KEY = "sm2.key"


def sets(settings: Settings) -> dict[str, Any]:
    """Field of [gateway] to what the profile makes of it, for those that are not written."""
    gateway = settings.gateway
    if gateway.profile == "international":
        return {}
    wanted: dict[str, Any] = {"sm2_key": _beside(gateway.key), "digests": ("sha-256", "sm3")}
    return {name: value for name, value in wanted.items() if value is not None and getattr(gateway, name) is None}


def applied(settings: Settings) -> Settings:
    """The settings with what the profile sets."""
    found = sets(settings)
    return replace(settings, gateway=replace(settings.gateway, **found)) if found else settings


def _beside(key: str) -> str | None:
    """A place like that of the log's key; None where there is nothing beside it."""
    scheme, _, place = key.partition(":")
    if scheme == "file":
        return f"file:{Path(place).with_name(_SM2_KEY)}"
    return f"credential:{_SM2_KEY}" if scheme == "credential" else None
