"""A status snapshot as gateway.status makes it."""

from typing import Any

NOW_MS = 1_800_000_000_000


def source(**fields: Any) -> dict[str, Any]:
    """One source, up and well, with changes."""
    return {
        "driver": "mqtt",
        "up": True,
        "condition": "",
        "detail": "",
        "cure": "",
        "received": 12_345,
        "stored": 12_340,
        "duplicate": 3,
        "rejected": 2,
        "dropped": 0,
        "waiting": 0,
        "balanced": True,
        "rate": 0.2,
        "last_ms": NOW_MS - 4_000,
        "last": [["temp", "Cel", 21.25], ["rh", "%RH", 63]],
        "quality": 0,
        "rejects": {"json": 2},
        "example": {"reason": "json", "detail": "Expecting value", "payload": '{"temperature": }'},
    } | fields


def node(**fields: Any) -> dict[str, Any]:
    """One node, in step, with changes."""
    return {
        "url": "https://node.coop.example:8441",
        "entries": 240,
        "seen": 240,
        "stored": 238,
        "detail": "in step",
        "ok": True,
        "last_ms": NOW_MS - 61_000,
        "cure": "",
        "cosigned_s": 61.0,
        "anchors_refused": 0,
    } | fields


def witness(**fields: Any) -> dict[str, Any]:
    """One witness, in step, with changes."""
    return {
        "url": "https://witness.example",
        "key": "witness.example",
        "seen": 240,
        "detail": "in step",
        "ok": True,
        "last_ms": NOW_MS - 61_000,
        "cosigned_s": 61.0,
        "cure": "",
        "condition": "",
        "values": {},
    } | fields


def anchor(**fields: Any) -> dict[str, Any]:
    """One chain, which has the last anchor, with changes."""
    return {
        "kind": "evm",
        "chain": "9090",
        "state": "anchored",
        "size": 236,
        "since_ms": NOW_MS - 3_600_000,
        "block": 1_234_567,
        "confirmed": 12,
        "confirmations": 12,
        "why": "",
        "cure": "",
        "height": 1_234_600,
        "anchored": 236,
        "anchored_block": 1_234_567,
        "anchored_s": NOW_MS // 1000 - 3_400,
    } | fields


def status(**fields: Any) -> dict[str, Any]:
    """A gateway that is well, with changes."""
    return {
        "origin": "henhouse-3.example.farm/1",
        "vkey": "henhouse-3.example.farm/1+8244bb6c+ATOcFsz1YVPw8s8Tu3bYrSRxWSYAuIjoFzeqUZ2BplzF",
        "version": "0.1.0",
        "since_ms": NOW_MS - 86_400_000 * 3,
        "now_ms": NOW_MS,
        "clock": {"synchronised": True, "error_ms": 12, "boot_id": "b"},
        "headline": "All well: 2 sources, stored by 1 of 1 node",
        "problems": [],
        "sources": {
            "climate": source(),
            "gps": source(driver="nmea0183", up=None, last_ms=None, last=[], rejects={}, example=None),
        },
        "chain": {
            "size": 240,
            "open": 17,
            "held": None,
            "sealed": 5,
            "last_sealed_ms": NOW_MS - 30_000,
            "readings": 1_234_567,
            "commits": 400,
            "stalls": 0,
        },
        "journal": {"stores": True},
        "nodes": {"coop": node()},
        "witnesses": {},
        "anchors": {"spartan": anchor()},
        "disk": {
            "used": 3 * 2**20,
            "quota": 8 * 2**30,
            "free": 20 * 2**30,
            "min_free": 2**26,
            "prunable": 1_234,
            "held": None,
            "cure": "Free some space",
            "problem": "",
        },
        "device": {
            "model": "Raspberry Pi 4 Model B Rev 1.4",
            "uptime_s": 93_723.5,
            "load": [0.12, 0.34, 0.56],
            "cores": 4,
            "temperature": 51.2,
            "memory": 4_000_000_000,
            "memory_free": 2_500_000_000,
            "memory_own": 50_000_000,
            "disk": 31_000_000_000,
            "disk_free": 20_000_000_000,
            "card": "SD",
            "worn": None,
            "spare": None,
            "written": 800_000_000,
            "written_a_day": 737_000_000,
            "written_a_day_own": 61_000_000,
        },
        "verified": {
            "at_ms": NOW_MS - 3_600_000,
            "took_s": 40,
            "blocks": 239,
            "readings": 1_230_000,
            "faults": 0,
            "what": "",
        },
        "configuration": {
            "files": [["fieldgate.toml", "5f" * 32]],
            "since_ms": NOW_MS - 86_400_000,
            "restart": [],
        },
    } | fields
