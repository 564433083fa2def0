"""Every limit on what comes from outside, by name. docs/format.md has the clauses."""

# CBOR (section 1)
CBOR_DEPTH = 8
NUMBER_MAX = 2**53 - 1

# what chains write (gateway/core/rlp.py)
RLP_DEPTH = 16
RLP_ITEMS = 65_536
RLP_UINT_BYTES = 32

# a reading (section 2)
PACK_BYTES = 16_384
PACK_RECORDS = 64
TEXT_BYTES = 1_024
RAW_INLINE_BYTES = 4_096
BASE_TIME_MIN_S = 2**28
SOURCE_ID_BYTES = 63
UNIT_BYTES = 64
LABELS_KEPT = 4_096  # encoded names, units, measurements and sources kept by the builder, of each so many

# a block, an entry (sections 3, 4 and 7)
BLOCK_LEAVES = 65_536
ENTRY_BYTES = 290
ENTRY_BYTES_SHORT_ORIGIN = 256  # with an origin of up to 32 bytes
SHORT_ORIGIN_BYTES = 32
ORIGIN_BYTES = 64
BODY_BYTES = 64 * 1024 * 1024
BODY_KEYS = 32
BODY_UNKNOWN_BYTES = 4_096  # the value of one key that is not known

# tiles (section 5)
TILE_LEVEL_MAX = 63
TILE_INDEX_MAX = 2**53 - 1
BUNDLE_ENTRY_BYTES = 65_535

# notes (sections 5 and 6)
NOTE_BYTES = 64 * 1024
NOTE_SIGNATURES = 64
KEY_NAME_BYTES = 255
FOREIGN_SIZE_MAX = 2**63 - 1
COSIGNATURE_TIME_MAX = 2**63 - 1
RECEIPT_COSIGNATURES = 16
RECEIPT_BYTES = 256 * 1024
RECEIPT_ANCHORS = 16
BLOCK_PATH_HASHES = 16
LOG_PATH_HASHES = 63
POLICY_BYTES = 1024 * 1024
POLICY_NAMES = 1_024
KEY_FILE_BYTES = 4_096
PASSPHRASE_CHARS = 12  # at least, where a key is sealed with one
SEALED_KEY_KIB = 128 * 1024  # of memory that a sealed key may ask for: the service has 256 MiB
SEALED_KEY_OPS = 16
TPM_ANSWER_S = 30.0  # of one call; a slow TPM takes seconds to make a key
COUNTER_BLOCKS = 256  # signed between two counts of the TPM: its memory takes 100,000 writes

