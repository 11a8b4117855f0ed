"""The shape of the knowledge tables, and what of them holds for one Calico release."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Literal, Protocol, TypeVar

import msgspec

from ebpfcheck.versions import CalicoVersion

Level = Literal["blocker", "degrade", "note"]
Mounter = Literal["init", "felix", "nobody"]
Installed = Literal["operator", "manifest"]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything read from the TOML files: a misspelt key is an error."""


class Ranged(Protocol):
    """An entry that holds for a range of releases."""

    @property
    def releases(self) -> str:
        """A set of version specifiers."""


class Gate(Table, frozen=True, kw_only=True):
    """Felix's own test of the kernel version; kernel.toml explains the words."""

    releases: str
    parser: Literal["none", "three", "four"]
    words: Literal["none", "exact", "folded"]
    floor: str = ""
    rhel_floor: str = ""
    source: str


class Documented(Table, frozen=True, kw_only=True):
    """The kernel that the documentation of a release asks for."""

    releases: str
    generic: str
    el: str = ""
    el_name: str = ""
    source: str

    def __str__(self) -> str:
        return f"{self.generic} or newer" + (f", or {self.el_name} with {self.el} or newer" if self.el else "")


class EnterpriseLinux(Table, frozen=True, kw_only=True):
    """How systems with Red Hat's kernel name themselves."""

    ids: tuple[str, ...]
    words: tuple[str, ...]


class Edge(Table, frozen=True, kw_only=True):
    """The patches of a stable series between which a kernel became bad."""

    series: str
    good_to: int
    bad_from: int


class KnownBad(Table, frozen=True, kw_only=True):
    """A bug of some releases on some kernels."""

    id: str
    title: str
    affected: tuple[str, ...]
    fixed_in: str
    edges: tuple[Edge, ...]
    unknown_from: str
    backported_after: date
    remedy: str
    sources: tuple[str, ...]


class Series(Table, frozen=True, kw_only=True):
    """When the stable series of the kernel came out."""

    granted_days: int
    released: dict[str, date]
    source: str


class Measured(Table, frozen=True, kw_only=True):
    """On which kernels the programs of a release were seen to load."""

    id: str
    releases: str
    accepted_from: str
    words: str
    source: str


class Btf(Table, frozen=True, kw_only=True):
    """What a kernel without BTF means."""

    releases: str
    severity: Level
    effect: str
    source: str


class ConfigOption(Table, frozen=True, kw_only=True):
    """A kernel configuration option that eBPF mode needs."""

    option: str
    severity: Level
    module: bool
    tc_only: bool = False
    effect: str
    source: str


class Tcx(Table, frozen=True, kw_only=True):
    """The releases, and kernels from this series on, that attach by TCX instead of tc."""

    releases: str
    kernel: str
    source: str


class JitHarden(Table, frozen=True, kw_only=True):
    """Which releases lower net.core.bpf_jit_harden by themselves, and which have a setting against that."""

    lowered_by_felix: str
    setting: str
    source: str


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


class Releases(Table, frozen=True, kw_only=True):
    """The Calico releases that the tables cover."""

    first: str
    last: str
    newest: str
    source: str


class KernelTables(Table, frozen=True, kw_only=True):
    """kernel.toml."""

    gate: tuple[Gate, ...]
    documented: tuple[Documented, ...]
    enterprise_linux: EnterpriseLinux
    known_bad: tuple[KnownBad, ...]
    series: Series
    measured: tuple[Measured, ...]
    btf: tuple[Btf, ...]
    config: tuple[ConfigOption, ...]
    tcx: Tcx
    jit_harden: JitHarden


class NodeTables(Table, frozen=True, kw_only=True):
    """node.toml."""

    arch: tuple[Arch, ...]
    architectures: Architectures
    bpffs: tuple[Bpffs, ...]
    systemd: Systemd
    cgroup2: Cgroup2
    lockdown: Lockdown


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


class Mode(Table, frozen=True, kw_only=True):
    """Which releases have eBPF mode."""

    since: str
    preview: str
    source: str


class Datastore(Table, frozen=True, kw_only=True):
    """How calico-node is told where its objects are."""

    needed: str
    etcd: str
    variables: tuple[str, ...]
    etcd_always: tuple[str, ...]
    etcd_otherwise: tuple[str, ...]
    crds: str
    served: str
    source: str


class Images(Table, frozen=True, kw_only=True):
    """How an image of calico-node tells its release."""

    tag: str
    enterprise: tuple[str, ...]
    enterprise_variants: tuple[str, ...]
    source: str


