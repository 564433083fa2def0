"""Is the SM2 key there that is asked for, and what makes and digests with it on this machine?"""

import hashlib

from gateway import config, sm2
from gateway.conditions import SM2_MISSING
from gateway.doctor.case import Case, Outcome, beside, unseen
from gateway.errors import FieldgateError
from gateway.settings import Settings

_OTHER = "Only the service has it: its page has a button that makes these checks within the gateway"


async def look(case: Case) -> Outcome:
    """Opens the key as the gateway would."""
    figures = await beside(figures_of)
    uri = case.wanted.gateway.sm2_key
    if uri is None:
        return Outcome("no SM2 signature is asked for", (), figures)
    if not uri.startswith("file:") and not case.inside:
        return unseen("the SM2 key", f"it is no file ({uri})", _OTHER)
    try:
        return Outcome("the SM2 key can be used", (), figures | {"vkey": await beside(_vkey, case.wanted)})
    except FieldgateError as error:
        problem = SM2_MISSING.problem(uri, detail=error.what, cure=error.cure or "Put the key back")
        return Outcome("the SM2 key cannot be used", (problem,), figures)


def figures_of() -> dict[str, str]:
    """Blocking. What makes SM2 signatures and SM3 digests here."""
    engine = sm2.engine()
    builtin = "sm3" in hashlib.algorithms_available
    return {"signatures": engine.name if engine else "nothing", "digests": "hashlib" if builtin else "in Python"}


def _vkey(settings: Settings) -> str:
    signer = config.sm2_signer(settings)
    return str(signer.vkey) if signer else ""
