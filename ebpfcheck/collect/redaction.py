"""Takes out of a snapshot what tells whose it is: names, addresses, MACs, users, credentials. What is judged stays."""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias, TypeVar

import msgspec

from ebpfcheck.model.cluster import (
    SCAN_NOT_ASKED,
    AddOn,
    CalicoNode,
    CalicoPods,
    ClusterFacts,
    Deployment,
    DnsService,
    EndpointOverride,
    FelixObject,
    InitExit,
    Installation,
    IpPool,
    Kubeadm,
    KubeProxy,
    KubeProxyConfig,
    Marks,
    NodeLocalDns,
    OpenShift,
    ServiceAddress,
    TigeraStatus,
    Users,
)
from ebpfcheck.model.facts import (
    FELIX_NOT_GIVEN,
    NOT_COLLECTED,
    NOT_SURVEYED,
    NOT_TRIED,
    ONLY_VERIFIED,
    AttachedProgram,
    AttachedPrograms,
    CalicoNodePod,
    ContainerExit,
    EndpointTrial,
    FelixLog,
    FelixSettings,
    Known,
    KubeChains,
    Link,
    Mount,
    NodeIdentity,
    NodeKind,
    ObjectRefusal,
    ObjectTrial,
    OsRelease,
    Place,
    Refusal,
    RootHook,
    Source,
    TrialAnswers,
    Unknown,
    Untold,
    Vxlan,
)
from ebpfcheck.model.snapshot import NodeTraits, Problem, Snapshot, Unseen

T = TypeVar("T")
_Address: TypeAlias = IPv4Address | IPv6Address


class Rule(Enum):
    """How the strings of a field are redacted."""

    TEXT = auto()
    """Everything in it that identifies; the rule for a field that is listed nowhere."""
    WORDS = auto()
    """As TEXT, but for host names that are ordinary words there, such as eth0 or calico: the judgement reads those."""
    KEPT = auto()
    """Nothing: the kernel, its makers or Calico chose what it says."""
    NODE = auto()
    """It is the name of a node."""
    NAMESPACE = auto()
    """It is the name of a network namespace."""
    CLUSTER = auto()
    """It is the name of a cluster."""
    SERVER = auto()
    """It is the URL, the name or the address of a server."""
    IMAGE = auto()
    """It is the name of an image, whose registry may be somebody's own."""
    KEY = auto()
    """It is the key of a label or the like, or an API group; those of Kubernetes and of known projects stay."""
    NAME = auto()
    """It is a name that somebody chose, or several with slashes between them; usual ones stay."""
    COMMAND = auto()
    """It is a word of a command; of options that the judgement does not read the values go."""
    HIDDEN = auto()
    """Somebody else wrote it, about anything; nothing of it stays."""
    PROC_VERSION = auto()
    """Who built the kernel, and where; the rest of /proc/version is what Felix itself reads."""