class VxlanStep(Table, frozen=True, kw_only=True):
    """The releases that older ones do not understand over VXLAN."""

    releases: str
    source: str


class VxlanBug(Table, frozen=True, kw_only=True):
    """A bug that some releases have in eBPF mode where an IPPool uses VXLAN."""

    releases: str
    effect: str
    fixed_in: str
    source: str


class OperatorRules(Table, frozen=True, kw_only=True):
    """How Tigera's operator turns eBPF mode on."""

    sets_felix: str
    sets_variable: str
    variable: str
    annotation: str
    true_words: tuple[str, ...]
    false_words: tuple[str, ...]
    bpf: str
    vpp: str
    source: str


class FelixRules(Table, frozen=True, kw_only=True):
    """Where Felix takes its configuration from."""

    selectors: str
    true_words: tuple[str, ...]
    prefix: str
    variables: tuple[str, ...]
    stock: tuple[str, ...]
    own_dataplane: str
    config_maps: tuple[str, ...]
    source: str


class Overlay(Table, frozen=True, kw_only=True):
    """What carries pods' packets between nodes."""

    cloud_cnis: tuple[str, ...]
    cloud_networks: dict[str, str]
    calico_cni: str
    modes: tuple[str, ...]
    source: str


class VxlanSetting(Table, frozen=True, kw_only=True):
    """The releases whose Felix has to be told of VXLAN apart from the pools, and by which field."""

    releases: str
    field: str
    source: str


class OperatingSystems(Table, frozen=True, kw_only=True):
    """Operating systems by kubelet's names."""

    needed: str
    unsupported: str
    source: str


class CalicoTables(Table, frozen=True, kw_only=True):
    """calico.toml: Felix's configuration, the datastore, overlays."""

    mode: Mode
    datastore: Datastore
    images: Images
    vxlan_step: VxlanStep
    vxlan_bug: tuple[VxlanBug, ...]
    operator: OperatorRules
    felix: FelixRules
    overlay: Overlay
    vxlan_setting: VxlanSetting
    operating_systems: OperatingSystems


class ProxyModes(Table, frozen=True, kw_only=True):
    """The modes of kube-proxy; `plain` are those of which Felix removes all rules, or has none to remove."""

    default: str
    plain: tuple[str, ...]
    ipvs: str
    nftables: str
    source: str


class ProxySwitch(Table, frozen=True, kw_only=True):
    """The keys of kube-proxy's nodeSelector by which it is kept off all nodes, the one to set by hand first."""

    selectors: tuple[str, ...]
    source: str


class ProxyManagement(Table, frozen=True, kw_only=True):
    """kubeProxyManagement of the Installation: which releases have it, and the DaemonSet that it is about."""

    supported: str
    daemon_set: str
    source: str


class ProxyHealth(Table, frozen=True, kw_only=True):
    """kube-proxy's health port beside Felix's; kube_proxy.toml explains the words."""

    served_from: str
    takes_zero: str
    spare_port: int
    clouds: tuple[str, ...]
    source: str


class ProxyHealthField(Table, frozen=True, kw_only=True):
    """How releases spell the field that sets Felix's health port."""

    releases: str
    name: str
    source: str


class ProxyOwner(Table, frozen=True, kw_only=True):
    """A mark on kube-proxy that tells who looks after it; kube_proxy.toml explains the words."""

    name: str
    label: str = ""
    annotation: str = ""
    manager: str = ""
    refused: bool = False
    generic: bool = False
    remedy: str
    commands: tuple[str, ...] = ()
    source: str


class ProxyPlatform(Table, frozen=True, kw_only=True):
    """How a platform runs kube-proxy, and how it is told to go; kube_proxy.toml explains the words."""

    platform: str
    in_sight: bool
    hidden_on: tuple[str, ...] = ()
    owner: str = ""
    can_go: bool = True
    remedy: str = ""
    commands: tuple[str, ...] = ()
    later: str = ""
    source: str


class KubeProxyTables(Table, frozen=True, kw_only=True):
    """kube_proxy.toml: its modes, who looks after it, how it is told to go."""

    modes: ProxyModes
    switch: ProxySwitch
    management: ProxyManagement
    health: ProxyHealth
    health_field: tuple[ProxyHealthField, ...]
    owner: tuple[ProxyOwner, ...]
    platform: tuple[ProxyPlatform, ...]


