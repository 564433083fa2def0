"""The state of a running gateway as lines for a person: `status`, once or again and again."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.cli.common import QUALITY, format_time
from gateway.cli.shown import Line, Style, Word, columns, cut, folded, line, more, plural, size
from gateway.core.anchor_row import CLAIMED
from gateway.core.senml import OWN
from gateway.core.text import age

State = dict[str, Any]

_HEAD = ("SOURCE", "STATE", "NEWEST", "AGE", "RATE", "REJECTED")
_NUMBERS = {3, 4, 5}
_NEWEST = 2
_LINKS: dict[Any, Word] = {True: Word("up", "good"), False: Word("AWAY", "bad")}
_LABEL = 8
_TONES: dict[str, Style] = {"error": "bad", "warning": "warn", "note": ""}


def screen(state: State, width: int, height: int) -> list[Line]:
    """All of it, in at most so many lines: what does not fit is counted."""
    above = [*_headline(state, width), *_problems(state, width, max(1, height // 8)), line("")]
    below = [
        line(""),
        *_chain(state),
        *_nodes(state, max(1, height // 8)),
        *_witnesses(state, max(1, height // 12)),
        *_anchors(state),
        *_device(state),
    ]
    left = max(height - len(above) - len(below), 3)
    return [cut(one, width) for one in [*above, *_sources(state, width, left), *below]][:height]


def _headline(state: State, width: int) -> list[Line]:
    well = not any(problem["severity"] != "note" for problem in state["problems"])
    ran = age((state["now_ms"] - state["since_ms"]) / 1000)
    return [
        *folded(state["headline"], width, "good" if well else "bad"),
        line(f"{state['origin']}, fieldgate {state['version']}, running for {ran}"),
        line(f"log key {state['vkey']}"),
    ]


def _problems(state: State, width: int, most: int) -> list[Line]:
    lines: list[Line] = []
    for problem in state["problems"][:most]:
        lines += folded(f"! {problem['what']}", width, _TONES[problem["severity"]])
        lines += folded(problem["cure"], width, indent="  ")
    if (left := len(state["problems"]) - most) > 0:
        lines.append(more(left, "problem", "fieldgate status --json"))
    return lines


def _sources(state: State, width: int, room: int) -> list[Line]:
    """Those that are away first: they are never the ones that are left out."""
    others = [item for item in state["sources"].items() if item[0] != OWN]
    sources = sorted(others, key=lambda item: (item[1]["up"] is not False, item[0]))
    shown = sources if len(sources) < room else sources[: room - 2]
    lines = source_table(shown, state["now_ms"], width)
    if len(shown) < len(sources):
        lines.append(more(len(sources) - len(shown), "source", "fieldgate sources"))
    return lines


def source_table(sources: Iterable[tuple[str, State]], now_ms: int, width: int) -> list[Line]:
    """A line for each source, under a heading."""
    head = [Word(name, "faint") for name in _HEAD]
    rows = [head, *(_row(name, source, now_ms) for name, source in sources)]
    return columns(rows, width, right=_NUMBERS, gives_way=_NEWEST)


def _row(name: str, source: State, now_ms: int) -> Sequence[Word]:
    rejected = source["rejected"] + source["dropped"]
    return (
        Word(name, "bold"),
        _LINKS.get(source["up"], Word("-")),
        Word(values(source["last"])),
        Word("-" if source["last_ms"] is None else age((now_ms - source["last_ms"]) / 1000)),
        Word(rate(source["rate"])),
        Word(f"{rejected:,}", "warn" if rejected else "faint"),
    )


def values(records: Iterable[Sequence[Any]]) -> str:
    """The values of a reading, each with its unit."""
    return ", ".join(f"{name} {value(one)}{f' {unit}' if unit else ''}" for name, unit, one in records) or "-"


def value(one: object) -> str:
    """One value."""
    if isinstance(one, bool):
        return "yes" if one else "no"
    return f"{one:.6g}" if isinstance(one, float) else str(one)


def rate(a_second: float) -> str:
    """How often readings come, in the unit that has a number to it."""
    if a_second <= 0:
        return "-"
    if a_second >= 0.095:
        return f"{a_second:.3g}/s"
    return f"{a_second * 60:.2g}/min"


def quality(bits: int) -> str:
    """Quality bits in words; empty for none."""
    known = [words for bit, words in QUALITY.items() if bits & bit]
    return ", ".join([*known, *([f"bits {rest}"] if (rest := bits & ~sum(QUALITY)) else [])])


def _chain(state: State) -> list[Line]:
    chain, clock = state["chain"], state["clock"]
    sealed = "" if chain["last_sealed_ms"] is None else f", sealed {_ago(state, chain['last_sealed_ms'])}"
    held = f"{chain['open']:,} in the open block"
    off = "" if clock["error_ms"] is None else f", off by at most {clock['error_ms']} ms"
    lines = [
        _fact("chain", f"{plural(chain['size'], 'block')}, {plural(chain['readings'], 'reading')}, {held}{sealed}"),
        _fact("clock", f"synchronised{off}") if clock["synchronised"] else _fact("clock", "NOT synchronised", "warn"),
    ]
    if chain["held"]:
        lines.append(_fact("chain", f"SIGNING IS HELD: {chain['held']}", "bad"))
    return lines


def _nodes(state: State, most: int) -> list[Line]:
    nodes = sorted(state["nodes"].items(), key=lambda item: (item[1]["ok"], item[0]))
    lines: list[Line] = []
    for name, node in nodes[:most]:
        answered = "" if node["last_ms"] is None else f", answered {_ago(state, node['last_ms'])}"
        sizes = f"seen {node['seen']:,}, stored {node['stored']:,} of {node['entries']:,}"
        detail = Word(node["detail"], "" if node["ok"] else "bad")
        lines.append([*_fact("node", f"{name}: {sizes}{answered}, "), detail])
    if len(nodes) > most:
        lines.append(more(len(nodes) - most, "node", "fieldgate status --json"))
    return lines


def _witnesses(state: State, most: int) -> list[Line]:
    witnesses = sorted(state["witnesses"].items(), key=lambda item: (item[1]["ok"], item[0]))
    lines: list[Line] = []
    for name, witness in witnesses[:most]:
        answered = "" if witness["last_ms"] is None else f", answered {_ago(state, witness['last_ms'])}"
        detail = Word(witness["detail"], "" if witness["ok"] else "bad")
        lines.append([*_fact("witness", f"{name}: seen {witness['seen']:,}{answered}, "), detail])
    if len(witnesses) > most:
        lines.append(more(len(witnesses) - most, "witness", "fieldgate status --json"))
    return lines


def _anchors(state: State) -> list[Line]:
    lines: list[Line] = []
    for name, told in sorted(state["anchors"].items()):
        if told["state"] == CLAIMED:
            lines.append(_fact("anchor", f"{name}: claimed by the node up to block {told['size'] - 1:,}"))
            continue
        until = f"anchored up to block {told['anchored'] - 1:,}" if told["anchored"] else "not anchored yet"
        on_way = f", size {told['size']:,} is {told['state']}" if told["state"] != "anchored" and told["size"] else ""
        lines.append([*_fact("anchor", f"{name}: {until}"), Word(on_way, "bad" if told["state"] == "failed" else "")])
    return lines


def _device(state: State) -> list[Line]:
    device, disk = state["device"], state["disk"]
    lines = []
    facts = [
        device.get("model"),
        device.get("uptime_s") is not None and f"up {age(device['uptime_s'])}",
        device.get("load") and f"load {device['load'][0]:.2f}",
        device.get("temperature") is not None and f"{device['temperature']:.0f} °C",
        device.get("memory_free") is not None and f"memory {size(device['memory_free'])} free",
        device.get("disk_free") is not None and f"disk {size(device['disk_free'])} free",
        device.get("written_a_day") is not None and f"{size(device['written_a_day'])} written a day",
        device.get("worn") is not None and f"flash worn up to {device['worn']} %",
    ]
    if any(facts):
        lines.append(_fact("device", ", ".join(str(fact) for fact in facts if fact)))
    if disk:
        used = f"{size(disk['used'])} of {size(disk['quota'])}, {plural(disk['prunable'], 'reading')} can be pruned"
        lines.append([*_fact("store", used), Word(f", HELD: {disk['held']}" if disk["held"] else "", "bad")])
    found = state["verified"]
    if found["at_ms"] is not None:
        good = Word("all good") if not found["faults"] else Word(f"{plural(found['faults'], 'bad block')}", "bad")
        lines.append([*_fact("checked", f"all blocks {_ago(state, found['at_ms'])}, "), good])
    return lines


def _fact(label: str, text: str, style: Style = "") -> Line:
    return line(Word(label.ljust(_LABEL), "faint"), Word(text, style))


def _ago(state: State, then_ms: int) -> str:
    return f"{age((state['now_ms'] - then_ms) / 1000)} ago"


def stored(held: State, width: int) -> list[Line]:
    """What the store of a gateway that does not run holds."""
    chain = held["chain"]
    if chain is None:
        return []
    lines = [
        line(Word(f"{held['origin']}: not running", "bad")),
        line(f"log key {held['vkey']}"),
        _fact("chain", f"{plural(chain['size'], 'block')}, {plural(chain['readings'], 'reading')}"),
    ]
    if chain["last_sealed_ms"] is not None:
        lines.append(_fact("sealed", format_time(chain["last_sealed_ms"])))
    for name, node in held["nodes"].items():
        lines.append(_fact("node", f"{name}: seen {node['seen']:,}, stored {node['stored']:,}"))
    for name, witness in held["witnesses"].items():
        lines.append(_fact("witness", f"{name}: seen {witness['seen']:,}"))
    return [cut(one, width) for one in lines]