# A pair of rules is for a field that holds pairs.
RULES: dict[type[msgspec.Struct], dict[str, Rule | tuple[Rule, Rule]]] = {
    Snapshot: {"schema": Rule.KEPT, "tool_version": Rule.KEPT},
    Source: {"locator": Rule.TEXT},
    Problem: {"source": Rule.TEXT, "detail": Rule.TEXT},
    Unseen: {"name": Rule.NODE, "detail": Rule.TEXT},
    Unknown: {"detail": Rule.TEXT},
    ClusterFacts: {
        "context": Rule.CLUSTER,
        "server": Rule.SERVER,
        "server_version": Rule.KEPT,
        "api_groups": Rule.KEY,
        "missing_rights": Rule.KEPT,
        "node_subnets": Rule.TEXT,
        "calico_version": Rule.KEPT,
        "install": Rule.KEPT,
        "auto_host_endpoints": Rule.KEPT,
        "meshed_namespaces": (Rule.KEPT, Rule.KEPT),
        "other_networks": Rule.NAME,
        "calico_nodes": Rule.NAME,
        "api_endpoints": Rule.TEXT,
        "service_cidrs": Rule.TEXT,
    },
    Marks: {
        "labels": (Rule.KEY, Rule.NAME),
        "annotations": Rule.KEY,
        "managers": Rule.NAME,
        "owners": Rule.KEPT,
    },
    CalicoNode: {
        "namespace": Rule.NAME,
        "name": Rule.KEPT,
        "image": Rule.IMAGE,
        "env": (Rule.KEPT, Rule.WORDS),
        "dns_policy": Rule.KEPT,
        "service_host": Rule.SERVER,
        "env_from": Rule.NAME,
        "init_containers": Rule.NAME,
        "host_paths": Rule.WORDS,
        "container": Rule.KEPT,
        "template_generation": Rule.KEPT,
    },
    CalicoPods: {"images": (Rule.IMAGE, Rule.KEPT), "waiting": (Rule.KEPT, Rule.KEPT)},
    InitExit: {"container": Rule.KEPT},
    Deployment: {"namespace": Rule.NAME, "name": Rule.KEPT, "image": Rule.IMAGE},
    TigeraStatus: {"name": Rule.KEPT, "reason": Rule.KEPT, "message": Rule.HIDDEN},
    Users: {"examples": Rule.NAME},
    DnsService: {
        "namespace": Rule.NAME,
        "name": Rule.NAME,
        "cluster_ips": Rule.TEXT,
        "nat_exclude": Rule.KEPT,
    },
    EndpointTrial: {"host": Rule.SERVER, "outcome": Rule.KEPT, "words": Rule.TEXT},
    NodeLocalDns: {"namespace": Rule.NAME, "name": Rule.NAME, "local_ips": Rule.TEXT},
    AddOn: {"program": Rule.KEPT, "namespace": Rule.NAME, "name": Rule.NAME},
    Installation: {
        "variant": Rule.KEPT,
        "kubernetes_provider": Rule.KEPT,
        "non_privileged": Rule.KEPT,
        "host_ports": Rule.KEPT,
        "pools": Rule.TEXT,
        "autodetection_v4": Rule.KEPT,
        "autodetection_v6": Rule.KEPT,
        "cni_type": Rule.KEPT,
        "linux_dataplane": Rule.KEPT,
        "bgp": Rule.KEPT,
        "bpf_network_bootstrap": Rule.KEPT,
        "kube_proxy_management": Rule.KEPT,
        "calico_version": Rule.KEPT,
    },
    FelixObject: {"operator_bpf_enabled": Rule.KEPT},
    IpPool: {"name": Rule.NAME, "cidr": Rule.TEXT, "ipip_mode": Rule.KEPT, "vxlan_mode": Rule.KEPT},
    ServiceAddress: {"cluster_ips": Rule.TEXT, "uid": Rule.HIDDEN},
    EndpointOverride: {
        "namespace": Rule.NAME,
        "name": Rule.KEPT,
        "host": Rule.SERVER,
        "port": Rule.KEPT,
        "pod_host": Rule.SERVER,
        "pod_port": Rule.KEPT,
    },
    Kubeadm: {
        "cluster_name": Rule.CLUSTER,
        "control_plane_endpoint": Rule.SERVER,
        "pod_subnet": Rule.TEXT,
        "service_subnet": Rule.TEXT,
    },
    KubeProxy: {
        "namespace": Rule.NAME,
        "name": Rule.NAME,
        "runs_as": Rule.KEPT,
        "image": Rule.IMAGE,
        "command": Rule.COMMAND,
        "masters": Rule.SERVER,
        "node_selector": (Rule.KEY, Rule.NAME),
    },
    KubeProxyConfig: {
        "config_maps": Rule.NAME,
        "mode": Rule.KEPT,
        "cluster_cidr": Rule.TEXT,
        "healthz_bind_address": Rule.TEXT,
        "server": Rule.SERVER,
    },
    OpenShift: {"api_internal_url": Rule.SERVER},
    NodeTraits: {"instance_type": Rule.NAME, "pool": Rule.NAME, "role": Rule.KEPT, "zone": Rule.NAME},
    NodeIdentity: {"name": Rule.NODE, "addresses": (Rule.WORDS, Rule.TEXT), "node_ips": Rule.TEXT},
    NodeKind: {
        "proc_version": Rule.PROC_VERSION,
        "kernel_release": Rule.KEPT,
        "arch": Rule.KEPT,
        "os": Rule.KEPT,
        "operating_system": Rule.KEPT,
        "os_image": Rule.KEPT,
        "kubelet_version": Rule.KEPT,
        "container_runtime": Rule.KEPT,
        "provider": Rule.KEPT,
        "max_pods": Rule.KEPT,
        "platform_marks": Rule.KEPT,
        "container": Rule.KEPT,
        "init": Rule.KEPT,
        "systemd_version": Rule.KEPT,
        "kernel_config": Rule.KEPT,
        "vmlinux_btf": Rule.KEPT,
        "lockdown": Rule.KEPT,
        "lsm": Rule.KEPT,
        "selinux": Rule.KEPT,
        "bpf_jit_enable": Rule.KEPT,
        "bpf_jit_harden": Rule.KEPT,
        "unprivileged_bpf_disabled": Rule.KEPT,
        "filesystems": Rule.KEPT,
        "bpffs": Rule.TEXT,
        "bpffs_elsewhere": Rule.TEXT,
        "bpffs_fstab": Rule.WORDS,
        "bpffs_unit": Rule.TEXT,
        "cgroup_layout": Rule.KEPT,
        "cgroup2_mounts": Rule.TEXT,
        "links": Rule.TEXT,
        "offloads": (Rule.WORDS, Rule.KEPT),
        "node_address_links": Rule.WORDS,
        "nameservers": Rule.TEXT,
        "vxlans": Rule.TEXT,
        "api_endpoints": Rule.TEXT,
        "tcp_listeners": Rule.KEPT,
        "udp_ports": Rule.KEPT,
        "ipvs_services": Rule.KEPT,
        "nft_tables": Rule.WORDS,
        "kube_chains": Rule.KEPT,
        "bpf_programs": Rule.TEXT,
        "programs": Rule.KEPT,
        "bpf_pins": Rule.KEPT,
        "ip_forward": Rule.KEPT,
        "rp_filter": (Rule.WORDS, Rule.KEPT),
        "rp_filter_files": Rule.WORDS,
        "modules": Rule.KEPT,
        "felix": Rule.TEXT,
        "ufw_enabled": Rule.KEPT,
        "unmanaged_devices": Rule.WORDS,
        "run_calico": Rule.KEPT,
        "calico_cgroup": Rule.TEXT,
        "trial_maps": Rule.KEPT,
        "trial_programs": Rule.KEPT,
        "trial_helpers": Rule.KEPT,
        "trial_features": Rule.KEPT,
        "trial_attachments": Rule.KEPT,
        "trial_devices": Rule.KEPT,
        "trial_root_hooks": Rule.KEPT,
        "trial_objects": Rule.KEPT,
        "calico_node_pod": Rule.KEPT,
        "felix_log": Rule.TEXT,
        "felix_metrics": Rule.KEPT,
    },
    TrialAnswers: {"yes": Rule.KEPT, "left": Rule.TEXT, "by": Rule.KEPT},
    Refusal: {"name": Rule.KEPT, "errno": Rule.KEPT, "words": Rule.TEXT},
    Untold: {"name": Rule.KEPT, "errno": Rule.KEPT, "words": Rule.TEXT, "needs": Rule.KEPT},
    RootHook: {"hook": Rule.KEPT},
    ObjectTrial: {
        "directory": Rule.TEXT,
        "image": Rule.IMAGE,
        "loader": Rule.KEPT,
        "by": Rule.KEPT,
        "accepted": Rule.KEPT,
        "undecided": (Rule.KEPT, Rule.KEPT),
        "left": Rule.KEPT,
    },
    ObjectRefusal: {
        "name": Rule.KEPT,
        "errno": Rule.KEPT,
        "program": Rule.KEPT,
        "words": Rule.TEXT,
        "from_verifier": Rule.KEPT,
    },
    CalicoNodePod: {"phase": Rule.KEPT, "waiting": Rule.KEPT},
    ContainerExit: {"container": Rule.KEPT},
    FelixLog: {
        "start": Rule.KEPT,
        "mode": Rule.KEPT,
        "fallback": Rule.TEXT,
        "rules": Rule.KEPT,
        "api_host": Rule.SERVER,
        "api_port": Rule.KEPT,
        "load_balancer": Rule.KEPT,
        "signs": (Rule.KEPT, Rule.KEPT),
    },
    OsRelease: {"id": Rule.KEPT, "id_like": Rule.KEPT, "version": Rule.KEPT, "name": Rule.KEPT},
    Mount: {"point": Rule.TEXT, "fstype": Rule.KEPT, "source": Rule.WORDS, "options": Rule.WORDS},
    Place: {"state": Rule.KEPT, "fstype": Rule.KEPT},
    Link: {"name": Rule.WORDS, "kind": Rule.KEPT, "lower": Rule.WORDS, "driver": Rule.KEPT},
    Vxlan: {"name": Rule.WORDS, "namespace": Rule.NAMESPACE},
    AttachedPrograms: {"by": Rule.KEPT},
    AttachedProgram: {"device": Rule.WORDS, "hook": Rule.KEPT, "name": Rule.KEPT},
    KubeChains: {"names": Rule.KEPT},
    FelixSettings: {
        "aws_src_dst_check": Rule.KEPT,
        "bpf_attach_type": Rule.KEPT,
        "bpf_connect_time_load_balancing": Rule.KEPT,
        "bpf_dsr_optout_cidrs": Rule.TEXT,
        "bpf_exclude_cidrs_from_nat": Rule.TEXT,
        "bpf_external_service_mode": Rule.KEPT,
        "bpf_host_networked_nat_without_ctlb": Rule.KEPT,
        "bpf_log_level": Rule.KEPT,
        "bpf_redirect_to_peer": Rule.KEPT,
        "cgroup_v2_path": Rule.WORDS,
        "feature_detect_override": Rule.KEPT,
        "feature_gates": Rule.KEPT,
        "floating_ips": Rule.KEPT,
        "nftables_mode": Rule.KEPT,
        "bpf_data_iface_pattern": Rule.WORDS,
        "bpf_l3_iface_pattern": Rule.WORDS,
        "mtu_iface_pattern": Rule.WORDS,
    },
}

