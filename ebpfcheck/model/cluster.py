"""What is known of a cluster."""

from datetime import datetime
from typing import Literal

import msgspec

from ebpfcheck.model.facts import NOT_COLLECTED, Fact, FelixSettings, Install, Reason, Unknown


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What an object carries that tells who looks after it."""

    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[str, ...] = ()
    """The keys of its annotations."""
    managers: tuple[str, ...] = ()
    """Who has written its fields, as managedFields names them."""
    owners: tuple[str, ...] = ()
    """The kinds of its owners."""


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that use something: how many, and the first few by name (NAMESPACE/NAME, or NAME where there is none)."""

    count: int = 0
    examples: tuple[str, ...] = ()


class CalicoNode(msgspec.Struct, frozen=True, kw_only=True):
    """The DaemonSet that runs calico-node."""

    namespace: str
    name: str
    image: str
    desired: int = 0
    updated: int = 0
    available: int = 0
    is_observed: bool = True
    """Whether its status is about the template that it has now."""
    env: tuple[tuple[str, str | None], ...] = ()
    """The variables of its container that concern Felix, the datastore and the node's address, upper-cased; None where
    one could not be followed."""
    service_host: str | None = None
    """What its container is given as KUBERNETES_SERVICE_HOST; None where that is left to kubelet."""
    dns_policy: str | None = None
    env_from: tuple[str, ...] = ()
    """What its containers take all variables from: configmap/NAME, secret/NAME."""
    init_containers: tuple[str, ...] = ()
    host_paths: tuple[str, ...] | None = None
    """The paths of the node that its volumes are, below /sys, /proc and /run; None where they were not looked for, as
    by an older version."""
    is_privileged: bool | None = None
    """Whether its main container may do everything."""
    container: str = "calico-node"
    """The name of its main container."""
    template_generation: str | None = None
    """The number of its template, by which its pods are labelled too; None where it does not say."""
    marks: Marks = Marks()


class InitExit(msgspec.Struct, frozen=True, kw_only=True):
    """An init container that ended with an error, and did not end well since."""

    container: str
    code: int
    pods: int
    """In how many pods it did."""


