"""What can be the matter with an anchor: told by the task that keeps a chain told."""

from gateway.conditions.model import condition

_AGAIN = "It is tried again by itself; nothing else waits for it"

ANCHOR_AWAY = condition(
    "anchor-away",
    "warning",
    "Anchor {subject}: {detail}",
    "Check the network, the chain's server, and url in [anchor.{subject}]. " + _AGAIN,
)
ANCHOR_ANSWER = condition(
    "anchor-answer",
    "error",
    "Anchor {subject}: what its server answers cannot be true: {detail}",
    "Use another server for this chain: nothing of the answer was taken over. It is tried again by itself",
)
ANCHOR_FAILED = condition(
    "anchor-failed",
    "error",
    "Anchor {subject} fails: {detail}",
    "{cure}. Then it goes on by itself, with the same bytes where some were made",
)
ANCHOR_LATE = condition(
    "anchor-late",
    "warning",
    "Anchor {subject}: size {size} is {state} since {since}",
    "`fieldgate anchors` tells how far it is. The price may be too low for the chain, or the chain may stand still",
)
ANCHOR_FAULT = condition(
    "anchor-fault",
    "error",
    "Anchor {subject}: a fault of this program: {detail}",
    "It is tried again by itself. Report it with a support archive (fieldgate doctor --bundle)",
)