# Patterns of FelixConfiguration that choose among a node's interfaces.
_PATTERNS = ("bpf_data_iface_pattern", "bpf_l3_iface_pattern", "mtu_iface_pattern")

# Words that the facts are written in. A host that is called so gives nothing away by them.
_ORDINARY = frozenset(
    {
        "all", "bpf", "bpffs", "boot", "btf", "cgroup", "cgroup2", "class", "conf", "config", "containers", "core",
        "default", "defaults", "dev", "devices", "docker", "etc", "except", "file", "filter", "fs", "fstab", "grpc",
        "home", "inet", "interface", "ip", "ip6", "ipv4", "ipv6", "kernel", "kube", "lib", "lib64", "local", "mac",
        "mode", "modules", "mount", "name", "net", "netdev", "netns", "network", "networkmanager", "nodev", "noauto",
        "noexec", "nofail", "nosuid", "opt", "proc", "proxy", "relatime", "ro", "root", "rp", "run", "rw", "security",
        "share", "sys", "sysctl", "system", "systemd", "type", "ufw", "unified", "unmanaged", "usr", "var", "version",
        "vmlinux", "cali", "calico", "vxlan", "v6", "wireguard", "wg", "egress", "bpfin", "bpfout", "tunl", "tunl0",
        "docker0", "ipvs0",
    }
)  # fmt: skip
# How the interfaces begin that Felix attaches to by default, lower-cased.
_LIKE_A_LINK = re.compile(r"(?:en|wl|ww|sl|ib)[copsvx]|eth|wlan|wwan|bond")

