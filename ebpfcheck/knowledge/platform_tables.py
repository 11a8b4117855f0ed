"""The shape of platforms.toml: how platforms show themselves, what eBPF mode meets there, where their API server is."""

from typing import Literal

from ebpfcheck.knowledge.table import Table


class PlatformRule(Table, frozen=True, kw_only=True):
    """What eBPF mode meets on a platform at some releases; platforms.toml explains the words that narrow it down."""

    releases: str
    status: Literal["fail", "warn", "note"]
    message: str
    remedy: str = ""
    commands: tuple[str, ...] = ()
    of_kube_proxy: bool = False
    """Whether it is about kube-proxy, and moot where there is none."""
    cni: str = ""
    daemon_set: str = ""
    label: str = ""
    cgroup_path: Literal["", "right", "other", "missing"] = ""
    vxlan_port: int = 0
    spare_vxlan_port: int = 0
    """What to set vxlanPort to instead of that."""
    source: str


class PlatformEntry(Table, frozen=True, kw_only=True):
    """How a platform shows itself; platforms.toml explains the words."""

    name: str
    title: str
    marks: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    kubelets: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    os_images: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    kubeadm_names: tuple[str, ...] = ()
    """The names that it gives clusters in kubeadm's configuration."""
    operator: str = ""
    """What the operator's Installation calls it."""
    generic: bool = False
    """Whether others are made with it, so that it says nothing beside them."""
    own_switch: str = ""
    """How what it installs by itself is told to run eBPF mode; empty where it has no switch of its own."""
    rule: tuple[PlatformRule, ...] = ()
    source: str


class SpecialNodes(Table, frozen=True, kw_only=True):
    """Nodes of a platform that are not like its others; `all_status` holds where there are no others."""

    platform: str
    mark: str
    name: str
    status: Literal["fail", "warn", "unknown"]
    all_status: Literal["fail", "warn", "unknown"]
    message: str
    remedy: str
    no_daemon_sets: bool = False
    """Whether no pods of DaemonSets run there."""
    source: str


class OldKernel(Table, frozen=True, kw_only=True):
    """A platform's default kernel that guides warn of."""

    platform: str
    kernel: str
    build: str
    message: str
    remedy: str
    source: str


class OtherNetworks(Table, frozen=True, kw_only=True):
    """DaemonSets of dataplanes that exclude Calico's."""

    names: tuple[str, ...]
    source: str


class NodeLocal(Table, frozen=True, kw_only=True):
    """An address by which each node of a platform reaches the API server through itself."""

    platform: str
    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    propose: str = ""
    """HOST:PORT that documentation gives for Calico; empty where none does."""
    hidden_from_pods: str = ""
    """The releases whose operator does not hand it to pods of the pod network, by which it is not reached."""
    words: str
    source: str


class ApiName(Table, frozen=True, kw_only=True):
    """How a platform names the API server for its nodes, beside the name for everybody: what the two begin with."""

    platform: str
    public: str
    internal: str
    port: int
    source: str


class EndpointRules(Table, frozen=True, kw_only=True):
    """How Calico is told the API server's address."""

    config_map: str
    supported: str
    operator_restart: str
    operator_namespace: str
    manifest_namespace: str
    operator_splits_pods: str
    splits_pods_since: str
    operator_asks_cluster_dns: tuple[str, ...]
    operator_sets_dns: str
    cluster_service: str
    cluster_names: tuple[str, ...]
    local_names: tuple[str, ...]
    local_platforms: dict[str, tuple[str, ...]]
    node_names: tuple[str, ...]
    templates: tuple[str, ...]
    source: str


class Bootstrap(Table, frozen=True, kw_only=True):
    """bpfNetworkBootstrap of the Installation."""

    supported: str
    loses_address: tuple[str, ...]
    fixed_in: str
    source: str


class PlatformTables(Table, frozen=True, kw_only=True):
    """platforms.toml: how platforms show themselves, what eBPF mode meets on them, where their API server is."""

    platform: tuple[PlatformEntry, ...]
    special: tuple[SpecialNodes, ...]
    old_kernel: OldKernel
    other_networks: OtherNetworks
    node_local: tuple[NodeLocal, ...]
    api_name: tuple[ApiName, ...]
    api_endpoint: EndpointRules
    bootstrap: Bootstrap