class CalicoPods(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of the calico-node DaemonSet."""

    images: tuple[tuple[str, int], ...] = ()
    """The images of calico-node and how many pods run each."""
    oldest_start: datetime | None = None
    ready: int | None = None
    """How many of them are ready; None where that was not looked for."""
    restarted: int = 0
    """How many of them have been restarted five times or more."""
    waiting: tuple[tuple[str, int], ...] = ()
    """Why containers wait (CrashLoopBackOff, ImagePullBackOff, ...), and in how many pods."""
    init_exits: tuple[InitExit, ...] = ()


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment that Calico needs; None where its status does not say."""

    namespace: str
    name: str
    image: str
    desired: int | None = None
    available: int | None = None


class TigeraStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of a component; None for a condition that it does not give."""

    name: str
    available: bool | None = None
    progressing: bool | None = None
    degraded: bool | None = None
    reason: str = ""
    message: str = ""
    """Why it is degraded, or else what it waits for."""


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator's Installation asks for; None where it is not set."""

    variant: str | None = None
    kubernetes_provider: str | None = None
    non_privileged: str | None = None
    cni_type: str | None = None
    host_ports: str | None = None
    pools: tuple[str, ...] | None = None
    """The ranges of the IP pools that it lists."""
    autodetection_v4: str | None = None
    """By what the operator tells calico-node to find its IPv4 address: firstFound, kubernetes, interface,
    skipInterface, canReach or cidrs; empty where the setting is there and names no method."""
    autodetection_v6: str | None = None
    linux_dataplane: str | None = None
    bgp: str | None = None
    bpf_network_bootstrap: str | None = None
    kube_proxy_management: str | None = None
    calico_version: str | None = None
    """The release that the operator says it has installed."""
    marks: Marks = Marks()


class FelixObject(msgspec.Struct, frozen=True, kw_only=True):
    """The FelixConfiguration named default."""

    settings: FelixSettings
    operator_bpf_enabled: str | None = None
    """The annotation by which the operator remembers what it set bpfEnabled to."""
    metrics_enabled: bool | None = None
    """Whether Felix is to serve metrics; None where it is not set."""
    metrics_port: int | None = None
    marks: Marks = Marks()


class IpPool(msgspec.Struct, frozen=True, kw_only=True):
    """An IPPool."""

    name: str
    cidr: str
    ipip_mode: str = "Never"
    vxlan_mode: str = "Never"
    nat_outgoing: bool = False
    disabled: bool = False


class Bgp(msgspec.Struct, frozen=True, kw_only=True):
    """How Calico speaks BGP."""

    mesh: bool = True
    """Whether each node peers with every other."""
    peers: int = 0
    """How many BGPPeers there are."""


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The Service default/kubernetes."""

    cluster_ips: tuple[str, ...]
    port: int
    uid: str = ""
    """What no other cluster has; empty where it was not read, as by an older version."""


class EndpointOverride(msgspec.Struct, frozen=True, kw_only=True):
    """A ConfigMap kubernetes-services-endpoint, or one that is named almost so; None for a key that it lacks."""

    namespace: str
    name: str
    host: str | None = None
    port: str | None = None
    pod_host: str | None = None
    pod_port: str | None = None
    changed_at: datetime | None = None
    marks: Marks = Marks()


class Kubeadm(msgspec.Struct, frozen=True, kw_only=True):
    """kubeadm's ClusterConfiguration."""

    cluster_name: str = ""
    control_plane_endpoint: str = ""
    pod_subnet: str = ""
    service_subnet: str = ""


class KubeProxy(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy as the API shows it."""

    namespace: str
    name: str
    runs_as: Literal["daemonset", "static pods"]
    image: str = ""
    command: tuple[str, ...] = ()
    """Its command and arguments, of one of the pods where they are static."""
    masters: tuple[str, ...] = ()
    """The API servers that its arguments name (--master), of all pods where they are static."""
    node_selector: tuple[tuple[str, str], ...] = ()
    desired: int | None = 0
    """How many pods there should be; None where its status does not say, or is of an older template."""
    available: int | None = None
    """How many of them are available; None where that is not known, as of static pods."""
    misplaced: int | None = None
    """How many pods are still on nodes that they should not be on; None where that is not known."""
    marks: Marks = Marks()


class KubeProxyConfig(msgspec.Struct, frozen=True, kw_only=True):
    """kube-proxy's configuration from its ConfigMaps; None where they do not say."""

    config_maps: tuple[str, ...] = ()
    """Each as NAMESPACE/NAME."""
    mode: str | None = None
    cluster_cidr: str | None = None
    healthz_bind_address: str | None = None
    server: str | None = None
    """The URL of the API server in its kubeconfig."""


class OpenShift(msgspec.Struct, frozen=True, kw_only=True):
    """OpenShift's own configuration of the cluster; None where it is not set."""

    api_internal_url: str | None = None
    deploy_kube_proxy: bool | None = None


class NodeAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes' InternalIPs beside the addresses that calico-node found: how many nodes of each sort."""

    ipv4: int = 0
    """Those with an IPv4 InternalIP alone."""
    ipv6: int = 0
    dual: int = 0
    none: int = 0
    found: int = 0
    """Those for which calico-node found an address of a family that they have an InternalIP of."""
    other: int = 0
    """Those for which the address that it found is none of their InternalIPs."""


class DnsService(msgspec.Struct, frozen=True, kw_only=True):
    """The Service of the cluster's DNS."""

    namespace: str
    name: str
    cluster_ips: tuple[str, ...]
    nat_exclude: str | None = None
    """The annotation that takes it out of Calico's load balancing; None where it has none."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The Services of the cluster, summed up."""

    count: int = 0
    ports: int = 0
    """The ports of all Services that have a ClusterIP."""
    addresses: int = 0
    """The addresses (ClusterIPs, external ones, those of load balancers) of all, times their ports."""
    node_ports: int = 0
    load_balancers: Users = Users()
    of_node_ports: Users = Users()
    """Those with node ports, load balancers included."""
    external_local: Users = Users()
    """Those whose externalTrafficPolicy is Local."""
    health_checked: Users = Users()
    """Those with a port at which load balancers ask nodes for endpoints (healthCheckNodePort)."""
    internal_local: Users = Users()
    traffic_distribution: Users = Users()
    maglev: Users = Users()
    """Those that ask for Maglev by Calico's annotation."""
    sctp: Users = Users()
    """Those with a ClusterIP and SCTP ports."""
    ipv6: Users = Users()
    """Those with an IPv6 ClusterIP."""


class Workloads(msgspec.Struct, frozen=True, kw_only=True):
    """What DaemonSets, Deployments and StatefulSets, or pods, ask for."""

    count: int = 0
    host_ports: Users = Users()
    """Those that are not on the host's network and have host ports."""
    sctp: Users = Users()
    floating_ips: Users = Users()
    source_prefixes: Users = Users()
    extra_networks: Users = Users()
    """Those that ask Multus for networks of their own."""


class AddOn(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that is known to concern Services, the network or BPF."""

    program: str
    """By what it is known, such as istiod."""
    namespace: str
    name: str


class NodeLocalDns(msgspec.Struct, frozen=True, kw_only=True):
    """The DaemonSet of NodeLocal DNSCache."""

    namespace: str
    name: str
    local_ips: tuple[str, ...] = ()
    """The addresses that it takes on each node (-localip)."""


class CalicoPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """Calico's own policies, summed up."""

    count: int = 0
    sctp: Users = Users()
    log: Users = Users()
    do_not_track: Users = Users()


class NetworkPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """Kubernetes' policies, summed up."""

    count: int = 0
    sctp: Users = Users()


class HostEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Calico's HostEndpoints: those that calico-kube-controllers made, and those of others."""

    automatic: int = 0
    own: Users = Users()


class Guests(msgspec.Struct, frozen=True, kw_only=True):
    """The virtual machines of KubeVirt that run."""

    count: int = 0
    bridged: Users = Users()
    """Those that are bridged to the pod network."""


SCAN_NOT_ASKED = Unknown(
    reason=Reason.NOT_COLLECTED, detail="pods of the whole cluster are read with --scan-pods alone"
)


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the cluster."""

    context: Fact[str] = NOT_COLLECTED
    """The kubeconfig's context; Absent inside of the cluster."""
    server: Fact[str] = NOT_COLLECTED
    """The URL by which the API server was reached."""
    server_version: Fact[str] = NOT_COLLECTED
    api_groups: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The API groups that are served."""
    missing_rights: Fact[tuple[str, ...]] = NOT_COLLECTED
    """What of the rights in `ebpfcheck rbac` the API server says this account lacks."""
    node_count: Fact[int] = NOT_COLLECTED
    """How many nodes there are, where the list could be read whole."""
    node_subnets: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The subnets of the nodes' addresses, as calico-node found them (annotation projectcalico.org/IPv4Address)."""
    node_addresses: Fact[NodeAddresses] = NOT_COLLECTED
    zones: Fact[int] = NOT_COLLECTED
    """In how many zones the nodes are, as labels tell (topology.kubernetes.io/zone)."""
    pod_count: Fact[int] = NOT_COLLECTED
    calico_version: Fact[str] = NOT_COLLECTED
    """The release that ClusterInformation names."""
    install: Fact[Install] = NOT_COLLECTED
    """How Calico is installed."""
    calico_node: Fact[CalicoNode] = NOT_COLLECTED
    calico_nodes: Fact[tuple[str, ...]] = NOT_COLLECTED
    """All DaemonSets that run calico-node, each as NAMESPACE/NAME; `calico_node` is one of them."""
    calico_pods: Fact[CalicoPods] = NOT_COLLECTED
    operator: Fact[Deployment] = NOT_COLLECTED
    typha: Fact[Deployment] = NOT_COLLECTED
    tigera_statuses: Fact[tuple[TigeraStatus, ...]] = NOT_COLLECTED
    installation: Fact[Installation] = NOT_COLLECTED
    felix_default: Fact[FelixObject] = NOT_COLLECTED
    felix_per_node: Fact[tuple[tuple[FelixSettings, int], ...]] = NOT_COLLECTED
    """What FelixConfigurations for single nodes, or for nodes chosen by a selector, set, and how many set just that."""
    ip_pools: Fact[tuple[IpPool, ...]] = NOT_COLLECTED
    bgp: Fact[Bgp] = NOT_COLLECTED
    auto_host_endpoints: Fact[str] = NOT_COLLECTED
    """Whether calico-kube-controllers makes a HostEndpoint for each node: Enabled, Disabled."""
    host_endpoints: Fact[HostEndpoints] = NOT_COLLECTED
    calico_policies: Fact[CalicoPolicies] = NOT_COLLECTED
    network_policies: Fact[NetworkPolicies] = NOT_COLLECTED
    services: Fact[Services] = NOT_COLLECTED
    dns_services: Fact[tuple[DnsService, ...]] = NOT_COLLECTED
    node_local_dns: Fact[tuple[NodeLocalDns, ...]] = NOT_COLLECTED
    slice_count: Fact[int] = NOT_COLLECTED
    """How many EndpointSlices there are."""
    backends: Fact[int] = SCAN_NOT_ASKED
    """The endpoints of all EndpointSlices, times their ports."""
    workloads: Fact[Workloads] = NOT_COLLECTED
    """What the templates of workloads ask for."""
    pods: Fact[Workloads] = SCAN_NOT_ASKED
    """What all pods ask for."""
    add_ons: Fact[tuple[AddOn, ...]] = NOT_COLLECTED
    meshed_namespaces: Fact[tuple[tuple[str, int], ...]] = NOT_COLLECTED
    """The meshes that namespaces join (istio, istio-ambient, kmesh, linkerd, kuma, consul), and how many do."""
    guests: Fact[Guests] = NOT_COLLECTED
    other_networks: Fact[tuple[str, ...]] = NOT_COLLECTED
    """DaemonSets of other CNI plugins and dataplanes, each as NAMESPACE/NAME."""
    kube_proxy: Fact[KubeProxy] = NOT_COLLECTED
    """Absent where neither a DaemonSet nor static pods of it are seen; it may still run inside of something else."""
    kube_proxy_config: Fact[KubeProxyConfig] = NOT_COLLECTED
    kubernetes_service: Fact[ServiceAddress] = NOT_COLLECTED
    api_endpoints: Fact[tuple[str, ...]] = NOT_COLLECTED
    """The API servers behind the Service default/kubernetes, each as HOST:PORT."""
    endpoint_overrides: Fact[tuple[EndpointOverride, ...]] = NOT_COLLECTED
    """Absent where there is none in any of the namespaces that could matter."""
    kubeadm: Fact[Kubeadm] = NOT_COLLECTED
    service_cidrs: Fact[tuple[str, ...]] = NOT_COLLECTED
    openshift: Fact[OpenShift] = NOT_COLLECTED