# Networks that stay what they are, and how many of their addresses' first bits do.
_SPECIAL: tuple[tuple[IPv4Network | IPv6Network, int], ...] = tuple(
    (ip_network(network), kept)
    for network, kept in (
        ("0.0.0.0/8", 32),
        ("10.0.0.0/8", 8),
        ("100.64.0.0/10", 10),
        ("127.0.0.0/8", 32),
        ("169.254.0.0/16", 32),
        ("172.16.0.0/12", 12),
        ("192.0.0.0/24", 32),
        ("192.0.2.0/24", 24),
        ("192.168.0.0/16", 16),
        ("198.18.0.0/15", 15),
        ("198.51.100.0/24", 24),
        ("203.0.113.0/24", 24),
        ("224.0.0.0/4", 4),
        # Masks are among them.
        ("240.0.0.0/4", 32),
        ("::/127", 128),
        ("::ffff:0:0/96", 96),
        ("64:ff9b::/96", 96),
        ("2001:db8::/32", 32),
        ("2000::/3", 3),
        ("fc00::/8", 8),
        ("fd00::/8", 8),
        # The last half of a link-local address is often made of the MAC.
        ("fe80::/10", 64),
        # Flags and scope.
        ("ff00::/8", 16),
    )
)
# The prefixes of those networks, as address length, bits and value: no bit that follows one of them is ever flipped,
# so that nothing leaves such a network and nothing gets into it.
_ABOVE_SPECIAL = frozenset(
    (network.max_prefixlen, bits, int(network.network_address) >> (network.max_prefixlen - bits))
    for network, _ in _SPECIAL
    for bits in range(network.prefixlen)
)
# Those that hold IPv4 addresses.
_OF_IPV4 = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

# Whose keys and API groups say nothing of the cluster they are in.
_KNOWN_DOMAINS = (
    ".kubernetes.io", ".k8s.io", ".projectcalico.org", ".tigera.io", ".argoproj.io", ".fluxcd.io", ".helm.sh",
    ".amazonaws.com", ".azure.com", ".openshift.io", ".vmware.com", ".gke.io", ".istio.io", ".cilium.io", ".cattle.io",
    ".linkerd.io", ".kuma.io", ".hashicorp.com", ".cncf.io", ".kubevirt.io",
)  # fmt: skip
# Names that installers and projects choose, and the values of labels and the managers of fields that are usual.
_USUAL_WORDS = (
    "admin|agent|annotate|api|apiserver|apply|aws|client|cloud|cni|cns|config|control|controller|controllers|create|csi|dns"
    "|driver|ds|edit|endpoint|endpoints|flannel|host|ippool|label|lease|manager|master|metrics|multus|net|network|node|nodes"
    "|npm|operator|ovn|patch|plane|proxy|public|replace|rollout|router|scheduler|server|service|services|set|side|state"
    "|system|typha|upgrade|vip|windows|worker"
)
_USUAL_NAME = re.compile(
    r"(?:kube|kubectl|kubeadm|calico|tigera|openshift|cilium|azure|ovnkube|antrea|weave)"
    rf"(?:-(?:{_USUAL_WORDS}))*|anetd|aws-node"
    r"|kindnet|eks|default(?:-ipv[46]-ippool)?|kubernetes-services?-endpoint|proxy-config|k8s-app|app|tier|component"
    r"|non-calico|true|false|linux|windows|Reconcile|EnsureExists|Helm|helm|operator|apps|batch|policy|autoscaling"
    r"|extensions|argocd-[a-z-]+|(?:helm|kustomize)-controller|configmap|secret"
    r"|mount-bpffs|ebpf-bootstrap|install-cni|upgrade-ipam|flexvol-driver|Terraform"
)
_OPTION = re.compile(r"""(?P<name>--[\w-]+)(?P<sign>=| (?!-))(?P<value>"[^"]*"|'[^']*'|[^\s'"]+)""")
_NAME_ALONE = re.compile(r"--[\w-]+")
_READ_OPTIONS = frozenset(
    {"--config", "--kubeconfig", "--master", "--proxy-mode", "--cluster-cidr", "--healthz-bind-address", "--v"}
)
_PRIVATE_VARIABLE = re.compile(r"(?!FELIX_BPF).*(?:PASS|SECRET|TOKEN|KEY|CERT|CN$|SAN$|ADDR)")
# What these say was written here, whatever a node may be called.
_OUR_OWN_WORDS = (NOT_COLLECTED, NOT_SURVEYED, NOT_TRIED, ONLY_VERIFIED, FELIX_NOT_GIVEN, SCAN_NOT_ASKED)