class PlatformRule(Table, frozen=True, kw_only=True):
    """What eBPF mode meets on a platform at some releases."""

    releases: str
    status: Literal["fail", "warn", "note"]
    message: str
    remedy: str = ""
    of_kube_proxy: bool = False
    """Whether it is about kube-proxy, and moot where there is none."""
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


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A known bug that the target release has, or (`certain` false) has at some of its patches."""

    bug: KnownBad
    certain: bool


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """What of the knowledge holds for one Calico release.

    None, and several mounters or patterns, mean that the patch decides.
    """

    version: CalicoVersion
    gate: Gate
    documented: Documented
    enterprise_linux: EnterpriseLinux
    known_bad: tuple[Suspect, ...]
    series_from: dict[str, date]
    """The first day on which a kernel of each stable series can have been built."""
    measured: Measured | None
    btf: Btf | None
    config: tuple[ConfigOption, ...]
    tcx_from_kernel: str | None
    jit_harden_lowered: bool | None
    jit_harden_setting: bool
    arch: Arch
    architectures: Architectures
    bpffs_mounters: dict[Installed, frozenset[Mounter]]
    systemd: Systemd
    private_cgroup_namespace: bool | None
    cgroup_path_variable: bool | None
    cgroup_path_setting: bool | None
    cgroup2: Cgroup2
    data_iface_patterns: tuple[str, ...]
    own_devices_added: bool
    members_left_alone: bool
    flow_based_vxlan: bool
    flow_based_without_btf: bool
    sets_rp_filter: bool
    serves_healthz: bool | None
    tracks_docker: bool
    takes_vlans: bool
    knows_l3_by_kind: bool
    drops_wireguard: bool | None
    is_preview: bool
    """Whether eBPF mode is a technology preview."""
    operator_sets_felix: bool
    felix_selectors: bool
    vxlan_bugs: tuple[VxlanBug, ...]
    """Those that it has, or has at some of its patches."""
    takes_l3_pattern: bool
    mtu_iface_pattern: str | None
    removes_nft_tables: bool | None
    manages_kube_proxy: bool
    healthz_field: str | None
    healthz_takes_zero: bool
    network: NetworkTables
    calico: CalicoTables
    kube_proxy: KubeProxyTables
    platforms: PlatformTables
    reads_endpoint_config_map: bool
    operator_needs_restart: bool
    """Whether the operator has to be restarted to see a new ConfigMap with the API server's address."""
    operator_splits_pods: bool
    """Whether the operator gives pods of the pod network an address of their own, or none."""
    operator_asks_cluster_dns: bool | None
    """Whether calico-node, as the operator makes it, resolves names by cluster DNS."""
    operator_sets_dns: bool
    """Whether the Installation can tell calico-node by which DNS to resolve names."""
    has_bootstrap: bool
    bootstrap_loses_address: bool | None


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """All tables together."""

    releases: Releases
    kernel: KernelTables
    node: NodeTables
    network: NetworkTables
    calico: CalicoTables
    kube_proxy: KubeProxyTables
    platforms: PlatformTables

    def covers(self, version: CalicoVersion) -> bool:
        """Whether the tables say anything of a release."""
        return version.within(f">={self.releases.first},<={self.releases.last}.9999") is True

    @property
    def newest(self) -> CalicoVersion:
        """The newest released version."""
        return parse_known(self.releases.newest)

    def minors(self) -> tuple[CalicoVersion, ...]:
        """All minor releases that the tables cover, oldest first."""
        first, last = parse_known(self.releases.first), parse_known(self.releases.last)
        return tuple(CalicoVersion(major=first.major, minor=minor) for minor in range(first.minor, last.minor + 1))

    def at(self, version: CalicoVersion) -> Release:
        """Return what holds for a release; the caller has made sure that the tables cover it."""
        kernel, node, network = self.kernel, self.node, self.network
        return Release(
            version=version,
            gate=_one(kernel.gate, version),
            documented=_one(kernel.documented, version),
            enterprise_linux=kernel.enterprise_linux,
            known_bad=tuple(_suspects(kernel.known_bad, version)),
            series_from={
                series: day - timedelta(days=kernel.series.granted_days)
                for series, day in kernel.series.released.items()
            },
            measured=_first(kernel.measured, version),
            btf=_first(kernel.btf, version),
            config=kernel.config,
            tcx_from_kernel=kernel.tcx.kernel if version.within(kernel.tcx.releases) else None,
            jit_harden_lowered=version.within(kernel.jit_harden.lowered_by_felix),
            jit_harden_setting=version.within(kernel.jit_harden.setting) is True,
            arch=_one(node.arch, version),
            architectures=node.architectures,
            bpffs_mounters={
                "operator": _mounters(node.bpffs, "operator", version),
                "manifest": _mounters(node.bpffs, "manifest", version),
            },
            systemd=node.systemd,
            private_cgroup_namespace=_any_within(node.cgroup2.private_namespace, version),
            cgroup_path_variable=version.within(node.cgroup2.path_variable),
            cgroup_path_setting=version.within(node.cgroup2.path_setting),
            cgroup2=node.cgroup2,
            data_iface_patterns=tuple(
                entry.regex for entry in network.data_iface.pattern if version.within(entry.releases) is not False
            ),
            own_devices_added=version.within(network.data_iface.own_devices_added_from) is True,
            members_left_alone=version.within(network.data_iface.members_left_alone_from) is True,
            flow_based_vxlan=version.within(network.vxlan.flow_based) is True,
            flow_based_without_btf=version.within(network.vxlan.flow_based_without_btf) is True,
            sets_rp_filter=version.within(network.rp_filter.set_to_zero) is True,
            serves_healthz=version.within(network.healthz.served),
            tracks_docker=version.within(network.docker.tracked_from) is True,
            takes_vlans=version.within(network.vlan.supported) is True,
            knows_l3_by_kind=version.within(network.l3.by_kind) is True,
            drops_wireguard=version.within(network.l3.wireguard_dropped),
            takes_l3_pattern=version.within(network.l3.pattern) is True,
            mtu_iface_pattern=next(
                (entry.regex for entry in network.mtu.pattern if version.within(entry.releases) is True), None
            ),
            removes_nft_tables=version.within(network.nft.removed),
            manages_kube_proxy=version.within(self.kube_proxy.management.supported) is True,
            healthz_field=next(
                (entry.name for entry in self.kube_proxy.health_field if version.within(entry.releases)), None
            ),
            healthz_takes_zero=version.within(self.kube_proxy.health.takes_zero) is True,
            is_preview=version.within(self.calico.mode.preview) is True,
            operator_sets_felix=version.within(self.calico.operator.sets_felix) is True,
            felix_selectors=version.within(self.calico.felix.selectors) is True,
            vxlan_bugs=tuple(bug for bug in self.calico.vxlan_bug if version.within(bug.releases) is not False),
            network=network,
            calico=self.calico,
            kube_proxy=self.kube_proxy,
            platforms=self.platforms,
            reads_endpoint_config_map=version.within(self.platforms.api_endpoint.supported) is True,
            operator_needs_restart=version.within(self.platforms.api_endpoint.operator_restart) is True,
            operator_splits_pods=version.within(self.platforms.api_endpoint.operator_splits_pods) is True,
            operator_asks_cluster_dns=_any_within(self.platforms.api_endpoint.operator_asks_cluster_dns, version),
            operator_sets_dns=version.within(self.platforms.api_endpoint.operator_sets_dns) is True,
            has_bootstrap=version.within(self.platforms.bootstrap.supported) is True,
            bootstrap_loses_address=_any_within(self.platforms.bootstrap.loses_address, version),
        )


