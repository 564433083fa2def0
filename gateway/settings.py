"""The configuration's tables. The type of a field is its manual: unit in the name, bounds, default, and what it means.

`fieldgate.toml` is a `Settings`, `node.toml` a `NodeSettings`; gateway/config loads both. Unknown keys are refused.
Of a Meta, `title` says what the field is for, `description` what may stand there; `deploy/fieldgate.toml` and the JSON
Schema are made of both. A secret is named, never written: `file:/path`, `env:NAME` or `credential:name` (systemd).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

# Every pattern ends in \Z: `$` would let a line feed through.
_PRINTABLE = r"[^\x00-\x1f\x7f]"


def _text(pattern: str, description: str) -> Meta:
    return Meta(pattern=rf"^{pattern}\Z", description=description)


CONTROL_SOCKET = "control.sock"
"""In data_dir: where the commands ask the gateway that runs."""

RESTART = Meta(extra={"restart": True})
"""Marks a field or table that a running gateway cannot take over."""

Name = Annotated[str, _text(r"[a-z0-9][a-z0-9-]{0,31}", "a name of at most 32 lower-case letters, digits and -")]
Host = Annotated[
    str,
    _text(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?", "a name of at most 62 lower-case letters, digits, . and -"),
]
SourceId = Annotated[
    str, _text(r"[a-z0-9][a-z0-9._-]{0,62}", "an id of at most 63 lower-case letters, digits, . _ and -")
]
Url = Annotated[
    str, _text(r"https?://[^\s\x00-\x1f/@]+(/[^\s\x00-\x1f]*)?", "an address like https://node.example:8441")
]
BrokerUrl = Annotated[
    str, _text(r"mqtts?://[^\s\x00-\x1f/@]+", "an address like mqtt://127.0.0.1:1883 or mqtts://broker.example:8883")
]
Secret = Annotated[
    str,
    _text(
        rf"(file:/{_PRINTABLE}+|env:[A-Za-z_][A-Za-z0-9_]*|credential:[A-Za-z0-9._-]+)",
        "the place of the secret: file:/path, credential:name or env:NAME",
    ),
    Meta(extra={"secret": True}),
]
LogKey = Annotated[
    str,
    _text(
        rf"((file|tpm):/{_PRINTABLE}+|env:[A-Za-z_][A-Za-z0-9_]*|credential:[A-Za-z0-9._-]+)",
        "the place of the key: file:/path, tpm:/path, credential:name or env:NAME",
    ),
    Meta(extra={"secret": True}),
]
Listen = Annotated[
    str, _text(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "an address and a port like 127.0.0.1:8440")
]
Folder = Annotated[str, _text(rf"/{_PRINTABLE}+", "a whole path, from / on")]
File = Annotated[str, _text(rf"(/{_PRINTABLE}+)?", "a whole path, from / on")]
_TOPIC = r"[^\x00-\x1f\x7f+#/$][^\x00-\x1f\x7f+#/]{0,63}(/[^\x00-\x1f\x7f+#/]{1,64}){0,3}"
Topic = Annotated[str, _text(_TOPIC, "a topic of at most four levels, without + and #, like fieldgate")]
TopicOrNone = Annotated[str, _text(f"({_TOPIC})?", 'a topic of at most four levels, without + and #, or ""')]
CaFile = Annotated[File, Meta(title="With TLS: the certificate authorities to trust. Empty: the system's")]

Height = Annotated[int, Meta(ge=0)]
Digest = Literal["sha-256", "sm3"]

Size = Annotated[str, _text(r"[0-9]{1,6}(\.[0-9]{1,3})? ?[KMGT]iB", 'a size like "8 GiB" or "512 MiB"')]


def size_bytes(size: str) -> int:
    """A Size in bytes."""
    return int(float(size[:-3]) * 1024 ** (" KMGT".index(size[-3])))


class Table(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A table of the configuration."""


