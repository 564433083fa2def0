"""`/chain/HEIGHT`: one block: what its header says, where it is, and the readings in it."""

from gateway.core import block, limits, senml
from gateway.errors import DamagedError, FormatError, NotFoundError
from gateway.store.blocks import BlockRow
from gateway.store.lists import readings
from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import anchors, headline
from gateway.web.pages.chain import REASONS, state
from gateway.web.pages.receipt import link
from gateway.web.pages.source import missing
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, mark

CLOCKS = (mark("not synchronised"), mark("synchronised"), mark("set by a local reference"))


async def page(view: View, height: str, start: str = "0") -> Page:
    """The block of that height; start: the first reading that is listed."""
    words, number = view.words, int(height)
    row = await view.desk.store.blocks.block(number) if number < view.status["chain"]["size"] else None
    if row is None:
        return missing(view, words("There is no block {height} yet.", height=number))
    try:
        header = block.parse_entry(row.entry).header
    except FormatError:
        return missing(view, words("Block {height} is damaged here. `fieldgate recover` mends it.", height=number))
    title = words("Block {height}", height=number)
    parts = [headline.part(view, whole=False), Part("title", _title(view, header, title))]
    if not view.live:  # it does not change
        parts += [Part("header", _header(view, header)), Part("readings", await _readings(view, row, int(start)))]
    return Page(title, parts)


def _title(view: View, header: block.Header, title: str) -> Markup:
    around = [
        el("a", view.words("Block {height}", height=other), href=f"/chain/{other}", class_="button")
        for other in (header.height - 1, header.height + 1)
        if 0 <= other < view.status["chain"]["size"]
    ]
    tags = [state(view.words, header.height, view.status["nodes"]), " ", anchors.tag(view, header.height)]
    lead = el("p", tags, " ", show.ago(view, header.sealed), class_="lead")
    return el(
        "div", el("h1", title), lead, el("nav", around, class_="pager", aria_label=view.words("Blocks beside it"))
    )


def _header(view: View, header: block.Header) -> Markup:
    words = view.words
    clock = CLOCKS[header.clock] if header.clock < len(CLOCKS) else str(header.clock)
    pairs: list[tuple[str, Child]] = [
        (words("Sealed"), show.moment(view, header.sealed)),
        (words("Readings"), show.count(header.count)),
        (words("First received"), show.moment(view, header.first)),
        (words("Last received"), show.moment(view, header.last)),
        (words("Clock"), words(clock)),
    ]
    if header.reason is not None:
        reason = REASONS.get(header.reason)
        pairs.append((words("Sealed because"), words(reason) if reason else str(header.reason)))
    pairs += [(words(name), el("code", digest.hex(), class_="long")) for name, digest in _digests(header)]
    return show.card(words("Header"), show.facts(pairs))


def _digests(header: block.Header) -> tuple[tuple[str, bytes], ...]:
    return ((mark("Root of its readings"), header.root), (mark("Block before it"), header.prev))


async def _readings(view: View, row: BlockRow, start: int) -> Markup:
    words = view.words
    if not row.count:
        return show.card(words("Readings"), show.note(words("None: a heartbeat shows that the gateway was there.")))
    try:
        items = await readings(view.desk.store, row.height, limits.PAGE_READINGS, start)
    except NotFoundError:
        lost = await view.desk.store.blocks.gone(row.height)
        return show.card(words("Readings"), show.note(_gone(words, lost.reason if lost else "")))
    except DamagedError as error:
        return show.card(words("Readings"), el("p", data(error.what), class_="bad"))
    rows = [_row(view, pack) for pack, _ in items]
    return show.card(words("Readings"), el("ol", rows, class_="rows"), _pager(words, row, start, start + len(rows)))


def _pager(words: Words, row: BlockRow, start: int, end: int) -> Markup | None:
    if not start and end >= row.count:
        return None
    here = f"/chain/{row.height}?start="
    before = el("a", words("Previous"), href=f"{here}{max(0, start - limits.PAGE_READINGS)}", class_="button")
    after = el("a", words("Next"), href=f"{here}{end}", class_="button")
    where = words("{first} to {last} of {count}", first=start + 1, last=end, count=row.count)
    parts = before if start else None, el("span", where), after if end < row.count else None
    return el("nav", parts, class_="pager", aria_label=words("Pages of readings"))


def _gone(words: Words, reason: str) -> str:
    if reason:
        return words("They were dropped before enough nodes held them: {reason}", reason=data(reason))
    return words("They are not here any more: enough nodes hold them. Ask a node for them.")


def _row(view: View, pack: bytes) -> Markup:
    words = view.words
    try:
        reading = senml.resolve(pack)
    except FormatError as error:
        return el("li", words("not a reading: {what}", what=data(error.what)), class_="bad")
    values = ", ".join(
        f"{data(one.name, 24)} {show.value(words, one.value)} {show.unit(one.unit)}".rstrip()
        for one in reading.records[:4]
    )
    return el(
        "li",
        el("b", link(reading.source, reading.time_ms)),
        el("span", show.moment(view, reading.time_ms)),
        el("span", values, class_="soft"),
    )