# anchors (section 12; gateway/anchors)
PINS_BYTES = 256 * 1024
PINS = 4_096
ANCHOR_EVIDENCE_BYTES = 48 * 1024  # in CBOR; of all in one receipt together, RECEIPT_BYTES
ANCHOR_DATA_BYTES = 16 * 1024  # of one submission
ANCHOR_TICKET_BYTES = 16 * 1024
FLEET_LOGS = 65_536  # of one anchor of a node
FLEET_PART_BYTES = 2 * 1024  # of one log's way to a fleet's statement, beside the chain's evidence
FLEET_CHAINS = 4  # on which one node anchors for a gateway
FLEETS_KEPT = 32  # rows of one table of a node
CHAIN_CERTIFICATES = 8  # above the certificate of a time stamp authority
CHAIN_TRIES = 32  # issuers tried for one chain, where many certificates bear one name
OID_BYTES = 64
ACCURACY_S = 86_400  # that a time stamp may be off
TOKEN_CERTIFICATES = 16  # in a time stamp and beside it
TOKEN_ANSWER_BYTES = 16 * 1024  # of an authority's answer to a request
ROOTS_BYTES = 64 * 1024  # of a file of certificates
EVM_HEADERS = 64
EVM_ANSWER_BYTES = 16 * 1024 * 1024
EVM_BLOCK_BYTES = 1024 * 1024  # of its transactions, or receipts: hashed in 3 s on a desktop, 30 s on a small board
EVM_BLOCK_ITEMS = 8_192  # of either; each takes a hash or two
ANCHORS_KEPT = 2_048  # anchored rows of one table
ANCHORS_FAILED_KEPT = 64
ANCHOR_CALL_S = 120.0  # one of the four calls of a kind
ANCHOR_BACKOFF_S = 900.0
ANCHOR_RECENT_S = 604_800.0  # for which an anchor is looked at again before the next one
ANCHOR_HELD_UP_S = 3_600.0  # by the last anchor, where that cannot be looked at again
ANCHOR_APART_S = 43_200.0  # between a block's time and that of this gateway
ANCHOR_RESEND_S = 300.0  # without a block for it, after which the same bytes are sent again
CHAIN_CONNECT_S = 10.0
CHAIN_REQUEST_S = 60.0  # a request to a chain's server, to the last byte of its answer
CHAIN_ANSWER_BYTES = 8 * 1024 * 1024
CHAIN_ANSWER_VALUES = 262_144  # in the JSON of one answer, some 30 MiB at the most
CHAIN_FOLLOWED = 32  # headers that are kept, and asked for one after the other at one look
CHAIN_SEARCHED = 64  # blocks that are looked through for a statement at once
BSN_LISTED = 10_000  # items of one list in an answer of a city node's gateway
BSN_NUMBER_MAX = 2**64 - 1
FABRIC_SIGNATURES = 64  # of orderers, under one block
FABRIC_BLOCK_BYTES = 4 * 1024 * 1024  # of one block's transactions
FISCO_SEALERS = 128  # keys, and signatures, of one header
FISCO_LEVELS = 24  # of a Merkle proof
FISCO_WIDTH = 16  # hashes of one level
FISCO_HASH_BYTES = 40  # of one of them, with its place in version 2
FISCO_HEADER_BYTES = 16 * 1024  # that are hashed: in Python, 0.05 s on a desktop and half a second on a small board
FISCO_TRANSACTION_BYTES = 16 * 1024  # the same; one of a statement has some hundred
PROTOBUF_FIELDS = 65_536  # of the message that lists a block's transactions
PROTOBUF_FEW = 1_024  # of any other

# sync (section 8)
SYNC_ENTRIES = 1_024
SYNC_REQUEST_BYTES = 384 * 1024
SYNC_RESPONSE_BYTES = 256 * 1024
WANT_RANGES = 1_024
DETAIL_CHARS = 300  # of what is said about a node or a witness
UPLOADS_A_ROUND = 64  # bodies sent before the node is asked again what it wants
UPSTREAM_BACKOFF_S = 60.0
WITNESS_BACKOFF_S = 300.0
WITNESS_APART_S = 300.0  # between the time of its co-signature and this gateway's
UPSTREAM_CONNECT_S = 10.0
UPSTREAM_REQUEST_S = 120.0  # a sync, from its first byte to the answer's last
UPLOAD_REQUEST_S = 1_800.0  # a body of BODY_BYTES over a slow line
UPLOAD_STALL_S = 60.0  # without a chunk taken by the node

# pull (section 9)
SIGNATURE_AGE_S = 60
CHALLENGE_AGE_S = 30
NONCES_REMEMBERED = 16_384  # for each read key: more than PULL_RATE_PER_S allows while a signature is valid
SIGNATURE_INPUT_CHARS = 1_024
PULL_RATE_PER_S = 100  # requests by one read key
PULL_BURST = 1_000
WEB_CONNECTIONS = 64
WEB_CONNECTIONS_PER_ADDRESS = 16
WEB_HEAD_BYTES = 8_190  # the request line; a header line
WEB_HEADERS = 64
WEB_HEAD_S = 10.0  # until a request's head is complete, or the next one begins
WEB_REQUEST_S = 300.0  # from a request's head to the last byte of its answer
WEB_BODIES = 2  # bodies and receipts being made at once for one read key
CONTROL_CONNECTIONS = 16
WEB_BODY_KEPT_BYTES = 1024 * 1024  # of one answer in memory; larger ones are made twice