class GatewaySettings(Table, kw_only=True, frozen=True):
    """[gateway]: who this gateway is and where it keeps what it knows."""

    name: Annotated[
        Host, Meta(title="Its name, for good: with the epoch it is the log's origin and part of every signature")
    ]
    epoch: Annotated[
        int, Meta(ge=1, le=999_999, title="Counted up by `fieldgate recover --new-epoch`, never by hand")
    ] = 1
    data_dir: Annotated[Folder, Meta(title="Journal, blocks, sign-state and control socket; mode 0700")]
    key: Annotated[LogKey, Meta(title="The log's private key")]
    key_passphrase: Annotated[
        Secret | None, Meta(title="What opens a key that is sealed with a passphrase. Absent: `run` asks on a terminal")
    ] = None
    read_key: Annotated[
        Secret | None, Meta(title="With it `fieldgate recover` reads this log back from a node; a key of its own")
    ] = None
    sm2_key: Annotated[
        Secret | None,
        Meta(title="Signs each checkpoint by SM2 with SM3 too, beside the log's key; `fieldgate key sm2` makes it"),
    ] = None
    profile: Annotated[
        Literal["international", "domestic"],
        Meta(
            title='Defaults by country: "domestic" (China) has sm2_key, and SM3 beside SHA-256. What is written stays; '
            "`fieldgate check` tells what is set"
        ),
    ] = "international"
    digests: Annotated[
        tuple[Digest, ...] | None,
        Meta(title="Told of each receipt, export and archive that a command writes. Absent: by the profile"),
    ] = None


class BrokerSettings(Table, kw_only=True, frozen=True):
    """[broker.NAME]: an MQTT 3.1.1 broker; as many tables as there are brokers."""

    url: Annotated[BrokerUrl, Meta(title="mqtt://host:1883, or mqtts://host:8883 for TLS")]
    client_id: Annotated[
        str,
        Meta(max_length=65, title="Its own for each client of a broker. Empty: fieldgate- and the gateway's name"),
    ] = ""
    window: Annotated[
        int, Meta(ge=1, le=65_535, title="The broker's max_inflight_messages: so many are made durable together")
    ] = 20
    keepalive_s: Annotated[
        int, Meta(ge=5, le=3_600, title="The broker hears from this gateway at least this often")
    ] = 60
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=300, title="Name look-up, TCP, TLS and the broker's answer together")
    ] = 10.0
    user: Annotated[str, Meta(max_length=256, title="Whom the broker knows this gateway as. Empty: no log-in")] = ""
    password: Annotated[Secret | None, Meta(title="The place of that user's password")] = None
    ca_file: CaFile = ""
    cert_file: Annotated[File, Meta(title="With TLS: a client certificate, where the broker wants one")] = ""
    key_file: Annotated[File, Meta(title="The client certificate's key")] = ""


class SourceSettings(Table, kw_only=True, frozen=True):
    """[source.ID]: one sensor or device. Its other keys are the options of its driver (docs/drivers.md)."""

    driver: Annotated[str, Meta(title="The protocol that the source speaks")]
    raw: Annotated[
        Literal["in", "apart", "none"],
        Meta(title='The payload as it arrived: "in" the reading, "apart" for those who may see it, or "none" kept'),
    ] = "in"
    options: Any = None  # the driver's own Options, filled in by gateway/config


