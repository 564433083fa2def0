"""What can be the matter with a node: told by the session with it, and by `doctor`, which asks it itself."""

from functools import partial

from gateway.conditions.model import condition

_found = partial(condition, by_doctor=True)

_ENROL = "Give its operator the log key that `fieldgate status` shows, to be enrolled there"

NODE_AWAY = condition(
    "node-away",
    "error",
    "Node {subject} at {url} is away: {detail}",
    "Check the network, the node, and url in [node.{subject}]. Blocks wait on the disk here and are sent later",
)
NODE_NAME = condition(
    "node-name",
    "error",
    "Node {subject}: the name in {url} has no address",
    "Check the spelling in [node.{subject}] and the network's DNS",
)
NODE_TLS = condition(
    "node-tls",
    "error",
    "Node {subject} at {url}: the encrypted connection fails: {detail}",
    "Check ca_file, the host's name as its certificate has it, the certificate's dates, and this gateway's clock",
)
NODE_KEY = condition(
    "node-key",
    "error",
    "What answers at {url} signs with another key than {field} of node {subject} says",
    "Compare {field} in [node.{subject}] with what the node's operator says. If it is right, something else answers "
    "there: check url",
)
NODE_UNKNOWN_LOG = condition(
    "node-unknown-log", "error", "Node {subject} does not know this log: it is not enrolled there", _ENROL
)
NODE_LOG_KEY = condition(
    "node-log-key",
    "error",
    "Node {subject} does not take this log's signature: another key is enrolled there, or its operator "
    "believes this one no more",
    _ENROL + " in place of the other",
)
NODE_REFUSED = condition(
    "node-refused",
    "error",
    "Node {subject} at {url} refuses what it is sent: {detail}",
    "Check that url is the node's own, without a proxy that alters requests, and that gateway and node have the same "
    "version",
)
NODE_BUSY = condition(
    "node-busy",
    "warning",
    "Node {subject}: {detail}",
    "It is tried again by itself. If it stays, ask the node's operator",
)
NODE_ANSWER = condition(
    "node-answer",
    "error",
    "Node {subject}: {detail}",
    "Check that url is the node's, and its keys in [node.{subject}]. Nothing of the answer was taken over; it is tried "
    "again by itself",
)
NODE_ANCHOR = condition(
    "node-anchor",
    "warning",
    "Node {subject} hands over an anchor that does not hold: {detail}",
    "Ask the node's operator. Nothing of it was kept; blocks and co-signatures go on",
)
NODE_FORK = condition(
    "node-fork",
    "error",
    "Node {subject} shows another history of this log: {detail}",
    "Find and stop whoever else signs with this key, and keep the node's evidence. `fieldgate recover` tells what to "
    "do here",
)
NODE_FALLEN = condition(
    "node-fallen",
    "error",
    "Node {subject} has lost readings that it had stored: {detail}",
    "Ask the node's operator. What is still here is sent again by itself",
)
NODE_FAULT = condition(
    "node-fault",
    "error",
    "Node {subject}: a fault of this program: {detail}",
    "It is tried again by itself. Report it with a support archive (fieldgate doctor --bundle)",
)

# -- found by doctor only ---------------------------------------------------------------------------------------------

NODE_CERTIFICATE = _found(
    "node-certificate",
    "warning",
    "Node {subject}: its certificate ends on {ends}",
    "Its operator should renew it before: after that day the gateway does not connect",
)
NODE_EMPTY = _found(
    "node-empty",
    "note",
    "Node {subject} has not co-signed this log yet",
    "Nothing, if the gateway is new: the first block goes there as soon as it is sealed",
)
NODE_SLOW = _found(
    "node-slow",
    "warning",
    "Node {subject} took {seconds} s to answer",
    "Check the network. Blocks are sent all the same, only later",
)
NODE_NONE = _found(
    "node-none",
    "warning",
    "No node is configured: nobody else holds the readings",
    "Add a [node.NAME] table: `fieldgate node init` on another computer prints it",
)
CLOCK_APART = _found(
    "clock-apart",
    "warning",
    "The clock of node {subject} and this one are {seconds} s apart",
    "One of the two is wrong: compare both with a watch",
)
