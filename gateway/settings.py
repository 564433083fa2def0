"""The configuration's tables. Each field has its unit in its name, its default and bounds on its line, and its meaning.

`fieldgate.toml` is a `Settings`, `node.toml` a `NodeSettings`; config.py loads both. Unknown keys are refused.
A secret is named, never written: `file:/path`, `env:NAME` or `credential:name` (systemd).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

# Every pattern ends in \Z: `$` would let a line feed through.
_PRINTABLE = r"[^\x00-\x1f\x7f]"


def _text(pattern: str, description: str) -> Meta:
    return Meta(pattern=rf"^{pattern}\Z", description=description)


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
]
Listen = Annotated[
    str, _text(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "an address and a port like 127.0.0.1:8440")
]
Folder = Annotated[str, _text(rf"/{_PRINTABLE}+", "a whole path, from / on")]
File = Annotated[str, _text(rf"(/{_PRINTABLE}+)?", "a whole path, from / on")]
_TOPIC = r"[^\x00-\x1f\x7f+#/$][^\x00-\x1f\x7f+#/]{0,63}(/[^\x00-\x1f\x7f+#/]{1,64}){0,3}"
Topic = Annotated[str, _text(_TOPIC, "a topic of at most four levels, without + and #, like fieldgate")]
TopicOrNone = Annotated[str, _text(f"({_TOPIC})?", 'a topic of at most four levels, without + and #, or ""')]

Size = Annotated[str, _text(r"[0-9]{1,6}(\.[0-9]{1,3})? ?[KMGT]iB", 'a size like "8 GiB" or "512 MiB"')]


def size_bytes(size: str) -> int:
    """A Size in bytes."""
    return int(float(size[:-3]) * 1024 ** (" KMGT".index(size[-3])))


class Table(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """A table of the configuration."""


class GatewaySettings(Table, kw_only=True, frozen=True):
    """[gateway]: who this gateway is and where it keeps what it knows."""

    name: Host  # with the epoch: the log's origin
    epoch: Annotated[int, Meta(ge=1, le=999_999)] = 1  # a new one only after the state was lost (docs/operations.md)
    data_dir: Folder  # journal, blocks, sign-state, control socket; mode 0700
    key: Secret  # the log key
    read_key: Secret | None = None  # signs reads of this log at a node (`fieldgate recover`); a key of its own


class SealSettings(Table, kw_only=True, frozen=True):
    """[seal]: when a block is closed."""

    max_count: Annotated[int, Meta(ge=1, le=65_536)] = 4_096  # readings in a block
    max_age_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0  # from a block's first reading to its seal
    heartbeat_s: Annotated[float, Meta(gt=0, le=86_400)] = 600.0  # an empty block after so long without one


class JournalSettings(Table, kw_only=True, frozen=True):
    """[journal]: how long a reading may wait for company before it is made durable."""

    linger_ms: Annotated[int, Meta(ge=0, le=10_000)] = 250


class BrokerSettings(Table, kw_only=True, frozen=True):
    """[broker.NAME]: an MQTT 3.1.1 broker."""

    url: BrokerUrl  # mqtt://host:1883 or mqtts://host:8883
    client_id: Annotated[str, Meta(max_length=65)] = ""  # stable; empty: fieldgate- and the gateway's name
    window: Annotated[int, Meta(ge=1, le=65_535)] = 20  # the broker's max_inflight_messages
    keepalive_s: Annotated[int, Meta(ge=5, le=3_600)] = 60
    connect_timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10.0  # name look-up, TCP, TLS and CONNACK together
    user: Annotated[str, Meta(max_length=256)] = ""
    password: Secret | None = None
    ca_file: File = ""  # mqtts: certificate authorities; empty: the system's
    cert_file: File = ""  # mqtts: a client certificate and its key
    key_file: File = ""


class SourceSettings(Table, kw_only=True, frozen=True):
    """[source.ID]: one sensor or device. Its other keys are the options of its driver (docs/drivers.md)."""

    driver: str
    raw: Literal["in", "apart", "none"] = "in"  # the payload as it arrived: in the reading, beside it, or not kept
    options: Any = None  # the driver's own Options, filled in by config.py


class NodeLink(Table, kw_only=True, frozen=True):
    """[node.NAME]: an upstream node."""

    url: Url
    seen_key: str  # vkey of its "seen" co-signatures (tlog-cosignature v1)
    stored_key: str | None = None  # vkey of its "stored" co-signatures
    read_key: str | None = None  # vkey whose holder may pull; absent: this node reads nothing here
    share: tuple[str, ...] = ("*",)  # sources whose readings it may see; "*" alone: whole blocks
    ca_file: File = ""  # https: certificate authorities; empty: the system's
    stored_from: Annotated[int, Meta(ge=0)] | None = None  # where its "stored" begins; absent: learnt from its wants
    upload: bool = True  # push bodies that it wants; false: it can reach this gateway and pulls them


class RetentionSettings(Table, kw_only=True, frozen=True):
    """[retention]: how much disk the store may fill, and what goes when it is full."""

    max_bytes: Size = "8 GiB"  # of fieldgate.db with its WAL; 32 MiB at least
    min_free: Size = "64 MiB"  # of the file system that readings leave free
    stored_by: Annotated[int, Meta(ge=1, le=64)] = 1  # prune only what so many nodes hold
    min_age_h: Annotated[float, Meta(ge=0, le=876_000)] = 24.0  # and what was sealed so many running hours ago
    when_full: Literal["hold", "oldest"] = "hold"  # nothing to prune: take no more readings, or drop the oldest


class WebSettings(Table, kw_only=True, frozen=True):
    """[web]: the pull API and the status page."""

    listen: Listen = "127.0.0.1:8440"
    authority: tuple[str, ...] = ()  # further host:port names under which nodes reach this gateway
    cert_file: File = ""  # TLS where both are given
    key_file: File = ""
    watch_token: Secret | None = None  # lets whoever shows it read /metrics, /healthz and /readyz from elsewhere


class StatusSettings(Table, kw_only=True, frozen=True):
    """[status]: how this gateway does, told to an MQTT broker, for a farm's own dashboard."""

    broker: Name | None = None  # the [broker.NAME] that is told; absent: none
    topic: Topic = "fieldgate"  # what its topics begin with; the gateway's name follows
    every_s: Annotated[float, Meta(ge=1, le=3_600)] = 30.0  # from one message to the next
    discovery: TopicOrNone = "homeassistant"  # Home Assistant's discovery prefix; empty: no discovery


