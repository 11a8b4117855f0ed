"""FelixConfiguration as kubectl or calicoctl print it: what it sets for one node."""

import re
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ebpfcheck.collect.wire import FelixConfiguration, FelixSpec
from ebpfcheck.errors import UsageError
from ebpfcheck.model.facts import FelixSettings
from ebpfcheck.model.text import excerpt

# FelixConfigurations take some KiB; a file above this is something else.
_LIMIT = 10 * 1024 * 1024


class FelixFile:
    """The FelixConfigurations that a file holds, as YAML or JSON; `-` is stdin.

    UsageError if it cannot be read or is neither.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        resources = _resources(path, _read(path))
        self._found = {resource.metadata.name: resource.spec or FelixSpec() for resource in resources}

    def check_default(self) -> None:
        """UsageError if it holds no `default`, without which it says nothing of nodes that it does not name."""
        if "default" not in self._found:
            raise UsageError(f"--felix-config: {self._path} holds no FelixConfiguration named default")

    def settings_of(self, node: str) -> FelixSettings:
        """Return what is set for a node, where `node.NAME` outranks `default`; UsageError if neither is there."""
        if "default" not in self._found and f"node.{node}" not in self._found:
            named = f" (but {excerpt(', '.join(sorted(self._found)), 60)})" if self._found else ""
            raise UsageError(f"--felix-config: {self._path} holds no FelixConfiguration named default{named}")
        return merged(self._found.get(name, FelixSpec()) for name in ("default", f"node.{node}"))


def merged(specs: Iterable[FelixSpec]) -> FelixSettings:
    """Return what several specs set together, where what comes later outranks what came before."""
    settings: dict[str, Any] = {}
    for spec in specs:
        for field in FelixSettings.__struct_fields__:
            value = getattr(spec, field)
            if value is None and field == "bpf_kube_proxy_healthz_port":
                value = spec.bpf_kube_proxy_healtz_port
            if value is not None:
                settings[field] = value
    return FelixSettings(**settings)


# The fields by the names of the variables that set them too, without FELIX_, and what each holds.
_VARIABLES = {field.replace("_", "").upper(): field for field in FelixSettings.__struct_fields__}
_TYPES = {field.name: field.type for field in msgspec.structs.fields(FelixSettings)}
_WORDS = {
    **dict.fromkeys(("true", "1", "yes", "y", "t"), True),
    **dict.fromkeys(("false", "0", "no", "n", "f"), False),
}


def from_environment(variables: Iterable[tuple[str, str | None]]) -> FelixSpec | str:
    """Return what variables such as FELIX_BPFENABLED set, or the name of one that counts and cannot be told."""
    spec = FelixSpec()
    for name, value in variables:
        field = _VARIABLES.get(name.upper().removeprefix("FELIX_"))
        if field is None or not name.upper().startswith("FELIX_"):
            continue
        if value is None:
            return name
        try:
            setattr(spec, field, _parsed(value, _TYPES[field]))
        except (KeyError, ValueError):
            # Felix takes its default then, whatever FelixConfiguration says; which one that is hangs on the release.
            return name
    return spec


# Octal and the like, which Felix would take too, nobody writes.
_NUMBER = re.compile(r"(?P<hex>0[xX][0-9a-fA-F]{1,8})|0|[1-9][0-9]{0,9}", re.ASCII)


def _parsed(value: str, kind: object) -> object:
    """Return what Felix makes of a variable; KeyError or ValueError where it takes its default, or does not start."""
    is_list = kind not in (bool | None, int | None, str | None)
    if value.lower() == "none":
        if is_list:
            return ()
        raise ValueError(value)
    if kind == bool | None:
        return _WORDS[value.lower()]
    if kind == int | None:
        match = _NUMBER.fullmatch(value)
        if match is None:
            raise ValueError(value)
        return int(value, 16 if match["hex"] else 10)
    if not is_list:
        return value
    networks = [part.strip() for part in value.split(",") if part.strip()]
    for network in networks:
        ip_network(network, strict=False)
    return tuple(networks)


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


def _resources(path: str, data: bytes) -> Iterator[FelixConfiguration]:
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
                    yield msgspec.convert(item, FelixConfiguration)
                except (msgspec.ValidationError, RecursionError) as error:
                    raise UsageError(f"--felix-config: {path}: {excerpt(str(error))}") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