class NodeLink(Table, kw_only=True, frozen=True):
    """[node.NAME]: an upstream node. Its operator gives you these lines."""

    url: Annotated[Url, Meta(title="Where it answers")]
    seen_key: Annotated[str, Meta(title='The key of its "seen" co-signatures (tlog-cosignature v1)')]
    stored_key: Annotated[str | None, Meta(title='The key of its "stored" co-signatures')] = None
    read_key: Annotated[str | None, Meta(title="The key that signs its pulls. Absent: it reads nothing here")] = None
    share: Annotated[
        tuple[str, ...], Meta(title='Sources whose readings it may see. Only with all, "*", does its "stored" count')
    ] = ("*",)
    ca_file: CaFile = ""
    stored_from: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(title='The first block that its "stored" speaks of. Absent: learnt from what it asks for'),
    ] = None
    upload: Annotated[
        bool, Meta(title="Send it the readings that it lacks; false: it reaches this gateway and fetches them")
    ] = True

    @property
    def keeps(self) -> bool:
        """Whether it can sign that it stores whole blocks."""
        return self.stored_key is not None and self.share == ("*",)

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of its co-signatures; the last one says most."""
        return (self.seen_key, self.stored_key) if self.stored_key else (self.seen_key,)


class WitnessLink(Table, kw_only=True, frozen=True):
    """[witness.NAME]: a C2SP witness (tlog-witness): it co-signs checkpoints. It is shown no reading and keeps none."""

    url: Annotated[Url, Meta(title="Its submission prefix: what stands before /add-checkpoint")]
    vkey: Annotated[str, Meta(title="Its key, as its operator publishes it (cosignature/v1, Ed25519)")]
    ca_file: CaFile = ""
    every_s: Annotated[
        float, Meta(ge=1, le=86_400, title="From one request to the next at least; those of one interval go together")
    ] = 60.0

    @property
    def keys(self) -> tuple[str, ...]:
        """That of its co-signatures."""
        return (self.vkey,)


class AnchorSettings(Table, kw_only=True, frozen=True):
    """[anchor.NAME]: a chain that is told the log's size and root. Its other keys are its kind's (docs/anchors.md)."""

    kind: Annotated[str, Meta(title="What the chain is")]
    every_s: Annotated[
        float, Meta(ge=1, le=31_536_000, title="From one anchor to the next, where blocks were sealed meanwhile")
    ] = 3_600.0
    every_blocks: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(title="As soon as so many blocks were sealed, too. Absent: by time alone"),
    ] = None
    confirmations: Annotated[
        int, Meta(ge=1, le=64, title="Blocks of the chain, from the anchor's own on, until it counts as anchored")
    ] = 12
    look_s: Annotated[
        float, Meta(ge=0.1, le=3_600, title="From one look at the chain to the next while an anchor is on its way")
    ] = 15.0
    late_s: Annotated[
        float,
        Meta(
            ge=1,
            le=31_536_000,
            title="An anchor that takes longer is late; after four times that, its bytes are given up",
        ),
    ] = 21_600.0
    options: Any = None  # the kind's own, filled in by gateway/config


class RetentionSettings(Table, kw_only=True, frozen=True):
    """[retention]: how much disk the store may fill, and what goes when it is full."""

    max_bytes: Annotated[
        Size, Meta(title="The whole store's, 32 MiB at least. Near it, what nodes hold is deleted")
    ] = "8 GiB"
    min_free: Annotated[Size, Meta(title="So much of the file system is left free for everything else")] = "64 MiB"
    stored_by: Annotated[int, Meta(ge=1, le=64, title="Only what so many nodes have signed as stored is deleted")] = 1
    min_age_h: Annotated[
        float,
        Meta(ge=0, le=876_000, title="Only what was sealed so long ago is deleted, in hours that the gateway ran"),
    ] = 24.0
    when_full: Annotated[
        Literal["hold", "oldest"],
        Meta(
            title='Nothing to delete: "hold" stores no reading until there is room (brokers keep them), "oldest" gives '
            "up the oldest and says so in a signed reading"
        ),
    ] = "hold"


class WebSettings(Table, kw_only=True, frozen=True):
    """[web]: the page, and the pull API for nodes."""

    listen: Annotated[Listen, Meta(title="On another address than 127.0.0.1 use TLS")] = "127.0.0.1:8440"
    authority: Annotated[
        tuple[str, ...], Meta(title="Further names, host or host:port, under which nodes and people reach this gateway")
    ] = ()
    cert_file: Annotated[File, Meta(title="TLS where both are given: the certificate")] = ""
    key_file: Annotated[File, Meta(title="The certificate's key")] = ""
    watch_token: Annotated[
        Secret | None, Meta(title="Whoever shows this token may read /metrics, /healthz and /readyz from elsewhere")
    ] = None


class StatusSettings(Table, kw_only=True, frozen=True):
    """[status]: how the gateway does, told to an MQTT broker for a farm's own dashboard."""

    broker: Annotated[Name | None, Meta(title="NAME of the [broker.NAME] that is told. Absent: none is")] = None
    topic: Annotated[Topic, Meta(title="What the topics begin with; the gateway's name follows")] = "fieldgate"
    every_s: Annotated[float, Meta(ge=1, le=3_600, title="From one message to the next")] = 30.0
    discovery: Annotated[TopicOrNone, Meta(title="Home Assistant's discovery prefix. Empty: no discovery")] = (
        "homeassistant"
    )


