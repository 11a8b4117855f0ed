"""The shape of add_ons.toml: what others run that concerns Services, DNS or BPF."""

from typing import Literal

from ebpfcheck.knowledge.table import Table


class NodeLocalDnsRule(Table, frozen=True, kw_only=True):
    """How a Service is kept out of Felix's load balancing, and in which releases."""

    annotation: str
    value: str
    annotation_releases: str
    annotation_since: str
    field: str
    field_releases: str
    field_since: str
    source: str


class ConnectTime(Table, frozen=True, kw_only=True):
    """How connect-time load balancing is switched, and what stands in for it."""

    mode_releases: str
    mode_since: str
    mode_default: str
    mode_off: str
    stand_in_off: str
    gate: str
    gate_value: str
    gate_udp: str
    gate_in_override: str
    gate_in_gates: str
    source: str


class AmbientBug(Table, frozen=True, kw_only=True):
    """The releases in which kubelet's probes of pods in a mesh without sidecars fail."""

    mesh: str
    releases: str
    fixed_in: str
    source: str


class Mesh(Table, frozen=True, kw_only=True):
    """A service mesh: by what namespaces join it, by what it is seen to be installed, what it loses."""

    name: str
    title: str
    programs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    effect: str
    source: str


class KubeVirtRule(Table, frozen=True, kw_only=True):
    """How KubeVirt shows itself, and the setting that helps its guests."""

    program: str
    field: str
    value: str
    source: str


class GuestBug(Table, frozen=True, kw_only=True):
    """What guests that are bridged to the pod network meet in some releases."""

    releases: str
    message: str
    fixed_in: str
    source: str


class Multus(Table, frozen=True, kw_only=True):
    """How Multus shows itself."""

    program: str
    group: str
    source: str


class TcxSweep(Table, frozen=True, kw_only=True):
    """The releases whose Felix takes the tc qdisc away where it attaches by TCX."""

    releases: str
    kernel: str
    off: str
    """The bpfAttachType that keeps Felix on tc."""
    source: str


class BpfProgram(Table, frozen=True, kw_only=True):
    """Somebody else's program on the same hooks; add_ons.toml explains the words."""

    program: str
    title: str
    status: Literal["warn", "note"]
    spared_from_kernel: str = ""
    spared_releases: str = ""
    """Empty for all of them."""
    spared: str = ""
    on_tc: bool = False
    message: str
    remedy: str = ""
    source: str


class AddOnTables(Table, frozen=True, kw_only=True):
    """add_ons.toml: what others run that concerns Services, DNS or BPF."""

    node_local_dns: NodeLocalDnsRule
    connect_time: ConnectTime
    ambient_bug: AmbientBug
    mesh: tuple[Mesh, ...]
    kubevirt: KubeVirtRule
    guest_bug: tuple[GuestBug, ...]
    multus: Multus
    tcx_sweep: TcxSweep
    bpf_program: tuple[BpfProgram, ...]
