"""What Services, workloads and policies ask for: each as a short row when its page comes in, summed up at the end."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from ebpfcheck.collect import wire
from ebpfcheck.model.cluster import (
    AddOn,
    CalicoPolicies,
    Deployment,
    DnsService,
    Guests,
    HostEndpoints,
    NetworkPolicies,
    NodeLocalDns,
    Services,
    Users,
    Workloads,
)

_EXAMPLES = 5
_SCTP = ("SCTP", 132, "132")

# Workloads that concern Services, the network or BPF: by what each is known, and how it may be named.
_PROGRAMS = {
    "istiod": r"istiod(?:-.+)?",
    "ztunnel": r"ztunnel",
    "linkerd": r"linkerd-destination",
    "kuma": r"kuma-control-plane",
    "consul": r"(?:.+-)?consul-connect-injector",
    "metallb": r"(?:.*metallb-)?speaker",
    "kube-vip": r"kube-vip(?:-.+)?",
    "klipper-lb": r"svclb-.+",
    "aws-load-balancer-controller": r"aws-load-balancer-controller",
    "multus": r"(?:.+-)?multus(?:-.+)?",
    "kubevirt": r"virt-handler",
    "cilium": r"cilium",
    "beyla": r"(?:.+-)?beyla",
    "datadog": r"(?:.+-)?datadog(?:-agent)?",
    "netobserv": r"netobserv-ebpf-agent",
    "kmesh": r"kmesh",
    "retina": r"retina-agent",
    "kubeshark": r"kubeshark-worker.*",
}
_PROGRAM = re.compile("|".join(f"(?P<p{index}>{regex})" for index, regex in enumerate(_PROGRAMS.values())))
_NAMES = tuple(_PROGRAMS)
# Deployments of Calico's own that are judged, by the names that both kinds of installs give them.
_CALICO = ("calico-typha",)
_NODE_LOCAL_DNS = re.compile(r"node-?local-?dns(?:-?cache)?")
_DNS_CACHE = "k8s-dns-node-cache"
_DNS_NAMESPACES = ("kube-system", "openshift-dns")
_DNS_PORT = 53
_NAT_EXCLUDE = "projectcalico.org/natExcludeService"
_EXTERNAL_STRATEGY = "lb.projectcalico.org/external-traffic-strategy"
_ANNOTATIONS = {
    "floating_ips": "cni.projectcalico.org/floatingIPs",
    "source_prefixes": "cni.projectcalico.org/allowedSourcePrefixes",
    "extra_networks": "k8s.v1.cni.cncf.io/networks",
}
_BY_KUBE_CONTROLLERS = ("projectcalico.org/created-by", "calico-kube-controllers")


class Row(msgspec.Struct, frozen=True):
    """One object: its name, and what of all that is looked for it asks for."""

    name: str = ""
    tags: tuple[str, ...] = ()


class WorkloadRow(Row, frozen=True):
    """A workload, with what more it is where it is known."""

    add_on: AddOn | None = None
    own: Deployment | None = None
    """It as one of Calico's own."""


class ServiceRow(Row, frozen=True):
    """A Service."""

    ports: int = 0
    addresses: int = 0
    node_ports: int = 0
    dns: DnsService | None = None


# Most objects ask for none of it, and then nothing of them is kept.
_NOTHING = Row()
_NO_WORKLOAD = WorkloadRow()


def users(rows: Iterable[Row], tag: str) -> Users:
    """Return the objects that carry a tag."""
    names = sorted(row.name for row in rows if tag in row.tags)
    return Users(count=len(names), examples=tuple(names[:_EXAMPLES]))


def _row(name: str, tags: tuple[str, ...]) -> Row:
    return Row(name, tags) if tags else _NOTHING


def _full_name(metadata: wire.BriefMetadata | wire.Metadata | wire.ServiceMetadata) -> str:
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


# Workloads and pods.


def _asked(
    metadata: wire.TemplateMetadata | wire.BriefMetadata | None, spec: wire.PodSpec | wire.BriefPodSpec
) -> Iterator[str]:
    annotations = (metadata.annotations if metadata else None) or {}
    ports = [port for container in spec.containers for port in container.ports or ()]
    # On the host's network each port is a host port, and no CNI plugin has to do with it.
    if not spec.host_network and any(port.host_port for port in ports):
        yield "host_ports"
    if any(port.protocol in _SCTP for port in ports):
        yield "sctp"
    yield from (tag for tag, key in _ANNOTATIONS.items() if annotations.get(key))


def _add_on(namespace: str, name: str) -> AddOn | None:
    match = _PROGRAM.fullmatch(name)
    if match is None or match.lastgroup is None:
        return None
    return AddOn(program=_NAMES[int(match.lastgroup.removeprefix("p"))], namespace=namespace, name=name)


