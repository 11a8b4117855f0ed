"""The knowledge, and what of it holds for one Calico release."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import TypeVar

import msgspec

from ebpfcheck.knowledge.add_on_tables import AddOnTables
from ebpfcheck.knowledge.bpf_tables import Balancing, BpfNeed, BpfTables
from ebpfcheck.knowledge.calico_tables import CalicoTables, VxlanBug
from ebpfcheck.knowledge.feature_tables import FeatureTables
from ebpfcheck.knowledge.health_tables import HealthTables
from ebpfcheck.knowledge.kernel_tables import (
    Btf,
    ConfigOption,
    DebugBug,
    Documented,
    EnterpriseLinux,
    Gate,
    KernelTables,
    KnownBad,
    Loss,
    Measured,
)
from ebpfcheck.knowledge.known_bug_tables import KnownBugTables
from ebpfcheck.knowledge.kube_proxy_tables import KubeProxyTables
from ebpfcheck.knowledge.network_tables import NetworkTables
from ebpfcheck.knowledge.node_tables import Arch, Architectures, Bpffs, Cgroup2, Installed, Mounter, NodeTables, Systemd
from ebpfcheck.knowledge.object_tables import ObjectTables
from ebpfcheck.knowledge.plan_tables import PlanTables
from ebpfcheck.knowledge.platform_tables import PlatformTables
from ebpfcheck.knowledge.service_tables import ServiceTables
from ebpfcheck.knowledge.table import Ranged, Table
from ebpfcheck.knowledge.verify_tables import VerifyTables
from ebpfcheck.versions import CalicoVersion


class Releases(Table, frozen=True, kw_only=True):
    """The Calico releases that the tables cover."""

    first: str
    last: str
    newest: str
    source: str


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A known bug that the target release has, or (`certain` false) has at some of its patches."""

    bug: KnownBad
    certain: bool


class BpfHook(msgspec.Struct, frozen=True, kw_only=True):
    """A hook of cgroup2 that the target release attaches to, or (`certain` false) does at some of its patches."""

    name: str
    udp: bool
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
    losses: tuple[Loss, ...]
    debug_bug: DebugBug | None
    bpf_needs: tuple[BpfNeed, ...]
    """Empty where they are not known."""
    balancing: Balancing
    bpf_hooks: tuple[BpfHook, ...]
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
    features: FeatureTables
    services: ServiceTables
    add_ons: AddOnTables
    health: HealthTables
    known_bugs: KnownBugTables
    objects: ObjectTables
    plan: PlanTables
    verify: VerifyTables
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
    bpf: BpfTables
    node: NodeTables
    network: NetworkTables
    calico: CalicoTables
    kube_proxy: KubeProxyTables
    platforms: PlatformTables
    features: FeatureTables
    services: ServiceTables
    add_ons: AddOnTables
    health: HealthTables
    known_bugs: KnownBugTables
    objects: ObjectTables
    plan: PlanTables
    verify: VerifyTables

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
            losses=tuple(loss for loss in kernel.loss if version.within(loss.releases)),
            debug_bug=_first(kernel.debug_bug, version),
            bpf_needs=tuple(need for need in self.bpf.need if version.within(need.releases) is True),
            balancing=_one(self.bpf.balancing, version),
            bpf_hooks=tuple(
                BpfHook(name=name, udp=hooks.udp, certain=affected)
                for hooks in self.bpf.hooks
                if (affected := version.within(hooks.releases) is True) or version.within(hooks.releases) is None
                for name in hooks.names
            ),
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
            features=self.features,
            services=self.services,
            add_ons=self.add_ons,
            health=self.health,
            known_bugs=self.known_bugs,
            objects=self.objects,
            plan=self.plan,
            verify=self.verify,
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
