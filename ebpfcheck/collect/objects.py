"""Objects of Kubernetes and Calico as facts."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from ebpfcheck.collect import wire
from ebpfcheck.model.cluster import Installation, IpPool, Marks, ServiceAddress, TigeraStatus
from ebpfcheck.model.text import host_port

_KUBE_PROXY = re.compile(r"(?:.*/)?(?:[\w.-]*-)?kube-proxy(?:-(?:amd64|arm64|ppc64le|s390x))?(?:[:@].*)?")
_MASTER = re.compile(r"--master[= ]([^\s'\"]+)")
# Variables of calico-node that are kept beside Felix's own.
_VARIABLES = (
    "CALICO_CGROUP_PATH", "CALICO_NETWORKING_BACKEND", "DATASTORE_TYPE", "ETCD_ENDPOINTS", "IP", "IP6",
    "IP_AUTODETECTION_METHOD", "IP6_AUTODETECTION_METHOD",
)  # fmt: skip
CALICO_NODES = ("calico-node", "canal", "rke2-canal")
"""The names of DaemonSets that run calico-node."""
_MANY_RESTARTS = 5
_LONGEST_MESSAGE = 1000
# Of a pod that is just being started.
_USUAL_WAITS = ("", "ContainerCreating", "PodInitializing")


def best_of(found: Iterable[wire.DaemonSet], names: Sequence[str], namespaces: Sequence[str]) -> wire.DaemonSet | None:
    """Return the DaemonSet of one of these names, those in the first of these namespaces first."""

    def rank(one: wire.DaemonSet) -> tuple[int, int]:
        namespace = one.metadata.namespace
        where = namespaces.index(namespace) if namespace in namespaces else len(namespaces)
        return where, names.index(one.metadata.name)

    return min((one for one in found if one.metadata.name in names), key=rank, default=None)


def is_observed(one: wire.DaemonSet) -> bool:
    """Whether a DaemonSet's status is about the template that it has now, as far as it says."""
    seen, made = one.status.observed_generation if one.status else None, one.metadata.generation
    return seen is None or made is None or seen >= made


def kube_proxies(found: Iterable[wire.DaemonSet]) -> list[wire.DaemonSet]:
    """Return the DaemonSets that run kube-proxy on Linux, whatever their names are."""
    specs = [(one, one.spec.template.spec) for one in found]
    return [
        one
        for one, spec in specs
        if _KUBE_PROXY.fullmatch(main_container(spec).image)
        and (spec.node_selector or {}).get("kubernetes.io/os") != "windows"
    ]


def calico_nodes_of(found: Iterable[wire.DaemonSet]) -> tuple[str, ...]:
    """Return the DaemonSets that run calico-node, each as NAMESPACE/NAME."""
    named = (one.metadata for one in found if one.metadata.name in CALICO_NODES)
    return tuple(sorted(f"{metadata.namespace}/{metadata.name}" for metadata in named))


def calico_container(node: wire.DaemonSet) -> wire.Container:
    """Return the container that runs calico-node."""
    containers = node.spec.template.spec.containers
    named = (one for one in containers if one.name == "calico-node")
    return next(named, containers[0] if containers else wire.Container())


def kept_variables(node: wire.DaemonSet) -> Iterator[wire.EnvVar]:
    """Return the variables of calico-node that are kept as facts."""
    for variable in calico_container(node).env or ():
        if variable.name.upper().startswith("FELIX_") or variable.name in _VARIABLES:
            yield variable


def main_container(spec: wire.PodSpec) -> wire.Container:
    """Return the first container of a pod."""
    return spec.containers[0] if spec.containers else wire.Container()


def command_of(spec: wire.PodSpec) -> tuple[str, ...]:
    """Return the command and arguments of a pod's first container."""
    return (*(main_container(spec).command or ()), *(main_container(spec).args or ()))


def masters_of(specs: Iterable[wire.PodSpec]) -> tuple[str, ...]:
    """Return the API servers that the arguments of pods name."""
    return tuple(dict.fromkeys(url for spec in specs for url in _MASTER.findall(" ".join(command_of(spec)))))


class CalicoPod(msgspec.Struct, frozen=True):
    """What is kept of a pod of calico-node."""

    image: str = ""
    start: datetime | None = None
    is_ready: bool = False
    is_restarted: bool = False
    waiting: tuple[str, ...] = ()
    init_exits: tuple[tuple[str, int], ...] = ()


def calico_pod(pod: wire.CalicoPod) -> CalicoPod:
    """Return what is kept of a pod of calico-node."""
    status = pod.status or wire.PodStatus()
    containers, inits = status.container_statuses or (), status.init_container_statuses or ()
    return CalicoPod(
        image=next((one.image for one in pod.spec.containers if one.name == "calico-node"), ""),
        start=status.start_time,
        is_ready=bool(containers) and all(one.ready for one in containers),
        is_restarted=any(one.restart_count >= _MANY_RESTARTS for one in (*containers, *inits)),
        waiting=waits_of((*containers, *inits)),
        init_exits=tuple((one.name, code) for one in inits if (code := exit_code_of(one))),
    )


def waits_of(statuses: Iterable[wire.ContainerStatus]) -> tuple[str, ...]:
    """Return why containers wait, but for what they wait for while they are just being started."""
    reasons = (one.state.waiting.reason for one in statuses if one.state.waiting is not None)
    return tuple(dict.fromkeys(reason for reason in reasons if reason not in _USUAL_WAITS))