def workload_row(found: wire.Workload) -> WorkloadRow:
    """Return the row of a Deployment or a StatefulSet."""
    metadata, spec = found.metadata, found.spec.template
    tags = tuple(_asked(spec.metadata, spec.spec))
    add_on = _add_on(metadata.namespace, metadata.name)
    own = deployment_of(found) if metadata.name in _CALICO else None
    if not tags and add_on is None and own is None:
        return _NO_WORKLOAD
    return WorkloadRow(_full_name(metadata), tags, add_on, own)


def daemon_set_row(found: wire.DaemonSet) -> WorkloadRow:
    """Return the row of a DaemonSet."""
    metadata, spec = found.metadata, found.spec.template
    tags = tuple(_asked(spec.metadata, spec.spec))
    return WorkloadRow(_full_name(metadata), tags, _add_on(metadata.namespace, metadata.name))


def pod_row(found: wire.BriefPod) -> Row:
    """Return the row of a pod."""
    tags = tuple(_asked(found.metadata, found.spec))
    return _row(_full_name(found.metadata), tags)


def workloads_of(rows: Iterable[Row]) -> Workloads:
    """Return what workloads or pods ask for together."""
    rows = tuple(rows)
    tags = ("host_ports", "sctp", "floating_ips", "source_prefixes", "extra_networks")
    return Workloads(count=len(rows), **{tag: users(rows, tag) for tag in tags})


def deployment_of(found: wire.Workload) -> Deployment:
    """Return a Deployment that Calico needs as a fact."""
    containers = found.spec.template.spec.containers
    return Deployment(
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        image=containers[0].image if containers else "",
        desired=1 if found.spec.replicas is None else found.spec.replicas,
        available=found.status.available_replicas if found.status else None,
    )


def node_local_dns(found: Iterable[wire.DaemonSet]) -> tuple[NodeLocalDns, ...]:
    """Return the DaemonSets of NodeLocal DNSCache."""
    return tuple(
        NodeLocalDns(
            namespace=one.metadata.namespace,
            name=one.metadata.name,
            local_ips=tuple(_local_ips(one.spec.template.spec.containers)),
        )
        for one in found
        if _NODE_LOCAL_DNS.fullmatch(one.metadata.name)
        or any(_DNS_CACHE in container.image for container in one.spec.template.spec.containers)
    )


def _local_ips(containers: Iterable[wire.Container]) -> Iterator[str]:
    for container in containers:
        for word, following in pairwise((*(container.command or ()), *(container.args or ()), "")):
            name, sign, value = word.lstrip("-").partition("=")
            if name == "localip":
                yield from (ip.strip() for ip in (value if sign else following).split(",") if ip.strip())


# Services.


def service_row(found: wire.Service) -> ServiceRow:
    """Return the row of a Service."""
    metadata, spec = found.metadata, found.spec
    ips = tuple(ip for ip in spec.cluster_ips or (spec.cluster_ip,) if ip and ip != "None")
    balanced = found.status.load_balancer.ingress if found.status and found.status.load_balancer else None
    others = (*(spec.external_ips or ()), *(ingress.ip for ingress in balanced or () if ingress.ip))
    ports = spec.ports or ()
    return ServiceRow(
        _full_name(metadata),
        tuple(_of_service(metadata.annotations or {}, spec, ips)),
        ports=len(ports) if ips else 0,
        addresses=len(ports) * (len(ips) + len(others)),
        node_ports=sum(1 for port in ports if port.node_port),
        dns=_dns(metadata, spec, ips),
    )


def _of_service(annotations: dict[str, str], spec: wire.ServiceSpec, ips: tuple[str, ...]) -> Iterator[str]:
    has_node_ports = any(port.node_port for port in spec.ports or ())
    asked = {
        "load_balancers": spec.type == "LoadBalancer",
        "of_node_ports": has_node_ports,
        "external_local": spec.external_traffic_policy == "Local",
        "health_checked": bool(spec.health_check_node_port),
        "internal_local": spec.internal_traffic_policy == "Local",
        "traffic_distribution": bool(spec.traffic_distribution),
        "maglev": annotations.get(_EXTERNAL_STRATEGY, "").lower() == "maglev",
        # Without an address of its own nobody balances what goes to it.
        "sctp": bool(ips) and any(port.protocol in _SCTP for port in spec.ports or ()),
        "ipv6": any(":" in ip for ip in ips),
    }
    return (tag for tag, is_so in asked.items() if is_so)