class Settings(Table, kw_only=True, frozen=True):
    """fieldgate.toml."""

    gateway: GatewaySettings
    seal: SealSettings = field(default_factory=SealSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
    broker: dict[Name, BrokerSettings] = {}
    source: dict[SourceId, SourceSettings] = {}
    node: dict[Name, NodeLink] = {}
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    web: WebSettings = field(default_factory=WebSettings)
    status: StatusSettings = field(default_factory=StatusSettings)

    @property
    def origin(self) -> str:
        """The log's origin: name, `/`, epoch (docs/format.md, section 5)."""
        return f"{self.gateway.name}/{self.gateway.epoch}"


class NodeSelf(Table, kw_only=True, frozen=True):
    """[node] of node.toml: who this node is. Its names on co-signatures are in its key files."""

    name: Host
    listen: Listen = "127.0.0.1:8441"
    authority: tuple[str, ...] = ()  # further host:port names under which gateways and consumers reach this node
    data_dir: Folder
    store: str = ""  # store URL; empty: sqlite in data_dir
    seen_key: Secret
    stored_key: Secret
    read_key: Secret
    cert_file: File = ""
    key_file: File = ""
    pull_every_s: Annotated[float, Meta(gt=0, le=3_600)] = 2.0  # between looks at a gateway that it pulls from


class EnrolledGateway(Table, kw_only=True, frozen=True):
    """[gateway.NAME] of node.toml: one gateway's log."""

    vkey: str  # the log's key; its name is the origin
    pull: Url | None = None  # where it can be reached; absent: it uploads
    ca_file: File = ""
    consumers: tuple[str, ...] = ()  # vkeys that may read this log's bodies and receipts here
    stored_from: Annotated[int, Meta(ge=0)] = 0  # first height that "stored" speaks of


class NodeSettings(Table, kw_only=True, frozen=True):
    """node.toml."""

    node: NodeSelf
    gateway: dict[Name, EnrolledGateway] = {}
