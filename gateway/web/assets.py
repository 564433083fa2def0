"""The page's own files: a style sheet, a script, an icon. Their address holds their hash, so they never grow old."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.web.answers import IMMUTABLE

FOLDER: Final = Path(__file__).with_name("assets")
_KINDS: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Assets:
    """The files in memory, some 20 kB. `digest` is that of all of them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._paths = {name: f"/assets/{sha256(data).hexdigest()[:16]}/{name}" for name, data in files.items()}
        self._answers = {self._paths[name]: (data, _KINDS[name]) for name, data in files.items()}
        self.digest = sha256("".join(self._paths.values()).encode()).hexdigest()[:16]

    @classmethod
    def read(cls) -> "Assets":
        """From the program's folder."""
        return cls({name: (FOLDER / name).read_bytes() for name in _KINDS})

    def path(self, name: str) -> str:
        """Where a file is."""
        return self._paths[name]

    def answer(self, raw_path: str) -> web.Response | None:
        """The file at this address; None where there is none."""
        found = self._answers.get(raw_path)
        if found is None:
            return None
        data, kind = found
        return web.Response(body=data, headers={"Content-Type": kind, "Cache-Control": IMMUTABLE})
