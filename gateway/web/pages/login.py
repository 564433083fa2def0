"""`/login`: where a code from `fieldgate login` becomes a session. It tells a stranger nothing of the gateway."""

from gateway.web.assets import Assets
from gateway.web.html import Markup, el
from gateway.web.pages.frame import language, shell
from gateway.web.words import Words


def document(words: Words, assets: Assets, *, fault: str = "", tls: bool) -> Markup:
    """The form; fault: what was wrong with the last try."""
    how = words.html("On the gateway, run {command} and type its code here.", command=el("code", "fieldgate login"))
    field = el(
        "input",
        id="code",
        name="code",
        required=True,
        maxlength=16,
        autocomplete="one-time-code",
        autocapitalize="characters",
        spellcheck="false",
        autofocus=True,
        placeholder="K7M-2QX",
        aria_describedby="fault" if fault else None,
        aria_invalid="true" if fault else None,
    )
    form = el(
        "form",
        el("label", words("One-time code"), for_="code"),
        field,
        el("p", fault, id="fault", class_="bad", role="alert") if fault else None,
        el("button", words("Sign in"), class_="main"),
        method="post",
        action="/login",
    )
    open_ = None
    if not tls:
        open_ = el(
            "p", words("This connection is not encrypted: whoever shares the network can read along."), class_="caution"
        )
    body = el(
        "main",
        el("div", el("h1", words("Sign in")), el("p", how, class_="lead"), form, open_, class_="card"),
        el("div", language(words, "/login"), class_="side"),
        class_="login",
        id="main",
    )
    return shell(words, assets, f"{words('Sign in')} · Fieldgate", body)
