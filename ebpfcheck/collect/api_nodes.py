"""Nodes as the API shows them: facts that many share, made once for all nodes alike."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address

import msgspec

from ebpfcheck.collect import wire
from ebpfcheck.model.cluster import NodeAddresses
from ebpfcheck.model.facts import (
    API_FACTS,
    NOT_SURVEYED,
    Absent,
    Fact,
    FelixSettings,
    Known,
    NodeIdentity,
    NodeKind,
    Reason,
    Unknown,
)
from ebpfcheck.model.snapshot import Node, NodeTraits
from ebpfcheck.model.text import excerpt

_SUBNETS_KEPT = 64
_MARKS_KEPT = 60
_ADDRESS = "projectcalico.org/IPv4Address"
_ADDRESS_V6 = "projectcalico.org/IPv6Address"
_ZONE = "topology.kubernetes.io/zone"
_ZONES = (_ZONE, "failure-domain.beta.kubernetes.io/zone")
_INSTANCE_TYPES = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_CONTROL_PLANES = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
# The labels by which those who make machines name the group that a machine was made for:
# https://docs.cloud.google.com/kubernetes-engine/docs/concepts/node-pools
# https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
# https://karpenter.sh/docs/concepts/nodepools/
# https://docs.aws.amazon.com/eks/latest/eksctl/nodegroup-managed.html
# https://learn.microsoft.com/en-us/azure/aks/use-labels
# https://github.com/kubernetes/kops/pull/3783
# https://github.com/openshift/hypershift/pull/1702
# Those of DigitalOcean, IBM Cloud, Linode and Gardener are as their nodes carry them. Cluster API puts its own on
# Machines, not on nodes: https://cluster-api.sigs.k8s.io/reference/api/labels-and-annotations
_POOLS = (
    "cloud.google.com/gke-nodepool", "eks.amazonaws.com/nodegroup", "karpenter.sh/nodepool",
    "alpha.eksctl.io/nodegroup-name", "kubernetes.azure.com/agentpool", "agentpool", "kops.k8s.io/instancegroup",
    "doks.digitalocean.com/node-pool", "ibm-cloud.kubernetes.io/worker-pool-name", "lke.linode.com/pool-id",
    "worker.gardener.cloud/pool", "hypershift.openshift.io/nodePool",
)  # fmt: skip
_LONGEST_NUMBER = 9

# Who puts labels and annotations on nodes that tell the platform: what their keys begin with. The values stay out, as
# they differ from node to node, but for those that tell something themselves.
_MARKS = re.compile(
    r"""(?:
      (?:[\w.-]+\.)?eks\.amazonaws\.com/ | alpha\.eksctl\.io/ | kubernetes\.azure\.com/ | cloud\.google\.com/gke |
      kops\.k8s\.io/ | k3s\.io/ | etcd\.k3s\.cattle\.io/ | (?:etcd\.)?rke2\.(?:cattle\.)?io/ | rke\.cattle\.io/ |
      node\.openshift\.io/ | machineconfiguration\.openshift\.io/ | machine\.openshift\.io/ |
      (?:[\w-]+\.)?talos\.dev/ | microk8s\.io/ | node\.kubernetes\.io/microk8s | doks\.digitalocean\.com/ |
      lke\.linode\.com/ | oci\.oraclecloud\.com/ | ibm-cloud\.kubernetes\.io/ | minikube\.k8s\.io/ | com\.docker\.ucp |
      run\.tanzu\.vmware\.com/ | harvesterhci\.io/ | kubeadm\.alpha\.kubernetes\.io/
    )""",
    re.VERBOSE,
)
_TELLING = {
    "eks.amazonaws.com/compute-type": None,
    "kubernetes.azure.com/managed": None,
    "node.openshift.io/os_id": None,
    "node.kubernetes.io/instance-type": ("k3s", "rke2"),
    "beta.kubernetes.io/instance-type": ("k3s", "rke2"),
    "type": ("virtual-kubelet",),
}


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """What nodes of one kind have in common."""

    info: wire.NodeInfo
    provider: str
    max_pods: str
    marks: tuple[str, ...]


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    """An IPv4 subnet by its first bits."""

    bits: int
    first: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One node, with the index of what it has in common with others."""

    identity: NodeIdentity
    alike: int
    traits: int
    subnet: Subnet | None = None
    """That of the address which calico-node found for it."""
    families: str = "none"
    """Those of its InternalIPs: ipv4, ipv6, dual, none."""
    zone: str = ""
    found: str = ""
    """Whether what calico-node found is among them: same, other; empty where it found none."""


