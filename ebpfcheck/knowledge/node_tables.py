"""The shape of node.toml: architectures, bpffs, cgroups, modules of a node."""

from typing import Literal

from ebpfcheck.knowledge.table import Table

Mounter = Literal["init", "felix", "nobody"]
Installed = Literal["operator", "manifest"]


class Arch(Table, frozen=True, kw_only=True):
    """The architectures of a range of releases, by the names that images use."""

    releases: str
    documented: tuple[str, ...]
    community: tuple[str, ...] = ()
    built: tuple[str, ...]
    source: str


class Architectures(Table, frozen=True, kw_only=True):
    """Names of architectures."""

    names: dict[str, str]
    big_endian: tuple[str, ...]


class Bpffs(Table, frozen=True, kw_only=True):
    """Who mounts bpffs where the host did not."""

    install: Installed
    releases: str
    mounted_by: Mounter
    source: str


class Systemd(Table, frozen=True, kw_only=True):
    """From which version on systemd mounts bpffs."""

    mounts_bpffs_from: int
    source: str


class Cgroup2(Table, frozen=True, kw_only=True):
    """How releases mount cgroup2 for connect-time load balancing."""

    private_namespace: tuple[str, ...]
    private_namespace_fixed_in: str
    path_variable: str
    path_setting: str
    path_since: str
    other_path: dict[str, str]
    sources: tuple[str, ...]


class Lockdown(Table, frozen=True, kw_only=True):
    """Kernel lockdown."""

    source: str


class NodeTables(Table, frozen=True, kw_only=True):
    """node.toml."""

    arch: tuple[Arch, ...]
    architectures: Architectures
    bpffs: tuple[Bpffs, ...]
    systemd: Systemd
    cgroup2: Cgroup2
    lockdown: Lockdown
