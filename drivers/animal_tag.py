"""Readers of animals' transponders, in the hand or on a panel: lines of text, whatever the maker."""

from typing import Annotated

from msgspec import Meta

from drivers.codecs.animal_tag import TagReader
from drivers.codecs.base import Framed, StreamCodec
from drivers.framing import MarkedLineFramer
from drivers.kinds import Kind
from drivers.limits import LINE_BYTES
from drivers.streams import RECORDED, StreamOptions, driver_of


class AnimalTagOptions(StreamOptions, kw_only=True, frozen=True):
    """[source.ID] with driver = "animal_tag"."""

    repeat_s: Annotated[
        float, Meta(ge=0, le=86_400, title="The same tag again so soon is a repeat, and no new reading. 0: never")
    ] = 30.0
    allow_test: Annotated[bool, Meta(title="true: code 999, which is for tests, is a reading")] = False


def codec(options: AnimalTagOptions, *, drop_first: bool = False) -> StreamCodec:
    """The codec of one opening of the line."""
    lines = MarkedLineFramer(limit=LINE_BYTES, drop_first=drop_first)
    return Framed(lines, TagReader(repeat_s=options.repeat_s, allow_test=options.allow_test))


KIND = Kind(
    "animal_tag",
    "transponders of animals (ISO 11784)",
    "stream",
    AnimalTagOptions,
    codec,
    driver_of("animal-tag", codec),
    recorded=RECORDED,
    examples={"race": {"tcp": "serial-server.example:4001"}},
)