def parse_known(text: str) -> CalicoVersion:
    """Parse a version that the tables themselves name; anything else there is a defect (ValueError)."""
    version = CalicoVersion.parse(text)
    if version is None:
        raise ValueError(f"not a Calico version: {text!r}")
    return version


_R = TypeVar("_R", bound=Ranged)


def _one(entries: Iterable[_R], version: CalicoVersion) -> _R:
    return next(entry for entry in entries if version.within(entry.releases))


def _first(entries: Iterable[_R], version: CalicoVersion) -> _R | None:
    return next((entry for entry in entries if version.within(entry.releases)), None)


def _any_within(ranges: Iterable[str], version: CalicoVersion) -> bool | None:
    answers = {version.within(releases) for releases in ranges}
    if True in answers:
        return True
    return None if None in answers else False


def _suspects(bugs: Iterable[KnownBad], version: CalicoVersion) -> Iterable[Suspect]:
    for bug in bugs:
        affected = _any_within(bug.affected, version)
        if affected is not False:
            yield Suspect(bug=bug, certain=affected is True)


def _mounters(entries: Iterable[Bpffs], install: Installed, version: CalicoVersion) -> frozenset[Mounter]:
    return frozenset(
        entry.mounted_by
        for entry in entries
        if entry.install == install and version.within(entry.releases) is not False
    )
