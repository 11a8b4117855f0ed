"""What is known of a node or a cluster, and how it is known."""

import enum
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")


class Reason(enum.StrEnum):
    """Why something could not be told."""

    FORBIDDEN = "forbidden"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NOT_COLLECTED = "not_collected"
    UNPARSABLE = "unparsable"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    TOOL_MISSING = "tool_missing"
    OUTDATED = "outdated"
    """Of what a user wrote down once, such as a waiver: it no longer fits."""


class SourceKind(enum.StrEnum):
    """The road by which a fact was reached."""

    API = "api"
    LOCAL = "local"
    SSH = "ssh"
    EXEC = "exec"
    POD = "pod"
    SNAPSHOT = "snapshot"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where facts come from: the road and the file, API path, command or syscall."""

    kind: SourceKind
    locator: str


class Known(msgspec.Struct, Generic[T], frozen=True, kw_only=True, tag_field="state", tag="known"):
    """A value that was seen; `source` is an index into the snapshot's sources."""

    value: T
    source: int


class Absent(msgspec.Struct, frozen=True, kw_only=True, tag_field="state", tag="absent"):
    """We looked, and it is not there."""

    source: int


class Unknown(msgspec.Struct, frozen=True, kw_only=True, tag_field="state", tag="unknown"):
    """We could not tell, and why."""

    reason: Reason
    detail: str
    source: int | None = None


Fact: TypeAlias = Known[T] | Absent | Unknown

# Snapshots hold these as they are, and they are known again by all of their words: those of old ones must not change.
NOT_COLLECTED = Unknown(reason=Reason.NOT_COLLECTED, detail="the survey did not look for it")
NOT_SURVEYED = Unknown(reason=Reason.NOT_COLLECTED, detail="only a look at the node itself tells, not the API")
ONLY_VERIFIED = Unknown(reason=Reason.NOT_COLLECTED, detail="only `ebpfcheck verify` reads that")
NOT_TRIED = Unknown(reason=Reason.NOT_COLLECTED, detail="only a trial asks the kernel itself (--trial)")
FELIX_NOT_GIVEN = Unknown(
    reason=Reason.NOT_COLLECTED, detail="a node does not show it; --felix-config reads it from a file"
)


FIRST_EPHEMERAL_PORT = 32768
"""The first port that Linux hands out by itself; from here on ports differ on every node and are not kept."""


class OsRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution as os-release names it: `id` is lower-case (ubuntu, rhel, talos), `name` is for people."""

    id: str
    id_like: tuple[str, ...] = ()
    version: str = ""
    name: str = ""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """One mount: where, which file system type, from what source name, with which options."""

    point: str
    fstype: str
    source: str
    options: tuple[str, ...] = ()
    is_whole: bool = True
    """Whether the root of the file system is mounted, not a directory in it; a table without that column says yes."""

    @property
    def read_only(self) -> bool:
        """Whether the mount refuses writes."""
        return "ro" in self.options


class MountStack(msgspec.Struct, frozen=True, kw_only=True):
    """What is mounted exactly at a path: the mount one sees there (None if covered from above) and the ones hidden."""

    visible: Mount | None
    hidden: tuple[Mount, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A path that should be a directory, or could be made one, and the file system it lies on."""

    state: Literal["directory", "missing", "other"]
    fstype: str
    read_only: bool


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface of the node's own, those of pods left out."""

    name: str
    kind: str
    """ethernet, bond, bridge, team, vlan, vxlan, wireguard, tun, tunnel (no Ethernet header), dummy (which sends
    nothing), or what the kernel calls it."""
    mtu: int
    is_up: bool
    is_running: bool = True
    """Whether it has a carrier, or is of a kind that knows of none."""
    has_default_route: bool = False
    lower: tuple[str, ...] = ()
    """The interfaces that a bond, bridge or VLAN is made of."""
    driver: str | None = None
    """The kernel driver of a NIC; empty for an interface that has none, None where that could not be told."""


class Vxlan(msgspec.Struct, frozen=True, kw_only=True):
    """A VXLAN device and the UDP port that it takes while it is up."""

    name: str
    port: int
    is_up: bool
    takes_all_vnis: bool
    """Whether it is flow-based ("external")."""
    namespace: str = ""
    """The named network namespace that it lives in; empty for the node's own."""


class AttachedProgram(msgspec.Struct, frozen=True, kw_only=True):
    """A BPF program on one of the node's own interfaces."""

    device: str
    hook: str
    """Where it is attached: xdp, tc/ingress, tc/egress, tcx/ingress, tcx/egress, or what bpftool calls it."""
    name: str
    """The program's name, which the kernel cuts to 15 characters; empty where it has none."""