class SealSettings(Table, kw_only=True, frozen=True):
    """[seal]: when a block is closed and signed."""

    max_count: Annotated[
        int, Meta(ge=1, le=65_536, title="A block is closed when it has so many readings"), RESTART
    ] = 4_096
    max_age_s: Annotated[float, Meta(gt=0, le=86_400, title="A block is closed when its first reading is so old")] = (
        60.0
    )
    heartbeat_s: Annotated[
        float, Meta(gt=0, le=86_400, title="Where nothing arrives, an empty block says so this often")
    ] = 600.0


class JournalSettings(Table, kw_only=True, frozen=True):
    """[journal]: how long a reading may wait for company before it is made durable."""

    linger_ms: Annotated[
        int, Meta(ge=0, le=10_000, title="It is written to disk, and acknowledged, after so long at the latest")
    ] = 250


class Settings(Table, kw_only=True, frozen=True):
    """fieldgate.toml, in the order in which a technician needs it."""

    gateway: Annotated[GatewaySettings, RESTART]
    broker: dict[Name, BrokerSettings] = {}
    source: dict[SourceId, SourceSettings] = {}
    node: dict[Name, NodeLink] = {}
    witness: dict[Name, WitnessLink] = {}
    anchor: dict[Name, AnchorSettings] = {}
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    web: Annotated[WebSettings, RESTART] = field(default_factory=WebSettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    seal: SealSettings = field(default_factory=SealSettings)
    journal: Annotated[JournalSettings, RESTART] = field(default_factory=JournalSettings)

    @property
    def origin(self) -> str:
        """The log's origin: name, `/`, epoch (docs/format.md, section 5)."""
        return f"{self.gateway.name}/{self.gateway.epoch}"

    @property
    def sm2_name(self) -> str:
        """The name of the SM2 key, the same in every epoch (docs/format.md, section 5)."""
        return f"{self.gateway.name}/sm2"

    @property
    def cosigners(self) -> dict[str, NodeLink | WitnessLink]:
        """Whoever co-signs this log: nodes and witnesses, whose names are distinct."""
        return {**self.node, **self.witness}


class NodeSelf(Table, kw_only=True, frozen=True):
    """[node]: who this node is. Its names on co-signatures are in its key files."""

    name: Annotated[Host, Meta(title="Its name, for good: it stands in the keys that `fieldgate node init` makes")]
    listen: Annotated[Listen, Meta(title="Where gateways and consumers reach it")] = "127.0.0.1:8441"
    authority: Annotated[
        tuple[str, ...],
        Meta(title="Further names, host or host:port: a signed request says which one it was sent to"),
    ] = ()
    data_dir: Annotated[Folder, Meta(title="Its store; mode 0700")]
    store: Annotated[str, Meta(title="The store's URL. Empty: node.sqlite in data_dir")] = ""
    seen_key: Annotated[Secret, Meta(title="Co-signs the largest consistent log that it has seen")]
    stored_key: Annotated[Secret, Meta(title="Co-signs that it holds every body whole")]
    read_key: Annotated[Secret, Meta(title="Signs its reads at gateways that it pulls from")]
    cert_file: Annotated[File, Meta(title="TLS where both are given; else a proxy that has TLS belongs before it")] = ""
    key_file: Annotated[File, Meta(title="The certificate's key")] = ""
    pull_every_s: Annotated[float, Meta(gt=0, le=3_600, title="Between two looks at a gateway that it pulls from")] = (
        2.0
    )


class EnrolledGateway(Table, kw_only=True, frozen=True):
    """[gateway.NAME]: one gateway's log, which is followed here."""

    vkey: Annotated[str, Meta(title="The log's key, which `fieldgate init` prints and `fieldgate status` shows")]
    pull: Annotated[Url | None, Meta(title="Where it can be reached. Absent: it uploads what this node lacks")] = None
    ca_file: CaFile = ""
    consumers: Annotated[
        tuple[str, ...],
        Meta(title="Keys that may read this log's blocks and receipts here, and with which it recovers"),
    ] = ()
    stored_from: Annotated[
        int, Meta(ge=0, title='The first block that "stored" speaks of; fixed when the log is enrolled')
    ] = 0
    frozen_at: Annotated[
        Height | None,
        Meta(title="For a stolen key: blocks from this height on are refused, those below stay valid"),
    ] = None


class NodeSettings(Table, kw_only=True, frozen=True):
    """node.toml."""

    node: NodeSelf
    gateway: dict[Name, EnrolledGateway] = {}
    anchor: dict[Name, AnchorSettings] = {}
