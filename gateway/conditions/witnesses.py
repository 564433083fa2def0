"""What can be the matter with a C2SP witness: told by the session with it, and by `doctor`, which asks it itself."""

from gateway.conditions.model import condition

WITNESS_AWAY = condition(
    "witness-away",
    "error",
    "Witness {subject} at {url} is away: {detail}",
    "Check the network, and url and ca_file in [witness.{subject}]. The newest checkpoint is sent when it answers",
)
WITNESS_KEY = condition(
    "witness-key",
    "error",
    "What answers at {url} signs with another key than vkey of witness {subject} says",
    "Compare vkey in [witness.{subject}] with what its operator publishes: a key of cosignature/v1 is needed (Ed25519, "
    "algorithm 0x04). If it is right, something else answers there: check url",
)
WITNESS_UNKNOWN_LOG = condition(
    "witness-unknown-log",
    "error",
    "Witness {subject} does not take this log: {detail}",
    "Give its operator the log key that `fieldgate status` shows, to be added there. A new epoch is another log",
)
WITNESS_REFUSED = condition(
    "witness-refused",
    "error",
    "Witness {subject} at {url} refuses what it is sent: {detail}",
    "Check that url is the witness's submission prefix (what stands before /add-checkpoint), without a proxy that "
    "alters requests",
)
WITNESS_BUSY = condition(
    "witness-busy",
    "warning",
    "Witness {subject}: {detail}",
    "It is tried again by itself, less and less often. If it stays, raise every_s in [witness.{subject}] or ask its "
    "operator",
)
WITNESS_ANSWER = condition(
    "witness-answer",
    "error",
    "Witness {subject}: {detail}",
    "Check url and vkey in [witness.{subject}], and this gateway's clock. Nothing of the answer was taken over; it is "
    "tried again by itself",
)
WITNESS_CLAIM = condition(
    "witness-claim",
    "error",
    "Witness {subject} says without proof that this log has another history: {detail}",
    "Compare with the nodes (`fieldgate status`). If they agree with this gateway, the witness is wrong: ask its "
    "operator, or remove [witness.{subject}]. If the store was restored from a copy: `fieldgate recover`",
)
WITNESS_FORK = condition(
    "witness-fork",
    "error",
    "Witness {subject} shows another history of this log, signed with this log's key: {detail}",
    "Find and stop whoever else signs with this key, and keep what the witness shows. `fieldgate recover` tells what "
    "to do here",
)
WITNESS_FAULT = condition(
    "witness-fault",
    "error",
    "Witness {subject}: a fault of this program: {detail}",
    "It is tried again by itself. Report it with a support archive (fieldgate doctor --bundle)",
)

# -- found by doctor only ---------------------------------------------------------------------------------------------

WITNESS_CERTIFICATE = condition(
    "witness-certificate",
    "warning",
    "Witness {subject}: its certificate ends on {ends}",
    "Its operator should renew it before: after that day the gateway does not connect",
    by_doctor=True,
)
