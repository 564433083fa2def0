"""What can be the matter with an MQTT broker: told by its driver, and by `doctor`, which asks it itself."""

from functools import partial

from drivers import conditions as ids
from gateway.conditions.model import condition

_found = partial(condition, by_doctor=True)

BROKER_AWAY = condition(
    ids.BROKER_AWAY,
    "error",
    "Broker {subject} is away: nothing listens at {at}",
    "Start the broker (sudo systemctl start mosquitto), or correct url in [broker.{subject}]",
)
BROKER_UNREACHABLE = condition(
    ids.BROKER_UNREACHABLE,
    "error",
    "Broker {subject} cannot be reached at {at}: {detail}",
    "Check that its computer runs, the network between, its firewall, and url in [broker.{subject}]",
)
BROKER_NAME = condition(
    ids.BROKER_NAME,
    "error",
    "Broker {subject}: the name {host} has no address",
    "Check the spelling in [broker.{subject}] and the network's DNS, or write the address in place of the name",
)
BROKER_LOGIN = condition(
    ids.BROKER_LOGIN,
    "error",
    "Broker {subject} at {at} does not accept user and password",
    "Correct user, and the file that password names, in [broker.{subject}]; or set the password there anew (sudo "
    "mosquitto_passwd). Then: fieldgate reload",
)
BROKER_REFUSED = condition(
    ids.BROKER_REFUSED,
    "error",
    "Broker {subject} at {at} refuses the gateway: {detail}",
    "Look into the broker's log, and at client_id in [broker.{subject}]",
)
BROKER_SECRET = condition(
    ids.BROKER_SECRET,
    "error",
    "Broker {subject}: its password cannot be had, so nobody connects: {detail}",
    "Put the file back that password names in [broker.{subject}], 0600 and of the gateway's user (fieldgate check "
    "tells how). Then: fieldgate reload",
)
BROKER_TLS = condition(
    ids.BROKER_TLS,
    "error",
    "Broker {subject} at {at}: the encrypted connection fails: {detail}",
    "Check ca_file, the host's name as its certificate has it, the certificate's dates, and this gateway's clock. For "
    "a port without TLS write mqtt://",
)
BROKER_PROTOCOL = condition(
    ids.BROKER_PROTOCOL,
    "error",
    "Broker {subject}: what answers at {at} speaks no MQTT as it should: {detail}",
    "Check the port in url (1883; 8883 with mqtts://), and that the broker takes MQTT 3.1.1",
)
BROKER_LOST = condition(
    ids.BROKER_LOST,
    "error",
    "Broker {subject} at {at}: {detail}",
    "It is tried again by itself. If it comes again, look at the broker's log and the network",
)
BROKER_TAKEOVER = condition(
    ids.BROKER_TAKEOVER,
    "error",
    "Broker {subject}: another client seems to use the client id {client_id}; each ends the connection of the other",
    "End the other gateway, or give each a client_id of its own in [broker.{subject}]",
)
BROKER_PAUSED = condition(
    ids.BROKER_PAUSED,
    "warning",
    "Broker {subject}: its connection is closed until what was received is stored",
    "It goes on by itself. If it stays, the disk is full or too slow",
)
BROKER_TOPIC = condition(
    ids.BROKER_TOPIC,
    "error",
    "{subject}: broker {broker} refuses the topic {topic}",
    "Allow the gateway's user to read it in the broker's access list (mosquitto: acl_file), and restart the broker",
)
BROKER_QOS0 = condition(
    ids.BROKER_QOS0,
    "warning",
    "{subject}: broker {broker} grants {topic} with QoS 0 only: messages may be lost on the way",
    "Allow QoS 1 there (mosquitto: max_qos 1 or 2)",
)

# -- found by doctor only ---------------------------------------------------------------------------------------------

BROKER_WINDOW_LARGE = _found(
    "broker-window-large",
    "warning",
    "Broker {subject}: window is {window}, and the broker has at most {limit} messages under way",
    "Write window = {limit} in [broker.{subject}], or raise the broker's max_inflight_messages to {window}",
)
BROKER_WINDOW_SMALL = _found(
    "broker-window-small",
    "note",
    "Broker {subject}: window is {window}, and the broker would have {limit} messages under way",
    "Write window = {limit} in [broker.{subject}]: messages are stored sooner and in larger groups",
)
BROKER_WINDOW_DEFAULT = _found(
    "broker-window-default",
    "note",
    "Broker {subject} has at most 20 messages under way, as mosquitto's default is",
    "deploy/mosquitto/mosquitto.conf has settings that lose less and carry more",
)
BROKER_PACKET = _found(
    "broker-packet",
    "warning",
    "Broker {subject} takes packets of at most {limit} bytes, and the gateway takes {wanted}",
    "Raise max_packet_size of the broker if devices send larger messages",
)
BROKER_NO_QOS1 = _found(
    "broker-no-qos1",
    "error",
    "Broker {subject} allows QoS 0 only: messages may be lost on the way",
    "Allow QoS 1 there (mosquitto: max_qos 1 or 2)",
)
BROKER_CERTIFICATE = _found(
    "broker-certificate",
    "warning",
    "Broker {subject}: its certificate ends on {ends}",
    "Have it renewed before: after that day the gateway does not connect",
)
BROKER_PLAIN = _found(
    "broker-plain",
    "note",
    "Broker {subject} at {at} is reached without encryption: whoever is on the network can read and change messages",
    "Write mqtts:// and ca_file in [broker.{subject}] where that matters",
)
