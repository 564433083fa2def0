"""What is legal in a configuration and unwise all the same: `check` and `doctor` tell it, no running gateway."""

from functools import partial

from gateway.conditions.model import condition

_advice = partial(condition, by_doctor=True)

NO_SOURCE = _advice(
    "config-no-source",
    "warning",
    "There is no source: nothing is taken in",
    "`fieldgate probe` lists the ports; `fieldgate probe PORT` finds what speaks there or at a broker, and prints the "
    "table to paste",
)
NO_NODE = _advice(
    "config-no-node",
    "warning",
    "There is no node and no witness: nobody co-signs the log, so no receipt can be made, and nobody else has the "
    "readings",
    "Write the [node.NAME] table that the node's operator gives you (`fieldgate node init` prints it)",
)
NO_HOLDER = _advice(
    "config-no-holder",
    "warning",
    "There are witnesses and no node: the log is co-signed, but nobody else has the readings",
    "Write the [node.NAME] table that a node's operator gives you (`fieldgate node init` prints it)",
)
NO_KEEPER = _advice(
    "config-no-keeper",
    "warning",
    "No node can sign that it stores whole blocks: stored_by = {asked} is never met, and the store fills up",
    'Give a node its stored_key and share = ["*"]',
)
OLDEST = _advice(
    "config-oldest-lost",
    "warning",
    "A full store gives up its oldest readings, and no node has them: they are gone for good",
    'Give a node its stored_key and share = ["*"], or write when_full = "hold"',
)
UNUSED_BROKER = _advice(
    "config-broker-unused", "note", "Neither a source nor [status] names this broker", "Remove it, or name it there"
)
WINDOW = _advice(
    "config-window-default",
    "note",
    "Messages become durable {window} at a time: more flushes and less throughput than the broker may be good for",
    "Write the broker's max_inflight_messages (deploy/mosquitto has 1000 for both)",
)
PLAIN_BROKER = _advice(
    "config-password-in-clear",
    "warning",
    "User and password go to another machine without TLS: whoever is on the network can read them",
    "Write mqtts:// and ca_file; the broker needs a certificate",
)
PLAIN_NODE = _advice(
    "config-node-in-clear",
    "warning",
    "Readings go to another machine without TLS: whoever is on the network can read them",
    "Write https:// and, where it is not a public one, its ca_file",
)
PLAIN_PULL = _advice(
    "config-pull-in-clear",
    "warning",
    "Readings are pulled from another machine without TLS: whoever is on the network can read them",
    "Write https:// and, where it is not a public one, its ca_file; the gateway needs a certificate",
)
PLAIN_ANCHOR = _advice(
    "config-anchor-in-clear",
    "warning",
    "This chain is asked on another machine without TLS: whoever is on the network can read and change what is said",
    "Write https:// and, where it is not a public one, its ca_file",
)
FEW_CONFIRMATIONS = _advice(
    "config-few-confirmations",
    "note",
    "An anchor counts after {confirmations} of the chain's blocks: a reorganisation may take it away after that",
    "Write confirmations = 12, or more, unless the chain never takes a block back",
)
NO_SIGNERS = _advice(
    "config-no-signers",
    "note",
    "Nothing here tells this chain from one that its server makes up: an anchor is a claim until somebody pins a block",
    "Where the chain is one of proof of authority (Clique), write its signers. Others have none to name: whoever "
    "verifies looks a block up by another way and pins it (--pins)",
)
FEW_SEALS = _advice(
    "config-few-seals",
    "warning",
    "More than half of {signers} signers cannot seal {confirmations} blocks: no anchor of this chain is ever complete",
    "Write confirmations = {least}, or more",
)
QOS_0 = _advice(
    "config-qos-0",
    "warning",
    "QoS 0: what is published while the gateway, the broker or the network is away is lost, and nobody can count it",
    "Write qos = 1, and have the devices publish with QoS 1",
)
ONE_SOURCE = _advice(
    "config-one-source",
    "warning",
    "Every topic that fits is this one source: nobody can tell the devices apart",
    "Write an id, such as {example}",
)
PLAIN_PAGE = _advice(
    "config-page-in-clear",
    "warning",
    "The page and the pull API can be reached from the network, without TLS",
    "Write cert_file and key_file, or listen on 127.0.0.1",
)
LOW_PORT = _advice(
    "config-port-of-root",
    "warning",
    "Only root may listen below port 1024, and the service is not root",
    "Write a port from 1024 on",
)
KEY_COPIED = _advice(
    "config-key-in-data-dir",
    "warning",
    "The key lies in data_dir: whoever copies the store copies the key, and two copies that run fork the log",
    "Move it, to /etc/fieldgate for example, and write the new place",
)
NO_LINGER = _advice(
    "config-no-linger",
    "warning",
    "Every message is a commit of its own: about 8 kB written for each, which wears a flash card out",
    "Write linger_ms = 250, or remove it",
)
OLD_BLOCKS = _advice(
    "config-late-blocks",
    "note",
    "A reading has no receipt before its block is signed: up to {hours} hours",
    "Write max_age_s = 60, or remove it",
)