class AttachedPrograms(msgspec.Struct, frozen=True, kw_only=True):
    """The BPF programs on the node's own interfaces."""

    programs: tuple[AttachedProgram, ...]
    by: Literal["bpftool", "tc"]
    """What listed them; tc sees neither TCX nor XDP."""
    misses_tcx: bool = False
    """Whether that is a bpftool from before there was TCX, on a kernel that has it."""


class KubeChains(msgspec.Struct, frozen=True, kw_only=True):
    """Chains whose names begin with KUBE-, in iptables or nftables."""

    names: tuple[str, ...] = ()
    """Those that kube-proxy or kubelet makes once."""
    of_services: int = 0
    """How many there are of those that kube-proxy makes for each Service and endpoint, rounded down to 1, 10, 100 ...,
    since the number differs from node to node."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address of an API server: a name or an IP address, and a port."""

    host: str
    port: int


class EndpointTrial(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the API server, and what came of a TCP connection to it from the node's own network."""

    host: str
    port: int
    outcome: Literal["connected", "refused", "timed_out", "no_route", "denied", "unresolved", "untold"]
    """unresolved: the node's resolver does not know the name; denied: the node itself does not let it out."""
    words: str = ""
    """What the tool said of an outcome that could not be told."""
    by_cluster_dns: bool = False
    """Whether the node asks the cluster's own DNS for the name, which itself takes an API server."""
    is_service: bool = False
    """Whether it is the address of a Service, which takes kube-proxy or its like."""


class FelixSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What FelixConfiguration sets of what concerns the checks, by the API's field names; None where it is not set."""

    aws_src_dst_check: str | None = None
    bpf_attach_type: str | None = None
    bpf_connect_time_load_balancing: str | None = None
    bpf_connect_time_load_balancing_enabled: bool | None = None
    bpf_data_iface_pattern: str | None = None
    bpf_dsr_optout_cidrs: tuple[str, ...] | None = None
    bpf_enabled: bool | None = None
    bpf_exclude_cidrs_from_nat: tuple[str, ...] | None = None
    bpf_external_service_mode: str | None = None
    bpf_host_conntrack_bypass: bool | None = None
    bpf_host_networked_nat_without_ctlb: str | None = None
    bpf_kube_proxy_healthz_port: int | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_l3_iface_pattern: str | None = None
    bpf_log_level: str | None = None
    bpf_map_size_conntrack: int | None = None
    bpf_map_size_if_state: int | None = None
    bpf_map_size_nat_backend: int | None = None
    bpf_map_size_nat_frontend: int | None = None
    bpf_map_size_route: int | None = None
    bpf_redirect_to_peer: str | None = None
    cgroup_v2_path: str | None = None
    feature_detect_override: str | None = None
    feature_gates: str | None = None
    floating_ips: str | None = None
    iptables_mark_mask: int | None = None
    ipv6_support: bool | None = None
    mtu_iface_pattern: str | None = None
    nftables_mark_mask: int | None = None
    nftables_mode: str | None = None
    vxlan_mtu: int | None = None
    vxlan_port: int | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    wireguard_listening_port: int | None = None


Dataplane = Literal["bpf", "iptables", "nftables"]
"""What Felix may program."""
DATAPLANE_NAMES: dict[Dataplane, str] = {"bpf": "eBPF mode", "iptables": "iptables mode", "nftables": "nftables mode"}
"""What people call it."""


class ContainerExit(msgspec.Struct, frozen=True, kw_only=True):
    """A container that ended with an error, and did not end well since."""

    container: str
    code: int


class CalicoNodePod(msgspec.Struct, frozen=True, kw_only=True):
    """What the pod of calico-node on a node shows."""

    phase: str
    """Running, Pending and the like, as kubelet says."""
    is_ready: bool
    is_current: bool | None = None
    """Whether it was made by the template that the DaemonSet has now; None where that could not be told."""
    is_leaving: bool = False
    """Whether it is being deleted."""
    waiting: tuple[str, ...] = ()
    """Why containers wait (CrashLoopBackOff, ImagePullBackOff, ...)."""
    init_exits: tuple[ContainerExit, ...] = ()
    restarts: int = 0
    """How often its containers were restarted, rounded down to 1, 10, 100 ..., since that differs from node to node."""


class FelixLog(msgspec.Struct, frozen=True, kw_only=True):
    """What calico-node's log says of the Felix that runs there now."""

    start: Literal["seen", "rotated", "unread"]
    """Whether it holds the start of that Felix; rotated: the log that is left begins later than the container; unread:
    it could not be found in the parts of the log that were read."""
    mode: Literal["bpf", "standard", "starting"] | None = None
    """The dataplane that it has chosen, None where its start was not seen."""
    fallback: str | None = None
    """Why eBPF mode was refused, "" where it was and the release does not log why; None where it was not."""
    rules: Literal["iptables", "nftables"] | None = None
    """What it writes its rules to, as far as it says."""
    api_host: str | None = None
    """The host of the API server that it was given."""
    api_port: str | None = None
    load_balancer: str | None = None
    """For what connect-time load balancing is on."""
    signs: tuple[tuple[str, int], ...] = ()
    """The kinds of trouble that it tells of, at its start or in the last minutes, each with how many lines do, rounded
    down to 1, 10, 100 ..."""
    is_recent_seen: bool = False
    """Whether the last minutes of the log were read whole, and hold lines of that Felix: else nothing in `signs` does
    not tell that there is nothing."""
    starts: int = 0
    """How often Felix was started in the last minutes, as far as they were read; 10 stands for more too."""


class FelixMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What Felix's metrics say of eBPF mode; both numbers are rounded down to 1, 10, 100 ..."""

    endpoints: int
    """How many endpoints it manages in eBPF mode; it serves 0 in other modes too."""
    dirty: int | None
    """How many of them it could not load programs for; None where it does not say."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the kernel says it lacks, by the errno and the words in which it said so."""

    name: str
    errno: str = ""
    words: str = ""


class Untold(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the kernel was asked for and did not tell, and why."""

    name: str
    errno: str = ""
    words: str = ""
    needs: tuple[str, ...] = ()
    """The capabilities (BPF, NET_ADMIN ...) that it takes to be told; empty where that is not why it was not."""


class TrialAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel answered when it was asked for one kind of thing, each by its name as docs/checks has them."""

    yes: tuple[str, ...] = ()
    no: tuple[Refusal, ...] = ()
    untold: tuple[Untold, ...] = ()
    left: str = ""
    """Why the rest was not asked; empty where all was."""
    by: Literal["bpf", "bpftool"] = "bpf"
    """What asked; bpftool tells types alone, not what follows a slash."""


class RootHook(msgspec.Struct, frozen=True, kw_only=True):
    """What is attached to a hook (connect4, sendmsg6 ...) of the root of cgroup2."""

    hook: str
    programs: int = 0
    flags: int = 0
    """How it is attached: 0 exclusively, 1 so that groups below may override it, 2 beside others."""
    untold: Untold | None = None
    """Why that could not be told; None where it was."""


class ObjectRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A BPF object that did not load, or not whole, and in which words."""

    name: str
    errno: str = ""
    """Such as EACCES; empty where none was told."""
    program: str = ""
    """The program that was refused; empty where it did not come to that."""
    words: tuple[str, ...] = ()
    """The last lines of what the verifier said, or the loader where the verifier said nothing."""
    from_verifier: bool = False
    """Whether the verifier found fault with it; else the words may be of a refusal that never got so far."""


class ObjectTrial(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel's verifier said of the BPF objects of a directory."""

    directory: str
    image: str = ""
    """The image that the directory is in; empty where it is the node's own."""
    loader: str
    """What loaded them, with its version."""
    by: Literal["libbpf", "bpftool"]
    """bpftool cannot leave one program of an object out, as Felix does."""
    accepted: tuple[str, ...] = ()
    partly: tuple[ObjectRefusal, ...] = ()
    """Those that were accepted without the one program that Felix does without too."""
    refused: tuple[ObjectRefusal, ...] = ()
    undecided: tuple[tuple[str, Literal["timeout", "killed", "large", "irregular"]], ...] = ()
    """Those that took too long, whose loader was killed, that are too large for one, or that are no files."""
    left: tuple[str, ...] = ()
    """Those for which there was no time left."""
    strange: int = 0
    """How many more files end in .o that cannot be of a release."""


class NodeIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What differs on every node."""

    name: str
    addresses: tuple[tuple[str, str], ...] = ()
    """Interface and address/prefix length, those of pods' interfaces and link-local ones left out."""
    node_ips: tuple[str, ...] = ()
    """The node's InternalIPs, as the API has them."""


class NodeKind(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a node that other nodes may share; holds no per-node token.

    A fact that the survey of an older version did not collect is Unknown, so old snapshots stay readable.
    """

    proc_version: Fact[str] = NOT_COLLECTED
    """/proc/version: the string that Felix itself reads."""
    kernel_release: Fact[str] = NOT_COLLECTED
    """The running kernel's release, as `uname -r` prints it."""
    arch: Fact[str] = NOT_COLLECTED
    """The machine architecture, as `uname -m` prints it or as images name it."""
    os: Fact[OsRelease] = NOT_COLLECTED
    operating_system: Fact[str] = NOT_COLLECTED
    """linux or windows, as kubelet says."""
    os_image: Fact[str] = NOT_COLLECTED
    """What kubelet calls the system, such as "Ubuntu 22.04.4 LTS"."""
    kubelet_version: Fact[str] = NOT_COLLECTED
    container_runtime: Fact[str] = NOT_COLLECTED
    """The runtime and its version, such as containerd://1.7.22."""
    provider: Fact[str] = NOT_COLLECTED
    """The scheme of the node's providerID, such as aws."""
    max_pods: Fact[int] = NOT_COLLECTED
    """How many pods kubelet takes."""
    platform_marks: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Labels and annotations that platforms put on nodes: the keys, and KEY=VALUE where the value tells something."""
    container: Fact[str] = NOT_COLLECTED
    """The container engine in whose container process 1 runs, be that a node (kind) or not; Absent on a machine."""
    init: Fact[str] = NOT_COLLECTED
    """The name of process 1."""
    systemd_version: Fact[int] = NOT_COLLECTED
    kernel_config: Fact[tuple[tuple[str, str], ...]] = NOT_COLLECTED
    """Options of the running kernel's configuration that concern BPF, cgroups, traffic control and VXLAN."""
    vmlinux_btf: Fact[bool] = NOT_COLLECTED
    """Whether /sys/kernel/btf/vmlinux, where it is there, has content."""
    lockdown: Fact[str] = NOT_COLLECTED
    """Kernel lockdown: none, integrity or confidentiality; Absent in a kernel without it."""
    lsm: Fact[tuple[str, ...]] = NOT_COLLECTED
    selinux: Fact[Literal["enforcing", "permissive"]] = NOT_COLLECTED
    """SELinux mode; Absent where it is disabled or not built in."""
    bpf_jit_enable: Fact[int] = NOT_COLLECTED
    bpf_jit_harden: Fact[int] = NOT_COLLECTED
    unprivileged_bpf_disabled: Fact[int] = NOT_COLLECTED
    filesystems: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Those of bpf, cgroup and cgroup2 that /proc/filesystems lists."""
    bpffs: Fact[MountStack] = NOT_COLLECTED
    """What is mounted at /sys/fs/bpf."""
    bpffs_elsewhere: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Other mount points of type bpf, those of pods and containers left out."""
    bpffs_fstab: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The lines of /etc/fstab for /sys/fs/bpf."""
    bpffs_unit: Fact[str] = NOT_COLLECTED
    """The sys-fs-bpf.mount unit that systemd starts at boot (its path)."""
    cgroup_layout: Fact[Literal["unified", "hybrid", "legacy", "none"]] = NOT_COLLECTED
    """What is at /sys/fs/cgroup: cgroup2 alone, v1 with cgroup2 beside it, v1 alone, nothing."""
    cgroup2_mounts: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Mount points of type cgroup2."""
    links: Fact[tuple[Link, ...]] = NOT_COLLECTED
    offloads: Fact[tuple[tuple[str, tuple[str, ...]], ...]] = NOT_COLLECTED
    """Each NIC that ethtool knows, with those offloads for tunnels and VLANs that are on."""
    node_address_links: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The interfaces that own the addresses that kubelet was given as the node's (--node-ip); Absent where it was given
    none, or they are on no interface."""
    nameservers: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The name servers of /etc/resolv.conf."""
    vxlans: Fact[tuple[Vxlan, ...]] = NOT_COLLECTED
    """VXLAN devices, also of other named network namespaces than those of pods."""
    tcp_listeners: Fact[tuple[int, ...]] = NOT_COLLECTED
    """TCP ports below the ephemeral ones that something listens on."""
    udp_ports: Fact[tuple[int, ...]] = NOT_COLLECTED
    """UDP ports below the ephemeral ones that are taken, and WireGuard's usual ones."""
    ipvs_services: Fact[bool] = NOT_COLLECTED
    """Whether IPVS has virtual services; Absent where the kernel has no IPVS loaded."""
    nft_tables: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The nftables tables, each as "FAMILY NAME"; Absent where the kernel has none loaded."""
    kube_chains: Fact[KubeChains] = NOT_COLLECTED
    """Chains of kube-proxy and kubelet; Absent where neither iptables nor nftables is in use."""
    bpf_programs: Fact[AttachedPrograms] = NOT_COLLECTED
    programs: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Those running programs that concern Services, other dataplanes, containers or firewalls."""
    bpf_pins: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Who has pinned something in bpffs: calico, cilium, other; Absent where nothing is."""
    ip_forward: Fact[int] = NOT_COLLECTED
    rp_filter: Fact[tuple[tuple[str, int], ...]] = NOT_COLLECTED
    """Reverse path filtering in force by interface, those of pods left out, `all` and `default` included."""
    rp_filter_files: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Lines about rp_filter in sysctl's files, each with the file's path."""
    modules: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Kernel modules for filtering, tunnels and connection tracking that are loaded, built in or on disk."""
    felix: Fact[FelixSettings] = FELIX_NOT_GIVEN
    """What FelixConfiguration sets for this node; the survey cannot see it."""
    ufw_enabled: Fact[bool] = NOT_COLLECTED
    """Whether ufw is configured to start; Absent where it is not installed."""
    unmanaged_devices: Fact[tuple[str, ...]] = NOT_COLLECTED
    """Lines of NetworkManager's configuration that tell it to leave devices alone."""
    run_calico: Fact[Place] = NOT_COLLECTED
    """/run/calico, which may be missing as long as it can be made."""
    calico_cgroup: Fact[MountStack] = NOT_COLLECTED
    """What is mounted at /run/calico/cgroup."""
    api_endpoints: Fact[tuple[EndpointTrial, ...]] = NOT_COLLECTED
    """Addresses of the API server that the survey was given to try, the one to use first; Absent where none was."""
    trial_maps: Fact[TrialAnswers] = NOT_TRIED
    """Types of BPF maps with the flags that they were made with; this and the next six take a trial."""
    trial_programs: Fact[TrialAnswers] = NOT_TRIED
    """Types of BPF programs, with a slash before the hook where the type has several."""
    trial_helpers: Fact[TrialAnswers] = NOT_TRIED
    """Helpers that programs may call, each as TYPE/HELPER."""
    trial_features: Fact[TrialAnswers] = NOT_TRIED
    """What else the verifier takes: callbacks, atomics, timers ..."""
    trial_attachments: Fact[TrialAnswers] = NOT_TRIED
    """Ways of attaching programs, tried on devices and a control group that the trial made."""
    trial_devices: Fact[TrialAnswers] = NOT_TRIED
    """Network devices, made and brought up in a namespace of the trial's own."""
    trial_root_hooks: Fact[tuple[RootHook, ...]] = NOT_TRIED
    """What others have attached to the hooks of cgroup2's root that connect-time load balancing uses."""
    trial_objects: Fact[ObjectTrial] = NOT_TRIED
    """What the verifier said of a release's BPF objects, by a trial of its own."""
    calico_node_pod: Fact[CalicoNodePod] = ONLY_VERIFIED
    """Absent where calico-node has no pod on the node. This and the next two are read by `ebpfcheck verify` alone."""
    felix_log: Fact[FelixLog] = ONLY_VERIFIED
    felix_metrics: Fact[FelixMetrics] = ONLY_VERIFIED


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one survey told about one node."""

    identity: NodeIdentity
    kind: NodeKind


Install = Literal["operator", "manifest", "none", "unknown"]

API_FACTS = frozenset(
    {
        "kernel_release", "arch", "operating_system", "os_image", "kubelet_version", "container_runtime", "provider",
        "max_pods", "platform_marks", "felix", "calico_node_pod", "felix_log", "felix_metrics",
    }
)  # fmt: skip
"""The facts of a node that the API gives; all others take a look at the node itself."""
KERNEL_TRIAL_FACTS = frozenset(
    {
        "trial_maps", "trial_programs", "trial_helpers", "trial_features", "trial_attachments", "trial_devices",
        "trial_root_hooks",
    }
)  # fmt: skip
"""The facts of a node that only a trial of the kernel gives."""
TRIAL_FACTS = KERNEL_TRIAL_FACTS | {"trial_objects"}
"""The facts of a node that only trials give; without one, they are NOT_TRIED."""
OWN_FACTS = frozenset({"felix", "calico_node_pod", "felix_log", "felix_metrics"})
"""Those of them that nodes alike need not share."""


def rounded_down(number: int) -> int:
    """Return the largest of 1, 10, 100 ... that is no larger; 0 for 0."""
    return 10 ** (len(str(number)) - 1) if number > 0 else 0