class NodeReader:
    """Turns nodes into rows and remembers each distinct set of what they have in common once."""

    def __init__(self) -> None:
        self._alike: dict[Alike, int] = {}
        self._traits: dict[NodeTraits, int] = {}

    def row(self, node: wire.Node) -> Row:
        """Return the row of a node."""
        status, metadata = node.status or wire.NodeStatus(), node.metadata
        labels = metadata.labels or {}
        provider_id = (node.spec.provider_id if node.spec else None) or ""
        alike = Alike(
            info=status.node_info or wire.NodeInfo(),
            provider=_scheme(provider_id),
            max_pods=status.capacity.pods if status.capacity else "",
            marks=tuple(_marks(labels, metadata.annotations or {})),
        )
        traits = _traits(labels, status.conditions or ())
        ips = tuple(address.address for address in status.addresses or () if address.type == "InternalIP")
        return Row(
            identity=NodeIdentity(name=metadata.name, node_ips=ips),
            alike=self._alike.setdefault(alike, len(self._alike)),
            traits=self._traits.setdefault(traits, len(self._traits)),
            subnet=_subnet((metadata.annotations or {}).get(_ADDRESS)),
            families=_families(ips),
            zone=labels.get(_ZONE, ""),
            found=_found(ips, metadata.annotations or {}),
        )

    def fold(
        self, rows: Iterable[Row], felix: Fact[FelixSettings], felix_of: dict[str, FelixSettings], source: int
    ) -> tuple[tuple[NodeKind, ...], tuple[Node, ...]]:
        """Return the kinds of the nodes and the nodes; `felix_of` holds the settings of nodes that have their own."""
        # A list that was not read in time may still grow.
        rows = tuple(rows)
        distinct = tuple(self._alike)
        kinds: dict[NodeKind, int] = {}
        known: dict[tuple[int, FelixSettings | None], int] = {}
        nodes: list[Node] = []
        for row in rows:
            own = felix_of.get(row.identity.name)
            key = (row.alike, own)
            if key not in known:
                settings = felix if own is None else Known(value=own, source=felix.source or 0)
                kind = _kind(distinct[row.alike], settings, source)
                known[key] = kinds.setdefault(kind, len(kinds))
            nodes.append(Node(identity=row.identity, kind=known[key], surveyed=False, traits=row.traits))
        return tuple(kinds), tuple(nodes)

    def traits(self) -> tuple[NodeTraits, ...]:
        """Return the distinct traits that the nodes refer to."""
        return tuple(self._traits)


