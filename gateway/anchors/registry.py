"""The kinds of chains by name. A kind's module is imported when it is asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.anchors.api import Opened
from gateway.settings import Table


class Kind(NamedTuple):
    """A kind of chain. Its options are a table of the configuration, [anchor.NAME] with `kind = NAME`.

    options: a Table whose fields explain themselves (gateway/settings.py), secrets by reference. chain(options): what
    its evidence and its pins call the chain. opened(options, secrets): a chain; `secrets` has the text that each field
    of type Secret names, by what stands in the field. RefusedError where that cannot work, a missing package among
    others. example: values for deploy/fieldgate.toml, `#name` for a field that is shown as not set. final: the chain
    never takes a block back, so one is enough, whatever `confirmations` says.
    """

    name: str
    title: str
    options: type[Table]
    chain: Callable[[Any], str]
    opened: Callable[[Any, Mapping[str, str]], Opened]
    example: Mapping[str, object]
    final: bool = False


_MODULES: Mapping[str, str] = MappingProxyType(
    {
        "evm": "gateway.anchors.evm.chain",
        "fabric": "gateway.anchors.fabric",
        "fisco": "gateway.anchors.fisco",
        "rfc3161": "gateway.anchors.rfc3161",
    }
)
"""In the order of docs/anchors.md and deploy/fieldgate.toml. Each module has one constant, KIND."""


def names() -> tuple[str, ...]:
    """Of all kinds."""
    return tuple(_MODULES)


def kind(name: str) -> Kind:
    """The kind of a name that `names` has."""
    found: Kind = import_module(_MODULES[name]).KIND
    return found


def kinds() -> list[Kind]:
    """All of them."""
    return [kind(name) for name in names()]
