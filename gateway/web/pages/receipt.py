"""`/receipt/ID?at=MS`: a receipt: every step of its verification, the file, and a QR code that leads here."""

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

from gateway import verify
from gateway.core import limits
from gateway.core.anchor import STAMPED, Pin
from gateway.core.note import VerifierKey
from gateway.core.policy import make_policy, parse_policy
from gateway.core.receipt import parse_receipt
from gateway.errors import FieldgateError, NotFoundError, VerifyError
from gateway.store.receipts import build_receipt
from gateway.verify import RULES, Step, Verified
from gateway.web import show
from gateway.web.html import Child, Markup, data, el
from gateway.web.pages import headline
from gateway.web.pages.overview import quality
from gateway.web.view import Desk, Page, Part, View
from gateway.web.words import Words, mark

FILE = "application/vnd.c2sp.tlog-proof"
TITLES = {
    "the file": mark("the file"),
    "the log's signature": mark("the log's signature"),
    "the co-signatures": mark("the co-signatures"),
    "the entry's place in the log": mark("the entry's place in the log"),
    "the signed header": mark("the signed header"),
    "the reading's place in the block": mark("the reading's place in the block"),
    "the reading": mark("the reading"),
    "the anchors": mark("the anchors"),
}
_ALWAYS = 7  # steps; those behind them are taken where there is something to check
_NOW_MS = limits.NUMBER_MAX


@dataclass(frozen=True, slots=True)
class Proof:
    """A receipt as a file, and what its verification came to: passed, or the step that refused it.

    sm2: this gateway signs by SM2, too, so that signature was asked for where the receipt has a line of it.
    """

    text: str
    verified: Verified | None
    refused: VerifyError | None
    sm2: bool = False


async def proof(desk: Desk, source: str, at: str) -> Proof:
    """The receipt of the last sealed reading up to a time (Unix ms; the newest without one), verified.

    Raises NotFoundError where there is none yet.
    """
    policy = policy_of(desk)
    text = await build_receipt(desk.store, source, int(at) if at else _NOW_MS, parse_policy(policy))
    key = desk.services.sm2()
    pins = _pins(desk.store.vkey.name, key, text) if key else ()
    try:
        verified = await asyncio.to_thread(verify.verify_receipt, text.encode(), policy, pins)
    except VerifyError as error:
        return Proof(text, None, error, key is not None)
    return Proof(text, verified, None, key is not None)


def _pins(origin: str, key: VerifierKey, text: str) -> tuple[Pin, ...]:
    """Asks for the signature of the gateway's SM2 key where it is there: it may be younger than the checkpoint."""
    lines = parse_receipt(text.encode()).note.lines
    return (Pin(verify.SM2_KEY, origin, "key", (str(key),), 1),) if any(line.is_by(key) for line in lines) else ()


def policy_of(desk: Desk) -> bytes:
    """Whom this gateway's own configuration trusts: its log, and any one of its nodes and witnesses."""
    texts = [link.keys[-1] for link in desk.nodes().values()]
    texts += [link.vkey for link in desk.services.witnesses().values()]
    keys = list(dict.fromkeys(map(VerifierKey.parse, texts)))
    return make_policy([desk.store.vkey], keys, "any" if keys else "none")


def link(source: str, at_ms: int) -> Markup:
    """The way to the receipt of a sealed reading."""
    return el("a", data(source), href=address(source, at_ms))


def address(source: str, at_ms: int) -> str:
    """Where the page of a receipt is."""
    return f"/receipt/{quote(source, safe='')}?at={at_ms}"


async def page(view: View, source: str, at: str = "") -> Page:
    """The verification, step by step."""
    words = view.words
    title = el("h1", words("Receipt of a reading of {source}", source=data(source)))
    try:
        made = await proof(view.desk, source, at)
    except NotFoundError as error:
        said = el("div", title, el("p", data(str(error.what))), el("p", data(error.cure), class_="cure"))
        return Page(words("Receipt"), [headline.part(view, whole=False), Part("receipt", said)], 404)
    except FieldgateError as error:
        said = el("div", title, el("p", data(error.what), class_="bad"))
        return Page(words("Receipt"), [headline.part(view, whole=False), Part("receipt", said)], 500)
    parts = [headline.part(view, whole=False), Part("title", el("div", title, _verdict(words, made)))]
    if made.verified is not None:
        parts.append(Part("said", _reading(view, made.verified, sm2=made.sm2)))
    parts.append(Part("steps", _steps(words, made)))
    time_ms = made.verified.reading.time_ms if made.verified else int(at or 0)
    parts.append(Part("file", await _take(view, source, time_ms)))
    return Page(words("Receipt"), parts)


def _verdict(words: Words, made: Proof) -> Markup:
    if made.verified is not None:
        return el("p", show.dot("well", ""), words("Every step was passed."), class_="verdict well")
    return el("p", show.dot("ill", ""), words("A step refused it: do not trust this reading."), class_="verdict ill")


