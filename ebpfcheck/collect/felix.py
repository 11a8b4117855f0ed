"""FelixConfiguration as kubectl or calicoctl print it: what it sets for one node."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ebpfcheck.errors import UsageError
from ebpfcheck.model.facts import FelixSettings
from ebpfcheck.model.text import excerpt

# FelixConfigurations take some KiB; a file above this is something else.
_LIMIT = 10 * 1024 * 1024


class _Metadata(msgspec.Struct):
    name: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    bpf_enabled: bool | None = None
    bpf_data_iface_pattern: str | None = None
    bpf_l3_iface_pattern: str | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_kube_proxy_healthz_port: int | None = None
    # As Calico v3.30.4 spells it.
    bpf_kube_proxy_healtz_port: int | None = None
    mtu_iface_pattern: str | None = None
    vxlan_mtu: int | None = msgspec.field(default=None, name="vxlanMTU")
    vxlan_port: int | None = None


class _Resource(msgspec.Struct):
    kind: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)


def load_felix_settings(path: str, node: str) -> FelixSettings:
    """Read FelixConfiguration as YAML or JSON from a file, or from stdin for `-`, and return what it sets for a node.

    What `node.NAME` sets outranks `default`. UsageError if it cannot be read or holds no FelixConfiguration.
    """
    found = {resource.metadata.name: resource.spec for resource in _resources(path, _read(path))}
    if "default" not in found and f"node.{node}" not in found:
        named = f" (but {excerpt(', '.join(sorted(found)), 60)})" if found else ""
        raise UsageError(f"--felix-config: {path} holds no FelixConfiguration named default{named}")
    settings: dict[str, Any] = {}
    for name in ("default", f"node.{node}"):
        spec = found.get(name, _Spec())
        if spec.bpf_kube_proxy_healthz_port is None:
            spec.bpf_kube_proxy_healthz_port = spec.bpf_kube_proxy_healtz_port
        for field in FelixSettings.__struct_fields__:
            value = getattr(spec, field)
            if value is not None:
                settings[field] = value
    return FelixSettings(**settings)


def _read(path: str) -> bytes:
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(_LIMIT + 1)
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "stdin is closed"
        raise UsageError(f"--felix-config: {path} cannot be read: {reason}") from error
    if len(data) > _LIMIT:
        raise UsageError(f"--felix-config: {path} is larger than {_LIMIT} bytes")
    return data


def _resources(path: str, data: bytes) -> Iterator[_Resource]:
    try:
        documents = list(yaml.load_all(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"--felix-config: {path} is neither YAML nor JSON ({excerpt(_first_line(error))})") from error
    for document in documents:
        if not isinstance(document, dict):
            continue
        items = document.get("items")
        for item in items if isinstance(items, list) else [document]:
            if isinstance(item, dict) and item.get("kind", "FelixConfiguration") == "FelixConfiguration":
                try:
                    yield msgspec.convert(item, _Resource)
                except (msgspec.ValidationError, RecursionError) as error:
                    raise UsageError(f"--felix-config: {path}: {excerpt(str(error))}") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
