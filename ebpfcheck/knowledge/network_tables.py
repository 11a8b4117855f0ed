"""The shape of network.toml: interfaces, ports, leftovers of a node."""

from typing import Literal

import msgspec

from ebpfcheck.knowledge.table import Table


class Pattern(Table, frozen=True, kw_only=True):
    """A default of bpfDataIfacePattern or mtuIfacePattern, a regular expression."""

    releases: str
    regex: str


class DataIface(Table, frozen=True, kw_only=True):
    """Which interfaces Felix attaches to."""

    own_devices_added_from: str
    members_left_alone_from: str
    source: str
    pattern: tuple[Pattern, ...]


class VxlanPort(Table, frozen=True, kw_only=True):
    """How vxlan.calico takes its UDP port."""

    flow_based: str
    flow_based_without_btf: str
    port: int
    own_devices: tuple[str, ...]
    source: str


class Healthz(Table, frozen=True, kw_only=True):
    """kube-proxy's health port."""

    served: str
    port: int
    metrics_port: int
    kube_proxies: tuple[str, ...]
    may_be_kube_proxy: tuple[str, ...]
    source: str


class Ipvs(Table, frozen=True, kw_only=True):
    """What kube-proxy leaves behind in IPVS mode."""

    device: str
    source: str


class RpFilter(Table, frozen=True, kw_only=True):
    """Reverse path filtering."""

    set_to_zero: str
    source: str


class Docker(Table, frozen=True, kw_only=True):
    """Docker's bridge beside Calico."""

    tracked_from: str
    bridge: str
    source: str


class L3(Table, frozen=True, kw_only=True):
    """Interfaces without Ethernet headers."""

    pattern: str
    by_kind: str
    own_devices: tuple[str, ...]
    wireguard_port: int
    wireguard_dropped: str
    source: str


class Mtu(Table, frozen=True, kw_only=True):
    """What VXLAN takes from the MTU."""

    vxlan_overhead: dict[str, int]
    fixed: int
    assumed: int
    source: str
    pattern: tuple[Pattern, ...]


class Vlan(Table, frozen=True, kw_only=True):
    """Which releases take VLAN devices."""

    supported: str
    offload: str
    source: str


class Offload(Table, frozen=True, kw_only=True):
    """Drivers whose offloads have spoilt VXLAN."""

    drivers: tuple[str, ...]
    features: tuple[str, ...]
    source: str


class Nft(Table, frozen=True, kw_only=True):
    """What kube-proxy leaves in nftables."""

    kube_proxy_tables: tuple[str, ...]
    removed: str
    source: str


class KubeChainNames(Table, frozen=True, kw_only=True):
    """The chains of iptables by which kube-proxy shows."""

    of_kube_proxy: tuple[str, ...]
    source: str


class Programs(Table, frozen=True, kw_only=True):
    """How the BPF programs of Calico show, and what is Cilium's."""

    own_prefixes: tuple[str, ...]
    own_devices: tuple[str, ...]
    cilium_devices: tuple[str, ...]
    source: str


class ModuleNeed(Table, frozen=True, kw_only=True):
    """A requirement that any of some modules, or of some options built in, meets."""

    what: str
    for_: Literal["every", "iptables"] = msgspec.field(name="for")
    modules: tuple[str, ...]
    options: tuple[str, ...]


class Modules(Table, frozen=True, kw_only=True):
    """What Calico asks of the kernel beside eBPF."""

    source: str
    need: tuple[ModuleNeed, ...]


class NetworkTables(Table, frozen=True, kw_only=True):
    """network.toml."""

    data_iface: DataIface
    vxlan: VxlanPort
    healthz: Healthz
    ipvs: Ipvs
    rp_filter: RpFilter
    docker: Docker
    l3: L3
    mtu: Mtu
    vlan: Vlan
    offload: Offload
    nft: Nft
    kube_chains: KubeChainNames
    programs: Programs
    modules: Modules
