"""What the births of Sparkplug nodes have told, in bounded tables, and when a rebirth is to be asked for."""

from drivers.api import Record
from drivers.codecs.units import PRIMARY
from drivers.codecs.values import Unfit
from drivers.limits import (
    REBIRTH_MESSAGES,
    REBIRTH_S,
    REBIRTH_S_MAX,
    SPARKPLUG_METRICS,
    SPARKPLUG_METRICS_ALL,
    SPARKPLUG_NODES,
)

SEQUENCE = 256
CALM = 256
"""Messages without a gap after which a node's earlier gaps are forgotten: the shortest pause holds again."""


class Definition:
    """A metric as its birth defined it: the name it has in readings, datatype (0: not told), unit."""

    __slots__ = ("extra", "name", "type", "unit")

    def __init__(self, name: str, datatype: int, unit: str) -> None:
        self.name, self.type = name, datatype
        self.unit = unit if unit in PRIMARY else None
        self.extra: Record | None = (f"{name}.unit", None, unit) if unit and self.unit is None else None


class Defined:
    """The metrics of a node itself, or of one of its devices, between a birth and a death."""

    __slots__ = ("_aliases", "_names", "_taken")

    def __init__(self) -> None:
        self._names: dict[bytes, Definition] = {}
        self._aliases: dict[int, Definition | None] = {}  # None: two metrics claim it
        self._taken: dict[str, bytes] = {}  # names in readings, and whose each is

    def __len__(self) -> int:
        return max(len(self._names), len(self._aliases))

    def find(self, name: bytes | None, alias: int | None) -> Definition | None:
        """The metric of that name, or where the message has none, of that alias."""
        if name:
            return self._names.get(name)
        return self._aliases.get(alias) if alias is not None else None

    def put(self, name: bytes, alias: int | None, definition: Definition) -> None:
        """Unfit (name_taken) where another metric has the same name in readings."""
        if self._taken.setdefault(definition.name, name) != name:
            raise Unfit("name_taken", f"{definition.name} is what {self._taken[definition.name]!r} is called already")
        self._names[name] = definition
        if alias is not None:
            other = self._aliases.get(alias, definition)
            self._aliases[alias] = definition if other is not None and other.name == definition.name else None


class Patience:
    """When to ask a node for its births again: each request doubles the time to the next, calm ends that.

    Where nobody knows the time, messages of the node are counted instead.
    """

    __slots__ = ("_asked", "_calm", "_ever", "_messages", "_times")

    def __init__(self) -> None:
        self._times = self._messages = self._calm = 0  # times asked without a calm
        self._ever = False
        self._asked: float | None = None

    def message(self, *, gap: bool) -> None:
        """One of the node's came."""
        self._messages += 1
        self._calm = 0 if gap else self._calm + 1
        if self._calm == CALM:
            self._times = 0

    def ask(self, now: float | None) -> bool:
        """Whether to ask now; if so, that is noted."""
        if self._ever:
            doubled = 1 << max(self._times - 1, 0)
            if now is not None and self._asked is not None:
                early = abs(now - self._asked) < min(REBIRTH_S * doubled, REBIRTH_S_MAX)
            else:
                early = self._messages < REBIRTH_MESSAGES * doubled
            if early:
                return False
        self._ever, self._times = True, min(self._times + 1, 8)
        self._asked, self._messages = now, 0
        return True


class Node:
    """One edge node: its own metrics under the device "", its sequence, its births and deaths."""

    __slots__ = ("born", "count", "devices", "patience", "seq", "session")

    def __init__(self) -> None:
        self.devices: dict[str, Defined] = {}
        self.count = 0  # devices and metrics
        self.born = False
        self.seq = 0
        self.session: int | None = None  # bdSeq of the last NBIRTH
        self.patience = Patience()

    def follows(self, seq: int) -> bool:
        """Whether this is the next message of the node, or the last one once more; and notes it."""
        last, self.seq = self.seq, seq % SEQUENCE
        return seq in (last, (last + 1) % SEQUENCE)


class Nodes:
    """The nodes of one source, at most SPARKPLUG_NODES; one that is not born makes room for another."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], Node] = {}
        self._count = 0

    def of(self, group: str, name: str) -> Node:
        """The node. Unfit (too_many_nodes) where there is no room for it."""
        key = group, name
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= SPARKPLUG_NODES:
                unborn = next((other for other, one in self._nodes.items() if not one.born), None)
                if unborn is None:
                    raise Unfit("too_many_nodes", f"{group}/{name} would be one more than {SPARKPLUG_NODES}")
                self.forget(self._nodes.pop(unborn))
            node = self._nodes[key] = Node()
        return node

    def forget(self, node: Node) -> None:
        """A death, or a new birth: nothing told before holds."""
        node.devices.clear()
        self._grow(node, -node.count)
        node.born = False

    def drop(self, node: Node, device: str) -> None:
        """A device died, or is born anew."""
        defined = node.devices.pop(device, None)
        if defined is not None:
            self._grow(node, -1 - len(defined))

    def add(self, node: Node, device: str) -> Defined:
        """A birth of the device; where there is no room for it, nothing of it is remembered."""
        self.drop(node, device)
        defined = Defined()
        if self._room(node):
            node.devices[device] = defined
            self._grow(node, 1)
        return defined

    def define(self, node: Node, defined: Defined, name: bytes, alias: int | None, definition: Definition) -> None:
        """A metric of the birth. Unfit: name_taken, too_many_metrics."""
        if not self._room(node):
            raise Unfit("too_many_metrics", f"over {SPARKPLUG_METRICS} of a node or {SPARKPLUG_METRICS_ALL} of all")
        before = len(defined)
        defined.put(name, alias, definition)
        self._grow(node, len(defined) - before)

    def _room(self, node: Node) -> bool:
        return node.count < SPARKPLUG_METRICS and self._count < SPARKPLUG_METRICS_ALL

    def _grow(self, node: Node, by: int) -> None:
        node.count += by
        self._count += by