# Names that say what kind of server they are of, not whose.
_USUAL_CLUSTERS = ("kubernetes", "cluster.local")
_TELLING_SERVERS = frozenset(
    {"localhost", "proxy.local", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
    | {"kubernetes.default.svc.cluster.local", "control-plane.minikube.internal"}
)
_TELLING_SUFFIXES = (
    ".svc", ".svc.cluster.local", ".cluster.local", ".minikube.internal", ".localdomain", "-control-plane",
    "-external-load-balancer",
)  # fmt: skip
_PUBLIC_IMAGES = (
    "calico/", "docker.io/calico/", "docker.io/rancher/", "gke.gcr.io/", "mcr.microsoft.com/", "quay.io/calico/",
    "quay.io/tigera/", "rancher/", "registry.k8s.io/",
)  # fmt: skip
_URL = re.compile(r"(?P<scheme>[a-z]+://)?(?P<host>[\w.-]+|\[[^\]]*\])(?P<rest>(?::\d+)?(?:/[^\s]*)?)")

# Words that dots and dashes join.
_TOKEN = re.compile(r"\w+(?:[.-]+\w+)*")
_ODD = re.compile(r"\w{3}.*[^\w.-]|[^\w.-].*\w{3}", re.DOTALL)
_SIGN = re.compile(r"[._-]+")
_HEX_ONLY = re.compile(r"[0-9a-f._-]+")
_MORE_LABELS = re.compile(r"(?:\.[\w-]+){1,8}\.[^\W\d_]{2,}")
_BUILDER = re.compile(r"(Linux version \S+ \()([^()]*@[^()]*)\)")
# What Felix looks for in /proc/version, wherever it stands.
_GATE_WORDS = re.compile(r"ubuntu|red hat|el\d+_\d+", re.IGNORECASE | re.ASCII)
_NAMESPACE = re.compile(r"(?:\bip -n |/netns/|\bvxlans-in:)(?:docker/)?(?P<it>[^\s:]+)")
# Of a path or a right in the API, the names that somebody chose.
_API = re.compile(r"(?<!\S)/apis?(?=/)")
_API_NAMESPACE = re.compile(r"(?:/namespaces/|\b(?:get|list) [\w./-]+ in )(?P<it>[\w-]+)")
_API_NAME = re.compile(r"(?:\bconfigmaps/|DaemonSets run kube-proxy \()(?P<it>[\w-]+(?:(?:[./]|, )[\w-]+)*)")
_KERNEL_RELEASE = re.compile(r"(?:/lib/modules/|/boot/config-|/ostree-boot/config-|kernel configuration of )[^/\s:]+")
_CREDENTIAL = re.compile(
    r"""(?:(?<![\w-])[\w-]*(?:passw(?:or)?d|passphrase|secret|token|credentials?|api[_-]?key|access[_-]?key|private[_-]?key)
    ["']?\s*[=:]\s* | (?<![\w-])(?:pass|cred|user|username|dom|domain|key)= | \bbearer\s+ |
    --[\w-]*(?:password|passphrase|secret|token)\s+)
    (?P<it>"[^"]*"|'[^']*'|[^\s,;"']+)""",
    re.IGNORECASE | re.VERBOSE,
)
_USER_IN_URL = re.compile(r"://(?P<it>[^/\s@]+)(?=@)")
_USER = re.compile(r"(?<![\w.+-])[\w.+-]+(?=@[\w\[])")
_HOME = re.compile(r"/(?:home|Users)/(?P<it>[^/\s:]+)")
# The server of a mount or a URL, and what follows a user's name.
_SERVER = re.compile(r"(?:://|(?<!\S)//|@)(?P<it>[\w.-]*\w)|(?<![\w/.:-])(?P<server>[\w.-]+)(?=:/(?!/))")
_HEX = "[0-9A-Fa-f]"
_MAC = re.compile(
    rf"(?<!\b{_HEX}{{2}}[:-])(?<![0-9A-Za-z]){_HEX}{{2}}(?P<sep>[:-])(?:{_HEX}{{2}}(?P=sep)){{4,18}}{_HEX}{{2}}(?![0-9A-Za-z])"
    rf"|(?<![0-9A-Za-z.]){_HEX}{{4}}(?:\.{_HEX}{{4}}){{2}}(?![0-9A-Za-z]|\.{_HEX})"
    rf"|(?<!{_HEX}){_HEX}{{12}}(?!{_HEX})"
)
_IPV6 = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_HEX}{{0,4}}:){{2,7}}(?:(?:\d{{1,3}}\.){{3}}\d{{1,3}}|{_HEX}{{1,4}})?(?![0-9A-Za-z])"
)
_IPV4 = re.compile(
    r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z]|\.\d)|(?<=\bip-)\d{1,3}(?:-\d{1,3}){3}(?![0-9A-Za-z])",
    re.ASCII,
)

