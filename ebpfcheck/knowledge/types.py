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
    takes_l3_pattern: bool
    mtu_iface_pattern: str | None
    removes_nft_tables: bool | None
    network: NetworkTables


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """All tables together."""

    releases: Releases
    kernel: KernelTables
    node: NodeTables
    network: NetworkTables

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
            network=network,
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
