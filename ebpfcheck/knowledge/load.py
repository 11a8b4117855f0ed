"""Reads the knowledge tables that lie beside this file."""

from functools import cache
from pkgutil import get_data
from typing import TypeVar

import msgspec

from ebpfcheck.knowledge.types import (
    CalicoTables,
    KernelTables,
    Knowledge,
    KubeProxyTables,
    NetworkTables,
    NodeTables,
    PlatformTables,
    Releases,
)

T = TypeVar("T")


@cache
def load_knowledge() -> Knowledge:
    """Return the tables, read once; msgspec.ValidationError if one of them is malformed (a defect)."""
    return Knowledge(
        releases=_read("releases.toml", Releases),
        kernel=_read("kernel.toml", KernelTables),
        node=_read("node.toml", NodeTables),
        network=_read("network.toml", NetworkTables),
        calico=_read("calico.toml", CalicoTables),
        kube_proxy=_read("kube_proxy.toml", KubeProxyTables),
        platforms=_read("platforms.toml", PlatformTables),
    )


def _read(name: str, shape: type[T]) -> T:
    data = get_data(__package__, name)
    if data is None:
        raise FileNotFoundError(name)
    return msgspec.toml.decode(data, type=shape)