# the page
PAGE_ROWS = 50  # sources, events on one page
PAGE_BLOCKS = 25
PAGE_READINGS = 50  # of a block
PAGE_CHARTS = 512  # drawn and kept
PAGE_RENDERS = 32  # pages kept for those who watch them
PAGE_EVERY_S = 1.0  # between two looks at what somebody watches
PAGE_PROOFS = 2  # receipts made and verified at once
TARGET_VALUE_CHARS = 300  # of one value in a page's address
FORM_BYTES = 1_024
FORM_S = 10.0
LIVE_READERS = 32  # pages that are kept up to date at once
LIVE_READERS_OF_ADDRESS = 8
LIVE_UNREAD_BYTES = 256 * 1024  # that a reader has not taken
LIVE_STALL_S = 10.0  # without taking what is there
LIVE_BEAT_S = 2.0
LOGIN_CODE_S = 300.0
LOGIN_TRIES = 5  # of one code
LOGIN_ATTEMPTS = 50  # in LOGIN_WINDOW_S, by all
LOGIN_ATTEMPTS_OF_ADDRESS = 10
LOGIN_WINDOW_S = 300.0
SESSIONS = 16
SESSION_IDLE_S = 1_800.0  # without a request, or a page that is watched
SESSION_S = 43_200.0

# invariants 2 and 7 of DESIGN.md
REDELIVERY_KEYS = 32_768
SNAPSHOT_KEYS = 131_072  # keys, or rows, after which all known keys are written anew
SNAPSHOT_ROWS = 16_384
FORMER_BROKERS = 4  # that the configuration no longer names, and whose keys are kept
BATCH_READINGS = 4_096
BATCH_BYTES = 4 * 1024 * 1024
EXAMPLE_BYTES = 512
OWN_EVENTS_WAITING = 8_192  # of the gateway itself, not yet durable; beyond it they are counted
OWN_EVENTS_A_TURN = 64  # made before other work gets its turn

# the disk
STORE_BYTES_MIN = 32 * 1024 * 1024  # of [retention] max_bytes: room for the reserve, and for commits of BATCH_BYTES
WAL_BYTES = 2 * 1024 * 1024  # of max_bytes, for what is not folded into the file yet
RESERVE_BYTES = 2 * BATCH_BYTES  # of max_bytes at least, for blocks, co-signatures, pruning and loss readings
BALLAST_BYTES = 2 * 1024 * 1024
PRUNE_ROWS = 64  # journal rows that one transaction deletes
PRUNE_BYTES = 1024 * 1024  # of them, or one row
GIVE_BACK_PAGES = 256  # that one statement gives back to the file system
LOSS_BLOCKS = 4_096  # that one loss reading tells of
KEYS_KEPT_S = 5.0  # for a snapshot of the redelivery keys to become durable before rows are deleted

# going back (gateway/store/snapshot.py, gateway/store/copying.py)
SNAPSHOT_PAGES = 4_096  # copied in one step
COPY_BYTES = 1024 * 1024  # of rows read at once, or one row
MANIFEST_BYTES = 64 * 1024  # of a backup

# charts (gateway/store/rollup.py)
ROLLUP_SERIES = 1_024  # values of sources that are charted
ROLLUP_SERIES_OF_SOURCE = 128
ROLLUP_HOURS = 3_072  # hours of one value each, in memory; and as many that are being written
ROLLUP_KEPT_H = 8 * 24
ROLLUP_BYTES = 64 * 1024 * 1024  # of its file
ROLLUP_REMADE = 2_000_000  # readings of the journal looked into where the file is lost

# a configuration
CONFIG_BYTES = 2 * 1024 * 1024  # a node of 10,000 gateways has 1.1 MiB
CONFIG_FILES = 64  # drop-ins
CONFIG_SNAPSHOTS = 10  # kept of configurations that ran

# a node (sections 8 and 9)
ADD_CHECKPOINT_BYTES = NOTE_BYTES + 4_096
PROOF_LINES = 63  # tlog-witness
EVIDENCE_PER_LOG = 16
STRADDLING_BLOCKS = 16  # blocks looked into for one receipt at the node
GONE_LISTED = 65_536
NODE_LOGS = 16_384
NODE_CONNECTIONS = 256
NODE_CONNECTIONS_OF_ADDRESS = 64
NODE_HEAD_BYTES = 8_190  # the request line; a header line
NODE_HEADERS = 64
NODE_UPLOADS = 32  # bodies being received at once
NODE_UPLOADS_OF_LOG = 4
NODE_UPLOAD_BYTES = 2 * BODY_BYTES  # of all of them together, inflated
NODE_BODIES = 2  # bodies being checked or looked into at once
NODE_HEADER_S = 20.0  # for a connection to bring a whole request head, and to stay idle between two
NODE_REQUEST_S = 30.0  # for a request body other than a block's
NODE_UPLOAD_S = 900.0  # for a block's body
NODE_STALL_S = 30.0  # without a byte of a block's body
NODE_LINGER_S = 1.0  # for what is still being sent to a request that was answered already
NODE_SEND_S = 300.0  # for an answer to be taken
NODE_FREE_BYTES = 256 * 1024 * 1024  # of disk, below which a node wants no bodies
PULL_BUNDLE_BYTES = 256 * (2 + ENTRY_BYTES)
PULL_REQUEST_S = 60.0
PULL_BACKOFF_S = 60.0