# Nodes of one kind carry the same keys.
@lru_cache(maxsize=4096)
def _firsts(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of the labels that tell instance type, pool, role and zone; empty where there is none."""
    kinds = (_INSTANCE_TYPES, _POOLS, _CONTROL_PLANES, _ZONES)
    return tuple(next((key for key in kind if key in keys), "") for kind in kinds)


def _traits(labels: dict[str, str], conditions: Iterable[wire.NodeCondition]) -> NodeTraits:
    instance_type, pool, control_plane, zone = _firsts(tuple(labels))
    ready = [condition.status for condition in conditions if condition.type == "Ready"]
    return NodeTraits(
        instance_type=labels.get(instance_type, ""),
        pool=labels.get(pool, ""),
        role="control-plane" if control_plane else "",
        zone=labels.get(zone, ""),
        is_ready=ready[0] == "True" if ready else None,
    )


def _kind(alike: Alike, felix: Fact[FelixSettings], source: int) -> NodeKind:
    def text(value: str) -> Fact[str]:
        return Known(value=value, source=source) if value else Absent(source=source)

    info = alike.info
    unseen = {name: NOT_SURVEYED for name in NodeKind.__struct_fields__ if name not in API_FACTS}
    return NodeKind(
        **unseen,
        kernel_release=text(info.kernel_version),
        arch=text(info.architecture),
        operating_system=text(info.operating_system),
        os_image=text(info.os_image),
        kubelet_version=text(info.kubelet_version),
        container_runtime=text(info.container_runtime_version),
        provider=text(alike.provider),
        max_pods=_number(alike.max_pods, source),
        platform_marks=Known(value=alike.marks, source=source),
        felix=felix,
    )


def _number(text: str, source: int) -> Fact[int]:
    if not text:
        return Absent(source=source)
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        return Unknown(reason=Reason.UNPARSABLE, detail=f"not a number of pods: {excerpt(text, 40)}", source=source)
    return Known(value=int(text), source=source)


def addresses(rows: Sequence[Row]) -> NodeAddresses:
    """Return of what families the nodes' addresses are, and whether calico-node found the same ones."""
    families = Counter(row.families for row in rows)
    return NodeAddresses(
        ipv4=families["ipv4"], ipv6=families["ipv6"], dual=families["dual"], none=families["none"],
        found=sum(1 for row in rows if row.found == "same"),
        other=sum(1 for row in rows if row.found == "other"),
    )  # fmt: skip


def zones(rows: Iterable[Row]) -> int:
    """Return in how many zones of a cloud or a data centre the nodes are, by their labels."""
    return len({row.zone for row in rows if row.zone})


def _families(ips: tuple[str, ...]) -> str:
    ipv6 = sum(1 for ip in ips if ":" in ip)
    if not ips:
        return "none"
    return "ipv4" if not ipv6 else "ipv6" if ipv6 == len(ips) else "dual"


def _found(ips: tuple[str, ...], annotations: dict[str, str]) -> str:
    """Return whether the addresses that calico-node found are among the node's own."""
    found = [annotations[key].partition("/")[0] for key in (_ADDRESS, _ADDRESS_V6) if annotations.get(key)]
    if not found:
        return ""
    return "same" if all(ip in ips for ip in found) else "other"


def subnets(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the distinct subnets of the nodes' addresses, up to a few dozen; ValueError if a node carries none."""
    found = Counter(row.subnet for row in rows)
    if found[None]:
        raise ValueError(f"{found[None]} nodes carry no address of calico-node's")
    return tuple(sorted(_shown(subnet) for subnet in found if subnet is not None)[:_SUBNETS_KEPT])


def _subnet(address: str | None) -> Subnet | None:
    """Return the subnet of ADDRESS/BITS; a Subnet, since a network made for each of many nodes takes its time."""
    host, _, length = (address or "").partition("/")
    try:
        ip, bits = IPv4Address(host), int(length or "32")
    except ValueError:
        return None
    return Subnet(bits=bits, first=int(ip) >> (32 - bits)) if 0 <= bits <= 32 else None


def _shown(subnet: Subnet) -> str:
    return f"{IPv4Address(subnet.first << (32 - subnet.bits))}/{subnet.bits}"


def _scheme(provider_id: str) -> str:
    scheme, sign, _ = provider_id.partition("://")
    # Oracle's has no scheme.
    oracle = "ocid1"
    return scheme[:40] if sign else oracle if provider_id.startswith(f"{oracle}.") else ""


# Nodes of one kind carry the same keys.
@lru_cache(maxsize=4096)
def _marked(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key for key in keys if _MARKS.match(key))


def _marks(labels: dict[str, str], annotations: dict[str, str]) -> Iterator[str]:
    found = {*_marked(tuple(labels)), *_marked(tuple(annotations))}
    for key, values in _TELLING.items():
        value = labels.get(key)
        if value is not None and (values is None or value in values):
            found.discard(key)
            found.add(f"{key}={value[:60]}")
    return iter(sorted(found)[:_MARKS_KEPT])