# Where in a text something is to be replaced: start, end and what comes there.
_Span: TypeAlias = tuple[int, int, str]
_Finder: TypeAlias = Callable[[str], Iterable[_Span]]


def redacted(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot that is judged the same and names no host, address, MAC, user or credential of the original.

    Equal things become equal again, and networks stay networks; what was drawn for that is not kept, so two redactions
    of one snapshot differ.
    """
    redactor = _Redactor([*(node.identity.name for node in snapshot.nodes), *(one.name for one in snapshot.unseen)])
    return redactor.walk(snapshot, Rule.TEXT)


class _Redactor:
    """Redacts the strings of one snapshot, all with the same stand-ins."""

    def __init__(self, names: Iterable[str]) -> None:
        self._key = secrets.token_bytes(32)
        self._stand_ins: dict[str, dict[str, str]] = {}
        self._macs: dict[str, bytes] = {}
        self._done: dict[tuple[str, Rule], str] = {}
        names = tuple(names)
        self._nodes, self._domains = _hidden_names(names)
        self._longest = max((len(_SIGN.split(name)) for name in (*self._nodes, *self._domains)), default=1)
        # What no token can be; fewer letters would be found in the middle of anything.
        odd = [name for name in {*names, *self._nodes} if _ODD.search(name) and _as_address(name) is None]
        odd.sort(key=len, reverse=True)
        self._odd = re.compile("|".join(re.escape(name) for name in odd) or r"(?!)", re.IGNORECASE)

    def walk(self, value: T, rule: Rule | tuple[Rule, Rule]) -> T:
        """Return a value with its strings redacted: by the rules of the fields that hold them, else by `rule`."""
        result: Any = value
        if value in _OUR_OWN_WORDS:
            return value
        if isinstance(value, msgspec.Struct):
            rules = RULES.get(type(value), {})
            fields = {name: self.walk(getattr(value, name), rules.get(name, rule)) for name in value.__struct_fields__}
            result = msgspec.structs.replace(value, **fields)
            if isinstance(value, CalicoNode):
                env = ((name, self._variable(name, text) if text else text) for name, text in result.env)
                result = msgspec.structs.replace(result, env=tuple(env))
            if isinstance(value, KubeProxy):
                words = zip(("", *value.command), result.command, strict=False)
                result = msgspec.structs.replace(result, command=tuple(self._argument(*pair) for pair in words))
            if isinstance(value, NodeKind):
                result = _choosing_as_before(value, result)
        elif isinstance(value, tuple) and isinstance(rule, tuple):
            result = tuple((self.walk(first, rule[0]), self.walk(second, rule[1])) for first, second in value)
        elif isinstance(value, tuple):
            result = tuple(self.walk(item, rule) for item in value)
        elif isinstance(value, str) and not isinstance(value, Enum):
            rule = rule if isinstance(rule, Rule) else Rule.TEXT
            if (value, rule) not in self._done:
                self._done[value, rule] = self._string(value, rule)
            result = self._done[value, rule]
        elif not isinstance(value, Enum | int | float | datetime | None):
            raise TypeError(f"nothing is known of how to redact a {type(value).__name__}")
        return result  # type: ignore[no-any-return]

    def _string(self, text: str, rule: Rule) -> str:
        if rule is Rule.KEPT or not text:
            return text
        if rule is Rule.HIDDEN:
            return self._stand_in("hidden", text)
        if rule is Rule.NODE:
            return self._nodes[text.casefold()]
        if rule is Rule.NAMESPACE:
            before, sign, name = text.rpartition("docker/")
            return before + sign + self._stand_in("namespace", name)
        if rule is Rule.PROC_VERSION:
            return _BUILDER.sub(self._builder, text)
        if rule is Rule.CLUSTER:
            return text if text in _USUAL_CLUSTERS else self._stand_in("cluster", text)
        if rule is Rule.KEY:
            is_known = f".{text.partition('/')[0]}".endswith(_KNOWN_DOMAINS) or _USUAL_NAME.fullmatch(text)
            return text if is_known else self._stand_in("key", text)
        if rule is Rule.NAME:
            return "/".join(map(self._name, text.split("/")))
        if rule is Rule.COMMAND:
            return _OPTION.sub(self._option, self._text(text, is_lenient=False))
        if rule is Rule.IMAGE:
            registry, sign, name = text.rpartition("/")
            return (
                text
                if not registry or f"{registry}/".startswith(_PUBLIC_IMAGES)
                else self._stand_in("registry", registry) + sign + name
            )
        if rule is Rule.SERVER and (url := _URL.fullmatch(text)) and _as_address(url["host"]) is None:
            return f"{url['scheme'] or ''}{self._server_name(url['host'])}{url['rest'] or ''}"
        return self._text(text, is_lenient=rule is Rule.WORDS)

    def _text(self, text: str, *, is_lenient: bool) -> str:
        """Replace one kind of thing after the other; what is settled the later ones do not see."""
        finders: tuple[_Finder, ...] = (
            _by(_NAMESPACE, lambda name: self._stand_in("namespace", name)),
            _by(_API, lambda path: path),
            _by(_API_NAMESPACE, self._name),
            _by(_API_NAME, self._name),
            _by(_KERNEL_RELEASE, lambda path: path),
            _by(self._odd, lambda name: self._nodes.get(name.casefold())),
            _by(_CREDENTIAL, lambda secret: self._stand_in("hidden", secret)),
            _by(_USER_IN_URL, lambda secret: self._stand_in("hidden", secret)),
            _by(_USER, lambda user: self._stand_in("user", user)),
            _by(_HOME, lambda user: self._stand_in("user", user)),
            _by(_SERVER, self._server),
            lambda piece: self._hosts(piece, is_lenient=is_lenient, is_hex=False),
            _by(_MAC, self._mac),
            _by(_IPV6, self._ipv6),
            _by(_IPV4, self._ipv4),
            # Only now, as a host named "beef" or "10" must not be looked for inside of addresses.
            lambda piece: self._hosts(piece, is_lenient=is_lenient, is_hex=True),
        )
        pieces = [(text, False)]
        for find in finders:
            pieces = [new for piece in pieces for new in ((piece,) if piece[1] else _pieces(piece[0], find))]
        return "".join(piece for piece, _ in pieces)

    def _stand_in(self, what: str, original: str) -> str:
        """Return "user-1" and the like, in the order in which the originals come up."""
        of_kind = self._stand_ins.setdefault(what, {})
        return of_kind.setdefault(original, f"{what}-{len(of_kind) + 1}")

    def _builder(self, match: re.Match[str]) -> str:
        words = _GATE_WORDS.findall(match[2])
        return f"{match[1]}builder@{'.'.join([self._stand_in('host', match[2]), *words])})"

    def _variable(self, name: str, text: str) -> str:
        method, sign, value = text.partition("=")
        if name.endswith("AUTODETECTION_METHOD") and sign:
            return method + sign + self._stand_in("hidden", value)
        return self._stand_in("hidden", text) if _PRIVATE_VARIABLE.match(name) else text

    def _option(self, match: re.Match[str]) -> str:
        is_read = match["name"] in _READ_OPTIONS or (match["sign"] == " " and _is_program(match["value"]))
        return match[0] if is_read else match["name"] + match["sign"] + self._stand_in("hidden", match["value"])

    def _argument(self, before: str, word: str) -> str:
        """Return a word of a command, where an option's value may be a word of its own."""
        is_read = word.startswith("-") or before in _READ_OPTIONS or _is_program(word)
        is_read = is_read or not _NAME_ALONE.fullmatch(before)
        return word if is_read else self._stand_in("hidden", word)

    def _name(self, text: str) -> str:
        return text if _USUAL_NAME.fullmatch(text) else self._stand_in("name", text)

    def _server(self, name: str) -> str | None:
        is_known = any(True for is_hex in (False, True) for _ in self._hosts(name, is_lenient=False, is_hex=is_hex))
        return None if is_known or _as_address(name) else self._server_name(name)

    def _server_name(self, name: str) -> str:
        """Return a name that is judged as this one is: by whether it has a domain, and by what some domains mean."""
        folded = name.casefold().rstrip(".")
        if folded in self._nodes:
            return self._nodes[folded]
        if folded in _TELLING_SERVERS:
            return name
        suffix = next((suffix for suffix in _TELLING_SUFFIXES if folded.endswith(suffix)), "")
        domain = suffix or (".example.net" if "." in folded else "")
        return self._stand_in("host", folded) + domain

    def _hosts(self, text: str, *, is_lenient: bool, is_hex: bool) -> Iterator[_Span]:
        """Find the hidden names, those made of hexadecimal digits alone or the others."""
        for token in _TOKEN.finditer(text):
            is_in_path = text[token.start() - 1 : token.start()] == "/"
            for start, end, name, new in self._names_in(token[0]):
                is_ordinary = (is_lenient or is_in_path) and _is_ordinary(name)
                is_like_a_link = is_lenient and not is_in_path and start == 0 and _LIKE_A_LINK.match(name)
                if bool(_HEX_ONLY.fullmatch(name)) == is_hex and not is_ordinary and not is_like_a_link:
                    yield token.start() + start, token.start() + end, new

    def _names_in(self, token: str) -> Iterator[tuple[int, int, str, str]]:
        """Find names in words that dots, dashes and underscores join, the longest first: where, which, its stand-in."""
        bounds = [0, *(bound for sign in _SIGN.finditer(token) for bound in sign.span()), len(token)]
        starts, ends = bounds[::2], bounds[1::2]
        done = first = 0
        while first < len(starts):
            for last in range(min(len(ends), first + self._longest) - 1, first - 1, -1):
                start, end = starts[first], ends[last]
                name = token[start:end].casefold()
                if name in self._nodes:
                    # The rest of a fully qualified name tells as much as its beginning.
                    end = len(token) if _MORE_LABELS.fullmatch(token, end) else end
                    yield start, end, name, self._nodes[name]
                elif name in self._domains and end == len(token):
                    name = token[done:].casefold()
                    yield done, end, name, self._stand_in("host", name)
                else:
                    continue
                done, first = end, last if end < len(token) else len(starts)
                break
            first += 1

    # Addresses.

    def _mac(self, text: str) -> str | None:
        digits = re.sub("[:.-]", "", text).lower()
        if set(digits) in ({"0"}, {"f"}):
            return None
        if digits not in self._macs:
            drawn = secrets.token_bytes(len(digits) // 2)
            # Locally administered, and no multicast.
            self._macs[digits] = bytes((drawn[0] & 0xFC | 0x02, *drawn[1:]))
        new = iter(self._macs[digits].hex())
        return "".join(sign if sign in ":.-" else next(new) for sign in text)

    def _ipv6(self, text: str) -> str | None:
        for end in (len(text), len(text) - 1):
            address = _as_address(text[:end])
            if isinstance(address, IPv6Address):
                return self._address(address) + text[end:]
        return None

    def _ipv4(self, text: str) -> str | None:
        octets = [int(octet) for octet in re.split("[.-]", text)]
        if max(octets) > 255:
            return None
        new = self._address(IPv4Address(bytes(octets)))
        return new.replace(".", "-") if "-" in text else new

    def _address(self, address: _Address) -> str:
        for mapped in _OF_IPV4:
            if address in mapped:
                inner = IPv4Address(self._address(IPv4Address(int(address) & 0xFFFFFFFF)))
                return str(IPv6Address(int(mapped.network_address) | int(inner)))
        width, value = address.max_prefixlen, int(address)
        kept = next((kept for network, kept in _SPECIAL if address in network), 0)
        flipped = 0
        for bits in range(kept, width):
            prefix = value >> (width - bits)
            if (width, bits, prefix) not in _ABOVE_SPECIAL:
                # Whether a bit is flipped hangs on the bits before it alone, as in Crypto-PAn: addresses that share
                # their first n bits share the first n afterwards, and no more.
                words = f"{width} {bits} {prefix}".encode()
                flipped |= (hashlib.blake2b(words, key=self._key, digest_size=1).digest()[0] & 1) << (width - bits - 1)
        return str(type(address)(value ^ flipped))


def _is_program(word: str) -> bool:
    """Whether it is no value of an option, but what is run, behind an option that takes none."""
    return bool(_USUAL_NAME.fullmatch(word.rpartition("/")[2]))


def _by(pattern: re.Pattern[str], replace: Callable[[str], str | None]) -> _Finder:
    """Return what finds a pattern, or the named group in it, unless `replace` returns None for that."""

    def find(text: str) -> Iterator[_Span]:
        for match in pattern.finditer(text):
            group = match.lastgroup if match.lastgroup in ("it", "server") else 0
            new = replace(match[group])
            if new is not None:
                yield *match.span(group), new

    return find


def _pieces(text: str, find: _Finder) -> Iterator[tuple[str, bool]]:
    """Cut a text into what was found, replaced and settled (True), and the rest."""
    done = 0
    for start, end, new in find(text):
        yield text[done:start], False
        yield new, True
        done = end
    yield text[done:], False


def _hidden_names(names: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
    """Return the stand-in of each name, whole or short, and the domains that the names are in; all case-folded."""
    folded = dict.fromkeys(name.casefold() for name in names)
    shorts = {name: name.partition(".")[0] for name in folded if "." in name and _as_address(name) is None}
    taken = {*folded, *shorts.values()}
    nodes: dict[str, str] = {}
    number = 0
    for name in folded:
        number += 1
        while f"node-{number}" in taken:
            number += 1
        nodes[name] = f"node-{number}"
    for name, short in shorts.items():
        nodes.setdefault(short, nodes[name])
    domains = (name.partition(".")[2] for name in shorts)
    return nodes, frozenset(domain for domain in domains if "." in domain)


def _is_ordinary(name: str) -> bool:
    # The order of sysctl's files is read from their names.
    return name.isdecimal() or name.endswith(".conf") or _ORDINARY.issuperset(_SIGN.split(name))


def _as_address(text: str) -> _Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _choosing_as_before(old: NodeKind, new: NodeKind) -> NodeKind:
    """Return redacted facts in which Felix's patterns match the same interfaces as before.

    A pattern that names a part of a MAC or of a host's name would no longer match; it becomes a list of what it
    matched.
    """
    if not (isinstance(old.felix, Known) and isinstance(new.felix, Known)):
        return new
    if not (isinstance(old.links, Known) and isinstance(new.links, Known)):
        return new
    names = {
        name: after
        for link, redone in zip(old.links.value, new.links.value, strict=True)
        for name, after in zip((link.name, *link.lower), (redone.name, *redone.lower), strict=True)
    }
    changed: dict[str, str] = {}
    for field in _PATTERNS:
        pattern = getattr(old.felix.value, field)
        if pattern is None:
            continue
        try:
            matched = [after for name, after in names.items() if re.search(pattern, name)]
            still = [after for after in names.values() if re.search(getattr(new.felix.value, field), after)]
        except re.error:
            continue
        if matched != still:
            changed[field] = f"^({'|'.join(re.escape(after) for after in matched)})$"
    felix = msgspec.structs.replace(new.felix, value=msgspec.structs.replace(new.felix.value, **changed))
    return msgspec.structs.replace(new, felix=felix)