# the service manager (gateway/notify.py, gateway/watchdog.py)
NOTIFY_STATUS_CHARS = 1_000
OUTCOME_BYTES = 65_536  # of an update's outcome (gateway/upgraded.py)
WATCHDOG_LAG_S = 5.0  # by which the event loop may be late where the watchdog is fed
START_S = 3_600.0  # for which a start asks for more time: 8 GiB copied by a slow card; waiting for room is not counted
STOP_S = 120.0  # for which a stop does

# looking for damage (gateway/scrub.py, gateway/store)
QUICK_CHECK_BYTES = 8 * 1024 * 1024  # of a file that SQLite checks at start
START_BLOCKS = 4  # newest ones that are checked at start
START_READINGS = 8_192  # in them
SCRUB_AFTER_S = 2.0  # from the start to the first walk
SCRUB_EVERY_S = 86_400.0  # between two walks
SCRUB_FILE_BYTES = 512 * 1024 * 1024  # of a file that SQLite checks in one statement beside a gateway that writes
VERIFY_LATE_D = 3  # days after which there should have been another verification
WAL_CHECKED_BYTES = 4 * 1024 * 1024
FILE_FAULTS = 16  # that SQLite tells of one file

# the log (gateway/logs, gateway/watch.py)
LOG_KINDS = 256  # loggers and templates that are told apart
LOG_TEMPLATE_CHARS = 200
LOG_AT_ONCE = 10  # lines of one kind, and so many a minute after that
LOG_A_MINUTE = 1
LOG_ALL_AT_ONCE = 300  # lines of all kinds together
LOG_ALL_A_MINUTE = 20
LOG_LINE_CHARS = 256 * 1024  # of one record's text in the system's journal; the rest is cut
RING_RECORDS = 1_000  # kept for `fieldgate logs`
RING_BYTES = 256 * 1024
RING_TEXT_CHARS = 2_000
CONDITION_TOLD = 4  # times within an hour that one condition of one subject begins or ends, and is told
CONDITION_TOLD_ALL = 60  # the same, of one condition with all its subjects

# watching from afar (gateway/metrics.py, gateway/web/watch.py)
METRIC_REASONS = 24  # of rejects that one source's metrics tell apart
COMMIT_S = 10.0  # that a commit may take before the journal counts as not durable
WATCH_TOKEN_CHARS = 16  # of a token at least
WATCH_ATTEMPTS = 5  # wrong tokens from one address, and one more each 12 s after that
WATCH_ADDRESSES = 256  # whose attempts are counted apart
STATUS_PROBLEMS = 32  # that one status message over MQTT has
STATUS_BACKOFF_MIN_S = 1.0
STATUS_BACKOFF_S = 60.0
STATUS_FAREWELL_S = 2.0
# doctor
DOCTOR_CHECK_S = 20.0  # one check, with all that it asks
DOCTOR_BLOCKING_S = 8.0  # one look at files or a name
DOCTOR_ASKING_S = 10.0  # one broker or node
DOCTOR_LOOKUPS = 64
DOCTOR_PORTS = 64
DOCTOR_PEERS = 32  # brokers, nodes
DOCTOR_FILES = 256  # of data_dir
DOCTOR_FILTERS = 256  # topics that one broker is asked for
SYSTEM_FILE_BYTES = 256 * 1024  # of one file of /proc, /sys or /etc
BUNDLE_MEMBER_BYTES = 2 * 1024 * 1024  # of one file in a support archive, before it is compressed
BUNDLE_LOG_LINES = 5_000