def exit_code_of(status: wire.ContainerStatus) -> int:
    """Return how an init container ended, now or, while it waits for its next try, the last time."""
    ended = status.state.terminated or status.last_state.terminated
    return ended.exit_code if ended else 0


def config_maps_of(proxy: wire.DaemonSet) -> list[str]:
    """Return the names of the ConfigMaps that a DaemonSet mounts."""
    return [
        volume.config_map.name
        for volume in proxy.spec.template.spec.volumes or ()
        if volume.config_map is not None and volume.config_map.name
    ]


def marks_of(metadata: wire.Metadata) -> Marks:
    """Return what an object carries that tells who looks after it."""
    return Marks(
        labels=tuple(sorted((metadata.labels or {}).items())),
        annotations=tuple(sorted(metadata.annotations or {})),
        managers=tuple(dict.fromkeys(field.manager for field in metadata.managed_fields or ())),
        owners=tuple(dict.fromkeys(owner.kind for owner in metadata.owner_references or ())),
    )


def installation_of(found: wire.Installation) -> Installation:
    """Return what is asked for; what the operator has filled in by itself stands for what is not."""
    status = found.status or wire.InstallationStatus()
    specs = [found.spec, *([status.computed] if status.computed else [])]
    networks = [spec.calico_network for spec in specs if spec.calico_network is not None]

    def first(values: Iterable[str | None]) -> str | None:
        return next((value for value in values if value), None)

    def method(found: Iterable[wire.Autodetection | None]) -> str | None:
        return next((_method(one) for one in found if one is not None), None)

    listed = next((network.ip_pools for network in networks if network.ip_pools is not None), None)
    return Installation(
        variant=first(spec.variant for spec in specs),
        kubernetes_provider=first(spec.kubernetes_provider for spec in specs),
        non_privileged=first(spec.non_privileged for spec in specs),
        host_ports=first(network.host_ports for network in networks),
        pools=None if listed is None else tuple(pool.cidr for pool in listed),
        autodetection_v4=method(network.node_address_autodetection_v4 for network in networks),
        autodetection_v6=method(network.node_address_autodetection_v6 for network in networks),
        marks=marks_of(found.metadata),
        cni_type=first(spec.cni.type for spec in specs if spec.cni is not None),
        linux_dataplane=first(network.linux_dataplane for network in networks),
        bgp=first(network.bgp for network in networks),
        bpf_network_bootstrap=first(network.bpf_network_bootstrap for network in networks),
        kube_proxy_management=first(network.kube_proxy_management for network in networks),
        calico_version=status.calico_version or None,
    )


def _method(given: wire.Autodetection) -> str:
    """Return the method that is chosen, as the operator counts them; empty where none is."""
    chosen = {
        "firstFound": given.first_found,
        "kubernetes": given.kubernetes,
        "interface": given.interface,
        "skipInterface": given.skip_interface,
        "canReach": given.can_reach,
        "cidrs": given.cidrs,
    }
    return next((name for name, value in chosen.items() if value), "")


def tigera_status_of(found: wire.TigeraStatus) -> TigeraStatus:
    """Return what the operator says of a component."""
    conditions = {one.type: one for one in (found.status.conditions if found.status else None) or ()}
    words = {"True": True, "False": False}

    def state(name: str) -> bool | None:
        return words.get(conditions[name].status) if name in conditions else None

    telling = next(
        (conditions[name] for name in ("Degraded", "Progressing") if state(name)),
        wire.Condition(),
    )
    return TigeraStatus(
        name=found.metadata.name,
        available=state("Available"),
        progressing=state("Progressing"),
        degraded=state("Degraded"),
        reason=telling.reason,
        message=telling.message[:_LONGEST_MESSAGE],
    )


def pool_of(found: wire.IpPool) -> IpPool:
    """Return an IPPool as a fact."""
    spec = found.spec
    return IpPool(
        name=found.metadata.name,
        cidr=spec.cidr,
        ipip_mode=spec.ipip_mode or "Never",
        vxlan_mode=spec.vxlan_mode or "Never",
        nat_outgoing=spec.nat_outgoing or False,
        disabled=spec.disabled or False,
    )


def service_address(found: wire.Service) -> ServiceAddress:
    """Return the addresses and the port of a Service; ValueError if it has none."""
    spec = found.spec
    ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    if not ips or not spec.ports:
        raise ValueError("it has no ClusterIP or no port")
    return ServiceAddress(cluster_ips=ips, port=spec.ports[0].port, uid=found.metadata.uid)


def addresses_of_slices(slices: Iterable[wire.EndpointSlice]) -> Iterable[str]:
    """Return the ready addresses of EndpointSlices as HOST:PORT."""
    for one in slices:
        port = _https(one.ports)
        for endpoint in one.endpoints or ():
            # Where it does not say, it counts as ready.
            if endpoint.conditions is None or endpoint.conditions.ready is not False:
                yield from (host_port(address, port) for address in endpoint.addresses)


def addresses_of_endpoints(found: wire.Endpoints) -> Iterable[str]:
    """Return the ready addresses of Endpoints as HOST:PORT."""
    for subset in found.subsets or ():
        yield from (host_port(address.ip, _https(subset.ports)) for address in subset.addresses or ())


def _https(ports: Sequence[wire.EndpointPort] | None) -> int:
    numbers = [port.port for port in ports or () if port.name in ("https", None, "")]
    return next((number for number in numbers if number), 443)
