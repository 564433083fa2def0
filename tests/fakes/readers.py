"""Three nodes of a gateway's configuration: one sees everything, one sees s-1, one has no read key."""

from fakes.log_maker import signer

from gateway.core.note import COSIGNATURE
from gateway.settings import NodeLink

COOP = signer("coop.example/read")
VET = signer("vet.example/read")
STRANGER = signer("stranger.example/read")


def links() -> dict[str, NodeLink]:
    """NAME -> link."""
    seen = str(signer("seen.example", COSIGNATURE).vkey)
    url = "http://127.0.0.1:1"
    return {
        "coop": NodeLink(url=url, seen_key=seen, read_key=str(COOP.vkey)),
        "vet": NodeLink(url=url, seen_key=seen, read_key=str(VET.vkey), share=("s-1",)),
        "mute": NodeLink(url=url, seen_key=seen),
    }
