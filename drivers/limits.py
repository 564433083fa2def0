"""Every limit on what a driver takes from outside, by name."""

# a message, of any driver
PAYLOAD_BYTES = 65_536  # a longer one is rejected and never held whole
EXAMPLE_BYTES = 512  # of a rejected message, kept for the technician
TEXT_BYTES = 1_024  # of one text value (docs/format.md, section 2)
RECORDS = 64  # values of one source
INTEGER_MAX = 2**53 - 1  # a larger one travels as text (docs/format.md, section 1)
JSON_DEPTH = 16  # arrays and objects inside each other
NAME_BYTES = 64  # of the name of a value, with its ending, where the message itself names it
DATA_BYTES = 8_192  # of one value of bytes
UNIT_BYTES = 64  # of one unit
FLAT_VALUES = 112  # values and units out of one message that names them itself

# handed over and not yet durable, by one driver; beyond it the driver stops reading, or drops
PENDING_MESSAGES = 4_096
PENDING_BYTES = 4 * 1024 * 1024
PENDING_LINES = 8_192  # of a serial line: at 4 Mbaud more than a commit takes in at once
REPLAY_LINES = 256  # of a file, handed over at once

# a line
LINE_BYTES = 4_096  # default; a longer one is rejected and reading goes on behind the next delimiter
LINE_BYTES_MAX = 65_536
READ_BYTES = 65_536  # taken from a socket or a file at once
CHUNK_BYTES = 1_024  # taken from a stream at once: of the shortest lines no more than one turn of the loop should take

# UDP
DATAGRAM_BYTES = 65_535
UDP_BUFFER_BYTES = 1_048_576  # asked of the kernel for what comes while a turn lasts; it grants net.core.rmem_max
UDP_PEERS = 64  # senders of one source whose lines are put together apart; beyond it the one not heard for longest goes

# who holds a port
HOLDER_S = 2.0  # for the search
HOLDERS = 3  # named

# a weighing ticket, of several lines
TICKET_LINES = 100
TICKET_BYTES = 8_192

# telegrams of an electricity meter
P1_TELEGRAM_BYTES = 16_384  # DSMR 5 with four M-Bus meters and a message of 1,024 letters has under 8 KiB

# tags of animals that a reader has read
TAGS_REMEMBERED = 1_024  # to tell a repeated read; the one read longest ago is forgotten

# MQTT
MQTT_PACKET_BYTES = PAYLOAD_BYTES + 1_024  # remaining length of a packet; a longer PUBLISH is rejected and skipped
MQTT_WAKE_BYTES = 262_144  # taken from a TLS socket at once
MQTT_PACKETS_A_TURN = 256  # taken apart and handed over before other work gets its turn
MQTT_OUT_BYTES = 262_144  # waiting for a broker that does not read; beyond it nothing more is read from it
TOPIC_BYTES = 512
TOPICS_CACHED = 4_096
SOURCES_PER_TOPIC = 256  # default of max_sources
SOURCES_PER_TOPIC_MAX = 4_096
FILTERS_REMEMBERED = 4_096
FILTERS = 16  # further topics of one source
DESCRIPTION_BYTES = 1_048_576  # a message that describes devices and is no reading
DEVICES = 1_024  # that one source's codec knows by name
ENTITIES = 2_048  # values that one source's codec learnt of by Home Assistant's discovery
LEARNT_BYTES = 1_048_576  # what one source's codec has learnt of others' names and units

# what was recorded
RECORDED_BYTES = 64 * 1024 * 1024  # of messages, which are held whole; a stream's file has no limit
PROBED_EXAMPLES = 3  # samples of one codec that are shown
PROBED_TRIALS = 6  # bytes that are changed, to see whether a codec notices
SUGGESTED_VALUES = 12  # of a table to paste
HEARD_BYTES = 16_384  # of a serial port at one setting
HEARD_TOPICS = 1_024  # of a broker
HEARD_MESSAGE_BYTES = 262_144  # of one message; a longer one is not looked at
HEARD_TOTAL_BYTES = 16 * 1024 * 1024

# LoRaWAN and SenML
LORAWAN_FRAMES = 4_096  # remembered by one source, to tell a frame that comes again
LORAWAN_FRAME_BYTES = 255  # no radio frame carries more
LORAWAN_AGAIN_S = 600.0  # the same frame, its counter and bytes, received so much later is a new one
SENML_RECORDS = 512  # of one pack
CBOR_DEPTH = 16  # arrays, maps and tags inside each other

# a polled bus
SOURCES_PER_BUS = 64  # that the devices of one bus may make
POLL_PAUSE_S = 60.0  # the longest pause before a silent device is asked again, but for a longer schedule of its own
POLL_AWAY_SHARE = 0.1  # of a bus's time for all its silent devices together
MODBUS_FRAME_BYTES = 513  # the longest frame on any wire (ASCII); what comes beyond it is no answer
MODBUS_REGISTERS = 125  # in one request (Modbus Application Protocol V1.1b3, 6.3)
MODBUS_BITS = 2_000  # in one request (6.1)
SDI12_VALUES = 99  # of one measurement (SDI-12 1.4, 4.4.8)
SDI12_LINE_BYTES = 128  # an answer has 75 characters of values at the most, an address and a CRC
SDI12_WAIT_S = 120.0  # the longest measurement that is waited for
SYSFS_BYTES = 4_096  # of one file of the kernel

# Sparkplug B: what births have told, of one source
SPARKPLUG_NODES = 256
SPARKPLUG_METRICS = 4_096  # and devices, of one node
SPARKPLUG_METRICS_ALL = 16_384  # and devices, of all nodes
SPARKPLUG_BYTES = 262_144  # one message: births describe all metrics at once
SPARKPLUG_NAME_BYTES = 256  # of a metric, and of a group, node or device
SPARKPLUG_ARRAY = 64  # elements of one metric
SPARKPLUG_VALUE_BYTES = 4_096  # of a metric of bytes, or a file
REBIRTH_S = 10.0  # between two requests for one node's births; doubled by each that did not help
REBIRTH_S_MAX = 1_280.0
REBIRTH_MESSAGES = 32  # between two requests, where nobody knows the time; doubled as well

# time
DEVICE_CLOCK_BEHIND_S = 7 * 86_400  # default of max_behind_s
DEVICE_CLOCK_AHEAD_S = 60  # default of max_ahead_s
TAKEOVER_S = 30.0  # closed by the broker sooner than this after CONNACK: suspicious
TAKEOVERS = 3  # in a row: another client has this id
ANSWER_S = 30.0  # to a SUBSCRIBE
STOP_S = 2.0  # at a stop, for what is handed over to become durable and be acknowledged
QUIET_S = 0.5  # of silence after opening a line: what comes next is not the rest of a line

# ships
NMEA_DATE_S = 60.0  # between a time of day and the dated sentence that gives it its date
XDR_TRANSDUCERS = 32  # in one sentence: with their units no more than RECORDS
AIS_PARTS = 32  # messages of which a part is missing, of one receiver
AIS_PART_SENTENCES = 64  # heard since a message's last part: beyond it, the next part is another message's
AIS_PART_S = 10.0  # the same by the clock
AIS_SHIPS = 4_096  # remembered for min_interval_s
