"""The shape of known_bugs.toml: bugs of eBPF mode at some releases."""

from typing import Literal

from ebpfcheck.knowledge.table import Table

Condition = Literal[
    "aws-cni", "bootstrap", "debug-log", "ebpf-on", "hardened", "ipv6", "map-sizes", "node-ports", "policies", "vxlan",
]  # fmt: skip


class KnownBug(Table, frozen=True, kw_only=True):
    """A bug of eBPF mode; known_bugs.toml explains the conditions."""

    id: str
    title: str
    releases: tuple[str, ...]
    fixed_in: str = ""
    """The first release without it, where one is known."""
    when: tuple[Condition, ...] = ()
    """What it takes, all of it; nothing where it concerns every cluster."""
    running: str = ""
    """The releases that run now; nothing where that does not matter."""
    status: Literal["fail", "warn", "note"]
    effect: str
    remedy: str = ""
    commands: tuple[str, ...] = ()
    sources: tuple[str, ...]


class MapSizes(Table, frozen=True, kw_only=True):
    """The sizes that Felix gives its BPF maps where nothing else is set."""

    conntrack: int
    nat_frontend: int
    nat_backend: int
    source: str


class AwsCni(Table, frozen=True, kw_only=True):
    """How the AWS VPC CNI shows itself."""

    plugin: str
    daemon_set: str
    source: str


class Hardened(Table, frozen=True, kw_only=True):
    """Systems, by the beginning of their name, that harden BPF's JIT compiler."""

    systems: tuple[str, ...]
    source: str


class KnownBugTables(Table, frozen=True, kw_only=True):
    """known_bugs.toml: bugs of eBPF mode at some releases."""

    bug: tuple[KnownBug, ...]
    map_sizes: MapSizes
    aws_cni: AwsCni
    hardened: Hardened