def _dns(metadata: wire.ServiceMetadata, spec: wire.ServiceSpec, ips: tuple[str, ...]) -> DnsService | None:
    if metadata.namespace not in _DNS_NAMESPACES or not ips or all(port.port != _DNS_PORT for port in spec.ports or ()):
        return None
    return DnsService(
        namespace=metadata.namespace,
        name=metadata.name,
        cluster_ips=ips,
        nat_exclude=(metadata.annotations or {}).get(_NAT_EXCLUDE),
    )


def services_of(rows: Iterable[ServiceRow]) -> Services:
    """Return what the Services ask for together."""
    rows = tuple(rows)
    tags = (
        "load_balancers", "of_node_ports", "external_local", "health_checked", "internal_local", "traffic_distribution",
        "maglev", "sctp", "ipv6",
    )  # fmt: skip
    return Services(
        count=len(rows),
        ports=sum(row.ports for row in rows),
        addresses=sum(row.addresses for row in rows),
        node_ports=sum(row.node_ports for row in rows),
        **{tag: users(rows, tag) for tag in tags},
    )


# Policies and host endpoints.


def calico_policy_row(found: wire.CalicoPolicy) -> Row:
    """Return the row of a policy of Calico's."""
    spec = found.spec or wire.CalicoPolicySpec()
    rules = (*(spec.ingress or ()), *(spec.egress or ()))
    asked = {
        "sctp": any(rule.protocol in _SCTP for rule in rules),
        "log": any(rule.action == "Log" for rule in rules),
        "do_not_track": spec.do_not_track,
    }
    return _row(_full_name(found.metadata), tuple(tag for tag, is_so in asked.items() if is_so))


def calico_policies_of(rows: Iterable[Row]) -> CalicoPolicies:
    """Return what Calico's policies ask for together."""
    rows = tuple(rows)
    tags = ("sctp", "log", "do_not_track")
    return CalicoPolicies(count=len(rows), **{tag: users(rows, tag) for tag in tags})


def network_policy_row(found: wire.NetworkPolicy) -> Row:
    """Return the row of a policy of Kubernetes'."""
    spec = found.spec or wire.NetworkPolicySpec()
    rules = (*(spec.ingress or ()), *(spec.egress or ()))
    is_sctp = any(port.protocol in _SCTP for rule in rules for port in rule.ports or ())
    return _row(_full_name(found.metadata), ("sctp",) if is_sctp else ())


def network_policies_of(rows: Iterable[Row]) -> NetworkPolicies:
    """Return what Kubernetes' policies ask for together."""
    rows = tuple(rows)
    return NetworkPolicies(count=len(rows), sctp=users(rows, "sctp"))


def host_endpoint_row(found: wire.HostEndpoint) -> Row:
    """Return the row of a HostEndpoint."""
    key, maker = _BY_KUBE_CONTROLLERS
    is_own = (found.metadata.labels or {}).get(key) != maker
    return Row(found.metadata.name, ("own",) if is_own else ())


def host_endpoints_of(rows: Iterable[Row]) -> HostEndpoints:
    """Return the HostEndpoints of others, and how many calico-kube-controllers made."""
    rows = tuple(rows)
    own = users(rows, "own")
    return HostEndpoints(automatic=len(rows) - own.count, own=own)


# KubeVirt and meshes.


def guest_row(found: wire.Guest) -> Row:
    """Return the row of a virtual machine."""
    on_pod_network = {network.name for network in found.spec.networks or () if network.pod is not None}
    interfaces = found.spec.domain.devices.interfaces or ()
    is_bridged = any(one.bridge is not None and one.name in on_pod_network for one in interfaces)
    return _row(_full_name(found.metadata), ("bridged",) if is_bridged else ())


def guests_of(rows: Iterable[Row]) -> Guests:
    """Return the virtual machines together."""
    rows = tuple(rows)
    return Guests(count=len(rows), bridged=users(rows, "bridged"))


def mesh_of(found: wire.Namespace) -> str:
    """Return the mesh that a namespace's pods join, or nothing."""
    labels, annotations = found.metadata.labels or {}, found.metadata.annotations or {}
    joins = {
        "istio-ambient": labels.get("istio.io/dataplane-mode") == "ambient",
        "kmesh": labels.get("istio.io/dataplane-mode") == "Kmesh",
        "istio": labels.get("istio-injection") == "enabled" or bool(labels.get("istio.io/rev")),
        "linkerd": annotations.get("linkerd.io/inject") in ("enabled", "ingress"),
        "kuma": labels.get("kuma.io/sidecar-injection") in ("enabled", "true"),
        "consul": labels.get("connect-inject") == "enabled",
    }
    return next((mesh for mesh, does in joins.items() if does), "")
