"""`/device`: the gateway itself: its clock, its disk, its program; and what may be asked of it."""

from collections.abc import Mapping
from typing import Any

from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import headline
from gateway.web.view import Page, Part, View
from gateway.web.words import Words, grouped

Table = Mapping[str, Any]


async def page(view: View) -> Page:
    """The clock, the disk, the program."""
    words = view.words
    title = el("h1", words("Device"))
    cards = [_gateway(view), _machine(view), _clock(view), _disk(view)]
    parts = [headline.part(view, whole=False), Part("device", el("div", title, el("div", cards, class_="trio")))]
    if view.desk.services.reload is not None:
        parts.append(Part("act", _configuration(view)))
    return Page(words("Device"), parts)


def _gateway(view: View) -> Markup:
    words, status = view.words, view.status
    pairs: list[tuple[str, Child]] = [
        (words("Log"), show.code(status["origin"])),
        (words("Log key"), el("code", str(view.desk.store.vkey), class_="long")),
        (words("Program"), f"fieldgate {status['version']}"),
        (words("Running since"), [show.moment(view, status["since_ms"]), " · ", show.age(view, status["since_ms"])]),
        (words("Commits"), show.count(status["chain"]["commits"])),
    ]
    return show.card(words("Gateway"), show.facts(pairs))


def _machine(view: View) -> Markup:
    words, told = view.words, view.status["device"]
    pairs: list[tuple[str, Child]] = []
    if told.get("model"):
        pairs.append((words("Model"), data(told["model"], 80)))
    if told.get("temperature") is not None:
        pairs.append((words("Temperature"), f"{told['temperature']:.0f} °C"))
    if told.get("load"):
        load = " · ".join(f"{one:.2f}" for one in told["load"])
        pairs.append((words("Load, of {count} cores", count=told.get("cores") or 1), load))
    if told.get("memory") and told.get("memory_free") is not None:
        used = told["memory"] - told["memory_free"]
        pairs.append((words("Memory"), _meter(words, used, told["memory"], ill=used > 0.95 * told["memory"])))
    if told.get("memory_own"):
        pairs.append((words("Of it this program"), show.size(told["memory_own"])))
    if told.get("disk") and told.get("disk_free") is not None:
        used = told["disk"] - told["disk_free"]
        pairs.append((words("File system"), _meter(words, used, told["disk"], ill=used > 0.98 * told["disk"])))
    if told.get("card"):
        pairs.append((words("Card"), _card(words, told)))
    if told.get("written_a_day") is not None:
        pairs.append((words("Written to the disk a day"), show.size(told["written_a_day"])))
    if told.get("written_a_day_own") is not None:
        pairs.append((words("By this program"), show.size(told["written_a_day_own"])))
    if told.get("uptime_s") is not None:
        pairs.append((words("Up for"), show.age(view, view.now_ms - int(told["uptime_s"]) * 1000)))
    return show.card(words("Machine"), show.facts(pairs) if pairs else show.note(words("not looked at yet")))


def _card(words: Words, told: Table) -> str:
    """What kind of card it is, and how worn it says it is."""
    kind = "eMMC" if told["card"] == "MMC" else "SD"
    if told.get("worn") is None:
        return words("{kind}, which does not tell how worn it is", kind=kind)
    return words("{kind}, worn up to {percent} %", kind=kind, percent=told["worn"])


def _clock(view: View) -> Markup:
    words, clock = view.words, view.status["clock"]
    pairs: list[tuple[str, Child]] = [
        (words("Clock"), clock_text(words, clock)),
        (words("Zone"), show.zone_name(view)),
        (words("Boot"), show.code(clock["boot_id"])),
    ]
    return show.card(words("Clock"), show.facts(pairs))


def clock_text(words: Words, clock: Table) -> str:
    """How sure the gateway is of the time."""
    if not clock["synchronised"]:
        return words("not synchronised: readings are marked so")
    if clock["error_ms"] is None:
        return words("synchronised")
    return words("synchronised, within {error} ms", error=grouped(clock["error_ms"]))


def _disk(view: View) -> Markup:
    words, disk = view.words, view.status["disk"]
    if not disk:
        return show.card(words("Disk"), show.note(words("not looked at yet")))
    pairs: list[tuple[str, Child]] = [
        (words("Readings on disk"), disk_meter(words, disk)),
        (words("Free on the disk"), show.size(disk["free"])),
        (words("Kept free for others"), show.size(disk["min_free"])),
        (words("Readings that can be pruned"), show.count(disk["prunable"])),
    ]
    found = view.status["verified"]
    if found["at_ms"] is not None:
        count = found["faults"]
        said = words.many("{count} bad block", "{count} bad blocks", count) if count else words("all good")
        pairs.append((words("Verified"), [said, " · ", show.ago(view, found["at_ms"])]))
    held = el("p", data(disk["held"]), class_="bad") if disk["held"] else None
    return show.card(words("Disk"), show.facts(pairs), held)


def disk_meter(words: Words, disk: Table) -> Markup:
    """What readings fill of what they may."""
    return _meter(words, disk["used"], disk["quota"], ill=bool(disk["held"]))


def _meter(words: Words, used: float, whole: float, *, ill: bool) -> Markup:
    said = words("{used} of {quota}", used=show.size(used), quota=show.size(whole))
    share = min(1.0, used / whole) if whole else 0
    kind = "ill" if ill else "warn" if share > 0.875 else "well"
    bar = el("rect", width=round(100 * share, 1), height=6, rx=3, class_=kind)
    trough = el("rect", width=100, height=6, rx=3, class_="trough")
    drawn = el("svg", trough, bar, viewBox="0 0 100 6", preserveAspectRatio="none", class_="meter", aria_hidden="true")
    return el("span", said, drawn)


def _configuration(view: View) -> Markup:
    words = view.words
    if not view.signed_in:
        action: Child = show.note(words("Sign in to reload the configuration from here."))
    else:
        action = el("form", el("button", words("Reload the configuration")), method="post", action="/reload")
    about = words("The file is checked first. What is wrong is told, and then nothing changes.")
    return show.card(words("Configuration"), el("p", about), action)