def _reading(view: View, verified: Verified, *, sm2: bool) -> Markup:
    words, reading, header = view.words, verified.reading, verified.header
    values = [
        el("div", el("dt", data(one.name)), el("dd", el("b", show.value(words, one.value)), " ", show.unit(one.unit)))
        for one in reading.records
    ]
    pairs: list[tuple[str, Child]] = [
        (words("Observed, as the gateway claims"), show.moment(view, reading.time_ms)),
        (words("Certainly not later than"), _not_later(view, verified)),
        (
            words("Place"),
            words.html(
                "reading {index} of {count} in {block}",
                index=verified.index + 1,
                count=header.count,
                block=el("a", words("Block {height}", height=header.height), href=f"/chain/{header.height}"),
            ),
        ),
    ]
    if sm2:
        names = ", ".join(data(key.name) for key in verified.sm2)
        none = words("no: the checkpoint of this receipt was signed without that key")
        pairs.append((words("Signed by SM2 with SM3 as well"), names or none))
    for _, found in verified.anchors:
        if found is not None:
            place = f"{found.kind} {data(found.chain)}"
            moment = show.moment(view, found.time_s * 1000)
            if found.kind == STAMPED:
                said = words.html(
                    "{time}, by the time stamp of {chain}: whoever knows its root can prove it",
                    time=moment,
                    chain=data(found.chain),
                )
            else:
                said = words.html(
                    "{time}, in block {block} of {chain}: whoever knows that block can prove it",
                    time=moment,
                    block=found.number,
                    chain=place,
                )
            unbound = words("Anchored, and dated by who made the transaction")
            pairs.append((words("Anchored not later than") if found.bound else unbound, said))
            if found.node:
                who = words("{node}, for {count} logs", node=data(found.node), count=found.logs)
                pairs.append((words("Put there by the node"), who))
    doubts = quality(words, reading.quality)
    if doubts:
        pairs.append((words("Said against it"), "; ".join(doubts)))
    return show.card(words("What it proves"), el("dl", values, class_="values"), show.facts(pairs))


def _not_later(view: View, verified: Verified) -> Child:
    if verified.earliest is None:
        return view.words("unknown: nobody co-signed")
    names = ", ".join(data(witness.name) for witness in verified.witnesses if witness.time == verified.earliest)
    return view.words.html(
        "{time}, by the word of {names}", time=show.moment(view, verified.earliest * 1000), names=names
    )


def _steps(words: Words, made: Proof) -> Markup:
    passed = {step.number: step for step in made.verified.steps} if made.verified else {}
    refused = made.refused
    items: list[Markup] = []
    for number, rule in enumerate(RULES, 1):
        here = number in passed or (refused is not None and refused.step == number)
        if number > _ALWAYS and not here:
            continue
        good = number in passed or (refused is not None and number < refused.step)
        items.append(
            _step(words, rule, passed.get(number), refused if refused and refused.step == number else None, good=good)
        )
    about = words(
        "Checked by this gateway, under the policy of its own configuration. That is a convenience, not a proof: "
        "who wants one takes the file, this program or another verifier, and a policy from someone whom they trust."
    )
    return show.card(words("The verification"), el("p", about, class_="caution"), el("ol", items, class_="steps"))


def _step(words: Words, rule: verify.Rule, step: Step | None, refused: VerifyError | None, *, good: bool) -> Markup:
    kind, word = (
        ("well", words("passed")) if good else ("ill", words("refused")) if refused else ("idle", words("not reached"))
    )
    found: list[Child] = [el("p", data(step.found), lang="en")] if step else []
    if refused is not None:
        found = [el("p", data(refused.what), class_="bad"), el("p", data(refused.cure), class_="cure")]
    return el(
        "li",
        show.dot(kind, word),
        el(
            "div",
            el("strong", words(TITLES.get(rule.title, rule.title))),
            " ",
            el("small", rule.clause, lang="en"),
            found,
        ),
    )


async def _take(view: View, source: str, time_ms: int) -> Markup:
    words = view.words
    file = f"/proof/{quote(source, safe='')}?at={time_ms}"
    target = f"{view.address}{address(source, time_ms)}"
    drawn = await asyncio.to_thread(qr, target, words("QR code of this page's address"))
    how = f"fieldgate verify {data(source)}.tlog-proof --policy POLICY -v"
    take = el(
        "div",
        el(
            "p",
            el(
                "a",
                words("Take the receipt as a file"),
                href=file,
                class_="button main",
                download=f"{source}.tlog-proof",
            ),
        ),
        el("p", words("To check it independently:")),
        el("pre", how, tabindex=0),
        el("p", el("code", target, class_="long"), class_="soft"),
    )
    return show.card(words("Take it along"), el("div", take, drawn, class_="take"))


def qr(text: str, label: str) -> Markup:
    """The text as a QR code (ISO/IEC 18004), drawn here: dark on a light ground whatever the page's scheme."""
    import segno  # noqa: PLC0415 -- only for who looks at a receipt

    code = segno.make(text, error="m", micro=False)
    dark = "".join(
        f"M{x} {y}h1v1h-1z" for y, row in enumerate(code.matrix_iter(border=4)) for x, cell in enumerate(row) if cell
    )
    side = code.symbol_size(border=4)[0]
    return el(
        "svg",
        el("title", label, id="qr-t"),
        el("rect", width=side, height=side, class_="light"),
        el("path", d=dark, class_="dark"),
        viewBox=f"0 0 {side} {side}",
        role="img",
        aria_labelledby="qr-t",
        class_="qr",
    )


def file_name(source: str) -> str:
    """What a receipt's file is called; a source id has no character that a header or a file system minds."""
    return f"{''.join(char for char in source if char.isalnum() or char in '._-')}.tlog-proof"
